//! One sync session: two devices exchange what differs until their roots are
//! equal.
//!
//! ```text
//!   initiator                                   responder
//!   Hello: roots, cursors        ------>
//!                                <------   Hello, and the news of its log
//!   news of its log, wants, Done ------>
//!                                <------   wanted records, Done
//!   roots still unequal: ranges  ------>
//!                                <------   ranges and leaves, in turns, until
//!                                          both say Done with equal roots
//! ```
//!
//! The roots judge, the cursors only make it fast, and ranges repair whatever
//! the cursors missed: first contact, a restored backup, a lost log. Both
//! sides run the same code per domain; the initiator opens, and decides when
//! to repair (spec §6).
//!
//! The Hellos also say what each side grants the other. A domain in which
//! records may go only one way ends when the side that may send has said all
//! and the other one has taken it in, whatever the roots say.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::fault::PeerFault;
use crate::grants::Grants;
use crate::id::{DeviceId, DomainId};
use crate::limits::{
    ANCESTRY_DEVICES_MAX, DOMAINS_MAX, FRAME_BYTES_MAX, FRAME_BYTES_TARGET, FRAME_DEVICES_MAX,
    FRAME_PARTS_MAX, FRAME_ROWS_MAX, SESSION_FRAMES_MAX, STORED_BYTES_MAX,
};
use crate::record::Record;
use crate::snapshot::{Batch, Cursor, Snapshot};
use crate::sums::{Nonce, root_print};
use crate::wire::Bounded;
use crate::wire::frame::{ByteArray16, Frame, Hello, HelloDomain, Part};

mod domain;
mod log;
mod repair;

use domain::Domain;

/// Which side of a session this device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Opened it.
    Initiator,
    /// Answers.
    Responder,
}

/// One side of a sync session.
///
/// Owns no socket and no store. For each frame that arrives: call
/// [`take`](Self::take), commit the batches it returns in order, then call
/// [`step`](Self::step) on a fresh snapshot and send the frame it returns.
/// While the other side [has more to say](Self::goes_on), the step need not wait
/// for the commit.
/// A session that is dropped half-way loses nothing: what was committed stays,
/// the cursors cover exactly that, and the next session goes on from there.
#[derive(Debug)]
pub struct Session {
    role: Role,
    peer: DeviceId,
    id: u64,
    nonce: Nonce,
    compare: bool,
    /// What this device grants where no domain is named, as the other side was
    /// told, and what the other side grants there.
    others: (Grants, Grants),
    domains: Vec<Domain>,
    frames: u32,
    /// Whether the last frame taken said anything.
    heard: bool,
    /// Whether the last frame taken was neither a Hello nor a last word.
    goes_on: bool,
    /// Frames taken in a row that said nothing.
    unheard: u32,
    finished: bool,
    received: u64,
    sent: u64,
}

/// Why a session ends early. Nothing that was committed is undone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError<E> {
    /// The other side broke the protocol.
    #[error("the peer broke the protocol")]
    Peer(#[from] PeerFault),
    /// The own store could not be read.
    #[error("the store could not be read")]
    Store(#[source] E),
}

/// What one step of a session yields.
#[derive(Debug, Default)]
pub struct Step {
    /// The frame to send; `None` once the initiator has finished.
    pub frame: Option<Frame>,
    /// Cursors and floors to store: both sides are known to be equal up to
    /// them. Losing them costs time, not data.
    pub cursors: Vec<Batch>,
}

/// How a session stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Records received, whether they were news or not.
    pub received: u64,
    /// Records sent.
    pub sent: u64,
    /// What this device grants the other one in the domains that are not
    /// listed, and what the other one grants there.
    pub others: (Grants, Grants),
    /// Each domain, and whether both sides have proven to hold the same.
    pub domains: Vec<DomainOutcome>,
}

/// How one domain stands in a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainOutcome {
    /// Which domain.
    pub domain: DomainId,
    /// The position of the own log up to which both sides have proven to hold
    /// the same; `None` if they have not.
    pub equal_at: Option<u64>,
    /// The position of the own log up to which the other side has all that it
    /// may have; `None` if that is not known, and where nothing may be sent.
    pub reached: Option<u64>,
    /// Whether all is done that both sides grant. A domain that is equal is.
    pub complete: bool,
    /// What this device grants the other one.
    pub ours: Grants,
    /// What the other one grants this device.
    pub theirs: Grants,
    /// Live records here when the other side announced its own.
    pub own_records: u64,
    /// Live records that the other side announced.
    pub their_records: u64,
    /// At most so many items have to come, as the Hellos say.
    pub to_pull: u64,
    /// At most so many items have to go, as the Hellos say.
    pub to_push: u64,
}

