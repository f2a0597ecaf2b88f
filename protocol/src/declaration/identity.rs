//! Keys that follow from what a record says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A field that is part of a record's identity: `project`, or `content:200`
/// for its first 200 characters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityField {
    /// The field's name.
    pub field: String,
    /// How many characters of it count; all by default.
    pub characters: Option<u32>,
}

/// A text that names no field of an identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no part of an identity: use FIELD, or FIELD:N for its first N characters")]
pub struct NoIdentityField(pub String);

impl FromStr for IdentityField {
    type Err = NoIdentityField;

    fn from_str(text: &str) -> Result<Self, NoIdentityField> {
        let wrong = || NoIdentityField(text.to_owned());
        let (field, characters) = match text.rsplit_once(':') {
            None => (text, None),
            Some((field, number)) => {
                let number: u32 = number.parse().map_err(|_| wrong())?;
                (field, Some(number).filter(|&number| number > 0))
            }
        };
        let has_number = text.contains(':');
        if field.is_empty() || (has_number && characters.is_none()) {
            return Err(wrong());
        }
        Ok(Self { field: field.to_owned(), characters })
    }
}

impl TryFrom<String> for IdentityField {
    type Error = NoIdentityField;

    fn try_from(text: String) -> Result<Self, NoIdentityField> {
        text.parse()
    }
}

impl From<IdentityField> for String {
    fn from(field: IdentityField) -> Self {
        field.to_string()
    }
}

impl fmt::Display for IdentityField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        match self.characters {
            None => Ok(()),
            Some(number) => write!(f, ":{number}"),
        }
    }
}
