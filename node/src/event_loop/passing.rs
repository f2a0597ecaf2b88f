//! Running passes and pushes over the network, and answering those of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kinsync_protocol::floor::Floor;
use kinsync_protocol::grants::Why;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::session::Outcome;
use kinsync_protocol::wire::frame::{Refusal, Response};
use kinsync_store::WriteError;
use tracing::{debug, warn};

use super::answering::Answering;
use super::limits::{Limits, is_apart, limited};
use super::{EventLoop, Purpose, Work};
use crate::control::command::{Reply, SyncReport, VerifyReport};
use crate::domains::Domains;
use crate::events::Event;
use crate::failure::{Failure, Kind};
use crate::passes::{self, Advance, Answered, News, Pass, PassError, Pushing};
use crate::request::{SyncOutcome, VerifyDomain};
use crate::state::{DEBOUNCE, PassEnd, PushEnd, Theirs};
use crate::swarm::Protocol;
use crate::swarm::exchange::{Reply as Answer, RequestError};

/// How long somebody who waits for a pass hears nothing before it is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a long pass tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Unfinished passes in a row after which whoever waits is told.
const UNFINISHED_MAX: u32 = 3;

/// The same for passes that the other side refused, as it is busy or its own
/// one goes first: about six seconds.
const REFUSED_MAX: u32 = 6;

/// Those who wait for passes at the same time, and as many who wait for
/// comparisons: more than people and their scripts ask for.
const ASKERS_MAX: usize = 64;

/// Readings of the whole store at the same time.
const CHECKS_MAX: usize = 2;

/// What is under way.
#[derive(Default)]
pub(super) struct Passing {
    /// The passes that this device opened, and when.
    running: BTreeMap<DeviceId, Duration>,
    /// When progress with a device was last told.
    told: BTreeMap<DeviceId, Duration>,
    /// What passes with a device have moved that another one has to go on.
    moved: BTreeMap<DeviceId, (u64, u64)>,
    answering: Answering<Question>,
    waiters: Vec<Waiter>,
    comparing: Vec<Comparing>,
    /// Readings of the whole store that are under way.
    checking: usize,
    /// Devices that were too busy to compare, and when to ask them again.
    compare_again: BTreeMap<DeviceId, Duration>,
    failures: BTreeMap<DeviceId, Failure>,
    /// What each device and this one do not share.
    pub(super) limits: Limits,
    /// The floor that each domain was last raised to in this run.
    pub(super) floors: BTreeMap<DomainId, Floor>,
}

impl Passing {
    /// Why the last pass with a device did not end well, if it did not.
    pub(super) fn last_failure(&self, device: DeviceId) -> Option<&Failure> {
        self.failures.get(&device)
    }
}

/// A request of another device.
#[derive(Debug)]
struct Question {
    frame: Vec<u8>,
    answer: Answer,
    /// When it arrived.
    asked: Duration,
}

/// Somebody who waits for passes to end.
struct Waiter {
    missing: BTreeSet<DeviceId>,
    /// Devices whose pass ran already: it may have missed what was written
    /// last, so the next one counts.
    running: BTreeSet<DeviceId>,
    reports: Vec<SyncReport>,
    reply: Reply<Vec<SyncReport>>,
    since: Duration,
    until: Duration,
}

impl Waiter {
    /// A pass with `device` has ended and left something to the next one: that
    /// one begins after the question, whichever ran then.
    fn goes_on(&mut self, device: DeviceId) {
        self.running.remove(&device);
    }

    /// How a pass has ended for good.
    fn take(&mut self, report: &SyncReport) {
        let ran_already = self.running.remove(&report.device);
        if ran_already && report.outcome == SyncOutcome::Equal {
            return;
        }
        if self.missing.remove(&report.device) {
            self.reports.push(report.clone());
        }
    }
}

/// Somebody who waits for comparisons.
struct Comparing {
    missing: BTreeSet<DeviceId>,
    compared: Vec<(DeviceId, Result<Outcome, Failure>)>,
    asker: Asker,
    until: Duration,
}

/// What somebody wants to know of a comparison.
enum Asker {
    /// Which domains are equal.
    Verify(Reply<Vec<VerifyReport>>),
    /// How much a pass would move.
    DryRun(Reply<Vec<SyncReport>>),
}

/// Why a request was sent.
pub(super) enum Asked {
    Pass(Box<Pass>),
    Compare(Box<Pass>),
    Push { domain: DomainId, seq: u64 },
}

