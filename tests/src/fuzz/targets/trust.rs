//! The trust exchange: bytes that were tampered with may be readable, but they never carry a signature that holds.

use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use kinsync_protocol::card::Card;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::message::{Announcement, Bye, Message};
use kinsync_protocol::trust::statement::{Body, Kind, RunId, Signed, Statement};

use crate::fuzz::Target;

pub(super) const TARGETS: [Target; 1] = [
    // Runs that get as far as the signatures check some of them.
    Target { name: "trust", seeds: messages, run: read, cost: 4 },
];

fn read(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else {
        return;
    };
    assert_eq!(Message::decode(&message.encode()).expect("what is written is read"), message);
    let Message::Announcement(Announcement { statements, .. }) = message else {
        return;
    };
    let words =
        statements.iter().flat_map(|statement| [Some(statement.signed()), statement.voucher().cloned()]);
    for body in words.flatten().filter_map(|signed| signed.verify().ok()) {
        assert!(SAID.contains(&body), "nobody signed {body:?}");
    }
}

fn key(name: u8) -> SigningKey {
    SigningKey::from_bytes(&[name; 32])
}

fn device(name: u8) -> DeviceId {
    DeviceId(key(name).verifying_key().to_bytes())
}

fn said(kind: Kind, subject: u8, by: u8) -> Body {
    let body = Body::new(kind, device(subject), device(by), UnixMillis(1_800_000_000_000));
    Body { label: "phone".into(), run: RunId::new([subject; 16]), ..body }
}

/// Everything that is ever signed here.
static SAID: LazyLock<Vec<Body>> = LazyLock::new(|| {
    vec![said(Kind::Kin, 2, 1), said(Kind::Kin, 3, 2), said(Kind::Retired, 1, 1), said(Kind::Revoked, 4, 1)]
});

fn messages() -> Vec<Vec<u8>> {
    let sign = |body: &Body| {
        let signer = (1..=4).map(key).find(|key| key.verifying_key().to_bytes() == body.by.0);
        Signed::sign(body, &signer.expect("one of our devices"))
    };
    let signed: Vec<_> = SAID.iter().map(sign).collect();
    let vouched = Statement::new(signed[0].clone(), Some(signed[1].clone()));
    let statements = signed.into_iter().map(|signed| Statement::new(signed, None)).chain([vouched]);
    let card = Card { label: "laptop".into(), platform: "linux".into(), ..Card::default() };
    let announce = |statements| {
        let split = Announcement::split(&card, statements, [7; 16].into(), UnixMillis(9));
        split.into_iter().map(Message::Announcement).collect::<Vec<_>>()
    };
    let mut all = announce(Vec::new());
    all.extend(announce(statements.collect()));
    all.extend([Bye::Closing, Bye::Revoked].map(Message::Bye));
    all.iter().map(Message::encode).collect()
}

#[test]
fn every_seed_holds_and_says_all() {
    let read: Vec<_> = messages().iter().map(|bytes| Message::decode(bytes).expect("a seed")).collect();
    let statements = read.iter().flat_map(|message| match message {
        Message::Announcement(announcement) => announcement.statements.as_slice(),
        Message::Bye(_) => &[],
    });
    let bodies: Vec<_> =
        statements.map(|statement| statement.signed().verify().expect("signed here")).collect();
    assert!(SAID.iter().all(|body| bodies.contains(body)));
}
