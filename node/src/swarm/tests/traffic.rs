//! Frames of every size, and many of them.

use std::collections::BTreeSet;

use assert_matches::assert_matches;

use super::*;
use crate::swarm::exchange::WAITING_BYTES_MAX;
use crate::swarm::{AnswerError, protocols::Limits};

#[tokio::test]
async fn a_frame_at_the_limit_travels_both_ways_and_a_larger_one_does_not() {
    let (mut phone, mut laptop) = pair_of_kin().await;
    for protocol in Protocol::ALL {
        let limits = protocol.limits();
        let largest = vec![7; limits.request];
        assert_eq!(ask_and_hear(&mut phone, &mut laptop, protocol, &largest).await.unwrap(), largest);

        let too_large = vec![7; limits.request + 1];
        let failure = ask_and_hear(&mut phone, &mut laptop, protocol, &too_large).await;
        assert_matches!(failure, Err(RequestError::TooLarge { .. }));
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_sent() {
    let (mut phone, mut laptop) = pair_of_kin().await;
    phone.ask(laptop.device, Protocol::Pair, b"?");
    let reply = until(&mut [&mut phone, &mut laptop], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Request { reply, .. })) => Some(reply),
        _ => None,
    })
    .await;
    let limit = Protocol::Pair.limits().answer;
    let refused = laptop.swarm.behaviour_mut().pair.answer(reply, vec![0; limit + 1]);
    assert_matches!(refused, Err(AnswerError::TooLarge { length, .. }) if length == limit + 1);

    let error = until(&mut [&mut phone, &mut laptop], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Failed { error, .. })) => Some(error),
        _ => None,
    })
    .await;
    assert_matches!(error, RequestError::CutShort);
}

/// A thousand requests at once would cost the connection on TCP. They wait in
/// the line of [`Exchange`](crate::swarm::Exchange) and all are answered.
#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered_on_one_connection() {
    let (mut phone, mut laptop) = pair_of_kin().await;
    let mut open: BTreeSet<_> =
        (0..1000).map(|_| phone.ask(laptop.device, Protocol::Sync, b"ping")).collect();
    // And the other way at the same time.
    open.extend((0..1000).map(|_| laptop.ask(phone.device, Protocol::Sync, b"pong")));
    let mut answers = 0;
    while answers < 2000 {
        let (at, event) = until(&mut [&mut phone, &mut laptop], |at, event| match event {
            SwarmEvent::Behaviour(Event::Exchange(event)) => Some((at, event)),
            SwarmEvent::ConnectionClosed { cause, .. } => panic!("closed: {cause:?}"),
            _ => None,
        })
        .await;
        match event {
            Heard::Request { protocol, frame, reply, .. } => {
                let node = if at == 0 { &mut phone } else { &mut laptop };
                node.answer(protocol, reply, &frame);
            }
            Heard::Answer { .. } => answers += 1,
            failed @ Heard::Failed { .. } => panic!("{failed:?}"),
        }
    }
    assert_eq!(phone.swarm.behaviour_mut().sync.open_requests(&laptop.device), 0);
    assert_eq!(laptop.swarm.behaviour_mut().sync.open_requests(&phone.device), 0);
}

#[tokio::test]
async fn one_caller_cannot_queue_without_end() {
    let (mut phone, laptop) = pair_of_kin().await;
    let in_flight = Protocol::Sync.limits().in_flight;
    for _ in 0..=in_flight + crate::swarm::exchange::WAITING_MAX {
        phone.ask(laptop.device, Protocol::Sync, b"");
    }
    let error = until(&mut [&mut phone], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Failed { error, .. })) => Some(error),
        _ => None,
    })
    .await;
    assert_matches!(error, RequestError::Busy);
}

/// What one peer takes slowly does not fill the memory, and what was refused is
/// no longer than what waits.
#[tokio::test]
async fn the_bytes_that_wait_for_one_peer_have_an_end() {
    let (mut phone, mut laptop) = pair_of_kin().await;
    let Limits { in_flight, request, .. } = Protocol::Sync.limits();
    let fitting = WAITING_BYTES_MAX / request;
    for _ in 0..in_flight + fitting {
        phone.ask(laptop.device, Protocol::Sync, &vec![7; request]);
    }
    let rest = WAITING_BYTES_MAX - fitting * request;
    phone.ask(laptop.device, Protocol::Sync, &vec![7; rest]);
    assert_eq!(phone.swarm.behaviour_mut().sync.open_requests(&laptop.device), in_flight + fitting + 1);
    let refused = phone.ask(laptop.device, Protocol::Sync, b"!");

    let (mut answers, mut failed) = (0, Vec::new());
    while answers + failed.len() < in_flight + fitting + 2 {
        let (at, event) = until(&mut [&mut phone, &mut laptop], |at, event| match event {
            SwarmEvent::Behaviour(Event::Exchange(event)) => Some((at, event)),
            _ => None,
        })
        .await;
        match event {
            Heard::Request { protocol, reply, .. } => {
                assert_eq!(at, 1);
                laptop.answer(protocol, reply, b"");
            }
            Heard::Answer { .. } => answers += 1,
            Heard::Failed { request, error, .. } => failed.push((request, error)),
        }
    }
    assert_matches!(&failed[..], [(request, RequestError::Busy)] if *request == refused);
    // With room again, others go.
    for _ in 0..in_flight + fitting {
        phone.ask(laptop.device, Protocol::Sync, &vec![7; request]);
    }
    assert_eq!(phone.swarm.behaviour_mut().sync.open_requests(&laptop.device), in_flight + fitting);
}

#[tokio::test]
async fn a_reply_that_is_dropped_ends_the_request() {
    let (mut phone, mut laptop) = pair_of_kin().await;
    let asked = phone.ask(laptop.device, Protocol::Sync, b"?");
    let error = until(&mut [&mut phone, &mut laptop], |_, event| match event {
        SwarmEvent::Behaviour(Event::Exchange(Heard::Failed { request, error, .. })) if request == asked => {
            Some(error)
        }
        _ => None,
    })
    .await;
    assert_matches!(error, RequestError::CutShort);
}
