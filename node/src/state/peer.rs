//! What is known of one trusted peer.

use std::collections::BTreeMap;
use std::time::Duration;

use kinsync_protocol::id::DomainId;

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
    pub(super) in_flight: bool,
    pub(super) dirty: bool,
    /// Nothing of the domain may be sent.
    pub(super) shut: bool,
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
        }
    }

    /// Runs a pass at `at` at the latest.
    pub(super) fn pass_by(&mut self, at: Duration) {
        match &mut self.pass {
            Pass::Idle { due } => *due = Some(due.map_or(at, |due| due.min(at))),
            Pass::Running { .. } => {}
        }
    }

    pub(super) fn pass_is_due(&self) -> bool {
        self.pass.due().is_some()
    }
}

impl Pass {
    pub(super) fn due(&self) -> Option<Duration> {
        match self {
            Self::Idle { due } => *due,
            Self::Running { .. } => None,
        }
    }
}
