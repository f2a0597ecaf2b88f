//! JSON whose parts stay as they were written.
//!
//! Numbers, strings and nested values are slices of the original text, so a
//! merge never rounds a number or rewrites a string.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserializer as _, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep values are compared by what they mean; deeper ones by their text.
const DEPTH_MAX: usize = 32;

/// The fields of an object in their order, and their values as written.
pub(crate) type Fields<'a> = Vec<(String, &'a str)>;

/// The fields of a text that is one JSON object and names no field twice.
pub(crate) fn object(text: &str) -> Option<Fields<'_>> {
    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = Fields<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
            let mut names = BTreeSet::new();
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                if !names.insert(name.clone()) {
                    return Err(A::Error::custom("a field stands twice"));
                }
                fields.push((name, value.get()));
            }
            Ok(fields)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = reader.deserialize_map(Object).ok()?;
    reader.end().ok()?;
    Some(fields)
}

/// The elements of a text that is one JSON array.
pub(crate) fn array(text: &str) -> Option<Vec<&str>> {
    struct Array;

    impl<'de> Visitor<'de> for Array {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<&'de str>, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element::<&RawValue>()? {
                elements.push(element.get());
            }
            Ok(elements)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let elements = reader.deserialize_seq(Array).ok()?;
    reader.end().ok()?;
    Some(elements)
}

/// The text of a string; `None` for other values and for strings that are no
/// Unicode, such as half of a surrogate pair.
pub(crate) fn string(raw: &str) -> Option<String> {
    if raw.starts_with('"') { serde_json::from_str(raw).ok() } else { None }
}

/// The same text for values that mean the same: without white space, fields in
/// the order of their names, strings with the fewest escapes. Numbers stay as
/// they are: 1 and 1.0 are not the same to everybody.
pub(crate) fn canonical(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    write_canonical(raw, 0, &mut text);
    text
}

/// Whether two values mean the same.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// Writes a string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

fn write_canonical(raw: &str, depth: usize, text: &mut String) {
    let parts = if depth == DEPTH_MAX { None } else { raw.chars().next() };
    match parts {
        Some('"') => text.push_str(&string(raw).map_or_else(|| raw.to_owned(), |string| quoted(&string))),
        Some('[') => match array(raw) {
            None => text.push_str(raw),
            Some(elements) => {
                text.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    write_canonical(element, depth + 1, text);
                }
                text.push(']');
            }
        },
        Some('{') => match object(raw) {
            None => text.push_str(raw),
            Some(mut fields) => {
                fields.sort();
                text.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    text.push_str(&quoted(name));
                    text.push(':');
                    write_canonical(value, depth + 1, text);
                }
                text.push('}');
            }
        },
        _ => text.push_str(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_slices_of_the_text() {
        let text = r#" { "big" : 123456789012345678901234567890 , "one":1.0,"s":"\u0061\/" , "o": {"a" :1,"a":2} } "#;
        let fields = object(text).unwrap();
        let values: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let big = "123456789012345678901234567890";
        let expected = [("big", big), ("one", "1.0"), ("s", r#""\u0061\/""#), ("o", r#"{"a" :1,"a":2}"#)];
        assert_eq!(values, expected);
        assert_eq!(array("[1, [2] ,\"x\"]").unwrap(), ["1", "[2]", "\"x\""]);
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in
            ["", "1", "[]", "{", "{}x", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "{'a':1}", "\u{feff}{}"]
        {
            assert_eq!(object(text), None, "{text}");
        }
        assert_eq!(object(" {} "), Some(vec![]));
    }

    #[test]
    fn values_are_equal_by_what_they_mean() {
        assert!(same(r#"{"b":[1, 2],"a":"\u00e9"}"#, r#"{ "a": "é", "b": [1,2] }"#));
        assert!(!same("1", "1.0"));
        assert!(!same("12345678901234567890123", "12345678901234567890124"));
        assert!(!same(r#""\ud800""#, r#""\ud801""#));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(same(&deep, &deep.clone()));
        assert_eq!(canonical(&deep), deep);
    }
}
