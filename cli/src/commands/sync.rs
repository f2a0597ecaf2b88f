//! `kinsync sync [P]`: one pass now, and how it went.

use kinsync::Kind;
use kinsync::events::Event;
use kinsync::request::{LimitedDomain, SyncNow, SyncOutcome, SyncRow, SyncRows, sentences};

use super::Run;
use crate::args::Sync;
use crate::failure::{Failure, Result};
use crate::output::{Align, Output, Page, Text, WIDTH, clean, count, table, wrap};
use crate::progress;
use crate::reach::{Class, Node};

/// Syncs, waits for the end and tells it.
pub(crate) async fn run(run: &Run, args: Sync) -> Result<()> {
    let node = run.reach(Class::Bounded).await?;
    let ask = SyncNow { peer: args.peer, wait: !args.no_wait, full: args.full, dry_run: args.dry_run };
    let rows = watched(run.out, &node, ask).await?;
    run.out.result(&rows)?;
    node.close().await?;
    verdict(&rows)
}

/// Asks, and shows how far it is meanwhile.
async fn watched(out: Output, node: &Node, ask: SyncNow) -> Result<SyncRows> {
    let bar = progress::bar(out);
    if bar.is_hidden() {
        return node.ask(ask).await;
    }
    let mut events = node.events().await?;
    let answer = node.ask(ask);
    tokio::pin!(answer);
    let rows = loop {
        tokio::select! {
            biased;
            rows = &mut answer => break rows,
            event = events.next() => if let Event::SessionProgress { peer, done, total } = event? {
                progress::set(&bar, done, total, clean(&peer.name));
            },
        }
    };
    bar.finish_and_clear();
    rows
}

/// The exit code: the first failure's; else whether anybody was reached.
fn verdict(rows: &SyncRows) -> Result<()> {
    if let Some(failure) = rows.peers.iter().find_map(|row| row.failure.clone()) {
        return Err(failure.into());
    }
    let reached = |row: &SyncRow| row.outcome != SyncOutcome::Offline;
    if rows.peers.is_empty() {
        Err(Failure::new(Kind::NotPaired, "No other device is paired with this one.")
            .hint("Pair one:  kinsync pair"))
    } else if !rows.peers.iter().any(reached) {
        Err(Failure::new(Kind::Unreachable, "No paired device was reached.")
            .hint("Is it on, and on this network?  kinsync doctor"))
    } else {
        Ok(())
    }
}

impl Text for SyncRows {
    fn text(&self, _: Page) -> String {
        let rows: Vec<Vec<String>> = self.peers.iter().map(line).collect();
        // What is held is told as the outcome.
        let others = |row: &SyncRow| -> Vec<LimitedDomain> {
            let is_told = row.outcome == SyncOutcome::Held;
            row.limited.iter().filter(|one| !(is_told && one.why == "held")).cloned().collect()
        };
        let limits = self.peers.iter().flat_map(|row| limits(&others(row), &row.name));
        table(&rows, &[Align::Left; 5], 0) + &limits.collect::<String>()
    }
}

/// A line for each thing that two devices do not share.
pub(super) fn limits(limited: &[LimitedDomain], peer: &str) -> Vec<String> {
    let sentences = sentences(limited, peer);
    sentences.iter().map(|sentence| wrap(&format!("limited: {}", clean(sentence)), WIDTH) + "\n").collect()
}

fn line(row: &SyncRow) -> Vec<String> {
    let mut cells = vec![clean(&row.name)];
    match row.outcome {
        SyncOutcome::Equal | SyncOutcome::Would => {
            cells.push(format!("pull {}", count(row.pull)));
            cells.push(format!("push {}", count(row.push)));
            cells.push(format!("blobs {}", count(row.blobs)));
            let is_done = row.outcome == SyncOutcome::Equal;
            cells.push(if is_done { seconds(row.duration_ms) } else { "not done".to_owned() });
        }
        SyncOutcome::Failed => cells.push("failed".to_owned()),
        SyncOutcome::Held => cells.push("held".to_owned()),
        SyncOutcome::Offline => cells.push("offline".to_owned()),
        SyncOutcome::Started => cells.push("started".to_owned()),
    }
    cells
}

/// `0.2 s`
fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;
    use kinsync::request::{LimitedBy, Withheld};

    use super::*;

    fn row(name: &str, outcome: SyncOutcome, failure: Option<kinsync::Failure>) -> SyncRow {
        let name = name.to_owned();
        SyncRow {
            id: String::new(),
            name,
            outcome,
            pull: 0,
            push: 1_200,
            blobs: 0,
            duration_ms: 240,
            limited: Vec::new(),
            failure,
        }
    }

    fn code(rows: Vec<SyncRow>) -> String {
        let verdict = verdict(&SyncRows { v: 1, peers: rows });
        verdict.map_or_else(|failure| failure.code().to_owned(), |()| "done".to_owned())
    }

    /// P17: the exit code tells the result.
    #[test]
    fn the_verdict_is_the_worst_that_needs_doing() {
        let equal = || row("laptop", SyncOutcome::Equal, None);
        let away = || row("phone", SyncOutcome::Offline, None);
        let revoked = kinsync::Failure::new(Kind::Revoked, "This device was removed.");
        assert_eq!(code(vec![equal(), away()]), "done");
        assert_eq!(code(vec![away()]), "unreachable");
        assert_eq!(code(vec![]), "not-paired");
        assert_eq!(code(vec![equal(), row("tablet", SyncOutcome::Failed, Some(revoked))]), "revoked");
    }

    /// D10: what is held is said once, and is no failure.
    #[test]
    fn what_is_held_is_said_once() {
        let one = |why: &str| LimitedDomain {
            domain: "settings".to_owned(),
            by: LimitedBy::Own,
            not: Withheld::Take,
            why: why.to_owned(),
        };
        let held = kinsync::Failure::new(kinsync::Kind::Held, "They wait.");
        let row = SyncRow {
            limited: vec![one("held"), one("rights")],
            ..row("laptop", SyncOutcome::Held, Some(held))
        };
        assert_eq!(code(vec![row.clone()]), "held");
        assert_snapshot!(SyncRows { v: 1, peers: vec![row] }.text(Page::at(Moment(0))), @r"
        laptop  held
        limited: this device does not take changes of settings from laptop
        ");
    }

    #[test]
    fn each_device_has_a_line() {
        let rows = vec![
            row("laptop", SyncOutcome::Equal, None),
            row("phone", SyncOutcome::Offline, None),
            row("tablet", SyncOutcome::Would, None),
        ];
        assert_snapshot!(SyncRows { v: 1, peers: rows }.text(Page::at(Moment(0))), @r"
        laptop  pull 0   push 1 200  blobs 0  0.2 s
        phone   offline
        tablet  pull 0   push 1 200  blobs 0  not done
        ");
    }
}
