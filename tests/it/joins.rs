//! Three devices whose domains join what was written apart.

use kinsync_tests::joins::run;
use kinsync_tests::planted::joins::Mistake;

/// Worlds that the gate runs; scripts/sim runs others.
const SEEDS: u64 = 30;

/// Worlds within which each planted mistake must be found.
const BUDGET: u64 = 30;

/// D7 D8 S18 S19 S20: whatever three devices write while apart and in whatever
/// order they meet, they become equal, elements and counts and texts are all
/// there, nothing is lost without a trace, and no child outlives its parent.
#[test]
fn what_is_written_apart_is_joined_alike() {
    let number = |name: &str| std::env::var(format!("KINSYNC_SIM_{name}")).ok()?.parse::<u64>().ok();
    let (first, count) = (number("SEED").unwrap_or(0), number("WORLDS").unwrap_or(SEEDS));
    for seed in first..first.saturating_add(count) {
        if let Err(text) = run(seed, None) {
            panic!("seed {seed}: {text}");
        }
    }
}

/// The laws are graded: they find every mistake in a join.
#[test]
fn every_mistake_in_a_join_is_found() {
    for mistake in Mistake::ALL {
        let found = (0..BUDGET).find_map(|seed| Some((seed, run(seed, Some(mistake)).err()?)));
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found in {BUDGET} worlds");
    }
}
