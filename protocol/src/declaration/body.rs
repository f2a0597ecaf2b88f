//! What a declaration does with the body of a value: key, age, and what may
//! travel of it.
//!
//! Values inside a body stay as they were written; a body that is no JSON
//! object is left alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Declaration, Scope};
use crate::hash;
use crate::policy::json;
use crate::record::Key;

/// Hexadecimal digits of a key that follows from the content.
pub const IDENTITY_DIGITS: usize = 32;

/// Why a value has no key of its own.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The domain does not take its keys from the content.
    #[error("the keys of this domain do not follow from the content")]
    NotDeclared,
    /// The value is no JSON object.
    #[error("the value is no JSON object")]
    NoObject,
    /// None of the fields of the identity is there.
    #[error("the value has none of the fields {}", .fields.join(", "))]
    NoField {
        /// The fields.
        fields: Vec<String>,
    },
    /// Only a text has first characters.
    #[error("the field {field:?} is no text")]
    NoText {
        /// The field.
        field: String,
    },
}

/// How a device reads a value of some schema number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reading {
    /// As it is.
    Current,
    /// After [`Declaration::migrate`].
    Older,
    /// Not at all: older than the oldest that is read.
    TooOld,
    /// Not at all: this device has to be upgraded.
    Newer,
}

/// How a declaration lets more leave a device than the one before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Widening {
    /// Records that stayed in a smaller scope go further.
    Scope {
        /// The scope before.
        from: Scope,
        /// The scope now.
        to: Scope,
    },
    /// Records go without being allowed by name.
    OptIn,
    /// Records that stayed on their device go.
    Exclude,
}

impl Declaration {
    /// How this device reads a value of that schema number.
    pub fn reading(&self, schema: u32) -> Reading {
        match schema {
            _ if schema > self.schema => Reading::Newer,
            _ if schema < self.reads => Reading::TooOld,
            _ if schema < self.schema => Reading::Older,
            _ => Reading::Current,
        }
    }

    /// Ways in which this declaration widens `old`, the one in force.
    pub fn widens(&self, old: &Self) -> Vec<Widening> {
        let mut found = Vec::new();
        if self.scope != old.scope && old.scope != Scope::User {
            found.push(Widening::Scope { from: old.scope, to: self.scope });
        }
        if old.opt_in && !self.opt_in {
            found.push(Widening::OptIn);
        }
        // Fewer conditions keep more; no condition keeps nothing.
        let keeps_less = self.exclude.is_empty()
            || self.exclude.iter().any(|(field, value)| old.exclude.get(field) != Some(value));
        if !old.exclude.is_empty() && keeps_less {
            found.push(Widening::Exclude);
        }
        found
    }

