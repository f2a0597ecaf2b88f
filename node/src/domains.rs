//! The kinds of records: what each is called, what its values look like, how
//! they merge and where they may go.
//!
//! A domain is declared by a TOML file and nothing else. Some are built in;
//! others come from files of this device or, as records, from the other ones.

pub(crate) mod fields;
pub mod file;
pub mod identity;
pub mod registry;
mod rules;
pub mod shape;
pub mod widening;

use std::collections::BTreeMap;
use std::sync::Arc;

use kinsync_protocol::declaration::{Declaration, Scope};
use kinsync_protocol::id::DomainId;
use kinsync_store::Sharing;

use crate::failure::{Failure, Kind};
use shape::Shape;

pub use registry::Registry;

pub use kinsync_protocol::declaration::DECLARATIONS;

/// Where a declaration stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In this build.
    BuiltIn,
    /// In a file of this device.
    File,
    /// In a record that all devices share.
    Record,
}

impl Source {
    /// The word that people and programs read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::File => "file",
            Self::Record => "record",
        }
    }
}

/// A declared domain.
#[derive(Debug)]
pub struct Domain {
    /// What was declared, without a `value-file`.
    pub declaration: Declaration,
    /// Where it stands.
    pub source: Source,
    id: DomainId,
    shape: Option<Shape>,
}

impl Domain {
    /// Takes a declaration that was checked; the text says what is wrong with
    /// its schema.
    pub fn new(declaration: Declaration, source: Source) -> Result<Self, String> {
        let shape = declaration.value.as_ref().map(Shape::new).transpose()?;
        Ok(Self { id: DomainId::of(&declaration.name), declaration, source, shape })
    }

    /// The name that people and applications use.
    pub fn name(&self) -> &str {
        &self.declaration.name
    }

    /// The id that stands for it on the wire and in the store.
    pub fn id(&self) -> DomainId {
        self.id
    }

    /// Whether a body has the shape that was declared; the text says what does
    /// not fit.
    pub fn check(&self, body: &[u8]) -> Result<(), String> {
        self.shape.as_ref().map_or(Ok(()), |shape| shape.check(body))
    }
}

/// The domains that are in force, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct Domains {
    domains: Vec<Arc<Domain>>,
    by_id: BTreeMap<DomainId, usize>,
    /// Declarations that would let records go further than they may now, by
    /// name: a person of this device has to say yes.
    pub pending: BTreeMap<String, Pending>,
    /// What could not be read or does not fit the others, a line each.
    pub problems: Vec<String>,
}

/// A declaration that waits for a yes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// What would be in force; `None` if the restriction would just go.
    pub declaration: Option<Declaration>,
    /// What it would widen, a phrase each.
    pub widens: Vec<String>,
    /// Whether somebody here said no to it.
    pub rejected: bool,
}

impl Domains {
    fn new(domains: Vec<Arc<Domain>>) -> Self {
        let by_id = domains.iter().enumerate().map(|(place, domain)| (domain.id, place)).collect();
        Self { domains, by_id, pending: BTreeMap::new(), problems: Vec::new() }
    }

    /// All of them: the built-in ones in their order, then the others by name.
    pub fn all(&self) -> &[Arc<Domain>] {
        &self.domains
    }

    /// The domain with this id, if it is declared.
    pub fn with_id(&self, id: DomainId) -> Option<&Arc<Domain>> {
        self.by_id.get(&id).and_then(|place| self.domains.get(*place))
    }

    /// The domain called `name`, if it is declared.
    pub fn find(&self, name: &str) -> Option<&Arc<Domain>> {
        self.with_id(DomainId::of(name))
    }

    /// The domain called `name`, or a failure that lists the names there are.
    pub fn named(&self, name: &str) -> Result<Arc<Domain>, Failure> {
        self.find(name).cloned().ok_or_else(|| {
            let mut names: Vec<_> = self.domains.iter().take(NAMED_MAX).map(|domain| domain.name()).collect();
            if self.domains.len() > NAMED_MAX {
                names.push("…");
            }
            Failure::new(Kind::UnknownDomain, format!("There is no domain called {name:?}.")).hint(format!(
                "The domains are: {}.\nDeclare another:  kinsync domains add FILE",
                names.join(", ")
            ))
        })
    }

    /// How many parents stand above a domain: 0 without any.
    pub fn depth(&self, id: DomainId) -> usize {
        let parent = |id| Some(DomainId::of(self.with_id(id)?.declaration.parent.as_deref()?));
        let mut depth = 0;
        let mut above = parent(id);
        // A set of declarations has no cycle; a bound costs nothing.
        while let Some(id) = above.filter(|_| depth <= self.domains.len()) {
            depth += 1;
            above = parent(id);
        }
        depth
    }

    /// With whom the records of each are shared.
    pub fn sharing(&self) -> BTreeMap<DomainId, Sharing> {
        let sharing = |domain: &Arc<Domain>| {
            let sharing = match (domain.declaration.scope, domain.declaration.opt_in) {
                (Scope::User | Scope::Device, true) => Sharing::OptIn,
                (Scope::User | Scope::Device, false) => Sharing::Free,
                // Neither an organisation's nor of a scope that is not known.
                (Scope::Tenant | _, _) => Sharing::Nobody,
            };
            (domain.id, sharing)
        };
        self.domains.iter().map(sharing).collect()
    }

    /// Checks what somebody typed to say what a device may share: `domains` it
    /// shares, and domains to ask for.
    ///
    /// # Errors
    /// There is no such domain, or it is none that has to be asked for; the
    /// failure lists those there are.
    pub fn check_shared(&self, domains: &[String], asked: &[String]) -> Result<(), Failure> {
        for name in domains.iter().filter(|name| *name != DECLARATIONS) {
            self.named(name)?;
        }
        for name in asked {
            if !self.named(name)?.declaration.opt_in {
                let opt_in = self.domains.iter().filter(|domain| domain.declaration.opt_in);
                let names: Vec<_> = opt_in.take(NAMED_MAX).map(|domain| domain.name()).collect();
                let text = format!("Records of {name:?} are shared without being asked for.");
                return Err(Failure::new(Kind::BadRequest, text)
                    .hint(format!("Domains that have to be asked for: {}.", names.join(", "))));
            }
        }
        Ok(())
    }

    /// What to call a domain: its name, or its id if nobody declared it here.
    pub fn shown(&self, id: DomainId) -> String {
        match self.with_id(id) {
            Some(domain) => domain.name().to_owned(),
            None if id == DomainId::of(DECLARATIONS) => DECLARATIONS.to_owned(),
            None => id.to_string(),
        }
    }
}

/// How many names a message lists.
const NAMED_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_names_there_are() {
        let domains = registry::built_in();
        let failure = domains.named("charaters").expect_err("misspelt");
        assert_eq!(failure.code(), "unknown-domain");
        let hint = failure.hint_text().expect("a hint");
        assert!(hint.contains("characters, personas"), "{hint}");
        assert!(hint.ends_with("kinsync domains add FILE"), "{hint}");
    }

    #[test]
    fn names_and_ids_are_found_both_ways() {
        let domains = registry::built_in();
        for domain in domains.all() {
            assert_eq!(domains.named(domain.name()).expect("declared").id(), domain.id());
            assert_eq!(domains.shown(domain.id()), domain.name());
        }
        assert!(domains.with_id(DomainId([0; 16])).is_none());
        assert_eq!(domains.shown(DomainId::of(DECLARATIONS)), DECLARATIONS);
    }
}
