//! Signed statements about devices: what travels between kin.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_bytes::{ByteArray, ByteBuf};
use thiserror::Error;

use crate::cbor::{self, DecodeError, int_map};
use crate::hash;
use crate::id::DeviceId;
use crate::label;
use crate::stamp::UnixMillis;

/// The largest statement with its voucher. Ours take about 400 bytes; the rest
/// is room for fields to come.
pub const STATEMENT_BYTES_MAX: usize = 1024;

/// Keeps a signature over a statement from being one over anything else.
pub(crate) const PURPOSE: &str = "kinsync/trust/1";

/// Names one pairing run, so that a statement made in it fits no other.
pub type RunId = ByteArray<16>;

/// What a statement says of its subject. The order is the order of trust's
/// end: a later one overrides an earlier one for ever.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// "This is one of our devices."
    Kin = 1,
    /// "This device left in good standing"; what it vouched for stays good.
    Retired = 2,
    /// "Never trust this key again."
    Revoked = 3,
}

/// Why a device was revoked or retired; for display.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reason {
    /// Not said.
    #[default]
    None = 0,
    /// The device is lost or stolen.
    Lost = 1,
    /// The device has a new key now.
    Rotated = 2,
}

impl Reason {
    /// Only shown, so an unknown one is no reason to miss a revocation.
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Lost,
            2 => Self::Rotated,
            _ => Self::None,
        }
    }
}

/// The content of a statement whose signature holds.
///
/// Only [`Signed::verify`] and [`Signed::sign`] make one from a signature, so
/// whoever holds it need not check again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Body {
    /// What is said.
    pub kind: Kind,
    /// Of which device.
    pub subject: DeviceId,
    /// By which device: the key that signed.
    pub by: DeviceId,
    /// The pairing run it was made in; zeros outside of one.
    pub run: RunId,
    /// What `by` calls the subject; cleaned.
    pub label: String,
    /// When, by the clock of `by`. For display; no rule reads it.
    pub at: UnixMillis,
    /// Why; for display.
    pub reason: Reason,
}

/// Bytes and a signature over them, not yet checked.
///
/// The bytes are kept as received and never encoded again, so the signature
/// holds wherever they travel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    bytes: ByteBuf,
    signature: ByteArray<64>,
}
int_map!(Signed { 1: bytes, 2: signature });

/// A statement as one device sends it to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    bytes: ByteBuf,
    signature: ByteArray<64>,
    voucher: Option<Signed>,
}
int_map!(Statement { 1: bytes, 2: signature } optional { 3: voucher });

/// Why a statement says nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The signed bytes are no statement.
    #[error("statement is unreadable")]
    Body(#[source] DecodeError),
    /// The signer's key is no point of the curve.
    #[error("signer has no valid key")]
    Key,
    /// The signature is not the signer's over these bytes.
    #[error("signature does not hold")]
    Signature,
}

struct BodyWire {
    version: u64,
    kind: u8,
    subject: DeviceId,
    by: DeviceId,
    run: RunId,
    label: String,
    at: u64,
    reason: u8,
}
int_map!(BodyWire { 1: version, 2: kind, 3: subject, 4: by, 5: run, 6: label, 7: at, 8: reason });

impl Body {
    /// A statement by `by` outside of any pairing run.
    pub fn new(kind: Kind, subject: DeviceId, by: DeviceId, at: UnixMillis) -> Self {
        let run = RunId::default();
        Self { kind, subject, by, run, label: String::new(), at, reason: Reason::None }
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(&BodyWire {
            version: 1,
            kind: self.kind as u8,
            subject: self.subject,
            by: self.by,
            run: self.run,
            label: label::clean(&self.label),
            at: self.at.0,
            reason: self.reason as u8,
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: BodyWire = cbor::decode(bytes, STATEMENT_BYTES_MAX)?;
        if wire.version != 1 {
            return Err(DecodeError::Invalid { what: "statement version" });
        }
        if wire.label.len() > label::LABEL_BYTES_MAX {
            return Err(DecodeError::Invalid { what: "label" });
        }
        let kind = match wire.kind {
            1 => Kind::Kin,
            2 => Kind::Retired,
            3 => Kind::Revoked,
            _ => return Err(DecodeError::Invalid { what: "statement kind" }),
        };
        Ok(Self {
            kind,
            subject: wire.subject,
            by: wire.by,
            run: wire.run,
            label: label::clean(&wire.label),
            at: UnixMillis(wire.at),
            reason: Reason::from_number(wire.reason),
        })
    }
}

impl Signed {
    /// Signs a statement with the key of `body.by`.
    pub fn sign(body: &Body, key: &SigningKey) -> Self {
        debug_assert_eq!(key.verifying_key().to_bytes(), body.by.0, "a device signs for itself");
        let bytes = body.encode();
        let signature = key.sign(&hash::tagged(PURPOSE, &[&bytes])).to_bytes();
        Self { bytes: ByteBuf::from(bytes), signature: ByteArray::new(signature) }
    }

    /// Checks the signature over the bytes as received and reads them.
    ///
    /// # Errors
    ///
    /// See [`StatementError`]; weak keys and malleable signatures are refused.
    pub fn verify(&self) -> Result<Body, StatementError> {
        let body = self.claim()?;
        verify(&body.by, &hash::tagged(PURPOSE, &[&self.bytes]), &self.signature)?;
        Ok(body)
    }

    /// What the bytes say, signature unchecked.
    ///
    /// Only good for deciding that checking would be a waste of time.
    pub(super) fn claim(&self) -> Result<Body, StatementError> {
        Body::decode(&self.bytes).map_err(StatementError::Body)
    }

    /// How many bytes this takes, roughly; exact enough for a limit.
    fn size(&self) -> usize {
        self.bytes.len() + self.signature.len() + 8
    }
}

impl Statement {
    /// The statement as bytes, for the log of accepted statements.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// A statement that stands on its own signer's word, or, with a voucher, on
    /// that of the device that really paired the subject.
    pub fn new(signed: Signed, voucher: Option<Signed>) -> Self {
        Self { bytes: signed.bytes, signature: signed.signature, voucher }
    }

    /// The sender's own words.
    pub fn signed(&self) -> Signed {
        Signed { bytes: self.bytes.clone(), signature: self.signature }
    }

    /// The words of the device that paired the subject, if it is another one.
    pub fn voucher(&self) -> Option<&Signed> {
        self.voucher.as_ref()
    }

    /// How many bytes this takes in a message, rounded up.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.signature.len() + 16 + self.voucher.as_ref().map_or(0, Signed::size)
    }

    /// Whether the statement is small enough to be looked at.
    pub(crate) fn fits(&self) -> bool {
        self.size() <= STATEMENT_BYTES_MAX
    }
}

/// Checks a signature the strict way, so that all devices agree whether it holds.
pub(crate) fn verify(by: &DeviceId, message: &[u8], signature: &[u8; 64]) -> Result<(), StatementError> {
    let key = VerifyingKey::from_bytes(by.as_bytes()).map_err(|_| StatementError::Key)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| StatementError::Signature)
}