/// What a step on the store came to.
pub(super) enum Done {
    Opened {
        device: DeviceId,
        compare: bool,
        result: Result<(Box<Pass>, Vec<u8>), PassError>,
    },
    Advanced {
        device: DeviceId,
        result: Result<Advance, PassError>,
    },
    Compared {
        device: DeviceId,
        result: Result<Outcome, PassError>,
    },
    Answered {
        device: DeviceId,
        /// When the request arrived.
        asked: Duration,
        answered: Answered,
        answer: Answer,
    },
    Checked {
        peers: BTreeSet<DeviceId>,
        wait: bool,
        reply: Reply<Vec<SyncReport>>,
        result: Result<(), PassError>,
    },
    PushMade {
        device: DeviceId,
        domain: DomainId,
        result: Result<Pushing, PassError>,
    },
}

impl EventLoop {
    pub(super) fn is_passing(&self, device: DeviceId) -> bool {
        self.passing.running.contains_key(&device)
    }

    /// Opens a pass with a connected peer.
    pub(super) fn open_pass(&mut self, device: DeviceId) {
        // Of two that are opened at once, one goes on.
        self.sessions.go_first(device, self.me < device);
        self.passing.running.insert(device, self.now());
        self.open_session(device, false);
    }

    fn open_session(&mut self, device: DeviceId, compare: bool) {
        let (id, nonce) = (crate::random::number(), crate::random::bytes());
        self.spawn(move |store| {
            let result = passes::open(store, device, id, nonce, compare);
            Work::Passing(Done::Opened { device, compare, result })
        });
    }

    pub(super) fn make_push(&mut self, device: DeviceId, domain: DomainId, acked: u64, after: u64) {
        let news = News { domain, acked, after, beside: self.state.pushed_to(domain).collect() };
        let sessions = Arc::clone(&self.sessions);
        self.spawn(move |store| {
            let result = passes::push(store, &sessions, device, &news);
            Work::Passing(Done::PushMade { device, domain, result })
        });
    }

    /// Answers a request, when its turn comes.
    pub(super) fn on_sync_request(&mut self, device: DeviceId, frame: Vec<u8>, answer: Answer) {
        // Trust comes first: a device that has not been heard yet may bring the
        // news that it is not to be served, or that another one is not.
        if !self.state.is_greeted(device) {
            self.answer_sync(device, answer, Response::Refuse(Refusal::Busy).encode());
            return;
        }
        let question = Question { frame, answer, asked: self.now() };
        match self.passing.answering.push(device, question) {
            Ok(()) => {
                self.state.handle_asked(device);
                self.answer_next();
            }
            Err(Question { answer, .. }) => {
                self.answer_sync(device, answer, Response::Refuse(Refusal::Busy).encode());
            }
        }
    }

    /// Begins with the requests whose turn it is, on blocking threads.
    fn answer_next(&mut self) {
        while let Some((device, question)) = self.passing.answering.next() {
            let Question { frame, answer, asked } = question;
            let now = self.now();
            if !answer.is_open() {
                // Whoever asked has left.
                self.passing.answering.done(device);
                self.state.handle_answered(device, Theirs::Other, asked, now);
                continue;
            }
            let (sessions, now) = (Arc::clone(&self.sessions), self.wall());
            self.spawn(move |store| {
                let answered = passes::answer(store, &sessions, device, &frame, now);
                Work::Passing(Done::Answered { device, asked, answered, answer })
            });
        }
    }

    fn answer_sync(&mut self, device: DeviceId, answer: Answer, frame: Vec<u8>) {
        // Asked again right before each frame: a revoke may have come between.
        if !self.admission.role(&device).is_trusted() {
            return;
        }
        if let Err(error) = self.swarm.behaviour_mut().sync.answer(answer, frame) {
            debug!(device = %device.short(), %error, "nobody waits for the answer");
        }
    }

    fn ask_sync(&mut self, device: DeviceId, asked: Asked, frame: Vec<u8>) {
        let request = self.swarm.behaviour_mut().sync.request(device, frame);
        self.requests.insert((Protocol::Sync, request), Purpose::Passing(asked));
    }

