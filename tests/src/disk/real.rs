//! The real store as the disk of a simulated device.
//!
//! A crash is a restart of the process here, as every commit is durable when
//! it returns; that a loss of power loses nothing either, the store's own tests
//! show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Version;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::snapshot::{Epoch, Snapshot};
use kinsync_protocol::stamp::{Hlc, UnixMillis};
use kinsync_protocol::sums::Range;
use kinsync_protocol::trust::{Changes, View};
use kinsync_store::{Job, Options, PAST_VERSIONS, Rules, Store, StoreSnapshot, WriteError};
use tempfile::TempDir;

use super::{Contents, Disk, Done, Op, Place, TrustOp};
use crate::planted::Planted;

const READ: &str = "the store of a simulated device reads";
const WRITE: &str = "the store of a simulated device writes";
const FILE: &str = "a folder of our own";

/// A guard that holds nothing.
const OFF: Guard = Guard { records: 0, percent: 0 };

/// The real store, in a folder of its own.
pub struct Real {
    device: DeviceId,
    epoch: Epoch,
    folder: TempDir,
    /// `None` only while the file is exchanged.
    store: Option<Store>,
    rules: Option<BTreeMap<DomainId, Rules>>,
    /// Worlds delete a lot, and in most of them nobody is there to be asked.
    guard: Guard,
}

impl Real {
    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The store itself, until the next crash.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open between two steps")
    }

    /// Says what domains are, at every start from now on.
    pub fn declare(&mut self, rules: BTreeMap<DomainId, Rules>) {
        self.rules = Some(rules);
        self.tell_rules();
    }

    /// Holds mass changes, at every start from now on.
    pub fn guard(&mut self, guard: Guard) {
        self.guard = guard;
        self.store().set_guard(guard);
    }

    fn tell_rules(&self) {
        let Some(rules) = &self.rules else { return };
        self.store().set_rules(rules.clone());
        let mut at = None;
        while let Some(next) = self.store().write(Job::recheck(at, UnixMillis(0))).expect(WRITE) {
            at = Some(next);
        }
    }

    /// Closes the store, does something to its file and opens it again.
    fn reopen<T>(&mut self, meanwhile: impl FnOnce(&Path) -> T) -> T {
        self.store = None;
        let path = self.path();
        let done = meanwhile(&path);
        let options =
            Options { cache_bytes: 1 << 20, ballast_bytes: 0, ..Options::new(self.device, self.epoch) };
        self.store = Some(Store::open(path, options).expect("a store that was closed opens"));
        self.store().set_guard(self.guard);
        self.tell_rules();
        done
    }
}

impl Disk for Real {
    type Inner = StoreSnapshot;
    type View<'a> = Box<StoreSnapshot>;
    type Backup = Vec<u8>;

    const NAME: &'static str = "redb";
    const HISTORY: usize = PAST_VERSIONS;

    fn create(device: DeviceId, epoch: Epoch, _: bool, _: Option<Planted>) -> Self {
        // In memory where there is such a folder: thousands of commits wait for it.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let mut real =
            Self { device, epoch, folder: folder.expect(FILE), store: None, rules: None, guard: OFF };
        real.reopen(|_| ());
        real
    }

    fn view(&self) -> Box<StoreSnapshot> {
        Box::new(self.store().snapshot().expect(READ))
    }

    fn commit(&mut self, op: Op) -> Done {
        let done = match op {
            Op::Write { place: (domain, key), value: Some(value), wall } => {
                self.store().put(domain, key, value, wall).map(Done::Wrote)
            }
            Op::Write { place: (domain, key), value: None, wall } => {
                self.store().delete(domain, key, wall).map(Done::Wrote)
            }
            Op::Apply { from, batches, wall } => {
                self.store().apply(from, batches, wall).map(|_| Done::Applied)
            }
        };
        match done {
            Err(
                WriteError::NotFound
                | WriteError::NotTrusted { .. }
                | WriteError::NotGranted { .. }
                | WriteError::ParentDeleted { .. },
            ) => Done::Refused,
            done => done.expect(WRITE),
        }
    }

    fn trust(&mut self, op: &TrustOp) -> Changes {
        let op = op.clone();
        let change = move |view: &mut View| {
            let changes = op.change(view);
            Ok::<_, ()>((changes.clone(), changes))
        };
        let changed = self.store().write(Job::change_view(change)).expect(WRITE);
        changed.map(|(_, changes)| changes).unwrap_or_default()
    }

    fn allow(&mut self, peer: DeviceId, rights: Rights) {
        self.store().write(Job::allow(peer, rights)).expect(WRITE);
    }

    fn rights(&self, peer: DeviceId) -> Rights {
        self.store().read(|view| view.rights(peer)).expect(READ)
    }

    fn trusted(&self) -> View {
        self.store().read(StoreSnapshot::trust_view).expect(READ)
    }

    fn sync(&mut self) {}

    fn crash(&mut self, _: &mut Rng) {
        self.reopen(|_| ());
    }

    fn crash_inside(&mut self, op: Op, rng: &mut Rng) {
        if rng.bool() {
            self.commit(op);
        }
        self.reopen(|_| ());
    }

    fn start(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.reopen(|_| ());
    }

    fn backup(&mut self) -> Vec<u8> {
        self.reopen(|path| std::fs::read(path).expect(FILE))
    }

    fn restore(&mut self, backup: &Vec<u8>) {
        self.reopen(|path| std::fs::write(path, backup).expect(FILE));
    }

    fn keeps(&self, place: &Place, version: &Version) -> bool {
        let history = self.store().read(|view| view.history(place.0, &place.1)).expect(READ);
        self.version(place).as_ref() == Some(version) || history.iter().any(|past| past.version == *version)
    }

    fn version(&self, (domain, key): &Place) -> Option<Version> {
        let hash = kinsync_protocol::item::key_hash(*domain, key);
        self.view().item(*domain, hash).expect(READ).map(|item| item.version)
    }

    fn contents(&self, domain: DomainId) -> Contents {
        let view = self.view();
        let items = view.items(domain, Range::ALL, None, usize::MAX).expect(READ);
        let hash =
            |item: &kinsync_protocol::snapshot::Item| kinsync_protocol::item::key_hash(domain, &item.key);
        let records = items.iter().map(|item| view.record(domain, hash(item)).expect(READ));
        let records = records.map(|record| record.expect("what stands in the items is there"));
        records.map(|record| (record.key, (record.version, record.value))).collect()
    }

    fn clock(&self) -> Option<Hlc> {
        None
    }

    fn check(&self) -> Result<(), String> {
        let report = self.store().read(StoreSnapshot::check).expect(READ);
        if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.faults)) }
    }
}
