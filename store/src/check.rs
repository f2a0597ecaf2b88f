//! Computes everything again that the store keeps besides the records, and
//! compares.

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::id::{DomainId, KeyHash};
use kinsync_protocol::item;
use kinsync_protocol::record::Record;
use kinsync_protocol::sums::Summary;

use crate::apply::{EPOCHS_MAX, places};
use crate::error::ReadError;
use crate::rows::DomainRow;
use crate::snapshot::StoreSnapshot;
use crate::tables::{self, Rows};
use crate::waiting::Waiting;

/// Faults listed in one report; the rest is counted.
const FAULTS_MAX: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Domains looked at.
    pub domains: u64,
    /// Items looked at, tombstones included.
    pub items: u64,
    /// Versions in history looked at.
    pub past: u64,
    /// How many faults there are.
    pub count: u64,
    /// The first of them.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether everything fits.
    pub fn is_sound(&self) -> bool {
        self.count == 0
    }

    fn note(&mut self, domain: impl Into<Option<DomainId>>, key: Option<KeyHash>, what: impl Into<String>) {
        self.count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { domain: domain.into(), key, what: what.into() });
        }
    }
}

/// Something that does not fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// In which domain, if in one.
    pub domain: Option<DomainId>,
    /// At which record, if at one.
    pub key: Option<KeyHash>,
    /// What.
    pub what: String,
}

impl StoreSnapshot {
    /// Reads the whole store and compares every value with its hash, and every
    /// sum, index, log row, count, history row and epoch with the records.
    ///
    /// Takes some seconds for each million records.
    ///
    /// # Errors
    /// [`ReadError`] only if the database itself cannot be read on; damaged
    /// rows are faults in the report.
    pub fn check(&self) -> Result<Report, ReadError> {
        let mut report = Report::default();
        for row in self.view.domains.range::<u32>(..)? {
            let (dom, row) = row?;
            report.domains += 1;
            match DomainRow::decode(row.value()) {
                Ok(row) => self.check_domain(dom.value(), &row, &mut report)?,
                Err(error) => report.note(None, None, error.to_string()),
            }
        }
        match self.trust_view() {
            Err(ReadError::Damaged { what }) => report.note(None, None, what),
            view => drop(view?),
        }
        Ok(report)
    }

