//! A disk in memory that can lose power and run out of room.

use std::io;
use std::sync::{Arc, Mutex};

use kinsync_protocol::id::DeviceId;
use redb::StorageBackend;

use super::world::*;
use crate::Store;
use crate::ballast::Ballast;
use crate::open::{Core, Medium, create_on};

const SECTOR: usize = 512;

#[derive(Debug)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What a disk holds.
#[derive(Debug, Default)]
pub(crate) struct Platter {
    /// What the system shows.
    image: Vec<u8>,
    /// What was last synced.
    synced: Vec<u8>,
    since: Vec<Op>,
    /// Operations until the power goes.
    pub(crate) power: Option<u64>,
    /// The largest image there is room for.
    pub(crate) room: Option<usize>,
}

impl Platter {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// The power comes back.
    pub(crate) fn recover(&mut self, random: &mut fastrand::Rng) {
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
        *self = Self { synced: image.clone(), image, ..Self::default() };
    }
}

/// A disk and the device whose store is on it.
#[derive(Clone, Debug)]
pub(crate) struct Disk(pub(crate) Arc<Mutex<Platter>>, DeviceId);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let bytes = platter.image.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend()?;
        let len = usize::try_from(len).unwrap();
        if len > platter.image.len() && platter.room.is_some_and(|room| len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.image.resize(len, 0);
        platter.since.push(Op::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend()?;
        platter.synced = platter.image.clone();
        platter.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend()?;
        let start = usize::try_from(offset).unwrap();
        platter.image[start..start + data.len()].copy_from_slice(data);
        platter.since.push(Op::Write(start, data.to_vec()));
        Ok(())
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        match self.0.lock().unwrap().power {
            Some(0) => Err(io::Error::other("no power")),
            _ => Ok(Box::new(self.clone())),
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        self.len()
    }
}

/// Starts the store on a disk, as its owner.
pub(crate) fn start(disk: &Disk) -> Store {
    let core = Core::new(Box::new(disk.clone()), Ballast::new(None, 0), disk.1, 1 << 20);
    Store::start(core, fastrand::u64(..)).unwrap()
}

/// A disk with a store of `device` that trusts the others.
pub(crate) fn created(device: DeviceId) -> Disk {
    let disk = Disk(Arc::default(), device);
    create_on(disk.clone(), device).unwrap();
    let store = start(&disk);
    [PHONE, LAPTOP, DESKTOP].into_iter().filter(|peer| *peer != device).for_each(|peer| trust(&store, peer));
    drop(store);
    disk
}
