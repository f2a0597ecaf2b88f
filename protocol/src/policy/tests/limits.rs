//! Large values, full headers and forged ones.

use super::*;
use crate::limits::{VALUE_BYTES_MAX, VALUE_HEADER_BYTES_MAX};

fn header_bytes(held: &Held) -> usize {
    held.value.len() - value::body(&held.value).unwrap().len()
}

#[test]
fn a_join_larger_than_a_value_leaves_the_greater_one() {
    let policy = fields(FieldPolicy::Lww, &[]);
    let half = |name: &str, bytes: usize| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(bytes));
    // Two objects of `{"a":""}` make one of `{"a":"","b":""}`.
    let room = VALUE_BYTES_MAX - r#"{"a":"","b":""}"#.len();
    for (bytes, fits) in [(room - room / 2, true), (room - room / 2 + 1, false)] {
        let phone = write(&policy, None, PHONE, 1, &half("a", bytes));
        let laptop = write(&policy, None, LAPTOP, 2, &half("b", room / 2));
        let both = meet(&policy, &phone, &laptop);
        assert_eq!(both.body().len() == VALUE_BYTES_MAX, fits);
        assert_eq!(both == laptop, !fits);
    }
}

#[test]
fn nothing_is_merged_after_the_last_moment() {
    let policy = fields(FieldPolicy::Lww, &[]);
    let phone = write(&policy, None, PHONE, Hlc::MAX.0, r#"{"a":1}"#);
    let laptop = write(&policy, None, LAPTOP, 7, r#"{"b":1}"#);
    assert_eq!(policy.join(phone.pair(), laptop.pair()), Join::Greater);
    let before = write(&policy, None, PHONE, Hlc::MAX.0 - 1, r#"{"a":1}"#);
    assert_eq!(meet(&policy, &before, &laptop).version.stamp.time, Hlc::MAX);
}

/// However much there is to remember, a write is taken, its body is kept as it is, and two of them still meet.
#[test]
fn a_full_header_forgets_and_never_refuses() {
    let numbers = |from: u32, to: u32| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let policy = every_policy();
    let mut held = write(&policy, None, PHONE, 1, r#"{"tags":[],"text":0}"#);
    let mut largest = 0;
    for step in 1..=60 {
        // Some elements come and some go, at another time in each step.
        let body = format!(r#"{{"tags":[{}],"text":{step}}}"#, numbers(step * 40, step * 40 + 100));
        held = write(&policy, Some(&held), [PHONE, LAPTOP][(step % 2) as usize], 1, &body);
        assert_eq!(held.body(), body);
        largest = largest.max(header_bytes(&held));
    }
    assert!(largest > VALUE_HEADER_BYTES_MAX / 4 && largest <= VALUE_HEADER_BYTES_MAX, "{largest}");
    let phone = write(&policy, Some(&held), PHONE, 1, &held.body().replace("[2400,", "[1,2400,"));
    let laptop = write(&policy, Some(&held), LAPTOP, 1, &held.body().replace("\"text\":60", "\"text\":61"));
    let both = meet(&policy, &phone, &laptop);
    assert!(header_bytes(&both) <= VALUE_HEADER_BYTES_MAX);
    assert!(both.body().starts_with(r#"{"tags":[1,2400,"#) && both.body().ends_with(r#""text":61}"#));
}

/// Ten thousand fields, each with a time of its own: all are the latest then.
#[test]
fn more_fields_than_a_header_lists_have_one_time() {
    let policy = fields(FieldPolicy::Lww, &[]);
    let body = |edited: usize| {
        let fields =
            (0..2_000).map(|n| format!(r#""a-field-with-a-long-name-{n}":{}"#, u8::from(n < edited)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    };
    let mut held = write(&policy, None, PHONE, 1, &body(0));
    for edited in (0..2_000).step_by(100) {
        held = write(&policy, Some(&held), PHONE, 1, &body(edited));
        assert!(header_bytes(&held) <= VALUE_HEADER_BYTES_MAX);
    }
    let laptop = write(&policy, Some(&held), LAPTOP, 1, &held.body().replace(r#"-1999":0"#, r#"-1999":7"#));
    let phone = write(&policy, Some(&held), PHONE, 1, &held.body().replace(r#"-1998":0"#, r#"-1998":7"#));
    let both = meet(&policy, &phone, &laptop);
    assert!(both.body().contains(r#"-1999":7"#) || both.body().contains(r#"-1998":7"#));
    assert!(header_bytes(&both) <= VALUE_HEADER_BYTES_MAX);
}

/// A header cannot say that a field is later than its value: nobody could ever write over it.
#[test]
fn a_forged_time_does_not_outlive_its_version() {
    let policy = fields(FieldPolicy::Lww, &[]);
    let version = |time, device, value: &[u8], seen| {
        let stamp = Stamp { time: Hlc(time), device };
        Record::new(Key::new("k").unwrap(), Some(value.to_vec()), stamp, seen).version
    };
    // {2: {1: the largest time}}: the base of all fields.
    let header = [&[0xa1, 2, 0xa1, 1, 0x1b][..], &[0xff; 8]].concat();
    let length = u8::try_from(header.len()).unwrap();
    let value = [&[0xff, 0, 0, 0, length][..], &header, br#"{"a":"forged","b":0}"#].concat();
    let forged = Held { version: version(5, DESKTOP, &value, Ancestry::default()), value };
    assert_eq!(doc(&policy, &forged).len(), 2);
    let phone = write(&policy, Some(&forged), PHONE, 10, r#"{"a":"phone","b":0}"#);
    let laptop = write(&policy, Some(&forged), LAPTOP, 20, r#"{"a":"forged","b":1}"#);
    assert_eq!(meet(&policy, &phone, &laptop).body(), r#"{"a":"phone","b":1}"#);
}
