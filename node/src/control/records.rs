//! Reading and writing records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kinsync_protocol::{
    item,
    record::{Key, Version},
};
use kinsync_store::{Job, Reason, StoreSnapshot, WriteError};

use super::{
    Control,
    version::{self, moment, version_name},
};
use crate::{
    clock::Moment,
    domains::Domain,
    failure::{Failure, Kind},
    request::{
        GetAnswer, HistoryKind, HistoryRow, HistoryRows, LIST_ROWS_MAX, List, ListAnswer, ListRow, Written,
    },
};

/// What stands for the version of a record that stays on its device.
const PRIVATE: &str = "private";

/// Where a record stands, checked.
pub(super) struct Place {
    pub(super) domain: Arc<Domain>,
    pub(super) key: Key,
}

impl Place {
    pub(super) fn written(self, version: &Version) -> Written {
        Written {
            domain: self.domain.name().to_owned(),
            id: self.key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        }
    }

    /// The answer to a write of a record that stays here.
    pub(super) fn written_private(self, at: Moment) -> Written {
        Written {
            domain: self.domain.name().to_owned(),
            id: self.key.as_str().to_owned(),
            version: PRIVATE.to_owned(),
            at,
        }
    }

    pub(super) fn missing(&self, was_there: bool) -> Failure {
        let (domain, key) = (self.domain.name(), &self.key);
        if was_there {
            Failure::new(Kind::NotFound, format!("{domain}/{key} was deleted."))
                .hint(format!("See what it was:  kinsync history {domain} '{key}'"))
        } else {
            Failure::new(Kind::NotFound, format!("There is no record {domain}/{key}."))
                .hint(format!("See what there is:  kinsync list {domain}"))
        }
    }
}

impl Control {
    /// Where a record is read, also one of another device.
    fn place(&self, domain: &str, id: &str) -> Result<Place, Failure> {
        let domain = self.domains().named(domain)?;
        Ok(Place { key: self.key_to_read(&domain, id)?, domain })
    }

    /// Where this device writes a record.
    fn own_place(&self, domain: &str, id: &str) -> Result<Place, Failure> {
        let domain = self.domains().named(domain)?;
        Ok(Place { key: self.key_to_write(&domain, id)?, domain })
    }

    /// Reads a record; `not-found` if it is missing or deleted, `schema-newer`
    /// if its shape is newer than what is declared here.
    pub async fn get(&self, domain: &str, id: &str) -> Result<GetAnswer, Failure> {
        let place = self.place(domain, id)?;
        let (domain, key) = (place.domain.id(), place.key.clone());
        let read = move |snapshot: &StoreSnapshot| {
            let record = snapshot.get(domain, &key)?;
            let private = if record.is_none() { snapshot.private(domain, &key)? } else { None };
            let was_there = record.is_none() && !snapshot.history(domain, &key)?.is_empty();
            Ok((record, private, was_there))
        };
        let (record, private, was_there) = self.shared.storage.read(read).await?;
        let owner = self.owner(&place.domain, &place.key);
        match (record, private) {
            (Some(record), _) => {
                let (schema, body) = self.shown(&place, &record)?;
                let (version, mtime) = (version_name(record.version.stamp), moment(record.version.stamp));
                Ok(GetAnswer { version, mtime, value: body.into(), schema, owner })
            }
            (None, Some(private)) => Ok(GetAnswer {
                version: PRIVATE.to_owned(),
                mtime: Moment(private.at.0),
                value: private.value.into(),
                schema: place.domain.declaration.schema,
                owner,
            }),
            (None, None) => Err(place.missing(was_there)),
        }
    }

