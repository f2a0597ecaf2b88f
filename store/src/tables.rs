//! Every table of the store file: its key and its value.
//!
//! Domains, devices and key hashes stand in keys as numbers, so that order is
//! numeric and a domain is one range. `dom` and `dev` are local numbers that
//! never leave this file; versions are always compared by full device id.
//!
//! The write-ahead log names tables by their place in the list: a new one goes
//! to its end.

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::Arc;

use kinsync_protocol::id::KeyHash;
use kinsync_protocol::record::Key;
use redb::{
    AccessGuard, Key as TableKey, Range, ReadOnlyTable, ReadTransaction, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition, Value, WriteTransaction,
};

use crate::error::ReadError;
use crate::redo::{Redo, Redone};

/// What can be read of a table, in a transaction that writes as in one that
/// only reads.
pub(crate) trait Rows<K: TableKey + 'static, V: Value + 'static> {
    /// The table in the database.
    type Table: ReadableTable<K, V>;

    /// Opens the table, unless that was done.
    fn table(&self) -> Result<&Self::Table, ReadError>;

    /// The value under a key.
    fn get<'a>(&self, key: impl Borrow<K::SelfType<'a>>) -> Result<Option<AccessGuard<'_, V>>, ReadError> {
        Ok(self.table()?.get(key)?)
    }

    /// The rows in a range of keys, from both ends.
    fn range<'a, R>(&self, range: impl RangeBounds<R> + 'a) -> Result<Range<'_, K, V>, ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a,
    {
        Ok(self.table()?.range(range)?)
    }

    /// All rows.
    fn iter(&self) -> Result<Range<'_, K, V>, ReadError> {
        Ok(self.table()?.iter()?)
    }

    /// The row with the least key.
    #[cfg(test)]
    fn first(&self) -> Result<Option<Pair<'_, K, V>>, ReadError> {
        Ok(self.table()?.first()?)
    }

    /// The row with the greatest key.
    fn last(&self) -> Result<Option<Pair<'_, K, V>>, ReadError> {
        Ok(self.table()?.last()?)
    }

    /// How many rows there are.
    fn len(&self) -> Result<u64, ReadError> {
        Ok(self.table()?.len()?)
    }
}

/// A key and its value.
type Pair<'a, K, V> = (AccessGuard<'a, K>, AccessGuard<'a, V>);

/// A table of a transaction that writes. It is opened when it is first used,
/// as a write uses few of them, and notes each change in the redo.
pub(crate) struct WriteTable<'t, K: TableKey + 'static, V: Value + 'static> {
    number: u8,
    definition: TableDefinition<'static, K, V>,
    transaction: &'t WriteTransaction,
    redo: &'t Redo,
    table: OnceCell<Table<'t, K, V>>,
}

impl<'t, K: TableKey + 'static, V: Value + 'static> Rows<K, V> for WriteTable<'t, K, V> {
    type Table = Table<'t, K, V>;

    fn table(&self) -> Result<&Table<'t, K, V>, ReadError> {
        match self.table.get() {
            Some(table) => Ok(table),
            None => {
                let table = self.transaction.open_table(self.definition)?;
                Ok(self.table.get_or_init(|| table))
            }
        }
    }
}

impl<'t, K: TableKey + 'static, V: Value + 'static> WriteTable<'t, K, V> {
    fn table_mut(&mut self) -> Result<&mut Table<'t, K, V>, ReadError> {
        self.table()?;
        Ok(self.table.get_mut().expect("it was just opened"))
    }

    /// Writes a row. The value that stood there.
    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<Option<AccessGuard<'_, V>>, ReadError> {
        let (key, value) = (key.borrow(), value.borrow());
        self.redo.note(self.number, K::as_bytes(key).as_ref(), Some(V::as_bytes(value).as_ref()));
        Ok(self.table_mut()?.insert(key, value)?)
    }

    /// Removes a row. The value that stood there.
    pub(crate) fn remove<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, ReadError> {
        let key = key.borrow();
        let number = self.number;
        let redo = self.redo;
        let gone = self.table_mut()?.remove(key)?;
        if gone.is_some() {
            redo.note(number, K::as_bytes(key).as_ref(), None);
        }
        Ok(gone)
    }

    /// Removes the rows in a range of keys that `keep` does not want.
    pub(crate) fn retain_in<'a, R>(
        &mut self,
        range: impl RangeBounds<R> + 'a,
        mut keep: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> bool,
    ) -> Result<(), ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a,
    {
        let (number, redo) = (self.number, self.redo);
        self.table_mut()?.retain_in(range, |key, value| {
            let bytes = K::as_bytes(&key).as_ref().to_vec();
            let kept = keep(key, value);
            if !kept {
                redo.note(number, &bytes, None);
            }
            kept
        })?;
        Ok(())
    }

    /// Does a noted change again.
    fn redo(&mut self, change: &Redone<'_>) -> Result<(), ReadError> {
        let key = K::from_bytes(change.key);
        match change.value {
            Some(value) => drop(self.insert(key, V::from_bytes(value))?),
            None => drop(self.remove(key)?),
        }
        Ok(())
    }
}

