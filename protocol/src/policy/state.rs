//! What a header says of the fields of its body: when each was written, what
//! was removed, and who counted what.
//!
//! Written so that the usual value needs little or none of it: one time holds
//! for most fields, and only the others are listed.

use std::collections::BTreeMap;

use serde_bytes::{ByteArray, ByteBuf};

use super::FieldPolicy;
use super::doc::{Best, Count, Doc, Field, ItemId, Many, Payload, Ranked, Reg, Tag};
use super::parts::{Part, Parts, Policies};
use super::rank::Rank;
use crate::cbor::int_map;
use crate::id::DeviceId;
use crate::record::Version;
use crate::stamp::Hlc;

/// What merges have to know of a value beyond its body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// The time of every part that is not listed; the version's own if `None`.
    base: Option<Hlc>,
    marks: Option<BTreeMap<String, Mark>>,
}
int_map!(State {} optional { 1: base, 2: marks });

/// What is to be known of one field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Mark {
    /// When it was written, or removed if the body does not have it.
    time: Option<Hlc>,
    /// When it was last removed, where that ends all that came before.
    life: Option<Hlc>,
    /// When its elements were written, in the order of the body: how many at
    /// which time.
    live: Option<Vec<(u32, Hlc)>>,
    /// When they were inserted: how many, when, and the place of the first.
    born: Option<Vec<(u32, Hlc, u32)>>,
    /// Elements that were removed, and when.
    gone: Option<Vec<(ByteBuf, Hlc)>>,
    /// What each device added, and when.
    counts: Option<Vec<(ByteArray<8>, Hlc, i64)>>,
}
int_map!(Mark {} optional { 1: time, 2: life, 3: live, 4: born, 5: gone, 6: counts });

/// The tag of a device.
pub(crate) fn tag(device: DeviceId) -> Tag {
    let mut tag = [0; 8];
    tag.copy_from_slice(&device.0[..8]);
    tag
}

impl State {
    /// What a body says with this state, as `version`.
    pub(crate) fn read<'a>(&self, policies: Policies<'_>, parts: &Parts<'a>, version: &Version) -> Doc<'a> {
        // Nothing in a value is later than the value: a later time could not
        // be overwritten.
        let end = version.stamp.time;
        let base = self.base.unwrap_or(end).min(end);
        let none = BTreeMap::new();
        let marks = self.marks.as_ref().unwrap_or(&none);
        let unmarked = Mark::default();
        let mut doc = Doc::new();
        for (name, part) in parts {
            let mark = marks.get(name).unwrap_or(&unmarked);
            let policy = policies.of(name);
            doc.insert(name.clone(), mark.read(policy, part, Time { base, end }, version.stamp.device));
        }
        for (name, mark) in marks {
            if let Some(field) =
                mark.read_absent(policies.of(name), end).filter(|_| !parts.contains_key(name))
            {
                doc.insert(name.clone(), field);
            }
        }
        doc
    }

    /// The state from which `read` makes `doc` of the body with `parts`; `own`
    /// is the time and author of its version, if they are known.
    pub(crate) fn of(
        policies: Policies<'_>,
        doc: &Doc<'_>,
        parts: &Parts<'_>,
        own: Option<(Hlc, DeviceId)>,
    ) -> Self {
        let mut times = BTreeMap::new();
        for field in doc.values() {
            field.times(|time| *times.entry(time).or_insert(0_u32) += 1);
        }
        let base = most_common(&times).or(own.map(|(time, _)| time)).unwrap_or_default();
        let mut marks = BTreeMap::new();
        for (name, field) in doc {
            let append = matches!(policies.of(name), FieldPolicy::Append { .. });
            let mark = Mark::of(field, parts.get(name), append, base, own.map(|(_, author)| tag(author)));
            if mark != Mark::default() {
                marks.insert(name.clone(), mark);
            }
        }
        Self {
            base: Some(base).filter(|_| own.is_none_or(|(time, _)| time != base)),
            marks: Some(marks).filter(|marks| !marks.is_empty()),
        }
    }
}

#[derive(Clone, Copy)]
struct Time {
    base: Hlc,
    end: Hlc,
}

