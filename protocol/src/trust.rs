//! Who is trusted, and the one place that says yes.
//!
//! Trust in a key only ever goes one way: absent, kin, retired, revoked. Views
//! of different devices are merged by taking the later of the two, so no clock,
//! vote or chain decides, and an old statement can only repeat what is known or
//! say less. A device believes only what a device that it holds to be kin *at
//! that moment* says in its own name; a new device additionally comes with the
//! signed word of the one that really paired it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cbor::DecodeError;
use crate::hash::tagged;
use crate::id::{DeviceId, DomainId};

mod accept;
mod local;
pub mod message;
mod row;
pub mod statement;

pub use accept::{Changes, Claim, Notice};
pub use local::{ConfirmError, Introduced, PairError, RevokeError};
pub use row::{Row, State};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/kinsync/trust/1";

/// Trusted devices at most: far more than a person owns, and every one of them
/// is a row in every message and a device in every ancestry.
pub const LIVE_MAX: usize = 64;

/// Revocations of unknown keys that are believed from one device: bounds what
/// a thief can fill our store with. A revocation of a trusted key never counts.
pub const UNKNOWN_ENDS_MAX: usize = 256;

/// Devices kept for the person to decide about; later ones are dropped and
/// come again with the next exchange.
pub const UNDECIDED_MAX: usize = 64;

/// How far a trusted device is trusted. The order is the order of rights.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// For one session: never stored, listed or passed on.
    Once = 1,
    /// May sync the domains it was given; may not add or revoke anybody.
    Guest = 2,
    /// A device of the same person: may do everything.
    Kin = 3,
}

impl Role {
    pub(crate) fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Self::Once),
            2 => Ok(Self::Guest),
            3 => Ok(Self::Kin),
            _ => Err(DecodeError::Invalid { what: "role" }),
        }
    }
}

/// What a device is to this one at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing is known that would grant anything.
    Stranger,
    /// Admitted to this session.
    Once,
    /// Trusted with some domains.
    Guest,
    /// Fully trusted.
    Kin,
    /// Its key was given up in good standing. Dead for ever.
    Retired,
    /// Its key was revoked. Dead for ever.
    Revoked,
}

impl Standing {
    /// Whether this key can never be trusted again.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Retired | Self::Revoked)
    }
}

/// What a peer may or may not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Stay connected at all. Strangers may while a pairing window is open.
    Connect {
        /// Whether one is.
        window_open: bool,
    },
    /// Exchange trust statements, and be believed.
    ExchangeTrust,
    /// Speak the pairing protocol with an open window.
    Pair,
    /// Sync anything at all.
    Sync,
    /// Sync this domain.
    SyncDomain(DomainId),
}

/// What becomes of devices that other kin bring in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Adoption {
    /// They are trusted, and the person is told.
    #[default]
    Auto,
    /// The person is asked first.
    Ask,
}

/// What this device believes about all others.
///
/// Cheap to clone. To change it together with the store, clone it, apply the
/// change, write [`Changes::rows`] in the transaction, and put the clone in its
/// place once that has committed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    me: DeviceId,
    rows: BTreeMap<DeviceId, Row>,
    visitors: BTreeMap<DeviceId, Visitor>,
    adoption: Adoption,
    generation: u64,
}

/// A device admitted once. Lives in memory only.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Visitor {
    until: Duration,
    domains: Option<Vec<String>>,
}

/// A fingerprint of a view. Kept beside the identity, it tells after a restore
/// from backup that the view is older than what this device has known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// How many devices the view knows.
    pub count: u64,
    /// Of who they are and how far they are trusted.
    pub hash: [u8; 32],
}

impl View {
    /// The view of a device that knows nobody.
    pub fn new(me: DeviceId) -> Self {
        Self::from_rows(me, [])
    }

    /// The view that the store kept.
    pub fn from_rows(me: DeviceId, rows: impl IntoIterator<Item = (DeviceId, Row)>) -> Self {
        let rows = rows.into_iter().collect();
        Self { me, rows, visitors: BTreeMap::new(), adoption: Adoption::Auto, generation: 0 }
    }

    /// The device whose view this is.
    pub fn me(&self) -> DeviceId {
        self.me
    }

    /// Sets what becomes of devices that other kin bring in.
    pub fn set_adoption(&mut self, adoption: Adoption) {
        self.adoption = adoption;
    }

    /// Counts up whenever an answer of [`may`](Self::may) could have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All devices that are or were trusted, or wait for a decision.
    pub fn rows(&self) -> &BTreeMap<DeviceId, Row> {
        &self.rows
    }

    /// What is known of one device.
    pub fn row(&self, device: DeviceId) -> Option<&Row> {
        self.rows.get(&device)
    }

    /// The devices that are trusted lastingly.
    pub fn trusted(&self) -> impl Iterator<Item = (DeviceId, &Row)> {
        self.rows.iter().filter(|(_, row)| row.state == State::Kin).map(|(device, row)| (*device, row))
    }

