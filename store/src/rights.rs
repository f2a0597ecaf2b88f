//! What a person lets other devices do here, in the same file as the records,
//! so that a change of it and what those devices send have one order.

use std::collections::BTreeSet;

use kinsync_protocol::family;
use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::rights::{RIGHTS_DOMAINS_MAX, Rights};
use kinsync_protocol::stamp::{Stamp, UnixMillis};

use crate::apply::{Stop, Tx};
use crate::error::{ReadError, WriteError};
use crate::job::{DOMAIN_NAME_BYTES_MAX, Job, check_text};
use crate::rows::{open_row, seal_row};
use crate::rules::{RuleSet, Sharing};
use crate::snapshot::StoreSnapshot;
use crate::tables::Rows;

/// What `peer` may do. In doubt nothing, as the row that is damaged may have
/// been a narrow one.
fn read(table: &impl Rows<&'static [u8; 32], &'static [u8]>, peer: DeviceId) -> Result<Rights, ReadError> {
    let Some(row) = table.get(&peer.0)? else { return Ok(Rights::ALL) };
    let content =
        open_row(&peer.0, row.value()).ok_or_else(|| ReadError::damaged("an altered row of rights"))?;
    Rights::decode(content).map_err(|error| ReadError::damaged(format!("unreadable rights: {error}")))
}

fn grants(rights: &Rights, rules: &RuleSet, domain: DomainId) -> Grants {
    match rules.sharing(domain) {
        Sharing::Nobody => Grants::none(Why::Scope),
        sharing @ (Sharing::Free | Sharing::OptIn) => rights.grants(domain, sharing == Sharing::OptIn),
    }
}