    pub(super) fn on_sync_answer(
        &mut self,
        device: DeviceId,
        asked: Asked,
        answer: Result<Vec<u8>, RequestError>,
    ) {
        let now = self.wall();
        self.extend_patience(device);
        match (asked, answer) {
            (Asked::Pass(session), Ok(frame)) => {
                let sessions = Arc::clone(&self.sessions);
                self.spawn(move |store| {
                    let result = passes::advance(store, &sessions, session, &frame, now);
                    Work::Passing(Done::Advanced { device, result })
                });
            }
            (Asked::Compare(session), Ok(frame)) => {
                let sessions = Arc::clone(&self.sessions);
                self.spawn(move |store| {
                    let advance = passes::advance(store, &sessions, session, &frame, now);
                    let result = advance.map(|advance| match advance {
                        Advance::Next(session, _) => session.outcome(),
                        Advance::Ended(outcome) => outcome,
                    });
                    Work::Passing(Done::Compared { device, result })
                });
            }
            (Asked::Push { domain, seq }, Ok(frame)) => {
                let end = match passes::pushed(&frame) {
                    Ok(true) => PushEnd::InOrder(seq),
                    Ok(false) => PushEnd::NeedsPass,
                    Err(error) => {
                        debug!(device = %device.short(), %error, "push refused");
                        PushEnd::Failed
                    }
                };
                let now = self.now();
                self.state.handle_pushed(device, domain, end, now);
            }
            (Asked::Pass(_), Err(error)) => self.end_pass(device, Err(request_failure(&error))),
            (Asked::Compare(_), Err(error)) => self.end_compare(device, Err(request_failure(&error))),
            (Asked::Push { domain, .. }, Err(error)) => {
                debug!(device = %device.short(), %error, "push failed");
                let now = self.now();
                self.state.handle_pushed(device, domain, PushEnd::Failed, now);
            }
        }
    }

    pub(super) fn on_passing_done(&mut self, done: Done) {
        match done {
            Done::Opened { device, compare: false, result: Ok((session, frame)) } => {
                self.ask_sync(device, Asked::Pass(session), frame);
            }
            Done::Opened { device, compare: true, result: Ok((session, frame)) } => {
                self.ask_sync(device, Asked::Compare(session), frame);
            }
            Done::Opened { device, compare: false, result: Err(error) } => {
                self.end_pass(device, Err(pass_failure(&error)));
            }
            Done::Opened { device, compare: true, result: Err(error) } => {
                self.end_compare(device, Err(pass_failure(&error)));
            }
            Done::Advanced { device, result: Ok(Advance::Next(session, frame)) } => {
                self.extend_patience(device);
                self.tell_progress(device, &session.outcome());
                self.ask_sync(device, Asked::Pass(session), frame);
            }
            Done::Advanced { device, result: Ok(Advance::Ended(outcome)) } => {
                self.end_pass(device, Ok(outcome))
            }
            Done::Advanced { device, result: Err(error) } => {
                warn!(device = %device.short(), error = &error as &dyn std::error::Error, "pass failed");
                self.end_pass(device, Err(pass_failure(&error)));
            }
            Done::Compared { device, result } => {
                self.end_compare(device, result.map_err(|error| pass_failure(&error)));
            }
            Done::Checked { peers, wait, reply, result } => {
                self.passing.checking = self.passing.checking.saturating_sub(1);
                match result {
                    Ok(()) => self.sync_now(peers, wait, reply),
                    Err(error) => {
                        // Whoever asked may have left.
                        let _ = reply.send(Err(pass_failure(&error)));
                    }
                }
            }
            Done::Answered { device, asked, answered, answer } => {
                self.on_answered(device, asked, answered, answer)
            }
            Done::PushMade { device, domain, result } => self.on_push_made(device, domain, result),
        }
    }

    /// Tells how far a pass is, if it takes long enough to wonder.
    fn tell_progress(&mut self, device: DeviceId, outcome: &Outcome) {
        let now = self.now();
        let told = self.passing.told.entry(device).or_insert(now);
        if now.saturating_sub(*told) < PROGRESS_EVERY {
            return;
        }
        *told = now;
        let total = outcome.domains.iter().map(|domain| domain.to_pull.saturating_add(domain.to_push));
        self.control.events().publish(Event::SessionProgress {
            peer: self.control.peer_name(device),
            done: outcome.received.saturating_add(outcome.sent),
            total: Some(total.fold(0, u64::saturating_add)),
        });
    }

