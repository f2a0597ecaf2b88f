//! `kinsync verify [P]`: whether other devices hold the same records.

use kinsync::Kind;
use kinsync::request::{Verify as Ask, VerifyAnswer, VerifyPeer};

use super::Run;
use super::sync::limits;
use crate::args::Verify;
use crate::failure::{Failure, Result};
use crate::output::{Align, Page, Text, clean, count, plural, table};
use crate::reach::Class;

/// Compares and tells; the exit code is that of a difference when there is one.
pub(crate) async fn run(run: &Run, args: Verify) -> Result<()> {
    let node = run.reach(Class::Bounded).await?;
    let answer = node.ask(Ask { peer: args.peer }).await?;
    run.out.result(&answer)?;
    node.close().await?;
    if answer.equal { Ok(()) } else { Err(Failure::silent(Kind::Differs.exit_code())) }
}

impl Text for VerifyAnswer {
    fn text(&self, _: Page) -> String {
        if self.peers.is_empty() {
            return "No other device is paired with this one.\n".to_owned();
        }
        let rows: Vec<Vec<String>> =
            self.peers.iter().map(|peer| vec![clean(&peer.name), finding(peer)]).collect();
        let limits = self.peers.iter().flat_map(|peer| limits(&peer.limited, &peer.name));
        table(&rows, &[Align::Left; 2], 0) + &limits.collect::<String>()
    }
}

fn finding(peer: &VerifyPeer) -> String {
    if let Some(failure) = &peer.failure {
        return format!("not checked: {}", clean(&failure.message));
    }
    if !peer.checked {
        return "offline, not checked".to_owned();
    }
    let differing: Vec<String> = peer
        .domains
        .iter()
        .filter(|domain| !domain.equal && !domain.limited)
        .map(|domain| match domain.peer_records {
            Some(there) => {
                format!("{} ({} here, {} there)", clean(&domain.name), count(domain.records), count(there),)
            }
            None => clean(&domain.name),
        })
        .collect();
    if differing.is_empty() {
        let equal = || peer.domains.iter().filter(|domain| domain.equal);
        let records = equal().map(|domain| domain.records).sum();
        let domains = plural(equal().count() as u64, "domain");
        let limited = match peer.domains.iter().filter(|domain| !domain.equal).count() {
            0 => String::new(),
            limited => format!(", {} limited", plural(limited as u64, "domain")),
        };
        format!("equal  ({domains}, {}){limited}", plural(records, "record"))
    } else {
        format!("differs in {}", differing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;
    use kinsync::request::VerifyDomain;

    use super::*;

    fn peer(name: &str, domains: &[(&str, u64, u64)]) -> VerifyPeer {
        let domain = |&(name, here, there): &(&str, u64, u64)| VerifyDomain {
            name: name.to_owned(),
            equal: here == there,
            limited: false,
            records: here,
            peer_records: Some(there),
        };
        VerifyPeer {
            id: String::new(),
            name: name.to_owned(),
            checked: !domains.is_empty(),
            domains: domains.iter().map(domain).collect(),
            limited: Vec::new(),
            failure: None,
        }
    }

    /// D3: equal is said only of what was compared.
    #[test]
    fn a_difference_names_the_domain_and_both_counts() {
        let answer = VerifyAnswer {
            v: 1,
            equal: false,
            peers: vec![
                peer("laptop", &[("chats", 212, 212), ("messages", 18_940, 18_940)]),
                peer("tablet", &[("chats", 212, 212), ("messages", 18_940, 18_939)]),
                peer("phone", &[]),
            ],
        };
        assert_snapshot!(answer.text(Page::at(Moment(0))), @r"
        laptop  equal  (2 domains, 19 152 records)
        tablet  differs in messages (18 940 here, 18 939 there)
        phone   offline, not checked
        ");
    }
}
