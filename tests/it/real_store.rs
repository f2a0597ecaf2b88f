//! The laws of the simulator over the real store.

use kinsync_tests::campaign::Campaign;
use kinsync_tests::disk::Real;
use kinsync_tests::world::Options;

/// Worlds that the gate runs.
const SEEDS: u64 = 40;

/// P14 P18 P20 P23 P25 F10 F14 F17 S16 S17 D6 D7 D8 D13: the same over the
/// real store.
#[test]
fn the_laws_hold_over_the_real_store() {
    all_hold(Options::default());
}

/// D16: the same with rights that change.
#[test]
fn rights_are_kept_over_the_real_store() {
    all_hold(Options { rights: true, ..Options::default() });
}

fn all_hold(options: Options) {
    let campaign = Campaign::from_environment(0..SEEDS, options);
    let summary = campaign.run::<Real>(|line| println!("{line}"));
    println!("{}", summary.line());
    assert!(summary.failures.is_empty(), "{}", summary.failed());
}
