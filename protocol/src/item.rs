//! The one place that hashes keys, values and items.
//!
//! A later version of the protocol may key these hashes with a secret of the
//! device set; nothing else needs to change for that.

use sha2::{Digest, Sha256};

use crate::id::{DomainId, KeyHash, ValueHash};
use crate::record::{Key, Version};

/// Where the record `key` stands among the records of `domain`.
pub fn key_hash(domain: DomainId, key: &Key) -> KeyHash {
    KeyHash(head(Sha256::new().chain_update(domain.as_bytes()).chain_update(key.as_str())))
}

/// What `value` is, without the value. Never [`ValueHash::NONE`].
pub fn value_hash(value: &[u8]) -> ValueHash {
    let hash = head(Sha256::new().chain_update(value));
    // A value that hashes to sixteen zero bytes must not look like a tombstone.
    if hash == [0; 16] { ValueHash([1; 16]) } else { ValueHash(hash) }
}

/// The hash of a version under its key: what the sums add up.
///
/// All parts have fixed lengths, so none can be shifted into another.
pub fn item_hash(domain: DomainId, key: KeyHash, version: &Version) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"kinsync/item/1")
        .chain_update(domain.as_bytes())
        .chain_update(key.as_bytes())
        .chain_update(version.stamp.time.0.to_be_bytes())
        .chain_update(version.stamp.device.as_bytes())
        .chain_update([u8::from(version.deleted)])
        .chain_update(version.value.as_bytes())
        .finalize()
        .into()
}

fn head(hash: Sha256) -> [u8; 16] {
    let mut head = [0; 16];
    head.copy_from_slice(&hash.finalize()[..16]);
    head
}
