//! Taking back what a device delivered: one ordinary edit for each record, so
//! the undoing travels, and can itself be undone.

use std::collections::BTreeSet;
use std::ops::Bound;

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::{family, value};

use crate::apply::{Stop, Tx, resolve};
use crate::error::{ReadError, WriteError};
use crate::job::Job;
use crate::rows::{ItemRow, PastRow, Place};
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// Records that one [`Job::undo_received`] changes at most: other writes get
/// their turn between two pages.
pub const UNDO_PAGE: usize = 500;

/// Rows that one page looks at.
const UNDO_ROWS: usize = 20_000;

/// How a page of [`Job::undo_received`] went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Undone {
    /// Records that have the value again that they had before, with those that
    /// came back with their parents.
    pub restored: u64,
    /// Records that were not there before, and are deleted.
    pub deleted: u64,
    /// Records that stay as they are: what they were before is not known any
    /// more, is the same, or belongs to a record that is deleted.
    pub left: u64,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<KeyHash>,
}

/// What an undo would have done on earlier pages, for [`Job::would_undo`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UndoPlan {
    /// Records that are deleted and would have come back.
    back: BTreeSet<(DomainId, Key)>,
    /// Records that would have been deleted.
    gone: BTreeSet<(DomainId, Key)>,
}

/// What becomes of one record.
enum Step {
    Restore(PastRow),
    Delete,
    Leave,
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
        let (mut received, devices) = (Vec::new(), (&self.tables.devices, &self.tables.device_numbers));
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

    fn undo_step(&mut self, domain: DomainId, key: &Key, peer: DeviceId) -> Result<Step, ReadError> {
        let Some(row) = self.item(domain, key)? else { return Ok(Step::Leave) };
        let standing = row.item.version;
        let past = self.readable_past(domain, key)?.into_iter().map(|(_, past)| past);
        let before = past
            .filter(|past| past.from != Some(peer) && past.version < standing)
            .max_by(|a, b| a.version.cmp(&b.version));
        Ok(match before.filter(|past| !past.version.deleted) {
            Some(past) if standing.deleted || past.version.value != standing.value => Step::Restore(past),
            None if !standing.deleted => Step::Delete,
            _ => Step::Leave,
        })
    }

    /// Takes back one record. Its part of the counts.
    fn undo_one(
        &mut self,
        domain: DomainId,
        key: &Key,
        peer: DeviceId,
        now: UnixMillis,
    ) -> Result<Undone, Stop> {
        Ok(match self.undo_step(domain, key, peer)? {
            Step::Restore(past) => {
                let (_, others) = self.bring_back(domain, key, past, now)?;
                Undone { restored: 1 + others, ..Undone::default() }
            }
            Step::Delete => {
                self.write(domain, key, None, now)?;
                Undone { deleted: 1, ..Undone::default() }
            }
            Step::Leave => Undone { left: 1, ..Undone::default() },
        })
    }

    /// What taking back one record would come to.
    fn would_undo_one(
        &mut self,
        domain: DomainId,
        key: &Key,
        peer: DeviceId,
        plan: &mut UndoPlan,
    ) -> Result<Undone, Stop> {
        let place = (domain, key.clone());
        let parent = self.rules.parent(domain).zip(family::parent_key(key));
        // What goes or comes back with its parent is done before its turn.
        if plan.back.contains(&place) {
            return Ok(Undone::default());
        }
        if parent.as_ref().is_some_and(|parent| plan.gone.contains(parent)) {
            plan.gone.insert(place);
            return Ok(Undone::default());
        }
        Ok(match self.undo_step(domain, key, peer)? {
            Step::Restore(past) => {
                let has_parent = match parent {
                    Some(parent) if !plan.back.contains(&parent) => {
                        self.item(parent.0, &parent.1)?.is_none_or(|row| !row.item.version.deleted)
                    }
                    _ => true,
                };
                let is_readable = past.value.as_deref().is_some_and(|value| value::open(value).is_ok());
                if !has_parent || !is_readable {
                    return Ok(Undone { left: 1, ..Undone::default() });
                }
                let mut restored = 1;
                if self.item(domain, key)?.is_some_and(|row| row.item.version.deleted) {
                    let since = self.last_live(domain, key)?.map_or(past.version, |(_, last)| last.version);
                    let children = self.restore_children(domain, key, &since, None)?;
                    restored += children.len() as u64;
                    plan.back.extend(children);
                    plan.back.insert(place);
                }
                Undone { restored, ..Undone::default() }
            }
            Step::Delete => {
                plan.gone.insert(place);
                Undone { deleted: 1, ..Undone::default() }
            }
            Step::Leave => Undone { left: 1, ..Undone::default() },
        })
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
                undone.add(one);
            }
            Ok(undone)
        })
    }
}

impl Undone {
    fn add(&mut self, one: Self) {
        self.restored += one.restored;
        self.deleted += one.deleted;
        self.left += one.left;
    }
}

impl Job<(Undone, UndoPlan)> {
    /// What [`Job::undo_received`] would come to for the same page, and for
    /// the next one what it would have done. Changes nothing.
    pub fn would_undo(
        domain: DomainId,
        peer: DeviceId,
        since: UnixMillis,
        after: Option<KeyHash>,
        mut plan: UndoPlan,
    ) -> Self {
        Self::new(move |tx| {
            let (received, next) = tx.received_from(domain, peer, since, after)?;
            let mut undone = Undone { next, ..Undone::default() };
            for key in received {
                undone.add(tx.would_undo_one(domain, &key, peer, &mut plan)?);
            }
            Ok((undone, plan))
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
