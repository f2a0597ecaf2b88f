//! What others watch: everything that happens in a node, as it happens.
//!
//! Events are for showing and for reacting, not for keeping data in step: the
//! ring holds the last [`RING_EVENTS`], and whoever misses more is told
//! `resync` and asks again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    activity::Activity,
    clock::{Clock, Moment},
    failure::Failure,
    request::{Choice, LimitedBy, LimitedDomain, Missing, PeerRow, Pill, Ready, Role, SecretText, Warning},
};

/// How many events are kept for those who come back: some minutes of a busy
/// node, and well under a megabyte.
pub const RING_EVENTS: usize = 1_024;

/// Something that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A pairing code is open. Never kept in the ring, since it holds the code:
    /// whoever opened it makes it from the answer.
    Code {
        /// The number of the pairing.
        pairing: u64,
        /// What to type on the other device.
        code: SecretText,
        /// When it ends.
        expires_at: Moment,
    },
    /// A record was deleted.
    Del(RecordChange),
    /// Domains were declared, changed or removed, here or by another device.
    DomainsChanged {},
    /// A pairing ended without trust.
    Failed {
        /// The number of the pairing.
        pairing: u64,
        /// Why: `code`, `message`, `hint`, `tries_left`.
        #[serde(flatten)]
        failure: Failure,
    },
    /// The device that shows the code was found; joiner only.
    Found {
        /// The number of the pairing.
        pairing: u64,
        /// How: `lan`, `address`.
        path: String,
    },
    /// Two devices trust each other now.
    Paired {
        /// The number of the pairing.
        pairing: u64,
        /// The other one.
        peer: PairedPeer,
    },
    /// A draft became a record, or was dropped.
    GenerationFinished {
        /// Which.
        #[serde(flatten)]
        generation: Generation,
        /// Whether it is a record now.
        kept: bool,
    },
    /// The holder of a draft went away; it waits for somebody to decide.
    GenerationInterrupted(Generation),
    /// Somebody writes a draft.
    GenerationStarted(Generation),
    /// Versions met that did not know each other, and nobody has decided yet.
    ConflictPending {
        /// The domain's name.
        domain: String,
        /// How many of them are new.
        conflicts: u64,
    },
    /// A device would change so much of a domain at once that nothing of it is
    /// applied before a person has looked.
    Held {
        /// The device.
        #[serde(flatten)]
        peer: PeerName,
        /// The number of the change, for looking at it and deciding.
        number: u64,
        /// The domain's name.
        domain: String,
        /// Records that it would delete, as far as is known.
        deletions: u64,
        /// Records that it would replace, as far as is known.
        replacements: u64,
    },
    /// A trusted device is gone.
    PeerOffline(PeerName),
    /// A trusted device is connected.
    PeerOnline(PeerName),
    /// What a device lets another one do has changed.
    Policy {
        /// The other device.
        #[serde(flatten)]
        peer: PeerName,
        /// Which of the two has changed it.
        by: LimitedBy,
        /// What the other one may do here now, if it was this device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rights: Option<Vec<String>>,
        /// What the other one withholds now, if it was that one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        limited: Vec<LimitedDomain>,
    },
    /// A record was written.
    Put(RecordChange),
    /// Records here need something that no application has: ask what to do.
    Readiness {
        /// All in one word.
        state: Ready,
        /// What is missing and not decided.
        missing: Vec<Missing>,
        /// What can be done about each.
        choices: Vec<Choice>,
    },
    /// A batch of a peer was committed.
    RecordsApplied {
        /// The domain's name.
        domain: String,
        /// The peer's name, if they all came from one.
        from: Option<String>,
        /// How many records.
        records: u64,
    },
    /// The other device proved the code. On the host it waits for a
    /// [`crate::request::PairAnswer`]; on the joiner it is for comparing.
    Request {
        /// The number of the pairing.
        pairing: u64,
        /// What the other device calls itself.
        name: String,
        /// The operating system it says it runs on.
        platform: Option<String>,
        /// The printed device id.
        device_id: String,
        /// The six digits that must be on both screens: `410 793`.
        check: String,
        /// Whether this side has to answer.
        asks: bool,
    },
    /// Events are missing before this one: read the state again.
    Resync,
    /// Trust in a device has ended.
    Revoked {
        /// The device.
        #[serde(flatten)]
        peer: PeerName,
        /// Who ended it; this device if missing.
        by: Option<String>,
    },
    /// Another device has removed this one; it has stopped syncing.
    RevokedHere {
        /// Who did it.
        by: String,
        /// When this device learnt it.
        at: Moment,
    },
    /// How far a long pass is.
    SessionProgress {
        /// The peer.
        #[serde(flatten)]
        peer: PeerName,
        /// Records exchanged so far.
        done: u64,
        /// Records to exchange, as far as is known.
        total: Option<u64>,
    },
    /// Settings of this node have changed.
    SettingsChanged {
        /// Their names.
        keys: Vec<String>,
    },
    /// The status word or its flags have changed.
    Status {
        /// The word.
        state: Pill,
        /// The flags.
        flags: Vec<String>,
    },
    /// The node is stopping; nothing follows.
    Stopping,
    /// A pass has ended.
    Synced {
        /// The peer.
        #[serde(flatten)]
        peer: PeerName,
        /// Records that came.
        pull: u64,
        /// Records that went.
        push: u64,
        /// Why it did not end well.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A device was brought in, by this one or by another.
    Trusted {
        /// The device.
        #[serde(flatten)]
        peer: PeerName,
        /// Who brought it in; this device if missing.
        by: Option<String>,
    },
    /// Something that somebody should look at.
    Warning(Warning),
    /// An event of a newer node.
    #[serde(other)]
    Unknown,
}

