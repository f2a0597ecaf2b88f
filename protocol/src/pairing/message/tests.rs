//! The bytes of every message, and what happens to other bytes.

use assert_matches::assert_matches;
use proptest::prelude::*;

use super::*;
use crate::id::DeviceId;
use crate::pairing::host::vouch;
use crate::stamp::UnixMillis;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run() -> RunId {
    RunId::new([3; 16])
}

fn word() -> Statement {
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    vouch(&key, DeviceId([1; 32]), run(), "phone", UnixMillis(1_700_000_000_000))
}

fn of(pattern: &str, count: usize) -> String {
    pattern.repeat(count)
}

fn keeps_request(request: &Request, expected: &str) {
    assert_eq!(hex(&request.encode()), expected);
    assert_eq!(Request::decode(&request.encode()).unwrap(), *request);
}

fn keeps_response(response: &Response, expected: &str) {
    assert_eq!(hex(&response.encode()), expected);
    assert_eq!(Response::decode(&response.encode()).unwrap(), *response);
}

#[test]
fn requests_keep_their_bytes() {
    let hello = Hello { version: 1, nameplate: "KX".into(), nonce: ByteArray::new([4; 16]) };
    keeps_request(&Request::Hello(hello), &format!("01a300010162{}0250{}", "4b58", of("04", 16)));
    let share = ShareJ { run: run(), share: ByteArray::new([0x41; 33]) };
    keeps_request(&Request::ShareJ(share), &format!("03a20150{}025821{}", of("03", 16), of("41", 33)));
    let confirm = ConfirmJ {
        run: run(),
        proof: ByteArray::new([5; 32]),
        card: ByteBuf::from(b"card".to_vec()),
        signature: ByteArray::new([6; 64]),
    };
    let expected = format!(
        "05a40050{}015820{}0244636172640358{}",
        of("03", 16),
        of("05", 32),
        "40".to_owned() + &of("06", 64)
    );
    keeps_request(&Request::ConfirmJ(confirm), &expected);
    let wait = Await { run: run(), role: Role::Kin };
    keeps_request(&Request::Await(wait), &format!("07a20150{}0203", of("03", 16)));
    let ack = Ack { run: run(), role: Role::Guest, statement: None };
    keeps_request(&Request::Ack(ack), &format!("09a20150{}0202", of("03", 16)));
}

#[test]
fn responses_keep_their_bytes() {
    let offer = Offer { run: run(), commit: ByteArray::new([7; 32]), seconds_left: 300 };
    keeps_response(
        &Response::Offer(offer),
        &format!("02a30150{}025820{}0319012c", of("03", 16), of("07", 32)),
    );
    let share = ShareH { share: ByteArray::new([0x42; 33]), salt: ByteArray::new([8; 32]) };
    keeps_response(&Response::ShareH(share), &format!("04a2015821{}025820{}", of("42", 33), of("08", 32)));
    let confirm = ConfirmH {
        proof: ByteArray::new([5; 32]),
        card: ByteBuf::from(b"card".to_vec()),
        signature: ByteArray::new([6; 64]),
    };
    let expected = format!("06a3015820{}0244636172640358{}", of("05", 32), "40".to_owned() + &of("06", 64));
    keeps_response(&Response::ConfirmH(confirm), &expected);
    let rejected = Decision { run: run(), verdict: Verdict::Reject, statement: None };
    keeps_response(&Response::Decision(rejected), &format!("08a20150{}0200", of("03", 16)));
    let once = Verdict::Once { seconds: 60, domains: None };
    let once = Decision { run: run(), verdict: once, statement: None };
    keeps_response(&Response::Decision(once), &format!("08a30150{}020104183c", of("03", 16)));
    let guest = Verdict::Guest { domains: Some(vec!["notes".into()]) };
    let guest = Decision { run: run(), verdict: guest, statement: None };
    keeps_response(&Response::Decision(guest), &format!("08a30150{}02020581656e6f746573", of("03", 16)));
    keeps_response(&Response::Done, "0aa0");
    let wrong = Response::Refuse { refusal: Refusal::Wrong, tries_left: Some(2) };
    keeps_response(&wrong, "0ba201020202");
    keeps_response(&Response::Refuse { refusal: Refusal::Expired, tries_left: None }, "0ba10104");
}

#[test]
fn a_statement_travels_in_decision_and_acknowledgement() {
    let decision = Decision { run: run(), verdict: Verdict::Kin, statement: Some(word()) };
    let bytes = Response::Decision(decision.clone()).encode();
    assert_eq!(Response::decode(&bytes).unwrap(), Response::Decision(decision));
    let ack = Ack { run: run(), role: Role::Kin, statement: Some(word()) };
    let bytes = Request::Ack(ack.clone()).encode();
    assert_eq!(Request::decode(&bytes).unwrap(), Request::Ack(ack));
}

#[test]
fn a_message_at_the_limit_is_read_and_one_byte_more_is_not() {
    let confirm = |card| {
        Request::ConfirmJ(ConfirmJ {
            run: run(),
            proof: ByteArray::new([0; 32]),
            card: ByteBuf::from(vec![0; card]),
            signature: ByteArray::new([0; 64]),
        })
        .encode()
    };
    let overhead = confirm(1000).len() - 1000;
    let largest = confirm(MESSAGE_BYTES_MAX - overhead);
    assert_eq!(largest.len(), MESSAGE_BYTES_MAX);
    Request::decode(&largest).unwrap();
    let over = confirm(MESSAGE_BYTES_MAX + 1 - overhead);
    assert_matches!(Request::decode(&over), Err(DecodeError::TooLarge { size, .. }) if size == over.len());
}

