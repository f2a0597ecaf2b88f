//! A body as the policies of its fields see it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::FieldPolicy;
use super::doc::ItemId;
use super::json;
use super::rank::Rank;

/// What the losers of a field that keeps both are collected under.
const OTHERS: &str = "~others";

/// The policies of a domain's fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policies<'a> {
    pub(crate) default: &'a FieldPolicy,
    pub(crate) fields: &'a BTreeMap<String, FieldPolicy>,
}

impl<'a> Policies<'a> {
    pub(crate) fn of(self, name: &str) -> &'a FieldPolicy {
        match self.fields.get(name) {
            Some(policy) => policy,
            // The losers of a field have none of their own.
            None if name.ends_with(OTHERS) => &FieldPolicy::Lww,
            None => self.default,
        }
    }

    /// The field whose losers `name` collects.
    fn collected(self, name: &str) -> Option<&str> {
        let field = name.strip_suffix(OTHERS)?;
        (*self.of(field) == FieldPolicy::KeepBoth).then_some(field)
    }
}

/// One field of a body.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A value that only its time is known of.
    Plain(&'a str),
    /// A value that is better or worse than others.
    Best(&'a str),
    /// Elements in their order. `chosen` if the first one stands before the
    /// others.
    Items { items: Vec<(ItemId, &'a str)>, chosen: bool },
    /// A whole number.
    Sum(i64),
}

pub(crate) type Parts<'a> = BTreeMap<String, Part<'a>>;

/// The parts of a body; `None` if it is no JSON object.
pub(crate) fn parts<'a>(policies: Policies<'_>, body: &'a [u8]) -> Option<Parts<'a>> {
    let fields = json::object(str::from_utf8(body).ok()?)?;
    let mut parts = Parts::new();
    let mut losers = Vec::new();
    for (name, raw) in fields {
        match policies.collected(&name) {
            Some(field) => losers.push((field.to_owned(), raw)),
            None => {
                let part = part(policies.of(&name), raw);
                parts.insert(name, part);
            }
        }
    }
    for (field, raw) in losers {
        let others = json::array(raw).unwrap_or_else(|| vec![raw]);
        let others = others.into_iter().map(|other| (hashed(b'v', other), other));
        let part = parts.entry(field).or_insert(Part::Items { items: Vec::new(), chosen: false });
        if let Part::Items { items, .. } = part {
            items.extend(others);
        }
    }
    parts.retain(|_, part| !matches!(part, Part::Items { items, chosen: false } if items.is_empty()));
    Some(parts)
}

/// The name of the field that collects the losers of `field`.
pub(crate) fn others_of(field: &str) -> String {
    format!("{field}{OTHERS}")
}

fn part<'a>(policy: &FieldPolicy, raw: &'a str) -> Part<'a> {
    let items = match policy {
        FieldPolicy::Lww => return Part::Plain(raw),
        FieldPolicy::Max | FieldPolicy::Min | FieldPolicy::Longest => return Part::Best(raw),
        FieldPolicy::Counter => return raw.parse().map_or(Part::Plain(raw), Part::Sum),
        FieldPolicy::KeepBoth => Some(vec![(hashed(b'v', raw), raw)]),
        FieldPolicy::SetUnion { by } => elements(raw, by.as_deref()),
        FieldPolicy::Append { by } => elements(raw, Some(by)),
        FieldPolicy::Map => json::object(raw)
            .map(|fields| fields.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect()),
    };
    items.map_or(Part::Plain(raw), |items| Part::Items { items, chosen: true })
}

fn elements<'a>(raw: &'a str, by: Option<&str>) -> Option<Vec<(ItemId, &'a str)>> {
    let elements = json::array(raw)?.into_iter();
    Some(elements.map(|element| (element_id(element, by), element)).collect())
}

/// Which element of a list it is: by its identifying field, or by all of it.
fn element_id(element: &str, by: Option<&str>) -> ItemId {
    match by.and_then(|by| identifying(element, by)) {
        Some(value) => hashed(b'f', value),
        None => hashed(b'v', element),
    }
}

/// The value of the field that says which element it is.
pub(crate) fn identifying<'a>(element: &'a str, by: &str) -> Option<&'a str> {
    if !element.starts_with('{') {
        return None;
    }
    json::object(element)?.into_iter().find(|(name, _)| name == by).map(|(_, value)| value)
}

fn hashed(kind: u8, raw: &str) -> ItemId {
    // Enough to tell the elements of one list apart.
    let hash = Sha256::new().chain_update([kind]).chain_update(json::canonical(raw)).finalize();
    hash[..8].to_vec()
}

/// What orders the elements of a set.
pub(crate) fn set_rank<'a>(element: &'a str, by: Option<&str>) -> (Rank, &'a str) {
    let key = by.and_then(|by| identifying(element, by)).unwrap_or(element);
    (Rank::new(key, &FieldPolicy::Max), element)
}
