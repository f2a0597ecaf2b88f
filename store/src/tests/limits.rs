//! What a record may be, and how much of its past is kept.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::limits::{DOMAINS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::{Batch, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};

use super::world::*;
use crate::{DOMAIN_NAME_BYTES_MAX, Job, PAST_VERSIONS, PutMany, Reason, Store, WriteError};

#[test]
fn values_end_at_one_mebibyte() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    store.put(notes(), key("x"), vec![7; VALUE_BYTES_MAX], NOW).unwrap();
    let refused = store.put(notes(), key("x"), vec![7; VALUE_BYTES_MAX + 1], NOW);
    let error = WriteError::ValueTooLarge { bytes: VALUE_BYTES_MAX + 1, limit: VALUE_BYTES_MAX };
    assert_eq!(refused, Err(error.clone()));
    let many = vec![(key("a"), vec![1]), (key("b"), vec![7; VALUE_BYTES_MAX + 1])];
    assert_eq!(store.put_many(notes(), many, NOW), Err(error));
    assert_eq!(get(&store, "a"), None, "all or none");
    assert_sound(&store);
}

#[test]
fn the_longest_key_is_stored_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let long = Key::new("k".repeat(KEY_BYTES_MAX)).unwrap();
    store.put(notes(), long.clone(), vec![1], NOW).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.keys(notes(), None, 9).unwrap(), std::slice::from_ref(&long));
    assert!(snapshot.get(notes(), &long).unwrap().is_some());
}

#[test]
fn domain_names_end_at_128_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let name = "n".repeat(DOMAIN_NAME_BYTES_MAX);
    store.write(Job::name_domains(vec![name.clone(), "notes".into()])).unwrap();
    assert!(store.write(Job::name_domains(vec![name.clone() + "n"])).is_err());
    put(&store, "x", "1", NOW);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.domain_names().unwrap(), [name, "notes".into()]);
    assert_eq!(snapshot.counts().unwrap()[0].name.as_deref(), Some("notes"));
}

/// F5: a domain beyond those that two devices can share is refused, whoever
/// begins it, and never left out without a word.
#[test]
fn domains_end_at_4096() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let domain = |n: usize| DomainId::of(&format!("d{n}"));
    store
        .write(Job::new(move |tx| {
            (1..DOMAINS_MAX).try_for_each(|n| tx.write(domain(n), &key("x"), Some(vec![1]), NOW).map(drop))
        }))
        .unwrap();
    // Asking for one that is not there begins none.
    assert_eq!(store.delete(domain(0), key("x"), NOW), Err(WriteError::NotFound));
    assert_eq!(store.snapshot().unwrap().get(domain(0), &key("x")).unwrap(), None);
    store.put(domain(0), key("x"), vec![1], NOW).unwrap();
    let refused = WriteError::TooManyDomains { limit: DOMAINS_MAX };
    assert_eq!(store.put(domain(DOMAINS_MAX), key("x"), vec![1], NOW), Err(refused.clone()));
    let many = vec![(key("x"), vec![1])];
    assert_eq!(store.put_many(domain(DOMAINS_MAX), many, NOW), Err(refused));
    assert_eq!(store.snapshot().unwrap().counts().unwrap().len(), DOMAINS_MAX);
    store.put(domain(7), key("y"), vec![1], NOW).unwrap();

    let stamp = Stamp { time: Hlc::at(NOW), device: LAPTOP };
    let record = Record::new(key("z"), Some(vec![1]), stamp, Ancestry::default());
    let batch = |domain| Batch { domain, records: vec![record.clone()], cursor: None, floor: None };
    let batches = vec![batch(domain(DOMAINS_MAX)), batch(domain(7))];
    let applied = store.apply(LAPTOP, batches, NOW).unwrap();
    assert_eq!((applied.changed, applied.left_out), (1, [domain(DOMAINS_MAX)].into()));
    assert_eq!(store.snapshot().unwrap().counts().unwrap().len(), DOMAINS_MAX);
}

/// Importing the same library again changes nothing.
#[test]
fn equal_values_are_left_alone_when_many_are_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let many = |last: u8| vec![(key("a"), vec![1]), (key("b"), vec![2]), (key("c"), vec![last])];
    assert_eq!(store.put_many(notes(), many(3), NOW), Ok(PutMany { written: 3, equal: 0 }));
    let root = store.snapshot().unwrap().root(notes()).unwrap();
    assert_eq!(store.put_many(notes(), many(3), later(1)), Ok(PutMany { written: 0, equal: 3 }));
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap(), root);
    assert_eq!(store.put_many(notes(), many(4), later(2)), Ok(PutMany { written: 1, equal: 2 }));
}

