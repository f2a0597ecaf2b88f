//! A local write: what it changed of the version that it was made on.

use std::collections::BTreeSet;

use super::FieldPolicy;
use super::doc::{Best, Count, Doc, Field, ItemId, Many, Payload, Ranked, Reg};
use super::json;
use super::parts::{Part, Parts, Policies};
use super::rank::Rank;
use super::state::tag;
use crate::stamp::{Hlc, Stamp};

/// What a body with `parts` says that was written at `stamp` on `old`. What it
/// leaves as it was keeps its time.
pub(crate) fn edit<'a>(policies: Policies<'_>, old: &Doc<'a>, parts: &Parts<'a>, stamp: Stamp) -> Doc<'a> {
    let names: BTreeSet<&String> = old.keys().chain(parts.keys()).collect();
    let mut doc = Doc::new();
    for name in names {
        let edited = match parts.get(name) {
            Some(part) => Some(edit_field(policies.of(name), old.get(name), part, stamp)),
            None => old.get(name).map(|field| remove_field(field, stamp)),
        };
        doc.extend(edited.map(|field| (name.clone(), field)));
    }
    doc
}

fn edit_field<'a>(policy: &FieldPolicy, old: Option<&Field<'a>>, part: &Part<'a>, stamp: Stamp) -> Field<'a> {
    match part {
        Part::Plain(raw) => {
            let old = match old {
                Some(Field::One(reg)) => Some(reg),
                _ => None,
            };
            Field::One(edit_reg(old, Payload { raw, born: None }, stamp.time))
        }
        Part::Best(raw) => {
            let (life, old) = match old {
                Some(Field::Best(Best { life, value })) => (*life, value.as_ref()),
                _ => (Hlc::default(), None),
            };
            let time = old.filter(|old| json::same(old.raw, raw)).map_or(stamp.time, |old| old.time);
            Field::Best(Best { life, value: Some(Ranked { rank: Rank::new(raw, policy), raw, time }) })
        }
        Part::Items { items, chosen } => {
            let none = Many::default();
            let old = match old {
                Some(Field::Many(many)) => many,
                _ => &none,
            };
            let keeps_both = *policy == FieldPolicy::KeepBoth;
            let mut many = edit_items(policy, old, items, stamp.time);
            many.present = !keeps_both;
            if let Some((first, _)) = items.first().filter(|_| keeps_both && *chosen) {
                choose(&mut many, first, stamp.time);
            }
            Field::Many(many)
        }
        Part::Sum(sum) => {
            let mut count = match old {
                Some(Field::Count(count)) => count.clone(),
                _ => Count::default(),
            };
            count.present = true;
            add(&mut count, *sum, stamp);
            Field::Count(count)
        }
    }
}

fn remove_field<'a>(old: &Field<'a>, stamp: Stamp) -> Field<'a> {
    match old {
        Field::One(Reg { value: Some(_), .. }) => Field::One(Reg { time: stamp.time, value: None }),
        Field::Best(Best { value: Some(_), .. }) => Field::Best(Best { life: stamp.time, value: None }),
        Field::One(_) | Field::Best(_) => old.clone(),
        Field::Many(many) => {
            let mut many = many.clone();
            many.present = false;
            many.items.values_mut().for_each(|reg| remove(reg, stamp.time));
            Field::Many(many)
        }
        Field::Count(count) => {
            let mut count = count.clone();
            count.present = false;
            add(&mut count, 0, stamp);
            Field::Count(count)
        }
    }
}

fn edit_reg<'a>(old: Option<&Reg<'a>>, new: Payload<'a>, time: Hlc) -> Reg<'a> {
    let unchanged = old.filter(|old| old.value.is_some_and(|value| json::same(value.raw, new.raw)));
    Reg { time: unchanged.map_or(time, |old| old.time), value: Some(new) }
}

fn remove(reg: &mut Reg<'_>, time: Hlc) {
    if reg.value.is_some() {
        *reg = Reg { time, value: None };
    }
}

fn edit_items<'a>(policy: &FieldPolicy, old: &Many<'a>, items: &[(ItemId, &'a str)], time: Hlc) -> Many<'a> {
    let mut many = Many::default();
    for (index, (id, raw)) in items.iter().enumerate() {
        let old = old.items.get(id);
        let before = old.and_then(|old| old.value).and_then(|value| value.born);
        let here = (time, u32::try_from(index).unwrap_or(u32::MAX));
        let born = matches!(policy, FieldPolicy::Append { .. }).then(|| before.unwrap_or(here));
        many.put(id.clone(), edit_reg(old, Payload { raw, born }, time));
    }
    for (id, reg) in &old.items {
        if !many.items.contains_key(id) {
            let mut reg = reg.clone();
            remove(&mut reg, time);
            many.items.insert(id.clone(), reg);
        }
    }
    many
}

/// Makes `id` the one that stands, if it is not.
fn choose(many: &mut Many<'_>, id: &ItemId, time: Hlc) {
    let greatest = many.items.iter().filter(|(_, reg)| reg.value.is_some()).max_by_key(|(_, reg)| *reg);
    if greatest.is_some_and(|(greatest, _)| greatest != id)
        && let Some(reg) = many.items.get_mut(id)
    {
        reg.time = time;
    }
}

/// Lets the device's share make up for what is between the sum and `goal`.
fn add(count: &mut Count, goal: i64, stamp: Stamp) {
    let change = i128::from(goal) - i128::from(count.sum());
    let share = count.shares.get(&tag(stamp.device)).map_or(0, |&(_, share)| i128::from(share));
    if change != 0 || count.shares.is_empty() {
        let share = (share + change).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let share = i64::try_from(share).expect("just clamped");
        count.shares.insert(tag(stamp.device), (stamp.time, share));
    }
}