    fn on_answered(&mut self, device: DeviceId, asked: Duration, answered: Answered, answer: Answer) {
        self.passing.answering.done(device);
        self.answer_next();
        if let Some(error) = &answered.error {
            warn!(device = %device.short(), error = error as &dyn std::error::Error, "request refused");
            if matches!(error, PassError::Write(WriteError::DiskFull)) {
                self.room.refuse();
            }
        }
        let now = self.now();
        match answered.outcome {
            Some((session, outcome)) if outcome.is_complete() => {
                self.note_limits(device, &outcome);
                // What waits for a person is no proof: the own pass says so.
                let proven = self.held(device, &outcome).is_none();
                let theirs = if proven { Theirs::Proven { session } } else { Theirs::Ended };
                let began = self.state.handle_answered(device, theirs, asked, now);
                self.state.handle_equal(device, &heads(&outcome), now);
                self.note_equal(device);
                self.raise_floors(device, &outcome);
                if let Some(began) = began {
                    self.join_waiters(device, &outcome, began);
                }
            }
            Some((session, outcome)) => {
                self.state.handle_answered(device, Theirs::UnderWay { session }, asked, now);
                self.extend_patience(device);
                if self.passing.waiters.iter().any(|waiter| waiter.missing.contains(&device)) {
                    self.tell_progress(device, &outcome);
                }
            }
            None => {
                self.state.handle_answered(device, Theirs::Other, asked, now);
            }
        }
        self.answer_sync(device, answer, answered.response);
    }

    /// The other side's pass has proven what those wait for who asked before
    /// it began.
    fn join_waiters(&mut self, device: DeviceId, outcome: &Outcome, began: Duration) {
        self.passing.told.remove(&device);
        let limited = limited(outcome, &self.control.domains());
        for waiter in self.passing.waiters.iter_mut().filter(|waiter| waiter.since <= began) {
            if waiter.missing.remove(&device) {
                let since = self.control.clock().monotonic().saturating_sub(waiter.since);
                waiter.reports.push(SyncReport {
                    device,
                    outcome: SyncOutcome::Equal,
                    pull: outcome.received,
                    push: outcome.sent,
                    duration_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                    limited: limited.clone(),
                    failure: None,
                });
            }
        }
        self.reply_to_waiters();
    }

