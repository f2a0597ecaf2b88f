//! The names of things: devices, domains, keys and values.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hash;

/// Gives a byte-array newtype its byte access, order-preserving serde form
/// (a CBOR byte string of exactly that length) and a short `Debug`.
macro_rules! byte_id {
    ($name:ident, $len:literal) => {
        impl $name {
            /// How many bytes this id has.
            pub const LEN: usize = $len;

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
                serde_bytes::ByteArray::<$len>::deserialize(de).map(|bytes| Self(*bytes))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                for byte in &self.0[..3] {
                    write!(f, "{byte:02x}")?;
                }
                write!(f, ")")
            }
        }
    };
}

/// A device: its Ed25519 public key, and nothing else.
///
/// Only a key proven by the transport's handshake is somebody; names and
/// addresses never are.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(pub [u8; 32]);
byte_id!(DeviceId, 32);

/// The first eight bytes of a [`DeviceId`]: for hints that save bytes and that
/// nothing depends on.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceTag(pub [u8; 8]);
byte_id!(DeviceTag, 8);

/// The letters of a printed [`DeviceId`]: no I, L, O or U (Crockford base32).
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl DeviceId {
    /// Nobody: the author of what every device makes alike, such as a merge.
    /// No key of a device is all zeros.
    pub const NULL: Self = Self([0; 32]);

    /// The first two groups of the printed form, for tables: `7QXK-2M4P`.
    ///
    /// Forty bits: enough to tell a person's devices apart, never enough to
    /// decide on trust.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(9);
        text
    }

    /// The first eight bytes.
    pub fn tag(&self) -> DeviceTag {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.0[..8]);
        DeviceTag(tag)
    }

    /// The libp2p peer id bytes of this key: an identity multihash around the
    /// protobuf-encoded public key.
    pub fn peer_id_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The device behind libp2p peer id bytes; `None` for keys of other kinds
    /// and for [nobody](Self::NULL), in whose name everybody could sign.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?.try_into().ok();
        key.map(Self).filter(|device| *device != Self::NULL)
    }
}

/// Four groups of four letters that people compare: `7QXK-2M4P-DD3W-V5AT`.
///
/// The first 80 bits of a hash of the key.
impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = hash::tagged("kinsync/fp/1", &[&self.0]);
        let mut bits = [0; 16];
        bits[6..].copy_from_slice(&digest[..10]);
        let bits = u128::from_be_bytes(bits);
        for group in 0..4 {
            if group > 0 {
                f.write_str("-")?;
            }
            for letter in 0..4 {
                let shift = 75 - 5 * (group * 4 + letter);
                let index = (bits >> shift) as usize & 31;
                write!(f, "{}", char::from(BASE32[index]))?;
            }
        }
        Ok(())
    }
}

/// A domain, the same on every device that declares the same name.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainId(pub [u8; 16]);
byte_id!(DomainId, 16);

impl DomainId {
    /// The id of the domain called `name`.
    pub fn of(name: &str) -> Self {
        let digest = Sha256::new().chain_update(b"kinsync/domain/1").chain_update(name).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// In full hexadecimal, for domains whose name this device does not know.
impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a record stands among the others of its domain: a hash of its key.
///
/// Uniform, so ranges of it are balanced without any rebalancing.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyHash(pub [u8; 16]);
byte_id!(KeyHash, 16);

impl KeyHash {
    /// The first `bits` bits as a number, `bits` being at most 64.
    pub fn prefix(&self, bits: u8) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        match bits {
            0 => 0,
            bits => u64::from_be_bytes(head) >> (64 - u32::from(bits.min(64))),
        }
    }
}

/// What a record's value is, without the value.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ValueHash(pub [u8; 16]);
byte_id!(ValueHash, 16);

impl ValueHash {
    /// The value hash of a tombstone.
    pub const NONE: Self = Self([0; 16]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_prints_as_four_groups_of_its_hash() {
        let id = DeviceId([1; 32]);
        assert_eq!(id.to_string().len(), 19);
        assert!(id.to_string().starts_with(&id.short()));
    }

    #[test]
    fn a_peer_id_leads_back_to_its_device() {
        let id = DeviceId([7; 32]);
        assert_eq!(DeviceId::from_peer_id_bytes(&id.peer_id_bytes()), Some(id));
        assert_eq!(DeviceId::from_peer_id_bytes(&id.peer_id_bytes()[..37]), None);
        assert_eq!(DeviceId::from_peer_id_bytes(&[0; 38]), None);
        assert_eq!(DeviceId::from_peer_id_bytes(&DeviceId::NULL.peer_id_bytes()), None);
    }

    #[test]
    fn a_prefix_is_the_leading_bits() {
        let hash = KeyHash([0xab, 0xcd, 0xef, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(hash.prefix(0), 0);
        assert_eq!(hash.prefix(8), 0xab);
        assert_eq!(hash.prefix(12), 0xabc);
        assert_eq!(hash.prefix(64), 0xabcd_ef00_0000_0001);
    }

    #[test]
    fn a_domain_id_depends_on_the_name_alone() {
        assert_eq!(DomainId::of("messages"), DomainId::of("messages"));
        assert_ne!(DomainId::of("messages"), DomainId::of("message"));
    }
}
