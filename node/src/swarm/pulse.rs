//! Notices that the other end is gone, and then closes the connection.
//!
//! TCP alone takes many minutes to notice a laptop that was closed. The
//! protocol is libp2p's ping. Its own behaviour pings from both ends, from the
//! first moment and as often when the other end has just asked; here whoever
//! has heard anything has nothing to ask for a while, so mostly the dialler
//! pings, and only while nothing else is said.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
        FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::time::{Sleep, sleep, timeout};
use tracing::debug;

use super::exchange::is_refusal;
use super::identity::{device_id, peer_id};

/// After how long a silence the end that dialled pings.
pub const PING_AFTER: Duration = Duration::from_secs(45);

/// After how long a silence the other end pings: it finds out by itself when
/// the dialler is gone.
pub const PING_AFTER_LISTENING: Duration = Duration::from_secs(60);

/// How long the answer to a ping may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Pings without an answer in a row that close a connection. All but the first
/// go out at once.
const FAILURES_MAX: u32 = 2;

/// What libp2p's ping is called, and the length of a ping.
const NAME: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
const PING_BYTES: usize = 32;

/// A peer has answered a ping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// Who answered.
    pub device: DeviceId,
    /// On which connection.
    pub connection: ConnectionId,
}

/// Pings that close a connection after two failures in a row.
#[derive(Debug)]
pub struct Pulse {
    dialled: Duration,
    listened: Duration,
    events: VecDeque<ToSwarm<Answered, Elsewhere>>,
}

impl Pulse {
    /// Pings every connection on which nothing has been heard for a while.
    pub fn new() -> Self {
        Self::after(PING_AFTER, PING_AFTER_LISTENING)
    }

    fn after(dialled: Duration, listened: Duration) -> Self {
        Self { dialled, listened, events: VecDeque::new() }
    }

    /// A question or an answer of the device has come on the connection.
    pub fn hear(&mut self, device: DeviceId, connection: ConnectionId) {
        self.events.push_back(ToSwarm::NotifyHandler {
            peer_id: peer_id(&device),
            handler: NotifyHandler::One(connection),
            event: Elsewhere,
        });
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl NetworkBehaviour for Pulse {
    type ConnectionHandler = Pinging;
    type ToSwarm = Answered;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Pinging::new(self.listened))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Pinging::new(self.dialled))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match (event, device_id(&peer_id)) {
            (Heard::Answer, Some(device)) => {
                self.events.push_back(ToSwarm::GenerateEvent(Answered { device, connection }));
            }
            (Heard::Answer, None) => {}
            (Heard::Nothing, _) => {
                debug!(%peer_id, %connection, "no answer to two pings: closing");
                let connection = CloseConnection::One(connection);
                self.events.push_back(ToSwarm::CloseConnection { peer_id, connection });
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Answered, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The other end was heard in another protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Elsewhere;

/// What came of a ping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The other end is there.
    Answer,
    /// It is not, or it does not keep to the protocol.
    Nothing,
}

type Pong = BoxFuture<'static, io::Result<Stream>>;

/// The pings of one connection, both ways.
pub struct Pinging {
    /// How long nothing may be heard before a ping.
    after: Duration,
    silence: Pin<Box<Sleep>>,
    own: Own,
    theirs: Option<Pong>,
    failures: u32,
}

/// The pings of this end.
enum Own {
    /// Nothing is due. The stream is opened by the first ping, and kept.
    Resting(Option<Stream>),
    Opening,
    Waiting(Pong),
    /// The other end does not speak the protocol, or has been given up.
    Over,
}

impl Pinging {
    fn new(after: Duration) -> Self {
        let silence = Box::pin(sleep(after));
        Self { after, silence, own: Own::Resting(None), theirs: None, failures: 0 }
    }

    /// The other end is there.
    fn hear(&mut self) {
        self.failures = 0;
        self.silence = Box::pin(sleep(self.after));
    }

    /// A ping has failed. The next one goes out at once, on another stream.
    fn fail(&mut self) {
        self.failures += 1;
        self.own = Own::Resting(None);
        self.silence = Box::pin(sleep(Duration::ZERO));
    }
}

impl ConnectionHandler for Pinging {
    type FromBehaviour = Elsewhere;
    type ToBehaviour = Heard;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>> {
        SubstreamProtocol::new(ReadyUpgrade::new(NAME), ())
    }

    fn on_behaviour_event(&mut self, _: Elsewhere) {
        self.hear();
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Heard>> {
        while let Some(Poll::Ready(result)) = self.theirs.as_mut().map(|theirs| theirs.poll_unpin(cx)) {
            self.theirs = result.ok().map(|stream| pong(stream).boxed());
            if self.theirs.is_some() {
                self.hear();
            }
        }
        loop {
            if self.failures >= FAILURES_MAX {
                (self.failures, self.own) = (0, Own::Over);
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Heard::Nothing));
            }
            match &mut self.own {
                Own::Opening | Own::Over => return Poll::Pending,
                Own::Waiting(answer) => match answer.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(stream)) => {
                        self.own = Own::Resting(Some(stream));
                        self.hear();
                        return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Heard::Answer));
                    }
                    Poll::Ready(Err(error)) if is_refusal(&error) => self.own = Own::Over,
                    Poll::Ready(Err(_)) => self.fail(),
                },
                Own::Resting(stream) => {
                    if self.silence.as_mut().poll_unpin(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.own = match stream.take() {
                        Some(stream) => Own::Waiting(ping(stream).boxed()),
                        None => {
                            self.own = Own::Opening;
                            let protocol = self.listen_protocol();
                            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                                protocol,
                            });
                        }
                    };
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: mut stream, ..
            }) => {
                stream.ignore_for_keep_alive();
                self.theirs = Some(pong(stream).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: mut stream,
                ..
            }) => {
                stream.ignore_for_keep_alive();
                self.own = Own::Waiting(ping(stream).boxed());
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                error: StreamUpgradeError::NegotiationFailed,
                ..
            }) => self.own = Own::Over,
            ConnectionEvent::DialUpgradeError(_) => self.fail(),
            ConnectionEvent::AddressChange(_)
            | ConnectionEvent::ListenUpgradeError(_)
            | ConnectionEvent::LocalProtocolsChange(_)
            | ConnectionEvent::RemoteProtocolsChange(_)
            | _ => {}
        }
    }
}

