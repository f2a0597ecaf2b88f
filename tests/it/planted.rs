//! The simulator is graded: it must find every planted mistake.

use std::sync::atomic::{AtomicUsize, Ordering};

use kinsync_tests::disk::Memory;
use kinsync_tests::planted::Planted;
use kinsync_tests::world::{Options, run};

/// Seeds within which each mistake must be found; the clean system passes the
/// worlds of all of them.
const BUDGET: u64 = 150;

/// Whether repairs are hidden, so that they do not heal what a cursor missed.
const ALL: bool = false;
const CURSORS: bool = true;

/// Mistakes that show only where devices limit what others may do.
const WITH_RIGHTS: [Planted; 5] = [
    Planted::RightsCheckedEarly,
    Planted::RightsForgotten,
    Planted::PushIgnoresGrants,
    Planted::AnybodyDeletes,
    Planted::SessionKeepsGrants,
];

/// Each mistake, the worlds it is looked for in, and the first seed that
/// showed it when it was last measured. The search begins there.
const FOUND: [(Planted, bool, u64); 42] = [
    (Planted::AckBeforeSync, ALL, 12),
    (Planted::CursorBeforeData, ALL, 0),
    (Planted::CursorBeforeData, CURSORS, 3),
    (Planted::TieByArrival, ALL, 0),
    (Planted::WallClockStamps, ALL, 0),
    (Planted::SameEpoch, ALL, 25),
    (Planted::StaleReply, ALL, 0),
    (Planted::TombstoneExpiry, ALL, 43),
    (Planted::OverwriteKeepsNumber, ALL, 0),
    (Planted::OverwriteKeepsNumber, CURSORS, 0),
    (Planted::HalfBatch, ALL, 0),
    (Planted::HalfBatch, CURSORS, 3),
    (Planted::PageEnd, ALL, 4),
    (Planted::PageEnd, CURSORS, 0),
    (Planted::RefuseFuture, ALL, 0),
    (Planted::AlwaysOverwrite, ALL, 0),
    (Planted::LeakedSlot, ALL, 0),
    (Planted::DeleteNotLogged, CURSORS, 4),
    (Planted::ClockForgotten, ALL, 0),
    (Planted::NoValueTieBreak, ALL, 35),
    (Planted::ChildSkipped, ALL, 14),
    (Planted::WantsDropped, ALL, 13),
    (Planted::WantsDropped, CURSORS, 2),
    (Planted::CursorDespiteWants, ALL, 0),
    (Planted::CursorDespiteWants, CURSORS, 2),
    (Planted::EchoSuppressed, ALL, 0),
    (Planted::PushMovesCursor, ALL, 13),
    (Planted::PushMovesCursor, CURSORS, 8),
    (Planted::RootByCount, ALL, 0),
    (Planted::HistoryForgotten, ALL, 0),
    (Planted::ClockFollowsAnything, ALL, 0),
    (Planted::EditIgnoresReplaced, ALL, 0),
    (Planted::TrustCheckedEarly, ALL, 1),
    (Planted::RevocationForgotten, ALL, 1),
    (Planted::AnswersAfterRevocation, ALL, 1),
    (Planted::RevocationNotSpread, ALL, 10),
    (Planted::RevokedGoesOn, ALL, 1),
    (Planted::RightsCheckedEarly, ALL, 65),
    (Planted::RightsForgotten, ALL, 0),
    (Planted::PushIgnoresGrants, ALL, 0),
    (Planted::AnybodyDeletes, ALL, 5),
    (Planted::SessionKeepsGrants, ALL, 60),
];

#[test]
fn every_planted_mistake_is_found_within_its_budget() {
    let next = AtomicUsize::new(0);
    let search = || {
        let mut missed = Vec::new();
        while let Some((planted, cursors_only, first)) = FOUND.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rights = WITH_RIGHTS.contains(planted);
            let options = Options { planted: Some(*planted), cursors_only: *cursors_only, rights };
            let seeds = std::iter::once(*first).chain(0..BUDGET);
            match seeds.clone().find_map(|seed| run::<Memory>(seed, options, None).err()) {
                Some(failure) => println!(
                    "{:24} {:7} {:>4}  {}",
                    format!("{planted:?}"),
                    if *cursors_only { "CURSORS" } else { "ALL" },
                    failure.seed,
                    failure.violation.law
                ),
                None => missed.push(*planted),
            }
        }
        missed
    };
    let mut missed = std::thread::scope(|scope| {
        let other = scope.spawn(search);
        let mut missed = search();
        missed.extend(other.join().unwrap());
        missed
    });
    missed.sort();
    assert!(missed.is_empty(), "not found in {BUDGET} seeds: {missed:?}");
}

#[test]
fn every_planted_mistake_has_a_row() {
    let rows: std::collections::BTreeSet<_> = FOUND.iter().map(|(planted, ..)| *planted).collect();
    assert!(Planted::ALL.iter().all(|planted| rows.contains(planted)));
}
