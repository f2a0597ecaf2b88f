//! Whole sync sessions between two stores in memory, every frame through its
//! encoding: what the protocol itself costs, without a disk or a network.
//! `scripts/bench --pure` measures; a test run goes through each of them once.

use criterion::{BatchSize, Criterion};
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Key;
use kinsync_protocol::session::{Outcome, Session};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::wire::frame::{Request, Response};
use kinsync_tests::model::Model;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);

/// Records on both sides.
const RECORDS: usize = 10_000;

/// Of which so many were changed while apart, half on either side.
const DIFFERENCES: usize = 100;

/// Rounds after which a session has gone wrong.
const ROUNDS_MAX: usize = 100;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("session");
    for (name, differences, cursors) in [
        ("10k_records_equal", 0, true),
        ("10k_records_100_differ_by_cursor", DIFFERENCES, true),
        ("10k_records_100_differ_by_ranges", DIFFERENCES, false),
    ] {
        group.bench_function(name, |bencher| {
            let pair = apart(differences, cursors);
            let run = |(laptop, phone): &mut (Model, Model)| {
                let outcome = sync(laptop, phone);
                let moved = outcome.sent + outcome.received;
                assert!(outcome.is_equal() && moved == differences as u64, "measured is what works: {moved}");
            };
            bencher.iter_batched_ref(|| pair.clone(), run, BatchSize::LargeInput);
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Two devices that were equal once, and have changed different records since.
fn apart(differences: usize, cursors: bool) -> (Model, Model) {
    let mut laptop = Model::new(LAPTOP, 11);
    let mut phone = Model::new(PHONE, 22);
    for number in 0..RECORDS {
        write(&mut laptop, number, 0);
    }
    sync(&mut laptop, &mut phone);
    assert!(sync(&mut laptop, &mut phone).is_equal(), "with cursors on both sides");
    for number in 0..differences {
        let device = if number % 2 == 0 { &mut laptop } else { &mut phone };
        write(device, number * (RECORDS / DIFFERENCES), 1);
    }
    if !cursors {
        laptop.cursors.clear();
        phone.cursors.clear();
    }
    (laptop, phone)
}

fn write(device: &mut Model, number: usize, generation: usize) {
    let key = Key::new(format!("c{:05}/{number:07}", number / 100)).expect("a short path");
    let value = format!("message {number} of generation {generation} {}", "x".repeat(250));
    let wall = UnixMillis(1_700_000_000_000 + generation as u64);
    device.write(DomainId::of("messages"), key, Some(value.into_bytes()), wall);
}

/// One session that the laptop opens, to its end.
fn sync(laptop: &mut Model, phone: &mut Model) -> Outcome {
    let mut initiator = Session::initiate(PHONE, 1, [7; 8], false);
    let opening = initiator.open(laptop).expect("a model is always read");
    let mut responder = Session::respond(LAPTOP, &opening).expect("it begins with a Hello");
    let mut next = Some(opening);
    for _ in 0..ROUNDS_MAX {
        let Some(frame) = next.take() else {
            return initiator.outcome();
        };
        let bytes = Request::Exchange(frame).encode();
        let Ok(Request::Exchange(frame)) = Request::decode(&bytes) else { panic!("not an exchange") };
        let batches = responder.take(frame, phone).expect("no fault");
        phone.apply(LAPTOP, batches, UnixMillis(0));
        let step = responder.step(phone).expect("a model is always read");
        phone.apply(LAPTOP, step.cursors, UnixMillis(0));
        let bytes = Response::Exchange(step.frame.expect("a responder answers")).encode();
        let Ok(Response::Exchange(frame)) = Response::decode(&bytes) else { panic!("not an exchange") };
        let batches = initiator.take(frame, laptop).expect("no fault");
        laptop.apply(PHONE, batches, UnixMillis(0));
        let step = initiator.step(laptop).expect("a model is always read");
        laptop.apply(PHONE, step.cursors, UnixMillis(0));
        next = step.frame;
    }
    panic!("a session without end");
}
