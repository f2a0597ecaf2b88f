//! A store in memory, small enough to be obviously right.
//!
//! The reference that the real store is compared with, and what simulated
//! devices hold. Everything that a store has to keep in step is derived from
//! one map of items, at the price of scans.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use kinsync_protocol::floor::Floor;
use kinsync_protocol::grants::Grants;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::item::{item_hash, key_hash};
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::rights::Rights;
use kinsync_protocol::snapshot::{Batch, Cursor, Epoch, FloorNews, Item, Root, Snapshot};
use kinsync_protocol::stamp::{Ancestry, HybridClock, Stamp, UnixMillis};
use kinsync_protocol::sums::{Range, Summary};

/// A version that lost, and why it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The losing version with its value.
    pub record: Record,
    /// Whether the winner had not known it.
    pub conflict: bool,
}

/// A store in memory.
#[derive(Clone, Debug)]
pub struct Model {
    /// Who owns it.
    pub device: DeviceId,
    /// Its hybrid clock.
    pub clock: HybridClock,
    /// Its domains.
    pub domains: BTreeMap<DomainId, Domain>,
    /// How far it has taken in others.
    pub cursors: BTreeMap<(DeviceId, DomainId), Cursor>,
    /// Every version that was replaced, by domain and key.
    pub history: BTreeMap<(DomainId, Key), Vec<Kept>>,
    /// The epoch of writes since the last start.
    pub epoch: Epoch,
    /// What others may do; a device that is not in it may do everything.
    pub rights: BTreeMap<DeviceId, Rights>,
    /// Where it was equal with another device.
    pub joined: BTreeSet<DomainId>,
}

/// A domain in memory.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    pub(crate) items: BTreeMap<KeyHash, Row>,
    pub(crate) log: BTreeMap<u64, KeyHash>,
    pub(crate) keys: BTreeMap<Key, KeyHash>,
    pub(crate) summary: Summary,
    pub(crate) head: u64,
    epochs: BTreeMap<u64, Epoch>,
    live: u64,
}

/// What a domain holds under one key.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) item: Item,
    value: Option<Vec<u8>>,
    /// The item's hash, which every sum over it needs.
    hash: [u8; 32],
}

impl Model {
    /// An empty store that starts in `epoch`.
    pub fn new(device: DeviceId, epoch: Epoch) -> Self {
        Self {
            device,
            clock: HybridClock::default(),
            domains: BTreeMap::new(),
            cursors: BTreeMap::new(),
            history: BTreeMap::new(),
            epoch,
            rights: BTreeMap::new(),
            joined: BTreeSet::new(),
        }
    }

    /// Writes a value, or a tombstone for `None`, as this device.
    pub fn write(&mut self, domain: DomainId, key: Key, value: Option<Vec<u8>>, wall: UnixMillis) -> Version {
        let old = self.version(domain, &key);
        let time = self.clock.tick(wall, old.as_ref().map(|old| old.stamp.time));
        let seen = old.map_or_else(Ancestry::default, |old| old.seen.replaced_by(old.stamp, self.device));
        let record = Record::new(key, value, Stamp { time, device: self.device }, seen);
        let version = record.version.clone();
        self.join(domain, record, None);
        version
    }

    /// Applies what `from` sent.
    pub fn apply(&mut self, from: DeviceId, batches: Vec<Batch>, wall: UnixMillis) {
        for Batch { domain, records, cursor, floor } in batches {
            // Nothing is ever forgotten here: see `crate::floors` for that.
            if let Some(FloorNews::Equal { .. }) = floor {
                self.joined.insert(domain);
            }
            for record in records {
                self.clock.follow(record.version.stamp.time, wall);
                if self.undoes(from, domain, &record) {
                    self.write_over(domain, &record, wall);
                } else {
                    self.join(domain, record, Some(from));
                }
            }
            if let Some(cursor) = cursor {
                self.cursors.insert((from, domain), cursor);
            }
        }
    }

    /// What `peer` may do in a domain.
    pub fn grants_of(&self, peer: DeviceId, domain: DomainId) -> Grants {
        self.rights.get(&peer).unwrap_or(&Rights::ALL).grants(domain, false)
    }

