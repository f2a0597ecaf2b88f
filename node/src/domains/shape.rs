//! The shape of a domain's values: a JSON Schema, compiled once.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// How large a pattern of a schema may become, in bytes. A declaration comes
/// from another device; its patterns must not fill the memory of this one.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The references that one schema may hold. Each may lead to others, so that
/// a few hundred bytes could say more than a computer can ever check.
pub const REFERENCES_MAX: usize = 16;

/// How many misfits one message names.
const NAMED_MAX: usize = 3;

/// What the values of a domain must be.
#[derive(Debug)]
pub struct Shape(Validator);

impl Shape {
    /// Compiles a schema; the text says what is wrong with it.
    ///
    /// Nothing is fetched: a reference to anything outside the schema itself
    /// is refused. Patterns run in time that grows with the text alone.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let references = references(schema)?;
        if references > REFERENCES_MAX {
            return Err(format!("it holds {references} references, the limit is {REFERENCES_MAX}"));
        }
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        options.build(schema).map(Self).map_err(|error| located(error.schema_path(), &error.to_string()))
    }

    /// Whether a value has this shape; the text names the fields that do not
    /// fit and what was expected of them, never what they hold.
    pub fn check(&self, body: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("it is not JSON (line {}, column {})", error.line(), error.column()))?;
        self.check_value(&value)
    }

    /// As [`Shape::check`], of a value that is parsed already.
    pub fn check_value(&self, value: &Value) -> Result<(), String> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        let mut errors = self.0.iter_errors(value);
        let named: Vec<_> = errors.by_ref().take(NAMED_MAX).map(|error| misfit(&error)).collect();
        let more = errors.count();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        Err(format!("{}{more}", named.join("; ")))
    }
}

/// How many references a schema holds; all must stay within it.
fn references(schema: &Value) -> Result<usize, String> {
    match schema {
        Value::Array(items) => items.iter().map(references).sum(),
        Value::Object(fields) => {
            let mut count = 0;
            for (name, value) in fields {
                if let ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) = (name.as_str(), value)
                {
                    if !to.starts_with('#') {
                        return Err(format!("the reference {to:?} leads out of it, and nothing is fetched"));
                    }
                    count += 1;
                }
                count += references(value)?;
            }
            Ok(count)
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => Ok(0),
    }
}

/// One misfit: where, what was expected, and of which kind what is there is.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others read well as the crate says them")]
fn misfit(error: &ValidationError<'_>) -> String {
    let found = kind(error.instance());
    let text = match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => format!("{name:?} is missing"),
        ValidationErrorKind::Type { kind: TypeKind::Single(expected) } => {
            format!("expected {}, found {found}", article(*expected))
        }
        ValidationErrorKind::Type { kind: TypeKind::Multiple(expected) } => {
            let expected: Vec<_> = expected.iter().map(article).collect();
            format!("expected {}, found {found}", expected.join(" or "))
        }
        ValidationErrorKind::Enum { options } => format!("expected one of {options}"),
        ValidationErrorKind::Pattern { pattern } => format!("expected text like {pattern:?}"),
        _ => error.masked_with("it").to_string(),
    };
    located(error.instance_path(), &text)
}

/// A place in a value as people write it: `tags[2].name`.
fn located(place: &Location, text: &str) -> String {
    let mut path = String::new();
    for segment in place.segments() {
        match segment {
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
            LocationSegment::Property(name) if path.is_empty() => path.push_str(&name),
            LocationSegment::Property(name) => path.push_str(&format!(".{name}")),
        }
    }
    if path.is_empty() { text.to_owned() } else { format!("{path}: {text}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
        Value::Number(_) => "a number",
        Value::Object(_) => "an object",
        Value::String(_) => "text",
    }
}

fn article(expected: JsonType) -> &'static str {
    match expected {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "text",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn note() -> Shape {
        Shape::new(&json!({
            "type": "object",
            "required": ["title"],
            "properties": {
                "title": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "kind": {"enum": ["long", "short"]},
            },
        }))
        .expect("a schema")
    }

    /// F5: what does not fit is named by its field.
    #[test]
    fn a_misfit_names_the_field_and_what_was_expected() {
        let shape = note();
        assert_eq!(shape.check(br#"{"title":"a","more":[1]}"#), Ok(()));
        for (value, text) in [
            (&br#"{"title":7}"#[..], "title: expected text, found a number"),
            (br#"{"title":"a","tags":["b",null]}"#, "tags[1]: expected text, found null"),
            (br#"{}"#, "\"title\" is missing"),
            (br#"[]"#, "expected an object, found a list"),
            (br#"{"title":"a","kind":"secret"}"#, "kind: expected one of [\"long\",\"short\"]"),
            (b"plain", "it is not JSON (line 1, column 1)"),
            (b"", "it is not JSON (line 1, column 0)"),
        ] {
            assert_eq!(shape.check(value), Err(text.to_owned()));
        }
    }

    #[test]
    fn many_misfits_are_counted_and_no_content_is_shown() {
        let value = json!({"title": "a", "tags": [1, 2, 3, 4, 5]});
        let text = note().check_value(&value).expect_err("five of them");
        assert!(text.ends_with(", and 2 more"), "{text}");
        let shape = Shape::new(&json!({"maxLength": 3, "minimum": 5})).expect("a schema");
        assert!(!shape.check(br#""sesame""#).expect_err("too long").contains("sesame"));
        assert!(!shape.check(b"1").expect_err("too small").contains("1"));
    }

    #[test]
    fn nothing_is_fetched() {
        for to in ["https://example.org/a.json", "file:///etc/passwd", "other.json#/a"] {
            let text = Shape::new(&json!({"properties": {"a": {"$ref": to}}})).expect_err("outside");
            assert!(text.contains("nothing is fetched"), "{text}");
        }
        let inside = json!({"$defs": {"name": {"type": "string"}}, "items": {"$ref": "#/$defs/name"}});
        assert!(Shape::new(&inside).expect("inside").check(b"[1]").is_err());
        assert!(Shape::new(&json!({"$ref": "#/nowhere"})).is_err());
    }

    #[test]
    fn a_schema_that_says_too_much_is_refused() {
        let doubling = |levels: usize| {
            let mut defs = serde_json::Map::new();
            for level in 0..levels {
                let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
                defs.insert(format!("d{level}"), json!({"allOf": [next.clone(), next]}));
            }
            defs.insert(format!("d{levels}"), json!({"type": "object"}));
            json!({"$defs": defs, "$ref": "#/$defs/d0"})
        };
        assert!(Shape::new(&doubling(7)).is_ok(), "{REFERENCES_MAX} references or fewer");
        assert!(Shape::new(&doubling(8)).expect_err("more").contains("the limit is 16"));
        let pattern = json!({"pattern": "(((a{1,1000}){1,1000}){1,1000})"});
        assert!(Shape::new(&pattern).is_err());
        assert!(Shape::new(&json!({"type": "text"})).is_err());
    }
}
