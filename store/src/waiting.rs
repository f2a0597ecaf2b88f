//! Records that are stored and passed on, and that this device cannot use yet.
//!
//! A mark beside the record, made in the record's transaction from its value
//! and the rules that hold. When rules change, the marks of the domain are
//! made again in pages; the records themselves stay as they are.

use std::ops::Bound;
use std::sync::Arc;

use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::wire;
use serde::{Deserialize, Serialize};

use crate::apply::{Tx, resolve};
use crate::error::ReadError;
use crate::job::Job;
use crate::rows::{DomainRow, ItemRow, Place};
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// Characters of a misfit's reason that are kept: enough for the place in the
/// value and what is wrong there.
pub const MISFIT_CHARS_MAX: usize = 200;

/// Records that one [`Job::recheck`] looks at.
const RECHECK_ROWS: usize = 1_000;

/// Bytes of one row. Only a damaged one is longer.
const ROW_BYTES_MAX: usize = 4_096;

/// Why a record cannot be used here yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Waiting {
    /// It does not fit the domain's schema.
    Misfit {
        /// Where and why, at most [`MISFIT_CHARS_MAX`] characters.
        why: String,
    },
    /// A newer schema than this device knows: this device is the older one.
    NewerSchema {
        /// The number of the schema.
        schema: u32,
    },
    /// An older schema than this device still reads: the other one is older.
    OlderSchema {
        /// The number of the schema.
        schema: u32,
    },
    /// Nobody has declared the domain to this device.
    UnknownDomain,
    /// A later version of kinsync wrote it.
    Unreadable,
}

impl Waiting {
    pub(crate) fn misfit(why: String) -> Self {
        Self::Misfit { why: why.chars().take(MISFIT_CHARS_MAX).collect() }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        wire::decode(bytes, ROW_BYTES_MAX)
            .map_err(|error| ReadError::damaged(format!("unreadable waiting row: {error}")))
    }
}

/// A record that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WaitingRecord {
    /// Its key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// The device that delivered it; `None` for one of this device.
    pub from: Option<DeviceId>,
    /// Why it waits.
    pub why: Waiting,
}

/// Where [`Job::recheck`] goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recheck {
    domain: DomainId,
    /// The rules that the pages before followed.
    revision: u64,
    after: Option<KeyHash>,
}

