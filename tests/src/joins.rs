//! Worlds of three devices whose domains join what was written apart: fields,
//! records kept beside each other, parents and their children, over the real
//! store and real sessions.
//!
//! Smaller than [`crate::world`] on purpose: no time passes on the network, so
//! that what joins make is all there is to judge.

use std::collections::BTreeMap;

use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::policy::{FieldPolicy, Policy};
use kinsync_protocol::record::Key;
use kinsync_protocol::snapshot::Snapshot;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{Job, Rules};
use serde_json::{Value, json};

use crate::disk::{Disk, Done, Op, Place, Real};
use crate::planted::joins::Mistake;
use crate::small::{Met, READ, START, meet, paired};

mod laws;

use laws::Laws;

/// The devices of a world.
const DEVICES: usize = 3;

/// Passes over all pairs within which devices are equal once nobody writes.
const PASSES_MAX: usize = 6;

/// Notes are joined field by field.
pub(crate) fn notes() -> DomainId {
    DomainId::of("notes")
}

/// Of drafts all that were written apart are kept.
pub(crate) fn drafts() -> DomainId {
    DomainId::of("drafts")
}

/// The parents of turns.
pub(crate) fn chats() -> DomainId {
    DomainId::of("chats")
}

/// The children of chats.
pub(crate) fn turns() -> DomainId {
    DomainId::of("turns")
}

/// All domains of a world.
pub(crate) fn domains() -> [DomainId; 4] {
    [notes(), drafts(), chats(), turns()]
}

/// Runs the world of `seed`. What broke a law, if anything did.
pub fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), String> {
    let mut world = World::new(seed, mistake);
    let steps = world.rng.usize(10..50);
    for _ in 0..steps {
        world.step()?;
    }
    world.settle()
}

fn fields(mistake: Option<Mistake>) -> Policy {
    let tags = match mistake {
        Some(Mistake::SetOverwritten) => FieldPolicy::Lww,
        _ => FieldPolicy::SetUnion { by: None },
    };
    let all = [
        ("tags", tags),
        ("text", FieldPolicy::Longest),
        ("count", FieldPolicy::Counter),
        ("best", FieldPolicy::Max),
        ("log", FieldPolicy::Append { by: "id".to_owned() }),
        ("marks", FieldPolicy::Map),
        ("mood", FieldPolicy::KeepBoth),
    ];
    let fields = all.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect();
    Policy::Fields { default: FieldPolicy::Lww, fields }
}

fn rules(mistake: Option<Mistake>) -> BTreeMap<DomainId, Rules> {
    let with = |policy| Rules { policy, ..Rules::default() };
    let both = if mistake == Some(Mistake::OneOfBoth) { Policy::Lww } else { Policy::KeepBoth };
    let parent = Some(chats()).filter(|_| mistake != Some(Mistake::ChildrenLeft));
    BTreeMap::from([
        (notes(), with(fields(mistake))),
        (drafts(), with(both)),
        (chats(), Rules::default()),
        (turns(), Rules { parent, ..Rules::default() }),
    ])
}

