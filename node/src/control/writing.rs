//! What a domain declares, applied to what somebody writes and reads.

use std::{collections::BTreeMap, sync::Arc};

use kinsync_protocol::{
    declaration::{Declaration, Scope},
    id::DeviceId,
    limits::VALUE_BYTES_MAX,
    record::Key,
};
use kinsync_store::{Job, Live, ReadError, Standing, StoreSnapshot, WriteError};
use serde_json::Value as Json;

use super::{Control, records::Place};
use crate::{
    clock::Moment,
    domains::{Domain, fields, identity},
    failure::{Failure, Kind},
    request::{Counts, PUT_MANY_BYTES_MAX, PUT_MANY_ITEMS_MAX, Put, PutMany, Value, Written},
};

/// A write as its domain wants it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) key: Key,
    pub(super) body: Vec<u8>,
    /// Whether the record stays on this device.
    pub(super) private: bool,
}

impl Control {
    /// Writes a record. When it returns, the record is on disk.
    pub async fn put(
        &self,
        domain: &str,
        id: &str,
        value: impl Into<Value> + Send,
    ) -> Result<Written, Failure> {
        let (domain, id, value) = (domain.to_owned(), id.to_owned(), value.into());
        self.put_as(Put { domain, id, value, app: None }).await
    }

