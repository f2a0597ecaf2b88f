//! The store of a simulated device: what it shows, what is durable, and what a
//! crash leaves of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::Deref;

use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item::item_hash;
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::rights::Rights;
use kinsync_protocol::snapshot::{Batch, Cursor, Epoch, Snapshot};
use kinsync_protocol::stamp::{Hlc, UnixMillis};
use kinsync_protocol::sums::Summary;
use kinsync_protocol::trust::statement::{Reason, Statement};
use kinsync_protocol::trust::{Action, Changes, Introduced, Role, View};
use kinsync_protocol::{card::Card, pairing::Paired};

use crate::model::Model;
use crate::planted::{Planted, sabotage};

mod real;

pub use real::Real;

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

/// What became of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Done {
    /// The user's new version.
    Wrote(Version),
    /// What a peer sent is in.
    Applied,
    /// Nothing was changed: the peer is not trusted, or there was nothing to
    /// delete.
    Refused,
}

/// A change of the trust view.
#[derive(Clone, Debug)]
pub enum TrustOp {
    /// The device was paired with another one.
    Pair(DeviceId),
    /// The user revoked another device.
    Revoke(DeviceId),
    /// Another device said this.
    Accept(DeviceId, Vec<Statement>),
    /// Another device refused this one as revoked.
    Refused(DeviceId),
}

impl TrustOp {
    /// Changes a view.
    pub fn change(&self, view: &mut View) -> Changes {
        let at = UnixMillis(0);
        match self {
            Self::Pair(device) => {
                let (ours, theirs) = (None, None);
                let (device, card) = (*device, Card::default());
                let role = Role::Kin;
                let paired = Paired { device, card, role, domains: None, once_seconds: 0, ours, theirs };
                view.pair(&paired, at, Default::default()).expect("two devices that never met pair")
            }
            Self::Revoke(device) => view
                .revoke(*device, Introduced::Keep, Reason::Lost, at)
                .expect("a device revokes another one"),
            Self::Accept(from, statements) => view.accept(*from, statements, at),
            Self::Refused(from) => view.handle_bye_revoked(*from, at),
        }
    }
}

/// What a simulated device keeps its records in.
///
/// The same worlds and laws run over every implementation.
pub trait Disk: Sized {
    /// What it is called on the command line.
    const NAME: &'static str;
    /// How many versions of a record its history keeps at least.
    const HISTORY: usize;
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

    /// Commits a transaction.
    fn commit(&mut self, op: Op) -> Done;

    /// Changes the trust view, durably, and everything before it as well.
    fn trust(&mut self, op: &TrustOp) -> Changes;

    /// Changes what a device may do, durably, and everything before it as well.
    fn allow(&mut self, peer: DeviceId, rights: Rights);

    /// What a device may do.
    fn rights(&self, peer: DeviceId) -> Rights;

    /// The trust view that stands.
    fn trusted(&self) -> View;

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
    fn backup(&mut self) -> Self::Backup;

    /// Replaces everything by a backup, as it will be found by the next start.
    fn restore(&mut self, backup: &Self::Backup);

    /// Whether a version is durable here, standing or in the history.
    fn keeps(&self, place: &Place, version: &Version) -> bool;

    /// The version that stands under a key, durable or not.
    fn version(&self, place: &Place) -> Option<Version>;

    /// Everything that a domain holds, durable or not.
    fn contents(&self, domain: DomainId) -> Contents;

    /// The last time that the hybrid clock gave or followed, if it can be
    /// told.
    fn clock(&self) -> Option<Hlc>;

    /// Recomputes all that is derived from the records, and compares. What
    /// does not fit, if anything.
    fn check(&self) -> Result<(), String>;

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
    trust: View,
    planted: Option<Planted>,
}

