//! The messages of a pairing: one byte for the kind, then a CBOR map.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::Verdict;
use crate::cbor::{self, DecodeError, int_map};
use crate::code::Nameplate;
use crate::trust::Role;
use crate::trust::statement::{RunId, Statement};

/// The largest message, its kind included. Ours take about one kilobyte.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// What a joiner asks. Each is answered by one [`Response`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// "I want to pair with the device whose code starts like this."
    Hello(Hello),
    /// The joiner's share of the key exchange.
    ShareJ(ShareJ),
    /// The joiner's proof that it knows the code.
    ConfirmJ(ConfirmJ),
    /// "What does your person say?" Answered when they have decided.
    Await(Await),
    /// "I have stored it."
    Ack(Ack),
}

/// What a host answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// "My window is open", with a promise of the share to come.
    Offer(Offer),
    /// The host's share of the key exchange.
    ShareH(ShareH),
    /// The host's proof that it knows the code.
    ConfirmH(ConfirmH),
    /// What the person decided.
    Decision(Decision),
    /// "Done on both sides."
    Done,
    /// The run ends here.
    Refuse {
        /// All that the joiner may know of why.
        refusal: Refusal,
        /// How many tries the code has left, after a wrong one.
        tries_left: Option<u8>,
    },
}

/// Why a host refuses. Never says anything that helps to guess.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "u8", into = "u8")]
pub enum Refusal {
    /// No window with this nameplate is open.
    NoSuchCode = 1,
    /// The proof does not fit: another code was typed.
    Wrong = 2,
    /// The code was used, or guessed at too often.
    Burned = 3,
    /// The code's time is over.
    Expired = 4,
    /// Too many runs at once; try again in a moment.
    Busy = 5,
    /// The joiner's key was revoked or retired here; a new one may pair.
    KeyRevoked = 6,
    /// The host speaks another version.
    Version = 7,
    /// The person said no, or nothing.
    Rejected = 8,
    /// The message makes no sense here.
    BadMessage = 9,
}

impl From<u8> for Refusal {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::NoSuchCode,
            2 => Self::Wrong,
            3 => Self::Burned,
            4 => Self::Expired,
            5 => Self::Busy,
            6 => Self::KeyRevoked,
            7 => Self::Version,
            8 => Self::Rejected,
            _ => Self::BadMessage,
        }
    }
}

impl From<Refusal> for u8 {
    fn from(refusal: Refusal) -> Self {
        refusal as Self
    }
}

/// See [`Request::Hello`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// 1.
    pub version: u64,
    /// The first two letters of the code.
    pub nameplate: String,
    /// Makes the run unlike any other.
    pub nonce: ByteArray<16>,
}
int_map!(Hello { 0: version, 1: nameplate, 2: nonce });

/// See [`Response::Offer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// Names the run from here on.
    pub run: RunId,
    /// What the host's share and salt will hash to.
    pub commit: ByteArray<32>,
    /// How long the code is still open.
    pub seconds_left: u64,
}
int_map!(Offer { 1: run, 2: commit, 3: seconds_left });

/// See [`Request::ShareJ`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShareJ {
    /// The run.
    pub run: RunId,
    /// `A` and a point.
    pub share: ByteArray<33>,
}
int_map!(ShareJ { 1: run, 2: share });

/// See [`Response::ShareH`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShareH {
    /// `B` and a point.
    pub share: ByteArray<33>,
    /// Part of the commitment.
    pub salt: ByteArray<32>,
}
int_map!(ShareH { 1: share, 2: salt });

/// See [`Request::ConfirmJ`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfirmJ {
    /// The run.
    pub run: RunId,
    /// Proof of the shared secret, over the card.
    pub proof: ByteArray<32>,
    /// The joiner's card as the bytes that proof and signature cover.
    pub card: ByteBuf,
    /// By the joiner's device key.
    pub signature: ByteArray<64>,
}
int_map!(ConfirmJ { 0: run, 1: proof, 2: card, 3: signature });

