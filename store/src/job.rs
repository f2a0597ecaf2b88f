//! What can be asked of the writer.
//!
//! A job checks everything before it changes anything, so one that is refused
//! leaves no trace among the others of its commit.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::limits::VALUE_BYTES_MAX;
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::Batch;
use kinsync_protocol::stamp::{Hlc, UnixMillis};
use kinsync_protocol::value;

use crate::apply::{Stood, Stop, Tx};
use crate::delivery::Delivery;
use crate::error::{ReadError, WriteError};
use crate::history::body;
use crate::tables::Rows;

/// Bytes of a domain's name. Long enough for a reversed host name and a path.
pub const DOMAIN_NAME_BYTES_MAX: usize = 128;

/// Does a job, or a part of it: then there is no answer, and it goes on in the
/// next transaction.
type Run<T> = Box<dyn FnMut(&mut Tx<'_>) -> Result<Option<T>, Stop> + Send>;

/// Records of a small job, and bytes of their values. What is larger takes the
/// writer for longer than anybody should wait who has one edit to write.
const SMALL_RECORDS_MAX: usize = 32;
const SMALL_BYTES_MAX: usize = 64 << 10;

/// One request to the writer, answered with a `T`.
///
/// Small jobs are done in the order in which they are submitted, and so are
/// large ones: [`Job::put_many`] and [`Job::apply`] of many records or bytes.
/// Small ones may overtake large ones that nobody has an answer to yet, so
/// whoever needs a large one done before another waits for its answer.
#[must_use = "a job does nothing until it is submitted"]
pub struct Job<T> {
    run: Run<T>,
    pub(crate) bytes: usize,
    pub(crate) bulk: bool,
    records: usize,
}

/// How a [`Job::put_many`] went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PutMany {
    /// Records that got a new version.
    pub written: u64,
    /// Records that held the same value already, and were left alone.
    pub equal: u64,
}

/// How a [`Job::apply`] went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Records in the batches.
    pub received: u64,
    /// Records that have a new version now.
    pub changed: u64,
    /// Versions newly set aside because their winner did not know them.
    pub conflicts: u64,
    /// Records that contradict themselves and were left out.
    pub refused: u64,
    /// Deletions that were not granted, and that a new version of the record
    /// undoes.
    pub undone: u64,
    /// Domains that were left out, as there are as many as two devices can
    /// share.
    pub left_out: BTreeSet<DomainId>,
    /// Domains of which nothing was applied: it is held for a person to see.
    pub held: BTreeSet<DomainId>,
    /// The log of each domain of the batches: last position before and now.
    pub domains: BTreeMap<DomainId, (u64, u64)>,
}

impl<T> Job<T> {
    pub(crate) fn new(run: impl FnOnce(&mut Tx<'_>) -> Result<T, Stop> + Send + 'static) -> Self {
        let mut run = Some(run);
        Self::in_parts(move |tx| {
            let Some(run) = run.take() else { return Err(Stop::Refused(WriteError::Closed)) };
            let answer = run(tx)?;
            tx.settle()?;
            Ok(Some(answer))
        })
    }

    /// A job that gives no answer until all of its parts are done.
    fn in_parts(part: impl FnMut(&mut Tx<'_>) -> Result<Option<T>, Stop> + Send + 'static) -> Self {
        Self { run: Box::new(part), bytes: 0, bulk: false, records: 0 }
    }
}

impl Job<Version> {
    /// Writes a value, also one equal to the value that stands.
    ///
    /// # Errors
    /// [`WriteError::ValueTooLarge`], [`WriteError::NoLaterStamp`],
    /// [`WriteError::NewerSchema`], [`WriteError::NewerValue`],
    /// [`WriteError::ParentDeleted`], [`WriteError::TooManyDomains`].
    pub fn put(domain: DomainId, key: Key, value: Vec<u8>, now: UnixMillis) -> Self {
        let bytes = value.len();
        let mut job = Self::new(move |tx| {
            check_value(&value)?;
            tx.write(domain, &key, Some(value), now)
        });
        job.bytes = bytes;
        job
    }

    /// Deletes a record, and the records that belong to it. Their values stay
    /// in history.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if there is none, [`WriteError::NoLaterStamp`].
    pub fn delete(domain: DomainId, key: Key, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let live = tx.item(domain, &key)?.is_some_and(|old| !old.item.version.deleted);
            if !live {
                return Err(Stop::Refused(WriteError::NotFound));
            }
            tx.write(domain, &key, None, now)
        })
    }

