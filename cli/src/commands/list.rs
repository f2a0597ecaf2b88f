//! `kinsync list [DOMAIN]`: records in the order of their ids, or the domains.

use kinsync::request::{DomainRow, List as Ask, ListRow, Status};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::Run;
use crate::args::List;
use crate::failure::Result;
use crate::output::{Align, Page, Text, bytes, clean, count, shorten, table};
use crate::reach::Class;

/// Prints a line per record, page by page, so that no library is too large.
pub(crate) async fn run(run: &Run, args: List) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let Some(domain) = args.domain else {
        run.out.result(&Domains { v: 1, domains: node.ask(Status {}).await?.domains })?;
        return node.close().await;
    };
    let mut after = None;
    loop {
        let ask = Ask { domain: domain.clone(), after, ..Ask::default() };
        let page = node.ask(ask).await?;
        for row in &page.rows {
            run.out.row(row)?;
        }
        after = page.next;
        if after.is_none() {
            return node.close().await;
        }
    }
}

/// The id takes the columns that time and size leave.
const ID_COLUMNS: usize = 50;

impl Text for ListRow {
    fn text(&self, _: Page) -> String {
        let id = shorten(&clean(&self.id), ID_COLUMNS);
        let space = " ".repeat(ID_COLUMNS.saturating_sub(id.width()));
        let owner = self.owner.as_ref().map(|owner| format!("  {}", clean(owner))).unwrap_or_default();
        format!("{id}{space}  {}  {:>7}{owner}\n", super::minute(self.mtime), bytes(self.bytes))
    }
}

#[derive(Serialize)]
struct Domains {
    v: u8,
    domains: Vec<DomainRow>,
}

impl Text for Domains {
    fn text(&self, _: Page) -> String {
        let mut rows = vec![vec!["DOMAIN".to_owned(), "RECORDS".to_owned()]];
        rows.extend(self.domains.iter().map(|row| vec![clean(&row.name), count(row.records)]));
        table(&rows, &[Align::Left, Align::Right], 0)
    }
}
