//! A behaviour that some peers cannot see.
//!
//! libp2p asks a handler for its protocols each time a stream comes in. The
//! gate answers with an empty list unless [`Admission`] lets the peer use the
//! protocol at that instant, so a refusal happens before a byte of a request
//! is read, and a change of trust needs no new connection.

use std::{
    iter::Take,
    task::{Context, Poll},
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{Endpoint, InboundUpgrade, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        handler::{
            AddressChange, ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound,
            FullyNegotiatedOutbound, InboundUpgradeSend, ListenUpgradeError, UpgradeInfoSend,
        },
    },
};

use super::{
    admission::{Admission, Side},
    door::Refusal,
    identity::device_id,
    protocols::Protocol,
};

/// Puts `B` behind [`Admission`].
#[derive(Debug)]
pub struct Gate<B> {
    inner: B,
    admission: Admission,
    protocol: Protocol,
    holds_open: bool,
}

impl<B> Gate<B> {
    /// Shows `inner` only to those who may use `protocol`.
    pub fn new(inner: B, protocol: Protocol, admission: Admission) -> Self {
        Self { inner, admission, protocol, holds_open: false }
    }

    /// Keeps the connections of trusted peers open while nothing happens on
    /// them. Everybody else's fall to the idle timeout.
    pub fn holding_trusted_connections(self) -> Self {
        Self { holds_open: true, ..self }
    }

    /// What is behind the gate.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// What is behind the gate, to be told things.
    pub fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// The set that decides.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The protocol that is behind the gate.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn guard<H>(&self, peer: &PeerId, inner: H) -> Result<GateHandler<H>, ConnectionDenied> {
        let device = device_id(peer).ok_or_else(|| ConnectionDenied::new(Refusal::NoDevice))?;
        Ok(GateHandler {
            inner,
            device,
            admission: self.admission.clone(),
            protocol: self.protocol,
            holds_open: self.holds_open,
        })
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = GateHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        self.guard(&peer, handler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler =
            self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        self.guard(&peer, handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// The gate on one connection.
#[derive(Debug)]
pub struct GateHandler<H> {
    inner: H,
    device: DeviceId,
    admission: Admission,
    protocol: Protocol,
    holds_open: bool,
}

impl<H> GateHandler<H> {
    fn is_open(&self, side: Side) -> bool {
        self.admission.allows(&self.device, self.protocol, side)
    }
}

/// An upgrade that shows its protocols, or none of them.
#[derive(Debug)]
pub struct Guarded<U> {
    inner: U,
    is_open: bool,
}

impl<U: UpgradeInfoSend> UpgradeInfo for Guarded<U> {
    type Info = U::Info;
    type InfoIter = Take<U::InfoIter>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.inner.protocol_info().take(if self.is_open { usize::MAX } else { 0 })
    }
}

impl<U: InboundUpgradeSend> InboundUpgrade<Stream> for Guarded<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_inbound(self, stream: Stream, info: Self::Info) -> Self::Future {
        self.inner.upgrade_inbound(stream, info)
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GateHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Guarded<H::InboundProtocol>;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        let is_open = self.is_open(Side::Theirs);
        self.inner.listen_protocol().map_upgrade(|inner| Guarded { inner, is_open })
    }

    fn connection_keep_alive(&self) -> bool {
        let holds = self.holds_open && self.admission.role(&self.device).is_trusted();
        holds || self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        loop {
            match self.inner.poll(cx) {
                // What was queued for a peer before it lost its trust stays here.
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
                    if !self.is_open(Side::Ours) =>
                {
                    let (_, info) = protocol.into_upgrade();
                    self.refuse_outbound(info);
                }
                other @ (Poll::Ready(_) | Poll::Pending) => return other,
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        let event = match event {
            // The peer may have lost its trust while the stream was negotiated.
            ConnectionEvent::FullyNegotiatedInbound(_) if !self.is_open(Side::Theirs) => return,
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { info, .. })
                if !self.is_open(Side::Ours) =>
            {
                return self.refuse_outbound(info);
            }
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
            }
            ConnectionEvent::FullyNegotiatedOutbound(stream) => {
                ConnectionEvent::FullyNegotiatedOutbound(stream)
            }
            ConnectionEvent::AddressChange(AddressChange { new_address }) => {
                ConnectionEvent::AddressChange(AddressChange { new_address })
            }
            ConnectionEvent::DialUpgradeError(error) => ConnectionEvent::DialUpgradeError(error),
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
            }
            ConnectionEvent::LocalProtocolsChange(change) => ConnectionEvent::LocalProtocolsChange(change),
            ConnectionEvent::RemoteProtocolsChange(change) => ConnectionEvent::RemoteProtocolsChange(change),
            // Whatever libp2p adds one day, a gate does not need to know it.
            _ => return,
        };
        self.inner.on_connection_event(event);
    }
}

impl<H: ConnectionHandler> GateHandler<H> {
    /// Tells the inner handler what it would hear if the peer had refused.
    fn refuse_outbound(&mut self, info: H::OutboundOpenInfo) {
        let error = StreamUpgradeError::NegotiationFailed;
        self.inner.on_connection_event(ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }));
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::dummy;

    use super::*;
    use crate::swarm::{Role, peer_id};

    const PHONE: DeviceId = DeviceId([1; 32]);

    fn keeps_alive(role: Role, gate: Gate<()>) -> bool {
        gate.admission.set_role(PHONE, role);
        gate.guard(&peer_id(&PHONE), dummy::ConnectionHandler).unwrap().connection_keep_alive()
    }

    #[test]
    fn only_trusted_connections_are_held_open_and_only_where_asked_for() {
        let roles = [Role::Kin, Role::Guest, Role::Once, Role::Revoked, Role::Stranger];
        let gate = || Gate::new((), Protocol::Sync, Admission::new());
        let held = roles.map(|role| keeps_alive(role, gate().holding_trusted_connections()));
        assert_eq!(held, [true, true, true, false, false]);
        assert_eq!(roles.map(|role| keeps_alive(role, gate())), [false; 5]);
    }
}
