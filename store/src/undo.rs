//! Taking back what a device delivered: one ordinary edit for each record, so
//! the undoing travels, and can itself be undone.

use std::ops::Bound;

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;
use redb::ReadableTable;

use crate::apply::{Stop, Tx, resolve};
use crate::error::{ReadError, WriteError};
use crate::job::Job;
use crate::rows::{ItemRow, Place};
use crate::snapshot::StoreSnapshot;
use crate::tables;

/// Records that one [`Job::undo_received`] changes at most: other writes get
/// their turn between two pages.
pub const UNDO_PAGE: usize = 500;

/// Rows that one page looks at.
const UNDO_ROWS: usize = 20_000;

/// How a page of [`Job::undo_received`] went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Undone {
    /// Records that have the value again that they had before.
    pub restored: u64,
    /// Records that were not there before, and are deleted.
    pub deleted: u64,
    /// Records that stay as they are: what they were before is not known any
    /// more, is the same, or belongs to a record that is deleted.
    pub left: u64,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<KeyHash>,
}

impl Tx<'_> {
    /// The records after `after` whose version arrived from `peer` at `since`
    /// or later, by this device's clock, and where to go on.
    fn received_from(
        &mut self,
        domain: DomainId,
        peer: DeviceId,
        since: UnixMillis,
        after: Option<KeyHash>,
    ) -> Result<(Vec<Key>, Option<KeyHash>), ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok((Vec::new(), None)) };
        let start = match after {
            Some(after) => Bound::Excluded((dom, tables::number(after))),
            None => Bound::Included((dom, 0)),
        };
        let (mut received, devices) = (Vec::new(), &self.tables.devices);
        let rows = self.tables.items.range((start, Bound::Included((dom, u128::MAX))))?;
        for (count, row) in rows.enumerate() {
            let (place, row) = row?;
            let key = tables::key_hash(place.value().1);
            match ItemRow::decode(row.value(), Place { dom, key }, &mut |number| resolve(devices, number)) {
                Ok(row) if row.item.from == Some(peer) && row.received >= since => {
                    received.push(row.item.key)
                }
                Ok(_) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            if received.len() >= UNDO_PAGE || count >= UNDO_ROWS {
                return Ok((received, Some(key)));
            }
        }
        Ok((received, None))
    }

    /// Takes back one record. Its part of the counts.
    fn undo_one(
        &mut self,
        domain: DomainId,
        key: &Key,
        peer: DeviceId,
        now: UnixMillis,
    ) -> Result<Undone, Stop> {
        let left = Undone { left: 1, ..Undone::default() };
        let Some(row) = self.item(domain, key)? else { return Ok(left) };
        let standing = row.item.version;
        let past = self.readable_past(domain, key)?.into_iter().map(|(_, past)| past);
        let before = past
            .filter(|past| past.from != Some(peer) && past.version < standing)
            .max_by(|a, b| a.version.cmp(&b.version));
        match before.filter(|past| !past.version.deleted) {
            Some(past) if standing.deleted || past.version.value != standing.value => {
                self.bring_back(domain, key, past, now)?;
                Ok(Undone { restored: 1, ..Undone::default() })
            }
            None if !standing.deleted => {
                self.write(domain, key, None, now)?;
                Ok(Undone { deleted: 1, ..Undone::default() })
            }
            _ => Ok(left),
        }
    }
}

impl Job<Undone> {
    /// Takes back, for a page of a domain's records, what `peer` delivered at
    /// `since` or later: writes the last value that it did not deliver, or
    /// deletes the record if there was none. Versions that this device made of
    /// several, and later edits, stay.
    ///
    /// `after` is [`Undone::next`] of the page before. Domains of parents go
    /// first, as deleted children come back with their parents.
    pub fn undo_received(
        domain: DomainId,
        peer: DeviceId,
        since: UnixMillis,
        after: Option<KeyHash>,
        now: UnixMillis,
    ) -> Self {
        Self::new(move |tx| {
            let (received, next) = tx.received_from(domain, peer, since, after)?;
            let mut undone = Undone { next, ..Undone::default() };
            for key in received {
                let one = match tx.undo_one(domain, &key, peer, now) {
                    Err(Stop::Refused(
                        WriteError::NewerValue | WriteError::NoLaterStamp | WriteError::ParentDeleted { .. },
                    )) => Undone { left: 1, ..Undone::default() },
                    one => one?,
                };
                undone.restored += one.restored;
                undone.deleted += one.deleted;
                undone.left += one.left;
            }
            Ok(undone)
        })
    }
}

impl StoreSnapshot {
    /// How many records of a domain have a version that arrived from `peer` at
    /// `since` or later, by this device's clock.
    pub fn received_from(
        &self,
        domain: DomainId,
        peer: DeviceId,
        since: UnixMillis,
    ) -> Result<u64, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(0) };
        let mut received = 0;
        for row in self.view.items.range(tables::all_items(dom))? {
            let (place, row) = row?;
            match self.decode_item(dom, tables::key_hash(place.value().1), row.value()) {
                Ok(row) => received += u64::from(row.item.from == Some(peer) && row.received >= since),
                Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }
}
