//! The line of jobs before the writer, at its bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};

use super::world::*;
use crate::delivery::PART_RECORDS_MIN;
use crate::{Applied, Job, QUEUE_JOBS_MAX, QUEUE_WAITS_AT, Rules, Store, WriteError};

/// Writers that wait for a place.
const LATE: usize = 8;

fn write(name: &str) -> Job<kinsync_protocol::record::Version> {
    Job::put(notes(), key(name), vec![1], NOW)
}

/// Holds the writer within a commit, until what is returned is dropped.
fn hold(store: &Store) -> Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (hold, holding) = mpsc::channel();
    store.on_commit(move |_| {
        // Nobody listens any more after the first commit, and nobody holds.
        let _ = hold.send(());
        let _ = held.recv();
    });
    store.submit(write("held"), |result| assert!(result.is_ok()));
    holding.recv().unwrap();
    release
}

fn fill(store: &Store, jobs: usize) -> mpsc::Receiver<usize> {
    let (done, answers) = mpsc::channel();
    for number in 0..jobs {
        let done = done.clone();
        store.submit(write(&format!("n{number}")), move |result| {
            assert!(result.is_ok());
            done.send(number).unwrap();
        });
    }
    answers
}

/// Nothing that is submitted waits for its place; at the bound it is refused,
/// and all that had a place before is done, in order.
#[test]
fn what_is_submitted_beyond_the_bound_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let release = hold(&store);
    let answers = fill(&store, QUEUE_JOBS_MAX);
    assert_eq!(store.queued_jobs(), QUEUE_JOBS_MAX);
    let (refuse, refused) = mpsc::channel();
    store.submit(write("refused"), move |result| refuse.send(result).unwrap());
    assert_eq!(refused.try_recv().unwrap(), Err(WriteError::Busy));
    assert_eq!(store.queued_jobs(), QUEUE_JOBS_MAX);

    drop(release);
    assert!(answers.iter().eq(0..QUEUE_JOBS_MAX), "answered in order");
    put(&store, "after", "1", NOW);
    assert_eq!(get(&store, "refused"), None);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, QUEUE_JOBS_MAX as u64 + 2);
    assert_eq!(store.queued_jobs(), 0);
}

/// Whoever can wait does so before the line is full: there is room for those
/// who cannot, and nobody's write is lost.
#[test]
fn who_can_wait_leaves_room_for_those_who_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let release = hold(&store);
    let answers = fill(&store, QUEUE_WAITS_AT);
    thread::scope(|scope| {
        let (begin, begun) = mpsc::channel();
        for number in 0..LATE {
            let (store, begin) = (&store, begin.clone());
            scope.spawn(move || {
                begin.send(()).unwrap();
                store.write(write(&format!("late{number}"))).unwrap();
            });
        }
        for _ in 0..LATE {
            begun.recv().unwrap();
        }
        assert_eq!(store.queued_jobs(), QUEUE_WAITS_AT);
        let (done, answer) = mpsc::channel();
        store.submit(write("submitted"), move |result| done.send(result.is_ok()).unwrap());
        assert_eq!(store.queued_jobs(), QUEUE_WAITS_AT + 1);
        drop(release);
        assert!(answer.recv().unwrap());
    });
    assert_eq!(answers.iter().count(), QUEUE_WAITS_AT);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, (QUEUE_WAITS_AT + LATE + 2) as u64);
}

/// What waits when a store is dropped is done.
#[test]
fn a_store_that_closes_finishes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let release = hold(&store);
    let answers = fill(&store, QUEUE_WAITS_AT);
    let closing = thread::spawn(move || drop(store));
    drop(release);
    closing.join().unwrap();
    assert_eq!(answers.iter().count(), QUEUE_WAITS_AT);
}

/// What the laptop delivers: many records, and a cursor that covers them.
fn delivery(records: usize) -> Job<Applied> {
    let record = |n: usize| {
        let stamp = Stamp { time: Hlc(Hlc::at(NOW).0 + n as u64), device: LAPTOP };
        Record::new(key(&format!("l{n:04}")), Some(vec![1]), stamp, Ancestry::default())
    };
    let cursor = Some(Cursor { epoch: 1, seq: records as u64, after: None });
    let batch = Batch { domain: notes(), records: (0..records).map(record).collect(), cursor, floor: None };
    Job::apply(LAPTOP, vec![batch], NOW)
}

/// Has `store` do something on the writer's thread once it takes in the record
/// number `at` of a delivery.
fn at_record(store: &Store, at: usize, act: impl Fn() + Send + Sync + 'static) {
    let count = AtomicUsize::new(0);
    let check = move |_: u32, _: &[u8]| {
        if count.fetch_add(1, Ordering::Relaxed) == at {
            act();
        }
        Ok(())
    };
    let rules = Rules { check: Some(Arc::new(check)), ..Rules::default() };
    store.set_rules(BTreeMap::from([(notes(), rules)]));
}

/// P15: one edit does not wait for all of a delivery that is under way, and the
/// delivery goes on behind it, to its cursor.
#[test]
fn a_delivery_lets_small_writes_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path(), PHONE));
    let (told, order) = mpsc::channel();
    let (writer, edited) = (Arc::downgrade(&store), told.clone());
    at_record(&store, 10, move || {
        let (store, edited) = (writer.upgrade().unwrap(), edited.clone());
        store.submit(write("edit"), move |result| edited.send(("edit", result.is_ok())).unwrap());
    });
    let snapshots = Arc::downgrade(&store);
    let parts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&parts);
    store.on_commit(move |_| {
        let snapshot = snapshots.upgrade().unwrap().snapshot().unwrap();
        let live = snapshot.root(notes()).unwrap().live;
        let covered = snapshot.cursor(LAPTOP, notes()).unwrap().is_some();
        assert_eq!(covered, live == 301, "the cursor comes with the last record: {live}");
        counted.fetch_add(1, Ordering::Relaxed);
    });
    store.submit(delivery(300), move |result| told.send(("delivery", result.is_ok())).unwrap());
    assert_eq!([order.recv().unwrap(), order.recv().unwrap()], [("edit", true), ("delivery", true)]);
    assert_eq!(parts.load(Ordering::Relaxed), 3, "a part, the edit, the rest");
    assert_sound(&store);
}

/// S16: nothing of a delivery commits after the revocation that came in the middle
/// of it.
#[test]
fn a_revocation_ends_a_delivery_that_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path(), PHONE));
    let writer = Arc::downgrade(&store);
    at_record(&store, 10, move || writer.upgrade().unwrap().submit(revoke(LAPTOP), |_| ()));
    let refused = store.write(delivery(300));
    assert_eq!(refused, Err(WriteError::NotTrusted { peer: LAPTOP }));
    let taken = store.snapshot().unwrap().root(notes()).unwrap().live;
    assert_eq!(taken, PART_RECORDS_MIN as u64, "what came before it stays");
    assert_sound(&store);
}
