//! `kinsync completions SHELL`: a script for the shell to complete verbs and
//! options with.

use clap::CommandFactory as _;

use super::Run;
use crate::args::{Cli, Completions};
use crate::failure::Result;

/// Prints the script.
pub(crate) fn run(run: &Run, args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinsync", &mut script);
    run.out.bytes(&script)
}
