//! The host's side of pairing: one code, one joiner, three wrong guesses.
//!
//! ```text
//! Open --right code--> Asking --yes--> Concluding --ack--> Closed
//!   | \--three wrong codes--\   \--no, silence, gone--\
//!   \--code expires----------+-------------------------+--> Closed
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use serde_bytes::{ByteArray, ByteBuf};

use super::message::{
    Ack, Await, ConfirmH, ConfirmJ, Decision, Hello, MESSAGE_BYTES_MAX, Offer, Refusal, Request, Response,
    ShareH, ShareJ,
};
use super::pake::Pake;
use super::{
    ANSWER_TIME_MAX, CheckNumber, GUESSES_MAX, Keys, LIFETIME_MAX, LIFETIME_MIN, ONCE_SECONDS, Paired,
    RUNS_MAX, STEP_TIME_MAX, Side, Transcript, Verdict, VerdictError, commitment, password,
};
use crate::card::Card;
use crate::cbor;
use crate::code::{Code, Nameplate};
use crate::id::DeviceId;
use crate::random::{Random, draw};
use crate::stamp::UnixMillis;
use crate::trust::statement::{self, Body, Kind, RunId, Signed, Statement};
use crate::trust::{Role, Standing};

/// The caller's number for a request it has yet to answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// One open code: pairs with the first device that shows it knows the code and
/// that the person accepts.
///
/// Owns no socket and reads no clock; `now` counts from any fixed origin and
/// must also count while the machine sleeps. After every `handle_*` call, call
/// [`poll`](Self::poll) until it returns `None` and do what it says *in
/// order*, then wait for a request, the person or [`deadline`](Self::deadline).
///
/// Keep it for a while after it has closed: it then still tells people that
/// their code has expired or was used.
pub struct Host {
    identity: SigningKey,
    me: DeviceId,
    card: Vec<u8>,
    code: Code,
    expires_at: Duration,
    guesses_left: u8,
    state: State,
    outputs: VecDeque<Output>,
}

/// What the caller does next.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Show the person who wants in; pass the answer to [`Host::handle_answer`].
    AskUser {
        /// The device.
        guest: DeviceId,
        /// What it says about itself; safe to show.
        card: Card,
        /// The number that its screen must show too.
        check: CheckNumber,
    },
    /// Tell the person: somebody guessed.
    BadGuess {
        /// The device that did.
        from: DeviceId,
        /// Tries that the code has left.
        left: u8,
    },
    /// The window is closed; nothing follows.
    Closed {
        /// Why.
        closing: Closing,
    },
    /// The joiner has stored its side. Lower its role to this if it is weaker.
    Confirmed {
        /// The joiner.
        device: DeviceId,
        /// The role that it has stored.
        role: Role,
        /// Its word for this device; only for kin.
        statement: Option<Statement>,
    },
    /// Answer a request.
    Reply {
        /// Who asked.
        to: DeviceId,
        /// The request, as the caller named it.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// Trust the joiner: store this before doing what follows.
    Trust(Box<Paired>),
}

/// Why a window closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closing {
    /// Three wrong codes.
    Burned,
    /// Its time was over.
    Expired,
    /// The joiner left before it was admitted.
    GuestLeft,
    /// A device was paired.
    Paired,
    /// The person said no, or nothing in time.
    Rejected,
    /// The person took the code back.
    Withdrawn,
}

enum State {
    Open { runs: BTreeMap<RunId, Run> },
    Asking(Asking),
    Concluding { guest: DeviceId, run: RunId, role: Role, until: Duration },
    Closed(Closing),
}

/// An exchange with one joiner that has not shown yet that it knows the code.
struct Run {
    from: DeviceId,
    since: Duration,
    step: Step,
}

enum Step {
    Offered(Box<Offered>),
    Keyed(Keys),
}

struct Offered {
    nonce: [u8; 16],
    pake: Pake,
    salt: [u8; 32],
    commit: [u8; 32],
}

struct Asking {
    proven: Proven,
    until: Duration,
    answer: Option<(Verdict, UnixMillis)>,
    /// The joiner's open question and the most it asks for.
    waiting: Option<(RequestId, Role)>,
}

