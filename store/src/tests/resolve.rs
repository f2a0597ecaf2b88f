//! Deciding conflicts: once, for every device.

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::snapshot::Snapshot;
use proptest::prelude::*;

use super::platter::{created, start};
use super::world::*;
use crate::{Job, Reason, Store, WriteError};

/// Two stores that hold the same conflict: the laptop's later text stands.
fn disagreement() -> (Store, Store) {
    let (phone, laptop) = (start(&created(PHONE)), start(&created(LAPTOP)));
    put(&phone, "x", "early", NOW);
    put(&laptop, "x", "late", later(5));
    exchange(&phone, &laptop);
    (phone, laptop)
}

fn exchange(a: &Store, b: &Store) {
    let (to_b, to_a) = (batch(a, 0), batch(b, 0));
    b.apply(a.device(), vec![to_b], later(50)).unwrap();
    a.apply(b.device(), vec![to_a], later(50)).unwrap();
}

/// The numbers of the open conflicts.
fn open_conflicts(store: &Store) -> Vec<u64> {
    let conflicts = store.snapshot().unwrap().conflicts(notes(), 99).unwrap();
    conflicts.into_iter().map(|conflict| conflict.loser.number).collect()
}

fn root(store: &Store) -> kinsync_protocol::sums::Summary {
    store.snapshot().unwrap().root(notes()).unwrap().summary
}

/// D8: the loser can be chosen, and the conflict is over on both devices.
#[test]
fn taking_the_loser_ends_the_conflict_everywhere() {
    let (phone, laptop) = disagreement();
    let number = open_conflicts(&phone)[0];
    phone.write(Job::take(notes(), key("x"), number, later(60))).unwrap();
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some("early"));
        assert_eq!(open_conflicts(store), [0_u64; 0]);
        assert_eq!(store.snapshot().unwrap().counts().unwrap()[0].conflicts, 0);
        let history = store.snapshot().unwrap().history(notes(), &key("x")).unwrap();
        let mut reasons: Vec<_> = history.iter().map(|past| format!("{:?}", past.reason)).collect();
        reasons.sort();
        assert_eq!(reasons, ["Replaced", "Settled"], "both texts can still be had");
        assert_sound(store);
    }
    assert_eq!(root(&phone), root(&laptop));
    let again = phone.write(Job::take(notes(), key("x"), number, later(61)));
    assert_eq!(again, Err(WriteError::NotFound), "it is decided");
}

/// D8: so can the winner.
#[test]
fn dismissing_a_conflict_keeps_the_winner_and_ends_it_everywhere() {
    let (phone, laptop) = disagreement();
    laptop.write(Job::dismiss(notes(), key("x"), open_conflicts(&laptop)[0], later(60))).unwrap();
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some("late"));
        assert_eq!(open_conflicts(store), [0_u64; 0]);
        assert_sound(store);
    }
    assert_eq!(root(&phone), root(&laptop));
}

/// A deletion that lost to an edit can be chosen as well.
#[test]
fn a_deletion_that_lost_can_be_taken() {
    let (phone, laptop) = (start(&created(PHONE)), start(&created(LAPTOP)));
    put(&phone, "x", "first", NOW);
    exchange(&phone, &laptop);
    phone.delete(notes(), key("x"), later(60)).unwrap();
    put(&laptop, "x", "edited", later(70));
    exchange(&phone, &laptop);
    assert_eq!(get(&phone, "x").as_deref(), Some("edited"));
    phone.write(Job::take(notes(), key("x"), open_conflicts(&phone)[0], later(80))).unwrap();
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x"), None);
        assert_eq!(open_conflicts(store), [0_u64; 0]);
        assert_sound(store);
    }
}

/// An edit by somebody who never saw the loser decides nothing.
#[test]
fn an_edit_of_the_winner_leaves_the_conflict_open() {
    let (phone, laptop) = disagreement();
    put(&laptop, "x", "later still", later(60));
    exchange(&phone, &laptop);
    assert_eq!((open_conflicts(&phone).len(), open_conflicts(&laptop).len()), (1, 1));
}

/// S20: two devices that decide the same conflict differently end with one
/// value and no new conflict.
#[test]
fn two_decisions_of_one_conflict_are_no_new_conflict() {
    let (phone, laptop) = disagreement();
    for (store, value) in [(&phone, "by the phone"), (&laptop, "by the laptop")] {
        let standing = store.snapshot().unwrap().get(notes(), &key("x")).unwrap().unwrap().version;
        let number = open_conflicts(store)[0];
        let job = Job::resolve(notes(), key("x"), standing, number, value.into(), later(60));
        assert_eq!(store.write(job).unwrap().stamp.device, DeviceId::NULL);
    }
    exchange(&phone, &laptop);
    exchange(&phone, &laptop);
    assert_eq!(root(&phone), root(&laptop));
    assert_eq!(get(&phone, "x"), get(&laptop, "x"));
    for store in [&phone, &laptop] {
        assert_eq!(open_conflicts(store), [0_u64; 0]);
        let history = store.snapshot().unwrap().history(notes(), &key("x")).unwrap();
        assert!(history.iter().all(|past| past.reason != Reason::Conflict));
        assert_sound(store);
    }
}

