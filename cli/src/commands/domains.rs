//! `kinsync domains`: which kinds of records there are, and how another is
//! declared.

use std::path::Path;

use kinsync::domains::file;
use kinsync::request::{
    DomainAccept, DomainAdd, DomainAdded, DomainChange, DomainDetail, DomainInfo, DomainReject, DomainRemove,
    DomainRows, DomainShow, Domains as Ask, Done,
};
use serde::Serialize;
use serde_json::Value;

use super::{Run, readiness};
use crate::args::{Domains, DomainsAction};
use crate::failure::Result;
use crate::output::{Align, Page, Text, WIDTH, clean, count, plural, table, wrap};
use crate::reach::Class;

/// Does what was typed; lists them if nothing was.
pub(crate) async fn run(run: &Run, args: Domains) -> Result<()> {
    match args.action.unwrap_or(DomainsAction::List) {
        DomainsAction::List => ask(run, Ask {}).await,
        DomainsAction::Show { name } => ask(run, DomainShow { name }).await,
        DomainsAction::Check { file } => add(run, &file, true).await,
        DomainsAction::Add { file, dry_run } => add(run, &file, dry_run).await,
        DomainsAction::Accept { name } => {
            let told =
                Told { v: 1, text: format!("{name} is in force here as the other device declares it.") };
            tell(run, DomainAccept { name }, told).await
        }
        DomainsAction::Reject { name } => {
            let told = Told { v: 1, text: format!("{name} stays here as it is.") };
            tell(run, DomainReject { name }, told).await
        }
        DomainsAction::Readiness { domain } => readiness::show(run, domain).await,
        DomainsAction::Choose { domain, id, choice } => readiness::choose(run, domain, id, choice).await,
        DomainsAction::Remove { name } => {
            let text = format!("{name} is no longer declared. Its records stay.");
            tell(run, DomainRemove { name }, Told { v: 1, text }).await
        }
    }
}

async fn ask<R>(run: &Run, request: R) -> Result<()>
where
    R: kinsync::request::Request,
    R::Answer: Text,
{
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(request).await?)?;
    node.close().await
}

async fn tell<R: kinsync::request::Request<Answer = Done>>(run: &Run, request: R, told: Told) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    node.ask(request).await?;
    run.out.result(&told)?;
    node.close().await
}

async fn add(run: &Run, file: &Path, dry_run: bool) -> Result<()> {
    // First, so that what is misspelt is told without a node.
    let declaration = file::read(file)?;
    ask(run, DomainAdd { declaration, dry_run, yes: run.out.yes() }).await
}

/// One line about what was done.
#[derive(Serialize)]
struct Told {
    v: u32,
    text: String,
}

impl Text for Told {
    fn text(&self, _: Page) -> String {
        format!("{}\n", clean(&self.text))
    }
}

impl Text for DomainRows {
    fn text(&self, _: Page) -> String {
        let heads = ["DOMAIN", "RECORDS", "WAITING", "POLICY", "SCOPE", "FROM"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(|row| {
            let from = row.source.map_or("nobody", |source| source.word());
            let scope = if row.opt_in { "named devices".to_owned() } else { word(row.scope) };
            vec![
                clean(&row.name),
                count(row.records),
                count(row.waiting),
                row.policy.clone(),
                scope,
                from.to_owned(),
            ]
        }));
        let (left, right) = (Align::Left, Align::Right);
        let mut text = table(&rows, &[left, right, right, left, left, left], 0);
        for row in self.rows.iter().filter(|row| !row.asks.is_empty()) {
            text += &line(&format!(
                "! {}: {}. Look at it:  kinsync domains show {}",
                clean(&row.name),
                row.asks.join("; "),
                clean(&row.name)
            ));
        }
        for problem in &self.problems {
            text += &line(&format!("! {}", clean(problem)));
        }
        text
    }
}

