//! What a peer did wrong.

use thiserror::Error;

use crate::wire::DecodeError;

/// A breach of the protocol by the other side. Ends its session, never the
/// node; trying again without a new version of the peer will not help.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PeerFault {
    /// A message that cannot be read.
    #[error("unreadable message")]
    Unreadable(#[from] DecodeError),
    /// A message that names a domain by a number that stands for none.
    #[error("domain number {index} was never announced")]
    UnknownDomain {
        /// The number.
        index: u16,
    },
    /// A session message that does not follow from the one before.
    #[error("unexpected {what}")]
    Unexpected {
        /// What came.
        what: &'static str,
    },
    /// More of something than the protocol allows to keep open.
    #[error("too many {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
    },
    /// A range that is not one, or fingerprints that do not fit it.
    #[error("fingerprints that fit no range")]
    WrongRange,
}