    /// Writes the value of a version in history as a new version. If the
    /// record was deleted, the records that were deleted with it come back too.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if history holds no such version or it is a
    /// deletion, [`WriteError::Damaged`] if its value is not the one written,
    /// [`WriteError::ParentDeleted`].
    pub fn restore(domain: DomainId, key: Key, number: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let past = tx.past(domain, &key, number)?.ok_or(Stop::Refused(WriteError::NotFound))?;
            Ok(tx.bring_back(domain, &key, past, now)?.0)
        })
    }
}

/// A live record that is about to be written over.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its version.
    pub version: &'a Version,
    /// The number of the schema that its value follows.
    pub schema: u32,
    /// The application's value.
    pub value: &'a [u8],
}

impl<E: Send + 'static> Job<Result<Version, E>> {
    /// Writes what `edit` makes of the live record that stands when the job's
    /// turn comes, or of none. A value that stayed on this device under the key
    /// goes in the same transaction. What `edit` refuses changes nothing and comes
    /// back as it is.
    ///
    /// # Errors
    /// Those of [`Job::put`].
    pub fn edit(
        domain: DomainId,
        key: Key,
        now: UnixMillis,
        edit: impl FnOnce(Option<Standing<'_>>) -> Result<Vec<u8>, E> + Send + 'static,
    ) -> Self {
        Self::new(move |tx| {
            let stands = tx.standing(domain, &key)?;
            let stored = stands.as_ref().and_then(|stood| stood.stored.as_deref());
            let opened = stored.and_then(|stored| value::open(stored).ok());
            let standing = stands.as_ref().zip(opened.as_ref()).map(|(stood, opened)| Standing {
                version: &stood.row.item.version,
                schema: opened.header.schema,
                value: opened.body,
            });
            let value = match edit(standing) {
                Ok(value) => value,
                Err(refused) => return Ok(Err(refused)),
            };
            check_value(&value)?;
            tx.check_room_for(domain)?;
            tx.check_parent(domain, &key)?;
            let body = Some((tx.schema(domain), value));
            let version = tx.write_on(domain, &key, stands, body, &[], now)?;
            tx.forget_private(domain, &key)?;
            Ok(Ok(version))
        })
    }
}

impl Job<PutMany> {
    /// Writes the values that differ from those that stand. One transaction:
    /// all or none. What stayed on this device under their keys goes with it.
    ///
    /// # Errors
    /// Those of [`Job::put`] for any of them.
    pub fn put_many(domain: DomainId, records: Vec<(Key, Vec<u8>)>, now: UnixMillis) -> Self {
        let (bytes, count) = (records.iter().map(|(_, value)| value.len()).sum(), records.len());
        let mut job = Self::new(move |tx| {
            tx.check_room_for(domain)?;
            let mut standing = Vec::with_capacity(records.len());
            for (key, value) in &records {
                check_value(value)?;
                tx.check_parent(domain, key)?;
                let stands = tx.standing(domain, key)?;
                if stands.as_ref().is_some_and(|stood| stood.row.item.version.stamp.time >= Hlc::MAX) {
                    return Err(Stop::Refused(WriteError::NoLaterStamp));
                }
                standing.push(stands);
            }
            let mut counts = PutMany::default();
            let schema = tx.schema(domain);
            for ((key, value), before) in records.into_iter().zip(standing) {
                // A key that is listed twice is written twice.
                let row = tx.item(domain, &key)?;
                let stored = match (&row, before) {
                    (Some(row), Some(before)) if row.item.seq == before.row.item.seq => before.stored,
                    (Some(_), _) => tx.value(domain, &key)?,
                    (None, _) => None,
                };
                if stored.as_deref().is_some_and(|stored| body(stored) == value) {
                    counts.equal += 1;
                } else {
                    let stands = row.map(|row| Stood { row, stored });
                    tx.write_on(domain, &key, stands, Some((schema, value)), &[], now)?;
                    tx.forget_private(domain, &key)?;
                    counts.written += 1;
                }
            }
            Ok(counts)
        });
        (job.bytes, job.records) = (bytes, count);
        job
    }
}

impl Job<Applied> {
    /// Takes in what a device delivered: records, and the cursors that cover
    /// them.
    ///
    /// Trust and rights are read in the transaction that writes, so nothing from
    /// a device commits after its revocation has, or after its rights have ended.
    /// While small jobs wait, it is done in parts, with a transaction for each; a
    /// cursor commits with the last record that it covers.
    /// A deletion that is not granted is undone. Batches of a first copy and cursors
    /// alone may be answered before they are on disk; after a crash the cursor
    /// is gone with the records it covers.
    ///
    /// # Errors
    /// [`WriteError::NotTrusted`], also if one of the domains is not shared with
    /// the device; [`WriteError::NotGranted`] if the device may not write in one
    /// of them.
    pub fn apply(from: DeviceId, batches: Vec<Batch>, now: UnixMillis) -> Self {
        Self::apply_in(None, from, batches, now)
    }

