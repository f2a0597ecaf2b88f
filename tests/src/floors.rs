//! Worlds in which deletions are forgotten: devices that are away for months,
//! one that joins late with a library of its own, backups, over the real store
//! and real sessions.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use kinsync_protocol::floor::Floor;
use kinsync_protocol::id::{DeviceId, DomainId, ValueHash};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::session::Outcome;
use kinsync_protocol::snapshot::{Batch, FloorNews};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{Job, Reason};

use crate::disk::{Disk, Done, Op, Real};
use crate::planted::floors::Mistake;
use crate::small::{Met, READ, START, WRITE, hold_the_same, meet, paired};

/// The devices of a world. One of them is away for long, another one joins
/// late.
const DEVICES: usize = 4;
const AWAY: usize = 2;
const LATE: usize = 3;

/// Records that devices write: so many that some stay as they are for months.
const KEYS: usize = 12;

/// How long deletions are remembered where they are not for ever.
const DAYS: u32 = 90;

const DAY: u64 = 86_400_000;

/// Passes over all pairs within which devices are equal once nobody writes.
const PASSES_MAX: usize = 8;

fn notes() -> DomainId {
    DomainId::of("notes")
}

/// Runs the world of `seed`. What broke a law, if anything did.
pub fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), String> {
    let mut world = World::new(seed, mistake);
    for _ in 0..world.rng.usize(40..120) {
        world.step()?;
    }
    world.settle()
}

struct World {
    rng: Rng,
    ids: Vec<DeviceId>,
    disks: Vec<Real>,
    backup: Option<Vec<u8>>,
    /// Who forgets deletions by itself.
    forgetful: Vec<bool>,
    /// Whether the late device is there yet, and the other one away.
    late: bool,
    has_joined: bool,
    away: bool,
    now: u64,
    writes: u64,
    mistake: Option<Mistake>,
    laws: Laws,
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (ids, disks) = paired(DEVICES, &mut rng);
        let mut forgetful: Vec<bool> = (0..DEVICES).map(|_| rng.bool()).collect();
        forgetful[0] = true;
        Self {
            ids,
            disks,
            backup: None,
            forgetful,
            late: rng.bool(),
            has_joined: false,
            away: false,
            now: START,
            writes: 0,
            mistake,
            laws: Laws::default(),
            rng,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let days = match self.rng.u8(..10) {
            0 | 1 => self.rng.u64(5..40),
            _ => self.rng.u64(..3),
        };
        self.now += days * DAY + self.rng.u64(..DAY / 2);
        let (at, other) = (self.rng.usize(..DEVICES), self.rng.usize(..DEVICES));
        match self.rng.u8(..100) {
            0..25 => self.write(at),
            25..40 => self.delete(at),
            40..43 => self.disks[at].crash(&mut self.rng),
            43..47 => self.away = !self.away,
            47..50 => self.late = true,
            50..52 if at == 1 => self.backup = Some(self.disks[at].backup()),
            52..55 if at == 1 && self.mistake.is_none() => self.restore(at),
            55..65 => {
                let frames = self.rng.usize(1..4);
                self.sync(other, at, Some(frames))?;
            }
            _ => {
                self.sync(other, at, None)?;
            }
        }
        // Those that are neither away nor late see each other every few weeks.
        self.sync(0, 1, None)?;
        if self.late {
            self.has_joined |= self.sync(0, LATE, None)?.is_some();
        }
        Ok(())
    }

    /// Whether two devices can meet. The late one meets whoever knows what is
    /// forgotten before it meets others.
    fn can_meet(&self, a: usize, b: usize) -> bool {
        let (low, high) = (a.min(b), a.max(b));
        let away = self.away && (low == AWAY || high == AWAY);
        let late = high == LATE && !(self.late && (self.has_joined || low == 0));
        low != high && !away && !late
    }

    fn key(&mut self, at: usize) -> Key {
        // What the late device has from before it joined nobody else has.
        let own = if at == LATE && !self.late { "late" } else { "k" };
        Key::new(format!("{own}{}", self.rng.usize(..KEYS))).expect("a short key")
    }

