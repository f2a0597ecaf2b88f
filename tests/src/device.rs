//! A simulated device: the real sessions, statements and codec, a store, and a
//! driver with time-outs, retries and pushes around them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::SigningKey;
use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Version;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::session::{Outcome, Session};
use kinsync_protocol::snapshot::{Batch, Cursor, Epoch};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::{Action, View as Trust};
use kinsync_protocol::wire::frame::Frame;

use crate::disk::{Disk, Done, Op, Place, TrustOp};
use crate::planted::Planted;
use crate::planted::view::{Lens, View};

mod sync;
mod trust;

/// How long a device waits for an answer, in milliseconds.
const TIMEOUT: u64 = 15_000;

/// A message under way.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its sender.
    pub from: usize,
    /// Its receiver.
    pub to: usize,
    /// The request that it is, or answers.
    pub number: u64,
    /// Whether it is an answer.
    pub answer: bool,
    /// Whether it belongs to the trust protocol.
    pub trust: bool,
    /// The life of its sender.
    pub life: u64,
    /// The life of the receiver that it is meant for, if it goes over a
    /// connection that stood before: a new life does not get it.
    pub over: Option<u64>,
    /// What is on the wire.
    pub bytes: Vec<u8>,
    /// What the sender held when it sent this, by a measure of its own: not
    /// on the wire, only the laws look at it.
    pub ghost: Ghost,
}

/// A fingerprint of each domain that has nothing to do with the protocol's.
pub type Ghost = BTreeMap<DomainId, u64>;

/// How commits become durable in a world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Every commit is durable when it returns.
    AtOnce,
    /// Commits are durable later; only acknowledgements wait for that.
    Later,
    /// What peers send waits in a queue until its commit, and answers wait
    /// with it.
    Queued,
}

/// What a device did, for the laws to judge.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Its user wrote a record.
    Wrote {
        /// The record.
        place: Place,
        /// The new version.
        version: Version,
    },
    /// It lost power within a write of its user; this is what it left.
    Left {
        /// The record.
        place: Place,
        /// The version that stands.
        version: Version,
    },
    /// Its user was told that the write is safe.
    Acknowledged {
        /// The record.
        place: Place,
        /// The version.
        version: Version,
    },
    /// It committed what a peer sent.
    Applied {
        /// The peer.
        from: usize,
        /// Each record, with the version that came.
        records: Vec<(Place, Version)>,
        /// Each cursor that moved: before and after.
        cursors: Vec<(DomainId, Option<Cursor>, Cursor)>,
    },
    /// A session said that a domain is equal on both sides.
    Claimed {
        /// The other side.
        peer: usize,
        /// The domain.
        domain: DomainId,
        /// What the other side held when it sent its last frame.
        theirs: u64,
    },
    /// A session that it had opened takes long.
    Lasts {
        /// What it has cost so far.
        cost: Cost,
        /// Records that it has moved.
        moved: u64,
    },
    /// A session that it had opened came to its end.
    Finished {
        /// The other side.
        peer: usize,
        /// What it came to.
        outcome: Outcome,
        /// What it cost.
        cost: Cost,
    },
    /// It wrote a record again that a peer may not delete.
    Undid {
        /// The record.
        place: Place,
        /// The new version.
        version: Version,
    },
    /// Its user said what a peer may do, and that is durable.
    Allowed {
        /// The peer.
        peer: usize,
        /// What it may do.
        rights: Rights,
    },
    /// It sent or announced something of a domain.
    Shared {
        /// The receiver.
        peer: usize,
        /// The domain.
        domain: DomainId,
    },
    /// Its trust in a device has ended, and that is durable.
    Distrusts {
        /// The device.
        peer: usize,
    },
    /// It found that a peer broke the protocol.
    Accused {
        /// The peer.
        peer: usize,
        /// What the peer did.
        fault: String,
    },
    /// It lost power within a commit.
    Crashed,
}

/// What a session cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Requests, each with its answer.
    pub round_trips: u64,
    /// Bytes both ways.
    pub bytes: u64,
    /// Bytes of keys and values in it.
    pub payload: u64,
    /// Heads and wants in it.
    pub heads: u64,
    /// Fingerprints of ranges in it.
    pub prints: u64,
}

