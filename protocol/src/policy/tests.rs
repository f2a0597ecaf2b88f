//! The policies together: laws for any edits, and examples of each.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::record::{Key, Record};
use crate::stamp::Ancestry;

mod examples;
mod limits;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);
const DESKTOP: DeviceId = DeviceId([3; 32]);

/// A version and its stored value.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Held {
    version: Version,
    value: Vec<u8>,
}

impl Held {
    fn pair(&self) -> (&Version, &[u8]) {
        (&self.version, &self.value)
    }

    fn body(&self) -> &str {
        str::from_utf8(value::body(&self.value).unwrap()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.body()).unwrap()
    }
}

fn fields(default: FieldPolicy, fields: &[(&str, FieldPolicy)]) -> Policy {
    let fields = fields.iter().map(|(name, policy)| ((*name).to_owned(), policy.clone())).collect();
    Policy::Fields { default, fields }
}

/// One field of each policy.
fn every_policy() -> Policy {
    let id = || "id".to_owned();
    fields(
        FieldPolicy::Lww,
        &[
            ("max", FieldPolicy::Max),
            ("min", FieldPolicy::Min),
            ("long", FieldPolicy::Longest),
            ("tags", FieldPolicy::SetUnion { by: None }),
            ("set", FieldPolicy::SetUnion { by: Some(id()) }),
            ("log", FieldPolicy::Append { by: id() }),
            ("count", FieldPolicy::Counter),
            ("map", FieldPolicy::Map),
            ("both", FieldPolicy::KeepBoth),
        ],
    )
}

/// A write by `device` at `time`, or at the next moment that is later than what it replaces.
fn write(policy: &Policy, old: Option<&Held>, device: DeviceId, time: u64, body: &str) -> Held {
    let time = old.map_or(Hlc(time), |old| old.version.stamp.time.next().max(Hlc(time)));
    let seen =
        old.map_or_else(Ancestry::default, |old| old.version.seen.replaced_by(old.version.stamp, device));
    let stamp = Stamp { time, device };
    let value = policy.write(1, body.as_bytes(), old.map(Held::pair), stamp).unwrap();
    let record = Record::new(Key::new("k").unwrap(), Some(value.clone()), stamp, seen);
    record.check().unwrap();
    Held { version: record.version, value }
}

/// What a device holds after it has seen both.
fn meet(policy: &Policy, a: &Held, b: &Held) -> Held {
    let (greater, lesser) = if a.version >= b.version { (a, b) } else { (b, a) };
    if greater.version.knew(&lesser.version) {
        return greater.clone();
    }
    match policy.join(a.pair(), b.pair()) {
        Join::Merged { value, .. } => {
            let version = Version::merged(&a.version, &b.version, &value);
            let record = Record { key: Key::new("k").unwrap(), version, value: Some(value.clone()) };
            record.check().unwrap();
            Held { version: record.version, value }
        }
        Join::Greater | Join::Covered | Join::Both => greater.clone(),
    }
}

fn doc<'a>(policy: &Policy, held: &'a Held) -> Doc<'a> {
    let policies = policy.policies().unwrap();
    let opened = value::open(&held.value).unwrap();
    let parts = parts::parts(policies, opened.body).unwrap();
    opened.header.state.read(policies, &parts, &held.version)
}

fn joined<'a>(a: &Doc<'a>, b: &Doc<'a>) -> Doc<'a> {
    doc::join(a.clone(), b.clone(), &mut Losses { known: Hlc(0), lost: false })
}

/// The bytes that stand for a document, whoever made it.
fn canonical(policy: &Policy, doc: &Doc<'_>) -> Vec<u8> {
    let policies = policy.policies().unwrap();
    let body = emit::emit(policies, doc);
    let parts = parts::parts(policies, &body).unwrap();
    let mut header = Header::new(1);
    wrap_within(&mut header, policies, &mut doc.clone(), &parts, None, &body).unwrap()
}

