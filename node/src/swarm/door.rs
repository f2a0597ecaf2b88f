//! Who gets a connection at all. Default: nobody.
//!
//! The first behaviour of the swarm, so that no other one ever sees a peer
//! that the door turns away. The key is known only after the handshake, so a
//! peer that is turned away sees a connection that closes at once.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};
use thiserror::Error;
use tokio::time::{Sleep, sleep};

use super::{
    addresses::ip,
    admission::{Admission, Role, Side},
    identity::{device_id, peer_id},
};

/// Strangers that may be connected while a code is open, and as many that we
/// may be connected to while we look for the owner of a code.
pub const STRANGERS_MAX: usize = 8;

/// Strangers from one address: one that pairs, and one that tries again
/// before its first connection is noticed to be dead.
pub const STRANGERS_PER_ADDRESS_MAX: usize = 2;

/// How often a revoked device may come to hear that it is revoked.
pub const REVOKED_EVERY: Duration = Duration::from_secs(10);

/// How long a revoked device that came may stay to hear it.
pub const REVOKED_STAY: Duration = Duration::from_secs(5);

/// How long the connections of a device that is being revoked stay, so that
/// it can be told. Nothing else passes the gates meanwhile.
pub const FAREWELL: Duration = Duration::from_millis(100);

/// Why the door denied a connection.
///
/// The cause of libp2p's `Denied` errors; [`Refusal::of`] finds it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer's key is of a kind that no kinsync device has.
    #[error("the key is not an Ed25519 key")]
    NoDevice,
    /// The peer is not paired, and no code is open.
    #[error("not paired, and no pairing code is open")]
    Stranger,
    /// Too many strangers are here already.
    #[error("{STRANGERS_MAX} devices that are not paired are connected already")]
    TooManyStrangers,
    /// Too many strangers are here from this address.
    #[error(
        "{STRANGERS_PER_ADDRESS_MAX} devices that are not paired are connected from this address already"
    )]
    TooManyFromAddress,
    /// The device was revoked, and heard so a moment ago.
    #[error("revoked, and told so less than {} s ago", REVOKED_EVERY.as_secs())]
    Revoked,
}

impl Refusal {
    /// The door's reason, if it was the door that denied.
    pub fn of(denied: &ConnectionDenied) -> Option<Self> {
        denied.downcast_ref().copied()
    }
}

/// Somebody who came in.
#[derive(Debug)]
struct Present {
    device: DeviceId,
    side: Side,
    source: Option<IpAddr>,
    stay: Stay,
}

#[derive(Debug)]
enum Stay {
    Open,
    Until(Pin<Box<Sleep>>),
    /// Told to go. A frozen peer may be in this state for ever.
    Leaving,
}

/// The root behaviour: denies every connection that [`Admission`] does not allow.
#[derive(Debug)]
pub struct Door {
    admission: Admission,
    /// The generation that `present` was last checked against.
    checked: u64,
    /// In the order of arrival.
    present: BTreeMap<ConnectionId, Present>,
    /// Revoked devices that were here a moment ago.
    told: BTreeMap<DeviceId, Pin<Box<Sleep>>>,
    closing: VecDeque<(ConnectionId, DeviceId)>,
}

impl Door {
    /// A door that follows `admission`. One for each [`Admission`].
    pub fn new(admission: Admission) -> Self {
        Self {
            checked: admission.generation(),
            admission,
            present: BTreeMap::new(),
            told: BTreeMap::new(),
            closing: VecDeque::new(),
        }
    }

    /// The set that this door follows.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// How many connections have been told to close and have not done so.
    ///
    /// On TCP a frozen peer can keep one for as long as it likes. It carries
    /// nothing any more and only occupies a place.
    pub fn zombies(&self) -> usize {
        self.present.values().filter(|present| matches!(present.stay, Stay::Leaving)).count()
    }

