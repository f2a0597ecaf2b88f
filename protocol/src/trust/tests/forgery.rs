//! Statements, vouchers and signatures used where they do not belong.

use ed25519_dalek::Signer;
use serde_bytes::{ByteArray, ByteBuf};

use super::*;
use crate::cbor;
use crate::hash::tagged;

/// What a forger puts together without our constructors.
struct Raw {
    bytes: ByteBuf,
    signature: ByteArray<64>,
    voucher: Option<Signed>,
}
crate::cbor::int_map!(Raw { 1: bytes, 2: signature } optional { 3: voucher });

fn raw(bytes: &[u8], signature: [u8; 64], voucher: Option<Signed>) -> Statement {
    let (bytes, signature) = (ByteBuf::from(bytes.to_vec()), ByteArray::new(signature));
    cbor::decode(&cbor::encode(&Raw { bytes, signature, voucher }), 8192).unwrap()
}

fn bytes_of(statement: &Statement) -> (Vec<u8>, [u8; 64]) {
    let raw: Raw = cbor::decode(&cbor::encode(statement), 8192).unwrap();
    (raw.bytes.into_vec(), *raw.signature)
}

fn body(kind: Kind, subject: u8, by: u8) -> Body {
    Body::new(kind, id(subject), id(by), AT)
}

fn said(kind: Kind, subject: u8, by: u8) -> Statement {
    Statement::new(Signed::sign(&body(kind, subject, by), &key(by)), None)
}

/// A phone that trusts the laptop.
fn phone() -> View {
    let mut view = View::new(id(PHONE));
    view.pair(&paired(PHONE, LAPTOP, Role::Kin), AT, Duration::ZERO).unwrap();
    view
}

fn assert_not_believed(statement: Statement, why: &str) {
    let mut view = phone();
    let before = view.clone();
    let changes = view.accept(id(LAPTOP), &[statement], AT);
    assert_eq!(changes.refused, 1, "{why}");
    assert_eq!(view, before, "{why}");
}

#[test]
fn a_statement_in_anothers_name_is_not_believed() {
    assert_not_believed(said(Kind::Kin, DESKTOP, TABLET), "signed by a third device");
    let (bytes, _) = bytes_of(&said(Kind::Kin, DESKTOP, LAPTOP));
    let by_tablet = key(TABLET).sign(&tagged("kinsync/trust/1", &[&bytes])).to_bytes();
    assert_not_believed(raw(&bytes, by_tablet, None), "named after the sender, signed by another");
}

#[test]
fn a_changed_statement_is_not_believed() {
    let (bytes, signature) = bytes_of(&said(Kind::Kin, DESKTOP, LAPTOP));
    // Any single changed byte, in the words or in the signature.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let mut view = phone();
        view.accept(id(LAPTOP), &[raw(&changed, signature, None)], AT);
        assert_eq!(view.rows().len(), 1, "byte {at}");
    }
    for at in 0..64 {
        let mut changed = signature;
        changed[at] ^= 1;
        assert_not_believed(raw(&bytes, changed, None), "changed signature");
    }
}

/// Every signature that a device makes, in every place that takes one.
#[test]
fn a_signature_made_for_one_thing_is_good_for_nothing_else() {
    let (statement, _) = bytes_of(&said(Kind::Kin, DESKTOP, LAPTOP));
    let card = b"card".as_slice();
    let purposes =
        ["kinsync/trust/1", "kinsync/pair/1/sig-joiner", "kinsync/pair/1/sig-host", "kinsync/fp/1"];
    let layouts: [Vec<&[u8]>; 3] = [vec![&statement], vec![&[7; 32], card], vec![&[7; 32], &statement]];
    let messages: Vec<[u8; 32]> =
        purposes.iter().flat_map(|purpose| layouts.iter().map(|parts| tagged(purpose, parts))).collect();
    for (made_for, message) in messages.iter().enumerate() {
        let signature = key(LAPTOP).sign(message).to_bytes();
        for (used_as, other) in messages.iter().enumerate() {
            let holds = statement::verify(&id(LAPTOP), other, &signature).is_ok();
            assert_eq!(holds, made_for == used_as, "{made_for} as {used_as}");
        }
        // As a statement, only the one made as a statement is believed.
        let believed = phone().accept(id(LAPTOP), &[raw(&statement, signature, None)], AT).rows.len() == 1;
        assert_eq!(believed, made_for == 0, "{made_for}");
    }
    // Nor is a signature over the bare bytes, without any purpose.
    let bare = key(LAPTOP).sign(&statement).to_bytes();
    assert_not_believed(raw(&statement, bare, None), "no purpose");
}

