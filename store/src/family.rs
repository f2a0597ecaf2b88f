//! What the end of a record makes of the records that belong to it, settled at
//! the end of every job, in its transaction.
//!
//! Nothing here travels by itself: the versions that it makes are computed
//! alike everywhere (`kinsync_protocol::family`) and are joined like others.

use std::ops::Bound;
use std::sync::Arc;

use kinsync_protocol::family;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::rows::{PastRow, Place};
use crate::tables::{self, Rows};

impl Tx<'_> {
    /// Refuses to write a child whose parent is deleted: it would be deleted
    /// at once.
    pub(crate) fn check_parent(&mut self, domain: DomainId, key: &Key) -> Result<(), Stop> {
        let Some(parent) = self.rules.parent(domain) else { return Ok(()) };
        let Some(parent_key) = family::parent_key(key) else { return Ok(()) };
        if self.item(parent, &parent_key)?.is_some_and(|row| row.item.version.deleted) {
            return Err(Stop::Refused(WriteError::ParentDeleted { parent: parent_key }));
        }
        Ok(())
    }

    /// Notes that the version `before` of a record was replaced.
    pub(crate) fn touch(&mut self, domain: DomainId, key: &Key, before: Option<&Version>, now: UnixMillis) {
        if self.rules.has_family(domain) {
            let place = (domain, key.clone());
            self.touched.entry(place).or_insert_with(|| (before.cloned(), now));
        }
    }

    /// Ends the children of records that ended, and revives those that a
    /// restored parent's end took by mistake.
    ///
    /// Ends: a version is made only from one with other causes, or once more
    /// for a parent's version that is new here.
    pub(crate) fn settle(&mut self) -> Result<(), ReadError> {
        while let Some(((domain, key), (before, now))) = self.touched.pop_first() {
            let Some(version) = self.sound_version(domain, &key)? else { continue };
            if self.settle_child(domain, &key, &version, now)? {
                continue;
            }
            let ended = version.deleted && before.as_ref() != Some(&version);
            let revived = !version.deleted && before.is_some_and(|before| before.deleted);
            if !ended && !revived {
                continue;
            }
            let rules = Arc::clone(&self.rules);
            for &children in rules.children(domain) {
                for child in self.children(children, &key, ended)? {
                    match self.sound_version(children, &child)? {
                        Some(standing) if ended => {
                            self.end_child(children, &child, &standing, &version, now)?
                        }
                        Some(standing) => drop(self.revive_child(children, &child, &standing, now)?),
                        None => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What its parent's state makes of a record that changed. Whether it
    /// changed once more.
    fn settle_child(
        &mut self,
        domain: DomainId,
        key: &Key,
        version: &Version,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        let Some(domain_of_parent) = self.rules.parent(domain) else { return Ok(false) };
        let Some(parent_key) = family::parent_key(key) else { return Ok(false) };
        let Some(parent) = self.sound_version(domain_of_parent, &parent_key)? else { return Ok(false) };
        match (parent.deleted, version.deleted) {
            // What the parent's end made of it here already was undone by
            // somebody who knows of a living parent; that one is on its way.
            (true, false) if self.was_ended(domain, key, version)? => Ok(false),
            (true, false) => {
                self.end_child(domain, key, version, &parent, now)?;
                Ok(true)
            }
            (false, true) if self.was_deleted(domain_of_parent, &parent_key)? => {
                self.revive_child(domain, key, version, now)
            }
            _ => Ok(false),
        }
    }

    fn end_child(
        &mut self,
        domain: DomainId,
        key: &Key,
        child: &Version,
        parent: &Version,
        now: UnixMillis,
    ) -> Result<(), ReadError> {
        let tombstone = family::ended(child, parent);
        // Nothing follows the last stamp there is.
        if tombstone > *child {
            let old = self.item(domain, key)?;
            self.replace(
                domain,
                old,
                Record { key: key.clone(), version: tombstone, value: None },
                None,
                now,
            )?;
        }
        Ok(())
    }

    /// Brings a child back that was written after the deletion of its parent,
    /// if this device has its value. Whether it did.
    fn revive_child(
        &mut self,
        domain: DomainId,
        key: &Key,
        tombstone: &Version,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        let Some((_, past)) = self.ended_child(domain, key, tombstone)? else { return Ok(false) };
        if !family::is_later_than_parent(tombstone, &past.version) {
            return Ok(false);
        }
        let version = family::revived(tombstone, &past.version);
        if version <= *tombstone {
            return Ok(false);
        }
        let old = self.item(domain, key)?;
        self.replace(domain, old, Record { key: key.clone(), version, value: past.value }, None, now)?;
        Ok(true)
    }

    /// Writes the children again that ended with a parent which was restored,
    /// and theirs; without a time, only finds them. Which they are.
    ///
    /// `since` is the parent's last live version: what ended before that ended
    /// with an earlier parent of that name.
    pub(crate) fn restore_children(
        &mut self,
        domain: DomainId,
        parent: &Key,
        since: &Version,
        now: Option<UnixMillis>,
    ) -> Result<Vec<(DomainId, Key)>, Stop> {
        let mut restored = Vec::new();
        let mut parents = vec![(domain, parent.clone(), since.stamp.time)];
        while let Some((domain, parent, since)) = parents.pop() {
            let rules = Arc::clone(&self.rules);
            for &children in rules.children(domain) {
                for key in self.children(children, &parent, false)? {
                    let Some(tombstone) = self.sound_version(children, &key)? else { continue };
                    let Some((_, past)) = self.ended_child(children, &key, &tombstone)? else { continue };
                    if tombstone.stamp.time <= since {
                        continue;
                    }
                    let Some(value) = past.value else { continue };
                    let written = now.map(|now| self.write_again(children, &key, &value, now)).transpose();
                    match written {
                        Ok(_) => restored.push((children, key.clone())),
                        // One at the end of time must not keep the others away.
                        Err(Stop::Refused(_)) => continue,
                        Err(failed) => return Err(failed),
                    }
                    parents.push((children, key, past.version.stamp.time));
                }
            }
        }
        Ok(restored)
    }

    /// The version in history that `tombstone` ended with its parent.
    fn ended_child(
        &mut self,
        domain: DomainId,
        key: &Key,
        tombstone: &Version,
    ) -> Result<Option<(u64, PastRow)>, ReadError> {
        if !self.is_family_end(domain, tombstone) {
            return Ok(None);
        }
        let past = self.readable_past(domain, key)?;
        let ended = past.into_iter().filter(|(_, past)| family::is_end_of(tombstone, &past.version));
        Ok(ended.max_by(|(_, a), (_, b)| a.version.cmp(&b.version)))
    }

    /// Whether this live version by nobody undoes an end of a parent that was
    /// known here.
    fn was_ended(&mut self, domain: DomainId, key: &Key, version: &Version) -> Result<bool, ReadError> {
        if version.stamp.device != DeviceId::NULL {
            return Ok(false);
        }
        let past = self.readable_past(domain, key)?;
        Ok(past.iter().any(|(_, past)| {
            let tombstone = &past.version;
            tombstone.deleted && tombstone.stamp.device == DeviceId::NULL && tombstone.seen == version.seen
        }))
    }

    /// Whether history holds a deletion of the record.
    fn was_deleted(&mut self, domain: DomainId, key: &Key) -> Result<bool, ReadError> {
        Ok(self.readable_past(domain, key)?.iter().any(|(_, past)| past.version.deleted))
    }

    /// The versions in the history of `key`, in the order in which they were
    /// set aside. Unreadable ones are left out.
    pub(crate) fn readable_past(
        &mut self,
        domain: DomainId,
        key: &Key,
    ) -> Result<Vec<(u64, PastRow)>, ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok(Vec::new()) };
        let hash = item::key_hash(domain, key);
        let devices = (&self.tables.devices, &self.tables.device_numbers);
        let mut past = Vec::new();
        for row in self.tables.history.range(tables::all_past(dom, hash))? {
            let (place, row) = row?;
            let decoded = PastRow::decode(row.value(), Place { dom, key: hash }, &mut |number| {
                crate::apply::resolve(devices, number)
            });
            match decoded {
                Ok(row) => past.push((place.value().2, row)),
                Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(past)
    }

    /// The version that stands, if its row is readable: one damaged record
    /// must not keep the others from being settled.
    fn sound_version(&mut self, domain: DomainId, key: &Key) -> Result<Option<Version>, ReadError> {
        match self.item(domain, key) {
            Ok(row) => Ok(row.map(|row| row.item.version)),
            Err(ReadError::Damaged { what }) => {
                tracing::error!(%domain, %key, %what, "a record of a family is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The children of a record that are live, or those that are not.
    fn children(&mut self, domain: DomainId, parent: &Key, live: bool) -> Result<Vec<Key>, ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok(Vec::new()) };
        let first = tables::record_prefix(dom, &format!("{parent}/"));
        let mut children = Vec::new();
        for row in
            self.tables.records.range::<&[u8]>((Bound::Included(first.as_slice()), Bound::Unbounded))?
        {
            let (key, value) = row?;
            let Some(rest) = key.value().strip_prefix(first.as_slice()) else { break };
            if rest.is_empty() || rest.contains(&b'/') || value.value().is_some() != live {
                continue;
            }
            let text = key.value().get(4..).and_then(|key| std::str::from_utf8(key).ok());
            children.extend(text.and_then(|key| Key::new(key).ok()));
        }
        Ok(children)
    }
}
