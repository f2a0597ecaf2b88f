//! Versions that were set aside: how long they are kept, and how to see them.

use kinsync_protocol::id::{DeviceId, KeyHash};
use kinsync_protocol::record::Version;
use kinsync_protocol::stamp::{Stamp, UnixMillis};
use redb::ReadableTable;

use crate::error::ReadError;
use crate::rows::{PastRow, Reason};
use crate::tables::{self, Tables};

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
}

impl Past {
    pub(crate) fn new(number: u64, row: PastRow) -> (Self, Option<Vec<u8>>) {
        let PastRow { reason, at, by, from, version, value } = row;
        (Self { number, reason, at, by, from, version }, value)
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
            self.history.remove(place)?;
            if reason == Reason::Conflict {
                self.conflicts.remove((dom, place.2))?;
                conflicts += 1;
            }
        }
        Ok(conflicts)
    }
}
