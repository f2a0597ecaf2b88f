//! What is known of one trusted peer.

use std::collections::BTreeMap;
use std::time::Duration;

use kinsync_protocol::id::DomainId;

use super::QUIET_INTERVAL_MAX;
use super::turns::Served;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) pass: Pass,
    pub(super) pushes: BTreeMap<DomainId, Push>,
    pub(super) failures: u32,
    /// Passes in a row that ended with something left to do.
    pub(super) unfinished: u32,
    pub(super) removed_me: bool,
    /// Its requests that are worked on.
    pub(super) answering: u32,
    /// Its own pass, while it is under way.
    pub(super) served: Option<Served>,
    /// When the last of its own passes that proved both sides equal began.
    pub(super) proven: Option<Duration>,
    /// When something last came up that only a pass sees to which begins later.
    pub(super) asked: Option<Duration>,
    /// The pass that pushes call for.
    pub(super) proof: Option<Proof>,
    /// Proofs of equality in a row since anything happened.
    quiet: u32,
}

/// A pass that shows that pushes have arrived.
#[derive(Debug)]
pub(super) struct Proof {
    /// When the first of the pushes ended that it is for, and when the last.
    first: Duration,
    pub(super) last: Duration,
    at: Duration,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Link {
    Down {
        attempts: u32,
        dial_at: Option<Duration>,
        dialing: bool,
    },
    Up {
        since: Duration,
        /// How often it had to be dialled before, for the next wait if this
        /// connection does not last.
        attempts: u32,
        greeted: bool,
        /// When to speak first, or again, while the other side says nothing.
        greet_at: Duration,
    },
}

impl Link {
    pub(super) fn is_greeted(&self) -> bool {
        matches!(self, Self::Up { greeted: true, .. })
    }
}

#[derive(Debug)]
pub(super) enum Pass {
    Idle {
        due: Option<Duration>,
    },
    Running {
        /// Whether something came up that this one may miss.
        again: bool,
    },
}

/// How far one domain has been pushed.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// The position of the own log that the peer has taken in.
    pub(super) acked: Option<u64>,
    /// The position up to which there is nothing to push, if it is a later one.
    pub(super) looked: u64,
    pub(super) in_flight: bool,
    pub(super) dirty: bool,
    /// Nothing of the domain may be sent.
    pub(super) shut: bool,
}

impl Push {
    /// Nothing is known any more of what the peer has.
    pub(super) fn forget(&mut self) {
        self.acked = None;
        self.looked = 0;
    }
}

impl Peer {
    pub(super) fn new(dial_at: Option<Duration>) -> Self {
        Self {
            link: Link::Down { attempts: 0, dial_at, dialing: false },
            pass: Pass::Idle { due: None },
            pushes: BTreeMap::new(),
            failures: 0,
            unfinished: 0,
            removed_me: false,
            answering: 0,
            served: None,
            proven: None,
            asked: None,
            proof: None,
            quiet: 0,
        }
    }

    /// Runs a pass at `at` at the latest.
    pub(super) fn pass_by(&mut self, at: Duration) {
        match &mut self.pass {
            Pass::Idle { due } => *due = Some(due.map_or(at, |due| due.min(at))),
            Pass::Running { .. } => {}
        }
    }

    /// Both sides are proven equal: how long the next pass can wait.
    pub(super) fn rest(&mut self, interval: Duration) -> Duration {
        let doubled = interval.saturating_mul(1_u32.checked_shl(self.quiet).unwrap_or(u32::MAX));
        self.quiet = self.quiet.saturating_add(1);
        doubled.min(QUIET_INTERVAL_MAX).max(interval)
    }

    /// Something happens: passes are as frequent as they were at first.
    pub(super) fn stir(&mut self, now: Duration, interval: Duration) {
        self.quiet = 0;
        if let Pass::Idle { due: Some(due) } = &mut self.pass {
            *due = (*due).min(now + interval);
        }
    }

    /// Proves pushes `wait` after the last of them, and at the latest
    /// `interval` after the first: a pass in their midst finds some under way,
    /// and moves them once more.
    pub(super) fn prove(&mut self, now: Duration, wait: Duration, interval: Duration) {
        let first = self.proof.as_ref().map_or(now, |proof| proof.first);
        let at = (now + wait).min(first + interval.max(wait));
        self.proof = Some(Proof { first, last: now, at });
    }

    pub(super) fn pass_is_due(&self) -> bool {
        matches!(self.pass, Pass::Idle { due: Some(_) })
    }

    /// When the next pass is due, if none runs.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.pass {
            Pass::Idle { due } => due.into_iter().chain(self.proof.as_ref().map(|proof| proof.at)).min(),
            Pass::Running { .. } => None,
        }
    }
}
