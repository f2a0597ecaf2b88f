//! What each policy makes of two edits that were made apart.

use super::*;

/// The two values after both devices edited `base` apart, and what the join says.
fn apart(policy: &Policy, base: &str, phone: &str, laptop: &str) -> (Held, Held, Join) {
    let base = write(policy, None, DESKTOP, 1, base);
    let phone = write(policy, Some(&base), PHONE, 10, phone);
    let laptop = write(policy, Some(&base), LAPTOP, 20, laptop);
    let join = policy.join(phone.pair(), laptop.pair());
    assert_eq!(join, policy.join(laptop.pair(), phone.pair()));
    (phone, laptop, join)
}

/// The merged body, and whether something was lost.
#[track_caller]
fn merged(policy: &Policy, base: &str, phone: &str, laptop: &str) -> (String, bool) {
    match apart(policy, base, phone, laptop).2 {
        Join::Merged { value, lost } => {
            (String::from_utf8(value::body(&value).unwrap().to_vec()).unwrap(), lost)
        }
        join @ (Join::Greater | Join::Covered | Join::Both) => panic!("{join:?}"),
    }
}

fn one(policy: FieldPolicy) -> Policy {
    fields(FieldPolicy::Lww, &[("f", policy)])
}

/// Both sides edit `f`, and each a field of its own, so that both have something to say.
#[track_caller]
fn field(policy: FieldPolicy, base: &str, phone: &str, laptop: &str) -> (String, bool) {
    let body = |value: &str, own: &str| {
        let field = if value.is_empty() { String::new() } else { format!("\"f\":{value},") };
        format!("{{{field}{own}}}")
    };
    let (base, phone) = (body(base, "\"own\":0"), body(phone, "\"own\":0,\"phone\":1"));
    let (text, lost) = merged(&one(policy), &base, &phone, &body(laptop, "\"own\":1"));
    let fields = json::object(&text).unwrap();
    let values = fields.iter().filter(|(name, _)| name != "own" && name != "phone");
    let values: Vec<_> = values.map(|(_, raw)| *raw).collect();
    (values.join(" "), lost)
}

