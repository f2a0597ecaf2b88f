//! The ticket behind a QR code: a pairing code together with where its host is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::cbor::{self, DecodeError, int_map};
use crate::code::Code;
use crate::id::DeviceId;

/// What every ticket starts with. The secret follows in the fragment, which no
/// browser sends to a server.
const PREFIX: &str = "kinsync://pair#";

/// The longest ticket we read: a QR code beyond this is hard to scan.
pub const TICKET_CHARS_MAX: usize = 1024;

/// How many addresses a ticket may carry; a host has few that work.
pub const TICKET_ADDRESSES_MAX: usize = 6;

/// Everything a joiner needs to reach one host and nobody else.
///
/// The joiner pairs only with [`host`](Self::host). It should drop addresses
/// that end in another peer, and keep loopback and link-local ones only if the
/// ticket was typed on this very machine.
#[derive(Clone)]
pub struct Ticket {
    /// The code of the open window.
    pub code: Code,
    /// The device that shows the code.
    pub host: DeviceId,
    /// Where it listens: multiaddresses in their binary form, at most
    /// [`TICKET_ADDRESSES_MAX`].
    pub addresses: Vec<Vec<u8>>,
    /// When the window closes, in seconds since the Unix epoch; for display, as
    /// the two clocks may differ.
    pub expires_unix: u64,
}

/// Why a text is not a ticket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParseTicketError {
    /// The part behind the hash is not base64url.
    #[error("ticket is damaged")]
    Base64(#[source] base64::DecodeError),
    /// The bytes are not those of a ticket.
    #[error("ticket is damaged")]
    Cbor(#[source] DecodeError),
    /// The text is some other link.
    #[error("a ticket starts with {PREFIX}")]
    Prefix,
    /// Longer than any ticket we make.
    #[error("ticket is longer than {TICKET_CHARS_MAX} characters")]
    TooLong,
    /// Made by a newer kinsync.
    #[error("ticket has version {version}, this kinsync reads version 1")]
    Version {
        /// The version it states.
        version: u64,
    },
}

struct Wire {
    version: u64,
    code: String,
    host: ByteBuf,
    addresses: Vec<ByteBuf>,
    expires_unix: u64,
}
int_map!(Wire { 0: version, 1: code, 2: host, 3: addresses, 4: expires_unix });

impl Ticket {
    /// The ticket as a link, with as many addresses as fit the limits.
    ///
    /// Holds the code: for the screen only.
    pub fn reveal(&self) -> String {
        let mut addresses = self.addresses.iter().take(TICKET_ADDRESSES_MAX).cloned().collect::<Vec<_>>();
        loop {
            let wire = Wire {
                version: 1,
                code: self.code.symbols().iter().copied().map(char::from).collect(),
                host: ByteBuf::from(self.host.peer_id_bytes().to_vec()),
                addresses: addresses.iter().cloned().map(ByteBuf::from).collect(),
                expires_unix: self.expires_unix,
            };
            let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cbor::encode(&wire)));
            if text.len() <= TICKET_CHARS_MAX || addresses.pop().is_none() {
                return text;
            }
        }
    }

    /// Reads a ticket.
    ///
    /// # Errors
    ///
    /// Refuses anything that [`reveal`](Self::reveal) does not make, unknown
    /// fields apart.
    pub fn parse(text: &str) -> Result<Self, ParseTicketError> {
        let text = text.trim();
        if text.len() > TICKET_CHARS_MAX {
            return Err(ParseTicketError::TooLong);
        }
        let body = text.strip_prefix(PREFIX).ok_or(ParseTicketError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(ParseTicketError::Base64)?;
        let wire: Wire = cbor::decode(&bytes, TICKET_CHARS_MAX).map_err(ParseTicketError::Cbor)?;
        if wire.version != 1 {
            return Err(ParseTicketError::Version { version: wire.version });
        }
        let invalid = |what| ParseTicketError::Cbor(DecodeError::Invalid { what });
        if wire.addresses.len() > TICKET_ADDRESSES_MAX {
            return Err(invalid("number of addresses"));
        }
        Ok(Self {
            code: Code::parse(&wire.code).map_err(|_| invalid("code"))?,
            host: DeviceId::from_peer_id_bytes(&wire.host).ok_or_else(|| invalid("peer id"))?,
            addresses: wire.addresses.into_iter().map(ByteBuf::into_vec).collect(),
            expires_unix: wire.expires_unix,
        })
    }
}

