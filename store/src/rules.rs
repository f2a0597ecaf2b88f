//! What the store has to know of domains: the node reads their declarations
//! and hands it over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kinsync_protocol::declaration::{Guard, Scope};
use kinsync_protocol::id::DomainId;
use kinsync_protocol::policy::Policy;
use kinsync_protocol::value;

use crate::waiting::Waiting;

/// Says whether a body fits the domain, and why not. Gets the number of the
/// schema that the body follows, which is one that the domain reads.
pub type Check = Arc<dyn Fn(u32, &[u8]) -> Result<(), String> + Send + Sync>;

/// What the store has to know of one domain.
#[derive(Clone)]
pub struct Rules {
    /// What two versions make that did not know each other.
    pub policy: Policy,
    /// The number of the schema that is written.
    pub schema: u32,
    /// The oldest schema number that is read.
    pub reads: u32,
    /// The domain whose records this one's belong to. A child's key is the
    /// parent's key, a slash, and more without a slash.
    pub parent: Option<DomainId>,
    /// Whose the records are.
    pub scope: Scope,
    /// How many changes at once are held; as everywhere if it is the default.
    pub guard: Guard,
    /// What fits the domain; everything if missing.
    pub check: Option<Check>,
    /// A number that is another one whenever `schema`, `reads`, `parent` or
    /// what `check` says has changed: records are looked at again then. Not 0.
    pub revision: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            schema: 1,
            reads: 1,
            parent: None,
            scope: Scope::default(),
            guard: Guard::default(),
            check: None,
            revision: 1,
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("policy", &self.policy)
            .field("schema", &self.schema)
            .field("reads", &self.reads)
            .field("parent", &self.parent)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Why a stored value cannot be used yet.
    pub(crate) fn waiting(&self, stored: &[u8]) -> Option<Waiting> {
        let Ok(opened) = value::open(stored) else { return Some(Waiting::Unreadable) };
        let schema = opened.header.schema;
        if schema > self.schema {
            return Some(Waiting::NewerSchema { schema });
        }
        if schema < self.reads {
            return Some(Waiting::OlderSchema { schema });
        }
        self.check.as_ref()?(schema, opened.body).err().map(Waiting::misfit)
    }

    /// Whether a stored value is of a shape that this device knows.
    pub(crate) fn knows(&self, stored: &[u8]) -> bool {
        value::open(stored).is_ok_and(|opened| opened.header.schema <= self.schema)
    }
}

/// With whom the records of a domain are shared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sharing {
    /// With every device that may have them.
    #[default]
    Free,
    /// Only with devices that both ends have asked to share it with, by its
    /// name.
    OptIn,
    /// With no device.
    Nobody,
}

/// The rules of all domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleSet {
    /// Whether there are any: a store that was never told knows no domain as
    /// unknown.
    is_set: bool,
    rules: BTreeMap<DomainId, Rules>,
    children: BTreeMap<DomainId, Vec<DomainId>>,
    /// The domains that are not shared freely.
    pub(crate) sharing: Arc<BTreeMap<DomainId, Sharing>>,
    guard: Guard,
}

impl RuleSet {
    pub(crate) fn new(rules: BTreeMap<DomainId, Rules>) -> Self {
        let mut children: BTreeMap<DomainId, Vec<DomainId>> = BTreeMap::new();
        for (domain, rules) in &rules {
            if let Some(parent) = rules.parent {
                children.entry(parent).or_default().push(*domain);
            }
        }
        Self { is_set: true, rules, children, sharing: Arc::default(), guard: Guard::default() }
    }

    /// The same rules, shared like this.
    pub(crate) fn shared(self, sharing: Arc<BTreeMap<DomainId, Sharing>>) -> Self {
        Self { sharing, ..self }
    }

    pub(crate) fn get(&self, domain: DomainId) -> Option<&Rules> {
        self.rules.get(&domain)
    }

    /// Whether no declaration of `domain` is known here.
    pub(crate) fn is_unknown(&self, domain: DomainId) -> bool {
        self.is_set && !self.rules.contains_key(&domain)
    }

    /// The number of the domain's rules; 0 without any.
    pub(crate) fn revision(&self, domain: DomainId) -> u64 {
        self.get(domain).map_or(0, |rules| rules.revision.max(1))
    }

    /// The domains with rules.
    pub(crate) fn domains(&self) -> impl Iterator<Item = DomainId> {
        self.rules.keys().copied()
    }

    /// The same with another guard for domains that do not say.
    pub(crate) fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// The guard of domains that do not say.
    pub(crate) fn default_guard(&self) -> Guard {
        self.guard
    }

    /// How many changes of `domain` at once are held.
    pub(crate) fn guard(&self, domain: DomainId) -> Guard {
        self.get(domain)
            .map(|rules| rules.guard)
            .filter(|guard| *guard != Guard::default())
            .unwrap_or(self.guard)
    }

    /// How many parents stand above `domain`. Declarations have no cycles; what
    /// comes of one is cut off.
    pub(crate) fn depth(&self, domain: DomainId) -> usize {
        let parents = std::iter::successors(self.parent(domain), |parent| self.parent(*parent));
        parents.take(self.rules.len()).count()
    }

    /// The domain whose records those of `domain` belong to.
    pub(crate) fn parent(&self, domain: DomainId) -> Option<DomainId> {
        self.get(domain)?.parent
    }

    /// With whom the records of `domain` are shared.
    pub(crate) fn sharing(&self, domain: DomainId) -> Sharing {
        self.sharing.get(&domain).copied().unwrap_or_default()
    }

    /// The domains that are not shared freely.
    pub(crate) fn not_free(&self) -> impl Iterator<Item = DomainId> {
        let apart = self.sharing.iter().filter(|(_, sharing)| **sharing != Sharing::Free);
        apart.map(|(domain, _)| *domain)
    }

    /// The domains whose records belong to those of `domain`.
    pub(crate) fn children(&self, domain: DomainId) -> &[DomainId] {
        self.children.get(&domain).map_or(&[], Vec::as_slice)
    }

    /// Whether records of `domain` are parents or children.
    pub(crate) fn has_family(&self, domain: DomainId) -> bool {
        self.parent(domain).is_some() || !self.children(domain).is_empty()
    }
}
