//! Who gets through, and what changes when trust changes.

use assert_matches::assert_matches;
use libp2p::swarm::{ListenError, SwarmEvent};

use super::*;
use crate::swarm::{Refusal, Window, exchange::Event as Heard};

const HOSTING: Window = Window { hosting: true, joining: false };

/// Waits until `nodes[0]` has turned somebody away.
async fn refusal(nodes: &mut [&mut Node]) -> Refusal {
    until(nodes, |at, event| match event {
        SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. } if at == 0 => {
            Refusal::of(&cause)
        }
        SwarmEvent::ConnectionEstablished { .. } if at == 0 => panic!("let in"),
        SwarmEvent::Behaviour(Event::Exchange(Heard::Request { .. })) => panic!("asked"),
        _ => None,
    })
    .await
}

/// Waits until `nodes[at]` has lost a connection.
async fn closed(nodes: &mut [&mut Node], at: usize) {
    until(nodes, |node, event| {
        (node == at && matches!(event, SwarmEvent::ConnectionClosed { .. })).then_some(())
    })
    .await;
}

/// S9: a foreign node that connects and tries every protocol gets nothing.
#[tokio::test]
async fn a_foreign_node_is_turned_away_at_the_door() {
    let (mut laptop, mut foreign) = (Node::start(1).await, Node::start(66).await);
    foreign.trusts(&laptop);
    foreign.dial(&laptop);
    assert_eq!(refusal(&mut [&mut laptop, &mut foreign]).await, Refusal::Stranger);
    closed(&mut [&mut laptop, &mut foreign], 1).await;

    for protocol in Protocol::ALL {
        let failure = ask_and_hear(&mut foreign, &mut laptop, protocol, b"give").await;
        assert_matches!(failure, Err(RequestError::NotConnected));
    }
}

/// S9: while a code is open a foreign node may pair, and nothing else.
#[tokio::test]
async fn a_foreign_node_reaches_pairing_only() {
    let (mut laptop, mut foreign) = (Node::start(1).await, Node::start(66).await);
    foreign.trusts(&laptop);
    laptop.admission.set_window(HOSTING);
    connect(&mut foreign, &mut laptop).await;

    for protocol in [Protocol::Sync, Protocol::Trust] {
        let failure = ask_and_hear(&mut foreign, &mut laptop, protocol, b"give").await;
        assert_matches!(failure, Err(RequestError::Refused));
    }
    assert_eq!(ask_and_hear(&mut foreign, &mut laptop, Protocol::Pair, b"hello").await.unwrap(), b"hello");
}

/// S16: trust that comes and goes acts on the next stream, without a new connection.
#[tokio::test]
async fn the_gate_opens_and_closes_on_one_connection() {
    let (mut laptop, mut phone) = (Node::start(1).await, Node::start(2).await);
    phone.trusts(&laptop);
    laptop.admission.set_window(HOSTING);
    connect(&mut phone, &mut laptop).await;

    for _ in 0..2 {
        let refused = ask_and_hear(&mut phone, &mut laptop, Protocol::Sync, b"a").await;
        assert_matches!(refused, Err(RequestError::Refused));
        laptop.trusts(&phone);
        assert_eq!(ask_and_hear(&mut phone, &mut laptop, Protocol::Sync, b"b").await.unwrap(), b"b");
        laptop.admission.set_role(phone.device, Role::Stranger);
    }
}

#[tokio::test]
async fn nothing_is_asked_of_a_device_that_is_not_trusted_here() {
    let (mut laptop, mut phone) = pair_of_kin().await;
    phone.admission.set_role(laptop.device, Role::Guest);
    let failure = ask_and_hear(&mut phone, &mut laptop, Protocol::Trust, b"?").await;
    assert_matches!(failure, Err(RequestError::NotAllowed));
}

/// What waits in line for a peer stays here when the peer loses its trust.
#[tokio::test]
async fn what_is_queued_for_a_peer_is_dropped_with_its_trust() {
    let (mut laptop, mut phone) = pair_of_kin().await;
    for _ in 0..100 {
        laptop.ask(phone.device, Protocol::Sync, b"push");
    }
    laptop.admission.set_role(phone.device, Role::Revoked);

    let mut failed = 0;
    until(&mut [&mut laptop, &mut phone], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Failed { .. })) => {
            failed += 1;
            (failed == 100).then_some(())
        }
        SwarmEvent::Behaviour(Event::Exchange(other)) => panic!("sent: {other:?}"),
        _ => None,
    })
    .await;
}

/// S16: an exchange with a device ends when the device is revoked; S17: what
/// it may still do is hear about it, once in a while.
#[tokio::test]
async fn a_revoked_device_loses_its_streams_and_its_connection() {
    let (mut laptop, mut phone) = pair_of_kin().await;
    let asked = phone.ask(laptop.device, Protocol::Sync, b"records");
    let reply = until(&mut [&mut laptop, &mut phone], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Request { reply, .. })) => Some(reply),
        _ => None,
    })
    .await;

    laptop.admission.set_role(phone.device, Role::Revoked);
    let error = until(&mut [&mut laptop, &mut phone], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Failed { request, error, .. })) => {
            assert_eq!(request, asked);
            Some(error)
        }
        _ => None,
    })
    .await;
    assert_matches!(error, RequestError::Closed | RequestError::CutShort | RequestError::Io(_));
    assert!(!reply.is_open());

    // Back again: it is told, and served nothing.
    if phone.swarm.is_connected(&peer_id(&laptop.device)) {
        closed(&mut [&mut laptop, &mut phone], 1).await;
    }
    connect(&mut phone, &mut laptop).await;
    let refused = ask_and_hear(&mut phone, &mut laptop, Protocol::Sync, b"records").await;
    assert_matches!(refused, Err(RequestError::Refused));
    assert_eq!(ask_and_hear(&mut phone, &mut laptop, Protocol::Trust, b"why").await.unwrap(), b"why");

    // And again at once: it heard that already.
    phone.dial_again(&laptop);
    assert_eq!(refusal(&mut [&mut laptop, &mut phone]).await, Refusal::Revoked);
}

#[tokio::test]
async fn strangers_leave_when_the_code_closes_and_the_spared_one_stays() {
    let (mut laptop, mut phone, mut foreign) =
        (Node::start(1).await, Node::start(2).await, Node::start(66).await);
    for stranger in [&phone, &foreign] {
        stranger.admission.set_window(Window { hosting: false, joining: true });
    }
    laptop.admission.set_window(HOSTING);
    connect(&mut phone, &mut laptop).await;
    connect(&mut foreign, &mut laptop).await;

    laptop.admission.spare(phone.device, true);
    laptop.admission.set_window(Window::default());
    closed(&mut [&mut laptop, &mut phone, &mut foreign], 2).await;
    assert_eq!(
        ask_and_hear(&mut phone, &mut laptop, Protocol::Pair, b"still here").await.unwrap(),
        b"still here"
    );
}

#[tokio::test]
async fn two_strangers_come_from_one_address_and_no_third() {
    let mut laptop = Node::start(1).await;
    laptop.admission.set_window(HOSTING);
    let mut strangers = Vec::new();
    for seed in 61..=63 {
        let stranger = Node::start(seed).await;
        stranger.trusts(&laptop);
        strangers.push(stranger);
    }
    connect(&mut strangers[0], &mut laptop).await;
    connect(&mut strangers[1], &mut laptop).await;
    strangers[2].dial(&laptop);
    let refused = refusal(&mut [&mut laptop, &mut strangers[2]]).await;
    assert_eq!(refused, Refusal::TooManyFromAddress);
}
