//! Why the store could not do something.

use std::io;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;
use thiserror::Error;

/// Why a store could not be opened or created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is not a store, or parts of it are destroyed.
    #[error("the store file is damaged: {reason}")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// Another process has it open.
    #[error("the store is in use by another process")]
    Locked,
    /// There is no room to create it.
    #[error("the disk is full")]
    DiskFull,
    /// The file or its folder cannot be written.
    #[error("the store cannot be written: {reason}")]
    ReadOnly {
        /// What the system said.
        reason: String,
    },
    /// A newer kinsync wrote it.
    #[error("the store has version {found}, this program knows versions up to {known}")]
    Newer {
        /// The store's version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It belongs to another identity.
    #[error("the store belongs to the device {owner}")]
    OtherDevice {
        /// The device that created it.
        owner: DeviceId,
    },
    /// The system refused in another way.
    #[error("the store cannot be opened")]
    Io(#[source] io::Error),
}

/// Why a read failed. The data may be in danger: whoever reads stops.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The database could not be read.
    #[error("the store cannot be read")]
    Storage(#[source] Box<redb::Error>),
    /// A row cannot be what was once written.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The store is closed, or could not be opened again after a failure.
    #[error("the store is closed")]
    Closed,
}

impl ReadError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// The system's error behind it, if there is one.
    pub(crate) fn into_io(self) -> Option<io::Error> {
        if let Self::Storage(error) = self
            && let redb::Error::Io(error) = *error
        {
            return Some(error);
        }
        None
    }

    /// Whether the disk is full, as opposed to broken.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Storage(error) if matches!(&**error, redb::Error::Io(error) if is_full(error)))
    }
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Storage(Box::new(error.into()))
    }
}

/// Whether an error of the system says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error of the system says that writing is not allowed.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Why a write was not done. None of it has happened, except where
/// [`WriteError::Poisoned`] says otherwise.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no such record, version, device or address.
    #[error("there is nothing to change")]
    NotFound,
    /// The value is larger than a record may be.
    #[error("a value of {bytes} bytes exceeds the limit of {limit}")]
    ValueTooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The key would be longer than a key may be.
    #[error("the key would exceed the limit of {limit} bytes")]
    KeyTooLong {
        /// The limit.
        limit: usize,
    },
    /// A text is longer than the store keeps.
    #[error("a text of {bytes} bytes exceeds the limit of {limit}")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The record has another version by now than the one this was made of.
    #[error("the record has changed meanwhile")]
    Changed,
    /// There are as many domains as two devices can share.
    #[error("there are {limit} domains already, and no more can be shared")]
    TooManyDomains {
        /// The limit.
        limit: usize,
    },
    /// The record follows a newer schema than this device knows: whoever reads
    /// only the older shape would write away what the newer one holds.
    #[error("the record follows schema {found}, this device knows schemas up to {known}")]
    NewerSchema {
        /// The schema that the record follows.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// A later version of kinsync wrote the record.
    #[error("a later version of kinsync wrote this record")]
    NewerValue,
    /// The device may not write all of this here: a person said so. It stays
    /// trusted.
    #[error("the device {peer} may not write this here")]
    NotGranted {
        /// The device.
        peer: DeviceId,
    },
    /// The record that this one belongs to is deleted.
    #[error("the record {parent} that this one belongs to is deleted")]
    ParentDeleted {
        /// The key of that record.
        parent: Key,
    },
    /// Somebody else is writing a draft of this record.
    #[error("another holder writes this record until {}", until.0)]
    HoldTaken {
        /// When its lease lapses, unless it asks for more time.
        until: UnixMillis,
    },
    /// The lease of this hold is over.
    #[error("the hold has lapsed")]
    HoldLapsed,
    /// Drafts are too many, or too large together.
    #[error("there are too many drafts")]
    TooManyDrafts,
    /// The record carries the last stamp there is; nothing can follow it.
    #[error("no later version of this record can be written")]
    NoLaterStamp,
    /// The device that delivered the records may not write here (any more).
    #[error("the device {peer} is not trusted")]
    NotTrusted {
        /// The device.
        peer: DeviceId,
    },
    /// The disk is full. Reading goes on; writing resumes when there is room.
    #[error("the disk is full")]
    DiskFull,
    /// A row that the write needed is damaged. Other records are not affected.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// An earlier commit failed in a way that leaves unknown what is on disk,
    /// possibly this one. Reading goes on; writing needs a restart.
    #[error("writing stopped after a failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
    /// Too many writes wait already. Nothing is wrong with this one.
    #[error("too many writes are waiting")]
    Busy,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
