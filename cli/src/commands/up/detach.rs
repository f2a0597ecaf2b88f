//! The node in the background: this program once more, without a terminal.

use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use kinsync::Kind;
use kinsync::request::Status;

use crate::args::Up;
use crate::commands::Run;
use crate::failure::{Failure, Result};
use crate::output;
use crate::paths::{shown, trace_log};
use crate::reach::{Class, LOOK_EVERY, Node};

/// How long a node may take until it answers. Opening the store of a device
/// that crashed is the slowest part, and done in seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Starts the node and waits until it answers.
pub(super) async fn start(run: &Run, args: &Up) -> Result<Node> {
    if !run.home.is_initialised() {
        return Err(Failure::new(Kind::NotInitialised, "This device has not been set up.")
            .hint("Set it up with:  kinsync init"));
    }
    let dir = run.home.log_dir();
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let last_words = dir.join("up.err");
    let stderr = File::create(&last_words).with_context(|| format!("create {}", last_words.display()))?;
    let mut child = Command::new(std::env::current_exe().context("find this program")?)
        .args(arguments(run, args))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .context("start the node")?;
    let answered = tokio::time::timeout(ANSWER_WITHIN, answer(run, &mut child)).await;
    match answered {
        Ok(Ok(Some(node))) => Ok(node),
        // What it said is what this command has to say.
        Ok(Ok(None)) => {
            let code = child.wait().context("wait for the node")?.code();
            output::complain(&fs::read_to_string(&last_words).unwrap_or_default());
            Err(Failure::silent(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(Kind::Timeout, "The node was started and does not answer.")
            .hint(format!("See {}", shown(&trace_log(&run.home))))),
    }
}

/// Waits for the first of two things: it answers, or (`None`) it has ended. It
/// ends soon if another node holds the home, and that one may answer first.
async fn answer(run: &Run, child: &mut Child) -> Result<Option<Node>> {
    loop {
        if let Ok(node) = run.reach(Class::Running).await
            && node.ask(Status {}).await.is_ok_and(|status| status.me.pid == Some(child.id()))
        {
            return Ok(Some(node));
        }
        if child.try_wait().context("look after the node")?.is_some() {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The same `up`, in the foreground of a session of its own.
fn arguments(run: &Run, args: &Up) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(home) = &run.typed_home {
        words.extend(["--home".into(), home.into()]);
    }
    if run.out.is_json() {
        words.push("--json".into());
    }
    words.extend(["up".into(), "--background".into()]);
    for address in &args.listen {
        words.extend(["--listen".into(), address.into()]);
    }
    if let Some(port) = args.port {
        words.extend(["--port".into(), port.to_string().into()]);
    }
    let switches = [("--lan-only", args.lan_only), ("--no-mdns", args.no_mdns), ("--no-quic", args.no_quic)];
    words.extend(switches.iter().filter(|(_, on)| *on).map(|(word, _)| (*word).into()));
    words
}
