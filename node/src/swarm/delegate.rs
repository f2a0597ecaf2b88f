//! A behaviour that wraps another one passes most calls on unchanged.

/// Writes every method of `NetworkBehaviour` but `poll` as a call to the same
/// method of the field `$inner`.
macro_rules! delegate_network_behaviour {
    ($inner:ident) => {
        fn handle_pending_inbound_connection(
            &mut self,
            connection: ::libp2p::swarm::ConnectionId,
            local: &::libp2p::Multiaddr,
            remote: &::libp2p::Multiaddr,
        ) -> Result<(), ::libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_pending_inbound_connection(connection, local, remote)
        }

        fn handle_established_inbound_connection(
            &mut self,
            connection: ::libp2p::swarm::ConnectionId,
            peer: ::libp2p::PeerId,
            local: &::libp2p::Multiaddr,
            remote: &::libp2p::Multiaddr,
        ) -> Result<::libp2p::swarm::THandler<Self>, ::libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_established_inbound_connection(connection, peer, local, remote)
        }

        fn handle_pending_outbound_connection(
            &mut self,
            connection: ::libp2p::swarm::ConnectionId,
            peer: Option<::libp2p::PeerId>,
            addresses: &[::libp2p::Multiaddr],
            role: ::libp2p::core::Endpoint,
        ) -> Result<Vec<::libp2p::Multiaddr>, ::libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_pending_outbound_connection(connection, peer, addresses, role)
        }

        fn handle_established_outbound_connection(
            &mut self,
            connection: ::libp2p::swarm::ConnectionId,
            peer: ::libp2p::PeerId,
            address: &::libp2p::Multiaddr,
            role: ::libp2p::core::Endpoint,
            port: ::libp2p::core::transport::PortUse,
        ) -> Result<::libp2p::swarm::THandler<Self>, ::libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_established_outbound_connection(connection, peer, address, role, port)
        }

        fn on_swarm_event(&mut self, event: ::libp2p::swarm::FromSwarm) {
            self.$inner.on_swarm_event(event);
        }

        fn on_connection_handler_event(
            &mut self,
            peer: ::libp2p::PeerId,
            connection: ::libp2p::swarm::ConnectionId,
            event: ::libp2p::swarm::THandlerOutEvent<Self>,
        ) {
            self.$inner.on_connection_handler_event(peer, connection, event);
        }
    };
}

pub(crate) use delegate_network_behaviour;
