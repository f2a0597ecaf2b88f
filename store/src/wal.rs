//! The write-ahead log: what was written since the tables were last brought to
//! disk, in two files beside them.
//!
//! To bring the tables to disk means to write each page that a write has
//! touched, some thirty for one record, and to wait for the disk twice. An entry
//! of the log is one short write and one wait. So a write is on disk once its
//! entry is, and the tables follow later, for many writes together; after a
//! crash the entries say what the tables lack.
//!
//! A file is a row of entries: length, CRC-32, generation, changes
//! ([`crate::redo`]). The tables name the generation whose entries follow them.
//! While they are being brought to disk, the log goes on in the other file,
//! under a generation that follows from the first one and its last entry; and
//! that is the one that the tables name from then on, which voids the first file
//! at once. An entry that was torn ends the log: nobody was told that it, or one
//! behind it, is on disk. That holds across the files as well, since another
//! last entry leads to another generation.

use std::io;

use redb::StorageBackend;

use crate::open::Medium;

/// Bytes of entries after which the tables follow. More make a start after a
/// crash slower, which reads them all, and lie in memory, twice while the tables
/// are being written. Fewer are more writing: each time, most pages of the
/// indexes are written anew.
pub(crate) const LOG_BYTES: u64 = 8 << 20;

/// How many files the log has.
pub(crate) const FILES: usize = 2;

/// A file grows to twice what it was, by so much at least and at most, filled
/// with zeros: writing where a file has room already is a wait for the disk less
/// than making it longer.
const GROW_BYTES_MIN: u64 = 64 << 10;
const GROW_BYTES_MAX: u64 = 1 << 20;

const HEADER_BYTES: usize = 16;

/// Memory that is kept for the next entry.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// Which entries belong to the tables. Each run begins at random, so that the
/// log of another past of the same store, such as one that a backup undid, is
/// never taken for its own.
pub(crate) type Generation = u64;

/// A generation that follows from another, as unlikely to be met elsewhere.
pub(crate) fn next_generation(generation: Generation) -> Generation {
    let mixed = generation.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x6a09_e667_f3bc_c909);
    mixed ^ (mixed >> 31)
}

/// The generation behind one whose last entry has this checksum.
fn generation_after(generation: Generation, check: u32) -> Generation {
    next_generation(generation ^ u64::from(check))
}

/// One file of the log.
#[derive(Debug, Default)]
struct LogFile {
    file: Option<Box<dyn StorageBackend>>,
    /// What of it has room.
    room: u64,
}

/// The writing side of the log.
#[derive(Debug)]
pub(crate) struct Wal {
    /// Bytes of entries after which it is full.
    limit: u64,
    files: [LogFile; FILES],
    /// The file that entries go to.
    current: usize,
    /// `None` until the tables on disk name a generation of this run.
    generation: Option<Generation>,
    /// Where the last entry begins, and where the next one goes.
    last: u64,
    end: u64,
    /// The checksum of the last entry.
    check: u32,
    /// Bytes of entries that are not known to be on disk.
    unsynced: u64,
    spare: Vec<u8>,
}

