//! `kinsync watch [DOMAIN]`: changes of records as they happen, or from a
//! place in the past on.

use kinsync::Kind;
use kinsync::clock::Moment;
use kinsync::events::{Event, RecordChange};
use kinsync::request::List;
use serde::Serialize;

use super::{Run, changes};
use crate::args::{Changes, Watch};
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, clean, plural};
use crate::reach::Class;

/// Prints a line per change until interrupted.
#[expect(clippy::wildcard_enum_match_arm, reason = "what concerns other things passes by")]
pub(crate) async fn run(run: &Run, args: Watch) -> Result<()> {
    if let (Some(domain), Some(_)) = (&args.domain, &args.since) {
        let ask = Changes { domain: domain.clone(), since: args.since, follow: true };
        return changes::run(run, ask).await;
    }
    let node = run.reach(Class::Running).await?;
    let mut events = node.events().await?;
    if let Some(domain) = &args.domain {
        // A name that no domain has would wait for ever.
        node.ask(List { domain: domain.clone(), limit: Some(1), ..List::default() }).await?;
    }
    let is_wanted = |domain: &str| args.domain.as_deref().is_none_or(|wanted| wanted == domain);
    loop {
        let event = tokio::select! {
            biased;
            () = super::interrupted() => return Ok(()),
            event = events.next() => event?,
        };
        match event {
            Event::Put(change) if is_wanted(&change.domain) => run.out.row(&Line::of("put", change))?,
            Event::Del(change) if is_wanted(&change.domain) => run.out.row(&Line::of("del", change))?,
            Event::RecordsApplied { domain, from, records } if is_wanted(&domain) => {
                run.out.row(&Line::Applied { ev: "applied", domain, from, records })?;
            }
            Event::Resync => run.out.row(&Line::Resync { ev: "resync" })?,
            Event::Stopping => return Err(Failure::new(Kind::NotRunning, "The node has stopped.")),
            _ => {}
        }
    }
}

/// One change. In JSON `ev` says which kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Record { ev: &'static str, domain: String, id: String, from: Option<String>, at: Moment, v: String },
    Applied { ev: &'static str, domain: String, from: Option<String>, records: u64 },
    Resync { ev: &'static str },
}

impl Line {
    fn of(ev: &'static str, change: RecordChange) -> Self {
        let RecordChange { domain, id, from, at, v } = change;
        Self::Record { ev, domain, id, from, at, v }
    }
}

/// The line of one change.
pub(super) fn record(ev: &str, domain: &str, id: &str, from: Option<&str>, at: Moment) -> String {
    let from = from.map_or(String::new(), |name| format!("  from {}", clean(name)));
    format!("{}  {ev}  {}/{}{from}\n", super::second(at), clean(domain), clean(id))
}

impl Text for Line {
    fn text(&self, _: Page) -> String {
        match self {
            Self::Record { ev, domain, id, from, at, .. } => record(ev, domain, id, from.as_deref(), *at),
            Self::Applied { domain, from, records, .. } => {
                let from = from.as_deref().map_or(String::new(), |name| format!(" from {}", clean(name)));
                format!("{}  {}{from}\n", clean(domain), plural(*records, "record"))
            }
            Self::Resync { .. } => "Some changes went by too fast to be shown.\n".to_owned(),
        }
    }
}
