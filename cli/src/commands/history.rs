//! `kinsync history DOMAIN ID`: the versions that a record has and had.

use kinsync::request::{History, HistoryKind, HistoryRow, HistoryRows};

use super::Run;
use super::peers::short;
use crate::args::Record;
use crate::failure::Result;
use crate::output::{Align, Page, Text, bytes, clean, shorten, table};
use crate::reach::Class;

/// Prints them, newest first.
pub(crate) async fn run(run: &Run, args: Record) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(History { domain: args.domain, id: args.id }).await?)?;
    node.close().await
}

/// A version is never shortened, since people copy it: the name is.
const NAME_COLUMNS: usize = 14;

impl Text for HistoryRows {
    fn text(&self, _: Page) -> String {
        let heads = ["VERSION", "BY", "SIZE", ""];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(|row| {
            vec![
                row.version.clone(),
                shorten(
                    &row.name.as_deref().map_or_else(|| short(&row.device).to_owned(), clean),
                    NAME_COLUMNS,
                ),
                row.bytes.map_or_else(|| "–".to_owned(), bytes),
                kind(row).to_owned(),
            ]
        }));
        use Align::{Left, Right};
        table(&rows, &[Left, Left, Right, Left], 0)
    }
}

fn kind(row: &HistoryRow) -> &'static str {
    match row.kind {
        HistoryKind::Current if row.bytes.is_none() => "current: deleted",
        HistoryKind::Current => "current",
        HistoryKind::Deleted => "until deleted",
        HistoryKind::LostConflict => "lost a conflict",
        HistoryKind::Replaced => "replaced",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;

    use super::*;

    #[test]
    fn a_version_can_be_copied_whole() {
        let row = |version: &str, name: Option<&str>, bytes, kind| HistoryRow {
            version: version.to_owned(),
            at: Moment(0),
            device: "7QXK-2M4P-DD3W-V5AT".to_owned(),
            name: name.map(str::to_owned),
            bytes,
            kind,
        };
        let rows = vec![
            row("2026-11-20T07:30:11.125Z-0-7QXK2M4P", None, None, HistoryKind::Current),
            row("2026-11-19T07:30:11.125Z-0-7QXK2M4P", Some("laptop"), Some(48), HistoryKind::Replaced),
            row(
                "2026-11-18T07:30:11.125Z-0-7QXK2M4P",
                Some("the old computer in the attic"),
                Some(64_000),
                HistoryKind::LostConflict,
            ),
        ];
        let text = HistoryRows { rows }.text(Page::at(Moment(0)));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_snapshot!(text, @r"
        VERSION                              BY               SIZE
        2026-11-20T07:30:11.125Z-0-7QXK2M4P  7QXK-2M4P           –  current: deleted
        2026-11-19T07:30:11.125Z-0-7QXK2M4P  laptop           48 B  replaced
        2026-11-18T07:30:11.125Z-0-7QXK2M4P  the old compu…  64 kB  lost a conflict
        ");
    }
}
