//! What another device may do here, and what two devices do not share.

use std::collections::BTreeSet;

use kinsync_protocol::rights::Rights;
use serde::{Deserialize, Serialize};

use super::{PeerRow, Request};
use crate::{control::Control, failure::Failure};

/// What a person lets another device do, as it is typed. Nothing set stands
/// for everything but the domains that have to be asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Allowed {
    /// The only domains that are shared with it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// It may have the records of this device, and nothing is taken from it.
    #[serde(default)]
    pub read_only: bool,
    /// What it sends is taken in, and it gets nothing.
    #[serde(default)]
    pub send_only: bool,
    /// Its deletions are undone.
    #[serde(default)]
    pub no_delete: bool,
    /// Domains that have to be asked for, such as `secrets`. They are shared
    /// once the other device asks for them as well.
    #[serde(default)]
    pub also: Vec<String>,
}

impl Allowed {
    /// The same for the store.
    pub fn rights(&self) -> Rights {
        let list = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        Rights {
            domains: self.domains.as_deref().map(list),
            read: !self.send_only,
            write: !self.read_only,
            delete: !self.read_only && !self.no_delete,
            also: list(&self.also),
        }
    }
}

/// What a device may do, in words for programs: `read`, `write`, `delete`,
/// `only:chats,messages`, `also:secrets`.
pub fn words(rights: &Rights) -> Vec<String> {
    let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let granted = [(rights.read, "read"), (rights.write, "write"), (rights.write && rights.delete, "delete")];
    let mut words: Vec<_> =
        granted.iter().filter(|(granted, _)| *granted).map(|(_, word)| (*word).to_owned()).collect();
    words.extend(rights.domains.as_ref().map(|domains| format!("only:{}", list(domains))));
    words.extend(
        Some(&rights.also).filter(|also| !also.is_empty()).map(|also| format!("also:{}", list(also))),
    );
    words
}

/// Says what a peer may do here from now on, instead of what it could do
/// before. Takes effect at once, also while the two are connected.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerAllow {
    /// Which peer.
    pub peer: String,
    /// What it may do.
    #[serde(flatten)]
    pub allowed: Allowed,
}

impl Request for PeerAllow {
    const PATH: &'static str = "/v1/peers/allow";
    type Answer = PeerRow;

    async fn run(self, control: &Control) -> Result<PeerRow, Failure> {
        control.allow_peer(&self.peer, &self.allowed).await
    }
}

/// Records of a domain that do not travel between two devices, one way.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct LimitedDomain {
    /// The domain's name, or its id if this device does not know the name.
    pub domain: String,
    /// Which device limits it.
    pub by: LimitedBy,
    /// What that device does not do.
    pub not: Withheld,
    /// Why: `rights`, `held`, `opt-in`, `scope`.
    pub why: String,
}

/// Which of two devices limits what they share.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// This one.
    Own,
    /// The other one.
    Peer,
}

/// What a device does not do with the records of a domain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Withheld {
    /// It does not give them away.
    Give,
    /// It neither gives them nor takes changes of them.
    Share,
    /// It does not take changes of them.
    Take,
}

/// A sentence for people about each thing that one device withholds, for all
/// domains together. `peer` is the name of the other one.
pub fn sentences(limited: &[LimitedDomain], peer: &str) -> Vec<String> {
    let mut groups: Vec<(&LimitedDomain, Vec<&str>)> = Vec::new();
    for one in limited {
        let same = |other: &LimitedDomain| (other.by, other.not, &other.why) == (one.by, one.not, &one.why);
        match groups.iter_mut().find(|(other, _)| same(other)) {
            Some((_, names)) => names.push(&one.domain),
            None => groups.push((one, vec![&one.domain])),
        }
    }
    groups.into_iter().map(|(one, names)| sentence(one, &names, peer)).collect()
}

