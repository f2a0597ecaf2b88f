//! Versions that were set aside: how long they are kept, and how to see them.

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::Version;
use kinsync_protocol::stamp::{Stamp, UnixMillis};
use kinsync_protocol::value;

use crate::apply::{Tx, resolve};
use crate::error::ReadError;
use crate::rows::{ItemRow, PastRow, Place, Reason};
use crate::tables::{self, Rows, Tables};

/// A record keeps this many versions however old they are.
pub const PAST_VERSIONS: usize = 10;

/// A version is kept this long however many there are: 30 days.
pub const PAST_MILLIS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// A version in the history of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    /// Its number, for restoring it. Grows within a domain.
    pub number: u64,
    /// Why it was set aside.
    pub reason: Reason,
    /// When it was set aside, by this device's clock.
    pub at: UnixMillis,
    /// The version that took its place.
    pub by: Stamp,
    /// The device that delivered it; `None` for a local write.
    pub from: Option<DeviceId>,
    /// The version itself.
    pub version: Version,
    /// The length of the application's value; 0 for a tombstone.
    pub bytes: u64,
}

/// The application's part of a stored value; all of one that cannot be read.
pub(crate) fn body(stored: &[u8]) -> &[u8] {
    value::body(stored).unwrap_or(stored)
}

impl Past {
    pub(crate) fn new(number: u64, row: PastRow) -> (Self, Option<Vec<u8>>) {
        let PastRow { reason, at, by, from, version, value } = row;
        let bytes = value.as_deref().map_or(0, |stored| body(stored).len() as u64);
        (Self { number, reason, at, by, from, version, bytes }, value)
    }
}

impl Tables<'_> {
    /// Forgets versions of a record that are neither among the newest ten nor
    /// younger than 30 days. How many of them were conflicts.
    pub(crate) fn prune_past(&mut self, dom: u32, key: KeyHash, now: UnixMillis) -> Result<u64, ReadError> {
        let mut old = Vec::new();
        for row in self.history.range(tables::all_past(dom, key))? {
            let (place, row) = row?;
            let (reason, at) = PastRow::peek_at(row.value())?;
            // Set aside in order of number, so the first young one ends it; a
            // clock that jumps only keeps more.
            if now.0.saturating_sub(at.0) <= PAST_MILLIS {
                break;
            }
            old.push((place.value(), reason));
        }
        if old.is_empty() {
            return Ok(0);
        }
        let all = self.history.range(tables::all_past(dom, key))?.count();
        let mut conflicts = 0;
        for (place, reason) in old.into_iter().take(all.saturating_sub(PAST_VERSIONS)) {
            self.history.remove(place);
            if reason.is_open() {
                self.conflicts.remove((dom, place.2));
                conflicts += 1;
            }
        }
        Ok(conflicts)
    }
}

impl Tx<'_> {
    /// Every key hash with a history, once.
    pub(crate) fn keys_with_past(&self, dom: u32) -> Result<Vec<KeyHash>, ReadError> {
        let mut keys = Vec::new();
        for row in self.tables.history.range((dom, 0, 0)..=(dom, u128::MAX, u64::MAX))? {
            let key = tables::key_hash(row?.0.value().1);
            if keys.last() != Some(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Whether the record stands as deleted. One in doubt does not.
    pub(crate) fn is_deleted(&self, dom: u32, key: KeyHash) -> Result<bool, ReadError> {
        let Some(row) = self.tables.items.get((dom, tables::number(key)))? else { return Ok(false) };
        let devices = (&self.tables.devices, &self.tables.device_numbers);
        match ItemRow::decode(row.value(), Place { dom, key }, &mut |number| resolve(devices, number)) {
            Ok(row) => Ok(row.item.version.deleted),
            Err(ReadError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets every version of a record that was set aside. How many.
    pub(crate) fn forget_past(&mut self, domain: DomainId, key: KeyHash) -> Result<u64, ReadError> {
        let dom = self.domain(domain)?.dom;
        let mut all = Vec::new();
        for row in self.tables.history.range(tables::all_past(dom, key))? {
            all.push(row?.0.value());
        }
        let mut conflicts = 0;
        for &place in &all {
            self.tables.history.remove(place);
            conflicts += u64::from(self.tables.conflicts.take((dom, place.2))?);
        }
        if !all.is_empty() {
            let open = self.domain(domain)?;
            open.row.conflicts = open.row.conflicts.saturating_sub(conflicts);
            open.dirty = true;
            self.dirty = true;
        }
        Ok(all.len() as u64)
    }
}
