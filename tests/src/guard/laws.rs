//! What must hold while devices hold mass changes, and once they are equal.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::family;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::Snapshot;
use kinsync_store::{Held, HeldRecord, PAST_VERSIONS};

use super::{LIMIT, chats, domains, turns};
use crate::disk::{Contents, Disk, Place, Real};
use crate::small::{READ, hold_the_same};

/// What one device changed on another one without a question, since their last
/// session began.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    live: u64,
    deletions: u64,
    replacements: u64,
}

/// The judge of a world.
#[derive(Debug, Default)]
pub(super) struct Laws {
    written: BTreeMap<Place, Vec<Version>>,
    tallies: BTreeMap<(usize, usize, DomainId), Tally>,
    /// Where a person has said yes, until the guard looks again.
    lifted: BTreeSet<(usize, DeviceId, DomainId)>,
    /// Versions that a person has refused.
    refused: Vec<(Place, Version)>,
}

/// One device takes in what another one brings.
pub(super) struct Meeting {
    pub(super) at: usize,
    pub(super) from: usize,
    peer: DeviceId,
    is_push: bool,
    before: BTreeMap<DomainId, Before>,
}

struct Before {
    contents: Contents,
    is_held: bool,
    /// Whether the two have never finished a sync of it.
    is_first: bool,
}

/// A person decides about something that is held.
pub(super) struct Decision {
    at: usize,
    held: Held,
    accepts: bool,
    records: Vec<HeldRecord>,
    before: Contents,
}

fn held(disk: &Real, peer: DeviceId, domain: DomainId) -> bool {
    let held = disk.store().read(|view| view.held()).expect(READ);
    held.iter().any(|held| (held.peer, held.domain) == (peer, domain))
}

impl Meeting {
    pub(super) fn begin(disk: &Real, at: usize, from: usize, peer: DeviceId, is_push: bool) -> Self {
        let before = |domain| {
            let cursor = disk.view().cursor(peer, domain).expect(READ);
            let is_first = cursor.is_none_or(|cursor| cursor.after.is_some());
            (domain, Before { contents: disk.contents(domain), is_held: held(disk, peer, domain), is_first })
        };
        Self { at, from, peer, is_push, before: domains().map(before).into() }
    }
}

impl Laws {
    pub(super) fn wrote(&mut self, place: Place, version: Version) {
        self.written.entry(place).or_default().push(version);
    }

    /// A device forgot what it had counted.
    pub(super) fn restarted(&mut self, at: usize) {
        self.tallies.retain(|(to, ..), _| *to != at);
    }

    /// D10: what one device may change on another one without a question.
    pub(super) fn met(&mut self, disk: &Real, meeting: Meeting) -> Result<(), String> {
        let Meeting { at, from, peer, is_push, before } = meeting;
        for (domain, before) in before {
            let is_held = held(disk, peer, domain);
            let after = disk.contents(domain);
            let place = format!("device {at}, {}, of device {from}", shown(domain));
            if before.is_first && !before.is_held && is_held {
                return Err(format!("{place}: the first sync is held"));
            }
            let (deletions, replacements) = changes(disk, domain, &before.contents, &after);
            if before.is_held && is_held && (deletions > 0 || replacements > 0) {
                return Err(format!(
                    "{place}: {deletions} deletions and {replacements} replacements while something is held"
                ));
            }
            let live = before.contents.values().filter(|(version, _)| !version.deleted).count() as u64;
            let tally = self.tallies.entry((at, from, domain)).or_default();
            if !is_push || tally.live == 0 {
                *tally = Tally { live, ..Tally::default() };
            }
            if before.is_first || self.lifted.contains(&(at, peer, domain)) {
                continue;
            }
            tally.deletions += deletions;
            tally.replacements += replacements;
            // What a change shrank to and is let go, and as much again.
            let most = 2 * LIMIT;
            let Tally { live, deletions, replacements } = *tally;
            if deletions > most || replacements > most.max(live * 2 / 5) {
                return Err(format!("{place}: {tally:?} and nobody was asked"));
            }
        }
        self.lifted.retain(|(to, by, domain)| {
            (*to, *by) != (at, peer)
                || disk.store().read(|view| view.lifted(peer)).expect(READ).contains(domain)
        });
        Ok(())
    }

