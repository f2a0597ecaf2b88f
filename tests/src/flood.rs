//! A device that is trusted, speaks the protocol, and has no manners: it opens
//! sessions as one that holds nothing, takes the first page of everything, and
//! begins anew.

use std::io;

use kinsync::identity::Identity;
use kinsync::swarm::codec::Frames;
use kinsync::swarm::{Protocol, peer_id};
use kinsync_protocol::card::Card;
use kinsync_protocol::grants::Grants;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::message::{Announcement, Message as Trust};
use kinsync_protocol::wire::Bounded;
use kinsync_protocol::wire::frame::{Frame, Hello, Refusal, Request, Response};
use libp2p::futures::StreamExt as _;
use libp2p::request_response::{self as rr, Message, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, ping, tcp, yamux};
use serde_bytes::ByteArray;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Questions at once that one connection carries: the other side drops what is
/// beyond.
pub const AT_ONCE_MAX: usize = Protocol::Sync.limits().streams - 4;

/// More than a refusal takes.
const REFUSAL_BYTES_MAX: usize = 16;

/// The device. Ends with this value.
#[derive(Debug)]
pub struct Flood {
    task: JoinHandle<()>,
    asking: mpsc::UnboundedSender<Ask>,
    heard: watch::Receiver<Heard>,
}

/// What it has heard since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Whether the other side has greeted it.
    pub greeted: bool,
    /// Sessions that were answered.
    pub answers: u64,
    /// Bytes of these answers.
    pub bytes: u64,
    /// Sessions that were refused as too many.
    pub busy: u64,
    /// Sessions that nobody answered.
    pub lost: u64,
}

/// What it is told to do.
#[derive(Debug)]
enum Ask {
    /// To open so many sessions.
    Once(usize),
    /// To keep so many of them under way.
    Always(usize),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    sync: rr::Behaviour<Frames>,
    trust: rr::Behaviour<Frames>,
}

struct Device {
    swarm: Swarm<Behaviour>,
    victim: PeerId,
    session: u64,
    /// Sessions to keep under way.
    always: usize,
    heard: watch::Sender<Heard>,
}

impl Flood {
    /// Connects to `victim`, which must trust `identity`, and greets it.
    ///
    /// Needs a tokio runtime around it.
    pub fn connect(identity: &Identity, victim: DeviceId, address: &Multiaddr) -> io::Result<Self> {
        let mut swarm = SwarmBuilder::with_existing_identity(identity.keypair())
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .map_err(io::Error::other)?
            .with_behaviour(|_| Behaviour {
                ping: ping::Behaviour::default(),
                sync: questions(Protocol::Sync),
                trust: questions(Protocol::Trust),
            })
            .map_err(io::Error::other)?
            .build();
        let victim = peer_id(&victim);
        let address =
            address.clone().with_p2p(victim).map_err(|_| io::Error::other("another device's address"))?;
        swarm.dial(address).map_err(io::Error::other)?;
        let (heard, hears) = watch::channel(Heard::default());
        let (asking, asked) = mpsc::unbounded_channel();
        let device = Device { swarm, victim, session: 0, always: 0, heard };
        Ok(Self { task: tokio::spawn(device.run(asked)), asking, heard: hears })
    }

    /// Opens so many sessions at once.
    pub fn ask(&self, sessions: usize) {
        // A device that is gone asks nothing, and whoever waits for answers sees that.
        let _ = self.asking.send(Ask::Once(sessions));
    }

    /// Keeps so many sessions under way from now on, each a new one.
    pub fn ask_always(&self, sessions: usize) {
        let _ = self.asking.send(Ask::Always(sessions));
    }

    /// What it has heard.
    pub fn heard(&self) -> Heard {
        *self.heard.borrow()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn questions(protocol: Protocol) -> rr::Behaviour<Frames> {
    let config = rr::Config::default().with_max_concurrent_streams(protocol.limits().streams);
    rr::Behaviour::with_codec(Frames::new(protocol), [(protocol.name(), ProtocolSupport::Full)], config)
}

impl Device {
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Ask>) {
        loop {
            tokio::select! {
                Some(ask) = asked.recv() => match ask {
                    Ask::Once(sessions) => self.open(sessions),
                    Ask::Always(sessions) => {
                        self.always = sessions;
                        self.open(sessions);
                    }
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "it takes no notice of most of what happens")]
    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } => {
                self.swarm.behaviour_mut().trust.send_request(&self.victim, announcement());
            }
            SwarmEvent::Behaviour(BehaviourEvent::Trust(rr::Event::Message { message, .. })) => match message
            {
                Message::Request { channel, .. } => {
                    // Whoever asked may have gone.
                    let _ = self.swarm.behaviour_mut().trust.send_response(channel, announcement());
                }
                Message::Response { .. } => self.heard.send_modify(|heard| heard.greeted = true),
            },
            SwarmEvent::Behaviour(BehaviourEvent::Sync(rr::Event::Message { message, .. })) => {
                match message {
                    // It has nothing to give.
                    Message::Request { channel, .. } => {
                        let refusal = Response::Refuse(Refusal::Busy).encode();
                        let _ = self.swarm.behaviour_mut().sync.send_response(channel, refusal);
                    }
                    Message::Response { response, .. } => self.on_answer(&response),
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Sync(rr::Event::OutboundFailure { .. })) => {
                self.heard.send_modify(|heard| heard.lost += 1);
                self.open_again();
            }
            _ => {}
        }
    }

    fn on_answer(&mut self, answer: &[u8]) {
        // Reading a page would cost it as much as it costs the other side to make one.
        let refused =
            answer.len() < REFUSAL_BYTES_MAX && matches!(Response::decode(answer), Ok(Response::Refuse(_)));
        self.heard.send_modify(|heard| {
            if refused {
                heard.busy += 1;
            } else {
                heard.answers += 1;
                heard.bytes += answer.len() as u64;
            }
        });
        self.open_again();
    }

    fn open_again(&mut self) {
        if self.always > 0 && self.swarm.is_connected(&self.victim) {
            self.open(1);
        }
    }

    fn open(&mut self, sessions: usize) {
        for _ in 0..sessions {
            self.session += 1;
            let hello = Hello {
                nonce: self.session.to_be_bytes(),
                compare: false,
                others: Grants::ALL,
                domains: Bounded::truncating(Vec::new()),
            };
            let frame = Frame { session: self.session, hello: Some(hello), parts: Vec::new() };
            let question = Request::Exchange(frame).encode();
            self.swarm.behaviour_mut().sync.send_request(&self.victim, question);
        }
    }
}

fn announcement() -> Vec<u8> {
    let card = Card { label: "phone".into(), ..Card::default() };
    let said =
        Announcement { card, statements: Vec::new(), boot: ByteArray::new([7; 16]), clock: UnixMillis(0) };
    Trust::Announcement(said).encode()
}