    fn on_push_made(&mut self, device: DeviceId, domain: DomainId, result: Result<Pushing, PassError>) {
        let end = match result {
            Ok(Pushing::Send(frame, seq)) => {
                return self.ask_sync(device, Asked::Push { domain, seq }, frame);
            }
            Ok(Pushing::Nothing(seq)) => PushEnd::Nothing(seq),
            Ok(Pushing::Left(seq)) => PushEnd::Left(seq),
            Ok(Pushing::NeedsPass) => PushEnd::NeedsPass,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "nothing pushed");
                PushEnd::Failed
            }
        };
        let now = self.now();
        self.state.handle_pushed(device, domain, end, now);
    }

    fn end_pass(&mut self, device: DeviceId, result: Result<Outcome, Failure>) {
        let now = self.now();
        let since = self.passing.running.remove(&device).unwrap_or(now);
        self.passing.told.remove(&device);
        self.sessions.go_first(device, false);
        let moved = result.as_ref().map_or((0, 0), |outcome| (outcome.received, outcome.sent));
        let (end, failure) = match &result {
            Ok(outcome) if outcome.is_equal() => (PassEnd::Equal, None),
            Ok(outcome) if let Some(failure) = self.held(device, outcome) => (PassEnd::Held, Some(failure)),
            Ok(outcome) if outcome.is_complete() => (PassEnd::Equal, None),
            Ok(_) => {
                let failure = Failure::new(Kind::Busy, "There was more to do than one pass could finish.")
                    .hint("It goes on by itself.");
                (PassEnd::Unfinished, Some(failure))
            }
            // Its own pass went first, and has done what this one would have.
            Err(failure) if failure.kind == Kind::Busy && self.state.handle_refused(device, since, now) => {
                (PassEnd::Equal, None)
            }
            // It has more to do than one thing, or has not heard us out yet.
            Err(failure) if failure.kind == Kind::Busy => (PassEnd::Unfinished, Some(failure.clone())),
            Err(failure) => {
                if failure.kind == Kind::DiskFull {
                    self.room.refuse();
                }
                (PassEnd::Failed, Some(failure.clone()))
            }
        };
        self.state.handle_pass_ended(device, end, now);
        let mut limits = Vec::new();
        if let Ok(outcome) = &result {
            self.note_limits(device, outcome);
            limits = limited(outcome, &self.control.domains());
        }
        match &result {
            Ok(outcome) if end == PassEnd::Equal => {
                self.state.handle_equal(device, &heads(outcome), now);
                self.note_equal(device);
                self.raise_floors(device, outcome);
            }
            Ok(outcome) => self.state.handle_reached(device, &heads(outcome)),
            Err(_) => {}
        }
        let before = self.passing.moved.remove(&device).unwrap_or_default();
        let (pull, push) = (before.0.saturating_add(moved.0), before.1.saturating_add(moved.1));
        let most = if result.is_err() { REFUSED_MAX } else { UNFINISHED_MAX };
        let goes_on = self.state.unfinished(device) < most || self.state.is_served(device, now);
        if end == PassEnd::Unfinished && goes_on {
            self.passing.moved.insert(device, (pull, push));
            for waiter in &mut self.passing.waiters {
                waiter.goes_on(device);
            }
            return;
        }
        let told = match &failure {
            Some(failure) => self.passing.failures.insert(device, failure.clone()),
            None => self.passing.failures.remove(&device),
        };
        // What waits for a person is told once, and then by `status` alone.
        let is_news = failure.is_some() && !(end == PassEnd::Held && told == failure);
        if pull + push > 0 || is_news {
            self.control.events().publish(Event::Synced {
                peer: self.control.peer_name(device),
                pull,
                push,
                failure: failure.clone(),
            });
        }
        let outcome = match (end, &failure) {
            (PassEnd::Held, _) => SyncOutcome::Held,
            (_, None) => SyncOutcome::Equal,
            (_, Some(_)) => SyncOutcome::Failed,
        };
        let duration_ms = u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        self.report(SyncReport { device, outcome, pull, push, duration_ms, limited: limits, failure });
    }

    /// Why a pass that did not end equal can do nothing more: a mass change
    /// waits for a person, here or there.
    fn held(&self, device: DeviceId, outcome: &Outcome) -> Option<Failure> {
        let mut held = None;
        for domain in outcome.domains.iter().filter(|domain| domain.equal_at.is_none()) {
            let there = !domain.theirs.write && domain.theirs.why == Why::Held;
            let here = self.control.held_of(device, domain.domain);
            if !(here.is_some() || domain.complete) {
                return None;
            }
            held = held.or(here).or_else(|| there.then(|| self.held_there(device, domain.domain)));
        }
        held
    }

    fn held_there(&self, device: DeviceId, domain: DomainId) -> Failure {
        let (name, domain) = (self.control.peer_name(device).name, self.control.domains().shown(domain));
        let message = format!("This device's changes of {domain} wait for an answer on {name}.");
        Failure::new(Kind::Held, message).hint("There:  kinsync held")
    }

    /// Nothing answers at any address of the device.
    pub(super) fn on_unreachable(&mut self, device: DeviceId) {
        let failure = unreachable();
        self.end_compare(device, Err(failure.clone()));
        self.report(SyncReport {
            device,
            outcome: SyncOutcome::Offline,
            pull: 0,
            push: 0,
            duration_ms: 0,
            limited: Vec::new(),
            failure: Some(failure),
        });
    }

    /// Starts passes because somebody asked for them.
    pub(super) fn sync_now(&mut self, peers: BTreeSet<DeviceId>, wait: bool, reply: Reply<Vec<SyncReport>>) {
        if self.passing.waiters.len() >= ASKERS_MAX {
            // Whoever asked may have left.
            let _ = reply.send(Err(too_many()));
            return;
        }
        let now = self.now();
        let running = peers.iter().copied().filter(|device| self.is_passing(*device)).collect();
        let mut waiter = Waiter {
            missing: BTreeSet::new(),
            running,
            reports: Vec::new(),
            reply,
            since: now,
            until: now + PATIENCE,
        };
        for device in peers {
            if self.state.has_removed_me(device) {
                waiter.reports.push(failed(device, removed()));
            } else {
                self.state.request_pass(device, now);
                waiter.missing.insert(device);
            }
        }
        if !wait {
            waiter.until = now;
        }
        self.passing.waiters.push(waiter);
        self.passing_timeout(now);
    }

    /// The same after the own store has been read from end to end.
    pub(super) fn sync_in_full(
        &mut self,
        peers: BTreeSet<DeviceId>,
        wait: bool,
        reply: Reply<Vec<SyncReport>>,
    ) {
        if self.passing.checking >= CHECKS_MAX {
            // Whoever asked may have left.
            let _ = reply.send(Err(too_many()));
            return;
        }
        self.passing.checking += 1;
        self.spawn(move |store| {
            let result = passes::check(store);
            Work::Passing(Done::Checked { peers, wait, reply, result })
        });
    }

    /// Says what a pass would move, without one.
    pub(super) fn dry_run(&mut self, peers: BTreeSet<DeviceId>, reply: Reply<Vec<SyncReport>>) {
        self.compare(peers, Asker::DryRun(reply));
    }

    /// Compares because somebody asked for it.
    pub(super) fn verify(&mut self, peers: BTreeSet<DeviceId>, reply: Reply<Vec<VerifyReport>>) {
        self.compare(peers, Asker::Verify(reply));
    }

    fn compare(&mut self, peers: BTreeSet<DeviceId>, asker: Asker) {
        if self.passing.comparing.len() >= ASKERS_MAX {
            // Whoever asked may have left.
            match asker {
                Asker::Verify(reply) => drop(reply.send(Err(too_many()))),
                Asker::DryRun(reply) => drop(reply.send(Err(too_many()))),
            }
            return;
        }
        let now = self.now();
        for device in &peers {
            if self.state.is_greeted(*device) {
                self.open_session(*device, true);
            } else if !self.state.has_removed_me(*device) {
                self.state.request_dial(*device, now);
            }
        }
        let until = now + PATIENCE;
        self.passing.comparing.push(Comparing { missing: peers, compared: Vec::new(), asker, until });
    }

    /// A device is ready: whoever waits to compare with it can do so.
    pub(super) fn compare_if_asked(&mut self, device: DeviceId) {
        if self.passing.comparing.iter().any(|comparing| comparing.missing.contains(&device)) {
            self.open_session(device, true);
        }
    }

    fn end_compare(&mut self, device: DeviceId, result: Result<Outcome, Failure>) {
        if result.as_ref().is_err_and(|failure| failure.kind == Kind::Busy) {
            // Most likely it has not heard us out yet. Whoever waits gives up
            // by itself.
            self.passing.compare_again.insert(device, self.now() + DEBOUNCE);
            return;
        }
        for comparing in &mut self.passing.comparing {
            if comparing.missing.remove(&device) {
                comparing.compared.push((device, result.clone()));
            }
        }
        self.reply_to_waiters();
    }

    fn tell_compared(comparing: Comparing, domains: &Domains) {
        let compared = comparing.compared.into_iter();
        // Whoever asked may have left.
        match comparing.asker {
            Asker::Verify(reply) => {
                let reports = compared.map(|(device, result)| VerifyReport {
                    device,
                    limited: result.as_ref().map(|outcome| limited(outcome, domains)).unwrap_or_default(),
                    domains: result.map(|outcome| rows(&outcome, domains)),
                });
                let _ = reply.send(Ok(reports.collect()));
            }
            Asker::DryRun(reply) => {
                let reports = compared.map(|(device, result)| would(device, result, domains));
                let _ = reply.send(Ok(reports.collect()));
            }
        }
    }

    /// Remembers that both sides were proven equal just now.
    fn note_equal(&mut self, device: DeviceId) {
        let now = self.wall();
        self.notes.equal(device, now);
    }

    fn report(&mut self, report: SyncReport) {
        for waiter in &mut self.passing.waiters {
            waiter.take(&report);
        }
        self.reply_to_waiters();
    }

    fn reply_to_waiters(&mut self) {
        for waiter in self.passing.waiters.extract_if(.., |waiter| waiter.missing.is_empty()) {
            // Whoever asked may have left.
            let _ = waiter.reply.send(Ok(waiter.reports));
        }
        let finished: Vec<_> =
            self.passing.comparing.extract_if(.., |comparing| comparing.missing.is_empty()).collect();
        for comparing in finished {
            Self::tell_compared(comparing, &self.control.domains());
        }
    }

    /// Progress with a device: whoever waits for it waits on.
    fn extend_patience(&mut self, device: DeviceId) {
        let until = self.now() + PATIENCE;
        for waiter in &mut self.passing.waiters {
            if waiter.missing.contains(&device) && waiter.until > waiter.since {
                waiter.until = until;
            }
        }
    }

    pub(super) fn passing_deadline(&self) -> Option<Duration> {
        let waiters = self.passing.waiters.iter().map(|waiter| waiter.until);
        let comparing = self.passing.comparing.iter().map(|comparing| comparing.until);
        waiters.chain(comparing).chain(self.passing.compare_again.values().copied()).min()
    }

    /// Answers those who have waited long enough.
    pub(super) fn passing_timeout(&mut self, now: Duration) {
        let again = self.passing.compare_again.iter().filter(|(_, at)| **at <= now);
        let again: Vec<_> = again.map(|(device, _)| *device).collect();
        for device in again {
            self.passing.compare_again.remove(&device);
            if self.state.is_greeted(device) {
                self.compare_if_asked(device);
            }
        }
        for waiter in self.passing.waiters.iter_mut().filter(|waiter| waiter.until <= now) {
            let begun = waiter.until == waiter.since;
            for device in std::mem::take(&mut waiter.missing) {
                let (outcome, failure) = match (begun, self.state.is_connected(device)) {
                    (true, _) => (SyncOutcome::Started, None),
                    (false, true) => (SyncOutcome::Failed, Some(silent())),
                    (false, false) => (SyncOutcome::Offline, Some(unreachable())),
                };
                let limited = Vec::new();
                let report =
                    SyncReport { device, outcome, pull: 0, push: 0, duration_ms: 0, limited, failure };
                waiter.reports.push(report);
            }
        }
        for comparing in self.passing.comparing.iter_mut().filter(|comparing| comparing.until <= now) {
            for device in std::mem::take(&mut comparing.missing) {
                let failure = if self.state.is_connected(device) { silent() } else { unreachable() };
                comparing.compared.push((device, Err(failure)));
            }
        }
        self.reply_to_waiters();
    }

    /// Ends all that runs with a device that is no longer trusted.
    pub(super) fn drop_passing(&mut self, device: DeviceId) {
        self.sessions.forget(device);
        self.sessions.go_first(device, false);
        self.passing.running.remove(&device);
        self.passing.moved.remove(&device);
        self.passing.failures.remove(&device);
        self.passing.limits.remove(&device);
        self.notes.forget(device);
        let failure = Failure::new(Kind::Revoked, "That device was removed from the set.");
        self.end_compare(device, Err(failure.clone()));
        self.report(failed(device, failure));
    }
}

