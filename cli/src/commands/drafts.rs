//! `kinsync drafts`: what is being written, and what was interrupted.

use kinsync::request::{DraftGet, DraftRow, DraftRows, DraftState, Drafts as Ask, HoldCommit, HoldDrop};

use super::Run;
use crate::args::{Drafts, DraftsAction};
use crate::failure::Result;
use crate::output::{Align, Page, Text, bytes, clean, table};
use crate::reach::Class;

/// Lists them, shows one, keeps one or forgets one.
pub(crate) async fn run(run: &Run, args: Drafts) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    match args.action.unwrap_or(DraftsAction::List) {
        DraftsAction::List => run.out.result(&node.ask(Ask {}).await?)?,
        DraftsAction::Show { id } => {
            let draft = node.ask(DraftGet { hold: id }).await?;
            if run.out.is_json() { run.out.object(&draft)? } else { run.out.bytes(&draft.value.0)? }
        }
        DraftsAction::Commit { id } => {
            run.out.result(&node.ask(HoldCommit { hold: id, value: None }).await?)?;
        }
        DraftsAction::Drop { id } => {
            let question = "Its text cannot be brought back. Drop it?";
            if !run.out.confirm(question)? {
                return Err(crate::failure::Failure::stopped("Nothing was dropped."));
            }
            let done = node.ask(HoldDrop { hold: id }).await?;
            if run.out.is_json() {
                run.out.object(&done)?;
            }
        }
    }
    node.close().await
}

impl Text for DraftRows {
    fn text(&self, _: Page) -> String {
        if self.rows.is_empty() {
            return "No drafts.\n".to_owned();
        }
        let heads = ["ID", "RECORD", "SAVED", "SIZE", ""];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(cells));
        use Align::{Left, Right};
        table(&rows, &[Left, Left, Left, Right, Left], 0)
    }
}

/// Letters of an id that tell one draft from the others.
const ID_LETTERS: usize = 8;

fn cells(row: &DraftRow) -> Vec<String> {
    vec![
        row.hold.chars().take(ID_LETTERS).collect(),
        format!("{}/{}", clean(&row.domain), clean(&row.id)),
        super::minute(row.saved),
        bytes(row.bytes),
        match row.state {
            DraftState::Interrupted => "interrupted",
            DraftState::Running => "running",
        }
        .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kinsync::clock::Moment;

    use super::*;

    #[test]
    fn drafts_are_a_table() {
        let row = |hold: &str, id: &str, state| DraftRow {
            hold: hold.to_owned(),
            domain: "messages".to_owned(),
            id: id.to_owned(),
            state,
            started: Moment(0),
            saved: Moment(1_795_159_811_125),
            bytes: 1_204,
        };
        let rows = vec![
            row("5fd1c0ffee000000", "c12/0481", DraftState::Interrupted),
            row("a1b2c3d4e5f60718", &"long/".repeat(20), DraftState::Running),
        ];
        assert_snapshot!(DraftRows { rows }.text(Page::at(Moment(0))), @r"
        ID        RECORD                           SAVED               SIZE
        5fd1c0ff  messages/c12/0481                2026-11-20 07:30  1.2 kB  interrupted
        a1b2c3d4  messages/long/long/long/long/l…  2026-11-20 07:30  1.2 kB  running
        ");
    }
}
