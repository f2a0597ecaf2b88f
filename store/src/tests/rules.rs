//! Domains with rules: what waits, what is refused, and what joins.

use std::collections::BTreeMap;
use std::sync::Arc;

use assert_matches::assert_matches;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::policy::{FieldPolicy, Policy};
use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::{Batch, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::value::{self, Header};
use proptest::prelude::*;

use super::platter::{created, start};
use super::world::*;
use crate::{Job, MISFIT_CHARS_MAX, PutMany, Reason, Rules, Store, Waiting, WriteError};

fn set(store: &Store, rules: Rules) {
    store.set_rules(BTreeMap::from([(notes(), rules)]));
    let mut at = None;
    while let Some(next) = store.write(Job::recheck(at, NOW)).unwrap() {
        at = Some(next);
    }
}

fn with_policy(policy: Policy) -> Rules {
    Rules { policy, ..Rules::default() }
}

/// Rules that only let bodies that begin with `{` pass.
fn objects(schema: u32, revision: u64) -> Rules {
    let check = |_: u32, body: &[u8]| match body.first() {
        Some(b'{') => Ok(()),
        _ => Err("not an object".to_owned()),
    };
    Rules { schema, check: Some(Arc::new(check)), revision, ..Rules::default() }
}

fn waiting(store: &Store) -> Vec<(String, Waiting)> {
    let waiting = store.snapshot().unwrap().waiting(notes(), 100).unwrap();
    let mut all: Vec<_> = waiting.into_iter().map(|row| (row.key.as_str().to_owned(), row.why)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(store.snapshot().unwrap().counts().unwrap()[0].waiting, all.len() as u64);
    assert_sound(store);
    all
}

/// A record that the laptop wrote.
fn theirs(name: &str, stored: Vec<u8>) -> Record {
    let stamp = Stamp { time: Hlc::at(later(5)), device: LAPTOP };
    Record::new(key(name), Some(stored), stamp, Ancestry::default())
}

fn receive(store: &Store, records: Vec<Record>) {
    store
        .apply(LAPTOP, vec![Batch { domain: notes(), records, cursor: None, floor: None }], later(6))
        .unwrap();
}

fn of_schema(schema: u32, body: &[u8]) -> Vec<u8> {
    value::wrap(&Header::new(schema), body).unwrap()
}

/// P32: what this device does not understand is stored, passed on unchanged
/// and shown as waiting, and is of use after the upgrade without a transfer.
#[test]
fn what_cannot_be_used_yet_waits_and_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, objects(1, 1));
    let unreadable = vec![0xff, 0, 0, 0, 9, 1];
    let sent = vec![
        theirs("fits", b"{}".into()),
        theirs("misfit", b"[]".into()),
        theirs("newer", of_schema(2, b"{}")),
        theirs("strange", unreadable.clone()),
    ];
    receive(&store, sent.clone());
    assert_eq!(
        waiting(&store),
        [
            ("misfit".into(), Waiting::Misfit { why: "not an object".into() }),
            ("newer".into(), Waiting::NewerSchema { schema: 2 }),
            ("strange".into(), Waiting::Unreadable),
        ]
    );
    assert_eq!(store.snapshot().unwrap().waiting(notes(), 2).unwrap().len(), 2);
    for record in sent {
        let hash = kinsync_protocol::item::key_hash(notes(), &record.key);
        assert_eq!(store.snapshot().unwrap().record(notes(), hash).unwrap(), Some(record));
    }

    set(&store, objects(2, 2));
    assert_eq!(waiting(&store).len(), 2, "the newer one is known now");
    let newer = store.snapshot().unwrap().get(notes(), &key("newer")).unwrap().unwrap();
    assert_eq!((newer.schema, newer.value), (2, b"{}".to_vec()));
    // Marks go with what they are about.
    store.delete(notes(), key("misfit"), later(7)).unwrap();
    store.delete(notes(), key("strange"), later(7)).unwrap();
    assert_eq!(waiting(&store), []);
}

/// P32: a domain that nobody declared here waits as a whole; a store that was
/// told nothing waits for nothing.
#[test]
fn a_domain_without_rules_waits_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    receive(&store, vec![theirs("a", b"{}".into()), theirs("b", b"[]".into())]);
    assert_eq!(store.snapshot().unwrap().counts().unwrap()[0].waiting, 0);
    store.set_rules(BTreeMap::new());
    assert_eq!(waiting(&store).len(), 2);
    assert_eq!(waiting(&store)[0].1, Waiting::UnknownDomain);
    set(&store, objects(1, 1));
    assert_eq!(waiting(&store).len(), 1);
}

