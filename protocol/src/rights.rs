//! What a person lets one other device do here, beyond trusting it.
//!
//! Kept by the device that grants it and never sent as such: the other device
//! hears what follows from it in each session, as [`Grants`].

use std::collections::BTreeSet;

use crate::cbor::{self, DecodeError, int_map};
use crate::declaration::DECLARATIONS;
use crate::grants::{Grants, Why};
use crate::id::DomainId;

/// The largest row that is read back: as many domains as can be named, and
/// then some.
const RIGHTS_BYTES_MAX: usize = 128 << 10;

/// Domains that can be named in one list of a device's rights: more than
/// anybody types.
pub const RIGHTS_DOMAINS_MAX: usize = 256;

/// What one other device may do here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rights {
    /// The only domains it shares, by name; `None` stands for all. How domains
    /// are declared it always shares: records are of no use without.
    pub domains: Option<BTreeSet<String>>,
    /// It may have the records of this device.
    pub read: bool,
    /// What it writes and passes on is taken in here.
    pub write: bool,
    /// Its deletions stand here; without, they are undone.
    pub delete: bool,
    /// Domains that are shared only if both ends ask for them by name, and
    /// that this end has asked for.
    pub also: BTreeSet<String>,
}

struct Wire {
    read: bool,
    write: bool,
    delete: bool,
    domains: Option<Vec<String>>,
    also: Option<Vec<String>>,
}
int_map!(Wire { 1: read, 2: write, 3: delete } optional { 4: domains, 5: also });

impl Rights {
    /// Everything but the domains that have to be asked for.
    pub const ALL: Self =
        Self { domains: None, read: true, write: true, delete: true, also: BTreeSet::new() };

    /// What follows from this for a domain. One with `opt_in` has to be named
    /// in [`Rights::also`].
    pub fn grants(&self, domain: DomainId, opt_in: bool) -> Grants {
        let names = |names: &BTreeSet<String>| names.iter().any(|name| DomainId::of(name) == domain);
        let asked = names(&self.also);
        if opt_in && !asked {
            Grants::none(Why::OptIn)
        } else if !asked
            && domain != DomainId::of(DECLARATIONS)
            && self.domains.as_ref().is_some_and(|domains| !names(domains))
        {
            Grants::none(Why::Rights)
        } else {
            self.within()
        }
    }

    /// What follows for every domain that nothing names.
    pub fn others(&self) -> Grants {
        if self.domains.is_some() { Grants::none(Why::Rights) } else { self.within() }
    }

    /// Every domain of which more is said than of others.
    pub fn named(&self) -> BTreeSet<DomainId> {
        let named = self.domains.iter().flatten().chain(&self.also).map(|name| DomainId::of(name));
        let declarations = self.domains.iter().map(|_| DomainId::of(DECLARATIONS));
        named.chain(declarations).collect()
    }

    fn within(&self) -> Grants {
        let Self { read, write, delete, .. } = *self;
        Grants { read, write, delete: write && delete, why: Why::Rights }
    }

    /// The rights as bytes, for the store.
    pub fn encode(&self) -> Vec<u8> {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        cbor::encode(&Wire {
            read: self.read,
            write: self.write,
            delete: self.delete,
            domains: self.domains.as_ref().map(list),
            also: Some(list(&self.also)).filter(|also| !also.is_empty()),
        })
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    ///
    /// The bytes are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = cbor::decode(bytes, RIGHTS_BYTES_MAX)?;
        Ok(Self {
            domains: wire.domains.map(|names| names.into_iter().collect()),
            read: wire.read,
            write: wire.write,
            delete: wire.delete,
            also: wire.also.unwrap_or_default().into_iter().collect(),
        })
    }
}

impl Default for Rights {
    fn default() -> Self {
        Self::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// F20: domains that have to be asked for are shared by their name alone.
    #[test]
    fn a_domain_that_has_to_be_asked_for_is_granted_by_name_only() {
        let secrets = DomainId::of("secrets");
        assert_eq!(Rights::ALL.grants(secrets, true), Grants::none(Why::OptIn));
        assert_eq!(Rights::ALL.grants(secrets, false), Grants::ALL);
        let listed = Rights { domains: Some(names(&["secrets"])), ..Rights::ALL };
        assert_eq!(listed.grants(secrets, true), Grants::none(Why::OptIn));
        let asked = Rights { also: names(&["secrets"]), ..listed };
        assert_eq!(asked.grants(secrets, true), Grants::ALL);
        assert_eq!(asked.grants(DomainId::of("messages"), false), Grants::none(Why::Rights));
    }

    /// D16 F11: a device that shares some domains hears how they are declared,
    /// and has no say in that if it has none in their records.
    #[test]
    fn declarations_go_with_any_domain() {
        let declarations = DomainId::of(DECLARATIONS);
        let some = Rights { domains: Some(names(&["notes"])), ..Rights::ALL };
        assert_eq!(some.grants(declarations, false), Grants::ALL);
        assert!(some.named().contains(&declarations) && !Rights::ALL.named().contains(&declarations));
        let reads = Rights { write: false, ..some };
        assert!(reads.grants(declarations, false).read && !reads.grants(declarations, false).write);
    }

    #[test]
    fn who_may_not_write_may_not_delete() {
        let reads = Rights { write: false, ..Rights::ALL };
        assert!(!reads.others().delete);
        assert!(reads.others().read);
    }

    #[test]
    fn rights_read_back_as_they_were_written() {
        let domains: BTreeSet<_> = (0..RIGHTS_DOMAINS_MAX).map(|n| format!("{n:0128}")).collect();
        let also = domains.clone();
        for rights in [
            Rights::ALL,
            Rights { domains: Some(BTreeSet::new()), delete: false, ..Rights::ALL },
            Rights { domains: Some(domains), read: false, also, ..Rights::ALL },
        ] {
            assert_eq!(Rights::decode(&rights.encode()).unwrap(), rights);
        }
    }
}
