//! The store against a map, under random histories.

use std::collections::BTreeMap;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::sums::{Range, Summary};
use proptest::prelude::*;

use super::platter::{created, start};
use super::world::*;
use crate::{Store, WriteError};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    /// Records of one peer: key, time, value or deletion.
    Apply(bool, Vec<(u8, u64, Option<u8>)>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..12_u8, 0..40_u64, prop::option::of(0..4_u8));
    prop_oneof![
        4 => (0..12_u8, 0..4_u8).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..12_u8).prop_map(Step::Delete),
        4 => (any::<bool>(), prop::collection::vec(record, 0..6)).prop_map(|(peer, all)| Step::Apply(peer, all)),
        1 => Just(Step::Reopen),
    ]
}

fn name(number: u8) -> Key {
    key(&format!("k{number}"))
}

/// A record as `peer` would have written it `time` steps after [`NOW`].
fn record(peer: DeviceId, number: u8, time: u64, value: Option<u8>) -> Record {
    let time = Hlc(Hlc::at(NOW).0 + (time << 12));
    let value = value.map(|value| vec![value; 3]);
    Record::new(name(number), value, Stamp { time, device: peer }, Ancestry::default())
}

fn assert_equal(store: &Store, model: &BTreeMap<Key, (Version, Option<Vec<u8>>)>) {
    let snapshot = store.snapshot().unwrap();
    let mut whole = Summary::EMPTY;
    for (key, (version, value)) in model {
        let hash = item::key_hash(notes(), key);
        let record = snapshot.record(notes(), hash).unwrap().unwrap();
        assert_eq!((&record.version, &record.value), (version, value));
        whole.add(&item::item_hash(notes(), hash, version));
    }
    let root = snapshot.root(notes()).unwrap();
    assert_eq!(root.summary, whole);
    let live = model.values().filter(|(_, value)| value.is_some()).count();
    assert_eq!(root.live, live as u64);
    assert_eq!(snapshot.keys(notes(), None, 100).unwrap(), model.keys().cloned().collect::<Vec<_>>());
    assert_eq!(snapshot.list(notes(), "", None, 100).unwrap().len(), live);
    assert_eq!(snapshot.log(notes(), 0, 100).unwrap().len(), model.len());
    assert_eq!(store.damaged(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// P18 P20 P23: per record, the greatest version stands, whoever wrote it
    /// and however it arrived; and every index follows.
    #[test]
    fn the_store_is_a_map_of_greatest_versions(steps in prop::collection::vec(step(), 1..40)) {
        let disk = created(PHONE);
        let mut store = start(&disk);
        let mut model: BTreeMap<Key, (Version, Option<Vec<u8>>)> = BTreeMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            let now = later(at as u64);
            match step {
                Step::Put(number, value) => {
                    let value = vec![value; 3];
                    let version = store.put(notes(), name(number), value.clone(), now).unwrap();
                    if let Some((old, _)) = model.get(&name(number)) {
                        prop_assert!(version > *old && version.knew(old));
                    }
                    model.insert(name(number), (version, Some(value)));
                }
                Step::Delete(number) => match store.delete(notes(), name(number), now) {
                    Ok(version) => {
                        let old = model.insert(name(number), (version, None));
                        prop_assert!(old.is_some_and(|(_, value)| value.is_some()));
                    }
                    Err(error) => {
                        prop_assert_eq!(error, WriteError::NotFound);
                        prop_assert!(model.get(&name(number)).is_none_or(|(_, value)| value.is_none()));
                    }
                },
                Step::Apply(laptop, records) => {
                    let peer = if laptop { LAPTOP } else { DESKTOP };
                    let cursor = Some(Cursor { epoch: 9, seq: at as u64, after: None });
                    let records: Vec<_> =
                        records.into_iter().map(|(k, time, value)| record(peer, k, time, value)).collect();
                    let news = records.clone();
                    let batch =
                        Batch { domain: notes(), records: news, cursor: cursor.clone(), floor: None };
                    let applied = store.apply(peer, vec![batch], now).unwrap();
                    let mut changed = 0;
                    for Record { key, version, value } in records {
                        if model.get(&key).is_none_or(|(old, _)| *old < version) {
                            model.insert(key, (version, value));
                            changed += 1;
                        }
                    }
                    prop_assert_eq!(applied.changed, changed);
                    let stored = store.snapshot().unwrap().cursor(peer, notes()).unwrap();
                    prop_assert_eq!(stored, cursor);
                }
                Step::Reopen => {
                    drop(store);
                    store = start(&disk);
                }
            }
            assert_sound(&store);
        }
        assert_equal(&store, &model);
    }
}

/// Every summary that a session can ask for is the sum of the items it covers.
#[test]
fn sums_equal_a_scan() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let records = (0..600).map(|n| (key(&format!("n{n}")), vec![7; n % 9])).collect();
    store.put_many(notes(), records, NOW).unwrap();
    let snapshot = store.snapshot().unwrap();
    let all = snapshot.items(notes(), Range::ALL, None, usize::MAX).unwrap();
    assert_eq!(all.len(), 600);
    let scan = |range: Range| {
        let mut sum = Summary::EMPTY;
        for item in &all {
            let hash = item::key_hash(notes(), &item.key);
            if range.contains(hash) {
                sum.add(&item::item_hash(notes(), hash, &item.version));
            }
        }
        sum
    };
    let mut ranges = vec![Range::ALL, Range { bits: 4, prefix: 3 }];
    let deep = item::key_hash(notes(), &all[17].key);
    ranges.extend((1..=16).map(|nibbles| Range { bits: nibbles * 4, prefix: deep.prefix(nibbles * 4) }));
    for range in ranges {
        assert_eq!(snapshot.summary(notes(), range).unwrap(), scan(range), "{range:?}");
        let children: Vec<_> = range.children().map(scan).collect();
        assert_eq!(snapshot.children(notes(), range).unwrap(), children, "{range:?}");
        let inside = snapshot.items(notes(), range, None, usize::MAX).unwrap();
        assert_eq!(inside.len() as u64, scan(range).items);
    }
}

