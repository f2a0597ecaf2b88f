//! A record: a key in a domain, and one version of its value.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{DeviceId, ValueHash};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::stamp::{Ancestry, Hlc, Stamp};
use crate::{item, value};

/// A record's key: a path of 1 to 256 bytes of UTF-8 without control
/// characters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Key(String);

/// Why a text is no [`Key`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    #[error("a key cannot be empty")]
    Empty,
    /// The text is longer than [`KEY_BYTES_MAX`].
    #[error("a key of {bytes} bytes exceeds the limit of {KEY_BYTES_MAX}")]
    TooLong {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// The text contains a control character, such as NUL or a line break.
    #[error("a key cannot contain the control character U+{:04X}", u32::from(*.character))]
    Control {
        /// The first such character.
        character: char,
    },
}

impl Key {
    /// Checks that `text` is a key.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|character| character.is_control()) {
            Some(character) => Err(KeyError::Control { character }),
            None => Ok(Self(text)),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What one device wrote to one record at one moment, without the value.
///
/// Versions are ordered: the greater one wins. By time, then author, then
/// value hash, so that even a device restored from a backup which gives a
/// stamp twice leaves everybody with one winner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// Whether it deletes the record.
    pub deleted: bool,
    /// The value's hash; [`ValueHash::NONE`] for a tombstone.
    pub value: ValueHash,
    /// The value's length in bytes; 0 for a tombstone.
    pub bytes: u32,
    /// What its author had seen.
    pub seen: Ancestry,
}

impl Version {
    /// What devices make alike of the concurrent versions `a` and `b`: a live
    /// version with the stored `value`, greater than both, that knew both.
    ///
    /// In the last millisecond of the year 9999 nothing is greater; callers
    /// check the result where that matters.
    pub fn merged(a: &Self, b: &Self, value: &[u8]) -> Self {
        Self::derived(a.stamp.time.max(b.stamp.time).next(), a.causes().join(&b.causes()), Some(value))
    }

    /// The version that follows from `causes` alone, so that every device
    /// makes the same one: by nobody, `None` for a tombstone.
    ///
    /// `causes` must not be empty: a version by nobody is known by what it
    /// comes from.
    pub fn derived(time: Hlc, causes: Ancestry, value: Option<&[u8]>) -> Self {
        Self {
            stamp: Stamp { time, device: DeviceId::NULL },
            deleted: value.is_none(),
            value: value.map_or(ValueHash::NONE, item::value_hash),
            bytes: value.map_or(0, |value| u32::try_from(value.len()).unwrap_or(u32::MAX)),
            seen: causes,
        }
    }

    /// Whether this version's author had seen `other` when writing it.
    ///
    /// A version by nobody is known by whoever knows all that it was made of.
    pub fn knew(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        if other.stamp.device == DeviceId::NULL {
            return other.seen.entries().iter().all(|&(device, time)| self.covers(device, time));
        }
        if self.stamp.device == other.stamp.device {
            return self.stamp.time > other.stamp.time;
        }
        self.seen.latest(other.stamp.device).is_some_and(|time| time >= other.stamp.time)
    }

    /// The version and all that its author had seen, as an ancestry.
    pub fn causes(&self) -> Ancestry {
        self.seen.with(self.stamp)
    }

    fn covers(&self, device: DeviceId, time: Hlc) -> bool {
        let own = self.stamp.device == device && self.stamp.time >= time;
        own || self.seen.latest(device).is_some_and(|latest| latest >= time)
    }