/// Sends a ping and waits for the same bytes.
async fn ping(mut stream: Stream) -> io::Result<Stream> {
    let sent: [u8; PING_BYTES] = crate::random::bytes();
    let answered = async {
        stream.write_all(&sent).await?;
        stream.flush().await?;
        let mut heard = [0; PING_BYTES];
        stream.read_exact(&mut heard).await?;
        if heard == sent { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    };
    timeout(PING_TIMEOUT, answered).await??;
    Ok(stream)
}

/// Answers the next ping, whenever it comes.
async fn pong(mut stream: Stream) -> io::Result<Stream> {
    let mut heard = [0; PING_BYTES];
    stream.read_exact(&mut heard).await?;
    stream.write_all(&heard).await?;
    stream.flush().await?;
    Ok(stream)
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use assert_matches::assert_matches;
    use libp2p::{
        Swarm,
        core::upgrade::NegotiationError,
        futures::StreamExt,
        request_response::{self as rr, ProtocolSupport},
        swarm::{Config, SwarmEvent},
    };

    use super::*;
    use crate::swarm::{Protocol, build::transport, codec::Frames, tests::key};

    /// Nothing waits for this long.
    const LONG: Duration = Duration::from_secs(3_600);

    /// Often enough to see some in no time.
    const SOON: Duration = Duration::from_millis(1);

    fn swarm<B: NetworkBehaviour>(seed: u8, behaviour: B) -> Swarm<B> {
        let key = key(seed);
        let config = Config::with_tokio_executor().with_idle_connection_timeout(LONG);
        Swarm::new(transport(&key, false).unwrap(), behaviour, key.public().to_peer_id(), config)
    }

    /// Two devices, the first of which dials the second.
    async fn connected<B: NetworkBehaviour>(dialling: Pulse, listening: B) -> (Swarm<Pulse>, Swarm<B>) {
        let (mut phone, mut laptop) = (swarm(1, dialling), swarm(2, listening));
        laptop.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = laptop.select_next_some().await {
                phone.dial(address).unwrap();
                return (phone, laptop);
            }
        }
    }

    /// What is heard elsewhere counts as an answer: a failed ping is forgotten.
    #[tokio::test]
    async fn whoever_is_heard_elsewhere_is_there() {
        let mut pinging = Pinging::new(Duration::ZERO);
        for _ in 0..FAILURES_MAX * 2 {
            assert_matches!(
                next(&mut pinging).await,
                ConnectionHandlerEvent::OutboundSubstreamRequest { .. }
            );
            fail(&mut pinging, StreamUpgradeError::Timeout);
            pinging.on_behaviour_event(Elsewhere);
        }
        assert!(!matches!(pinging.own, Own::Over));
        // And is asked again only after the next silence.
        pinging.after = LONG;
        pinging.on_behaviour_event(Elsewhere);
        assert!(poll_fn(|cx| Poll::Ready(pinging.poll(cx).is_pending())).await);
    }

    /// The end that hears pings has nothing to ask.
    #[tokio::test]
    async fn whoever_is_pinged_does_not_ping() {
        let (mut phone, mut laptop) =
            connected(Pulse::after(SOON, LONG), Pulse::after(LONG, Duration::from_secs(30))).await;
        let mut answers = 0;
        while answers < 10 {
            tokio::select! {
                event = phone.select_next_some() => match event {
                    SwarmEvent::Behaviour(Answered { device, .. }) => {
                        assert_eq!(Some(device), device_id(laptop.local_peer_id()));
                        answers += 1;
                    }
                    SwarmEvent::ConnectionClosed { cause, .. } => panic!("closed: {cause:?}"),
                    _ => {}
                },
                event = laptop.select_next_some() => {
                    assert!(!matches!(event, SwarmEvent::Behaviour(_)), "{event:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_end_that_listens_pings_too() {
        let (mut phone, mut laptop) = connected(Pulse::after(LONG, LONG), Pulse::after(LONG, SOON)).await;
        loop {
            tokio::select! {
                _ = phone.select_next_some() => {}
                event = laptop.select_next_some() => {
                    if matches!(event, SwarmEvent::Behaviour(_)) { return }
                }
            }
        }
    }

    /// The other end takes the stream and gives no answer that is one.
    #[tokio::test]
    async fn a_connection_without_answers_is_closed() {
        let deaf = rr::Behaviour::with_codec(
            Frames::new(Protocol::Pair),
            [(NAME, ProtocolSupport::Full)],
            rr::Config::default(),
        );
        let (mut phone, mut laptop) = connected(Pulse::after(SOON, LONG), deaf).await;
        loop {
            tokio::select! {
                event = phone.select_next_some() => match event {
                    SwarmEvent::ConnectionClosed { .. } => return,
                    SwarmEvent::Behaviour(answered) => panic!("{answered:?}"),
                    _ => {}
                },
                _ = laptop.select_next_some() => {}
            }
        }
    }

    async fn next(pinging: &mut Pinging) -> ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Heard> {
        poll_fn(|cx| pinging.poll(cx)).await
    }

    fn fail(pinging: &mut Pinging, error: StreamUpgradeError<Infallible>) {
        let error = ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (), error });
        pinging.on_connection_event(error);
    }

    /// Two streams that do not come about count as two pings, and no third one
    /// is asked for.
    #[tokio::test]
    async fn a_second_failure_in_a_row_is_the_last() {
        let mut pinging = Pinging::new(Duration::ZERO);
        for _ in 0..FAILURES_MAX {
            assert_matches!(
                next(&mut pinging).await,
                ConnectionHandlerEvent::OutboundSubstreamRequest { .. }
            );
            fail(&mut pinging, StreamUpgradeError::Timeout);
        }
        assert_matches!(next(&mut pinging).await, ConnectionHandlerEvent::NotifyBehaviour(Heard::Nothing));
        assert!(matches!(pinging.own, Own::Over));
    }

    #[tokio::test]
    async fn a_device_that_does_not_know_pings_is_asked_once() {
        let mut pinging = Pinging::new(Duration::ZERO);
        assert_matches!(next(&mut pinging).await, ConnectionHandlerEvent::OutboundSubstreamRequest { .. });
        fail(&mut pinging, StreamUpgradeError::NegotiationFailed);
        assert!(poll_fn(|cx| Poll::Ready(pinging.poll(cx).is_pending())).await);
        assert!(matches!(pinging.own, Own::Over));

        // The same where it shows only once an answer is read.
        let refused = async { Err(NegotiationError::Failed.into()) };
        pinging.own = Own::Waiting(refused.boxed());
        assert!(poll_fn(|cx| Poll::Ready(pinging.poll(cx).is_pending())).await);
        assert!(matches!(pinging.own, Own::Over));
    }
}
