//! Whose turn it is: of two devices only one runs a pass at a time.
//!
//! Two passes at once would find the same differences and send each record
//! twice. So a device opens none while it answers one of the other side, and of
//! two that are opened at the same moment the one of the lesser id goes on; the
//! other one is refused (`passes::Sessions::go_first`). What the other side's
//! pass has proven, the own one need not prove again.

use std::time::Duration;

use kinsync_protocol::id::DeviceId;

use super::NodeState;
use super::peer::{Pass, Peer};

/// A pass of the other side that has said nothing for this long is over: it
/// ended without telling, or broke off. If it was not, the own one is refused
/// there and waits once more.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// What a request of the other side was part of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Theirs {
    /// Nothing that keeps the own pass waiting.
    Other,
    /// A pass that goes on.
    UnderWay {
        /// The number of its session.
        session: u64,
    },
    /// A pass that has come to its end, and left something to a person.
    Ended,
    /// A pass that has proven both sides equal.
    Proven {
        /// The number of its session.
        session: u64,
    },
}

/// A pass of the other side.
#[derive(Debug)]
pub(super) struct Served {
    session: u64,
    /// When its opening arrived: what was there before is part of it.
    began: Duration,
    heard: Duration,
}

impl NodeState {
    /// A request of the device is worked on; what it is part of shows once it
    /// is answered.
    pub fn handle_asked(&mut self, device: DeviceId) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.answering = peer.answering.saturating_add(1);
        }
    }

    /// A request that arrived at `asked` has been answered. When the pass
    /// began that has ended with it.
    pub fn handle_answered(
        &mut self,
        device: DeviceId,
        theirs: Theirs,
        asked: Duration,
        now: Duration,
    ) -> Option<Duration> {
        let (auto, interval, lead) = (self.auto, self.interval, self.lead(device));
        let peer = self.peers.get_mut(&device)?;
        peer.answering = peer.answering.saturating_sub(1);
        let session = match theirs {
            Theirs::Other => return None,
            Theirs::Ended => {
                peer.served = None;
                return None;
            }
            Theirs::UnderWay { session } | Theirs::Proven { session } => session,
        };
        let same = peer.served.take().filter(|served| served.session == session);
        let began = same.map_or(asked, |served| served.began);
        if let Theirs::UnderWay { .. } = theirs {
            peer.served = Some(Served { session, began, heard: now });
            return None;
        }
        peer.proven = Some(began);
        if peer.proof.as_ref().is_some_and(|proof| proof.last <= began) {
            peer.proof = None;
        }
        if matches!(peer.pass, Pass::Idle { due: Some(_) }) && peer.asked.is_none_or(|asked| asked <= began) {
            let due = auto.then(|| now + peer.rest(interval) + lead);
            peer.pass = Pass::Idle { due };
            peer.unfinished = 0;
        }
        Some(began)
    }

    /// The device refused the own pass. Whether that is because of its own
    /// one, which has proven meanwhile all that the refused one, open since
    /// `opened`, would have.
    pub fn handle_refused(&mut self, device: DeviceId, opened: Duration, now: Duration) -> bool {
        let Some(peer) = self.peers.get_mut(&device) else {
            return false;
        };
        if let Some(served) = &mut peer.served {
            served.heard = now;
        }
        peer.proven.is_some_and(|began| began >= opened)
    }

    /// Whether a pass of the device is under way here.
    pub fn is_served(&self, device: DeviceId, now: Duration) -> bool {
        self.peers.get(&device).is_some_and(|peer| peer.served_until().is_some_and(|until| now < until))
    }
}

impl Peer {
    /// When the own pass need not wait for the other side's any more.
    fn served_until(&self) -> Option<Duration> {
        self.served.as_ref().map(|served| served.heard + SILENCE)
    }

    /// When the own pass can begin at the earliest; `None` while that is not
    /// known.
    pub(super) fn pass_at(&self) -> Option<Duration> {
        let due = self.due().filter(|_| self.answering == 0)?;
        Some(self.served_until().map_or(due, |until| until.max(due)))
    }
}
