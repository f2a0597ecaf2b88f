//! `kinsync get DOMAIN ID`: a record's value and nothing else.

use kinsync::request::Get;

use super::Run;
use crate::args::Record;
use crate::failure::Result;
use crate::reach::Class;

/// Prints the value's bytes as they are; with `--json` its version too.
pub(crate) async fn run(run: &Run, args: Record) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let answer = node.ask(Get { domain: args.domain, id: args.id }).await?;
    node.close().await?;
    if run.out.is_json() { run.out.object(&answer) } else { run.out.bytes(&answer.value.0) }
}