    /// What `peer` is to this device.
    pub fn standing(&self, peer: DeviceId) -> Standing {
        let state = self.rows.get(&peer).map(|row| (row.state, row.role));
        match state {
            Some((State::Kin, Role::Kin)) => Standing::Kin,
            Some((State::Kin, Role::Guest | Role::Once)) => Standing::Guest,
            Some((State::Retired, _)) => Standing::Retired,
            Some((State::Revoked, _)) => Standing::Revoked,
            Some((State::Absent, _)) | None if self.visitors.contains_key(&peer) => Standing::Once,
            Some((State::Absent, _)) | None => Standing::Stranger,
        }
    }

    /// Whether `peer` may do this now. The only function that says yes.
    pub fn may(&self, peer: DeviceId, action: Action) -> bool {
        if peer == self.me {
            return false;
        }
        let standing = self.standing(peer);
        match (action, standing) {
            (_, Standing::Retired | Standing::Revoked) => false,
            (Action::Connect { window_open }, Standing::Stranger) => window_open,
            (Action::Connect { .. }, Standing::Once | Standing::Guest | Standing::Kin) => true,
            // Trusted devices may pair again: a lost answer is cured that way.
            (Action::Pair, _) => true,
            (Action::ExchangeTrust, standing) => standing == Standing::Kin,
            (Action::Sync, Standing::Kin | Standing::Guest) => !self.has_revoked_us(peer),
            (Action::Sync, standing) => standing == Standing::Once,
            (Action::SyncDomain(domain), _) => self.may(peer, Action::Sync) && self.allows(peer, domain),
        }
    }

    /// Whether `peer` has said that it revoked this device.
    pub fn has_revoked_us(&self, peer: DeviceId) -> bool {
        self.rows.get(&peer).is_some_and(|row| row.revoked_us.is_some())
    }

    /// The devices that `origin` has paired, whoever told us of them.
    pub fn introduced_by(&self, origin: DeviceId) -> impl Iterator<Item = (DeviceId, &Row)> {
        self.trusted().filter(move |(device, row)| *device != origin && row.origin == origin)
    }

    /// What the person should look at, as long as it stands.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (device, row) in &self.rows {
            let (device, by, origin) = (*device, row.cause, row.origin);
            if row.state == State::Absent {
                notices.push(match self.is_revoked(origin) {
                    true => Notice::BroughtInByRevoked { device, by, origin },
                    false => Notice::AskAdoption { device, by, origin },
                });
            }
            if row.state == State::Kin && row.revoked_us.is_some() {
                notices.push(Notice::RevokedUs { by: device });
            }
        }
        notices
    }

    /// The fingerprint of everything that decides.
    pub fn head(&self) -> Head {
        let mut hash = [0; 32];
        for (device, row) in &self.rows {
            let decides = [row.state as u8, row.role as u8, u8::from(row.revoked_us.is_some())];
            hash = tagged("kinsync/head/1", &[&hash, device.as_bytes(), &decides, row.origin.as_bytes()]);
        }
        Head { count: self.rows.len() as u64, hash }
    }

    /// Ends the visits of devices admitted once that are overdue.
    pub fn dismiss_overdue(&mut self, now: Duration) -> Vec<DeviceId> {
        let overdue = |(device, visitor): (&DeviceId, &Visitor)| (now >= visitor.until).then_some(*device);
        let overdue: Vec<_> = self.visitors.iter().filter_map(overdue).collect();
        overdue.iter().for_each(|device| self.dismiss(*device));
        overdue
    }

    /// When the next visit ends.
    pub fn next_dismissal(&self) -> Option<Duration> {
        self.visitors.values().map(|visitor| visitor.until).min()
    }

    /// Ends the visit of a device admitted once.
    pub fn dismiss(&mut self, device: DeviceId) {
        if self.visitors.remove(&device).is_some() {
            self.generation += 1;
        }
    }

    fn allows(&self, peer: DeviceId, domain: DomainId) -> bool {
        let listed = match self.standing(peer) {
            Standing::Kin => return true,
            Standing::Guest => self.rows.get(&peer).and_then(|row| row.domains.as_ref()),
            Standing::Once => self.visitors.get(&peer).and_then(|visitor| visitor.domains.as_ref()),
            Standing::Stranger | Standing::Retired | Standing::Revoked => return false,
        };
        listed.is_none_or(|names| names.iter().any(|name| DomainId::of(name) == domain))
    }

    fn is_revoked(&self, device: DeviceId) -> bool {
        self.rows.get(&device).is_some_and(|row| row.state == State::Revoked)
    }

    fn count_live(&self) -> usize {
        self.trusted().count()
    }

    /// Puts a row in its place and notes it; the only way rows change.
    fn put(&mut self, device: DeviceId, row: Row, changes: &mut Changes) {
        let before = self.standing(device);
        self.rows.insert(device, row.clone());
        changes.rows.insert(device, row);
        self.generation += 1;
        let after = self.standing(device);
        let trusts = |standing: Standing| !standing.is_dead() && standing != Standing::Stranger;
        if after.is_dead() {
            self.visitors.remove(&device);
        }
        if trusts(before) && !trusts(after) {
            changes.ended.insert(device);
        }
    }
}

#[cfg(test)]
mod tests;
