//! What one device lets another do in a domain.
//!
//! Each side of a session says what it grants the other one. What is granted
//! is enforced by the device that grants it; the other side honours it, so
//! that nothing travels in vain.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one device lets another do in a domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(from = "u8", into = "u8")]
pub struct Grants {
    /// The other device may have the records.
    pub read: bool,
    /// What the other device writes and passes on is taken in.
    pub write: bool,
    /// Its deletions stand; without, they are undone.
    pub delete: bool,
    /// Why not all of it is granted; of no meaning if it is.
    pub why: Why,
}

/// Why a device does not grant everything.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Why {
    /// A person limited what the two devices share. Also read for a reason
    /// that is newer than this program.
    #[default]
    Rights,
    /// Changes of the other device wait there for a person to accept them.
    Held,
    /// The domain is shared only where both ends ask for it by its name, and
    /// one has not.
    OptIn,
    /// The domain stays with its owner.
    Scope,
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const DELETE: u8 = 4;

/// The reason stands above the three bits.
const WHY: u32 = 3;

impl Grants {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, delete: true, why: Why::Rights };

    /// Nothing, for a reason.
    pub const fn none(why: Why) -> Self {
        Self { read: false, write: false, delete: false, why }
    }

    /// Whether nothing is granted.
    pub fn is_none(self) -> bool {
        !self.read && !self.write
    }

    /// What both grant; the reason of the first that lacks something.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let all = |grants: Self| grants.read && grants.write && grants.delete;
        Self {
            read: self.read && other.read,
            write: self.write && other.write,
            delete: self.delete && other.delete,
            why: if all(self) { other.why } else { self.why },
        }
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self::ALL
    }
}

impl From<Grants> for u8 {
    fn from(grants: Grants) -> Self {
        let bit = |granted: bool, bit: u8| if granted { bit } else { 0 };
        let bits = bit(grants.read, READ) | bit(grants.write, WRITE) | bit(grants.delete, DELETE);
        let why = match grants.why {
            _ if bits == READ | WRITE | DELETE => 0,
            Why::Rights => 1,
            Why::Held => 2,
            Why::OptIn => 3,
            Why::Scope => 4,
        };
        bits | why << WHY
    }
}

impl From<u8> for Grants {
    fn from(byte: u8) -> Self {
        let all = READ | WRITE | DELETE;
        let why = match byte >> WHY {
            _ if byte & all == all => Why::Rights,
            2 => Why::Held,
            3 => Why::OptIn,
            4 => Why::Scope,
            _ => Why::Rights,
        };
        Self { read: byte & READ != 0, write: byte & WRITE != 0, delete: byte & DELETE != 0, why }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rights => "rights",
            Self::Held => "held",
            Self::OptIn => "opt-in",
            Self::Scope => "scope",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_is_read_and_written_back_with_the_same_meaning() {
        for byte in 0..=u8::MAX {
            let grants = Grants::from(byte);
            assert_eq!(Grants::from(u8::from(grants)), grants, "{byte}");
            let bits = (byte & READ != 0, byte & WRITE != 0, byte & DELETE != 0);
            assert_eq!((grants.read, grants.write, grants.delete), bits);
        }
        assert_eq!(u8::from(Grants::ALL), 7);
        assert_eq!(u8::from(Grants::none(Why::Held)), 16);
    }

    #[test]
    fn both_have_to_grant_and_the_first_that_does_not_says_why() {
        let reads = Grants { write: false, delete: false, ..Grants::ALL };
        assert_eq!(Grants::ALL.and(reads), reads);
        assert_eq!(reads.and(Grants::none(Why::OptIn)), Grants::none(Why::Rights));
        assert_eq!(Grants::ALL.and(Grants::none(Why::OptIn)), Grants::none(Why::OptIn));
    }
}