impl Cost {
    fn count(&mut self, frame: &Frame) {
        for part in &frame.parts {
            let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            let sizes = part.records.iter().map(|record| record.key.as_str().len() + size(&record.value));
            self.payload += sizes.sum::<usize>() as u64;
            self.heads += part.want.len() as u64;
            self.heads += part.delta.as_ref().map_or(0, |delta| delta.heads.len()) as u64;
            self.heads += part.leaves.iter().map(|leaf| 1 + leaf.heads.len() as u64).sum::<u64>();
            self.prints += part.ranges.iter().map(|range| 4 + range.prints.len() as u64).sum::<u64>();
        }
    }
}

/// What a device wants of the world.
#[derive(Debug, Default)]
pub struct Out {
    /// Messages to send.
    pub mail: Vec<Mail>,
    /// What happened, in order.
    pub effects: Vec<Effect>,
    /// Whether something waits to become durable.
    pub unsynced: bool,
}

/// A wall clock that may be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// How far it is ahead, in milliseconds.
    pub offset: i64,
    /// How much it gains, in parts per million.
    pub drift: i64,
    /// It shows only multiples of this.
    pub grain: u64,
}

/// When simulated time begins: the first of January 2026.
const START: u64 = 1_767_225_600_000;

impl Clock {
    /// What it shows at `now`.
    pub fn wall(&self, now: u64) -> UnixMillis {
        let right = i64::try_from(START + now).unwrap_or(i64::MAX);
        let gained = i64::try_from(now / 1_000).unwrap_or(i64::MAX).saturating_mul(self.drift) / 1_000;
        let shown = u64::try_from(right.saturating_add(self.offset).saturating_add(gained)).unwrap_or(0);
        UnixMillis(shown - shown % self.grain.max(1))
    }
}

/// What all devices of a world have in common.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Time between two passes over all peers.
    pub interval: u64,
    /// How commits become durable.
    pub durability: Durability,
    /// Whether a push is sent before the one before it is answered.
    pub pipelined: bool,
    pub(crate) lens: Lens,
}

/// A simulated device.
#[derive(Debug)]
pub struct Device<D> {
    /// Its public key.
    pub id: DeviceId,
    /// Its store.
    pub disk: D,
    /// Its wall clock.
    pub clock: Clock,
    /// Whether it runs.
    pub up: bool,
    /// How often it has lost power: what was scheduled in an earlier life
    /// does not happen.
    pub life: u64,
    /// Loses power within the next commit.
    pub doomed: bool,
    index: usize,
    key: SigningKey,
    ids: Vec<DeviceId>,
    habits: Habits,
    links: BTreeMap<usize, Link>,
    rng: Rng,
    numbers: u64,
    waiting: VecDeque<Waiting>,
    /// What waited, and is durable or next to be committed.
    ready: VecDeque<Waiting>,
    /// The trust view as it is on disk.
    trusted: Trust,
    /// What this device says of it, and of which generation of it.
    announcement: Option<(u64, Vec<u8>)>,
    /// What each peer said last, and the generation of the own view that it
    /// changes nothing in.
    heard: BTreeMap<usize, (u64, u64)>,
}

/// What a device knows of another one since it started.
#[derive(Debug, Default)]
struct Link {
    /// The one open request.
    open: Option<Open>,
    /// The session that the peer opened.
    serving: Option<Talk>,
    failures: u32,
    /// The life of the peer that answered last.
    life: u64,
    /// No request before this.
    not_before: u64,
    /// When the next session is due.
    due: u64,
    /// Up to where the peer is known to have taken in the own log; `None`
    /// until a session has proven it.
    told: Option<Told>,
    /// The generation of the own trust view that the peer has heard on this
    /// contact.
    announced: Option<u64>,
    /// The life of the peer whose view has been heard.
    heard: Option<u64>,
}

/// What a peer has of the own log, as a session has proven.
#[derive(Clone, Debug)]
struct Told {
    upto: BTreeMap<DomainId, u64>,
    /// Domains in which nothing may be sent.
    shut: BTreeSet<DomainId>,
    /// Whether anything may be sent in domains that the session did not name.
    others: bool,
}

#[derive(Debug)]
struct Open {
    number: u64,
    deadline: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Session(Talk),
    Push { domain: DomainId, seq: u64 },
    Announcement { generation: u64 },
}

#[derive(Debug)]
struct Talk {
    session: Session,
    cost: Cost,
    /// Domains that the session has called equal.
    claimed: BTreeSet<DomainId>,
    ghost: Ghost,
}