    /// The same within a session, named by a number: mass changes are counted
    /// over all of it.
    ///
    /// # Errors
    /// As [`Job::apply`].
    pub fn apply_in(session: Option<u64>, from: DeviceId, batches: Vec<Batch>, now: UnixMillis) -> Self {
        let bytes = batches
            .iter()
            .flat_map(|batch| &batch.records)
            .map(|record| record.value.as_ref().map_or(0, Vec::len))
            .sum();
        let count = batches.iter().map(|batch| batch.records.len()).sum();
        // A cursor alone is cheap to lose: the next session finds it again.
        let copying = |batch: &Batch| {
            batch.records.is_empty() || batch.cursor.as_ref().is_some_and(|cursor| cursor.after.is_some())
        };
        let bulk = !batches.is_empty() && batches.iter().all(copying);
        let mut delivery = Delivery::new(session, from, batches, now);
        let mut job = Self::in_parts(move |tx| delivery.go_on(tx));
        (job.bytes, job.bulk, job.records) = (bytes, bulk, count);
        job
    }
}

impl Job<()> {
    /// Notes the names of domains, so that people see them instead of ids.
    ///
    /// # Errors
    /// [`WriteError::TextTooLong`] above [`DOMAIN_NAME_BYTES_MAX`].
    pub fn name_domains(names: Vec<String>) -> Self {
        Self::new(move |tx| {
            for name in &names {
                check_text(name, DOMAIN_NAME_BYTES_MAX)?;
            }
            for name in names {
                let id = DomainId::of(&name);
                let known = tx.tables.domain_names.get(&id.0)?.is_some();
                if !known {
                    tx.tables.domain_names.insert(&id.0, name.as_str());
                    tx.dirty = true;
                }
            }
            Ok(())
        })
    }
}

pub(crate) fn check_value(value: &[u8]) -> Result<(), Stop> {
    if value.len() > VALUE_BYTES_MAX {
        let refused = WriteError::ValueTooLarge { bytes: value.len(), limit: VALUE_BYTES_MAX };
        return Err(Stop::Refused(refused));
    }
    Ok(())
}

pub(crate) fn check_text(text: &str, limit: usize) -> Result<(), Stop> {
    if text.len() > limit {
        return Err(Stop::Refused(WriteError::TextTooLong { bytes: text.len(), limit }));
    }
    Ok(())
}

/// A job and the place of its answer, without its type.
pub(crate) trait Queued: Send {
    /// Does it within a transaction. An error ends the transaction.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), ReadError>;
    /// Whether all of it is done, or none will be.
    fn is_done(&self) -> bool;
    /// Answers, with the failure of the commit if there was one.
    fn finish(self: Box<Self>, failed: Option<WriteError>);
    fn bytes(&self) -> usize;
    fn is_bulk(&self) -> bool;
    /// Whether small jobs go before it.
    fn is_large(&self) -> bool;
}

pub(crate) struct Pending<T, F> {
    run: Option<Run<T>>,
    outcome: Result<T, WriteError>,
    reply: F,
    bytes: usize,
    bulk: bool,
    large: bool,
}

impl<T: Send, F> Pending<T, F> {
    pub(crate) fn new(job: Job<T>, reply: F) -> Self {
        let Job { run, bytes, bulk, records } = job;
        let large = records > SMALL_RECORDS_MAX || bytes > SMALL_BYTES_MAX;
        Self { run: Some(run), outcome: Err(WriteError::Closed), reply, bytes, bulk, large }
    }
}

impl<T: Send, F: FnOnce(Result<T, WriteError>) + Send> Queued for Pending<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), ReadError> {
        let Some(run) = &mut self.run else { return Ok(()) };
        match run(tx) {
            Ok(None) => return Ok(()),
            Ok(Some(value)) => self.outcome = Ok(value),
            Err(Stop::Refused(refused)) => self.outcome = Err(refused),
            Err(Stop::Failed(failed)) => return Err(failed),
        }
        self.run = None;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.run.is_none()
    }

    fn finish(self: Box<Self>, failed: Option<WriteError>) {
        let Self { outcome, reply, .. } = *self;
        reply(match (outcome, failed) {
            // A refusal stands whatever became of the commit.
            (Err(refused), _) if refused != WriteError::Closed => Err(refused),
            (_, Some(failed)) => Err(failed),
            (outcome, None) => outcome,
        });
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_bulk(&self) -> bool {
        self.bulk
    }

    fn is_large(&self) -> bool {
        self.large
    }
}
