//! Nodes on loopback beside somebody who takes all that is to be had: what is written still arrives elsewhere, and what
//! anybody can have under way has an end. Nothing here measures time: `scripts/bench` does.

use kinsync::Kind;
use kinsync::passes::ANSWERING_MAX;
use kinsync::request::SyncNow;
use kinsync_tests::flood::{AT_ONCE_MAX, Flood, Heard};
use kinsync_tests::wait::until;
use tokio::task::JoinSet;

use crate::loopback::{Device, fill, library};

/// Bytes of a page at least, compressed, where there is more than one: far more than an answer without records.
const PAGE_BYTES_MIN: u64 = 4 << 10;

/// Edits each way while something else goes on.
const EDITS: usize = 5;

/// Answers that a flood takes before and after the edits: it was there all the time.
const FLOODED: u64 = 50;

/// Those who may wait for passes, and some more.
const ASKERS_MAX: usize = 64;
const BEYOND: usize = 8;

/// Who writes without a pause, and how many records at a time.
const WRITERS: usize = 4;
const WRITTEN: usize = 50;

/// Leaves, and comes back without manners.
fn flood(device: &mut Device, victim: &Device) -> Flood {
    device.leave();
    let (identity, address) = (device.control.identity(), victim.address());
    let connect = async { Flood::connect(identity, victim.control.device(), &address).unwrap() };
    let flood = device.runtime.block_on(connect);
    until("it is greeted", || flood.heard().greeted.then_some(()));
    // What it said is taken in a moment later; until then it is told to come back.
    until("it is served", || {
        let before = flood.heard();
        flood.ask(1);
        let after = heard(&flood, |heard| heard != before);
        (after.answers > before.answers).then_some(())
    });
    flood
}

fn heard(flood: &Flood, enough: impl Fn(Heard) -> bool) -> Heard {
    until("a flood has heard enough", || Some(flood.heard()).filter(|heard| enough(*heard)))
}

/// Trusted devices that ask for everything again and again have their answers, and edits go both ways beside them.
#[test]
fn who_asks_for_everything_again_and_again_keeps_nobody_waiting() {
    let names = ["desktop", "laptop", "phone", "tablet"];
    let [desktop, laptop, mut phone, mut tablet] = names.map(Device::new);
    fill(&desktop);
    for device in [&laptop, &phone, &tablet] {
        device.pair_with(&desktop);
    }
    desktop.put("edit", "before");
    laptop.wait_for("edit", "before");

    let floods = [flood(&mut phone, &desktop), flood(&mut tablet, &desktop)];
    let heard_by_all = |enough: &dyn Fn(usize, Heard) -> bool| {
        [0, 1].map(|number| heard(&floods[number], |heard| enough(number, heard)))
    };
    for flood in &floods {
        flood.ask_always(AT_ONCE_MAX);
    }
    let before = heard_by_all(&|_, heard| heard.answers >= FLOODED);
    for edit in 0..EDITS {
        let (there, back) = (format!("there {edit}"), format!("back {edit}"));
        desktop.put("edit", &there);
        laptop.wait_for("edit", &there);
        laptop.put("edit", &back);
        desktop.wait_for("edit", &back);
    }
    let after = heard_by_all(&|number, heard| heard.answers >= before[number].answers + FLOODED);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after.bytes > before.bytes + FLOODED * PAGE_BYTES_MIN, "it got pages of records: {after:?}");
        assert_eq!(after.lost, 0, "whoever is refused hears it, and keeps the connection");
    }
}

/// Of one device so many requests are here, and no more; another one has as many beside it, and so has any further one.
#[test]
fn what_one_device_can_have_under_way_has_an_end() {
    let desktop = Device::with_threads("desktop", 1);
    let [mut phone, mut tablet, mut watch] = ["phone", "tablet", "watch"].map(Device::new);
    fill(&desktop);
    for device in [&phone, &tablet, &watch] {
        device.pair_with(&desktop);
    }
    let greedy = [flood(&mut phone, &desktop), flood(&mut tablet, &desktop)];
    let modest = flood(&mut watch, &desktop);

    // Nothing gets done while the store's one thread is held.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (holds, holding) = std::sync::mpsc::channel();
    let hold = desktop.runtime.spawn_blocking(move || {
        holds.send(()).unwrap();
        // Ends when nobody holds the other end any more.
        let _ = held.recv();
    });
    holding.recv().unwrap();
    let (greedy_before, modest_before) = (greedy.each_ref().map(Flood::heard), modest.heard());
    let refused = (AT_ONCE_MAX - ANSWERING_MAX) as u64;
    for (greedy, before) in greedy.iter().zip(greedy_before) {
        greedy.ask(AT_ONCE_MAX);
        let while_held = heard(greedy, |heard| heard.busy >= before.busy + refused);
        assert_eq!(while_held.answers, before.answers, "nothing is answered yet");
    }
    modest.ask(1);

    drop(release);
    desktop.runtime.block_on(hold).unwrap();
    let modest_after = heard(&modest, |heard| heard != modest_before);
    let expected = Heard { answers: modest_before.answers + 1, bytes: modest_after.bytes, ..modest_before };
    assert_eq!(modest_after, expected, "the third one was not turned away");
    let served = ANSWERING_MAX as u64;
    for (greedy, before) in greedy.iter().zip(greedy_before) {
        let after = heard(greedy, |heard| heard.answers >= before.answers + served);
        assert_eq!(after.busy, before.busy + refused, "as many as that, and no more");
        assert_eq!(after.answers, before.answers + served);
        assert_eq!(after.lost, 0);
    }
}

/// Those who wait for passes have an end too: one more is told so at once, and the others have their answers.
#[test]
fn who_waits_for_passes_is_counted() {
    let (desktop, mut phone) = (Device::new("desktop"), Device::new("phone"));
    phone.pair_with(&desktop);
    // It refuses whatever it is asked, so that passes with it go on for a while.
    let _flood = flood(&mut phone, &desktop);
    let outcomes = desktop.runtime.block_on(async {
        let ask = || desktop.control.sync_now(SyncNow { wait: true, ..SyncNow::default() });
        libp2p::futures::future::join_all((0..ASKERS_MAX + BEYOND).map(|_| ask())).await
    });
    let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(failures.len(), BEYOND, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.kind == Kind::Busy), "{failures:?}");
}

/// A store that is written without a pause, by as many as want to: what is written beside them arrives elsewhere.
#[test]
fn a_disk_in_full_use_keeps_no_edit_back() {
    let (desktop, laptop) = (Device::new("desktop"), Device::new("laptop"));
    laptop.pair_with(&desktop);
    desktop.put("edit", "before");
    laptop.wait_for("edit", "before");

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let control = desktop.control.clone();
        let write = async move {
            for round in 0_u64.. {
                let mut many = library();
                many.items.truncate(WRITTEN);
                for item in &mut many.items {
                    item.id = format!("{writer}/{}", item.id);
                    item.value = format!("{round} {}", "y".repeat(300)).into_bytes().into();
                }
                control.put_many(many).await.unwrap();
            }
        };
        writers.spawn_on(write, desktop.runtime.handle());
    }
    for edit in 0..EDITS {
        let (there, back) = (format!("there {edit}"), format!("back {edit}"));
        desktop.put("edit", &there);
        laptop.wait_for("edit", &there);
        laptop.put("edit", &back);
        desktop.wait_for("edit", &back);
    }
    assert_eq!(writers.len(), WRITERS);
    assert!(writers.try_join_next().is_none(), "they write on");
    desktop.runtime.block_on(writers.shutdown());
}
