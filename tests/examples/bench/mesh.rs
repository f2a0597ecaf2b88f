//! Five devices, each connected to all others: how often an edit crosses.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::peer::{Peer, wire};
use crate::report::Report;

/// Devices of the mesh.
const DEVICES: usize = 5;

/// Edits that are counted.
const EDITS: u64 = 20;

/// Bytes of a large edit: a copy of it cannot hide among what goes round it.
const LARGE: u64 = 200_000;

/// Measures the mesh once.
pub(crate) fn measure(program: &Path, dir: &Path, report: &mut Report) -> Result<()> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let mut devices = Vec::new();
    for number in 0..DEVICES {
        let dir = dir.join(format!("{number}"));
        let mut peer = Peer::start(program, &dir)?;
        if let Some(first) = devices.first_mut() {
            let first: &mut Peer = first;
            let addr = first.call("listen", json!({ "dir": dir }))?["addr"].clone();
            peer.call("connect", json!({ "addr": addr }))?;
        }
        devices.push(peer);
    }
    // Nobody announces itself here: each hears from the bench where the others are.
    let mut places = Vec::new();
    for peer in &mut devices {
        for place in places.iter().skip(1) {
            peer.call("reach", json!({ "addr": place }))?;
        }
        places.push(peer.call("where", json!({}))?["addr"].clone());
    }
    for peer in &mut devices {
        peer.call("meet", json!({ "count": DEVICES - 1, "limit_s": 60 }))?;
    }
    thread::sleep(Duration::from_secs(5));
    for edit in 0..EDITS {
        for peer in devices.iter_mut().skip(1) {
            peer.call("arrivals", json!({}))?;
        }
        let before = wire()?;
        let Some((first, others)) = devices.split_first_mut() else { continue };
        first.call("large", json!({ "i": edit, "bytes": LARGE }))?;
        for peer in others {
            let began = Instant::now();
            while peer.call("arrivals", json!({}))?["t"].as_array().is_none_or(Vec::is_empty) {
                ensure!(began.elapsed() < Duration::from_secs(30), "an edit did not arrive");
                thread::sleep(Duration::from_millis(2));
            }
        }
        thread::sleep(Duration::from_millis(500));
        report.note("mesh_copies", (wire()? - before) / (LARGE as f64 * (DEVICES - 1) as f64));
    }
    for peer in devices {
        peer.close()?;
    }
    Ok(())
}