/// What waits until a commit is durable, or to be committed.
#[derive(Debug)]
enum Waiting {
    Acknowledge { place: Place, version: Version },
    Commit { peer: usize, batches: Vec<Batch>, then: Box<Waiting> },
    Answer { peer: usize, number: u64, session: u64 },
    Proceed { peer: usize, number: u64 },
    Pushed { peer: usize, number: u64, in_order: bool },
}

impl<D: Disk> Device<D> {
    /// The device `index` of all devices `ids`, with an empty store, and paired
    /// with all others.
    pub fn new(index: usize, key: SigningKey, ids: Vec<DeviceId>, habits: Habits, mut rng: Rng) -> Self {
        let id = ids[index];
        let lazy = habits.durability != Durability::AtOnce;
        let mut disk = D::create(id, rng.u64(1..), lazy, habits.lens.planted);
        for other in ids.iter().filter(|other| **other != id) {
            disk.trust(&TrustOp::Pair(*other));
        }
        Self {
            id,
            trusted: disk.trusted(),
            disk,
            clock: Clock::default(),
            up: false,
            life: 0,
            doomed: false,
            index,
            key,
            ids,
            habits,
            links: BTreeMap::new(),
            rng,
            numbers: 0,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            announcement: None,
            heard: BTreeMap::new(),
        }
    }

    /// Starts with nothing but the store, to talk to `peers`.
    pub fn start(&mut self, peers: impl Iterator<Item = usize>, now: u64) {
        let epoch: Epoch = self.rng.u64(1..);
        self.disk.start(epoch);
        self.trusted = self.disk.trusted();
        self.announcement = None;
        self.heard.clear();
        self.up = true;
        self.links = peers
            .map(|peer| {
                let due = now + self.rng.u64(..2_000);
                (peer, Link { due, ..Link::default() })
            })
            .collect();
        self.waiting.clear();
        self.ready.clear();
    }

    /// Loses power.
    pub fn crash(&mut self) {
        self.disk.crash(&mut self.rng);
        self.stop();
    }

    fn stop(&mut self) {
        self.up = false;
        self.doomed = false;
        self.life += 1;
        self.links.clear();
        self.waiting.clear();
        self.ready.clear();
    }

    /// Replaces the store by a backup.
    pub fn restore(&mut self, backup: &D::Backup) {
        self.disk.restore(backup);
        self.stop();
    }

    /// What the wall clock shows.
    pub fn wall(&self, now: u64) -> UnixMillis {
        self.clock.wall(now)
    }

    /// All devices of the world.
    pub fn ids(&self) -> &[DeviceId] {
        &self.ids
    }

    /// The trust view in force.
    pub fn trusted(&self) -> &Trust {
        &self.trusted
    }

    /// Whether something of `peer` waits to be committed.
    pub fn has_queued(&self, peer: usize) -> bool {
        let from = |waiting: &Waiting| matches!(waiting, Waiting::Commit { peer: from, .. } if *from == peer);
        self.waiting.iter().any(from)
    }

    /// Whether a session that it opened with `peer` is under way.
    pub fn is_in_session(&self, peer: usize) -> bool {
        let open = self.links.get(&peer).and_then(|link| link.open.as_ref());
        open.is_some_and(|open| matches!(open.what, What::Session(_)))
    }

    /// When the device has something to do by itself.
    pub fn deadline(&self) -> Option<u64> {
        let mine = self.links.iter().filter(|(peer, link)| link.open.is_some() || self.wants(**peer));
        mine.map(|(_, link)| link.deadline()).min()
    }

    /// The user writes a record.
    pub fn write(&mut self, place: Place, value: Option<Vec<u8>>, now: u64, out: &mut Out) {
        let op = Op::Write { place: place.clone(), value, wall: self.wall(now) };
        match self.commit(op, out) {
            None => {
                let left = self.disk.version(&place);
                out.effects.extend(left.map(|version| Effect::Left { place, version }));
            }
            Some(Done::Wrote(version)) => {
                out.effects.push(Effect::Wrote { place: place.clone(), version: version.clone() });
                let waiting = Waiting::Acknowledge { place, version };
                if self.habits.durability == Durability::AtOnce || self.has(Planted::AckBeforeSync) {
                    self.go_on(waiting, now, out);
                } else {
                    self.waiting.push_back(waiting);
                }
            }
            Some(Done::Applied | Done::Refused) => (),
        }
    }

