//! Stored values, read alone and joined with another.

use std::collections::BTreeMap;

use kinsync_protocol::declaration::Declaration;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::policy::{FieldPolicy, Join, Policy};
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::value;

use crate::fuzz::Target;

pub(super) const TARGETS: [Target; 3] = [
    Target { name: "declaration", seeds: declarations, run: read_declaration, cost: 1 },
    Target { name: "value", seeds: values, run: read_value, cost: 1 },
    Target { name: "value_join", seeds: pairs, run: join_values, cost: 4 },
];

const PHONE: DeviceId = DeviceId([2; 32]);
const LAPTOP: DeviceId = DeviceId([1; 32]);

fn read_value(bytes: &[u8]) {
    if let Ok(opened) = value::open(bytes) {
        let stored = value::wrap(&opened.header, opened.body).expect("what was read can be written");
        assert_eq!(value::open(&stored).expect("what is written is read"), opened);
    }
}

fn read_declaration(bytes: &[u8]) {
    let Ok(declaration) = serde_json::from_slice::<Declaration>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&declaration).expect("a declaration is JSON");
    let again: Declaration = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(serde_json::to_vec(&again).expect("a declaration is JSON"), written);
    let _ = declaration.check();
}

/// One field of each policy.
fn policy() -> Policy {
    let by = || "id".to_owned();
    let fields = [
        ("max", FieldPolicy::Max),
        ("min", FieldPolicy::Min),
        ("long", FieldPolicy::Longest),
        ("tags", FieldPolicy::SetUnion { by: None }),
        ("set", FieldPolicy::SetUnion { by: Some(by()) }),
        ("log", FieldPolicy::Append { by: by() }),
        ("count", FieldPolicy::Counter),
        ("map", FieldPolicy::Map),
        ("both", FieldPolicy::KeepBoth),
    ];
    let fields =
        fields.map(|(name, policy)| (name.to_owned(), policy)).into_iter().collect::<BTreeMap<_, _>>();
    Policy::Fields { default: FieldPolicy::Lww, fields }
}

fn version(time: u64, device: DeviceId, value: &[u8]) -> Version {
    let stamp = Stamp { time: Hlc(time), device };
    Record::new(key(), Some(value.to_vec()), stamp, Ancestry::default()).version
}

fn key() -> Key {
    Key::new("k").expect("a key")
}

/// The first two bytes say how long the first value is; the rest is the second one.
fn join_values(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let Some((a, b)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
        return;
    };
    let policy = policy();
    let (first, second) = (version(1 << 40, PHONE, a), version(1 << 41, LAPTOP, b));
    let join = policy.join((&first, a), (&second, b));
    assert_eq!(join, policy.join((&second, b), (&first, a)), "the order matters");
    if let Join::Merged { value, .. } = join {
        let merged = Version::merged(&first, &second, &value);
        let record = Record { key: key(), version: merged.clone(), value: Some(value.clone()) };
        record.check().expect("a merge stays within the limits");
        for old in [(&first, a), (&second, b)] {
            let again = policy.join((&merged, &value), old);
            assert!(matches!(again, Join::Covered | Join::Greater), "a merge says more each time: {again:?}");
        }
    }
    let stamp = Stamp { time: Hlc(1 << 42), device: PHONE };
    let body = value::body(b).unwrap_or_default();
    let written = policy.write(1, body, Some((&first, a)), stamp).expect("a write of that size is taken");
    assert_eq!(value::open(&written).expect("what is written is read").body, body);
}

/// Values with a history: each body is written over the one before.
fn values() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"text":1,"max":2,"min":3,"long":"abc","tags":[1,"x",{"y":2}],"count":5,"both":1}"#,
        r#"{"text":1,"tags":["x"],"set":[{"id":1,"v":2}],"log":[{"id":"a"}],"count":7,"map":{"a":1,"b":2},"both":2}"#,
        r#"{"text":2,"set":[],"log":[{"id":"a"},{"id":"b"}],"count":6,"map":{"a":1},"both":2,"both~others":[1]}"#,
        r#"{"long":"a","set":[{"id":2}],"log":[{"id":"b","v":1.0}],"map":{"c":3},"tags":[]}"#,
    ];
    let mut found = vec![b"\xff\0\0\0\x01\xa0\xff".to_vec()];
    for start in 0..bodies.len() {
        let mut old: Option<(Version, Vec<u8>)> = None;
        for (step, body) in bodies.iter().cycle().skip(start).take(3).enumerate() {
            let stamp = Stamp { time: Hlc((step as u64 + 1) << 20), device: [PHONE, LAPTOP][step % 2] };
            let before = old.as_ref().map(|(version, value)| (version, value.as_slice()));
            let value = policy().write(1, body.as_bytes(), before, stamp).expect("a small value");
            found.push(value.clone());
            old = Some((version(stamp.time.0, stamp.device, &value), value));
        }
    }
    found
}

fn pairs() -> Vec<Vec<u8>> {
    let values = values();
    let pair = |a: &Vec<u8>, b: &Vec<u8>| {
        let length = u16::try_from(a.len()).expect("a small value");
        [&length.to_be_bytes()[..], a, b].concat()
    };
    values.iter().flat_map(|a| values.iter().map(move |b| pair(a, b))).collect()
}

fn declarations() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"name":"a"}"#,
        r#"{"name":"memories","schema":2,"policy":"set-union","scope":"device","identity":["project","content:200"],
            "derived":{"embedding":"model"},"exclude":{"builtin":true},"fields":{"tags":{"set-union":true},"n":"max",
            "log":{"append":"id"}},"value":{"type":"object"},"migrate":[{"from":1,"rename":{"a":"b"},
            "default":{"c":1}}],"requires":[{"id":"m","need":"must"}],"guard":{"records":5}}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

#[test]
fn seeds_are_merged_and_read() {
    let pairs = pairs();
    let merges = pairs.iter().filter(|pair| {
        let length = usize::from(u16::from_be_bytes([pair[0], pair[1]]));
        let (a, b) = pair[2..].split_at(length);
        let join = policy().join((&version(1 << 40, PHONE, a), a), (&version(1 << 41, LAPTOP, b), b));
        matches!(join, Join::Merged { .. })
    });
    assert!(merges.count() > 20);
    assert!(declarations().iter().all(|text| serde_json::from_slice::<Declaration>(text).is_ok()));
}
