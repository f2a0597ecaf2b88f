//! One end: a process that answers verbs, and what the system says of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A running peer. Ends with this value.
pub(crate) struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Seconds from its start to its answer to `open`.
    pub(crate) ready: f64,
}

impl Peer {
    /// Starts a peer on the library in `dir`.
    pub(crate) fn start(program: &Path, dir: &Path) -> Result<Self> {
        Self::start_as(program, dir, false)
    }

    /// The same; with `manual`, passes run only when asked for.
    pub(crate) fn start_as(program: &Path, dir: &Path, manual: bool) -> Result<Self> {
        let began = Instant::now();
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let input = process.stdin.take().context("its input")?;
        let output = BufReader::new(process.stdout.take().context("its output")?);
        let mut peer = Self { process, input, output, ready: 0.0 };
        peer.call("open", json!({ "dir": dir, "manual": manual }))?;
        peer.ready = began.elapsed().as_secs_f64();
        Ok(peer)
    }

    /// Asks one thing and waits for the answer.
    pub(crate) fn call(&mut self, op: &str, mut request: Value) -> Result<Value> {
        request["op"] = op.into();
        writeln!(self.input, "{request}")?;
        self.input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the peer ended at `{op}`");
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => bail!("{op}: {error}"),
            None => Ok(answer),
        }
    }

    /// Asks for one number of an answer.
    pub(crate) fn number(&mut self, op: &str, request: Value, key: &str) -> Result<f64> {
        self.call(op, request)?[key].as_f64().with_context(|| format!("{op}: no {key}"))
    }

    /// Closes it and waits.
    pub(crate) fn close(mut self) -> Result<()> {
        self.call("close", json!({}))?;
        self.process.wait()?;
        Ok(())
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// MiB of memory: `VmHWM` for the most it ever had, `VmRSS` for now.
    pub(crate) fn memory(&self, what: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let kib: f64 =
            line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).context("its memory")?;
        Ok(kib / 1024.0)
    }

    /// Seconds of processor time that it has used, threads that ended included,
    /// to a hundredth.
    pub(crate) fn cpu(&self) -> Result<f64> {
        /// What Linux counts in, on every machine that this runs on.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name before the last bracket may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("its times")?;
        let times: Vec<f64> =
            fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
        Ok(times.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// The same to a microsecond, of the threads that there are: for a moment
    /// in which none ends.
    pub(crate) fn cpu_of_threads(&self) -> Result<f64> {
        let mut nanos = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += times.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        }
        Ok(nanos / 1e9)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ended already unless something failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes over loopback since the network began, headers and both ways. Its own
/// in a namespace of its own.
pub(crate) fn wire() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("no loopback")?;
    line.split_whitespace().next().and_then(|text| text.parse().ok()).context("no counter")
}

/// Bytes that a folder takes on disk.
pub(crate) fn disk(dir: &Path) -> Result<f64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut bytes = 0.0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { disk(&entry.path())? } else { meta.blocks() as f64 * 512.0 };
    }
    Ok(bytes)
}