/// F6, S18: edits of different fields both stand, and no conflict is left.
#[test]
fn edits_of_different_fields_both_stand() {
    let policy = fields(FieldPolicy::Lww, &[]);
    let base = r#"{"title":"a","text":"b"}"#;
    let both = merged(&policy, base, r#"{"title":"A","text":"b"}"#, r#"{"title":"a","text":"B"}"#);
    assert_eq!(both, (r#"{"text":"B","title":"A"}"#.to_owned(), false));
}

/// S19: of two edits of one field the later stands, and the other is a conflict.
#[test]
fn of_two_edits_of_one_field_the_later_stands() {
    assert_eq!(field(FieldPolicy::Lww, "0", "1", "2"), ("2".into(), true));
    let lww = fields(FieldPolicy::Lww, &[]);
    assert_eq!(apart(&lww, r#"{"a":0}"#, r#"{"a":1}"#, r#"{"a":2}"#).2, Join::Greater);
    // The same edit twice leaves nothing to decide.
    assert_eq!(apart(&lww, r#"{"a":0}"#, r#"{"a":1}"#, r#"{"a": 1}"#).2, Join::Covered);
}

/// S20: the longer text and the union of the tags.
#[test]
fn the_longer_text_and_the_union_of_tags() {
    let policy = fields(
        FieldPolicy::Lww,
        &[("text", FieldPolicy::Longest), ("tags", FieldPolicy::SetUnion { by: None })],
    );
    let base = r#"{"text":"a","tags":["x"]}"#;
    let phone = r#"{"text":"a long text","tags":["x","phone"]}"#;
    let laptop = r#"{"text":"a text","tags":["laptop","x"]}"#;
    let (text, lost) = merged(&policy, base, phone, laptop);
    assert_eq!(text, r#"{"tags":["laptop","phone","x"],"text":"a long text"}"#);
    assert!(lost, "a text that is not part of the longer one was somebody's work");
    assert_eq!(field(FieldPolicy::Longest, "\"ab\"", "\"abcd\"", "\"abc\""), ("\"abcd\"".into(), false));
}

#[test]
fn the_greatest_and_the_smallest_stand_and_nothing_is_lost() {
    assert_eq!(field(FieldPolicy::Max, "3", "9", "7"), ("9".into(), false));
    assert_eq!(field(FieldPolicy::Max, "9", "10", "9.5"), ("10".into(), false));
    assert_eq!(field(FieldPolicy::Min, "3", "1", "2"), ("1".into(), false));
    assert_eq!(field(FieldPolicy::Max, "\"a\"", "\"c\"", "\"b\""), ("\"c\"".into(), false));
    // A removal ends what was before it.
    assert_eq!(field(FieldPolicy::Max, "3", "9", ""), (String::new(), true));
    assert_eq!(field(FieldPolicy::Max, "3", "", "3"), (String::new(), false));
}

#[test]
fn a_set_has_what_either_added_and_not_what_either_removed() {
    let set = || FieldPolicy::SetUnion { by: None };
    assert_eq!(field(set(), "[1,2,3]", "[1,2,3,10]", "[3,1,9]"), ("[1,3,9,10]".into(), false));
    assert_eq!(field(set(), "[1]", "[]", "[1]"), ("[]".into(), false));
    assert_eq!(field(set(), "[1]", "", "[1,2]"), ("[2]".into(), false));
    let by = || FieldPolicy::SetUnion { by: Some("id".into()) };
    let base = r#"[{"id":1,"v":"a"},{"id":2,"v":"b"}]"#;
    let phone = r#"[{"id":1,"v":"phone"},{"id":2,"v":"b"}]"#;
    let laptop = r#"[{"id":3,"v":"c"},{"id":1,"v":"a"}]"#;
    assert_eq!(
        field(by(), base, phone, laptop),
        (r#"[{"id":1,"v":"phone"},{"id":3,"v":"c"}]"#.into(), false)
    );
    let laptop = r#"[{"id":1,"v":"laptop"},{"id":2,"v":"b"}]"#;
    assert_eq!(
        field(by(), base, phone, laptop),
        (r#"[{"id":1,"v":"laptop"},{"id":2,"v":"b"}]"#.into(), true)
    );
}

/// D7: what was appended apart stays, in one order.
#[test]
fn a_list_keeps_the_order_of_insertion() {
    let append = || FieldPolicy::Append { by: "id".into() };
    let base = r#"[{"id":"z"},{"id":"y"}]"#;
    let phone = r#"[{"id":"z"},{"id":"y"},{"id":"c"},{"id":"b"}]"#;
    let laptop = r#"[{"id":"z"},{"id":"y"},{"id":"a"}]"#;
    let all = r#"[{"id":"z"},{"id":"y"},{"id":"c"},{"id":"b"},{"id":"a"}]"#;
    assert_eq!(field(append(), base, phone, laptop), (all.into(), false));
    let edited = r#"[{"id":"z","v":1},{"id":"y"},{"id":"a"}]"#;
    let all = r#"[{"id":"z","v":1},{"id":"y"},{"id":"c"},{"id":"b"},{"id":"a"}]"#;
    assert_eq!(field(append(), base, phone, edited), (all.into(), false));
}

#[test]
fn a_counter_counts_what_every_device_counted() {
    assert_eq!(field(FieldPolicy::Counter, "5", "7", "4"), ("6".into(), false));
    assert_eq!(field(FieldPolicy::Counter, "", "2", "3"), ("5".into(), false));
    // More than a value holds is as much as it holds.
    let most = i64::MAX.to_string();
    assert_eq!(field(FieldPolicy::Counter, "0", &most, &most), (most.clone(), false));
    // What is no whole number loses against one.
    assert_eq!(field(FieldPolicy::Counter, "5", "\"six\"", "5").0, "5");
}

#[test]
fn a_map_is_joined_by_its_own_fields() {
    let joined = field(FieldPolicy::Map, r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#, r#"{"b":2,"c":3,"a":1}"#);
    assert_eq!(joined, (r#"{"a":2,"b":2,"c":3}"#.into(), false));
    let joined = field(FieldPolicy::Map, r#"{"a":1,"b":1}"#, r#"{"a":1}"#, r#"{"a":2,"b":1}"#);
    assert_eq!(joined, (r#"{"a":2}"#.into(), false));
}

#[test]
fn both_are_kept_until_somebody_chooses() {
    let (text, lost) = merged(&one(FieldPolicy::KeepBoth), r#"{"f":0}"#, r#"{"f":1}"#, r#"{"f":2}"#);
    // The one that stands, then the others.
    assert_eq!((text.as_str(), lost), (r#"{"f":2,"f~others":[1]}"#, false));
    let policy = one(FieldPolicy::KeepBoth);
    let (phone, laptop, _) = apart(&policy, r#"{"f":0}"#, r#"{"f":1}"#, r#"{"f":2}"#);
    let both = meet(&policy, &phone, &laptop);
    let chosen = write(&policy, Some(&both), DESKTOP, 30, r#"{"f":1}"#);
    assert_eq!(meet(&policy, &chosen, &laptop), chosen);
    let meanwhile = write(&policy, Some(&both), PHONE, 31, r#"{"f":2,"f~others":[1],"g":true}"#);
    assert_eq!(meet(&policy, &chosen, &meanwhile).body(), r#"{"f":1,"g":true}"#);
}

/// D5: fields that nobody declared travel as they are, whatever is written in them.
#[test]
fn values_travel_as_they_were_written() {
    let odd = r#"{"big":123456789012345678901234567890,"one":1.0,"e":1e2,"s":"\u0061\/","o":{"a":1, "a":2}}"#;
    let with = |field: &str| format!("{},{field}}}", odd.strip_suffix('}').unwrap());
    let policy = fields(FieldPolicy::Lww, &[("tags", FieldPolicy::Max)]);
    let (text, lost) = merged(&policy, odd, &with("\"p\":1"), &with("\"l\":2"));
    assert!(!lost);
    let expected = r#"{"big":123456789012345678901234567890,"e":1e2,"l":2,"o":{"a":1, "a":2},"one":1.0,"p":1,"s":"\u0061\/"}"#;
    assert_eq!(text, expected);
}

#[test]
fn a_value_that_is_no_object_stands_or_falls_whole() {
    let policy = every_policy();
    for other in ["[1]", "7", "plain text", "{\"a\":1,\"a\":2}", "{\"a\":", ""] {
        assert_eq!(apart(&policy, "{}", other, r#"{"text":1}"#).2, Join::Greater, "{other}");
        assert_eq!(apart(&policy, "{}", r#"{"text":1}"#, other).2, Join::Greater, "{other}");
    }
}

#[test]
fn values_of_different_schemas_are_not_joined() {
    let policy = every_policy();
    let phone = write(&policy, None, PHONE, 1, r#"{"text":1}"#);
    let stamp = Stamp { time: Hlc(9), device: LAPTOP };
    let value = policy.write(2, br#"{"count":1}"#, None, stamp).unwrap();
    let key = Key::new("k").unwrap();
    let laptop = Record::new(key, Some(value.clone()), stamp, Ancestry::default());
    assert_eq!(policy.join(phone.pair(), (&laptop.version, &value)), Join::Greater);
}

#[test]
fn the_other_policies_leave_the_greater_or_both() {
    let (phone, laptop) = (br#"{"a":1}"#.as_slice(), br#"{"b":1}"#.as_slice());
    let version = |device, value: &[u8]| {
        let stamp = Stamp { time: Hlc(1), device };
        Record::new(Key::new("k").unwrap(), Some(value.to_vec()), stamp, Ancestry::default()).version
    };
    let join =
        |policy: Policy| policy.join((&version(PHONE, phone), phone), (&version(LAPTOP, laptop), laptop));
    assert_eq!(join(Policy::Lww), Join::Greater);
    assert_eq!(join(Policy::Manual), Join::Greater);
    assert_eq!(join(Policy::Merge { name: "app".into() }), Join::Greater);
    assert_eq!(join(Policy::KeepBoth), Join::Both);
}

/// Most values need no header, so most bytes on disk are the application's.
#[test]
fn a_first_write_is_stored_as_it_is() {
    let body = r#"{"text":1,"tags":[1,2],"log":[{"id":1}],"count":5,"both":1,"map":{"a":1},"max":2}"#;
    let first = write(&every_policy(), None, PHONE, 5, body);
    assert_eq!(first.value, body.as_bytes());
    let same = write(&every_policy(), None, PHONE, 5, body);
    assert_eq!(first, same);
}