impl Outcome {
    /// Whether both sides have proven to hold the same in every domain.
    pub fn is_equal(&self) -> bool {
        self.domains.iter().all(|domain| domain.equal_at.is_some())
    }

    /// Whether nothing is left to do that both sides grant.
    pub fn is_complete(&self) -> bool {
        self.domains.iter().all(|domain| domain.complete)
    }
}

impl DomainOutcome {
    /// Whether this device may send records.
    pub fn may_send(&self) -> bool {
        self.ours.read && self.theirs.write
    }

    /// Whether this device may take records in.
    pub fn may_take(&self) -> bool {
        self.theirs.read && self.ours.write
    }

    /// Whether records may not go both ways, so that the two sides need not be
    /// equal.
    pub fn is_limited(&self) -> bool {
        !(self.may_send() && self.may_take())
    }
}

impl Session {
    /// A session that this device opens with `peer`.
    ///
    /// `id` and `nonce` are fresh random numbers. With `compare`, the session
    /// ends after the Hellos, whatever they say.
    pub fn initiate(peer: DeviceId, id: u64, nonce: Nonce, compare: bool) -> Self {
        Self::new(Role::Initiator, peer, id, nonce, compare)
    }

    /// The session that `peer` opens with `frame`, to be [taken](Self::take)
    /// next.
    pub fn respond(peer: DeviceId, frame: &Frame) -> Result<Self, PeerFault> {
        match &frame.hello {
            Some(hello) => Ok(Self::new(Role::Responder, peer, frame.session, hello.nonce, hello.compare)),
            None => Err(PeerFault::Unexpected { what: "first frame without a Hello" }),
        }
    }

    fn new(role: Role, peer: DeviceId, id: u64, nonce: Nonce, compare: bool) -> Self {
        Self {
            role,
            peer,
            id,
            nonce,
            compare,
            others: (Grants::ALL, Grants::ALL),
            domains: Vec::new(),
            frames: 0,
            heard: false,
            goes_on: false,
            unheard: 0,
            finished: false,
            received: 0,
            sent: 0,
        }
    }

    /// The session's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it ends after the Hellos.
    pub fn compares(&self) -> bool {
        self.compare
    }

    /// The other device.
    pub fn peer(&self) -> DeviceId {
        self.peer
    }

    /// The domain of a part.
    pub fn domain(&self, index: u16) -> Option<DomainId> {
        self.domains.get(usize::from(index)).map(|domain| domain.id)
    }

    /// How the session stands. Final once [`step`](Self::step) of the
    /// initiator gave no frame.
    pub fn outcome(&self) -> Outcome {
        let domains = self.domains.iter().map(Domain::outcome).collect();
        Outcome { received: self.received, sent: self.sent, others: self.others, domains }
    }

    /// The initiator's first frame.
    pub fn open<S: Snapshot>(&mut self, snapshot: &S) -> Result<Frame, SessionError<S::Error>> {
        self.others.0 = snapshot.other_grants(self.peer);
        let ids = self.own_domains(snapshot).map_err(SessionError::Store)?;
        let granted = |id| Domain::new(id, snapshot.grants(self.peer, id));
        self.domains = ids.into_iter().take(DOMAINS_MAX).map(granted).collect();
        self.frames = 1;
        Ok(Frame { session: self.id, hello: Some(self.hello(snapshot)?), parts: Vec::new() })
    }

