//! One read transaction as the protocol's [`Snapshot`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinsync_protocol::grants::Grants;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::{Cursor, Epoch, Item, Root, Snapshot};
use kinsync_protocol::sums::{Range, Summary};

use crate::apply::resolve;
use crate::error::ReadError;
use crate::rows::{DomainRow, ItemRow, PastRow, Place, decode_cursor};
use crate::rules::RuleSet;
use crate::tables::{self, Rows, View};

/// One consistent view of the store.
///
/// Keep it for one step of work: what writes replace meanwhile takes room, in
/// memory and in the file, until it is dropped.
pub struct StoreSnapshot {
    pub(crate) view: View,
    /// The device that owns the store.
    pub(crate) device: DeviceId,
    devices: RefCell<BTreeMap<u32, DeviceId>>,
    pub(crate) rules: Arc<RuleSet>,
    damaged: Arc<AtomicU64>,
}

impl fmt::Debug for StoreSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSnapshot").finish_non_exhaustive()
    }
}

impl StoreSnapshot {
    pub(crate) fn new(view: View, device: DeviceId, rules: Arc<RuleSet>, damaged: Arc<AtomicU64>) -> Self {
        Self { view, device, devices: RefCell::default(), rules, damaged }
    }

    /// The local number of a domain, if it was ever written to.
    pub(crate) fn dom(&self, domain: DomainId) -> Result<Option<u32>, ReadError> {
        Ok(self.view.domain_numbers.get(&domain.0)?.map(|row| row.value()))
    }

    pub(crate) fn domain_row(&self, dom: u32) -> Result<DomainRow, ReadError> {
        let row = self.view.domains.get(dom)?.ok_or_else(|| ReadError::damaged("a domain without a row"))?;
        DomainRow::decode(row.value())
    }

    pub(crate) fn resolve(&self, number: u32) -> Result<DeviceId, ReadError> {
        if let Some(device) = self.devices.borrow().get(&number) {
            return Ok(*device);
        }
        let device = resolve((&self.view.devices, &self.view.device_numbers), number)?;
        self.devices.borrow_mut().insert(number, device);
        Ok(device)
    }

    pub(crate) fn decode_item(&self, dom: u32, key: KeyHash, row: &[u8]) -> Result<ItemRow, ReadError> {
        ItemRow::decode(row, Place { dom, key }, &mut |number| self.resolve(number))
    }

    pub(crate) fn decode_past(&self, dom: u32, key: KeyHash, row: &[u8]) -> Result<PastRow, ReadError> {
        PastRow::decode(row, Place { dom, key }, &mut |number| self.resolve(number))
    }

    pub(crate) fn item_row(&self, dom: u32, key: KeyHash) -> Result<Option<ItemRow>, ReadError> {
        let row = self.view.items.get((dom, tables::number(key)))?;
        row.map(|row| self.decode_item(dom, key, row.value())).transpose()
    }

    /// The summaries of the stored rows under `range`, summed up by the parts
    /// of `bits` bits that they belong to.
    fn stored(&self, dom: u32, level: u8, range: Range, bits: u8) -> Result<Vec<Summary>, ReadError> {
        let (low, high) = range.bounds();
        let prefix = |key: KeyHash| u16::try_from(key.prefix(level)).expect("levels have at most 16 bits");
        let mut sums = parts(range, bits);
        for row in self.view.sums.range((dom, level, prefix(low))..=(dom, level, prefix(high)))? {
            let (place, sum) = row?;
            let part = u64::from(place.value().2) >> (level - bits);
            add(&mut sums, range, bits, part, |part| part.merge(&Summary::from_bytes(sum.value())));
        }
        Ok(sums)
    }

    /// The same from the items themselves, for ranges below the stored rows.
    fn scanned(&self, domain: DomainId, dom: u32, range: Range, bits: u8) -> Result<Vec<Summary>, ReadError> {
        let (low, high) = range.bounds();
        let mut sums = parts(range, bits);
        for row in self.view.items.range((dom, tables::number(low))..=(dom, tables::number(high)))? {
            let (place, row) = row?;
            let key = tables::key_hash(place.value().1);
            let item = self.decode_item(dom, key, row.value())?.item;
            let hash = item::item_hash(domain, key, &item.version);
            add(&mut sums, range, bits, key.prefix(bits), |part| part.add(&hash));
        }
        Ok(sums)
    }

    /// The summaries of the parts of `range` that have `bits` bits fixed.
    fn sums(&self, domain: DomainId, range: Range, bits: u8) -> Result<Vec<Summary>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(parts(range, bits)) };
        match bits {
            0..=8 => self.stored(dom, 8, range, bits),
            9..=16 => self.stored(dom, 16, range, bits),
            _ => self.scanned(domain, dom, range, bits),
        }
    }
}

/// One empty summary for each part of `range` that has `bits` bits fixed.
fn parts(range: Range, bits: u8) -> Vec<Summary> {
    vec![Summary::EMPTY; 1 << bits.saturating_sub(range.bits).min(8)]
}

