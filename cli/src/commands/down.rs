//! `kinsync down`: stops the node.

use kinsync::request::{Down, Stopping};

use super::Run;
use crate::failure::Result;
use crate::output::{Page, Text};
use crate::reach::Class;

/// Asks it to stop and waits until it has.
pub(crate) async fn run(run: &Run) -> Result<()> {
    let node = run.reach(Class::Running).await?;
    let stopping = node.ask(Down {}).await?;
    node.gone().await;
    run.out.result(&stopping)
}

impl Text for Stopping {
    fn text(&self, _: Page) -> String {
        "kinsync is down.\n".to_owned()
    }
}
