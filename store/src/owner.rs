//! Records of which each device has its own: what others make of this
//! device's, this device makes undone.

use kinsync_protocol::declaration::Scope;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::ReadError;

/// A record that only this device writes, as it stands.
pub(crate) struct Own {
    domain: DomainId,
    key: Key,
    stored: Option<Vec<u8>>,
}

impl Tx<'_> {
    /// The record under a key, if it is one that only this device writes: its
    /// key begins with this device.
    pub(crate) fn own(&mut self, domain: DomainId, key: &Key) -> Result<Option<Own>, ReadError> {
        let is_own = self.rules.get(domain).is_some_and(|rules| rules.scope == Scope::Device)
            && key.as_str().split_once('/').is_some_and(|(first, _)| first == self.memory.device.to_string());
        if !is_own {
            return Ok(None);
        }
        let stored = self.value(domain, key)?;
        Ok(Some(Own { domain, key: key.clone(), stored }))
    }

    /// Writes a record again as it was before another device wrote it. What
    /// follows for everybody alike, such as the end of a parent, stands.
    pub(crate) fn assert_own(&mut self, own: Own, now: UnixMillis) -> Result<(), Stop> {
        let Own { domain, key, stored } = own;
        let Some(row) = self.item(domain, &key)? else { return Ok(()) };
        let version = row.item.version;
        let author = version.stamp.device;
        if author == self.memory.device || author == DeviceId::NULL {
            return Ok(());
        }
        tracing::warn!(by = %author, %key, "a record of this device was written by another");
        let written = match stored {
            Some(stored) => self.write_again(domain, &key, &stored, now),
            None if !version.deleted => self.write(domain, &key, None, now),
            None => return Ok(()),
        };
        match written {
            // What arrived with it stays: one record at the end of time must
            // not undo the others.
            Err(Stop::Refused(error)) => {
                tracing::warn!(%key, %error, "it stays as the other device wrote it")
            }
            Err(failed) => return Err(failed),
            Ok(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kinsync_protocol::record::Record;
    use kinsync_protocol::snapshot::Batch;
    use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};

    use super::*;
    use crate::tests::world::*;
    use crate::{Rules, Store};

    /// A version by the laptop, written a day after all others.
    fn by_laptop(at: &str, value: Option<&[u8]>) -> Batch {
        let time = Hlc((NOW.0 + 86_400_000) << 16);
        let stamp = Stamp { time, device: LAPTOP };
        let record = Record::new(key(at), value.map(<[u8]>::to_vec), stamp, Ancestry::default());
        Batch { domain: notes(), records: vec![record], cursor: None, floor: None }
    }

    fn device_scoped(store: &Store) {
        let rules = Rules { scope: Scope::Device, ..Rules::default() };
        store.set_rules(BTreeMap::from([(notes(), rules)]));
    }

    /// F19: a value set for one device never stays overwritten by another.
    #[test]
    fn what_another_device_writes_for_this_one_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        device_scoped(&store);
        let theme = format!("{PHONE}/theme");
        store.put(notes(), key(&theme), b"dark".to_vec(), NOW).unwrap();
        for value in [Some(&b"light"[..]), None] {
            store.apply(LAPTOP, vec![by_laptop(&theme, value)], NOW).unwrap();
            assert_eq!(get(&store, &theme).as_deref(), Some("dark"));
        }
        let item = store.snapshot().unwrap().list(notes(), "", None, 9).unwrap();
        assert_eq!((item.len(), item[0].version.stamp.device), (1, PHONE));
        // What this device never had goes again.
        let never = format!("{PHONE}/never");
        store.apply(LAPTOP, vec![by_laptop(&never, Some(b"x"))], NOW).unwrap();
        assert_eq!(get(&store, &never), None);
        // The laptop's own is the laptop's.
        let theirs = format!("{LAPTOP}/theme");
        store.apply(LAPTOP, vec![by_laptop(&theirs, Some(b"light"))], NOW).unwrap();
        assert_eq!(get(&store, &theirs).as_deref(), Some("light"));
        assert_sound(&store);
    }

    #[test]
    fn elsewhere_every_device_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        let theme = format!("{PHONE}/theme");
        store.put(notes(), key(&theme), b"dark".to_vec(), NOW).unwrap();
        store.apply(LAPTOP, vec![by_laptop(&theme, Some(b"light"))], NOW).unwrap();
        assert_eq!(get(&store, &theme).as_deref(), Some("light"));
    }
}
