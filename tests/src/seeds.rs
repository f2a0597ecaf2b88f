//! Small worlds one after the other: all of a range, and until a planted
//! mistake is found.

use std::fmt::Debug;
use std::ops::Range;

/// Runs the worlds `seeds`, unless the environment names others
/// (`KINSYNC_SIM_SEED`, `KINSYNC_SIM_WORLDS`).
///
/// # Panics
///
/// If a law was broken; says in which world.
pub fn each(seeds: Range<u64>, run: impl Fn(u64) -> Result<(), String>) {
    let number = |name: &str| std::env::var(format!("KINSYNC_SIM_{name}")).ok()?.parse::<u64>().ok();
    let first = number("SEED").unwrap_or(seeds.start);
    let count = number("WORLDS").unwrap_or(seeds.end - seeds.start);
    for seed in first..first.saturating_add(count) {
        if let Err(text) = run(seed) {
            panic!("seed {seed}: {text}");
        }
    }
}

/// Runs worlds with each mistake until a law is broken.
///
/// # Panics
///
/// If one is not found within `budget` worlds.
pub fn find<M: Copy + Debug>(mistakes: &[M], budget: u64, run: impl Fn(u64, M) -> Result<(), String>) {
    for &mistake in mistakes {
        let found = (0..budget).any(|seed| run(seed, mistake).is_err());
        assert!(found, "{mistake:?} is not found in {budget} worlds");
    }
}
