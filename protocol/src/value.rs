//! A stored value: the application's bytes, and what kinsync has to know of
//! them to merge and to migrate.
//!
//! Most values are stored as they are. A value with something to say of itself
//! is the byte 0xFF, the length of a header, the header, and the application's
//! bytes, called the *body*. 0xFF never begins UTF-8, so text is never
//! wrapped only to tell it from a header.

use thiserror::Error;

use crate::cbor::{self, int_map};
use crate::limits::{STORED_BYTES_MAX, VALUE_BYTES_MAX, VALUE_HEADER_BYTES_MAX};
use crate::policy::State;

/// The first byte of a value with a header.
const MARK: u8 = 0xff;

/// The mark and the length of the header.
const AROUND: usize = 5;

/// What a stored value says of its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The number of the domain's schema that the body follows; 1 by default.
    pub schema: u32,
    /// What merges have to know beyond the body.
    pub state: State,
}

impl Default for Header {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Header {
    /// The header of a body that nobody merged and that follows `schema`.
    pub fn new(schema: u32) -> Self {
        Self { schema, state: State::default() }
    }
}

/// A stored value, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened<'a> {
    /// What it says of itself.
    pub header: Header,
    /// The application's bytes.
    pub body: &'a [u8],
}

/// Why a stored value cannot be taken apart: it is damaged, or of a later
/// version of kinsync. It waits, and travels on as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header ends after the value does.
    #[error("a value of {bytes} bytes is shorter than its header says")]
    CutShort {
        /// The length of the stored value.
        bytes: usize,
    },
    /// The header is longer than [`VALUE_HEADER_BYTES_MAX`].
    #[error("a header of {bytes} bytes exceeds the limit of {VALUE_HEADER_BYTES_MAX}")]
    TooLarge {
        /// The length that the value claims for its header.
        bytes: usize,
    },
    /// The header cannot be read.
    #[error("the header of a value cannot be read")]
    Header(#[source] cbor::DecodeError),
}

/// Why a body and a header make no stored value.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ValueError {
    /// The body is longer than [`VALUE_BYTES_MAX`].
    #[error("a value of {bytes} bytes exceeds the limit of {VALUE_BYTES_MAX}")]
    TooLarge {
        /// The length of the body.
        bytes: usize,
    },
    /// The header is longer than [`VALUE_HEADER_BYTES_MAX`].
    #[error("a header of {bytes} bytes exceeds the limit of {VALUE_HEADER_BYTES_MAX}")]
    HeaderTooLarge {
        /// The length of the header.
        bytes: usize,
    },
}

/// Takes a stored value apart.
pub fn open(stored: &[u8]) -> Result<Opened<'_>, OpenError> {
    let Some((header, body)) = split(stored)? else {
        return Ok(Opened { header: Header::default(), body: stored });
    };
    let header = cbor::decode::<WireHeader>(header, VALUE_HEADER_BYTES_MAX).map_err(OpenError::Header)?;
    let state = header.state.unwrap_or_default();
    Ok(Opened { header: Header { schema: header.schema.unwrap_or(1), state }, body })
}

/// The body of a stored value, without a look into its header.
pub fn body(stored: &[u8]) -> Result<&[u8], OpenError> {
    Ok(split(stored)?.map_or(stored, |(_, body)| body))
}

/// Puts a stored value together; the same body and header always give the same
/// bytes.
pub fn wrap(header: &Header, body: &[u8]) -> Result<Vec<u8>, ValueError> {
    if body.len() > VALUE_BYTES_MAX {
        return Err(ValueError::TooLarge { bytes: body.len() });
    }
    if *header == Header::default() && body.first() != Some(&MARK) {
        return Ok(body.to_vec());
    }
    let header = cbor::encode(&WireHeader {
        schema: Some(header.schema).filter(|&schema| schema != 1),
        state: Some(header.state.clone()).filter(|state| *state != State::default()),
    });
    let bytes = AROUND + header.len();
    if bytes > VALUE_HEADER_BYTES_MAX {
        return Err(ValueError::HeaderTooLarge { bytes });
    }
    let length = u32::try_from(header.len()).expect("below the limit of a header");
    Ok([&[MARK][..], &length.to_be_bytes(), &header, body].concat())
}

