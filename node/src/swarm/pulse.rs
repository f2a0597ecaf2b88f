//! Notices that the other end is gone, and then closes the connection.
//!
//! TCP alone takes many minutes to notice a laptop that was closed. libp2p's
//! ping notices sooner and does nothing about it.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    ping,
    swarm::{CloseConnection, ConnectionId, NetworkBehaviour, THandlerInEvent, ToSwarm},
};
use tracing::debug;

use super::{delegate::delegate_network_behaviour, identity::device_id};

/// How often each connection is pinged.
pub const PING_EVERY: Duration = Duration::from_secs(15);

/// How long the answer to a ping may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it takes to `device` and back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RoundTrip {
    /// Who answered the ping.
    pub device: DeviceId,
    /// On which connection.
    pub connection: ConnectionId,
    /// How long the answer took.
    pub time: Duration,
}

/// Ping that closes a connection after two failures in a row.
pub struct Pulse {
    ping: ping::Behaviour,
}

impl Pulse {
    /// Pings every connection from its beginning.
    pub fn new() -> Self {
        let config = ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_TIMEOUT);
        Self { ping: ping::Behaviour::new(config) }
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl NetworkBehaviour for Pulse {
    type ConnectionHandler = <ping::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = RoundTrip;

    delegate_network_behaviour!(ping);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<RoundTrip, THandlerInEvent<Self>>> {
        while let Poll::Ready(action) = self.ping.poll(cx) {
            let ToSwarm::GenerateEvent(ping::Event { peer, connection, result }) = action else {
                return Poll::Ready(action.map_out(|_| unreachable!("events are taken out above")));
            };
            match result {
                Ok(time) => {
                    let Some(device) = device_id(&peer) else { continue };
                    return Poll::Ready(ToSwarm::GenerateEvent(RoundTrip { device, connection, time }));
                }
                Err(ping::Failure::Unsupported) => {}
                // libp2p keeps the first failure to itself: this is the second in a row.
                Err(error) => {
                    debug!(%peer, %connection, %error, "no answer to two pings: closing");
                    let connection = CloseConnection::One(connection);
                    return Poll::Ready(ToSwarm::CloseConnection { peer_id: peer, connection });
                }
            }
        }
        Poll::Pending
    }
}