    /// As [`Control::put`], for an application that said which shape it
    /// writes.
    ///
    /// `value-does-not-fit`, `wrong-id`, `not-owner`, `schema-newer`; `shared`
    /// if the record would stay on this device and others have it.
    pub async fn put_as(&self, put: Put) -> Result<Written, Failure> {
        let domain = self.domains().named(&put.domain)?;
        let schema = self.shared.apps.schema(put.app.as_deref(), &domain);
        let Prepared { key, body, private } = self.prepare(&domain, &put.id, put.value.0, schema)?;
        let place = Place { domain, key };
        let (id, key, now) = (place.domain.id(), place.key.clone(), self.now());
        if private {
            let written = self.shared.storage.write(Job::put_private(id, key, body, now)).await?;
            return if written { Ok(place.written_private(Moment(now.0))) } else { Err(shared(&place)) };
        }
        let (domain, lacks) = (Arc::clone(&place.domain), self.shared.apps.lacks_model());
        let edit = move |standing: Option<Standing<'_>>| match standing {
            Some(standing) if standing.schema > schema => {
                Err((standing.schema, standing.version.stamp.device))
            }
            Some(standing) => {
                let declaration = &domain.declaration;
                Ok(kept(declaration, standing.schema, standing.value, &body, &lacks).unwrap_or(body))
            }
            None => Ok(body),
        };
        let written = self.shared.storage.write(Job::edit(id, place.key.clone(), now, edit)).await?;
        let version = written.map_err(|(newer, author)| self.newer(&place, newer, author, schema))?;
        Ok(place.written(&version))
    }

    /// Writes records in one transaction, leaving those alone whose value is
    /// the same already. One that cannot be written refuses all.
    pub async fn put_many(&self, request: PutMany) -> Result<Counts, Failure> {
        let domain = self.domains().named(&request.domain)?;
        let bytes: usize = request.items.iter().map(|item| item.value.0.len()).sum();
        if request.items.len() > PUT_MANY_ITEMS_MAX || bytes > PUT_MANY_BYTES_MAX {
            return Err(Failure::new(
                Kind::BadRequest,
                format!(
                    "At most {PUT_MANY_ITEMS_MAX} records of {PUT_MANY_BYTES_MAX} bytes together at once."
                ),
            ));
        }
        let schema = domain.declaration.schema;
        let mut records = BTreeMap::new();
        for item in request.items {
            let Prepared { key, body, private } = self.prepare(&domain, &item.id, item.value.0, schema)?;
            records.insert(key, (body, private));
        }
        let (id, now, lacks) = (domain.id(), self.now(), self.shared.apps.lacks_model());
        let read = move |snapshot: &StoreSnapshot| compare(snapshot, &domain, records, &lacks);
        let Compared { counts, changed, private } = self.shared.storage.read(read).await?;
        if request.dry_run {
            return Ok(counts);
        }
        if !changed.is_empty() {
            self.shared.storage.write(Job::put_many(id, changed, now)).await?;
        }
        for (key, body) in private {
            self.shared.storage.write(Job::put_private(id, key, body, now)).await?;
        }
        Ok(counts)
    }

    /// A record's value as it is shown: in the shape that is declared, without
    /// what a model made that is not here. Also the number of its schema.
    pub(super) fn shown(&self, place: &Place, live: &Live) -> Result<(u32, Vec<u8>), Failure> {
        let declaration = &place.domain.declaration;
        let author = live.version.stamp.device;
        if live.schema == 0 || live.schema > declaration.schema {
            return Err(self.newer(place, live.schema, author, declaration.schema));
        }
        let mut body = fields::migrated(declaration, &live.value, live.schema, declaration.schema)
            .unwrap_or_else(|| live.value.clone());
        if let Some(less) = fields::without_derived(declaration, &body, self.shared.apps.lacks_model()) {
            body = less;
        }
        Ok((declaration.schema, body))
    }

    /// A record whose shape `found` is newer than `known`, 0 for one that only
    /// a later kinsync reads: says who is older.
    fn newer(&self, place: &Place, found: u32, author: DeviceId, known: u32) -> Failure {
        let (name, key) = (place.domain.name(), &place.key);
        let by = self.device_name(author).map(|name| format!(" {name} wrote it.")).unwrap_or_default();
        let is_app = known < place.domain.declaration.schema;
        let who = if is_app { "this application" } else { "this device" };
        let what = match found {
            0 => "was written by a later version of kinsync".to_owned(),
            found => format!("has schema {found}, and {who} knows up to {known}"),
        };
        Failure::new(Kind::SchemaNewer, format!("{name}/{key} {what}.{by}"))
            .hint(format!("Update {who}. The record is kept and passed on."))
    }

    /// Checks a value of the shape `schema`, and finds its key.
    ///
    /// `value-does-not-fit`, `wrong-id`, `not-owner`, `bad-key`.
    fn prepare(&self, domain: &Domain, id: &str, body: Vec<u8>, schema: u32) -> Result<Prepared, Failure> {
        let declaration = &domain.declaration;
        if body.len() > VALUE_BYTES_MAX {
            let (bytes, limit) = (body.len(), VALUE_BYTES_MAX);
            return Err(WriteError::ValueTooLarge { bytes, limit }.into());
        }
        let own = self.device().to_string();
        let typed = match declaration.identity.as_slice() {
            [] => Some(Key::new(own_key(domain, id, &own)?)?),
            _ => None,
        };
        let body = fields::migrated(declaration, &body, schema, declaration.schema).unwrap_or(body);
        check_fits(domain, id, &body)?;
        let value: Json = match (&typed, declaration.exclude.is_empty()) {
            (Some(_), true) => Json::Null,
            _ => serde_json::from_slice(&body).unwrap_or_default(),
        };
        let key = match typed {
            Some(key) => key,
            None => Key::new(identified(domain, id, &value)?)?,
        };
        let excluded = !declaration.exclude.is_empty()
            && declaration.exclude.iter().all(|(field, wanted)| value.get(field) == Some(wanted));
        Ok(Prepared { key, body, private: excluded })
    }

    /// The key that is written under an id: keys of a device's own domain
    /// begin with the device.
    pub(super) fn key_to_write(&self, domain: &Domain, id: &str) -> Result<Key, Failure> {
        Ok(Key::new(own_key(domain, id, &self.device().to_string())?)?)
    }

    /// The key that is read under an id, also that of another device.
    pub(super) fn key_to_read(&self, domain: &Domain, id: &str) -> Result<Key, Failure> {
        let own = self.device().to_string();
        Ok(Key::new(match own_key(domain, id, &own) {
            Err(failure) if failure.kind == Kind::NotOwner => id.to_owned(),
            key => key?,
        })?)
    }

    /// The name of the device that a record belongs to, in a domain of which
    /// each device writes its own.
    pub(super) fn owner(&self, domain: &Arc<Domain>, key: &Key) -> Option<String> {
        let (first, _) = key.as_str().split_once('/')?;
        if domain.declaration.scope != Scope::Device || !is_device(first) {
            return None;
        }
        Some(self.device_named(first).unwrap_or_else(|| first.to_owned()))
    }
}

/// A new body with what its writer cannot have meant to drop.
fn kept(
    declaration: &Declaration,
    schema: u32,
    old: &[u8],
    new: &[u8],
    lacks: &impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let migrated = fields::migrated(declaration, old, schema, declaration.schema);
    fields::carried(declaration, migrated.as_deref().unwrap_or(old), new, lacks)
}