/// A record that has changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordChange {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
    /// The name of the peer it came from; none if it was written here.
    pub from: Option<String>,
    /// When it was written.
    pub at: Moment,
    /// Its version.
    pub v: String,
}

/// A draft.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Generation {
    /// The name of its hold.
    pub hold: String,
    /// The domain's name.
    pub domain: String,
    /// The key of the record that it is for.
    pub id: String,
}

/// A device by its two names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerName {
    /// The printed device id.
    pub id: String,
    /// The name to show.
    pub name: String,
}

/// A device that was just paired with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PairedPeer {
    /// The printed device id.
    pub id: String,
    /// The full libp2p peer id.
    pub peer_id: String,
    /// The name to show.
    pub name: String,
    /// What it may do here.
    pub role: Role,
    /// How many devices the set has now, this one included.
    pub devices: u64,
}

impl From<&PeerRow> for PeerName {
    fn from(row: &PeerRow) -> Self {
        Self { id: row.id.clone(), name: row.name.clone() }
    }
}

impl Event {
    /// Its name: the `event` field.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Code { .. } => "code",
            Self::ConflictPending { .. } => "conflict_pending",
            Self::Del(_) => "del",
            Self::DomainsChanged {} => "domains_changed",
            Self::Failed { .. } => "failed",
            Self::Found { .. } => "found",
            Self::GenerationFinished { .. } => "generation_finished",
            Self::GenerationInterrupted(_) => "generation_interrupted",
            Self::GenerationStarted(_) => "generation_started",
            Self::Held { .. } => "held",
            Self::Paired { .. } => "paired",
            Self::PeerOffline(_) => "peer_offline",
            Self::PeerOnline(_) => "peer_online",
            Self::Policy { .. } => "policy",
            Self::Put(_) => "put",
            Self::Readiness { .. } => "readiness",
            Self::RecordsApplied { .. } => "records_applied",
            Self::Request { .. } => "request",
            Self::Resync => "resync",
            Self::Revoked { .. } => "revoked",
            Self::RevokedHere { .. } => "revoked_here",
            Self::SessionProgress { .. } => "session_progress",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::Status { .. } => "status",
            Self::Stopping => "stopping",
            Self::Synced { .. } => "synced",
            Self::Trusted { .. } => "trusted",
            Self::Unknown => "unknown",
            Self::Warning(_) => "warning",
        }
    }

    /// The pairing that it belongs to, if it belongs to one.
    pub const fn pairing(&self) -> Option<u64> {
        if let Self::Code { pairing, .. }
        | Self::Failed { pairing, .. }
        | Self::Found { pairing, .. }
        | Self::Paired { pairing, .. }
        | Self::Request { pairing, .. } = self
        {
            Some(*pairing)
        } else {
            None
        }
    }
}

