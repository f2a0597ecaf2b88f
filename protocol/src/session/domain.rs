//! One domain in a session, the same on both sides.

use std::collections::{BTreeSet, VecDeque};

use super::log::{Known, Log};
use super::repair::Repair;
use super::{DomainOutcome, Role, Room, SessionError, moves};
use crate::fault::PeerFault;
use crate::floor::Floor;
use crate::grants::Grants;
use crate::id::{DeviceId, DomainId, KeyHash};
use crate::item::key_hash;
use crate::limits::{OPEN_RANGES_MAX, REPAIR_ROUNDS_MAX};
use crate::snapshot::{Batch, Cursor, FloorNews, Root, Snapshot};
use crate::sums::{Nonce, RootPrint, root_print};
use crate::wire::frame::{ByteArray16, Done, Head, HelloDomain, Part};

/// One domain in a session.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) id: DomainId,
    /// What this device grants the other one, as it was or will be told.
    pub(super) ours: Grants,
    /// What the other one grants this device.
    theirs: Grants,
    /// The own floor, as the other side was told.
    pub(super) floor: Floor,
    their_floor: Floor,
    /// What the other side's Hello says of floors, until it is taken in.
    higher_floor: Option<FloorNews>,
    /// The root in that Hello, to compare once more when what may be forgotten
    /// is.
    announced: Option<Done>,
    /// Whether the other side has announced its state.
    pub(super) met: bool,
    /// The position of the own log when the session opened.
    pub(super) opened_at: u64,
    /// The own live records at that moment.
    own_records: u64,
    /// The live records that the other side announced.
    their_records: u64,
    to_pull: u64,
    to_push: u64,
    status: Status,
    log: Log,
    repair: Repair,
    /// Where the other side's log has been taken in to, once nothing is
    /// wanted any more.
    pending: Option<Cursor>,
    /// Records to ask for.
    to_want: Vec<KeyHash>,
    /// Records asked for that have not come.
    wanted: BTreeSet<KeyHash>,
    /// Records that the other side asked for.
    serving: VecDeque<KeyHash>,
    /// The other side's root, if its last frame gave one.
    their_done: Option<Done>,
    /// The own root that the other side was last told.
    told: Option<RootPrint>,
    /// Whether the last word on this domain was that there is nothing more.
    said: bool,
    rounds: u8,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Status {
    Open,
    /// Both roots have this fingerprint. The cursor has yet to be stored.
    Equal {
        print: RootPrint,
        head: u64,
        cursor: Option<Cursor>,
    },
    /// Records may not go both ways, and those that may have gone.
    Limited {
        /// Whether the other side knows, or needs not.
        told: bool,
    },
    /// Unequal after every attempt; the next session tries again.
    GivenUp,
}

impl Domain {
    pub(super) fn new(id: DomainId, ours: Grants) -> Self {
        Self {
            id,
            ours,
            theirs: Grants::ALL,
            floor: Floor::NEVER,
            their_floor: Floor::NEVER,
            higher_floor: None,
            announced: None,
            met: false,
            opened_at: 0,
            own_records: 0,
            their_records: 0,
            to_pull: 0,
            to_push: 0,
            status: Status::Open,
            log: Log::default(),
            repair: Repair::default(),
            pending: None,
            to_want: Vec::new(),
            wanted: BTreeSet::new(),
            serving: VecDeque::new(),
            their_done: None,
            told: None,
            said: false,
            rounds: 0,
        }
    }

    pub(super) fn outcome(&self) -> DomainOutcome {
        let (equal_at, reached, complete) = match self.status {
            Status::Equal { head, .. } => (Some(head), Some(head), true),
            Status::Limited { .. } => (None, Some(self.log.goal()), true),
            Status::Open | Status::GivenUp => (None, None, false),
        };
        DomainOutcome {
            domain: self.id,
            equal_at,
            reached: reached.filter(|_| self.may_send()),
            complete,
            ours: self.ours,
            theirs: self.theirs,
            own_records: self.own_records,
            their_records: self.their_records,
            to_pull: self.to_pull,
            to_push: self.to_push,
        }
    }

