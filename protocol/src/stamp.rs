//! Which version of a record wins, and which version knew which.

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::limits::{ANCESTRY_DEVICES_MAX, CLOCK_FOLLOW_MILLIS_MAX};
use crate::wire::Bounded;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// A point in hybrid time: wall milliseconds in the upper 48 bits, a count
/// within the millisecond in the lower 16.
///
/// Counting past 65,535 carries into the wall part, so a successor always
/// exists below [`Hlc::MAX`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The last millisecond of the year 9999; a later stamp is no stamp
    /// (spec §2.2), so that no device can write a version nobody can follow.
    pub const MAX: Self = Self(253_402_300_799_999 << 16);

    /// The start of the millisecond `wall`, at most [`Hlc::MAX`].
    pub fn at(wall: UnixMillis) -> Self {
        Self(wall.0.min(Self::MAX.wall().0) << 16)
    }

    /// The wall part, as shown to people.
    pub const fn wall(self) -> UnixMillis {
        UnixMillis(self.0 >> 16)
    }

    /// The next point in hybrid time, at most [`Hlc::MAX`].
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }
}

/// Orders two versions of one record: the greater stamp wins.
///
/// Compared by time first. The device only breaks ties, so every device picks
/// the same winner in whatever order the versions arrive.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stamp {
    /// When the version was written, in its author's hybrid time.
    pub time: Hlc,
    /// The version's author.
    pub device: DeviceId,
}

/// The hybrid clock of one device: remembers the last stamp it gave.
///
/// Persist [`HybridClock::last`] with the write that it stamps, in one
/// transaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HybridClock {
    /// The greatest time given out or followed so far.
    pub last: Hlc,
}

impl HybridClock {
    /// The time for a local write that replaces a version of `replaced`.
    ///
    /// Later than everything this clock gave out and than the version it
    /// replaces, so an edit made after seeing a version beats it whatever the
    /// wall clocks say (D6). A replaced version from far in the future does
    /// not drag the clock itself along.
    pub fn tick(&mut self, wall: UnixMillis, replaced: Option<Hlc>) -> Hlc {
        self.last = self.last.next().max(Hlc::at(wall));
        match replaced {
            Some(replaced) if replaced >= self.last => {
                let time = replaced.next();
                self.follow(time, wall);
                time
            }
            _ => self.last,
        }
    }

    /// Takes note of a time from another device, unless it is more than ten
    /// minutes ahead of the wall clock: such a stamp orders its own record and
    /// nothing else.
    pub fn follow(&mut self, time: Hlc, wall: UnixMillis) {
        let reach = Hlc::at(UnixMillis(wall.0.saturating_add(CLOCK_FOLLOW_MILLIS_MAX)));
        if time <= reach {
            self.last = self.last.max(time);
        }
    }
}

/// The latest stamp of each other device that a version's author had seen for
/// this record.
///
/// Sorted by device, at most [`ANCESTRY_DEVICES_MAX`] entries; empty for a
/// record that only one device ever wrote. Decides one question only: did this
/// version know the one it replaces?
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ancestry(Bounded<(DeviceId, Hlc), ANCESTRY_DEVICES_MAX>);

impl Ancestry {
    /// What a version by `author` has seen that replaces the version `stamp`
    /// with the ancestry `self`.
    #[must_use]
    pub fn replaced_by(&self, stamp: Stamp, author: DeviceId) -> Self {
        let mut seen = self.with(stamp).0.into_inner();
        seen.retain(|(device, _)| *device != author);
        Self::from_entries(seen)
    }

    /// Everything that a version has seen which knew the version `stamp` with
    /// the ancestry `self`. [Nobody](DeviceId::NULL) stands in no ancestry.
    #[must_use]
    pub fn with(&self, stamp: Stamp) -> Self {
        let mut seen: Vec<_> = self.0.iter().copied().filter(|(device, _)| *device != stamp.device).collect();
        if stamp.device != DeviceId::NULL {
            seen.push((stamp.device, stamp.time));
        }
        Self::from_entries(seen)
    }

