//! Questions and answers of one [`Protocol`], in frames.
//!
//! Adds to libp2p's request-response what it lacks: a line in which requests
//! wait for their turn (too many at once would cost the connection), failures
//! that say what was wrong, and no dialling of its own accord.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::{Context, Poll},
};

use kinsync_protocol::id::DeviceId;
use libp2p::{
    PeerId,
    core::upgrade::NegotiationError,
    request_response::{
        self as rr, InboundFailure, Message, OutboundFailure, OutboundRequestId, ProtocolSupport,
        ResponseChannel,
    },
    swarm::{ConnectionId, NetworkBehaviour, THandlerInEvent, ToSwarm},
};
use thiserror::Error;
use tracing::debug;

use super::{
    admission::{Admission, Side},
    codec::{FrameError, Frames},
    delegate::delegate_network_behaviour,
    gate::Gate,
    identity::{device_id, peer_id},
    protocols::Protocol,
};

/// Requests to one peer that may wait for their turn. Beyond it a caller is
/// not pacing itself at all, and hears [`RequestError::Busy`].
pub const WAITING_MAX: usize = 4096;

/// Bytes of these requests: some dozen of the largest, for a peer that takes
/// them slowly. Beyond it the same.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// A request of ours, from the moment it is made to its one answer or failure.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(u64);

/// The way back to whoever asked.
///
/// Dropping it ends the stream, which the asker sees as
/// [`RequestError::CutShort`].
#[derive(Debug)]
pub struct Reply(ResponseChannel<Vec<u8>>);

