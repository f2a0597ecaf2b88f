//! Folders of existing applications, read as records.
//!
//! An adapter only reads: it turns files into entries with the same keys and
//! the same bytes every time, and says in one line what it left out and why.
//! Whoever calls it compares with what the store holds and writes what is new.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use kinsync_protocol::limits::VALUE_BYTES_MAX;
use thiserror::Error;

pub mod sillytavern;

mod name;
mod png_text;

pub use png_text::PngError;

/// One record as the folder has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name of the record's domain.
    pub domain: &'static str,
    /// The record's key: at most 256 bytes, without control characters.
    pub key: String,
    /// Compact JSON, fields in the order of the file; at most
    /// [`VALUE_BYTES_MAX`].
    pub value: Vec<u8>,
}

/// Something that was left out, and why.
///
/// Prints as one line without control characters: `worlds/Old.json: not valid
/// JSON (line 3, column 7)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// The file or folder, relative to the folder that is read.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: Reason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}", self.path.display(), self.reason);
        // A name can hold line breaks and terminal escapes; the line must not.
        line.chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .try_for_each(|c| f.write_fmt(format_args!("{c}")))
    }
}

/// Why something was left out.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// A character's picture that is damaged.
    #[error("broken picture: {0}")]
    BrokenPicture(#[from] PngError),
    /// JSON that stops before its end, as after a crash of the application.
    #[error("the JSON ends too early (line {line}, column {column})")]
    CutShort {
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
    },
    /// A file without content.
    #[error("the file is empty")]
    Empty,
    /// A file over the limit for its kind.
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    FileTooLarge {
        /// The size of the file.
        bytes: u64,
        /// The limit for this kind of file.
        limit: u64,
    },
    /// Some lines of a conversation; the others were read.
    #[error("line {first}: {cause}{}", more_lines(*.count))]
    Lines {
        /// The first line concerned, counted from one.
        first: u64,
        /// How many lines were left out in all.
        count: u64,
        /// Why the first one was left out.
        cause: Box<Reason>,
    },
    /// A symbolic link; none is followed, so nothing outside the folder is read.
    #[error("a symbolic link, not followed")]
    Link,
    /// One line of a conversation over the limit.
    #[error("longer than {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// A file name that cannot become a key.
    #[error("the name is not valid UTF-8")]
    NameNotUtf8,
    /// A picture without a character in it.
    #[error("no character data in this picture")]
    NoCard,
    /// Text that is not JSON.
    #[error("not valid JSON (line {line}, column {column})")]
    NotJson {
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
    },
    /// JSON of another shape than records have.
    #[error("JSON, but not an object")]
    NotObject,
    /// Bytes that are not text.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// A second file for one record; the first one was taken.
    #[error("{key} was already read from another file")]
    SameKey {
        /// The key that both files have.
        key: String,
    },
    /// A name that begins with `secret`: such a file or folder is never opened.
    #[error("named as a secret, never opened")]
    Secret,
    /// A file or folder that the system does not let us read.
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// A record over [`VALUE_BYTES_MAX`].
    #[error("{key} has {bytes} bytes, the limit is {VALUE_BYTES_MAX}")]
    ValueTooLarge {
        /// The key of the record.
        key: String,
        /// How large its value is.
        bytes: usize,
    },
}

impl Reason {
    /// A stable word for scripts: `not-json`, `link`, …
    pub fn code(&self) -> &'static str {
        match self {
            Self::BrokenPicture(_) => "broken-picture",
            Self::CutShort { .. } => "cut-short",
            Self::Empty => "empty",
            Self::FileTooLarge { .. } => "file-too-large",
            Self::Lines { .. } => "lines",
            Self::Link => "link",
            Self::LineTooLong { .. } => "line-too-long",
            Self::NameNotUtf8 => "name-not-utf8",
            Self::NoCard => "no-card",
            Self::NotJson { .. } => "not-json",
            Self::NotObject => "not-object",
            Self::NotUtf8 => "not-utf8",
            Self::SameKey { .. } => "same-key",
            Self::Secret => "secret",
            Self::Unreadable(_) => "unreadable",
            Self::ValueTooLarge { .. } => "value-too-large",
        }
    }
}

fn more_lines(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " (and 1 more line)".into(),
        count => format!(" (and {} more lines)", count - 1),
    }
}

/// What an adapter hands to its caller while it reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A record.
    Entry(Entry),
    /// Something that was left out.
    Skipped(Skipped),
}

/// What was read in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records by domain; a domain without records is absent.
    pub records: BTreeMap<&'static str, u64>,
    /// Files of a kind that the adapter reads, including those it skipped.
    pub files: u64,
    /// [`Item::Skipped`] handed out.
    pub skipped: u64,
    /// Files of kinds that are not read: pictures, caches, backups, hidden files.
    pub ignored: u64,
    /// Fields left out because they hold a provider's credentials.
    pub credentials: u64,
}

/// A folder read at once, for folders known to be small.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// The folder that was read: the one named, or one inside it.
    pub folder: PathBuf,
    /// Every record, in the order of the folder.
    pub records: Vec<Entry>,
    /// Everything that was left out.
    pub skipped: Vec<Skipped>,
    /// The counts over both.
    pub counts: Counts,
}

/// Why a folder cannot be read at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Nothing in the folder looks like the application's data.
    #[error(
        "{} holds no {application} data; name the folder with settings.json, characters and chats in it",
        path.display()
    )]
    NotRecognised {
        /// The folder named by the user.
        path: PathBuf,
        /// The application asked for.
        application: &'static str,
    },
    /// The folder holds the data of several users of the application.
    #[error("{} holds the data of several users ({}); name one of these folders", path.display(), users.join(", "))]
    SeveralUsers {
        /// The folder named by the user.
        path: PathBuf,
        /// The folders inside it, relative to it.
        users: Vec<String>,
    },
    /// The folder is missing, not a folder, or not readable.
    #[error("cannot read the folder {}", path.display())]
    Unreadable {
        /// The folder named by the user.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