    /// Whether the other side has more to say: the next [`step`](Self::step) may
    /// be made before what the last [`take`](Self::take) gave is committed, if
    /// that is so before the next one.
    ///
    /// Nothing is compared then. The roots that the step may tell are old, and
    /// whoever has more to say passes over them.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Takes in a frame. Commit the batches that it returns, in order, before
    /// the next [`step`](Self::step), or later if the other side
    /// [has more to say](Self::goes_on); if that fails, drop the session.
    pub fn take<S: Snapshot>(
        &mut self,
        frame: Frame,
        snapshot: &S,
    ) -> Result<Vec<Batch>, SessionError<S::Error>> {
        if frame.session != self.id {
            return Err(PeerFault::Unexpected { what: "frame of another session" }.into());
        }
        self.frames = self.frames.saturating_add(1);
        if self.frames > SESSION_FRAMES_MAX {
            return Err(PeerFault::TooMany { what: "frames in one session" }.into());
        }
        self.heard = frame.hello.is_some() || frame.parts.iter().any(|part| !part.is_empty());
        self.unheard = if self.heard { 0 } else { self.unheard.saturating_add(1) };
        let last_word = frame.parts.iter().any(|part| part.done.is_some());
        self.goes_on = frame.hello.is_none() && !frame.parts.is_empty() && !last_word;
        if let Some(hello) = frame.hello {
            self.meet(hello, snapshot)?;
        } else if self.domains.iter().any(|domain| !domain.met) {
            return Err(PeerFault::Unexpected { what: "frame before the Hello" }.into());
        }
        let mut batches: Vec<Batch> = self.domains.iter_mut().filter_map(Domain::higher_floor).collect();
        let mut seen = BTreeSet::new();
        for part in frame.parts {
            if !seen.insert(part.domain) {
                return Err(PeerFault::Unexpected { what: "second part for one domain" }.into());
            }
            let Some(domain) = self.domains.get_mut(usize::from(part.domain)) else {
                return Err(PeerFault::UnknownDomain { index: part.domain }.into());
            };
            self.received += part.records.len() as u64;
            batches.extend(domain.take(part, self.nonce, snapshot)?);
        }
        Ok(batches)
    }

    /// Gives the next frame, from a snapshot that shows everything taken so
    /// far.
    ///
    /// The responder always has one; the initiator's `None` ends the session.
    pub fn step<S: Snapshot>(&mut self, snapshot: &S) -> Result<Step, SessionError<S::Error>> {
        let mut step = Step::default();
        let hello = match self.role {
            Role::Responder if self.frames == 1 => Some(self.hello(snapshot)?),
            Role::Initiator | Role::Responder => None,
        };
        let mut frame = Frame { session: self.id, hello, parts: Vec::new() };
        let mut room = Room::default();
        if let Some(hello) = &frame.hello {
            room.spend(0, hello.domains.iter().map(hello_bytes).sum());
        }
        for (index, domain) in (0..).zip(&mut self.domains) {
            let judged =
                domain.judge(self.role, self.peer, self.nonce, snapshot).map_err(SessionError::Store)?;
            step.cursors.extend(judged);
            if self.compare || room.is_full() {
                continue;
            }
            let part = domain.fill(index, self.peer, self.nonce, snapshot, &mut room);
            let part = part.map_err(SessionError::Store)?;
            self.sent += part.records.len() as u64;
            if !part.is_empty() {
                room.spend_part();
                frame.parts.push(part);
            }
        }
        self.frames = self.frames.saturating_add(1);
        let says_more = frame.parts.iter().any(Part::says_more_than_done);
        let silent = !self.heard && (frame.parts.is_empty() || !says_more && self.unheard > 1);
        let settled = self.domains.iter().all(Domain::is_settled) && frame.parts.is_empty();
        // Two silent sides have nothing left to try, nor has one that only
        // repeats itself: the rest waits for the next session.
        if self.role == Role::Initiator && (self.compare || settled || silent || self.finished) {
            self.finished = true;
        } else {
            step.frame = Some(frame);
        }
        Ok(step)
    }

    /// The domains to name: those that hold an item and those in which not the
    /// same is granted as in all others, but not the names of those in which
    /// nothing is granted because that holds for all others.
    fn own_domains<S: Snapshot>(&self, snapshot: &S) -> Result<BTreeSet<DomainId>, S::Error> {
        let mut ids: BTreeSet<_> = snapshot.domains()?.into_iter().collect();
        let apart = |id: &DomainId| snapshot.grants(self.peer, *id) != self.others.0;
        ids.extend(snapshot.limited_domains(self.peer).into_iter().filter(apart));
        ids.retain(|id| !self.others.0.is_none() || !snapshot.grants(self.peer, *id).is_none());
        Ok(ids)
    }