impl Reply {
    /// Whether anybody still waits for the answer.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

/// What an [`Exchange`] has to tell.
#[derive(Debug)]
pub enum Event {
    /// `device` asks something, and was allowed to when this was made.
    Request {
        /// What kind of question it is.
        protocol: Protocol,
        /// Who asks, proven by the handshake.
        device: DeviceId,
        /// On which of its connections.
        connection: ConnectionId,
        /// What it asks.
        frame: Vec<u8>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A request of ours was answered.
    Answer {
        /// What kind of question it was.
        protocol: Protocol,
        /// Who answers.
        device: DeviceId,
        /// On which of its connections.
        connection: ConnectionId,
        /// What it answers.
        request: RequestId,
        /// The answer.
        frame: Vec<u8>,
    },
    /// A request of ours will not be answered.
    Failed {
        /// What kind of question it was.
        protocol: Protocol,
        /// Who was asked.
        device: DeviceId,
        /// What was asked.
        request: RequestId,
        /// Why there is no answer.
        error: RequestError,
    },
}

/// Why a request of ours was not answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to the device; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The device may not be asked this, as far as we are concerned; nothing
    /// was sent.
    #[error("not allowed by the trust set of this device")]
    NotAllowed,
    /// The device does not let us ask this: it does not trust us, or it does
    /// not know the protocol.
    #[error("refused by the other device")]
    Refused,
    /// As many requests or bytes wait already as may; nothing was sent.
    #[error("too many requests are waiting already")]
    Busy,
    /// The request or the answer is longer than the protocol allows.
    #[error("a frame of {length} bytes, {limit} are allowed")]
    TooLarge {
        /// How long it is.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The stream ended without a whole answer. What the other device did
    /// with the request is not known.
    #[error("the answer was cut short")]
    CutShort,
    /// Nothing moved for too long, or the exchange took too long in total.
    #[error("timed out")]
    TimedOut,
    /// The connection closed meanwhile. What the other device did with the
    /// request is not known.
    #[error("the connection closed")]
    Closed,
    /// The stream failed.
    #[error("the stream failed")]
    Io(#[source] io::Error),
}

/// The answer was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Nobody waits for it any more.
    #[error("nobody waits for the answer any more")]
    Gone,
    /// It is longer than the protocol allows. The asker hears
    /// [`RequestError::CutShort`].
    #[error("an answer of {length} bytes, {limit} are allowed")]
    TooLarge {
        /// How long it is.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// Requests to one device.
#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    waiting: VecDeque<(RequestId, Vec<u8>)>,
    /// Bytes of those that wait.
    bytes: usize,
}

/// One protocol's questions and answers with everybody.
pub struct Exchange {
    gate: Gate<rr::Behaviour<Frames>>,
    next: u64,
    lines: BTreeMap<DeviceId, Line>,
    sent: BTreeMap<OutboundRequestId, RequestId>,
    events: VecDeque<Event>,
}

impl Exchange {
    /// `protocol` with its limits, for those whom `admission` lets use it.
    pub fn new(protocol: Protocol, admission: Admission) -> Self {
        let limits = protocol.limits();
        let config = rr::Config::default()
            .with_request_timeout(limits.total)
            .with_max_concurrent_streams(limits.streams);
        let inner = rr::Behaviour::with_codec(
            Frames::new(protocol),
            [(protocol.name(), ProtocolSupport::Full)],
            config,
        );
        let gate = Gate::new(inner, protocol, admission);
        let gate = match protocol {
            Protocol::Sync => gate.holding_trusted_connections(),
            Protocol::Pair | Protocol::Trust => gate,
        };
        Self { gate, next: 0, lines: BTreeMap::new(), sent: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Asks `device`, over any of its connections.
    ///
    /// Exactly one [`Event::Answer`] or [`Event::Failed`] with this id
    /// follows. Does not dial. Requests to one device go out in the order
    /// they are made, a few at a time; answers come in any order.
    pub fn request(&mut self, device: DeviceId, frame: Vec<u8>) -> RequestId {
        let protocol = self.gate.protocol();
        let request = RequestId(self.next);
        self.next += 1;
        if let Err(error) = self.try_request(device, request, frame) {
            self.events.push_back(Event::Failed { protocol, device, request, error });
        }
        request
    }

    fn try_request(
        &mut self,
        device: DeviceId,
        request: RequestId,
        frame: Vec<u8>,
    ) -> Result<(), RequestError> {
        let limits = self.gate.protocol().limits();
        if frame.len() > limits.request {
            return Err(RequestError::TooLarge { length: frame.len() as u64, limit: limits.request });
        }
        self.may_ask(&device)?;
        let line = self.lines.entry(device).or_default();
        if line.under_way < limits.in_flight {
            line.under_way += 1;
            self.send(device, request, frame);
            return Ok(());
        }
        if line.waiting.len() >= WAITING_MAX || line.bytes + frame.len() > WAITING_BYTES_MAX {
            return Err(RequestError::Busy);
        }
        line.bytes += frame.len();
        line.waiting.push_back((request, frame));
        Ok(())
    }

    /// Answers whoever is behind `reply`.
    pub fn answer(&mut self, reply: Reply, frame: Vec<u8>) -> Result<(), AnswerError> {
        let limit = self.gate.protocol().limits().answer;
        if frame.len() > limit {
            return Err(AnswerError::TooLarge { length: frame.len(), limit });
        }
        self.gate.inner_mut().send_response(reply.0, frame).map_err(|_| AnswerError::Gone)
    }

    /// How many requests to `device` are under way or waiting.
    pub fn open_requests(&self, device: &DeviceId) -> usize {
        self.lines.get(device).map_or(0, |line| line.under_way + line.waiting.len())
    }

    fn may_ask(&self, device: &DeviceId) -> Result<(), RequestError> {
        if !self.gate.admission().allows(device, self.gate.protocol(), Side::Ours) {
            Err(RequestError::NotAllowed)
        } else if !self.gate.inner().is_connected(&peer_id(device)) {
            Err(RequestError::NotConnected)
        } else {
            Ok(())
        }
    }

    fn send(&mut self, device: DeviceId, request: RequestId, frame: Vec<u8>) {
        let id = self.gate.inner_mut().send_request(&peer_id(&device), frame);
        self.sent.insert(id, request);
    }

    /// Ends `id` and lets the next ones in line go.
    fn finish(&mut self, device: DeviceId, id: OutboundRequestId) -> Option<RequestId> {
        let protocol = self.gate.protocol();
        let request = self.sent.remove(&id);
        if let Some(line) = self.lines.get_mut(&device) {
            line.under_way = line.under_way.saturating_sub(1);
        }
        while let Some((request, frame)) = self.next_in_line(&device) {
            match self.may_ask(&device) {
                Ok(()) => self.send(device, request, frame),
                Err(error) => {
                    self.leave(&device);
                    self.events.push_back(Event::Failed { protocol, device, request, error });
                }
            }
        }
        if self.open_requests(&device) == 0 {
            self.lines.remove(&device);
        }
        request
    }

    fn next_in_line(&mut self, device: &DeviceId) -> Option<(RequestId, Vec<u8>)> {
        let limit = self.gate.protocol().limits().in_flight;
        let line = self.lines.get_mut(device).filter(|line| line.under_way < limit)?;
        let next = line.waiting.pop_front()?;
        line.bytes -= next.1.len();
        line.under_way += 1;
        Some(next)
    }

    fn leave(&mut self, device: &DeviceId) {
        if let Some(line) = self.lines.get_mut(device) {
            line.under_way = line.under_way.saturating_sub(1);
        }
    }

    fn on_event(&mut self, event: rr::Event<Vec<u8>, Vec<u8>>) {
        let protocol = self.gate.protocol();
        match event {
            rr::Event::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            } => {
                self.on_request(&peer, connection_id, request, Reply(channel));
            }
            rr::Event::Message {
                peer,
                connection_id: connection,
                message: Message::Response { request_id, response: frame },
            } => {
                let Some(device) = device_id(&peer) else { return };
                if let Some(request) = self.finish(device, request_id) {
                    self.events.push_back(Event::Answer { protocol, device, connection, request, frame });
                }
            }
            rr::Event::OutboundFailure { peer, request_id, error, .. } => {
                let Some(device) = device_id(&peer) else { return };
                if let Some(request) = self.finish(device, request_id) {
                    self.events.push_back(Event::Failed { protocol, device, request, error: error.into() });
                }
            }
            rr::Event::InboundFailure { error: InboundFailure::ResponseOmission, .. } => {}
            rr::Event::InboundFailure { peer, error, .. } => {
                debug!(%peer, ?protocol, %error, "a question was not answered");
            }
            rr::Event::ResponseSent { .. } => {}
        }
    }

    /// Passes a request on, unless its sender lost its trust while libp2p
    /// still had the request in hand.
    fn on_request(&mut self, peer: &PeerId, connection: ConnectionId, frame: Vec<u8>, reply: Reply) {
        let Some(device) = device_id(peer) else { return };
        let protocol = self.gate.protocol();
        if self.gate.admission().allows(&device, protocol, Side::Theirs) {
            self.events.push_back(Event::Request { protocol, device, connection, frame, reply });
        }
    }
}

impl NetworkBehaviour for Exchange {
    type ConnectionHandler = <Gate<rr::Behaviour<Frames>> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event;

    delegate_network_behaviour!(gate);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            match self.gate.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => self.on_event(event),
                Poll::Ready(other) => {
                    return Poll::Ready(other.map_out(|_| unreachable!("events were taken out above")));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl From<OutboundFailure> for RequestError {
    fn from(failure: OutboundFailure) -> Self {
        match failure {
            OutboundFailure::DialFailure => Self::NotConnected,
            OutboundFailure::Timeout => Self::TimedOut,
            OutboundFailure::ConnectionClosed => Self::Closed,
            OutboundFailure::UnsupportedProtocols => Self::Refused,
            OutboundFailure::Io(error) => match FrameError::of(&error) {
                Some(FrameError::TooLarge { length, limit }) => {
                    Self::TooLarge { length: *length, limit: *limit }
                }
                Some(FrameError::CutShort { .. }) => Self::CutShort,
                Some(FrameError::Stalled { .. }) => Self::TimedOut,
                None if is_refusal(&error) => Self::Refused,
                None => Self::Io(error),
            },
        }
    }
}

/// Whether the other side does not speak the protocol of a stream. That shows
/// when something is read, as what is said goes out with the protocol's name.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(NegotiationError::Failed))
}