    fn rank(&self) -> (Stamp, bool, ValueHash) {
        (self.stamp, self.deleted, self.value)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // The ancestry and the length follow from the rest for honest authors;
        // they stand last so that the order is total over all values.
        self.rank()
            .cmp(&other.rank())
            .then_with(|| self.bytes.cmp(&other.bytes))
            .then_with(|| self.seen.entries().cmp(other.seen.entries()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A version with its key and value, ready to be stored or sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Where it stands in its domain.
    pub key: Key,
    /// Which version it is.
    pub version: Version,
    /// The value as it is stored, with its [header](crate::value::Header);
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// How a received record contradicts itself.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RecordError {
    /// The value is not the one its version names.
    #[error("the value is not the one its version names")]
    WrongValue,
    /// A tombstone carries a value, or a live version carries none.
    #[error("a tombstone with a value, or a version without one")]
    WrongKind,
    /// The value is larger than [`VALUE_BYTES_MAX`], or its header larger than
    /// [`VALUE_HEADER_BYTES_MAX`](crate::limits::VALUE_HEADER_BYTES_MAX).
    #[error("a value of {bytes} bytes exceeds the limit of {VALUE_BYTES_MAX}")]
    TooLarge {
        /// The length of the stored value in bytes.
        bytes: usize,
    },
    /// The stamp lies past the year 9999.
    #[error("a stamp past the year 9999")]
    NoStamp,
    /// The ancestry is not sorted by device, or names its own author or
    /// nobody; or the version is by nobody and comes from nothing.
    #[error("an ancestry out of order")]
    WrongAncestry,
}

impl Record {
    /// The record that `stamp` and `seen` make of a value, or of none.
    pub fn new(key: Key, value: Option<Vec<u8>>, stamp: Stamp, seen: Ancestry) -> Self {
        let version = Version {
            stamp,
            deleted: value.is_none(),
            value: value.as_deref().map_or(ValueHash::NONE, item::value_hash),
            bytes: value.as_deref().map_or(0, |value| u32::try_from(value.len()).unwrap_or(u32::MAX)),
            seen,
        };
        Self { key, version, value }
    }

    /// The record that arrived: as [`Record::new`], if it stays within limits.
    /// Its version names its value, as that is where it comes from.
    pub fn received(
        key: Key,
        value: Option<Vec<u8>>,
        stamp: Stamp,
        seen: Ancestry,
    ) -> Result<Self, RecordError> {
        let record = Self::new(key, value, stamp, seen);
        record.check_form()?;
        Ok(record)
    }

    /// Checks that value and version belong together and stay within limits.
    ///
    /// Every record from another device and every record read for sending
    /// passes here, so damage on one disk never spreads.
    pub fn check(&self) -> Result<(), RecordError> {
        self.check_form()?;
        match &self.value {
            Some(value) if item::value_hash(value) != self.version.value => Err(RecordError::WrongValue),
            _ => Ok(()),
        }
    }

    /// All of [`Record::check`] but the hash of the value.
    fn check_form(&self) -> Result<(), RecordError> {
        if self.version.stamp.time > Hlc::MAX {
            return Err(RecordError::NoStamp);
        }
        let seen = &self.version.seen;
        let author = self.version.stamp.device;
        let unsound = seen.latest(author).is_some() || seen.latest(DeviceId::NULL).is_some();
        let from_nothing = author == DeviceId::NULL && seen.entries().is_empty();
        if !seen.is_sorted() || unsound || from_nothing {
            return Err(RecordError::WrongAncestry);
        }
        match &self.value {
            None if self.version.deleted
                && self.version.value == ValueHash::NONE
                && self.version.bytes == 0 =>
            {
                Ok(())
            }
            Some(value) if !self.version.deleted => {
                if !value::is_within_limits(value) {
                    return Err(RecordError::TooLarge { bytes: value.len() });
                }
                let right = usize::try_from(self.version.bytes) == Ok(value.len());
                if right { Ok(()) } else { Err(RecordError::WrongValue) }
            }
            _ => Err(RecordError::WrongKind),
        }
    }
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    use super::*;

    const LAPTOP: DeviceId = DeviceId([1; 32]);
    const PHONE: DeviceId = DeviceId([2; 32]);

    fn record(time: u64, device: DeviceId, value: Option<&[u8]>) -> Record {
        let stamp = Stamp { time: Hlc(time), device };
        Record::new(Key::new("k").unwrap(), value.map(<[u8]>::to_vec), stamp, Ancestry::default())
    }

    #[test]
    fn keys_end_at_256_bytes() {
        assert!(Key::new("k".repeat(KEY_BYTES_MAX)).is_ok());
        assert_eq!(Key::new("k".repeat(KEY_BYTES_MAX + 1)), Err(KeyError::TooLong { bytes: 257 }));
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_matches!(Key::new("a\0b"), Err(KeyError::Control { character: '\0' }));
        assert!(Key::new("chats/Ada & Grace/日本").is_ok());
    }

    #[test]
    fn a_value_must_be_the_one_its_version_names() {
        let mut damaged = record(1, PHONE, Some(b"hello"));
        assert_eq!(damaged.check(), Ok(()));
        damaged.value = Some(b"hellp".to_vec());
        assert_eq!(damaged.check(), Err(RecordError::WrongValue));
        damaged.value = None;
        assert_eq!(damaged.check(), Err(RecordError::WrongKind));
    }

    #[test]
    fn values_end_at_one_mebibyte() {
        assert_eq!(record(1, PHONE, Some(&vec![0; VALUE_BYTES_MAX])).check(), Ok(()));
        let over = record(1, PHONE, Some(&vec![0; VALUE_BYTES_MAX + 1]));
        assert_eq!(over.check(), Err(RecordError::TooLarge { bytes: VALUE_BYTES_MAX + 1 }));
    }

    #[test]
    fn a_version_by_nobody_names_what_it_comes_from() {
        let [ours, theirs] =
            [record(5, PHONE, Some(b"one")).version, record(7, LAPTOP, Some(b"two")).version];
        let version = Version::merged(&ours, &theirs, b"both");
        assert_eq!(version.stamp, Stamp { time: Hlc(8), device: DeviceId::NULL });
        assert_eq!(version.seen.entries(), [(LAPTOP, Hlc(7)), (PHONE, Hlc(5))]);
        let mut merged = Record { key: Key::new("k").unwrap(), version, value: Some(b"both".to_vec()) };
        assert_eq!(merged.check(), Ok(()));
        merged.version.seen = Ancestry::default();
        assert_eq!(merged.check(), Err(RecordError::WrongAncestry));
    }

    #[test]
    fn nobody_stands_in_no_ancestry() {
        let mut forged = record(9, PHONE, Some(b"one"));
        forged.version.seen = Ancestry::from_entries(vec![(DeviceId::NULL, Hlc(3))]);
        assert_eq!(forged.check(), Err(RecordError::WrongAncestry));
    }

    #[test]
    fn an_edit_of_a_merge_knows_the_merge_and_its_parts() {
        let [ours, theirs] =
            [record(5, PHONE, Some(b"one")).version, record(7, LAPTOP, Some(b"two")).version];
        let merged = Version::merged(&ours, &theirs, b"both");
        let mut edit = record(9, PHONE, Some(b"three")).version;
        assert!(!edit.knew(&merged));
        edit.seen = merged.seen.replaced_by(merged.stamp, PHONE);
        assert_eq!(edit.seen.entries(), [(LAPTOP, Hlc(7))]);
        assert!(edit.knew(&merged) && edit.knew(&ours) && edit.knew(&theirs));
        assert!(merged.knew(&ours) && merged.knew(&theirs) && !merged.knew(&edit));
    }

    #[test]
    fn stamps_end_with_the_year_9999() {
        assert_eq!(record(Hlc::MAX.0, PHONE, None).check(), Ok(()));
        assert_eq!(record(Hlc::MAX.0 + 1, PHONE, None).check(), Err(RecordError::NoStamp));
    }

    /// A device restored from a backup may give one stamp twice.
    #[test]
    fn equal_stamps_still_have_one_winner() {
        let one = record(5, PHONE, Some(b"one")).version;
        let two = record(5, PHONE, Some(b"two")).version;
        assert_ne!(one.cmp(&two), Ordering::Equal);
        assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
    }

    #[test]
    fn a_version_knows_its_ancestors_and_no_others() {
        let first = record(5, PHONE, Some(b"one"));
        let mut second = record(9, LAPTOP, Some(b"two"));
        assert!(!second.version.knew(&first.version));
        second.version.seen = first.version.seen.replaced_by(first.version.stamp, LAPTOP);
        assert!(second.version.knew(&first.version));
        assert!(!first.version.knew(&second.version));
    }

    /// Versions that three devices may make of one record: each step writes on
    /// one device, or lets one device join what another one holds.
    fn lives(steps: &[(u8, u8)]) -> Vec<Version> {
        let mut held: [Option<Version>; 3] = [None, None, None];
        let mut all = Vec::new();
        for (step, &(at, from)) in steps.iter().enumerate() {
            let (at, from) = (usize::from(at % 3), usize::from(from % 4));
            let device = DeviceId([at as u8 + 1; 32]);
            let old = held[at].clone();
            let value = vec![step as u8];
            let new = match (old, held.get(from).cloned().flatten()) {
                (old, _) if from == 3 => {
                    let time =
                        Hlc(old.as_ref().map_or(step as u64, |old| old.stamp.time.0.max(step as u64)) + 1);
                    let seen =
                        old.map_or_else(Ancestry::default, |old| old.seen.replaced_by(old.stamp, device));
                    Record::new(Key::new("k").unwrap(), Some(value), Stamp { time, device }, seen).version
                }
                (Some(old), Some(theirs)) if old.knew(&theirs) || theirs.knew(&old) => old.max(theirs),
                (Some(old), Some(theirs)) => Version::merged(&old, &theirs, &value),
                (None, Some(theirs)) => theirs,
                (_, None) => continue,
            };
            held[at] = Some(new.clone());
            all.push(new);
        }
        all
    }

    proptest! {
        /// A version knows exactly those whose causes are among its own.
        #[test]
        fn to_know_is_to_have_the_causes(steps in prop::collection::vec((0..3_u8, 0..4_u8), 1..24)) {
            let versions = lives(&steps);
            for a in &versions {
                prop_assert!(a.knew(a));
                prop_assert!(a.seen.is_sorted() && a.seen.latest(DeviceId::NULL).is_none());
                for b in &versions {
                    let all = b.causes();
                    let within = all.entries().iter().all(|&(device, time)| a.covers(device, time));
                    prop_assert_eq!(a.knew(b), within, "{:?} {:?}", a, b);
                    if a.knew(b) && b.knew(a) && a != b {
                        prop_assert!(a.stamp.device == DeviceId::NULL || b.stamp.device == DeviceId::NULL);
                    }
                    for c in &versions {
                        prop_assert!(!(a.knew(b) && b.knew(c)) || a.knew(c));
                    }
                    let merged = Version::merged(a, b, b"merged");
                    prop_assert!(merged > *a && merged > *b && merged.knew(a) && merged.knew(b));
                    prop_assert_eq!(&merged, &Version::merged(b, a, b"merged"));
                }
            }
        }

        /// P18: the order of versions is total, so every device agrees.
        #[test]
        fn the_order_of_versions_is_total(
            versions in prop::collection::vec((0..4_u64, 0..3_u8, prop::option::of(0..3_u8)), 3..4),
        ) {
            let versions: Vec<_> = versions
                .into_iter()
                .map(|(time, device, value)| {
                    let value = value.map(|value| vec![value]);
                    record(time, DeviceId([device; 32]), value.as_deref()).version
                })
                .collect();
            let [a, b, c] = &versions[..] else { unreachable!() };
            prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
            prop_assert_eq!(a.cmp(b) == Ordering::Equal, a == b);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
