//! The joiner's side of pairing: one typed code, a few devices that may have
//! shown it.
//!
//! ```text
//! Searching --offer--> Sharing --> Proving --> Waiting --> Acknowledging --> over
//!     ^                   |           |           |
//!     \--does not know the code; next-/           \--no--> over
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use serde_bytes::{ByteArray, ByteBuf};
use thiserror::Error;

use super::host::{limits, vouch, vouches};
use super::message::{
    Ack, Await, ConfirmH, ConfirmJ, Decision, Hello, MESSAGE_BYTES_MAX, Offer, Refusal, Request, Response,
    ShareH, ShareJ,
};
use super::pake::Pake;
use super::{
    ANSWER_TIME_MAX, CheckNumber, Keys, Paired, STEP_TIME_MAX, Side, Transcript, commitment, password,
};
use crate::card::Card;
use crate::cbor;
use crate::code::Code;
use crate::id::DeviceId;
use crate::random::{Random, draw};
use crate::stamp::UnixMillis;
use crate::trust::statement::{self, RunId};
use crate::trust::{Role, Standing};

/// Devices that one search asks at most; a home has fewer.
pub const CANDIDATES_MAX: usize = 16;

/// Devices that are asked at the same time.
pub const HELLOS_MAX: usize = 4;

/// Devices that one typed code is proven to at most. Each that was not the
/// right one has learned whether one guess of its own was good.
pub const PROOFS_MAX: u8 = 3;

/// How long a search goes on while nobody answers; long enough to hear every
/// device on the network announce itself.
pub const SEARCH_TIME_MAX: Duration = Duration::from_secs(30);

/// Pairs with the device that shows the code that was typed here.
///
/// The caller finds devices; the machine asks them, a few at a time, and goes
/// through with the first that offers. Owns no socket and reads no clock. After
/// every call, call [`poll`](Self::poll) until it returns `None`, then wait for
/// a response or [`deadline`](Self::deadline).
pub struct Joiner {
    identity: SigningKey,
    me: DeviceId,
    card: Vec<u8>,
    code: Code,
    wish: Role,
    only: Option<DeviceId>,
    search_until: Duration,
    proofs_left: u8,
    candidates: BTreeMap<DeviceId, Candidate>,
    /// Asked in the order in which they were found.
    queue: VecDeque<DeviceId>,
    state: State,
    /// The best reason so far for finding nobody.
    reason: Failure,
    outputs: VecDeque<Output>,
}

/// What the caller does next.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// It did not work; nothing follows and nothing was stored.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Trust the host: store this, then acknowledge by what follows.
    Paired(Box<Paired>),
    /// Send a request; the response goes to [`Joiner::handle_response`].
    Send {
        /// To whom.
        to: DeviceId,
        /// What.
        request: Request,
    },
    /// Show the person what the host must show too, while its person decides.
    ShowCheck {
        /// The device that knows the code.
        host: DeviceId,
        /// What it says about itself; safe to show.
        card: Card,
        /// The number that its screen must show too.
        check: CheckNumber,
    },
    /// Both sides are done; nothing follows.
    Finished,
}

