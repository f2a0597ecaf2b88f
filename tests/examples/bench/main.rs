//! Measures kinsync between two real processes on loopback, beside floors of
//! the same run. Started by `scripts/bench`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints a table, and progress beside it")]
#![allow(clippy::disallowed_methods, reason = "it measures with the machine's clock")]

mod floor;
mod load;
mod mesh;
mod peer;
mod report;
mod workload;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use report::Report;

/// What to measure.
struct Plan {
    /// The program that answers the verbs.
    peer: PathBuf,
    /// Where libraries are made; emptied before and after.
    dir: PathBuf,
    /// Where the figures go, as JSON.
    out: PathBuf,
    /// Libraries of so many records, and how often each is measured.
    sizes: Vec<(u64, u32)>,
    /// How long an idle pair is watched, in seconds.
    idle: f64,
    /// Records of the floors.
    floor: u64,
    /// Whether to measure a mesh of five.
    mesh: bool,
}

fn main() -> Result<()> {
    let plan = plan(std::env::args().skip(1))?;
    let mut report = Report::default();
    let most = plan.sizes.iter().map(|(_, times)| *times).max().unwrap_or(1);
    for round in 0..most {
        eprintln!("round {} of {most}: floors", round + 1);
        floor::measure(&plan.dir, plan.floor, &mut report).context("a floor")?;
        for (records, times) in &plan.sizes {
            if round < *times {
                eprintln!("round {} of {most}: {records} records", round + 1);
                workload::measure(&plan.peer, &plan.dir, *records, plan.idle, &mut report)
                    .with_context(|| format!("{records} records"))?;
            }
        }
        if plan.mesh {
            eprintln!("round {} of {most}: a mesh of five", round + 1);
            mesh::measure(&plan.peer, &plan.dir, &mut report).context("the mesh")?;
        }
        eprintln!("round {} of {most}: edits beside a load", round + 1);
        load::measure(&plan.peer, &plan.dir, &mut report).context("a load")?;
    }
    let _ = std::fs::remove_dir_all(&plan.dir);
    report.print(&plan.sizes);
    report.save(&plan.out)
}

fn plan(mut args: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        peer: PathBuf::new(),
        dir: PathBuf::new(),
        out: PathBuf::new(),
        sizes: vec![(100_000, 3), (1_000_000, 1)],
        idle: 60.0,
        floor: 100_000,
        mesh: true,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => {
                (plan.sizes, plan.idle, plan.floor) = (vec![(10_000, 1)], 5.0, 20_000);
            }
            "--large" => plan.sizes = vec![(1_000_000, 1), (10_000_000, 1)],
            "--records" => {
                let records = args.next().and_then(|text| text.parse().ok()).context("--records N")?;
                plan.sizes = vec![(records, 1)];
            }
            "--idle" => {
                plan.idle = args.next().and_then(|text| text.parse().ok()).context("--idle SECONDS")?
            }
            "--no-mesh" => plan.mesh = false,
            "--load" => (plan.sizes, plan.floor, plan.mesh) = (Vec::new(), 1_000, false),
            "--peer" => plan.peer = args.next().context("--peer FILE")?.into(),
            "--dir" => plan.dir = args.next().context("--dir DIR")?.into(),
            "--out" => plan.out = args.next().context("--out FILE")?.into(),
            other => bail!("{other} is no option of scripts/bench"),
        }
    }
    Ok(plan)
}
