//! Files that are not what was written: refused or read in part, never taken
//! for something else, and no panic.

use std::fs;
use std::path::Path;

use assert_matches::assert_matches;
use kinsync_protocol::item;
use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::Snapshot;
use kinsync_protocol::sums::Range;

use super::world::*;
use crate::{OpenError, Store};

/// A closed store with some history, and what it holds.
fn library(folder: &Path) -> (Vec<u8>, Vec<Record>) {
    let store = open(folder, PHONE);
    let many = (0..200).map(|n: u16| (key(&format!("n{n}")), n.to_be_bytes().repeat(60))).collect();
    store.put_many(notes(), many, NOW).unwrap();
    (0..20).for_each(|n| put(&store, &format!("n{n}"), "again", later(1)));
    store.delete(notes(), key("n7"), later(2)).unwrap();
    let records = records(&store);
    assert_eq!(records.len(), 200);
    drop(store);
    (fs::read(folder.join("store")).unwrap(), records)
}

/// What the store would send, as far as it can be read.
fn records(store: &Store) -> Vec<Record> {
    let all = store.read(|snapshot| {
        let items = snapshot.items(notes(), Range::ALL, None, usize::MAX)?;
        let records = items.iter().map(|item| snapshot.record(notes(), item::key_hash(notes(), &item.key)));
        records.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
    });
    all.unwrap_or_else(|_| {
        // A damaged index: key by key then.
        let one = |n| {
            let hash = item::key_hash(notes(), &key(&format!("n{n}")));
            store.read(|snapshot| snapshot.record(notes(), hash)).ok().flatten()
        };
        (0..200).filter_map(one).collect()
    })
}

/// Opens `bytes` as a store; every record it delivers must be one that was
/// written. How many it delivers.
fn read_damaged(bytes: &[u8], right: &[Record]) -> Result<usize, OpenError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fs::write(&path, bytes).unwrap();
    let store = Store::open(&path, options(PHONE))?;
    let read = records(&store);
    for record in &read {
        assert!(right.contains(record), "{record:?} was never written");
    }
    let _ = store.read(|snapshot| snapshot.check());
    // Writing to it does its work or says why not.
    let _ = store.put(notes(), key("n3"), b"after".to_vec(), later(9));
    Ok(read.len())
}

/// Reliability: bits that flip on disk are never sent as somebody's words.
#[test]
fn flipped_bits_never_become_records() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, right) = library(folder.path());
    let used: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let (mut opened, mut lost) = (0, 0);
    for _ in 0..150 {
        let mut bytes = bytes.clone();
        bytes[used[random.usize(..used.len())]] ^= 1 << random.u8(..8);
        if let Ok(read) = read_damaged(&bytes, &right) {
            opened += 1;
            lost += usize::from(read < right.len());
        }
    }
    assert!(opened > 30, "only {opened} opened: the flips do not reach the rows");
    assert!(lost > 0, "no flip reached a record");
}

/// Whole pages that are gone or elsewhere are no panic either.
#[test]
fn lost_pages_never_become_records() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, right) = library(folder.path());
    let pages = bytes.len() / 4_096;
    let mut random = fastrand::Rng::with_seed(12);
    for round in 0..80 {
        let mut bytes = bytes.clone();
        let (from, to) = (random.usize(..pages) * 4_096, random.usize(..pages) * 4_096);
        if round % 2 == 0 {
            bytes[to..to + 4_096].fill(0);
        } else {
            bytes.copy_within(from..from + 4_096, to);
        }
        let _ = read_damaged(&bytes, &right);
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, right) = library(folder.path());
    for len in [0, 1, 63, 64, 4_095, 4_096, 10_000, bytes.len() / 2, bytes.len() - 1] {
        assert_matches!(read_damaged(&bytes[..len], &right), Err(OpenError::Damaged { .. }), "{len}");
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(70_000).collect();
    for bytes in [&noise[..], b"{}", &[0; 70_000]] {
        assert_matches!(read_damaged(bytes, &[]), Err(OpenError::Damaged { .. }));
    }
}

/// A crash while the file is made leaves the next start nothing to stumble
/// over.
#[test]
fn a_torn_creation_is_begun_again() {
    for torn in [&b""[..], &b"redb"[..], &[0; 5_000]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("store.new"), torn).unwrap();
        fs::write(folder.path().join("store.lock"), "").unwrap();
        let store = open(folder.path(), PHONE);
        put(&store, "x", "1", NOW);
        assert!(!folder.path().join("store.new").exists());
        assert!(!folder.path().join("store.lock").exists());
    }
}

/// Two processes on one home: the second is told, and harms nothing.
#[test]
fn a_second_opening_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    assert_matches!(Store::open(folder.path().join("store"), options(PHONE)), Err(OpenError::Locked));
    put(&store, "x", "1", NOW);
    drop(store);
    assert_eq!(get(&open(folder.path(), PHONE), "x").as_deref(), Some("1"));
}

/// A cloned home under another identity is not mixed up with it.
#[test]
fn a_store_of_another_device_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), PHONE));
    let refused = Store::open(folder.path().join("store"), options(LAPTOP));
    assert_matches!(refused, Err(OpenError::OtherDevice { owner: PHONE }));
}

#[test]
fn a_newer_store_is_refused_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(open(folder.path(), PHONE));
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let newer = (crate::migrate::VERSION + 1).to_be_bytes();
    transaction.open_table(crate::tables::META).unwrap().insert("version", newer.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(&path, options(PHONE));
    assert_matches!(refused, Err(OpenError::Newer { found: 5, known: 4 }));
}

/// Where the folder cannot be written, opening says so.
#[test]
fn a_folder_that_cannot_be_written_is_said() {
    // Writable for nobody, not even root.
    let refused = Store::open("/proc/kinsync-store", options(PHONE));
    assert_matches!(refused, Err(OpenError::ReadOnly { .. } | OpenError::Io(_)));
    let missing = Store::open("/nonexistent/folder/store", options(PHONE));
    assert_matches!(missing, Err(OpenError::Io(_)));
}
