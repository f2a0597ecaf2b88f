//! Addresses: where they lead, and which of those that we are told to keep.

use std::net::IpAddr;

use kinsync_protocol::id::DeviceId;
use libp2p::{Multiaddr, multiaddr::Protocol as Part};

use super::identity::device_id;

/// How far an address leads.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reach {
    /// This machine only.
    Loopback,
    /// The local network: private and link-local addresses.
    Lan,
    /// Everywhere else.
    Wan,
}

/// How an address carries bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Carrier {
    /// TCP, with Noise and Yamux on top.
    Tcp,
    /// QUIC, version 1.
    Quic,
}

/// The IP address that `address` begins with.
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    if let Some(Part::Ip4(ip)) = address.iter().next() {
        Some(IpAddr::V4(ip))
    } else if let Some(Part::Ip6(ip)) = address.iter().next() {
        Some(IpAddr::V6(ip))
    } else {
        None
    }
}

/// How far `address` leads, if it begins with an IP address.
pub fn reach(address: &Multiaddr) -> Option<Reach> {
    let ip = ip(address)?;
    let (loopback, lan) = match ip {
        IpAddr::V4(ip) => (ip.is_loopback(), ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => (ip.is_loopback(), ip.is_private() || ip.is_link_local()),
            None => (ip.is_loopback(), ip.is_unique_local() || ip.is_unicast_link_local()),
        },
    };
    Some(match (loopback, lan) {
        (true, _) => Reach::Loopback,
        (false, true) => Reach::Lan,
        (false, false) => Reach::Wan,
    })
}

/// An address that can be dialled and is worth remembering.
///
/// Always `/ip4|ip6/…/tcp/…` or `/ip4|ip6/…/udp/…/quic-v1`, without the
/// peer id, so that the same place is the same text.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    ip: IpAddr,
    port: u16,
    carrier: Carrier,
}

impl Place {
    /// The place at this address and port.
    ///
    /// `None` for what nobody can be reached at: the unspecified address,
    /// groups, port 0, and link-local IPv6, which means something else on
    /// every interface.
    pub fn new(ip: IpAddr, port: u16, carrier: Carrier) -> Option<Self> {
        let nobody = match ip {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => {
                ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unicast_link_local()
                    || ip.to_ipv4_mapped().is_some()
            }
        };
        (!nobody && port != 0).then_some(Self { ip, port, carrier })
    }

    /// Reads an address that a peer, mDNS or the store told us.
    ///
    /// Anything but a plain address of TCP or QUIC is `None`. A peer id at
    /// its end has to be `device`'s.
    pub fn told(address: &Multiaddr, device: &DeviceId) -> Option<Self> {
        let (place, named) = split(address)?;
        named.is_none_or(|named| named == *device).then_some(place)
    }

    /// How far it leads.
    pub fn reach(&self) -> Reach {
        reach(&self.address()).unwrap_or(Reach::Wan)
    }

    /// What carries the bytes.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The address to dial.
    pub fn address(&self) -> Multiaddr {
        let address = Multiaddr::from(self.ip);
        match self.carrier {
            Carrier::Tcp => address.with(Part::Tcp(self.port)),
            Carrier::Quic => address.with(Part::Udp(self.port)).with(Part::QuicV1),
        }
    }
}

/// Takes `address` apart, if it has exactly the parts that we dial.
fn split(address: &Multiaddr) -> Option<(Place, Option<DeviceId>)> {
    let ip = ip(address)?;
    let mut parts = address.iter().skip(1).peekable();
    let (port, carrier) = if let Some(Part::Tcp(port)) = parts.peek() {
        (*port, Carrier::Tcp)
    } else if let Some(Part::Udp(port)) = parts.peek() {
        (*port, Carrier::Quic)
    } else {
        return None;
    };
    parts.next();
    if carrier == Carrier::Quic && parts.next() != Some(Part::QuicV1) {
        return None;
    }
    let device = match parts.next() {
        None => None,
        Some(Part::P2p(peer)) => Some(device_id(&peer)?),
        Some(_) => return None,
    };
    parts.next().is_none().then_some(())?;
    Some((Place::new(ip, port, carrier)?, device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{peer_id, tests::key};

    fn phone() -> DeviceId {
        device_id(&key(1).public().to_peer_id()).unwrap()
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_lead_as_far_as_their_range_says() {
        let cases = [
            ("/ip4/127.0.0.1/tcp/1", Some(Reach::Loopback)),
            ("/ip6/::1/tcp/1", Some(Reach::Loopback)),
            ("/ip4/192.168.1.20/tcp/1", Some(Reach::Lan)),
            ("/ip4/10.1.2.3/udp/1/quic-v1", Some(Reach::Lan)),
            ("/ip4/172.31.0.1/tcp/1", Some(Reach::Lan)),
            ("/ip4/169.254.7.7/tcp/1", Some(Reach::Lan)),
            ("/ip6/fd00::7/tcp/1", Some(Reach::Lan)),
            ("/ip6/::ffff:192.168.1.20/tcp/1", Some(Reach::Lan)),
            ("/ip4/172.32.0.1/tcp/1", Some(Reach::Wan)),
            ("/ip4/100.64.0.1/tcp/1", Some(Reach::Wan)),
            ("/ip6/2001:db8::1/tcp/1", Some(Reach::Wan)),
            ("/dns4/example.org/tcp/1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(reach(&address(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_a_peer_tells_is_kept_only_if_it_is_plain() {
        let (own, other) = (peer_id(&phone()), key(2).public().to_peer_id());
        let kept = [
            "/ip4/192.168.1.20/tcp/7842".to_owned(),
            format!("/ip4/192.168.1.20/tcp/7842/p2p/{own}"),
            "/ip6/fd00::7/udp/7842/quic-v1".to_owned(),
        ];
        for text in kept {
            let place = Place::told(&address(&text), &phone()).expect(&text);
            assert!(text.starts_with(&place.address().to_string()));
        }
        let dropped = [
            format!("/ip4/192.168.1.20/tcp/7842/p2p/{other}"),
            format!("/ip4/192.168.1.20/tcp/7842/p2p/{other}/p2p-circuit/p2p/{own}"),
            "/ip4/0.0.0.0/tcp/7842".to_owned(),
            "/ip4/224.0.0.251/tcp/7842".to_owned(),
            "/ip4/255.255.255.255/tcp/7842".to_owned(),
            "/ip4/192.168.1.20/tcp/0".to_owned(),
            "/ip4/192.168.1.20/udp/7842".to_owned(),
            "/ip4/192.168.1.20/tcp/7842/ws".to_owned(),
            "/ip6/fe80::1/tcp/7842".to_owned(),
            "/dns4/tracker.example/tcp/7842".to_owned(),
            "/unix/tmp".to_owned(),
            "/memory/7".to_owned(),
        ];
        for text in dropped {
            assert_eq!(Place::told(&address(&text), &phone()), None, "{text}");
        }
    }
}