/// What came while a domain had no rules is looked at when it has some, even
/// if they are the ones it had.
#[test]
fn records_that_came_without_rules_are_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, objects(1, 1));
    receive(&store, vec![theirs("a", b"[]".into())]);
    store.set_rules(BTreeMap::new());
    receive(&store, vec![theirs("b", b"[]".into())]);
    store.delete(notes(), key("a"), later(7)).unwrap();
    set(&store, objects(1, 1));
    assert_eq!(waiting(&store), [("b".into(), Waiting::Misfit { why: "not an object".into() })]);
}

#[test]
fn an_older_schema_than_is_read_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, Rules { reads: 2, schema: 3, ..Rules::default() });
    receive(&store, vec![theirs("a", b"{}".into()), theirs("b", of_schema(2, b"{}"))]);
    assert_eq!(waiting(&store), [("a".into(), Waiting::OlderSchema { schema: 1 })]);
}

#[test]
fn the_reason_of_a_misfit_ends_at_200_characters() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let check = |_: u32, _: &[u8]| Err("本".repeat(MISFIT_CHARS_MAX + 1));
    set(&store, Rules { check: Some(Arc::new(check)), ..Rules::default() });
    put(&store, "a", "{}", NOW);
    assert_eq!(waiting(&store)[0].1, Waiting::Misfit { why: "本".repeat(MISFIT_CHARS_MAX) });
}

/// Marks of a large domain are made again in pages; rules that change in
/// between begin again.
#[test]
fn marks_are_made_again_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let many = (0..2_500).map(|n| (key(&format!("n{n}")), b"[]".to_vec())).collect();
    store.put_many(notes(), many, NOW).unwrap();
    store.set_rules(BTreeMap::from([(notes(), objects(1, 1))]));
    let first = store.write(Job::recheck(None, NOW)).unwrap();
    assert!(first.is_some());
    store.set_rules(BTreeMap::from([(notes(), objects(1, 2))]));
    let (mut at, mut pages) = (first, 0);
    while let Some(next) = store.write(Job::recheck(at, NOW)).unwrap() {
        at = Some(next);
        pages += 1;
    }
    assert_eq!(pages, 2, "and a last one");
    assert_eq!(store.snapshot().unwrap().counts().unwrap()[0].waiting, 2_500);
    assert_sound(&store);
    assert_eq!(store.write(Job::recheck(None, NOW)).unwrap(), None);
}

/// P32: an application that reads only the older shape cannot write away what
/// the newer one holds; it can delete.
#[test]
fn a_newer_record_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, objects(1, 1));
    receive(&store, vec![theirs("newer", of_schema(2, b"{}")), theirs("strange", vec![0xff, 0])]);
    let refused = WriteError::NewerSchema { found: 2, known: 1 };
    assert_eq!(store.put(notes(), key("newer"), b"{}".into(), later(9)), Err(refused.clone()));
    let many = vec![(key("a"), b"{}".to_vec()), (key("newer"), b"{}".to_vec())];
    assert_eq!(store.put_many(notes(), many, later(9)), Err(refused));
    let strange = store.put(notes(), key("strange"), b"{}".into(), later(9));
    assert_eq!(strange, Err(WriteError::NewerValue));
    store.delete(notes(), key("newer"), later(9)).unwrap();
    put(&store, "newer", "{}", later(10));
}

/// What is stored may have a header; applications never see it.
#[test]
fn applications_see_bodies() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, Rules { schema: 7, ..Rules::default() });
    put(&store, "x", "{}", NOW);
    let snapshot = store.snapshot().unwrap();
    let live = snapshot.get(notes(), &key("x")).unwrap().unwrap();
    assert_eq!((live.schema, &live.value[..]), (7, &b"{}"[..]));
    assert!(live.version.bytes > 2, "a header says the schema");
    assert_eq!(snapshot.list(notes(), "", None, 9).unwrap()[0].bytes, 2);
    let same = vec![(key("x"), b"{}".to_vec())];
    assert_eq!(store.put_many(notes(), same, NOW).unwrap(), PutMany { written: 0, equal: 1 });
    put(&store, "x", "{1}", later(1));
    let snapshot = store.snapshot().unwrap();
    let past = snapshot.history(notes(), &key("x")).unwrap();
    assert_eq!(past[0].bytes, 2);
    let version = snapshot.version(notes(), &key("x"), past[0].number).unwrap().unwrap();
    assert_eq!(version.value.as_deref(), Some(&b"{}"[..]));
    store.restore(notes(), key("x"), past[0].number, later(2)).unwrap();
    assert_eq!(get(&store, "x").as_deref(), Some("{}"));
}