/// An event and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Its place, as [`Events::subscribe`] takes it: `<boot>-<n>`.
    pub id: String,
    /// What happened.
    pub event: Event,
}

/// The events of one node. Clones are the same events.
#[derive(Clone, Debug)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    newest: Arc<watch::Sender<u64>>,
    stopping: Arc<watch::Sender<bool>>,
    log: Option<Arc<(Activity, Clock)>>,
}

#[derive(Debug)]
struct Ring {
    boot: u64,
    /// The number that the next event gets.
    next: u64,
    kept: VecDeque<Event>,
}

impl Ring {
    fn first(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    fn id(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.boot)
    }

    /// The number in an id of this boot.
    fn number(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once('-')?;
        let number = number.parse().ok()?;
        (u64::from_str_radix(boot, 16) == Ok(self.boot) && number < self.next).then_some(number)
    }
}

impl Events {
    /// Events of their own. `boot` tells this run of the node from others, so
    /// that ids of an earlier one are noticed.
    pub fn new(boot: u64) -> Self {
        let ring = Ring { boot, next: 1, kept: VecDeque::new() };
        Self {
            ring: Arc::new(Mutex::new(ring)),
            newest: Arc::new(watch::Sender::new(0)),
            stopping: Arc::new(watch::Sender::new(false)),
            log: None,
        }
    }

    /// As [`Events::new`]; what is worth keeping also goes to a log.
    pub fn logged(boot: u64, log: Activity, clock: Clock) -> Self {
        Self { log: Some(Arc::new((log, clock))), ..Self::new(boot) }
    }

    /// Tells everybody who watches, and the log if it is something to keep.
    pub fn publish(&self, event: Event) {
        debug_assert!(!matches!(event, Event::Code { .. }), "a code must not stay in memory");
        if let Some((log, clock)) = self.log.as_deref() {
            log.note(&event, clock.wall());
        }
        if event == Event::Stopping {
            self.stopping.send_replace(true);
        }
        let mut ring = lock(&self.ring);
        if ring.kept.len() == RING_EVENTS {
            ring.kept.pop_front();
        }
        ring.kept.push_back(event);
        let number = ring.next;
        ring.next += 1;
        self.newest.send_replace(number);
    }

    /// Waits until the node is stopping; for ever if none runs here.
    ///
    /// Cancel safe.
    pub(crate) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as these events do.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Watches from now on.
    pub fn subscribe(&self) -> Subscription {
        let next = lock(&self.ring).next;
        self.subscribe_at(next, false)
    }

    /// Watches from the event after `last` on. If that one is of an earlier
    /// run, or too long ago, the first event is [`Event::Resync`].
    pub fn subscribe_after(&self, last: &str) -> Subscription {
        let ring = lock(&self.ring);
        let number = ring.number(last);
        let next = number.map_or(ring.next, |number| number + 1);
        drop(ring);
        self.subscribe_at(next, number.is_none())
    }

    /// The id of the newest event.
    pub fn last_id(&self) -> String {
        let ring = lock(&self.ring);
        ring.id(ring.next - 1)
    }

    fn subscribe_at(&self, next: u64, gap: bool) -> Subscription {
        let newest = self.newest.subscribe();
        Subscription { ring: Arc::clone(&self.ring), newest, next, gap }
    }
}

/// A place in the stream of events.
#[derive(Debug)]
pub struct Subscription {
    ring: Arc<Mutex<Ring>>,
    newest: watch::Receiver<u64>,
    next: u64,
    gap: bool,
}

