//! Adding a record behind the others of its parent, under a key that no other
//! device gives out.
//!
//! The key is the parent's, a slash, a time and the device. The time is later
//! than that of every turn this device has seen, so keys in their order are the
//! conversation, and two devices that add turns while apart keep all of them.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::limits::KEY_BYTES_MAX;
use kinsync_protocol::record::{Key, KeyError, Version};
use kinsync_protocol::stamp::{Hlc, UnixMillis};

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::job::{Job, check_value};
use crate::tables::{self, Rows};

/// Letters of a time: sixteen hexadecimal digits, so that text sorts as time
/// does.
const TIME_LETTERS: usize = 16;

/// What the keys of all times sort before.
const BEHIND_TIMES: &str = "g";

/// Rows that are looked at for the last time given out: others may stand
/// between, under keys that somebody chose.
const LOOK_BACK: usize = 64;

/// The key of a turn that `device` adds at `time`.
fn turn_key(parent: &Key, time: Hlc, device: DeviceId) -> Result<Key, KeyError> {
    let device = device.short().replace('-', "");
    Key::new(format!("{parent}/{:0TIME_LETTERS$x}-{device}", time.0))
}

/// The time in the name of a turn, unless somebody chose the name.
fn time_of(name: &str) -> Option<Hlc> {
    let (time, _) = name.split_once('-').filter(|(time, _)| time.len() == TIME_LETTERS)?;
    u64::from_str_radix(time, 16).ok().map(Hlc).filter(|time| *time < Hlc::MAX)
}

impl Tx<'_> {
    /// The latest time among the names of a parent's children, deleted ones
    /// included.
    fn last_turn(&self, domain: DomainId, parent: &Key) -> Result<Option<Hlc>, ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok(None) };
        let first = tables::record_prefix(dom, &format!("{parent}/"));
        let behind = tables::record_prefix(dom, &format!("{parent}/{BEHIND_TIMES}"));
        let rows = self.tables.records.range::<&[u8]>(first.as_slice()..behind.as_slice())?;
        for row in rows.rev().take(LOOK_BACK) {
            let (key, _) = row?;
            let name =
                key.value().strip_prefix(first.as_slice()).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(time) = name.and_then(time_of) {
                return Ok(Some(time));
            }
        }
        Ok(None)
    }
}

impl Job<(Key, Version)> {
    /// Adds a record behind all others of `parent` that this device has seen.
    /// The key that it got, and its version.
    ///
    /// # Errors
    /// [`WriteError::ValueTooLarge`], [`WriteError::KeyTooLong`] if the parent's
    /// key leaves no room, and those of [`Job::put`].
    pub fn append(domain: DomainId, parent: Key, value: Vec<u8>, now: UnixMillis) -> Self {
        let bytes = value.len();
        let mut job = Self::new(move |tx| {
            check_value(&value)?;
            let last = tx.last_turn(domain, &parent)?;
            let mut clock = tx.memory.clock;
            let time = clock.tick(now, last);
            let key = turn_key(&parent, time, tx.memory.device)
                .map_err(|_| Stop::Refused(WriteError::KeyTooLong { limit: KEY_BYTES_MAX }))?;
            let version = tx.write(domain, &key, Some(value), now)?;
            // The next turn comes behind this one, whatever the clock says.
            tx.memory.clock.last = tx.memory.clock.last.max(clock.last);
            Ok((key, version))
        });
        job.bytes = bytes;
        job
    }
}