    /// Whether both sides know that there is nothing left to do.
    pub(super) fn is_settled(&self) -> bool {
        match &self.status {
            Status::Open => false,
            Status::Equal { print, .. } => self.told.as_ref() == Some(print),
            Status::Limited { told } => *told,
            Status::GivenUp => true,
        }
    }

    fn may_send(&self) -> bool {
        self.ours.read && self.theirs.write
    }

    fn may_take(&self) -> bool {
        self.theirs.read && self.ours.write
    }

    fn is_limited(&self) -> bool {
        !(self.may_send() && self.may_take())
    }

    /// Whether both sides may see each other's root.
    fn compares(&self) -> bool {
        self.ours.read && self.theirs.read
    }

    /// The own state as the other side may see it.
    pub(super) fn shown(&self, own: Root) -> Root {
        if self.ours.read { own } else { Root::default() }
    }

    /// Compares the other side's announcement with the own state.
    pub(super) fn meet<S: Snapshot>(
        &mut self,
        theirs: HelloDomain,
        peer: DeviceId,
        nonce: Nonce,
        snapshot: &S,
    ) -> Result<(), S::Error> {
        let root = snapshot.root(self.id)?;
        let print = root_print(nonce, &root.summary);
        self.met = true;
        (self.theirs, self.their_floor) = (theirs.grants, theirs.floor);
        self.floor = root.floor;
        (self.own_records, self.their_records) = (root.live, theirs.live);
        if self.compares() && *theirs.print == print {
            let cursor = Cursor { epoch: theirs.epoch, seq: theirs.head, after: None };
            self.told = Some(print);
            self.status = Status::Equal { print, head: root.head, cursor: Some(cursor) };
            return Ok(());
        }
        let end = Cursor { epoch: theirs.epoch, seq: theirs.head, after: None };
        let has_all = match snapshot.cursor(peer, self.id)?.filter(|_| self.may_take()) {
            _ if !self.may_take() => true,
            Some(cursor) if cursor == end => true,
            Some(Cursor { epoch, seq, after: None }) if epoch == theirs.epoch => {
                self.to_pull = theirs.head.saturating_sub(seq);
                false
            }
            Some(_) | None => {
                self.to_pull = theirs.items;
                theirs.head == 0
            }
        };
        if !self.may_send() {
            if has_all {
                self.status = Status::Limited { told: true };
            }
            return Ok(());
        }
        let cursor = theirs.cursor.map(Cursor::from);
        self.to_push = match &cursor {
            Some(Cursor { epoch, seq, after: None }) if snapshot.had(self.id, *epoch, *seq)? => {
                root.head.saturating_sub(*seq)
            }
            Some(_) | None => root.summary.items,
        };
        if let Some(Cursor { epoch, seq, after: None }) = cursor
            && self.their_floor > self.floor
            && !self.is_limited()
            && snapshot.had(self.id, epoch, seq)?
        {
            self.higher_floor = Some(FloorNews::Higher { floor: self.their_floor, known: seq });
            self.announced = Some(Done { print: theirs.print, epoch: theirs.epoch, head: theirs.head });
        }
        let end = Cursor { epoch: root.epoch, seq: root.head, after: None };
        if self.is_limited() && (root.head == 0 || cursor.as_ref() == Some(&end)) {
            self.status = Status::Limited { told: true };
        }
        let known = Known { cursor, items: theirs.items, is_all: self.is_limited() };
        self.log = Log::new(self.id, root, known, snapshot)?;
        Ok(())
    }

    /// The same for a domain that the other side did not name.
    pub(super) fn meet_nothing<S: Snapshot>(
        &mut self,
        grants: Grants,
        peer: DeviceId,
        nonce: Nonce,
        snapshot: &S,
    ) -> Result<(), S::Error> {
        let print = ByteArray16::new(root_print(nonce, &Default::default()));
        let (items, live, epoch, head, cursor, floor) = (0, 0, 0, 0, None, Floor::NEVER);
        let nothing = HelloDomain { domain: self.id, print, items, live, epoch, head, cursor, grants, floor };
        self.meet(nothing, peer, nonce, snapshot)
    }