    /// The user says what a peer may do. All that is under way with it ends:
    /// it was begun under other rights.
    pub fn allow(&mut self, peer: usize, rights: Rights, now: u64, out: &mut Out) {
        self.disk.allow(self.ids[peer], rights.clone());
        if !self.has(Planted::SessionKeepsGrants) {
            self.forget(peer);
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.due = now;
        }
        out.effects.push(Effect::Allowed { peer, rights });
    }

    /// What waited becomes durable.
    pub fn synced(&mut self, now: u64, out: &mut Out) {
        if self.doomed {
            self.fall(out);
            return;
        }
        self.disk.sync();
        self.ready.append(&mut self.waiting);
        self.go_on_ready(now, out);
    }

    /// Whether something waited that has become durable.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Goes on with the first thing that waited.
    pub fn go_on_ready(&mut self, now: u64, out: &mut Out) {
        if let Some(waiting) = self.ready.pop_front() {
            self.go_on(waiting, now, out);
        }
    }

    fn fall(&mut self, out: &mut Out) {
        let commit = self.waiting.iter().find_map(|waiting| match waiting {
            Waiting::Commit { peer, batches, .. } => Some((*peer, batches.clone())),
            Waiting::Acknowledge { .. }
            | Waiting::Answer { .. }
            | Waiting::Proceed { .. }
            | Waiting::Pushed { .. } => None,
        });
        match commit {
            Some((peer, batches)) => {
                let op = Op::Apply { from: self.ids[peer], batches, wall: UnixMillis(0) };
                self.disk.crash_inside(op, &mut self.rng);
                self.stop();
            }
            None => self.crash(),
        }
        out.effects.push(Effect::Crashed);
    }

    fn has(&self, planted: Planted) -> bool {
        self.habits.lens.planted == Some(planted)
    }

    fn may(&self, peer: usize, action: Action) -> bool {
        self.trusted.may(self.ids[peer], action)
    }

    /// Whether there is anything to do with a peer.
    fn wants(&self, peer: usize) -> bool {
        self.may(peer, Action::Sync)
    }

