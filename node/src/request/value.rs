//! A record's value as it travels in JSON.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The bytes of a record's value.
///
/// In JSON `{"text": …}` when they are UTF-8, else `{"base64": …}`, so that
/// any bytes come back as they went and text stays readable. `Debug` shows the
/// length alone, because values are private and logs are not.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Form", into = "Form")]
pub struct Value(pub Vec<u8>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Base64(#[serde(with = "as_base64")] Vec<u8>),
    Text(String),
}

impl From<Form> for Value {
    fn from(form: Form) -> Self {
        match form {
            Form::Base64(bytes) => Self(bytes),
            Form::Text(text) => Self(text.into_bytes()),
        }
    }
}

impl From<Value> for Form {
    fn from(value: Value) -> Self {
        match String::from_utf8(value.0) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(error.into_bytes()),
        }
    }
}

mod as_base64 {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travel(bytes: &[u8]) -> String {
        let text = serde_json::to_string(&Value(bytes.to_vec())).expect("serialises");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("reads").0, bytes);
        text
    }

    #[test]
    fn any_bytes_come_back_as_they_went() {
        assert_eq!(travel(b"{\"a\":1}"), r#"{"text":"{\"a\":1}"}"#);
        assert_eq!(travel("Hafen \u{0}\u{1f6a2}".as_bytes()), "{\"text\":\"Hafen \\u0000\u{1f6a2}\"}");
        assert_eq!(travel(&[0xff, 0x00]), r#"{"base64":"/wA="}"#);
        assert_eq!(travel(b""), r#"{"text":""}"#);
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", Value::from("secret")), "Value(6 bytes)");
    }
}