impl Mark {
    fn read<'a>(&self, policy: &FieldPolicy, part: &Part<'a>, at: Time, author: DeviceId) -> Field<'a> {
        let time = self.time.map_or(at.base, |time| time.min(at.end));
        match part {
            Part::Plain(raw) => Field::One(Reg { time, value: Some(Payload { raw, born: None }) }),
            Part::Best(raw) => {
                let life = self.life.unwrap_or_default().min(at.end);
                Field::Best(Best { life, value: Some(Ranked { rank: Rank::new(raw, policy), raw, time }) })
            }
            Part::Items { items: elements, .. } => {
                let mut many =
                    Many { present: *policy != FieldPolicy::KeepBoth, items: self.read_gone(at.end) };
                let times = self.live.as_ref().and_then(|runs| spread(runs, elements.len()));
                let born = self.born.as_ref().and_then(|runs| spread_born(runs, elements.len()));
                let append = matches!(policy, FieldPolicy::Append { .. });
                for (index, (id, raw)) in elements.iter().enumerate() {
                    let time = times
                        .as_ref()
                        .and_then(|times| times.get(index))
                        .map_or(time, |&time| time.min(at.end));
                    let place = (time, u32::try_from(index).unwrap_or(u32::MAX));
                    let listed = born.as_ref().and_then(|born| born.get(index)).copied();
                    let born = append.then(|| listed.unwrap_or(place));
                    many.put(id.clone(), Reg { time, value: Some(Payload { raw, born }) });
                }
                Field::Many(many)
            }
            Part::Sum(sum) => {
                let shares =
                    self.read_counts(at.end).unwrap_or_else(|| [(tag(author), (at.base, *sum))].into());
                Field::Count(Count { present: true, shares })
            }
        }
    }

    /// What is left of a field that the body does not have.
    fn read_absent<'a>(&self, policy: &FieldPolicy, end: Hlc) -> Option<Field<'a>> {
        let removed = self.time.map(|time| Field::One(Reg { time: time.min(end), value: None }));
        match policy {
            FieldPolicy::Lww => removed,
            FieldPolicy::Max | FieldPolicy::Min | FieldPolicy::Longest => {
                self.life.map(|life| Field::Best(Best { life: life.min(end), value: None }))
            }
            FieldPolicy::Counter => match self.read_counts(end) {
                Some(shares) => Some(Field::Count(Count { present: false, shares })),
                None => removed,
            },
            FieldPolicy::SetUnion { .. }
            | FieldPolicy::Map
            | FieldPolicy::Append { .. }
            | FieldPolicy::KeepBoth => match self.read_gone(end) {
                items if items.is_empty() => removed,
                items => Some(Field::Many(Many { present: false, items })),
            },
        }
    }

    fn read_gone<'a>(&self, end: Hlc) -> BTreeMap<ItemId, Reg<'a>> {
        let gone = self.gone.iter().flatten();
        gone.map(|(id, time)| (id.to_vec(), Reg { time: *time.min(&end), value: None })).collect()
    }

    fn read_counts(&self, end: Hlc) -> Option<BTreeMap<Tag, (Hlc, i64)>> {
        let counts = self.counts.as_ref()?.iter();
        Some(counts.map(|(tag, time, share)| (**tag, (*time.min(&end), *share))).collect())
    }

    fn of(field: &Field<'_>, part: Option<&Part<'_>>, append: bool, base: Hlc, author: Option<Tag>) -> Self {
        let unless_base = |time: Hlc| Some(time).filter(|&time| time != base);
        match field {
            Field::One(Reg { time, value: None }) => Self { time: Some(*time), ..Self::default() },
            Field::One(Reg { time, value: Some(_) }) => Self { time: unless_base(*time), ..Self::default() },
            Field::Best(Best { life, value }) => Self {
                time: value.as_ref().and_then(|value| unless_base(value.time)),
                life: Some(*life).filter(|life| *life != Hlc::default() || value.is_none()),
                ..Self::default()
            },
            Field::Many(many) => {
                let order = match part {
                    Some(Part::Items { items, .. }) => items.as_slice(),
                    _ => &[],
                };
                let live: Vec<_> = order.iter().filter_map(|(id, _)| many.items.get(id)).collect();
                let mut times = BTreeMap::new();
                live.iter().for_each(|reg| *times.entry(reg.time).or_insert(0) += 1);
                let gone = many.items.iter().filter(|(_, reg)| reg.value.is_none());
                let gone: Vec<_> = gone.map(|(id, reg)| (ByteBuf::from(id.clone()), reg.time)).collect();
                Self {
                    time: most_common(&times).and_then(unless_base),
                    live: Some(runs(&live)).filter(|_| times.len() > 1),
                    born: if append { born_runs(&live) } else { None },
                    gone: Some(gone).filter(|gone| !gone.is_empty()),
                    ..Self::default()
                }
            }
            Field::Count(count) => {
                let plain = author.is_some_and(|author| {
                    count.present
                        && count.shares.len() == 1
                        && count.shares.get(&author).is_some_and(|(time, _)| *time == base)
                });
                let counts =
                    count.shares.iter().map(|(tag, (time, share))| (ByteArray::new(*tag), *time, *share));
                Self { counts: if plain { None } else { Some(counts.collect()) }, ..Self::default() }
            }
        }
    }
}