fn failed(device: DeviceId, failure: Failure) -> SyncReport {
    let (outcome, limited) = (SyncOutcome::Failed, Vec::new());
    SyncReport { device, outcome, pull: 0, push: 0, duration_ms: 0, limited, failure: Some(failure) }
}

fn removed() -> Failure {
    Failure::new(Kind::Revoked, "That device has removed this one. Your data here is kept.")
        .hint(super::RENEW)
}

/// Both sides' numbers as they compared them: those of now may be others.
fn rows(outcome: &Outcome, domains: &Domains) -> Vec<VerifyDomain> {
    // What nobody was asked to share is nobody's difference.
    let shared = outcome.domains.iter().filter(|domain| !is_apart(domain));
    let rows = shared.map(|domain| VerifyDomain {
        name: domains.shown(domain.domain),
        equal: domain.equal_at.is_some(),
        limited: domain.is_limited() && domain.complete,
        records: domain.own_records,
        peer_records: Some(domain.their_records),
    });
    rows.collect()
}

/// What a pass would move, as the Hellos say: at most.
fn would(device: DeviceId, result: Result<Outcome, Failure>, domains: &Domains) -> SyncReport {
    let limited = result.as_ref().map(|outcome| limited(outcome, domains)).unwrap_or_default();
    let outcome = SyncOutcome::Would;
    let report = SyncReport { device, outcome, pull: 0, push: 0, duration_ms: 0, limited, failure: None };
    match result {
        Ok(outcome) => {
            let differing = outcome.domains.iter().filter(|domain| !domain.complete);
            differing.fold(report, |report, domain| SyncReport {
                pull: report.pull.saturating_add(domain.to_pull),
                push: report.push.saturating_add(domain.to_push),
                ..report
            })
        }
        Err(failure) => {
            let offline = failure.kind == Kind::Unreachable;
            let outcome = if offline { SyncOutcome::Offline } else { SyncOutcome::Failed };
            SyncReport { outcome, failure: Some(failure), ..report }
        }
    }
}

