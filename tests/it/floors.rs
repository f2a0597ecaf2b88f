//! Devices that forget deletions, and one that was away for longer.

use kinsync_tests::floors::run;
use kinsync_tests::planted::floors::Mistake;

/// Worlds that the gate runs; scripts/sim runs others.
const SEEDS: u64 = 20;

/// Worlds within which each planted mistake must be found.
const BUDGET: u64 = 40;

/// P23 D12: deletions are forgotten in time, a device that was away for longer
/// brings nothing back by itself, what it brings is set aside in sight, and a
/// new device's old library is taken in whole.
#[test]
fn what_is_forgotten_stays_gone() {
    let number = |name: &str| std::env::var(format!("KINSYNC_SIM_{name}")).ok()?.parse::<u64>().ok();
    let (first, count) = (number("SEED").unwrap_or(0), number("WORLDS").unwrap_or(SEEDS));
    for seed in first..first.saturating_add(count) {
        if let Err(text) = run(seed, None) {
            panic!("seed {seed}: {text}");
        }
    }
}

/// The laws are graded: they find every mistake in forgetting.
#[test]
fn every_mistake_in_forgetting_is_found() {
    for mistake in Mistake::ALL {
        let found = (0..BUDGET).find_map(|seed| Some((seed, run(seed, Some(mistake)).err()?)));
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found in {BUDGET} worlds");
    }
}
