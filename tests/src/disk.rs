//! The store of a simulated device: what it shows, what is durable, and what a
//! crash leaves of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::Deref;

use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::{Batch, Cursor, Epoch, Snapshot};
use kinsync_protocol::stamp::{Hlc, UnixMillis};

use crate::model::Model;
use crate::planted::{Planted, sabotage};

/// A record's domain and key.
pub type Place = (DomainId, Key);

/// What a domain holds.
pub type Contents = BTreeMap<Key, (Version, Option<Vec<u8>>)>;

/// One transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// A write of the device's own user.
    Write {
        /// The record.
        place: Place,
        /// Its value; `None` deletes it.
        value: Option<Vec<u8>>,
        /// What the device's wall clock says.
        wall: UnixMillis,
    },
    /// Records and cursors from another device.
    Apply {
        /// The device that sent them.
        from: DeviceId,
        /// What it sent.
        batches: Vec<Batch>,
        /// What the device's wall clock says.
        wall: UnixMillis,
    },
}

/// What a simulated device keeps its records in.
///
/// The same worlds and laws run over every implementation.
pub trait Disk: Sized {
    /// What it is called on the command line.
    const NAME: &'static str;
    /// The view that sessions read.
    type Inner: Snapshot<Error: Debug>;
    /// Holds such a view.
    type View<'a>: Deref<Target = Self::Inner>
    where
        Self: 'a;
    /// A copy of everything durable.
    type Backup;

    /// An empty store that starts in `epoch`. If not `lazy`, every commit is
    /// durable at once.
    fn create(device: DeviceId, epoch: Epoch, lazy: bool, planted: Option<Planted>) -> Self;

    /// A view of what is committed, durable or not.
    fn view(&self) -> Self::View<'_>;

    /// Commits a transaction. The new version, if it was a write.
    fn commit(&mut self, op: Op) -> Option<Version>;

    /// Makes everything committed so far durable.
    fn sync(&mut self);

    /// Loses power: any number of the commits that are not durable yet, from
    /// the last one back, are gone.
    fn crash(&mut self, rng: &mut Rng);

    /// Loses power within the commit of `op`.
    fn crash_inside(&mut self, op: Op, rng: &mut Rng);

    /// Starts again, in a new epoch.
    fn start(&mut self, epoch: Epoch);

    /// Copies everything durable.
    fn backup(&self) -> Self::Backup;

    /// Replaces everything by a backup, as it will be found by the next start.
    fn restore(&mut self, backup: &Self::Backup);

    /// Whether a version is durable here, standing or in the history.
    fn keeps(&self, place: &Place, version: &Version) -> bool;

    /// The version that stands under a key, durable or not.
    fn version(&self, place: &Place) -> Option<Version>;

    /// Everything that a domain holds, durable or not.
    fn contents(&self, domain: DomainId) -> Contents;

    /// The last time that the hybrid clock gave or followed.
    fn clock(&self) -> Hlc;

    /// How far this device has taken in `peer`'s log.
    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Option<Cursor> {
        self.view().cursor(peer, domain).expect("a simulated device reads its store")
    }

    /// All domains that hold an item.
    fn domains(&self) -> Vec<DomainId> {
        self.view().domains().expect("a simulated device reads its store")
    }
}

/// A store in memory with a durable part and a tail that is not durable yet.
#[derive(Clone, Debug)]
pub struct Memory {
    live: Model,
    /// What a crash leaves, without the tail. `None` if every commit is
    /// durable at once: then it is all of `live`.
    durable: Option<Model>,
    tail: VecDeque<Op>,
    planted: Option<Planted>,
}

impl Memory {
    fn parts(&self, op: Op) -> Vec<Op> {
        match self.planted {
            Some(planted) => sabotage::split(planted, op),
            None => vec![op],
        }
    }
}

fn execute(model: &mut Model, op: &Op, planted: Option<Planted>) -> Option<Version> {
    if let Some(planted) = planted {
        return sabotage::execute(planted, model, op);
    }
    match op.clone() {
        Op::Write { place: (domain, key), value, wall } => Some(model.write(domain, key, value, wall)),
        Op::Apply { from, batches, wall } => {
            model.apply(from, batches, wall);
            None
        }
    }
}

impl Disk for Memory {
    const NAME: &'static str = "memory";
    type Inner = Model;
    type View<'a> = &'a Model;
    type Backup = Model;

    fn create(device: DeviceId, epoch: Epoch, lazy: bool, planted: Option<Planted>) -> Self {
        let live = Model::new(device, epoch);
        let durable = lazy.then(|| live.clone());
        Self { live, durable, tail: VecDeque::new(), planted }
    }

    fn view(&self) -> &Model {
        &self.live
    }

    fn commit(&mut self, op: Op) -> Option<Version> {
        let mut version = None;
        for op in self.parts(op) {
            version = execute(&mut self.live, &op, self.planted).or(version);
            if self.durable.is_some() {
                self.tail.push_back(op);
            }
        }
        version
    }

    fn sync(&mut self) {
        if let Some(durable) = &mut self.durable {
            for op in self.tail.drain(..) {
                execute(durable, &op, self.planted);
            }
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        if let Some(durable) = &mut self.durable {
            let kept = rng.usize(..=self.tail.len());
            for op in self.tail.drain(..).take(kept) {
                execute(durable, &op, self.planted);
            }
            self.live = durable.clone();
        }
    }

    fn crash_inside(&mut self, op: Op, rng: &mut Rng) {
        let parts = self.parts(op);
        let kept = rng.usize(..=parts.len());
        if self.durable.is_some() {
            self.tail.extend(parts.into_iter().take(kept));
            self.crash(rng);
        } else {
            for op in parts.iter().take(kept) {
                execute(&mut self.live, op, self.planted);
            }
        }
    }

    fn start(&mut self, epoch: Epoch) {
        for model in [Some(&mut self.live), self.durable.as_mut()].into_iter().flatten() {
            match self.planted {
                Some(planted) => sabotage::start(planted, model, epoch),
                None => model.epoch = epoch,
            }
        }
    }

    fn backup(&self) -> Model {
        self.durable.as_ref().unwrap_or(&self.live).clone()
    }

    fn restore(&mut self, backup: &Model) {
        self.live = backup.clone();
        self.tail.clear();
        if let Some(durable) = &mut self.durable {
            *durable = backup.clone();
        }
    }

    fn keeps(&self, place: &Place, version: &Version) -> bool {
        let model = self.durable.as_ref().unwrap_or(&self.live);
        if model.version(place.0, &place.1).as_ref() == Some(version) {
            return true;
        }
        let kept = model.history.get(place).into_iter().flatten();
        kept.into_iter().any(|kept| kept.record.version == *version)
    }

    fn version(&self, (domain, key): &Place) -> Option<Version> {
        self.live.version(*domain, key)
    }

    fn contents(&self, domain: DomainId) -> Contents {
        self.live.contents(domain)
    }

    fn clock(&self) -> Hlc {
        self.live.clock.last
    }
}
