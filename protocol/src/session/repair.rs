//! Finding what differs by fingerprints of ranges.
//!
//! A range whose fingerprints differ is split until one side holds only a few
//! items in it. That side lists them as a leaf; the other one answers with the
//! records that are missing or older there, and asks for those that are newer.

use std::collections::{BTreeMap, VecDeque};

use super::Room;
use crate::id::{DomainId, KeyHash};
use crate::item::key_hash;
use crate::limits::LEAF_ITEMS_MAX;
use crate::snapshot::Snapshot;
use crate::sums::{Nonce, Range, range_print};
use crate::wire::frame::{HEAD_BYTES, Head, Leaf, Part, RangePrints};

/// Items read of the store at a time.
const PAGE_ROWS: usize = 256;

/// Heads in a leaf that cannot be split further: more keys than this agree in
/// 64 bits only if somebody made them so.
const DEEPEST_LEAF_ROWS_MAX: usize = 1_024;

/// The bits, prefix and framing of a range on the wire, rounded up.
const RANGE_BYTES: usize = 16;

/// The open ends of a repair.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Ranges that differ, to be split or listed.
    ranges: VecDeque<Range>,
    /// The other side's leaves, to be answered with records.
    leaves: VecDeque<Answer>,
}

#[derive(Debug)]
struct Answer {
    range: Range,
    theirs: BTreeMap<KeyHash, Head>,
    after: Option<KeyHash>,
}

impl Repair {
    pub(super) fn is_idle(&self) -> bool {
        self.ranges.is_empty() && self.leaves.is_empty()
    }

    /// How many ends are open.
    pub(super) fn open(&self) -> usize {
        self.ranges.len() + self.leaves.len()
    }

    /// Begins with the whole domain.
    pub(super) fn start(&mut self) {
        self.ranges.push_back(Range::ALL);
    }

    /// Keeps the children whose fingerprints differ.
    pub(super) fn take_prints<S: Snapshot>(
        &mut self,
        domain: DomainId,
        theirs: &RangePrints,
        nonce: Nonce,
        snapshot: &S,
    ) -> Result<(), S::Error> {
        let own = snapshot.children(domain, theirs.range)?;
        for ((child, summary), print) in theirs.range.children().zip(own).zip(&theirs.prints) {
            if range_print(nonce, child, &summary) != *print {
                self.ranges.push_back(child);
            }
        }
        Ok(())
    }

    pub(super) fn take_leaf(&mut self, leaf: Leaf) {
        let theirs = leaf.heads.into_iter().map(|head| (head.key, head)).collect();
        self.leaves.push_back(Answer { range: leaf.range, theirs, after: None });
    }

    /// Splits, lists and answers as far as the frame has room.
    pub(super) fn fill<S: Snapshot>(
        &mut self,
        domain: DomainId,
        nonce: Nonce,
        snapshot: &S,
        part: &mut Part,
        room: &mut Room,
    ) -> Result<(), S::Error> {
        while !room.is_full() {
            let Some(range) = self.ranges.pop_front() else {
                break;
            };
            let items = snapshot.summary(domain, range)?.items;
            if items <= LEAF_ITEMS_MAX || range.split_bits().is_none() {
                let items = snapshot.items(domain, range, None, DEEPEST_LEAF_ROWS_MAX)?;
                let heads = items.iter().map(|item| Head::new(key_hash(domain, &item.key), &item.version));
                let leaf = Leaf { range, heads: heads.collect() };
                room.spend(1 + leaf.heads.len(), RANGE_BYTES + leaf.heads.len() * HEAD_BYTES);
                leaf.heads.iter().for_each(|head| room.spend_name(head.stamp.device));
                part.leaves.push(leaf);
            } else {
                let children = snapshot.children(domain, range)?;
                let prints = range.children().zip(&children);
                let prints: Vec<_> =
                    prints.map(|(child, summary)| range_print(nonce, child, summary)).collect();
                room.spend(1, RANGE_BYTES + prints.as_flattened().len());
                part.ranges.push(RangePrints { range, prints });
            }
        }
        while let Some(answer) = self.leaves.front_mut() {
            if room.is_full() || !answer.fill(domain, snapshot, part, room)? {
                break;
            }
            self.leaves.pop_front();
        }
        Ok(())
    }
}

impl Answer {
    /// Sends what the other side lacks in the range. Whether that is all.
    fn fill<S: Snapshot>(
        &mut self,
        domain: DomainId,
        snapshot: &S,
        part: &mut Part,
        room: &mut Room,
    ) -> Result<bool, S::Error> {
        loop {
            let items = snapshot.items(domain, self.range, self.after, PAGE_ROWS)?;
            let last = items.len() < PAGE_ROWS;
            for item in items {
                let key = key_hash(domain, &item.key);
                let lacks = self.theirs.get(&key).is_none_or(|head| head.loses_to(&item.version));
                if lacks && let Some(record) = snapshot.record(domain, key)? {
                    if !room.takes(&record) {
                        return Ok(false);
                    }
                    room.spend_record(&record);
                    part.records.push(record);
                }
                self.after = Some(key);
            }
            if last {
                return Ok(true);
            }
        }
    }
}