#[test]
fn the_widest_verdict_fits_into_a_message() {
    let domains = vec!["x".repeat(super::super::DOMAIN_NAME_BYTES_MAX); super::super::GUEST_DOMAINS_MAX];
    let once = |seconds, domains| {
        let verdict = Verdict::Once { seconds, domains };
        Response::Decision(Decision { run: run(), verdict, statement: Some(word()) }).encode()
    };
    let widest = once(super::super::ONCE_SECONDS_MAX, Some(domains.clone()));
    assert!(widest.len() <= MESSAGE_BYTES_MAX, "{}", widest.len());
    Response::decode(&widest).unwrap();
    assert!(Response::decode(&once(super::super::ONCE_SECONDS_MAX + 1, None)).is_err());
    let more = [domains, vec![String::new()]].concat();
    assert!(Response::decode(&once(1, Some(more))).is_err());
    assert!(Response::decode(&once(1, Some(vec!["x".repeat(65)]))).is_err());
}

#[test]
fn what_is_no_message_is_refused() {
    assert_matches!(Request::decode(&[]), Err(DecodeError::Empty));
    assert_matches!(Request::decode(&[99, 0xa0]), Err(DecodeError::UnknownKind { kind: 99 }));
    // A response is no request.
    assert_matches!(Request::decode(&Response::Done.encode()), Err(DecodeError::UnknownKind { kind: 10 }));
    // A byte too many, a field twice, a field of the wrong length.
    let mut bytes = Response::Done.encode();
    bytes.push(0);
    assert_matches!(Response::decode(&bytes), Err(DecodeError::Trailing { extra: 1 }));
    let twice = [11, 0xa2, 1, 4, 1, 2];
    assert_matches!(Response::decode(&twice), Err(DecodeError::Malformed(_)));
    let short = [7, 0xa2, 1, 0x41, 3, 2, 3];
    assert_matches!(Request::decode(&short), Err(DecodeError::Malformed(_)));
}

#[test]
fn an_unknown_field_is_skipped() {
    assert_eq!(Response::decode(&[10, 0xa1, 9, 0x63, b'n', b'e', b'w']).unwrap(), Response::Done);
}

#[test]
fn an_unknown_refusal_is_still_a_refusal() {
    let bytes = [11, 0xa1, 1, 0x18, 200];
    let refusal = Refusal::BadMessage;
    assert_eq!(Response::decode(&bytes).unwrap(), Response::Refuse { refusal, tries_left: None });
}

fn any_statement() -> impl Strategy<Value = Option<Statement>> {
    prop_oneof![Just(None), Just(Some(word()))]
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Once), Just(Role::Guest), Just(Role::Kin)]
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let domains = || prop::option::of(prop::collection::vec("[a-z]{0,64}", 0..=32));
    prop_oneof![
        Just(Verdict::Reject),
        (0..=86_400u64, domains()).prop_map(|(seconds, domains)| Verdict::Once { seconds, domains }),
        domains().prop_map(|domains| Verdict::Guest { domains }),
        Just(Verdict::Kin),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let hello = (any::<u64>(), "\\PC{0,4}", any::<[u8; 16]>()).prop_map(|(version, nameplate, nonce)| {
        Request::Hello(Hello { version, nameplate, nonce: ByteArray::new(nonce) })
    });
    let share = (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(run, point)| {
        let mut share = [b'A'; 33];
        share[1..].copy_from_slice(&point);
        Request::ShareJ(ShareJ { run: RunId::new(run), share: ByteArray::new(share) })
    });
    let confirm = (any::<[u8; 16]>(), any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(run, proof, card)| {
            Request::ConfirmJ(ConfirmJ {
                run: RunId::new(run),
                proof: ByteArray::new(proof),
                card: ByteBuf::from(card),
                signature: ByteArray::new([8; 64]),
            })
        });
    let wait = (any::<[u8; 16]>(), any_role())
        .prop_map(|(run, role)| Request::Await(Await { run: RunId::new(run), role }));
    let ack = (any::<[u8; 16]>(), any_role(), any_statement())
        .prop_map(|(run, role, statement)| Request::Ack(Ack { run: RunId::new(run), role, statement }));
    prop_oneof![hello, share, confirm, wait, ack]
}

fn any_response() -> impl Strategy<Value = Response> {
    let offer =
        (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(run, commit, seconds_left)| {
            Response::Offer(Offer { run: RunId::new(run), commit: ByteArray::new(commit), seconds_left })
        });
    let share = any::<[u8; 32]>().prop_map(|salt| {
        Response::ShareH(ShareH { share: ByteArray::new([b'B'; 33]), salt: ByteArray::new(salt) })
    });
    let confirm = prop::collection::vec(any::<u8>(), 0..300).prop_map(|card| {
        Response::ConfirmH(ConfirmH {
            proof: ByteArray::new([5; 32]),
            card: ByteBuf::from(card),
            signature: ByteArray::new([8; 64]),
        })
    });
    let decision = (any_verdict(), any_statement())
        .prop_map(|(verdict, statement)| Response::Decision(Decision { run: run(), verdict, statement }));
    let refuse = (1..=9u8, any::<Option<u8>>())
        .prop_map(|(number, tries_left)| Response::Refuse { refusal: number.into(), tries_left });
    prop_oneof![offer, share, confirm, decision, Just(Response::Done), refuse]
}

proptest! {
    #[test]
    fn a_request_survives_its_bytes(request in any_request()) {
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }

    #[test]
    fn a_response_survives_its_bytes(response in any_response()) {
        prop_assert_eq!(Response::decode(&response.encode()).unwrap(), response);
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0..13u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [vec![kind], body].concat();
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(request in any_request(), at: prop::sample::Index, to: u8) {
        let mut bytes = request.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = Request::decode(&bytes);
    }
}
