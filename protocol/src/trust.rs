//! Who is trusted, and the one place that says yes.

use crate::cbor::DecodeError;

pub mod statement;

/// How far a trusted device is trusted. The order is the order of rights.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// For one session: never stored, listed or passed on.
    Once = 1,
    /// May sync the domains it was given; may not add or revoke anybody.
    Guest = 2,
    /// A device of the same person: may do everything.
    Kin = 3,
}

impl Role {
    pub(crate) fn from_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Self::Once),
            2 => Ok(Self::Guest),
            3 => Ok(Self::Kin),
            _ => Err(DecodeError::Invalid { what: "role" }),
        }
    }
}

/// What a device is to this one at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing is known that would grant anything.
    Stranger,
    /// Admitted to this session.
    Once,
    /// Trusted with some domains.
    Guest,
    /// Fully trusted.
    Kin,
    /// Its key was given up in good standing. Dead for ever.
    Retired,
    /// Its key was revoked. Dead for ever.
    Revoked,
}

impl Standing {
    /// Whether this key can never be trusted again.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Retired | Self::Revoked)
    }
}
