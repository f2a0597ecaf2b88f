//! Sessions and pushes: one open request for each peer, every answer matched
//! to it.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::id::DomainId;
use kinsync_protocol::item::key_hash;
use kinsync_protocol::session::{Session, SessionError};
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::trust::Action;
use kinsync_protocol::wire::compress;
use kinsync_protocol::wire::frame::{Frame, Part, Push, Refusal, Request, Response};

use super::{Cost, Device, Effect, Ghost, Mail, Open, Out, Talk, Told, Waiting, What};
use crate::disk::Disk;
use crate::planted::Planted;

/// How long after the last push a session proves that all is equal.
const QUIET: u64 = 2_000;

/// Round trips after which the laws look at a session before it ends.
const LONG: u64 = 20;

/// Rows of the arrival log that one push covers.
const PUSH_ROWS: usize = 64;

const READ: &str = "a simulated device reads its store";

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

    /// Up to where the peer has the own log, once all is done.
    fn told(&self) -> Option<Told> {
        let outcome = self.session.outcome();
        let (ours, theirs) = outcome.others;
        let mut told =
            Told { upto: BTreeMap::new(), shut: BTreeSet::new(), others: ours.read && theirs.write };
        for domain in outcome.domains {
            if domain.may_send() {
                told.upto.insert(domain.domain, domain.reached?);
            } else if domain.complete {
                told.shut.insert(domain.domain);
            } else {
                return None;
            }
        }
        Some(told)
    }

    /// The domains of which a frame of the session says something that the
    /// other side may read only with the right to.
    fn shares(&self, frame: &Frame) -> BTreeSet<DomainId> {
        let heads = |part: &Part| part.delta.as_ref().is_some_and(|delta| !delta.heads.is_empty());
        let says = |part: &&Part| {
            !(part.records.is_empty() && part.ranges.is_empty() && part.leaves.is_empty()) || heads(part)
        };
        let domains = self.session.outcome().domains;
        let numbers = frame.parts.iter().filter(says).map(|part| usize::from(part.domain));
        let said = numbers.filter_map(|number| domains.get(number)).map(|domain| domain.domain);
        let hello = frame.hello.iter().flat_map(|hello| hello.domains.iter());
        said.chain(hello.filter(|domain| domain.items > 0).map(|domain| domain.domain)).collect()
    }
}

impl<D: Disk> Device<D> {
    fn respond(&mut self, peer: usize, number: u64, response: &Response, out: &mut Out) {
        out.mail.push(Mail { answer: true, ..self.mail(peer, number, compress(response.encode())) });
    }

    fn refuse(&mut self, mail: &Mail, refusal: Refusal, out: &mut Out) {
        self.respond(mail.from, mail.number, &Response::Refuse(refusal), out);
    }

    fn accuse(&mut self, mail: &Mail, fault: String, out: &mut Out) {
        out.effects.push(Effect::Accused { peer: mail.from, fault });
        self.refuse(mail, Refusal::BadMessage, out);
    }

    pub(super) fn take_request(&mut self, mail: Mail, now: u64, out: &mut Out) {
        if !self.may(mail.from, Action::Sync) {
            self.refuse(&mail, Refusal::NotTrusted, out);
            return;
        }
        if self.links.get(&mail.from).is_none_or(|link| link.heard != Some(mail.life)) {
            self.refuse(&mail, Refusal::Busy, out);
            return;
        }
        match Request::decode(&mail.bytes) {
            Ok(Request::Exchange(frame)) => self.serve(&mail, frame, now, out),
            Ok(Request::Push(push)) => self.take_push(&mail, push, now, out),
            Ok(_) | Err(_) => self.accuse(&mail, "an unreadable request".to_owned(), out),
        }
    }

