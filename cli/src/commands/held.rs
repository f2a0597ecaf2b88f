//! `kinsync held`: mass changes of other devices, and what becomes of them.

use kinsync::request::{
    HeldAccept, HeldChange, HeldDecided, HeldDetail, HeldList, HeldRecordRow, HeldReject, HeldRow, HeldRows,
    HeldShow,
};

use super::Run;
use crate::args::{Held, HeldAction};
use crate::failure::{Failure, Result};
use crate::output::{Align, Page, Text, bytes, clean, count, plural, table};
use crate::reach::Class;

/// Lists them, shows one, or decides about one.
pub(crate) async fn run(run: &Run, args: Held) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    match args.action.unwrap_or(HeldAction::List) {
        HeldAction::List => run.out.result(&node.ask(HeldList {}).await?)?,
        HeldAction::Show { number } => run.out.result(&node.ask(HeldShow { number }).await?)?,
        HeldAction::Accept { number } => {
            let held = node.ask(HeldShow { number }).await?.held;
            if !run.out.confirm(&format!("{} Let it?", would(&held)))? {
                return Err(Failure::stopped("Nothing was applied."));
            }
            run.out.result(&node.ask(HeldAccept { number }).await?)?;
        }
        HeldAction::Reject { number } => run.out.result(&node.ask(HeldReject { number }).await?)?,
    }
    node.close().await
}

fn would(held: &HeldRow) -> String {
    let (peer, domain) = (clean(&held.peer.name), clean(&held.domain));
    let (deletions, replacements) = (count(held.deletions), count(held.replacements));
    let live = plural(held.live, "record");
    format!("{peer} would delete {deletions} and replace {replacements} of {live} of {domain}.")
}

impl Text for HeldRows {
    fn text(&self, _: Page) -> String {
        if self.rows.is_empty() {
            return "Nothing is held.\n".to_owned();
        }
        let heads = ["NO", "FROM", "DOMAIN", "DELETES", "REPLACES", "OF", "SINCE"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(|row| {
            vec![
                row.number.to_string(),
                clean(&row.peer.name),
                clean(&row.domain),
                count(row.deletions),
                count(row.replacements),
                count(row.live),
                super::minute(row.since),
            ]
        }));
        use Align::{Left, Right};
        let text = table(&rows, &[Right, Left, Left, Right, Right, Right, Left], 0);
        text + "Look at one:  kinsync held show NO   then  held accept NO  or  held reject NO\n"
    }
}

impl Text for HeldDetail {
    fn text(&self, _: Page) -> String {
        let rows: Vec<_> = self.rows.iter().map(cells).collect();
        let mut text = would(&self.held) + "\n";
        text += &table(&rows, &[Align::Left, Align::Left, Align::Right, Align::Right], 2);
        if self.more {
            text += "  and more\n";
        }
        if self.held.beyond > 0 {
            text += &format!("{} more had no room here.\n", count(self.held.beyond));
        }
        text
    }
}

fn cells(row: &HeldRecordRow) -> Vec<String> {
    let change = match row.change {
        HeldChange::Add => "add",
        HeldChange::Delete => "delete",
        HeldChange::Nothing => "keep",
        HeldChange::Replace => "replace",
    };
    let size = |size: Option<u64>| size.map_or_else(|| "–".to_owned(), bytes);
    vec![change.to_owned(), clean(&row.id), size(row.bytes), size(row.held_bytes)]
}

impl Text for HeldDecided {
    fn text(&self, _: Page) -> String {
        let (domain, peer) = (clean(&self.held.domain), clean(&self.held.peer.name));
        format!(
            "{} of {domain} written. {peer} follows with the next sync.\n",
            plural(self.changed, "record")
        )
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;
    use kinsync::events::PeerName;

    use super::*;

    /// D10: what waits is shown with what it would do.
    #[test]
    fn what_is_held_is_a_table() {
        let held = HeldRow {
            number: 3,
            peer: PeerName { id: "7QXK-2M4P-DD3W-V5AT".to_owned(), name: "laptop".to_owned() },
            domain: "messages".to_owned(),
            since: Moment(1_795_159_811_125),
            live: 12_430,
            deletions: 12_001,
            replacements: 0,
            records: 12_001,
            bytes: 0,
            beyond: 0,
        };
        let page = Page::at(Moment(0));
        assert_snapshot!(HeldRows { rows: vec![held.clone()] }.text(page), @r"
        NO  FROM    DOMAIN    DELETES  REPLACES      OF  SINCE
         3  laptop  messages   12 001         0  12 430  2026-11-20 07:30
        Look at one:  kinsync held show NO   then  held accept NO  or  held reject NO
        ");
        let row = |id: &str, change, bytes, held_bytes| HeldRecordRow {
            id: id.to_owned(),
            change,
            bytes,
            held_bytes,
        };
        let rows = vec![
            row("c12/0481", HeldChange::Delete, Some(1_200), None),
            row("c12/0482", HeldChange::Add, None, Some(48)),
        ];
        assert_snapshot!(HeldDetail { held, rows, more: true }.text(page), @r"
        laptop would delete 12 001 and replace 0 of 12 430 records of messages.
          delete  c12/0481  1.2 kB     –
          add     c12/0482       –  48 B
          and more
        ");
    }
}