    fn check(&mut self, peer: &PeerId, side: Side, address: &Multiaddr) -> Result<(), Refusal> {
        let device = device_id(peer).ok_or(Refusal::NoDevice)?;
        let role = self.admission.role(&device);
        if !self.admission.may_connect(&device, side) {
            return Err(if role == Role::Revoked { Refusal::Revoked } else { Refusal::Stranger });
        }
        match (role, side) {
            (Role::Stranger, _) => self.check_stranger(side, ip(address)),
            (Role::Revoked, Side::Theirs) => match self.told.contains_key(&device) {
                true => Err(Refusal::Revoked),
                false => {
                    self.told.insert(device, Box::pin(sleep(REVOKED_EVERY)));
                    Ok(())
                }
            },
            (Role::Revoked, Side::Ours) | (Role::Kin | Role::Guest | Role::Once, _) => Ok(()),
        }
    }

    fn check_stranger(&mut self, side: Side, source: Option<IpAddr>) -> Result<(), Refusal> {
        let strangers: Vec<_> = self
            .present
            .iter()
            .filter(|(_, present)| present.side == side && !matches!(present.stay, Stay::Leaving))
            .filter(|(_, present)| self.admission.role(&present.device) == Role::Stranger)
            .map(|(connection, present)| (*connection, present.device, present.source))
            .collect();
        let same_source = strangers.iter().filter(|(.., from)| *from == source).count();

        if side == Side::Theirs && same_source >= STRANGERS_PER_ADDRESS_MAX {
            return Err(Refusal::TooManyFromAddress);
        }
        if strangers.len() < STRANGERS_MAX {
            return Ok(());
        }
        // Somebody from a new address may take the place of the one that has
        // been idle here the longest, so that eight places cannot be held.
        let oldest = strangers.iter().find(|(_, device, _)| !self.admission.is_spared(device));
        match oldest {
            Some((connection, ..)) if side == Side::Theirs && same_source == 0 => {
                self.dismiss(*connection);
                Ok(())
            }
            _ => Err(Refusal::TooManyStrangers),
        }
    }

    fn dismiss(&mut self, connection: ConnectionId) {
        if let Some(present) = self.present.get_mut(&connection) {
            present.stay = Stay::Leaving;
            self.closing.push_back((connection, present.device));
        }
    }

    /// Shows out whoever may not be here any more.
    fn check_present(&mut self) {
        let mut gone = Vec::new();
        for (connection, present) in &mut self.present {
            if !matches!(present.stay, Stay::Open) {
                continue;
            }
            if self.admission.role(&present.device) == Role::Revoked {
                present.stay = Stay::Until(Box::pin(sleep(FAREWELL)));
            } else if !self.admission.may_connect(&present.device, present.side) {
                gone.push(*connection);
            }
        }
        gone.into_iter().for_each(|connection| self.dismiss(connection));
    }

    fn poll_stays(&mut self, cx: &mut Context<'_>) {
        let over: Vec<_> = self
            .present
            .iter_mut()
            .filter_map(|(connection, present)| match &mut present.stay {
                Stay::Until(end) => end.as_mut().poll(cx).is_ready().then_some(*connection),
                Stay::Open | Stay::Leaving => None,
            })
            .collect();
        over.into_iter().for_each(|connection| self.dismiss(connection));
        self.told.retain(|_, end| end.as_mut().poll(cx).is_pending());
    }

    fn on_established(&mut self, connection: ConnectionId, peer: &PeerId, endpoint: &ConnectedPoint) {
        let Some(device) = device_id(peer) else { return };
        let (side, address) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (Side::Ours, address),
            ConnectedPoint::Listener { send_back_addr, .. } => (Side::Theirs, send_back_addr),
        };
        let stay = match self.admission.role(&device) {
            Role::Revoked => Stay::Until(Box::pin(sleep(REVOKED_STAY))),
            Role::Kin | Role::Guest | Role::Once | Role::Stranger => Stay::Open,
        };
        self.present.insert(connection, Present { device, side, source: ip(address), stay });
    }
}

