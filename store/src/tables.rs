//! Every table of the store file: its key and its value.
//!
//! Domains, devices and key hashes stand in keys as numbers, so that order is
//! numeric and a domain is one range. `dom` and `dev` are local numbers that
//! never leave this file; versions are always compared by full device id.
//!
//! A table is what the database holds and two memtables over it: `frozen`, which
//! is on its way there, and `active` above that. A transaction that writes has
//! its changes on top of all.
//!
//! The write-ahead log names tables by their place in the list: a new one goes
//! to its end.

use std::borrow::Borrow;
use std::ops::{RangeBounds, RangeInclusive};
use std::sync::{Arc, OnceLock};

use kinsync_protocol::id::KeyHash;
use kinsync_protocol::record::Key;
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, Value, WriteTransaction};

use crate::error::ReadError;
use crate::memtable::{self, Cell, Changes, Memtable, Ordered, Pair, Range, Row, RowKey};
use crate::redo::{Redone, note};

/// What can be read of a table, in a transaction that writes as in one that
/// only reads.
pub(crate) trait Rows<K: Ordered, V: Value + 'static> {
    /// The value under a key as it is stored.
    fn get_row(&self, key: &RowKey<K>) -> Result<Option<Cell<'_, V>>, ReadError>;

    /// The value under a key.
    fn get<'a>(&self, key: impl Borrow<K::SelfType<'a>>) -> Result<Option<Cell<'_, V>>, ReadError> {
        self.get_row(&RowKey::new(key))
    }

    /// The rows in a range of keys, from both ends.
    fn range<'a, R>(&self, range: impl RangeBounds<R>) -> Result<Range<'_, K, V>, ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a;

    /// All rows.
    fn iter(&self) -> Result<Range<'_, K, V>, ReadError> {
        self.range::<K::SelfType<'_>>(..)
    }

    /// The row with the least key.
    #[cfg(test)]
    fn first(&self) -> Result<Option<Pair<'_, K, V>>, ReadError> {
        self.iter()?.next().transpose()
    }

    /// The row with the greatest key.
    fn last(&self) -> Result<Option<Pair<'_, K, V>>, ReadError> {
        self.iter()?.next_back().transpose()
    }

    /// How many rows there are. Reads them all.
    fn count(&self) -> Result<u64, ReadError> {
        let mut count = 0;
        for row in self.iter()? {
            row?;
            count += 1;
        }
        Ok(count)
    }
}

/// A table of the database as it was last brought to disk, opened when it is
/// first used.
struct BaseTable<K: Ordered, V: Value + 'static> {
    definition: TableDefinition<'static, K, V>,
    transaction: Arc<ReadTransaction>,
    table: OnceLock<ReadOnlyTable<K, V>>,
}

impl<K: Ordered, V: Value + 'static> BaseTable<K, V> {
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

/// A table as it stands.
pub(crate) struct ReadTable<K: Ordered, V: Value + 'static> {
    active: Memtable<K>,
    frozen: Memtable<K>,
    base: Arc<BaseTable<K, V>>,
}

impl<K: Ordered, V: Value + 'static> ReadTable<K, V> {
    /// What the memtables say of a key.
    fn recent(&self, key: &RowKey<K>) -> Option<&Row> {
        self.active.get(key).or_else(|| self.frozen.get(key))
    }
}

impl<K: Ordered, V: Value + 'static> Rows<K, V> for ReadTable<K, V> {
    fn get_row(&self, key: &RowKey<K>) -> Result<Option<Cell<'_, V>>, ReadError> {
        match self.recent(key) {
            Some(row) => Ok(row.as_deref().map(Cell::Recent)),
            None => Ok(self.base.table()?.get(K::from_bytes(key.bytes()))?.map(Cell::Stored)),
        }
    }

    fn range<'a, R>(&self, range: impl RangeBounds<R>) -> Result<Range<'_, K, V>, ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a,
    {
        let Some(bounds) = memtable::bounds(&range) else { return Ok(memtable::nothing()) };
        let stored = self.base.table()?.range(range)?;
        let stored = stored.map(|row| {
            let (key, value) = row?;
            Ok((Cell::Stored(key), Cell::Stored(value)))
        });
        let mut rows: Range<'_, K, V> = Box::new(stored);
        for memtable in [&self.frozen, &self.active] {
            rows = memtable.over(&bounds, rows);
        }
        Ok(rows)
    }
}

