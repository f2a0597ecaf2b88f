//! What two versions of a value make that were written apart.
//!
//! Each policy is the same on every device and needs no application: a join
//! where it can be one, so that devices meet in any order and end alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Version;
use crate::stamp::{Hlc, Stamp};
use crate::value::{self, Header, ValueError};

mod field;

pub use field::FieldPolicy;

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
    /// The greater version stands and the other one is lost, or is in it.
    Greater,
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

/// What merges have to know of a value beyond its body.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct State {
    base: Option<Hlc>,
}

impl Policy {
    /// The stored value of a local write of `body`, which follows `schema`:
    /// made on the version and stored value `old`, stamped `stamp`.
    pub fn write(
        &self,
        schema: u32,
        body: &[u8],
        old: Option<(&Version, &[u8])>,
        stamp: Stamp,
    ) -> Result<Vec<u8>, ValueError> {
        let _ = (old, stamp);
        value::wrap(&Header::new(schema), body)
    }

    /// What two live versions with their stored values make of which neither
    /// knew the other. The same whichever comes first.
    pub fn join(&self, a: (&Version, &[u8]), b: (&Version, &[u8])) -> Join {
        let _ = (a, b);
        match self {
            Self::KeepBoth => Join::Both,
            Self::Lww | Self::Fields { .. } | Self::Merge { .. } | Self::Manual => Join::Greater,
        }
    }
}
