//! Mass changes that wait for a person: nothing of them is applied before
//! somebody has accepted them.
//!
//! Counted for each device and domain over one session, so that a mass change
//! that comes in many frames is one. What is held is kept here whole, as far
//! as it fits; the cursor stays where it was, so the rest comes again.

use std::collections::BTreeSet;

use kinsync_protocol::family;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::item;
use kinsync_protocol::record::{Key, Record, Version};
use kinsync_protocol::snapshot::Batch;
use kinsync_protocol::stamp::{Hlc, Stamp, UnixMillis};

use crate::apply::{Stop, Tx, resolve};
use crate::bytes::Reader;
use crate::error::{ReadError, WriteError};
use crate::guard::{MassCounts, is_mass_change};
use crate::job::Job;
use crate::rows::{PastRow, Place, Reason, decode_cursor, open_row, seal_row};
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};

/// Held records that are kept, of all devices and domains. What is beyond them
/// is counted, and comes again once a person has accepted.
pub const HELD_RECORDS_MAX: u64 = 20_000;

/// Bytes of values of all held records that are kept.
pub const HELD_BYTES_MAX: u64 = 64 << 20;

/// Numbers of held changes given out, in the facts about the file.
const KEY_NUMBER: &str = "held";

/// A mass change of one device in one domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its number, which no other one gets.
    pub number: u64,
    /// Who wants it.
    pub peer: DeviceId,
    /// In which domain.
    pub domain: DomainId,
    /// Since when it is held.
    pub since: UnixMillis,
    /// What it would change, with what the same session had changed before.
    pub counts: MassCounts,
    /// Records of it that are kept.
    pub records: u64,
    /// How large their values are.
    pub bytes: u64,
    /// Records for which there was no room; some may be counted twice.
    pub beyond: u64,
    /// Whether the device had its say in a session: pushes tell a part only.
    pub is_whole: bool,
    /// What the session had changed before it was held.
    before: (u64, u64),
}

/// A held record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldRecord {
    /// Its key.
    pub key: Key,
    /// The version that would be applied.
    pub version: Version,
    /// The version that stands; `None` if there is none.
    pub standing: Option<Version>,
}

/// What became of a held change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decided {
    /// The change.
    pub held: Held,
    /// Records that have a new version now.
    pub changed: u64,
}

/// What one device changed in one domain in one session.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    session: Option<u64>,
    /// The first sync with it, or what a person accepted.
    is_exempt: bool,
    counts: MassCounts,
}

/// What the records of one domain in one job would change.
#[derive(Default)]
struct Look {
    deletions: u64,
    replacements: u64,
    /// Whether they end children of a record whose own end is held.
    orphans: bool,
}

impl Held {
    fn key(peer: DeviceId, domain: DomainId) -> [u8; 48] {
        let mut key = [0; 48];
        key[..32].copy_from_slice(&peer.0);
        key[32..].copy_from_slice(&domain.0);
        key
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.number,
            self.since.0,
            self.counts.live,
            self.counts.deletions,
            self.counts.replacements,
            self.records,
            self.bytes,
            self.beyond,
            self.before.0,
            self.before.1,
            u64::from(self.is_whole),
        ];
        let bytes = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        seal_row(&Self::key(self.peer, self.domain), bytes)
    }

    fn decode(key: &[u8; 48], row: &[u8]) -> Result<Self, ReadError> {
        let altered = || ReadError::damaged("an altered row of a held change");
        let mut row = Reader::new(open_row(key, row).ok_or_else(altered)?, "held change");
        let (peer, domain) = key.split_first_chunk().ok_or_else(altered)?;
        let domain = domain.first_chunk().ok_or_else(altered)?;
        Ok(Self {
            peer: DeviceId(*peer),
            domain: DomainId(*domain),
            number: row.u64()?,
            since: UnixMillis(row.u64()?),
            counts: MassCounts { live: row.u64()?, deletions: row.u64()?, replacements: row.u64()? },
            records: row.u64()?,
            bytes: row.u64()?,
            beyond: row.u64()?,
            before: (row.u64()?, row.u64()?),
            is_whole: row.u64()? != 0,
        })
    }
}

