//! What a commit changed, as told to those who watch.

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::Key;
use kinsync_protocol::snapshot::Epoch;
use kinsync_protocol::stamp::Stamp;

use crate::held::Held;

/// One committed transaction. Given out in order of commit, each once, before
/// the writers of its changes get their answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Commit {
    /// The domains whose log grew.
    pub domains: Vec<DomainChange>,
    /// Whether the trust view changed.
    pub trust: bool,
    /// Domains with conflicts that are newly open, and how many.
    pub conflicts: Vec<(DomainId, u64)>,
    /// Everything that is held, if that changed.
    pub held: Option<Vec<Held>>,
}

impl Commit {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && !self.trust && self.conflicts.is_empty() && self.held.is_none()
    }
}

/// How one domain changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainChange {
    /// The domain.
    pub domain: DomainId,
    /// The epoch of the new positions.
    pub epoch: Epoch,
    /// The last position of its log before.
    pub previous: u64,
    /// The last position of its log now.
    pub head: u64,
    /// The changes in order of position; a record that changed twice stands
    /// here twice. Empty when they are too many to list.
    pub changes: Vec<Change>,
    /// Whether `changes` lists all of them.
    pub complete: bool,
}

/// A record that changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its key.
    pub key: Key,
    /// The hash of its key.
    pub hash: KeyHash,
    /// Whether it was deleted.
    pub deleted: bool,
    /// The new version's stamp.
    pub stamp: Stamp,
    /// Its position in the log.
    pub seq: u64,
    /// The device that delivered it; `None` for a local write.
    pub from: Option<DeviceId>,
}