/// Why no pairing came about. The order is how much a reason says.
#[derive(Clone, Copy, Debug, Eq, Error, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Failure {
    /// No device was found that shows any code.
    #[error("no device answered")]
    NobodyAnswered,
    /// Devices answered, none with this code.
    #[error("no device shows this code")]
    NoSuchCode,
    /// The connection was lost, or the other device stopped to answer.
    #[error("the other device stopped to answer")]
    Lost,
    /// The other device has too many pairings going on.
    #[error("the other device is busy")]
    Busy,
    /// The other device broke the protocol.
    #[error("the other device does not follow the protocol")]
    BadMessage,
    /// The other device speaks another version.
    #[error("the other device speaks another version of pairing")]
    Version,
    /// A device that offered did not know the code: it is not the device meant.
    #[error("the device that answered does not know the code")]
    NotThatDevice,
    /// The host's key was revoked here: the host needs a new one.
    #[error("the other device was revoked here")]
    HostRevoked {
        /// The host.
        host: DeviceId,
    },
    /// This device's key was revoked there: pair again with a new key. The code
    /// is still good.
    #[error("this device was revoked by the other one")]
    KeyRevoked {
        /// The host.
        host: DeviceId,
    },
    /// The code was used, or guessed at too often.
    #[error("the code was used already or guessed at too often")]
    Burned,
    /// The code's time is over.
    #[error("the code has expired")]
    Expired,
    /// The host's person said no, or nothing.
    #[error("the other device declined")]
    Rejected,
    /// Another code was typed than the host shows.
    #[error("wrong code; {tries_left} tries left")]
    WrongCode {
        /// How many tries the code has left there.
        tries_left: u8,
    },
}

impl Failure {
    /// Whether it came from a device that shows this nameplate: nobody else is
    /// worth waiting for.
    fn ends_search(self) -> bool {
        match self {
            Self::Busy
            | Self::Burned
            | Self::Expired
            | Self::HostRevoked { .. }
            | Self::KeyRevoked { .. } => true,
            Self::Rejected | Self::WrongCode { .. } => true,
            Self::NobodyAnswered | Self::NoSuchCode | Self::Lost => false,
            Self::BadMessage | Self::Version | Self::NotThatDevice => false,
        }
    }
}

enum State {
    Searching,
    /// One host has offered; the others wait.
    Active {
        host: DeviceId,
        until: Duration,
        step: Box<Step>,
    },
    Over,
}

struct Candidate {
    standing: Standing,
    nonce: [u8; 16],
    /// Until when its answer to a Hello counts; `None` when none is awaited.
    hello_until: Option<Duration>,
}

enum Step {
    Sharing { offer: Offer, nonce: [u8; 16], pake: Pake },
    Proving { run: RunId, keys: Keys },
    Waiting { run: RunId, card: Card },
    Acknowledging,
}

impl Joiner {
    /// Begins a search for the device that shows `code`.
    ///
    /// `wish` is the most that this device grants and takes. `only` limits the
    /// search to one device, as a ticket does.
    pub fn new(
        identity: SigningKey,
        card: &Card,
        code: Code,
        wish: Role,
        only: Option<DeviceId>,
        now: Duration,
    ) -> Self {
        Self {
            me: DeviceId(identity.verifying_key().to_bytes()),
            identity,
            card: cbor::encode(&card.cleaned()),
            code,
            wish,
            only,
            search_until: now.saturating_add(SEARCH_TIME_MAX),
            proofs_left: PROOFS_MAX,
            candidates: BTreeMap::new(),
            queue: VecDeque::new(),
            state: State::Searching,
            reason: Failure::NobodyAnswered,
            outputs: VecDeque::new(),
        }
    }

    /// Adds a device that may be the host. Known ones, this device itself and
    /// those beyond [`CANDIDATES_MAX`] are ignored: a device is asked once,
    /// however many addresses it has.
    pub fn handle_found(
        &mut self,
        host: DeviceId,
        standing: Standing,
        now: Duration,
        random: &mut Random<'_>,
    ) {
        self.handle_timeout(now);
        let wanted = host != self.me && self.only.is_none_or(|only| only == host);
        if !wanted || self.candidates.contains_key(&host) || self.candidates.len() >= CANDIDATES_MAX {
            return;
        }
        let candidate = Candidate { standing, nonce: draw(random), hello_until: None };
        self.candidates.insert(host, candidate);
        self.queue.push_back(host);
        self.ask(now);
    }