    fn write(&mut self, at: usize) {
        self.writes += 1;
        let (place, value) = ((notes(), self.key(at)), format!("{}", self.writes).into_bytes());
        let op = Op::Write { place: place.clone(), value: Some(value), wall: UnixMillis(self.now) };
        if let Done::Wrote(version) = self.disks[at].commit(op) {
            self.laws.written.push(Written { key: place.1, version, by: at });
        }
    }

    fn delete(&mut self, at: usize) {
        let place = (notes(), self.key(at));
        let op = Op::Write { place: place.clone(), value: None, wall: UnixMillis(self.now) };
        if let Done::Wrote(version) = self.disks[at].commit(op) {
            self.laws.deleted.push((place.1, version));
        }
    }

    /// Puts back what the device was at its last backup.
    fn restore(&mut self, at: usize) {
        if let Some(backup) = self.backup.clone() {
            self.disks[at].restore(&backup);
            self.disks[at].start(self.rng.u64(1..));
            self.laws.restored(&self.disks);
        }
    }

    fn sync(&mut self, a: usize, b: usize, frames: Option<usize>) -> Result<Option<Met>, String> {
        if !self.can_meet(a, b) {
            return Ok(None);
        }
        if self.mistake == Some(Mistake::RaisedUnproven) {
            self.raise_to(a, b, vec![notes()]);
            self.raise_to(b, a, vec![notes()]);
        }
        let (now, mistake, ids) = (UnixMillis(self.now), self.mistake, self.ids.clone());
        let met = meet(&mut self.disks, &ids, (a, b), frames, &mut self.rng, |disks, to, from, batches| {
            let batches: Vec<_> = batches.into_iter().map(|batch| mistaken(batch, mistake)).collect();
            if !batches.is_empty() {
                disks[to].commit(Op::Apply { from: ids[from], batches, wall: now });
            }
        })?;
        if let Some(Met { outcomes: (ours, theirs), .. }) = &met {
            self.raise(a, b, ours);
            self.raise(b, a, theirs);
        }
        self.laws.look(&self.disks);
        Ok(met)
    }

    fn raise(&mut self, at: usize, other: usize, outcome: &Outcome) {
        let equal = outcome.domains.iter().filter(|domain| domain.equal_at.is_some());
        self.raise_to(at, other, equal.map(|domain| domain.domain).collect());
    }

    fn raise_to(&mut self, at: usize, other: usize, domains: Vec<DomainId>) {
        let now = UnixMillis(self.now);
        if self.forgetful[at] {
            let job = Job::raise_floor(self.ids[other], domains, Floor::before(now, DAYS), now);
            self.disks[at].store().write(job).expect(WRITE);
        }
    }

    /// Nobody writes any more: all devices become equal, say so, and forget
    /// every deletion in time.
    fn settle(&mut self) -> Result<(), String> {
        (self.late, self.has_joined, self.away) = (true, true, false);
        self.until_equal()?;
        self.laws.settled(&self.disks)?;
        for _ in 0..3 {
            self.now += u64::from(DAYS) * DAY;
            self.until_equal()?;
        }
        let undecided = |key: &Key| {
            let disks = self.disks.iter().map(|disk| disk.store().read(|view| view.conflicts(notes(), 100)));
            disks.flat_map(|conflicts| conflicts.expect(READ)).any(|conflict| conflict.key == *key)
        };
        for (key, (version, _)) in self.disks[0].contents(notes()) {
            if version.deleted && !undecided(&key) {
                return Err(format!("the deletion of {key} is remembered: {version:?}"));
            }
        }
        Ok(())
    }

    fn until_equal(&mut self) -> Result<(), String> {
        for _ in 0..PASSES_MAX {
            let mut quiet = true;
            for (a, b) in [(0, 3), (0, 1), (1, 2), (2, 3), (0, 2), (1, 3)] {
                self.now += 1_000;
                let met = self.sync(a, b, None)?.expect("a session that is not cut off");
                let equal =
                    |outcome: &Outcome| outcome.domains.iter().all(|domain| domain.equal_at.is_some());
                quiet &= met.frames == 1 && equal(&met.outcomes.0);
            }
            if quiet {
                return Ok(());
            }
        }
        Err(format!("devices are not equal after {PASSES_MAX} passes"))
    }
}

