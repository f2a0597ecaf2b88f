//! What a header forgets when it would grow beyond its limit.
//!
//! What is forgotten errs on the side of keeping: an element that was removed
//! long ago may come back from a device that was away, and an edit may beat a
//! later one. Every device forgets the same.

use super::doc::{Best, Doc, Field, Many, Reg};
use super::parts::{Part, Parts};
use crate::stamp::Hlc;

/// Removed elements that are remembered once a header is too large.
const GONE_MAX: usize = 512;

/// How much to forget; each step forgets more.
pub(crate) const STEPS: [Step; 3] = [Step::OldRemovals, Step::Elements, Step::Fields];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// All but the latest removals of elements.
    OldRemovals,
    /// All removals of elements; each element is as late as the latest of its
    /// field.
    Elements,
    /// Every field is as late as the latest.
    Fields,
}

/// Forgets what `step` says of a document whose body has `parts`.
pub(crate) fn coarsen(doc: &mut Doc<'_>, parts: &Parts<'_>, step: Step) {
    let kept_from = match step {
        Step::OldRemovals => latest_removals(doc),
        Step::Elements | Step::Fields => Hlc(u64::MAX),
    };
    for (name, field) in doc.iter_mut() {
        let Field::Many(many) = field else { continue };
        many.items.retain(|_, reg| reg.value.is_some() || reg.time >= kept_from);
        if step == Step::OldRemovals || decides_by_time(many) {
            continue;
        }
        let latest = many.items.values().map(|reg| reg.time).max().unwrap_or_default();
        let order = match parts.get(name) {
            Some(Part::Items { items, .. }) => items.as_slice(),
            _ => &[],
        };
        for (index, (id, _)) in order.iter().enumerate() {
            if let Some(Reg { time, value: Some(value) }) = many.items.get_mut(id) {
                *time = latest;
                value.born = value.born.map(|_| (latest, u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
    }
    if step == Step::Fields {
        one_time(doc);
    }
    doc.retain(|_, field| !matches!(field, Field::Many(many) if many.items.is_empty() && !many.present));
}

fn one_time(doc: &mut Doc<'_>) {
    doc.retain(|_, field| {
        !matches!(field, Field::One(Reg { value: None, .. }) | Field::Best(Best { value: None, .. }))
    });
    let mut latest = Hlc::default();
    for field in doc.values_mut() {
        for_each_time(field, |time| latest = latest.max(*time));
    }
    for field in doc.values_mut() {
        for_each_time(field, |time| *time = latest);
        if let Field::Best(best) = field {
            best.life = Hlc::default();
        }
    }
}

/// Whether the latest element stands before the others, which has to stay so.
fn decides_by_time(many: &Many<'_>) -> bool {
    !many.present
}

fn for_each_time(field: &mut Field<'_>, mut each: impl FnMut(&mut Hlc)) {
    match field {
        Field::One(reg) => each(&mut reg.time),
        Field::Best(best) => {
            if let Some(value) = &mut best.value {
                each(&mut value.time);
            }
        }
        Field::Many(many) if decides_by_time(many) => {}
        Field::Many(many) => many.items.values_mut().for_each(|reg| {
            let time = reg.time;
            each(&mut reg.time);
            // An element that stands where it was inserted still does.
            if let Some(born) =
                reg.value.as_mut().and_then(|value| value.born.as_mut()).filter(|born| born.0 == time)
            {
                born.0 = reg.time;
            }
        }),
        Field::Count(_) => {}
    }
}

/// The time of the last removal that is remembered.
fn latest_removals(doc: &Doc<'_>) -> Hlc {
    let mut times = Vec::new();
    for field in doc.values() {
        if let Field::Many(many) = field {
            times.extend(many.items.values().filter(|reg| reg.value.is_none()).map(|reg| reg.time));
        }
    }
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.get(GONE_MAX - 1).copied().unwrap_or_default()
}
