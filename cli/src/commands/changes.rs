//! `kinsync changes DOMAIN`: what changed since a place, and where to go on.

use kinsync::clock::Moment;
use kinsync::request::{CHANGES_WAIT_MAX, ChangeRow, Changes as Ask};
use serde::Serialize;

use super::Run;
use crate::args::Changes;
use crate::failure::Result;
use crate::output::{Page, Text};
use crate::reach::Class;

/// Prints a line per change, page by page, and with `--follow` those to come.
pub(crate) async fn run(run: &Run, args: Changes) -> Result<()> {
    let Changes { domain, since, follow } = args;
    let node = run.reach(if follow { Class::Running } else { Class::Local }).await?;
    let ask = |since, wait_ms| Ask { domain: domain.clone(), since, wait_ms, ..Ask::default() };
    let patience = u64::try_from(CHANGES_WAIT_MAX.as_millis()).expect("half a minute");
    let mut page = node.ask(ask(since, 0)).await?;
    let mut is_told = false;
    loop {
        if page.resync {
            run.out.row(&Line::Resync { ev: "resync" })?;
        }
        for row in page.rows {
            run.out.row(&Line::of(&domain, row))?;
        }
        let token = page.next;
        if !page.more && !is_told {
            is_told = true;
            run.out.row(&Line::CaughtUp { ev: "caught-up", token: token.clone() })?;
        }
        if is_told && !follow {
            return node.close().await;
        }
        let later = format!("Go on from there:  kinsync changes {domain} --since {token} --follow");
        page = tokio::select! {
            biased;
            () = super::interrupted() => return Ok(()),
            page = node.ask(ask(Some(token), if is_told { patience } else { 0 })) => {
                page.map_err(|failure| failure.hint(later))?
            }
        };
    }
}

/// What is printed. In JSON `ev` says which kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    CaughtUp {
        ev: &'static str,
        token: String,
    },
    Record {
        ev: &'static str,
        domain: String,
        id: String,
        from: Option<String>,
        at: Moment,
        v: String,
        token: String,
    },
    Resync {
        ev: &'static str,
    },
}

impl Line {
    fn of(domain: &str, row: ChangeRow) -> Self {
        let ChangeRow { id, deleted, from, at, v, token } = row;
        let ev = if deleted { "del" } else { "put" };
        Self::Record { ev, domain: domain.to_owned(), id, from, at, v, token }
    }
}

impl Text for Line {
    fn text(&self, _: Page) -> String {
        match self {
            Self::CaughtUp { token, .. } => format!("Up to date. Go on with:  --since {token}\n"),
            Self::Record { ev, domain, id, from, at, .. } => {
                super::watch::record(ev, domain, id, from.as_deref(), *at)
            }
            Self::Resync { .. } => {
                "This store was restored from a backup. What follows is all there is.\n".to_owned()
            }
        }
    }
}
