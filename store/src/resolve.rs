//! Deciding conflicts: the version that decides knows both sides, so the
//! conflict is over wherever it arrives.
//!
//! It is by nobody and its stamp follows from the two sides, so two devices
//! that decide one conflict apart write one version, or two of which one
//! stands and neither opens a new conflict.

use kinsync_protocol::id::DomainId;
use kinsync_protocol::item;
use kinsync_protocol::limits::VALUE_BYTES_MAX;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::value::{self, Header};

use crate::apply::{Stop, Tx};
use crate::error::WriteError;
use crate::job::{Job, check_value};
use crate::rows::PastRow;

impl Tx<'_> {
    /// The loser `number` of an open conflict of `key`.
    fn loser(&mut self, domain: DomainId, key: &Key, number: u64) -> Result<PastRow, Stop> {
        let past = self.past(domain, key, number)?.filter(|past| past.reason.is_open());
        past.ok_or(Stop::Refused(WriteError::NotFound))
    }

    /// Writes what was decided between the version that stands and `loser`.
    fn decide(
        &mut self,
        domain: DomainId,
        key: &Key,
        loser: &Version,
        value: Option<Vec<u8>>,
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        let standing = self.item(domain, key)?.ok_or(Stop::Refused(WriteError::NotFound))?;
        if value.is_some() {
            self.check_parent(domain, key)?;
        }
        let before = &standing.item.version;
        let causes = before.causes().join(&loser.causes());
        let time = before.stamp.time.max(loser.stamp.time).next();
        let version = Version::derived(time, causes, value.as_deref());
        if version <= *before {
            return Err(Stop::Refused(WriteError::NoLaterStamp));
        }
        self.memory.clock.follow(time, now);
        let record = Record { key: key.clone(), version: version.clone(), value };
        self.replace(domain, Some(standing), record, None, now)?;
        Ok(version)
    }

    /// Takes the conflict off the list here, if the decision has not.
    fn settled(&mut self, domain: DomainId, key: &Key, number: u64) -> Result<(), Stop> {
        match self.past(domain, key, number)? {
            Some(past) if past.reason.is_open() => {
                Ok(self.settle_conflict(domain, item::key_hash(domain, key), number, past)?)
            }
            _ => Ok(()),
        }
    }

    /// What is stored of a decision, as a policy that joins nothing stores it.
    fn decided(&self, domain: DomainId, body: &[u8]) -> Result<Vec<u8>, Stop> {
        let schema = self.rules.get(domain).map_or(1, |rules| rules.schema);
        value::wrap(&Header::new(schema), body).map_err(|_| {
            Stop::Refused(WriteError::ValueTooLarge { bytes: body.len(), limit: VALUE_BYTES_MAX })
        })
    }
}

impl Job<Version> {
    /// Decides a conflict for its loser: writes the value that lost, or
    /// deletes if a deletion lost. `number` is that of
    /// [`Conflict::loser`](crate::Conflict::loser).
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if no such conflict is open,
    /// [`WriteError::NoLaterStamp`], [`WriteError::ParentDeleted`].
    pub fn take(domain: DomainId, key: Key, number: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let loser = tx.loser(domain, &key, number)?;
            let version = tx.decide(domain, &key, &loser.version, loser.value, now)?;
            tx.settled(domain, &key, number)?;
            Ok(version)
        })
    }

    /// Decides a conflict for the version that stands.
    ///
    /// # Errors
    /// Those of [`Job::take`].
    pub fn dismiss(domain: DomainId, key: Key, number: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let loser = tx.loser(domain, &key, number)?;
            let standing = tx.item(domain, &key)?.ok_or(Stop::Refused(WriteError::NotFound))?.item.version;
            let version = if standing.knew(&loser.version) {
                standing
            } else {
                let value = tx.value(domain, &key)?;
                tx.decide(domain, &key, &loser.version, value, now)?
            };
            tx.settled(domain, &key, number)?;
            Ok(version)
        })
    }

    /// Decides a conflict for a value made of both sides. `standing` is the
    /// version that the value was made of besides the loser.
    ///
    /// # Errors
    /// [`WriteError::Changed`] if another version stands by now,
    /// [`WriteError::ValueTooLarge`], and those of [`Job::take`].
    pub fn resolve(
        domain: DomainId,
        key: Key,
        standing: Version,
        number: u64,
        value: Vec<u8>,
        now: UnixMillis,
    ) -> Self {
        let bytes = value.len();
        let mut job = Self::new(move |tx| {
            check_value(&value)?;
            let loser = tx.loser(domain, &key, number)?;
            if tx.item(domain, &key)?.is_some_and(|row| row.item.version != standing) {
                return Err(Stop::Refused(WriteError::Changed));
            }
            tx.check_known(domain, &key)?;
            let stored = tx.decided(domain, &value)?;
            let version = tx.decide(domain, &key, &loser.version, Some(stored), now)?;
            tx.settled(domain, &key, number)?;
            Ok(version)
        });
        job.bytes = bytes;
        job
    }
}