fn heads(outcome: &Outcome) -> Vec<(DomainId, u64)> {
    outcome.domains.iter().filter_map(|domain| Some((domain.domain, domain.reached?))).collect()
}

fn too_many() -> Failure {
    Failure::new(Kind::Busy, "Too many wait for that already.")
        .hint("Try again when some of them have ended.")
}

fn unreachable() -> Failure {
    Failure::new(Kind::Unreachable, "No address of that device answers.")
        .hint("Is it on, and on the same network? Try:  kinsync doctor")
}

fn silent() -> Failure {
    Failure::new(Kind::Timeout, "That device is connected and says nothing.")
        .hint("Try again; if it stays so, restart kinsync on that device.")
}

fn request_failure(error: &RequestError) -> Failure {
    match error {
        RequestError::NotConnected | RequestError::Closed | RequestError::CutShort => {
            Failure::new(Kind::Unreachable, "The connection to that device was lost.")
                .hint("It is tried again by itself.")
        }
        RequestError::TimedOut => silent(),
        RequestError::Refused | RequestError::NotAllowed => {
            Failure::new(Kind::NotPaired, "That device does not let this one sync.")
                .hint("Pair the two again:  kinsync pair")
        }
        RequestError::Busy | RequestError::TooLarge { .. } | RequestError::Io(_) => Failure::internal(error),
    }
}

