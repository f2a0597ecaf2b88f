//! The line of jobs before the writer, at its bounds.

use std::sync::mpsc::{self, Sender};
use std::thread;

use kinsync_protocol::snapshot::Snapshot;

use super::world::*;
use crate::{Job, QUEUE_JOBS_MAX, QUEUE_WAITS_AT, Store, WriteError};

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
