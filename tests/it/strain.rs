//! Whole nodes on loopback when something around them fails: clocks jump while one passes.
//! What can go on does, and the other devices hardly notice.

use kinsync::clock::{Clock, Moment};
use kinsync::request::{SyncNow, SyncOutcome, SyncRow};
use kinsync_tests::wait::until;

use crate::loopback::{Device, RECORDS, fill};

/// A year of milliseconds.
const YEAR: u64 = 365 * 24 * 3_600 * 1_000;

fn sync(device: &Device) -> SyncRow {
    let request = SyncNow { wait: true, ..SyncNow::default() };
    let rows = device.runtime.block_on(device.control.sync_now(request)).unwrap();
    rows.peers.into_iter().next().unwrap()
}

/// While a first copy is under way over the network, one clock falls back to 1970 and the other one jumps a year ahead:
/// the copy ends in the same pass, a third device hears of edits all the while, and whoever edits last wins everywhere.
#[test]
fn a_clock_that_jumps_during_a_pass_changes_nothing() {
    let clocks = [Clock::settable(), Clock::settable()];
    let (desktop, mut phone) =
        (Device::by("desktop", clocks[0].clone()), Device::by("phone", clocks[1].clone()));
    let laptop = Device::new("laptop");
    for device in [&laptop, &phone] {
        device.pair_with(&desktop);
    }
    desktop.put("edit", "before");
    for device in [&laptop, &phone] {
        device.wait_for("edit", "before");
    }
    phone.leave();
    fill(&desktop);

    // The first page is there, and others are still to come.
    let jumped = clocks.clone();
    let (tell, pages) = std::sync::mpsc::channel();
    phone.control.storage().store().on_commit(move |commit| {
        let came: u64 = commit.domains.iter().map(|change| change.head - change.previous).sum();
        if came > 0 {
            let now = Clock::system().wall();
            jumped[0].set_wall(Moment(now.0 + YEAR));
            jumped[1].set_wall(Moment(0));
            // The test may have ended.
            let _ = tell.send(came);
        }
    });
    phone.come_back();
    let mut pulled = 0;
    until("all pages are there", || {
        pulled += pages.try_iter().sum::<u64>();
        (pulled >= RECORDS as u64).then_some(())
    });
    assert_eq!(pulled, RECORDS as u64, "nothing came twice");
    assert_eq!(sync(&phone).outcome, SyncOutcome::Equal);
    assert!(phone.control.clock().wall() < Moment(YEAR));

    for (from, to) in
        [(&phone, [&desktop, &laptop]), (&desktop, [&phone, &laptop]), (&laptop, [&desktop, &phone])]
    {
        let edit = format!("after all, by {}", from.control.device().short());
        from.put("edit", &edit);
        for device in to {
            device.wait_for("edit", &edit);
        }
    }
}