impl NetworkBehaviour for Door {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer, Side::Theirs, remote).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let allowed = match peer {
            None => self.admission.window().joining,
            Some(peer) => {
                device_id(&peer).is_some_and(|device| self.admission.may_connect(&device, Side::Ours))
            }
        };
        if allowed { Ok(Vec::new()) } else { Err(ConnectionDenied::new(Refusal::Stranger)) }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer, Side::Ours, address).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p adds events in minor releases")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                self.on_established(connection_id, &peer_id, endpoint);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.present.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        // Registered first: a change after the check wakes us again.
        self.admission.wake_on_change(cx.waker());
        let generation = self.admission.generation();
        if generation != self.checked {
            self.checked = generation;
            self.check_present();
        }
        self.poll_stays(cx);

        match self.closing.pop_front() {
            Some((connection, device)) => Poll::Ready(ToSwarm::CloseConnection {
                peer_id: peer_id(&device),
                connection: CloseConnection::One(connection),
            }),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Window;

    const HOSTING: Window = Window { hosting: true, joining: false };

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    /// `device` comes from the address 10.0.0.`source`.
    fn knock(door: &mut Door, number: u8, source: u8) -> Result<(), Refusal> {
        let (peer, connection) = (peer_id(&device(number)), ConnectionId::new_unchecked(number.into()));
        let local: Multiaddr = "/ip4/10.0.0.200/tcp/7842".parse().unwrap();
        let remote: Multiaddr = format!("/ip4/10.0.0.{source}/tcp/5").parse().unwrap();
        door.handle_established_inbound_connection(connection, peer, &local, &remote)
            .map_err(|denied| Refusal::of(&denied).unwrap())?;
        let endpoint = ConnectedPoint::Listener { local_addr: local, send_back_addr: remote };
        door.on_established(connection, &peer, &endpoint);
        Ok(())
    }

    fn shown_out(door: &mut Door) -> Vec<DeviceId> {
        door.closing.drain(..).map(|(_, device)| device).collect()
    }

    fn full_of_strangers() -> Door {
        let mut door = Door::new(Admission::new());
        door.admission.set_window(HOSTING);
        for number in 1..=STRANGERS_MAX as u8 {
            assert_eq!(knock(&mut door, number, 1 + number / 2), Ok(()));
        }
        door
    }

    #[tokio::test]
    async fn a_ninth_stranger_from_a_known_address_is_turned_away() {
        let mut door = full_of_strangers();
        assert_eq!(knock(&mut door, 99, 1), Err(Refusal::TooManyStrangers));
        assert_eq!(knock(&mut door, 99, 2), Err(Refusal::TooManyFromAddress));
        assert_eq!(shown_out(&mut door), []);
    }

    #[tokio::test]
    async fn a_stranger_from_a_new_address_takes_the_place_of_the_oldest() {
        let mut door = full_of_strangers();
        door.admission.spare(device(1), true);
        assert_eq!(knock(&mut door, 99, 99), Ok(()));
        assert_eq!(shown_out(&mut door), [device(2)]);
    }

    #[tokio::test]
    async fn nobody_who_is_pairing_is_displaced() {
        let mut door = full_of_strangers();
        (1..=STRANGERS_MAX as u8).for_each(|number| door.admission.spare(device(number), true));
        assert_eq!(knock(&mut door, 99, 99), Err(Refusal::TooManyStrangers));
    }

    #[tokio::test]
    async fn a_stranger_that_was_paired_makes_room_for_the_next() {
        let mut door = full_of_strangers();
        door.admission.set_role(device(1), Role::Kin);
        assert_eq!(knock(&mut door, 99, 1), Ok(()));
    }

    #[tokio::test]
    async fn strangers_never_keep_kin_out() {
        let mut door = full_of_strangers();
        door.admission.set_role(device(99), Role::Kin);
        assert_eq!(knock(&mut door, 99, 2), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_device_is_told_every_ten_seconds_and_shown_out() {
        let mut door = Door::new(Admission::new());
        door.admission.set_role(device(1), Role::Revoked);
        let mut cx = Context::from_waker(std::task::Waker::noop());

        assert_eq!(knock(&mut door, 1, 1), Ok(()));
        assert_eq!(knock(&mut door, 1, 2), Err(Refusal::Revoked));
        tokio::time::advance(REVOKED_STAY + Duration::from_millis(1)).await;
        assert!(matches!(door.poll(&mut cx), Poll::Ready(ToSwarm::CloseConnection { .. })));
        assert_eq!(door.zombies(), 1);
        assert_eq!(knock(&mut door, 1, 1), Err(Refusal::Revoked));
        tokio::time::advance(REVOKED_EVERY - REVOKED_STAY).await;
        assert!(door.poll(&mut cx).is_pending());
        assert_eq!(knock(&mut door, 1, 1), Ok(()));
    }
}
