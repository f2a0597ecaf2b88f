//! Reading and writing records, and the versions they had.

use serde::{Deserialize, Serialize};

use super::{Request, Value};
use crate::{clock::Moment, control::Control, failure::Failure};

/// How many rows one [`List`] answers at most; longer lists come in pages.
///
/// About a megabyte of JSON, so that neither side holds a whole library.
pub const LIST_ROWS_MAX: usize = 5_000;

/// How many records one [`PutMany`] takes at most: one batch of the store.
pub const PUT_MANY_ITEMS_MAX: usize = 500;

/// How many bytes of values one [`PutMany`] takes at most; a single value may
/// fill it.
pub const PUT_MANY_BYTES_MAX: usize = 8 << 20;

/// Writes one record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Put {
    /// The domain's name.
    pub domain: String,
    /// The record's key. Empty where it follows from the value, as that of a
    /// memory does.
    #[serde(default)]
    pub id: String,
    /// Its new value.
    pub value: Value,
    /// The application that writes, as [`super::AppState`] names it: the value
    /// has the shape that it said it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// A record was written: by [`Put`], [`Del`] or [`Restore`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Written {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
    /// The version it has now, as [`Restore`] takes it; `private` if the record
    /// stays on this device, where it has no versions.
    pub version: String,
    /// When it was written.
    pub at: Moment,
}

impl Request for Put {
    const PATH: &'static str = "/v1/put";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.put_as(self).await
    }
}

/// Adds a record behind all others of a parent: a turn of a conversation.
///
/// It gets a key of its own, so devices that add turns while apart keep all of
/// them, in one order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Append {
    /// The domain's name.
    pub domain: String,
    /// The key of the record that it belongs to.
    pub parent: String,
    /// Its value.
    pub value: Value,
}

impl Request for Append {
    const PATH: &'static str = "/v1/append";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.append(&self.domain, &self.parent, self.value).await
    }
}

/// Reads one record; `not-found` if it is missing or deleted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Get {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
}

/// A record as it is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GetAnswer {
    /// Its value.
    pub value: Value,
    /// Its version.
    pub version: String,
    /// When it was last written.
    pub mtime: Moment,
    /// The schema number that the value follows.
    pub schema: u32,
    /// The device that it belongs to, where each device has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Request for Get {
    const PATH: &'static str = "/v1/get";
    type Answer = GetAnswer;

    async fn run(self, control: &Control) -> Result<GetAnswer, Failure> {
        control.get(&self.domain, &self.id).await
    }
}

/// Deletes one record; `not-found` if there is none.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Del {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
}

impl Request for Del {
    const PATH: &'static str = "/v1/del";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.del(&self.domain, &self.id).await
    }
}

/// Lists the records of a domain in key order, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct List {
    /// The domain's name.
    pub domain: String,
    /// Only keys that begin with this.
    #[serde(default)]
    pub prefix: String,
    /// Only keys after this one: [`ListAnswer::next`] of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// At most this many rows; [`LIST_ROWS_MAX`] if more or missing.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One page of a list.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListAnswer {
    /// The rows in key order.
    pub rows: Vec<ListRow>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// One record in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListRow {
    /// The record's key.
    pub id: String,
    /// When it was last written.
    pub mtime: Moment,
    /// How long its value is.
    pub bytes: u64,
    /// The device that it belongs to, where each device has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Request for List {
    const PATH: &'static str = "/v1/list";
    type Answer = ListAnswer;

    async fn run(self, control: &Control) -> Result<ListAnswer, Failure> {
        control.list(self).await
    }
}

/// Lists the versions that a record has and had, newest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct History {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
}

/// The versions of a record, newest first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HistoryRows {
    /// The current version, if there is one, and the ones before it.
    pub rows: Vec<HistoryRow>,
}

/// One version of a record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HistoryRow {
    /// Its name, as [`Restore`] takes it.
    pub version: String,
    /// When it was written.
    pub at: Moment,
    /// The device that wrote it, as people see it.
    pub device: String,
    /// That device's name, if this device knows one.
    pub name: Option<String>,
    /// How long its value is; none for a deletion.
    pub bytes: Option<u64>,
    /// What became of it.
    pub kind: HistoryKind,
}

/// What became of a version.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryKind {
    /// It is the record now.
    Current,
    /// A deletion ended it.
    Deleted,
    /// It did not know the version that won.
    LostConflict,
    /// A later version replaced it.
    Replaced,
}

impl Request for History {
    const PATH: &'static str = "/v1/history";
    type Answer = HistoryRows;

    async fn run(self, control: &Control) -> Result<HistoryRows, Failure> {
        control.history(&self.domain, &self.id).await
    }
}

/// Makes an earlier version the current one again, as a new write.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Restore {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
    /// [`HistoryRow::version`], or a beginning of it that fits one row.
    pub version: String,
}

impl Request for Restore {
    const PATH: &'static str = "/v1/restore";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.restore(&self.domain, &self.id, &self.version).await
    }
}

/// Writes up to [`PUT_MANY_ITEMS_MAX`] records of [`PUT_MANY_BYTES_MAX`]
/// together in one transaction, leaving those alone whose value is the same already.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PutMany {
    /// The domain's name.
    pub domain: String,
    /// The records; of two with one key the later counts.
    pub items: Vec<PutItem>,
    /// Only count what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// One record of a [`PutMany`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PutItem {
    /// The record's key. Empty where it follows from the value.
    #[serde(default)]
    pub id: String,
    /// Its value.
    pub value: Value,
}

/// What a [`PutMany`] did, or would do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Records that were not there.
    pub added: u64,
    /// Records that had another value.
    pub changed: u64,
    /// Records that had this value already.
    pub unchanged: u64,
}

impl Request for PutMany {
    const PATH: &'static str = "/v1/put-many";
    type Answer = Counts;

    async fn run(self, control: &Control) -> Result<Counts, Failure> {
        control.put_many(self).await
    }
}