    /// Whether a record deletes what is not its author's, or that of the device
    /// that delivers it, to delete.
    fn undoes(&self, from: DeviceId, domain: DomainId, record: &Record) -> bool {
        let may = |device| self.grants_of(device, domain).delete;
        let author = record.version.stamp.device;
        let stands = self.version(domain, &record.key);
        let deletes = |own: Version| !own.deleted && own < record.version;
        record.version.deleted && !(may(from) && may(author)) && stands.is_some_and(deletes)
    }

    /// Writes the value that stands once more, so that it beats `record`.
    fn write_over(&mut self, domain: DomainId, record: &Record, wall: UnixMillis) {
        let (Some(own), value) = (self.version(domain, &record.key), self.value(domain, &record.key)) else {
            return;
        };
        let value = value.map(<[u8]>::to_vec);
        let time = self.clock.tick(wall, Some(record.version.stamp.time));
        let stamp = Stamp { time, device: self.device };
        let seen = own.seen.with(own.stamp).join(&record.version.seen);
        let seen = seen.replaced_by(record.version.stamp, self.device);
        self.join(domain, Record::new(record.key.clone(), value, stamp, seen), None);
    }

    /// The winning version of a record.
    pub fn version(&self, domain: DomainId, key: &Key) -> Option<Version> {
        let row = self.domains.get(&domain)?.items.get(&key_hash(domain, key))?;
        Some(row.item.version.clone())
    }

    /// The value of a live record.
    pub fn value(&self, domain: DomainId, key: &Key) -> Option<&[u8]> {
        self.domains.get(&domain)?.items.get(&key_hash(domain, key))?.value.as_deref()
    }

    /// All versions of a domain, in the order of their keys.
    pub fn contents(&self, domain: DomainId) -> BTreeMap<Key, (Version, Option<Vec<u8>>)> {
        let items = self.domains.get(&domain).into_iter().flat_map(|domain| domain.items.values());
        items.map(|row| (row.item.key.clone(), (row.item.version.clone(), row.value.clone()))).collect()
    }

    pub(crate) fn join(&mut self, domain: DomainId, record: Record, from: Option<DeviceId>) {
        let hash = key_hash(domain, &record.key);
        let rows = self.domains.entry(domain).or_default();
        if let Some(Row { item: old, value, .. }) = rows.items.get(&hash) {
            if record.version == old.version {
                return;
            }
            let loses = record.version < old.version;
            let own = Record { key: old.key.clone(), version: old.version.clone(), value: value.clone() };
            let (winner, loser) = if loses { (&old.version, &record) } else { (&record.version, &own) };
            let kept = Kept { record: loser.clone(), conflict: !winner.knew(&loser.version) };
            let history = self.history.entry((domain, record.key.clone())).or_default();
            if !history.contains(&kept) {
                history.push(kept);
            }
            if loses {
                return;
            }
        }
        rows.put(domain, hash, record, from, self.epoch);
    }
}

impl Domain {
    /// Lets `record` stand, whatever stood there.
    pub(crate) fn put(
        &mut self,
        id: DomainId,
        hash: KeyHash,
        record: Record,
        from: Option<DeviceId>,
        epoch: Epoch,
    ) {
        self.take_out(hash);
        self.head += 1;
        if self.epochs.values().next_back() != Some(&epoch) {
            self.epochs.insert(self.head, epoch);
        }
        let sum = item_hash(id, hash, &record.version);
        self.summary.add(&sum);
        self.log.insert(self.head, hash);
        self.keys.insert(record.key.clone(), hash);
        self.live += u64::from(!record.version.deleted);
        let item = Item { key: record.key, version: record.version, seq: self.head, from };
        self.items.insert(hash, Row { item, value: record.value, hash: sum });
    }

    /// Takes a row out without a trace.
    pub(crate) fn take_out(&mut self, hash: KeyHash) -> Option<Item> {
        let row = self.items.remove(&hash)?;
        self.log.remove(&row.item.seq);
        self.keys.remove(&row.item.key);
        self.summary.remove(&row.hash);
        self.live -= u64::from(!row.item.version.deleted);
        Some(row.item)
    }

    fn sum(&self, range: Range) -> Summary {
        if range == Range::ALL {
            return self.summary;
        }
        let mut summary = Summary::EMPTY;
        let (low, high) = range.bounds();
        for row in self.items.range(low..=high).map(|(_, row)| row) {
            summary.add(&row.hash);
        }
        summary
    }
}

