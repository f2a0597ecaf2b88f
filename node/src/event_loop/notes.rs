//! What is noted of devices in the store, which nobody waits for.
//!
//! Of a device counts what was noted last, so what comes while notes are being
//! written takes their place instead of one behind them: what waits grows with
//! the devices, and not with what they do.

use std::collections::BTreeMap;
use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{ADDRESSES_MAX, AddressNote, Job};
use tokio::task::AbortHandle;

use super::{EventLoop, Work};

/// How often notes are written at most: people look at them in seconds, and a
/// device that connects or passes without a pause is not worth a commit each
/// time.
const NOTES_EVERY: Duration = Duration::from_secs(1);

/// Devices of which something waits to be noted: more than are ever trusted at
/// the same time. Of others nothing is noted until those are written.
const NOTED_MAX: usize = 128;

/// Notes that wait.
#[derive(Debug, Default)]
pub(super) struct Notes {
    devices: BTreeMap<DeviceId, Note>,
    /// Nothing is written before.
    not_before: Duration,
    /// The notes that are being written.
    under_way: Option<AbortHandle>,
}

/// What waits to be noted of one device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Note {
    seen: Option<UnixMillis>,
    equal: Option<UnixMillis>,
    /// Addresses that worked, and when.
    worked: BTreeMap<String, UnixMillis>,
}

impl Notes {
    /// The device was there.
    pub(super) fn seen(&mut self, device: DeviceId, at: UnixMillis) {
        self.change(device, |note| note.seen = Some(at));
    }

    /// Both sides were proven equal.
    pub(super) fn equal(&mut self, device: DeviceId, at: UnixMillis) {
        self.seen(device, at);
        self.change(device, |note| note.equal = Some(at));
    }

    /// A connection to the device over `address` came about.
    pub(super) fn worked(&mut self, device: DeviceId, address: String, at: UnixMillis) {
        self.change(device, |note| {
            note.worked.insert(address, at);
            // The store would forget it as well.
            if note.worked.len() > ADDRESSES_MAX
                && let Some((oldest, _)) = note.worked.iter().min_by_key(|(_, at)| **at)
            {
                let oldest = oldest.clone();
                note.worked.remove(&oldest);
            }
        });
    }

    /// Nothing more is noted of a device that is not trusted any more.
    pub(super) fn forget(&mut self, device: DeviceId) {
        self.devices.remove(&device);
    }

    fn change(&mut self, device: DeviceId, change: impl FnOnce(&mut Note)) {
        if self.devices.len() < NOTED_MAX || self.devices.contains_key(&device) {
            change(self.devices.entry(device).or_default());
        }
    }

    /// What is to be written now: nothing while notes are being written, and
    /// not too often.
    fn due(&mut self, now: Duration) -> Vec<Job<()>> {
        let is_writing = self.under_way.as_ref().is_some_and(|writing| !writing.is_finished());
        if is_writing || now < self.not_before || self.devices.is_empty() {
            return Vec::new();
        }
        self.not_before = now + NOTES_EVERY;
        self.take()
    }

    /// Everything that waits.
    fn take(&mut self) -> Vec<Job<()>> {
        std::mem::take(&mut self.devices).into_iter().flat_map(|(device, note)| jobs(device, note)).collect()
    }

    /// When notes have to be written, unless some are being written.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let is_writing = self.under_way.as_ref().is_some_and(|writing| !writing.is_finished());
        (!self.devices.is_empty() && !is_writing).then_some(self.not_before)
    }
}

fn jobs(device: DeviceId, note: Note) -> Vec<Job<()>> {
    let Note { seen, equal, worked } = note;
    let worked = worked.into_iter();
    let mut jobs: Vec<_> =
        worked.map(|(address, at)| Job::note_address(device, address, AddressNote::Worked(at))).collect();
    if let Some(at) = seen {
        jobs.push(Job::note_peer(device, at, move |peer| {
            peer.last_seen = Some(at);
            peer.last_equal = equal.or(peer.last_equal);
        }));
    }
    jobs
}

impl EventLoop {
    /// Writes what is to be noted.
    pub(super) fn write_notes(&mut self) {
        let jobs = self.notes.due(self.now());
        if jobs.is_empty() {
            return;
        }
        let storage = self.storage.clone();
        let writing = self.work.spawn(async move {
            let written = jobs.into_iter().map(|job| storage.write(job));
            for result in futures::future::join_all(written).await {
                if let Err(error) = result {
                    tracing::warn!(%error, "a note was not stored");
                }
            }
            Work::Nothing
        });
        self.notes.under_way = Some(writing);
    }

    /// Hands over what waits, when nothing comes after it.
    pub(super) fn leave_notes(&mut self) {
        for job in self.notes.take() {
            self.submit(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: DeviceId = DeviceId([1; 32]);

    fn at(second: u64) -> (Duration, UnixMillis) {
        (Duration::from_secs(second), UnixMillis(second * 1_000))
    }

    fn note(notes: &Notes) -> Note {
        notes.devices.get(&PHONE).cloned().unwrap_or_default()
    }

    #[test]
    fn of_a_device_counts_what_was_noted_last() {
        let mut notes = Notes::default();
        assert_eq!(notes.deadline(), None);
        notes.seen(PHONE, at(1).1);
        notes.equal(PHONE, at(2).1);
        notes.seen(PHONE, at(3).1);
        let noted = Note { seen: Some(at(3).1), equal: Some(at(2).1), worked: BTreeMap::new() };
        assert_eq!(note(&notes), noted);
        assert_eq!(notes.due(at(0).0).len(), 1, "one job, whatever was noted");
        assert_eq!(notes.deadline(), None);
    }

    #[test]
    fn notes_are_written_at_once_and_then_once_a_second() {
        let mut notes = Notes::default();
        notes.seen(PHONE, at(5).1);
        assert_eq!(notes.due(at(5).0).len(), 1);
        let almost = at(5).0 + NOTES_EVERY - Duration::from_millis(1);
        notes.seen(PHONE, at(6).1);
        assert_eq!(notes.due(almost).len(), 0);
        assert_eq!(notes.deadline(), Some(at(5).0 + NOTES_EVERY));
        assert_eq!(notes.due(at(5).0 + NOTES_EVERY).len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_written_beside_notes_that_are_being_written() {
        let mut notes = Notes::default();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(ends);
        notes.under_way = Some(writing.abort_handle());
        notes.seen(PHONE, at(1).1);
        assert_eq!((notes.due(at(60).0).len(), notes.deadline()), (0, None));
        end.send(()).unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(notes.deadline(), Some(Duration::ZERO));
        assert_eq!(notes.due(at(60).0).len(), 1);
    }

    #[test]
    fn what_waits_grows_with_the_devices_alone() {
        let mut notes = Notes::default();
        for number in 0..=u8::try_from(NOTED_MAX).unwrap() {
            for second in 0..100 {
                notes.equal(DeviceId([number; 32]), at(second).1);
                notes.worked(DeviceId([number; 32]), format!("a{second:02}"), at(second).1);
            }
        }
        assert_eq!(notes.devices.len(), NOTED_MAX);
        for note in notes.devices.values() {
            let last: Vec<_> = (100 - ADDRESSES_MAX..100).map(|second| format!("a{second:02}")).collect();
            assert!(note.worked.keys().eq(&last), "those that worked last stay");
        }
        assert_eq!(notes.take().len(), NOTED_MAX * (ADDRESSES_MAX + 1));
        assert!(notes.devices.is_empty());
    }
}
