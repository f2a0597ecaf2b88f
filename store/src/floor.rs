//! Forgetting deletions that are old enough, and what becomes of records that
//! are older than what is remembered (spec §2.12).

use kinsync_protocol::floor::Floor;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::FloorNews;
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::ReadError;
use crate::job::Job;
use crate::rows::{ItemRow, Reason};
use crate::tables::{self, Rows};

impl Tx<'_> {
    /// Takes in what a session found out about another device's floor.
    pub(crate) fn note_floor(
        &mut self,
        from: DeviceId,
        domain: DomainId,
        news: FloorNews,
        now: UnixMillis,
    ) -> Result<(), Stop> {
        let own = self.domain(domain)?.row.floor;
        match news {
            FloorNews::New => {}
            FloorNews::Higher { floor, known } => {
                if floor > own && self.believes(from, floor, now)? {
                    self.forget_deletions(domain, floor, known)?;
                }
            }
            FloorNews::Equal { floor } => {
                let believed = if self.believes(from, floor, now)? { floor } else { Floor::NEVER };
                self.set_floor(domain, believed.max(Floor::JOINED))?;
            }
        }
        Ok(())
    }

    /// Only devices of the same person say what may be forgotten.
    fn believes(&self, from: DeviceId, floor: Floor, now: UnixMillis) -> Result<bool, Stop> {
        Ok(floor.is_believable(now) && self.is_kin(from)?)
    }

    fn set_floor(&mut self, domain: DomainId, floor: Floor) -> Result<(), ReadError> {
        let open = self.domain(domain)?;
        if floor > open.row.floor {
            open.row.floor = floor;
            open.dirty = true;
            self.dirty = true;
        }
        Ok(())
    }

    /// Whether `record` is the end that a floor made of a record that lives
    /// here, which this device's clock says was too young for that.
    pub(crate) fn disbelieves(
        &mut self,
        domain: DomainId,
        record: &Record,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        match Floor::that_made(&record.version) {
            Some(floor) if !floor.is_believable(now) => {
                let stands = self.item(domain, &record.key)?.map(|row| row.item.version);
                Ok(stands.is_some_and(|own| !own.deleted && own < record.version))
            }
            _ => Ok(false),
        }
    }

    /// Makes what the floor says of a record that is older than it and unknown
    /// here. Gives a record back that the floor says nothing of.
    pub(crate) fn end_below_floor(
        &mut self,
        from: DeviceId,
        domain: DomainId,
        record: Record,
        is_new: bool,
        now: UnixMillis,
    ) -> Result<Option<Record>, ReadError> {
        let floor = self.domain(domain)?.row.floor;
        if !floor.is_above(&record.version) || self.item(domain, &record.key)?.is_some() {
            return Ok(Some(record));
        }
        // As a version of this device's own making it goes back to the sender.
        if is_new {
            self.replace(domain, None, floor.lift(record), None, now)?;
            return Ok(None);
        }
        let end = Record { key: record.key.clone(), version: floor.end(&record.version), value: None };
        let by = end.version.stamp;
        self.replace(domain, None, end, None, now)?;
        if !record.version.deleted {
            self.keep_loser(domain, record, Reason::Floor, by, Some(from), now)?;
        }
        Ok(None)
    }

    /// Forgets the tombstones that `floor` need not keep and that stand at
    /// position `known` of the log or before it, with what they deleted, unless
    /// there is a conflict to decide. How many. Reads all keys of the domain.
    fn forget_deletions(&mut self, domain: DomainId, floor: Floor, known: u64) -> Result<u64, ReadError> {
        let open = self.domain(domain)?;
        let dom = open.dom;
        if open.row.live == open.row.summary.items {
            return Ok(0);
        }
        let mut forgotten = 0;
        for key in self.deleted_keys(dom)? {
            let row = match self.item(domain, &key) {
                Err(ReadError::Damaged { .. }) => continue,
                row => row?,
            };
            let Some(row) = row.filter(|row| row.item.seq <= known && floor.forgets(&row.item.version))
            else {
                continue;
            };
            if !self.has_open_conflict(domain, &key)? {
                self.forget(domain, row)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Whether somebody has to decide first what becomes of the record.
    fn has_open_conflict(&mut self, domain: DomainId, key: &Key) -> Result<bool, ReadError> {
        if self.domain(domain)?.row.conflicts == 0 {
            return Ok(false);
        }
        Ok(self.readable_past(domain, key)?.iter().any(|(_, past)| past.reason.is_open()))
    }

    fn deleted_keys(&self, dom: u32) -> Result<Vec<Key>, ReadError> {
        let (first, mut keys) = (tables::record_prefix(dom, ""), Vec::new());
        for row in self.tables.records.range::<&[u8]>(first.as_slice()..)? {
            let (key, value) = row?;
            let Some(key) = key.value().strip_prefix(first.as_slice()) else { break };
            if value.value().is_none() {
                keys.extend(std::str::from_utf8(key).ok().and_then(|key| Key::new(key).ok()));
            }
        }
        Ok(keys)
    }

    /// Removes an item as if it had never been.
    fn forget(&mut self, domain: DomainId, row: ItemRow) -> Result<(), ReadError> {
        let ItemRow { item: gone, .. } = row;
        let key = item::key_hash(domain, &gone.key);
        self.mark_waiting(domain, key, None)?;
        let open = self.domain(domain)?;
        open.subtract(key, &item::item_hash(domain, key, &gone.version));
        open.row.forgotten = open.row.forgotten.max(gone.seq);
        open.dirty = true;
        let dom = open.dom;
        self.dirty = true;
        self.remove_item(domain, dom, key, &gone.key)?;
        self.tables.records.remove(tables::record_key(dom, &gone.key).as_slice());
        self.tables.log.remove((dom, gone.seq));
        self.forget_past(domain, key)?;
        Ok(())
    }
}

impl Job<u64> {
    /// Raises the floor of domains in which this device has just been proven
    /// equal with a kin device, and forgets the deletions below it. How many.
    ///
    /// A floor that `now` does not [believe](Floor::is_believable) raises
    /// nothing, nor does one of a device that is no kin.
    pub fn raise_floor(kin: DeviceId, domains: Vec<DomainId>, floor: Floor, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let mut forgotten = 0;
            if !tx.believes(kin, floor, now)? {
                return Ok(0);
            }
            for domain in domains {
                if tx.domain(domain)?.row.floor < floor {
                    forgotten += tx.forget_deletions(domain, floor, u64::MAX)?;
                    tx.set_floor(domain, floor)?;
                }
            }
            Ok(forgotten)
        })
    }
}