/// A joiner that has shown it knows the code.
///
/// Only the check of a proof makes one, so no later step can skip that check.
struct Proven {
    guest: DeviceId,
    run: RunId,
    card: Card,
}

/// How a confirmation failed.
enum Unproven {
    /// The proof does not fit: a guess.
    Guess,
    /// The proof fits and the rest makes no sense: not a guess, not a joiner.
    Nonsense,
}

impl Host {
    /// Opens a window for `code`; `lifetime` is brought within
    /// [`LIFETIME_MIN`] and [`LIFETIME_MAX`].
    pub fn new(identity: SigningKey, card: &Card, code: Code, lifetime: Duration, now: Duration) -> Self {
        let lifetime = lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX);
        Self {
            me: DeviceId(identity.verifying_key().to_bytes()),
            identity,
            card: cbor::encode(&card.cleaned()),
            code,
            expires_at: now.saturating_add(lifetime),
            guesses_left: GUESSES_MAX,
            state: State::Open { runs: BTreeMap::new() },
            outputs: VecDeque::new(),
        }
    }

    /// Which Hellos are meant for this window.
    pub fn nameplate(&self) -> Nameplate {
        self.code.nameplate()
    }

    /// The code, for the screen.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// When the code stops to be accepted.
    pub fn expires_at(&self) -> Duration {
        self.expires_at
    }

    /// Whether strangers may be let in for this window.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed(_))
    }

    /// Whether `request` from `from` belongs here: a Hello by its nameplate,
    /// anything else by its run.
    pub fn expects(&self, from: DeviceId, request: &Request) -> bool {
        match (request.run(), &self.state) {
            (None, _) => request.nameplate() == Some(self.nameplate()),
            (Some(run), State::Open { runs }) => runs.get(run).is_some_and(|open| open.from == from),
            (Some(run), State::Asking(asking)) => asking.proven.guest == from && asking.proven.run == *run,
            (Some(run), State::Concluding { guest, run: concluding, .. }) => {
                *guest == from && concluding == run
            }
            (Some(_), State::Closed(_)) => false,
        }
    }

    /// Handles a request by `from`, whose key the transport has proven and
    /// whose `standing` is that of this moment.
    ///
    /// Every request is answered by one [`Output::Reply`]; an Await only when
    /// the person has decided.
    pub fn handle_request(
        &mut self,
        from: DeviceId,
        standing: Standing,
        id: RequestId,
        request: Request,
        now: Duration,
        random: &mut Random<'_>,
    ) {
        self.handle_timeout(now);
        let reply = match request {
            Request::Hello(hello) => Some(self.hello(from, standing, &hello, now, random)),
            Request::ShareJ(share) => Some(self.share(from, &share, now)),
            Request::ConfirmJ(confirm) => Some(self.confirm(from, &confirm, now)),
            Request::Await(wait) => self.wait(from, id, &wait, now),
            Request::Ack(ack) => Some(self.ack(from, &ack)),
        };
        if let Some(response) = reply {
            // Closing comes after the answer that causes it.
            let at = self.outputs.iter().position(|output| matches!(output, Output::Closed { .. }));
            let reply = Output::Reply { to: from, request: id, response };
            self.outputs.insert(at.unwrap_or(self.outputs.len()), reply);
        }
    }

    /// Handles the person's answer, given at `at` by the wall clock (for
    /// display only). Ignored when nobody waits for one.
    ///
    /// # Errors
    ///
    /// The verdict is more than a message can say; the joiner still waits.
    pub fn handle_answer(
        &mut self,
        verdict: Verdict,
        at: UnixMillis,
        now: Duration,
    ) -> Result<(), VerdictError> {
        verdict.check()?;
        self.handle_timeout(now);
        let State::Asking(asking) = &mut self.state else {
            return Ok(());
        };
        if asking.answer.is_none() {
            asking.answer = Some((verdict, at));
            asking.until = asking.until.min(now.saturating_add(STEP_TIME_MAX));
            self.conclude(now);
        }
        Ok(())
    }

    /// Handles the loss of the last connection to a device: its runs end, and
    /// if the person was being asked about it, nothing is stored.
    pub fn handle_disconnect(&mut self, from: DeviceId) {
        match &mut self.state {
            State::Open { runs } => runs.retain(|_, run| run.from != from),
            State::Asking(asking) if asking.proven.guest == from => {
                asking.waiting = None;
                self.close(Closing::GuestLeft);
            }
            State::Concluding { guest, .. } if *guest == from => self.close(Closing::Paired),
            State::Asking(_) | State::Concluding { .. } | State::Closed(_) => {}
        }
    }

    /// Ends whatever is overdue. Early and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        match &mut self.state {
            State::Open { .. } if now >= self.expires_at => self.close(Closing::Expired),
            State::Open { runs } => runs.retain(|_, run| now < run.until()),
            State::Asking(asking) if now >= asking.until => {
                // Silence is no; a yes that nobody came to hear trusts nobody.
                let closing = if asking.answer.is_some() { Closing::GuestLeft } else { Closing::Rejected };
                self.close(closing);
            }
            State::Concluding { until, .. } if now >= *until => self.close(Closing::Paired),
            State::Asking(_) | State::Concluding { .. } | State::Closed(_) => {}
        }
    }

    /// Takes the code back.
    pub fn handle_withdrawal(&mut self) {
        match self.state {
            State::Closed(_) => {}
            State::Concluding { .. } => self.close(Closing::Paired),
            State::Open { .. } | State::Asking(_) => self.close(Closing::Withdrawn),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Open { runs } => runs.values().map(Run::until).chain([self.expires_at]).min(),
            State::Asking(asking) => Some(asking.until),
            State::Concluding { until, .. } => Some(*until),
            State::Closed(_) => None,
        }
    }

    fn hello(
        &mut self,
        from: DeviceId,
        standing: Standing,
        hello: &Hello,
        now: Duration,
        random: &mut Random<'_>,
    ) -> Response {
        if hello.version != 1 {
            return refuse(Refusal::Version);
        }
        if Nameplate::parse(&hello.nameplate) != Some(self.nameplate()) {
            return refuse(Refusal::NoSuchCode);
        }
        let State::Open { runs } = &mut self.state else {
            return refuse(self.late());
        };
        if from == self.me {
            return refuse(Refusal::BadMessage);
        }
        if standing.is_dead() {
            return refuse(Refusal::KeyRevoked);
        }
        if runs.len() >= RUNS_MAX {
            // A run that has a key may be a person at work; one that has not
            // costs its joiner nothing to begin again.
            let idle = runs.iter().filter(|(_, run)| matches!(run.step, Step::Offered(_)));
            let Some(oldest) = idle.min_by_key(|(_, run)| run.since).map(|(id, _)| *id) else {
                return refuse(Refusal::Busy);
            };
            runs.remove(&oldest);
        }
        let run = RunId::new(draw(random));
        let salt = draw(random);
        let pake = Pake::start(Side::Host, &password(&self.code), from, self.me, random);
        let commit = commitment(&run, &hello.nonce, pake.share(), &salt);
        let offered = Offered { nonce: *hello.nonce, pake, salt, commit };
        runs.insert(run, Run { from, since: now, step: Step::Offered(Box::new(offered)) });
        let seconds_left = self.expires_at.saturating_sub(now).as_secs();
        Response::Offer(Offer { run, commit: ByteArray::new(commit), seconds_left })
    }

    fn share(&mut self, from: DeviceId, share: &ShareJ, now: Duration) -> Response {
        let host = self.me;
        let run = match self.take_run(from, &share.run) {
            Ok(run) => run,
            Err(refusal) => return refuse(refusal),
        };
        let Step::Offered(offered) = run.step else {
            return refuse(Refusal::BadMessage);
        };
        let Offered { nonce, pake, salt, commit } = *offered;
        let host_share = *pake.share();
        let Ok(shared) = pake.finish(&share.share) else {
            return refuse(Refusal::BadMessage);
        };
        let transcript = Transcript {
            run: share.run,
            nonce,
            joiner: from,
            host,
            commit,
            joiner_share: *share.share,
            host_share,
            salt,
        };
        let keys = Keys::derive(&shared, transcript.hash());
        if let State::Open { runs } = &mut self.state {
            runs.insert(share.run, Run { from, since: now, step: Step::Keyed(keys) });
        }
        Response::ShareH(ShareH { share: ByteArray::new(host_share), salt: ByteArray::new(salt) })
    }

    fn confirm(&mut self, from: DeviceId, confirm: &ConfirmJ, now: Duration) -> Response {
        // Taken out first: a run has one shot.
        let run = match self.take_run(from, &confirm.run) {
            Ok(run) => run,
            Err(refusal) => return refuse(refusal),
        };
        let Step::Keyed(keys) = run.step else {
            return refuse(Refusal::BadMessage);
        };
        let proven = match prove(from, &keys, confirm) {
            Ok(proven) => proven,
            Err(Unproven::Nonsense) => return refuse(Refusal::BadMessage),
            Err(Unproven::Guess) => {
                self.guesses_left = self.guesses_left.saturating_sub(1);
                let left = self.guesses_left;
                self.outputs.push_back(Output::BadGuess { from, left });
                if left == 0 {
                    self.close(Closing::Burned);
                }
                return Response::Refuse { refusal: Refusal::Wrong, tries_left: Some(left) };
            }
        };
        let ask = Output::AskUser { guest: from, card: proven.card.clone(), check: keys.check };
        self.outputs.push_back(ask);
        let until = now.saturating_add(ANSWER_TIME_MAX);
        self.state = State::Asking(Asking { proven, until, answer: None, waiting: None });
        Response::ConfirmH(ConfirmH {
            proof: ByteArray::new(keys.proof(Side::Host, &self.card)),
            signature: ByteArray::new(self.identity.sign(&keys.to_sign(Side::Host, &self.card)).to_bytes()),
            card: ByteBuf::from(self.card.clone()),
        })
    }

    /// The answer is `None` while the person thinks.
    fn wait(&mut self, from: DeviceId, id: RequestId, wait: &Await, now: Duration) -> Option<Response> {
        let refusal = match &mut self.state {
            State::Asking(asking) if asking.proven.guest == from && asking.proven.run == wait.run => {
                if asking.waiting.is_none() {
                    asking.waiting = Some((id, wait.role));
                    self.conclude(now);
                    return None;
                }
                Refusal::BadMessage
            }
            State::Closed(closing) => refusal_after(*closing),
            State::Open { .. } | State::Asking(_) | State::Concluding { .. } => Refusal::BadMessage,
        };
        Some(refuse(refusal))
    }

    fn ack(&mut self, from: DeviceId, ack: &Ack) -> Response {
        let State::Concluding { guest, run, role, .. } = &self.state else {
            return refuse(Refusal::BadMessage);
        };
        if *guest != from || *run != ack.run {
            return refuse(Refusal::BadMessage);
        }
        let role = (*role).min(ack.role);
        let statement = match (role, &ack.statement) {
            (Role::Kin, Some(statement)) if vouches(statement, from, self.me, run) => Some(statement.clone()),
            (Role::Kin, _) => return refuse(Refusal::BadMessage),
            (Role::Once | Role::Guest, _) => None,
        };
        self.outputs.push_back(Output::Confirmed { device: from, role, statement });
        self.close(Closing::Paired);
        Response::Done
    }

    /// Tells the joiner once both the person and the joiner have spoken.
    fn conclude(&mut self, now: Duration) {
        let State::Asking(asking) = &mut self.state else {
            return;
        };
        let Some((verdict, at)) = &asking.answer else {
            return;
        };
        let Some((request, wish)) = asking.waiting else {
            if *verdict == Verdict::Reject {
                self.close(Closing::Rejected);
            }
            return;
        };
        let (at, verdict) = (*at, verdict.clone().limited_to(wish));
        let Proven { guest, run, card } = &asking.proven;
        let (guest, run, card) = (*guest, *run, card.clone());
        asking.waiting = None;
        let Some(role) = verdict.role() else {
            let response = Response::Decision(Decision { run, verdict, statement: None });
            self.outputs.push_back(Output::Reply { to: guest, request, response });
            return self.close(Closing::Rejected);
        };
        let ours = (role == Role::Kin).then(|| vouch(&self.identity, guest, run, &card.label, at));
        let (domains, once_seconds) = limits(&verdict);
        let paired =
            Paired { device: guest, card, role, domains, once_seconds, ours: ours.clone(), theirs: None };
        self.outputs.push_back(Output::Trust(Box::new(paired)));
        let response = Response::Decision(Decision { run, verdict, statement: ours });
        self.outputs.push_back(Output::Reply { to: guest, request, response });
        self.state = State::Concluding { guest, run, role, until: now.saturating_add(STEP_TIME_MAX) };
    }

    /// Takes a run out of the window, if it is that peer's. Another peer's
    /// message must not end it.
    fn take_run(&mut self, from: DeviceId, run: &RunId) -> Result<Run, Refusal> {
        let State::Open { runs } = &mut self.state else {
            return Err(self.late());
        };
        match runs.get(run) {
            Some(open) if open.from == from => runs.remove(run).ok_or(Refusal::BadMessage),
            _ => Err(Refusal::BadMessage),
        }
    }

    /// What somebody hears who comes after the window has closed.
    fn late(&self) -> Refusal {
        match &self.state {
            State::Open { .. } => Refusal::BadMessage,
            State::Asking(_) | State::Concluding { .. } => Refusal::Burned,
            State::Closed(Closing::Rejected) => Refusal::Burned,
            State::Closed(closing) => refusal_after(*closing),
        }
    }

    fn close(&mut self, closing: Closing) {
        if let State::Asking(Asking { waiting: Some((request, _)), proven, .. }) = &self.state {
            let response = refuse(refusal_after(closing));
            self.outputs.push_back(Output::Reply { to: proven.guest, request: *request, response });
        }
        self.state = State::Closed(closing);
        self.outputs.push_back(Output::Closed { closing });
    }
}

