//! Many simulated worlds, each from its seed: the laws hold in all of them.

use kinsync_tests::campaign::Campaign;
use kinsync_tests::disk::Memory;
use kinsync_tests::world::{Options, run};

/// Worlds that the gate runs with every fault, and as many with cursors only.
const SEEDS: u64 = 400;

fn all_hold(options: Options) {
    let summary = Campaign::from_environment(0..SEEDS, options).run::<Memory>(|line| println!("{line}"));
    println!("{}", summary.line());
    assert!(summary.failures.is_empty(), "{}", summary.failed());
}

/// P14 P18 P20 P23 P25 F10 F14 F17 S16 S17 D6 D7 D8 D13: whatever goes wrong,
/// devices that can meet again become equal, nothing that was acknowledged is
/// lost, and nothing passes between them and a revoked one.
#[test]
fn the_laws_hold_in_every_world() {
    all_hold(Options::default());
}

/// P25: cursors alone bring everything over, as long as no disk is replaced.
#[test]
fn cursors_alone_miss_nothing() {
    all_hold(Options { cursors_only: true, ..Options::default() });
}

/// D16: whatever devices let each other do and whenever that changes, nothing
/// goes where it may not, what may go arrives, deletions that are not granted
/// are undone, and devices that share everything prove that they are equal.
#[test]
fn rights_are_kept_in_every_world() {
    all_hold(Options { rights: true, ..Options::default() });
}

#[test]
fn a_seed_gives_the_same_world_twice() {
    for seed in 0..20 {
        let first = run::<Memory>(seed, Options::default(), None).map(|report| report.hash);
        let again = run::<Memory>(seed, Options::default(), None).map(|report| report.hash);
        assert_eq!(first.ok(), again.ok(), "seed {seed}");
    }
}
