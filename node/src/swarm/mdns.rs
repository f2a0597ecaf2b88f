//! Finding other devices on the local network without being told where they are.
//!
//! libp2p's mDNS, with what it lacks: it can be switched off and on, asked to
//! look again at once, does not start before it has addresses to announce,
//! survives floods, and can say whether multicast works at all.
//!
//! Nothing that is found is believed. A found address is a place to dial, and
//! the handshake there says who is at it. A device that is no longer announced
//! has not gone anywhere.

mod ear;
mod intake;

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        transport::{ListenerId, PortUse},
    },
    mdns,
    swarm::{
        ConnectionDenied, ConnectionId, ExpiredListenAddr, FromSwarm, NetworkBehaviour, NewListenAddr,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Sleep, sleep},
};
use tracing::{debug, warn};

use self::{ear::Ear, intake::Intake};
use super::{
    addresses::{Place, Reach, ip, reach},
    admission::Admission,
    identity::device_id,
};

/// How often the network is asked who is there, once the beginning is over.
pub const QUERY_EVERY: Duration = Duration::from_secs(20);

/// For how long an announcement holds.
pub const TTL: Duration = Duration::from_secs(60);

/// How long addresses may come in before they are announced. A first question
/// that is asked too early announces nobody, and then not for a long time.
pub const SETTLE: Duration = Duration::from_millis(100);

/// Entries of libp2p's own list, which has no bound, at which it is thrown away.
pub const LIST_MAX: usize = 1024;

/// How long nothing is listened to after a flood filled that list.
pub const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// How long until another attempt when mDNS could not be started.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How long the budget of the [intake](Intake) lasts.
const BUDGET_PERIOD: Duration = Duration::from_secs(1);

/// Events of libp2p's mDNS handled before the others of the swarm get a turn.
const TURN: usize = 64;

/// A device may be at `place`, or somebody says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Who is said to be there.
    pub device: DeviceId,
    /// Where.
    pub place: Place,
}

/// How discovery is doing, for people who wonder why nothing is found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether it is announcing and listening. On a machine that has only its
    /// loopback interface it is not.
    pub running: bool,
    /// Packets of this machine that came back to it. Zero after some seconds
    /// of running means that multicast does not work here.
    pub heard_self: u64,
    /// Packets of other machines. Zero means that nobody else is there, or
    /// that something on the way drops multicast.
    pub heard_others: u64,
    /// Addresses of devices that were found.
    pub found: u64,
    /// Addresses that were dropped because there were too many.
    pub dropped: u64,
    /// What is in the way, in words.
    pub error: Option<String>,
}

/// mDNS that can be switched.
pub struct Discovery {
    local: PeerId,
    admission: Admission,
    listening: Vec<(ListenerId, Multiaddr)>,
    running: Option<Running>,
    start: Option<Pin<Box<Sleep>>>,
    budget: Option<Pin<Box<Sleep>>>,
    intake: Intake,
    found: VecDeque<Found>,
    health: Health,
}

impl Discovery {
    /// Discovery for the device `local`. Off means that no socket exists.
    pub fn new(local: PeerId, admission: Admission, enabled: bool) -> Self {
        Self {
            local,
            admission,
            listening: Vec::new(),
            running: None,
            start: None,
            budget: None,
            intake: Intake::default(),
            found: VecDeque::new(),
            health: Health { enabled, ..Health::default() },
        }
    }

    /// Switches discovery on or off from this instant.
    pub fn set_enabled(&mut self, enabled: bool) {
        if enabled != self.health.enabled {
            self.health = Health { enabled, ..Health::default() };
            self.stop();
            self.schedule(SETTLE);
        }
    }

    /// Announces this device and asks who else is there, now.
    ///
    /// Everybody who answers is [`Found`] again. For a pairing screen that
    /// opens, a machine that wakes up, a trusted device that is missing: not
    /// more often than every few seconds.
    pub fn scan_now(&mut self) {
        self.start = None;
        self.schedule(Duration::ZERO);
    }

    /// How discovery is doing.
    pub fn health(&self) -> Health {
        Health { running: self.running.is_some(), dropped: self.intake.dropped(), ..self.health.clone() }
    }

    /// Where strangers are said to be, each with at most a few places: those
    /// to try with a code that was typed.
    pub fn strangers(&self) -> Vec<(DeviceId, Vec<Place>)> {
        self.intake.strangers()
    }

    /// Where `device` is said to be, newest first.
    pub fn places(&self, device: &DeviceId) -> Vec<Place> {
        self.intake.places(device)
    }

    /// Starts after `wait`, unless a start is due already.
    fn schedule(&mut self, wait: Duration) {
        let has_addresses = self.listening.iter().any(|(_, address)| is_announced(address));
        if self.health.enabled && has_addresses && self.start.is_none() {
            self.start = Some(Box::pin(sleep(wait)));
        }
    }

    fn stop(&mut self) {
        self.running = None;
        self.start = None;
        self.intake.clear();
        self.found.clear();
    }

