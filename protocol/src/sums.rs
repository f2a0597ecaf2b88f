//! Additive summaries of sets of items, and salted fingerprints of them.
//!
//! A sum changes with each write in constant time and equals the sum of all
//! items at any moment, so a root proves equality without a scan. Addition in
//! four 64-bit lanes, never XOR: XOR sums can be forged by linear algebra.

use sha2::{Digest, Sha256};

use crate::id::KeyHash;

/// How many items a range holds, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// The number of items, tombstones included.
    pub items: u64,
    /// The lane-wise wrapping sum of the item hashes.
    pub sum: [u64; 4],
}

impl Summary {
    /// The summary of a range without items.
    pub const EMPTY: Self = Self { items: 0, sum: [0; 4] };

    /// Adds an item by its hash.
    pub fn add(&mut self, item: &[u8; 32]) {
        self.items = self.items.wrapping_add(1);
        for (lane, value) in self.sum.iter_mut().zip(lanes(item)) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// Takes away an item that was added before.
    pub fn remove(&mut self, item: &[u8; 32]) {
        self.items = self.items.wrapping_sub(1);
        for (lane, value) in self.sum.iter_mut().zip(lanes(item)) {
            *lane = lane.wrapping_sub(value);
        }
    }

    /// Adds all items of another range.
    pub fn merge(&mut self, other: &Self) {
        self.items = self.items.wrapping_add(other.items);
        for (lane, value) in self.sum.iter_mut().zip(other.sum) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// The four lanes and the count as 40 bytes, big-endian, count first.
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        for (chunk, value) in bytes.chunks_exact_mut(8).zip(std::iter::once(&self.items).chain(&self.sum)) {
            chunk.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// Reads [`Summary::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 40]) -> Self {
        let mut values = bytes.chunks_exact(8).map(|chunk| {
            let mut value = [0; 8];
            value.copy_from_slice(chunk);
            u64::from_be_bytes(value)
        });
        let mut take = || values.next().unwrap_or_default();
        Self { items: take(), sum: [take(), take(), take(), take()] }
    }
}

fn lanes(item: &[u8; 32]) -> impl Iterator<Item = u64> {
    item.chunks_exact(8).map(|chunk| {
        let mut lane = [0; 8];
        lane.copy_from_slice(chunk);
        u64::from_be_bytes(lane)
    })
}

/// A part of the key-hash space: all hashes whose first `bits` bits are
/// `prefix`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Range {
    /// How many leading bits are fixed: a multiple of 4, at most 64.
    pub bits: u8,
    /// Their value.
    pub prefix: u64,
}

impl Range {
    /// The whole space.
    pub const ALL: Self = Self { bits: 0, prefix: 0 };

    /// The deepest range there is.
    pub const BITS_MAX: u8 = 64;

    /// Whether the fields fit each other.
    pub fn is_valid(self) -> bool {
        self.bits <= Self::BITS_MAX
            && self.bits.is_multiple_of(4)
            && (self.bits == 64 || self.prefix < 1_u64 << self.bits)
    }

    /// Whether `key` lies in the range.
    pub fn contains(self, key: KeyHash) -> bool {
        key.prefix(self.bits) == self.prefix
    }

    /// How many bits the next split fixes: eight at the root, whose children
    /// are stored as rows, four below it. `None` at the deepest level.
    pub fn split_bits(self) -> Option<u8> {
        match self.bits {
            0 => Some(8),
            bits if bits < Self::BITS_MAX => Some(4),
            _ => None,
        }
    }

    /// The ranges that the next split makes, in order.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let split = self.split_bits().unwrap_or(0);
        let count = if split == 0 { 0 } else { 1_u64 << split };
        (0..count).map(move |child| Self { bits: self.bits + split, prefix: self.prefix << split | child })
    }

    /// The first and the last key hash of the range.
    pub fn bounds(self) -> (KeyHash, KeyHash) {
        let free = 128 - u32::from(self.bits);
        let low = if self.bits == 0 { 0 } else { u128::from(self.prefix) << free };
        let high = if free == 128 { u128::MAX } else { low | ((1_u128 << free) - 1) };
        (KeyHash(low.to_be_bytes()), KeyHash(high.to_be_bytes()))
    }
}

/// A number that the initiator of a session draws; salts its fingerprints, so
/// that nobody can prepare sets whose short fingerprints collide.
pub type Nonce = [u8; 8];

/// The fingerprint of a whole domain on the wire.
pub type RootPrint = [u8; 16];

/// The fingerprint of a range on the wire. An accidental collision leaves the
/// roots unequal, and the next session's nonce finds it.
pub type RangePrint = [u8; 4];

/// The salted fingerprint of a range.
pub fn root_print(nonce: Nonce, summary: &Summary) -> RootPrint {
    cut(&print(nonce, Range::ALL, summary))
}

/// The salted, shorter fingerprint of a range.
pub fn range_print(nonce: Nonce, range: Range, summary: &Summary) -> RangePrint {
    cut(&print(nonce, range, summary))
}

fn print(nonce: Nonce, range: Range, summary: &Summary) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"kinsync/range/1")
        .chain_update(nonce)
        .chain_update([range.bits])
        .chain_update(range.prefix.to_be_bytes())
        .chain_update(summary.to_bytes())
        .finalize()
        .into()
}

fn cut<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut cut = [0; N];
    cut.copy_from_slice(&bytes[..N]);
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sum_does_not_depend_on_order_or_detours(
            items in prop::collection::vec(any::<[u8; 32]>(), 0..20),
            detour in any::<[u8; 32]>(),
        ) {
            let mut forward = Summary::EMPTY;
            items.iter().for_each(|item| forward.add(item));
            let mut backward = Summary::EMPTY;
            backward.add(&detour);
            items.iter().rev().for_each(|item| backward.add(item));
            backward.remove(&detour);
            prop_assert_eq!(forward, backward);
            prop_assert_eq!(Summary::from_bytes(&forward.to_bytes()), forward);
        }

        #[test]
        fn a_key_lies_in_exactly_one_child(key in any::<[u8; 16]>(), depth in 0..16_usize) {
            let key = KeyHash(key);
            let mut range = Range::ALL;
            for _ in 0..depth {
                let homes: Vec<_> = range.children().filter(|child| child.contains(key)).collect();
                let (low, high) = range.bounds();
                prop_assert!(low <= key && key <= high && range.is_valid());
                if range.split_bits().is_none() {
                    prop_assert!(homes.is_empty());
                    break;
                }
                prop_assert_eq!(homes.len(), 1);
                range = homes[0];
            }
        }
    }

    #[test]
    fn a_fingerprint_depends_on_nonce_range_and_content() {
        let mut one = Summary::EMPTY;
        one.add(&[7; 32]);
        let range = Range { bits: 8, prefix: 3 };
        let print = range_print([1; 8], range, &one);
        assert_ne!(print, range_print([2; 8], range, &one));
        assert_ne!(print, range_print([1; 8], Range { bits: 8, prefix: 4 }, &one));
        assert_ne!(print, range_print([1; 8], range, &Summary::EMPTY));
    }
}