/// Listings go on where they stopped, each item once.
#[test]
fn pages_meet_without_gap_or_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let records = (0..50).map(|n| (key(&format!("n{n:02}")), vec![n])).collect();
    store.put_many(notes(), records, NOW).unwrap();
    store.delete(notes(), key("n10"), NOW).unwrap();
    let snapshot = store.snapshot().unwrap();

    let (mut keys, mut items, mut log) = (Vec::new(), Vec::new(), Vec::new());
    while let page @ [_, ..] = &snapshot.keys(notes(), keys.last(), 7).unwrap()[..] {
        keys.extend_from_slice(page);
    }
    assert_eq!(keys, (0..50).map(|n| key(&format!("n{n:02}"))).collect::<Vec<_>>());
    loop {
        let after =
            items.last().map(|item: &kinsync_protocol::snapshot::Item| item::key_hash(notes(), &item.key));
        let page = snapshot.items(notes(), Range::ALL, after, 7).unwrap();
        if page.is_empty() {
            break;
        }
        items.extend(page);
    }
    assert_eq!(items.len(), 50);
    while let page @ [_, ..] = &snapshot.log(notes(), log.last().copied().unwrap_or(0), 7).unwrap()[..] {
        log.extend(page.iter().map(|item| item.seq));
    }
    assert_eq!(log.len(), 50);
    assert!(log.is_sorted_by(|a, b| a < b));
    assert_eq!(snapshot.list(notes(), "n1", None, 100).unwrap().len(), 9, "n10 is deleted");
    let page = snapshot.list(notes(), "n1", Some(&key("n14")), 3).unwrap();
    assert_eq!(page.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["n15", "n16", "n17"]);
}
