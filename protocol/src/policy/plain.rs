//! Bodies whose fields all are replaced as a whole, told without reading them:
//! most that are written anew.

use super::FieldPolicy;
use super::parts::Policies;

/// Whether no field of a body can have another policy than that the last
/// writer wins. In doubt not.
pub(crate) fn is_plain(policies: Policies<'_>, body: &[u8]) -> bool {
    let others = policies.fields.iter().filter(|(_, policy)| **policy != FieldPolicy::Lww);
    *policies.default == FieldPolicy::Lww && others.into_iter().all(|(name, _)| !may_name(body, name))
}

/// Whether a JSON text may have a field whose name begins like this: the losers
/// of a field stand beside it under a longer one.
fn may_name(body: &[u8], name: &str) -> bool {
    // Such a name is written as it is, or with escapes of the one form that
    // can stand for any character.
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.bytes().all(is_word) || contains(body, b"\\u") || contains(body, format!("\"{name}").as_bytes())
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else { return true };
    let mut tail = text;
    while let Some(at) = tail.iter().position(|byte| byte == first) {
        tail = tail.get(at + 1..).unwrap_or_default();
        if tail.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Policy;
    use super::*;
    use crate::id::DeviceId;
    use crate::stamp::{Hlc, Stamp};

    const STAMP: Stamp = Stamp { time: Hlc(7 << 16), device: DeviceId([1; 32]) };

    fn policy(default: FieldPolicy, name: &str) -> Policy {
        let union = FieldPolicy::SetUnion { by: Some("id".to_owned()) };
        Policy::Fields { default, fields: BTreeMap::from([(name.to_owned(), union)]) }
    }

    /// What is stored is the same whether or not the fields were looked at.
    #[test]
    fn a_plain_body_needs_no_look_at_its_fields() {
        for (body, plain) in [
            (&br#"{"text":"hello","n":1}"#[..], true),
            (br#"{"text":"line\nline \"quoted\""}"#, true),
            (br#"{"text":"the variants of it"}"#, true),
            (br#"[1,2]"#, true),
            (br#"no json"#, true),
            (b"", true),
            (&[0xff, 0xfe], true),
            (br#"{"a":1,"a":2}"#, true),
            (br#"{"variants":[{"id":"a"},{"id":"b"}]}"#, false),
            (br#"{"variants" : []}"#, false),
            (br#"{"\u0076ariants":[{"id":"a"}]}"#, false),
            (br#"{"text":"variants","a":"\u00e9"}"#, false),
            (br#"{"text":{"variants":1}}"#, false),
            (br#"{"variants~others":[1]}"#, false),
        ] {
            let policy = policy(FieldPolicy::Lww, "variants");
            let policies = policy.policies().expect("of fields");
            assert_eq!(is_plain(policies, body), plain, "{}", String::from_utf8_lossy(body));
            let looked = Policy::write_fields(policies, 3, body, None, STAMP);
            assert_eq!(policy.write(3, body, None, STAMP), looked, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn names_and_defaults_that_are_not_plain_are_looked_at() {
        let odd = policy(FieldPolicy::Lww, "a/b");
        assert!(!is_plain(odd.policies().expect("of fields"), b"{}"));
        let sets = policy(FieldPolicy::Counter, "variants");
        assert!(!is_plain(sets.policies().expect("of fields"), b"{}"));
    }
}