    /// What has seen both: of each device the latest.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut latest = std::collections::BTreeMap::new();
        for &(device, time) in self.0.iter().chain(other.0.iter()) {
            let entry = latest.entry(device).or_insert(time);
            *entry = time.max(*entry);
        }
        Self::from_entries(latest.into_iter().collect())
    }

    /// Sorts `entries` and forgets the oldest beyond the limit: forgetting can
    /// only show a conflict that is none, never hide one.
    pub fn from_entries(mut entries: Vec<(DeviceId, Hlc)>) -> Self {
        entries.sort_by_key(|&(device, time)| (std::cmp::Reverse(time), device));
        entries.truncate(ANCESTRY_DEVICES_MAX);
        entries.sort_by_key(|&(device, _)| device);
        Self(Bounded::truncating(entries))
    }

    /// The entries, sorted by device.
    pub fn entries(&self) -> &[(DeviceId, Hlc)] {
        &self.0
    }

    /// Whether the entries are sorted by device, each device once.
    pub fn is_sorted(&self) -> bool {
        self.0.windows(2).all(|pair| match pair {
            [(a, _), (b, _)] => a < b,
            _ => true,
        })
    }

    /// The latest time seen of `device`.
    pub fn latest(&self, device: DeviceId) -> Option<Hlc> {
        let index = self.0.binary_search_by_key(&device, |&(device, _)| device).ok()?;
        self.0.get(index).map(|&(_, time)| time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAPTOP: DeviceId = DeviceId([1; 32]);
    const PHONE: DeviceId = DeviceId([2; 32]);
    const DAY: u64 = 86_400_000;

    /// D6: an edit beats the version it was made on, clocks or not.
    #[test]
    fn a_write_wins_even_when_the_clock_runs_behind() {
        let theirs = Hlc::at(UnixMillis(9_000));
        let mut clock = HybridClock::default();
        assert!(clock.tick(UnixMillis(1_000), Some(theirs)) > theirs);
    }

    /// D6: a version from next year orders its own record and nothing else.
    #[test]
    fn a_stamp_from_the_future_does_not_move_the_clock() {
        let wall = UnixMillis(DAY);
        let mut clock = HybridClock::default();
        let future = Hlc::at(UnixMillis(365 * DAY));
        clock.follow(future, wall);
        assert!(clock.tick(wall, Some(future)) > future);
        assert_eq!(clock.tick(wall, None).wall(), wall);
    }

    #[test]
    fn the_clock_follows_ten_minutes_and_not_one_more() {
        let wall = UnixMillis(DAY);
        let mut clock = HybridClock::default();
        let reach = Hlc::at(UnixMillis(DAY + CLOCK_FOLLOW_MILLIS_MAX));
        clock.follow(reach.next(), wall);
        assert_eq!(clock.last, Hlc::default());
        clock.follow(reach, wall);
        assert_eq!(clock.last, reach);
    }

    #[test]
    fn a_version_knows_what_it_replaced() {
        let first = Stamp { time: Hlc(5), device: PHONE };
        let seen = Ancestry::default().replaced_by(first, LAPTOP);
        assert_eq!(seen.latest(PHONE), Some(Hlc(5)));
        let again = seen.replaced_by(Stamp { time: Hlc(9), device: LAPTOP }, PHONE);
        assert_eq!(again.entries(), [(LAPTOP, Hlc(9))]);
    }

    #[test]
    fn a_record_with_one_author_has_no_ancestry() {
        let seen = Ancestry::default().replaced_by(Stamp { time: Hlc(5), device: PHONE }, PHONE);
        assert_eq!(seen, Ancestry::default());
    }

    #[test]
    fn ancestry_keeps_the_latest_devices() {
        let entries = (0..=ANCESTRY_DEVICES_MAX as u64)
            .map(|n| (DeviceId([u8::try_from(n).expect("small"); 32]), Hlc(n)))
            .collect();
        let seen = Ancestry::from_entries(entries);
        assert_eq!(seen.entries().len(), ANCESTRY_DEVICES_MAX);
        assert_eq!(seen.latest(DeviceId([0; 32])), None);
        assert!(seen.is_sorted());
    }

    proptest! {
        #[test]
        fn ticks_never_repeat(walls in prop::collection::vec(0..u64::MAX, 1..50)) {
            let mut clock = HybridClock::default();
            let mut last = Hlc::default();
            for wall in walls {
                let time = clock.tick(UnixMillis(wall), None);
                prop_assert!(time > last || time == Hlc::MAX);
                last = time;
            }
        }
    }
}
