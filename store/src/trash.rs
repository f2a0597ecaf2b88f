//! Deleted records whose last value is still there: listing them, bringing
//! them back, and letting go of them.
//!
//! Bringing back is an ordinary write, so it travels like one. Letting go
//! concerns this device alone; the deletion itself stays for ever.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::history::Past;
use crate::job::Job;
use crate::rows::{PastRow, Reason};
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// A deleted record whose last value is still there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trashed {
    /// Its key.
    pub key: Key,
    /// The deletion.
    pub deletion: Version,
    /// When the deletion was committed here, by this device's clock.
    pub received: UnixMillis,
    /// The device that delivered the deletion; `None` for a local one.
    pub from: Option<DeviceId>,
    /// Whether it was deleted with the record that it belongs to, and comes
    /// back with it.
    pub with_parent: bool,
    /// Whether nobody deleted it: a device brought it that was away for longer
    /// than deletions are remembered.
    pub in_limbo: bool,
    /// The last value that it had.
    pub last: Past,
}

/// What [`Job::empty_trash`] let go of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Emptied {
    /// Deleted records.
    pub records: u64,
    /// Versions of them.
    pub versions: u64,
}

impl StoreSnapshot {
    /// Up to `limit` deleted records after `after` that can be brought back,
    /// in key order.
    pub fn trash(
        &self,
        domain: DomainId,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Trashed>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        let (mut trash, mut failed) = (Vec::new(), None);
        if limit == 0 {
            return Ok(trash);
        }
        self.scan_records(dom, "", after, |key, live| {
            if !live {
                match self.trashed(domain, dom, key) {
                    Ok(trashed) => trash.extend(trashed),
                    Err(error) => failed = Some(error),
                }
            }
            failed.is_none() && trash.len() < limit
        })?;
        failed.map_or(Ok(trash), Err)
    }

    /// A deleted record, if it can be brought back. What is damaged cannot.
    fn trashed(&self, domain: DomainId, dom: u32, key: Key) -> Result<Option<Trashed>, ReadError> {
        let hash = item::key_hash(domain, &key);
        let mut last: Option<Past> = None;
        for row in self.view.history.range(tables::all_past(dom, hash))? {
            let (place, row) = row?;
            match self.decode_past(dom, hash, row.value()) {
                Ok(row) if row.version.deleted => {}
                Ok(row) if last.as_ref().is_some_and(|last| last.version > row.version) => {}
                Ok(row) => last = Some(Past::new(place.value().2, row).0),
                Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(last) = last else { return Ok(None) };
        let row = match self.item_row(dom, hash) {
            Ok(row) => row,
            Err(ReadError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(row.map(|row| Trashed {
            key,
            with_parent: last.reason == Reason::ParentDeleted,
            in_limbo: last.reason == Reason::Floor,
            deletion: row.item.version,
            received: row.received,
            from: row.item.from,
            last,
        }))
    }
}

impl Tx<'_> {
    /// Writes the value of a version in history again, and what was deleted
    /// with the record. The new version, and how many other records came back.
    pub(crate) fn bring_back(
        &mut self,
        domain: DomainId,
        key: &Key,
        past: PastRow,
        now: UnixMillis,
    ) -> Result<(Version, u64), Stop> {
        let value = past.value.ok_or(Stop::Refused(WriteError::NotFound))?;
        let deleted = self.item(domain, key)?.is_some_and(|row| row.item.version.deleted);
        let since = self.last_live(domain, key)?.map(|(_, last)| last.version).unwrap_or(past.version);
        let version = self.write_again(domain, key, &value, now)?;
        let children =
            if deleted { self.restore_children(domain, key, &since, Some(now))? } else { Vec::new() };
        Ok((version, children.len() as u64))
    }

    /// The greatest live version in the history of `key`.
    pub(crate) fn last_live(
        &mut self,
        domain: DomainId,
        key: &Key,
    ) -> Result<Option<(u64, PastRow)>, ReadError> {
        let past = self.readable_past(domain, key)?;
        let live = past.into_iter().filter(|(_, past)| past.value.is_some());
        Ok(live.max_by(|(_, a), (_, b)| a.version.cmp(&b.version)))
    }
}

impl Job<(Version, u64)> {
    /// Brings a deleted record back with its last value, and the records that
    /// were deleted with it. Its new version, and how many others came back.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if it is not deleted or nothing is left of it,
    /// [`WriteError::ParentDeleted`] if what it belongs to has to come back
    /// first.
    pub fn restore_deleted(domain: DomainId, key: Key, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let deleted = tx.item(domain, &key)?.is_some_and(|row| row.item.version.deleted);
            let last = if deleted { tx.last_live(domain, &key)? } else { None };
            let (_, past) = last.ok_or(Stop::Refused(WriteError::NotFound))?;
            tx.bring_back(domain, &key, past, now)
        })
    }
}

impl Job<Emptied> {
    /// Lets go of everything that deleted records ever were: of all of a
    /// domain, or of `keys`. On this device alone, and for good.
    pub fn empty_trash(domain: DomainId, keys: Option<Vec<Key>>) -> Self {
        Self::new(move |tx| {
            let Some(dom) = tx.known(domain)? else { return Ok(Emptied::default()) };
            let hashes = match &keys {
                Some(keys) => keys.iter().map(|key| item::key_hash(domain, key)).collect(),
                None => tx.keys_with_past(dom)?,
            };
            let mut emptied = Emptied::default();
            for hash in hashes {
                if !tx.is_deleted(dom, hash)? {
                    continue;
                }
                let versions = tx.forget_past(domain, hash)?;
                emptied.records += u64::from(versions > 0);
                emptied.versions += versions;
            }
            Ok(emptied)
        })
    }
}