/// The key of a held record: its place, its stamp, and its key.
fn record_key(peer: DeviceId, domain: DomainId, key: &Key, stamp: Stamp) -> Vec<u8> {
    let head = Held::key(peer, domain);
    [&head[..], &stamp.time.0.to_be_bytes(), &stamp.device.0, key.as_str().as_bytes()].concat()
}

/// Where the record's own key begins in [`record_key`].
const RECORD_KEY_AT: usize = 48 + 8 + 32;

/// All held records of a device in a domain, and nothing else.
fn records_of(peer: DeviceId, domain: DomainId) -> (Vec<u8>, Vec<u8>) {
    let first = Held::key(peer, domain).to_vec();
    // Longer than the longest key of a record with its stamp.
    let last = [&first[..], &[0xff; 48 + kinsync_protocol::limits::KEY_BYTES_MAX]].concat();
    (first, last)
}

impl Tx<'_> {
    /// Decides which domains of a job are held, and counts the rest.
    pub(crate) fn guard(
        &mut self,
        from: DeviceId,
        session: Option<u64>,
        batches: &[Batch],
    ) -> Result<BTreeSet<DomainId>, ReadError> {
        let changed = |tally: &Tally| session.is_some() && tally.session != session;
        self.memory.tallies.retain(|(peer, _), tally| *peer != from || !changed(tally));
        let domains = batches.iter().filter(|batch| !batch.records.is_empty()).map(|batch| batch.domain);
        let mut domains: Vec<_> = domains.collect::<BTreeSet<_>>().into_iter().collect();
        // What ends with its parent is known only when the parents are.
        domains.sort_by_key(|domain| self.rules.depth(*domain));
        let (mut held, mut ending) = (BTreeSet::new(), BTreeSet::new());
        for domain in domains {
            // Where nothing is, nothing can be taken away.
            if self.known(domain)?.is_none() {
                continue;
            }
            let row = self.held(from, domain)?;
            let tally = self.tally(from, session, domain)?;
            if row.is_none() && tally.is_exempt {
                continue;
            }
            let records = batches.iter().filter(|batch| batch.domain == domain);
            let look =
                self.look(from, domain, records.flat_map(|batch| &batch.records), &held, &mut ending)?;
            let mut counts = tally.counts;
            counts.deletions += look.deletions;
            counts.replacements += look.replacements;
            let guard = self.rules.guard(domain);
            let is_off = guard.records == 0 && !(1..100).contains(&guard.percent);
            if row.is_some() || !is_off && (look.orphans || is_mass_change(guard, counts)) {
                held.insert(domain);
            }
            if let Some(tally) = self.memory.tallies.get_mut(&(from, domain)) {
                tally.counts = counts;
            }
        }
        Ok(held)
    }

    /// What a device has changed in a domain in this session so far.
    fn tally(&mut self, from: DeviceId, session: Option<u64>, domain: DomainId) -> Result<Tally, ReadError> {
        // A first sync ends with its session: what is pushed after it is not
        // part of it.
        let holds = |tally: &&Tally| session.is_some() || !tally.is_exempt;
        if let Some(tally) = self.memory.tallies.get(&(from, domain)).filter(holds) {
            return Ok(tally.clone());
        }
        let open = self.domain(domain)?;
        let (dom, live) = (open.dom, open.row.live);
        let cursor = self.tables.cursors.get(&tables::cursor_key(&from.0, dom))?;
        let is_first = match cursor {
            Some(row) => decode_cursor(row.value())?.after.is_some(),
            None => true,
        };
        let is_lifted = self.tables.lifted.get(&Held::key(from, domain))?.is_some();
        let counts = MassCounts { live, ..MassCounts::default() };
        let tally = Tally { session, is_exempt: is_first || is_lifted, counts };
        self.memory.tallies.insert((from, domain), tally.clone());
        Ok(tally)
    }

    /// Counts what records would change. `held` are the domains that this job
    /// does not apply; `ending` collects what it ends.
    fn look<'r>(
        &mut self,
        from: DeviceId,
        domain: DomainId,
        records: impl Iterator<Item = &'r Record>,
        held: &BTreeSet<DomainId>,
        ending: &mut BTreeSet<(DomainId, Key)>,
    ) -> Result<Look, ReadError> {
        let mut look = Look::default();
        let parents = self.rules.parent(domain);
        let parents_held = match parents {
            Some(parents) => held.contains(&parents) || self.held(from, parents)?.is_some(),
            None => false,
        };
        for record in records {
            let Some(old) = self.item(domain, &record.key)? else { continue };
            let (old, new) = (old.item.version, &record.version);
            if old.deleted || *new <= old {
                continue;
            }
            if !new.deleted {
                look.replacements += u64::from(new.value != old.value && new.knew(&old));
                continue;
            }
            let parent = parents.and_then(|parents| Some((parents, family::parent_key(&record.key)?)));
            let ends_with_it = match parent {
                Some((parents, key)) => {
                    let ends = !parents_held && ending.contains(&(parents, key.clone()));
                    ends || self.item(parents, &key)?.is_some_and(|row| row.item.version.deleted)
                }
                None => false,
            };
            ending.insert((domain, record.key.clone()));
            if !ends_with_it {
                look.deletions += 1;
                look.orphans |= parents_held && new.stamp.device == DeviceId::NULL;
            }
        }
        Ok(look)
    }

    /// What is held of a device in a domain.
    fn held(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Held>, ReadError> {
        let key = Held::key(peer, domain);
        let row = self.tables.held.get(&key)?;
        row.map(|row| Held::decode(&key, row.value())).transpose()
    }

    /// Everything that is held.
    pub(crate) fn all_held(&self) -> Result<Vec<Held>, ReadError> {
        read_held(&self.tables.held)
    }

    fn write_held(&mut self, held: &Held) -> Result<(), ReadError> {
        self.tables.held.insert(&Held::key(held.peer, held.domain), held.encode().as_slice());
        (self.dirty, self.held_changed) = (true, true);
        Ok(())
    }

    /// Keeps what a job does not apply.
    pub(crate) fn keep_held(
        &mut self,
        from: DeviceId,
        domain: DomainId,
        session: Option<u64>,
        records: Vec<Record>,
        now: UnixMillis,
    ) -> Result<(), ReadError> {
        let mut news = Vec::new();
        for record in records {
            let stands = self.item(domain, &record.key)?.map(|old| old.item.version);
            let row_key = record_key(from, domain, &record.key, record.version.stamp);
            let is_kept = self.tables.held_records.get(row_key.as_slice())?.is_some();
            if stands.as_ref() != Some(&record.version) && !is_kept {
                news.push((row_key, record));
            }
        }
        let records = news.iter().map(|(_, record)| record);
        let look = self.look(from, domain, records, &BTreeSet::new(), &mut BTreeSet::new())?;
        let mut held = match self.held(from, domain)? {
            Some(held) => held,
            None => {
                let counts = self.tally(from, session, domain)?.counts;
                let before = (
                    counts.deletions.saturating_sub(look.deletions),
                    counts.replacements.saturating_sub(look.replacements),
                );
                let counts = MassCounts { live: counts.live, deletions: before.0, replacements: before.1 };
                let (number, since) = (self.next_number()?, now);
                let (records, bytes, beyond) = (0, 0, 0);
                let (peer, is_whole) = (from, false);
                Held { number, peer, domain, since, counts, records, bytes, beyond, is_whole, before }
            }
        };
        held.is_whole |= session.is_some();
        held.counts.deletions = held.counts.deletions.saturating_add(look.deletions);
        held.counts.replacements = held.counts.replacements.saturating_add(look.replacements);
        let others = self.all_held()?.into_iter().filter(|other| other.number != held.number);
        let (mut all_records, mut all_bytes) = (held.records, held.bytes);
        for other in others {
            all_records = all_records.saturating_add(other.records);
            all_bytes = all_bytes.saturating_add(other.bytes);
        }
        let dom = self.domain(domain)?.dom;
        for (row_key, record) in news {
            let bytes = u64::from(record.version.bytes);
            if all_records >= HELD_RECORDS_MAX || all_bytes.saturating_add(bytes) > HELD_BYTES_MAX {
                held.beyond = held.beyond.saturating_add(1);
                continue;
            }
            (all_records, all_bytes) = (all_records + 1, all_bytes + bytes);
            (held.records, held.bytes) = (held.records + 1, held.bytes + bytes);
            let place = Place { dom, key: item::key_hash(domain, &record.key) };
            let by = record.version.stamp;
            let Record { version, value, .. } = record;
            let row = PastRow { reason: Reason::Replaced, at: now, by, from: Some(from), version, value };
            let row = row.encode(place, &mut |device| self.tables.intern(device))?;
            self.tables.held_records.insert(row_key.as_slice(), row.as_slice());
        }
        self.write_held(&held)
    }

    fn next_number(&mut self) -> Result<u64, ReadError> {
        let last = self.tables.meta.get(KEY_NUMBER)?.and_then(|row| row.value().try_into().ok());
        let number = last.map_or(0, u64::from_be_bytes).saturating_add(1);
        self.tables.meta.insert(KEY_NUMBER, number.to_be_bytes().as_slice());
        Ok(number)
    }

    /// The records that are kept of a held change, by time.
    fn held_records(&mut self, held: &Held) -> Result<Vec<Record>, ReadError> {
        let dom = self.domain(held.domain)?.dom;
        let devices = (&self.tables.devices, &self.tables.device_numbers);
        read_records(&self.tables.held_records, held, dom, &mut |number| resolve(devices, number))
    }

    /// Forgets a held change and takes its records out.
    fn take_held(&mut self, held: &Held) -> Result<Vec<Record>, ReadError> {
        let records = self.held_records(held)?;
        let (first, last) = records_of(held.peer, held.domain);
        self.tables.held_records.retain_in::<&[u8]>(first.as_slice()..=last.as_slice(), |_, _| false)?;
        self.tables.held.remove(&Held::key(held.peer, held.domain));
        self.memory.tallies.remove(&(held.peer, held.domain));
        self.memory.looked.remove(&held.number);
        (self.dirty, self.held_changed) = (true, true);
        Ok(records)
    }

    /// Lets go of what is not a mass change any more: parents ended meanwhile,
    /// or somebody made the same changes here.
    pub(crate) fn look_again(&mut self, from: DeviceId, now: UnixMillis) -> Result<(), Stop> {
        let mut all = self.all_held()?;
        all.retain(|held| held.peer == from);
        all.sort_by_key(|held| self.rules.depth(held.domain));
        for held in all {
            let parents = self.rules.parent(held.domain);
            let of_parents = match parents {
                Some(parents) if self.known(parents)?.is_some() => self.head(parents)?,
                _ => 0,
            };
            // It came under rights that may have ended since.
            if !self.may_bring(from, held.domain)? {
                continue;
            }
            let heads = (self.head(held.domain)?, of_parents);
            if self.memory.looked.insert(held.number, heads) == Some(heads) {
                continue;
            }
            let records = self.held_records(&held)?;
            let look =
                self.look(from, held.domain, records.iter(), &BTreeSet::new(), &mut BTreeSet::new())?;
            let counts = MassCounts {
                live: held.counts.live,
                deletions: held.before.0.saturating_add(look.deletions),
                replacements: held.before.1.saturating_add(look.replacements),
            };
            let guard = self.rules.guard(held.domain);
            let nothing_left = look.deletions == 0 && look.replacements == 0;
            let is_small = held.beyond == 0 && !is_mass_change(guard, counts) && !look.orphans;
            if !nothing_left && !is_small {
                continue;
            }
            for record in self.take_held(&held)? {
                self.take_in(from, held.domain, record, false, now)?;
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Whether a device is trusted and may write in a domain now.
    fn may_bring(&mut self, peer: DeviceId, domain: DomainId) -> Result<bool, Stop> {
        Ok(self.may_write(peer, [domain])? && self.grants(peer, domain)?.write)
    }

    fn numbered(&self, number: u64) -> Result<Held, Stop> {
        let held = self.all_held()?.into_iter().find(|held| held.number == number);
        held.ok_or(Stop::Refused(WriteError::NotFound))
    }

    /// Writes the standing version again, knowing `theirs`. Whether it could.
    fn reassert(
        &mut self,
        domain: DomainId,
        peer: DeviceId,
        theirs: Record,
        now: UnixMillis,
    ) -> Result<bool, ReadError> {
        let Some(old) = self.item(domain, &theirs.key)? else { return Ok(false) };
        let Some(value) = self.value(domain, &theirs.key)? else { return Ok(false) };
        let (device, ours) = (self.memory.device, &old.item.version);
        let seen = ours.seen.replaced_by(ours.stamp, device);
        let seen = seen.join(&theirs.version.seen.replaced_by(theirs.version.stamp, device));
        let after = ours.stamp.time.max(theirs.version.stamp.time);
        if after >= Hlc::MAX {
            return Ok(false);
        }
        let time = self.memory.clock.tick(now, Some(after));
        let stamp = Stamp { time, device };
        let record = Record::new(theirs.key.clone(), Some(value), stamp, seen);
        self.replace(domain, Some(old), record, None, now)?;
        if !theirs.version.deleted {
            self.keep_loser(domain, theirs, Reason::Replaced, stamp, Some(peer), now)?;
        }
        Ok(true)
    }
}

impl Job<Decided> {
    /// Applies a held change, exactly as it would have been, and lets through
    /// what that device still has for that domain until both are equal.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::NotTrusted`],
    /// [`WriteError::NotGranted`].
    pub fn accept_held(number: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let held = tx.numbered(number)?;
            let Held { peer, domain, .. } = held;
            if !tx.may_write(peer, [domain])? {
                return Err(Stop::Refused(WriteError::NotTrusted { peer }));
            }
            if !tx.grants(peer, domain)?.write {
                return Err(Stop::Refused(WriteError::NotGranted { peer }));
            }
            let mut changed = 0;
            for record in tx.take_held(&held)? {
                changed += u64::from(tx.take_in(peer, domain, record, false, now)?.changed);
            }
            tx.tables.lifted.insert(&Held::key(peer, domain), now.0);
            Ok(Decided { held, changed })
        })
    }

    /// Keeps what stands here instead of a held change: writes each record
    /// again that it would have deleted or replaced, knowing that, so that it
    /// stands on every device. What is new in it is taken in.
    ///
    /// # Errors
    /// [`WriteError::NotFound`].
    pub fn reject_held(number: u64, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            let held = tx.numbered(number)?;
            let Held { peer, domain, .. } = held;
            let may_bring = tx.may_bring(peer, domain)?;
            let mut changed = 0;
            for record in tx.take_held(&held)? {
                let standing = tx.item(domain, &record.key)?.map(|row| row.item.version);
                let (new, takes_away) = (&record.version, standing.filter(|old| !old.deleted));
                let takes_away = takes_away.is_some_and(|old| {
                    *new > old && (new.deleted || new.value != old.value && new.knew(&old))
                });
                if takes_away {
                    changed += u64::from(tx.reassert(domain, peer, record, now)?);
                } else if may_bring {
                    changed += u64::from(tx.take_in(peer, domain, record, false, now)?.changed);
                }
            }
            Ok(Decided { held, changed })
        })
    }
}

