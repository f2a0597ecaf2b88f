//! The workloads between two peers: first copy, live edits, idling, nothing
//! changed, a few changes, and two libraries that meet again as strangers.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::peer::{Peer, disk, wire};
use crate::report::Report;

/// Bytes of a record.
const RECORD: f64 = 300.0;

/// Edits of the live workload.
const EDITS: u64 = 100;

/// Writes, one at a time.
const SINGLE: u64 = 2_000;

/// Writes of all writers together.
const SHARED: u64 = 20_000;

/// Writers at once.
const WRITERS: u64 = 64;

/// How often a pass that moves nothing is measured in one round.
const NOTHINGS: u32 = 3;

/// No step may take longer than this, in seconds.
const LIMIT: u64 = 3_600;

/// Silence that ends a workload: passes that prove pushes have ended by then.
const QUIET: Duration = Duration::from_millis(2_500);

/// Runs every workload once on a library of `n` records.
pub(crate) fn measure(program: &Path, dir: &Path, n: u64, idle: f64, report: &mut Report) -> Result<()> {
    let mut note = |name: &str, figure: f64| report.note(format!("{name}@{n}"), figure);
    let _ = fs::remove_dir_all(dir);
    let (dir_a, dir_b) = (dir.join("a"), dir.join("b"));
    fs::create_dir_all(dir)?;
    let payload = n as f64 * RECORD;

    let mut a = Peer::start(program, &dir_a)?;
    note("start_empty", a.ready);
    a.call("create", json!({}))?;
    note("fill", a.number("fill", json!({ "start": 0, "count": n, "gen": 0 }), "ms")? / 1e3);
    let addr = a.call("listen", json!({ "dir": dir_a }))?["addr"].clone();
    let mut b = Peer::start(program, &dir_b)?;

    // W1: the first copy, until the last record is on the second end's disk.
    let (before, cpu) = (wire()?, b.cpu()?);
    let t0 = b.number("connect", json!({ "addr": addr }), "t0")?;
    let took = came(&mut b, n)? - t0;
    // The proof is part of what it costs.
    came(&mut b, 0)?;
    note("W1", took);
    note("W1_rate", n as f64 / took);
    note("W1_wire", (wire()? - before) / payload);
    note("W1_cpu_b", b.cpu()? - cpu);
    note("W1_memory_a", a.memory("VmHWM")?);
    note("W1_memory_b", b.memory("VmHWM")?);
    for i in [0, n / 2, n - 1] {
        check(&mut b, i, 0)?;
    }

    // W4: one edit at a time, from before the write to visible.
    until_quiet()?;
    let before = wire()?;
    let times = edits(&mut a, &mut b, n, 1)?;
    note("W4_wire", (wire()? - before) / EDITS as f64);
    note("W4_max", times.iter().copied().fold(0.0, f64::max));
    note("W4", median(times)?);

    // W7: nothing happens.
    until_quiet()?;
    let (cpu_a, cpu_b, before) = (a.cpu()?, b.cpu()?, wire()?);
    thread::sleep(Duration::from_secs_f64(idle));
    note("idle_cpu_a", (a.cpu()? - cpu_a) / idle);
    note("idle_cpu_b", (b.cpu()? - cpu_b) / idle);
    note("idle_wire", (wire()? - before) * 60.0 / idle);
    note("idle_memory_a", a.memory("VmRSS")?);
    note("idle_memory_b", b.memory("VmRSS")?);
    note("memory_b", b.memory("VmHWM")?);
    b.close()?;
    a.close()?;
    note("disk_a", disk(&dir_a)? / payload);
    note("disk_b", disk(&dir_b)? / payload);

    // W5: writes that are acknowledged one by one. The other end is away.
    let mut a = Peer::start(program, &dir_a)?;
    note("start_full", a.ready);
    let millis = a.number("many", json!({ "start": 0, "count": SINGLE, "gen": 2, "writers": 1 }), "ms")?;
    note("single", millis / 1e3 / SINGLE as f64);
    let request = json!({ "start": 0, "count": SHARED.min(n), "gen": 3, "writers": WRITERS });
    note("writers", a.number("many", request, "ms")? / 1e3 / SHARED.min(n) as f64);
    a.kill()?;
    let mut a = Peer::start(program, &dir_a)?;
    note("start_killed", a.ready);
    check(&mut a, SINGLE.min(n) - 1, 3)?;
    let addr = a.call("listen", json!({ "dir": dir_a }))?["addr"].clone();
    let mut b = Peer::start(program, &dir_b)?;
    b.call("connect", json!({ "addr": addr }))?;
    came(&mut b, 0)?;
    until_quiet()?;
    b.close()?;

    // W2: nothing has changed since the other end left.
    for _ in 0..NOTHINGS {
        thread::sleep(Duration::from_millis(500));
        let mut b = Peer::start(program, &dir_b)?;
        let before = wire()?;
        let t0 = b.number("connect", json!({ "addr": addr }), "t0")?;
        note("W2", came(&mut b, 0)? - t0);
        until_quiet()?;
        note("W2_wire", wire()? - before);
        let before = wire()?;
        b.call("again", json!({}))?;
        note("W2_pass_wire", wire()? - before);
        b.close()?;
    }

    // W3: a few changes while the other end is away.
    let mut generation = 4;
    for d in [1, 100, 10_000] {
        if d * 2 > n {
            continue;
        }
        thread::sleep(Duration::from_millis(500));
        a.call("fill", json!({ "start": 7, "count": d, "gen": generation, "step": (n - 10) / d }))?;
        let mut b = Peer::start(program, &dir_b)?;
        let before = wire()?;
        let t0 = b.number("connect", json!({ "addr": addr }), "t0")?;
        note(&format!("W3_{d}"), came(&mut b, d)? - t0);
        until_quiet()?;
        let bytes = wire()? - before;
        let changed = d as f64 * RECORD;
        note(
            &format!("W3_{d}_wire"),
            match d {
                1 => bytes,
                100 => (bytes - changed) / d as f64,
                _ => bytes / changed,
            },
        );
        check(&mut b, 7, generation)?;
        b.close()?;
        generation += 1;
    }
    a.close()?;

    // W3 by repair: both are other devices now, with no cursors of each other,
    // and half of the changes are on either side.
    for (dir, start) in [(&dir_a, 11), (&dir_b, 13)] {
        let mut peer = Peer::start(program, dir)?;
        peer.call("renew", json!({}))?;
        peer.call("fill", json!({ "start": start, "count": 50, "gen": generation, "step": (n - 20) / 50 }))?;
        peer.close()?;
    }
    let mut a = Peer::start_as(program, &dir_a, true)?;
    let mut b = Peer::start_as(program, &dir_b, true)?;
    let addr = a.call("listen", json!({ "dir": dir_a }))?["addr"].clone();
    b.call("pair", json!({ "addr": addr }))?;
    until_quiet()?;
    let (before, cpu_a, cpu_b) = (wire()?, a.cpu_of_threads()?, b.cpu_of_threads()?);
    let t0 = b.number("connect", json!({ "addr": addr }), "t0")?;
    note("repair", came(&mut b, 0)? - t0);
    note("repair_cpu_a", a.cpu_of_threads()? - cpu_a);
    note("repair_cpu_b", b.cpu_of_threads()? - cpu_b);
    until_quiet()?;
    note("repair_wire", (wire()? - before - 100.0 * RECORD) / 100.0);
    check(&mut a, 13, generation)?;
    check(&mut b, 11, generation)?;
    b.close()?;
    a.close()
}