impl Text for DomainDetail {
    fn text(&self, _: Page) -> String {
        let DomainInfo { name, source, records, waiting, asks, .. } = &self.info;
        let mut text = format!("{}: {}", clean(name), plural(*records, "record"));
        if *waiting > 0 {
            text += &format!(", {} waiting", count(*waiting));
        }
        text.push('\n');
        match (&self.declaration, source) {
            (Some(declaration), Some(source)) => {
                text += &format!("  declared    {}\n", source.word());
                text += &facts(&serde_json::to_value(declaration).unwrap_or_default());
            }
            _ => {
                text += &line(
                    "  Nobody declared it here. Its records are kept and passed on:  kinsync domains add FILE",
                )
            }
        }
        if !asks.is_empty() {
            let verdict = if self.rejected {
                "You said no to another declaration"
            } else {
                "Another device declares it anew"
            };
            text += &line(&format!("! {verdict}: {}.", asks.join("; ")));
            match &self.waiting_declaration {
                Some(declaration) => text += &facts(&serde_json::to_value(declaration).unwrap_or_default()),
                None => text += "  It would no longer be declared.\n",
            }
            text += &format!(
                "  Answer:  kinsync domains accept {0}   or   kinsync domains reject {0}\n",
                clean(name)
            );
        }
        text
    }
}

/// What a declaration says, a line for each key; the schema below.
fn facts(declaration: &Value) -> String {
    let mut text = String::new();
    let mut fact = |key: &str, value: &str| text += &line(&format!("  {key:<10}  {}", clean(value)));
    let field = |key: &str| declaration.get(key);
    fact("policy", field("policy").and_then(Value::as_str).unwrap_or("lww"));
    fact("scope", field("scope").and_then(Value::as_str).unwrap_or("user"));
    let numbers = (field("reads"), field("schema").and_then(Value::as_u64).unwrap_or(1));
    match numbers {
        (Some(reads), schema) => fact("schema", &format!("{schema}, reads from {reads}")),
        (None, schema) => fact("schema", &format!("{schema}")),
    }
    for (key, value) in declaration.as_object().into_iter().flatten() {
        if ["name", "policy", "reads", "schema", "scope", "value"].contains(&key.as_str()) {
            continue;
        }
        match value.as_str() {
            Some(value) => fact(key, value),
            None => fact(key, &value.to_string()),
        }
    }
    if let Some(schema) = field("value") {
        let schema = serde_json::to_string_pretty(schema).unwrap_or_default();
        text += "  value\n";
        for row in schema.lines() {
            text += &format!("    {}\n", clean(row));
        }
    }
    text
}

impl Text for DomainAdded {
    fn text(&self, _: Page) -> String {
        let name = clean(&self.name);
        let mut text = match (self.change, self.dry_run) {
            (DomainChange::Same, _) => format!("{name} is declared like this already.\n"),
            (DomainChange::New, true) => format!("{name} would be new.\n"),
            (DomainChange::New, false) => format!("{name} is declared, here and on your other devices.\n"),
            (DomainChange::Changed, true) => format!("{name} would change.\n"),
            (DomainChange::Changed, false) => {
                format!("{name} has changed, here and on your other devices.\n")
            }
        };
        match (self.records, self.misfits) {
            (0, _) => {}
            (records, 0) => text += &format!("  {}: all fit.\n", plural(records, "record")),
            (records, misfits) => {
                text += &format!("  {}: {} do not fit.\n", plural(records, "record"), count(misfits));
            }
        }
        for misfit in &self.first {
            text += &line(&format!("    {}: {}", clean(&misfit.id), clean(&misfit.why)));
        }
        let more = self.misfits.saturating_sub(self.first.len() as u64);
        if more > 0 {
            text += &format!("    and {} more\n", count(more));
        }
        for warning in &self.warnings {
            text += &line(&format!("! {}", clean(&warning.text)));
        }
        if !self.widens.is_empty() {
            text +=
                &line(&format!("  It lets more happen: {}. Each other device asks.", self.widens.join("; ")));
        }
        text
    }
}

fn line(text: &str) -> String {
    wrap(text, WIDTH) + "\n"
}

fn word(scope: impl Serialize) -> String {
    let value = serde_json::to_value(scope).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
