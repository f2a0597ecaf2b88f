//! What the loop says about itself.

use std::collections::BTreeSet;
use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol as Part;

use super::EventLoop;
use crate::control::command::{NodeFacts, PeerFacts};
use crate::request::{DoctorRow, Level, PeerPath};
use crate::status;
use crate::swarm::addresses::{Reach, ip, reach};

impl EventLoop {
    pub(super) fn status_facts(&self) -> status::Facts {
        status::Facts {
            error: self.trusting.has_been_removed(),
            running: self.state.running(),
            last_success: self.state.last_success(),
            failures: self.state.failures(),
            held: self.control.holds(),
            ..status::Facts::default()
        }
    }

    pub(super) fn node_facts(&self) -> NodeFacts {
        NodeFacts {
            listening: self.links.listening().map(ToString::to_string).collect(),
            mdns: self.control.config().borrow().mdns,
            status: self.status_facts(),
            peers: self.state.devices().map(|device| (device, self.peer_facts(device))).collect(),
            warnings: self.trusting.warnings().cloned().chain(self.limit_warnings()).collect(),
        }
    }

    fn peer_facts(&self, device: DeviceId) -> PeerFacts {
        let seen = self.trusting.seen(device);
        let card = seen.map(|seen| &seen.card);
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        PeerFacts {
            online: self.state.is_greeted(device),
            path: self.path(device),
            clock_offset_ms: seen.and_then(|seen| seen.clock_offset_ms),
            failures: self.state.failures_of(device),
            last_failure: self.passing.last_failure(device).cloned(),
            platform: card.and_then(|card| text(&card.platform)),
            app: card.and_then(|card| text(&card.app)),
            ..PeerFacts::default()
        }
    }

    fn path(&self, device: DeviceId) -> PeerPath {
        let Some((_, connection)) = self.links.of(device).next() else {
            return PeerPath::None;
        };
        match reach(&connection.address) {
            Some(Reach::Loopback | Reach::Lan) => PeerPath::Lan,
            Some(Reach::Wan) | None => PeerPath::DirectWan,
        }
    }

    /// What can be said of the network from here.
    pub(super) fn doctor_rows(&self) -> Vec<DoctorRow> {
        let mut rows = Vec::new();
        let mut row = |check: &str, level, text: String, remedy: Option<&str>| {
            rows.push(DoctorRow { check: check.to_owned(), level, text, remedy: remedy.map(str::to_owned) });
        };
        let listening: BTreeSet<_> = self.links.listening().filter_map(ip).collect();
        let listening: Vec<_> = listening.iter().map(ToString::to_string).collect();
        let port = self.links.listening().find_map(port);
        let port = format!("port {}", port.unwrap_or(self.control.config().borrow().port));
        if listening.is_empty() {
            let remedy = "Is any network interface up? Restart the node once one is.";
            row(&port, Level::Bad, "not listening anywhere".to_owned(), Some(remedy));
        } else {
            row(&port, Level::Ok, format!("listening on {}", listening.join(", ")), None);
        }
        let (level, text, remedy) = self.discovery_health();
        row("multicast", level, text, remedy);
        for device in self.state.devices() {
            let name = self.control.peer_name(device).name;
            match self.links.of(device).next() {
                Some((_, connection)) => {
                    row(&name, Level::Ok, format!("connected at {}", connection.address), None);
                }
                None if self.state.has_removed_me(device) => {
                    row(&name, Level::Bad, "has removed this device".to_owned(), Some(super::RENEW));
                }
                None => {
                    let remedy = "Is it on? If discovery is blocked:  kinsync peers add-addr NAME ADDRESS";
                    row(&name, Level::Warn, "not connected".to_owned(), Some(remedy));
                }
            }
            if let Some(offset) = self.trusting.seen(device).and_then(|seen| seen.clock_offset_ms) {
                let off = Duration::from_millis(offset.unsigned_abs());
                if off > CLOCK_OFF {
                    let side = if offset > 0 { "ahead of" } else { "behind" };
                    let text = format!("{name} is {} s {side} this device", off.as_secs());
                    row("clock", Level::Warn, text, Some("Set both clocks by the network."));
                }
            }
        }
        rows
    }
}

/// How far two clocks may be apart before people are told.
const CLOCK_OFF: Duration = Duration::from_secs(30);

/// The TCP or UDP port of an address.
fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(
        |part| {
            if let Part::Tcp(port) | Part::Udp(port) = part { Some(port) } else { None }
        },
    )
}
