//! Whole nodes on loopback when something around them fails: the disk of one is full, or clocks jump while it passes.
//! What can go on does, and the other devices hardly notice.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use kinsync::Kind;
use kinsync::clock::{Clock, Moment};
use kinsync::request::{SyncNow, SyncOutcome, SyncRow};
use kinsync_tests::wait::until;

use crate::loopback::{DOMAIN, Device, RECORDS, fill};
use crate::mounts::{mount, on_own_mounts};

/// Bytes of the disk that gets full: a node with its reserve, and some.
const DISK: &str = "size=24m";

/// A value that fills the disk soon.
const VALUE_BYTES: usize = 50_000;

/// The least that a file takes of a disk.
const BLOCK: usize = 4_096;

/// Passes with a full disk before there is room again: the next one by itself would be more than a minute away.
const REFUSED: usize = 6;

/// A year of milliseconds.
const YEAR: u64 = 365 * 24 * 3_600 * 1_000;

/// Syncs with the desktop. Others may have no address here, and are waited for in vain.
fn sync(device: &Device) -> SyncRow {
    let request = SyncNow { peer: Some("desktop".to_owned()), wait: true, ..SyncNow::default() };
    let rows = device.runtime.block_on(device.control.sync_now(request)).unwrap();
    rows.peers.into_iter().next().unwrap()
}

/// Leaves no room on the disk of `folder`; the file that takes it.
///
/// It never gets smaller: the node gives up its reserve meanwhile, and builds it anew where it finds room.
fn fill_up(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut filler = File::create(&path).unwrap();
    let mut bytes = 1 << 20;
    while bytes >= BLOCK {
        if filler.write_all(&vec![1; bytes]).is_err() {
            bytes /= 2;
        }
    }
    path
}

/// A node whose disk is full answers reads, says what is wrong, and gives what it has to a device that lacks it; one
/// that lacks nothing stays in step with it. With room again it asks for what came meanwhile, however often it had to
/// be refused.
#[test]
fn a_full_disk_stops_writing_here_and_nothing_elsewhere() {
    let name = "strain::a_full_disk_stops_writing_here_and_nothing_elsewhere";
    let Some(folder) = on_own_mounts(name) else { return };
    mount(&folder, DISK);
    let desktop = Device::at("desktop", &folder.join("home"));
    let (laptop, mut phone) = (Device::new("laptop"), Device::new("phone"));
    for device in [&laptop, &phone] {
        device.pair_with(&desktop);
    }
    desktop.put("edit", "before");
    for device in [&laptop, &phone] {
        device.wait_for("edit", "before");
    }

    // The phone is away while the last of the room is used. Whether a write still finds some depends on what the node
    // had to write when there was none any more.
    phone.leave();
    desktop.put("n0", &"x".repeat(VALUE_BYTES));
    let filler = fill_up(&folder);
    let mut written = 1;
    let failure = loop {
        let value = vec![b'x'; VALUE_BYTES];
        match desktop.runtime.block_on(desktop.control.put(DOMAIN, &format!("n{written}"), value)) {
            Ok(_) => written += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.kind, Kind::DiskFull);
    let status = desktop.runtime.block_on(desktop.control.status()).unwrap();
    assert!(status.warnings.iter().any(|warning| warning.code == "disk-full"), "{:?}", status.warnings);
    desktop.wait_for("edit", "before");

    let last = format!("n{}", written - 1);
    let value = "x".repeat(VALUE_BYTES);
    laptop.wait_for(&last, &value);
    let row = sync(&laptop);
    assert_eq!((row.outcome, row.pull, row.push), (SyncOutcome::Equal, 0, 0), "{row:?}");
    phone.come_back();
    phone.wait_for(&last, &value);

    laptop.put("edit", "after");
    for _ in 0..REFUSED {
        let row = sync(&laptop);
        assert_eq!(row.outcome, SyncOutcome::Failed, "{row:?}");
    }
    fs::remove_file(&filler).unwrap();
    desktop.wait_for("edit", "after");
    phone.wait_for("edit", "after");
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