/// One change that an application makes to a value.
fn change(body: &mut Map<String, Value>, what: u8, number: u8) {
    let number = number % 6;
    let id = json!({"id": number % 3, "v": number});
    let list = |body: &mut Map<String, Value>, name: &str| -> Vec<Value> {
        body.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    match what % 20 {
        0 | 1 => drop(body.insert("text".into(), json!(number))),
        2 => drop(body.insert("max".into(), json!(f64::from(number) / 2.0))),
        3 => drop(body.insert("min".into(), json!(number))),
        4 => drop(body.insert("long".into(), json!("x".repeat(number.into())))),
        5 | 6 => {
            let mut tags = list(body, "tags");
            match tags.iter().position(|tag| *tag == json!(number)) {
                Some(index) => drop(tags.remove(index)),
                None => tags.push(json!(number)),
            }
            body.insert("tags".into(), Value::Array(tags));
        }
        name @ 7..=10 => {
            let name = if name % 2 == 0 { "set" } else { "log" };
            let mut items = list(body, name);
            match items.iter().position(|item| item["id"] == id["id"]) {
                Some(index) if number < 3 => drop(items.remove(index)),
                Some(index) => items[index] = id,
                None => items.push(id),
            }
            body.insert(name.into(), Value::Array(items));
        }
        11 | 12 => {
            let old = body.get("count").and_then(Value::as_i64).unwrap_or(0);
            body.insert("count".into(), json!(old + i64::from(number) - 2));
        }
        13 | 14 => {
            let mut map = body.get("map").and_then(Value::as_object).cloned().unwrap_or_default();
            if map.remove(&format!("m{number}")).is_none() {
                map.insert(format!("m{}", number % 3), json!(number));
            }
            body.insert("map".into(), Value::Object(map));
        }
        15 | 16 => drop(body.insert("both".into(), json!(number))),
        17 => drop(body.remove("both~others")),
        18 => {
            let names = ["text", "max", "long", "tags", "log", "count", "map", "both"];
            body.remove(names[usize::from(number)]);
        }
        // Values that their policies are not for.
        _ => {
            let names = ["text", "max", "long", "tags", "log", "count", "map", "both"];
            body.insert(names[usize::from(number)].into(), json!({"odd": [number, "x"]}));
        }
    }
}

type Steps = Vec<(u8, u8, u8, u8)>;

fn steps(most: usize) -> impl Strategy<Value = Steps> {
    prop::collection::vec((0..3_u8, 0..5_u8, any::<u8>(), any::<u8>()), 1..most)
}

/// What three devices hold after they wrote and met; each step is a write by
/// one device, or its meeting with another.
fn lives(policy: &Policy, steps: &Steps) -> Vec<Held> {
    let devices = [LAPTOP, PHONE, DESKTOP];
    let mut held: [Option<Held>; 3] = [None, None, None];
    for (step, &(at, from, what, number)) in steps.iter().enumerate() {
        let (at, from) = (usize::from(at), usize::from(from));
        let theirs = held.get(from).filter(|_| from != at).cloned();
        held[at] = match (held[at].take(), theirs) {
            (Some(ours), Some(Some(theirs))) => Some(meet(policy, &ours, &theirs)),
            (None, Some(theirs)) => theirs,
            (old, _) => {
                let mut body =
                    old.as_ref().map_or_else(Map::new, |old| old.json().as_object().unwrap().clone());
                change(&mut body, what, number);
                change(&mut body, what / 3, number / 6);
                let body = Value::Object(body).to_string();
                Some(write(policy, old.as_ref(), devices[at], step as u64 + 1, &body))
            }
        };
    }
    held.into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// S18: joining is commutative, associative and idempotent, in what it
    /// means and in its bytes.
    #[test]
    fn joins_obey_the_laws(steps in steps(30)) {
        let policy = every_policy();
        let held = lives(&policy, &steps);
        let docs: Vec<_> = held.iter().map(|held| doc(&policy, held)).collect();
        for a in &docs {
            prop_assert_eq!(&joined(a, a), a);
            for b in &docs {
                let both = joined(a, b);
                prop_assert_eq!(&both, &joined(b, a));
                prop_assert_eq!(&joined(&both, a), &both);
                prop_assert_eq!(canonical(&policy, &both), canonical(&policy, &joined(b, a)));
                for c in &docs {
                    prop_assert_eq!(joined(&both, c), joined(a, &joined(b, c)));
                }
            }
        }
    }

    /// What is written is read again as the same, by whoever merged it.
    #[test]
    fn a_header_holds_all_that_a_join_has_to_know(steps in steps(30)) {
        let policy = every_policy();
        for held in lives(&policy, &steps) {
            let before = doc(&policy, &held);
            let value = canonical(&policy, &before);
            let again = Held { version: Version::derived(Hlc(1_000), held.version.causes(), Some(&value)), value };
            prop_assert_eq!(doc(&policy, &again), before);
        }
    }

    /// F10: three devices that edit and meet in any order end alike, in
    /// every byte, and stop making new versions.
    #[test]
    fn devices_end_alike_in_any_order(
        steps in steps(40),
        order in prop::collection::vec((0..3_usize, 0..3_usize), 0..12),
    ) {
        let policy = every_policy();
        let mut held = lives(&policy, &steps);
        let count = held.len();
        for (a, b) in order.into_iter().filter(|_| count > 0) {
            let both = meet(&policy, &held[a % count], &held[b % count]);
            held[a % count] = both;
        }
        let mut rounds = 0;
        while held.windows(2).any(|pair| pair[0] != pair[1]) {
            rounds += 1;
            prop_assert!(rounds < 20, "no end: {held:?}");
            for a in 0..count {
                for b in 0..count {
                    held[a] = meet(&policy, &held[a], &held[b]);
                }
            }
        }
    }
}
