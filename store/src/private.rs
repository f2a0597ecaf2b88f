//! What stays on this device: records that their domain excludes, and what the
//! node notes for itself. Nothing that syncs or counts reads this table.

use kinsync_protocol::id::DomainId;
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::job::{Job, check_value};
use crate::snapshot::StoreSnapshot;
use crate::tables::Rows;

/// A value that stays on this device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Private {
    /// When it was written.
    pub at: UnixMillis,
    /// The value.
    pub value: Vec<u8>,
}

impl Tx<'_> {
    /// Removes a value that stays on this device. Whether there was one.
    pub(crate) fn forget_private(&mut self, domain: DomainId, key: &Key) -> Result<bool, ReadError> {
        let gone = self.tables.private.take(place(domain, key.as_str()).as_slice())?;
        self.dirty |= gone;
        Ok(gone)
    }
}

impl Job<bool> {
    /// Writes a value that stays on this device, unless a live record that is
    /// shared has the key. Whether it was written.
    ///
    /// # Errors
    /// [`WriteError::ValueTooLarge`].
    pub fn put_private(domain: DomainId, key: Key, value: Vec<u8>, now: UnixMillis) -> Self {
        let bytes = value.len();
        let mut job = Self::new(move |tx| {
            check_value(&value)?;
            if tx.item(domain, &key)?.is_some_and(|old| !old.item.version.deleted) {
                return Ok(false);
            }
            let row = [&now.0.to_be_bytes()[..], &value].concat();
            tx.tables.private.insert(place(domain, key.as_str()).as_slice(), row.as_slice());
            tx.dirty = true;
            Ok(true)
        });
        job.bytes = bytes;
        job
    }
}

impl Job<()> {
    /// Removes a value that stays on this device.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is none.
    pub fn delete_private(domain: DomainId, key: Key) -> Self {
        Self::new(move |tx| {
            if tx.forget_private(domain, &key)? {
                return Ok(());
            }
            Err(Stop::Refused(WriteError::NotFound))
        })
    }
}

impl StoreSnapshot {
    /// The value under a key that stays on this device.
    pub fn private(&self, domain: DomainId, key: &Key) -> Result<Option<Private>, ReadError> {
        let row = self.view.private.get(place(domain, key.as_str()).as_slice())?;
        row.map(|row| decode(row.value())).transpose()
    }

    /// Up to `limit` values that stay on this device, after `after`, whose key
    /// starts with `prefix`, in key order.
    pub fn list_private(
        &self,
        domain: DomainId,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Private)>, ReadError> {
        let first = place(domain, prefix);
        let from = after.map(|after| place(domain, after.as_str())).filter(|after| *after >= first);
        let mut found = Vec::new();
        for row in self.view.private.range::<&[u8]>(from.as_ref().unwrap_or(&first).as_slice()..)? {
            let (at, value) = row?;
            if found.len() == limit || !at.value().starts_with(&first) {
                break;
            }
            if from.as_deref() == Some(at.value()) {
                continue;
            }
            let text = at.value().get(16..).and_then(|key| std::str::from_utf8(key).ok());
            let key = text.and_then(|key| Key::new(key).ok());
            let key = key.ok_or_else(|| ReadError::damaged("an unreadable private key"))?;
            found.push((key, decode(value.value())?));
        }
        Ok(found)
    }
}

fn place(domain: DomainId, key: &str) -> Vec<u8> {
    [&domain.0[..], key.as_bytes()].concat()
}

