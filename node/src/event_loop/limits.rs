//! What two devices do not share, as their sessions have shown, and what
//! follows when that changes.

use std::collections::BTreeMap;

use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::session::{DomainOutcome, Outcome};

use super::EventLoop;
use crate::domains::Domains;
use crate::events::Event;
use crate::request::{LimitedBy, LimitedDomain, Warning, Withheld, sentences};

/// What each device was last known not to share.
pub(super) type Limits = BTreeMap<DeviceId, Vec<LimitedDomain>>;

/// What two devices do not share, by what they have told each other.
pub(super) fn limited(outcome: &Outcome, domains: &Domains) -> Vec<LimitedDomain> {
    let mut limited: Vec<_> = outcome.domains.iter().flat_map(|domain| of_domain(domain, domains)).collect();
    limited.sort_by(|a, b| (a.by, a.not, &a.why, &a.domain).cmp(&(b.by, b.not, &b.why, &b.domain)));
    limited
}

/// Whether a domain is not shared with anybody, or neither side was asked to
/// share it: nobody has to hear of that.
pub(super) fn is_apart(domain: &DomainOutcome) -> bool {
    let withheld = |grants: Grants, why: Why| grants.is_none() && grants.why == why;
    let (ours, theirs) = (domain.ours, domain.theirs);
    withheld(ours, Why::OptIn) && withheld(theirs, Why::OptIn)
        || withheld(ours, Why::Scope)
        || withheld(theirs, Why::Scope)
}

fn of_domain(domain: &DomainOutcome, domains: &Domains) -> Vec<LimitedDomain> {
    if is_apart(domain) {
        return Vec::new();
    }
    let by = |by: LimitedBy, grants: Grants| {
        let not = match (grants.read, grants.write) {
            (true, true) => return None,
            (true, false) => Withheld::Take,
            (false, true) => Withheld::Give,
            (false, false) => Withheld::Share,
        };
        let (domain, why) = (domains.shown(domain.domain), grants.why.to_string());
        Some(LimitedDomain { domain, by, not, why })
    };
    [by(LimitedBy::Own, domain.ours), by(LimitedBy::Peer, domain.theirs)].into_iter().flatten().collect()
}

impl EventLoop {
    /// Takes note of what a session has shown: nothing is pushed where nothing
    /// may be sent, and a person hears of what the other device withholds.
    pub(super) fn note_limits(&mut self, device: DeviceId, outcome: &Outcome) {
        let shut = outcome.domains.iter().filter(|domain| domain.complete && !domain.may_send());
        let shut: Vec<DomainId> = shut.map(|domain| domain.domain).collect();
        self.state.handle_shut(device, &shut);
        let limited = limited(outcome, &self.control.domains());
        let by_peer = |limited: &[LimitedDomain]| -> Vec<LimitedDomain> {
            limited.iter().filter(|one| one.by == LimitedBy::Peer).cloned().collect()
        };
        let before = self.passing.limits.get(&device).map(Vec::as_slice).unwrap_or_default();
        let (was, is) = (by_peer(before), by_peer(&limited));
        self.passing.limits.insert(device, limited);
        if was != is {
            let peer = self.control.peer_name(device);
            self.control.events().publish(Event::Policy {
                peer,
                by: LimitedBy::Peer,
                rights: None,
                limited: is,
            });
        }
    }

    /// What a person should know that others do not share with this device.
    pub(super) fn limit_warnings(&self) -> impl Iterator<Item = Warning> {
        self.passing.limits.iter().flat_map(|(device, limited)| {
            let limited: Vec<_> = limited.iter().filter(|one| one.by == LimitedBy::Peer).cloned().collect();
            let name = self.control.peer_name(*device).name;
            let texts = sentences(&limited, &name);
            texts.into_iter().map(move |text| {
                // A name is written as its owner writes it.
                let text = if text.starts_with(&name) { text } else { capitalised(&text) };
                // What ends with a command is copied from there.
                let text = if text.contains(":  kinsync ") { text } else { text + "." };
                Warning { code: "limited".to_owned(), text }
            })
        })
    }

    /// A person has said what a device may do: what is under way with it was
    /// begun under other rights.
    pub(super) fn on_rights_changed(&mut self, device: DeviceId) {
        self.sessions.forget(device);
        let now = self.now();
        self.state.handle_rights_changed(device, now);
    }
}

/// The text with a capital letter.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars).collect()
}