impl Job<()> {
    /// Both sides hold the same in these domains: what was accepted has come,
    /// and the guard looks again. What is still held there came another way.
    pub fn guard_again(peer: DeviceId, domains: Vec<DomainId>, now: UnixMillis) -> Self {
        Self::new(move |tx| {
            tx.look_again(peer, now)?;
            for domain in domains {
                let key = Held::key(peer, domain);
                let was_lifted = tx.tables.lifted.take(&key)?;
                tx.dirty |= was_lifted;
                tx.memory.tallies.remove(&(peer, domain));
            }
            Ok(())
        })
    }
}

impl StoreSnapshot {
    /// Everything that is held, by number.
    pub fn held(&self) -> Result<Vec<Held>, ReadError> {
        let mut all = read_held(&self.view.held)?;
        all.sort_by_key(|held| held.number);
        Ok(all)
    }

    /// The records of a held change, by time; `None` if there is no such.
    pub fn held_records(&self, number: u64) -> Result<Option<Vec<HeldRecord>>, ReadError> {
        let Some(held) = self.held()?.into_iter().find(|held| held.number == number) else {
            return Ok(None);
        };
        let Some(dom) = self.dom(held.domain)? else { return Ok(Some(Vec::new())) };
        let records = read_records(&self.view.held_records, &held, dom, &mut |number| self.resolve(number))?;
        let mut found = Vec::with_capacity(records.len());
        for Record { key, version, .. } in records {
            let standing = self.item_row(dom, item::key_hash(held.domain, &key))?;
            found.push(HeldRecord { key, version, standing: standing.map(|row| row.item.version) });
        }
        Ok(Some(found))
    }

