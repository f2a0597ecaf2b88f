//! What people and applications ask of a store.

use std::ops::Bound;

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::snapshot::Snapshot;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::value;

use crate::error::ReadError;
use crate::history::{Past, body};
use crate::rows::DomainRow;
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// One row of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The record's key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// When it was committed here, by this device's clock.
    pub received: UnixMillis,
    /// The device that delivered it; `None` for a local write.
    pub from: Option<DeviceId>,
    /// The length of the application's value.
    pub bytes: u64,
}

/// A live record as applications see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Live {
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// The number of the schema that the value follows; 0 if it cannot be
    /// read.
    pub schema: u32,
    /// The application's value; all that is stored if it cannot be read.
    pub value: Vec<u8>,
}

/// How much a domain holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainCounts {
    /// The domain.
    pub domain: DomainId,
    /// Its name, if this device knows it.
    pub name: Option<String>,
    /// Live records.
    pub live: u64,
    /// Deleted records.
    pub tombstones: u64,
    /// Conflicts whose losers are kept.
    pub conflicts: u64,
    /// Live records that this device cannot use yet.
    pub waiting: u64,
}

/// A version in history with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PastVersion {
    /// The version.
    pub past: Past,
    /// The application's value; `None` if it was a deletion.
    pub value: Option<Vec<u8>>,
}

/// A loser that a conflict left behind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The record.
    pub key: Key,
    /// The loser, in the record's history.
    pub loser: Past,
}

impl StoreSnapshot {
    /// The live record under a key. A damaged one reads as none, and is
    /// counted.
    pub fn get(&self, domain: DomainId, key: &Key) -> Result<Option<Live>, ReadError> {
        let record = self.record(domain, item::key_hash(domain, key))?;
        let Some(Record { key, version, value: Some(stored) }) = record else { return Ok(None) };
        Ok(Some(match value::open(&stored) {
            Ok(opened) => {
                let (schema, value) = (opened.header.schema, opened.body.to_vec());
                Live { key, version, schema, value }
            }
            Err(_) => Live { key, version, schema: 0, value: stored },
        }))
    }

    /// Up to `limit` live records after `after` whose key starts with
    /// `prefix`, in key order.
    pub fn list(
        &self,
        domain: DomainId,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let mut keys = Vec::new();
        if limit > 0 {
            self.scan_records(dom, prefix, after, |key, live| {
                if live {
                    keys.push(key);
                }
                keys.len() < limit
            })?;
        }
        let mut listed = Vec::with_capacity(keys.len());
        for key in keys {
            let row = self.item_row(dom, item::key_hash(domain, &key))?;
            let row = row.ok_or_else(|| ReadError::damaged("a record without an item"))?;
            let value = self.view.records.get(tables::record_key(dom, &key).as_slice())?;
            let bytes = value.map_or(0, |value| value.value().map_or(0, |stored| body(stored).len() as u64));
            let (version, from) = (row.item.version, row.item.from);
            listed.push(Listed { key, version, received: row.received, from, bytes });
        }
        Ok(listed)
    }

    /// Visits records in key order, tombstones included, until `visit` returns
    /// false. The flag says whether the record is live.
    pub(crate) fn scan_records(
        &self,
        dom: u32,
        prefix: &str,
        after: Option<&Key>,
        mut visit: impl FnMut(Key, bool) -> bool,
    ) -> Result<(), ReadError> {
        let first = tables::record_prefix(dom, prefix);
        let start = match after.map(|after| tables::record_key(dom, after)) {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first.clone()),
        };
        let start = start.as_ref().map(Vec::as_slice);
        for row in self.view.records.range::<&[u8]>((start, Bound::Unbounded))? {
            let (key, value) = row?;
            if !key.value().starts_with(&first) {
                break;
            }
            let text = key.value().get(4..).and_then(|key| std::str::from_utf8(key).ok());
            let key = text.and_then(|key| Key::new(key).ok());
            let key = key.ok_or_else(|| ReadError::damaged("an unreadable record key"))?;
            if !visit(key, value.value().is_some()) {
                break;
            }
        }
        Ok(())
    }

    /// The versions of a record that were set aside, newest first.
    pub fn history(&self, domain: DomainId, key: &Key) -> Result<Vec<Past>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let hash = item::key_hash(domain, key);
        let mut history = Vec::new();
        for row in self.view.history.range(tables::all_past(dom, hash))?.rev() {
            let (place, row) = row?;
            history.push(Past::new(place.value().2, self.decode_past(dom, hash, row.value())?).0);
        }
        Ok(history)
    }

    /// A version in the history of a record, with its value.
    pub fn version(
        &self,
        domain: DomainId,
        key: &Key,
        number: u64,
    ) -> Result<Option<PastVersion>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(None) };
        let hash = item::key_hash(domain, key);
        let Some(row) = self.view.history.get((dom, tables::number(hash), number))? else { return Ok(None) };
        let (past, value) = Past::new(number, self.decode_past(dom, hash, row.value())?);
        let value = value.map(|stored| body(&stored).to_vec());
        Ok(Some(PastVersion { past, value }))
    }

    /// Up to `limit` conflicts of a domain, newest first.
    pub fn conflicts(&self, domain: DomainId, limit: usize) -> Result<Vec<Conflict>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let mut conflicts = Vec::new();
        for row in self.view.conflicts.range(tables::all_numbers(dom))?.rev().take(limit) {
            let (place, hash) = row?;
            let (number, hash) = (place.value().1, tables::key_hash(hash.value()));
            let past = self.view.history.get((dom, tables::number(hash), number))?;
            let (Some(past), Some(row)) = (past, self.item_row(dom, hash)?) else {
                return Err(ReadError::damaged("a conflict without a record"));
            };
            let (loser, _) = Past::new(number, self.decode_past(dom, hash, past.value())?);
            conflicts.push(Conflict { key: row.item.key, loser });
        }
        Ok(conflicts)
    }

    /// What each domain holds that was ever written to, by name and then id.
    pub fn counts(&self) -> Result<Vec<DomainCounts>, ReadError> {
        let mut counts = Vec::new();
        for row in self.view.domains.range::<u32>(..)? {
            let row = DomainRow::decode(row?.1.value())?;
            counts.push(DomainCounts {
                domain: row.id,
                name: self.domain_name(row.id)?,
                live: row.live,
                tombstones: row.summary.items.saturating_sub(row.live),
                conflicts: row.conflicts,
                waiting: self.count_waiting(&row),
            });
        }
        counts.sort_by(|a, b| {
            let order = |counts: &DomainCounts| (counts.name.is_none(), counts.name.clone(), counts.domain);
            order(a).cmp(&order(b))
        });
        Ok(counts)
    }

    /// The name of a domain, if this device knows it.
    pub fn domain_name(&self, domain: DomainId) -> Result<Option<String>, ReadError> {
        Ok(self.view.domain_names.get(&domain.0)?.map(|row| row.value().to_owned()))
    }

    /// All domain names this device knows.
    pub fn domain_names(&self) -> Result<Vec<String>, ReadError> {
        let mut names = Vec::new();
        for row in self.view.domain_names.range::<&[u8; 16]>(..)? {
            names.push(row?.1.value().to_owned());
        }
        names.sort();
        Ok(names)
    }
}
