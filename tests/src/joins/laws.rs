//! What must hold once devices that join what was written apart are equal.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::family;
use kinsync_protocol::record::{Key, Version};
use kinsync_store::PAST_VERSIONS;
use serde_json::Value;

use super::{chats, domains, drafts, notes, turns};
use crate::disk::{Disk, Place, Real};
use crate::small::{READ, hold_the_same};

/// What one write changed in a note.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) added: Option<String>,
    pub(crate) removed: Option<String>,
    pub(crate) counted: i64,
    pub(crate) text: usize,
    pub(crate) best: i64,
    pub(crate) logged: Option<u64>,
}

/// The judge of a world.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    written: BTreeMap<Place, Vec<(Version, Vec<u8>)>>,
    changes: BTreeMap<Key, Vec<Change>>,
    /// Whether devices go by different declarations.
    mixed: bool,
    /// Whether something was lost with a disk.
    restored: bool,
}

impl Laws {
    pub(crate) fn new(mixed: bool) -> Self {
        Self { mixed, ..Self::default() }
    }

    pub(crate) fn wrote(&mut self, place: Place, version: Version, value: Vec<u8>) {
        self.written.entry(place).or_default().push((version, value));
    }

    pub(crate) fn changed(&mut self, key: &Key, change: Change) {
        self.changes.entry(key.clone()).or_default().push(change);
    }

    /// Forgives what was lost because a disk was replaced by a backup.
    pub(crate) fn restored(&mut self, disks: &[Real]) {
        self.restored = true;
        for (place, written) in &mut self.written {
            written.retain(|(version, _)| disks.iter().any(|disk| disk.keeps(place, version)));
        }
    }

    pub(crate) fn settled(&self, disks: &[Real]) -> Result<(), String> {
        let first = disks.first().ok_or("a world without devices")?;
        hold_the_same(disks, &domains())?;
        self.nothing_is_lost(disks)?;
        if !self.mixed {
            no_child_is_left(first)?;
            if !self.restored {
                self.both_are_kept(first)?;
                for (key, changes) in self.changes.iter().filter(|(key, _)| key.as_str().starts_with("pure"))
                {
                    fields_are_joined(first, key, changes)?;
                }
            }
        }
        Ok(())
    }

    /// Whatever was written stands or is in somebody's history.
    fn nothing_is_lost(&self, disks: &[Real]) -> Result<(), String> {
        for (place, written) in &self.written {
            // A value that was written twice is kept once.
            let mut kept = BTreeSet::new();
            let mut is_full = false;
            for disk in disks {
                kept.extend(disk.version(place).map(|version| version.value));
                let past = disk.store().read(|view| view.history(place.0, &place.1)).expect(READ);
                is_full |= past.len() >= PAST_VERSIONS;
                kept.extend(past.into_iter().map(|past| past.version.value));
            }
            let lost = written.iter().find(|(version, _)| !kept.contains(&version.value));
            if let Some((version, _)) = lost.filter(|_| !is_full) {
                return Err(format!("lost: {place:?} {version:?}"));
            }
        }
        Ok(())
    }

    /// Of drafts written apart each one stands.
    fn both_are_kept(&self, disk: &Real) -> Result<(), String> {
        let standing: BTreeSet<_> =
            disk.contents(drafts()).into_values().filter_map(|(_, value)| value).collect();
        for (place, written) in self.written.iter().filter(|(place, _)| place.0 == drafts()) {
            let last = written.iter().filter(|(version, _)| {
                written.iter().all(|(other, _)| other == version || !other.knew(version))
            });
            for (version, value) in last {
                if !standing.contains(value) {
                    return Err(format!("not kept beside others: {place:?} {version:?}"));
                }
            }
        }
        Ok(())
    }
}

fn no_child_is_left(disk: &Real) -> Result<(), String> {
    for (key, (version, _)) in disk.contents(turns()) {
        let parent = family::parent_key(&key).and_then(|parent| disk.version(&(chats(), parent)));
        if !version.deleted && parent.is_some_and(|parent| parent.deleted) {
            return Err(format!("{key} lives under a deleted parent"));
        }
    }
    Ok(())
}

fn fields_are_joined(disk: &Real, key: &Key, changes: &[Change]) -> Result<(), String> {
    let live = disk.store().read(|view| view.get(notes(), key)).expect(READ);
    let live = live.ok_or_else(|| format!("{key} is gone"))?;
    let body: Value = serde_json::from_slice(&live.value).map_err(|error| error.to_string())?;
    let strings = |name: &str| -> BTreeSet<String> {
        let all = body[name].as_array().into_iter().flatten();
        all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let removed: BTreeSet<_> = changes.iter().filter_map(|change| change.removed.clone()).collect();
    let added: BTreeSet<_> = changes.iter().filter_map(|change| change.added.clone()).collect();
    let left: BTreeSet<_> = added.difference(&removed).cloned().collect();
    if strings("tags") != left {
        return Err(format!("{key}: {:?} are {left:?}", body["tags"]));
    }
    let counted: i64 = changes.iter().map(|change| change.counted).sum();
    if body["count"].as_i64().unwrap_or(0) != counted {
        return Err(format!("{key}: {:?} is {counted}", body["count"]));
    }
    let longest = changes.iter().map(|change| change.text).max().unwrap_or(0);
    if body["text"].as_str().map_or(0, str::len) != longest {
        return Err(format!("{key}: {:?} has {longest} characters", body["text"]));
    }
    let best = changes.iter().map(|change| change.best).max().unwrap_or(0);
    if body["best"].as_i64().unwrap_or(0) != best {
        return Err(format!("{key}: {:?} is {best}", body["best"]));
    }
    let logged: BTreeSet<u64> = changes.iter().filter_map(|change| change.logged).collect();
    let log = body["log"].as_array().into_iter().flatten();
    let log: BTreeSet<u64> = log.filter_map(|entry| entry["id"].as_u64()).collect();
    if log != logged {
        return Err(format!("{key}: {log:?} is {logged:?}"));
    }
    Ok(())
}
