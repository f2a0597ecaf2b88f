//! What a declaration may say, alone and beside the others.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Declaration, FIELDS_MAX, NAME_BYTES_MAX, PolicyName, RESERVED};
use crate::limits::DOMAINS_MAX;

/// What is wrong with a declaration; the text names the key.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DeclarationError {
    /// The name is empty, too long, or has other characters.
    #[error("`name`: {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits and - _ . /")]
    Name {
        /// The name.
        name: String,
    },
    /// The same of the parent's name.
    #[error("`parent`: {name:?} is no name of a domain: 1 to {NAME_BYTES_MAX} letters, digits and - _ . /")]
    Parent {
        /// The name.
        name: String,
    },
    /// The parts of a name are empty or dots.
    #[error("`{key}`: {name:?} has a part between slashes that is empty or begins with a dot")]
    Parts {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A key would be made in two ways.
    #[error(
        "`identity`: the key of a record is made of its fields, or with `parent` begins with that of \
         the parent, not both"
    )]
    IdentityWithParent,
    /// The name is one of kinsync's own.
    #[error("`name`: {name:?} begins with {RESERVED}, as only kinsync's own domains do")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The numbers of schemas make no range.
    #[error("`reads`: {reads} to `schema`: {schema} is no range of schema numbers from 1")]
    Numbers {
        /// The oldest number that is read.
        reads: u32,
        /// The number that is written.
        schema: u32,
    },
    /// A list is longer than [`FIELDS_MAX`].
    #[error("`{key}` has {count} entries, the limit is {FIELDS_MAX}")]
    TooMany {
        /// The list.
        key: &'static str,
        /// Its length.
        count: usize,
    },
    /// Fields have policies where records have one.
    #[error("`fields` are joined only with `policy = \"fields\"` or \"set-union\", not \"{policy}\"")]
    FieldsWithout {
        /// The policy of the domain.
        policy: String,
    },
    /// A field that a key names is not in the schema.
    #[error("`{key}` names the field {field:?}, which `value` does not list")]
    NoField {
        /// The key.
        key: &'static str,
        /// The field.
        field: String,
    },
    /// A field stands twice.
    #[error("`{key}` names the field {field:?} twice")]
    Twice {
        /// The key.
        key: &'static str,
        /// The field.
        field: String,
    },
    /// A name is empty.
    #[error("`{key}` has an empty name")]
    EmptyName {
        /// The key.
        key: &'static str,
    },
    /// The schema is neither a table nor true or false, or stands twice.
    #[error("`value` is a JSON Schema, here or in `value-file`, not in both")]
    Schema,
    /// A domain is its own parent.
    #[error("`parent`: {name:?} cannot belong to itself")]
    OwnParent {
        /// The name.
        name: String,
    },
    /// The percentage is above 100.
    #[error("`guard.percent`: {percent} is more than 100")]
    Percent {
        /// The number.
        percent: u8,
    },
    /// The migrations do not lead from `reads` to `schema` step by step.
    #[error("`migrate`: a step from {missing} is missing between `reads` {reads} and `schema` {schema}")]
    Gap {
        /// The number from which no step leads on.
        missing: u32,
        /// The oldest number that is read.
        reads: u32,
        /// The number that is written.
        schema: u32,
    },
    /// A migration that is never run.
    #[error(
        "`migrate`: the step from {from} leads from nowhere between `reads` and `schema`, or stands twice"
    )]
    Step {
        /// The number from which it leads.
        from: u32,
    },
    /// A migration gives two fields one name.
    #[error("`migrate`: the step from {from} gives the name {field:?} twice")]
    RenameTwice {
        /// The number from which it leads.
        from: u32,
        /// The new name.
        field: String,
    },
}

