//! Two stores that exchange what they have agree, and keep what lost.

use kinsync_protocol::snapshot::Snapshot;
use proptest::prelude::*;

use super::platter::{created, start};
use super::world::*;
use crate::{Reason, Store};

fn exchange(a: &Store, b: &Store) {
    let (to_b, to_a) = (batch(a, 0), batch(b, 0));
    b.apply(a.device(), vec![to_b], NOW).unwrap();
    a.apply(b.device(), vec![to_a], NOW).unwrap();
}

fn assert_equal(a: &Store, b: &Store) {
    let (a, b) = (a.snapshot().unwrap(), b.snapshot().unwrap());
    assert_eq!(a.root(notes()).unwrap().summary, b.root(notes()).unwrap().summary);
}

/// P20: edits of different records made apart both survive.
#[test]
fn edits_of_different_records_both_survive() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&phone, "x", "from the phone", NOW);
    put(&laptop, "y", "from the laptop", NOW);
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some("from the phone"));
        assert_eq!(get(store, "y").as_deref(), Some("from the laptop"));
        assert_sound(store);
    }
    assert_equal(&phone, &laptop);
}

/// P18 S19 D8: of two edits of one record made apart the later stands on both
/// devices, and the earlier is kept and listed.
#[test]
fn the_loser_of_a_conflict_is_kept_and_listed() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&phone, "x", "early", NOW);
    put(&laptop, "x", "late", later(5));
    exchange(&phone, &laptop);
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some("late"));
        let snapshot = store.snapshot().unwrap();
        let conflicts = snapshot.conflicts(notes(), 10).unwrap();
        assert_eq!(conflicts.len(), 1, "once, however often the loser arrives");
        let version = snapshot.version(notes(), &key("x"), conflicts[0].loser.number).unwrap().unwrap();
        assert_eq!(version.past.reason, Reason::Conflict);
        assert_eq!(version.value.as_deref(), Some(&b"early"[..]));
        assert_eq!(snapshot.counts().unwrap()[0].conflicts, 1);
        assert_sound(store);
    }
    assert_equal(&phone, &laptop);
}

/// An edit made after seeing the other's is none.
#[test]
fn an_edit_of_a_known_version_is_no_conflict() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&phone, "x", "one", NOW);
    exchange(&phone, &laptop);
    put(&laptop, "x", "two", NOW);
    exchange(&phone, &laptop);
    put(&phone, "x", "three", NOW);
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some("three"));
        let snapshot = store.snapshot().unwrap();
        assert!(snapshot.conflicts(notes(), 10).unwrap().is_empty());
        let history = snapshot.history(notes(), &key("x")).unwrap();
        assert_eq!(history.iter().map(|past| past.reason).collect::<Vec<_>>(), [Reason::Replaced; 2]);
    }
}

/// The same library on two devices that meet is not a heap of conflicts.
#[test]
fn the_same_value_written_twice_is_no_conflict() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&phone, "x", "same", NOW);
    put(&laptop, "x", "same", later(5));
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        let snapshot = store.snapshot().unwrap();
        assert!(snapshot.conflicts(notes(), 10).unwrap().is_empty());
        assert!(snapshot.history(notes(), &key("x")).unwrap().is_empty());
    }
    assert_equal(&phone, &laptop);
}

/// P23 D9: a deletion arrives as one, and the deleted value can be restored on
/// the device that only heard of the deletion.
#[test]
fn a_deletion_travels_and_can_be_undone_anywhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&phone, "x", "precious", NOW);
    exchange(&phone, &laptop);
    phone.delete(notes(), key("x"), later(1)).unwrap();
    exchange(&phone, &laptop);
    assert_eq!(get(&laptop, "x"), None);
    let history = laptop.snapshot().unwrap().history(notes(), &key("x")).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].reason, history[0].from), (Reason::Deleted, Some(PHONE)));
    laptop.restore(notes(), key("x"), history[0].number, later(2)).unwrap();
    exchange(&phone, &laptop);
    assert_eq!(get(&phone, "x").as_deref(), Some("precious"));
    assert_equal(&phone, &laptop);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// P18 P20 F17: whatever two devices did apart, with clocks that differ
    /// and restarts between, after an exchange they hold the same.
    #[test]
    fn two_stores_agree_after_an_exchange(
        steps in prop::collection::vec((any::<bool>(), 0..6_u8, prop::option::of(0..3_u8), 0..50_u64, 0..9_u8), 1..50),
    ) {
        let (here, there) = (created(PHONE), created(LAPTOP));
        let (mut phone, mut laptop) = (start(&here), start(&there));
        for (on_phone, number, value, wall, then) in steps {
            let store = if on_phone { &phone } else { &laptop };
            let name = key(&format!("k{number}"));
            match value {
                Some(value) => {
                    store.put(notes(), name, vec![value], later(wall)).unwrap();
                }
                None => {
                    let _ = store.delete(notes(), name, later(wall));
                }
            }
            match then {
                0 => exchange(&phone, &laptop),
                1 => {
                    drop(phone);
                    phone = start(&here);
                }
                2 => {
                    drop(laptop);
                    laptop = start(&there);
                }
                _ => {}
            }
        }
        exchange(&phone, &laptop);
        assert_equal(&phone, &laptop);
        assert_sound(&phone);
        assert_sound(&laptop);
    }
}
