//! `kinsync del DOMAIN ID`: deletes a record, which `restore` can undo.

use kinsync::request::Del;

use super::Run;
use crate::args::Record;
use crate::failure::Result;
use crate::reach::Class;

/// Deletes it and prints the version of its tombstone.
pub(crate) async fn run(run: &Run, args: Record) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    run.out.result(&node.ask(Del { domain: args.domain, id: args.id }).await?)?;
    node.close().await
}