fn decode(row: &[u8]) -> Result<Private, ReadError> {
    let (at, value) = row.split_first_chunk().ok_or_else(|| ReadError::damaged("a private row cut short"))?;
    Ok(Private { at: UnixMillis(u64::from_be_bytes(*at)), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use kinsync_protocol::snapshot::Snapshot as _;
    use redb::Database;

    use super::*;
    use crate::job::Standing;
    use crate::tables::{META, PRIVATE};
    use crate::tests::world::*;

    fn keys(store: &crate::Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let after = after.map(key);
        let found = store.snapshot().unwrap().list_private(notes(), prefix, after.as_ref(), limit).unwrap();
        found.into_iter().map(|(key, _)| key.as_str().to_owned()).collect()
    }

    /// F20: what stays on this device is in no root, no list and no count.
    #[test]
    fn what_is_private_is_seen_by_nothing_that_syncs() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        let write = |at: &str, value: &str| {
            store.write(Job::put_private(notes(), key(at), value.as_bytes().to_vec(), NOW)).unwrap()
        };
        assert!(write("a/1", "x") && write("a/2", "y") && write("b", "z") && write("b", "later"));
        let snapshot = store.snapshot().unwrap();
        assert!(snapshot.domains().unwrap().is_empty());
        assert_eq!(snapshot.list(notes(), "", None, 9).unwrap(), []);
        let found = snapshot.private(notes(), &key("b")).unwrap();
        assert_eq!(found, Some(Private { at: NOW, value: b"later".to_vec() }));
        assert_eq!(snapshot.private(DomainId::of("other"), &key("b")).unwrap(), None);
        assert_eq!(keys(&store, "", None, 9), ["a/1", "a/2", "b"]);
        assert_eq!(keys(&store, "", None, 2), ["a/1", "a/2"]);
        assert_eq!(keys(&store, "a/", Some("a/1"), 9), ["a/2"]);
        assert_eq!(keys(&store, "b", Some("a/1"), 9), ["b"]);
        store.write(Job::delete_private(notes(), key("b"))).unwrap();
        assert_eq!(store.write(Job::delete_private(notes(), key("b"))), Err(WriteError::NotFound));
        assert_eq!(keys(&store, "b", None, 9), [""; 0]);
        assert_sound(&store);
    }

    #[test]
    fn a_record_that_is_shared_does_not_become_private() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        store.put(notes(), key("a"), b"shared".to_vec(), NOW).unwrap();
        let private = || Job::put_private(notes(), key("a"), b"mine".to_vec(), NOW);
        assert_eq!(store.write(private()), Ok(false));
        store.delete(notes(), key("a"), NOW).unwrap();
        assert_eq!(store.write(private()), Ok(true));
    }

    /// No crash leaves the key with two values.
    #[test]
    fn what_is_shared_takes_the_place_of_what_was_private() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        for at in ["a", "b", "c"] {
            store.write(Job::put_private(notes(), key(at), b"mine".to_vec(), NOW)).unwrap();
        }
        let edit = |_: Option<Standing<'_>>| Ok::<_, ()>(b"shared".to_vec());
        store.write(Job::edit(notes(), key("a"), NOW, edit)).unwrap().unwrap();
        let refused = store.write(Job::edit(notes(), key("c"), NOW, |_: Option<Standing<'_>>| Err(())));
        assert_eq!(refused, Ok(Err(())));
        store.write(Job::put_many(notes(), vec![(key("b"), b"shared".to_vec())], NOW)).unwrap();
        assert_eq!(keys(&store, "", None, 9), ["c"]);
        assert_eq!(get(&store, "a").as_deref(), Some("shared"));
    }

    /// A file of the first version has no such table.
    #[test]
    fn an_older_file_gets_the_tables_that_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        store.put(notes(), key("a"), b"kept".to_vec(), NOW).unwrap();
        drop(store);
        let database = Database::open(folder.path().join("store")).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("version", 1_u32.to_be_bytes().as_slice()).unwrap();
        assert!(transaction.delete_table(PRIVATE).unwrap());
        transaction.commit().unwrap();
        drop(database);
        let store = open(folder.path(), PHONE);
        assert_eq!(get(&store, "a").as_deref(), Some("kept"));
        assert_eq!(keys(&store, "", None, 9), [""; 0]);
    }
}
