//! `kinsync verify [P]`: whether other devices hold the same records.

use kinsync::Kind;
use kinsync::request::{Verify as Ask, VerifyAnswer, VerifyPeer};

use super::Run;
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
        table(&rows, &[Align::Left; 2], 0)
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
        .filter(|domain| !domain.equal)
        .map(|domain| match domain.peer_records {
            Some(there) => {
                format!("{} ({} here, {} there)", clean(&domain.name), count(domain.records), count(there),)
            }
            None => clean(&domain.name),
        })
        .collect();
    if differing.is_empty() {
        let records = peer.domains.iter().map(|domain| domain.records).sum();
        let domains = plural(peer.domains.len() as u64, "domain");
        format!("equal  ({domains}, {})", plural(records, "record"))
    } else {
        format!("differs in {}", differing.join(", "))
    }
}
