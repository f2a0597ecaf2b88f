//! Many simulated worlds, each from its seed: the laws hold in all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use kinsync_tests::disk::Memory;
use kinsync_tests::world::{Options, Report, run};

/// Worlds that the gate runs with every fault, and as many with cursors only.
const SEEDS: u64 = 150;

const YEAR_MILLIS: u64 = 365 * 86_400_000;

/// Runs the worlds of all seeds on both cores; prints what it took, and every
/// failure with the command that repeats it.
fn all_hold(seeds: std::ops::Range<u64>, options: Options) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut total = Report::default();
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.len() > 3 {
                return (total, failures);
            }
            match run::<Memory>(seed, options, None) {
                Ok(report) => total.add(&report),
                Err(failure) => failures.push(failure.to_string()),
            }
        }
    };
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut total = Report::default();
    let mut failures = Vec::new();
    for (report, failed) in done {
        total.add(&report);
        failures.extend(failed);
    }
    println!("{} worlds, {:.1} device-years: {total:?}", total.worlds, years(&total));
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn years(report: &Report) -> f64 {
    report.device_millis as f64 / YEAR_MILLIS as f64
}

/// P14 P18 P20 P23 P25 F10 F14 F17 D6 D7 D8: whatever goes wrong, devices that
/// can meet again become equal, and nothing that was acknowledged is lost.
#[test]
fn the_laws_hold_in_every_world() {
    all_hold(0..SEEDS, Options::default());
}

/// P25: cursors alone bring everything over, as long as no disk is replaced.
#[test]
fn cursors_alone_miss_nothing() {
    all_hold(0..SEEDS, Options { cursors_only: true, ..Options::default() });
}

#[test]
fn a_seed_gives_the_same_world_twice() {
    for seed in 0..20 {
        let first = run::<Memory>(seed, Options::default(), None).map(|report| report.hash);
        let again = run::<Memory>(seed, Options::default(), None).map(|report| report.hash);
        assert_eq!(first.ok(), again.ok(), "seed {seed}");
    }
}
