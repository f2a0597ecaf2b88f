//! `kinsync config`: reads and changes settings.

use std::io::IsTerminal as _;
use std::process::Command;

use anyhow::Context as _;
use kinsync::request::{ConfigGet, ConfigRow, ConfigRows, ConfigSet};

use super::Run;
use crate::args::{Config, ConfigAction};
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, clean};
use crate::reach::Class;

/// Does what was asked of the settings.
pub(crate) async fn run(run: &Run, args: Config) -> Result<()> {
    match args.action {
        ConfigAction::Get { key } => {
            let node = run.reach(Class::Local).await?;
            let is_one = key.is_some();
            let rows = node.ask(ConfigGet { key }).await?;
            match rows.rows.first() {
                // A script that asks for one setting wants its value.
                Some(row) if is_one && !run.out.is_json() => run.out.raw(&(clean(&row.value) + "\n"))?,
                Some(row) if is_one => run.out.object(row)?,
                Some(_) | None => run.out.result(&rows)?,
            }
            node.close().await
        }
        ConfigAction::Set { key, value } => {
            let node = run.reach(Class::Local).await?;
            run.out.result(&node.ask(ConfigSet { key, value }).await?)?;
            node.close().await
        }
        ConfigAction::Edit => edit(run).await,
    }
}

impl Text for ConfigRows {
    fn text(&self, _: Page) -> String {
        let mut text = String::new();
        for row in &self.rows {
            text += &format!("# {}\n", clean(&row.about));
            text += &format!("{} = {}\n", clean(&row.key), clean(&row.value));
        }
        text
    }
}

impl Text for ConfigRow {
    fn text(&self, _: Page) -> String {
        let later = if self.restart { "  (from the next start on)" } else { "" };
        format!("{} = {}{later}\n", clean(&self.key), clean(&self.value))
    }
}

/// Opens the file in the user's editor, then reads it as the node would.
async fn edit(run: &Run) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("An editor needs a terminal.")
            .hint("Change one setting with: kinsync config set KEY VALUE"));
    }
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let ended = Command::new(program)
        .args(words)
        .arg(run.home.config())
        .status()
        .with_context(|| format!("start the editor {program}"))?;
    if !ended.success() {
        return Err(anyhow::anyhow!("edit: {program} ended with {ended}").into());
    }
    let node = run.reach(Class::Local).await?;
    node.ask(ConfigGet::default()).await?;
    node.close().await
}
