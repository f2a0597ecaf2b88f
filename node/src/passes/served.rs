//! Which rows somebody else sends to which devices, as pushes have said.
//!
//! A hint that saves bytes. Forgetting one costs a second copy; believing a
//! wrong one costs the wait until the next pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kinsync_protocol::id::{DeviceTag, DomainId, KeyHash};
use kinsync_protocol::item::key_hash;
use kinsync_protocol::record::{Record, Version};
use kinsync_protocol::stamp::Stamp;

/// Rows of which is remembered who serves whom: those of a few pushes of the
/// largest size. They are asked for as soon as they are on disk.
const SERVED_ROWS_MAX: usize = 1_024;

/// One version of one record.
type Row = (DomainId, KeyHash, Stamp);

/// The devices that others serve, for the rows that came last.
#[derive(Debug, Default)]
pub(super) struct Served {
    rows: BTreeMap<Row, Arc<BTreeSet<DeviceTag>>>,
    /// The same rows, the oldest first.
    order: VecDeque<Row>,
}

impl Served {
    /// Takes note that somebody sends `records` to `devices`.
    pub(super) fn note(&mut self, domain: DomainId, records: &[Record], devices: &[DeviceTag]) {
        if devices.is_empty() {
            return;
        }
        let devices: Arc<BTreeSet<_>> = Arc::new(devices.iter().copied().collect());
        for record in records {
            let row = (domain, key_hash(domain, &record.key), record.version.stamp);
            if let Some(known) = self.rows.get_mut(&row) {
                *known = Arc::new(known.as_ref() | devices.as_ref());
                continue;
            }
            if self.order.len() == SERVED_ROWS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.rows.remove(&oldest);
            }
            self.rows.insert(row, Arc::clone(&devices));
            self.order.push_back(row);
        }
    }

    /// The devices to which somebody else sends this version of the record.
    pub(super) fn of(&self, domain: DomainId, key: KeyHash, version: &Version) -> Arc<BTreeSet<DeviceTag>> {
        self.rows.get(&(domain, key, version.stamp)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use kinsync_protocol::id::DeviceId;
    use kinsync_protocol::record::Key;
    use kinsync_protocol::stamp::{Ancestry, Hlc};

    use super::*;

    const DOMAIN: DomainId = DomainId([7; 16]);

    fn record(time: usize) -> Record {
        let stamp = Stamp { time: Hlc(time as u64), device: DeviceId([1; 32]) };
        Record::new(Key::new("a").unwrap(), Some(vec![1]), stamp, Ancestry::default())
    }

    fn tag(number: u8) -> DeviceTag {
        DeviceId([number; 32]).tag()
    }

    fn of(served: &Served, time: usize) -> Vec<DeviceTag> {
        let Record { key, version, .. } = record(time);
        served.of(DOMAIN, key_hash(DOMAIN, &key), &version).iter().copied().collect()
    }

    /// Two that send the same row serve whom either of them serves, and other
    /// versions of the record are nobody's.
    #[test]
    fn who_serves_whom_is_told_of_one_version() {
        let mut served = Served::default();
        served.note(DOMAIN, &[record(5)], &[tag(1), tag(2)]);
        served.note(DOMAIN, &[record(5), record(6)], &[tag(3)]);
        served.note(DOMAIN, &[record(7)], &[]);
        assert_eq!(of(&served, 5), [tag(1), tag(2), tag(3)]);
        assert_eq!(of(&served, 6), [tag(3)]);
        assert_eq!((of(&served, 7), served.order.len()), (vec![], 2));
    }

    #[test]
    fn what_is_remembered_of_pushes_is_bounded() {
        let mut served = Served::default();
        let records: Vec<_> = (0..=SERVED_ROWS_MAX).map(record).collect();
        served.note(DOMAIN, &records[..SERVED_ROWS_MAX], &[tag(1)]);
        assert_eq!(of(&served, 0), [tag(1)]);
        served.note(DOMAIN, &records[SERVED_ROWS_MAX..], &[tag(1)]);
        assert_eq!((of(&served, 0), of(&served, 1)), (vec![], vec![tag(1)]));
        assert_eq!((served.rows.len(), served.order.len()), (SERVED_ROWS_MAX, SERVED_ROWS_MAX));
    }
}
