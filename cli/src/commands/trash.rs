//! `kinsync trash [list|restore|empty]` and `kinsync undo`: what was deleted,
//! and what a device has brought.

use kinsync::request::{
    Restored, Trash as Ask, TrashEmptied, TrashEmpty, TrashRestore, TrashRow, Undo as AskUndo, UndoAnswer,
};

use super::Run;
use crate::args::{Trash, TrashAction, Undo};
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, clean, count, plural, shorten};
use crate::parse;
use crate::reach::Class;

/// Lists the trash, brings a record back or empties it.
pub(crate) async fn run(run: &Run, args: Trash) -> Result<()> {
    match args.action {
        None => list(run, None, false).await,
        Some(TrashAction::List { domain, limbo }) => list(run, domain, limbo).await,
        Some(TrashAction::Restore { domain, id }) => {
            let node = run.reach(Class::Local).await?;
            run.out.result(&node.ask(TrashRestore { domain, id }).await?)?;
            node.close().await
        }
        Some(TrashAction::Empty { domain, id }) => {
            let what = match (&domain, &id) {
                (Some(domain), Some(id)) => format!("what {}/{} was", clean(domain), clean(id)),
                (Some(domain), None) => format!("all that deleted {} were", clean(domain)),
                (None, _) => "all that deleted records were".to_owned(),
            };
            let question = format!("Let go of {what}, on this device and for good?");
            if !run.out.confirm(&question)? {
                return Err(Failure::stopped("Nothing was changed."));
            }
            let node = run.reach(Class::Local).await?;
            run.out.result(&node.ask(TrashEmpty { domain, id }).await?)?;
            node.close().await
        }
    }
}

async fn list(run: &Run, domain: Option<String>, limbo: bool) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let mut after = None;
    loop {
        let page = node.ask(Ask { domain: domain.clone(), after }).await?;
        for row in page.rows.iter().filter(|row| row.limbo || !limbo) {
            run.out.row(row)?;
        }
        after = page.next;
        if after.is_none() {
            return node.close().await;
        }
    }
}

/// Takes back what a device brought, after asking.
pub(crate) async fn undo(run: &Run, args: Undo) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let since = args.since.as_deref().map(|text| parse::moment(text, run.out.now())).transpose();
    let since = since.map_err(Failure::usage)?;
    let ask = |dry_run| AskUndo { received_from: args.received_from.clone(), since, dry_run };
    let would = node.ask(ask(true)).await?;
    if args.dry_run || would.restored + would.deleted == 0 {
        run.out.result(&would)?;
        return node.close().await;
    }
    let question = format!(
        "Take back what came from {}: restore {}, delete {}?\n\
         These are new versions, which travel to your devices.",
        clean(&args.received_from),
        plural(would.restored, "record"),
        count(would.deleted),
    );
    if !run.out.confirm(&question)? {
        node.close().await?;
        return Err(Failure::stopped("Nothing was changed."));
    }
    run.out.result(&node.ask(ask(false)).await?)?;
    node.close().await
}

/// An id takes the columns that the rest of a line leaves.
const ID_COLUMNS: usize = 44;

impl Text for TrashRow {
    fn text(&self, _: Page) -> String {
        let place = shorten(&format!("{}/{}", clean(&self.domain), clean(&self.id)), ID_COLUMNS);
        // Which device a child's deletion came from depends on what arrived
        // first, the parent's deletion or it.
        let why = match self.from.as_deref() {
            _ if self.with_parent => "  with its parent".to_owned(),
            _ if self.limbo => "  from a device long away".to_owned(),
            Some(from) => format!("  by {}", shorten(&clean(from), 12)),
            None => String::new(),
        };
        format!("{}  {place}{why}\n", super::minute(self.deleted))
    }
}

impl Text for Restored {
    fn text(&self, page: Page) -> String {
        let mut text = self.written.text(page);
        if self.others > 0 {
            text += &format!("and {} that went with it\n", plural(self.others, "record"));
        }
        text
    }
}

impl Text for TrashEmptied {
    fn text(&self, _: Page) -> String {
        match self.records {
            0 => "The trash was empty.\n".to_owned(),
            records => format!("Let go of {}.\n", plural(records, "record")),
        }
    }
}

impl Text for UndoAnswer {
    fn text(&self, _: Page) -> String {
        if self.received == 0 {
            return "Nothing here came from that device.\n".to_owned();
        }
        let (restored, deleted) = (count(self.restored), count(self.deleted));
        let mut text = match self.dry_run {
            true => format!("Would restore {restored}, delete {deleted}."),
            false => format!("Restored {restored}, deleted {deleted}."),
        };
        match self.left {
            0 => {}
            1 => text += " 1 stays as it is.",
            left => text += &format!(" {} stay as they are.", count(left)),
        }
        text + "\n"
    }
}
