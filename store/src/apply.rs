//! The one way in: what a write does to the tables, in one transaction.
//!
//! A version wins or loses against the one that stands, whoever wrote it and
//! in whatever order they arrive; so applying is a join. Everything that the
//! winner displaces goes to history. Sums are collected in memory and written
//! once at the end of the transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kinsync_protocol::floor::Floor;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::item;
use kinsync_protocol::limits::{DOMAINS_MAX, VALUE_BYTES_MAX, VALUE_HEADER_BYTES_MAX};
use kinsync_protocol::policy::Policy;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::snapshot::{Cursor, Epoch, Item};
use kinsync_protocol::stamp::{Ancestry, HybridClock, Stamp, UnixMillis};
use kinsync_protocol::sums::Summary;
use kinsync_protocol::value::{self, Header, ValueError};

use crate::commit::{Change, Commit, DomainChange};
use crate::error::{ReadError, WriteError};
use crate::held::Tally;
use crate::migrate;
use crate::recall::Recall;
use crate::rows::{DomainRow, ItemRow, PastRow, Place, Reason, encode_cursor};
use crate::rules::RuleSet;
use crate::tables::{self, Rows, TableChanges, Tables};

/// Epochs remembered per domain: a cursor from before that many starts leads
/// to a repair, which is slower and as right.
pub(crate) const EPOCHS_MAX: usize = 1_000;

/// Changes of one domain listed in one [`Commit`].
pub(crate) const CHANGES_MAX: usize = 1_000;

/// Why a job ended.
pub(crate) enum Stop {
    /// It may not be done; nothing was changed for it.
    Refused(WriteError),
    /// The transaction cannot go on.
    Failed(ReadError),
}

impl<E: Into<ReadError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the writer remembers between transactions.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) device: DeviceId,
    pub(crate) epoch: Epoch,
    pub(crate) clock: HybridClock,
    /// Whether this start is counted in the file.
    pub(crate) started: bool,
    /// Devices admitted for one session. Never stored.
    pub(crate) once: BTreeSet<DeviceId>,
    /// What devices have changed in their sessions so far.
    pub(crate) tallies: BTreeMap<(DeviceId, DomainId), Tally>,
    /// The heads of a held change's domain and of its parents when it was last
    /// looked at.
    pub(crate) looked: BTreeMap<u64, (u64, u64)>,
}

/// A domain within a transaction.
pub(crate) struct Open {
    pub(crate) dom: u32,
    pub(crate) row: DomainRow,
    /// Its head when the transaction began.
    previous: u64,
    /// Whether its log runs under this start's epoch already.
    in_epoch: bool,
    /// What to add to the rows of `sums`.
    sums: BTreeMap<(u8, u16), Summary>,
    changes: Vec<Change>,
    complete: bool,
    /// Conflicts that this transaction opened.
    opened: u64,
    pub(crate) dirty: bool,
}

/// One write transaction.
pub(crate) struct Tx<'t> {
    pub(crate) tables: Tables<'t>,
    pub(crate) memory: Memory,
    pub(crate) rules: Arc<RuleSet>,
    /// Records of families that changed since the last [`Tx::settle`], each
    /// with the version before.
    pub(crate) touched: BTreeMap<(DomainId, Key), (Option<Version>, UnixMillis)>,
    open: BTreeMap<DomainId, Open>,
    pub(crate) recall: Recall,
    /// Whether there is something to commit.
    pub(crate) dirty: bool,
    /// Whether the trust view changed.
    pub(crate) trust_changed: bool,
    /// Whether what is held changed.
    pub(crate) held_changed: bool,
    awaited: &'t dyn Fn() -> bool,
}

