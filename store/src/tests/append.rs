//! Conversations to which devices add while apart.

use std::collections::BTreeMap;

use kinsync_protocol::limits::KEY_BYTES_MAX;
use kinsync_protocol::snapshot::Snapshot;
use kinsync_protocol::stamp::UnixMillis;

use super::platter::{created, start};
use super::world::*;
use crate::{Job, Store, WriteError};

/// The turns of the chat in the order of their keys.
fn turns(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let listed = snapshot.list(notes(), "chat/", None, usize::MAX).unwrap();
    listed.into_iter().map(|row| get(store, row.key.as_str()).unwrap()).collect()
}

fn append(store: &Store, text: &str, now: UnixMillis) -> String {
    let job = Job::append(notes(), key("chat"), text.into(), now);
    store.write(job).unwrap().0.as_str().to_owned()
}

fn send(from: &Store, to: &Store) {
    to.apply(from.device(), vec![batch(from, 0)], NOW).unwrap();
}

/// D7: a hundred conversations to which three devices with wrong clocks add in
/// random turns. Every turn is kept, all devices end with one order, and each
/// turn stands behind all that its author had read.
#[test]
fn turns_added_apart_are_kept_in_one_order_everywhere() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let devices = [PHONE, LAPTOP, DESKTOP].map(|device| start(&created(device)));
        let skew: Vec<u64> = devices.iter().map(|_| random.u64(..86_400_000)).collect();
        let mut read_before = BTreeMap::new();
        for step in 0..40 {
            let at = random.usize(..3);
            let device = &devices[at];
            if random.bool() {
                let text = format!("{step} by {at}");
                read_before.insert(text.clone(), turns(device));
                // Some clocks jump back between two turns.
                let jump = random.u64(..10_000);
                append(device, &text, UnixMillis(NOW.0 + skew[at] + step * 1_000 - jump));
                assert_eq!(turns(device).last(), Some(&text), "seed {seed}");
            } else {
                let other = (at + 1 + random.usize(..2)) % 3;
                send(device, &devices[other]);
            }
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            send(&devices[from], &devices[to]);
        }
        let order = turns(&devices[0]);
        assert_eq!(order.len(), read_before.len(), "seed {seed}: none is lost, none is there twice");
        for device in &devices {
            assert_eq!(turns(device), order, "seed {seed}");
            assert_sound(device);
        }
        for (turn, read) in &read_before {
            let place = order.iter().position(|other| other == turn).unwrap();
            for earlier in read {
                assert!(order[..place].contains(earlier), "seed {seed}: {turn} answers {earlier}");
            }
        }
    }
}

/// D7: a device that was away for long brings its turns and takes none away.
#[test]
fn a_stale_device_removes_no_newer_turns() {
    let (phone, laptop) = (start(&created(PHONE)), start(&created(LAPTOP)));
    append(&phone, "hello", NOW);
    send(&phone, &laptop);
    for n in 0..20 {
        append(&phone, &format!("newer {n}"), later(n + 1));
    }
    append(&laptop, "stale", later(5));
    send(&laptop, &phone);
    send(&phone, &laptop);
    assert_eq!(turns(&phone).len(), 22);
    assert_eq!(turns(&phone), turns(&laptop));
}

#[test]
fn turns_stand_behind_those_under_chosen_names_and_deleted_ones() {
    let phone = start(&created(PHONE));
    put(&phone, "chat/000001", "imported", NOW);
    let first = append(&phone, "first", later(10));
    assert_eq!(turns(&phone), ["imported", "first"]);
    phone.delete(notes(), key(&first), later(11)).unwrap();
    assert!(append(&phone, "second", NOW) > first, "also with a clock that was set back");
    put(&phone, "chat2/ffffffffffffff00-X", "of another chat", NOW);
    assert!(append(&phone, "third", later(12)).starts_with("chat/"));
    assert_eq!(turns(&phone), ["imported", "second", "third"]);
}

#[test]
fn a_parent_leaves_room_for_the_names_of_turns() {
    let phone = start(&created(PHONE));
    let longest = KEY_BYTES_MAX - "/0123456789abcdef-ABCDEFGH".len();
    let append = |bytes: usize| {
        phone
            .write(Job::append(notes(), key(&"p".repeat(bytes)), vec![1], NOW))
            .map(|(key, _)| key.as_str().len())
    };
    assert_eq!(append(longest), Ok(KEY_BYTES_MAX));
    assert_eq!(append(longest + 1), Err(WriteError::KeyTooLong { limit: KEY_BYTES_MAX }));
    assert_eq!(phone.snapshot().unwrap().root(notes()).unwrap().live, 1);
}