    pub(super) fn take_response(&mut self, mail: Mail, now: u64, out: &mut Out) {
        let any = self.has(Planted::StaleReply);
        let Some(link) = self.links.get_mut(&mail.from) else {
            return;
        };
        let response = Response::decode(&mail.bytes);
        if self.habits.pipelined
            && let Ok(Response::Pushed { in_order: false }) = response
        {
            link.told = None;
            link.due = now;
        }
        let Some(open) = link.open.take_if(|open| open.number == mail.number || any) else {
            return;
        };
        link.life = mail.life;
        match (open.what, response) {
            (What::Session(mut talk), Ok(Response::Exchange(frame))) => {
                talk.ghost.clone_from(&mail.ghost);
                talk.cost.bytes += mail.bytes.len() as u64;
                talk.cost.count(&frame);
                self.take_answer(mail.from, talk, frame, now, out);
            }
            (What::Push { domain, seq }, Ok(Response::Pushed { in_order })) => {
                link.failures = 0;
                if let Some(told) = link.told.as_mut().filter(|_| in_order) {
                    told.upto.insert(domain, seq);
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

    pub(super) fn open_session(&mut self, peer: usize, now: u64, out: &mut Out) {
        let mut nonce = [0; 8];
        self.rng.fill(&mut nonce);
        let mut session = Session::initiate(self.ids[peer], self.rng.u64(..), nonce, false);
        let opened = {
            let inner = self.disk.view();
            session.open(&self.view(&inner, peer))
        };
        if let Some(link) = self.links.get_mut(&peer) {
            link.due = u64::MAX;
        }
        self.exchange(peer, Talk::new(session), opened.expect(READ), now, out);
    }

    fn exchange(&mut self, peer: usize, mut talk: Talk, frame: Frame, now: u64, out: &mut Out) {
        talk.cost.count(&frame);
        out.effects.extend(talk.shares(&frame).into_iter().map(|domain| Effect::Shared { peer, domain }));
        let bytes = compress(Request::Exchange(frame).encode());
        talk.cost.round_trips += 1;
        talk.cost.bytes += bytes.len() as u64;
        if talk.cost.round_trips > LONG {
            let outcome = talk.session.outcome();
            let moved = outcome.sent + outcome.received;
            out.effects.push(Effect::Lasts { cost: talk.cost, moved });
        }
        self.ask(peer, bytes, What::Session(talk), now, out);
    }

    /// Tells a peer the news of the own log.
    pub(super) fn push(&mut self, peer: usize, now: u64, out: &mut Out) {
        while let Some((domain, push)) = self.news(peer) {
            let seq = push.seq;
            out.effects.push(Effect::Shared { peer, domain });
            let bytes = compress(Request::Push(push).encode());
            if !self.habits.pipelined {
                self.ask(peer, bytes, What::Push { domain, seq }, now, out);
                return;
            }
            let number = self.next_number();
            let mut over = None;
            if let Some(link) = self.links.get_mut(&peer) {
                over = Some(link.life);
                link.due = link.due.min(now + QUIET);
                link.told.iter_mut().for_each(|told| {
                    told.upto.insert(domain, seq);
                });
            }
            out.mail.push(Mail { over, ..self.mail(peer, number, bytes) });
        }
    }

    fn news(&self, peer: usize) -> Option<(DomainId, Push)> {
        let told = self.links.get(&peer)?.told.as_ref()?;
        let inner = self.disk.view();
        let view = self.view(&inner, peer);
        for domain in view.domains().expect(READ) {
            let may = told.upto.contains_key(&domain) || told.others && !told.shut.contains(&domain);
            if !may && !self.has(Planted::PushIgnoresGrants) {
                continue;
            }
            let previous = told.upto.get(&domain).copied().unwrap_or(0);
            if view.root(domain).expect(READ).head <= previous {
                continue;
            }
            let rows = view.log(domain, previous, PUSH_ROWS).expect(READ);
            let Some(last) = rows.last().map(|row| row.seq) else {
                continue;
            };
            let news = rows.into_iter().filter(|row| row.from != Some(self.ids[peer]));
            let keys = news.map(|row| key_hash(domain, &row.key));
            let records: Vec<_> = keys.filter_map(|key| view.record(domain, key).expect(READ)).collect();
            if records.is_empty() {
                continue;
            }
            let epoch = view.epoch_at(domain, last).expect(READ)?;
            return Some((domain, Push { domain, epoch, previous, seq: last, records, served: Vec::new() }));
        }
        None
    }

    fn take_push(&mut self, mail: &Mail, push: Push, now: u64, out: &mut Out) {
        let Push { domain, epoch, previous, seq, records, served: _ } = push;
        let granted = self.disk.rights(self.ids[mail.from]).grants(domain, false).write;
        if !granted && !self.has(Planted::RightsCheckedEarly) {
            // The next session tells it what is granted.
            self.pushed(mail.from, mail.number, false, out);
            return;
        }
        let follows = match self.disk.cursor(self.ids[mail.from], domain) {
            Some(cursor) => cursor == Cursor { epoch, seq: previous, after: None },
            None => previous == 0,
        };
        let moves = follows || self.has(Planted::PushMovesCursor);
        let cursor = moves.then_some(Cursor { epoch, seq, after: None });
        let then = Waiting::Pushed { peer: mail.from, number: mail.number, in_order: follows };
        self.apply_then(mail.from, vec![Batch { domain, records, cursor, floor: None }], then, now, out);
    }

    pub(super) fn pushed(&mut self, peer: usize, number: u64, in_order: bool, out: &mut Out) {
        if self.may(peer, Action::Sync) || self.has(Planted::AnswersAfterRevocation) {
            self.respond(peer, number, &Response::Pushed { in_order }, out);
        }
    }

    /// Takes a step of a session that a peer opened.
    fn serve(&mut self, mail: &Mail, frame: Frame, now: u64, out: &mut Out) {
        let peer = mail.from;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let talk = if frame.hello.is_some() {
            Session::respond(self.ids[peer], &frame).map(Talk::new)
        } else {
            match link.serving.take_if(|talk| talk.session.id() == frame.session) {
                Some(talk) => Ok(talk),
                None => {
                    self.refuse(mail, Refusal::NoSession, out);
                    return;
                }
            }
        };
        let mut talk = match talk {
            Ok(talk) => talk,
            Err(fault) => {
                self.accuse(mail, fault.to_string(), out);
                return;
            }
        };
        talk.ghost.clone_from(&mail.ghost);
        let session = talk.session.id();
        match self.take(peer, &mut talk, frame, out) {
            Err(fault) => self.accuse(mail, fault, out),
            Ok(batches) => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.serving = Some(talk);
                }
                let then = Waiting::Answer { peer, number: mail.number, session };
                self.apply_then(peer, batches, then, now, out);
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
            batches.extend(domain.map(|domain| Batch { domain, records: Vec::new(), cursor, floor: None }));
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
        if !self.may(peer, Action::Sync) && !self.has(Planted::AnswersAfterRevocation) {
            return None;
        }
        let step = {
            let inner = self.disk.view();
            talk.session.step(&self.view(&inner, peer))
        };
        let step = step.unwrap_or_else(|error| panic!("{READ}: {error:?}"));
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

    pub(super) fn answer(&mut self, peer: usize, number: u64, session: u64, now: u64, out: &mut Out) {
        let serving = self
            .links
            .get_mut(&peer)
            .and_then(|link| link.serving.take_if(|talk| talk.session.id() == session));
        let Some(mut talk) = serving else {
            return;
        };
        let Some(frame) = self.step(peer, &mut talk, now, out) else {
            return;
        };
        let frame = frame.expect("a responder answers");
        out.effects.extend(talk.shares(&frame).into_iter().map(|domain| Effect::Shared { peer, domain }));
        self.respond(peer, number, &Response::Exchange(frame), out);
        if let Some(link) = self.links.get_mut(&peer) {
            if let Some(told) = talk.told() {
                link.told = Some(told);
            }
            link.serving = Some(talk);
        }
    }

    fn take_answer(&mut self, peer: usize, mut talk: Talk, frame: Frame, now: u64, out: &mut Out) {
        match self.take(peer, &mut talk, frame, out) {
            Err(fault) => {
                out.effects.push(Effect::Accused { peer, fault });
                self.failed(peer, now);
            }
            Ok(batches) => {
                let number = self.next_number();
                let open = Open { number, deadline: u64::MAX, what: What::Session(talk) };
                if let Some(link) = self.links.get_mut(&peer) {
                    link.open = Some(open);
                }
                self.apply_then(peer, batches, Waiting::Proceed { peer, number }, now, out);
            }
        }
    }

    /// Goes on with the own session after its answer has been committed.
    pub(super) fn proceed(&mut self, peer: usize, number: u64, now: u64, out: &mut Out) {
        let open = self.links.get_mut(&peer).and_then(|link| link.open.take_if(|open| open.number == number));
        let Some(Open { what: What::Session(mut talk), .. }) = open else {
            return;
        };
        match self.step(peer, &mut talk, now, out) {
            None => (),
            Some(Some(frame)) => self.exchange(peer, talk, frame, now, out),
            Some(None) => self.finished(peer, talk, now, out),
        }
    }

    fn finished(&mut self, peer: usize, talk: Talk, now: u64, out: &mut Out) {
        let outcome = talk.session.outcome();
        let next = self.habits.interval * 3 / 4 + self.rng.u64(..=self.habits.interval / 4);
        let told = talk.told();
        let complete = outcome.is_complete();
        out.effects.push(Effect::Finished { peer, outcome, cost: talk.cost });
        if !complete {
            self.failed(peer, now);
        } else if let Some(link) = self.links.get_mut(&peer) {
            link.failures = 0;
            link.not_before = now;
            link.due = now + next;
            link.told = told;
        }
    }
}
