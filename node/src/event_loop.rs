//! The only `select!`: tells the state what happened, then does what the
//! state asks for.
//!
//! One task owns the swarm and does nothing that takes long: the store is
//! read and written in steps on blocking threads, whose results come back as
//! [`Work`]. Every source of work is bounded, so a busy peer slows itself down
//! and nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{Job, Store};
use libp2p::Swarm;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use crate::clock::{Jump, JumpWatch};
use crate::commits::Commits;
use crate::config::SyncMode;
use crate::control::{Command, Control};
use crate::events::Event;
use crate::passes::Sessions;
use crate::state::{Action, NodeState};
use crate::status;
use crate::storage::Storage;
use crate::swarm::{Admission, Behaviour, Protocol, RequestId};

mod answering;
mod commands;
mod connections;
mod facts;
mod floors;
mod limits;
mod notes;
mod pairing;
mod passing;
mod room;
mod trusting;

/// What a device does about having been removed. Pairing alone would fail: a
/// removed key stays dead.
const RENEW: &str = "Pair again with a new key:  kinsync down; kinsync init --renew";

/// How often the loop looks whether the machine slept, and whether a disk that
/// was too full still is.
const BEAT: Duration = Duration::from_secs(5);

/// How often the local network is asked again while a trusted device is
/// missing: an announcement may have been lost, or an interface been away.
const RESCAN_EVERY: Duration = Duration::from_secs(60);

/// How long a node that stops waits for answers to get out: they are small,
/// and people wait for the end.
const ANSWERS_OUT: Duration = Duration::from_millis(50);

/// How long it waits for its connections to close.
const CLOSED: Duration = Duration::from_millis(250);

/// What the loop is made of.
pub(crate) struct Parts {
    /// The node without its loop, so that the loop does not keep itself alive.
    pub(crate) control: Control,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) admission: Admission,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) commits: Arc<Commits>,
    /// Random: tells this run from others.
    pub(crate) boot: [u8; 16],
}

/// The loop and all that it owns.
pub(crate) struct EventLoop {
    me: DeviceId,
    control: Control,
    storage: Storage,
    swarm: Swarm<Behaviour>,
    admission: Admission,
    state: NodeState,
    commands: mpsc::Receiver<Command>,
    commits: Arc<Commits>,
    sessions: Arc<Sessions>,
    work: JoinSet<Work>,
    requests: BTreeMap<(Protocol, RequestId), Purpose>,
    links: connections::Connections,
    notes: notes::Notes,
    pairing: pairing::Pairing,
    passing: passing::Passing,
    room: room::Room,
    trusting: trusting::Trusting,
    jumps: JumpWatch,
    beat_at: Duration,
    rescan_at: Duration,
    shown: Option<(crate::request::Pill, Vec<String>)>,
    stopping: bool,
}

/// The result of a step on a blocking thread.
enum Work {
    Pairing(pairing::Done),
    Passing(passing::Done),
    Trusting(trusting::Done),
    /// Whether there is room on the disk.
    TriedRoom(bool),
    Nothing,
}

/// What a request of ours was for.
enum Purpose {
    Pairing(crate::pairings::AskId),
    Passing(passing::Asked),
    Trusting(trusting::Asked),
}