    /// The key of a value that has its identity in its content: the first 32
    /// hexadecimal digits of a hash over the fields of the identity.
    ///
    /// A field that is not there counts as `null`.
    pub fn identity_key(&self, body: &[u8]) -> Result<Key, IdentityError> {
        if self.identity.is_empty() {
            return Err(IdentityError::NotDeclared);
        }
        let fields = object(body).ok_or(IdentityError::NoObject)?;
        let raw = |field: &str| fields.iter().find(|(name, _)| name == field).map_or("null", |(_, raw)| *raw);
        if self.identity.iter().all(|part| raw(&part.field) == "null") {
            let fields = self.identity.iter().map(|part| part.field.clone()).collect();
            return Err(IdentityError::NoField { fields });
        }
        let mut parts = Vec::new();
        for part in &self.identity {
            let raw = raw(&part.field);
            parts.push(match part.characters {
                Some(count) if raw != "null" => {
                    let no_text = || IdentityError::NoText { field: part.field.clone() };
                    let text = json::string(raw).ok_or_else(no_text)?;
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    json::quoted(&text.chars().take(count).collect::<String>())
                }
                _ => json::canonical(raw),
            });
        }
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let digest = hash::tagged("kinsync/identity/1", &parts);
        let digits: String =
            digest.iter().take(IDENTITY_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
        Ok(Key::new(digits).expect("hexadecimal digits are a key"))
    }

    /// The body of schema number `from` as one of the number that is written.
    pub fn migrate<'a>(&self, body: &'a [u8], from: u32) -> Cow<'a, [u8]> {
        let Some(fields) = object(body).filter(|_| from < self.schema) else {
            return Cow::Borrowed(body);
        };
        let mut steps: Vec<_> = self.migrate.iter().filter(|step| step.from >= from).collect();
        steps.sort_by_key(|step| step.from);
        let mut fields: Vec<(String, Cow<'_, str>)> =
            fields.into_iter().map(|(name, raw)| (name, Cow::Borrowed(raw))).collect();
        let mut changed = false;
        for step in steps {
            let names: BTreeSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            for (name, _) in &mut fields {
                let new = step.rename.get(name);
                // A field that has the new name already keeps it, and nothing is lost.
                let free = |new: &&String| !names.contains(*new) || step.rename.contains_key(*new);
                if let Some(new) = new.filter(free) {
                    name.clone_from(new);
                    changed = true;
                }
            }
            for (name, value) in &step.default {
                if !fields.iter().any(|(there, _)| there == name) {
                    fields.push((name.clone(), Cow::Owned(value.to_string())));
                    changed = true;
                }
            }
        }
        if changed { Cow::Owned(write(&fields)) } else { Cow::Borrowed(body) }
    }

    /// The body without derived fields that come from other models than
    /// `models`.
    pub fn strip_derived<'a>(&self, body: &'a [u8], models: &BTreeSet<String>) -> Cow<'a, [u8]> {
        let Some(fields) = object(body) else { return Cow::Borrowed(body) };
        let by_name: BTreeMap<&str, &str> = fields.iter().map(|(name, raw)| (name.as_str(), *raw)).collect();
        let is_of_use = |name: &str| {
            self.derived.get(name).is_none_or(|model| {
                let model = by_name.get(model.as_str()).and_then(|raw| json::string(raw));
                model.is_some_and(|model| models.contains(&model))
            })
        };
        if fields.iter().all(|(name, _)| is_of_use(name)) {
            return Cow::Borrowed(body);
        }
        let kept: Vec<_> = fields.iter().filter(|(name, _)| is_of_use(name)).collect();
        Cow::Owned(write(&kept.into_iter().map(|(name, raw)| (name.clone(), *raw)).collect::<Vec<_>>()))
    }

    /// Whether a record with that body stays on its device.
    pub fn excludes(&self, body: &[u8]) -> bool {
        let Some(fields) = object(body).filter(|_| !self.exclude.is_empty()) else { return false };
        self.exclude.iter().all(|(field, value)| {
            let raw = fields.iter().find(|(name, _)| name == field);
            raw.is_some_and(|(_, raw)| json::same(raw, &value.to_string()))
        })
    }

    /// The body of a write with those fields of the `old` body that this
    /// device's schema does not know, and that an application here can
    /// therefore not have meant to remove.
    pub fn carry_over<'a>(&self, old: &[u8], body: &'a [u8]) -> Cow<'a, [u8]> {
        let (Some(known), Some(old), Some(new)) = (self.properties(), object(old), object(body)) else {
            return Cow::Borrowed(body);
        };
        let mut fields = new;
        let there: BTreeSet<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        let before = fields.len();
        fields.extend(
            old.into_iter().filter(|(name, _)| !known.contains(name.as_str()) && !there.contains(name)),
        );
        if fields.len() == before { Cow::Borrowed(body) } else { Cow::Owned(write(&fields)) }
    }
}

fn object(body: &[u8]) -> Option<json::Fields<'_>> {
    json::object(str::from_utf8(body).ok()?)
}

