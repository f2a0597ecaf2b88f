//! A JSON object as a join: what it says, and when each part was written.
//!
//! Each part is the greatest of a totally ordered set, or a map of such parts,
//! so joining them is commutative, associative and idempotent by construction.

use std::collections::BTreeMap;

use super::json;
use super::rank::Rank;
use crate::stamp::Hlc;

/// The fields of a value that were ever there, by name.
pub(crate) type Doc<'a> = BTreeMap<String, Field<'a>>;

/// Which element of a list or object: a name, or the head of a hash.
pub(crate) type ItemId = Vec<u8>;

/// Which device added to a counter: the head of its id.
pub(crate) type Tag = [u8; 8];

/// One field.
///
/// The order of the variants is that in which kinds beat each other: a value
/// of the kind that its policy is for beats any other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Field<'a> {
    /// The later value stands.
    One(Reg<'a>),
    /// The better value stands.
    Best(Best<'a>),
    /// A list or an object of parts.
    Many(Many<'a>),
    /// A sum.
    Count(Count),
}

/// A part whose later value stands; `None` for one that was removed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Reg<'a> {
    pub(crate) time: Hlc,
    pub(crate) value: Option<Payload<'a>>,
}

/// A value as written, and its place in a list that orders by insertion.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Payload<'a> {
    pub(crate) raw: &'a str,
    pub(crate) born: Option<(Hlc, u32)>,
}

/// A value that stands until it is removed or a better one comes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Best<'a> {
    /// When it was last removed: nothing from before comes back.
    pub(crate) life: Hlc,
    pub(crate) value: Option<Ranked<'a>>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ranked<'a> {
    pub(crate) rank: Rank,
    pub(crate) raw: &'a str,
    pub(crate) time: Hlc,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Many<'a> {
    /// Whether it stands in the value even if it is empty.
    pub(crate) present: bool,
    pub(crate) items: BTreeMap<ItemId, Reg<'a>>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Count {
    /// Whether it stands in the value.
    pub(crate) present: bool,
    /// What each device added, and when it did so last.
    pub(crate) shares: BTreeMap<Tag, (Hlc, i64)>,
}

impl Count {
    /// The sum as a value can hold it.
    pub(crate) fn sum(&self) -> i64 {
        let sum: i128 = self.shares.values().map(|&(_, share)| i128::from(share)).sum();
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What the join of two values loses.
pub(crate) struct Losses {
    /// The latest moment that both sides know of. What was written until then,
    /// both have seen: it may be replaced.
    pub(crate) known: Hlc,
    /// Whether something was lost that only one side had seen.
    pub(crate) lost: bool,
}

impl Losses {
    fn note(&mut self, time: Hlc, raw: &str, winner: Option<&str>) {
        self.lost |= time > self.known && winner.is_none_or(|winner| !json::same(raw, winner));
    }
}

/// All that either of two values says.
pub(crate) fn join<'a>(mut a: Doc<'a>, b: Doc<'a>, losses: &mut Losses) -> Doc<'a> {
    for (name, theirs) in b {
        let joined = match a.remove(&name) {
            None => theirs,
            Some(ours) => join_field(ours, theirs, losses),
        };
        a.insert(name, joined);
    }
    a
}

fn join_field<'a>(a: Field<'a>, b: Field<'a>, losses: &mut Losses) -> Field<'a> {
    match (a, b) {
        (Field::One(a), Field::One(b)) => Field::One(join_reg(a, b, losses)),
        (Field::Best(a), Field::Best(b)) => Field::Best(join_best(a, b, losses)),
        (Field::Many(mut a), Field::Many(b)) => {
            a.present |= b.present;
            for (id, theirs) in b.items {
                let joined = match a.items.remove(&id) {
                    None => theirs,
                    Some(ours) => join_reg(ours, theirs, losses),
                };
                a.items.insert(id, joined);
            }
            Field::Many(a)
        }
        (Field::Count(mut a), Field::Count(b)) => {
            a.present |= b.present;
            for (tag, share) in b.shares {
                let ours = a.shares.entry(tag).or_insert(share);
                *ours = share.max(*ours);
            }
            Field::Count(a)
        }
        (Field::One(plain), fit) | (fit, Field::One(plain)) => {
            if let Some(value) = plain.value {
                losses.note(plain.time, value.raw, None);
            }
            fit
        }
        // One policy makes one kind beside plain values.
        (a @ (Field::Best(_) | Field::Many(_) | Field::Count(_)), _) => a,
    }
}

fn join_reg<'a>(a: Reg<'a>, b: Reg<'a>, losses: &mut Losses) -> Reg<'a> {
    let (winner, loser) = if a >= b { (a, b) } else { (b, a) };
    if let Some(value) = loser.value {
        losses.note(loser.time, value.raw, winner.value.map(|winner| winner.raw));
    }
    winner
}

fn join_best<'a>(a: Best<'a>, b: Best<'a>, losses: &mut Losses) -> Best<'a> {
    let (winner, loser) = if a >= b { (a, b) } else { (b, a) };
    if let Some(value) = &loser.value {
        let better = winner.value.as_ref().filter(|_| winner.life == loser.life);
        match (better.map(|better| &better.rank), &value.rank) {
            // That the lesser number goes is what the policy is for; a text
            // that is not part of the longer one was somebody's work.
            (Some(Rank::Long(_, long)), Rank::Long(_, short)) if long.contains(short.as_str()) => {}
            (Some(Rank::Long(..)) | None, _) => {
                losses.note(value.time, value.raw, better.map(|better| better.raw));
            }
            (Some(_), _) => {}
        }
    }
    winner
}