impl Tx<'_> {
    /// Makes the mark of a record that has the stored `value` now.
    pub(crate) fn mark_waiting(
        &mut self,
        domain: DomainId,
        key: KeyHash,
        value: Option<&[u8]>,
    ) -> Result<(), ReadError> {
        let rules = Arc::clone(&self.rules);
        let rules = rules.get(domain);
        let why = rules.zip(value).and_then(|(rules, value)| rules.waiting(value));
        let open = self.domain(domain)?;
        if rules.is_none() {
            // Its marks follow no rules any more.
            open.row.rules = 0;
        }
        let (place, some) = ((open.dom, tables::number(key)), open.row.waiting > 0);
        match why {
            Some(why) => {
                let row = wire::encode(&why);
                let marked = self.tables.waiting.get(place)?.is_some();
                self.tables.waiting.insert(place, row.as_slice());
                self.domain(domain)?.row.waiting += u64::from(!marked);
            }
            None if some => {
                let marked = self.tables.waiting.take(place)?;
                let row = &mut self.domain(domain)?.row;
                row.waiting = row.waiting.saturating_sub(u64::from(marked));
            }
            None => {}
        }
        Ok(())
    }

    /// The first domain at or after `from` whose marks follow other rules than
    /// those that hold.
    fn next_stale(&mut self, from: Option<DomainId>) -> Result<Option<DomainId>, ReadError> {
        let rules = Arc::clone(&self.rules);
        for domain in rules.domains().filter(|domain| from.is_none_or(|from| *domain >= from)) {
            if self.known(domain)?.is_some() && self.domain(domain)?.row.rules != rules.revision(domain) {
                return Ok(Some(domain));
            }
        }
        Ok(None)
    }

    fn recheck(&mut self, at: Option<Recheck>, now: UnixMillis) -> Result<Option<Recheck>, ReadError> {
        let Some(domain) = self.next_stale(at.map(|at| at.domain))? else { return Ok(None) };
        let revision = self.rules.revision(domain);
        let same = |at: &Recheck| at.domain == domain && at.revision == revision;
        let after = at.filter(same).and_then(|at| at.after);
        let dom = self.domain(domain)?.dom;
        let start = match after {
            Some(after) => Bound::Excluded((dom, tables::number(after))),
            None => Bound::Included((dom, 0)),
        };
        let (mut page, devices) = (Vec::new(), (&self.tables.devices, &self.tables.device_numbers));
        let rows = self.tables.items.range((start, Bound::Included((dom, u128::MAX))))?;
        for row in rows.take(RECHECK_ROWS) {
            let (place, row) = row?;
            let key = tables::key_hash(place.value().1);
            let row =
                ItemRow::decode(row.value(), Place { dom, key }, &mut |number| resolve(devices, number));
            match row {
                Ok(row) => page.push((key, Some((row.item.key, row.item.version)))),
                Err(ReadError::Damaged { .. }) => page.push((key, None)),
                Err(error) => return Err(error),
            }
        }
        let last = page.last().filter(|_| page.len() == RECHECK_ROWS).map(|(key, _)| *key);
        for (hash, item) in page {
            let Some((key, version)) = item else { continue };
            let value = self.value(domain, &key)?;
            self.mark_waiting(domain, hash, value.as_deref())?;
            // A parent may be declared only now.
            self.touch(domain, &key, Some(&version), now);
        }
        let open = self.domain(domain)?;
        open.dirty = true;
        if last.is_none() {
            open.row.rules = revision;
        }
        self.dirty = true;
        if last.is_some() {
            return Ok(Some(Recheck { domain, revision, after: last }));
        }
        Ok(self.next_stale(Some(domain))?.map(|domain| Recheck { domain, revision: 0, after: None }))
    }
}

impl Job<Option<Recheck>> {
    /// Looks again at a page of records whose domain has other rules than when
    /// they were marked. Where the next page goes on; `None` when all marks
    /// follow the rules.
    ///
    /// To be done in a row after [`Store::set_rules`](crate::Store::set_rules),
    /// from `None` on. Starting over costs nothing where nothing changed.
    pub fn recheck(at: Option<Recheck>, now: UnixMillis) -> Self {
        Self::new(move |tx| Ok(tx.recheck(at, now)?))
    }
}

impl StoreSnapshot {
    /// Up to `limit` records of a domain that this device cannot use yet.
    pub fn waiting(&self, domain: DomainId, limit: usize) -> Result<Vec<WaitingRecord>, ReadError> {
        let Some(dom) = self.dom(domain)? else { return Ok(Vec::new()) };
        if self.rules.is_unknown(domain) {
            let waiting = self.list(domain, "", None, limit)?.into_iter().map(|row| WaitingRecord {
                key: row.key,
                version: row.version,
                from: row.from,
                why: Waiting::UnknownDomain,
            });
            return Ok(waiting.collect());
        }
        let mut waiting = Vec::new();
        for row in self.view.waiting.range(tables::all_items(dom))?.take(limit) {
            let (place, why) = row?;
            let item = self.item_row(dom, tables::key_hash(place.value().1))?;
            let item = item.ok_or_else(|| ReadError::damaged("a mark without a record"))?.item;
            let why = Waiting::decode(why.value())?;
            waiting.push(WaitingRecord { key: item.key, version: item.version, from: item.from, why });
        }
        Ok(waiting)
    }

    /// How many records of a domain this device cannot use yet.
    pub(crate) fn count_waiting(&self, row: &DomainRow) -> u64 {
        if self.rules.is_unknown(row.id) { row.live } else { row.waiting }
    }
}