    fn check_domain(&self, dom: u32, row: &DomainRow, report: &mut Report) -> Result<(), ReadError> {
        let domain = row.id;
        if self.dom(domain)? != Some(dom) {
            report.note(domain, None, "the domain's number leads elsewhere");
        }
        let (mut all, mut live) = (Summary::EMPTY, 0);
        let mut sums: BTreeMap<(u8, u16), Summary> = BTreeMap::new();
        let mut log: BTreeMap<u64, KeyHash> = BTreeMap::new();
        for item in self.view.items.range(tables::all_items(dom))? {
            let (place, bytes) = item?;
            let key = tables::key_hash(place.value().1);
            report.items += 1;
            let item = match self.decode_item(dom, key, bytes.value()) {
                Ok(row) => row.item,
                Err(ReadError::Damaged { what }) => {
                    report.note(domain, Some(key), what);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let hash = item::item_hash(domain, key, &item.version);
            all.add(&hash);
            for place in places(key) {
                sums.entry(place).or_default().add(&hash);
            }
            live += u64::from(!item.version.deleted);
            if log.insert(item.seq, key).is_some() {
                report.note(domain, Some(key), "two items share a log position");
            }
            if item::key_hash(domain, &item.key) != key {
                report.note(domain, Some(key), "an item under another key's hash");
            }
            match self.view.records.get(tables::record_key(dom, &item.key).as_slice())? {
                None => report.note(domain, Some(key), "an item without a record row"),
                Some(value) => {
                    let value = value.value().map(<[u8]>::to_vec);
                    let record = Record { key: item.key, version: item.version, value };
                    if let Err(error) = record.check() {
                        report.note(domain, Some(key), error.to_string());
                    }
                }
            }
        }
        self.check_indexes(dom, row, (all, live), &sums, &log, report)?;
        self.check_past(dom, row, report)?;
        self.check_waiting(dom, row, report)?;
        self.check_epochs(dom, row, report)
    }

    fn check_indexes(
        &self,
        dom: u32,
        row: &DomainRow,
        (all, live): (Summary, u64),
        sums: &BTreeMap<(u8, u16), Summary>,
        log: &BTreeMap<u64, KeyHash>,
        report: &mut Report,
    ) -> Result<(), ReadError> {
        let domain = row.id;
        if row.summary != all {
            report.note(domain, None, "the root does not fit the items");
        }
        if row.live != live {
            report.note(domain, None, format!("{} live records are counted, {live} exist", row.live));
        }
        if log.last_key_value().is_some_and(|(last, _)| *last > row.head) {
            report.note(domain, None, "an item beyond the end of the log");
        }
        let mut rows = 0;
        for sum in self.view.sums.range((dom, 0, 0)..=(dom, u8::MAX, u16::MAX))? {
            let (place, sum) = sum?;
            let (_, level, prefix) = place.value();
            rows += 1;
            if sums.get(&(level, prefix)) != Some(&Summary::from_bytes(sum.value())) {
                report.note(domain, None, format!("the sum of {prefix:x} at {level} bits does not fit"));
            }
        }
        if rows != sums.len() {
            report.note(domain, None, format!("{rows} sums are stored, {} are needed", sums.len()));
        }
        let mut rows = 0;
        for entry in self.view.log.range(tables::all_numbers(dom))? {
            let (place, key) = entry?;
            let key = tables::key_hash(key.value());
            rows += 1;
            if log.get(&place.value().1) != Some(&key) {
                report.note(domain, Some(key), "a log row that fits no item");
            }
        }
        if rows != log.len() {
            report.note(domain, None, format!("{rows} log rows for {} items", log.len()));
        }
        let mut rows = 0;
        self.scan_records(dom, "", None, |_, _| {
            rows += 1;
            true
        })?;
        if rows != log.len() {
            report.note(domain, None, format!("{rows} records for {} items", log.len()));
        }
        Ok(())
    }

    fn check_past(&self, dom: u32, row: &DomainRow, report: &mut Report) -> Result<(), ReadError> {
        let domain = row.id;
        let mut conflicts = BTreeSet::new();
        for past in self.view.history.range((dom, 0, 0)..=(dom, u128::MAX, u64::MAX))? {
            let (place, bytes) = past?;
            let (_, key, number) = place.value();
            let key = tables::key_hash(key);
            report.past += 1;
            if number > row.past {
                report.note(domain, Some(key), "a history row beyond the last number");
            }
            match self.decode_past(dom, key, bytes.value()) {
                Err(ReadError::Damaged { what }) => report.note(domain, Some(key), what),
                Err(error) => return Err(error),
                Ok(past) => {
                    if past.reason.is_open() {
                        conflicts.insert((number, key));
                    }
                    let right = past.value.as_deref().map(item::value_hash);
                    if right.is_some_and(|right| right != past.version.value) {
                        report.note(domain, Some(key), "a value in history is not the one written");
                    }
                }
            }
        }
        let mut listed = BTreeSet::new();
        for conflict in self.view.conflicts.range(tables::all_numbers(dom))? {
            let (place, key) = conflict?;
            listed.insert((place.value().1, tables::key_hash(key.value())));
        }
        if listed != conflicts || row.conflicts != conflicts.len() as u64 {
            report.note(
                domain,
                None,
                format!(
                    "{} conflicts in history, {} listed, {} counted",
                    conflicts.len(),
                    listed.len(),
                    row.conflicts
                ),
            );
        }
        Ok(())
    }

    fn check_waiting(&self, dom: u32, row: &DomainRow, report: &mut Report) -> Result<(), ReadError> {
        let domain = row.id;
        let mut marks: BTreeMap<KeyHash, Waiting> = BTreeMap::new();
        for mark in self.view.waiting.range(tables::all_items(dom))? {
            let (place, mark) = mark?;
            let key = tables::key_hash(place.value().1);
            match Waiting::decode(mark.value()) {
                Ok(mark) => drop(marks.insert(key, mark)),
                Err(error) => report.note(domain, Some(key), error.to_string()),
            }
        }
        if row.waiting != marks.len() as u64 {
            let count = marks.len();
            report.note(domain, None, format!("{} waiting records are counted, {count} marked", row.waiting));
        }
        let rules = self.rules.get(domain).filter(|_| row.rules == self.rules.revision(domain));
        let Some(rules) = rules else { return Ok(()) };
        for item in self.view.items.range(tables::all_items(dom))? {
            let (place, bytes) = item?;
            let key = tables::key_hash(place.value().1);
            let Ok(item) = self.decode_item(dom, key, bytes.value()) else { continue };
            let value = self.view.records.get(tables::record_key(dom, &item.item.key).as_slice())?;
            let right = value.and_then(|value| rules.waiting(value.value()?));
            if marks.remove(&key) != right {
                report.note(domain, Some(key), "the mark of a waiting record does not fit it");
            }
        }
        for key in marks.into_keys() {
            report.note(domain, Some(key), "a waiting record that is not there");
        }
        Ok(())
    }

    fn check_epochs(&self, dom: u32, row: &DomainRow, report: &mut Report) -> Result<(), ReadError> {
        let (mut rows, mut last) = (0, 0);
        for epoch in self.view.epochs.range(tables::all_numbers(dom))? {
            rows += 1;
            last = epoch?.0.value().1;
        }
        if rows > EPOCHS_MAX {
            report.note(row.id, None, format!("{rows} epochs are kept"));
        }
        if last > row.head || (rows == 0) != (row.head == 0) {
            report.note(row.id, None, "the epochs do not fit the log");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::BTreeMap;
    use crate::Store;
    use crate::apply::Tx;
    use crate::tables::Rows;
    use crate::tests::platter::{created, start};
    use crate::tests::world::*;
    use crate::{Job, Report, Rules};

    /// Breaks one thing in a sound store. What the check says.
    fn after(break_one: impl FnOnce(&mut Tx<'_>) + Send + 'static) -> Report {
        let (here, there) = (created(PHONE), created(LAPTOP));
        let (phone, laptop): (Store, Store) = (start(&here), start(&there));
        let check = |_: u32, body: &[u8]| if body == b"odd" { Err("odd".to_owned()) } else { Ok(()) };
        let rules = Rules { check: Some(Arc::new(check)), ..Rules::default() };
        phone.set_rules(BTreeMap::from([(notes(), rules)]));
        put(&phone, "odd", "odd", NOW);
        for n in 0..30 {
            put(&phone, &format!("n{n}"), "phone", NOW);
            put(&laptop, &format!("n{n}"), "laptop", later(n));
        }
        phone.delete(notes(), key("n4"), later(90)).unwrap();
        send_all(&laptop, &phone, NOW);
        assert_sound(&phone);
        phone
            .write(Job::new(move |tx| {
                break_one(tx);
                tx.dirty = true;
                Ok(())
            }))
            .unwrap();
        phone.snapshot().unwrap().check().unwrap()
    }

    /// A check that finds nothing would be worth nothing.
    #[test]
    fn every_kind_of_fault_is_found() {
        macro_rules! without_first {
            ($field:ident) => {{
                let report = after(|tx| {
                    let table = &mut tx.tables.$field;
                    let first = table.first().unwrap().unwrap().0.value();
                    assert!(table.take(first).unwrap());
                });
                assert!(!report.is_sound(), "a row of {} is gone", stringify!($field));
            }};
        }
        without_first!(items);
        without_first!(log);
        without_first!(sums);
        without_first!(history);
        without_first!(conflicts);
        without_first!(epochs);
        without_first!(waiting);

        macro_rules! altered {
            ($field:ident, $at:expr) => {{
                let report = after(|tx| {
                    let table = &mut tx.tables.$field;
                    let (first, mut bytes) = {
                        let (first, row) = table.first().unwrap().unwrap();
                        (first.value().to_owned(), row.value().to_vec())
                    };
                    let at = $at(bytes.len());
                    bytes[at] ^= 1;
                    table.insert(&first, bytes.as_slice());
                });
                assert!(!report.is_sound(), "a row of {} is altered", stringify!($field));
            }};
        }
        altered!(items, |len| len / 2);
        altered!(history, |len| len - 6);
        altered!(domains, |_| 31);
        altered!(domains, |_| 71);
        altered!(domains, |_| 95);
        altered!(waiting, |len| len / 2);
        altered!(trust, |len| len / 2);

        let report = after(|tx| {
            let first = tx.tables.records.first().unwrap().unwrap().0.value().to_vec();
            tx.tables.records.insert(first.as_slice(), Some(&b"other"[..]));
        });
        assert_eq!(report.count, 1, "{report:?}");
    }
}
