//! Three devices whose domains join what was written apart.

use kinsync_tests::joins::run;
use kinsync_tests::planted::joins::Mistake;
use kinsync_tests::seeds::{each, find};

/// Worlds that the gate runs; scripts/sim runs others.
const SEEDS: u64 = 30;

/// Worlds within which each planted mistake must be found.
const BUDGET: u64 = 30;

/// D7 D8 S18 S19 S20: whatever three devices write while apart and in whatever
/// order they meet, they become equal, elements and counts and texts are all
/// there, nothing is lost without a trace, and no child outlives its parent.
#[test]
fn what_is_written_apart_is_joined_alike() {
    each(0..SEEDS, |seed| run(seed, None));
}

/// The laws are graded: they find every mistake in a join.
#[test]
fn every_mistake_in_a_join_is_found() {
    find(&Mistake::ALL, BUDGET, |seed, mistake| run(seed, Some(mistake)));
}
