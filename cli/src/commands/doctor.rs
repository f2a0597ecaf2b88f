//! `kinsync doctor`: what works, what does not, and what to do about it.

use kinsync::request::{Doctor, DoctorRows, Level};
use unicode_width::UnicodeWidthStr as _;

use super::Run;
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, WIDTH, clean, wrap};
use crate::reach::Class;

/// Prints a line per check; ends with 1 when one of them is bad.
pub(crate) async fn run(run: &Run) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let rows = node.ask(Doctor {}).await?;
    run.out.result(&rows)?;
    node.close().await?;
    let is_bad = rows.rows.iter().any(|row| row.level == Level::Bad);
    if is_bad { Err(Failure::silent(1)) } else { Ok(()) }
}

impl Text for DoctorRows {
    fn text(&self, page: Page) -> String {
        let columns = self.rows.iter().map(|row| clean(&row.check).width()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            let mark = match row.level {
                Level::Bad => page.red("✗"),
                Level::Ok => page.green("✓"),
                Level::Warn => page.yellow("!"),
            };
            let check = clean(&row.check);
            let space = " ".repeat(columns.saturating_sub(check.width()));
            let indent = " ".repeat(columns + 4);
            let found = wrap(&format!("{indent}{}", clean(&row.text)), WIDTH);
            text += &format!("{mark} {check}{space}  {}\n", found.trim_start());
            if let Some(remedy) = &row.remedy {
                text += &wrap(&format!("{indent}Remedy: {}", clean(remedy)), WIDTH);
                text.push('\n');
            }
        }
        text
    }
}