    /// Handles the response to the latest request that was sent to `from`,
    /// whose key the transport has proven. `at` is the wall clock, for display.
    pub fn handle_response(
        &mut self,
        from: DeviceId,
        response: Response,
        at: UnixMillis,
        now: Duration,
        random: &mut Random<'_>,
    ) {
        self.handle_timeout(now);
        let active = matches!(&self.state, State::Active { host, .. } if *host == from);
        if active {
            self.go_on(from, response, at, now);
        } else {
            self.answer_to_hello(from, response, now, random);
        }
        self.ask(now);
    }

    /// Handles a request that got no response: the device could not be reached,
    /// left, or does not speak the protocol.
    pub fn handle_failure(&mut self, from: DeviceId, now: Duration) {
        match &self.state {
            State::Active { host, .. } if *host == from => self.lost(now),
            State::Active { .. } | State::Searching => {
                if let Some(candidate) = self.candidates.get_mut(&from) {
                    candidate.hello_until = None;
                }
                self.ask(now);
            }
            State::Over => {}
        }
    }

    /// Handles the end of the caller's search: no more devices will be found.
    /// Fails at once if there is none left to hear from.
    pub fn handle_search_end(&mut self, now: Duration) {
        self.search_until = self.search_until.min(now);
        self.handle_timeout(now);
    }