/// What a device with a mistake makes of what a session tells it.
fn mistaken(mut batch: Batch, mistake: Option<Mistake>) -> Batch {
    batch.floor = match (mistake, batch.floor) {
        (Some(Mistake::AdoptedEarly), Some(FloorNews::Higher { floor, .. })) => {
            Some(FloorNews::Equal { floor })
        }
        (Some(Mistake::ForgottenUnsent), Some(FloorNews::Higher { floor, .. })) => {
            Some(FloorNews::Higher { floor, known: u64::MAX })
        }
        (Some(Mistake::NewIsOld), Some(FloorNews::New)) => None,
        (Some(Mistake::OldIsNew), None) => Some(FloorNews::New),
        (_, floor) => floor,
    };
    batch
}

struct Written {
    key: Key,
    version: Version,
    by: usize,
}

/// The judge of a world.
#[derive(Default)]
struct Laws {
    written: Vec<Written>,
    deleted: Vec<(Key, Version)>,
    /// What floors ended, in sight of whoever looks.
    ended: BTreeSet<(Key, ValueHash)>,
    restored: bool,
}

impl Laws {
    /// Forgives what was lost because a disk was replaced by a backup.
    fn restored(&mut self, disks: &[Real]) {
        self.restored = true;
        let kept = |key: &Key, version: &Version| {
            disks.iter().any(|disk| disk.keeps(&(notes(), key.clone()), version))
        };
        self.written.retain(|written| kept(&written.key, &written.version));
        self.deleted.retain(|(key, version)| kept(key, version));
    }

    /// Takes note of what floors ended.
    fn look(&mut self, disks: &[Real]) {
        let keys: BTreeSet<_> = self.written.iter().map(|written| &written.key).collect();
        for (disk, key) in disks.iter().flat_map(|disk| keys.iter().map(move |key| (disk, *key))) {
            let past = disk.store().read(|view| view.history(notes(), key)).expect(READ);
            let ended = past.into_iter().filter(|past| past.reason == Reason::Floor);
            self.ended.extend(ended.map(|past| (key.clone(), past.version.value)));
        }
    }

    fn settled(&self, disks: &[Real]) -> Result<(), String> {
        let (first, others) = disks.split_first().ok_or("a world without devices")?;
        hold_the_same(disks, &[notes()])?;
        let contents = first.contents(notes());
        if let Some(other) = others.iter().find(|other| other.contents(notes()) != contents) {
            return Err(format!("devices differ: {contents:?} {:?}", other.contents(notes())));
        }
        let was_deleted = |key: &Key, version: &Version| {
            self.deleted.iter().any(|(deleted, by)| deleted == key && by.knew(version))
        };
        // Nothing comes back by itself.
        for (key, (version, _)) in contents.iter().filter(|(_, (version, _))| !version.deleted) {
            if was_deleted(key, version) {
                return Err(format!("{key} came back: {version:?}"));
            }
        }
        let live: BTreeMap<_, _> = contents.iter().map(|(key, (version, _))| (key, version)).collect();
        for Written { key, version, by } in &self.written {
            let ended = self.ended.contains(&(key.clone(), version.value));
            let gone = was_deleted(key, version);
            // Who was away, and only who was away, is asked again.
            if ended && !gone && *by != AWAY && !self.restored {
                return Err(format!("{key} was ended though its author was there: {version:?}"));
            }
            let replaced = self
                .written
                .iter()
                .any(|other| other.key == *key && other.version != *version && other.version.knew(version));
            let stands = live.get(key).is_some_and(|live| live.value == version.value);
            let kept = disks.iter().any(|disk| {
                let past = disk.store().read(|view| view.history(notes(), key)).expect(READ);
                past.iter().any(|past| past.version.value == version.value)
            });
            if !(stands || ended || gone || replaced || kept) {
                return Err(format!("lost: {key} {version:?}"));
            }
        }
        Ok(())
    }
}