/// An edit sees what it is made on, in the transaction that writes it.
#[test]
fn an_edit_is_made_on_what_stands() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, objects(1, 1));
    let append = |store: &Store| {
        store.write(Job::edit(notes(), key("x"), NOW, |old| {
            let old = old.map_or(&b"{"[..], |old| old.value);
            if old.len() > 2 { Err("long enough") } else { Ok([old, b"x"].concat()) }
        }))
    };
    assert_matches!(append(&store), Ok(Ok(_)));
    assert_matches!(append(&store), Ok(Ok(_)));
    assert_eq!(append(&store), Ok(Err("long enough")));
    assert_eq!(get(&store, "x").as_deref(), Some("{xx"));
}

fn exchange(a: &Store, b: &Store) {
    let (to_b, to_a) = (batch(a, 0), batch(b, 0));
    b.apply(a.device(), vec![to_b], later(50)).unwrap();
    a.apply(b.device(), vec![to_a], later(50)).unwrap();
}

fn root(store: &Store) -> kinsync_protocol::sums::Summary {
    store.snapshot().unwrap().root(notes()).unwrap().summary
}

/// S18: both texts stay, the lesser one as a record of its own that every
/// device makes alike.
#[test]
fn a_domain_that_keeps_both_keeps_both() {
    let (phone, laptop) = (start(&created(PHONE)), start(&created(LAPTOP)));
    for store in [&phone, &laptop] {
        set(store, with_policy(Policy::KeepBoth));
    }
    put(&phone, "x", "early", NOW);
    put(&laptop, "x", "late", later(5));
    exchange(&phone, &laptop);
    assert_eq!(root(&phone), root(&laptop));
    for store in [&phone, &laptop] {
        let rows = store.snapshot().unwrap().list(notes(), "", None, 9).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(get(store, "x").as_deref(), Some("late"));
        assert_eq!(get(store, rows[1].key.as_str()).as_deref(), Some("early"));
        assert_eq!(rows[1].version.stamp.device, DeviceId::NULL);
        assert_eq!(store.snapshot().unwrap().conflicts(notes(), 9).unwrap(), []);
        assert_sound(store);
    }
    // The copy is a record like others: what becomes of it stays.
    let copy = phone.snapshot().unwrap().list(notes(), "x~", None, 9).unwrap()[0].key.clone();
    phone.delete(notes(), copy.clone(), later(60)).unwrap();
    exchange(&phone, &laptop);
    exchange(&phone, &laptop);
    assert_eq!(get(&laptop, copy.as_str()), None);
    assert_eq!(root(&phone), root(&laptop));
}

/// A record of a newer schema is never taken apart.
#[test]
fn what_is_not_understood_is_not_joined() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    set(&store, with_policy(Policy::KeepBoth));
    put(&store, "x", "early", NOW);
    receive(&store, vec![theirs("x", of_schema(9, b"{}"))]);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.list(notes(), "", None, 9).unwrap().len(), 1);
    assert_eq!(snapshot.conflicts(notes(), 9).unwrap().len(), 1);
    assert_sound(&store);
}