impl<'t, K: TableKey + 'static, const N: usize> WriteTable<'t, K, &'static [u8; N]> {
    /// Changes the value under a key where it stands. Whether there was one.
    pub(crate) fn update<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        change: impl FnOnce(&[u8; N]) -> [u8; N],
    ) -> Result<bool, ReadError> {
        let (number, redo) = (self.number, self.redo);
        let Some(mut row) = self.table_mut()?.get_mut(key.borrow())? else { return Ok(false) };
        let value = change(row.value());
        row.insert(&value)?;
        redo.note(number, K::as_bytes(key.borrow()).as_ref(), Some(&value));
        Ok(true)
    }
}

/// A table of a transaction that only reads, opened when it is first used.
pub(crate) struct ReadTable<K: TableKey + 'static, V: Value + 'static> {
    definition: TableDefinition<'static, K, V>,
    transaction: Arc<ReadTransaction>,
    table: OnceCell<ReadOnlyTable<K, V>>,
}

impl<K: TableKey + 'static, V: Value + 'static> Rows<K, V> for ReadTable<K, V> {
    type Table = ReadOnlyTable<K, V>;

    fn table(&self) -> Result<&ReadOnlyTable<K, V>, ReadError> {
        match self.table.get() {
            Some(table) => Ok(table),
            None => {
                let table = self.transaction.open_table(self.definition)?;
                Ok(self.table.get_or_init(|| table))
            }
        }
    }
}

/// Declares the tables once: definitions, the set opened for writing and the
/// set opened for reading.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident, $constant:ident: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub(crate) const $constant: TableDefinition<'static, $key, $value> =
            TableDefinition::new(stringify!($field));)*

        /// The tables by number, as the write-ahead log names them.
        #[allow(non_camel_case_types, reason = "named like the tables")]
        enum Number { $($field,)* }

        /// All tables of one write transaction.
        pub(crate) struct Tables<'t> {
            $($(#[$doc])* pub(crate) $field: WriteTable<'t, $key, $value>,)*
        }

        impl<'t> Tables<'t> {
            /// The tables within a transaction. What changes is noted in `redo`.
            pub(crate) fn new(transaction: &'t WriteTransaction, redo: &'t Redo) -> Self {
                Self { $($field: WriteTable {
                    number: Number::$field as u8,
                    definition: $constant,
                    transaction,
                    redo,
                    table: OnceCell::new(),
                },)* }
            }

            /// Creates the tables that do not exist.
            pub(crate) fn create(&self) -> Result<(), ReadError> {
                $(self.$field.table()?;)*
                Ok(())
            }

            /// Does a noted change again.
            pub(crate) fn redo(&mut self, change: &Redone<'_>) -> Result<(), ReadError> {
                $(if change.table == Number::$field as u8 {
                    return self.$field.redo(change);
                })*
                Err(ReadError::damaged("a change of an unknown table"))
            }
        }

        /// All tables of one read transaction.
        pub(crate) struct View {
            $($(#[$doc])* pub(crate) $field: ReadTable<$key, $value>,)*
        }

        impl View {
            /// The tables within a transaction.
            pub(crate) fn new(transaction: ReadTransaction) -> Self {
                let transaction = Arc::new(transaction);
                Self { $($field: ReadTable {
                    definition: $constant,
                    transaction: Arc::clone(&transaction),
                    table: OnceCell::new(),
                },)* }
            }

            /// Opens all tables. A missing one means that the file is damaged.
            pub(crate) fn check(&self) -> Result<(), ReadError> {
                $(self.$field.table()?;)*
                Ok(())
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