    fn hello<S: Snapshot>(&mut self, snapshot: &S) -> Result<Hello, SessionError<S::Error>> {
        let mut domains = Vec::with_capacity(self.domains.len());
        for domain in &mut self.domains {
            let own = snapshot.root(domain.id).map_err(SessionError::Store)?;
            (domain.opened_at, domain.floor) = (own.head, own.floor);
            let root = domain.shown(own);
            let cursor = match domain.ours.write {
                true => snapshot.cursor(self.peer, domain.id).map_err(SessionError::Store)?,
                false => None,
            };
            domains.push(HelloDomain {
                domain: domain.id,
                print: ByteArray16::new(root_print(self.nonce, &root.summary)),
                items: root.summary.items,
                live: root.live,
                epoch: root.epoch,
                head: root.head,
                cursor: cursor.map(Into::into),
                grants: domain.ours,
                floor: domain.floor,
            });
        }
        let domains = Bounded::truncating(domains);
        Ok(Hello { nonce: self.nonce, compare: self.compare, others: self.others.0, domains })
    }

    /// Takes in the other side's Hello and decides how each domain starts.
    fn meet<S: Snapshot>(&mut self, hello: Hello, snapshot: &S) -> Result<(), SessionError<S::Error>> {
        if self.frames > 2 || self.domains.iter().any(|domain| domain.met) {
            return Err(PeerFault::Unexpected { what: "second Hello" }.into());
        }
        self.others.1 = hello.others;
        let theirs = hello.domains.into_inner();
        let distinct: BTreeSet<_> = theirs.iter().map(|theirs| theirs.domain).collect();
        if distinct.len() != theirs.len() {
            return Err(PeerFault::Unexpected { what: "domain named twice" }.into());
        }
        match self.role {
            Role::Initiator => {
                if hello.nonce != self.nonce {
                    return Err(PeerFault::Unexpected { what: "Hello with another nonce" }.into());
                }
                let same = theirs.iter().zip(&self.domains).all(|(theirs, own)| theirs.domain == own.id);
                if theirs.len() < self.domains.len() || !same {
                    return Err(PeerFault::Unexpected { what: "Hello with other domains" }.into());
                }
                let extra = theirs.iter().skip(self.domains.len());
                // They were told this of what was not named.
                self.domains.extend(extra.map(|theirs| Domain::new(theirs.domain, self.others.0)));
            }
            Role::Responder => {
                self.others.0 = snapshot.other_grants(self.peer);
                let own = self.own_domains(snapshot).map_err(SessionError::Store)?;
                let extra = own.into_iter().filter(|own| !distinct.contains(own));
                let all = theirs.iter().map(|theirs| theirs.domain).chain(extra);
                let granted = |id| Domain::new(id, snapshot.grants(self.peer, id));
                self.domains = all.take(DOMAINS_MAX).map(granted).collect();
                // The initiator holds nothing in what it did not name.
                let unnamed = self.domains.iter_mut().skip(theirs.len());
                for domain in unnamed {
                    let met = domain.meet_nothing(hello.others, self.peer, self.nonce, snapshot);
                    met.map_err(SessionError::Store)?;
                }
            }
        }
        for (domain, theirs) in self.domains.iter_mut().zip(theirs) {
            domain.meet(theirs, self.peer, self.nonce, snapshot).map_err(SessionError::Store)?;
        }
        Ok(())
    }
}

/// The room left in a frame.
#[derive(Debug)]
struct Room {
    bytes: usize,
    rows: usize,
    parts: usize,
    /// Devices that the frame names so far.
    devices: BTreeSet<DeviceId>,
}

impl Default for Room {
    fn default() -> Self {
        // Half of the rows a frame may hold: a domain that starts below the
        // mark may overshoot by one page.
        Self {
            bytes: FRAME_BYTES_TARGET,
            rows: FRAME_ROWS_MAX / 2,
            parts: FRAME_PARTS_MAX,
            devices: BTreeSet::new(),
        }
    }
}

impl Room {
    fn is_full(&self) -> bool {
        // Somebody may have made up authors, to fill frames with their names
        // that nobody can read.
        let named_out = self.devices.len() + ANCESTRY_DEVICES_MAX >= FRAME_DEVICES_MAX;
        self.bytes == 0 || self.rows == 0 || self.parts == 0 || named_out
    }

