//! How far back deletions are remembered, and what becomes of a version that
//! is older than that.
//!
//! A tombstone that everybody has taken in, or that is older than any device
//! may be away, can be forgotten. What it deleted must not come back with a
//! device that was away for longer: such a version is answered by a new
//! tombstone, which every device makes alike, and stays in history (spec §2.12).

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::limits::{FLOOR_AGE_DAYS_MIN, LIMBO_DAYS};
use crate::record::{Record, Version};
use crate::stamp::{Hlc, UnixMillis};

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// The start of a day, in days since the Unix epoch: tombstones from before
/// it may have been forgotten.
///
/// Never goes back. 0 for a device that was never equal with another one: what
/// it brings is new, however old it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Floor(pub u32);

impl Floor {
    /// The floor of a device that was never equal with another one.
    pub const NEVER: Self = Self(0);

    /// The floor of a device that was, and has forgotten nothing.
    pub const JOINED: Self = Self(1);

    /// The floor that forgets tombstones `days` after they were written.
    pub fn before(now: UnixMillis, days: u32) -> Self {
        let today = now.0 / DAY_MILLIS;
        Self(u32::try_from(today.saturating_sub(u64::from(days))).unwrap_or(u32::MAX)).max(Self::JOINED)
    }

    /// Whether a device whose clock says `now` can believe it: one that is
    /// close to the present comes from a wrong clock, and would make new
    /// records look old.
    pub fn is_believable(self, now: UnixMillis) -> bool {
        u64::from(self.0) + u64::from(FLOOR_AGE_DAYS_MIN) <= now.0 / DAY_MILLIS
    }

    fn time(self) -> Hlc {
        Hlc::at(UnixMillis(u64::from(self.0) * DAY_MILLIS))
    }

    /// Whether `version` is so old that it may have been deleted since without
    /// anybody remembering.
    pub fn is_above(self, version: &Version) -> bool {
        self > Self::JOINED && version.stamp.time <= self.time()
    }

    /// Whether the tombstone `version` need not be kept any longer. One that a
    /// floor made is kept as long as what it ended can be had back.
    pub fn forgets(self, version: &Version) -> bool {
        let floor = match Self::that_made(version) {
            Some(made) => Self(made.0.saturating_add(LIMBO_DAYS)),
            None if self.is_above(version) => Self::NEVER,
            None => return false,
        };
        version.deleted && floor <= self
    }

    /// What an old version becomes that a device brings which was away: the
    /// tombstone just above this floor.
    pub fn end(self, version: &Version) -> Version {
        Version::derived(self.time().next(), version.causes(), None)
    }

    /// What an old record becomes that a device brings which is new here: the
    /// same, just above this floor, so that nobody takes it for forgotten.
    pub fn lift(self, record: Record) -> Record {
        let version = &record.version;
        let version = Version::derived(self.time().next(), version.causes(), record.value.as_deref());
        Record { version, ..record }
    }

    /// The floor that made `version` of an older one, if one did.
    pub fn that_made(version: &Version) -> Option<Self> {
        let day = version.stamp.time.wall().0 / DAY_MILLIS;
        let floor = Self(u32::try_from(day).ok()?);
        let made = floor > Self::JOINED
            && version.stamp.device == DeviceId::NULL
            && version.deleted
            && version.stamp.time == floor.time().next();
        made.then_some(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Key;
    use crate::stamp::{Ancestry, Stamp};

    const NOW: UnixMillis = UnixMillis(1_795_132_800_000);
    const TODAY: u32 = 20_777;
    const PHONE: DeviceId = DeviceId([2; 32]);

    fn record(millis: u64, value: Option<&str>) -> Record {
        let stamp = Stamp { time: Hlc::at(UnixMillis(millis)), device: PHONE };
        let value = value.map(|value| value.as_bytes().to_vec());
        Record::new(Key::new("a").unwrap(), value, stamp, Ancestry::default())
    }

    fn day(day: u32) -> u64 {
        u64::from(day) * DAY_MILLIS
    }

    /// D12: a floor is the start of a day, the same for all devices of that day.
    #[test]
    fn a_floor_is_the_start_of_a_day() {
        for millis in [0, 1, DAY_MILLIS - 1] {
            assert_eq!(Floor::before(UnixMillis(day(TODAY) + millis), 180), Floor(TODAY - 180));
        }
        assert_eq!(Floor::before(UnixMillis(day(180)), 180), Floor::JOINED, "never back to no floor");
        assert_eq!(NOW.0 / DAY_MILLIS, u64::from(TODAY));
    }

    /// D12: a device does not follow a clock that runs ahead of its own.
    #[test]
    fn a_floor_close_to_the_present_is_not_believed() {
        assert!(Floor(TODAY - FLOOR_AGE_DAYS_MIN).is_believable(NOW));
        assert!(!Floor(TODAY - FLOOR_AGE_DAYS_MIN + 1).is_believable(NOW));
        assert!(!Floor(u32::MAX).is_believable(NOW));
        assert!(Floor(u32::MAX).is_above(&record(day(TODAY), None).version), "and yet it has a time");
    }

    #[test]
    fn a_floor_forgets_the_tombstones_from_before_it() {
        let floor = Floor(100);
        assert!(floor.forgets(&record(day(100), None).version));
        assert!(!floor.forgets(&record(day(100) + 1, None).version));
        assert!(!floor.forgets(&record(day(100), Some("live")).version));
        for floor in [Floor::NEVER, Floor::JOINED] {
            // A clock that lost its battery begins in 1970.
            let version = record(0, None).version;
            assert!(!floor.forgets(&version) && !floor.is_above(&version));
            assert_eq!(Floor::that_made(&floor.end(&version)), None);
        }
    }

    /// D12: what a floor ended is known to the tombstone, can be told from other
    /// deletions, and is kept in limbo for a while.
    #[test]
    fn an_old_version_ends_just_above_the_floor() {
        let floor = Floor(100);
        let old = record(day(100), Some("old")).version;
        let end = floor.end(&old);
        assert!(end > old && end.knew(&old) && !floor.is_above(&end));
        assert_eq!(Floor::that_made(&end), Some(floor));
        assert_eq!(Record { key: Key::new("a").unwrap(), version: end.clone(), value: None }.check(), Ok(()));
        assert!(!Floor(100 + LIMBO_DAYS - 1).forgets(&end));
        assert!(Floor(100 + LIMBO_DAYS).forgets(&end));
        for version in [&old, &record(day(100) + 1, None).version] {
            assert_eq!(Floor::that_made(version), None);
        }
        let later = Version::derived(end.stamp.time.next(), old.causes(), None);
        assert_eq!(Floor::that_made(&later), None);
    }

    #[test]
    fn an_old_record_of_a_new_device_is_lifted_above_the_floor() {
        let (floor, old) = (Floor(100), record(day(3), Some("old")));
        let lifted = floor.lift(old.clone());
        assert_eq!(lifted.check(), Ok(()));
        assert_eq!(lifted.value, old.value);
        assert!(lifted.version > old.version && lifted.version.knew(&old.version));
        assert!(!floor.is_above(&lifted.version));
        assert_eq!(Floor::that_made(&lifted.version), None);
    }
}
