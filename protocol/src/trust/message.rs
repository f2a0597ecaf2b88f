//! What two devices that trust each other say before anything else.

use serde_bytes::ByteArray;

use super::statement::Statement;
use crate::card::Card;
use crate::cbor::{self, DecodeError, int_map};
use crate::stamp::UnixMillis;

/// The largest message: more than a full view of [`LIVE_MAX`](super::LIVE_MAX)
/// devices. Longer views go in several messages.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Room for everything in a message besides its statements.
const HEADER_BYTES_MAX: usize = 2 << 10;

/// The protocol on which a device that is refused hears why, in a [`Bye`].
pub const STATUS_PROTOCOL: &str = "/kinsync/status/1";

/// One message of the exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// "This is me, and this is what I hold of others."
    Announcement(Announcement),
    /// "I close this connection."
    Bye(Bye),
}

/// The first thing on every connection, and again whenever the view changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The sender; safe to show.
    pub card: Card,
    /// What the sender holds of others.
    pub statements: Vec<Statement>,
    /// Drawn at every start: two of them at a time under one key are a cloned
    /// identity.
    pub boot: ByteArray<16>,
    /// The sender's wall clock, only for a warning when it is off.
    pub clock: UnixMillis,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bye {
    /// The device shuts down or needs the connection no more.
    Closing = 0,
    /// The other device is not trusted here any more.
    Revoked = 1,
    /// Too many connections.
    Busy = 2,
    /// No common version.
    Version = 3,
    /// The clocks differ too much.
    Clock = 4,
}

struct Wire {
    version: u64,
    card: Card,
    statements: Vec<Statement>,
    boot: ByteArray<16>,
    clock: UnixMillis,
}
int_map!(Wire { 0: version, 1: card, 2: statements, 3: boot, 4: clock });

struct ByeWire {
    bye: u8,
}
int_map!(ByeWire { 1: bye });

const ANNOUNCEMENT: u8 = 1;
const BYE: u8 = 2;

impl Announcement {
    /// A view as few messages as it fits into; one for anybody's real set.
    ///
    /// Without statements this is one message too: it carries the card.
    pub fn split(
        card: &Card,
        statements: Vec<Statement>,
        boot: ByteArray<16>,
        clock: UnixMillis,
    ) -> Vec<Self> {
        let empty = Self { card: card.cleaned(), statements: Vec::new(), boot, clock };
        let mut messages = vec![empty.clone()];
        let mut size = HEADER_BYTES_MAX;
        for statement in statements {
            if size + statement.size() > MESSAGE_BYTES_MAX {
                messages.push(empty.clone());
                size = HEADER_BYTES_MAX;
            }
            size += statement.size();
            if let Some(last) = messages.last_mut() {
                last.statements.push(statement);
            }
        }
        messages
    }
}

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Announcement(said) => {
                let wire = Wire {
                    version: 1,
                    card: said.card.clone(),
                    statements: said.statements.clone(),
                    boot: said.boot,
                    clock: said.clock,
                };
                (ANNOUNCEMENT, cbor::encode(&wire))
            }
            Self::Bye(bye) => (BYE, cbor::encode(&ByeWire { bye: *bye as u8 })),
        };
        [vec![kind], body].concat()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Anything that is not exactly one message within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLarge { size: bytes.len(), max: MESSAGE_BYTES_MAX });
        }
        let (kind, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
        match *kind {
            ANNOUNCEMENT => {
                let wire: Wire = cbor::decode(body, MESSAGE_BYTES_MAX)?;
                if wire.version != 1 {
                    return Err(DecodeError::Invalid { what: "version of the announcement" });
                }
                let Wire { card, statements, boot, clock, .. } = wire;
                Ok(Self::Announcement(Announcement { card: card.accept()?, statements, boot, clock }))
            }
            BYE => {
                let wire: ByeWire = cbor::decode(body, MESSAGE_BYTES_MAX)?;
                let bye = match wire.bye {
                    1 => Bye::Revoked,
                    2 => Bye::Busy,
                    3 => Bye::Version,
                    4 => Bye::Clock,
                    // A reason yet to be invented closes all the same.
                    _ => Bye::Closing,
                };
                Ok(Self::Bye(bye))
            }
            kind => Err(DecodeError::UnknownKind { kind }),
        }
    }
}

#[cfg(test)]
mod tests;
