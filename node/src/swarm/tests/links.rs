//! Connections: addresses, transports and two that dial at once.

use std::{net::TcpListener, slice::from_ref};

use assert_matches::assert_matches;
use libp2p::{
    multiaddr::Protocol as Part,
    swarm::{DialError, SwarmEvent},
};

use super::*;
use crate::swarm::{BuildError, Window, dial, dial_somebody};

#[tokio::test]
async fn another_device_at_a_known_address_is_not_taken_for_the_known_one() {
    let (mut phone, mut laptop, desktop) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    phone.trusts(&desktop);
    laptop.trusts(&phone);
    let place = Place::told(&laptop.address, &desktop.device).unwrap();
    let dialled = dial(&mut phone.swarm, &desktop.device, &[place]).unwrap();
    let error = until(&mut [&mut phone, &mut laptop], |at, event| match event {
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } if at == 0 => {
            assert_eq!(connection_id, dialled);
            Some(error)
        }
        SwarmEvent::ConnectionEstablished { .. } if at == 0 => panic!("connected"),
        _ => None,
    })
    .await;
    assert_matches!(error, DialError::WrongPeerId { obtained, .. } if obtained == peer_id(&laptop.device));
}

#[tokio::test]
async fn a_stranger_is_not_dialled() {
    let (mut phone, laptop) = (Node::start(1).await, Node::start(2).await);
    let place = Place::told(&laptop.address, &laptop.device).unwrap();
    assert_matches!(dial(&mut phone.swarm, &laptop.device, from_ref(&place)), Err(DialError::Denied { .. }));
    assert_matches!(dial_somebody(&mut phone.swarm, &place), Err(DialError::Denied { .. }));

    // Somebody who types a code goes to strangers, and finds out who it was.
    let (mut laptop, joining) = (laptop, Window { hosting: false, joining: true });
    phone.admission.set_window(joining);
    laptop.admission.set_window(Window { hosting: true, joining: false });
    dial_somebody(&mut phone.swarm, &place).unwrap();
    let met = until(&mut [&mut phone, &mut laptop], |at, event| match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } if at == 0 => device_id(&peer_id),
        _ => None,
    })
    .await;
    assert_eq!(met, laptop.device);
}

#[tokio::test]
async fn two_devices_that_dial_at_once_end_up_connected() {
    for _ in 0..20 {
        let (mut phone, mut laptop) = (Node::start(1).await, Node::start(2).await);
        phone.trusts(&laptop);
        laptop.trusts(&phone);
        phone.dial(&laptop);
        laptop.dial(&phone);

        // Each dial ends one way or the other before the result is looked at.
        let (mut ended, mut came) = ([false; 2], [0; 2]);
        until(&mut [&mut phone, &mut laptop], |at, event| {
            match event {
                SwarmEvent::ConnectionEstablished { endpoint, .. } => {
                    ended[at] |= endpoint.is_dialer();
                    came[at] += usize::from(endpoint.is_listener());
                }
                SwarmEvent::OutgoingConnectionError { .. } => ended[at] = true,
                _ => {}
            }
            (ended == [true; 2] && came[0] + came[1] > 0).then_some(())
        })
        .await;
        assert!(phone.swarm.is_connected(&peer_id(&laptop.device)));
        assert_eq!(ask_and_hear(&mut phone, &mut laptop, Protocol::Sync, b"both").await.unwrap(), b"both");
    }
}

#[tokio::test]
async fn everything_works_over_quic_too() {
    let mut laptop = Node::listening(1, "/ip4/127.0.0.1/udp/0/quic-v1", true).await;
    let mut phone = Node::listening(2, "/ip4/127.0.0.1/udp/0/quic-v1", true).await;
    phone.trusts(&laptop);
    laptop.trusts(&phone);
    connect(&mut phone, &mut laptop).await;
    let large = vec![1; Protocol::Sync.limits().request];
    assert_eq!(ask_and_hear(&mut phone, &mut laptop, Protocol::Sync, &large).await.unwrap(), large);
}

#[tokio::test]
async fn without_quic_nothing_listens_on_udp_and_nothing_is_dialled_there() {
    let admission = Admission::new();
    let mut config = Config::on_port(0);
    config.quic = false;
    config.mdns = false;
    let mut swarm = build(&key(1), &config, admission.clone()).unwrap();
    let first = timeout(PATIENCE, swarm.select_next_some()).await.unwrap();
    assert_matches!(first, SwarmEvent::NewListenAddr { .. });
    assert!(swarm.listeners().all(|address| !address.iter().any(|part| matches!(part, Part::Udp(_)))));

    let only_udp =
        Config { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()], quic: false, mdns: false };
    assert_matches!(build(&key(1), &only_udp, admission).map(drop), Err(BuildError::Nowhere));

    let laptop = Node::listening(2, "/ip4/127.0.0.1/udp/0/quic-v1", true).await;
    let mut phone = Node::start(3).await;
    phone.trusts(&laptop);
    phone.dial(&laptop);
    let error = until(&mut [&mut phone], |_, event| match event {
        SwarmEvent::OutgoingConnectionError { error, .. } => Some(error),
        _ => None,
    })
    .await;
    assert_matches!(error, DialError::Transport(_));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config {
        listen: vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()],
        quic: false,
        mdns: false,
    };
    let error = build(&key(1), &config, Admission::new()).map(drop).unwrap_err();
    assert!(error.to_string().starts_with(&format!("port {port} is in use")), "{error}");
}

/// Two nodes would share the port without an error if libp2p had its way.
#[tokio::test]
async fn two_nodes_do_not_share_a_port() {
    for address in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let first = Node::listening(1, address, true).await;
        let config = Config { listen: vec![first.address.clone()], quic: true, mdns: false };
        let second = build(&key(2), &config, Admission::new()).map(drop);
        assert_matches!(second, Err(BuildError::PortInUse { .. }));
    }
}
