//! `kinsync history DOMAIN ID`: the versions that a record has and had.

use kinsync::request::{History, HistoryKind, HistoryRows};

use super::Run;
use crate::args::Record;
use crate::failure::Result;
use crate::output::{Align, Page, Text, bytes, clean, table};
use crate::reach::Class;

/// Prints them, newest first.
pub(crate) async fn run(run: &Run, args: Record) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(History { domain: args.domain, id: args.id }).await?)?;
    node.close().await
}

impl Text for HistoryRows {
    fn text(&self, _: Page) -> String {
        let heads = ["VERSION", "WRITTEN", "BY", "SIZE", ""];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(|row| {
            vec![
                row.version.clone(),
                super::minute(row.at),
                row.name.as_deref().map_or_else(|| row.device.clone(), clean),
                row.bytes.map_or_else(|| "–".to_owned(), bytes),
                kind(row.kind).to_owned(),
            ]
        }));
        use Align::{Left, Right};
        table(&rows, &[Left, Left, Left, Right, Left], 0)
    }
}

fn kind(kind: HistoryKind) -> &'static str {
    match kind {
        HistoryKind::Current => "current",
        HistoryKind::Deleted => "deleted",
        HistoryKind::LostConflict => "lost a conflict",
        HistoryKind::Replaced => "replaced",
    }
}
