//! Three devices that hold mass changes until a person has looked.

use kinsync_tests::guard::run;
use kinsync_tests::planted::guard::Mistake;

/// Worlds that the gate runs; scripts/sim runs others.
const SEEDS: u64 = 16;

/// Worlds within which each planted mistake must be found.
const BUDGET: u64 = 16;

/// D10: whatever a device gone wrong deletes or replaces at once and however
/// it arrives, nothing of that is applied before a person has said yes; a no
/// keeps everything, and stands on all devices; a yes is followed by all; a
/// first sync asks nobody; nothing that was held is lost.
#[test]
fn mass_changes_wait_in_every_world() {
    let number = |name: &str| std::env::var(format!("KINSYNC_SIM_{name}")).ok()?.parse::<u64>().ok();
    let (first, count) = (number("SEED").unwrap_or(0), number("WORLDS").unwrap_or(SEEDS));
    for seed in first..first.saturating_add(count) {
        if let Err(text) = run(seed, None) {
            panic!("seed {seed}: {text}");
        }
    }
}

/// The laws are graded: they find every mistake in a guard.
#[test]
fn every_mistake_in_a_guard_is_found() {
    for mistake in Mistake::ALL {
        let found = (0..BUDGET).find_map(|seed| Some((seed, run(seed, Some(mistake)).err()?)));
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found in {BUDGET} worlds");
    }
}