/// What is wrong with a set of declarations, each of which is right.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SetError {
    /// There are more than [`DOMAINS_MAX`].
    #[error("{count} domains are declared, the limit is {DOMAINS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Two declarations have one name.
    #[error("the domain {name:?} is declared twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Domains belong to each other in a circle.
    #[error("`parent`: the domains {} belong to each other in a circle", .names.join(", "))]
    Cycle {
        /// The domains of the circle, from child to parent.
        names: Vec<String>,
    },
    /// A device's own domain belongs to one that all devices share.
    #[error("`parent`: {child:?} stays on a device, its parent {parent:?} does not")]
    Scope {
        /// The domain that stays.
        child: String,
        /// Its parent.
        parent: String,
    },
}

impl Declaration {
    /// Checks all that can be seen from the declaration alone, but not that
    /// its `value` is a valid JSON Schema.
    pub fn check(&self) -> Result<(), DeclarationError> {
        self.check_name()?;
        if self.reads == 0 || self.reads > self.schema {
            return Err(DeclarationError::Numbers { reads: self.reads, schema: self.schema });
        }
        if self.guard.percent > 100 {
            return Err(DeclarationError::Percent { percent: self.guard.percent });
        }
        self.check_lists()?;
        self.check_fields()?;
        self.check_migrations()
    }

    fn check_name(&self) -> Result<(), DeclarationError> {
        let name = || self.name.clone();
        if self.name.starts_with(RESERVED) {
            return Err(DeclarationError::Reserved { name: name() });
        }
        if !is_name(&self.name) {
            return Err(DeclarationError::Name { name: name() });
        }
        if !has_parts(&self.name) {
            return Err(DeclarationError::Parts { key: "name", name: name() });
        }
        match &self.parent {
            Some(parent) if *parent == self.name => Err(DeclarationError::OwnParent { name: name() }),
            Some(parent) if !is_name(parent) => Err(DeclarationError::Parent { name: parent.clone() }),
            Some(parent) if !has_parts(parent) => {
                Err(DeclarationError::Parts { key: "parent", name: parent.clone() })
            }
            Some(_) if !self.identity.is_empty() => Err(DeclarationError::IdentityWithParent),
            _ => Ok(()),
        }
    }

    fn check_lists(&self) -> Result<(), DeclarationError> {
        let lists = [
            ("fields", self.fields.len()),
            ("identity", self.identity.len()),
            ("derived", self.derived.len()),
            ("requires", self.requires.len()),
            ("exclude", self.exclude.len()),
            ("migrate", self.migrate.len()),
        ];
        let steps = self.migrate.iter().map(|step| ("migrate", step.rename.len().max(step.default.len())));
        match lists.into_iter().chain(steps).find(|&(_, count)| count > FIELDS_MAX) {
            Some((key, count)) => Err(DeclarationError::TooMany { key, count }),
            None => Ok(()),
        }
    }

    fn check_fields(&self) -> Result<(), DeclarationError> {
        if !self.fields.is_empty() && !matches!(self.policy, PolicyName::Fields | PolicyName::SetUnion) {
            return Err(DeclarationError::FieldsWithout { policy: self.policy.to_string() });
        }
        let schema_fits = match &self.value {
            None => true,
            Some(value) => self.value_file.is_none() && (value.is_object() || value.is_boolean()),
        };
        if !schema_fits {
            return Err(DeclarationError::Schema);
        }
        if self.requires.iter().any(|requirement| requirement.id.is_empty()) {
            return Err(DeclarationError::EmptyName { key: "requires" });
        }
        let mut seen = BTreeSet::new();
        for part in &self.identity {
            if !seen.insert(&part.field) {
                return Err(DeclarationError::Twice { key: "identity", field: part.field.clone() });
            }
        }
        let named = self.identity.iter().map(|part| ("identity", &part.field));
        let named = named.chain(self.derived.iter().flat_map(|(a, b)| [("derived", a), ("derived", b)]));
        let named = named.chain(self.fields.keys().map(|field| ("fields", field)));
        let named = named.chain(self.exclude.keys().map(|field| ("exclude", field)));
        let properties = self.properties();
        for (key, field) in named {
            if field.is_empty() {
                return Err(DeclarationError::EmptyName { key });
            }
            if properties.as_ref().is_some_and(|listed| !listed.contains(field.as_str())) {
                return Err(DeclarationError::NoField { key, field: field.clone() });
            }
        }
        Ok(())
    }

