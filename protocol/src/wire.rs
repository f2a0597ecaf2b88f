//! Reading and writing messages: strict, bounded, in one place.
//!
//! CBOR (RFC 8949). Messages sent by the thousand are arrays, without field
//! names. A reader allocates for what has arrived, never for what is claimed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::limits::CBOR_DEPTH_MAX;

mod compress;
pub mod frame;

pub use compress::compress;

/// Why a message could not be read. The sender is at fault; asking again does
/// not help.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message is longer than its kind may be.
    #[error("message of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit of its kind.
        limit: usize,
    },
    /// The bytes are no message of this kind.
    #[error("not a valid message: {reason}")]
    Malformed {
        /// What the reader stumbled over.
        reason: String,
    },
    /// Bytes follow the message.
    #[error("{extra} bytes follow the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

impl DecodeError {
    /// A message that breaks a rule beyond its grammar.
    pub(crate) fn malformed(reason: impl fmt::Display) -> Self {
        Self::Malformed { reason: reason.to_string() }
    }
}

/// Writes a message as CBOR.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes)
        .expect("writing to memory cannot fail, and our types have no maps");
    bytes
}

/// Reads exactly one message of at most `limit` bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), limit });
    }
    let mut rest = bytes;
    let message = ciborium::de::from_reader_with_recursion_limit(&mut rest, CBOR_DEPTH_MAX)
        .map_err(DecodeError::malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { extra: rest.len() });
    }
    Ok(message)
}

/// A list of at most `MAX` elements, on the wire and in memory.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Bounded<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// Keeps the first `MAX` elements.
    pub fn truncating(mut elements: Vec<T>) -> Self {
        elements.truncate(MAX);
        Self(elements)
    }

    /// The elements.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for Bounded<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                // The claimed length allocates nothing: it costs a liar no bytes.
                let mut elements = Vec::new();
                while elements.len() < MAX {
                    match seq.next_element()? {
                        Some(element) => elements.push(element),
                        None => return Ok(elements),
                    }
                }
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(elements),
                    Some(_) => Err(serde::de::Error::custom(format_args!("more than {MAX} elements"))),
                }
            }
        }

        deserializer.deserialize_seq(Elements::<T, MAX>(PhantomData)).map(Self)
    }
}

/// Declares a struct that stands on the wire as an array of its fields.
macro_rules! positional {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple;
                let fields = [$(stringify!($field)),+].len();
                let mut tuple = serializer.serialize_tuple(fields)?;
                $(tuple.serialize_element(&self.$field)?;)+
                tuple.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an array for ", stringify!($name)))
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        $(let $field = seq.next_element()?.ok_or_else(|| {
                            serde::de::Error::custom(concat!(stringify!($name), " without ", stringify!($field)))
                        })?;)+
                        if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                            return Err(serde::de::Error::custom(concat!(stringify!($name), " with extra fields")));
                        }
                        Ok($name { $($field,)+ })
                    }
                }

                let fields = [$(stringify!($field)),+].len();
                deserializer.deserialize_tuple(fields, Fields)
            }
        }
    };
}
pub(crate) use positional;

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;

    use super::*;

    type Three = Bounded<u8, 3>;

    #[test]
    fn a_list_ends_at_its_limit() {
        assert_eq!(decode::<Three>(&[0x83, 1, 2, 3], 64).unwrap().into_inner(), [1, 2, 3]);
        assert_matches!(decode::<Three>(&[0x84, 1, 2, 3, 4], 64), Err(DecodeError::Malformed { .. }));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let claim = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_matches!(
            decode::<Bounded<u64, { usize::MAX }>>(&claim, 64),
            Err(DecodeError::Malformed { .. })
        );
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        assert_eq!(decode::<u8>(&[1, 2], 64), Err(DecodeError::Trailing { extra: 1 }));
    }

    #[test]
    fn a_message_ends_at_its_limit() {
        let bytes = encode(&serde_bytes::ByteBuf::from(vec![0; 62]));
        assert_eq!(bytes.len(), 64);
        assert!(decode::<serde_bytes::ByteBuf>(&bytes, 64).is_ok());
        let over = decode::<serde_bytes::ByteBuf>(&bytes, 63);
        assert_eq!(over, Err(DecodeError::TooLarge { bytes: 64, limit: 63 }));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut deep = vec![0x81; CBOR_DEPTH_MAX + 1];
        deep.push(0x80);
        assert_matches!(decode::<IgnoredAny>(&deep, 64), Err(DecodeError::Malformed { .. }));
    }
}
