//! Worlds of three devices that hold mass changes until a person has looked:
//! one of them goes wrong, deletes or replaces most of what all have, and
//! meets the others, over the real store and the passes of real nodes.
//!
//! Smaller than [`crate::world`] on purpose: no time passes on the network, so
//! that what the guard does is all there is to judge.

use std::collections::BTreeMap;

use fastrand::Rng;
use kinsync::passes::{self, Advance, News, PassError, Pushing, Sessions};
use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Key;
use kinsync_protocol::session::Outcome;
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{Held, Job, Rules};

use crate::disk::{Disk, Real};
use crate::planted::guard::Mistake;
use crate::small::{READ, START, WRITE, paired};

mod laws;

use laws::{Laws, Meeting};

/// The devices of a world.
const DEVICES: usize = 3;

/// Changes of one device in one domain that are applied without a question.
const LIMIT: u64 = 6;

/// What a mass change changes at least: far more than that.
const MASS: usize = 15;

/// Passes over all pairs within which devices are equal once everybody decides.
const PASSES_MAX: usize = 12;

/// Passes in which people decide as is usual in their world; after that they
/// agree to whatever is asked, or two of them might contradict each other for
/// ever.
const STUBBORN: usize = 2;

/// Frames after which a session is a storm.
const FRAMES_MAX: usize = 200;

/// A guard that holds nothing.
const OFF: Guard = Guard { records: 0, percent: 0 };

/// Records without parents.
fn notes() -> DomainId {
    DomainId::of("notes")
}

/// The parents of turns.
fn chats() -> DomainId {
    DomainId::of("chats")
}

/// The children of chats.
fn turns() -> DomainId {
    DomainId::of("turns")
}

/// All domains of a world.
fn domains() -> [DomainId; 3] {
    [notes(), chats(), turns()]
}

fn guard() -> Guard {
    Guard { records: u32::try_from(LIMIT).unwrap_or(0), percent: 20 }
}

/// What becomes of what is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Yes,
    No,
    Either,
}

/// Runs the world of `seed`. What broke a law, if anything did.
pub fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), String> {
    let mut world = World::new(seed, mistake);
    world.begin()?;
    let steps = world.rng.usize(8..24);
    for _ in 0..steps {
        world.step()?;
    }
    world.settle()
}

struct World {
    rng: Rng,
    ids: Vec<DeviceId>,
    disks: Vec<Real>,
    sessions: Vec<Sessions>,
    /// How far one device is known to have another one's log, by domain.
    told: BTreeMap<(usize, usize, DomainId), u64>,
    answer: Answer,
    now: u64,
    writes: u64,
    mistake: Option<Mistake>,
    laws: Laws,
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (ids, mut disks) = paired(DEVICES, &mut rng);
        let turn = Rules { parent: Some(chats()), ..Rules::default() };
        let rules =
            BTreeMap::from([(notes(), Rules::default()), (chats(), Rules::default()), (turns(), turn)]);
        for disk in &mut disks {
            disk.declare(rules.clone());
            disk.guard(guard());
        }
        Self {
            ids,
            disks,
            sessions: (0..DEVICES).map(|_| Sessions::default()).collect(),
            told: BTreeMap::new(),
            answer: [Answer::Yes, Answer::No, Answer::Either][rng.usize(..3)],
            now: START,
            writes: 0,
            mistake,
            laws: Laws::default(),
            rng,
        }
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn wall(&mut self) -> UnixMillis {
        self.now += 10;
        UnixMillis(self.now)
    }

    /// One device brings a library, most worlds have it on all devices.
    fn begin(&mut self) -> Result<(), String> {
        let count = self.rng.usize(MASS + 5..2 * MASS);
        self.bring(notes(), (0..count).map(|n| format!("note{n:02}")));
        self.bring(chats(), (0..2).map(|n| format!("chat{n}")));
        self.bring(turns(), (0..2 * MASS).map(|n| format!("chat{}/turn{n:02}", n / MASS)));
        self.sync(0, 1, None)?;
        // Some meet for the first time when things have gone wrong already.
        let meetings = self.rng.usize(..4);
        for (a, b) in [(1, 2), (0, 2)].into_iter().take(meetings) {
            self.sync(a, b, None)?;
        }
        Ok(())
    }

