//! How this device goes to others.

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Swarm,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{addresses::Place, behaviour::Behaviour, identity::peer_id};

/// Dials `device` at `places`, the best of which wins.
///
/// Does nothing but fail while a connection exists or a dial is under way.
/// Whoever answers there with another key is a failure too. The outcome is a
/// connection or an `OutgoingConnectionError` with the id returned here.
///
/// From a port of its own: two devices that dial each other from the ports
/// that they listen on can meet in the middle, and then neither gets through.
pub fn dial(
    swarm: &mut Swarm<Behaviour>,
    device: &DeviceId,
    places: &[Place],
) -> Result<ConnectionId, DialError> {
    let options = DialOpts::peer_id(peer_id(device))
        .condition(PeerCondition::DisconnectedAndNotDialing)
        .addresses(places.iter().map(Place::address).collect())
        .allocate_new_port()
        .build();
    let connection = options.connection_id();
    swarm.dial(options)?;
    Ok(connection)
}

/// Dials whoever is at `place`, for a code that is to be tried there.
///
/// Allowed only while the window says that this device joins.
pub fn dial_somebody(swarm: &mut Swarm<Behaviour>, place: &Place) -> Result<ConnectionId, DialError> {
    let options = DialOpts::unknown_peer_id().address(place.address()).allocate_new_port().build();
    let connection = options.connection_id();
    swarm.dial(options)?;
    Ok(connection)
}
