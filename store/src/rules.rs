//! What the store has to know of domains: the node reads their declarations
//! and hands it over.

use std::collections::BTreeMap;

use kinsync_protocol::id::DomainId;

/// What the store has to know of one domain.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Rules {
    /// The domain whose records this one's belong to. A child's key is the
    /// parent's key, a slash, and more without a slash.
    pub parent: Option<DomainId>,
}

/// The rules of all domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleSet {
    rules: BTreeMap<DomainId, Rules>,
    children: BTreeMap<DomainId, Vec<DomainId>>,
}

impl RuleSet {
    pub(crate) fn new(rules: BTreeMap<DomainId, Rules>) -> Self {
        let mut children: BTreeMap<DomainId, Vec<DomainId>> = BTreeMap::new();
        for (domain, rules) in &rules {
            if let Some(parent) = rules.parent {
                children.entry(parent).or_default().push(*domain);
            }
        }
        Self { rules, children }
    }

    /// The domain whose records those of `domain` belong to.
    pub(crate) fn parent(&self, domain: DomainId) -> Option<DomainId> {
        self.rules.get(&domain)?.parent
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
