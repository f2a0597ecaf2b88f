//! Rows and statements as bytes.

use proptest::prelude::*;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn a_row() -> Row {
    Row {
        state: State::Revoked,
        role: Role::Kin,
        origin: DeviceId([5; 32]),
        voucher: None,
        label: "phone".into(),
        alias: Some("mine".into()),
        domains: None,
        since: Some(UnixMillis(7)),
        changed: UnixMillis(8),
        cause: DeviceId([6; 32]),
        reason: Reason::Lost,
        revoked_us: None,
    }
}

#[test]
fn a_row_keeps_its_bytes() {
    let expected = format!(
        "a9010302030358 20{}04{}05080658 20{}070109{}0b07",
        "05".repeat(32),
        "6570686f6e65",
        "06".repeat(32),
        "646d696e65"
    );
    assert_eq!(hex(&a_row().encode()), expected.replace(' ', ""));
    assert_eq!(Row::decode(&a_row().encode()).unwrap(), a_row());
}

#[test]
fn a_view_comes_back_from_its_rows() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    set.view(PHONE).revoke(id(LAPTOP), Introduced::Keep, Reason::Lost, AT).unwrap();
    let view = &set.views[&PHONE];
    let stored = view.rows().iter().map(|(device, row)| (*device, Row::decode(&row.encode()).unwrap()));
    let read = View::from_rows(id(PHONE), stored.collect::<Vec<_>>());
    assert_eq!(read.rows(), view.rows());
    assert_eq!(read.head(), view.head());
}

#[test]
fn a_statement_keeps_its_bytes() {
    let body = Body { label: "phone".into(), ..Body::new(Kind::Kin, DeviceId([5; 32]), id(PHONE), AT) };
    let statement = Statement::new(Signed::sign(&body, &key(PHONE)), None);
    let inner = format!(
        "a8010102010358 20{}0458 20{}0550{}066570686f6e65071b0000018bcfe568000800",
        "05".repeat(32),
        hex(id(PHONE).as_bytes()),
        "00".repeat(16)
    );
    let bytes = crate::cbor::encode(&statement);
    assert!(hex(&bytes).starts_with(&format!(
        "a20158{:02x}{}025840",
        inner.replace(' ', "").len() / 2,
        inner.replace(' ', "")
    )));
    assert_eq!(statement.signed().verify().unwrap(), body);
}

#[test]
fn unchanged_views_make_unchanged_statements() {
    let mut set = Set::of(&[PHONE, LAPTOP, DESKTOP]);
    let first = set.view(LAPTOP).statements_to_send(&key(LAPTOP));
    assert_eq!(set.view(LAPTOP).statements_to_send(&key(LAPTOP)), first);
    assert!(first.iter().all(Statement::fits));
}

fn any_row() -> impl Strategy<Value = Row> {
    let state =
        prop_oneof![Just(State::Absent), Just(State::Kin), Just(State::Retired), Just(State::Revoked)];
    let role = prop_oneof![Just(Role::Guest), Just(Role::Kin)];
    let reason = prop_oneof![Just(Reason::None), Just(Reason::Lost), Just(Reason::Rotated)];
    let times = (any::<Option<u64>>(), any::<u64>(), any::<Option<u64>>());
    let texts = ("\\PC{0,20}", prop::option::of("\\PC{0,20}"));
    let domains = prop::option::of(prop::collection::vec("[a-z]{0,64}", 0..=32));
    (state, role, reason, times, texts, domains, any::<bool>()).prop_map(
        |(state, role, reason, (since, changed, revoked_us), (label, alias), domains, vouched)| Row {
            state,
            role,
            origin: id(LAPTOP),
            voucher: vouched
                .then(|| Signed::sign(&Body::new(Kind::Kin, id(PHONE), id(LAPTOP), AT), &key(LAPTOP))),
            label,
            alias,
            domains,
            since: since.map(UnixMillis),
            changed: UnixMillis(changed),
            cause: id(DESKTOP),
            reason,
            revoked_us: revoked_us.map(UnixMillis),
        },
    )
}

proptest! {
    #[test]
    fn a_row_survives_its_bytes(row in any_row()) {
        prop_assert_eq!(Row::decode(&row.encode()).unwrap(), row);
    }

    #[test]
    fn any_bytes_are_a_row_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Row::decode(&bytes);
    }
}