/// Shows all but the code.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("host", &self.host)
            .field("addresses", &self.addresses.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    use super::*;

    fn ticket(addresses: Vec<Vec<u8>>) -> Ticket {
        let code = Code::parse("KXNR-7842").unwrap();
        Ticket { code, host: DeviceId([1; 32]), addresses, expires_unix: 1_800_000_000 }
    }

    /// P9, P10: what the hub shows is what the phone reads.
    #[test]
    fn a_ticket_keeps_its_text() {
        let text = ticket(vec![vec![4, 127, 0, 0, 1, 6, 30, 162]]).reveal();
        let expected = "kinsync://pair#pQABAWhLWE5SNzg0MgJYJgAkCAESIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA4FIBH8AAAEGHqIEGmtJ0gA";
        assert_eq!(text, expected);
        let read = Ticket::parse(&text).unwrap();
        assert_eq!(read.code.reveal(), "KXNR-7842");
        assert_eq!((read.host, read.addresses.len()), (DeviceId([1; 32]), 1));
    }

    #[test]
    fn a_ticket_stays_within_its_limits() {
        let many = ticket(vec![vec![7; 100]; 20]).reveal();
        assert_eq!(Ticket::parse(&many).unwrap().addresses.len(), TICKET_ADDRESSES_MAX);
        let long = ticket(vec![vec![7; 300]; 6]).reveal();
        assert!(long.len() <= TICKET_CHARS_MAX);
        assert_eq!(Ticket::parse(&long).unwrap().addresses.len(), 2);
    }

    #[test]
    fn other_texts_are_no_tickets() {
        assert_matches!(Ticket::parse("https://example.org/#abc"), Err(ParseTicketError::Prefix));
        assert_matches!(Ticket::parse("kinsync://pair#a b"), Err(ParseTicketError::Base64(_)));
        assert_matches!(Ticket::parse("kinsync://pair#"), Err(ParseTicketError::Cbor(_)));
        let long = format!("{PREFIX}{}", "A".repeat(TICKET_CHARS_MAX));
        assert_matches!(Ticket::parse(&long), Err(ParseTicketError::TooLong));
    }

    #[test]
    fn a_ticket_with_seven_addresses_or_a_foreign_key_is_refused() {
        let text = |host: Vec<u8>, count: usize, version| {
            let wire = Wire {
                version,
                code: "KXNR7842".into(),
                host: ByteBuf::from(host),
                addresses: vec![ByteBuf::from(vec![1]); count],
                expires_unix: 0,
            };
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cbor::encode(&wire)))
        };
        let host = DeviceId([1; 32]).peer_id_bytes().to_vec();
        assert!(Ticket::parse(&text(host.clone(), 6, 1)).is_ok());
        assert_matches!(Ticket::parse(&text(host.clone(), 7, 1)), Err(ParseTicketError::Cbor(_)));
        assert_matches!(Ticket::parse(&text(vec![1; 38], 0, 1)), Err(ParseTicketError::Cbor(_)));
        assert_matches!(Ticket::parse(&text(host, 0, 2)), Err(ParseTicketError::Version { version: 2 }));
    }

    #[test]
    fn a_ticket_in_a_log_holds_no_code() {
        let shown = format!("{:?}", ticket(Vec::new()));
        assert!(!shown.contains("KX") && !shown.contains("7842"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(kinsync://pair#)?[A-Za-z0-9_-]{0,80}") {
            let _ = Ticket::parse(&text);
        }
    }
}
