//! `kinsync log`: what the node did, for people and as JSON lines.

use kinsync::request::{LogRow, LogTail};

use super::Run;
use crate::args::Log;
use crate::failure::Result;
use crate::output::{Page, Text, clean};
use crate::reach::Class;

/// Prints the last lines.
pub(crate) async fn run(run: &Run, args: Log) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    for row in node.ask(LogTail { lines: Some(args.lines) }).await?.rows {
        run.out.row(&row)?;
    }
    node.close().await
}

impl Text for LogRow {
    fn text(&self, _: Page) -> String {
        let mut line = format!("{}  {}", super::second(self.at), clean(&self.event));
        for (name, value) in &self.fields {
            if !value.is_null() {
                // A device is told by its name; `--json` has all of it.
                let value = value.get("name").unwrap_or(value);
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                line += &format!("  {}={}", clean(name), clean(&value));
            }
        }
        line + "\n"
    }
}
