//! Whom to dial, when to run a pass, what to push: decided from facts alone.
//!
//! Pure: owns no socket, no store and no clock. Tell it what happened, then
//! drain [`NodeState::poll`], then wait for [`NodeState::deadline`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kinsync_protocol::id::{DeviceId, DomainId};

mod backoff;
mod peer;
#[cfg(test)]
mod tests;
mod turns;

use backoff::Jitter;
use peer::{Link, Pass, Peer};
pub use turns::Theirs;

/// How long the device with the greater id leaves the first step to the other
/// one: dialling, and opening a session.
pub const YIELD: Duration = Duration::from_secs(2);

/// A pass this long after the last push proves that the pushes arrived, also
/// those that were left to somebody else. While pushes follow each other, one
/// runs each interval.
pub const PROOF_AFTER_PUSH: Duration = Duration::from_secs(2);

/// While nothing changes on either side, the time between two passes doubles
/// from the configured interval up to this, or stays at the interval if that is
/// longer.
pub const QUIET_INTERVAL_MAX: Duration = Duration::from_secs(480);

/// A change waits this long for others before a pass, where no push can carry
/// it.
pub const DEBOUNCE: Duration = Duration::from_millis(200);

/// How long a greeting may go unanswered before it is said again: its answer
/// may have been lost, or the other side have had nothing to write it with.
pub const GREET_AGAIN: Duration = Duration::from_secs(12);

/// A connection that lasted this long was a good one. One that breaks sooner
/// counts as a failed attempt: a device that does not know this one any more
/// closes each connection at once, and is not to be called every second.
pub const STEADY: Duration = Duration::from_secs(10);

/// What the event loop has to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Dial the device at the addresses that are known of it, and report
    /// [`NodeState::handle_dial_failed`] if none answers.
    Dial(DeviceId),
    /// Send this device's trust view, the first thing on a connection.
    Greet(DeviceId),
    /// Run a pass with the device, and report
    /// [`NodeState::handle_pass_ended`].
    Pass(DeviceId),
    /// Push what follows position `after` of the domain's log, and report
    /// [`NodeState::handle_pushed`].
    Push {
        /// To whom.
        device: DeviceId,
        /// Which domain.
        domain: DomainId,
        /// What the device has taken in already.
        acked: u64,
        /// The position up to which there is nothing to push, `acked` or a
        /// later one.
        after: u64,
    },
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PassEnd {
    /// Both sides are proven equal.
    Equal,
    /// It went well, but there is more to do: the next one goes on.
    Unfinished,
    /// What is left waits for a person.
    Held,
    /// It broke off.
    Failed,
}

/// How a push ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushEnd {
    /// The device has everything up to this position.
    InOrder(u64),
    /// The device has everything up to this position, without this push.
    Nothing(u64),
    /// The device has everything up to this position, or somebody else sends
    /// it.
    Left(u64),
    /// The device lacks something before it, or it is too much for a push.
    NeedsPass,
    /// It did not arrive.
    Failed,
}

/// Everything that this device alone decides about its peers.
#[derive(Debug)]
pub struct NodeState {
    me: DeviceId,
    /// Whether passes run by themselves; by hand only otherwise.
    auto: bool,
    /// The time between two passes that prove equality, the shortest.
    interval: Duration,
    jitter: Jitter,
    peers: BTreeMap<DeviceId, Peer>,
    actions: VecDeque<Action>,
    last_success: Option<Duration>,
    failures: u32,
}

impl NodeState {
    /// The state of a node that has just started. `seed` spreads retries.
    pub fn new(me: DeviceId, auto: bool, interval: Duration, seed: u64) -> Self {
        Self {
            me,
            auto,
            interval,
            jitter: Jitter::new(seed),
            peers: BTreeMap::new(),
            actions: VecDeque::new(),
            last_success: None,
            failures: 0,
        }
    }

    /// Takes note of who is trusted: others are forgotten, new ones dialled.
    pub fn handle_trusted(&mut self, devices: &BTreeSet<DeviceId>, now: Duration) {
        self.peers.retain(|device, _| devices.contains(device));
        for device in devices {
            if *device != self.me && !self.peers.contains_key(device) {
                let dial_at = self.auto.then_some(now);
                self.peers.insert(*device, Peer::new(dial_at));
            }
        }
    }

