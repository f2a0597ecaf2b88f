//! Addresses as people type them.

use std::net::{IpAddr, SocketAddr};

use kinsync_protocol::id::DeviceId;
use libp2p::{Multiaddr, multiaddr::Protocol};

use crate::{
    config::PORT,
    failure::{Failure, Kind},
    swarm::device_id,
};

/// How long a typed address may be: a multiaddr with a peer id has about 120
/// letters.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// An address that somebody typed, and the device they expect there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Typed {
    /// The address, without the device.
    pub addr: Multiaddr,
    /// The device, if the address names one.
    pub device: Option<DeviceId>,
}

/// Reads `192.168.1.31`, `192.168.1.31:7842`, `[fe80::1]:7842`, `fe80::1` or a
/// multiaddr over TCP or QUIC, with or without the peer id at its end.
pub fn parse(text: &str) -> Result<Typed, Failure> {
    let text = text.trim();
    let bad = || {
        Failure::new(Kind::BadAddress, format!("{text:?} is not an address that can be dialled.")).hint(
            "Give an IP address, an IP address with a port, or a multiaddr: \
                   192.168.1.31, 192.168.1.31:7842, /ip4/192.168.1.31/tcp/7842",
        )
    };
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(Failure::new(
            Kind::BadAddress,
            format!("An address has at most {ADDRESS_BYTES_MAX} letters."),
        ));
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return over_tcp(addr).ok_or_else(bad);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return over_tcp(SocketAddr::new(ip, PORT)).ok_or_else(bad);
    }
    let mut addr: Multiaddr = text.parse().map_err(|_| bad())?;
    let device = match addr.iter().last() {
        Some(Protocol::P2p(peer)) => {
            addr.pop();
            Some(device_id(&peer).ok_or_else(bad)?)
        }
        _ => None,
    };
    if !can_be_dialled(&addr) {
        return Err(bad());
    }
    Ok(Typed { addr, device })
}

fn over_tcp(addr: SocketAddr) -> Option<Typed> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    };
    let addr = Multiaddr::empty().with(ip).with(Protocol::Tcp(addr.port()));
    can_be_dialled(&addr).then_some(Typed { addr, device: None })
}

/// IP and port over a transport that we have; a dial to nowhere or to
/// everybody is a slip.
fn can_be_dialled(addr: &Multiaddr) -> bool {
    let parts: Vec<_> = addr.iter().collect();
    let ip = match parts.first() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(*ip),
        Some(Protocol::Ip6(ip)) => IpAddr::V6(*ip),
        _ => return false,
    };
    let port = match parts.get(1..) {
        Some([Protocol::Tcp(port)] | [Protocol::Udp(port), Protocol::QuicV1]) => *port,
        _ => return false,
    };
    port != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_an_address() {
        for (text, addr) in [
            ("192.168.1.31", "/ip4/192.168.1.31/tcp/7842"),
            (" 192.168.1.31:99 ", "/ip4/192.168.1.31/tcp/99"),
            ("fe80::1", "/ip6/fe80::1/tcp/7842"),
            ("[fe80::1]:99", "/ip6/fe80::1/tcp/99"),
            ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"),
            ("/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.1/udp/1/quic-v1"),
        ] {
            let typed = parse(text).expect(text);
            assert_eq!(typed.addr.to_string(), addr);
            assert_eq!(typed.device, None);
        }
    }

    #[test]
    fn a_peer_id_at_the_end_says_who_is_expected() {
        let device = DeviceId([9; 32]);
        let text = format!("/ip4/10.0.0.1/tcp/1/p2p/{}", crate::identity::peer_id(&device));
        let typed = parse(&text).expect("an address");
        assert_eq!(typed.device, Some(device));
        assert_eq!(typed.addr.to_string(), "/ip4/10.0.0.1/tcp/1");
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        let long = "1".repeat(ADDRESS_BYTES_MAX + 1);
        for text in [
            "",
            "laptop",
            "laptop.local:7842",
            "0.0.0.0",
            "10.0.0.1:0",
            "224.0.0.251",
            "/dns4/example.org/tcp/1",
            "/ip4/10.0.0.1",
            "/ip4/10.0.0.1/udp/1",
            "/ip4/10.0.0.1/tcp/1/ws",
            "/p2p-circuit",
            &long,
        ] {
            assert_eq!(parse(text).expect_err(text).kind, Kind::BadAddress, "{text}");
        }
    }
}
