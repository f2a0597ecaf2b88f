//! Sending the news of the own arrival log.

use super::Room;
use crate::id::{DeviceId, DomainId};
use crate::item::key_hash;
use crate::limits::{DELTA_ROWS_MAX, INLINE_BYTES_MAX};
use crate::record::Key;
use crate::snapshot::{Cursor, Epoch, Root, Snapshot};
use crate::wire::frame::{Delta, HEAD_BYTES, Head, Part};

/// Rows read of the store at a time.
const PAGE_ROWS: usize = 512;

/// How often a session follows local writes that were made while it ran.
const FOLLOWED_MAX: u8 = 2;

/// What is left to send of the own log.
#[derive(Debug, Default)]
pub(super) struct Log {
    mode: Mode,
    /// The position to send up to.
    goal: u64,
    followed: u8,
    /// Nothing travels unasked: much of it may be known already, and no repair
    /// finds out what.
    asks: bool,
}

/// What the other side has said of itself and this log.
#[derive(Debug)]
pub(super) struct Known {
    /// How far it has taken the log in.
    pub(super) cursor: Option<Cursor>,
    /// How many items it holds.
    pub(super) items: u64,
    /// Whether the log is all that it will hear: no repair follows.
    pub(super) is_all: bool,
}

#[derive(Debug, Default)]
enum Mode {
    /// The other side's cursor is of no use here: ranges decide.
    #[default]
    Unusable,
    /// Everything in key order, for a side that holds nothing. The log counts
    /// from `seq` after that.
    Copy { epoch: Epoch, seq: u64, after: Option<Key> },
    /// Everything after a position.
    Rows { at: u64 },
}

impl Log {
    /// Decides by the other side's cursor of this log, and by how much it
    /// holds.
    pub(super) fn new<S: Snapshot>(
        domain: DomainId,
        root: Root,
        known: Known,
        snapshot: &S,
    ) -> Result<Self, S::Error> {
        let mut asks = false;
        let cursor = match known.cursor {
            Some(cursor) if snapshot.had(domain, cursor.epoch, cursor.seq)? => Some(cursor),
            _ => None,
        };
        let mode = match cursor {
            Some(Cursor { epoch, seq, after: Some(after) }) => Mode::Copy { epoch, seq, after: Some(after) },
            Some(Cursor { seq, .. }) if known.is_all || root.head.saturating_sub(seq) <= DELTA_ROWS_MAX => {
                Mode::Rows { at: seq }
            }
            None if known.items == 0 && root.head > 0 => {
                Mode::Copy { epoch: root.epoch, seq: root.head, after: None }
            }
            None if known.is_all => {
                asks = true;
                Mode::Rows { at: 0 }
            }
            Some(_) | None => Mode::Unusable,
        };
        Ok(Self { mode, goal: root.head, followed: 0, asks })
    }

    /// The position that is sent up to.
    pub(super) fn goal(&self) -> u64 {
        self.goal
    }

    pub(super) fn is_idle(&self) -> bool {
        match &self.mode {
            Mode::Unusable => true,
            Mode::Copy { .. } => false,
            Mode::Rows { at } => *at >= self.goal,
        }
    }

    /// Sends nothing more.
    pub(super) fn stop(&mut self) {
        self.mode = Mode::Unusable;
    }

    /// Follows the log to `head`, if that may be why the roots differ.
    pub(super) fn go_on(&mut self, head: u64) -> bool {
        match self.mode {
            Mode::Rows { .. } if head > self.goal && self.followed < FOLLOWED_MAX => {
                self.goal = head;
                self.followed += 1;
                true
            }
            Mode::Rows { .. } | Mode::Copy { .. } | Mode::Unusable => false,
        }
    }

    /// Adds a page of the log to `part`.
    ///
    /// `opened_at` is the own position when the session opened: what came from
    /// `peer` after that, `peer` holds. What came from it before, it may have
    /// lost since, so that is announced again.
    pub(super) fn fill<S: Snapshot>(
        &mut self,
        domain: DomainId,
        peer: DeviceId,
        opened_at: u64,
        snapshot: &S,
        part: &mut Part,
        room: &mut Room,
    ) -> Result<(), S::Error> {
        if room.is_full() || self.is_idle() {
            return Ok(());
        }
        if let Mode::Copy { .. } = self.mode {
            return self.fill_copy(domain, snapshot, part, room);
        }
        self.fill_rows(domain, peer, opened_at, snapshot, part, room)
    }

    fn fill_copy<S: Snapshot>(
        &mut self,
        domain: DomainId,
        snapshot: &S,
        part: &mut Part,
        room: &mut Room,
    ) -> Result<(), S::Error> {
        let Mode::Copy { epoch, seq, after } = &mut self.mode else {
            return Ok(());
        };
        loop {
            let keys = snapshot.keys(domain, after.as_ref(), PAGE_ROWS)?;
            let last = keys.len() < PAGE_ROWS;
            for key in keys {
                if let Some(record) = snapshot.record(domain, key_hash(domain, &key))? {
                    if !room.takes(&record) {
                        // A cursor without a key would say that the copy is
                        // complete: before its first record it has none.
                        if after.is_some() {
                            let to = Cursor { epoch: *epoch, seq: *seq, after: after.clone() };
                            part.delta = Some(Delta { to, heads: Vec::new() });
                        }
                        return Ok(());
                    }
                    room.spend_record(&record);
                    part.records.push(record);
                }
                *after = Some(key);
            }
            if last {
                let (epoch, seq) = (*epoch, *seq);
                let to = Cursor { epoch, seq, after: None };
                part.delta = Some(Delta { to, heads: Vec::new() });
                self.mode = Mode::Rows { at: seq };
                return Ok(());
            }
        }
    }

    fn fill_rows<S: Snapshot>(
        &mut self,
        domain: DomainId,
        peer: DeviceId,
        opened_at: u64,
        snapshot: &S,
        part: &mut Part,
        room: &mut Room,
    ) -> Result<(), S::Error> {
        let Mode::Rows { at } = &mut self.mode else {
            return Ok(());
        };
        let mut heads = Vec::new();
        'rows: while *at < self.goal {
            let rows = snapshot.log(domain, *at, PAGE_ROWS)?;
            if rows.is_empty() {
                // The rest of the positions was given again to later writes.
                *at = self.goal;
            }
            for item in rows {
                if item.seq > self.goal {
                    *at = self.goal;
                    break;
                }
                let theirs = item.from == Some(peer);
                if !(theirs && item.seq > opened_at) {
                    let key = key_hash(domain, &item.key);
                    let inline = !theirs && !self.asks && item.version.bytes as usize <= INLINE_BYTES_MAX;
                    let record = if inline { snapshot.record(domain, key)? } else { None };
                    match record {
                        Some(record) if room.takes(&record) => {
                            room.spend_record(&record);
                            part.records.push(record);
                        }
                        None if !room.is_full() => {
                            room.spend(1, HEAD_BYTES);
                            room.spend_name(item.version.stamp.device);
                            heads.push(Head::new(key, &item.version));
                        }
                        Some(_) | None => break 'rows,
                    }
                }
                *at = item.seq;
            }
        }
        // A cursor of a position whose epoch is forgotten would not be valid:
        // the other side keeps the one it has.
        if let Some(epoch) = snapshot.epoch_at(domain, *at)? {
            let to = Cursor { epoch, seq: *at, after: None };
            part.delta = Some(Delta { to, heads });
        }
        Ok(())
    }
}