impl<'t> Tx<'t> {
    /// `awaited` says whether somebody waits for the end of the transaction who
    /// has little to write.
    pub(crate) fn new(
        tables: Tables<'t>,
        memory: Memory,
        rules: Arc<RuleSet>,
        awaited: &'t dyn Fn() -> bool,
    ) -> Self {
        Self {
            awaited,
            tables,
            memory,
            rules,
            touched: BTreeMap::new(),
            open: BTreeMap::new(),
            recall: Recall::default(),
            dirty: false,
            trust_changed: false,
            held_changed: false,
        }
    }

    /// Whether a job that can stop here should.
    pub(crate) fn is_awaited(&self) -> bool {
        (self.awaited)()
    }

    /// Writes what was collected in memory. What to remember, what to tell
    /// subscribers, and what has changed.
    pub(crate) fn finish(
        mut self,
        clock_before: HybridClock,
    ) -> Result<(Memory, Commit, TableChanges), ReadError> {
        let held = if self.held_changed { Some(self.all_held()?) } else { None };
        let mut commit =
            Commit { domains: Vec::new(), trust: self.trust_changed, conflicts: Vec::new(), held };
        for (id, open) in std::mem::take(&mut self.open) {
            if !open.dirty {
                continue;
            }
            self.tables.domains.insert(open.dom, open.row.encode().as_slice());
            for ((level, prefix), change) in open.sums {
                let key = (open.dom, level, prefix);
                self.tables.sums.update(key, |row| {
                    let mut sum = change;
                    if let Some(row) = row {
                        sum.merge(&Summary::from_bytes(row));
                    }
                    (sum != Summary::EMPTY).then(|| sum.to_bytes())
                })?;
            }
            if open.opened > 0 {
                commit.conflicts.push((id, open.opened));
            }
            if open.row.head > open.previous {
                commit.domains.push(DomainChange {
                    domain: id,
                    epoch: self.memory.epoch,
                    previous: open.previous,
                    head: open.row.head,
                    changes: open.changes,
                    complete: open.complete,
                });
            }
        }
        if self.dirty && self.memory.clock != clock_before {
            migrate::note_clock(&mut self.tables, self.memory.clock.last);
        }
        if self.dirty && !self.memory.started {
            migrate::note_start(&mut self.tables)?;
            self.memory.started = true;
        }
        Ok((self.memory, commit, self.tables.into_changes()))
    }

    /// Whether there is room for one more domain, or `id` is none.
    ///
    /// Sessions carry [`DOMAINS_MAX`] domains: one beyond them would never
    /// reach another device.
    pub(crate) fn has_room_for(&self, id: DomainId) -> Result<bool, ReadError> {
        Ok(self.known(id)?.is_some() || self.tables.domains.count()? < DOMAINS_MAX as u64)
    }

    /// Refuses a domain for which there is no room.
    pub(crate) fn check_room_for(&self, id: DomainId) -> Result<(), Stop> {
        match self.has_room_for(id)? {
            true => Ok(()),
            false => Err(Stop::Refused(WriteError::TooManyDomains { limit: DOMAINS_MAX })),
        }
    }

    /// The domain's local number and row, created if need be.
    pub(crate) fn domain(&mut self, id: DomainId) -> Result<&mut Open, ReadError> {
        if !self.open.contains_key(&id) {
            let known = self.known(id)?;
            let (dom, row) = match known {
                Some(dom) => {
                    let row = self.tables.domains.get(dom)?;
                    let row = row.ok_or_else(|| ReadError::damaged("a domain without a row"))?;
                    (dom, DomainRow::decode(row.value())?)
                }
                None => {
                    let last = self.tables.domains.last()?.map_or(0, |(dom, _)| dom.value());
                    let (dom, mut row) = (last + 1, DomainRow::new(id));
                    row.rules = self.rules.revision(id);
                    self.tables.domain_numbers.insert(&id.0, dom);
                    self.recall.note_domain(id, dom);
                    self.tables.domains.insert(dom, row.encode().as_slice());
                    self.dirty = true;
                    (dom, row)
                }
            };
            let last_epoch = self.tables.epochs.range(tables::all_numbers(dom))?.next_back().transpose()?;
            let in_epoch = last_epoch.is_some_and(|(_, epoch)| epoch.value() == self.memory.epoch);
            let previous = row.head;
            self.open.insert(
                id,
                Open {
                    dom,
                    row,
                    previous,
                    in_epoch,
                    sums: BTreeMap::new(),
                    changes: Vec::new(),
                    complete: true,
                    opened: 0,
                    dirty: false,
                },
            );
        }
        Ok(self.open.get_mut(&id).expect("it was just put there"))
    }