impl Wal {
    /// A log that takes entries once it has begun.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            files: Default::default(),
            current: 0,
            generation: None,
            last: 0,
            end: 0,
            check: 0,
            unsynced: 0,
            spare: Vec::new(),
        }
    }

    /// An entry without changes, to which they are added. The room of the last
    /// one is used again.
    pub(crate) fn entry(&mut self) -> Vec<u8> {
        let mut entry = std::mem::take(&mut self.spare);
        entry.clear();
        entry.extend_from_slice(&[0; HEADER_BYTES]);
        entry
    }

    /// Keeps the memory of an entry for the next one.
    pub(crate) fn recycle(&mut self, entry: Vec<u8>) {
        if entry.capacity() <= SPARE_BYTES_MAX {
            self.spare = entry;
        }
    }

    /// Whether it takes entries.
    pub(crate) fn has_begun(&self) -> bool {
        self.generation.is_some()
    }

    /// Whether it is time for the tables to follow.
    pub(crate) fn is_full(&self) -> bool {
        self.end >= self.limit
    }

    /// Bytes of entries that are not known to be on disk.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced
    }

    /// The tables on disk hold everything and name this generation: the log
    /// begins anew.
    pub(crate) fn begin(&mut self, generation: Generation) {
        self.generation = Some(generation);
        (self.last, self.end, self.check, self.unsynced) = (0, 0, 0, 0);
    }

    /// Goes on in the other file, where nothing is that the tables lack, once all
    /// entries so far are on disk. The generation that the tables name when they
    /// have them.
    pub(crate) fn turn(&mut self) -> io::Result<Generation> {
        self.sync()?;
        let generation = self.generation.ok_or_else(not_begun)?;
        if self.end == 0 {
            // There is no last entry to follow from.
            return Ok(generation);
        }
        let next = generation_after(generation, self.check);
        self.current = (self.current + 1) % FILES;
        self.begin(next);
        Ok(next)
    }

    /// Takes no entry until the tables were brought to disk: how they and the
    /// log stand to each other is not known.
    pub(crate) fn end(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Adds an entry that [`Wal::entry`] began. It is on disk after the next
    /// [`Wal::sync`]. On an error it is not part of the log.
    pub(crate) fn append(&mut self, medium: &dyn Medium, entry: &mut [u8]) -> io::Result<()> {
        let generation = self.generation.ok_or_else(not_begun)?;
        let Some(LogFile { file, room }) = self.files.get_mut(self.current) else { return Err(not_begun()) };
        let file = match file {
            Some(file) => file,
            None => {
                let opened = medium.open_log(self.current, true)?.ok_or(io::ErrorKind::NotFound)?;
                *room = opened.len()?;
                file.insert(opened)
            }
        };
        let check = seal(entry, generation);
        let end = self.end + entry.len() as u64;
        if end > *room {
            let needed = end.max(*room + (*room).clamp(GROW_BYTES_MIN, GROW_BYTES_MAX));
            let zeros = vec![0; usize::try_from(needed - *room).unwrap_or_default()];
            let grown = file.set_len(needed).and_then(|()| file.write(*room, &zeros));
            if grown.is_err() {
                // Others need what room there is.
                let _ = file.set_len(*room);
            }
            grown?;
            *room = needed;
        }
        let written = file.write(self.end, entry);
        if written.is_err() {
            self.void(self.end);
        }
        written?;
        (self.last, self.end, self.check) = (self.end, end, check);
        self.unsynced += entry.len() as u64;
        Ok(())
    }

    /// Waits until all entries are on disk. On an error the last one is not part
    /// of the log.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let file = self.files.get(self.current).and_then(|log| log.file.as_deref());
        if let Some(file) = file.filter(|_| self.unsynced > 0) {
            let synced = file.sync_data();
            if synced.is_err() {
                self.void(self.last);
            }
            synced?;
        }
        self.unsynced = 0;
        Ok(())
    }

    /// Takes back the entry at `at`, whose writers are told that it failed, as
    /// far as the disk still lets us.
    fn void(&self, at: u64) {
        if let Some(LogFile { file: Some(file), .. }) = self.files.get(self.current) {
            let _ = file.write(at, &[0; HEADER_BYTES]);
        }
    }
}

fn not_begun() -> io::Error {
    io::Error::other("the log is not begun")
}