impl Snapshot for Model {
    type Error = Infallible;

    fn domains(&self) -> Result<Vec<DomainId>, Infallible> {
        Ok(self.domains.keys().copied().collect())
    }

    fn grants(&self, peer: DeviceId, domain: DomainId) -> Grants {
        self.grants_of(peer, domain)
    }

    fn limited_domains(&self, peer: DeviceId) -> Vec<DomainId> {
        self.rights.get(&peer).map(Rights::named).into_iter().flatten().collect()
    }

    fn other_grants(&self, peer: DeviceId) -> Grants {
        self.rights.get(&peer).unwrap_or(&Rights::ALL).others()
    }

    fn root(&self, domain: DomainId) -> Result<Root, Infallible> {
        let floor = if self.joined.contains(&domain) { Floor::JOINED } else { Floor::NEVER };
        let Some(rows) = self.domains.get(&domain) else {
            return Ok(Root { floor, ..Root::default() });
        };
        let epoch = rows.epochs.values().next_back().copied().unwrap_or_default();
        Ok(Root { summary: rows.summary, live: rows.live, epoch, head: rows.head, floor })
    }

    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Cursor>, Infallible> {
        Ok(self.cursors.get(&(peer, domain)).cloned())
    }

    fn epoch_at(&self, domain: DomainId, seq: u64) -> Result<Option<Epoch>, Infallible> {
        let rows = self.domains.get(&domain).filter(|rows| seq <= rows.head);
        Ok(rows.and_then(|rows| rows.epochs.range(..=seq).next_back()).map(|(_, &epoch)| epoch))
    }

    fn log(&self, domain: DomainId, after: u64, limit: usize) -> Result<Vec<Item>, Infallible> {
        let Some(rows) = self.domains.get(&domain) else {
            return Ok(Vec::new());
        };
        let hashes = rows.log.range(after.saturating_add(1)..).take(limit);
        Ok(hashes.filter_map(|(_, hash)| rows.items.get(hash)).map(|row| row.item.clone()).collect())
    }

    fn keys(&self, domain: DomainId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Infallible> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        let keys = self.domains.get(&domain).into_iter();
        Ok(keys
            .flat_map(|rows| rows.keys.range((start, Unbounded)))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect())
    }

    fn item(&self, domain: DomainId, key: KeyHash) -> Result<Option<Item>, Infallible> {
        Ok(self.domains.get(&domain).and_then(|rows| rows.items.get(&key)).map(|row| row.item.clone()))
    }

    fn record(&self, domain: DomainId, key: KeyHash) -> Result<Option<Record>, Infallible> {
        let row = self.domains.get(&domain).and_then(|rows| rows.items.get(&key));
        let record = row.map(|row| Record {
            key: row.item.key.clone(),
            version: row.item.version.clone(),
            value: row.value.clone(),
        });
        Ok(record.filter(|record| record.check().is_ok()))
    }

    fn summary(&self, domain: DomainId, range: Range) -> Result<Summary, Infallible> {
        Ok(self.domains.get(&domain).map_or(Summary::EMPTY, |rows| rows.sum(range)))
    }

    fn children(&self, domain: DomainId, range: Range) -> Result<Vec<Summary>, Infallible> {
        let mut sums: BTreeMap<u64, Summary> =
            range.children().map(|child| (child.prefix, Summary::EMPTY)).collect();
        let bits = range.bits + range.split_bits().unwrap_or(0);
        let (low, high) = range.bounds();
        for (hash, row) in self.domains.get(&domain).into_iter().flat_map(|rows| rows.items.range(low..=high))
        {
            if let Some(sum) = sums.get_mut(&hash.prefix(bits)) {
                sum.add(&row.hash);
            }
        }
        Ok(sums.into_values().collect())
    }

    fn items(
        &self,
        domain: DomainId,
        range: Range,
        after: Option<KeyHash>,
        limit: usize,
    ) -> Result<Vec<Item>, Infallible> {
        let (low, high) = range.bounds();
        let rows = self.domains.get(&domain).into_iter().flat_map(|rows| rows.items.range(low..=high));
        let rows = rows.filter(|(hash, _)| after.is_none_or(|after| **hash > after));
        Ok(rows.map(|(_, row)| row.item.clone()).take(limit).collect())
    }
}
