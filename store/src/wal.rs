//! The write-ahead log: what was written since the tables were last brought to
//! disk, in a file beside them.
//!
//! To bring the tables to disk means to write each page that a write has
//! touched, some thirty for one record, and to wait for the disk twice. An entry
//! of the log is one short write and one wait. So a write is on disk once its
//! entry is, and the tables follow later, for many writes together; after a
//! crash the entries are done again on the tables as they were.
//!
//! The file is a row of entries: length, CRC-32, generation, changes
//! ([`crate::redo`]). The tables name the generation whose entries follow them.
//! Each time that they are on disk they name another one, which voids all
//! entries at once, and the next entry begins the file anew. An entry that was
//! torn ends the log: nobody was told that it, or one behind it, is on disk.

use std::io;

use redb::StorageBackend;

use crate::open::Medium;

/// Bytes of entries that wait for the tables to follow. More make a start after
/// a crash slower: it does them all again.
pub(crate) const LOG_BYTES_MAX: u64 = 16 << 20;

/// The file grows by so much at a time, filled with zeros: writing where a file
/// has room already is a wait for the disk less than making it longer.
const GROW_BYTES: u64 = 1 << 20;

const HEADER_BYTES: usize = 16;

/// Memory that is kept for the next entry.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// Which entries belong to the tables. Random, so that the log of another past
/// of the same store, such as one that a backup undid, is never taken for its
/// own.
pub(crate) type Generation = u64;

/// A generation that follows from another, as unlikely to be met elsewhere.
pub(crate) fn next_generation(generation: Generation) -> Generation {
    let mixed = generation.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x6a09_e667_f3bc_c909);
    mixed ^ (mixed >> 31)
}

/// The writing side of the log.
#[derive(Debug)]
pub(crate) struct Wal {
    /// Bytes of entries that it takes at most.
    limit: u64,
    file: Option<Box<dyn StorageBackend>>,
    /// `None` until the tables on disk name a generation of this run.
    generation: Option<Generation>,
    /// Where the last entry begins, and where the next one goes.
    last: u64,
    end: u64,
    /// What of the file has room.
    room: u64,
    /// Bytes of entries that are not known to be on disk.
    unsynced: u64,
    spare: Vec<u8>,
}

impl Wal {
    /// A log that takes entries once it has begun.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, file: None, generation: None, last: 0, end: 0, room: 0, unsynced: 0, spare: Vec::new() }
    }

    /// An entry without changes, to which they are added. The room of the last
    /// one is used again.
    pub(crate) fn entry(&mut self) -> Vec<u8> {
        let mut entry = std::mem::take(&mut self.spare);
        entry.clear();
        entry.extend_from_slice(&[0; HEADER_BYTES]);
        entry
    }

    /// Whether an entry may follow.
    pub(crate) fn takes(&self, entry: &[u8]) -> bool {
        self.generation.is_some() && self.end + entry.len() as u64 <= self.limit
    }

    /// Whether the tables on disk hold every entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Bytes of entries that are not known to be on disk.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced
    }

    /// The tables on disk hold everything and name this generation: the log
    /// begins anew.
    pub(crate) fn begin(&mut self, generation: Generation) {
        (self.generation, self.last, self.end, self.unsynced) = (Some(generation), 0, 0, 0);
    }

    /// Takes no entry until the tables were brought to disk: how they and the
    /// log stand to each other is not known.
    pub(crate) fn end(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Adds an entry that [`Wal::entry`] began. It is on disk after the next
    /// [`Wal::sync`]. On an error it is not part of the log.
    pub(crate) fn append(&mut self, medium: &dyn Medium, mut entry: Vec<u8>) -> io::Result<()> {
        let generation = self.generation.ok_or_else(|| io::Error::other("the log is not begun"))?;
        if self.file.is_none() {
            let file = medium.open_log(true)?.ok_or(io::ErrorKind::NotFound)?;
            self.room = file.len()?;
            self.file = Some(file);
        }
        let file = self.file.as_deref().ok_or(io::ErrorKind::NotFound)?;
        seal(&mut entry, generation);
        let end = self.end + entry.len() as u64;
        if end > self.room {
            let room = end.next_multiple_of(GROW_BYTES);
            let zeros = vec![0; usize::try_from(room - self.room).unwrap_or_default()];
            let grown = file.set_len(room).and_then(|()| file.write(self.room, &zeros));
            if grown.is_err() {
                // The tables need what room there is.
                let _ = file.set_len(self.room);
            }
            grown?;
            self.room = room;
        }
        let written = file.write(self.end, &entry);
        if written.is_err() {
            self.void(self.end);
        }
        written?;
        (self.last, self.end, self.unsynced) = (self.end, end, self.unsynced + entry.len() as u64);
        if entry.capacity() <= SPARE_BYTES_MAX {
            self.spare = entry;
        }
        Ok(())
    }

    /// Waits until all entries are on disk. On an error the last one is not part
    /// of the log.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_deref().filter(|_| self.unsynced > 0) {
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
        if let Some(file) = &self.file {
            let _ = file.write(at, &[0; HEADER_BYTES]);
        }
    }
}

