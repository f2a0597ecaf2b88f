//! All behaviours of the swarm, in the order in which they are asked.

use std::convert::Infallible;

use libp2p::{PeerId, connection_limits, swarm::NetworkBehaviour};

use super::{
    admission::Admission,
    door::Door,
    exchange::{self, Exchange},
    mdns::{Discovery, Found},
    protocols::Protocol,
    pulse::{Answered, Pulse},
};

/// Handshakes under way with those who came.
pub const PENDING_IN_MAX: u32 = 16;
/// Dials under way.
pub const PENDING_OUT_MAX: u32 = 16;
/// Connections of those who came.
pub const ESTABLISHED_IN_MAX: u32 = 64;
/// Connections in all, so that there is always room to dial.
pub const ESTABLISHED_MAX: u32 = 96;
/// Connections to one peer. One is wanted; when both sides dial at once there
/// are two for a moment, and a limit of one would then often leave none.
pub const ESTABLISHED_PER_PEER_MAX: u32 = 4;

/// What the swarm does besides carrying bytes.
#[derive(NetworkBehaviour)]
#[behaviour(to_swarm = "Event")]
pub struct Behaviour {
    /// Denies connections. First, so that the others see nobody it turns away.
    pub door: Door,
    limits: connection_limits::Behaviour,
    /// Finds devices on the local network.
    pub discovery: Discovery,
    /// Notices who is gone.
    pub pulse: Pulse,
    /// Pairing.
    pub pair: Exchange,
    /// Statements about keys.
    pub trust: Exchange,
    /// Records.
    pub sync: Exchange,
}

/// What the swarm has to tell, besides connections coming and going.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A device may be somewhere on the local network.
    Found(Found),
    /// A peer answered a ping.
    Pulse(Answered),
    /// A question or an answer.
    Exchange(exchange::Event),
}

impl From<Infallible> for Event {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Found> for Event {
    fn from(event: Found) -> Self {
        Self::Found(event)
    }
}

impl From<Answered> for Event {
    fn from(event: Answered) -> Self {
        Self::Pulse(event)
    }
}

impl From<exchange::Event> for Event {
    fn from(event: exchange::Event) -> Self {
        Self::Exchange(event)
    }
}

impl Behaviour {
    /// Everything for this device, as far as `admission` allows.
    pub(super) fn new(me: PeerId, mdns: bool, admission: &Admission) -> Self {
        let discovery = Discovery::new(me, admission.clone(), mdns);
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_IN_MAX))
            .with_max_pending_outgoing(Some(PENDING_OUT_MAX))
            .with_max_established_incoming(Some(ESTABLISHED_IN_MAX))
            .with_max_established(Some(ESTABLISHED_MAX))
            .with_max_established_per_peer(Some(ESTABLISHED_PER_PEER_MAX));
        Self {
            door: Door::new(admission.clone()),
            limits: connection_limits::Behaviour::new(limits),
            discovery,
            pulse: Pulse::new(),
            pair: Exchange::new(Protocol::Pair, admission.clone()),
            trust: Exchange::new(Protocol::Trust, admission.clone()),
            sync: Exchange::new(Protocol::Sync, admission.clone()),
        }
    }

    /// The exchange of `protocol`.
    pub fn exchange(&mut self, protocol: Protocol) -> &mut Exchange {
        match protocol {
            Protocol::Pair => &mut self.pair,
            Protocol::Trust => &mut self.trust,
            Protocol::Sync => &mut self.sync,
        }
    }
}