fn sentence(one: &LimitedDomain, domains: &[&str], peer: &str) -> String {
    let names = &listed(domains);
    let (who, other) = match one.by {
        LimitedBy::Own => ("this device", peer),
        LimitedBy::Peer => (peer, "this device"),
    };
    match (one.why.as_str(), one.not) {
        ("held", _) => {
            format!("changes of {names} from {other} are held on {who} until somebody accepts them")
        }
        ("opt-in", _) => {
            let (there, name) = match one.by {
                LimitedBy::Own => (String::new(), quoted(peer)),
                LimitedBy::Peer => (format!(" on {peer}"), "NAME".to_owned()),
            };
            let also = domains.join(",");
            format!(
                "{who} was not asked to share {names} with {other}; \
                 to share{there}:  kinsync peers allow {name} --also {also}"
            )
        }
        (_, Withheld::Give) => format!("{who} does not give {names} to {other}"),
        (_, Withheld::Share) => format!("{who} does not share {names} with {other}"),
        (_, Withheld::Take) => format!("{who} does not take changes of {names} from {other}"),
    }
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    if is_plain { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

/// `a, b and 3 more`
fn listed(names: &[&str]) -> String {
    /// More than this are counted.
    const NAMED_MAX: usize = 4;
    match names {
        [one] => (*one).to_owned(),
        names if names.len() <= NAMED_MAX => match names.split_last() {
            Some((last, first)) => format!("{} and {last}", first.join(", ")),
            None => String::new(),
        },
        names => {
            let named: Vec<_> = names.iter().take(NAMED_MAX - 1).copied().collect();
            format!("{} and {} more", named.join(", "), names.len() - named.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(domain: &str, by: LimitedBy, not: Withheld, why: &str) -> LimitedDomain {
        LimitedDomain { domain: domain.to_owned(), by, not, why: why.to_owned() }
    }

    /// D16: what is shared only where both ask names the way to ask.
    #[test]
    fn what_nobody_asked_for_names_the_next_step() {
        let secrets = |by| [one("secrets", by, Withheld::Share, "opt-in")];
        assert_eq!(
            sentences(&secrets(LimitedBy::Own), "Ada's tablet"),
            ["this device was not asked to share secrets with Ada's tablet; \
              to share:  kinsync peers allow 'Ada'\\''s tablet' --also secrets"]
        );
        assert_eq!(
            sentences(&secrets(LimitedBy::Peer), "laptop"),
            ["laptop was not asked to share secrets with this device; \
              to share on laptop:  kinsync peers allow NAME --also secrets"]
        );
    }

    /// D16: both sides are told, in a sentence each.
    #[test]
    fn what_is_withheld_is_said_in_one_sentence_for_all_domains() {
        let messages = one("messages", LimitedBy::Peer, Withheld::Take, "rights");
        assert_eq!(
            sentences(std::slice::from_ref(&messages), "desktop"),
            ["desktop does not take changes of messages from this device"]
        );
        let many = ["a", "b", "c", "d", "e"].map(|name| one(name, LimitedBy::Own, Withheld::Share, "rights"));
        let held = one("chats", LimitedBy::Own, Withheld::Take, "held");
        let all = [&many[..], &[messages, held]].concat();
        assert_eq!(
            sentences(&all, "desktop"),
            [
                "this device does not share a, b, c and 2 more with desktop",
                "desktop does not take changes of messages from this device",
                "changes of chats from desktop are held on this device until somebody accepts them",
            ]
        );
    }

    #[test]
    fn what_is_typed_is_what_is_stored() {
        let allowed = Allowed { read_only: true, also: vec!["secrets".to_owned()], ..Allowed::default() };
        let rights = allowed.rights();
        assert_eq!(words(&rights), ["read", "also:secrets"]);
        assert_eq!(Allowed::default().rights(), Rights::ALL);
        let allowed = Allowed { domains: Some(vec!["b".to_owned(), "a".to_owned()]), ..Allowed::default() };
        assert_eq!(words(&allowed.rights()), ["read", "write", "delete", "only:a,b"]);
    }
}