impl Memory {
    /// Whether the writer of `op` may write. Everything before `op` stands.
    fn allows(&self, op: &Op) -> bool {
        match op {
            Op::Write { place, value: None, .. } => {
                self.live.version(place.0, &place.1).is_some_and(|version| !version.deleted)
            }
            Op::Write { .. } => true,
            Op::Apply { .. } if self.planted == Some(Planted::TrustCheckedEarly) => true,
            Op::Apply { from, batches, .. } => {
                let granted = |batch: &Batch| self.live.grants_of(*from, batch.domain).write;
                let early = self.planted == Some(Planted::RightsCheckedEarly);
                self.trust.may(*from, Action::Sync) && (early || batches.iter().all(granted))
            }
        }
    }

    fn parts(&self, op: Op) -> Vec<Op> {
        match self.planted {
            Some(planted) => sabotage::split(planted, op),
            None => vec![op],
        }
    }
}

fn execute(model: &mut Model, op: &Op, planted: Option<Planted>) -> Done {
    if let Some(planted) = planted {
        return sabotage::execute(planted, model, op);
    }
    match op.clone() {
        Op::Write { place: (domain, key), value, wall } => Done::Wrote(model.write(domain, key, value, wall)),
        Op::Apply { from, batches, wall } => {
            model.apply(from, batches, wall);
            Done::Applied
        }
    }
}

impl Disk for Memory {
    const NAME: &'static str = "memory";
    const HISTORY: usize = usize::MAX;
    type Inner = Model;
    type View<'a> = &'a Model;
    type Backup = (Model, View);

    fn create(device: DeviceId, epoch: Epoch, lazy: bool, planted: Option<Planted>) -> Self {
        let live = Model::new(device, epoch);
        let durable = lazy.then(|| live.clone());
        Self { live, durable, tail: VecDeque::new(), trust: View::new(device), planted }
    }

    fn view(&self) -> &Model {
        &self.live
    }

    fn commit(&mut self, op: Op) -> Done {
        if !self.allows(&op) {
            return Done::Refused;
        }
        let mut done = Done::Refused;
        for op in self.parts(op) {
            done = execute(&mut self.live, &op, self.planted);
            if self.durable.is_some() {
                self.tail.push_back(op);
            }
        }
        done
    }

    fn trust(&mut self, op: &TrustOp) -> Changes {
        self.sync();
        op.change(&mut self.trust)
    }

    fn allow(&mut self, peer: DeviceId, rights: Rights) {
        self.sync();
        for model in [Some(&mut self.live), self.durable.as_mut()].into_iter().flatten() {
            model.rights.insert(peer, rights.clone());
        }
    }

    fn rights(&self, peer: DeviceId) -> Rights {
        self.live.rights.get(&peer).cloned().unwrap_or_default()
    }

    fn trusted(&self) -> View {
        self.trust.clone()
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
        let parts = if self.allows(&op) { self.parts(op) } else { Vec::new() };
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
        // What was not stored is gone: the view of a new process.
        self.trust = View::from_rows(self.live.device, self.trust.rows().clone());
        if self.planted == Some(Planted::RevocationForgotten) {
            let alive = self.trust.trusted().map(|(device, row)| (device, row.clone()));
            let alive: Vec<_> = alive.collect();
            let all: Vec<_> = self.trust.rows().keys().copied().collect();
            self.trust = View::from_rows(self.live.device, alive);
            for device in all {
                if self.trust.row(device).is_none() {
                    TrustOp::Pair(device).change(&mut self.trust);
                }
            }
        }
    }

    fn backup(&mut self) -> (Model, View) {
        (self.durable.as_ref().unwrap_or(&self.live).clone(), self.trust.clone())
    }

    fn restore(&mut self, (backup, trust): &(Model, View)) {
        self.live = backup.clone();
        self.trust = trust.clone();
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

    fn clock(&self) -> Option<Hlc> {
        Some(self.live.clock.last)
    }

    fn check(&self) -> Result<(), String> {
        // Everything is derived from one map, except for the root.
        for (domain, rows) in &self.live.domains {
            let mut sum = Summary::EMPTY;
            for (hash, row) in &rows.items {
                sum.add(&item_hash(*domain, *hash, &row.item.version));
            }
            if sum != rows.summary {
                return Err(format!("the root of {domain}: {:?} is {sum:?}", rows.summary));
            }
        }
        Ok(())
    }
}
