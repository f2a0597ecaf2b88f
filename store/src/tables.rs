//! Every table of the store file: its key and its value.
//!
//! Domains, devices and key hashes stand in keys as numbers, so that order is
//! numeric and a domain is one range. `dom` and `dev` are local numbers that
//! never leave this file; versions are always compared by full device id.

use std::ops::RangeInclusive;

use kinsync_protocol::id::KeyHash;
use kinsync_protocol::record::Key;
use redb::{ReadOnlyTable, ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};

/// Declares the tables once: definitions, the set opened for writing and the
/// set opened for reading.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident, $constant:ident: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub(crate) const $constant: TableDefinition<'static, $key, $value> =
            TableDefinition::new(stringify!($field));)*

        /// All tables of one write transaction.
        #[allow(dead_code, reason = "opening a table creates it")]
        pub(crate) struct Tables<'t> {
            $($(#[$doc])* pub(crate) $field: Table<'t, $key, $value>,)*
        }

        impl<'t> Tables<'t> {
            /// Opens all tables, creating those that do not exist.
            pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: transaction.open_table($constant)?,)* })
            }
        }

        /// All tables of one read transaction.
        #[allow(dead_code, reason = "opening a table shows that it is there")]
        pub(crate) struct View {
            $($(#[$doc])* pub(crate) $field: ReadOnlyTable<$key, $value>,)*
        }

        impl View {
            /// Opens all tables. A missing one means that the file is damaged.
            pub(crate) fn open(transaction: &ReadTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: transaction.open_table($constant)?,)* })
            }
        }
    };
}

tables! {
    /// Facts about the file: see `migrate`.
    meta, META: &'static str => &'static [u8];
    /// dev → device id.
    devices, DEVICES: u32 => &'static [u8; 32];
    /// Device id → dev.
    device_numbers, DEVICE_NUMBERS: &'static [u8; 32] => u32;
    /// dom → [`crate::rows::DomainRow`]: one row proves equality.
    domains, DOMAINS: u32 => &'static [u8];
    /// Domain id → dom.
    domain_numbers, DOMAIN_NUMBERS: &'static [u8; 16] => u32;
    /// Domain id → name, for those whose name this device knows.
    domain_names, DOMAIN_NAMES: &'static [u8; 16] => &'static str;
    /// dom ‖ key → value. A tombstone keeps a row without a value, so that one
    /// scan in key order sees every item.
    records, RECORDS: &'static [u8] => Option<&'static [u8]>;
    /// (dom, key hash) → [`crate::rows::ItemRow`].
    items, ITEMS: (u32, u128) => &'static [u8];
    /// (dom, position) → key hash, in order of arrival. One row per item: the
    /// old row goes when an item arrives again, so it never outgrows the store.
    log, LOG: (u32, u64) => u128;
    /// (dom, 8 or 16 bits, prefix) → summary of the items under the prefix.
    /// At most 65,792 rows for a domain of any size.
    sums, SUMS: (u32, u8, u16) => &'static [u8; 40];
    /// (dom, first position) → epoch, from that position on.
    epochs, EPOCHS: (u32, u64) => u64;
    /// Peer ‖ dom → cursor in the peer's log, committed with what it covers.
    cursors, CURSORS: &'static [u8; 36] => &'static [u8];
    /// (dom, key hash, number) → [`crate::rows::PastRow`]: a version that was
    /// replaced, deleted or lost a conflict, with its value.
    history, HISTORY: (u32, u128, u64) => &'static [u8];
    /// (dom, history number) → key hash, for the losers of conflicts.
    conflicts, CONFLICTS: (u32, u64) => u128;
    /// (dom, key hash) → [`crate::Waiting`], for records that cannot be used
    /// here yet.
    waiting, WAITING: (u32, u128) => &'static [u8];
    /// Device id → its row of the trust view.
    trust, TRUST: &'static [u8; 32] => &'static [u8];
    /// Device id → what the device may do here, if not everything: see `rights`.
    rights, RIGHTS: &'static [u8; 32] => &'static [u8];
    /// Number → an accepted trust statement. Append only.
    trust_log, TRUST_LOG: u64 => &'static [u8];
    /// Device id → what is known about the device.
    peers, PEERS: &'static [u8; 32] => &'static [u8];
    /// Device id ‖ address → when it worked.
    addresses, ADDRESSES: &'static [u8] => &'static [u8];
    /// Domain id ‖ key → when it was written ‖ a value that never leaves this
    /// device: see `private`.
    private, PRIVATE: &'static [u8] => &'static [u8];
    /// Domain id ‖ key → [`crate::drafts::Draft`]. Nothing that syncs reads it.
    drafts, DRAFTS: &'static [u8] => &'static [u8];
    /// Device id ‖ domain id → [`crate::held::Held`]: a mass change that waits
    /// for a person.
    held, HELD: &'static [u8; 48] => &'static [u8];
    /// Device id ‖ domain id ‖ stamp ‖ key → a record that is not applied yet.
    held_records, HELD_RECORDS: &'static [u8] => &'static [u8];
    /// Device id ‖ domain id → when a person accepted what the device brings.
    lifted, LIFTED: &'static [u8; 48] => u64;
    /// Domain id ‖ key → the text of a draft.
    draft_texts, DRAFT_TEXTS: &'static [u8] => &'static [u8];
}

/// All keys of a domain in [`ITEMS`] or [`WAITING`].
pub(crate) fn all_items(dom: u32) -> RangeInclusive<(u32, u128)> {
    (dom, 0)..=(dom, u128::MAX)
}

/// All keys of a domain in [`LOG`], [`EPOCHS`] or [`CONFLICTS`].
pub(crate) fn all_numbers(dom: u32) -> RangeInclusive<(u32, u64)> {
    (dom, 0)..=(dom, u64::MAX)
}

/// All keys of a record in [`HISTORY`].
pub(crate) fn all_past(dom: u32, key: KeyHash) -> RangeInclusive<(u32, u128, u64)> {
    (dom, number(key), 0)..=(dom, number(key), u64::MAX)
}

/// A key hash as the number it stands as in table keys.
pub(crate) fn number(key: KeyHash) -> u128 {
    u128::from_be_bytes(key.0)
}

/// Reads [`number`].
pub(crate) fn key_hash(number: u128) -> KeyHash {
    KeyHash(number.to_be_bytes())
}

/// The key of a record in [`RECORDS`].
pub(crate) fn record_key(dom: u32, key: &Key) -> Vec<u8> {
    record_prefix(dom, key.as_str())
}

/// The start of the keys of all records whose key starts with `prefix`.
pub(crate) fn record_prefix(dom: u32, prefix: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + prefix.len());
    bytes.extend_from_slice(&dom.to_be_bytes());
    bytes.extend_from_slice(prefix.as_bytes());
    bytes
}

/// The key of a cursor in [`CURSORS`].
pub(crate) fn cursor_key(peer: &[u8; 32], dom: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..32].copy_from_slice(peer);
    bytes[32..].copy_from_slice(&dom.to_be_bytes());
    bytes
}
