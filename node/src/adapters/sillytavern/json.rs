//! JSON from files: one clear reason for each way in which it can be wrong.

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::super::Reason;

/// Reads one JSON object. A byte-order mark is passed over, as editors leave them.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Reason> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?;
    if text.trim().is_empty() {
        return Err(Reason::Empty);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Reason::NotObject)
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(match error.classify() {
                Category::Eof => Reason::CutShort { line, column },
                Category::Data | Category::Io | Category::Syntax => Reason::NotJson { line, column },
            })
        }
    }
}

/// A value as a record's bytes: compact, fields in the order of the file.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value has text keys and finite numbers only")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        object(bytes).map_or_else(|reason| reason.code(), |_| "ok")
    }

    #[test]
    fn each_way_of_being_wrong_has_its_reason() {
        assert_eq!(code(b"\xef\xbb\xbf {\"a\": 1}\n"), "ok");
        assert_eq!(code(b" \n"), "empty");
        assert_eq!(code(b"[1]"), "not-object");
        assert_eq!(code(b"{\"a\": "), "cut-short");
        assert_eq!(code(b"{a: 1}"), "not-json");
        assert_eq!(code(b"{} {}"), "not-json");
        assert_eq!(code(b"{\"a\": \"\xff\"}"), "not-utf8");
        assert_eq!(code("{\"a\":".repeat(200).as_bytes()), "not-json");
    }

    #[test]
    fn fields_and_numbers_stay_as_they_are() {
        let text = r#"{"z":0.1,"a":[1e300,-0.0,18446744073709551615],"m":"é\n"}"#;
        let value = Value::Object(object(text.as_bytes()).unwrap());
        assert_eq!(object(&bytes(&value)).map(Value::Object), Ok(value.clone()));
        assert!(bytes(&value).starts_with(br#"{"z":0.1,"a":[1e"#));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }

        #[test]
        fn numbers_come_back_as_they_went(
            number in any::<f64>().prop_filter("JSON has finite numbers", |n| n.is_finite()),
        ) {
            let once = bytes(&serde_json::json!({"n": number}));
            let again = object(&once).map(|fields| bytes(&Value::Object(fields)));
            prop_assert_eq!(again, Ok(once));
        }
    }
}
