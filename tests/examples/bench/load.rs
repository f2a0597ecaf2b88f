//! Live edits beside somebody who takes all that is to be had, of the same
//! edits in quiet.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kinsync::swarm::parse_peer_id;
use kinsync::{Control, Home};
use kinsync_tests::flood::{AT_ONCE_MAX, Flood};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::peer::Peer;
use crate::report::Report;
use crate::workload::{came, edits, median, until_quiet};

/// Records of the library: far more than one answer holds.
const RECORDS: u64 = 10_000;

/// Answers that a greedy device has had before anything is measured.
const FLOODED: u64 = 50;

/// Who writes without a pause.
const WRITERS: u64 = 4;

/// How long the load may take to begin.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures all loads once.
pub(crate) fn measure(program: &Path, dir: &Path, report: &mut Report) -> Result<()> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let dirs = ["a", "b", "c"].map(|name| dir.join(name));
    let [dir_a, dir_b, dir_c] = &dirs;
    let mut a = Peer::start(program, dir_a)?;
    a.call("fill", json!({ "start": 0, "count": RECORDS, "gen": 0 }))?;
    let mut join = |dir: &Path| -> Result<Peer> {
        let addr = a.call("listen", json!({}))?["addr"].clone();
        let mut peer = Peer::start(program, dir)?;
        peer.call("connect", json!({ "addr": addr }))?;
        came(&mut peer, 0)?;
        Ok(peer)
    };
    join(dir_c)?.close()?;
    let mut b = join(dir_b)?;

    until_quiet()?;
    let quiet = median(edits(&mut a, &mut b, RECORDS, 1)?)?;
    report.note("load_quiet", quiet);

    let place = a.call("where", json!({}))?["addr"].clone();
    let greedy = Greedy::start(dir_c, &place)?;
    let (before, began) = (greedy.answers(), Instant::now());
    let beside = median(edits(&mut a, &mut b, RECORDS, 2)?)?;
    report.note("load_greedy_answers", (greedy.answers() - before) as f64 / began.elapsed().as_secs_f64());
    report.note("load_greedy", beside / quiet);
    drop(greedy);

    until_quiet()?;
    a.call("load", json!({ "writers": WRITERS }))?;
    let began = Instant::now();
    let beside = median(edits(&mut a, &mut b, RECORDS, 3)?)?;
    let records = a.number("unload", json!({}), "records")?;
    report.note("load_bulk_rate", records / began.elapsed().as_secs_f64());
    report.note("load_bulk", beside / quiet);
    b.close()?;
    a.close()
}

/// A device that is trusted and asks for everything again and again.
struct Greedy {
    runtime: Runtime,
    flood: Option<Flood>,
}

impl Greedy {
    /// Takes the key of a device that has left.
    fn start(dir: &Path, place: &Value) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let flood = runtime.block_on(async {
            let control = Control::open(&Home::under(dir)).await?;
            let id = place["id"].as_str().context("the id of A")?;
            let peers = control.peers().await?.peers;
            let peer = peers.iter().find(|peer| peer.id == id).context("A is not known")?;
            let victim = parse_peer_id(&peer.peer_id).context("its key")?;
            let address = place["address"].as_str().context("the address of A")?.parse()?;
            anyhow::Ok(Flood::connect(control.identity(), victim, &address)?)
        })?;
        let greedy = Self { runtime, flood: Some(flood) };
        let began = Instant::now();
        while !greedy.flood.as_ref().is_some_and(|flood| flood.heard().greeted) {
            ensure!(began.elapsed() < LIMIT, "nobody greets the greedy device");
            thread::sleep(Duration::from_millis(2));
        }
        if let Some(flood) = &greedy.flood {
            flood.ask_always(AT_ONCE_MAX);
        }
        while greedy.answers() < FLOODED {
            ensure!(began.elapsed() < LIMIT, "the greedy device gets no answers");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(greedy)
    }

    fn answers(&self) -> u64 {
        self.flood.as_ref().map_or(0, |flood| flood.heard().answers)
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        // Its tasks end within their runtime.
        let _guard = self.runtime.enter();
        self.flood.take();
    }
}
