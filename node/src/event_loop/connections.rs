//! Connections: dialling, coming and going, and which one stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tracing::{debug, trace};

use super::EventLoop;
use crate::events::Event;
use crate::request::Level;
use crate::swarm::addresses::{Place, Reach, ip, reach};
use crate::swarm::mdns::Found;
use crate::swarm::prefer::{self, Link};
use crate::swarm::{Event as BehaviourEvent, Protocol, Role, Side, device_id, dial, exchange, peer_id};

/// How long a second connection to a device may stay: requests on it finish.
const PRUNE_AFTER: Duration = Duration::from_secs(1);

/// Addresses kept in memory for one device, newest first.
const SIGHTINGS_MAX: usize = 8;

/// Every connection of trusted devices, and where they were seen.
#[derive(Debug, Default)]
pub(super) struct Connections {
    up: BTreeMap<DeviceId, BTreeMap<ConnectionId, Connection>>,
    sightings: BTreeMap<DeviceId, Vec<Place>>,
    prune_at: BTreeMap<DeviceId, Duration>,
    listening: BTreeSet<Multiaddr>,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) address: Multiaddr,
    pub(super) side: Side,
    since: Duration,
}

impl Connections {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.prune_at.values().min().copied()
    }

    pub(super) fn of(&self, device: DeviceId) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.up.get(&device).into_iter().flatten().map(|(id, connection)| (*id, connection))
    }

    pub(super) fn count(&self, device: DeviceId) -> usize {
        self.up.get(&device).map_or(0, BTreeMap::len)
    }

    pub(super) fn listening(&self) -> impl Iterator<Item = &Multiaddr> {
        self.listening.iter()
    }

    /// How many networks this device is on, not counting itself.
    pub(super) fn interfaces(&self) -> usize {
        let ips: BTreeSet<_> = self
            .listening
            .iter()
            .filter(|address| reach(address) != Some(Reach::Loopback))
            .filter_map(ip)
            .collect();
        // A network has an address of each family, or of one.
        let old = ips.iter().filter(|ip| ip.is_ipv4()).count();
        old.max(ips.len() - old)
    }

    /// Remembers where a device was seen, for the next dial.
    pub(super) fn note_sighting(&mut self, device: DeviceId, place: Place) {
        let places = self.sightings.entry(device).or_default();
        places.retain(|known| *known != place);
        places.insert(0, place);
        places.truncate(SIGHTINGS_MAX);
    }
}

impl EventLoop {
    /// Dials a trusted device wherever it may be.
    pub(super) fn dial(&mut self, device: DeviceId) {
        let now = self.now();
        if !self.admission.may_connect(&device, Side::Ours) || self.links.count(device) > 0 {
            self.state.handle_dial_failed(device, now);
            return;
        }
        let mut places = self.links.sightings.get(&device).cloned().unwrap_or_default();
        for place in self.remembered(device) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places.sort_by_key(|place| (place.reach(), place.carrier()));
        if places.is_empty() {
            trace!(device = %device.short(), "no address is known");
            self.state.handle_dial_failed(device, now);
            return;
        }
        if let Err(error) = dial(&mut self.swarm, &device, &places) {
            debug!(device = %device.short(), %error, "not dialled");
            self.state.handle_dial_failed(device, now);
        }
    }

    /// Addresses that the device was reached at before, or that somebody typed.
    fn remembered(&self, device: DeviceId) -> Vec<Place> {
        let addresses =
            self.storage.store().read(|snapshot| snapshot.addresses(Some(device))).unwrap_or_default();
        let places = addresses.iter().filter_map(|known| known.text.parse::<Multiaddr>().ok());
        places.filter_map(|address| Place::told(&address, &device)).collect()
    }

    /// Remembers an address that worked.
    fn remember(&mut self, device: DeviceId, place: &Place) {
        if self.admission.role(&device) != Role::Once {
            let at = self.wall();
            self.notes.worked(device, place.address().to_string(), at);
        }
    }

