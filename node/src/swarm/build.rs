//! Puts the swarm together.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU8,
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Swarm, Transport, TransportError,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport, upgrade::Version},
    },
    futures::future::Either,
    identity::Keypair,
    multiaddr::Protocol as Part,
    noise, quic,
    swarm::Config as SwarmConfig,
    tcp, yamux,
};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use super::{STREAMS_PER_CONNECTION_MAX, addresses::ip, admission::Admission, behaviour::Behaviour};
use crate::config::PORT;

/// How long a connection on which nothing happens stays, unless a trusted
/// peer is at its other end.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to agree on encryption and multiplexing.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection that may be agreeing on a protocol. More are
/// reset, which costs their sender a stream and nobody a connection.
const NEGOTIATING_MAX: usize = 32;

/// Addresses of one peer that are tried at the same time, in the order in which
/// they are given: those that worked last come first. libp2p's own ranking
/// holds each address back for 30 ms after the one before it, also after one
/// that was refused at once, and puts an old address before the one that works.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(4).expect("four is not zero");

/// How the node is on the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// What to listen on. QUIC addresses are skipped while `quic` is off.
    pub listen: Vec<Multiaddr>,
    /// Whether to speak QUIC besides TCP. Off means no UDP socket.
    pub quic: bool,
    /// Whether to announce this device on the local network and look for
    /// others. Off means that no mDNS packet is sent or answered.
    pub mdns: bool,
}

impl Config {
    /// Listens on `port` of every interface, TCP and UDP, IPv4 and IPv6.
    pub fn on_port(port: u16) -> Self {
        let everywhere = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let tcp = everywhere.map(|ip| Multiaddr::from(ip).with(Part::Tcp(port)));
        let quic = everywhere.map(|ip| Multiaddr::from(ip).with(Part::Udp(port)).with(Part::QuicV1));
        Self { listen: tcp.into_iter().chain(quic).collect(), quic: true, mdns: true }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::on_port(PORT)
    }
}

/// Why the node is not on the network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The encryption layer does not take the key.
    #[error("the encryption layer refused the device key")]
    Key(#[source] noise::Error),
    /// Somebody else listens on the port.
    #[error("port {port} is in use by another program ({address})")]
    PortInUse {
        /// The port that is in use.
        port: u16,
        /// What we wanted to listen on.
        address: Multiaddr,
    },
    /// Ports below 1024 are for the administrator.
    #[error("port {port} needs administrator rights ({address})")]
    PortPrivileged {
        /// The port that needs them.
        port: u16,
        /// What we wanted to listen on.
        address: Multiaddr,
    },
    /// The address is of a kind that this node does not speak.
    #[error("cannot listen on {0}: not an address of TCP or QUIC")]
    Unsupported(Multiaddr),
    /// Listening failed.
    #[error("cannot listen on {address}")]
    Listen {
        /// What we wanted to listen on.
        address: Multiaddr,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There was nothing to listen on.
    #[error("no address to listen on")]
    Nowhere,
}

/// A swarm that proves `key`, lets in whom `admission`
/// allows, and listens as `config` says.
///
/// Needs a tokio runtime around it, here and whenever it is polled. IPv6 is
/// left out where the machine has none.
pub fn build(key: &Keypair, config: &Config, admission: Admission) -> Result<Swarm<Behaviour>, BuildError> {
    let transport = transport(key, config.quic)?;
    let mut swarm = assemble(key, transport, config.mdns, admission);
    listen(&mut swarm, config)?;
    Ok(swarm)
}

/// The same over a transport of the caller's choice, listening on nothing.
pub(super) fn assemble(
    key: &Keypair,
    transport: Boxed<(PeerId, StreamMuxerBox)>,
    mdns: bool,
    admission: Admission,
) -> Swarm<Behaviour> {
    let me = key.public().to_peer_id();
    let behaviour = Behaviour::new(me, mdns, &admission);
    let config = SwarmConfig::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX)
        .with_dial_concurrency_factor(DIAL_CONCURRENCY)
        // Each stream is for one protocol, so what is asked travels with its
        // name, a round trip earlier. Whoever refuses the protocol reads none of it.
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
    Swarm::new(transport, behaviour, me, config)
}

pub(super) fn transport(key: &Keypair, quic: bool) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BuildError> {
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key).map_err(BuildError::Key)?)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed();
    if !quic {
        return Ok(tcp);
    }
    let mut config = quic::Config::new(key);
    config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION_MAX as u32;
    let quic = quic::tokio::Transport::new(config);
    Ok(OrTransport::new(quic, tcp)
        .map(|either, _| match either {
            Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            Either::Right(connection) => connection,
        })
        .boxed())
}

fn listen(swarm: &mut Swarm<Behaviour>, config: &Config) -> Result<(), BuildError> {
    let mut listening = 0;
    let mut without_ipv6 = None;
    for address in &config.listen {
        if is_udp(address) && !config.quic {
            continue;
        }
        match listen_on(swarm, address) {
            Ok(()) => listening += 1,
            Err(BuildError::Listen { address, source })
                if address.iter().any(|part| matches!(part, Part::Ip6(_))) =>
            {
                without_ipv6 = Some(BuildError::Listen { address, source });
            }
            Err(error) => return Err(error),
        }
    }
    match listening {
        0 => Err(without_ipv6.unwrap_or(BuildError::Nowhere)),
        _ => Ok(()),
    }
}

fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<(), BuildError> {
    let result = probe(address).map_err(TransportError::Other);
    let error = match result.and_then(|()| swarm.listen_on(address.clone())) {
        Ok(_) => return Ok(()),
        Err(TransportError::MultiaddrNotSupported(address)) => return Err(BuildError::Unsupported(address)),
        Err(TransportError::Other(source)) => source,
    };
    let address = address.clone();
    let port = address.iter().find_map(|part| socket_kind(part).map(|(port, _)| port));
    Err(match (error.kind(), port) {
        (io::ErrorKind::AddrInUse, Some(port)) => BuildError::PortInUse { port, address },
        (io::ErrorKind::PermissionDenied, Some(port)) => BuildError::PortPrivileged { port, address },
        _ => BuildError::Listen { address, source: error },
    })
}

/// Finds out whether another program has the port.
///
/// libp2p listens on TCP in a way that shares the port with every other
/// program of the same user that does so too: two nodes would split the
/// connections between them by chance, without an error on either. And its
/// QUIC wraps the error so that the reason cannot be told.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let (Some(ip), Some((port, kind))) = (ip(address), address.iter().nth(1).and_then(socket_kind)) else {
        return Ok(());
    };
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A connection of the last run that is still winding down is no listener.
    // Elsewhere this option means that the port may be shared.
    #[cfg(unix)]
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    // Without this step two sockets that reuse an address do not collide.
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a part of an address is one of thirty things")]
fn socket_kind(part: Part<'_>) -> Option<(u16, Type)> {
    match part {
        Part::Tcp(port) => Some((port, Type::STREAM)),
        Part::Udp(port) => Some((port, Type::DGRAM)),
        _ => None,
    }
}

fn is_udp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Part::Udp(_)))
}