#[test]
fn deleting_what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    assert_eq!(store.delete(notes(), key("x"), NOW), Err(WriteError::NotFound));
    put(&store, "x", "1", NOW);
    store.delete(notes(), key("x"), NOW).unwrap();
    assert_eq!(store.delete(notes(), key("x"), NOW), Err(WriteError::NotFound));
    assert_eq!(store.restore(notes(), key("x"), 99, NOW), Err(WriteError::NotFound));
}

/// A record stamped at the end of time cannot be followed, and says so.
#[test]
fn nothing_follows_the_last_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let stamp = Stamp { time: Hlc::MAX, device: LAPTOP };
    let record = Record::new(key("x"), Some(vec![1]), stamp, Ancestry::default());
    let batch = Batch { domain: notes(), records: vec![record], cursor: None, floor: None };
    store.apply(LAPTOP, vec![batch], NOW).unwrap();
    assert_eq!(store.put(notes(), key("x"), vec![2], NOW), Err(WriteError::NoLaterStamp));
    let many = vec![(key("w"), vec![1]), (key("x"), vec![2])];
    assert_eq!(store.put_many(notes(), many, NOW), Err(WriteError::NoLaterStamp));
    assert_eq!(get(&store, "w"), None);
    put(&store, "y", "1", NOW);
}

/// A record that contradicts itself is left out and counted.
#[test]
fn a_contradictory_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let stamp = Stamp { time: Hlc::at(NOW), device: LAPTOP };
    let good = Record::new(key("good"), Some(vec![1]), stamp, Ancestry::default());
    let mut bad = Record::new(key("bad"), Some(vec![1]), stamp, Ancestry::default());
    bad.value = Some(vec![2]);
    let batch = Batch { domain: notes(), records: vec![bad, good], cursor: None, floor: None };
    let applied = store.apply(LAPTOP, vec![batch], NOW).unwrap();
    assert_eq!((applied.received, applied.changed, applied.refused), (2, 1, 1));
    assert_eq!(get(&store, "bad"), None);
}

fn past(store: &Store) -> usize {
    store.snapshot().unwrap().history(notes(), &key("x")).unwrap().len()
}

/// D9: a replaced version stays for 30 days, however many there are.
#[test]
fn young_versions_all_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    (0..40).for_each(|n| put(&store, "x", &n.to_string(), later(n)));
    assert_eq!(past(&store), 39);
    // At 30 days to the millisecond the first is still there, then it goes.
    put(&store, "x", "a", later(1 + crate::PAST_MILLIS));
    assert_eq!(past(&store), 40);
    put(&store, "x", "b", later(2 + crate::PAST_MILLIS));
    assert_eq!(past(&store), 40);
    assert_sound(&store);
}

/// D9: the last ten versions stay, however old they are.
#[test]
fn ten_old_versions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    (0..40).for_each(|n| put(&store, "x", &n.to_string(), later(n * 2 * crate::PAST_MILLIS)));
    assert_eq!(past(&store), PAST_VERSIONS);
    let snapshot = store.snapshot().unwrap();
    let history = snapshot.history(notes(), &key("x")).unwrap();
    let values: Vec<_> = history
        .iter()
        .map(|past| snapshot.version(notes(), &key("x"), past.number).unwrap().unwrap().value.unwrap())
        .collect();
    let newest_first: Vec<_> = (29..39).rev().map(|n: u64| n.to_string().into_bytes()).collect();
    assert_eq!(values, newest_first);
    assert!(history.iter().all(|past| past.reason == Reason::Replaced));
}

/// The count of conflicts follows what is kept of them.
#[test]
fn conflicts_go_with_the_versions_they_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    for n in 0..30_u8 {
        // Whoever writes again has seen what it wrote before.
        let device = DeviceId([n + 10; 32]);
        let now = later(u64::from(n) * 2 * crate::PAST_MILLIS);
        let stamp = Stamp { time: Hlc::at(now), device };
        let record = Record::new(key("x"), Some(vec![n]), stamp, Ancestry::default());
        let batch = Batch { domain: notes(), records: vec![record], cursor: None, floor: None };
        store.apply(LAPTOP, vec![batch], now).unwrap();
    }
    assert_eq!(store.snapshot().unwrap().counts().unwrap()[0].conflicts, PAST_VERSIONS as u64);
    assert_eq!(store.snapshot().unwrap().conflicts(notes(), 99).unwrap().len(), PAST_VERSIONS);
    assert_sound(&store);
}
