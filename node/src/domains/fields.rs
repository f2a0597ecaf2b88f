//! JSON objects taken apart by their fields, without touching what those hold:
//! numbers and texts come out as they went in.

use std::fmt;

use kinsync_protocol::declaration::Declaration;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The fields of an object in their order. Of two with one name the last
/// counts.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Reads an object; `None` for anything else.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The object as compact JSON.
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and JSON always serialise")
    }

    /// What a field holds, as JSON.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// What a field holds, if it is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(field, _)| field == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a field out. Whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let place = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(place).1)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push(field);
                }
                // The last of a name counts, in the place of the first.
                let mut unique = Fields::default();
                let mut places = std::collections::BTreeMap::new();
                for (name, value) in fields {
                    match places.get(&name) {
                        Some(&place) => {
                            let old: Option<&mut (String, Box<RawValue>)> = unique.0.get_mut(place);
                            if let Some(old) = old {
                                old.1 = value;
                            }
                        }
                        None => {
                            places.insert(name.clone(), unique.0.len());
                            unique.0.push((name, value));
                        }
                    }
                }
                Ok(unique)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A body of the schema `from` as one of the schema `to`, by the steps that
/// the domain declares; `None` where it stays as it is.
pub(crate) fn migrated(declaration: &Declaration, body: &[u8], from: u32, to: u32) -> Option<Vec<u8>> {
    let steps: Vec<_> =
        (from..to).filter_map(|number| declaration.migrate.iter().find(|step| step.from == number)).collect();
    if steps.is_empty() {
        return None;
    }
    let mut fields = Fields::read(body)?;
    let mut changed = false;
    for step in steps {
        let renamed: Vec<_> =
            step.rename.iter().filter_map(|(old, new)| Some((new, fields.remove(old)?))).collect();
        for (new, value) in renamed {
            // What has the new name already is not written over.
            if fields.get(new).is_none() {
                fields.set(new, value);
            }
            changed = true;
        }
        for (name, value) in &step.default {
            if fields.get(name).is_none()
                && let Ok(value) = serde_json::value::to_raw_value(value)
            {
                fields.set(name, value);
                changed = true;
            }
        }
    }
    changed.then(|| fields.write())
}

