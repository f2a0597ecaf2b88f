//! Taking in what a device delivered: records, and the cursors that cover them.
//!
//! A delivery may be thousands of records, and somebody may want to write one
//! meanwhile. So it is done in parts where others wait, each in a transaction
//! of its own in which trust is asked again; the cursor comes with the last
//! record.

use std::collections::{BTreeSet, VecDeque};
use std::vec;

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::{Batch, Cursor, FloorNews};
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Stop, Tx};
use crate::error::WriteError;
use crate::job::Applied;

/// Records of one part at least: whoever waits lets so many through.
pub(crate) const PART_RECORDS_MIN: usize = 64;

/// What a device delivered, as far as it is not taken in.
pub(crate) struct Delivery {
    from: DeviceId,
    session: Option<u64>,
    now: UnixMillis,
    batches: VecDeque<Batch>,
    /// The batch that is under way.
    begun: Option<Begun>,
    /// Domains of which a mass change is held; looked at once, before anything
    /// is taken in.
    held: Option<BTreeSet<DomainId>>,
    applied: Applied,
}

/// The rest of a batch.
struct Begun {
    domain: DomainId,
    /// Whether the device was never equal with another one.
    is_new: bool,
    /// The head of the domain before the batch.
    before: u64,
    records: vec::IntoIter<Record>,
    cursor: Option<Cursor>,
}

impl Delivery {
    pub(crate) fn new(session: Option<u64>, from: DeviceId, batches: Vec<Batch>, now: UnixMillis) -> Self {
        let (begun, held, applied) = (None, None, Applied::default());
        Self { from, session, now, batches: batches.into(), begun, held, applied }
    }

    /// Takes in a part, or all that is left. What became of all of it, at the
    /// end.
    pub(crate) fn go_on(&mut self, tx: &mut Tx<'_>) -> Result<Option<Applied>, Stop> {
        self.check_rights(tx)?;
        let held = match self.held.take() {
            Some(held) => held,
            None => tx.guard(self.from, self.session, self.batches.make_contiguous())?,
        };
        let mut taken = 0;
        loop {
            let Some(begun) = &mut self.begun else {
                match self.batches.pop_front() {
                    Some(batch) => self.begin(tx, batch, &held)?,
                    None => break,
                }
                continue;
            };
            let (domain, is_new) = (begun.domain, begun.is_new);
            if let Some(record) = begun.records.next() {
                self.take_in(tx, domain, record, is_new)?;
                taken += 1;
                if taken >= PART_RECORDS_MIN && tx.is_awaited() {
                    self.held = Some(held);
                    tx.settle()?;
                    return Ok(None);
                }
            } else if let Some(Begun { domain, before, cursor, .. }) = self.begun.take() {
                if let Some(cursor) = cursor {
                    tx.set_cursor(self.from, domain, &cursor)?;
                }
                self.applied.domains.entry(domain).or_insert((before, before));
            }
        }
        tx.settle()?;
        tx.look_again(self.from, self.now)?;
        let mut applied = std::mem::take(&mut self.applied);
        for (domain, (_, head)) in &mut applied.domains {
            *head = tx.head(*domain)?;
        }
        Ok(Some(applied))
    }

    /// Refuses what the device may not write (any more).
    fn check_rights(&self, tx: &mut Tx<'_>) -> Result<(), Stop> {
        let begun = self.begun.iter().map(|begun| begun.domain);
        let domains: Vec<_> = self.batches.iter().map(|batch| batch.domain).chain(begun).collect();
        if !tx.may_write(self.from, domains.iter().copied())? {
            return Err(Stop::Refused(WriteError::NotTrusted { peer: self.from }));
        }
        for domain in domains {
            if !tx.grants(self.from, domain)?.write {
                return Err(Stop::Refused(WriteError::NotGranted { peer: self.from }));
            }
        }
        Ok(())
    }

    /// Begins with a batch, or is done with one of which nothing is taken in.
    fn begin(&mut self, tx: &mut Tx<'_>, batch: Batch, held: &BTreeSet<DomainId>) -> Result<(), Stop> {
        let Batch { domain, records, cursor, floor } = batch;
        if held.contains(&domain) {
            self.applied.received += records.len() as u64;
            let (sound, unsound): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| record.check().is_ok());
            self.applied.refused += unsound.len() as u64;
            tx.keep_held(self.from, domain, self.session, sound, self.now)?;
            self.applied.held.insert(domain);
            return Ok(());
        }
        if !tx.has_room_for(domain)? {
            tracing::warn!(peer = %self.from, %domain, "no room for one more domain");
            self.applied.left_out.insert(domain);
            return Ok(());
        }
        let before = tx.head(domain)?;
        if let Some(news) = floor {
            tx.note_floor(self.from, domain, news, self.now)?;
        }
        let is_new = floor == Some(FloorNews::New);
        self.begun = Some(Begun { domain, is_new, before, records: records.into_iter(), cursor });
        Ok(())
    }

    fn take_in(
        &mut self,
        tx: &mut Tx<'_>,
        domain: DomainId,
        record: Record,
        is_new: bool,
    ) -> Result<(), Stop> {
        self.applied.received += 1;
        if let Err(error) = record.check() {
            tracing::warn!(peer = %self.from, key = %record.key, %error, "record refused");
            self.applied.refused += 1;
            return Ok(());
        }
        let taken = tx.take_in(self.from, domain, record, is_new, self.now)?;
        self.applied.undone += u64::from(taken.undone);
        self.applied.changed += u64::from(taken.changed);
        self.applied.conflicts += u64::from(taken.conflict);
        Ok(())
    }
}