    fn check_migrations(&self) -> Result<(), DeclarationError> {
        let mut steps = BTreeSet::new();
        for step in &self.migrate {
            let from = step.from;
            if from < self.reads || from >= self.schema || !steps.insert(from) {
                return Err(DeclarationError::Step { from });
            }
            let mut names = BTreeSet::new();
            if let Some(field) = step.rename.values().find(|field| !names.insert(*field)) {
                return Err(DeclarationError::RenameTwice { from, field: field.clone() });
            }
        }
        // Without any step the values of all numbers read alike.
        let first_missing = || (self.reads..self.schema).find(|from| !steps.contains(from));
        match if steps.is_empty() { None } else { first_missing() } {
            Some(missing) => Err(DeclarationError::Gap { missing, reads: self.reads, schema: self.schema }),
            None => Ok(()),
        }
    }

    /// The fields that the schema lists; `None` if it lists none.
    pub fn properties(&self) -> Option<BTreeSet<&str>> {
        let properties = self.value.as_ref()?.get("properties")?.as_object()?;
        Some(properties.keys().map(String::as_str).collect())
    }
}

/// Checks what can only be seen of all declarations together. A parent that is
/// not among them is no error: it may come later.
pub fn check_set<'a>(declarations: impl IntoIterator<Item = &'a Declaration>) -> Result<(), SetError> {
    let mut by_name = BTreeMap::new();
    let mut count = 0;
    for declaration in declarations {
        count += 1;
        if by_name.insert(declaration.name.as_str(), declaration).is_some() {
            return Err(SetError::Twice { name: declaration.name.clone() });
        }
    }
    if count > DOMAINS_MAX {
        return Err(SetError::TooMany { count });
    }
    let parent_of = |name: &str| by_name.get(name).and_then(|child| child.parent.as_deref());
    let mut sound = BTreeSet::new();
    for (&start, declaration) in &by_name {
        let parent = declaration.parent.as_deref().and_then(|parent| by_name.get(parent));
        if let Some(parent) = parent.filter(|parent| parent.scope < declaration.scope) {
            let (child, parent) = (start.to_owned(), parent.name.clone());
            return Err(SetError::Scope { child, parent });
        }
        let mut path = vec![start];
        let mut at = start;
        while let Some(next) = parent_of(at).filter(|next| !sound.contains(next)) {
            if let Some(begin) = path.iter().position(|&name| name == next) {
                let names = path.split_off(begin).into_iter().map(str::to_owned).collect();
                return Err(SetError::Cycle { names });
            }
            path.push(next);
            at = next;
        }
        sound.extend(path);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Whether no part of a name is one that a path goes another way by.
fn has_parts(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use serde_json::json;

    use super::*;

    fn read(declaration: serde_json::Value) -> Declaration {
        serde_json::from_value(declaration).unwrap()
    }

    fn check(declaration: serde_json::Value) -> Result<(), DeclarationError> {
        read(declaration).check()
    }

    fn refused(declaration: serde_json::Value) -> String {
        serde_json::from_value::<Declaration>(declaration).unwrap_err().to_string()
    }

    /// F5 to F7: shape, policy and scope are all that a domain needs to say.
    #[test]
    fn a_whole_declaration_is_read_checked_and_written_again() {
        let whole = json!({
            "name": "memories", "schema": 3, "reads": 2, "policy": "set-union", "scope": "device", "opt-in": true,
            "identity": ["project", "source", "content:200"],
            "derived": {"embedding": "embedding_model"},
            "requires": [{"id": "embedding-model/bge-small", "need": "should", "without": "disable"}],
            "exclude": {"builtin": true}, "fields": {"seen": "max", "tags": {"set-union": "id"}},
            "value": {"type": "object"}, "guard": {"records": 10, "percent": 5},
            "migrate": [{"from": 2, "rename": {"text": "content"}, "default": {"colour": "red"}}],
        });
        let declaration = read(whole.clone());
        assert_eq!(declaration.check(), Ok(()));
        assert_eq!(serde_json::to_value(&declaration).unwrap(), whole);
        assert_matches!(declaration.merge_policy(), crate::policy::Policy::Fields { fields, .. } if fields.len() == 2);
        assert_eq!(read(json!({"name": "notes"})), Declaration::new("notes"));
        assert_eq!(serde_json::to_value(Declaration::new("notes")).unwrap(), json!({"name": "notes"}));
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        assert!(refused(json!({"name": "a", "polcy": "lww"})).contains("`polcy`"));
        assert!(refused(json!({"name": "a", "guard": {"record": 1}})).contains("`record`"));
        assert!(refused(json!({"name": "a", "migrate": [{"from": 1, "renames": {}}]})).contains("`renames`"));
        assert!(refused(json!({"name": "a", "policy": "lwww"})).contains("\"lwww\""));
        assert!(refused(json!({"name": "a", "policy": "merge:"})).contains("merge:NAME"));
        assert!(refused(json!({"name": "a", "identity": ["content:0"]})).contains("content:0"));
        assert!(refused(json!({"schema": 2})).contains("`name`"));
    }

    #[test]
    fn names_are_plain_and_short() {
        let name = |name: &str| check(json!({"name": name}));
        assert_eq!(name(&"n".repeat(NAME_BYTES_MAX)), Ok(()));
        assert_eq!(name("app/notes-2.1_b"), Ok(()));
        for wrong in ["", "with space", "ü", "a\0", &"n".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(name(wrong), Err(DeclarationError::Name { name: wrong.to_owned() }));
        }
        for wrong in ["../x19", "a/../b", ".hidden", "/a", "a/", "a//b", "."] {
            assert_eq!(name(wrong), Err(DeclarationError::Parts { key: "name", name: wrong.to_owned() }));
            let parent = check(json!({"name": "a", "parent": wrong}));
            assert_eq!(parent, Err(DeclarationError::Parts { key: "parent", name: wrong.to_owned() }));
        }
        assert_matches!(check(json!({"name": "a", "parent": "b c"})), Err(DeclarationError::Parent { .. }));
        assert_matches!(name("kinsync/domains"), Err(DeclarationError::Reserved { .. }));
    }

    /// F5: where the key of a record comes from is said once, or not at all.
    #[test]
    fn a_key_is_made_in_one_way() {
        assert!(refused(json!({"name": "a", "identity": []})).contains("`identity` names no field"));
        let both = check(json!({"name": "a", "parent": "b", "identity": ["x"]}));
        assert_eq!(both, Err(DeclarationError::IdentityWithParent));
    }

    #[test]
    fn lists_end_at_256_entries() {
        let fields = |count: usize| {
            let fields: serde_json::Map<_, _> = (0..count).map(|n| (format!("f{n}"), json!("max"))).collect();
            check(json!({"name": "a", "policy": "fields", "fields": fields}))
        };
        assert_eq!(fields(FIELDS_MAX), Ok(()));
        assert_eq!(fields(FIELDS_MAX + 1), Err(DeclarationError::TooMany { key: "fields", count: 257 }));
    }

    #[test]
    fn fields_that_the_schema_does_not_list_are_refused() {
        let schema = json!({"properties": {"project": {}, "embedding": {}}});
        let identity = check(json!({"name": "a", "value": schema, "identity": ["project", "sauce"]}));
        assert_eq!(identity, Err(DeclarationError::NoField { key: "identity", field: "sauce".into() }));
        let derived = check(json!({"name": "a", "value": schema, "derived": {"embedding": "model"}}));
        assert_eq!(derived, Err(DeclarationError::NoField { key: "derived", field: "model".into() }));
        assert_eq!(check(json!({"name": "a", "identity": ["anything"]})), Ok(()));
        assert_matches!(
            check(json!({"name": "a", "identity": ["x", "x:2"]})),
            Err(DeclarationError::Twice { key: "identity", .. })
        );
    }

    #[test]
    fn field_policies_need_a_policy_of_fields() {
        let error = check(json!({"name": "a", "policy": "manual", "fields": {"x": "max"}})).unwrap_err();
        assert!(error.to_string().contains("\"manual\""));
    }

    #[test]
    fn migrations_lead_from_number_to_number() {
        let steps = |reads: u32, schema: u32, steps: &[u32]| {
            let steps: Vec<_> = steps.iter().map(|from| json!({"from": from})).collect();
            check(json!({"name": "a", "reads": reads, "schema": schema, "migrate": steps}))
        };
        assert_eq!(steps(1, 4, &[1, 2, 3]), Ok(()));
        assert_eq!(steps(1, 4, &[]), Ok(()));
        assert_eq!(steps(1, 4, &[1, 3]), Err(DeclarationError::Gap { missing: 2, reads: 1, schema: 4 }));
        assert_eq!(steps(2, 4, &[1, 2, 3]), Err(DeclarationError::Step { from: 1 }));
        assert_eq!(steps(1, 3, &[1, 2, 2]), Err(DeclarationError::Step { from: 2 }));
        assert_eq!(steps(3, 2, &[]), Err(DeclarationError::Numbers { reads: 3, schema: 2 }));
        assert_eq!(steps(0, 2, &[]), Err(DeclarationError::Numbers { reads: 0, schema: 2 }));
        let rename = json!([{"from": 1, "rename": {"a": "c", "b": "c"}}]);
        let twice = check(json!({"name": "a", "schema": 2, "migrate": rename}));
        assert_eq!(twice, Err(DeclarationError::RenameTwice { from: 1, field: "c".into() }));
    }

    fn set(names: &[(&str, Option<&str>, &str)]) -> Result<(), SetError> {
        let all: Vec<_> = names
            .iter()
            .map(|(name, parent, scope)| read(json!({"name": name, "parent": parent, "scope": scope})))
            .collect();
        check_set(&all)
    }

    #[test]
    fn circles_of_parents_are_refused() {
        assert_eq!(
            set(&[("a", Some("b"), "user"), ("b", None, "user"), ("c", Some("gone"), "user")]),
            Ok(())
        );
        let names = vec!["b".to_owned(), "c".to_owned()];
        let circle = set(&[("a", Some("b"), "user"), ("b", Some("c"), "user"), ("c", Some("b"), "user")]);
        assert_eq!(circle, Err(SetError::Cycle { names }));
        assert_matches!(check(json!({"name": "a", "parent": "a"})), Err(DeclarationError::OwnParent { .. }));
    }

    #[test]
    fn what_stays_on_a_device_belongs_to_nothing_that_travels() {
        let error = set(&[("themes", Some("chats"), "device"), ("chats", None, "user")]);
        assert_matches!(error, Err(SetError::Scope { child, .. }) if child == "themes");
        assert_eq!(set(&[("themes", Some("looks"), "device"), ("looks", None, "device")]), Ok(()));
        assert_matches!(set(&[("a", None, "user"), ("a", None, "user")]), Err(SetError::Twice { .. }));
    }

    /// Ten thousand declarations are a clear error.
    #[test]
    fn sets_end_at_4096_domains() {
        let domains =
            |count: usize| (0..count).map(|n| Declaration::new(format!("d{n}"))).collect::<Vec<_>>();
        assert_eq!(check_set(&domains(DOMAINS_MAX)), Ok(()));
        assert_eq!(check_set(&domains(DOMAINS_MAX + 1)), Err(SetError::TooMany { count: DOMAINS_MAX + 1 }));
    }
}