    fn bring(&mut self, domain: DomainId, keys: impl Iterator<Item = String>) {
        let record = |key: String| (Key::new(key).expect("a short key"), b"{}".to_vec());
        let wall = self.wall();
        self.disks[0].store().put_many(domain, keys.map(record).collect(), wall).expect(WRITE);
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.u64(..3_000);
        let at = self.rng.usize(..DEVICES);
        let other = (at + self.rng.usize(1..DEVICES)) % DEVICES;
        match self.rng.u8(..100) {
            0..15 => {
                let key = format!("note{:02}", self.rng.usize(..3 * MASS));
                self.put(at, notes(), &key);
            }
            15..25 => self.end(at, notes(), 1),
            25..30 => {
                self.end(at, chats(), 1);
            }
            30..40 => {
                let most = self.rng.usize(MASS..2 * MASS);
                self.end(at, notes(), most);
            }
            40..45 => self.end(at, turns(), MASS),
            45..55 => self.replace(at),
            55..60 => {
                self.disks[at].crash(&mut self.rng);
                self.sessions[at] = Sessions::default();
                self.told.retain(|(from, to, _), _| *from != at && *to != at);
                self.laws.restarted(at);
            }
            60..65 => {
                let frames = self.rng.usize(1..4);
                self.sync(at, other, Some(frames))?;
            }
            65..75 => self.push(at, other)?,
            75..80 => self.decide(at, self.answer)?,
            _ => {
                self.sync(at, other, None)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, at: usize, domain: DomainId, key: &str) {
        self.writes += 1;
        let key = Key::new(key).expect("a short key");
        let (value, wall) = (format!("written {}", self.writes).into_bytes(), self.wall());
        // A turn of a chat that is gone is refused.
        if let Ok(version) = self.disks[at].store().put(domain, key.clone(), value, wall) {
            self.laws.wrote((domain, key), version);
        }
    }

    /// The keys of live records, in an order of their own.
    fn live(&mut self, at: usize, domain: DomainId) -> Vec<Key> {
        let contents = self.disks[at].contents(domain);
        let live = contents.into_iter().filter(|(_, (version, _))| !version.deleted);
        let mut keys: Vec<_> = live.map(|(key, _)| key).collect();
        self.rng.shuffle(&mut keys);
        keys
    }

    /// A user, or an application gone wrong, deletes so many records.
    fn end(&mut self, at: usize, domain: DomainId, most: usize) {
        for key in self.live(at, domain).into_iter().take(most) {
            let wall = self.wall();
            self.disks[at].store().delete(domain, key, wall).expect(WRITE);
        }
    }

    /// An application gone wrong replaces most of what is there.
    fn replace(&mut self, at: usize) {
        for key in self.live(at, notes()).into_iter().take(2 * MASS) {
            self.put(at, notes(), key.as_str());
        }
    }

    fn heads(&self) -> Vec<u64> {
        let views = self.disks.iter().map(|disk| disk.view());
        views.flat_map(|view| domains().map(|domain| view.root(domain).expect(READ).head)).collect()
    }

    fn held(&self, at: usize) -> Vec<Held> {
        self.disks[at].store().read(|view| view.held()).expect(READ)
    }

    /// Whether a device holds back a mass change in this meeting; it does
    /// unless it makes a mistake.
    fn prepare(&mut self, at: usize, from: usize, is_push: bool) {
        let only_replaces = || {
            let ends = |domain: DomainId| {
                let (ours, theirs) = (self.disks[at].contents(domain), self.disks[from].contents(domain));
                let lives = |key: &Key| ours.get(key).is_some_and(|(version, _)| !version.deleted);
                theirs.iter().any(|(key, (version, _))| version.deleted && lives(key))
            };
            !domains().into_iter().any(ends)
        };
        let is_off = match self.mistake {
            Some(Mistake::ReplacementsUncounted) => only_replaces(),
            Some(Mistake::PushUnguarded) => is_push,
            _ => false,
        };
        self.disks[at].guard(if is_off { OFF } else { guard() });
        if self.has(Mistake::FirstSyncHeld) {
            let peer = self.ids[from];
            for domain in domains() {
                if self.disks[at].view().cursor(peer, domain).expect(READ).is_none() {
                    let cursor = Some(Cursor { epoch: 1, seq: 0, after: None });
                    let batch = Batch { domain, records: Vec::new(), cursor, floor: None };
                    self.disks[at].store().apply(peer, vec![batch], UnixMillis(0)).expect(WRITE);
                }
            }
        }
    }

    /// What a mistaken device does behind its guard's back.
    fn afterwards(&mut self, at: usize, from: usize) {
        if !self.has(Mistake::AppliesAndHolds) {
            return;
        }
        self.disks[at].guard(OFF);
        for held in self.held(at).into_iter().filter(|held| held.peer == self.ids[from]) {
            let view = self.disks[from].view();
            let records = self.disks[at].store().read(|store| store.held_records(held.number)).expect(READ);
            let hash = |key: &Key| kinsync_protocol::item::key_hash(held.domain, key);
            let found = records.into_iter().flatten();
            let records = found.filter_map(|row| view.record(held.domain, hash(&row.key)).expect(READ));
            let batch = Batch { domain: held.domain, records: records.collect(), cursor: None, floor: None };
            let third = self.ids[DEVICES - at - from];
            let now = UnixMillis(self.now);
            self.disks[at].store().apply(third, vec![batch], now).expect(WRITE);
        }
    }

    fn meeting(&mut self, at: usize, from: usize, is_push: bool) -> Meeting {
        let meeting = Meeting::begin(&self.disks[at], at, from, self.ids[from], is_push);
        self.prepare(at, from, is_push);
        meeting
    }

    fn judge(&mut self, meeting: Meeting) -> Result<(), String> {
        let (at, from) = (meeting.at, meeting.from);
        self.afterwards(at, from);
        self.laws.met(&self.disks[at], meeting)
    }

    /// A session that `a` opens with `b`, cut off after `frames` of each side.
    /// What it came to, and how many frames each side sent.
    fn sync(
        &mut self,
        a: usize,
        b: usize,
        frames: Option<usize>,
    ) -> Result<Option<(Outcome, usize)>, String> {
        let meetings = [self.meeting(a, b, false), self.meeting(b, a, false)];
        let ended = self.talk(a, b, frames)?;
        for meeting in meetings {
            self.judge(meeting)?;
        }
        self.told.retain(|(from, to, _), _| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        if let Some((outcome, _)) = &ended {
            for domain in &outcome.domains {
                if let Some(seq) = domain.equal_at {
                    self.told.insert((a, b, domain.domain), seq);
                }
            }
        }
        Ok(ended)
    }

    fn talk(
        &mut self,
        a: usize,
        b: usize,
        frames: Option<usize>,
    ) -> Result<Option<(Outcome, usize)>, String> {
        let (id_a, id_b) = (self.ids[a], self.ids[b]);
        let (number, nonce, now) = (self.rng.u64(..), [self.rng.u8(..); 8], self.wall());
        // Sessions follow each other here, and some break off.
        self.sessions[a].go_first(id_b, false);
        self.sessions[b].go_first(id_a, false);
        let opened = passes::open(self.disks[a].store(), id_b, number, nonce, false);
        let (mut session, mut frame) = opened.map_err(|error| format!("{error:?}"))?;
        for sent in 1..=FRAMES_MAX {
            let store = self.disks[b].store();
            let answered = passes::answer(store, &self.sessions[b], id_a, &frame, now);
            if frames.is_some_and(|frames| sent >= frames) {
                return Ok(None);
            }
            match passes::advance(self.disks[a].store(), &self.sessions[a], session, &answered.response, now)
            {
                Ok(Advance::Next(next, bytes)) => (session, frame) = (next, bytes),
                Ok(Advance::Ended(outcome)) => return Ok(Some((outcome, sent))),
                // What one grants the other has changed: the next session says so.
                Err(PassError::Refused(_) | PassError::GrantsChanged) => return Ok(None),
                Err(error) => return Err(format!("{error:?}, {:?}", answered.error)),
            }
        }
        Err(format!("a session of {FRAMES_MAX} round trips"))
    }

    /// What changed since two devices were equal goes by pushes.
    fn push(&mut self, from: usize, at: usize) -> Result<(), String> {
        for domain in domains() {
            let Some(acked) = self.told.get(&(from, at, domain)).copied() else { continue };
            let news = News { domain, acked, after: acked, beside: Vec::new() };
            let pushing = passes::push(self.disks[from].store(), &self.sessions[from], self.ids[at], &news);
            let pushing = pushing.map_err(|error| format!("{error:?}"))?;
            let Pushing::Send(bytes, seq) = pushing else { continue };
            let meeting = self.meeting(at, from, true);
            let now = self.wall();
            let store = self.disks[at].store();
            let answered = passes::answer(store, &self.sessions[at], self.ids[from], &bytes, now);
            self.judge(meeting)?;
            match passes::pushed(&answered.response) {
                Ok(true) => self.told.insert((from, at, domain), seq),
                Ok(false) | Err(_) => self.told.remove(&(from, at, domain)),
            };
        }
        Ok(())
    }

    /// A person looks at what a device holds, and decides about one of it.
    fn decide(&mut self, at: usize, answer: Answer) -> Result<(), String> {
        let held = self.held(at);
        let Some(held) = self.rng.choice(held) else { return Ok(()) };
        let accepts = match answer {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Either => self.rng.bool(),
        };
        let decision = self.laws.decides(&self.disks[at], at, &held, accepts);
        let now = self.wall();
        let store = self.disks[at].store();
        let job = match accepts || self.has(Mistake::NoIsYes) {
            true => Job::accept_held(held.number, now),
            false => Job::reject_held(held.number, now),
        };
        if accepts || !self.has(Mistake::NoIsForgotten) {
            store.write(job).map_err(|error| format!("{error:?}"))?;
        }
        self.laws.decided(&self.disks[at], decision)
    }

    /// Nobody writes any more, and people decide: all devices become equal.
    fn settle(&mut self) -> Result<(), String> {
        for pass in 0.. {
            let heads = self.heads();
            let (mut equal, mut quiet) = (true, true);
            for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                self.now += 1_000;
                match self.sync(a, b, None)? {
                    Some((outcome, sent)) => {
                        equal &= outcome.domains.iter().all(|domain| domain.equal_at.is_some());
                        quiet &= sent == 1;
                    }
                    None => equal = false,
                }
            }
            if equal && quiet && heads == self.heads() {
                break;
            }
            if pass >= PASSES_MAX {
                let held: usize = (0..DEVICES).map(|at| self.held(at).len()).sum();
                return Err(format!("after {pass} passes devices are not equal, {held} changes are held"));
            }
            let answer = if pass < STUBBORN { self.answer } else { Answer::Yes };
            for at in 0..DEVICES {
                for _ in 0..self.held(at).len() {
                    self.decide(at, answer)?;
                }
            }
        }
        if (0..DEVICES).any(|at| !self.held(at).is_empty()) {
            return Err("devices that are equal hold something".to_owned());
        }
        self.laws.settled(&self.disks)
    }
}