    /// The value that stands under `key`.
    pub(crate) fn value(&mut self, domain: DomainId, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok(None) };
        let row = self.tables.records.get(tables::record_key(dom, key).as_slice())?;
        Ok(row.and_then(|row| row.value().map(<[u8]>::to_vec)))
    }

    /// A version in the history of `key`.
    pub(crate) fn past(
        &mut self,
        domain: DomainId,
        key: &Key,
        number: u64,
    ) -> Result<Option<PastRow>, ReadError> {
        let Some(dom) = self.known(domain)? else { return Ok(None) };
        let place = Place { dom, key: item::key_hash(domain, key) };
        let Some(row) = self.tables.history.get((place.dom, tables::number(place.key), number))? else {
            return Ok(None);
        };
        let devices = (&self.tables.devices, &self.tables.device_numbers);
        PastRow::decode(row.value(), place, &mut |number| resolve(devices, number)).map(Some)
    }

    /// Writes a new version of `key` by this device, made on the version that
    /// stands, with the application's value `body`. `None` deletes.
    pub(crate) fn write(
        &mut self,
        domain: DomainId,
        key: &Key,
        body: Option<Vec<u8>>,
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        if body.is_some() {
            self.check_known(domain, key)?;
        }
        let schema = self.schema(domain);
        self.write_with(domain, key, body.map(|body| (schema, body)), now)
    }

    /// The number of the schema that is written in a domain.
    pub(crate) fn schema(&self, domain: DomainId) -> u32 {
        self.rules.get(domain).map_or(1, |rules| rules.schema)
    }

    /// Writes a stored value again, as a new version by this device. Somebody
    /// chose it, so it knows what lost a conflict here as well.
    pub(crate) fn write_again(
        &mut self,
        domain: DomainId,
        key: &Key,
        stored: &[u8],
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        let opened = value::open(stored).map_err(|_| Stop::Refused(WriteError::NewerValue))?;
        let body = (opened.header.schema, opened.body.to_vec());
        let losers = self.open_losers(domain, key)?;
        self.write_knowing(domain, key, Some(body), &losers, now)
    }

    /// Refuses to write over a record whose shape this device does not know.
    pub(crate) fn check_known(&mut self, domain: DomainId, key: &Key) -> Result<(), Stop> {
        let Some(known) = self.rules.get(domain).map(|rules| rules.schema) else { return Ok(()) };
        let is_live = self.item(domain, key)?.is_some_and(|row| !row.item.version.deleted);
        let stored = if is_live { self.value(domain, key)? } else { None };
        let Some(stored) = stored else { return Ok(()) };
        Self::check_readable(&stored, known)
    }

    /// The item that stands under `key` and its stored value, after
    /// [`Tx::check_known`].
    pub(crate) fn standing(&mut self, domain: DomainId, key: &Key) -> Result<Option<Stood>, Stop> {
        let Some(row) = self.item(domain, key)? else { return Ok(None) };
        let stored = if row.item.version.deleted { None } else { self.value(domain, key)? };
        if let (Some(rules), Some(stored)) = (self.rules.get(domain), &stored) {
            Self::check_readable(stored, rules.schema)?;
        }
        Ok(Some(Stood { row, stored }))
    }

    /// Refuses to write over a stored value whose schema is above `known`.
    pub(crate) fn check_readable(stored: &[u8], known: u32) -> Result<(), Stop> {
        match value::open(stored) {
            Err(_) => Err(Stop::Refused(WriteError::NewerValue)),
            Ok(opened) if opened.header.schema > known => {
                Err(Stop::Refused(WriteError::NewerSchema { found: opened.header.schema, known }))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Whether what is stored of a body depends on the value that stood there:
    /// only field policies look at it.
    fn looks_back(&self, domain: DomainId) -> bool {
        self.rules.get(domain).is_some_and(|rules| matches!(rules.policy, Policy::Fields { .. }))
    }

    /// What is stored of a body that follows `schema`, written over the
    /// version and value that stand.
    fn stored(
        &self,
        domain: DomainId,
        (schema, body): (u32, &[u8]),
        old: Option<(&Version, &[u8])>,
        stamp: Stamp,
    ) -> Result<Vec<u8>, Stop> {
        let made = match self.rules.get(domain) {
            None => value::wrap(&Header::new(schema), body),
            Some(rules) => rules.policy.write(schema, body, old, stamp),
        };
        made.map_err(|error| {
            Stop::Refused(match error {
                ValueError::HeaderTooLarge { bytes, .. } => {
                    WriteError::ValueTooLarge { bytes, limit: VALUE_HEADER_BYTES_MAX }
                }
                ValueError::TooLarge { .. } | _ => {
                    WriteError::ValueTooLarge { bytes: body.len(), limit: VALUE_BYTES_MAX }
                }
            })
        })
    }

    /// As [`Tx::write`], of a body that follows this schema, over a record that
    /// [`Tx::check_known`] let pass.
    pub(crate) fn write_with(
        &mut self,
        domain: DomainId,
        key: &Key,
        body: Option<(u32, Vec<u8>)>,
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        self.write_knowing(domain, key, body, &[], now)
    }

    fn write_knowing(
        &mut self,
        domain: DomainId,
        key: &Key,
        body: Option<(u32, Vec<u8>)>,
        losers: &[Version],
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        self.check_room_for(domain)?;
        if body.is_some() {
            self.check_parent(domain, key)?;
        }
        let old = self.item(domain, key)?;
        let looks = body.is_some() && old.is_some() && self.looks_back(domain);
        let stored = if looks { self.value(domain, key)? } else { None };
        self.write_on(domain, key, old.map(|row| Stood { row, stored }), body, losers, now)
    }

    /// As [`Tx::write_with`], over what stands, after all checks; knowing
    /// `losers` as well.
    pub(crate) fn write_on(
        &mut self,
        domain: DomainId,
        key: &Key,
        stands: Option<Stood>,
        body: Option<(u32, Vec<u8>)>,
        losers: &[Version],
        now: UnixMillis,
    ) -> Result<Version, Stop> {
        let (old, standing) = stands.map_or((None, None), |Stood { row, stored }| (Some(row), stored));
        let device = self.memory.device;
        let mut clock = self.memory.clock;
        let (time, seen) = match &old {
            None => (clock.tick(now, None), Ancestry::default()),
            Some(old) => {
                let version = &old.item.version;
                let seen = version.seen.replaced_by(version.stamp, device);
                let seen = losers
                    .iter()
                    .fold(seen, |seen, loser| seen.join(&loser.seen.replaced_by(loser.stamp, device)));
                (clock.tick(now, Some(version.stamp.time)), seen)
            }
        };
        let stamp = Stamp { time, device };
        let before = old.as_ref().map(|old| &old.item.version).zip(standing.as_deref());
        let value = match &body {
            Some((schema, body)) => Some(self.stored(domain, (*schema, body), before, stamp)?),
            None => None,
        };
        let record = Record::new(key.clone(), value, stamp, seen);
        if old.as_ref().is_some_and(|old| record.version.stamp <= old.item.version.stamp) {
            return Err(Stop::Refused(WriteError::NoLaterStamp));
        }
        self.memory.clock = clock;
        let version = record.version.clone();
        self.replace(domain, old, record, None, now)?;
        Ok(version)
    }

    /// Takes in a checked record that another device may write here, and undoes
    /// of it what that device may not do. `is_new` if the device was never
    /// equal with another one.
    pub(crate) fn take_in(
        &mut self,
        from: DeviceId,
        domain: DomainId,
        record: Record,
        is_new: bool,
        now: UnixMillis,
    ) -> Result<Taken, Stop> {
        if self.undoes(from, domain, &record)? || self.disbelieves(domain, &record, now)? {
            let undone = self.write_over(domain, &record.key, &record.version, now)?;
            return Ok(Taken { changed: undone, conflict: false, undone });
        }
        if self.keep_child(domain, &record, now)? {
            return Ok(Taken { changed: true, conflict: false, undone: true });
        }
        let Some(record) = self.end_below_floor(from, domain, record, is_new, now)? else {
            return Ok(Taken { changed: true, conflict: false, undone: false });
        };
        let own = self.own(domain, &record.key)?;
        let Joined { changed, conflict } = self.join(domain, record, from, now)?;
        if let Some(own) = own {
            self.assert_own(own, now)?;
        }
        Ok(Taken { changed, conflict, undone: false })
    }

    /// Joins a checked record from another device.
    pub(crate) fn join(
        &mut self,
        domain: DomainId,
        record: Record,
        from: DeviceId,
        now: UnixMillis,
    ) -> Result<Joined, ReadError> {
        self.memory.clock.follow(record.version.stamp.time, now);
        let old = self.item(domain, &record.key)?;
        let conflict = old.as_ref().is_some_and(|old| are_conflict(&record.version, &old.item.version));
        if conflict
            && let Some(old) = &old
            && let Some(joined) = self.join_by_policy(domain, old, &record, from, now)?
        {
            return Ok(joined);
        }
        self.stand(domain, old, record, Some(from), conflict, now)
    }

    /// Lets the greater one of the version that stands and another one stand.
    pub(crate) fn stand(
        &mut self,
        domain: DomainId,
        old: Option<ItemRow>,
        record: Record,
        from: Option<DeviceId>,
        conflict: bool,
        now: UnixMillis,
    ) -> Result<Joined, ReadError> {
        match &old {
            Some(old) if old.item.version == record.version => Ok(Joined { changed: false, conflict: false }),
            Some(winner) if winner.item.version > record.version => {
                let reason = match self.is_family_end(domain, &winner.item.version) {
                    true => Reason::ParentDeleted,
                    false => Reason::Conflict,
                };
                let winner = winner.item.version.stamp;
                let kept = conflict && self.keep_loser(domain, record, reason, winner, from, now)?;
                Ok(Joined { changed: false, conflict: kept && reason == Reason::Conflict })
            }
            _ => {
                let conflict = conflict && !self.is_family_end(domain, &record.version);
                self.replace(domain, old, record, from, now)?;
                Ok(Joined { changed: true, conflict })
            }
        }
    }

    /// Whether `version` deletes a child with its parent: whoever lost against
    /// it can be had back, and there is nothing to decide.
    pub(crate) fn is_family_end(&self, domain: DomainId, version: &Version) -> bool {
        version.deleted
            && version.stamp.device == DeviceId::NULL
            && self.rules.parent(domain).is_some()
            && Floor::that_made(version).is_none()
    }

    /// Makes `record` the version that stands.
    pub(crate) fn replace(
        &mut self,
        domain: DomainId,
        old: Option<ItemRow>,
        record: Record,
        from: Option<DeviceId>,
        now: UnixMillis,
    ) -> Result<(), ReadError> {
        self.replace_for(domain, old, record, from, None, now)
    }

    /// The same, with what to say of the version that it replaces.
    pub(crate) fn replace_for(
        &mut self,
        domain: DomainId,
        old: Option<ItemRow>,
        record: Record,
        from: Option<DeviceId>,
        reason: Option<Reason>,
        now: UnixMillis,
    ) -> Result<(), ReadError> {
        let key = self.key_hash(domain, &record.key);
        self.touch(domain, &record.key, old.as_ref().map(|old| &old.item.version), now);
        let epoch = self.memory.epoch;
        let open = self.domain(domain)?;
        open.dirty = true;
        open.row.head += 1;
        let (dom, seq, new_epoch) = (open.dom, open.row.head, !open.in_epoch);
        open.in_epoch = true;
        if let Some(old) = &old {
            open.subtract(key, &item::item_hash(domain, key, &old.item.version));
            open.row.live -= u64::from(!old.item.version.deleted);
        }
        open.add(key, &item::item_hash(domain, key, &record.version));
        open.row.live += u64::from(!record.version.deleted);
        if open.changes.len() < CHANGES_MAX && open.complete {
            open.changes.push(Change {
                key: record.key.clone(),
                hash: key,
                deleted: record.version.deleted,
                stamp: record.version.stamp,
                seq,
                from,
            });
        } else {
            open.complete = false;
            open.changes = Vec::new();
        }
        self.dirty = true;
        if new_epoch {
            self.begin_epoch(dom, seq, epoch)?;
        }

        let Record { key: name, version, value } = record;
        self.mark_waiting(domain, key, value.as_deref())?;
        let row_key = tables::record_key(dom, &name);
        let old_value = match &old {
            Some(_) => {
                self.tables.records.get(row_key.as_slice())?.and_then(|row| row.value().map(<[u8]>::to_vec))
            }
            None => None,
        };
        self.tables.records.insert(row_key.as_slice(), value.as_deref());
        // What is set aside below by this very version is not settled by it.
        self.settle_conflicts(domain, key, &version)?;
        if let Some(old) = old {
            self.tables.log.remove((dom, old.item.seq));
            let same = old.item.version.deleted == version.deleted && old.item.version.value == version.value;
            // Nothing is lost when the same value was written twice.
            if !same {
                let reason = reason.unwrap_or(match &old.item.version {
                    old if !old.deleted && Floor::that_made(&version).is_some() => Reason::Floor,
                    old if !old.deleted && self.is_family_end(domain, &version) => Reason::ParentDeleted,
                    old if are_conflict(&version, old) => Reason::Conflict,
                    _ if version.deleted => Reason::Deleted,
                    _ => Reason::Replaced,
                });
                let past = PastRow {
                    reason,
                    at: now,
                    by: version.stamp,
                    from: old.item.from,
                    version: old.item.version,
                    value: old_value,
                };
                self.set_aside(domain, key, &past)?;
            }
        }
        self.tables.log.insert((dom, seq), tables::number(key));
        let row = ItemRow { item: Item { key: name, version, seq, from }, received: now };
        self.write_item(domain, dom, key, row)
    }

    /// Keeps a version that lost against `winner` on arrival. Whether it was
    /// not kept before.
    pub(crate) fn keep_loser(
        &mut self,
        domain: DomainId,
        loser: Record,
        reason: Reason,
        winner: Stamp,
        from: Option<DeviceId>,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        let key = item::key_hash(domain, &loser.key);
        let dom = self.domain(domain)?.dom;
        let place = Place { dom, key };
        for row in self.tables.history.range(tables::all_past(dom, key))? {
            let (_, row) = row?;
            let devices = (&self.tables.devices, &self.tables.device_numbers);
            let past = PastRow::decode(row.value(), place, &mut |number| resolve(devices, number));
            // An unreadable row is no reason to lose another version.
            if past.is_ok_and(|past| past.version == loser.version) {
                return Ok(false);
            }
        }
        let past = PastRow { reason, at: now, by: winner, from, version: loser.version, value: loser.value };
        self.domain(domain)?.dirty = true;
        self.dirty = true;
        self.set_aside(domain, key, &past)?;
        Ok(true)
    }

    /// Takes the conflicts off the list whose losers the author of `version`,
    /// which stands now, knew. They stay in history.
    fn settle_conflicts(
        &mut self,
        domain: DomainId,
        key: KeyHash,
        version: &Version,
    ) -> Result<(), ReadError> {
        for (number, past) in self.open_conflicts(domain, key)? {
            if version.knew(&past.version) {
                self.settle_conflict(domain, key, number, past)?;
            }
        }
        Ok(())
    }

    /// The versions that lost a conflict of `key` which is listed here.
    fn open_losers(&mut self, domain: DomainId, key: &Key) -> Result<Vec<Version>, ReadError> {
        let open = self.open_conflicts(domain, item::key_hash(domain, key))?;
        Ok(open.into_iter().map(|(_, past)| past.version).collect())
    }

    fn open_conflicts(&mut self, domain: DomainId, key: KeyHash) -> Result<Vec<(u64, PastRow)>, ReadError> {
        let open = self.domain(domain)?;
        let dom = open.dom;
        if open.row.conflicts == 0 {
            return Ok(Vec::new());
        }
        let place = Place { dom, key };
        let mut found = Vec::new();
        for row in self.tables.history.range(tables::all_past(dom, key))? {
            let (number, row) = row?;
            if PastRow::peek_at(row.value())?.0 != Reason::Conflict {
                continue;
            }
            let devices = (&self.tables.devices, &self.tables.device_numbers);
            match PastRow::decode(row.value(), place, &mut |number| resolve(devices, number)) {
                Ok(past) => found.push((number.value().2, past)),
                // An unreadable row is no reason to refuse a write.
                Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Takes one open conflict off the list.
    pub(crate) fn settle_conflict(
        &mut self,
        domain: DomainId,
        key: KeyHash,
        number: u64,
        past: PastRow,
    ) -> Result<(), ReadError> {
        let dom = self.domain(domain)?.dom;
        let past = PastRow { reason: Reason::Settled, ..past };
        let row = past.encode(Place { dom, key }, &mut |device| self.tables.intern(device))?;
        self.tables.history.insert((dom, tables::number(key), number), row.as_slice());
        if self.tables.conflicts.take((dom, number))? {
            let open = self.domain(domain)?;
            open.row.conflicts = open.row.conflicts.saturating_sub(1);
            open.dirty = true;
            self.dirty = true;
        }
        Ok(())
    }

    /// Adds a version to history, and forgets the ones whose time is over.
    fn set_aside(&mut self, domain: DomainId, key: KeyHash, past: &PastRow) -> Result<(), ReadError> {
        let open = self.domain(domain)?;
        open.row.past += 1;
        open.row.conflicts += u64::from(past.reason.is_open());
        open.opened += u64::from(past.reason.is_open());
        let (dom, number) = (open.dom, open.row.past);
        let place = Place { dom, key };
        let (tables, recall) = (&mut self.tables, &mut self.recall);
        let row = past.encode(place, &mut |device| recall.intern(tables, device))?;
        self.tables.history.insert((dom, tables::number(key), number), row.as_slice());
        if past.reason.is_open() {
            self.tables.conflicts.insert((dom, number), tables::number(key));
        }
        let gone = self.tables.prune_past(dom, key, past.at)?;
        let open = self.domain(domain)?;
        open.row.conflicts = open.row.conflicts.saturating_sub(gone);
        Ok(())
    }

    /// Moves the cursor in a peer's log.
    pub(crate) fn set_cursor(
        &mut self,
        peer: DeviceId,
        domain: DomainId,
        cursor: &Cursor,
    ) -> Result<(), ReadError> {
        let dom = self.domain(domain)?.dom;
        let (key, row) = (tables::cursor_key(&peer.0, dom), encode_cursor(cursor));
        if self.tables.cursors.get(&key)?.is_none_or(|old| old.value() != row) {
            self.tables.cursors.insert(&key, row.as_slice());
            self.dirty = true;
        }
        Ok(())
    }

    /// The head of a domain at this point of the transaction.
    pub(crate) fn head(&mut self, domain: DomainId) -> Result<u64, ReadError> {
        Ok(self.domain(domain)?.row.head)
    }

    fn begin_epoch(&mut self, dom: u32, first: u64, epoch: Epoch) -> Result<(), ReadError> {
        self.tables.epochs.insert((dom, first), epoch);
        let rows = self.tables.epochs.range(tables::all_numbers(dom))?.count();
        if rows > EPOCHS_MAX {
            let oldest = self.tables.epochs.range(tables::all_numbers(dom))?.next().transpose()?;
            if let Some(oldest) = oldest.map(|(key, _)| key.value()) {
                self.tables.epochs.remove(oldest);
            }
        }
        Ok(())
    }
}

impl Open {
    fn add(&mut self, key: KeyHash, item: &[u8; 32]) {
        self.row.summary.add(item);
        for place in places(key) {
            self.sums.entry(place).or_default().add(item);
        }
    }

    pub(crate) fn subtract(&mut self, key: KeyHash, item: &[u8; 32]) {
        self.row.summary.remove(item);
        for place in places(key) {
            self.sums.entry(place).or_default().remove(item);
        }
    }
}

/// The rows of `sums` that count `key`.
pub(crate) fn places(key: KeyHash) -> [(u8, u16); 2] {
    let prefix = |bits| u16::try_from(key.prefix(bits)).expect("at most 16 bits");
    [(8, prefix(8)), (16, prefix(16))]
}

/// A record that is about to be written over.
pub(crate) struct Stood {
    pub(crate) row: ItemRow,
    /// Its stored value, if it is live.
    pub(crate) stored: Option<Vec<u8>>,
}

/// What became of a record from a device with rights.
pub(crate) struct Taken {
    /// Another version stands now than before.
    pub(crate) changed: bool,
    /// A version that its winner did not know was newly set aside.
    pub(crate) conflict: bool,
    /// It deleted what that device may not delete, and is written over.
    pub(crate) undone: bool,
}

/// What became of a record that arrived.
pub(crate) struct Joined {
    /// It is the version that stands now, and was not before.
    pub(crate) changed: bool,
    /// A version that its winner did not know was newly set aside.
    pub(crate) conflict: bool,
}

/// Whether two versions of a record differ and the greater one was written
/// without seeing the other.
pub(crate) fn are_conflict(a: &Version, b: &Version) -> bool {
    let (winner, loser) = if a > b { (a, b) } else { (b, a) };
    !winner.knew(loser) && (winner.deleted != loser.deleted || winner.value != loser.value)
}

/// The device of a local number. It stands in two tables, and both must agree: a
/// bit that flipped in one would give the words of one device to another.
pub(crate) fn resolve(
    (devices, numbers): (&impl Rows<u32, &'static [u8; 32]>, &impl Rows<&'static [u8; 32], u32>),
    number: u32,
) -> Result<DeviceId, ReadError> {
    let row = devices.get(number)?.ok_or_else(|| ReadError::damaged("an unknown device number"))?;
    let device = *row.value();
    if numbers.get(&device)?.map(|row| row.value()) != Some(number) {
        return Err(ReadError::damaged("a device under another number"));
    }
    Ok(DeviceId(device))
}

impl Tables<'_> {
    /// The local number of a device, given out if need be.
    pub(crate) fn intern(&mut self, device: DeviceId) -> Result<u32, ReadError> {
        if let Some(row) = self.device_numbers.get(&device.0)? {
            return Ok(row.value());
        }
        let number = self.devices.last()?.map_or(0, |(number, _)| number.value() + 1);
        self.devices.insert(number, &device.0);
        self.device_numbers.insert(&device.0, number);
        Ok(number)
    }
}
