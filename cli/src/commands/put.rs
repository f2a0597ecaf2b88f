//! `kinsync put DOMAIN ID [FILE|-]`: writes a record.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use kinsync::request::{Append as AskAppend, Put as Ask, Value, Written};

use super::Run;
use crate::args::{Append, Put};
use crate::failure::Result;
use crate::output::{Page, Text, clean};
use crate::reach::Class;

/// More than any record may hold, so that the store's own limit speaks and an
/// endless input still ends.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Reads the value and writes the record.
pub(crate) async fn run(run: &Run, args: Put) -> Result<()> {
    // First, so that a slow writer does not hold the store meanwhile.
    let value = read(args.file.as_deref())?;
    let node = run.reach(Class::Local).await?;
    // A memory's id follows from what it says: nobody types it.
    let id = if args.id == "-" { String::new() } else { args.id };
    let ask = Ask { domain: args.domain, id, value: Value(value), app: None };
    run.out.result(&node.ask(ask).await?)?;
    node.close().await
}

/// Reads the value and adds it behind the others of its parent.
pub(crate) async fn append(run: &Run, args: Append) -> Result<()> {
    let value = read(args.file.as_deref())?;
    let node = run.reach(Class::Local).await?;
    let ask = AskAppend { domain: args.domain, parent: args.parent, value: Value(value) };
    run.out.result(&node.ask(ask).await?)?;
    node.close().await
}

/// What is in a file, or on standard input.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    match file.filter(|file| *file != Path::new("-")) {
        None => {
            let stdin = std::io::stdin().lock();
            stdin.take(INPUT_BYTES_MAX).read_to_end(&mut value).context("read standard input")?;
        }
        Some(path) => {
            let doing = || format!("read {}", path.display());
            let file = std::fs::File::open(path).with_context(doing)?;
            file.take(INPUT_BYTES_MAX).read_to_end(&mut value).with_context(doing)?;
        }
    }
    Ok(value)
}

/// One line a script can take apart: the record, a space, its version.
impl Text for Written {
    fn text(&self, _: Page) -> String {
        format!("{}/{} {}\n", clean(&self.domain), clean(&self.id), self.version)
    }
}