/// The new body of a record with those fields of the old one that its writer
/// cannot have meant to drop; `None` where there are none.
///
/// Those are the fields that the schema does not list, where it lists some and
/// does not say that others may come (`additionalProperties = true`): a newer
/// application wrote them, and an older one that does not know them has just
/// written the record back. Also kept are derived fields that the writer did
/// not get to see.
pub(crate) fn carried(
    declaration: &Declaration,
    old: &[u8],
    new: &[u8],
    is_hidden: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let free =
        |value: &serde_json::Value| value.get("additionalProperties") == Some(&serde_json::Value::Bool(true));
    let listed = declaration.properties().filter(|_| !declaration.value.as_ref().is_some_and(free));
    if listed.is_none() && declaration.derived.is_empty() {
        return None;
    }
    let (old, mut new) = (Fields::read(old)?, Fields::read(new)?);
    let hidden = |name: &str| {
        declaration.derived.iter().any(|(field, model)| {
            (field == name || model == name)
                && new.get(field).is_none()
                && old.text(model).is_some_and(|model| is_hidden(&model))
        })
    };
    let unknown = |name: &str| listed.as_ref().is_some_and(|listed| !listed.contains(name));
    let kept: Vec<_> = old
        .0
        .iter()
        .filter(|(name, _)| new.get(name).is_none() && (unknown(name) || hidden(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if kept.is_empty() {
        return None;
    }
    new.0.extend(kept);
    Some(new.write())
}

/// A body without the derived fields whose model `is_hidden`; `None` where it
/// stays as it is.
pub(crate) fn without_derived(
    declaration: &Declaration,
    body: &[u8],
    is_hidden: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    if declaration.derived.is_empty() {
        return None;
    }
    let mut fields = Fields::read(body)?;
    let hidden: Vec<_> = declaration
        .derived
        .iter()
        .filter(|(field, model)| {
            fields.get(field).is_some() && fields.text(model).is_none_or(|model| is_hidden(&model))
        })
        .collect();
    if hidden.is_empty() {
        return None;
    }
    for (field, model) in hidden {
        fields.remove(field);
        fields.remove(model);
    }
    Some(fields.write())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::file::parse;

    fn of(rest: &str) -> Declaration {
        parse(&format!("name = \"notes\"\n{rest}")).expect("a declaration")
    }

    fn text(body: Option<Vec<u8>>) -> Option<String> {
        body.map(|body| String::from_utf8(body).expect("text"))
    }

    #[test]
    fn what_fields_hold_is_never_written_anew() {
        let body = br#"{"b":1.50,"a":{"x": [1e3 , 2]},"c":"\u00e9"}"#;
        assert_eq!(Fields::read(body).expect("an object").write(), body);
        let twice = Fields::read(br#"{"a":1,"b":2,"a":3}"#).expect("an object").write();
        assert_eq!(twice, br#"{"a":3,"b":2}"#);
        assert!(Fields::read(b"[1]").is_none() && Fields::read(b"").is_none());
    }

    /// P32: an older record reads as one of today, step by step.
    #[test]
    fn an_older_record_reads_as_one_of_today() {
        let steps = of("schema = 3\n[[migrate]]\nfrom = 1\nrename = { text = \"content\" }\n\
                        [[migrate]]\nfrom = 2\ndefault = { colour = \"red\" }\n");
        let migrated = |body: &str, from, to| text(migrated(&steps, body.as_bytes(), from, to));
        assert_eq!(migrated(r#"{"text":"a"}"#, 1, 3).as_deref(), Some(r#"{"content":"a","colour":"red"}"#));
        assert_eq!(migrated(r#"{"text":"a"}"#, 1, 2).as_deref(), Some(r#"{"content":"a"}"#));
        assert_eq!(migrated(r#"{"text":"a"}"#, 2, 3).as_deref(), Some(r#"{"text":"a","colour":"red"}"#));
        assert_eq!(migrated(r#"{"text":1,"content":2}"#, 1, 2).as_deref(), Some(r#"{"content":2}"#));
        assert_eq!(migrated(r#"{"colour":"blue"}"#, 2, 3), None);
        assert_eq!(migrated(r#"{"text":"a"}"#, 3, 3), None);
        assert_eq!(migrated("[]", 1, 3), None);
    }

    /// D5: what an older application does not know survives its edit.
    #[test]
    fn fields_that_the_writer_does_not_know_stay() {
        let strict = of("[value.properties]\ntext = {}\n");
        let carried = |declaration: &Declaration, old: &str, new: &str| {
            text(carried(declaration, old.as_bytes(), new.as_bytes(), |_| false))
        };
        let old = r#"{"text":"a","colour":"red","size":1.0}"#;
        let kept = carried(&strict, old, r#"{"text":"b","size":2}"#);
        assert_eq!(kept.as_deref(), Some(r#"{"text":"b","size":2,"colour":"red"}"#));
        // A field that the schema lists is dropped by whoever leaves it out.
        assert_eq!(carried(&strict, r#"{"text":"a"}"#, "{}"), None);
        let free = of("[value]\nadditionalProperties = true\n[value.properties]\ntext = {}\n");
        assert_eq!(carried(&free, old, "{}"), None);
        assert_eq!(carried(&of(""), old, "{}"), None);
        assert_eq!(carried(&strict, old, "plain"), None);
    }

    /// I27, I28: what a model made that is not here is not shown, and not lost.
    #[test]
    fn what_an_unknown_model_made_is_hidden_and_kept() {
        let memory = of("derived = { embedding = \"model\" }\n");
        let body = r#"{"content":"a","embedding":[1],"model":"big"}"#;
        let shown = |known: &'static str| {
            text(without_derived(&memory, body.as_bytes(), move |model| model != known))
        };
        assert_eq!(shown("small").as_deref(), Some(r#"{"content":"a"}"#));
        assert_eq!(shown("big"), None);
        let edited = br#"{"content":"a","tags":[]}"#;
        let kept = text(carried(&memory, body.as_bytes(), edited, |model| model != "small"));
        assert_eq!(kept.as_deref(), Some(r#"{"content":"a","tags":[],"embedding":[1],"model":"big"}"#));
        // Whoever saw it and leaves it out means it.
        assert_eq!(carried(&memory, body.as_bytes(), edited, |model| model != "big"), None);
        let own = br#"{"content":"a","embedding":[2],"model":"small"}"#;
        assert_eq!(carried(&memory, body.as_bytes(), own, |model| model != "small"), None);
    }
}