/// A table of a transaction that writes.
pub(crate) struct WriteTable<'t, K: Ordered, V: Value + 'static> {
    below: &'t ReadTable<K, V>,
    changes: Changes<K>,
}

impl<K: Ordered, V: Value + 'static> Rows<K, V> for WriteTable<'_, K, V> {
    fn get_row(&self, key: &RowKey<K>) -> Result<Option<Cell<'_, V>>, ReadError> {
        match self.changes.get(key) {
            Some(row) => Ok(row.as_deref().map(Cell::Recent)),
            None => self.below.get_row(key),
        }
    }

    fn range<'a, R>(&self, range: impl RangeBounds<R>) -> Result<Range<'_, K, V>, ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a,
    {
        let Some(bounds) = memtable::bounds(&range) else { return Ok(memtable::nothing()) };
        let rows = self.below.range(range)?;
        Ok(if self.changes.is_empty() { rows } else { memtable::over(self.changes.range(bounds), rows) })
    }
}

impl<K: Ordered, V: Value + 'static> WriteTable<'_, K, V> {
    /// Writes a row.
    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) {
        self.changes.insert(RowKey::new(key), Some(V::as_bytes(value.borrow()).as_ref().into()));
    }

    /// Removes a row, if it is there.
    pub(crate) fn remove<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) {
        self.changes.insert(RowKey::new(key), None);
    }

    /// Removes a row. Whether it was there.
    pub(crate) fn take<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) -> Result<bool, ReadError> {
        let key = RowKey::new(key);
        let stood = self.get_row(&key)?.is_some();
        if stood {
            self.changes.insert(key, None);
        }
        Ok(stood)
    }

    /// Removes the rows in a range of keys that `keep` does not want.
    pub(crate) fn retain_in<'a, R>(
        &mut self,
        range: impl RangeBounds<R>,
        mut keep: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> bool,
    ) -> Result<(), ReadError>
    where
        R: Borrow<K::SelfType<'a>> + 'a,
    {
        let mut gone = Vec::new();
        for row in self.range(range)? {
            let (key, value) = row?;
            if !keep(key.value(), value.value()) {
                gone.push(RowKey::new(key.value()));
            }
        }
        self.changes.extend(gone.into_iter().map(|key| (key, None)));
        Ok(())
    }
}

impl<K: Ordered, const N: usize> WriteTable<'_, K, &'static [u8; N]> {
    /// Writes what `change` makes of the value under a key, or of none. `None`
    /// removes the row.
    pub(crate) fn update<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        change: impl FnOnce(Option<&[u8; N]>) -> Option<[u8; N]>,
    ) -> Result<(), ReadError> {
        let key = RowKey::new(key);
        let value = {
            let row = self.get_row(&key)?;
            change(row.as_ref().map(Cell::value))
        };
        self.changes.insert(key, value.map(|value| value.as_slice().into()));
        Ok(())
    }
}

