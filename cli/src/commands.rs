//! One file per verb, and what they share.

mod changes;
mod completions;
mod config;
mod conflicts;
mod del;
mod doctor;
mod domains;
mod down;
mod drafts;
mod get;
mod held;
mod history;
mod import;
mod init;
mod list;
mod log;
mod pair;
mod peers;
mod put;
mod readiness;
mod restore;
mod revoke;
mod status;
mod sync;
mod trash;
mod up;
mod verify;
mod version;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use kinsync::clock::Moment;
use kinsync::{Home, Kind};

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Result};
use crate::logging;
use crate::output::Output;
use crate::paths;
use crate::reach::{Class, Node};

/// What every command is given.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// How to talk.
    pub(crate) out: Output,
    /// Which device this is.
    pub(crate) home: Home,
    /// What `--home` said, absolute, for a process that is started again.
    pub(crate) typed_home: Option<PathBuf>,
    /// How long the whole command may take.
    pub(crate) timeout: Option<Duration>,
    /// How much of the log goes to stderr.
    pub(crate) verbose: u8,
}

impl Run {
    /// The node of this home, in the way that `class` allows.
    pub(crate) async fn reach(&self, class: Class) -> Result<Node> {
        Node::reach(self, class).await
    }
}

/// Does what was typed.
pub(crate) fn run(typed: Vec<OsString>) -> Result<()> {
    let cli = match Cli::try_parse_from(typed) {
        Ok(cli) => cli,
        // Help and version are asked for, not failed into.
        Err(asked) if asked.exit_code() == 0 => {
            drop(asked.print());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let typed_home = paths::absolute(cli.global.home.as_deref())?;
    let run = Run {
        out: Output::new(&cli.global),
        home: paths::home(typed_home.as_deref())?,
        typed_home,
        timeout: cli.global.timeout,
        verbose: cli.global.verbose,
    };
    if !matches!(cli.verb, Verb::Up(_)) {
        logging::init(run.verbose, None)?;
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("start the threads"))?;
    let done = runtime.block_on(within(&run, cli.verb));
    // A prompt may still wait in a thread that nothing can interrupt.
    runtime.shutdown_background();
    done
}

/// Holds a command to its time. Pairing holds itself to it, since a code must
/// not stay open when its command is gone.
async fn within(run: &Run, verb: Verb) -> Result<()> {
    match run.timeout {
        Some(limit) if !matches!(verb, Verb::Join(_) | Verb::Pair(_)) => {
            let message = format!("Not done within {} s.", limit.as_secs_f64());
            let late = |_| Failure::new(Kind::Timeout, message);
            tokio::time::timeout(limit, act(run, verb)).await.map_err(late)?
        }
        Some(_) | None => act(run, verb).await,
    }
}

async fn act(run: &Run, verb: Verb) -> Result<()> {
    match verb {
        Verb::Append(args) => put::append(run, args).await,
        Verb::Changes(args) => changes::run(run, args).await,
        Verb::Completions(args) => completions::run(run, &args),
        Verb::Config(args) => config::run(run, args).await,
        Verb::Conflicts(args) => conflicts::run(run, args).await,
        Verb::Del(args) => del::run(run, args).await,
        Verb::Doctor => doctor::run(run).await,
        Verb::Domains(args) => domains::run(run, args).await,
        Verb::Down => down::run(run).await,
        Verb::Drafts(args) => drafts::run(run, args).await,
        Verb::Get(args) => get::run(run, args).await,
        Verb::Held(args) => held::run(run, args).await,
        Verb::History(args) => history::run(run, args).await,
        Verb::Init(args) => init::run(run, args).await,
        Verb::Join(args) => pair::join(run, args).await,
        Verb::List(args) => list::run(run, args).await,
        Verb::Log(args) => log::run(run, args).await,
        Verb::Pair(args) => pair::run(run, args).await,
        Verb::Peers(args) => peers::run(run, args).await,
        Verb::Put(args) => put::run(run, args).await,
        Verb::Restore(args) => restore::run(run, args).await,
        Verb::Revoke(args) => revoke::run(run, args).await,
        Verb::Status(args) => status::run(run, &args).await,
        Verb::Sync(args) => sync::run(run, args).await,
        Verb::Trash(args) => trash::run(run, args).await,
        Verb::Undo(args) => trash::undo(run, args).await,
        Verb::Up(args) => up::run(run, args).await,
        Verb::Verify(args) => verify::run(run, args).await,
        Verb::Version => version::run(run),
        Verb::Watch(args) => watch::run(run, args).await,
        Verb::Import(args) => import::run(run, args).await,
    }
}

/// Waits for Ctrl+C or a polite request to end.
pub(crate) async fn interrupted() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        // Then nobody can be heard, and the default ends the process.
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

/// A time to the minute: `2026-11-20 07:30`.
pub(crate) fn minute(at: Moment) -> String {
    at.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// A time to the second: `2026-11-20 07:30:11`.
pub(crate) fn second(at: Moment) -> String {
    at.to_string().chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}