/// See [`Response::ConfirmH`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfirmH {
    /// Proof of the shared secret, over the card.
    pub proof: ByteArray<32>,
    /// The host's card as the bytes that proof and signature cover.
    pub card: ByteBuf,
    /// By the host's device key.
    pub signature: ByteArray<64>,
}
int_map!(ConfirmH { 1: proof, 2: card, 3: signature });

/// See [`Request::Await`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Await {
    /// The run.
    pub run: RunId,
    /// The most that the joiner is willing to grant and to take.
    pub role: Role,
}

struct AwaitWire {
    run: RunId,
    role: u8,
}
int_map!(AwaitWire { 1: run, 2: role });

/// See [`Response::Decision`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The run.
    pub run: RunId,
    /// What the person said, or less if the joiner asked for less.
    pub verdict: Verdict,
    /// The host's word for the joiner; present for kin.
    pub statement: Option<Statement>,
}

struct DecisionWire {
    run: RunId,
    verdict: u8,
    statement: Option<Statement>,
    seconds: Option<u64>,
    domains: Option<Vec<String>>,
}
int_map!(DecisionWire { 1: run, 2: verdict } optional { 3: statement, 4: seconds, 5: domains });

/// See [`Request::Ack`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The run.
    pub run: RunId,
    /// The role that the joiner has stored.
    pub role: Role,
    /// The joiner's word for the host; present for kin.
    pub statement: Option<Statement>,
}

struct AckWire {
    run: RunId,
    role: u8,
    statement: Option<Statement>,
}
int_map!(AckWire { 1: run, 2: role } optional { 3: statement });

struct DoneWire {}
int_map!(DoneWire {});

struct RefuseWire {
    refusal: Refusal,
    tries_left: Option<u8>,
}
int_map!(RefuseWire { 1: refusal } optional { 2: tries_left });

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const SHARE_J: u8 = 3;
    pub(super) const SHARE_H: u8 = 4;
    pub(super) const CONFIRM_J: u8 = 5;
    pub(super) const CONFIRM_H: u8 = 6;
    pub(super) const AWAIT: u8 = 7;
    pub(super) const DECISION: u8 = 8;
    pub(super) const ACK: u8 = 9;
    pub(super) const DONE: u8 = 10;
    pub(super) const REFUSE: u8 = 11;
}

impl Request {
    /// The nameplate that a Hello asks for: which window it is meant for.
    pub fn nameplate(&self) -> Option<Nameplate> {
        match self {
            Self::Hello(hello) => Nameplate::parse(&hello.nameplate),
            Self::ShareJ(_) | Self::ConfirmJ(_) | Self::Await(_) | Self::Ack(_) => None,
        }
    }

    /// The run that any later request belongs to.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::Hello(_) => None,
            Self::ShareJ(share) => Some(&share.run),
            Self::ConfirmJ(confirm) => Some(&confirm.run),
            Self::Await(wait) => Some(&wait.run),
            Self::Ack(ack) => Some(&ack.run),
        }
    }

    /// The request as bytes, at most [`MESSAGE_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => frame(kind::HELLO, hello),
            Self::ShareJ(share) => frame(kind::SHARE_J, share),
            Self::ConfirmJ(confirm) => frame(kind::CONFIRM_J, confirm),
            Self::Await(wait) => frame(kind::AWAIT, &AwaitWire { run: wait.run, role: wait.role as u8 }),
            Self::Ack(ack) => {
                let (run, role, statement) = (ack.run, ack.role as u8, ack.statement.clone());
                frame(kind::ACK, &AckWire { run, role, statement })
            }
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// Anything that is not exactly one request within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (kind, body) = unframe(bytes)?;
        match kind {
            kind::HELLO => read(body).map(Self::Hello),
            kind::SHARE_J => read(body).map(Self::ShareJ),
            kind::CONFIRM_J => read(body).map(Self::ConfirmJ),
            kind::AWAIT => {
                let wire: AwaitWire = read(body)?;
                Ok(Self::Await(Await { run: wire.run, role: Role::from_number(wire.role)? }))
            }
            kind::ACK => {
                let wire: AckWire = read(body)?;
                let role = Role::from_number(wire.role)?;
                Ok(Self::Ack(Ack { run: wire.run, role, statement: accept(wire.statement)? }))
            }
            kind => Err(DecodeError::UnknownKind { kind }),
        }
    }
}