    /// Ends whatever is overdue. Early and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        for candidate in self.candidates.values_mut() {
            if candidate.hello_until.is_some_and(|until| now >= until) {
                candidate.hello_until = None;
            }
        }
        if let State::Active { until, .. } = &self.state
            && now >= *until
        {
            self.lost(now);
        }
        self.ask(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let hellos = self.candidates.values().filter_map(|candidate| candidate.hello_until).min();
        match &self.state {
            State::Searching if hellos.is_none() => Some(self.search_until),
            State::Searching => hellos,
            State::Active { until, .. } => hellos.map_or(Some(*until), |hello| Some(hello.min(*until))),
            State::Over => None,
        }
    }

    /// Sends Hellos while there is somebody to ask; gives up when there is
    /// nobody left and the search is over.
    fn ask(&mut self, now: Duration) {
        if !matches!(self.state, State::Searching) {
            return;
        }
        let mut open = self.candidates.values().filter(|candidate| candidate.hello_until.is_some()).count();
        while open < HELLOS_MAX
            && let Some(host) = self.queue.pop_front()
        {
            let Some(candidate) = self.candidates.get_mut(&host) else {
                continue;
            };
            candidate.hello_until = Some(now.saturating_add(STEP_TIME_MAX));
            open += 1;
            let nameplate = self.code.nameplate().to_string();
            let hello = Hello { version: 1, nameplate, nonce: ByteArray::new(candidate.nonce) };
            self.outputs.push_back(Output::Send { to: host, request: Request::Hello(hello) });
        }
        let only_answered = self.only.is_some_and(|only| self.candidates.contains_key(&only));
        if open == 0 && (now >= self.search_until || only_answered || self.reason.ends_search()) {
            self.fail(self.reason);
        }
    }

    fn answer_to_hello(
        &mut self,
        from: DeviceId,
        response: Response,
        now: Duration,
        random: &mut Random<'_>,
    ) {
        let searching = matches!(self.state, State::Searching);
        let Some(candidate) = self.candidates.get_mut(&from) else {
            return;
        };
        if candidate.hello_until.take().is_none() || matches!(self.state, State::Over) {
            return;
        }
        match response {
            Response::Offer(_) if candidate.standing.is_dead() => {
                self.note(Failure::HostRevoked { host: from })
            }
            Response::Offer(_) if !searching => {
                // Another host was faster. Should it turn out to be the wrong
                // one, this one is asked afresh: its offer will be stale.
                candidate.nonce = draw(random);
                self.queue.push_back(from);
            }
            Response::Offer(offer) => {
                let nonce = candidate.nonce;
                let pake = Pake::start(Side::Joiner, &password(&self.code), self.me, from, random);
                let share = ByteArray::new(*pake.share());
                let request = Request::ShareJ(ShareJ { run: offer.run, share });
                self.outputs.push_back(Output::Send { to: from, request });
                self.enter(from, Step::Sharing { offer, nonce, pake }, now.saturating_add(STEP_TIME_MAX));
            }
            Response::Refuse { refusal, tries_left } => self.note(failure(from, refusal, tries_left)),
            Response::ShareH(_) | Response::ConfirmH(_) | Response::Decision(_) | Response::Done => {
                self.note(Failure::BadMessage);
            }
        }
    }

    fn go_on(&mut self, host: DeviceId, response: Response, at: UnixMillis, now: Duration) {
        let State::Active { step, .. } = std::mem::replace(&mut self.state, State::Searching) else {
            return;
        };
        match (*step, response) {
            (Step::Sharing { offer, nonce, pake }, Response::ShareH(share)) => {
                self.share(host, &offer, nonce, pake, &share, now);
            }
            (Step::Proving { run, keys }, Response::ConfirmH(confirm)) => {
                self.confirm(host, run, &keys, &confirm, now);
            }
            (Step::Waiting { run, card }, Response::Decision(decision)) => {
                self.decision(host, run, card, decision, at, now);
            }
            // Both have stored; an answer lost here changes nothing.
            (Step::Acknowledging, _) => self.finish(),
            (Step::Sharing { .. }, Response::Refuse { refusal, tries_left }) => {
                self.note(failure(host, refusal, tries_left));
            }
            (Step::Proving { .. } | Step::Waiting { .. }, Response::Refuse { refusal, tries_left }) => {
                self.fail(failure(host, refusal, tries_left));
            }
            _ => self.note(Failure::BadMessage),
        }
    }

    fn share(
        &mut self,
        host: DeviceId,
        offer: &Offer,
        nonce: [u8; 16],
        pake: Pake,
        share: &ShareH,
        now: Duration,
    ) {
        let commit = commitment(&offer.run, &nonce, &share.share, &share.salt);
        if commit != *offer.commit {
            // It changed its share after it saw ours.
            return self.note(Failure::NotThatDevice);
        }
        let joiner_share = *pake.share();
        let Ok(shared) = pake.finish(&share.share) else {
            return self.note(Failure::NotThatDevice);
        };
        let Some(proofs_left) = self.proofs_left.checked_sub(1) else {
            return self.fail(Failure::NotThatDevice);
        };
        self.proofs_left = proofs_left;
        let transcript = Transcript {
            run: offer.run,
            nonce,
            joiner: self.me,
            host,
            commit,
            joiner_share,
            host_share: *share.share,
            salt: *share.salt,
        };
        let keys = Keys::derive(&shared, transcript.hash());
        let signature = self.identity.sign(&keys.to_sign(Side::Joiner, &self.card));
        let confirm = ConfirmJ {
            run: offer.run,
            proof: ByteArray::new(keys.proof(Side::Joiner, &self.card)),
            card: ByteBuf::from(self.card.clone()),
            signature: ByteArray::new(signature.to_bytes()),
        };
        self.outputs.push_back(Output::Send { to: host, request: Request::ConfirmJ(confirm) });
        self.enter(host, Step::Proving { run: offer.run, keys }, now.saturating_add(STEP_TIME_MAX));
    }

    fn confirm(&mut self, host: DeviceId, run: RunId, keys: &Keys, confirm: &ConfirmH, now: Duration) {
        let Some(card) = proven_card(host, keys, confirm) else {
            // The wrong device, or somebody in between. Ours was one guess for it.
            return match self.proofs_left {
                0 => self.fail(Failure::NotThatDevice),
                _ => self.note(Failure::NotThatDevice),
            };
        };
        self.outputs.push_back(Output::ShowCheck { host, card: card.clone(), check: keys.check });
        let request = Request::Await(Await { run, role: self.wish });
        self.outputs.push_back(Output::Send { to: host, request });
        // The host answers within the person's time; a step more for the way.
        let until = now.saturating_add(ANSWER_TIME_MAX).saturating_add(STEP_TIME_MAX);
        self.enter(host, Step::Waiting { run, card }, until);
    }

    fn decision(
        &mut self,
        host: DeviceId,
        run: RunId,
        card: Card,
        decision: Decision,
        at: UnixMillis,
        now: Duration,
    ) {
        if decision.run != run {
            return self.fail(Failure::BadMessage);
        }
        let verdict = decision.verdict.limited_to(self.wish);
        let Some(role) = verdict.role() else {
            return self.fail(Failure::Rejected);
        };
        let theirs = match decision.statement {
            Some(statement) if vouches(&statement, host, self.me, &run) => Some(statement),
            Some(_) => return self.fail(Failure::BadMessage),
            None if role == Role::Kin => return self.fail(Failure::BadMessage),
            None => None,
        };
        let kin = role == Role::Kin;
        let ours = kin.then(|| vouch(&self.identity, host, run, &card.label, at));
        let theirs = theirs.filter(|_| kin);
        let (domains, once_seconds) = limits(&verdict);
        let paired = Paired { device: host, card, role, domains, once_seconds, ours: ours.clone(), theirs };
        self.outputs.push_back(Output::Paired(Box::new(paired)));
        let request = Request::Ack(Ack { run, role, statement: ours });
        self.outputs.push_back(Output::Send { to: host, request });
        self.enter(host, Step::Acknowledging, now.saturating_add(STEP_TIME_MAX));
    }

    /// The active host is gone.
    fn lost(&mut self, now: Duration) {
        match &self.state {
            State::Active { step, .. } => match **step {
                Step::Acknowledging => self.finish(),
                // The host asks its person by now; another must not be found.
                Step::Waiting { .. } => self.fail(Failure::Lost),
                Step::Sharing { .. } | Step::Proving { .. } => {
                    self.state = State::Searching;
                    self.note(Failure::Lost);
                    self.ask(now);
                }
            },
            State::Searching | State::Over => {}
        }
    }

    fn enter(&mut self, host: DeviceId, step: Step, until: Duration) {
        self.state = State::Active { host, until, step: Box::new(step) };
    }

    fn note(&mut self, failure: Failure) {
        self.reason = self.reason.max(failure);
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Over;
        self.outputs.push_back(Output::Failed { failure });
    }

    fn finish(&mut self) {
        self.state = State::Over;
        self.outputs.push_back(Output::Finished);
    }
}

