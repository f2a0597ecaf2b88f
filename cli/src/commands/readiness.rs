//! `kinsync domains readiness` and `choose`: what records need beside them,
//! and what becomes of what is missing.

use kinsync::request::{Choice, Choose, Met, Needed, Readiness, ReadinessGet, Ready};
use kinsync_protocol::declaration::{Need, Without};
use serde::Serialize;

use super::Run;
use crate::args;
use crate::failure::Result;
use crate::output::{Align, Page, Text, WIDTH, clean, table, wrap};
use crate::reach::Class;

/// Shows what is needed and what of it is missing.
pub(crate) async fn show(run: &Run, domain: Option<String>) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(ReadinessGet { domain }).await?)?;
    node.close().await
}

/// Notes what somebody decided, and shows what follows.
pub(crate) async fn choose(run: &Run, domain: String, id: String, choice: args::Choice) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let choice = match choice {
        args::Choice::Later => Choice::Later,
        args::Choice::Provide => Choice::Provide,
        args::Choice::Without => Choice::Without,
    };
    node.ask(Choose { domain: domain.clone(), id: id.clone(), choice }).await?;
    let state = node.ask(ReadinessGet::default()).await?.state;
    run.out.result(&Chosen { domain, id, choice, state })?;
    node.close().await
}

impl Text for Readiness {
    fn text(&self, page: Page) -> String {
        if self.needs.is_empty() {
            return "These records need nothing beside them.\n".to_owned();
        }
        let heads = ["DOMAIN", "NEEDS", "NEED", "WITHOUT", "HERE", "CHOICE"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.needs.iter().map(cells));
        let mut text = table(&rows, &[Align::Left; 6], 0);
        let open = self.needs.iter().find(|needed| needed.state == Met::Missing && is_open(needed.choice));
        text += &match self.state {
            Ready::Blocked => page.red("Blocked: what must be there is missing.\n"),
            Ready::Ready => page.green("Ready: nothing is missing.\n"),
            Ready::ReadyWithout => page.yellow("Ready without what is missing.\n"),
            Ready::Unknown => "Unknown: no application has said what it has.\n".to_owned(),
        };
        if let Some(Needed { domain, id, .. }) = open {
            let line = format!(
                "Decide:  kinsync domains choose {} {} provide   or   without   or   later",
                clean(domain),
                clean(id)
            );
            text += &(wrap(&line, WIDTH) + "\n");
        }
        text
    }
}

/// Whether somebody still has to decide.
fn is_open(choice: Option<Choice>) -> bool {
    matches!(choice, None | Some(Choice::Later))
}

fn cells(needed: &Needed) -> Vec<String> {
    let need = match needed.need {
        Need::Must => "must",
        Need::Should => "should",
        _ => "?",
    };
    let without = match needed.without {
        Without::Disable => "disable",
        Without::Ignore => "ignore",
        _ => "?",
    };
    let here = match (&needed.state, &needed.by) {
        (Met::Missing, _) => "missing".to_owned(),
        (Met::Unknown, _) => "unknown".to_owned(),
        (Met::Met, Some((app, has))) => {
            let kind = has.strip_prefix(needed.id.as_str()).unwrap_or(has).trim_start_matches('/');
            format!("{kind} in {app}").trim_start().to_owned()
        }
        (Met::Met, None) => "yes".to_owned(),
    };
    let choice = needed.choice.map_or("–", word);
    vec![
        clean(&needed.domain),
        clean(&needed.id),
        need.to_owned(),
        without.to_owned(),
        clean(&here),
        choice.to_owned(),
    ]
}

fn word(choice: Choice) -> &'static str {
    match choice {
        Choice::Later => "later",
        Choice::Provide => "provide",
        Choice::Without => "without",
    }
}

/// What was decided.
#[derive(Serialize)]
struct Chosen {
    domain: String,
    id: String,
    choice: Choice,
    state: Ready,
}

impl Text for Chosen {
    fn text(&self, _: Page) -> String {
        let (domain, id) = (clean(&self.domain), clean(&self.id));
        let line = match self.choice {
            Choice::Later => format!("{domain} stays without {id} for now, and you are asked again."),
            Choice::Provide => {
                format!("Set {id} up in the application; {domain} uses it once the application says so.")
            }
            Choice::Without => {
                format!("{domain} goes on without {id}, until what applications have changes.")
            }
        };
        wrap(&line, WIDTH) + "\n"
    }
}
