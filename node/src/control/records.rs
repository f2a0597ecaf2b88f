//! Reading and writing records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kinsync_protocol::{
    id::DomainId,
    item,
    record::{Key, Version},
};
use kinsync_store::{Job, Reason, StoreSnapshot, WriteError};

use super::{
    Control,
    version::{self, moment, version_name},
};
use crate::{
    domains::{Domain, Domains},
    failure::{Failure, Kind},
    request::{
        Counts, GetAnswer, HistoryKind, HistoryRow, HistoryRows, LIST_ROWS_MAX, List, ListAnswer, ListRow,
        PUT_MANY_BYTES_MAX, PUT_MANY_ITEMS_MAX, PutMany, Value, Written,
    },
};

/// Where a record stands, checked.
struct Place {
    domain: Arc<Domain>,
    key: Key,
}

impl Place {
    fn new(domains: &Domains, domain: &str, id: &str) -> Result<Self, Failure> {
        Ok(Self { domain: domains.named(domain)?, key: Key::new(id)? })
    }

    fn written(self, version: &Version) -> Written {
        Written {
            domain: self.domain.name().to_owned(),
            id: self.key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        }
    }

    fn missing(&self, was_there: bool) -> Failure {
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
    /// Writes a record. When it returns, the record is on disk.
    pub async fn put(
        &self,
        domain: &str,
        id: &str,
        value: impl Into<Value> + Send,
    ) -> Result<Written, Failure> {
        let place = Place::new(&self.domains(), domain, id)?;
        let job = Job::put(place.domain.id(), place.key.clone(), value.into().0, self.now());
        let version = self.shared.storage.write(job).await?;
        Ok(place.written(&version))
    }

    /// Reads a record; `not-found` if it is missing or deleted.
    pub async fn get(&self, domain: &str, id: &str) -> Result<GetAnswer, Failure> {
        let place = Place::new(&self.domains(), domain, id)?;
        let (domain, key) = (place.domain.id(), place.key.clone());
        let (record, was_there) = self
            .shared
            .storage
            .read(move |snapshot| {
                let record = snapshot.get(domain, &key)?;
                let was_there = record.is_none() && !snapshot.history(domain, &key)?.is_empty();
                Ok((record, was_there))
            })
            .await?;
        let record = record.ok_or_else(|| place.missing(was_there))?;
        Ok(GetAnswer {
            version: version_name(record.version.stamp),
            mtime: moment(record.version.stamp),
            value: record.value.into(),
        })
    }

    /// Deletes a record; `not-found` if there is none. Its value stays in its
    /// history.
    pub async fn del(&self, domain: &str, id: &str) -> Result<Written, Failure> {
        let place = Place::new(&self.domains(), domain, id)?;
        let job = Job::delete(place.domain.id(), place.key.clone(), self.now());
        match self.shared.storage.write(job).await {
            Ok(version) => Ok(place.written(&version)),
            Err(WriteError::NotFound) => Err(place.missing(false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the records of a domain in key order, a page at a time.
    pub async fn list(&self, list: List) -> Result<ListAnswer, Failure> {
        let domain = self.domains().named(&list.domain)?.id();
        let after = list.after.map(Key::new).transpose()?;
        let limit = list.limit.unwrap_or(LIST_ROWS_MAX).clamp(1, LIST_ROWS_MAX);
        let mut listed = self
            .shared
            .storage
            .read(move |snapshot| snapshot.list(domain, &list.prefix, after.as_ref(), limit + 1))
            .await?;
        let more = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().filter(|_| more).map(|last| last.key.as_str().to_owned());
        let rows = listed
            .into_iter()
            .map(|row| ListRow {
                id: row.key.as_str().to_owned(),
                mtime: moment(row.version.stamp),
                bytes: row.bytes,
            })
            .collect();
        Ok(ListAnswer { rows, next })
    }

    /// The versions that a record has and had, newest first; `not-found` if it
    /// never was.
    pub async fn history(&self, domain: &str, id: &str) -> Result<HistoryRows, Failure> {
        let place = Place::new(&self.domains(), domain, id)?;
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
        let place = Place::new(&self.domains(), domain, id)?;
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
                    Reason::Deleted | Reason::ParentDeleted => HistoryKind::Deleted,
                    Reason::Conflict | Reason::Overruled | Reason::Settled => HistoryKind::LostConflict,
                };
                versions.push((past.version, kind, Some(past.number), past.bytes));
            }
            Ok(versions)
        };
        Ok(self.shared.storage.read(read).await?)
    }

    /// Writes records in one transaction, leaving those alone whose value is
    /// the same already.
    pub async fn put_many(&self, request: PutMany) -> Result<Counts, Failure> {
        let domain = self.domains().named(&request.domain)?.id();
        let bytes: usize = request.items.iter().map(|item| item.value.0.len()).sum();
        if request.items.len() > PUT_MANY_ITEMS_MAX || bytes > PUT_MANY_BYTES_MAX {
            return Err(Failure::new(
                Kind::BadRequest,
                format!(
                    "At most {PUT_MANY_ITEMS_MAX} records of {PUT_MANY_BYTES_MAX} bytes together at once."
                ),
            ));
        }
        let mut records = BTreeMap::new();
        for item in request.items {
            records.insert(Key::new(item.id)?, item.value.0);
        }
        let (counts, changed) =
            self.shared.storage.read(move |snapshot| compare(snapshot, domain, records)).await?;
        if !request.dry_run && !changed.is_empty() {
            self.shared.storage.write(Job::put_many(domain, changed, self.now())).await?;
        }
        Ok(counts)
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

type Changed = Vec<(Key, Vec<u8>)>;

/// Counts what `records` would change, and keeps what would.
fn compare(
    snapshot: &StoreSnapshot,
    domain: DomainId,
    records: BTreeMap<Key, Vec<u8>>,
) -> Result<(Counts, Changed), kinsync_store::ReadError> {
    let (mut counts, mut changed) = (Counts::default(), Vec::new());
    for (key, value) in records {
        match snapshot.get(domain, &key)? {
            Some(record) if record.value == value => {
                counts.unchanged += 1;
                continue;
            }
            Some(_) => counts.changed += 1,
            None => counts.added += 1,
        }
        changed.push((key, value));
    }
    Ok((counts, changed))
}