    /// Takes in what the other side says of this domain.
    pub(super) fn take<S: Snapshot>(
        &mut self,
        part: Part,
        nonce: Nonce,
        snapshot: &S,
    ) -> Result<Option<Batch>, SessionError<S::Error>> {
        self.permit(&part)?;
        let moved_on = match (&self.status, &part.done) {
            // Written to since: the other side waits for an answer to that.
            (Status::Equal { print, .. }, Some(done)) => done.root_print() != *print,
            // It saw more to do than this side, and waits for its last word.
            (Status::Limited { .. }, Some(_)) => !self.said,
            _ => false,
        };
        if moved_on || part.says_more_than_done() {
            self.status = Status::Open;
        }
        for record in &part.records {
            if self.wanted.is_empty() {
                break;
            }
            self.wanted.remove(&key_hash(self.id, &record.key));
        }
        if let Some(delta) = part.delta {
            for head in &delta.heads {
                self.consider(head, snapshot).map_err(SessionError::Store)?;
            }
            self.pending = Some(delta.to);
        }
        self.serving.extend(part.want);
        for prints in part.ranges {
            self.repair.take_prints(self.id, &prints, nonce, snapshot).map_err(SessionError::Store)?;
        }
        for leaf in part.leaves {
            for head in &leaf.heads {
                self.consider(head, snapshot).map_err(SessionError::Store)?;
            }
            self.repair.take_leaf(leaf);
        }
        let open = self.repair.open().max(self.serving.len()).max(self.wanted.len() + self.to_want.len());
        if open > OPEN_RANGES_MAX {
            return Err(PeerFault::TooMany { what: "open ranges or wanted records" }.into());
        }
        self.their_done = part.done;
        let all_came = self.wanted.is_empty() && self.to_want.is_empty();
        let cursor = if all_came { self.pending.take() } else { None };
        if self.their_done.is_some() {
            // All that the other side could serve has been served: what is
            // still wanted, it cannot read itself. The cursor stays behind it.
            if !std::mem::take(&mut self.wanted).is_empty() {
                self.pending = None;
            }
        }
        if part.records.is_empty() && cursor.is_none() {
            return Ok(None);
        }
        let floor = (self.their_floor == Floor::NEVER).then_some(FloorNews::New);
        Ok(Some(Batch { domain: self.id, records: part.records, cursor, floor }))
    }

    /// What the other side's Hello said of floors, once: to be taken in before
    /// the own state is told.
    pub(super) fn higher_floor(&mut self) -> Option<Batch> {
        let floor = Some(self.higher_floor.take()?);
        Some(Batch { domain: self.id, records: Vec::new(), cursor: None, floor })
    }

    /// Whether the other side may say all this: both know what is granted.
    fn permit(&self, part: &Part) -> Result<(), PeerFault> {
        let what = if !(self.may_take() || part.records.is_empty() && part.delta.is_none()) {
            "records that are not granted"
        } else if !(self.may_send() || part.want.is_empty()) {
            "wish for records that are not granted"
        } else if self.is_limited() && !(part.ranges.is_empty() && part.leaves.is_empty()) {
            "repair of a domain that need not be equal"
        } else {
            return Ok(());
        };
        Err(PeerFault::Unexpected { what })
    }

    /// Asks for the version behind a head if it would win here.
    fn consider<S: Snapshot>(&mut self, head: &Head, snapshot: &S) -> Result<(), S::Error> {
        let own = snapshot.item(self.id, head.key)?;
        if own.is_none_or(|own| head.beats(&own.version)) && !self.wanted.contains(&head.key) {
            self.to_want.push(head.key);
        }
        Ok(())
    }

