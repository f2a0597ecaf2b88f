//! The `kinsync` command.

mod args;
mod commands;
mod failure;
mod logging;
mod output;
mod parse;
mod paths;
mod progress;
mod reach;

use std::process::ExitCode;

fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args_os().collect();
    let json = args::json_was_typed(&typed);
    match commands::run(typed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.render(json));
            failure.exit_code()
        }
    }
}
