//! Devices that forget deletions, and one that was away for longer.

use kinsync_tests::floors::run;
use kinsync_tests::planted::floors::Mistake;
use kinsync_tests::seeds::{each, find};

/// Worlds that the gate runs; scripts/sim runs others.
const SEEDS: u64 = 20;

/// Worlds within which each planted mistake must be found.
const BUDGET: u64 = 40;

/// P23 D12: deletions are forgotten in time, a device that was away for longer
/// brings nothing back by itself, what it brings is set aside in sight, and a
/// new device's old library is taken in whole.
#[test]
fn what_is_forgotten_stays_gone() {
    each(0..SEEDS, |seed| run(seed, None));
}

/// The laws are graded: they find every mistake in forgetting.
#[test]
fn every_mistake_in_forgetting_is_found() {
    find(&Mistake::ALL, BUDGET, |seed, mistake| run(seed, Some(mistake)));
}
