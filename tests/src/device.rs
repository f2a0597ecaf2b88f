//! A simulated device: the real session and codec, a store, and a driver with
//! time-outs, retries and pushes around them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Version;
use kinsync_protocol::session::{Outcome, Session, SessionError};
use kinsync_protocol::snapshot::{Batch, Cursor, Epoch, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::wire::frame::{Frame, Push, Refusal, Request, Response};

use crate::disk::{Disk, Op, Place};
use crate::planted::Planted;
use crate::planted::view::{Lens, View};

/// How long a device waits for an answer, in milliseconds.
const TIMEOUT: u64 = 15_000;

/// How long after the last push a session proves that all is equal.
const QUIET: u64 = 2_000;

/// Rows of the arrival log that one push covers.
const PUSH_ROWS: usize = 64;

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
    /// Commits are durable later; answers wait for that as well.
    AnswersWait,
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
    /// A session that it had opened came to its end.
    Finished {
        /// The other side.
        peer: usize,
        /// What it came to.
        outcome: Outcome,
        /// What it cost.
        cost: Cost,
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
            self.payload += part
                .records
                .iter()
                .map(|record| (record.key.as_str().len() + size(&record.value)) as u64)
                .sum::<u64>();
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
    /// Whether something committed is not durable yet.
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
    pub(crate) lens: Lens,
}

/// A simulated device.
#[derive(Debug)]
pub struct Device<D> {
    /// Its key.
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
    ids: Vec<DeviceId>,
    habits: Habits,
    links: BTreeMap<usize, Link>,
    rng: Rng,
    numbers: u64,
    commits: u64,
    waiting: VecDeque<(u64, Waiting)>,
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
    told: Option<BTreeMap<DomainId, u64>>,
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
}

#[derive(Debug)]
struct Talk {
    session: Session,
    cost: Cost,
    /// Domains that the session has called equal.
    claimed: BTreeSet<DomainId>,
    ghost: Ghost,
}

impl Talk {
    fn new(session: Session) -> Self {
        Self { session, cost: Cost::default(), claimed: BTreeSet::new(), ghost: Ghost::new() }
    }

    /// The domains that the session calls equal now and did not before.
    fn claims(&mut self) -> Vec<DomainId> {
        let equal = self.session.outcome().domains.into_iter().filter(|domain| domain.equal_at.is_some());
        let equal: BTreeSet<_> = equal.map(|domain| domain.domain).collect();
        let new = equal.difference(&self.claimed).copied().collect();
        self.claimed = equal;
        new
    }

    /// Up to where the peer has the own log, once all is equal.
    fn told(&self) -> Option<BTreeMap<DomainId, u64>> {
        let domains = self.session.outcome().domains;
        domains.into_iter().map(|domain| Some((domain.domain, domain.equal_at?))).collect()
    }
}

/// What waits until a commit is durable.
#[derive(Debug)]
enum Waiting {
    Acknowledge { place: Place, version: Version },
    Answer { peer: usize, number: u64, session: u64 },
    Proceed { peer: usize, number: u64 },
    Pushed { peer: usize, number: u64, in_order: bool },
}

impl<D: Disk> Device<D> {
    /// The device `index` of all devices `ids`, with an empty store.
    pub fn new(index: usize, ids: Vec<DeviceId>, habits: Habits, mut rng: Rng) -> Self {
        let id = ids[index];
        let lazy = habits.durability != Durability::AtOnce;
        let disk = D::create(id, rng.u64(1..), lazy, habits.lens.planted);
        Self {
            id,
            disk,
            clock: Clock::default(),
            up: false,
            life: 0,
            doomed: false,
            index,
            ids,
            habits,
            links: BTreeMap::new(),
            rng,
            numbers: 0,
            commits: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Starts with nothing but the store, to talk to `peers`.
    pub fn start(&mut self, peers: impl Iterator<Item = usize>, now: u64) {
        let epoch: Epoch = self.rng.u64(1..);
        self.disk.start(epoch);
        self.up = true;
        self.links = peers
            .map(|peer| {
                let due = now + self.rng.u64(..2_000);
                (peer, Link { due, ..Link::default() })
            })
            .collect();
        self.waiting.clear();
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
    }

    /// Replaces the store by a backup; the device is down.
    pub fn restore(&mut self, backup: &D::Backup) {
        self.disk.restore(backup);
        self.stop();
    }

    /// What the wall clock shows.
    pub fn wall(&self, now: u64) -> UnixMillis {
        self.clock.wall(now)
    }

    /// When the device has something to do by itself.
    pub fn deadline(&self) -> Option<u64> {
        self.links.values().map(Link::deadline).min()
    }

    /// The user writes a record.
    pub fn write(&mut self, place: Place, value: Option<Vec<u8>>, now: u64, out: &mut Out) {
        let op = Op::Write { place: place.clone(), value, wall: self.wall(now) };
        let Some(Some(version)) = self.commit(op, out) else {
            let left = self.disk.version(&place);
            out.effects.extend(left.map(|version| Effect::Left { place, version }));
            return;
        };
        out.effects.push(Effect::Wrote { place: place.clone(), version: version.clone() });
        let waits = !self.has(Planted::AckBeforeSync);
        self.after_commit(Waiting::Acknowledge { place, version }, waits, now, out);
    }

    /// Everything committed so far is durable.
    pub fn synced(&mut self, now: u64, out: &mut Out) {
        if self.doomed {
            self.crash();
            out.effects.push(Effect::Crashed);
            return;
        }
        self.disk.sync();
        while let Some((_, waiting)) = self.waiting.pop_front() {
            self.go_on(waiting, now, out);
        }
    }

    fn has(&self, planted: Planted) -> bool {
        self.habits.lens.planted == Some(planted)
    }

    fn view<'a>(&self, inner: &'a D::Inner, peer: usize) -> View<'a, D::Inner> {
        View { inner, peer: self.ids[peer], lens: self.habits.lens }
    }

    /// Commits a transaction; `None` if that was the end.
    fn commit(&mut self, op: Op, out: &mut Out) -> Option<Option<Version>> {
        if self.doomed && self.habits.durability == Durability::AtOnce {
            self.disk.crash_inside(op, &mut self.rng);
            self.stop();
            out.effects.push(Effect::Crashed);
            return None;
        }
        self.commits += 1;
        out.unsynced = self.habits.durability != Durability::AtOnce;
        Some(self.disk.commit(op))
    }

    fn after_commit(&mut self, waiting: Waiting, waits: bool, now: u64, out: &mut Out) {
        if waits && self.habits.durability != Durability::AtOnce {
            out.unsynced = true;
            self.waiting.push_back((self.commits, waiting));
        } else {
            self.go_on(waiting, now, out);
        }
    }

    fn go_on(&mut self, waiting: Waiting, now: u64, out: &mut Out) {
        match waiting {
            Waiting::Acknowledge { place, version } => {
                out.effects.push(Effect::Acknowledged { place, version });
            }
            Waiting::Answer { peer, number, session } => self.answer(peer, number, session, now, out),
            Waiting::Proceed { peer, number } => self.proceed(peer, number, now, out),
            Waiting::Pushed { peer, number, in_order } => {
                self.respond(peer, number, &Response::Pushed { in_order }, out);
            }
        }
    }

    /// Commits what a peer sent; whether the device still runs.
    fn apply(&mut self, peer: usize, batches: Vec<Batch>, now: u64, out: &mut Out) -> bool {
        if batches.is_empty() {
            return true;
        }
        let from = self.ids[peer];
        let mut records = Vec::new();
        let mut cursors = Vec::new();
        for batch in &batches {
            let versions = batch.records.iter();
            records
                .extend(versions.map(|record| ((batch.domain, record.key.clone()), record.version.clone())));
            if let Some(cursor) = &batch.cursor {
                cursors.push((batch.domain, self.disk.cursor(from, batch.domain), cursor.clone()));
            }
        }
        if self.commit(Op::Apply { from, batches, wall: self.wall(now) }, out).is_none() {
            return false;
        }
        out.effects.push(Effect::Applied { from: peer, records, cursors });
        true
    }

    /// Takes in a message.
    pub fn receive(&mut self, mail: Mail, now: u64, out: &mut Out) {
        let Some(link) = self.links.get_mut(&mail.from) else {
            return;
        };
        if mail.over.is_some_and(|life| life != self.life) {
            return;
        }
        if !mail.answer {
            match Request::decode(&mail.bytes) {
                Ok(Request::Exchange(frame)) => self.serve(&mail, frame, now, out),
                Ok(Request::Push(push)) => self.take_push(&mail, push, now, out),
                Ok(_) | Err(_) => self.refuse(&mail, "unreadable request".to_owned(), out),
            }
            return;
        }
        let any = self.habits.lens.planted == Some(Planted::StaleReply);
        if !link.open.as_ref().is_some_and(|open| open.number == mail.number || any) {
            return;
        }
        let Some(open) = link.open.take() else {
            return;
        };
        link.life = mail.life;
        match (open.what, Response::decode(&mail.bytes)) {
            (What::Session(mut talk), Ok(Response::Exchange(frame))) => {
                talk.ghost.clone_from(&mail.ghost);
                talk.cost.bytes += mail.bytes.len() as u64;
                talk.cost.count(&frame);
                link.open = Some(Open { number: 0, deadline: u64::MAX, what: What::Session(talk) });
                self.take_answer(mail.from, frame, now, out);
            }
            (What::Push { domain, seq }, Ok(Response::Pushed { in_order })) => {
                link.failures = 0;
                let told = link.told.as_mut().filter(|_| in_order);
                if let Some(told) = told {
                    told.insert(domain, seq);
                    link.due = link.due.min(now + QUIET);
                } else {
                    link.told = None;
                    link.due = now;
                }
            }
            (_, Ok(Response::Refuse(Refusal::BadMessage))) => {
                let fault = "an honest request was called a bad message".to_owned();
                out.effects.push(Effect::Accused { peer: mail.from, fault });
            }
            (_, Ok(Response::Refuse(_))) => self.failed(mail.from, now),
            (_, _) => {
                let fault = "an answer to another request".to_owned();
                out.effects.push(Effect::Accused { peer: mail.from, fault });
            }
        }
    }

    /// Does what is due.
    pub fn poll(&mut self, now: u64, out: &mut Out) {
        let waits = self.habits.durability == Durability::AnswersWait && out.unsynced;
        let peers: Vec<usize> = self.links.keys().copied().collect();
        for peer in peers {
            let Some(link) = self.links.get(&peer) else {
                return;
            };
            if link.open.as_ref().is_some_and(|open| open.deadline <= now) {
                self.failed(peer, now);
            }
            let Some(link) = self.links.get(&peer) else {
                return;
            };
            if link.open.is_some() || link.not_before > now {
                continue;
            }
            if link.due <= now {
                self.open_session(peer, now, out);
            } else if link.told.is_some() && !waits && self.waiting.is_empty() {
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
    }

    fn request(&mut self, peer: usize, request: &Request, what: What, now: u64, out: &mut Out) {
        self.numbers += 1;
        let number = self.life << 32 | self.numbers;
        let bytes = request.encode();
        let mut what = what;
        if let What::Session(talk) = &mut what {
            talk.cost.round_trips += 1;
            talk.cost.bytes += bytes.len() as u64;
            if let Request::Exchange(frame) = request {
                talk.cost.count(frame);
            }
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.open = Some(Open { number, deadline: now + TIMEOUT, what });
        }
        let dials = matches!(request, Request::Exchange(Frame { hello: Some(_), .. }));
        let over = self.links.get(&peer).filter(|_| !dials).map(|link| link.life);
        let (from, life, ghost) = (self.index, self.life, Ghost::new());
        out.mail.push(Mail { from, to: peer, number, answer: false, life, over, bytes, ghost });
    }

    fn respond(&mut self, peer: usize, number: u64, response: &Response, out: &mut Out) {
        let bytes = response.encode();
        let (from, life, ghost) = (self.index, self.life, Ghost::new());
        out.mail.push(Mail { from, to: peer, number, answer: true, life, over: None, bytes, ghost });
    }

    fn refuse(&mut self, mail: &Mail, fault: String, out: &mut Out) {
        out.effects.push(Effect::Accused { peer: mail.from, fault });
        self.respond(mail.from, mail.number, &Response::Refuse(Refusal::BadMessage), out);
    }

    fn open_session(&mut self, peer: usize, now: u64, out: &mut Out) {
        let mut nonce = [0; 8];
        self.rng.fill(&mut nonce);
        let mut session = Session::initiate(self.ids[peer], self.rng.u64(..), nonce, false);
        let opened = {
            let inner = self.disk.view();
            session.open(&self.view(&inner, peer))
        };
        let frame = opened.expect("a simulated device reads its store");
        if let Some(link) = self.links.get_mut(&peer) {
            link.due = u64::MAX;
        }
        let what = What::Session(Talk::new(session));
        self.request(peer, &Request::Exchange(frame), what, now, out);
    }

    /// Tells a peer the news of the own log.
    fn push(&mut self, peer: usize, now: u64, out: &mut Out) {
        let Some((domain, push)) = self.news(peer) else {
            return;
        };
        let seq = push.seq;
        self.request(peer, &Request::Push(push), What::Push { domain, seq }, now, out);
    }

    fn news(&self, peer: usize) -> Option<(DomainId, Push)> {
        let told = self.links.get(&peer)?.told.as_ref()?;
        let inner = self.disk.view();
        let view = self.view(&inner, peer);
        let read = "a simulated device reads its store";
        for domain in view.domains().ok()? {
            let previous = told.get(&domain).copied().unwrap_or(0);
            if view.root(domain).ok()?.head <= previous {
                continue;
            }
            let rows = view.log(domain, previous, PUSH_ROWS).ok()?;
            let Some(last) = rows.last().map(|row| row.seq) else {
                continue;
            };
            let news = rows.into_iter().filter(|row| row.from != Some(self.ids[peer]));
            let keys = news.map(|row| kinsync_protocol::item::key_hash(domain, &row.key));
            let records: Vec<_> = keys.filter_map(|key| view.record(domain, key).expect(read)).collect();
            if records.is_empty() {
                continue;
            }
            let epoch = view.epoch_at(domain, last).expect(read)?;
            return Some((domain, Push { domain, epoch, previous, seq: last, records }));
        }
        None
    }

    fn take_push(&mut self, mail: &Mail, push: Push, now: u64, out: &mut Out) {
        let Push { domain, epoch, previous, seq, records } = push;
        let cursor = self.disk.cursor(self.ids[mail.from], domain);
        let follows = match cursor {
            Some(cursor) => cursor == Cursor { epoch, seq: previous, after: None },
            None => previous == 0,
        };
        let moves = follows || self.has(Planted::PushMovesCursor);
        let cursor = moves.then_some(Cursor { epoch, seq, after: None });
        if self.apply(mail.from, vec![Batch { domain, records, cursor }], now, out) {
            let waiting = Waiting::Pushed { peer: mail.from, number: mail.number, in_order: follows };
            self.after_commit(waiting, self.habits.durability == Durability::AnswersWait, now, out);
        }
    }

    /// Answers a step of a session that a peer opened.
    fn serve(&mut self, mail: &Mail, frame: Frame, now: u64, out: &mut Out) {
        let peer = mail.from;
        let known = self.links.get_mut(&peer).and_then(|link| link.serving.take());
        let talk = if frame.hello.is_some() {
            Session::respond(self.ids[peer], &frame).map(Talk::new)
        } else {
            match known {
                Some(talk) if talk.session.id() == frame.session => Ok(talk),
                other => {
                    if let Some(link) = self.links.get_mut(&peer) {
                        link.serving = other;
                    }
                    self.respond(peer, mail.number, &Response::Refuse(Refusal::NoSession), out);
                    return;
                }
            }
        };
        let mut talk = match talk {
            Ok(talk) => talk,
            Err(fault) => {
                self.refuse(mail, fault.to_string(), out);
                return;
            }
        };
        talk.ghost.clone_from(&mail.ghost);
        let session = talk.session.id();
        match self.take(peer, &mut talk, frame, out) {
            Err(fault) => self.refuse(mail, fault, out),
            Ok(batches) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.serving = Some(talk);
                }
                let waits = self.habits.durability == Durability::AnswersWait && !batches.is_empty();
                if self.apply(peer, batches, now, out) {
                    let waiting = Waiting::Answer { peer, number: mail.number, session };
                    self.after_commit(waiting, waits, now, out);
                }
            }
        }
    }

    /// Gives a frame to a session. What it asks to commit, or what the peer
    /// did wrong.
    fn take(&self, peer: usize, talk: &mut Talk, frame: Frame, out: &mut Out) -> Result<Vec<Batch>, String> {
        let forced = if self.has(Planted::CursorDespiteWants) { frame.clone() } else { Frame::default() };
        let inner = self.disk.view();
        let batches = talk.session.take(frame, &self.view(&inner, peer)).map_err(|error| match error {
            SessionError::Peer(fault) => format!("{fault:?}"),
            SessionError::Store(error) => format!("the store failed: {error:?}"),
            _ => "a new kind of error".to_owned(),
        });
        self.claim(peer, talk, out);
        let mut batches = batches?;
        for part in forced.parts {
            let domain = talk.session.outcome().domains.get(usize::from(part.domain)).map(|one| one.domain);
            let cursor = part.delta.map(|delta| delta.to);
            batches.extend(domain.map(|domain| Batch { domain, records: Vec::new(), cursor }));
        }
        Ok(batches)
    }

    fn claim(&self, peer: usize, talk: &mut Talk, out: &mut Out) {
        for domain in talk.claims() {
            let theirs = talk.ghost.get(&domain).copied().unwrap_or_default();
            out.effects.push(Effect::Claimed { peer, domain, theirs });
        }
    }

    /// Takes the next step of a session. The frame to send, unless the session
    /// is over or the device is.
    fn step(&mut self, peer: usize, talk: &mut Talk, now: u64, out: &mut Out) -> Option<Option<Frame>> {
        let step = {
            let inner = self.disk.view();
            talk.session.step(&self.view(&inner, peer))
        };
        let step = step.unwrap_or_else(|error| panic!("a simulated device reads its store: {error:?}"));
        self.claim(peer, talk, out);
        if !self.apply(peer, step.cursors, now, out) {
            return None;
        }
        let mut frame = step.frame;
        if self.has(Planted::WantsDropped) {
            for part in frame.iter_mut().flat_map(|frame| &mut frame.parts) {
                part.want.clear();
            }
        }
        Some(frame)
    }

    fn answer(&mut self, peer: usize, number: u64, session: u64, now: u64, out: &mut Out) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let Some(mut talk) = link.serving.take_if(|talk| talk.session.id() == session) else {
            self.respond(peer, number, &Response::Refuse(Refusal::NoSession), out);
            return;
        };
        let Some(frame) = self.step(peer, &mut talk, now, out) else {
            return;
        };
        let frame = frame.expect("a responder answers");
        self.respond(peer, number, &Response::Exchange(frame), out);
        if let Some(link) = self.links.get_mut(&peer) {
            if let Some(told) = talk.told() {
                link.told = Some(told);
            }
            link.serving = Some(talk);
        }
    }

    fn take_answer(&mut self, peer: usize, frame: Frame, now: u64, out: &mut Out) {
        let Some(Open { what: What::Session(mut talk), .. }) = self.take_open(peer) else {
            return;
        };
        self.numbers += 1;
        let number = self.life << 32 | self.numbers;
        match self.take(peer, &mut talk, frame, out) {
            Err(fault) => {
                out.effects.push(Effect::Accused { peer, fault });
                self.failed(peer, now);
            }
            Ok(batches) => {
                let waits = self.habits.durability == Durability::AnswersWait && !batches.is_empty();
                let open = Open { number, deadline: u64::MAX, what: What::Session(talk) };
                if let Some(link) = self.links.get_mut(&peer) {
                    link.open = Some(open);
                }
                if self.apply(peer, batches, now, out) {
                    self.after_commit(Waiting::Proceed { peer, number }, waits, now, out);
                }
            }
        }
    }

    fn take_open(&mut self, peer: usize) -> Option<Open> {
        self.links.get_mut(&peer)?.open.take()
    }

    /// Goes on with the own session after its answer has been committed.
    fn proceed(&mut self, peer: usize, number: u64, now: u64, out: &mut Out) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let Some(open) = link.open.take_if(|open| open.number == number) else {
            return;
        };
        let What::Session(mut talk) = open.what else {
            return;
        };
        match self.step(peer, &mut talk, now, out) {
            None => (),
            Some(Some(frame)) => {
                self.request(peer, &Request::Exchange(frame), What::Session(talk), now, out);
            }
            Some(None) => self.finished(peer, talk, now, out),
        }
    }

    fn finished(&mut self, peer: usize, talk: Talk, now: u64, out: &mut Out) {
        let outcome = talk.session.outcome();
        let next = self.habits.interval * 3 / 4 + self.rng.u64(..=self.habits.interval / 4);
        let told = talk.told();
        let equal = outcome.is_equal();
        out.effects.push(Effect::Finished { peer, outcome, cost: talk.cost });
        if equal {
            if let Some(link) = self.links.get_mut(&peer) {
                link.failures = 0;
                link.not_before = now;
                link.due = now + next;
                link.told = told;
            }
        } else {
            self.failed(peer, now);
        }
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
