//! What two versions of a value make that were written apart.
//!
//! Each policy is the same on every device and needs no application: a join
//! where it can be one, so that devices meet in any order and end alike.

use std::collections::BTreeMap;

use self::doc::{Doc, Losses};
use self::parts::{Parts, Policies};
use crate::id::DeviceId;
use crate::record::Version;
use crate::stamp::{Hlc, Stamp};
use crate::value::{self, Header, ValueError};

mod coarsen;
mod doc;
mod edit;
mod emit;
mod field;
mod json;
mod parts;
mod plain;
mod rank;
mod state;

pub use field::FieldPolicy;
pub use state::State;

/// What a domain does with versions of a record that did not know each other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// The greater version stands.
    #[default]
    Lww,
    /// Values that are JSON objects are joined field by field.
    Fields {
        /// The policy of the fields that are not listed.
        default: FieldPolicy,
        /// The policies of fields by name.
        fields: BTreeMap<String, FieldPolicy>,
    },
    /// The greater version stands, the other becomes a record beside it.
    KeepBoth,
    /// The greater version stands until the application called `name` has
    /// made one value of both.
    Merge {
        /// The name that the application claims conflicts by.
        name: String,
    },
    /// The greater version stands until a person has decided.
    Manual,
}

/// What two concurrent versions make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Join {
    /// The greater version stands, and the other one is lost.
    Greater,
    /// The greater version stands, and says all that the other one says.
    Covered,
    /// A value of both.
    Merged {
        /// The stored value, for [`Version::merged`].
        value: Vec<u8>,
        /// Whether something that one side wrote is not in it.
        lost: bool,
    },
    /// The greater version stands and the other one becomes a record beside it.
    Both,
}

impl Policy {
    /// The stored value of a local write of `body`, which follows `schema`:
    /// made on the version and stored value `old`, stamped `stamp`.
    ///
    /// The body stays as it is, byte for byte.
    pub fn write(
        &self,
        schema: u32,
        body: &[u8],
        old: Option<(&Version, &[u8])>,
        stamp: Stamp,
    ) -> Result<Vec<u8>, ValueError> {
        match self.policies() {
            Some(policies) if old.is_some() || !plain::is_plain(policies, body) => {
                Self::write_fields(policies, schema, body, old, stamp)
            }
            // Nothing is to be remembered of it but its own time.
            _ => value::wrap(&Header::new(schema), body),
        }
    }

    fn write_fields(
        policies: Policies<'_>,
        schema: u32,
        body: &[u8],
        old: Option<(&Version, &[u8])>,
        stamp: Stamp,
    ) -> Result<Vec<u8>, ValueError> {
        let mut header = Header::new(schema);
        let Some(parts) = parts::parts(policies, body) else {
            return value::wrap(&header, body);
        };
        let opened = old.and_then(|(version, stored)| Some((version, value::open(stored).ok()?)));
        let before = opened.as_ref().and_then(|(version, opened)| {
            let parts = parts::parts(policies, opened.body)?;
            Some(opened.header.state.read(policies, &parts, version))
        });
        let mut doc = edit::edit(policies, &before.unwrap_or_default(), &parts, stamp);
        let own = Some((stamp.time, stamp.device));
        match wrap_within(&mut header, policies, &mut doc, &parts, own, body) {
            // A person's write is never refused for what is to be remembered.
            Err(ValueError::HeaderTooLarge { .. }) => value::wrap(&Header::new(schema), body),
            wrapped => wrapped,
        }
    }

    /// What two live versions with their stored values make, the greater of
    /// which did not know the other. The same whichever comes first.
    pub fn join(&self, a: (&Version, &[u8]), b: (&Version, &[u8])) -> Join {
        match self {
            Self::KeepBoth => Join::Both,
            Self::Lww | Self::Merge { .. } | Self::Manual => Join::Greater,
            Self::Fields { .. } => self.join_fields(a, b).unwrap_or(Join::Greater),
        }
    }

    /// `None` where only one value can stand.
    fn join_fields(&self, a: (&Version, &[u8]), b: (&Version, &[u8])) -> Option<Join> {
        let (winner, loser) = if a.0 >= b.0 { (a, b) } else { (b, a) };
        // Nothing comes after the last moment.
        if winner.0.stamp.time >= Hlc::MAX {
            return None;
        }
        let policies = self.policies()?;
        let ours = value::open(winner.1).ok()?;
        let theirs = value::open(loser.1).ok()?;
        if ours.header.schema != theirs.header.schema {
            return None;
        }
        let our_parts = parts::parts(policies, ours.body)?;
        let their_parts = parts::parts(policies, theirs.body)?;
        let our_doc = ours.header.state.read(policies, &our_parts, winner.0);
        let their_doc = theirs.header.state.read(policies, &their_parts, loser.0);

        let mut losses = Losses { known: known_to_both(winner.0, loser.0), lost: false };
        let mut doc = doc::join(our_doc.clone(), their_doc, &mut losses);
        let stands = if losses.lost { Join::Greater } else { Join::Covered };
        if doc == our_doc {
            return Some(stands);
        }
        let body = emit::emit(policies, &doc);
        // Reading it again gives each element its place in the new body.
        let parts = parts::parts(policies, &body)?;
        let mut header = Header::new(ours.header.schema);
        let value = wrap_within(&mut header, policies, &mut doc, &parts, None, &body).ok()?;
        Some(if value == winner.1 { stands } else { Join::Merged { value, lost: losses.lost } })
    }

    fn policies(&self) -> Option<Policies<'_>> {
        match self {
            Self::Fields { default, fields } => Some(Policies { default, fields }),
            Self::Lww | Self::KeepBoth | Self::Merge { .. } | Self::Manual => None,
        }
    }
}

/// The stored value of a document with that body, with as much of its state as
/// a header holds.
fn wrap_within(
    header: &mut Header,
    policies: Policies<'_>,
    doc: &mut Doc<'_>,
    parts: &Parts<'_>,
    own: Option<(Hlc, DeviceId)>,
    body: &[u8],
) -> Result<Vec<u8>, ValueError> {
    header.state = State::of(policies, doc, parts, own);
    for step in coarsen::STEPS {
        match value::wrap(header, body) {
            Err(ValueError::HeaderTooLarge { .. }) => {
                coarsen::coarsen(doc, parts, step);
                header.state = State::of(policies, doc, parts, own);
            }
            wrapped => return wrapped,
        }
    }
    value::wrap(header, body)
}

/// The latest moment that both versions know of.
fn known_to_both(a: &Version, b: &Version) -> Hlc {
    let theirs = b.causes();
    let common = a.causes();
    let common = common.entries().iter().filter_map(|&(device, time)| Some(time.min(theirs.latest(device)?)));
    common.max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