impl<'a> Many<'a> {
    /// Adds a part, or joins it to the one that is there.
    pub(crate) fn put(&mut self, id: ItemId, reg: Reg<'a>) {
        match self.items.get_mut(&id) {
            Some(old) if *old >= reg => {}
            Some(old) => *old = reg,
            None => drop(self.items.insert(id, reg)),
        }
    }
}

impl Field<'_> {
    /// Calls `note` with the times that a state has to tell.
    fn times(&self, mut note: impl FnMut(Hlc)) {
        match self {
            Self::One(Reg { time, value: Some(_) }) => note(*time),
            Self::Best(Best { value: Some(value), .. }) => note(value.time),
            Self::Many(many) => {
                many.items.values().filter(|reg| reg.value.is_some()).for_each(|reg| note(reg.time));
            }
            Self::One(_) | Self::Best(_) | Self::Count(_) => {}
        }
    }
}

/// The greatest of the times that hold for most parts.
fn most_common(times: &BTreeMap<Hlc, u32>) -> Option<Hlc> {
    times.iter().max_by_key(|(time, count)| (**count, **time)).map(|(time, _)| *time)
}

fn runs(live: &[&Reg<'_>]) -> Vec<(u32, Hlc)> {
    let mut runs: Vec<(u32, Hlc)> = Vec::new();
    for reg in live {
        match runs.last_mut() {
            Some((count, time)) if *time == reg.time => *count += 1,
            _ => runs.push((1, reg.time)),
        }
    }
    runs
}

/// `None` if every element stands where it was inserted when it was written.
fn born_runs(live: &[&Reg<'_>]) -> Option<Vec<(u32, Hlc, u32)>> {
    let mut runs: Vec<(u32, Hlc, u32)> = Vec::new();
    let mut plain = true;
    for (index, reg) in live.iter().enumerate() {
        let (time, place) = reg.value.and_then(|value| value.born).unwrap_or_default();
        plain &= time == reg.time && u32::try_from(index) == Ok(place);
        match runs.last_mut() {
            Some((count, last, first)) if *last == time && first.checked_add(*count) == Some(place) => {
                *count += 1
            }
            _ => runs.push((1, time, place)),
        }
    }
    (!plain).then_some(runs)
}

/// The times of `count` elements; `None` if the runs are of another number.
fn spread(runs: &[(u32, Hlc)], count: usize) -> Option<Vec<Hlc>> {
    let total = runs.iter().fold(0_u64, |total, (count, _)| total.saturating_add(u64::from(*count)));
    if usize::try_from(total) != Ok(count) {
        return None;
    }
    Some(runs.iter().flat_map(|&(count, time)| std::iter::repeat_n(time, count as usize)).collect())
}

fn spread_born(runs: &[(u32, Hlc, u32)], count: usize) -> Option<Vec<(Hlc, u32)>> {
    let plain: Vec<_> = runs.iter().map(|&(count, time, _)| (count, time)).collect();
    spread(&plain, count)?;
    let each =
        |&(count, time, first): &(u32, Hlc, u32)| (0..count).map(move |n| (time, first.saturating_add(n)));
    Some(runs.iter().flat_map(each).collect())
}
