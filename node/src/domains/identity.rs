//! Keys that follow from what a record says, so that the same memory written
//! on two devices is one record.

use kinsync_protocol::declaration::IdentityField;
use kinsync_protocol::hash;
use serde_json::Value;

/// How many hexadecimal letters of the hash make a key: 128 bits, at which
/// nobody finds two contents with one key.
const LETTERS: usize = 32;

/// The key of a value: the beginning of the SHA-256 of its fields, each with
/// its length before it, so that no two lists of fields read alike.
///
/// A field that is missing or null counts as empty text, another that is not
/// text as its JSON. A value that is no object has no key.
pub fn key(identity: &[IdentityField], value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    let parts: Vec<Vec<u8>> = identity
        .iter()
        .map(|part| {
            let text = match fields.get(&part.field) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let characters = part.characters.map_or(usize::MAX, |count| count as usize);
            text.chars().take(characters).collect::<String>().into_bytes()
        })
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let digest = hash::tagged("kinsync/identity/1", &parts);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(hex.chars().take(LETTERS).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn memory(value: Value) -> Option<String> {
        let identity: Vec<IdentityField> =
            ["project", "source", "content:200"].iter().map(|part| part.parse().expect("a part")).collect();
        key(&identity, &value)
    }

    /// I25: the same memory has the same key, whatever else is said of it.
    #[test]
    fn a_memory_is_its_project_its_source_and_how_it_begins() {
        let one =
            memory(json!({"project": "boat", "source": "chat", "content": "x".repeat(200), "tags": []}));
        let same = json!({"content": "x".repeat(201), "source": "chat", "project": "boat"});
        assert_eq!(one, memory(same));
        assert_eq!(one.expect("a key").len(), LETTERS);
        let ours = memory(json!({"content": "ab"}));
        assert_eq!(ours, memory(json!({"content": "ab", "project": null, "source": ""})));
        for other in [
            json!({"content": "a"}),
            json!({"content": "b", "source": "a"}),
            json!({"source": "ab"}),
            json!({"project": "ab"}),
        ] {
            assert_ne!(ours, memory(other));
        }
        assert_eq!(memory(json!(["content"])), None);
    }

    /// Characters are counted, not bytes: a cut in the middle of a letter
    /// would give two devices two keys.
    #[test]
    fn the_beginning_is_counted_in_characters() {
        let letters = |count: usize| memory(json!({"content": "ü".repeat(count)}));
        assert_ne!(letters(199), letters(200));
        assert_eq!(letters(200), letters(201));
    }

    /// The key is part of what devices agree on: it never changes.
    #[test]
    fn the_key_of_a_memory_is_for_ever() {
        let key = memory(json!({"project": "boat", "source": "chat", "content": "The tide turns at six."}));
        assert_eq!(key.as_deref(), Some("216487ed197836afabe2d7f3c3dfae78"));
    }
}