/// Declares the tables once: definitions, what lies over them in memory, and the
/// sets that transactions use.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident, $constant:ident: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub(crate) const $constant: TableDefinition<'static, $key, $value> =
            TableDefinition::new(stringify!($field));)*

        /// The tables by number, as the write-ahead log names them.
        #[allow(non_camel_case_types, reason = "named like the tables")]
        enum Number { $($field,)* }

        /// Creates the tables that do not exist.
        pub(crate) fn create(transaction: &WriteTransaction) -> Result<(), ReadError> {
            $(transaction.open_table($constant)?;)*
            Ok(())
        }

        /// All tables of the database as one transaction sees them.
        pub(crate) struct Base { $($field: Arc<BaseTable<$key, $value>>,)* }

        impl Base {
            pub(crate) fn new(transaction: ReadTransaction) -> Self {
                let transaction = Arc::new(transaction);
                Self { $($field: Arc::new(BaseTable {
                    definition: $constant,
                    transaction: Arc::clone(&transaction),
                    table: OnceLock::new(),
                }),)* }
            }

            /// Opens all tables. A missing one means that the file is damaged.
            pub(crate) fn check(&self) -> Result<(), ReadError> {
                $(self.$field.table()?;)*
                Ok(())
            }
        }

        /// What lies over all tables.
        #[derive(Clone, Default)]
        pub(crate) struct Memtables { $($field: Memtable<$key>,)* }

        impl Memtables {
            pub(crate) fn is_empty(&self) -> bool {
                true $(&& self.$field.is_empty())*
            }

            /// Takes in what a transaction has changed.
            pub(crate) fn publish(&mut self, changes: TableChanges) {
                $(self.$field.publish(changes.$field);)*
            }

            /// Takes in what lies over it.
            pub(crate) fn absorb(&mut self, upper: &Self) {
                $(self.$field.absorb(&upper.$field);)*
            }

            /// Writes everything into the tables.
            pub(crate) fn write(&self, transaction: &WriteTransaction) -> Result<(), ReadError> {
                $(if !self.$field.is_empty() {
                    let mut table = transaction.open_table($constant)?;
                    for (key, row) in self.$field.rows() {
                        let key = <$key>::from_bytes(key.bytes());
                        match row {
                            Some(value) => drop(table.insert(key, <$value>::from_bytes(&value))?),
                            None => drop(table.remove(key)?),
                        }
                    }
                })*
                Ok(())
            }
        }

        /// What a transaction has changed of all tables.
        #[derive(Default)]
        pub(crate) struct TableChanges { $($field: Changes<$key>,)* }

        impl TableChanges {
            /// Does a noted change again.
            pub(crate) fn redo(&mut self, change: &Redone<'_>) -> Result<(), ReadError> {
                $(if change.table == Number::$field as u8 {
                    self.$field.insert(RowKey::from_bytes(change.key), change.value.map(Arc::from));
                    return Ok(());
                })*
                Err(ReadError::damaged("a change of an unknown table"))
            }

            /// Notes the changes behind what `bytes` holds.
            pub(crate) fn note(&self, bytes: &mut Vec<u8>) {
                $(for (key, row) in &self.$field {
                    note(bytes, Number::$field as u8, key.bytes(), row.as_deref());
                })*
            }
        }

        /// All tables of one transaction that writes.
        pub(crate) struct Tables<'t> {
            $($(#[$doc])* pub(crate) $field: WriteTable<'t, $key, $value>,)*
        }

        impl<'t> Tables<'t> {
            /// The tables over what stands.
            pub(crate) fn new(below: &'t View) -> Self {
                Self { $($field: WriteTable { below: &below.$field, changes: Changes::new() },)* }
            }

            /// What was changed.
            pub(crate) fn into_changes(self) -> TableChanges {
                TableChanges { $($field: self.$field.changes,)* }
            }
        }

        /// All tables as they stood at one moment.
        pub(crate) struct View {
            $($(#[$doc])* pub(crate) $field: ReadTable<$key, $value>,)*
        }

        impl View {
            pub(crate) fn new(active: &Memtables, frozen: &Memtables, base: &Base) -> Self {
                Self { $($field: ReadTable {
                    active: active.$field.clone(),
                    frozen: frozen.$field.clone(),
                    base: Arc::clone(&base.$field),
                },)* }
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
