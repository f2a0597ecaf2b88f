//! Which peer somebody means.

use kinsync_protocol::id::DeviceId;

use crate::{
    failure::{Failure, Kind},
    identity,
};

/// A peer that somebody may mean.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    pub(super) device: DeviceId,
    /// What lists show.
    pub(super) name: String,
    /// Whether it is trusted; the names of those that are not do not stand in
    /// the way.
    pub(super) live: bool,
}

/// The peer that `wanted` means: its name, else a beginning of its name, of
/// its printed id or of its libp2p id that fits no other.
///
/// A whole name goes before beginnings, and trusted peers go before others,
/// so that an old phone does not hide the new one of the same name.
pub(super) fn select(wanted: &str, candidates: &[Candidate]) -> Result<DeviceId, Failure> {
    let wanted = wanted.trim();
    let named: fn(&Candidate, &str) -> bool = |candidate, wanted| same(&candidate.name, wanted);
    for fits in [named, is_whole_id, begins] {
        for live in [true, false] {
            let found: Vec<_> = candidates
                .iter()
                .filter(|candidate| candidate.live == live && fits(candidate, wanted))
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(one.device),
                several => return Err(ambiguous(wanted, several)),
            }
        }
    }
    let names: Vec<_> = candidates
        .iter()
        .filter(|candidate| candidate.live)
        .map(|candidate| candidate.name.as_str())
        .collect();
    let failure = Failure::new(Kind::NotPaired, format!("No device {wanted:?} is paired with this one."));
    Err(match names.as_slice() {
        [] => failure.hint("No device is paired yet. Show a code on one of them:  kinsync pair"),
        names => failure.hint(format!("The paired devices are: {}.", names.join(", "))),
    })
}

fn same(name: &str, wanted: &str) -> bool {
    name.to_lowercase() == wanted.to_lowercase()
}

fn is_whole_id(candidate: &Candidate, wanted: &str) -> bool {
    plain(&candidate.device.to_string()) == plain(wanted) || identity::peer_id(&candidate.device) == wanted
}

fn begins(candidate: &Candidate, wanted: &str) -> bool {
    !wanted.is_empty()
        && (candidate.name.to_lowercase().starts_with(&wanted.to_lowercase())
            || (!plain(wanted).is_empty() && plain(&candidate.device.to_string()).starts_with(&plain(wanted)))
            // Every peer id begins with the same letters, which mean nobody.
            || (wanted.len() > PEER_ID_PREFIX.len()
                && identity::peer_id(&candidate.device).starts_with(wanted)))
}

/// How the printed libp2p id of every Ed25519 key begins.
const PEER_ID_PREFIX: &str = "12D3KooW";

/// A printed id as people type it: dashes and case do not matter.
fn plain(id: &str) -> String {
    id.chars().filter(|c| *c != '-').map(|c| c.to_ascii_uppercase()).collect()
}

fn ambiguous(wanted: &str, several: &[&Candidate]) -> Failure {
    let names: Vec<_> =
        several.iter().map(|found| format!("{} ({})", found.name, found.device.short())).collect();
    Failure::new(Kind::Ambiguous, format!("{wanted:?} could be {}.", names.join(" or ")))
        .hint("Give more of the name, or the id.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: u8, name: &str, live: bool) -> Candidate {
        Candidate { device: DeviceId([key; 32]), name: name.to_owned(), live }
    }

    fn family() -> Vec<Candidate> {
        vec![
            candidate(1, "laptop", true),
            candidate(2, "phone", true),
            candidate(3, "phone", false),
            candidate(4, "Phone of Anna", true),
        ]
    }

    fn chosen(wanted: &str) -> Result<u8, &'static str> {
        select(wanted, &family()).map(|device| device.0[0]).map_err(|failure| failure.code())
    }

    #[test]
    fn a_name_a_beginning_or_an_id_means_a_peer() {
        let id = DeviceId([1; 32]);
        for wanted in [
            "laptop",
            "LAPTOP",
            " lap ",
            &id.to_string(),
            &id.to_string().to_lowercase().replace('-', ""),
            &id.short(),
            &identity::peer_id(&id),
            &identity::peer_id(&id)[..20],
        ] {
            assert_eq!(chosen(wanted), Ok(1), "{wanted}");
        }
    }

    #[test]
    fn a_whole_name_goes_before_beginnings_and_the_trusted_before_the_rest() {
        assert_eq!(chosen("phone"), Ok(2));
        assert_eq!(chosen("phone o"), Ok(4));
        assert_eq!(chosen("phon"), Err("ambiguous"));
        assert_eq!(chosen(&DeviceId([3; 32]).to_string()), Ok(3));
    }

    #[test]
    fn what_fits_nobody_is_answered_with_the_names() {
        for wanted in ["tablet", "", "-", "12D3Koo", "12D3KooW"] {
            assert_eq!(chosen(wanted), Err("not-paired"), "{wanted:?}");
        }
        let failure = select("tablet", &family()).expect_err("nobody");
        assert!(failure.hint.expect("names").contains("laptop, phone, Phone of Anna"));
    }

    #[test]
    fn two_of_one_name_have_to_be_told_apart() {
        let twins = [candidate(1, "phone", true), candidate(2, "phone", true)];
        let failure = select("phone", &twins).expect_err("two");
        assert_eq!(failure.kind, Kind::Ambiguous);
        assert!(failure.message.contains(&DeviceId([2; 32]).short()));
    }
}