impl Subscription {
    /// Waits for the next event; `None` once the node is gone.
    ///
    /// Cancel safe: an event is taken when it is returned.
    pub async fn next(&mut self) -> Option<Numbered> {
        loop {
            self.newest.mark_unchanged();
            if let Some(numbered) = self.try_next() {
                return Some(numbered);
            }
            self.newest.changed().await.ok()?;
        }
    }

    /// The next event if it has happened already.
    pub fn try_next(&mut self) -> Option<Numbered> {
        let ring = lock(&self.ring);
        if self.gap || self.next < ring.first() {
            // What follows the gap is everything that is still to come.
            self.gap = false;
            self.next = ring.next;
            return Some(Numbered { id: ring.id(ring.next - 1), event: Event::Resync });
        }
        let index = usize::try_from(self.next - ring.first()).ok()?;
        let event = ring.kept.get(index)?.clone();
        let id = ring.id(self.next);
        self.next += 1;
        Some(Numbered { id, event })
    }
}

/// A panic elsewhere cannot leave the ring half changed.
fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: usize) -> Event {
        Event::SettingsChanged { keys: vec![n.to_string()] }
    }

    /// F8: who watches is told of every change, in order.
    #[tokio::test]
    async fn events_come_in_order() {
        let events = Events::new(7);
        let mut watching = events.subscribe();
        for n in 0..3 {
            events.publish(change(n));
        }
        for n in 0..3 {
            assert_eq!(watching.next().await.expect("an event").event, change(n));
        }
        assert_eq!(watching.try_next(), None);
    }

    #[tokio::test]
    async fn who_comes_back_misses_nothing() {
        let events = Events::new(7);
        events.publish(change(0));
        let last = events.last_id();
        assert_eq!(last, "00000007-1");
        events.publish(change(1));
        let mut again = events.subscribe_after(&last);
        let event = again.next().await.expect("an event");
        assert_eq!((event.id.as_str(), event.event), ("00000007-2", change(1)));
    }

    #[tokio::test]
    async fn a_gap_is_one_resync_and_then_what_follows() {
        let events = Events::new(7);
        let mut slow = events.subscribe();
        for n in 0..=RING_EVENTS {
            events.publish(change(n));
        }
        assert_eq!(slow.next().await.expect("an event").event, Event::Resync);
        assert_eq!(slow.try_next(), None);
        events.publish(change(9));
        assert_eq!(slow.next().await.expect("an event").event, change(9));
    }

    #[tokio::test]
    async fn the_whole_ring_can_be_caught_up() {
        let events = Events::new(7);
        let mut slow = events.subscribe();
        for n in 0..RING_EVENTS {
            events.publish(change(n));
        }
        assert_eq!(slow.next().await.expect("an event").event, change(0));
    }

    #[tokio::test]
    async fn an_id_of_another_run_or_of_the_future_is_a_gap() {
        let events = Events::new(7);
        events.publish(change(0));
        for id in ["00000008-1", "00000007-2", "rubbish", "-", ""] {
            let mut again = events.subscribe_after(id);
            assert_eq!(again.next().await.expect("an event").event, Event::Resync, "{id}");
        }
    }

    #[tokio::test]
    async fn the_stream_ends_with_the_node() {
        let events = Events::new(7);
        let mut watching = events.subscribe();
        events.publish(Event::Stopping);
        drop(events);
        assert_eq!(watching.next().await.expect("an event").event, Event::Stopping);
        assert_eq!(watching.next().await, None);
    }

    #[test]
    fn the_name_of_an_event_is_its_tag() {
        let failed =
            Event::Failed { pairing: 3, failure: Failure::new(crate::Kind::WrongCode, "Wrong code.") };
        let value = serde_json::to_value(&failed).expect("serialises");
        assert_eq!(value["event"], failed.name());
        assert_eq!(value["code"], "wrong-code");
        assert_eq!(serde_json::from_value::<Event>(value).expect("reads"), failed);
    }

    #[test]
    fn an_event_of_a_newer_node_is_read_and_passed_over() {
        let event = serde_json::from_str(r#"{"event":"moonrise","phase":0.5}"#);
        assert_eq!(event.ok(), Some(Event::Unknown));
    }
}