    /// The domains in which a person has accepted what `peer` brings, until
    /// both are equal.
    pub fn lifted(&self, peer: DeviceId) -> Result<Vec<DomainId>, ReadError> {
        let (first, last) = (Held::key(peer, DomainId([0; 16])), Held::key(peer, DomainId([0xff; 16])));
        let mut lifted = Vec::new();
        for row in self.view.lifted.range::<&[u8; 48]>(&first..=&last)? {
            let (key, _) = row?;
            lifted.extend(key.value().last_chunk().copied().map(DomainId));
        }
        Ok(lifted)
    }
}

fn read_held(table: &impl Rows<&'static [u8; 48], &'static [u8]>) -> Result<Vec<Held>, ReadError> {
    let mut all = Vec::new();
    for row in table.iter()? {
        let (key, row) = row?;
        all.push(Held::decode(key.value(), row.value())?);
    }
    Ok(all)
}

fn read_records(
    table: &impl Rows<&'static [u8], &'static [u8]>,
    held: &Held,
    dom: u32,
    resolve: &mut crate::rows::Resolve<'_>,
) -> Result<Vec<Record>, ReadError> {
    let (first, last) = records_of(held.peer, held.domain);
    let mut records = Vec::new();
    for row in table.range::<&[u8]>(first.as_slice()..=last.as_slice())? {
        let (row_key, row) = row?;
        let key = row_key.value().get(RECORD_KEY_AT..).and_then(|key| std::str::from_utf8(key).ok());
        let key = key.and_then(|key| Key::new(key).ok());
        let key = key.ok_or_else(|| ReadError::damaged("an unreadable key of a held record"))?;
        let place = Place { dom, key: item::key_hash(held.domain, &key) };
        let row = PastRow::decode(row.value(), place, resolve)?;
        records.push(Record { key, version: row.version, value: row.value });
    }
    Ok(records)
}
