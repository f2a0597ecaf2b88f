//! What a session reads of a store, and what it asks the store to commit.

use crate::floor::Floor;
use crate::grants::Grants;
use crate::id::{DeviceId, DomainId, KeyHash};
use crate::record::{Key, Record, Version};
use crate::sums::{Range, Summary};

/// A number drawn at each start of a store that writes: makes a store that
/// was restored from a backup visible to those who remember its log.
pub type Epoch = u64;

/// How far one device has taken in another's arrival log of a domain.
///
/// Committed in the transaction of the records it covers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    /// The epoch of the other device's log.
    pub epoch: Epoch,
    /// The last position taken in.
    pub seq: u64,
    /// The last key taken in while a first copy in key order is under way;
    /// `None` once it is complete. The log counts from `seq` after that.
    pub after: Option<Key>,
}

/// The state of a whole domain: one row proves equality.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Root {
    /// All items of the domain.
    pub summary: Summary,
    /// How many of them are live records.
    pub live: u64,
    /// The epoch that gave position `head`; 0 when the log is empty.
    pub epoch: Epoch,
    /// The last position of the arrival log; 0 when it is empty.
    pub head: u64,
    /// How far back deletions are remembered.
    pub floor: Floor,
}

/// A record without its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The record's key.
    pub key: Key,
    /// Its winning version.
    pub version: Version,
    /// Its position in the arrival log.
    pub seq: u64,
    /// The device that delivered it; `None` for a local write.
    pub from: Option<DeviceId>,
}

/// One consistent view of a store, held for one step of a session.
pub trait Snapshot {
    /// Why a read failed. The data may be in danger: the session ends.
    type Error;

    /// All domains that hold an item, sorted.
    fn domains(&self) -> Result<Vec<DomainId>, Self::Error>;

    /// What this device grants `peer` in a domain.
    fn grants(&self, peer: DeviceId, domain: DomainId) -> Grants {
        let (_, _) = (peer, domain);
        Grants::ALL
    }

    /// All domains in which [`grants`](Self::grants) may differ from
    /// [`other_grants`](Self::other_grants), whether they hold an item or not.
    fn limited_domains(&self, peer: DeviceId) -> Vec<DomainId> {
        let _ = peer;
        Vec::new()
    }

    /// What this device grants `peer` in every domain that nothing is said of.
    fn other_grants(&self, peer: DeviceId) -> Grants {
        let _ = peer;
        Grants::ALL
    }

    /// The root of a domain; all zero for one that holds nothing.
    fn root(&self, domain: DomainId) -> Result<Root, Self::Error>;

    /// How far this device has taken in `peer`'s log.
    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Cursor>, Self::Error>;

    /// The epoch that gave position `seq` of the arrival log; `None` beyond
    /// its head, at 0, and where the epoch has been forgotten.
    fn epoch_at(&self, domain: DomainId, seq: u64) -> Result<Option<Epoch>, Self::Error>;

    /// Whether this store ever had position `seq` in `epoch`: a cursor that
    /// it did not have belongs to a past that a restored backup undid.
    fn had(&self, domain: DomainId, epoch: Epoch, seq: u64) -> Result<bool, Self::Error> {
        Ok(self.epoch_at(domain, seq)? == Some(epoch))
    }

    /// Up to `limit` items that arrived after position `after`, in order of
    /// arrival.
    fn log(&self, domain: DomainId, after: u64, limit: usize) -> Result<Vec<Item>, Self::Error>;

    /// Up to `limit` keys after `after`, in key order, tombstones included.
    fn keys(&self, domain: DomainId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Self::Error>;

    /// The item under a key hash.
    fn item(&self, domain: DomainId, key: KeyHash) -> Result<Option<Item>, Self::Error>;

    /// The record under a key hash, checked against its hashes; `None` when
    /// there is none or the check failed, which the store reports by itself.
    fn record(&self, domain: DomainId, key: KeyHash) -> Result<Option<Record>, Self::Error>;

    /// The summary of a range.
    fn summary(&self, domain: DomainId, range: Range) -> Result<Summary, Self::Error>;

    /// The summaries of a range's children, in order.
    fn children(&self, domain: DomainId, range: Range) -> Result<Vec<Summary>, Self::Error>;

    /// Up to `limit` items of a range after the key hash `after`, in order of
    /// key hash.
    fn items(
        &self,
        domain: DomainId,
        range: Range,
        after: Option<KeyHash>,
        limit: usize,
    ) -> Result<Vec<Item>, Self::Error>;
}

/// Records of one domain to apply in one transaction, with the cursor that
/// covers them.
///
/// Applying is a join: in any order, any number of times, the result is the
/// same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// The domain of all its records.
    pub domain: DomainId,
    /// Checked records.
    pub records: Vec<Record>,
    /// The new cursor of the device that sent them, if it moves.
    pub cursor: Option<Cursor>,
    /// What the session has found out about floors, if anything.
    pub floor: Option<FloorNews>,
}

/// What a session finds out about the other device's floor in a domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FloorNews {
    /// It was never equal with anybody: what it brings is new, however old.
    New,
    /// It is higher than the own one, and the other device has taken in the
    /// own log up to `known`.
    Higher {
        /// The other device's floor.
        floor: Floor,
        /// A position of the own log.
        known: u64,
    },
    /// Both hold the same.
    Equal {
        /// The other device's floor.
        floor: Floor,
    },
}
