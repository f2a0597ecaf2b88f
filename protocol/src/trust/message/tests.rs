//! The bytes of the exchange.

use assert_matches::assert_matches;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::id::DeviceId;
use crate::trust::LIVE_MAX;
use crate::trust::statement::{Body, Kind, Signed};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn word(subject: u8, label: &str, vouched: bool) -> Statement {
    let sign = |name: u8| {
        let key = SigningKey::from_bytes(&[name; 32]);
        let by = DeviceId(key.verifying_key().to_bytes());
        let body = Body::new(Kind::Kin, DeviceId([subject; 32]), by, UnixMillis(u64::MAX));
        Signed::sign(&Body { label: label.into(), ..body }, &key)
    };
    Statement::new(sign(1), vouched.then(|| sign(2)))
}

fn announcement(statements: Vec<Statement>) -> Announcement {
    let card = Card { label: "phone".into(), ..Card::default() };
    Announcement { card, statements, boot: ByteArray::new([7; 16]), clock: UnixMillis(9) }
}

#[test]
fn messages_keep_their_bytes() {
    let empty = Message::Announcement(announcement(Vec::new()));
    let expected = format!(
        "01a5000101a6016570686f6e65026003600400058006000280035{}0409",
        "0".to_owned() + &"07".repeat(16)
    );
    assert_eq!(hex(&empty.encode()), expected);
    assert_eq!(Message::decode(&empty.encode()).unwrap(), empty);
    assert_eq!(hex(&Message::Bye(Bye::Revoked).encode()), "02a10101");
    for bye in [Bye::Closing, Bye::Revoked, Bye::Busy, Bye::Version, Bye::Clock] {
        let message = Message::Bye(bye);
        assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }
}

#[test]
fn a_reason_yet_unknown_closes_all_the_same() {
    assert_eq!(Message::decode(&[2, 0xa1, 1, 0x18, 99]).unwrap(), Message::Bye(Bye::Closing));
}

#[test]
fn a_full_set_fits_into_one_message() {
    let label = "x".repeat(64);
    let statements: Vec<_> = (0..LIVE_MAX as u8).map(|subject| word(subject, &label, true)).collect();
    assert!(statements.iter().all(Statement::fits));
    let messages =
        Announcement::split(&Card::default(), statements, ByteArray::default(), UnixMillis(u64::MAX));
    assert_eq!(messages.len(), 1);
    let bytes = Message::Announcement(messages[0].clone()).encode();
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{}", bytes.len());
}

#[test]
fn a_long_view_goes_in_several_messages_without_a_gap() {
    let statements: Vec<_> = (0..=255).map(|subject| word(subject, "x", subject % 2 == 0)).collect();
    let messages =
        Announcement::split(&Card::default(), statements.clone(), ByteArray::default(), UnixMillis(0));
    assert!(messages.len() > 1);
    let mut read = Vec::new();
    for message in messages {
        let bytes = Message::Announcement(message).encode();
        assert_matches!(Message::decode(&bytes), Ok(Message::Announcement(said)) => read.extend(said.statements));
    }
    assert_eq!(read, statements);
}

#[test]
fn an_empty_view_still_carries_the_card() {
    let messages = Announcement::split(&Card::default(), Vec::new(), ByteArray::default(), UnixMillis(0));
    assert_eq!(messages.len(), 1);
}

#[test]
fn what_is_no_message_is_refused() {
    assert_matches!(Message::decode(&[]), Err(DecodeError::Empty));
    assert_matches!(Message::decode(&[3, 0xa0]), Err(DecodeError::UnknownKind { kind: 3 }));
    assert_matches!(Message::decode(&vec![1; MESSAGE_BYTES_MAX + 1]), Err(DecodeError::TooLarge { .. }));
    let mut bytes = Message::Bye(Bye::Busy).encode();
    bytes.push(0);
    assert_matches!(Message::decode(&bytes), Err(DecodeError::Trailing { extra: 1 }));
}

#[test]
fn a_list_that_claims_to_be_endless_allocates_nothing() {
    // Key 2 with an array of 2^60 statements, and none follows.
    let bomb = [1, 0xa1, 2, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
    assert_matches!(Message::decode(&bomb), Err(DecodeError::Malformed(_)));
}

proptest! {
    #[test]
    fn an_announcement_survives_its_bytes(
        subjects in prop::collection::vec(any::<(u8, bool)>(), 0..6),
        boot: [u8; 16],
        clock: u64,
    ) {
        let statements = subjects.into_iter().map(|(subject, vouched)| word(subject, "x", vouched)).collect();
        let said = Announcement { boot: ByteArray::new(boot), clock: UnixMillis(clock), ..announcement(statements) };
        let message = Message::Announcement(said);
        prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }
}