/// Seconds from before a write on `a` to visible on `b`, for so many edits one
/// at a time.
pub(crate) fn edits(a: &mut Peer, b: &mut Peer, n: u64, generation: u64) -> Result<Vec<f64>> {
    b.call("arrivals", json!({}))?;
    let mut times = Vec::new();
    for k in 0..EDITS {
        let t0 = a.number("one", json!({ "i": k * 37 % n, "gen": generation }), "t0")?;
        let arrived = loop {
            let arrivals = b.call("arrivals", json!({}))?;
            if let Some(arrived) = arrivals["t"][0].as_f64() {
                break arrived;
            }
            thread::sleep(Duration::from_millis(2));
        };
        times.push(arrived - t0);
    }
    Ok(times)
}

/// The middle one.
pub(crate) fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no times")
}

/// Waits until `count` records have come, or for 0 until both are equal. When.
pub(crate) fn came(peer: &mut Peer, count: u64) -> Result<f64> {
    let answer = peer.call("wait", json!({ "count": count, "limit_s": LIMIT }))?;
    ensure!(answer["done"] == true, "not done after {LIMIT} s");
    answer["t"].as_f64().context("no time")
}

fn check(peer: &mut Peer, i: u64, generation: u64) -> Result<()> {
    let answer = peer.call("check", json!({ "i": i, "gen": generation }))?;
    ensure!(answer["ok"] == true, "record {i} is not of generation {generation}");
    Ok(())
}

/// Waits until loopback is silent.
pub(crate) fn until_quiet() -> Result<()> {
    let (mut since, mut seen) = (Instant::now(), wire()?);
    while since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(10));
        let now = wire()?;
        // Keep-alives stay below this.
        if now - seen > 300.0 {
            since = Instant::now();
        }
        seen = now;
    }
    Ok(())
}