impl Response {
    /// The response as bytes, at most [`MESSAGE_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Offer(offer) => frame(kind::OFFER, offer),
            Self::ShareH(share) => frame(kind::SHARE_H, share),
            Self::ConfirmH(confirm) => frame(kind::CONFIRM_H, confirm),
            Self::Decision(decision) => frame(kind::DECISION, &DecisionWire::from(decision)),
            Self::Done => frame(kind::DONE, &DoneWire {}),
            Self::Refuse { refusal, tries_left } => {
                frame(kind::REFUSE, &RefuseWire { refusal: *refusal, tries_left: *tries_left })
            }
        }
    }

    /// Reads a response.
    ///
    /// # Errors
    ///
    /// Anything that is not exactly one response within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (kind, body) = unframe(bytes)?;
        match kind {
            kind::OFFER => read(body).map(Self::Offer),
            kind::SHARE_H => read(body).map(Self::ShareH),
            kind::CONFIRM_H => read(body).map(Self::ConfirmH),
            kind::DECISION => read::<DecisionWire>(body)?.accept().map(Self::Decision),
            kind::DONE => read::<DoneWire>(body).map(|_| Self::Done),
            kind::REFUSE => {
                let wire: RefuseWire = read(body)?;
                Ok(Self::Refuse { refusal: wire.refusal, tries_left: wire.tries_left })
            }
            kind => Err(DecodeError::UnknownKind { kind }),
        }
    }
}

impl From<&Decision> for DecisionWire {
    fn from(decision: &Decision) -> Self {
        let (verdict, seconds, domains) = match &decision.verdict {
            Verdict::Reject => (0, None, None),
            Verdict::Once { seconds, domains } => (Role::Once as u8, Some(*seconds), domains.clone()),
            Verdict::Guest { domains } => (Role::Guest as u8, None, domains.clone()),
            Verdict::Kin => (Role::Kin as u8, None, None),
        };
        Self { run: decision.run, verdict, statement: decision.statement.clone(), seconds, domains }
    }
}

impl DecisionWire {
    fn accept(self) -> Result<Decision, DecodeError> {
        let verdict = match self.verdict {
            0 => Verdict::Reject,
            number => match Role::from_number(number)? {
                Role::Once => {
                    let seconds = self.seconds.unwrap_or(super::ONCE_SECONDS);
                    Verdict::Once { seconds, domains: self.domains }
                }
                Role::Guest => Verdict::Guest { domains: self.domains },
                Role::Kin => Verdict::Kin,
            },
        };
        verdict.check().map_err(|_| DecodeError::Invalid { what: "verdict" })?;
        Ok(Decision { run: self.run, verdict, statement: accept(self.statement)? })
    }
}

fn frame<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(cbor::encode(body));
    bytes
}

fn unframe(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLarge { size: bytes.len(), max: MESSAGE_BYTES_MAX });
    }
    bytes.split_first().map(|(kind, body)| (*kind, body)).ok_or(DecodeError::Empty)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    cbor::decode(body, MESSAGE_BYTES_MAX)
}

fn accept(statement: Option<Statement>) -> Result<Option<Statement>, DecodeError> {
    match statement {
        Some(statement) if !statement.fits() => Err(DecodeError::Invalid { what: "size of the statement" }),
        statement => Ok(statement),
    }
}

#[cfg(test)]
mod tests;
