//! The kinds of records that every device knows from the start.

pub mod shape;

use kinsync_protocol::id::DomainId;

use crate::failure::{Failure, Kind};

/// Where the records of a domain may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// One owner writes; it reaches the other devices and never replaces
    /// theirs.
    Device,
    /// All devices of the set read and write it.
    User,
}

/// A kind of records: its name, the shape of its values, and where they may
/// go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Domain {
    /// The name that people and applications use.
    pub name: &'static str,
    /// The number of the shape of its values that this build reads and writes.
    pub schema: u32,
    /// Where its records may go.
    pub scope: Scope,
}

impl Domain {
    /// The id that stands for this domain on the wire and in the store.
    pub fn id(&self) -> DomainId {
        DomainId::of(self.name)
    }
}

/// The built-in domains, in the order in which people are shown them.
pub const BUILT_IN: [Domain; 9] = [
    Domain { name: "characters", schema: 1, scope: Scope::User },
    Domain { name: "personas", schema: 1, scope: Scope::User },
    Domain { name: "lorebooks", schema: 1, scope: Scope::User },
    Domain { name: "presets", schema: 1, scope: Scope::User },
    Domain { name: "prompts", schema: 1, scope: Scope::User },
    Domain { name: "chats", schema: 1, scope: Scope::User },
    Domain { name: "messages", schema: 1, scope: Scope::User },
    Domain { name: "settings", schema: 1, scope: Scope::User },
    Domain { name: "device-settings", schema: 1, scope: Scope::Device },
];

/// The domain called `name`, or a failure that lists the names there are.
pub fn named(name: &str) -> Result<&'static Domain, Failure> {
    BUILT_IN.iter().find(|domain| domain.name == name).ok_or_else(|| {
        let names: Vec<_> = BUILT_IN.iter().map(|domain| domain.name).collect();
        Failure::new(Kind::UnknownDomain, format!("There is no domain called {name:?}."))
            .hint(format!("The domains are: {}.", names.join(", ")))
    })
}

/// What to call a domain: its name, or its id if this device does not know it.
pub fn shown(id: DomainId) -> String {
    with_id(id).map_or_else(|| id.to_string(), |domain| domain.name.to_owned())
}

/// The domain with this id, if it is built in.
pub fn with_id(id: DomainId) -> Option<&'static Domain> {
    BUILT_IN.iter().find(|domain| domain.id() == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_names_there_are() {
        let failure = named("charaters").expect_err("misspelt");
        assert_eq!(failure.code(), "unknown-domain");
        assert!(failure.hint_text().expect("a hint").contains("characters, personas"));
    }

    #[test]
    fn names_and_ids_are_found_both_ways() {
        for domain in &BUILT_IN {
            assert_eq!(named(domain.name), Ok(domain));
            assert_eq!(with_id(domain.id()), Some(domain));
        }
        assert_eq!(with_id(DomainId([0; 16])), None);
    }
}