    fn start(&mut self) {
        self.stop();
        match Running::start(self.local, &self.listening) {
            Ok((running, error)) => {
                self.running = Some(running);
                self.health.error = error.map(|error| format!("cannot listen on UDP port 5353: {error}"));
            }
            Err(error) => {
                self.health.error = Some(format!("mDNS cannot be started: {error}"));
                self.schedule(RETRY_AFTER);
            }
        }
        if let Some(error) = &self.health.error {
            warn!("{error}");
        }
    }

    fn on_discovered(&mut self, list: Vec<(PeerId, Multiaddr)>) {
        for (peer, address) in list {
            let Some(device) = device_id(&peer) else { continue };
            let Some(place) = Place::told(&address, &device).filter(|place| place.reach() != Reach::Loopback)
            else {
                continue;
            };
            let trusted = self.admission.role(&device).is_trusted();
            if self.intake.admit(device, trusted, place.clone()) {
                self.health.found += 1;
                self.found.push_back(Found { device, place });
            }
            if self.budget.is_none() {
                self.budget = Some(Box::pin(sleep(BUDGET_PERIOD)));
            }
        }
        if self.running.as_ref().is_some_and(|running| running.entries() > LIST_MAX) {
            debug!("more than {LIST_MAX} addresses announced: looking again in a moment");
            self.running = None;
            self.schedule(FLOOD_PAUSE);
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) {
        if self.start.as_mut().is_some_and(|start| start.as_mut().poll(cx).is_ready()) {
            self.start();
        }
        if self.budget.as_mut().is_some_and(|budget| budget.as_mut().poll(cx).is_ready()) {
            self.budget = None;
            self.intake.renew_budget();
        }
    }
}

/// Whether mDNS tells others of this address.
fn is_announced(address: &Multiaddr) -> bool {
    reach(address).is_some_and(|reach| reach != Reach::Loopback)
}

impl NetworkBehaviour for Discovery {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Found;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p adds events in minor releases")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }) => {
                self.listening.push((listener_id, addr.clone()));
                // Also when it runs: a network that has just come up has to
                // hear of this device soon.
                if is_announced(addr) {
                    self.schedule(SETTLE);
                }
            }
            FromSwarm::ExpiredListenAddr(ExpiredListenAddr { listener_id, addr }) => {
                self.listening.retain(|(listener, address)| (*listener, address) != (listener_id, addr));
            }
            _ => return,
        }
        if let Some(running) = &mut self.running {
            running.mdns.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Found, THandlerInEvent<Self>>> {
        for _ in 0..TURN {
            // Each time, since what follows sets them.
            self.poll_timers(cx);
            if let Some(found) = self.found.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(found));
            }
            let Some(running) = &mut self.running else { return Poll::Pending };
            match running.poll(cx, &mut self.health) {
                Poll::Ready(Some(mdns::Event::Discovered(list))) => self.on_discovered(list),
                Poll::Ready(Some(mdns::Event::Expired(list))) => {
                    list.iter().for_each(|(peer, address)| self.intake.forget(peer, address));
                }
                // libp2p would tell all behaviours of all addresses. We choose
                // what we dial.
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// mDNS while it is on.
///
/// libp2p starts a task for every interface and leaves it running when its
/// behaviour is dropped: it would go on asking and answering with addresses
/// of old. So the tasks get a runtime of their own, and stop with it.
struct Running {
    mdns: mdns::tokio::Behaviour,
    ear: Option<Ear>,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl Running {
    /// Starts with what is known of `listening`. Says also why it cannot hear
    /// itself, in which case it most likely cannot hear anybody.
    fn start(local: PeerId, listening: &[(ListenerId, Multiaddr)]) -> io::Result<(Self, Option<io::Error>)> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("mdns").enable_all().build()?;
        let config = mdns::Config { ttl: TTL, query_interval: QUERY_EVERY, enable_ipv6: false };
        let mdns = {
            let _context = runtime.enter();
            mdns::tokio::Behaviour::new(config, local)
        };
        // Handed over at once, so that a failure stops the runtime as well.
        let (ear, error) = match Ear::open(own_ips(listening)) {
            Ok(ear) => (Some(ear), None),
            Err(error) => (None, Some(error)),
        };
        match mdns {
            Ok(mut mdns) => {
                for (listener_id, addr) in listening {
                    let known = NewListenAddr { listener_id: *listener_id, addr };
                    mdns.on_swarm_event(FromSwarm::NewListenAddr(known));
                }
                Ok((Self { mdns, ear, runtime: Some(runtime) }, error))
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn entries(&self) -> usize {
        self.mdns.discovered_nodes().len()
    }

    fn poll(&mut self, cx: &mut Context<'_>, health: &mut Health) -> Poll<Option<mdns::Event>> {
        if let Some(ear) = &mut self.ear {
            ear.poll(cx, health);
        }
        let _context = self.runtime.as_ref().map(Runtime::enter);
        self.mdns
            .poll(cx)
            .map(|action| if let ToSwarm::GenerateEvent(event) = action { Some(event) } else { None })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The other way to drop a runtime waits, which a task must not do.
            runtime.shutdown_background();
        }
    }
}

fn own_ips(listening: &[(ListenerId, Multiaddr)]) -> Vec<IpAddr> {
    let announced = listening.iter().map(|(_, address)| address).filter(|address| is_announced(address));
    announced.filter_map(ip).collect()
}