fn pass_failure(error: &PassError) -> Failure {
    match error {
        PassError::Refused(Refusal::NotTrusted) => {
            Failure::new(Kind::NotPaired, "That device does not trust this one.")
                .hint("Pair the two again:  kinsync pair")
        }
        PassError::Refused(Refusal::Busy | Refusal::NoSession) => {
            Failure::new(Kind::Busy, "That device is busy.").hint("It is tried again by itself.")
        }
        PassError::Refused(Refusal::NoStore) => {
            Failure::new(Kind::ReadOnly, "The store of that device cannot write at the moment.")
                .hint("Run on that device:  kinsync doctor")
        }
        PassError::Unsound(faults) => Failure::new(
            Kind::StoreDamaged,
            format!("The store of this device does not hold together: {faults} faults."),
        )
        .hint("Run:  kinsync doctor"),
        PassError::Read(_) => Failure::new(Kind::StoreDamaged, "The store of this device cannot be read.")
            .hint("Run:  kinsync doctor"),
        // What was agreed on when the pass began holds no more.
        PassError::GrantsChanged | PassError::Write(WriteError::NotGranted { .. }) => {
            Failure::new(Kind::Busy, "What that device may do has changed meanwhile.")
                .hint("It is tried again by itself.")
        }
        PassError::Write(error) => Failure::from(error.clone()),
        PassError::Refused(_) | PassError::Peer(_) => {
            Failure::new(Kind::Incompatible, "The two devices do not understand each other.")
                .hint("Install the same version of kinsync on both.")
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const PHONE: DeviceId = DeviceId([2; 32]);

    /// Somebody who asked while a pass with the phone ran.
    fn waiter() -> Waiter {
        let (reply, _) = oneshot::channel();
        let (missing, running) = (BTreeSet::from([PHONE]), BTreeSet::from([PHONE]));
        Waiter { missing, running, reports: Vec::new(), reply, since: Duration::ZERO, until: PATIENCE }
    }

    fn equal() -> SyncReport {
        let (outcome, limited) = (SyncOutcome::Equal, Vec::new());
        SyncReport { device: PHONE, outcome, pull: 0, push: 0, duration_ms: 0, limited, failure: None }
    }

    /// P17: whoever asks for a sync hears of a pass that began after the question.
    #[test]
    fn a_pass_that_ran_already_answers_nobody() {
        let mut waiter = waiter();
        waiter.take(&equal());
        assert!(waiter.missing.contains(&PHONE), "it may have missed what was written last");
        waiter.take(&equal());
        assert!(waiter.missing.is_empty());
    }

    /// The pass that ran was refused, as the other side's went first: the one that
    /// follows answers, and nobody waits for one more.
    #[test]
    fn a_pass_that_follows_on_one_that_ran_already_answers() {
        let mut waiter = waiter();
        waiter.goes_on(PHONE);
        waiter.take(&equal());
        assert!(waiter.missing.is_empty());
        assert_eq!(waiter.reports.len(), 1);
    }
}
