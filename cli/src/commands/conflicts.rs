//! `kinsync conflicts [show|take]`: versions that did not know each other.

use kinsync::clock::Moment;
use kinsync::request::{
    ConflictDetail, ConflictField, ConflictRow, ConflictRows, ConflictShow, ConflictSide, ConflictTake,
    Conflicts as Ask, Take, Value,
};
use kinsync_protocol::id::DeviceId;

use super::Run;
use super::peers::short;
use crate::args::{Conflicts, ConflictsAction};
use crate::failure::Result;
use crate::output::{Page, Text, bytes, clean, count, shorten};
use crate::reach::Class;

/// Lists conflicts, shows one or decides it.
pub(crate) async fn run(run: &Run, args: Conflicts) -> Result<()> {
    match args.action {
        None => list(run, args.domain).await,
        Some(ConflictsAction::List { domain }) => list(run, domain).await,
        Some(ConflictsAction::Show { conflict }) => {
            let node = run.reach(Class::Local).await?;
            run.out.result(&node.ask(ConflictShow { conflict }).await?)?;
            node.close().await
        }
        Some(ConflictsAction::Take { conflict, what }) => {
            let (take, value) = match what.as_str() {
                "local" => (Take::Local, None),
                "remote" => (Take::Remote, None),
                file => (Take::Value, Some(Value(super::put::read(Some(file.as_ref()))?))),
            };
            let node = run.reach(Class::Local).await?;
            run.out.result(&node.ask(ConflictTake { conflict, take, value }).await?)?;
            node.close().await
        }
    }
}

async fn list(run: &Run, domain: Option<String>) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(Ask { domain }).await?)?;
    node.close().await
}

/// An id or a name takes no more of a line than this.
const ID_COLUMNS: usize = 32;

/// Half a line, for values side by side.
const HALF: usize = 30;

impl Text for ConflictRows {
    fn text(&self, _: Page) -> String {
        if self.rows.is_empty() {
            return "No conflicts.\n".to_owned();
        }
        let mut text: String = self.rows.iter().map(line).collect();
        let more = self.total.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            text += &format!("and {} more\n", count(more));
        }
        let first = self.rows.first().map(|row| clean(&row.conflict)).unwrap_or_default();
        text + &format!("Look at one:  kinsync conflicts show {first}\n")
    }
}

fn line(row: &ConflictRow) -> String {
    let (name, id) = (clean(&row.conflict), shorten(&clean(&row.id), ID_COLUMNS));
    let (kept, lost) = (&row.kept, &row.lost);
    format!("{name}  {id}\n    kept  {}\n    lost  {}\n", became(kept), became(lost))
}

/// Who made this side what it is, and when, in one line.
fn became(side: &ConflictSide) -> String {
    let did = match (side.bytes.is_some(), side.device == DeviceId::NULL.to_string()) {
        (true, true) => "merged".to_owned(),
        (false, true) => "deleted with its parent".to_owned(),
        (true, false) => format!("written on {}", shorten(&name(side), ID_COLUMNS)),
        (false, false) => format!("deleted on {}", shorten(&name(side), ID_COLUMNS)),
    };
    format!("{did}, {}", time(side.at))
}

fn name(side: &ConflictSide) -> String {
    side.name.as_deref().map_or_else(|| short(&side.device).to_owned(), clean)
}

fn time(at: Moment) -> String {
    super::minute(at)
}

impl Text for ConflictDetail {
    fn text(&self, page: Page) -> String {
        let row = &self.row;
        let side = |side: &ConflictSide, value: &Option<Value>| match value {
            Some(value) => format!("{}, {}", name(side), bytes(value.0.len() as u64)),
            None => format!("{}, deleted", name(side)),
        };
        let local = |side: &ConflictSide| if side.local { " (local)" } else { " (remote)" };
        let mut text = format!(
            "{}  {}\n  kept  {}{}\n  lost  {}{}\n",
            clean(&row.conflict),
            clean(&row.id),
            side(&row.kept, &self.kept_value),
            local(&row.kept),
            side(&row.lost, &self.lost_value),
            local(&row.lost),
        );
        text.push('\n');
        if self.fields.is_empty() {
            let shown = |value: &Option<Value>| {
                value
                    .as_ref()
                    .map_or_else(|| "–".to_owned(), |value| clean(&String::from_utf8_lossy(&value.0)))
            };
            text += &format!("kept:\n{}\n\nlost:\n{}\n", shown(&self.kept_value), shown(&self.lost_value));
        } else {
            text += &format!("    {:<14} {:<HALF$} {}\n", "FIELD", "KEPT", "LOST");
            text.extend(self.fields.iter().map(|field| compared(field, page)));
        }
        text + &format!(
            "\nDecide:  kinsync conflicts take {name} local\n         \
             kinsync conflicts take {name} remote\n         \
             kinsync conflicts take {name} FILE\n",
            name = clean(&row.conflict),
        )
    }
}

fn compared(field: &ConflictField, page: Page) -> String {
    let cell = |json: &Option<String>| {
        json.as_deref().map_or_else(|| "–".to_owned(), |json| shorten(&clean(json), HALF))
    };
    let mark = if field.differs { page.yellow("!") } else { " ".to_owned() };
    let name = shorten(&clean(&field.name), 14);
    format!("  {mark} {name:<14} {:<HALF$} {}\n", cell(&field.kept), cell(&field.lost))
}
