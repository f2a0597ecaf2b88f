//! A disk in memory that can lose power and run out of room. It holds the
//! tables and their write-ahead log.

use std::io;
use std::sync::{Arc, Mutex};

use kinsync_protocol::id::DeviceId;
use redb::StorageBackend;

use super::world::*;
use crate::Store;
use crate::ballast::Ballast;
use crate::open::{Core, Medium, create_on};
use crate::wal::{FILES, LOG_BYTES};

const SECTOR: usize = 512;

#[derive(Debug)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// One file.
#[derive(Debug, Default)]
struct File {
    /// What the system shows.
    image: Vec<u8>,
    /// What was last synced.
    synced: Vec<u8>,
    since: Vec<Op>,
}

impl File {
    /// Some of what was not synced is gone.
    fn recover(&mut self, random: &mut fastrand::Rng) {
        let mut image = std::mem::take(&mut self.synced);
        let prefix = random.usize(..=self.since.len());
        let any_order = random.bool();
        for (at, op) in self.since.drain(..).enumerate() {
            if if any_order { random.bool() } else { at >= prefix } {
                continue;
            }
            match op {
                Op::SetLen(len) => image.resize(len, 0),
                Op::Write(at, bytes) => {
                    // The end of a write may be lost by sectors.
                    let whole = bytes.len().div_ceil(SECTOR);
                    let kept = if random.u8(..8) == 0 { random.usize(..=whole) } else { whole };
                    let end = (kept * SECTOR).min(bytes.len());
                    image.resize(image.len().max(at + end), 0);
                    image[at..at + end].copy_from_slice(&bytes[..end]);
                }
            }
        }
        *self = Self { synced: image.clone(), image, since: Vec::new() };
    }
}

/// What a disk holds.
#[derive(Debug, Default)]
pub(crate) struct Platter {
    tables: File,
    logs: [Option<File>; FILES],
    /// Operations until the power goes.
    pub(crate) power: Option<u64>,
    /// Operations until one fails, and no other.
    pub(crate) fails: Option<u64>,
    /// The largest file of tables there is room for; there is none for a log
    /// that grows then.
    pub(crate) room: Option<usize>,
}

impl Platter {
    fn spend(&mut self) -> io::Result<()> {
        match self.fails.take() {
            Some(0) => return Err(io::Error::other("it failed")),
            left => self.fails = left.map(|left| left - 1),
        }
        match &mut self.power {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// The power comes back.
    pub(crate) fn recover(&mut self, random: &mut fastrand::Rng) {
        (self.power, self.room) = (None, None);
        self.tables.recover(random);
        for log in self.logs.iter_mut().flatten() {
            log.recover(random);
        }
    }
}

/// A disk and the device whose store is on it.
#[derive(Clone, Debug)]
pub(crate) struct Disk(pub(crate) Arc<Mutex<Platter>>, DeviceId);

impl Disk {
    /// One of its files.
    fn backend(&self, log: Option<usize>) -> Backend {
        Backend { platter: Arc::clone(&self.0), log }
    }

    /// How long the tables are.
    pub(crate) fn len(&self) -> io::Result<u64> {
        self.backend(None).len()
    }

    /// What a copy of the closed store holds.
    pub(crate) fn tables(&self) -> Vec<u8> {
        self.0.lock().unwrap().tables.image.clone()
    }

    /// Puts such a copy in the place of the tables.
    pub(crate) fn restore(&self, tables: &[u8]) {
        let (image, synced) = (tables.to_vec(), tables.to_vec());
        self.0.lock().unwrap().tables = File { image, synced, since: Vec::new() };
    }

    /// Whether there is a log.
    pub(crate) fn has_log(&self) -> bool {
        self.0.lock().unwrap().logs.iter().any(Option::is_some)
    }
}

/// One file of a disk.
#[derive(Debug)]
struct Backend {
    platter: Arc<Mutex<Platter>>,
    /// Which file of the log, if not the tables.
    log: Option<usize>,
}

impl Backend {
    fn with<T>(&self, work: impl FnOnce(&mut File) -> T) -> T {
        let mut platter = self.platter.lock().unwrap();
        work(match self.log {
            Some(number) => platter.logs[number].get_or_insert_default(),
            None => &mut platter.tables,
        })
    }

    fn spend(&self) -> io::Result<()> {
        self.platter.lock().unwrap().spend()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.image.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.with(|file| {
            let bytes = file.image.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend()?;
        let len = usize::try_from(len).unwrap();
        let room = self.platter.lock().unwrap().room;
        let is_log = self.log.is_some();
        self.with(|file| {
            if len > file.image.len() && room.is_some_and(|room| is_log || len > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.image.resize(len, 0);
            file.since.push(Op::SetLen(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.spend()?;
        self.with(|file| {
            file.synced = file.image.clone();
            file.since.clear();
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend()?;
        let start = usize::try_from(offset).unwrap();
        self.with(|file| {
            file.image[start..start + data.len()].copy_from_slice(data);
            file.since.push(Op::Write(start, data.to_vec()));
        });
        Ok(())
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        match self.0.lock().unwrap().power {
            Some(0) => Err(io::Error::other("no power")),
            _ => Ok(Box::new(self.backend(None))),
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        self.len()
    }

    fn open_log(&self, number: usize, create: bool) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let mut platter = self.0.lock().unwrap();
        if create {
            platter.spend()?;
            platter.logs[number].get_or_insert_default();
        }
        let there = platter.logs[number].is_some();
        drop(platter);
        Ok(there.then(|| Box::new(self.backend(Some(number))) as Box<dyn StorageBackend>))
    }

    fn remove_log(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend()?;
        platter.logs = Default::default();
        Ok(())
    }
}

/// Starts the store on a disk, as its owner.
pub(crate) fn start(disk: &Disk) -> Store {
    start_with(disk, LOG_BYTES)
}

/// The same with another limit for the write-ahead log.
pub(crate) fn start_with(disk: &Disk, log_bytes: u64) -> Store {
    let core = Core::new(Box::new(disk.clone()), Ballast::new(None, 0), disk.1, 1 << 20, log_bytes);
    Store::start(core, fastrand::u64(..)).unwrap()
}

/// A disk with a store of `device` that trusts the others.
pub(crate) fn created(device: DeviceId) -> Disk {
    let disk = Disk(Arc::default(), device);
    create_on(disk.backend(None), device).unwrap();
    let store = start(&disk);
    [PHONE, LAPTOP, DESKTOP].into_iter().filter(|peer| *peer != device).for_each(|peer| trust(&store, peer));
    drop(store);
    disk
}