/// Shows the nameplate, which is public, and nothing of the code.
impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joiner")
            .field("nameplate", &self.code.nameplate())
            .field("candidates", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

/// The host's card, if its confirmation shows that it knows the code and owns
/// its key.
fn proven_card(host: DeviceId, keys: &Keys, confirm: &ConfirmH) -> Option<Card> {
    if !keys.holds(Side::Host, &confirm.card, &confirm.proof) {
        return None;
    }
    statement::verify(&host, &keys.to_sign(Side::Host, &confirm.card), &confirm.signature).ok()?;
    cbor::decode::<Card>(&confirm.card, MESSAGE_BYTES_MAX).ok()?.accept().ok()
}

fn failure(host: DeviceId, refusal: Refusal, tries_left: Option<u8>) -> Failure {
    match refusal {
        Refusal::NoSuchCode => Failure::NoSuchCode,
        Refusal::Wrong => Failure::WrongCode { tries_left: tries_left.unwrap_or(0) },
        Refusal::Burned => Failure::Burned,
        Refusal::Expired => Failure::Expired,
        Refusal::Busy => Failure::Busy,
        Refusal::KeyRevoked => Failure::KeyRevoked { host },
        Refusal::Version => Failure::Version,
        Refusal::Rejected => Failure::Rejected,
        Refusal::BadMessage => Failure::BadMessage,
    }
}