struct World {
    rng: Rng,
    ids: Vec<DeviceId>,
    disks: Vec<Real>,
    backups: Vec<Option<Vec<u8>>>,
    /// How far each wall clock is wrong.
    skews: Vec<u64>,
    /// Who meets whom.
    apart: bool,
    restores: bool,
    now: u64,
    writes: u64,
    mistake: Option<Mistake>,
    laws: Laws,
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (ids, mut disks) = paired(DEVICES, &mut rng);
        // One device may not have heard yet what domains are.
        let old = Some(rng.usize(..DEVICES)).filter(|_| mistake.is_none() && rng.u8(..4) == 0);
        for (at, disk) in disks.iter_mut().enumerate() {
            match old {
                Some(old) if old == at => disk.declare(old_rules(&mut rng)),
                _ => disk.declare(rules(mistake)),
            }
        }
        let skewed = rng.bool();
        let skews = (0..DEVICES).map(|_| if skewed { rng.u64(..100_000) } else { 0 }).collect();
        Self {
            ids,
            disks,
            backups: vec![None; DEVICES],
            skews,
            apart: rng.bool(),
            restores: mistake.is_none() && rng.u8(..4) == 0,
            now: START,
            writes: 0,
            mistake,
            laws: Laws::new(old.is_some()),
            rng,
        }
    }

    fn wall(&self, at: usize) -> UnixMillis {
        UnixMillis(self.now + self.skews[at])
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.u64(..3_000);
        let at = self.rng.usize(..DEVICES);
        let other = (at + self.rng.usize(1..DEVICES)) % DEVICES;
        match self.rng.u8(..100) {
            0..40 => self.write_note(at),
            40..48 => {
                let place = (drafts(), self.key("draft", 2));
                self.write(at, place, format!("draft {}", self.writes));
            }
            48..54 => {
                let place = (chats(), self.key("chat", 2));
                self.write(at, place, format!("chat {}", self.writes));
            }
            54..64 => {
                let turn = format!("chat{}/turn{}", self.rng.usize(..2), self.rng.usize(..3));
                let place = (turns(), Key::new(turn).expect("a short key"));
                self.write(at, place, format!("turn {}", self.writes));
            }
            64..72 => self.delete(at),
            72..76 => self.take(at),
            76..80 => self.bring_back(at),
            80..84 => self.disks[at].crash(&mut self.rng),
            84..86 => self.backups[at] = Some(self.disks[at].backup()),
            86..88 => self.restore(at),
            88..92 => {
                let frames = self.rng.usize(1..4);
                self.sync(at, other, Some(frames))?;
            }
            _ if self.apart && at + other == DEVICES - 1 => {}
            _ => {
                self.sync(at, other, None)?;
            }
        }
        Ok(())
    }

    fn key(&mut self, name: &str, of: usize) -> Key {
        Key::new(format!("{name}{}", self.rng.usize(..of))).expect("a short key")
    }

    fn write(&mut self, at: usize, place: Place, value: String) {
        self.put(at, place, value.into_bytes());
    }

    fn put(&mut self, at: usize, place: Place, value: Vec<u8>) -> bool {
        self.writes += 1;
        let op = Op::Write { place: place.clone(), value: Some(value.clone()), wall: self.wall(at) };
        match self.disks[at].commit(op) {
            Done::Wrote(version) => {
                self.laws.wrote(place, version, value);
                true
            }
            Done::Applied | Done::Refused => false,
        }
    }

    /// Changes some fields of a note. Those under `pure` are never deleted.
    fn write_note(&mut self, at: usize) {
        let n = self.writes;
        let name = if self.rng.bool() { "pure" } else { "mixed" };
        let key = self.key(name, 2);
        let live = self.disks[at].store().read(|view| view.get(notes(), &key)).expect(READ);
        let mut body: Value =
            live.and_then(|live| serde_json::from_slice(&live.value).ok()).unwrap_or_else(|| json!({}));
        let mut change = laws::Change::default();
        body["title"] = json!(format!("title {n}"));
        if self.rng.bool() {
            let mut tags: Vec<Value> = body["tags"].as_array().cloned().unwrap_or_default();
            if self.rng.u8(..3) == 0 && !tags.is_empty() {
                change.removed = tags.remove(self.rng.usize(..tags.len())).as_str().map(str::to_owned);
            }
            change.added = Some(format!("tag{n}"));
            tags.push(json!(format!("tag{n}")));
            body["tags"] = json!(tags);
        }
        if self.rng.bool() {
            change.counted = self.rng.i64(-3..10);
            body["count"] = json!(body["count"].as_i64().unwrap_or(0) + change.counted);
        }
        if self.rng.u8(..3) == 0 {
            let longest = body["text"].as_str().map_or(0, str::len);
            change.text = longest + self.rng.usize(1..5);
            body["text"] = json!("x".repeat(change.text));
        }
        if self.rng.u8(..3) == 0 {
            change.best = body["best"].as_i64().unwrap_or(0) + self.rng.i64(1..5);
            body["best"] = json!(change.best);
        }
        if self.rng.u8(..3) == 0 {
            let mut log = body["log"].as_array().cloned().unwrap_or_default();
            log.push(json!({ "id": n }));
            change.logged = Some(n);
            body["log"] = json!(log);
        }
        if self.rng.u8(..4) == 0 {
            body["mood"] = json!(format!("mood {n}"));
            let field = format!("m{}", self.rng.usize(..2));
            body["marks"][field] = json!(n);
        }
        let forgets = self.mistake == Some(Mistake::StateForgotten);
        if forgets {
            self.disks[at].declare(BTreeMap::from([(notes(), Rules::default())]));
        }
        let bytes = serde_json::to_vec(&body).expect("a value is JSON");
        if self.put(at, (notes(), key.clone()), bytes) {
            self.laws.changed(&key, change);
        }
        if forgets {
            self.disks[at].declare(rules(self.mistake));
        }
    }

    fn delete(&mut self, at: usize) {
        let place = match self.rng.u8(..4) {
            0 => (notes(), self.key("mixed", 2)),
            1 | 2 => (chats(), self.key("chat", 2)),
            _ => (turns(), Key::new(format!("chat0/turn{}", self.rng.usize(..3))).expect("a short key")),
        };
        let wall = self.wall(at);
        self.disks[at].commit(Op::Write { place, value: None, wall });
    }

    /// A person decides a conflict, one way or the other.
    fn take(&mut self, at: usize) {
        let domain = domains()[self.rng.usize(..DEVICES + 1)];
        let conflicts = self.disks[at].store().read(|view| view.conflicts(domain, 10)).expect(READ);
        let open = conflicts.into_iter().find(|conflict| !conflict.key.as_str().starts_with("pure"));
        let Some(conflict) = open.filter(|_| domain != drafts()) else { return };
        let (key, number, now) = (conflict.key, conflict.loser.number, self.wall(at));
        let job = match self.rng.bool() {
            true => Job::take(domain, key, number, now),
            false => Job::dismiss(domain, key, number, now),
        };
        // What is under a deleted parent cannot be taken.
        drop(self.disks[at].store().write(job));
    }

    fn bring_back(&mut self, at: usize) {
        let domain = if self.rng.bool() { chats() } else { notes() };
        let key = self.key(if domain == chats() { "chat" } else { "mixed" }, 2);
        // There may be nothing to bring back.
        drop(self.disks[at].store().write(Job::restore_deleted(domain, key, self.wall(at))));
    }

    fn restore(&mut self, at: usize) {
        if let Some(backup) = self.backups[at].clone().filter(|_| self.restores) {
            self.disks[at].restore(&backup);
            self.disks[at].start(self.rng.u64(1..));
            self.laws.restored(&self.disks);
        }
    }

    /// A session that `a` opens with `b`, cut off after `frames` of each side.
    fn sync(&mut self, a: usize, b: usize, frames: Option<usize>) -> Result<Option<Met>, String> {
        let walls: Vec<_> = (0..DEVICES).map(|at| self.wall(at)).collect();
        let ids = &self.ids;
        meet(&mut self.disks, ids, (a, b), frames, &mut self.rng, |disks, to, from, batches| {
            if !batches.is_empty() {
                disks[to].commit(Op::Apply { from: ids[from], batches, wall: walls[to] });
            }
        })
    }

    fn heads(&self) -> Vec<u64> {
        let views = self.disks.iter().map(|disk| disk.view());
        views.flat_map(|view| domains().map(|domain| view.root(domain).expect(READ).head)).collect()
    }

    /// Nobody writes any more: all devices become equal, and say so.
    fn settle(&mut self) -> Result<(), String> {
        for pass in 0.. {
            let heads = self.heads();
            let mut equal = true;
            let mut quiet = true;
            for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                self.now += 1_000;
                let met = self.sync(a, b, None)?.expect("a session that is not cut off");
                equal &=
                    met.outcomes.0.domains.iter().all(|domain| domain.complete && domain.equal_at.is_some());
                quiet &= met.frames == 1;
            }
            if equal && quiet && heads == self.heads() {
                break;
            }
            if pass >= PASSES_MAX {
                return Err(format!(
                    "after {pass} passes devices are not equal (equal {equal}, quiet {quiet})"
                ));
            }
        }
        self.laws.settled(&self.disks)
    }
}

/// What a device goes by that has not heard of a world's declarations.
fn old_rules(rng: &mut Rng) -> BTreeMap<DomainId, Rules> {
    match rng.u8(..3) {
        0 => BTreeMap::new(),
        1 => BTreeMap::from(domains().map(|domain| (domain, Rules::default()))),
        _ => {
            let mut rules = rules(None);
            rules.insert(notes(), Rules { policy: Policy::KeepBoth, ..Rules::default() });
            rules.insert(drafts(), Rules::default());
            rules
        }
    }
}