#[test]
fn a_voucher_must_be_a_word_for_this_very_device() {
    let words = Signed::sign(&body(Kind::Kin, DESKTOP, LAPTOP), &key(LAPTOP));
    let with = |voucher: Signed| Statement::new(words.clone(), Some(voucher));
    let sign = |kind, subject, by| Signed::sign(&body(kind, subject, by), &key(by));
    assert_not_believed(with(sign(Kind::Kin, TABLET, 9)), "for another device");
    assert_not_believed(with(sign(Kind::Revoked, DESKTOP, 9)), "a revocation");
    assert_not_believed(with(sign(Kind::Retired, DESKTOP, 9)), "a leave");
    assert_not_believed(with(sign(Kind::Kin, DESKTOP, DESKTOP)), "its own word");
    let (bytes, _) = bytes_of(&said(Kind::Kin, DESKTOP, 9));
    let forged =
        raw(&bytes, key(LAPTOP).sign(&tagged("kinsync/trust/1", &[&bytes])).to_bytes(), None).signed();
    assert_not_believed(with(forged), "signed by the sender in another's name");
    let mut view = phone();
    view.accept(id(LAPTOP), &[with(sign(Kind::Kin, DESKTOP, 9))], AT);
    assert_eq!(view.row(id(DESKTOP)).unwrap().origin, id(9));
}

/// A device that was revoked cannot hide behind the one that passes it on.
#[test]
fn an_origin_cannot_be_left_out_by_the_revoked_device_itself() {
    let mut view = phone();
    view.revoke(id(TABLET), Introduced::Keep, Reason::None, AT).unwrap();
    let voucher = Signed::sign(&body(Kind::Kin, DESKTOP, TABLET), &key(TABLET));
    let passed_on =
        Statement::new(Signed::sign(&body(Kind::Kin, DESKTOP, LAPTOP), &key(LAPTOP)), Some(voucher));
    view.accept(id(LAPTOP), &[passed_on], AT);
    assert_eq!(view.standing(id(DESKTOP)), Standing::Stranger);
    assert_eq!(view.accept(id(TABLET), &[said(Kind::Kin, DESKTOP, TABLET)], AT).refused, 1);
}

#[test]
fn nobody_speaks_for_themselves() {
    let mut view = phone();
    assert_eq!(view.accept(id(LAPTOP), &[said(Kind::Kin, LAPTOP, LAPTOP)], AT).refused, 1);
}

#[test]
fn a_key_that_is_weak_or_none_signs_nothing() {
    // The identity point: every message would verify under lax rules.
    let mut weak = [0; 32];
    weak[0] = 1;
    let no_point = [2; 32];
    for by in [weak, no_point] {
        let mut view = View::new(id(PHONE));
        let row = phone().row(id(LAPTOP)).unwrap().clone();
        view.rows.insert(DeviceId(by), row);
        let body = Body::new(Kind::Kin, id(DESKTOP), DeviceId(by), AT);
        let (bytes, _) = bytes_of(&said(Kind::Kin, DESKTOP, LAPTOP));
        let bytes = replace(&bytes, id(LAPTOP).as_bytes(), &by);
        assert_eq!(body.by, DeviceId(by));
        let mut signature = [0; 64];
        signature[0] = 1;
        let changes = view.accept(DeviceId(by), &[raw(&bytes, signature, None)], AT);
        assert_eq!(changes.refused, 1);
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn a_statement_of_a_kilobyte_is_looked_at_and_a_larger_one_is_not() {
    let padded = |filler: usize| {
        // An unknown field of the right size; the words stay readable.
        let (bytes, _) = bytes_of(&said(Kind::Kin, DESKTOP, LAPTOP));
        let mut bytes = bytes;
        bytes[0] += 1;
        bytes.extend([0x18, 0x63, 0x59, (filler >> 8) as u8, filler as u8]);
        bytes.extend(vec![0; filler]);
        let signature = key(LAPTOP).sign(&tagged("kinsync/trust/1", &[&bytes])).to_bytes();
        raw(&bytes, signature, None)
    };
    let overhead = padded(0).size();
    let mut view = phone();
    let largest = padded(statement::STATEMENT_BYTES_MAX - overhead);
    assert_eq!(view.accept(id(LAPTOP), &[largest], AT).rows.len(), 1);
    assert_not_believed(padded(statement::STATEMENT_BYTES_MAX - overhead + 1), "too large");
}
