//! Many writers, and trust in the order of commits.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::trust;

use super::platter::{created, start};
use super::world::{self, *};
use crate::{Commit, Job, WriteError};

fn from_laptop(number: u64) -> Batch {
    let stamp = Stamp { time: Hlc(Hlc::at(NOW).0 + number), device: LAPTOP };
    let record = Record::new(key(&format!("k{number}")), Some(vec![1]), stamp, Ancestry::default());
    let cursor = Some(Cursor { epoch: 1, seq: number, after: None });
    Batch { domain: notes(), records: vec![record], cursor, floor: None }
}

/// Writers that come at once share commits, and each gets its own answer.
#[test]
fn sixty_four_writers_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let commits = Arc::new(Mutex::new(Vec::<Commit>::new()));
    let seen = Arc::clone(&commits);
    store.on_commit(move |commit| seen.lock().unwrap().push(commit.clone()));
    thread::scope(|scope| {
        for writer in 0..64 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..4 {
                    put(store, &format!("w{writer}-{n}"), "value", NOW);
                    let too_large = vec![0; kinsync_protocol::limits::VALUE_BYTES_MAX + 1];
                    let refused = store.put(notes(), key("large"), too_large, NOW);
                    assert!(matches!(refused, Err(WriteError::ValueTooLarge { .. })));
                }
            });
        }
    });
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, 256);
    assert_sound(&store);
    let commits = commits.lock().unwrap();
    let mut head = 0;
    for change in commits.iter().flat_map(|commit| &commit.domains) {
        assert_eq!(change.previous, head, "commits are told in order and without gap");
        assert!(change.complete);
        assert_eq!(change.changes.len() as u64, change.head - change.previous);
        head = change.head;
    }
    assert_eq!(head, 256);
}

/// Above a thousand changes only the range is told.
#[test]
fn a_large_commit_tells_only_its_range() {
    for (count, complete) in [(1_000, true), (1_001, false)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        let (tell, told) = mpsc::channel();
        store.on_commit(move |commit| tell.send(commit.clone()).unwrap());
        let records = (0..count).map(|n| (key(&format!("n{n}")), vec![1])).collect();
        store.put_many(notes(), records, NOW).unwrap();
        let change = &told.recv().unwrap().domains[0];
        assert_eq!((change.complete, change.head), (complete, count));
        assert_eq!(change.changes.len() as u64, if complete { count } else { 0 });
    }
}

/// A device that nobody trusted writes nothing.
#[test]
fn a_stranger_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let stranger = DeviceId([9; 32]);
    let refused = store.apply(stranger, vec![from_laptop(1)], NOW);
    assert_eq!(refused, Err(WriteError::NotTrusted { peer: stranger }));
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().head, 0);
    assert_eq!(store.snapshot().unwrap().cursor(stranger, notes()).unwrap(), None);

    store.write(Job::admit_once(stranger)).unwrap();
    store.apply(stranger, vec![from_laptop(1)], NOW).unwrap();
    store.write(Job::end_once(stranger)).unwrap();
    assert!(store.apply(stranger, vec![from_laptop(2)], NOW).is_err());
}

/// A revoked device is not let in again as a visitor.
#[test]
fn a_visit_does_not_raise_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    store.write(revoke(LAPTOP)).unwrap().unwrap();
    store.write(Job::admit_once(LAPTOP)).unwrap();
    assert!(store.apply(LAPTOP, vec![from_laptop(1)], NOW).is_err());
}

/// A guest writes to the domains it was given and to no other, not even within
/// one delivery.
#[test]
fn a_guest_writes_to_its_domains_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let limited = set_trust(LAPTOP, trust::State::Kin, trust::Role::Guest, Some(vec!["notes".into()]));
    store.write(limited).unwrap().unwrap();
    store.apply(LAPTOP, vec![from_laptop(1)], NOW).unwrap();
    let other = Batch { domain: DomainId::of("messages"), ..from_laptop(2) };
    assert!(store.apply(LAPTOP, vec![from_laptop(2), other], NOW).is_err());
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, 1);
}

/// S16 (T-R7): in 1,000 interleavings of applying and revoking, no record of
/// the revoked device commits after its revocation has.
#[test]
fn nothing_commits_after_a_revocation() {
    let store = start(&created(PHONE));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..1_000_u64 {
        world::trust(&store, LAPTOP);
        let (done, answers) = mpsc::channel();
        let (count, revoke_at) = (random.u64(1..6), random.u64(0..6));
        for n in 0..=count {
            if n == revoke_at.min(count) {
                let (order, done) = (Arc::clone(&order), done.clone());
                store.submit(revoke(LAPTOP), move |result| {
                    assert!(result.is_ok());
                    order.lock().unwrap().push(true);
                    done.send(()).unwrap();
                });
            }
            let (order, done) = (Arc::clone(&order), done.clone());
            store.submit(Job::apply(LAPTOP, vec![from_laptop(round * 10 + n)], NOW), move |result| {
                match result {
                    Ok(_) => order.lock().unwrap().push(false),
                    Err(error) => assert_eq!(error, WriteError::NotTrusted { peer: LAPTOP }),
                }
                done.send(()).unwrap();
            });
        }
        drop(done);
        assert_eq!(answers.iter().count() as u64, count + 2);
        let mut order = order.lock().unwrap();
        assert_eq!(order.pop(), Some(true), "an apply was answered with success after the revocation");
        assert!(!order.contains(&true));
        order.clear();
        drop(order);
        let before = store.snapshot().unwrap().root(notes()).unwrap().head;
        assert!(store.apply(LAPTOP, vec![from_laptop(round * 10 + 9)], NOW).is_err());
        assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().head, before);
    }
    assert_sound(&store);
}

/// S15 S16: who is trusted survives a restart.
#[test]
fn a_revocation_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    store.write(revoke(LAPTOP)).unwrap().unwrap();
    let view = store.snapshot().unwrap().trust_view().unwrap();
    assert_eq!(view.standing(LAPTOP), trust::Standing::Revoked);
    drop(store);
    let store = crate::Store::open(folder.path().join("store"), options(PHONE)).unwrap();
    assert_eq!(store.snapshot().unwrap().trust_view().unwrap(), view);
    assert!(store.apply(LAPTOP, vec![from_laptop(1)], NOW).is_err());
}
