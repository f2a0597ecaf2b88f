//! What the errors of the store mean to people.

use kinsync_protocol::record::KeyError;
use kinsync_store::{OpenError, ReadError, WriteError};

use super::{Failure, Kind};

/// What to do about a damaged store. Never "delete it": another device may
/// hold everything, but only its owner can know that.
const DAMAGED_HINT: &str = "See what is wrong:  kinsync doctor   \
     Keep the file; what other devices hold can be fetched again.";

fn disk_full() -> Failure {
    Failure::new(Kind::DiskFull, "The disk is full. Reading goes on; nothing was written.")
        .hint("Free some space and try again.")
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { reason } => {
                Self::new(Kind::StoreDamaged, format!("The store is damaged: {reason}.")).hint(DAMAGED_HINT)
            }
            OpenError::Locked => Self::new(Kind::StoreLocked, "Another process holds the store.")
                .hint("Is a node starting or stopping? Wait a moment, or end that process."),
            OpenError::DiskFull => disk_full(),
            OpenError::ReadOnly { reason } => {
                Self::new(Kind::ReadOnly, format!("The store cannot be written: {reason}."))
                    .hint("Check the owner and the mode of the directory, or use another --home.")
            }
            OpenError::Newer { found, known } => Self::new(
                Kind::Incompatible,
                format!("A newer kinsync wrote this store (version {found}, this one reads {known})."),
            )
            .hint("Update this device."),
            OpenError::OtherDevice { owner } => Self::new(
                Kind::OtherDevice,
                format!(
                    "The store belongs to another device ({}) than the identity beside it.",
                    owner.short()
                ),
            )
            .hint("Put the identity file back that belongs to it, or move the store away."),
            OpenError::Io(error) => Self::io("open the store", &error),
            error => Self::internal(error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { what } => {
                Self::new(Kind::StoreDamaged, format!("The store is damaged: {what}.")).hint(DAMAGED_HINT)
            }
            ReadError::Closed => Self::stopping(),
            error @ (ReadError::Storage(_) | _) => {
                Self::new(Kind::StoreDamaged, format!("The store cannot be read: {}.", innermost(&error)))
                    .hint(DAMAGED_HINT)
            }
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotFound => Self::new(Kind::NotFound, "There is nothing to change."),
            WriteError::ValueTooLarge { bytes, limit } => Self::new(
                Kind::ValueTooLarge,
                format!("A value of {bytes} bytes is over the limit of {limit}."),
            )
            .hint("Values this large are attachments, not records."),
            WriteError::TextTooLong { bytes, limit } => {
                Self::new(Kind::BadRequest, format!("A text of {bytes} bytes is over the limit of {limit}."))
            }
            WriteError::KeyTooLong { limit } => {
                Self::new(Kind::BadKey, format!("The key would be longer than {limit} bytes."))
                    .hint("Give what it belongs to a shorter key.")
            }
            WriteError::HoldTaken { .. } => {
                Self::new(Kind::HoldTaken, "Somebody else is writing a draft of this record.")
                    .hint("See who:  kinsync drafts")
            }
            WriteError::HoldLapsed => Self::new(Kind::HoldLapsed, "The hold has lapsed; its draft is kept.")
                .hint("Open it again: the answer has its text."),
            WriteError::TooManyDrafts => Self::new(Kind::TooManyDrafts, "There is no room for more drafts.")
                .hint("Keep or drop some:  kinsync drafts"),
            WriteError::NotTrusted { peer } => {
                Self::new(Kind::NotPaired, format!("The device {} is not trusted.", peer.short()))
            }
            WriteError::NotGranted { peer } => {
                Self::new(Kind::NotGranted, format!("The device {} may not write this here.", peer.short()))
            }
            WriteError::TooManyDomains { limit } => Self::new(
                Kind::TooManyDomains,
                format!("There are {limit} domains already, as many as two devices can share."),
            )
            .hint("Put the records into a domain that exists:  kinsync status"),
            WriteError::NewerSchema { found, known } => Self::new(
                Kind::SchemaNewer,
                format!("The record follows schema {found}, this device knows schemas up to {known}."),
            )
            .hint("Update the application on this device, or the declaration of the domain."),
            WriteError::NewerValue => {
                Self::new(Kind::SchemaNewer, "A newer kinsync wrote this record.").hint("Update this device.")
            }
            WriteError::ParentDeleted { parent } => Self::new(
                Kind::ParentDeleted,
                format!("The record \"{parent}\" that this one belongs to is deleted."),
            )
            .hint("Bring that one back first:  kinsync trash"),
            WriteError::Changed => Self::new(Kind::Changed, "The record has changed meanwhile.")
                .hint("Look at it again, then decide."),
            WriteError::DiskFull => disk_full(),
            WriteError::Damaged { what } => {
                Self::new(Kind::StoreDamaged, format!("The store is damaged: {what}.")).hint(DAMAGED_HINT)
            }
            WriteError::Poisoned { reason } => Self::new(
                Kind::ReadOnly,
                format!("Writing stopped after a failure: {reason}. Reading goes on."),
            )
            .hint("Check the disk, then restart the node:  kinsync down, then kinsync up"),
            WriteError::Busy => {
                Self::new(Kind::Busy, "Too many writes are waiting already.").hint("Try again.")
            }
            WriteError::Closed => Self::stopping(),
            error @ (WriteError::NoLaterStamp | _) => Self::internal(error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(Kind::BadKey, format!("That cannot be the id of a record: {error}."))
            .hint("Ids are 1 to 256 bytes of text without control characters.")
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