fn write<T: AsRef<str>>(fields: &[(String, T)]) -> Vec<u8> {
    let fields: Vec<_> =
        fields.iter().map(|(name, raw)| format!("{}:{}", json::quoted(name), raw.as_ref())).collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use serde_json::json;

    use super::*;

    fn read(declaration: serde_json::Value) -> Declaration {
        let declaration: Declaration = serde_json::from_value(declaration).unwrap();
        declaration.check().unwrap();
        declaration
    }

    fn memories() -> Declaration {
        read(json!({"name": "memories", "identity": ["project", "source", "content:200"]}))
    }

    fn memory(content: &str, more: &str) -> String {
        format!(r#"{{"content":{},"project":"p","source":"s"{more}}}"#, json::quoted(content))
    }

    /// I25: a memory is the same by project, source and the first 200 characters.
    #[test]
    fn a_memory_is_known_by_its_first_200_characters() {
        let key =
            |content: &str, more: &str| memories().identity_key(memory(content, more).as_bytes()).unwrap();
        let long = "é".repeat(200);
        let same = key(&long, "");
        assert_eq!(same.as_str().len(), IDENTITY_DIGITS);
        assert_eq!(key(&format!("{long}more"), r#","embedding":[1,2]"#), same);
        assert_ne!(key(&"é".repeat(199), ""), same);
        // Fields cannot be shifted into each other.
        let facts = read(json!({"name": "f", "identity": ["a", "b"]}));
        let key = |body: &str| facts.identity_key(body.as_bytes()).unwrap();
        assert_ne!(key(r#"{"a":"xy","b":"z"}"#), key(r#"{"a":"x","b":"yz"}"#));
        assert_ne!(key(r#"{"a":"1"}"#), key(r#"{"a":1}"#));
        assert_eq!(key(r#"{ "b": null, "a": "\u0078" }"#), key(r#"{"a":"x"}"#));
    }

    /// I26: a fact is the same by subject, predicate, object and valid-from; that it ended is no part of it.
    #[test]
    fn a_fact_is_known_by_what_it_says() {
        let facts =
            read(json!({"name": "facts", "identity": ["subject", "predicate", "object", "valid_from"]}));
        let key = |from: &str, more: &str| {
            let body = format!(
                r#"{{"subject":"Ada","predicate":"lives in","object":"Rome","valid_from":{from}{more}}}"#
            );
            facts.identity_key(body.as_bytes()).unwrap()
        };
        assert_eq!(key("2020", r#","ended":true"#), key("2020", ""));
        assert_ne!(key("2021", ""), key("2020", ""));
    }

    #[test]
    fn what_has_no_identity_says_why() {
        let key = |body: &str| memories().identity_key(body.as_bytes());
        assert_eq!(key("[1]"), Err(IdentityError::NoObject));
        assert_matches!(key(r#"{"text":1}"#), Err(IdentityError::NoField { fields }) if fields.len() == 3);
        assert_eq!(key(r#"{"content":7}"#), Err(IdentityError::NoText { field: "content".into() }));
        assert_eq!(Declaration::new("a").identity_key(b"{}"), Err(IdentityError::NotDeclared));
    }

    fn migrating() -> Declaration {
        read(json!({"name": "a", "schema": 3, "migrate": [
            {"from": 2, "default": {"colour": "red", "n": 1}},
            {"from": 1, "rename": {"old": "new", "a": "b", "b": "a"}},
        ]}))
    }

    #[test]
    fn a_migration_renames_and_fills_in_and_rewrites_nothing_else() {
        let migrate = |body: &str, from| {
            String::from_utf8(migrating().migrate(body.as_bytes(), from).into_owned()).unwrap()
        };
        assert_eq!(
            migrate(r#"{"old":1.0,"x":{"y" :2}}"#, 1),
            r#"{"new":1.0,"x":{"y" :2},"colour":"red","n":1}"#
        );
        assert_eq!(migrate(r#"{"old":1,"n":2}"#, 2), r#"{"old":1,"n":2,"colour":"red"}"#);
        assert_eq!(migrate(r#"{"a":1,"b":2,"n":0,"colour":0}"#, 1), r#"{"b":1,"a":2,"n":0,"colour":0}"#);
        assert_eq!(
            migrate(r#"{"old":1,"new":2,"n":0,"colour":0}"#, 1),
            r#"{"old":1,"new":2,"n":0,"colour":0}"#
        );
        for body in ["text", "[1]", r#"{"old":1}"#] {
            assert_eq!(migrate(body, 3), body);
        }
        assert_eq!(migrate("text", 1), "text");
    }

    #[test]
    fn a_schema_number_is_current_older_or_not_read() {
        let declaration = read(json!({"name": "a", "schema": 4, "reads": 2}));
        let readings = [1, 2, 3, 4, 5].map(|schema| declaration.reading(schema));
        let expected = [Reading::TooOld, Reading::Older, Reading::Older, Reading::Current, Reading::Newer];
        assert_eq!(readings, expected);
    }

    /// I27, I28: what was derived with another model is made again, not sent.
    #[test]
    fn derived_fields_of_other_models_are_left_out() {
        let declaration = read(json!({"name": "m", "derived": {"embedding": "model"}}));
        let body = br#"{"text":"x","embedding":[1, 2],"model":"bge"}"#;
        let models = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(declaration.strip_derived(body, &models(&["bge"])), body.as_slice());
        let without = br#"{"text":"x","model":"bge"}"#;
        assert_eq!(declaration.strip_derived(body, &models(&["other"])), without.as_slice());
        assert_eq!(declaration.strip_derived(br#"{"embedding":[1]}"#, &models(&["bge"])), b"{}".as_slice());
        assert_eq!(declaration.strip_derived(b"no object", &models(&[])), b"no object".as_slice());
    }

    /// F20: a rule of the domain keeps records on their device.
    #[test]
    fn records_are_excluded_by_all_of_their_fields() {
        let declaration = read(json!({"name": "p", "exclude": {"builtin": true, "kind": "system"}}));
        assert!(declaration.excludes(br#"{"kind":"s\u0079stem","builtin": true,"x":1}"#));
        for body in [&br#"{"builtin":true}"#[..], br#"{"builtin":"true","kind":"system"}"#, b"text"] {
            assert!(!declaration.excludes(body));
        }
        assert!(!Declaration::new("p").excludes(b"{}"));
    }

    /// D5: an edit by an older application keeps the fields that it does not know.
    #[test]
    fn fields_that_the_schema_does_not_know_are_carried_over() {
        let declaration = read(json!({"name": "n", "value": {"properties": {"text": {}, "gone": {}}}}));
        let old = br#"{"text":"a","gone":1,"later":1.0}"#;
        let carried = declaration.carry_over(old, br#"{"text":"b"}"#);
        assert_eq!(carried, br#"{"text":"b","later":1.0}"#.as_slice());
        let own = br#"{"text":"b", "later":2}"#;
        assert_eq!(declaration.carry_over(old, own), own.as_slice());
        assert_eq!(Declaration::new("n").carry_over(old, b"{}"), b"{}".as_slice());
    }

    /// F7, F11: a declaration that lets more leave a device says so.
    #[test]
    fn a_declaration_that_widens_another_is_found() {
        let widens = |new: serde_json::Value, old: serde_json::Value| read(new).widens(&read(old));
        let device = json!({"name": "a", "scope": "device"});
        let scope = Widening::Scope { from: Scope::Device, to: Scope::User };
        assert_eq!(widens(json!({"name": "a"}), device.clone()), [scope]);
        assert_eq!(widens(device, json!({"name": "a"})), []);
        assert_eq!(widens(json!({"name": "a"}), json!({"name": "a", "opt-in": true})), [Widening::OptIn]);
        let rule = |rule: serde_json::Value| json!({"name": "a", "exclude": rule});
        assert_eq!(widens(rule(json!({})), rule(json!({"x": 1}))), [Widening::Exclude]);
        assert_eq!(widens(rule(json!({"x": 1, "y": 2})), rule(json!({"x": 1}))), [Widening::Exclude]);
        assert_eq!(widens(rule(json!({"x": 1})), rule(json!({"x": 1, "y": 2}))), []);
    }
}