/// Writes the header of an entry. Its checksum.
fn seal(entry: &mut [u8], generation: Generation) -> u32 {
    let Some((header, changes)) = entry.split_first_chunk_mut::<HEADER_BYTES>() else { return 0 };
    let len = u32::try_from(changes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let check = check(generation, changes);
    for (to, from) in
        header.iter_mut().zip([&len[..], &check.to_be_bytes(), &generation.to_be_bytes()].concat())
    {
        *to = from;
    }
    check
}

fn check(generation: Generation, changes: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(&generation.to_be_bytes());
    check.update(changes);
    check.finalize()
}

/// The changes of each entry that follows tables which name this generation, in
/// order, up to the first that is not whole.
pub(crate) fn read(medium: &dyn Medium, generation: Generation) -> io::Result<Vec<Vec<u8>>> {
    let (mut entries, mut generation) = (Vec::new(), generation);
    let mut left: Vec<usize> = (0..FILES).collect();
    while !left.is_empty() {
        let mut found = None;
        for (at, number) in left.iter().enumerate() {
            let Some(file) = medium.open_log(*number, false)? else { continue };
            let read = read_file(&*file, generation)?;
            file.close()?;
            if let Some((last, _)) = read.last() {
                (generation, found) = (generation_after(generation, *last), Some(at));
                entries.extend(read.into_iter().map(|(_, changes)| changes));
                break;
            }
        }
        match found {
            Some(at) => drop(left.remove(at)),
            None => break,
        }
    }
    Ok(entries)
}

/// Checksum and changes of each entry of a generation in one file.
fn read_file(file: &dyn StorageBackend, generation: Generation) -> io::Result<Vec<(u32, Vec<u8>)>> {
    let len = file.len()?;
    let (mut entries, mut at) = (Vec::new(), 0);
    while at + HEADER_BYTES as u64 <= len {
        let mut header = [0; HEADER_BYTES];
        file.read(at, &mut header)?;
        let [a, b, c, d, e, f, g, h, named @ ..] = header;
        let bytes = u64::from(u32::from_be_bytes([a, b, c, d]));
        let next = at + HEADER_BYTES as u64 + bytes;
        if u64::from_be_bytes(named) != generation || bytes == 0 || next > len {
            break;
        }
        let mut changes = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read(at + HEADER_BYTES as u64, &mut changes)?;
        let right = u32::from_be_bytes([e, f, g, h]);
        if check(generation, &changes) != right {
            break;
        }
        entries.push((right, changes));
        at = next;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::platter::{Disk, created};
    use crate::tests::world::PHONE;

    fn append(wal: &mut Wal, disk: &Disk, text: &[u8]) {
        let mut entry = wal.entry();
        entry.extend_from_slice(text);
        wal.append(disk, &mut entry).unwrap();
        wal.recycle(entry);
    }

    fn entries(disk: &Disk, generation: Generation) -> Vec<Vec<u8>> {
        read(disk, generation).unwrap()
    }

    #[test]
    fn entries_come_back_until_the_tables_follow() {
        let disk = created(PHONE);
        let mut wal = Wal::new(2 * (HEADER_BYTES as u64 + 3));
        assert!(!wal.has_begun(), "before the tables name a generation");
        wal.begin(7);
        assert!(wal.has_begun());
        append(&mut wal, &disk, b"one");
        assert!(!wal.is_full());
        append(&mut wal, &disk, b"two");
        assert!(wal.is_full(), "at the limit");
        assert_eq!(wal.unsynced(), 2 * (HEADER_BYTES as u64 + 3));
        wal.sync().unwrap();
        assert_eq!(wal.unsynced(), 0);
        assert_eq!(entries(&disk, 7), [b"one", b"two"]);
        assert!(entries(&disk, 8).is_empty(), "of another generation");

        wal.begin(8);
        append(&mut wal, &disk, b"six");
        // What stands behind it is void.
        assert_eq!(entries(&disk, 8), [b"six"]);
    }

    /// While the tables are brought to disk, the log goes on in the other file.
    #[test]
    fn a_log_goes_on_in_the_other_file() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1 << 20);
        wal.begin(7);
        append(&mut wal, &disk, b"one");
        append(&mut wal, &disk, b"two");
        let next = wal.turn().unwrap();
        append(&mut wal, &disk, b"three");
        assert_eq!(entries(&disk, 7), [&b"one"[..], b"two", b"three"]);
        assert_eq!(entries(&disk, next), [b"three"], "the tables have the first two");
        let after = wal.turn().unwrap();
        append(&mut wal, &disk, b"four");
        assert_eq!(entries(&disk, next), [&b"three"[..], b"four"]);
        assert_eq!(entries(&disk, after), [b"four"]);
        assert!(entries(&disk, 7).is_empty());
    }

    /// What follows a lost entry is not done without it, in whichever file.
    #[test]
    fn a_torn_entry_ends_the_log_across_files() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1 << 20);
        wal.begin(7);
        append(&mut wal, &disk, b"one");
        append(&mut wal, &disk, b"two");
        wal.turn().unwrap();
        append(&mut wal, &disk, b"three");
        let file = disk.open_log(0, false).unwrap().unwrap();
        file.write((HEADER_BYTES + 3) as u64, &[0; HEADER_BYTES]).unwrap();
        assert_eq!(entries(&disk, 7), [b"one"]);
    }

    #[test]
    fn a_torn_entry_ends_the_log() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1 << 20);
        wal.begin(7);
        for text in [&b"first"[..], b"second", b"third"] {
            append(&mut wal, &disk, text);
        }
        let file = disk.open_log(0, false).unwrap().unwrap();
        let second = HEADER_BYTES + b"first".len();
        for at in second..second + HEADER_BYTES + b"second".len() {
            let mut byte = [0];
            file.read(at as u64, &mut byte).unwrap();
            file.write(at as u64, &[byte[0] ^ 1]).unwrap();
            assert_eq!(entries(&disk, 7), [b"first"], "{at}");
            file.write(at as u64, &byte).unwrap();
        }
        assert_eq!(entries(&disk, 7).len(), 3);
    }

    #[test]
    fn what_could_not_be_written_is_not_part_of_the_log() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1 << 20);
        wal.begin(7);
        append(&mut wal, &disk, b"one");
        wal.sync().unwrap();
        append(&mut wal, &disk, b"two");
        // The sync fails, and what follows it does not.
        disk.0.lock().unwrap().fails = Some(0);
        assert!(wal.sync().is_err());
        assert_eq!(entries(&disk, 7), [b"one"]);
    }
}
