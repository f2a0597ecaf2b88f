//! Real swarms on the loopback interface. Each step waits for its event.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

mod discovery;
mod gates;
mod links;
mod traffic;

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Multiaddr, Swarm,
    futures::StreamExt,
    identity::Keypair,
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::time::timeout;

use super::{
    Admission, Behaviour, Config, Event, Protocol, Reply, RequestError, RequestId, Role, addresses::Place,
    build, device_id, exchange::Event as Heard, peer_id,
};

/// Far more than any step needs. Only a test that fails gets here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key of a device that tests call by a number.
pub(super) fn key(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

type Seen = SwarmEvent<Event>;

struct Node {
    swarm: Swarm<Behaviour>,
    device: DeviceId,
    admission: Admission,
    address: Multiaddr,
}

impl Node {
    /// A device that listens on a free port of the loopback interface.
    async fn start(seed: u8) -> Self {
        Self::listening(seed, "/ip4/127.0.0.1/tcp/0", false).await
    }

    async fn listening(seed: u8, address: &str, quic: bool) -> Self {
        let admission = Admission::new();
        let config = Config { listen: vec![address.parse().unwrap()], quic, mdns: false };
        let swarm = build(&key(seed), &config, admission.clone()).unwrap();
        let device = device_id(swarm.local_peer_id()).unwrap();
        let mut node = Self { swarm, device, admission, address: Multiaddr::empty() };
        node.address = until(&mut [&mut node], |_, event| match event {
            SwarmEvent::NewListenAddr { address, .. } => Some(address),
            _ => None,
        })
        .await;
        node
    }

    fn dial(&mut self, other: &Self) {
        let place = Place::told(&other.address, &other.device).unwrap();
        super::dial(&mut self.swarm, &other.device, &[place]).unwrap();
    }

    /// Dials although a connection exists, as only a hostile device does.
    fn dial_again(&mut self, other: &Self) {
        let options = DialOpts::peer_id(peer_id(&other.device))
            .condition(PeerCondition::Always)
            .addresses(vec![other.address.clone()])
            .build();
        self.swarm.dial(options).unwrap();
    }

    fn ask(&mut self, other: DeviceId, protocol: Protocol, frame: &[u8]) -> RequestId {
        self.swarm.behaviour_mut().exchange(protocol).request(other, frame.to_vec())
    }

    fn answer(&mut self, protocol: Protocol, reply: Reply, frame: &[u8]) {
        self.swarm.behaviour_mut().exchange(protocol).answer(reply, frame.to_vec()).unwrap();
    }

    fn trusts(&self, other: &Self) {
        self.admission.set_role(other.device, Role::Kin);
    }
}

/// Two devices that trust each other and are connected.
async fn pair_of_kin() -> (Node, Node) {
    let (mut phone, mut laptop) = (Node::start(1).await, Node::start(2).await);
    phone.trusts(&laptop);
    laptop.trusts(&phone);
    connect(&mut phone, &mut laptop).await;
    (phone, laptop)
}

/// Waits until both sides of a dial by `from` know of the connection.
async fn connect(from: &mut Node, to: &mut Node) {
    from.dial(to);
    let mut seen = [false; 2];
    until(&mut [from, to], |at, event| {
        seen[at] |= matches!(event, SwarmEvent::ConnectionEstablished { .. });
        (seen == [true; 2]).then_some(())
    })
    .await;
}

/// Asks and echoes, and says how it ended for the asker.
async fn ask_and_hear(
    from: &mut Node,
    to: &mut Node,
    protocol: Protocol,
    frame: &[u8],
) -> Result<Vec<u8>, RequestError> {
    let asked = from.ask(to.device, protocol, frame);
    loop {
        let heard = until(&mut [&mut *from, &mut *to], |at, event| match event {
            SwarmEvent::Behaviour(Event::Exchange(event)) => Some((at, event)),
            _ => None,
        })
        .await;
        match heard {
            (1, Heard::Request { protocol, frame, reply, .. }) => to.answer(protocol, reply, &frame),
            (0, Heard::Answer { request, frame, .. }) if request == asked => return Ok(frame),
            (0, Heard::Failed { request, error, .. }) if request == asked => return Err(error),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Drives all `nodes` until `pick` finds what it looks for in an event.
async fn until<T>(nodes: &mut [&mut Node], mut pick: impl FnMut(usize, Seen) -> Option<T>) -> T {
    timeout(PATIENCE, poll_fn(|cx| poll_until(nodes, &mut pick, cx))).await.expect("the event comes")
}

fn poll_until<T>(
    nodes: &mut [&mut Node],
    pick: &mut impl FnMut(usize, Seen) -> Option<T>,
    cx: &mut Context<'_>,
) -> Poll<T> {
    let mut quiet = false;
    while !quiet {
        quiet = true;
        for (at, node) in nodes.iter_mut().enumerate() {
            if let Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(cx) {
                quiet = false;
                if let Some(found) = pick(at, event) {
                    return Poll::Ready(found);
                }
            }
        }
    }
    Poll::Pending
}