    pub(super) fn decides(&self, disk: &Real, at: usize, held: &Held, accepts: bool) -> Decision {
        let records = disk.store().read(|view| view.held_records(held.number)).expect(READ);
        let before = disk.contents(held.domain);
        Decision { at, held: held.clone(), accepts, records: records.unwrap_or_default(), before }
    }

    /// D10: a yes applies what was held, a no keeps everything that is here.
    pub(super) fn decided(&mut self, disk: &Real, decision: Decision) -> Result<(), String> {
        let Decision { at, held, accepts, records, before } = decision;
        let after = disk.contents(held.domain);
        let place = |key: &Key| format!("device {at}, {} {key}", shown(held.domain));
        self.restarted(at);
        if accepts {
            self.lifted.insert((at, held.peer, held.domain));
            for HeldRecord { key, version, .. } in records {
                if after.get(&key).is_none_or(|(stands, _)| *stands < version) {
                    return Err(format!("{} was accepted and does not stand", place(&key)));
                }
            }
            return Ok(());
        }
        for (key, (old, _)) in before.iter().filter(|(_, (old, _))| !old.deleted) {
            let keeps = |new: &Version| !new.deleted && (new.value == old.value || !new.knew(old));
            let takes_away = records.iter().find(|record| {
                let HeldRecord { key: of, version, .. } = record;
                of == key
                    && version > old
                    && (version.deleted || version.value != old.value && version.knew(old))
            });
            let Some((stands, _)) = after.get(key).filter(|(new, _)| keeps(new)) else {
                return Err(format!("{} is gone after a no", place(key)));
            };
            if let Some(record) = takes_away {
                if !stands.knew(&record.version) {
                    return Err(format!("{} does not stand against what was refused", place(key)));
                }
                self.refused.push(((held.domain, key.clone()), record.version.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn settled(&self, disks: &[Real]) -> Result<(), String> {
        let first = disks.first().ok_or("a world without devices")?;
        hold_the_same(disks, &domains())?;
        for (place, version) in &self.refused {
            if first.version(place).as_ref() == Some(version) {
                return Err(format!("{} was refused and stands: {version:?}", place.1));
            }
        }
        self.nothing_is_lost(disks)
    }

    /// Whatever was written stands or is in somebody's history.
    fn nothing_is_lost(&self, disks: &[Real]) -> Result<(), String> {
        for (place, written) in &self.written {
            let mut kept = BTreeSet::new();
            let mut is_full = false;
            for disk in disks {
                kept.extend(disk.version(place).map(|version| version.value));
                let past = disk.store().read(|view| view.history(place.0, &place.1)).expect(READ);
                is_full |= past.len() >= PAST_VERSIONS;
                kept.extend(past.into_iter().map(|past| past.version.value));
            }
            if let Some(lost) = written.iter().find(|version| !is_full && !kept.contains(&version.value)) {
                return Err(format!("lost: {} {lost:?}", place.1));
            }
        }
        Ok(())
    }
}

/// Live records that were deleted other than with their parents, and those
/// that were replaced by versions made from them.
fn changes(disk: &Real, domain: DomainId, before: &Contents, after: &Contents) -> (u64, u64) {
    let ended = |key: &Key| {
        let parent = family::parent_key(key).filter(|_| domain == turns());
        let parent = parent.and_then(|parent| disk.version(&(chats(), parent)));
        parent.is_some_and(|parent| parent.deleted)
    };
    let (mut deletions, mut replacements) = (0, 0);
    for (key, (old, _)) in before.iter().filter(|(_, (old, _))| !old.deleted) {
        match after.get(key) {
            Some((new, _)) if new.deleted => deletions += u64::from(!ended(key)),
            Some((new, _)) => replacements += u64::from(new.value != old.value && new.knew(old)),
            None => deletions += 1,
        }
    }
    (deletions, replacements)
}

fn shown(domain: DomainId) -> &'static str {
    if domain == turns() {
        "turns"
    } else if domain == chats() {
        "chats"
    } else {
        "notes"
    }
}