    /// The device has removed this one: it is left alone from now on (P33).
    pub fn handle_removed_by(&mut self, device: DeviceId) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.removed_me = true;
            peer.link = Link::Down { attempts: 0, dial_at: None, dialing: false };
            peer.pass = Pass::Idle { due: None };
            peer.pushes.clear();
            peer.proof = None;
        }
    }

    /// A trusted device was seen on the network.
    pub fn handle_found(&mut self, device: DeviceId, now: Duration) {
        let lead = self.lead(device);
        let auto = self.auto;
        if let Some(peer) = self.peers.get_mut(&device)
            && !peer.removed_me
            && (auto || peer.pass_is_due())
            && let Link::Down { attempts, dial_at, dialing: false } = &mut peer.link
        {
            *attempts = 0;
            let soon = now + lead;
            *dial_at = Some(dial_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// The first connection with the device is up. The side that dialled
    /// greets; the other one only if nothing is heard, since of two connections
    /// dialled at once each side may take the other's for the first.
    pub fn handle_connected(&mut self, device: DeviceId, dialed: bool, now: Duration) {
        if let Some(peer) = self.peers.get_mut(&device) {
            let (Link::Down { attempts, .. } | Link::Up { attempts, .. }) = peer.link;
            let greet_at = now + if dialed { GREET_AGAIN } else { YIELD };
            peer.link = Link::Up { since: now, attempts, greeted: false, greet_at };
            peer.stir(now, self.interval);
            if dialed {
                self.actions.push_back(Action::Greet(device));
            }
        }
    }

    /// The trust views have been exchanged on the connection.
    pub fn handle_greeted(&mut self, device: DeviceId, now: Duration) {
        let lead = self.lead(device);
        let auto = self.auto;
        if let Some(peer) = self.peers.get_mut(&device)
            && let Link::Up { greeted, .. } = &mut peer.link
            && !*greeted
        {
            *greeted = true;
            if auto {
                peer.pass_by(now + lead);
            }
        }
    }

    /// The last connection with the device is gone.
    pub fn handle_disconnected(&mut self, device: DeviceId, now: Duration) {
        let lead = self.lead(device);
        let jitter = self.jitter.draw();
        let auto = self.auto;
        if let Some(peer) = self.peers.get_mut(&device) {
            let attempts = match peer.link {
                Link::Up { since, attempts, .. } if now.saturating_sub(since) < STEADY => {
                    attempts.saturating_add(1)
                }
                Link::Up { .. } | Link::Down { .. } => 0,
            };
            let dial_at = (auto && !peer.removed_me).then(|| now + lead + backoff::delay(attempts, jitter));
            peer.link = Link::Down { attempts, dial_at, dialing: false };
            peer.pushes.clear();
            peer.served = None;
            peer.proof = None;
        }
    }

    /// No address of the device answered.
    pub fn handle_dial_failed(&mut self, device: DeviceId, now: Duration) {
        let jitter = self.jitter.draw();
        let auto = self.auto;
        if let Some(peer) = self.peers.get_mut(&device)
            && let Link::Down { attempts, dial_at, dialing } = &mut peer.link
        {
            *dialing = false;
            *attempts = attempts.saturating_add(1);
            *dial_at = auto.then(|| now + backoff::delay(*attempts, jitter));
            if let Pass::Idle { due } = &mut peer.pass {
                *due = None;
            }
            peer.failures = peer.failures.saturating_add(1);
        }
        self.count_failure();
    }

    /// Somebody asked for a pass now. Whether the device is one to ask.
    pub fn request_pass(&mut self, device: DeviceId, now: Duration) -> bool {
        let Some(peer) = self.peers.get_mut(&device).filter(|peer| !peer.removed_me) else {
            return false;
        };
        peer.stir(now, self.interval);
        match &mut peer.pass {
            // The one that runs may have looked already at what has changed.
            Pass::Running { again } => *again = true,
            Pass::Idle { .. } => peer.pass_by(now),
        }
        peer.asked = Some(now);
        self.request_dial(device, now);
        true
    }

    /// Somebody wants to talk to the device: it is dialled now, whatever the
    /// wait.
    pub fn request_dial(&mut self, device: DeviceId, now: Duration) {
        if let Some(peer) = self.peers.get_mut(&device)
            && !peer.removed_me
            && let Link::Down { dial_at, dialing: false, .. } = &mut peer.link
        {
            *dial_at = Some(now);
        }
    }

    /// The machine slept (P16), or its disk was full: whatever came meanwhile is
    /// asked for now.
    pub fn handle_resumed(&mut self, now: Duration) {
        if !self.auto {
            return;
        }
        let devices: Vec<_> = self.peers.keys().copied().collect();
        for device in devices {
            self.request_pass(device, now);
        }
    }

    /// A pass that this device opened has ended.
    pub fn handle_pass_ended(&mut self, device: DeviceId, end: PassEnd, now: Duration) {
        let lead = self.lead(device);
        let interval = self.interval;
        let jitter = self.jitter.draw();
        if let Some(peer) = self.peers.get_mut(&device) {
            if end != PassEnd::Equal {
                peer.stir(now, interval);
            }
            let again = matches!(peer.pass, Pass::Running { again: true });
            let due = match end {
                _ if peer.removed_me => None,
                PassEnd::Equal | PassEnd::Held if again => Some(now),
                PassEnd::Equal if self.auto => Some(now + peer.rest(interval) + lead),
                PassEnd::Held if self.auto => Some(now + interval),
                // A record that one side cannot read leaves every pass
                // unfinished: the wait grows, up to the usual one.
                PassEnd::Unfinished => {
                    let doubled =
                        DEBOUNCE.saturating_mul(1_u32.checked_shl(peer.unfinished).unwrap_or(u32::MAX));
                    Some(now + doubled.min(interval))
                }
                PassEnd::Failed if self.auto => {
                    Some(now + backoff::delay(peer.failures.saturating_add(1), jitter))
                }
                PassEnd::Equal | PassEnd::Held | PassEnd::Failed => None,
            };
            peer.pass = Pass::Idle { due };
            peer.failures = if end == PassEnd::Failed { peer.failures.saturating_add(1) } else { 0 };
            peer.unfinished = if end == PassEnd::Unfinished { peer.unfinished.saturating_add(1) } else { 0 };
        }
        match end {
            PassEnd::Equal => {
                self.last_success = Some(now);
                self.failures = 0;
            }
            PassEnd::Held | PassEnd::Unfinished => self.failures = 0,
            PassEnd::Failed => self.count_failure(),
        }
    }

    /// Both sides hold the same in these domains, up to these positions of the
    /// own log. What was committed meanwhile is pushed.
    pub fn handle_reached(&mut self, device: DeviceId, heads: &[(DomainId, u64)]) {
        if let Some(peer) = self.peers.get_mut(&device) {
            for (domain, head) in heads {
                let push = peer.pushes.entry(*domain).or_default();
                push.acked = Some(push.acked.unwrap_or_default().max(*head));
                push.shut = false;
                if peer.link.is_greeted() {
                    Self::push(&mut self.actions, device, *domain, push);
                }
            }
        }
    }

    /// Nothing may be sent to the device in these domains.
    pub fn handle_shut(&mut self, device: DeviceId, domains: &[DomainId]) {
        if let Some(peer) = self.peers.get_mut(&device) {
            for domain in domains {
                let in_flight = peer.pushes.get(domain).is_some_and(|push| push.in_flight);
                let push = peer::Push { in_flight, shut: true, ..peer::Push::default() };
                peer.pushes.insert(*domain, push);
            }
        }
    }

    /// What the device may do here has changed: what was known of it has to be
    /// found out anew, and it has to be told.
    pub fn handle_rights_changed(&mut self, device: DeviceId, now: Duration) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.stir(now, self.interval);
            for push in peer.pushes.values_mut() {
                push.forget();
                push.shut = false;
            }
            match &mut peer.pass {
                Pass::Running { again } => *again = true,
                Pass::Idle { .. } => peer.pass_by(now),
            }
            peer.asked = Some(now);
        }
    }

    /// Both sides hold the same in all domains, up to these positions of the
    /// own log, as a pass has shown that either side opened.
    pub fn handle_equal(&mut self, device: DeviceId, heads: &[(DomainId, u64)], now: Duration) {
        self.handle_reached(device, heads);
        if let Some(peer) = self.peers.get_mut(&device) {
            // A domain that came up too late for this pass, so no push reaches it.
            if peer.pushes.values().any(|push| push.dirty && push.acked.is_none()) {
                peer.pass_by(now + DEBOUNCE);
            }
            peer.failures = 0;
        }
        self.last_success = Some(now);
        self.failures = 0;
    }

    /// Something was committed in a domain, by this device or a peer.
    pub fn handle_committed(&mut self, domain: DomainId, now: Duration) {
        if !self.auto {
            return;
        }
        for (device, peer) in &mut self.peers {
            if !peer.link.is_greeted() {
                continue;
            }
            peer.stir(now, self.interval);
            let push = peer.pushes.entry(domain).or_default();
            if push.shut {
                continue;
            }
            push.dirty = true;
            match push.acked {
                Some(_) => Self::push(&mut self.actions, *device, domain, push),
                // What a pass that runs does not reach is seen to when it ends.
                None => peer.pass_by(now + DEBOUNCE),
            }
        }
    }

    fn push(actions: &mut VecDeque<Action>, device: DeviceId, domain: DomainId, push: &mut peer::Push) {
        if let (true, false, Some(acked)) = (push.dirty, push.in_flight, push.acked) {
            push.dirty = false;
            push.in_flight = true;
            actions.push_back(Action::Push { device, domain, acked, after: acked.max(push.looked) });
        }
    }

    /// A push has ended.
    pub fn handle_pushed(&mut self, device: DeviceId, domain: DomainId, end: PushEnd, now: Duration) {
        let lead = self.lead(device);
        let interval = self.interval;
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        let Some(push) = peer.pushes.get_mut(&domain) else {
            return;
        };
        push.in_flight = false;
        match end {
            PushEnd::InOrder(seq) => {
                push.acked = Some(push.acked.unwrap_or_default().max(seq));
                Self::push(&mut self.actions, device, domain, push);
                peer.prove(now, PROOF_AFTER_PUSH, interval);
            }
            PushEnd::Nothing(seq) => {
                push.looked = push.looked.max(seq);
                Self::push(&mut self.actions, device, domain, push);
            }
            PushEnd::Left(seq) => {
                push.looked = push.looked.max(seq);
                Self::push(&mut self.actions, device, domain, push);
                // Most often the device has left the same to others for us.
                peer.prove(now, PROOF_AFTER_PUSH + lead, interval);
            }
            PushEnd::NeedsPass | PushEnd::Failed => {
                push.forget();
                peer.asked = Some(now);
                peer.pass_by(if end == PushEnd::NeedsPass { now } else { now + DEBOUNCE });
            }
        }
    }

    /// Does what has become due. Early and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        for (device, peer) in &mut self.peers {
            let pass_is_due = peer.pass_at().is_some_and(|at| at <= now);
            match &mut peer.link {
                Link::Down { dial_at, dialing, .. } if !*dialing && dial_at.is_some_and(|at| at <= now) => {
                    *dial_at = None;
                    *dialing = true;
                    self.actions.push_back(Action::Dial(*device));
                }
                Link::Up { greeted: true, .. } if pass_is_due => {
                    peer.pass = Pass::Running { again: false };
                    peer.proof = None;
                    self.actions.push_back(Action::Pass(*device));
                }
                Link::Up { greeted: false, greet_at, .. } if *greet_at <= now => {
                    *greet_at = now + GREET_AGAIN;
                    self.actions.push_back(Action::Greet(*device));
                }
                Link::Down { .. } | Link::Up { .. } => {}
            }
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When something becomes due, and what.
    pub fn deadline(&self) -> Option<(Duration, &'static str)> {
        let due = self.peers.values().filter_map(|peer| match &peer.link {
            Link::Down { dial_at, dialing: false, .. } => dial_at.map(|at| (at, "dial")),
            Link::Up { greeted: true, .. } => peer.pass_at().map(|at| (at, "pass")),
            Link::Up { greeted: false, greet_at, .. } => Some((*greet_at, "greet")),
            Link::Down { .. } => None,
        });
        due.min_by_key(|(at, _)| *at)
    }

    /// Whether the device is connected and the trust views are exchanged.
    pub fn is_greeted(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| peer.link.is_greeted())
    }

    /// The devices to which changes of the domain are pushed.
    pub fn pushed_to(&self, domain: DomainId) -> impl Iterator<Item = DeviceId> {
        self.peers.iter().filter_map(move |(device, peer)| {
            let push = peer.pushes.get(&domain).filter(|_| peer.link.is_greeted())?;
            (push.acked.is_some() && !push.shut).then_some(*device)
        })
    }

    /// Whether the device is connected.
    pub fn is_connected(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| matches!(peer.link, Link::Up { .. }))
    }

    /// Whether the device has removed this one.
    pub fn has_removed_me(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| peer.removed_me)
    }

    /// The trusted devices.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.peers.keys().copied()
    }

    /// Passes with the device in a row that left something to do.
    pub fn unfinished(&self, device: DeviceId) -> u32 {
        self.peers.get(&device).map_or(0, |peer| peer.unfinished)
    }

    /// Failed attempts to reach the device or to finish a pass, since the last
    /// good one.
    pub fn failures_of(&self, device: DeviceId) -> u32 {
        self.peers.get(&device).map_or(0, |peer| peer.failures)
    }

    /// Passes that this device has opened and that have not ended.
    pub fn running(&self) -> u32 {
        let running = self.peers.values().filter(|peer| matches!(peer.pass, Pass::Running { .. }));
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// When a pass last ended well.
    pub fn last_success(&self) -> Option<Duration> {
        self.last_success
    }

    /// Attempts in a row that reached nobody.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn count_failure(&mut self) {
        // One reachable peer is enough not to be offline.
        if !self.peers.values().any(|peer| matches!(peer.link, Link::Up { .. })) {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// How long to leave the first step to `device`.
    fn lead(&self, device: DeviceId) -> Duration {
        if self.me < device { Duration::ZERO } else { YIELD }
    }
}