/// What many writes would do.
#[derive(Debug, Default)]
struct Compared {
    counts: Counts,
    changed: Vec<(Key, Vec<u8>)>,
    private: Vec<(Key, Vec<u8>)>,
}

/// Counts what `records` would change, and keeps what would.
fn compare(
    snapshot: &StoreSnapshot,
    domain: &Domain,
    records: BTreeMap<Key, (Vec<u8>, bool)>,
    lacks: &impl Fn(&str) -> bool,
) -> Result<Compared, ReadError> {
    let mut compared = Compared::default();
    for (key, (body, private)) in records {
        let shared = snapshot.get(domain.id(), &key)?;
        // Others have it: it is too late to keep it from them.
        if private && shared.is_none() {
            match snapshot.private(domain.id(), &key)? {
                Some(row) if row.value == body => {
                    compared.counts.unchanged += 1;
                    continue;
                }
                Some(_) => compared.counts.changed += 1,
                None => compared.counts.added += 1,
            }
            compared.private.push((key, body));
            continue;
        }
        let Some(standing) = shared else {
            compared.counts.added += 1;
            compared.changed.push((key, body));
            continue;
        };
        let (schema, old) = (standing.schema, standing.value.as_slice());
        let body = kept(&domain.declaration, schema, old, &body, lacks).unwrap_or(body);
        if old == body {
            compared.counts.unchanged += 1;
        } else {
            compared.counts.changed += 1;
            compared.changed.push((key, body));
        }
    }
    Ok(compared)
}

/// A record that would stay here, and that others have.
fn shared(place: &Place) -> Failure {
    let (domain, key) = (place.domain.name(), &place.key);
    Failure::new(Kind::Shared, format!("{domain}/{key} would stay on this device, but the others have it."))
        .hint("Write it under another id, or delete it first.")
}

/// Refuses a value that has another shape than its domain declares.
pub(super) fn check_fits(domain: &Domain, id: &str, body: &[u8]) -> Result<(), Failure> {
    domain.check(body).map_err(|why| does_not_fit(domain.name(), id, &why))
}

/// A value of another shape than was declared.
fn does_not_fit(domain: &str, id: &str, why: &str) -> Failure {
    let of = if id.is_empty() { String::new() } else { format!(" of {id}") };
    Failure::new(Kind::ValueDoesNotFit, format!("The value{of} does not fit {domain}: {why}."))
        .hint(format!("See what is expected:  kinsync domains show {domain}"))
}

/// The key of a record whose key follows from what it says.
fn identified(domain: &Domain, id: &str, value: &Json) -> Result<String, Failure> {
    let name = domain.name();
    let key = identity::key(&domain.declaration.identity, value)
        .ok_or_else(|| does_not_fit(name, id, "its id follows from its fields, and it has none"))?;
    if !id.is_empty() && id != key {
        return Err(Failure::new(
            Kind::WrongId,
            format!("The id of this record is {key}, since it follows from what the record says."),
        )
        .hint(format!("Write it under that id, or without one:  kinsync put {name} -")));
    }
    Ok(key)
}

/// The key under which this device writes: where each device has its own
/// records, behind the device's id.
fn own_key(domain: &Domain, id: &str, own: &str) -> Result<String, Failure> {
    if domain.declaration.scope != Scope::Device || id.is_empty() {
        return Ok(id.to_owned());
    }
    match id.split('/').next() {
        Some(first) if first == own => Ok(id.to_owned()),
        Some(first) if is_device(first) => Err(Failure::new(
            Kind::NotOwner,
            format!("{id} belongs to another device, which alone writes it."),
        )
        .hint(format!("This device's own records of {} begin with {own}/.", domain.name()))),
        _ => Ok(format!("{own}/{id}")),
    }
}

/// Whether a text has the form of a printed device id.
fn is_device(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let letters = |group: &&str| {
        group.len() == 4 && group.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    groups.len() == 4 && groups.iter().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_a_word() {
        assert!(is_device("6Q3K-WN7A-DD3W-V5AT"));
        for text in ["6Q3K-WN7A", "6q3k-wn7a-dd3w-v5at", "", "a-b-c-d", "6Q3K-WN7A-DD3W-V5AT-AAAA"] {
            assert!(!is_device(text), "{text}");
        }
    }
}
