//! Strict CBOR for messages that are maps with small integer keys.
//!
//! Decoding goes into typed structs only, never into a generic value: a megabyte
//! of one-byte items would become thirty megabytes of values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// How deep messages may nest; ours need four levels.
const DEPTH_MAX: usize = 32;

/// Why bytes from a peer are not the message they should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing can be read from no bytes.
    #[error("message is empty")]
    Empty,
    /// A field has a value that the message's rules exclude.
    #[error("{what} is not acceptable")]
    Invalid {
        /// The field or rule in question.
        what: &'static str,
    },
    /// Not CBOR, or not the CBOR of this type.
    #[error("message is not valid CBOR for its type")]
    Malformed(#[source] ciborium::de::Error<std::io::Error>),
    /// Larger than messages of this type may be.
    #[error("message of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// How long the message is.
        size: usize,
        /// How long it may be.
        max: usize,
    },
    /// The message is whole, and something comes after it.
    #[error("{extra} bytes follow the message")]
    Trailing {
        /// How many bytes follow.
        extra: usize,
    },
    /// No message of this protocol starts with this kind.
    #[error("unknown message kind {kind}")]
    UnknownKind {
        /// The first byte of the message.
        kind: u8,
    },
}

/// Writes a value as CBOR.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes every byte and our types serialize");
    bytes
}

/// Reads a value that fills all of `bytes`, which may be `max` long.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLarge { size: bytes.len(), max });
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(DecodeError::Malformed)?;
    match rest.len() {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing { extra }),
    }
}

/// Gives a struct its CBOR form: a map from small integers to its fields.
///
/// Unknown keys are skipped, so a newer device may add fields; a key that comes
/// twice is an error, since two readers could take different values. Fields in
/// the second list are `Option`s and are left out when `None`.
macro_rules! int_map {
    (
        $type:ident { $($key:literal: $field:ident),* $(,)? }
        $(optional { $($okey:literal: $ofield:ident),* $(,)? })?
    ) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let required: &[u64] = &[$($key),*];
                let optional: &[bool] = &[$($(self.$ofield.is_some()),*)?];
                let count = required.len() + optional.iter().filter(|present| **present).count();
                #[allow(unused_mut, reason = "a message without fields writes none")]
                let mut map = serializer.serialize_map(Some(count))?;
                $(map.serialize_entry(&($key as u64), &self.$field)?;)*
                $($(if let Some(value) = &self.$ofield {
                    map.serialize_entry(&($okey as u64), value)?;
                })*)?
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a map with integer keys")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        use serde::de::Error;
                        $(let mut $field = None;)*
                        $($(let mut $ofield = None;)*)?
                        let mut seen = std::collections::BTreeSet::new();
                        while let Some(key) = map.next_key::<u64>()? {
                            if !seen.insert(key) {
                                return Err(A::Error::custom(format_args!("key {key} comes twice")));
                            }
                            match key {
                                $($key => $field = Some(map.next_value()?),)*
                                $($($okey => $ofield = Some(map.next_value()?),)*)?
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($type {
                            $($field: $field.ok_or_else(|| A::Error::custom(concat!("no ", stringify!($field))))?,)*
                            $($($ofield,)*)?
                        })
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}
pub(crate) use int_map;

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Point {
        x: u8,
        name: Option<String>,
    }
    int_map!(Point { 1: x } optional { 2: name });

    #[test]
    fn an_absent_field_takes_no_byte() {
        let point = Point { x: 7, name: None };
        assert_eq!(encode(&point), [0xa1, 0x01, 0x07]);
        assert_eq!(decode::<Point>(&encode(&point), 3).unwrap(), point);
    }

    #[test]
    fn an_unknown_key_is_skipped_and_a_repeated_one_refused() {
        let unknown = [0xa2, 0x01, 0x07, 0x09, 0x82, 0x01, 0x02];
        assert_eq!(decode::<Point>(&unknown, 64).unwrap(), Point { x: 7, name: None });
        assert_matches!(decode::<Point>(&[0xa2, 0x01, 0x07, 0x01, 0x08], 64), Err(DecodeError::Malformed(_)));
        let unknown_twice = [0xa3, 0x01, 0x07, 0x09, 0x00, 0x09, 0x01];
        assert_matches!(decode::<Point>(&unknown_twice, 64), Err(DecodeError::Malformed(_)));
    }

    #[test]
    fn a_missing_field_a_trailing_byte_and_an_oversize_message_are_refused() {
        assert_matches!(decode::<Point>(&[0xa0], 64), Err(DecodeError::Malformed(_)));
        assert_matches!(decode::<Point>(&[0xa1, 1, 7, 0], 64), Err(DecodeError::Trailing { extra: 1 }));
        assert_matches!(decode::<Point>(&[0xa1, 1, 7], 2), Err(DecodeError::TooLarge { size: 3, max: 2 }));
    }

    #[test]
    fn a_nesting_bomb_is_refused() {
        let mut bomb = vec![0xa2, 0x01, 0x07, 0x09];
        bomb.extend([0x81; 1000]);
        bomb.push(0x00);
        assert_matches!(decode::<Point>(&bomb, 4096), Err(DecodeError::Malformed(_)));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // A text string that claims 2^60 bytes.
        let bomb = [0xa2, 0x01, 0x07, 0x02, 0x7b, 0x10, 0, 0, 0, 0, 0, 0, 0];
        assert_matches!(decode::<Point>(&bomb, 4096), Err(DecodeError::Malformed(_)));
    }
}