/// Writes the header of an entry.
fn seal(entry: &mut [u8], generation: Generation) {
    if let Some((header, changes)) = entry.split_first_chunk_mut::<HEADER_BYTES>() {
        let len = u32::try_from(changes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let (check, generation) = (check(generation, changes).to_be_bytes(), generation.to_be_bytes());
        for (to, from) in header.iter_mut().zip([&len[..], &check, &generation].concat()) {
            *to = from;
        }
    }
}

fn check(generation: Generation, changes: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(&generation.to_be_bytes());
    check.update(changes);
    check.finalize()
}

/// The changes of each entry of a generation, in order, up to the first that is
/// not whole.
pub(crate) fn read(file: &dyn StorageBackend, generation: Generation) -> io::Result<Vec<Vec<u8>>> {
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
        if check(generation, &changes) != u32::from_be_bytes([e, f, g, h]) {
            break;
        }
        entries.push(changes);
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
        assert!(wal.takes(&entry));
        wal.append(disk, entry).unwrap();
    }

    fn entries(disk: &Disk, generation: Generation) -> Vec<Vec<u8>> {
        let file = disk.open_log(false).unwrap();
        file.map_or_else(Vec::new, |file| read(&*file, generation).unwrap())
    }

    #[test]
    fn entries_come_back_until_the_tables_follow() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1_000);
        assert!(!wal.takes(&[0; 20]), "before the tables name a generation");
        wal.begin(7);
        assert!(wal.takes(&[0; 1_000]) && !wal.takes(&[0; 1_001]), "at the limit");
        append(&mut wal, &disk, b"one");
        append(&mut wal, &disk, b"two");
        assert_eq!(wal.unsynced(), 2 * (HEADER_BYTES as u64 + 3));
        wal.sync().unwrap();
        assert_eq!((wal.unsynced(), wal.is_empty()), (0, false));
        assert_eq!(entries(&disk, 7), [b"one", b"two"]);
        assert!(entries(&disk, 8).is_empty(), "of another generation");

        wal.begin(8);
        assert!(wal.is_empty());
        append(&mut wal, &disk, b"six");
        // What stands behind it is void.
        assert_eq!(entries(&disk, 8), [b"six"]);
    }

    #[test]
    fn a_torn_entry_ends_the_log() {
        let disk = created(PHONE);
        let mut wal = Wal::new(1 << 20);
        wal.begin(7);
        for text in [&b"first"[..], b"second", b"third"] {
            append(&mut wal, &disk, text);
        }
        let file = disk.open_log(false).unwrap().unwrap();
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
        disk.0.lock().unwrap().fails_once = true;
        assert!(wal.sync().is_err());
        assert_eq!(entries(&disk, 7), [b"one"]);
    }
}