    /// A device is said to be somewhere.
    fn on_found(&mut self, found: Found) {
        self.pair_found(&found);
        let (Found { device, place }, now) = (found, self.now());
        if self.admission.role(&device).is_trusted() {
            self.links.note_sighting(device, place);
            self.state.handle_found(device, now);
        }
    }

    /// Closes all connections of a device.
    pub(super) fn disconnect(&mut self, device: DeviceId) {
        // Not connected is as good.
        let _ = self.swarm.disconnect_peer_id(peer_id(&device));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p adds events in minor releases")]
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Exchange(event)) => self.on_exchange(event),
            SwarmEvent::Behaviour(BehaviourEvent::Found(found)) => self.on_found(found),
            SwarmEvent::Behaviour(event) => trace!(?event, "behaviour event of no interest"),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(&peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                debug!(%peer_id, ?cause, "connection closed");
                self.on_closed(&peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error, .. } => {
                debug!(?peer_id, %error, "dial failed");
                let pairing = self.pair_unreachable(connection_id);
                if let Some(device) = peer_id.as_ref().and_then(device_id)
                    && self.links.count(device) == 0
                    && !pairing
                {
                    let now = self.now();
                    self.state.handle_dial_failed(device, now);
                    self.on_unreachable(device);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.links.listening.insert(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.links.listening.remove(&address);
            }
            event => trace!(?event, "swarm event of no interest"),
        }
    }

    fn on_connected(&mut self, peer: &PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(device) = device_id(peer) else {
            return;
        };
        let side = if endpoint.is_dialer() { Side::Ours } else { Side::Theirs };
        let (address, since) = (endpoint.get_remote_address().clone(), self.now());
        let up = self.links.up.entry(device).or_default();
        let first = up.is_empty();
        up.insert(connection, Connection { address, side, since });
        self.pair_connected(device, connection);
        if !first {
            let now = self.now();
            self.links.prune_at.insert(device, now + PRUNE_AFTER);
        } else if self.admission.role(&device).is_trusted() {
            self.admit_connected(device);
        } else if self.admission.role(&device) == Role::Revoked {
            self.say_farewell(device);
        }
    }

    /// Begins with a device that is connected and trusted.
    pub(super) fn admit_connected(&mut self, device: DeviceId) {
        let Some(side) = self.links.of(device).next().map(|(_, link)| link.side) else {
            return;
        };
        let now = self.now();
        let kin = self.admission.role(&device) == Role::Kin;
        self.state.handle_connected(device, side == Side::Ours && kin, now);
        if !kin {
            // Guests exchange no trust: nothing has to come first.
            self.on_greeted(device);
        }
    }

    /// A device is connected and has said the first word: only now it counts
    /// as there. One that does not know this device hangs up without a word.
    pub(super) fn on_greeted(&mut self, device: DeviceId) {
        if !self.state.is_connected(device) || self.state.is_greeted(device) {
            return;
        }
        let now = self.now();
        self.state.handle_greeted(device, now);
        let dialled = self.links.of(device).find(|(_, link)| link.side == Side::Ours);
        if let Some((_, link)) = dialled
            && let Some(place) = Place::told(&link.address, &device)
        {
            self.remember(device, &place);
        }
        let at = self.wall();
        if self.admission.role(&device) != Role::Once {
            self.notes.seen(device, at);
        }
        self.control.events().publish(Event::PeerOnline(self.control.peer_name(device)));
        self.compare_if_asked(device);
    }

    fn on_closed(&mut self, peer: &PeerId, connection: ConnectionId) {
        let Some(device) = device_id(peer) else {
            return;
        };
        let Some(up) = self.links.up.get_mut(&device) else {
            return;
        };
        up.remove(&connection);
        if up.is_empty() {
            self.links.up.remove(&device);
            self.links.prune_at.remove(&device);
            self.sessions.forget(device);
            self.pair_disconnected(device);
            let (now, at) = (self.now(), self.wall());
            let was_there = self.state.is_greeted(device);
            self.state.handle_disconnected(device, now);
            self.finish_revocations();
            if !self.admission.role(&device).is_trusted() || !was_there {
                return;
            }
            if self.admission.role(&device) == Role::Once {
                self.end_visit(device);
            } else {
                self.notes.seen(device, at);
            }
            self.control.events().publish(Event::PeerOffline(self.control.peer_name(device)));
        }
    }

    /// Closes all but one connection of devices that have several.
    pub(super) fn prune_connections(&mut self, now: Duration) {
        let due: Vec<_> =
            self.links.prune_at.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for device in due {
            let ages = || self.links.of(device).map(|(_, link)| link.since);
            let apart = ages().max().unwrap_or(now).saturating_sub(ages().min().unwrap_or(now));
            // A pass on a dead connection would not end before that does.
            if self.is_passing(device) && apart < prefer::AT_ONCE {
                self.links.prune_at.insert(device, now + PRUNE_AFTER);
                continue;
            }
            self.links.prune_at.remove(&device);
            let links = self.links.of(device);
            let links: Vec<_> = links
                .map(|(connection, link)| Link {
                    connection,
                    relayed: false,
                    dialled_by: link.side,
                    since: link.since,
                })
                .collect();
            for surplus in prefer::surplus(&self.me, &device, &links) {
                debug!(device = %device.short(), "closing a second connection");
                self.swarm.close_connection(surplus);
            }
        }
    }

    fn on_exchange(&mut self, event: exchange::Event) {
        if let exchange::Event::Request { device, connection, .. }
        | exchange::Event::Answer { device, connection, .. } = &event
        {
            self.swarm.behaviour_mut().pulse.hear(*device, *connection);
        }
        match event {
            exchange::Event::Request { protocol, device, frame, reply, .. } => match protocol {
                Protocol::Sync => self.on_sync_request(device, frame, reply),
                Protocol::Trust => self.on_trust_request(device, &frame, reply),
                Protocol::Pair => self.on_pair_request(device, &frame, reply),
            },
            exchange::Event::Answer { protocol, device, request, frame, .. } => {
                match self.requests.remove(&(protocol, request)) {
                    Some(super::Purpose::Pairing(ask)) => self.on_pair_answer(ask, Ok(frame)),
                    Some(super::Purpose::Passing(asked)) => self.on_sync_answer(device, asked, Ok(frame)),
                    Some(super::Purpose::Trusting(asked)) => self.on_trust_answer(device, asked, Ok(frame)),
                    None => debug!("an answer that nobody waits for"),
                }
            }
            exchange::Event::Failed { protocol, device, request, error } => {
                match self.requests.remove(&(protocol, request)) {
                    Some(super::Purpose::Pairing(ask)) => self.on_pair_answer(ask, Err(error)),
                    Some(super::Purpose::Passing(asked)) => self.on_sync_answer(device, asked, Err(error)),
                    Some(super::Purpose::Trusting(asked)) => self.on_trust_answer(device, asked, Err(error)),
                    None => debug!(%error, "a failure that nobody waits for"),
                }
            }
        }
    }
}

impl EventLoop {
    /// Whether devices can be found here.
    pub(super) fn discovery_health(&self) -> (Level, String, Option<&'static str>) {
        let health = self.swarm.behaviour().discovery.health();
        let blocked = "Guest Wi-Fi, access point isolation or a firewall on UDP 5353? \
                       Say where a device is:  kinsync peers add-addr NAME ADDRESS";
        match (health.enabled, health.running, &health.error) {
            (false, _, _) => (Level::Ok, "discovery is switched off".to_owned(), None),
            (true, _, Some(error)) => (Level::Bad, error.clone(), Some(blocked)),
            (true, false, None) => (Level::Warn, "no network but this machine itself".to_owned(), None),
            // Devices on this machine have its address, so they pass for itself.
            (true, true, None) if health.found > 0 => {
                (Level::Ok, format!("works; {} addresses of devices found", health.found), None)
            }
            (true, true, None) if health.heard_self == 0 => {
                (Level::Bad, "sent queries and did not hear them back".to_owned(), Some(blocked))
            }
            (true, true, None) if health.heard_others == 0 => {
                (Level::Warn, "works here; no other device has answered".to_owned(), Some(blocked))
            }
            (true, true, None) => (Level::Ok, "works; no device of kinsync found yet".to_owned(), None),
        }
    }
}