/// Two stores of a domain that joins field by field, which share a record.
fn apart() -> (Store, Store) {
    let (phone, laptop) = (start(&created(PHONE)), start(&created(LAPTOP)));
    for store in [&phone, &laptop] {
        set(store, with_policy(by_field()));
    }
    put(&phone, "x", r#"{"a":1,"b":1}"#, NOW);
    exchange(&phone, &laptop);
    (phone, laptop)
}

/// S18: edits of different fields are both in the version that both devices
/// make of them, and nothing is a conflict.
#[test]
fn edits_of_different_fields_both_stand() {
    let (phone, laptop) = apart();
    put(&phone, "x", r#"{"a":2,"b":1}"#, later(60));
    put(&laptop, "x", r#"{"a":1,"b":3}"#, later(70));
    exchange(&phone, &laptop);
    assert_eq!(root(&phone), root(&laptop));
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some(r#"{"a":2,"b":3}"#));
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.conflicts(notes(), 9).unwrap(), []);
        let history = snapshot.history(notes(), &key("x")).unwrap();
        assert_eq!(history.iter().filter(|past| past.reason == Reason::Merged).count(), 2);
        assert_sound(store);
    }
}

/// D8: of two edits of one field the earlier one is a listed conflict, until
/// somebody has looked at it.
#[test]
fn what_a_join_drops_is_listed() {
    let (phone, laptop) = apart();
    put(&phone, "x", r#"{"a":2,"b":2}"#, later(60));
    put(&laptop, "x", r#"{"a":3,"b":1}"#, later(70));
    exchange(&phone, &laptop);
    assert_eq!(root(&phone), root(&laptop));
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "x").as_deref(), Some(r#"{"a":3,"b":2}"#));
        let conflicts = store.snapshot().unwrap().conflicts(notes(), 9).unwrap();
        assert_eq!(conflicts.len(), 1);
        assert_eq!(
            (conflicts[0].loser.reason, conflicts[0].loser.version.stamp.device),
            (Reason::Overruled, PHONE)
        );
        assert_sound(store);
    }
    // An edit of the join is no word about what it dropped.
    put(&laptop, "x", r#"{"a":4,"b":2}"#, later(80));
    exchange(&phone, &laptop);
    let number = |store: &Store| store.snapshot().unwrap().conflicts(notes(), 9).unwrap()[0].loser.number;
    let root_before = root(&phone);
    phone.write(Job::dismiss(notes(), key("x"), number(&phone), later(90))).unwrap();
    assert_eq!(root(&phone), root_before, "the join stands; there is nothing to write");
    laptop.write(Job::take(notes(), key("x"), number(&laptop), later(95))).unwrap();
    exchange(&phone, &laptop);
    for store in [&phone, &laptop] {
        assert_eq!(store.snapshot().unwrap().conflicts(notes(), 9).unwrap(), []);
        assert_eq!(get(store, "x").as_deref(), Some(r#"{"a":2,"b":2}"#));
        assert_sound(store);
    }
}

/// D8: a set that no record has room for is not joined: the later one stands,
/// and the other one is a listed conflict, so nothing is lost without a word.
#[test]
fn a_join_that_has_no_room_is_a_conflict() {
    let (phone, laptop) = apart();
    let tags = FieldPolicy::SetUnion { by: None };
    let policy = Policy::Fields { default: FieldPolicy::Lww, fields: [("tags".to_owned(), tags)].into() };
    for (store, tag, at) in [(&phone, "a", 60), (&laptop, "b", 70)] {
        set(store, with_policy(policy.clone()));
        let many: Vec<_> = (0..600).map(|n| format!("\"{}{n}\"", tag.repeat(1_000))).collect();
        put(store, "x", &format!("{{\"tags\":[{}]}}", many.join(",")), later(at));
    }
    exchange(&phone, &laptop);
    assert_eq!(root(&phone), root(&laptop));
    for store in [&phone, &laptop] {
        assert!(get(store, "x").unwrap().contains("bb599"));
        let conflicts = store.snapshot().unwrap().conflicts(notes(), 9).unwrap();
        let [conflict] = conflicts.as_slice() else { panic!("{conflicts:?}") };
        assert_eq!((conflict.loser.reason, conflict.loser.version.stamp.device), (Reason::Conflict, PHONE));
        assert_sound(store);
    }
}

fn by_field() -> Policy {
    Policy::Fields { default: FieldPolicy::Lww, fields: BTreeMap::new() }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Lww), Just(Policy::KeepBoth), Just(Policy::Manual), Just(by_field())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// P18 S18: under every policy three devices that edit and meet in any
    /// order end equal, after finitely many exchanges.
    #[test]
    fn every_policy_converges_in_any_order(
        policy in policy(),
        steps in prop::collection::vec((0..3_usize, 0..8_u8, 0..3_usize), 1..30),
    ) {
        let stores = [start(&created(PHONE)), start(&created(LAPTOP)), start(&created(DESKTOP))];
        stores.iter().for_each(|store| set(store, with_policy(policy.clone())));
        for (at, (device, what, other)) in steps.into_iter().enumerate() {
            let (store, now) = (&stores[device], later(at as u64));
            match what {
                0..=3 => {
                    let object = format!("{{\"a\":{at},\"{}\":{device}}}", ["b", "c"][at % 2]);
                    put(store, ["x", "y"][usize::from(what % 2)], &object, now);
                }
                4 => drop(store.delete(notes(), key("x"), now)),
                _ if device != other => send_all(store, &stores[other], now),
                _ => {}
            }
            assert_sound(store);
        }
        let mut rounds = 0;
        while root(&stores[0]) != root(&stores[1]) || root(&stores[1]) != root(&stores[2]) {
            for (a, b) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                send_all(&stores[a], &stores[b], later(1_000));
            }
            rounds += 1;
            prop_assert!(rounds < 8, "they do not come to an end");
        }
        stores.iter().for_each(assert_sound);
        prop_assert_eq!(get(&stores[0], "x"), get(&stores[2], "x"));
    }
}