fn add(sums: &mut [Summary], range: Range, bits: u8, part: u64, change: impl FnOnce(&mut Summary)) {
    let first = range.prefix << bits.saturating_sub(range.bits);
    let index = part.checked_sub(first).and_then(|index| usize::try_from(index).ok());
    if let Some(sum) = index.and_then(|index| sums.get_mut(index)) {
        change(sum);
    }
}

impl Snapshot for StoreSnapshot {
    type Error = ReadError;

    fn domains(&self) -> Result<Vec<DomainId>, ReadError> {
        let mut domains = Vec::new();
        for row in self.view.domains.range::<u32>(..)? {
            let row = DomainRow::decode(row?.1.value())?;
            if row.summary.items > 0 {
                domains.push(row.id);
            }
        }
        domains.sort();
        Ok(domains)
    }

    fn grants(&self, peer: DeviceId, domain: DomainId) -> Grants {
        self.granted(peer, domain)
    }

    fn limited_domains(&self, peer: DeviceId) -> Vec<DomainId> {
        self.granted_apart(peer)
    }

    fn other_grants(&self, peer: DeviceId) -> Grants {
        self.granted_elsewhere(peer)
    }

    fn root(&self, domain: DomainId) -> Result<Root, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Root::default()) };
        let row = self.domain_row(dom)?;
        let epoch = self.view.epochs.range(tables::all_numbers(dom))?.next_back().transpose()?;
        Ok(Root {
            summary: row.summary,
            live: row.live,
            epoch: epoch.map_or(0, |(_, epoch)| epoch.value()),
            head: row.head,
            floor: row.floor,
        })
    }

    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Cursor>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(None) };
        let row = self.view.cursors.get(&tables::cursor_key(&peer.0, dom))?;
        row.map(|row| decode_cursor(row.value())).transpose()
    }

    fn epoch_at(&self, domain: DomainId, seq: u64) -> Result<Option<Epoch>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(None) };
        if seq == 0 || seq > self.domain_row(dom)?.head {
            return Ok(None);
        }
        let row = self.view.epochs.range((dom, 0)..=(dom, seq))?.next_back().transpose()?;
        Ok(row.map(|(_, epoch)| epoch.value()))
    }

    fn log(&self, domain: DomainId, after: u64, limit: usize) -> Result<Vec<Item>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let mut items = Vec::new();
        let range = (Bound::Excluded((dom, after)), Bound::Included((dom, u64::MAX)));
        for row in self.view.log.range(range)?.take(limit) {
            let key = tables::key_hash(row?.1.value());
            let item = self.item_row(dom, key)?;
            items.push(item.ok_or_else(|| ReadError::damaged("a log row without an item"))?.item);
        }
        Ok(items)
    }

    fn keys(&self, domain: DomainId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let mut keys = Vec::new();
        self.scan_records(dom, "", after, |key, _| {
            keys.push(key);
            keys.len() < limit
        })?;
        keys.truncate(limit);
        Ok(keys)
    }

    fn item(&self, domain: DomainId, key: KeyHash) -> Result<Option<Item>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(None) };
        Ok(self.item_row(dom, key)?.map(|row| row.item))
    }

    fn record(&self, domain: DomainId, key: KeyHash) -> Result<Option<Record>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(None) };
        let checked = self.item_row(dom, key).and_then(|row| {
            let Some(ItemRow { item: Item { key: name, version, .. }, .. }) = row else { return Ok(None) };
            let value = self.view.records.get(tables::record_key(dom, &name).as_slice())?;
            let value = value.and_then(|row| row.value().map(<[u8]>::to_vec));
            let record = Record { key: name, version, value };
            if item::key_hash(domain, &record.key) != key {
                return Err(ReadError::damaged("a record under another key"));
            }
            record.check().map_err(|error| ReadError::damaged(error.to_string()))?;
            Ok(Some(record))
        });
        match checked {
            Err(ReadError::Damaged { what }) => {
                tracing::error!(%domain, ?key, %what, "a record is damaged on disk");
                self.damaged.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            result => result,
        }
    }

    fn summary(&self, domain: DomainId, range: Range) -> Result<Summary, ReadError> {
        if range.bits == 0 {
            return self.root(domain).map(|root| root.summary);
        }
        let sums = self.sums(domain, range, range.bits)?;
        Ok(sums.first().copied().unwrap_or_default())
    }

    fn children(&self, domain: DomainId, range: Range) -> Result<Vec<Summary>, ReadError> {
        match range.split_bits() {
            None => Ok(Vec::new()),
            Some(split) => self.sums(domain, range, range.bits + split),
        }
    }

    fn items(
        &self,
        domain: DomainId,
        range: Range,
        after: Option<KeyHash>,
        limit: usize,
    ) -> Result<Vec<Item>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let (low, high) = range.bounds();
        let start = match after {
            Some(after) if after >= high => return Ok(Vec::new()),
            Some(after) if after >= low => Bound::Excluded((dom, tables::number(after))),
            _ => Bound::Included((dom, tables::number(low))),
        };
        let mut items = Vec::new();
        for row in self.view.items.range((start, Bound::Included((dom, tables::number(high)))))?.take(limit) {
            let (place, row) = row?;
            let key = tables::key_hash(place.value().1);
            items.push(self.decode_item(dom, key, row.value())?.item);
        }
        Ok(items)
    }
}
