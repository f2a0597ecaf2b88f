//! Listens along on the multicast group, to tell people whether it works.
//!
//! libp2p's mDNS neither says that its port is taken nor that nothing ever
//! arrives. A machine hears its own multicast packets, so a few seconds after
//! the start silence means that they do not get through.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::ReadBuf, net::UdpSocket};

use super::Health;

/// The group and the port of mDNS.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;

/// Packets counted in one turn.
const TURN: usize = 32;

#[derive(Debug)]
pub(super) struct Ear {
    socket: UdpSocket,
    own: Vec<IpAddr>,
}

impl Ear {
    /// Joins the group on the interfaces with the addresses `own`.
    pub(super) fn open(own: Vec<IpAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
        for ip in &own {
            if let IpAddr::V4(ip) = ip {
                // An interface may be gone by now, or belong to the group already.
                drop(socket.join_multicast_v4(&GROUP, ip));
            }
        }
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, own })
    }

    /// Counts what has come. What it says does not matter here.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, health: &mut Health) {
        let mut packet = [0; 2048];
        for _ in 0..TURN {
            match self.socket.poll_recv_from(cx, &mut ReadBuf::new(&mut packet)) {
                Poll::Ready(Ok(from)) if self.own.contains(&from.ip()) => health.heard_self += 1,
                Poll::Ready(Ok(_)) => health.heard_others += 1,
                // Errors belong to single packets here.
                Poll::Ready(Err(_)) => {}
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }
}