/// Whether a stored value is small enough to be stored and sent, readable or
/// not.
pub(crate) fn is_within_limits(stored: &[u8]) -> bool {
    let body = body(stored).map_or(0, <[u8]>::len);
    body <= VALUE_BYTES_MAX && stored.len() <= STORED_BYTES_MAX
}

/// The bytes of a header, and the body.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Both parts; `None` where all is body.
fn split(stored: &[u8]) -> Result<Option<Split<'_>>, OpenError> {
    if stored.first() != Some(&MARK) {
        return Ok(None);
    }
    let cut_short = || OpenError::CutShort { bytes: stored.len() };
    let (around, rest) = stored.split_at_checked(AROUND).ok_or_else(cut_short)?;
    let (_, length) = around.split_last_chunk::<4>().ok_or_else(cut_short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > VALUE_HEADER_BYTES_MAX - AROUND {
        return Err(OpenError::TooLarge { bytes: length.saturating_add(AROUND) });
    }
    rest.split_at_checked(length).map(Some).ok_or_else(cut_short)
}

struct WireHeader {
    schema: Option<u32>,
    state: Option<State>,
}
int_map!(WireHeader {} optional { 1: schema, 2: state });

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;

    use super::*;

    #[test]
    fn text_is_stored_as_it_is() {
        assert_eq!(wrap(&Header::default(), b"{\"a\": 1}"), Ok(b"{\"a\": 1}".to_vec()));
        let opened = open(b"{\"a\": 1}").unwrap();
        assert_eq!(opened, Opened { header: Header::default(), body: b"{\"a\": 1}" });
        assert_eq!(open(b"").unwrap().body, b"");
    }

    #[test]
    fn a_body_that_begins_like_a_header_comes_back() {
        let stored = wrap(&Header::default(), &[0xff, 1, 2]).unwrap();
        assert_eq!(stored, [0xff, 0, 0, 0, 1, 0xa0, 0xff, 1, 2]);
        assert_eq!(open(&stored).unwrap().body, [0xff, 1, 2]);
        assert_eq!(body(&stored).unwrap(), [0xff, 1, 2]);
    }

    #[test]
    fn a_schema_other_than_the_first_is_written_down() {
        let stored = wrap(&Header::new(2), b"{}").unwrap();
        assert_eq!(stored, [0xff, 0, 0, 0, 3, 0xa1, 1, 2, b'{', b'}']);
        assert_eq!(open(&stored).unwrap(), Opened { header: Header::new(2), body: b"{}" });
    }

    #[test]
    fn a_damaged_header_is_an_error_and_no_panic() {
        let stored = wrap(&Header::new(2), b"").unwrap();
        for end in 1..stored.len() {
            assert_matches!(open(&stored[..end]), Err(OpenError::CutShort { .. }));
        }
        assert_matches!(open(&[0xff, 0, 0, 0, 1, 0x80]), Err(OpenError::Header(_)));
        assert_matches!(
            open(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xa0]),
            Err(OpenError::TooLarge { bytes }) if bytes > VALUE_HEADER_BYTES_MAX
        );
    }

    #[test]
    fn a_body_ends_at_one_mebibyte_and_a_header_at_its_own_limit() {
        let header = Header::new(2);
        let stored = wrap(&header, &vec![7; VALUE_BYTES_MAX]).unwrap();
        assert!(is_within_limits(&stored));
        let over = VALUE_BYTES_MAX + 1;
        assert_eq!(wrap(&header, &vec![7; over]), Err(ValueError::TooLarge { bytes: over }));
        assert!(!is_within_limits(&vec![7; over]));
        assert!(!is_within_limits(&[&stored[..], &[7]].concat()));
        // Whoever cannot read a value still bounds it.
        let unreadable = |bytes: usize| [&[0xff; 5][..], &vec![0; bytes - 5]].concat();
        assert!(is_within_limits(&unreadable(STORED_BYTES_MAX)));
        assert!(!is_within_limits(&unreadable(STORED_BYTES_MAX + 1)));
    }
}