impl EventLoop {
    /// Puts the loop together. Needs a tokio runtime around it.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { control, swarm, admission, commands, commits, boot } = parts;
        let me = control.device();
        let (auto, interval) = {
            let config = control.config();
            let config = config.borrow();
            (config.sync == SyncMode::Auto, Duration::from_secs(config.interval_s))
        };
        let mut seed = [0; 8];
        seed.copy_from_slice(&boot[..8]);
        let now = control.clock().monotonic();
        Self {
            me,
            state: NodeState::new(me, auto, interval, u64::from_be_bytes(seed)),
            sessions: Arc::default(),
            work: JoinSet::new(),
            requests: BTreeMap::new(),
            links: connections::Connections::default(),
            notes: notes::Notes::default(),
            pairing: pairing::Pairing::new(),
            passing: passing::Passing::default(),
            room: room::Room::default(),
            trusting: trusting::Trusting::new(me, boot),
            jumps: JumpWatch::new(control.clock(), BEAT),
            beat_at: now + BEAT,
            rescan_at: now + RESCAN_EVERY,
            shown: None,
            stopping: false,
            storage: control.storage().clone(),
            control,
            swarm,
            admission,
            commands,
            commits,
        }
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(crate) async fn run(mut self) {
        self.reload_view();
        while !self.stopping {
            self.settle();
            let wait = self.deadline().saturating_sub(self.control.clock().monotonic());
            // The user first, our own timers next, other devices last.
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                () = tokio::time::sleep(wait) => self.on_timeout(),
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.on_work(done),
                domains = self.commits.next() => {
                    let now = self.now();
                    for domain in domains {
                        self.state.handle_committed(domain, now);
                    }
                }
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
            }
        }
        self.control.events().publish(Event::Stopping);
        self.leave_notes();
        // What runs commits or fails by itself; the store finishes it.
        self.work.shutdown().await;
        self.leave().await;
        info!("the node has stopped");
    }

    /// Lets the last answers out, then closes every connection: whoever is on
    /// the other side knows at once, and need not find out by silence.
    async fn leave(&mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        if peers.is_empty() {
            return;
        }
        self.drive(ANSWERS_OUT).await;
        for peer in peers {
            // Gone already, which is what is wanted.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.drive(CLOSED).await;
    }

    /// Runs the network alone, for this long or until nobody is connected.
    async fn drive(&mut self, limit: Duration) {
        let end = tokio::time::sleep(limit);
        tokio::pin!(end);
        while self.swarm.connected_peers().next().is_some() {
            tokio::select! {
                biased;
                () = &mut end => return,
                _ = self.swarm.select_next_some() => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.control.clock().monotonic()
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(self.control.clock().wall().0)
    }

    /// Does all that has become due, and says how things are.
    fn settle(&mut self) {
        let now = self.now();
        self.state.handle_timeout(now);
        while let Some(action) = self.state.poll() {
            match action {
                Action::Dial(device) => self.dial(device),
                Action::Greet(device) => self.greet(device),
                Action::Pass(device) => self.open_pass(device),
                Action::Push { device, domain, acked, after } => {
                    self.make_push(device, domain, acked, after);
                }
            }
        }
        self.settle_pairings();
        self.write_notes();
        self.show_status();
    }

    fn deadline(&self) -> Duration {
        let facts = self.status_facts();
        let now = self.now();
        let due = [
            Some(self.beat_at.min(self.rescan_at)),
            self.state.deadline().map(|(at, _)| at),
            status::changes_at(&facts, now),
            self.pairing_deadline(),
            self.passing_deadline(),
            self.trusting_deadline(),
            self.links.deadline(),
            self.notes.deadline(),
            self.control.lapses_at(),
        ];
        due.into_iter().flatten().min().unwrap_or(self.beat_at)
    }

    fn on_timeout(&mut self) {
        let now = self.now();
        if now >= self.beat_at {
            self.beat_at = now + BEAT;
            match self.jumps.look(self.control.clock()) {
                Some(Jump::Slept(span)) => {
                    info!(?span, "the machine slept");
                    self.state.handle_resumed(now);
                    self.swarm.behaviour_mut().discovery.scan_now();
                }
                Some(Jump::WallSet(millis)) => info!(millis, "the clock was set"),
                None => {}
            }
            self.try_room();
        }
        if now >= self.rescan_at {
            self.rescan_at = now + RESCAN_EVERY;
            if self.state.devices().any(|device| !self.state.is_connected(device)) {
                self.swarm.behaviour_mut().discovery.scan_now();
            }
        }
        self.control.lapse();
        self.pairing_timeout();
        self.passing_timeout(now);
        self.trusting_timeout(now);
        self.prune_connections(now);
    }

    fn on_work(&mut self, done: Result<Work, JoinError>) {
        match done {
            Ok(Work::Pairing(done)) => self.on_pairing_done(done),
            Ok(Work::Passing(done)) => self.on_passing_done(done),
            Ok(Work::Trusting(done)) => self.on_trusting_done(done),
            Ok(Work::TriedRoom(is_written)) => self.on_tried_room(is_written),
            Ok(Work::Nothing) => {}
            // A step that panicked has committed all of its work or none; the
            // request behind it times out.
            Err(error) if error.is_panic() => error!(%error, "a step on the store failed"),
            Err(error) => debug!(%error, "a step on the store was dropped"),
        }
    }

    /// Runs a step on the store that may block, and hears of its result later.
    fn spawn(&mut self, step: impl FnOnce(&Store) -> Work + Send + 'static) {
        let storage = self.storage.clone();
        self.work.spawn_blocking(move || step(storage.store()));
    }

    /// Changes something in the store that nothing waits for, in the order of
    /// these calls. Only for what people do: what other devices do has no end,
    /// and is noted in [`notes::Notes`].
    fn submit(&self, job: Job<()>) {
        self.storage.store().submit(job, |result| {
            if let Err(error) = result {
                warn!(%error, "a change was not stored");
            }
        });
    }

    fn show_status(&mut self) {
        let facts = self.status_facts();
        let pill = status::pill(&facts, self.now());
        let shown = (pill, status::flags(&facts));
        if self.shown.as_ref() != Some(&shown) {
            self.control.events().publish(Event::Status { state: shown.0, flags: shown.1.clone() });
            self.shown = Some(shown);
        }
    }
}
