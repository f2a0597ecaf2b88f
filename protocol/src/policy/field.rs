//! The policies of single fields, and how a declaration writes them.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What concurrent edits of one field make.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum FieldPolicy {
    /// The later edit stands.
    #[default]
    Lww,
    /// The greatest number, or the greatest string by its bytes.
    Max,
    /// The smallest number, or the smallest string by its bytes.
    Min,
    /// The string with the most characters.
    Longest,
    /// All elements of both lists but the removed ones, sorted.
    SetUnion {
        /// The field of an element that says which one it is; the whole
        /// element by default.
        by: Option<String>,
    },
    /// A whole number to which every device's changes are added.
    Counter,
    /// An object whose own fields are joined, each by its later edit.
    Map,
    /// All elements of both lists but the removed ones, in the order of their
    /// insertion.
    Append {
        /// The field of an element that says which one it is.
        by: String,
    },
    /// The later edit stands, the others are collected in `FIELD~others`.
    KeepBoth,
}

/// The names in declarations, of those without a parameter.
const PLAIN: [(&str, FieldPolicy); 8] = [
    ("lww", FieldPolicy::Lww),
    ("max", FieldPolicy::Max),
    ("min", FieldPolicy::Min),
    ("longest", FieldPolicy::Longest),
    ("set-union", FieldPolicy::SetUnion { by: None }),
    ("counter", FieldPolicy::Counter),
    ("map", FieldPolicy::Map),
    ("keep-both", FieldPolicy::KeepBoth),
];

impl Serialize for FieldPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = PLAIN.iter().find(|(_, policy)| policy == self);
        let (name, by) = match self {
            Self::Append { by } => ("append", by),
            Self::SetUnion { by: Some(by) } => ("set-union", by),
            Self::Lww
            | Self::Max
            | Self::Min
            | Self::Longest
            | Self::SetUnion { by: None }
            | Self::Counter
            | Self::Map
            | Self::KeepBoth => return serializer.serialize_str(plain.map_or("lww", |(name, _)| name)),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(name, by)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for FieldPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = FieldPolicy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a policy such as \"max\" or { set-union = \"id\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<FieldPolicy, E> {
                let found = PLAIN.into_iter().find(|(name, _)| *name == text);
                found.map(|(_, policy)| policy).ok_or_else(|| {
                    let names = PLAIN.map(|(name, _)| name).join(", ");
                    E::custom(format_args!(
                        "no field policy is called {text:?}: use {names} or {{ append = \"FIELD\" }}"
                    ))
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldPolicy, A::Error> {
                let name = map.next_key::<String>()?.unwrap_or_default();
                let policy = match name.as_str() {
                    "set-union" => FieldPolicy::SetUnion { by: map.next_value::<By>()?.0 },
                    "append" => FieldPolicy::Append { by: map.next_value()? },
                    _ => {
                        return Err(A::Error::custom(format_args!(
                            "no field policy with a parameter is called {name:?}: use set-union or append"
                        )));
                    }
                };
                match map.next_key::<String>()? {
                    None => Ok(policy),
                    Some(more) => {
                        Err(A::Error::custom(format_args!("a second policy {more:?} for one field")))
                    }
                }
            }
        }

        deserializer.deserialize_any(Names)
    }
}

/// `true`, or the name of a field.
struct By(Option<String>);

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl Visitor<'_> for Value {
            type Value = By;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or the name of a field")
            }

            fn visit_bool<E: Error>(self, whole: bool) -> Result<By, E> {
                if whole {
                    Ok(By(None))
                } else {
                    Err(E::custom("set-union = false says nothing: leave it out"))
                }
            }

            fn visit_str<E: Error>(self, field: &str) -> Result<By, E> {
                Ok(By(Some(field.to_owned())))
            }
        }

        deserializer.deserialize_any(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FieldPolicy, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn policies_are_read_and_written_as_declared() {
        for text in [
            r#""lww""#,
            r#""max""#,
            r#""counter""#,
            r#""set-union""#,
            r#"{"set-union":"id"}"#,
            r#"{"append":"id"}"#,
            r#""keep-both""#,
        ] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
        assert_eq!(read(r#"{"set-union":true}"#), Ok(FieldPolicy::SetUnion { by: None }));
    }

    #[test]
    fn other_names_are_refused_by_name() {
        assert!(read(r#""biggest""#).unwrap_err().contains("\"biggest\""));
        assert!(read(r#"{"max":"x"}"#).unwrap_err().contains("\"max\""));
        assert!(read(r#"{"append":"id","set-union":true}"#).unwrap_err().contains("\"set-union\""));
        assert!(read(r#"{"set-union":false}"#).unwrap_err().contains("leave it out"));
        assert!(read("{}").is_err());
    }
}
