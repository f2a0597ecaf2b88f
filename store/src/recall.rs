//! What one transaction has read already: a job asks for the same few rows
//! again and again, and each answer of the database costs more than the row.
//!
//! Everything here follows what is written: items are written by
//! [`Tx::write_item`] and removed by [`Tx::remove_item`] alone, numbers are
//! given out once and stay.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::item;
use kinsync_protocol::record::Key;

use crate::apply::{Tx, resolve};
use crate::error::ReadError;
use crate::rows::{ItemRow, Place};
use crate::tables::{self, Rows, Tables};

/// Items that a transaction remembers; beyond them it starts anew. More than
/// the records of one group of jobs, about 10 MB.
const ITEMS_MAX: usize = 16_384;

/// What a transaction remembers.
#[derive(Default)]
pub(crate) struct Recall {
    domains: RefCell<BTreeMap<DomainId, u32>>,
    numbers: BTreeMap<DeviceId, u32>,
    devices: RefCell<BTreeMap<u32, DeviceId>>,
    items: BTreeMap<DomainId, HashMap<Key, Stands>>,
    count: usize,
}

/// What stands under a key.
#[derive(Clone)]
struct Stands {
    hash: KeyHash,
    row: Option<ItemRow>,
}

impl Recall {
    /// The local number of a device, given out if need be.
    pub(crate) fn intern(&mut self, tables: &mut Tables<'_>, device: DeviceId) -> Result<u32, ReadError> {
        if let Some(number) = self.numbers.get(&device) {
            return Ok(*number);
        }
        let number = tables.intern(device)?;
        self.numbers.insert(device, number);
        Ok(number)
    }

    /// Takes note of a domain that has just got its number.
    pub(crate) fn note_domain(&self, id: DomainId, dom: u32) {
        self.domains.borrow_mut().insert(id, dom);
    }

    fn note_item(&mut self, domain: DomainId, key: &Key, stands: Stands) {
        if self.count >= ITEMS_MAX {
            self.items.clear();
            self.count = 0;
        }
        let before = self.items.entry(domain).or_default().insert(key.clone(), stands);
        self.count += usize::from(before.is_none());
    }
}

impl Tx<'_> {
    /// The domain's local number, if it was ever written to.
    pub(crate) fn known(&self, id: DomainId) -> Result<Option<u32>, ReadError> {
        if let Some(dom) = self.recall.domains.borrow().get(&id) {
            return Ok(Some(*dom));
        }
        let dom = self.tables.domain_numbers.get(&id.0)?.map(|row| row.value());
        if let Some(dom) = dom {
            self.recall.note_domain(id, dom);
        }
        Ok(dom)
    }

    /// The device of a local number.
    pub(crate) fn device_of(&self, number: u32) -> Result<DeviceId, ReadError> {
        if let Some(device) = self.recall.devices.borrow().get(&number) {
            return Ok(*device);
        }
        let device = resolve((&self.tables.devices, &self.tables.device_numbers), number)?;
        self.recall.devices.borrow_mut().insert(number, device);
        Ok(device)
    }

    /// The item that stands under `key`.
    pub(crate) fn item(&mut self, domain: DomainId, key: &Key) -> Result<Option<ItemRow>, ReadError> {
        if let Some(stands) = self.recall.items.get(&domain).and_then(|items| items.get(key)) {
            return Ok(stands.row.clone());
        }
        let Some(dom) = self.known(domain)? else { return Ok(None) };
        let hash = item::key_hash(domain, key);
        let row = self.tables.items.get((dom, tables::number(hash)))?;
        let row = row
            .map(|row| {
                ItemRow::decode(row.value(), Place { dom, key: hash }, &mut |number| self.device_of(number))
            })
            .transpose()?;
        self.recall.note_item(domain, key, Stands { hash, row: row.clone() });
        Ok(row)
    }

    /// The hash of a key.
    pub(crate) fn key_hash(&self, domain: DomainId, key: &Key) -> KeyHash {
        let known = self.recall.items.get(&domain).and_then(|items| items.get(key));
        known.map_or_else(|| item::key_hash(domain, key), |stands| stands.hash)
    }

    /// Writes the item of a key.
    pub(crate) fn write_item(
        &mut self,
        domain: DomainId,
        dom: u32,
        hash: KeyHash,
        row: ItemRow,
    ) -> Result<(), ReadError> {
        let (tables, recall) = (&mut self.tables, &mut self.recall);
        let bytes = row.encode(Place { dom, key: hash }, &mut |device| recall.intern(tables, device))?;
        self.tables.items.insert((dom, tables::number(hash)), bytes.as_slice());
        let key = row.item.key.clone();
        self.recall.note_item(domain, &key, Stands { hash, row: Some(row) });
        Ok(())
    }
    /// Removes the item of a key.
    pub(crate) fn remove_item(
        &mut self,
        domain: DomainId,
        dom: u32,
        hash: KeyHash,
        key: &Key,
    ) -> Result<(), ReadError> {
        self.tables.items.remove((dom, tables::number(hash)));
        self.recall.note_item(domain, key, Stands { hash, row: None });
        Ok(())
    }
}
