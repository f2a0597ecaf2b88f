//! Three devices that hold mass changes until a person has looked.

use kinsync_tests::guard::run;
use kinsync_tests::planted::guard::Mistake;
use kinsync_tests::seeds::{each, find};

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
    each(0..SEEDS, |seed| run(seed, None));
}

/// The laws are graded: they find every mistake in a guard.
#[test]
fn every_mistake_in_a_guard_is_found() {
    find(&Mistake::ALL, BUDGET, |seed, mistake| run(seed, Some(mistake)));
}
