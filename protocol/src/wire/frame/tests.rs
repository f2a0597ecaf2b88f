//! Golden bytes, round trips and limits of the sync messages.

use assert_matches::assert_matches;
use proptest::prelude::*;

use super::*;
use crate::floor::Floor;

const LAPTOP: DeviceId = DeviceId([1; 32]);
const PHONE: DeviceId = DeviceId([2; 32]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn small_record() -> Record {
    let seen = Ancestry::from_entries(vec![(LAPTOP, Hlc(7))]);
    Record::new(Key::new("a").unwrap(), Some(b"hi".to_vec()), Stamp { time: Hlc(9), device: PHONE }, seen)
}

fn small_push(served: Vec<DeviceTag>) -> Push {
    let records = vec![small_record()];
    Push { domain: DomainId([5; 16]), epoch: 3, previous: 1, seq: 2, records, served }
}

#[test]
fn a_push_keeps_its_bytes() {
    let push = small_push(vec![LAPTOP.tag()]);
    let bytes = Request::Push(push.clone()).encode();
    let devices = format!("825820{}5820{}", "01".repeat(32), "02".repeat(32));
    assert_eq!(
        hex(&bytes),
        format!("028750{}{devices}0301028185616109014268698182000781480101010101010101", "05".repeat(16))
    );
    assert_eq!(Request::decode(&bytes), Ok(Request::Push(push)));
}

#[test]
fn a_hello_keeps_its_bytes() {
    let domain = HelloDomain {
        domain: DomainId([5; 16]),
        print: ByteArray16::new([6; 16]),
        items: 2,
        live: 1,
        epoch: 3,
        head: 4,
        cursor: Some(HelloCursor { epoch: 8, seq: 9, after: None }),
        grants: Grants { write: false, delete: false, ..Grants::ALL },
        floor: Floor(20_777),
    };
    let domains = Bounded::truncating(vec![domain]);
    let hello = Hello { nonce: [0; 8], compare: false, others: Grants::ALL, domains };
    let frame = Frame { session: 1, hello: Some(hello), parts: vec![] };
    let bytes = Request::Exchange(frame.clone()).encode();
    let body = format!("8950{}50{}02010304830809f609195129", "05".repeat(16), "06".repeat(16));
    assert_eq!(hex(&bytes), format!("0184018084{}f40781{body}80", "88".to_string() + &"00".repeat(8)));
    assert_eq!(Request::decode(&bytes), Ok(Request::Exchange(frame)));
}

#[test]
fn refusals_keep_their_bytes() {
    let all = [Refusal::Busy, Refusal::NoSession, Refusal::NotTrusted, Refusal::BadMessage, Refusal::NoStore];
    for (code, refusal) in (1..).zip(all) {
        let bytes = Response::Refuse(refusal).encode();
        assert_eq!(bytes, [3, code]);
        assert_eq!(Response::decode(&bytes), Ok(Response::Refuse(refusal)));
    }
    assert_matches!(Response::decode(&[3, 6]), Err(DecodeError::Malformed { .. }));
}

#[test]
fn a_frame_ends_at_its_limit() {
    let over = vec![1; FRAME_BYTES_MAX + 1];
    assert_matches!(Request::decode(&over), Err(DecodeError::TooLarge { .. }));
    assert_matches!(Request::decode(&[]), Err(DecodeError::Malformed { .. }));
    assert_matches!(Request::decode(&[9, 0]), Err(DecodeError::Malformed { .. }));
}

#[test]
fn rows_in_a_frame_end_at_their_limit() {
    let part = |rows| Part { want: vec![KeyHash([1; 16]); rows], ..Part::default() };
    let frame = |rows| Request::Exchange(Frame { parts: vec![part(rows)], ..Frame::default() }).encode();
    assert!(Request::decode(&frame(FRAME_ROWS_MAX)).is_ok());
    assert_matches!(Request::decode(&frame(FRAME_ROWS_MAX + 1)), Err(DecodeError::Malformed { .. }));
}

#[test]
fn devices_that_a_push_names_end_at_their_limit() {
    let served = |count| Request::Push(small_push(vec![PHONE.tag(); count]));
    let most = served(PUSH_SERVED_MAX);
    assert_eq!(Request::decode(&most.encode()), Ok(most.clone()));
    assert_eq!(served(PUSH_SERVED_MAX + 1).encode(), most.encode(), "nobody sends more");
    // The list is the last thing in the message: one more of it, and one more in its length.
    let mut over = most.encode();
    let length = over.len() - PUSH_SERVED_MAX * 9 - 1;
    assert_eq!(over[length], u8::try_from(PUSH_SERVED_MAX).unwrap());
    over[length] += 1;
    over.extend([0x48; 9]);
    assert_matches!(Request::decode(&over), Err(DecodeError::Malformed { .. }));
}

#[test]
fn a_leaf_with_a_foreign_key_is_refused() {
    let head =
        Head { key: KeyHash([0xff; 16]), stamp: small_record().version.stamp, deleted: false, value: [0; 8] };
    let leaf = Leaf { range: Range { bits: 8, prefix: 1 }, heads: vec![head] };
    let frame = Frame { parts: vec![Part { leaves: vec![leaf], ..Part::default() }], ..Frame::default() };
    assert_matches!(Request::decode(&Request::Exchange(frame).encode()), Err(DecodeError::Malformed { .. }));
}

#[test]
fn a_tombstone_costs_few_bytes() {
    let stamp = Stamp { time: Hlc(u64::from(u32::MAX) << 16), device: PHONE };
    let record = Record::new(Key::new("k").unwrap(), None, stamp, Ancestry::default());
    let part = Part { records: vec![record], ..Part::default() };
    let one = Request::Exchange(Frame { parts: vec![part], ..Frame::default() }).encode();
    assert!(one.len() < 70, "{} bytes", one.len());
}

prop_compose! {
    fn any_stamp()(time in 0..=Hlc::MAX.0, device in 1..4_u8) -> Stamp {
        Stamp { time: Hlc(time), device: DeviceId([device; 32]) }
    }
}

prop_compose! {
    fn any_record()(
        key in "[a-zA-Z0-9/é]{1,20}",
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        stamp in any_stamp(),
        seen in prop::collection::btree_map(4..8_u8, 0..u64::MAX, 0..4),
    ) -> Record {
        let seen = seen.into_iter().map(|(device, time)| (DeviceId([device; 32]), Hlc(time))).collect();
        Record::new(Key::new(key).unwrap(), value, stamp, Ancestry::from_entries(seen))
    }
}

prop_compose! {
    fn any_head()(key in any::<[u8; 16]>(), stamp in any_stamp(), deleted in any::<bool>(), value in any::<[u8; 8]>())
    -> Head {
        Head { key: KeyHash(key), stamp, deleted, value }
    }
}

prop_compose! {
    fn any_part()(
        domain in any::<u16>(),
        records in prop::collection::vec(any_record(), 0..4),
        delta in prop::option::of((any::<u64>(), any::<u64>(),
            prop::collection::vec(any_head(), 0..4))),
        want in prop::collection::vec(any::<[u8; 16]>(), 0..4),
        prints in prop::collection::vec(any::<[u8; 4]>(), 16..17),
        heads in prop::collection::vec(any_head(), 0..4),
        done in prop::option::of((any::<[u8; 16]>(), any::<u64>(), any::<u64>())),
    ) -> Part {
        Part {
            domain,
            records,
            delta: delta.map(|(epoch, seq, heads)| {
                Delta { to: Cursor { epoch, seq, after: None }, heads }
            }),
            want: want.into_iter().map(KeyHash).collect(),
            ranges: vec![RangePrints { range: Range { bits: 8, prefix: 3 }, prints }],
            leaves: vec![Leaf { range: Range::ALL, heads }],
            done: done.map(|(print, epoch, head)| Done { print: ByteArray16::new(print), epoch, head }),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(session in any::<u64>(), parts in prop::collection::vec(any_part(), 0..3)) {
        let frame = Frame { session, hello: None, parts };
        let request = Request::Exchange(frame.clone());
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        let response = Response::Exchange(frame);
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn noise_is_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
    }

    #[test]
    fn damage_is_refused_or_read_as_something_valid(part in any_part(), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = Request::Exchange(Frame { parts: vec![part], ..Frame::default() }).encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }
}
