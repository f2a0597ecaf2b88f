//! The steps of passes and pushes: protocol on the store, without a network.
//!
//! Each function is one step of blocking work. What a step commits, it has
//! committed when it returns; a step that never runs leaves nothing behind.

mod served;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kinsync_protocol::fault::PeerFault;
use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::id::{DeviceId, DeviceTag, DomainId};
use kinsync_protocol::item::key_hash;
use kinsync_protocol::record::Record;
use kinsync_protocol::session::{DomainOutcome, Outcome, Session, SessionError, Step};
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::sums::Nonce;
use kinsync_protocol::trust::{Action, Standing};
use kinsync_protocol::wire::compress;
use kinsync_protocol::wire::frame::{Frame, Push, Refusal, Request, Response};
use kinsync_store::{Applied, Job, ReadError, Sharing, Store, WriteError};
use thiserror::Error;

use served::Served;
use shared::Shared;

/// Rows that a push carries at most. More go by a pass, which asks first.
pub const PUSH_ROWS_MAX: usize = 256;

/// Bytes of values that a push carries at most.
pub const PUSH_BYTES_MAX: usize = 256 << 10;

/// Why a step failed. Nothing that was committed before is undone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PassError {
    /// The peer broke the protocol; trying again needs another version of it.
    #[error("the peer broke the protocol")]
    Peer(#[from] PeerFault),
    /// The peer said no.
    #[error("the peer refused: {0:?}")]
    Refused(Refusal),
    /// What this device grants the peer is not what it told it when the pass
    /// began; the next one tells it.
    #[error("what the peer may do has changed since the pass began")]
    GrantsChanged,
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The store's sums and indexes do not fit its records.
    #[error("the store does not hold together: {0} faults")]
    Unsound(usize),
    /// The store did not take what came.
    #[error("the store did not take what came")]
    Write(#[from] WriteError),
}

impl From<SessionError<ReadError>> for PassError {
    fn from(error: SessionError<ReadError>) -> Self {
        match error {
            SessionError::Store(error) => Self::Read(error),
            SessionError::Peer(fault) => Self::Peer(fault),
            // The enum grows only with the protocol version that we speak.
            _ => Self::Peer(PeerFault::Unexpected { what: "message" }),
        }
    }
}

/// A session, and what it has given the store last.
#[derive(Debug)]
pub struct Pass {
    session: Session,
    /// What the store is taking in, while the other side prepares what follows.
    applying: Option<Applying>,
}

/// Batches that the store was given.
#[derive(Debug)]
struct Applying {
    answer: Receiver<Result<Applied, WriteError>>,
    /// Whether they hold records, and not cursors alone.
    records: bool,
}

impl Pass {
    fn new(session: Session) -> Self {
        Self { session, applying: None }
    }

    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        self.session.outcome()
    }

    /// Hands batches to the store's writer, after those before them are
    /// applied. Of a pass that ends here, they are applied all the same.
    fn apply(&mut self, store: &Store, batches: Vec<Batch>, now: UnixMillis) -> Result<(), PassError> {
        self.wait()?;
        let (reply, answer) = channel();
        let records = batches.iter().any(|batch| !batch.records.is_empty());
        let job = Job::apply_in(Some(self.session.id()), self.session.peer(), batches, now);
        store.submit_in_line(job, move |result| {
            // Nobody waits only if the pass has ended.
            let _ = reply.send(result);
        });
        self.applying = Some(Applying { answer, records });
        Ok(())
    }

    /// Waits until the store has all that it was given.
    fn wait(&mut self) -> Result<(), PassError> {
        let Some(Applying { answer, records }) = self.applying.take() else { return Ok(()) };
        match answer.recv().unwrap_or(Err(WriteError::Closed)) {
            // A store that cannot write gives what it has all the same. The
            // next session finds the cursors again.
            Err(WriteError::DiskFull | WriteError::Poisoned { .. }) if !records => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}

/// What follows a step of a pass that this device opened.
#[derive(Debug)]
pub enum Advance {
    /// Send this and go on with the answer.
    Next(Box<Pass>, Vec<u8>),
    /// The pass is over.
    Ended(Outcome),
}

/// What follows a request that a peer made.
#[derive(Debug)]
pub struct Answered {
    /// What to answer.
    pub response: Vec<u8>,
    /// The number of the pass that the request was part of, and how it
    /// stands.
    pub outcome: Option<(u64, Outcome)>,
    /// What went wrong, if something did.
    pub error: Option<PassError>,
}

/// Requests of one peer that are here at the same time, waiting or worked on:
/// as many as an honest one has under way. More are refused as busy.
pub const ANSWERING_MAX: usize = 8;

impl Answered {
    /// An answer that is part of no pass.
    fn nothing(response: &Response) -> Self {
        Self { response: response.encode(), outcome: None, error: None }
    }
}

/// Sessions that one peer may have open here: a pass, a comparison, and as
/// many again that it has given up without saying so.
pub const SESSIONS_PER_PEER_MAX: usize = 4;

/// What peers have under way here: the sessions that they have opened, and what
/// they say they push to others.
///
/// A step takes its session out and puts it back, so two steps of one session
/// never run at once.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<BTreeMap<DeviceId, Vec<Pass>>>,
    /// Devices whose passes have to wait for this device's.
    after: Mutex<BTreeSet<DeviceId>>,
    served: Mutex<Served>,
}

impl Sessions {
    /// Drops what a device has open. A step that is running is not stopped by
    /// this: the store asks for trust again before it commits.
    pub fn forget(&self, device: DeviceId) {
        self.lock().remove(&device);
    }

    /// Whether this device's pass with `device` goes before any that `device`
    /// opens: those are told to come back.
    pub fn go_first(&self, device: DeviceId, first: bool) {
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        if first {
            after.insert(device);
        } else {
            after.remove(&device);
        }
    }

    fn goes_first(&self, device: DeviceId) -> bool {
        self.after.lock().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    fn take(&self, device: DeviceId, id: u64) -> Option<Pass> {
        let mut open = self.lock();
        let passes = open.get_mut(&device)?;
        let index = passes.iter().position(|pass| pass.session.id() == id)?;
        Some(passes.remove(index))
    }

    fn put(&self, pass: Pass) {
        let mut open = self.lock();
        let passes = open.entry(pass.session.peer()).or_default();
        if passes.len() == SESSIONS_PER_PEER_MAX {
            passes.remove(0);
        }
        passes.push(pass);
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Vec<Pass>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a device may lack of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct News {
    /// Which domain.
    pub domain: DomainId,
    /// The position of the own log that the device has taken in.
    pub acked: u64,
    /// The position up to which there is nothing to push to it, `acked` or a
    /// later one.
    pub after: u64,
    /// Other devices that this one pushes the domain to.
    pub beside: Vec<DeviceId>,
}

/// What there is to push.
#[derive(Debug, Eq, PartialEq)]
pub enum Pushing {
    /// Nothing up to this position of the log: the peer has it.
    Nothing(u64),
    /// Nothing up to this position of the log: the peer has it, or somebody
    /// else sends it.
    Left(u64),
    /// Too much, or the log does not reach back that far.
    NeedsPass,
    /// This, which ends at this position of the log.
    Send(Vec<u8>, u64),
}

/// Recomputes every sum and index of the store, so that a pass that follows
/// compares what is really there. Reads all of it.
pub fn check(store: &Store) -> Result<(), PassError> {
    let report = store.read(kinsync_store::StoreSnapshot::check)?;
    if report.is_sound() { Ok(()) } else { Err(PassError::Unsound(report.faults.len())) }
}

/// Opens a pass with `peer`. `id` and `nonce` are fresh random numbers.
pub fn open(
    store: &Store,
    peer: DeviceId,
    id: u64,
    nonce: Nonce,
    compare: bool,
) -> Result<(Box<Pass>, Vec<u8>), PassError> {
    let mut session = Session::initiate(peer, id, nonce, compare);
    let frame = shared(store, peer, |snapshot| Ok(session.open(snapshot)?))?;
    Ok((Box::new(Pass::new(session)), Request::Exchange(frame).encode()))
}

/// Takes in the answer to the last frame of a pass and makes the next one. A
/// pass that was not refused goes first from here on.
pub fn advance(
    store: &Store,
    sessions: &Sessions,
    mut pass: Box<Pass>,
    answer: &[u8],
    now: UnixMillis,
) -> Result<Advance, PassError> {
    let frame = match Response::decode(answer).map_err(PeerFault::from)? {
        Response::Exchange(frame) => frame,
        Response::Refuse(refusal) => return Err(PassError::Refused(refusal)),
        Response::Pushed { .. } | _ => return Err(PeerFault::Unexpected { what: "answer" }.into()),
    };
    if !pass.session.compares() {
        sessions.go_first(pass.session.peer(), true);
    }
    let step = step(store, &mut pass, frame, now)?;
    Ok(match step.frame {
        Some(frame) => {
            let records = domains_of_records(&pass.session, &frame);
            let message = compressed(store, records, Request::Exchange(frame).encode());
            Advance::Next(pass, message)
        }
        None => Advance::Ended(pass.outcome()),
    })
}

/// Answers a request of `peer`, whatever comes of it.
pub fn answer(
    store: &Store,
    sessions: &Sessions,
    peer: DeviceId,
    request: &[u8],
    now: UnixMillis,
) -> Answered {
    // Nothing is left half done: a step commits all of its work or none.
    let step = AssertUnwindSafe(|| answer_step(store, sessions, peer, request, now));
    catch_unwind(step).unwrap_or_else(|_| Answered::nothing(&Response::Refuse(Refusal::NoStore)))
}

fn answer_step(
    store: &Store,
    sessions: &Sessions,
    peer: DeviceId,
    request: &[u8],
    now: UnixMillis,
) -> Answered {
    let answered = match Request::decode(request) {
        Ok(Request::Exchange(frame)) => exchange(store, sessions, peer, frame, now),
        Ok(Request::Push(push)) => take_push(store, sessions, peer, push, now)
            .map(|in_order| Answered::nothing(&Response::Pushed { in_order })),
        Ok(_) => Err(PeerFault::Unexpected { what: "request" }.into()),
        Err(error) => Err(PeerFault::from(error).into()),
    };
    answered.unwrap_or_else(|error| {
        let refused = Answered::nothing(&Response::Refuse(refusal(&error)));
        Answered { error: Some(error), ..refused }
    })
}

fn exchange(
    store: &Store,
    sessions: &Sessions,
    peer: DeviceId,
    frame: Frame,
    now: UnixMillis,
) -> Result<Answered, PassError> {
    if sessions.goes_first(peer) && frame.hello.as_ref().is_some_and(|hello| !hello.compare) {
        return Ok(Answered::nothing(&Response::Refuse(Refusal::Busy)));
    }
    // A Hello always begins anew, also under a number that is in use.
    let mut pass = match (sessions.take(peer, frame.session), &frame.hello) {
        (_, Some(_)) => Pass::new(Session::respond(peer, &frame)?),
        (Some(pass), None) => pass,
        (None, None) => return Err(PassError::Refused(Refusal::NoSession)),
    };
    let step = step(store, &mut pass, frame, now)?;
    let frame = step.frame.ok_or(PassError::Refused(Refusal::NoSession))?;
    let outcome = (!pass.session.compares()).then(|| (pass.session.id(), pass.outcome()));
    let records = domains_of_records(&pass.session, &frame);
    let response = compressed(store, records, Response::Exchange(frame).encode());
    sessions.put(pass);
    Ok(Answered { response, outcome, error: None })
}

/// The domains whose records a frame holds.
fn domains_of_records(session: &Session, frame: &Frame) -> Vec<DomainId> {
    let parts = frame.parts.iter().filter(|part| !part.records.is_empty());
    parts.filter_map(|part| session.domain(part.domain)).collect()
}

/// The message, compressed if none of the records is one that has to be asked
/// for: how well those compress beside others must tell nobody what they are.
fn compressed(store: &Store, records: impl IntoIterator<Item = DomainId>, message: Vec<u8>) -> Vec<u8> {
    let free = records.into_iter().all(|domain| store.sharing(domain) == Sharing::Free);
    if free { compress(message) } else { message }
}

fn step(store: &Store, pass: &mut Pass, frame: Frame, now: UnixMillis) -> Result<Step, PassError> {
    let peer = pass.session.peer();
    let batches = shared(store, peer, |snapshot| Ok(pass.session.take(frame, snapshot)?))?;
    if !batches.is_empty() {
        pass.apply(store, batches, now)?;
    }
    // While the store takes this in, the other side prepares what follows.
    if !pass.session.goes_on() {
        pass.wait()?;
    }
    let session = &mut pass.session;
    let (step, guarded) = shared(store, peer, |snapshot| {
        // The other side was told what it may do. Once that is not so any more
        // it has to be told anew, before anything else is said.
        let outcome = session.outcome();
        // Why is no matter: of a domain that it did not name, a device has said
        // no more than of all others. A hold that has ended meanwhile makes
        // nobody promise too much.
        let told = |domain: &DomainOutcome| {
            let (now, told) = (snapshot.grants(peer, domain.domain), domain.ours);
            Grants { why: told.why, ..now } == told || told.why == Why::Held && now.and(told) == told
        };
        if !outcome.domains.iter().all(told) {
            return Err(PassError::GrantsChanged);
        }
        // Where the guard waits until both sides are equal.
        let mut guarded = snapshot.snapshot.lifted(peer)?;
        guarded.extend(snapshot.held.iter().copied());
        Ok((session.step(snapshot)?, guarded))
    })?;
    if !step.cursors.is_empty() {
        pass.apply(store, step.cursors.clone(), now)?;
        pass.wait()?;
    }
    let session = &pass.session;
    if !guarded.is_empty() {
        let equal = session.outcome().domains.into_iter().filter(|domain| domain.equal_at.is_some());
        let equal = equal.map(|domain| domain.domain).filter(|domain| guarded.contains(domain));
        let equal: Vec<_> = equal.collect();
        if !equal.is_empty() {
            store.write(Job::guard_again(peer, equal, now))?;
        }
    }
    Ok(step)
}

fn take_push(
    store: &Store,
    sessions: &Sessions,
    peer: DeviceId,
    push: Push,
    now: UnixMillis,
) -> Result<bool, PassError> {
    let Push { domain, epoch, previous, seq, records, served } = push;
    let (granted, cursor, is_kin) = shared(store, peer, |snapshot| {
        let is_kin = snapshot.view.standing(peer) == Standing::Kin;
        Ok((snapshot.grants(peer, domain).write, snapshot.cursor(peer, domain)?, is_kin))
    })?;
    if !granted {
        // The pass that follows tells the peer what is granted.
        return Ok(false);
    }
    // Before the commit, which is when the rows are looked at to be passed on.
    if is_kin {
        sessions.served().note(domain, &records, &served);
    }
    let follows = cursor == Some(Cursor { epoch, seq: previous, after: None });
    let cursor = follows.then_some(Cursor { epoch, seq, after: None });
    let applied = store.write(Job::apply(peer, vec![Batch { domain, records, cursor, floor: None }], now))?;
    Ok(follows && applied.held.is_empty())
}

fn refusal(error: &PassError) -> Refusal {
    match error {
        PassError::Peer(_) => Refusal::BadMessage,
        PassError::Refused(refusal) => *refusal,
        PassError::Write(WriteError::NotTrusted { .. }) => Refusal::NotTrusted,
        PassError::GrantsChanged | PassError::Write(WriteError::NotGranted { .. }) => Refusal::NoSession,
        PassError::Read(_) | PassError::Unsound(_) | PassError::Write(_) => Refusal::NoStore,
    }
}

/// What there is to push to `peer`: what did not come from it and what nobody
/// else sends it.
pub fn push(store: &Store, sessions: &Sessions, peer: DeviceId, news: &News) -> Result<Pushing, PassError> {
    let News { domain, acked, after, .. } = *news;
    shared(store, peer, |snapshot| {
        if !snapshot.grants(peer, domain).read {
            return Ok(Pushing::Nothing(after));
        }
        let rows = snapshot.log(domain, after, PUSH_ROWS_MAX + 1)?;
        let Some(last) = rows.last() else {
            return Ok(Pushing::Nothing(after));
        };
        // The peer compares this with its cursor, so it names what the cursor
        // counts from.
        let (seq, epoch) = (last.seq, snapshot.epoch_at(domain, acked)?);
        let (Some(epoch), Some(new_epoch)) = (epoch, snapshot.epoch_at(domain, seq)?) else {
            return Ok(Pushing::NeedsPass);
        };
        if rows.len() > PUSH_ROWS_MAX || epoch != new_epoch {
            return Ok(Pushing::NeedsPass);
        }
        // Who is kin of this device is the business of kin alone.
        let is_kin = |device: DeviceId| snapshot.view.standing(device) == Standing::Kin;
        let tell = is_kin(peer);
        let tag = |device: DeviceId| (tell && device != peer && is_kin(device)).then(|| device.tag());
        let beside: BTreeSet<_> = news.beside.iter().copied().filter_map(tag).collect();
        // Whoever gets each of the records without the receiver's help.
        let mut served: Option<BTreeSet<DeviceTag>> = None;
        let mut records: Vec<Record> = Vec::new();
        let (mut bytes, mut left) = (0, false);
        for item in rows.iter().filter(|item| item.from != Some(peer)) {
            let key = key_hash(domain, &item.key);
            let elsewhere = sessions.served().of(domain, key, &item.version);
            if elsewhere.contains(&peer.tag()) {
                left = true;
                continue;
            }
            bytes += item.version.bytes as usize;
            match snapshot.record(domain, key)? {
                Some(record) if bytes <= PUSH_BYTES_MAX => records.push(record),
                _ => return Ok(Pushing::NeedsPass),
            }
            if tell {
                let mut of_row = &beside | &elsewhere;
                of_row.extend(item.from.and_then(tag));
                served = Some(served.map_or_else(|| of_row.clone(), |served| &served & &of_row));
            }
        }
        if records.is_empty() {
            return Ok(if left { Pushing::Left(seq) } else { Pushing::Nothing(seq) });
        }
        let served = served.unwrap_or_default().into_iter().collect();
        let push = Push { domain, epoch, previous: acked, seq, records, served };
        Ok(Pushing::Send(compressed(store, [domain], Request::Push(push).encode()), seq))
    })
}

/// What a push achieved, by its answer.
pub fn pushed(answer: &[u8]) -> Result<bool, PassError> {
    match Response::decode(answer).map_err(PeerFault::from)? {
        Response::Pushed { in_order } => Ok(in_order),
        Response::Refuse(refusal) => Err(PassError::Refused(refusal)),
        Response::Exchange(_) | _ => Err(PeerFault::Unexpected { what: "answer to a push" }.into()),
    }
}

/// Reads what `peer` may see, by the trust that is on disk at this moment.
fn shared<T>(
    store: &Store,
    peer: DeviceId,
    read: impl FnOnce(&Shared<'_>) -> Result<T, PassError>,
) -> Result<T, PassError> {
    store.read(|snapshot| {
        let view = snapshot.trust_view()?;
        // Nobody but a visitor is let in without being known.
        let visits = view.standing(peer) == Standing::Stranger;
        if !visits && !view.may(peer, Action::Sync) {
            return Ok(Err(PassError::Refused(Refusal::NotTrusted)));
        }
        let held = snapshot.held()?.into_iter().filter(|held| held.peer == peer && held.is_whole);
        let held = held.map(|held| held.domain).collect();
        Ok(read(&Shared { snapshot, view, peer, visits, held }))
    })?
}

#[cfg(test)]
mod tests;
