//! The declaration of a domain: what its records look like, how they merge and
//! where they may go.
//!
//! The types read TOML and JSON alike; an unknown key is an error, so a
//! misspelt rule is never a rule that does not hold.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::policy::{FieldPolicy, Policy};

mod check;
mod identity;

pub use check::{DeclarationError, SetError, check_set};
pub use identity::IdentityField;

/// The longest declaration, in bytes of its file or record.
pub const DECLARATION_BYTES_MAX: usize = 256 << 10;

/// The longest name of a domain, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Names in each list of a declaration: fields, identity, derived fields,
/// requirements and migrations.
pub const FIELDS_MAX: usize = 256;

/// What the names of kinsync's own domains begin with.
pub const RESERVED: &str = "kinsync/";

/// The domain whose records are declarations: the name is the key, the
/// declaration as JSON the value.
pub const DECLARATIONS: &str = "kinsync/domains";

/// A domain as an application declares it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Declaration {
    /// The domain's name, the same on all devices.
    pub name: String,
    /// The number of the schema that is written.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub schema: u32,
    /// The oldest schema number that is read.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub reads: u32,
    /// What concurrent versions of a record make.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: PolicyName,
    /// Whose the records are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// Whether records only go to devices that both ends allowed by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub opt_in: bool,
    /// The domain whose records this one's belong to. A key is the parent's
    /// key, a slash, and more without a slash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parent: Option<String>,
    /// The fields that make the key, where the key follows from the content.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "is_default")]
    pub identity: Vec<IdentityField>,
    /// Fields that a model made of the others, each with the field that names
    /// the model.
    #[serde(default, skip_serializing_if = "is_default")]
    pub derived: BTreeMap<String, String>,
    /// What an application needs to make use of the records.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Vec<Requirement>,
    /// Records whose fields all equal these stay on their device.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclude: BTreeMap<String, Value>,
    /// The policies of single fields.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fields: BTreeMap<String, FieldPolicy>,
    /// The JSON Schema of a value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: Option<Value>,
    /// A file beside this one that holds the JSON Schema.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value_file: Option<String>,
    /// When incoming changes are held.
    #[serde(default, skip_serializing_if = "is_default")]
    pub guard: Guard,
    /// How older values become newer ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub migrate: Vec<Migration>,
}

/// The policy of a domain by its name in a declaration.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum PolicyName {
    /// `lww`: the greater version stands.
    #[default]
    Lww,
    /// `fields` or `lww-field`: JSON objects are joined field by field.
    Fields,
    /// `set-union`: the same; says that the records are a set by identity.
    SetUnion,
    /// `keep-both`: the lesser version becomes a record of its own.
    KeepBoth,
    /// `manual`: a person decides.
    Manual,
    /// `merge:NAME`: an application decides.
    Merge(String),
}

/// A text that names no policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "no policy is called {0:?}: use lww, fields, set-union, keep-both, manual or merge:NAME, \
     where NAME has 1 to {NAME_BYTES_MAX} bytes"
)]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy(text.to_owned());
        Ok(match text {
            "lww" => Self::Lww,
            "fields" | "lww-field" => Self::Fields,
            "set-union" => Self::SetUnion,
            "keep-both" => Self::KeepBoth,
            "manual" => Self::Manual,
            _ => {
                let name = text.strip_prefix("merge:").ok_or_else(unknown)?;
                let plain = !name.is_empty() && !name.contains(char::is_control);
                if !plain || name.len() > NAME_BYTES_MAX {
                    return Err(unknown());
                }
                Self::Merge(name.to_owned())
            }
        })
    }
}

impl TryFrom<String> for PolicyName {
    type Error = UnknownPolicy;

    fn try_from(text: String) -> Result<Self, UnknownPolicy> {
        text.parse()
    }
}

impl From<PolicyName> for String {
    fn from(name: PolicyName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lww => f.write_str("lww"),
            Self::Fields => f.write_str("fields"),
            Self::SetUnion => f.write_str("set-union"),
            Self::KeepBoth => f.write_str("keep-both"),
            Self::Manual => f.write_str("manual"),
            Self::Merge(name) => write!(f, "merge:{name}"),
        }
    }
}

/// Whose the records of a domain are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// One person's, on all devices alike.
    #[default]
    User,
    /// One device's: only that one writes them.
    Device,
    /// An organisation's: not shared between devices.
    Tenant,
}

/// Something that records need beside them to be of use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Its name, such as `embedding-model/bge-small`.
    pub id: String,
    /// How badly it is needed.
    #[serde(default)]
    pub need: Need,
    /// What is done without it.
    #[serde(default)]
    pub without: Without,
}

/// How badly a [`Requirement`] is needed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// Without it the records are of less use.
    #[default]
    Should,
    /// Without it the records are of none.
    Must,
}

/// What a person can choose when a [`Requirement`] is not met.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Without {
    /// The feature is off until it is there.
    #[default]
    Disable,
    /// The feature works without it.
    Ignore,
}

/// How many changes of a domain at once are held for a person to look at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// More records than this.
    pub records: u32,
    /// More than this many of a hundred; 100 means never.
    pub percent: u8,
}

impl Default for Guard {
    fn default() -> Self {
        Self { records: 50, percent: 20 }
    }
}

/// How a value of one schema number becomes one of the next.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The number that it starts from.
    pub from: u32,
    /// New names of fields by their old ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rename: BTreeMap<String, String>,
    /// Values of fields that are not there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub default: BTreeMap<String, Value>,
}

impl Declaration {
    /// The declaration of a domain about which nothing is said but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            schema: 1,
            reads: 1,
            policy: PolicyName::default(),
            scope: Scope::default(),
            opt_in: false,
            parent: None,
            identity: Vec::new(),
            derived: BTreeMap::new(),
            requires: Vec::new(),
            exclude: BTreeMap::new(),
            fields: BTreeMap::new(),
            value: None,
            value_file: None,
            guard: Guard::default(),
            migrate: Vec::new(),
        }
    }

    /// What concurrent versions of a record make.
    pub fn merge_policy(&self) -> Policy {
        match &self.policy {
            PolicyName::Lww => Policy::Lww,
            PolicyName::Fields | PolicyName::SetUnion => {
                Policy::Fields { default: FieldPolicy::Lww, fields: self.fields.clone() }
            }
            PolicyName::KeepBoth => Policy::KeepBoth,
            PolicyName::Manual => Policy::Manual,
            PolicyName::Merge(name) => Policy::Merge { name: name.clone() },
        }
    }
}

/// A list that, where it stands, says something.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IdentityField>, D::Error> {
    let fields = Vec::deserialize(deserializer)?;
    if fields.is_empty() {
        return Err(D::Error::custom("`identity` names no field: leave it out where keys are typed"));
    }
    Ok(fields)
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