    fn view<'a>(&self, inner: &'a D::Inner, peer: usize) -> View<'a, D::Inner> {
        View { inner, peer: self.ids[peer], lens: self.habits.lens }
    }

    /// Commits a transaction; `None` if that was the end.
    fn commit(&mut self, op: Op, out: &mut Out) -> Option<Done> {
        if self.doomed && self.habits.durability == Durability::AtOnce {
            self.disk.crash_inside(op, &mut self.rng);
            self.stop();
            out.effects.push(Effect::Crashed);
            return None;
        }
        out.unsynced |= self.habits.durability != Durability::AtOnce;
        Some(self.disk.commit(op))
    }

    fn go_on(&mut self, waiting: Waiting, now: u64, out: &mut Out) {
        match waiting {
            Waiting::Acknowledge { place, version } => {
                out.effects.push(Effect::Acknowledged { place, version });
            }
            Waiting::Commit { peer, batches, then } => {
                if self.apply(peer, batches, now, out) {
                    self.disk.sync();
                    self.go_on(*then, now, out);
                }
            }
            Waiting::Answer { peer, number, session } => self.answer(peer, number, session, now, out),
            Waiting::Proceed { peer, number } => self.proceed(peer, number, now, out),
            Waiting::Pushed { peer, number, in_order } => self.pushed(peer, number, in_order, out),
        }
    }

    /// Commits what a peer sent and goes on, now or when the queue gets there.
    fn apply_then(&mut self, peer: usize, batches: Vec<Batch>, then: Waiting, now: u64, out: &mut Out) {
        if self.habits.durability == Durability::Queued && !batches.is_empty() {
            out.unsynced = true;
            self.waiting.push_back(Waiting::Commit { peer, batches, then: Box::new(then) });
        } else if self.apply(peer, batches, now, out) {
            self.go_on(then, now, out);
        }
    }

    /// Commits what a peer sent; whether to go on.
    fn apply(&mut self, peer: usize, batches: Vec<Batch>, now: u64, out: &mut Out) -> bool {
        if batches.is_empty() {
            return true;
        }
        let from = self.ids[peer];
        let mut records = Vec::new();
        let mut cursors = Vec::new();
        for batch in &batches {
            let place = |record: &kinsync_protocol::record::Record| {
                ((batch.domain, record.key.clone()), record.version.clone())
            };
            records.extend(batch.records.iter().map(place));
            if let Some(cursor) = &batch.cursor {
                cursors.push((batch.domain, self.disk.cursor(from, batch.domain), cursor.clone()));
            }
        }
        match self.commit(Op::Apply { from, batches, wall: self.wall(now) }, out) {
            None => false,
            Some(Done::Refused) if self.has(Planted::AnswersAfterRevocation) => true,
            Some(Done::Refused) => {
                self.forget(peer);
                // A session that was open is gone with it: it has to be tried again.
                if let Some(link) = self.links.get_mut(&peer) {
                    link.due = link.due.min(now);
                }
                false
            }
            Some(Done::Applied | Done::Wrote(_)) => {
                for (place, deletion) in records.iter().filter(|(_, version)| version.deleted) {
                    let undoes = |stands: &Version| stands.stamp.device == self.id && stands > deletion;
                    let undone = self.disk.version(place).filter(undoes);
                    let undid = undone.map(|version| Effect::Undid { place: place.clone(), version });
                    out.effects.extend(undid);
                }
                out.effects.push(Effect::Applied { from: peer, records, cursors });
                true
            }
        }
    }

    /// Ends everything that is under way with a peer.
    fn forget(&mut self, peer: usize) {
        if let Some(link) = self.links.get_mut(&peer) {
            *link = Link { not_before: link.not_before, due: link.due, ..Link::default() };
        }
    }

    /// Takes in a message.
    pub fn receive(&mut self, mail: Mail, now: u64, out: &mut Out) {
        if mail.over.is_some_and(|life| life != self.life) || !self.links.contains_key(&mail.from) {
            return;
        }
        match (mail.trust, mail.answer) {
            (true, false) => self.take_announcement(&mail, out),
            (true, true) => self.take_trust_answer(&mail, now, out),
            (false, false) => self.take_request(mail, now, out),
            (false, true) => self.take_response(mail, now, out),
        }
    }

    /// Does what is due.
    pub fn poll(&mut self, now: u64, out: &mut Out) {
        let peers: Vec<usize> = self.links.keys().copied().collect();
        for peer in peers {
            let overdue = self.links.get(&peer).and_then(|link| link.open.as_ref());
            if overdue.is_some_and(|open| open.deadline <= now) {
                self.failed(peer, now);
            }
            let Some(link) = self.links.get(&peer) else {
                return;
            };
            if link.open.is_some() || link.not_before > now || !self.wants(peer) {
                continue;
            }
            let news = link.told.is_some();
            if link.announced != Some(self.trusted.generation()) {
                if link.due <= now || link.announced.is_some() {
                    self.announce(peer, now, out);
                }
            } else if link.due <= now {
                self.open_session(peer, now, out);
            } else if news {
                self.push(peer, now, out);
            }
        }
    }

    fn failed(&mut self, peer: usize, now: u64) {
        let leaked = self.has(Planted::LeakedSlot);
        let jitter = self.rng.u64(..1_000);
        let interval = self.habits.interval;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(open) = link.open.as_mut().filter(|_| leaked) {
            open.deadline = u64::MAX;
        } else {
            link.open = None;
        }
        link.failures = (link.failures + 1).min(16);
        link.not_before = now + (1_000 << link.failures).min(interval) + jitter;
        link.due = link.not_before;
        link.told = None;
        link.announced = None;
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.life << 32 | self.numbers
    }

    /// Sends a request and remembers what it is for.
    fn ask(&mut self, peer: usize, bytes: Vec<u8>, what: What, now: u64, out: &mut Out) {
        let number = self.next_number();
        let trust = matches!(what, What::Announcement { .. });
        let mut over = None;
        if let Some(link) = self.links.get_mut(&peer) {
            over = Some(link.life).filter(|_| !trust);
            link.open = Some(Open { number, deadline: now + TIMEOUT, what });
        }
        out.mail.push(Mail { trust, over, ..self.mail(peer, number, bytes) });
    }

    /// A request to `to`; an answer is made from it.
    fn mail(&self, to: usize, number: u64, bytes: Vec<u8>) -> Mail {
        let (from, life, ghost) = (self.index, self.life, Ghost::new());
        Mail { from, to, number, answer: false, trust: false, life, over: None, bytes, ghost }
    }
}

impl Link {
    fn deadline(&self) -> u64 {
        match &self.open {
            Some(open) => open.deadline,
            None => self.due.max(self.not_before),
        }
    }
}
