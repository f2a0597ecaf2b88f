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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;
    use kinsync::request::DoctorRow;

    use super::*;

    #[test]
    fn each_check_has_a_mark_and_each_fault_a_remedy() {
        let row = |check: &str, level, text: &str, remedy: Option<&str>| DoctorRow {
            check: check.to_owned(),
            level,
            text: text.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let rows = vec![
            row("store", Level::Ok, "readable, 19 216 records, 34 MB, no damage", None),
            row("docker0", Level::Warn, "172.17.0.1 ignored for discovery (bridge)", None),
            row(
                "multicast",
                Level::Bad,
                "sent 3 queries, heard none back on wlan0: guest Wi-Fi, AP isolation or firewall UDP 5353",
                Some("kinsync peers add-addr laptop 192.168.1.31"),
            ),
        ];
        assert_snapshot!(DoctorRows { rows }.text(Page::at(Moment(0))), @r"
        ✓ store      readable, 19 216 records, 34 MB, no damage
        ! docker0    172.17.0.1 ignored for discovery (bridge)
        ✗ multicast  sent 3 queries, heard none back on wlan0: guest Wi-Fi, AP isolation
                     or firewall UDP 5353
                     Remedy: kinsync peers add-addr laptop 192.168.1.31
        ");
    }
}