    fn spend(&mut self, rows: usize, bytes: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Makes room for one more part.
    fn spend_part(&mut self) {
        self.parts = self.parts.saturating_sub(1);
    }

    /// Makes room for the name of a device.
    fn spend_name(&mut self, device: DeviceId) {
        self.devices.insert(device);
    }

    fn spend_record(&mut self, record: &Record) {
        /// Stamp, author and the CBOR around a record, rounded up.
        const AROUND: usize = 24;
        let value = record.value.as_ref().map_or(0, Vec::len);
        let seen = record.version.seen.entries().len() * 12;
        self.spend(1, AROUND + record.key.as_str().len() + value + seen);
        self.spend_name(record.version.stamp.device);
        self.devices.extend(record.version.seen.entries().iter().map(|(device, _)| *device));
    }

    /// Whether a record fits beside what the frame holds already. Into a frame
    /// that is nearly empty every record fits: the limit of a frame is a whole
    /// value and [`AROUND_A_VALUE`] more.
    fn takes(&self, record: &Record) -> bool {
        let bytes = record.value.as_ref().map_or(0, Vec::len);
        !self.is_full() && (bytes <= self.bytes || self.bytes + AROUND_A_VALUE / 2 >= FRAME_BYTES_TARGET)
    }
}

/// Whether storing `cursor` says anything new.
fn moves<S: Snapshot>(
    snapshot: &S,
    peer: DeviceId,
    domain: DomainId,
    cursor: &Cursor,
) -> Result<bool, S::Error> {
    Ok(snapshot.cursor(peer, domain)?.as_ref() != Some(cursor))
}

/// The length of a domain in a Hello, rounded up.
fn hello_bytes(domain: &HelloDomain) -> usize {
    /// Two byte strings of 16, six numbers of 8, one of 4 and one of 1, each
    /// with its head.
    const FIXED: usize = 2 * 17 + 6 * 9 + 5 + 2 + 4;
    let after = domain.cursor.as_ref().and_then(|cursor| cursor.after.as_ref());
    FIXED + after.map_or(0, |key| key.as_str().len() + 3)
}

/// What a frame may hold beside one value of the largest size.
const AROUND_A_VALUE: usize = FRAME_BYTES_MAX - STORED_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Floor;
    use crate::record::Key;
    use crate::stamp::{Ancestry, Hlc, Stamp};

    fn device(n: usize) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        DeviceId(bytes)
    }

    /// A record whose authors nobody has heard of.
    fn made_up(n: usize, value: usize) -> Record {
        let first = n * (ANCESTRY_DEVICES_MAX + 1);
        let seen = (1..=ANCESTRY_DEVICES_MAX).map(|more| (device(first + more), Hlc(1))).collect();
        let stamp = Stamp { time: Hlc(2), device: device(first) };
        Record::new(
            Key::new(format!("{n}")).unwrap(),
            Some(vec![0; value]),
            stamp,
            Ancestry::from_entries(seen),
        )
    }

    fn frame(records: Vec<Record>, hello: Option<Hello>) -> Vec<u8> {
        let part = crate::wire::frame::Part { records, ..Default::default() };
        crate::wire::frame::Response::Exchange(Frame { session: 1, hello, parts: vec![part] }).encode()
    }

    #[test]
    fn a_frame_names_as_many_devices_as_the_other_side_reads() {
        let mut room = Room::default();
        let mut records = Vec::new();
        loop {
            let record = made_up(records.len(), 1);
            if !room.takes(&record) {
                break;
            }
            room.spend_record(&record);
            records.push(record);
        }
        assert!(room.devices.len() > FRAME_DEVICES_MAX - 2 * (ANCESTRY_DEVICES_MAX + 1));
        assert!(crate::wire::frame::Response::decode(&frame(records, None)).is_ok());
    }

    #[test]
    fn the_largest_record_waits_for_a_frame_without_a_long_hello() {
        let domain = |n: usize| HelloDomain {
            domain: DomainId([n as u8; 16]),
            print: ByteArray16::new([0; 16]),
            items: u64::MAX,
            live: u64::MAX,
            epoch: u64::MAX,
            head: u64::MAX,
            cursor: Some(Cursor { epoch: u64::MAX, seq: u64::MAX, after: None }.into()),
            grants: Grants::none(crate::grants::Why::Scope),
            floor: Floor(u32::MAX),
        };
        for count in [0, 1, 200, 300, 400, 600, DOMAINS_MAX] {
            let domains: Vec<_> = (0..count).map(domain).collect();
            let mut room = Room::default();
            room.spend(0, domains.iter().map(hello_bytes).sum());
            let (others, domains) = (Grants::ALL, Bounded::truncating(domains));
            let hello = Hello { nonce: [0; 8], compare: false, others, domains };
            let record = made_up(0, STORED_BYTES_MAX);
            let records = if room.takes(&record) { vec![record] } else { Vec::new() };
            assert_eq!(records.is_empty(), count > 300, "{count} domains");
            assert!(frame(records, Some(hello)).len() <= FRAME_BYTES_MAX, "{count} domains");
        }
    }
}