/// A value made of a version that is gone would lose the one that came.
#[test]
fn a_decision_about_an_older_version_is_refused() {
    let (phone, laptop) = disagreement();
    let standing = phone.snapshot().unwrap().get(notes(), &key("x")).unwrap().unwrap().version;
    let number = open_conflicts(&phone)[0];
    put(&laptop, "x", "later still", later(60));
    exchange(&phone, &laptop);
    let job = Job::resolve(notes(), key("x"), standing, number, b"of the old".into(), later(61));
    assert_eq!(phone.write(job), Err(WriteError::Changed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// P18 S20: whatever three devices write and decide apart, they end equal,
    /// and what they disagreed on is in somebody's value, history or list.
    #[test]
    fn decisions_converge_in_any_order(
        steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..3_usize), 1..30),
    ) {
        let stores = [start(&created(PHONE)), start(&created(LAPTOP)), start(&created(DESKTOP))];
        for (at, (device, what, other)) in steps.into_iter().enumerate() {
            let (store, now) = (&stores[device], later(at as u64));
            let first = open_conflicts(store).first().copied();
            match (what, first) {
                (0 | 1, _) => put(store, "x", &format!("{at} by {device}"), now),
                (2, _) => drop(store.delete(notes(), key("x"), now)),
                (3, Some(number)) => drop(store.write(Job::take(notes(), key("x"), number, now)).unwrap()),
                (4, Some(number)) => drop(store.write(Job::dismiss(notes(), key("x"), number, now)).unwrap()),
                _ if device != other => send_all(store, &stores[other], now),
                _ => {}
            }
            assert_sound(store);
        }
        for _ in 0..2 {
            for (a, b) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                send_all(&stores[a], &stores[b], later(1_000));
            }
        }
        prop_assert_eq!(root(&stores[0]), root(&stores[1]));
        prop_assert_eq!(root(&stores[1]), root(&stores[2]));
        prop_assert_eq!(get(&stores[0], "x"), get(&stores[1], "x"));
    }
}

/// D8: whoever wrote one version and then writes over the other knows both,
/// and so does who chooses one from history: the conflict is over, wherever
/// that arrives, and both texts can still be had.
#[test]
fn writing_over_both_versions_ends_the_conflict_everywhere() {
    type Write = fn(&Store);
    let put_both: Write = |store| put(store, "x", "both", later(60));
    let delete: Write = |store| drop(store.delete(notes(), key("x"), later(60)).unwrap());
    let restore: Write = |store| {
        let number = open_conflicts(store)[0];
        drop(store.restore(notes(), key("x"), number, later(60)).unwrap());
    };
    for (at, write) in [(0, put_both), (0, delete), (0, restore), (1, restore)] {
        let stores = disagreement();
        let (phone, laptop) = &stores;
        write([phone, laptop][at]);
        exchange(phone, laptop);
        for store in [phone, laptop] {
            assert_eq!(open_conflicts(store), [0_u64; 0]);
            assert!(store.snapshot().unwrap().history(notes(), &key("x")).unwrap().len() >= 2);
            assert_sound(store);
        }
        assert_eq!(root(phone), root(laptop));
    }
}

/// D8: an edit of the side that lost, by somebody who never saw the other one,
/// is a conflict with that one alone.
#[test]
fn an_edit_of_the_loser_leaves_one_conflict() {
    let (phone, laptop, desktop) =
        (start(&created(PHONE)), start(&created(LAPTOP)), start(&created(DESKTOP)));
    put(&phone, "x", "early", NOW);
    put(&laptop, "x", "late", later(5));
    exchange(&phone, &desktop);
    exchange(&phone, &laptop);
    assert_eq!(open_conflicts(&laptop).len(), 1);
    put(&desktop, "x", "later", later(10));
    exchange(&desktop, &laptop);
    for store in [&laptop, &desktop] {
        let conflicts = store.snapshot().unwrap().conflicts(notes(), 9).unwrap();
        let [conflict] = conflicts.as_slice() else { panic!("{conflicts:?}") };
        assert_eq!(conflict.loser.version.stamp.device, LAPTOP);
        assert_eq!(get(store, "x").as_deref(), Some("later"));
    }
}