impl Tx<'_> {
    /// What a device may do in a domain, at this point of the order of
    /// commits.
    pub(crate) fn grants(&self, peer: DeviceId, domain: DomainId) -> Result<Grants, Stop> {
        match read(&self.tables.rights, peer) {
            Ok(rights) => Ok(grants(&rights, &self.rules, domain)),
            // In doubt nothing is taken; other jobs go on.
            Err(ReadError::Damaged { what }) => Err(Stop::Refused(WriteError::Damaged { what })),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a record that `from` delivers deletes what stands here, without
    /// the right to. Both its author and who delivers it need that right, since
    /// whoever delivers it can have made it up.
    pub(crate) fn undoes(&mut self, from: DeviceId, domain: DomainId, record: &Record) -> Result<bool, Stop> {
        let version = &record.version;
        if !version.deleted {
            return Ok(false);
        }
        let author = version.stamp.device;
        let may = self.grants(from, domain)?.delete
            && (author == self.memory.device || self.grants(author, domain)?.delete);
        if may {
            return Ok(false);
        }
        let stands = self.item(domain, &record.key)?;
        Ok(stands.is_some_and(|own| !own.item.version.deleted && own.item.version < *version))
    }

    /// Keeps a child that `record` ends with its parent, where that parent
    /// lives here and there is a device that may not delete: it may have been
    /// the one that deleted the parent, on a device that lets it. Whether it
    /// did. If the parent's end arrives after all, the child ends with it.
    pub(crate) fn keep_child(
        &mut self,
        domain: DomainId,
        record: &Record,
        now: UnixMillis,
    ) -> Result<bool, Stop> {
        if !self.is_family_end(domain, &record.version) || !self.is_anybody_kept_from_deleting()? {
            return Ok(false);
        }
        let Some(parents) = self.rules.parent(domain) else { return Ok(false) };
        let Some(parent) = family::parent_key(&record.key) else { return Ok(false) };
        if self.item(parents, &parent)?.is_none_or(|parent| parent.item.version.deleted) {
            return Ok(false);
        }
        let Some(own) = self.item(domain, &record.key)? else { return Ok(false) };
        let standing = &own.item.version;
        if standing.deleted || *standing > record.version {
            return Ok(false);
        }
        if !family::is_end_of(&record.version, standing) {
            return Ok(self.write_over(domain, &record.key, &record.version, now)?);
        }
        let version = family::revived(&record.version, standing);
        if version <= record.version {
            return Ok(false);
        }
        let value = self.value(domain, &record.key)?;
        self.memory.clock.follow(version.stamp.time, now);
        self.replace(domain, Some(own), Record { key: record.key.clone(), version, value }, None, now)?;
        Ok(true)
    }

    fn is_anybody_kept_from_deleting(&self) -> Result<bool, ReadError> {
        for row in self.tables.rights.iter()? {
            let (peer, row) = row?;
            // In doubt it may have been kept from it.
            let rights = open_row(peer.value(), row.value()).and_then(|row| Rights::decode(row).ok());
            if rights.is_none_or(|rights| !rights.delete) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the value that stands once more, as a version that knows
    /// `other` and beats it. Whether it did: no time is later than the last.
    pub(crate) fn write_over(
        &mut self,
        domain: DomainId,
        key: &Key,
        other: &Version,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        self.memory.clock.follow(other.stamp.time, now);
        let (Some(own), value) = (self.item(domain, key)?, self.value(domain, key)?) else {
            return Ok(false);
        };
        let (device, version) = (self.memory.device, &own.item.version);
        let mut clock = self.memory.clock;
        let time = clock.tick(now, Some(version.stamp.time.max(other.stamp.time)));
        let seen = version.seen.with(version.stamp).join(&other.seen).replaced_by(other.stamp, device);
        let record = Record::new(key.clone(), value, Stamp { time, device }, seen);
        if record.version <= *other {
            return Ok(false);
        }
        self.memory.clock = clock;
        self.replace(domain, Some(own), record, None, now)?;
        Ok(true)
    }
}

impl Job<Rights> {
    /// Says what a device may do here from now on; gives what it could do
    /// before. Once it is answered, nothing commits that the device sent and
    /// may not send any more.
    ///
    /// # Errors
    /// [`WriteError::TooManyDomains`] above [`RIGHTS_DOMAINS_MAX`] in one list,
    /// [`WriteError::TextTooLong`] for a name above [`DOMAIN_NAME_BYTES_MAX`].
    pub fn allow(device: DeviceId, rights: Rights) -> Self {
        Self::new(move |tx| {
            let lists: [Option<&BTreeSet<String>>; 2] = [rights.domains.as_ref(), Some(&rights.also)];
            for names in lists.into_iter().flatten() {
                if names.len() > RIGHTS_DOMAINS_MAX {
                    return Err(Stop::Refused(WriteError::TooManyDomains { limit: RIGHTS_DOMAINS_MAX }));
                }
                names.iter().try_for_each(|name| check_text(name, DOMAIN_NAME_BYTES_MAX))?;
            }
            let before = match read(&tx.tables.rights, device) {
                Err(ReadError::Damaged { .. }) => None,
                before => Some(before?),
            };
            if before.as_ref() != Some(&rights) {
                let row = seal_row(&device.0, rights.encode());
                tx.tables.rights.insert(&device.0, row.as_slice());
                tx.dirty = true;
            }
            Ok(before.unwrap_or_default())
        })
    }
}

impl StoreSnapshot {
    /// What a device may do here.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if that cannot be told.
    pub fn rights(&self, device: DeviceId) -> Result<Rights, ReadError> {
        read(&self.view.rights, device)
    }

    pub(crate) fn granted(&self, peer: DeviceId, domain: DomainId) -> Grants {
        self.rights(peer).map_or(Grants::none(Why::Rights), |rights| grants(&rights, &self.rules, domain))
    }

    pub(crate) fn granted_elsewhere(&self, peer: DeviceId) -> Grants {
        self.rights(peer).map_or(Grants::none(Why::Rights), |rights| rights.others())
    }

    pub(crate) fn granted_apart(&self, peer: DeviceId) -> Vec<DomainId> {
        let named = self.rights(peer).map(|rights| rights.named()).unwrap_or_default();
        named.into_iter().chain(self.rules.not_free()).collect()
    }
}