    /// Deletes a record; `not-found` if there is none. Its value stays in its
    /// history, unless it never left this device.
    pub async fn del(&self, domain: &str, id: &str) -> Result<Written, Failure> {
        let place = self.own_place(domain, id)?;
        let job = Job::delete(place.domain.id(), place.key.clone(), self.now());
        match self.shared.storage.write(job).await {
            Ok(version) => return Ok(place.written(&version)),
            Err(WriteError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        match self.shared.storage.write(Job::delete_private(place.domain.id(), place.key.clone())).await {
            Ok(()) => Ok(place.written_private(Moment(self.now().0))),
            Err(WriteError::NotFound) => Err(place.missing(false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the records of a domain in key order, a page at a time, those
    /// that stay on this device among them.
    pub async fn list(&self, list: List) -> Result<ListAnswer, Failure> {
        let named = self.domains().named(&list.domain)?;
        let domain = named.id();
        let after = list.after.map(Key::new).transpose()?;
        let limit = list.limit.unwrap_or(LIST_ROWS_MAX).clamp(1, LIST_ROWS_MAX);
        let read = move |snapshot: &StoreSnapshot| {
            let mut rows = BTreeMap::new();
            for (key, private) in snapshot.list_private(domain, &list.prefix, after.as_ref(), limit + 1)? {
                rows.insert(key, (Moment(private.at.0), private.value.len() as u64));
            }
            for row in snapshot.list(domain, &list.prefix, after.as_ref(), limit + 1)? {
                rows.insert(row.key, (moment(row.version.stamp), row.bytes));
            }
            Ok(rows)
        };
        let listed = self.shared.storage.read(read).await?;
        let more = listed.len() > limit;
        let row = |(key, (mtime, bytes)): (Key, (Moment, u64))| ListRow {
            owner: self.owner(&named, &key),
            id: key.as_str().to_owned(),
            mtime,
            bytes,
        };
        let rows: Vec<_> = listed.into_iter().take(limit).map(row).collect();
        let next = rows.last().filter(|_| more).map(|last| last.id.clone());
        Ok(ListAnswer { rows, next })
    }

    /// The versions that a record has and had, newest first; `not-found` if it
    /// never was.
    pub async fn history(&self, domain: &str, id: &str) -> Result<HistoryRows, Failure> {
        let place = self.place(domain, id)?;
        let versions = self.versions(&place).await?;
        if versions.is_empty() {
            return Err(place.missing(false));
        }
        let row = |(version, kind, _, bytes): Had| HistoryRow {
            version: version_name(version.stamp),
            at: moment(version.stamp),
            device: version.stamp.device.to_string(),
            name: self.device_name(version.stamp.device),
            bytes: (!version.deleted).then_some(bytes),
            kind,
        };
        Ok(HistoryRows { rows: versions.into_iter().map(row).collect() })
    }

    /// Makes an earlier version the current one again, as a new write.
    pub async fn restore(&self, domain: &str, id: &str, version: &str) -> Result<Written, Failure> {
        let place = self.own_place(domain, id)?;
        let versions = self.versions(&place).await?;
        if versions.is_empty() {
            return Err(place.missing(false));
        }
        let named: Vec<_> = versions
            .into_iter()
            .map(|(version, kind, number, _)| (version_name(version.stamp), (version.deleted, kind, number)))
            .collect();
        let chosen = version::choose(version, &named).map_err(|failure| {
            failure.hint(format!(
                "See its versions:  kinsync history {} '{}'",
                place.domain.name(),
                place.key
            ))
        })?;
        let Some(number) = (match chosen {
            (true, ..) => {
                return Err(Failure::new(Kind::BadVersion, "That version is the deletion itself.")
                    .hint("Choose one that has a size."));
            }
            (false, _, number) => *number,
        }) else {
            return Err(Failure::new(Kind::BadVersion, "That version is the current one already."));
        };
        let job = Job::restore(place.domain.id(), place.key.clone(), number, self.now());
        let version = self.shared.storage.write(job).await?;
        Ok(place.written(&version))
    }

    /// The current version, if there is one, and those in history with their
    /// numbers.
    async fn versions(&self, place: &Place) -> Result<Vec<Had>, Failure> {
        use kinsync_protocol::snapshot::Snapshot as _;

        let (domain, key) = (place.domain.id(), place.key.clone());
        let read = move |snapshot: &StoreSnapshot| {
            let mut versions = Vec::new();
            if let Some(item) = snapshot.item(domain, item::key_hash(domain, &key))? {
                let bytes = snapshot.get(domain, &key)?.map_or(0, |live| live.value.len() as u64);
                versions.push((item.version, HistoryKind::Current, None, bytes));
            }
            for past in snapshot.history(domain, &key)? {
                let kind = match past.reason {
                    Reason::Replaced | Reason::Merged => HistoryKind::Replaced,
                    Reason::Deleted | Reason::ParentDeleted | Reason::Floor => HistoryKind::Deleted,
                    Reason::Conflict | Reason::Overruled | Reason::Settled => HistoryKind::LostConflict,
                };
                versions.push((past.version, kind, Some(past.number), past.bytes));
            }
            Ok(versions)
        };
        Ok(self.shared.storage.read(read).await?)
    }

    /// The names of the domains, built in and met.
    pub async fn domain_names(&self) -> Result<BTreeSet<String>, Failure> {
        let names = self.shared.storage.read(StoreSnapshot::domain_names).await?;
        Ok(names.into_iter().collect())
    }
}

/// A version, what became of it, its number in history, and how long its value
/// is.
type Had = (Version, HistoryKind, Option<u64>, u64);
