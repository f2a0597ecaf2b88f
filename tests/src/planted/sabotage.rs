//! Mistakes in the store in memory.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item::key_hash;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::snapshot::{Batch, Epoch};
use kinsync_protocol::stamp::{Ancestry, Hlc, HybridClock, Stamp, UnixMillis};

use super::Planted;
use crate::disk::{Done, Op};
use crate::model::Model;

const DAY: u64 = 86_400_000;
const MINUTE: u64 = 60_000;

/// The transactions that a store with this mistake makes of one.
pub(crate) fn split(planted: Planted, op: Op) -> Vec<Op> {
    let Op::Apply { from, batches, wall } = op else {
        return vec![op];
    };
    let apply = |batches| Op::Apply { from, batches, wall };
    let without = |batches: &[Batch], records: bool| -> Vec<Batch> {
        let part = |batch: &Batch| Batch {
            domain: batch.domain,
            records: if records { Vec::new() } else { batch.records.clone() },
            cursor: if records { batch.cursor.clone() } else { None },
            floor: batch.floor.filter(|_| records),
        };
        batches.iter().map(part).collect()
    };
    if planted == Planted::CursorBeforeData {
        vec![apply(without(&batches, true)), apply(without(&batches, false))]
    } else if planted == Planted::HalfBatch {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for Batch { domain, mut records, cursor, floor } in batches {
            let rest = records.split_off(records.len() / 2);
            first.push(Batch { domain, records, cursor, floor });
            second.push(Batch { domain, records: rest, cursor: None, floor: None });
        }
        vec![apply(first), apply(second)]
    } else {
        vec![apply(batches)]
    }
}

/// What a store with this mistake does at its start.
pub(crate) fn start(planted: Planted, model: &mut Model, epoch: Epoch) {
    if planted != Planted::SameEpoch {
        model.epoch = epoch;
    }
    if planted == Planted::ClockForgotten {
        model.clock = HybridClock::default();
    }
    if planted == Planted::RightsForgotten {
        model.rights.clear();
    }
}

/// Commits a transaction as a store with this mistake does.
pub(crate) fn execute(planted: Planted, model: &mut Model, op: &Op) -> Done {
    match op {
        Op::Write { place: (domain, key), value, wall } => {
            if planted == Planted::TombstoneExpiry {
                expire(model, *wall);
            }
            Done::Wrote(write(planted, model, *domain, key.clone(), value.clone(), *wall))
        }
        Op::Apply { from, batches, wall } => {
            // The other mistakes leave rights out of what a store does.
            let heeds_rights = matches!(
                planted,
                Planted::RightsCheckedEarly
                    | Planted::RightsForgotten
                    | Planted::PushIgnoresGrants
                    | Planted::SessionKeepsGrants
            );
            if heeds_rights {
                model.apply(*from, batches.clone(), *wall);
            } else {
                batches.iter().for_each(|batch| apply(planted, model, *from, batch, *wall));
            }
            Done::Applied
        }
    }
}

fn write(
    planted: Planted,
    model: &mut Model,
    domain: DomainId,
    key: Key,
    value: Option<Vec<u8>>,
    wall: UnixMillis,
) -> Version {
    let old = model.version(domain, &key);
    let time = if planted == Planted::WallClockStamps {
        Hlc::at(wall)
    } else if planted == Planted::EditIgnoresReplaced {
        model.clock.tick(wall, None)
    } else {
        model.clock.tick(wall, old.as_ref().map(|old| old.stamp.time))
    };
    let device = model.device;
    let seen = old.map_or_else(Ancestry::default, |old| old.seen.replaced_by(old.stamp, device));
    let record = Record::new(key, value, Stamp { time, device }, seen);
    let version = record.version.clone();
    join(planted, model, domain, record, None);
    version
}

fn apply(planted: Planted, model: &mut Model, from: DeviceId, batch: &Batch, wall: UnixMillis) {
    let reach = Hlc::at(UnixMillis(wall.0 + 10 * MINUTE));
    for record in &batch.records {
        let time = record.version.stamp.time;
        if planted == Planted::RefuseFuture && time > reach {
            continue;
        }
        if planted == Planted::ClockFollowsAnything {
            model.clock.last = model.clock.last.max(time);
        }
        model.clock.follow(time, wall);
        join(planted, model, batch.domain, record.clone(), Some(from));
    }
    if let Some(cursor) = &batch.cursor {
        model.cursors.insert((from, batch.domain), cursor.clone());
    }
}

fn join(planted: Planted, model: &mut Model, domain: DomainId, record: Record, from: Option<DeviceId>) {
    let hash = key_hash(domain, &record.key);
    let key = record.key.clone();
    let deleted = record.version.deleted;
    let old = model.domains.get(&domain).and_then(|rows| rows.items.get(&hash)).map(|row| row.item.clone());
    let head = model.domains.get(&domain).map_or(0, |rows| rows.head);
    let epoch = model.epoch;
    let one_time = old.as_ref().is_some_and(|old| {
        old.version != record.version && old.version.stamp.time == record.version.stamp.time
    });
    let one_stamp = old.as_ref().is_some_and(|old| old.version.stamp == record.version.stamp);
    let new = old.as_ref().is_none_or(|old| old.version != record.version);
    let replaces = planted == Planted::AlwaysOverwrite && new || planted == Planted::TieByArrival && one_time;
    if replaces {
        model.domains.entry(domain).or_default().put(domain, hash, record, from, epoch);
    } else if !(planted == Planted::NoValueTieBreak && one_stamp) {
        model.join(domain, record, from);
    }
    let Some(rows) = model.domains.get_mut(&domain) else {
        return;
    };
    if planted == Planted::HistoryForgotten {
        model.history.remove(&(domain, key));
    }
    if rows.head == head {
        return;
    }
    if planted == Planted::DeleteNotLogged && deleted {
        rows.log.remove(&rows.head);
    }
    if planted == Planted::OverwriteKeepsNumber
        && let Some(old) = old
        && let Some(row) = rows.items.get_mut(&hash)
    {
        rows.log.remove(&rows.head);
        rows.log.insert(old.seq, hash);
        row.item.seq = old.seq;
        rows.head = head;
    }
}

/// Forgets every tombstone that is older than 30 days.
fn expire(model: &mut Model, wall: UnixMillis) {
    for rows in model.domains.values_mut() {
        let old = rows.items.iter().filter(|(_, row)| {
            let version = &row.item.version;
            version.deleted && version.stamp.time.wall().0 + 30 * DAY < wall.0
        });
        let old: Vec<_> = old.map(|(hash, _)| *hash).collect();
        for hash in old {
            rows.take_out(hash);
        }
    }
}