    /// Compares roots if the other side has nothing more to send, and decides
    /// what follows. Gives what equality brings: a cursor and a floor.
    pub(super) fn judge<S: Snapshot>(
        &mut self,
        role: Role,
        peer: DeviceId,
        nonce: Nonce,
        snapshot: &S,
    ) -> Result<Option<Batch>, S::Error> {
        if self.status == Status::Open
            && let Some(announced) = self.announced.take()
        {
            self.settle_if_equal(&announced, &snapshot.root(self.id)?, nonce);
        }
        if self.status == Status::Open
            && let Some(done) = self.their_done.take()
        {
            let root = snapshot.root(self.id)?;
            let equal = self.settle_if_equal(&done, &root, nonce);
            if !equal && self.is_idle() && !self.log.go_on(root.head) {
                if self.is_limited() {
                    self.end_limited();
                } else if role == Role::Initiator {
                    self.rounds += 1;
                    if self.rounds > REPAIR_ROUNDS_MAX {
                        self.status = Status::GivenUp;
                    } else {
                        self.repair.start();
                    }
                }
            }
        }
        let Status::Equal { cursor, .. } = &mut self.status else { return Ok(None) };
        let Some(cursor) = cursor.take().filter(|_| self.ours.write) else { return Ok(None) };
        let moved = moves(snapshot, peer, self.id, &cursor)?;
        let rises = !self.is_limited() && self.floor < self.their_floor.max(Floor::JOINED);
        let cursor = moved.then_some(cursor);
        let floor = rises.then_some(FloorNews::Equal { floor: self.their_floor });
        let news = moved || rises;
        Ok(news.then(|| Batch { domain: self.id, records: Vec::new(), cursor, floor }))
    }

    /// Settles the domain if the other side has the own root. Whether it did.
    fn settle_if_equal(&mut self, theirs: &Done, own: &Root, nonce: Nonce) -> bool {
        let print = root_print(nonce, &own.summary);
        let equal = self.compares() && theirs.root_print() == print;
        if equal {
            let cursor = Cursor { epoch: theirs.epoch, seq: theirs.head, after: None };
            self.settle(print, own.head, cursor);
        }
        equal
    }

    /// Both sides have nothing more to say. The side that sends is done when
    /// its last word has been answered; the other one has to answer it.
    fn end_limited(&mut self) {
        if !self.may_send() {
            self.status = Status::Limited { told: false };
        } else if self.said {
            self.status = Status::Limited { told: true };
        }
    }

    fn settle(&mut self, print: RootPrint, head: u64, cursor: Cursor) {
        self.status = Status::Equal { print, head, cursor: Some(cursor) };
        self.log.stop();
        self.repair = Repair::default();
        self.to_want.clear();
        self.wanted.clear();
        self.serving.clear();
        self.pending = None;
    }

    fn is_idle(&self) -> bool {
        self.log.is_idle()
            && self.repair.is_idle()
            && self.serving.is_empty()
            && self.to_want.is_empty()
            && self.wanted.is_empty()
    }

    /// Says what there is to say, as far as the frame has room.
    pub(super) fn fill<S: Snapshot>(
        &mut self,
        index: u16,
        peer: DeviceId,
        nonce: Nonce,
        snapshot: &S,
        room: &mut Room,
    ) -> Result<Part, S::Error> {
        let mut part = Part { domain: index, ..Part::default() };
        if self.is_settled() {
            return Ok(part);
        }
        if self.status == Status::Open {
            let wants = self.to_want.len().min(room.rows);
            part.want.extend(self.to_want.drain(..wants));
            self.wanted.extend(&part.want);
            room.spend(wants, wants * KeyHash::LEN);
            self.serve(snapshot, &mut part, room)?;
            self.repair.fill(self.id, nonce, snapshot, &mut part, room)?;
            if self.serving.is_empty() && self.repair.is_idle() {
                self.log.fill(self.id, peer, self.opened_at, snapshot, &mut part, room)?;
            }
            if !self.is_idle() {
                self.said &= part.is_empty();
                return Ok(part);
            }
        }
        if let Status::Limited { told } = &mut self.status {
            *told = true;
        }
        let root = self.shown(snapshot.root(self.id)?);
        let print = root_print(nonce, &root.summary);
        (self.told, self.said) = (Some(print), true);
        part.done = Some(Done { print: ByteArray16::new(print), epoch: root.epoch, head: root.head });
        Ok(part)
    }

    fn serve<S: Snapshot>(&mut self, snapshot: &S, part: &mut Part, room: &mut Room) -> Result<(), S::Error> {
        while let Some(&key) = self.serving.front() {
            if let Some(record) = snapshot.record(self.id, key)? {
                if !room.takes(&record) {
                    return Ok(());
                }
                room.spend_record(&record);
                part.records.push(record);
            }
            self.serving.pop_front();
        }
        Ok(())
    }
}