impl Run {
    fn until(&self) -> Duration {
        self.since.saturating_add(STEP_TIME_MAX)
    }
}

/// Shows the nameplate, which is public, and nothing of the code.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Open { .. } => "open",
            State::Asking(_) => "asking",
            State::Concluding { .. } => "concluding",
            State::Closed(_) => "closed",
        };
        f.debug_struct("Host")
            .field("nameplate", &self.nameplate())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

fn refuse(refusal: Refusal) -> Response {
    Response::Refuse { refusal, tries_left: None }
}

fn refusal_after(closing: Closing) -> Refusal {
    match closing {
        Closing::Burned | Closing::GuestLeft | Closing::Paired => Refusal::Burned,
        Closing::Expired => Refusal::Expired,
        Closing::Rejected => Refusal::Rejected,
        Closing::Withdrawn => Refusal::NoSuchCode,
    }
}

/// D11: the proof comes first, so that nothing else can be tried for free.
fn prove(guest: DeviceId, keys: &Keys, confirm: &ConfirmJ) -> Result<Proven, Unproven> {
    if !keys.holds(Side::Joiner, &confirm.card, &confirm.proof) {
        return Err(Unproven::Guess);
    }
    let signed = keys.to_sign(Side::Joiner, &confirm.card);
    statement::verify(&guest, &signed, &confirm.signature).map_err(|_| Unproven::Nonsense)?;
    let card: Card = cbor::decode(&confirm.card, MESSAGE_BYTES_MAX).map_err(|_| Unproven::Nonsense)?;
    let card = card.accept().map_err(|_| Unproven::Nonsense)?;
    Ok(Proven { guest, run: confirm.run, card })
}

/// One device's signed word for another, bound to the run it was made in.
pub(super) fn vouch(
    key: &SigningKey,
    subject: DeviceId,
    run: RunId,
    label: &str,
    at: UnixMillis,
) -> Statement {
    let by = DeviceId(key.verifying_key().to_bytes());
    let body = Body { run, label: label.to_owned(), ..Body::new(Kind::Kin, subject, by, at) };
    Statement::new(Signed::sign(&body, key), None)
}

/// Whether a statement is `by`'s word for `subject`, made in this run.
pub(super) fn vouches(statement: &Statement, by: DeviceId, subject: DeviceId, run: &RunId) -> bool {
    statement.signed().verify().is_ok_and(|body| {
        body.kind == Kind::Kin && body.by == by && body.subject == subject && body.run == *run
    })
}

/// The limits that a verdict sets besides the role.
pub(super) fn limits(verdict: &Verdict) -> (Option<Vec<String>>, u64) {
    match verdict {
        Verdict::Once { seconds, domains } => (domains.clone(), *seconds),
        Verdict::Guest { domains } => (domains.clone(), ONCE_SECONDS),
        Verdict::Kin | Verdict::Reject => (None, ONCE_SECONDS),
    }
}
