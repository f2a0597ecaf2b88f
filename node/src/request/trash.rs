//! Deleted records: seeing them, bringing them back, letting go of them; and
//! taking back what a device delivered.

use serde::{Deserialize, Serialize};

use super::{Request, Written};
use crate::{clock::Moment, control::Control, failure::Failure};

/// How many deleted records one answer lists at most.
pub const TRASH_ROWS_MAX: usize = 1_000;

/// Lists deleted records whose last value is still there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Trash {
    /// The domain's name; all of them if missing.
    #[serde(default)]
    pub domain: Option<String>,
    /// Only keys after this one: [`TrashRows::next`] of the page before. Needs
    /// a domain.
    #[serde(default)]
    pub after: Option<String>,
}

/// One page of deleted records.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrashRows {
    /// One row each, at most [`TRASH_ROWS_MAX`] a domain.
    pub rows: Vec<TrashRow>,
    /// Where the next page of the domain begins; none at the end.
    pub next: Option<String>,
}

/// One deleted record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrashRow {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
    /// When its deletion came here, by this device's clock.
    pub deleted: Moment,
    /// The device that delivered the deletion; none for this one.
    pub from: Option<String>,
    /// Whether it was deleted with the record that it belongs to, and comes
    /// back with it.
    pub with_parent: bool,
    /// Whether nobody deleted it: a device brought it that was away for longer
    /// than deletions are remembered (`tombstone-days`), so it was set aside.
    pub limbo: bool,
    /// The last version that had a value.
    pub version: String,
}

impl Request for Trash {
    const PATH: &'static str = "/v1/trash";
    type Answer = TrashRows;

    async fn run(self, control: &Control) -> Result<TrashRows, Failure> {
        control.trash(self).await
    }
}

/// Brings a deleted record back with its last value, and what was deleted with
/// it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TrashRestore {
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
}

/// A record is back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Restored {
    /// Its new version.
    #[serde(flatten)]
    pub written: Written,
    /// How many records that belong to it came back with it.
    pub others: u64,
}

impl Request for TrashRestore {
    const PATH: &'static str = "/v1/trash/restore";
    type Answer = Restored;

    async fn run(self, control: &Control) -> Result<Restored, Failure> {
        control.restore_deleted(&self.domain, &self.id).await
    }
}

/// Lets go of what deleted records were, on this device alone and for good.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TrashEmpty {
    /// The domain's name; all of them if missing.
    #[serde(default)]
    pub domain: Option<String>,
    /// One record's key; all of the domain if missing.
    #[serde(default)]
    pub id: Option<String>,
}

/// What was let go of.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrashEmptied {
    /// Deleted records.
    pub records: u64,
    /// Versions of them.
    pub versions: u64,
}

impl Request for TrashEmpty {
    const PATH: &'static str = "/v1/trash/empty";
    type Answer = TrashEmptied;

    async fn run(self, control: &Control) -> Result<TrashEmptied, Failure> {
        control.empty_trash(self).await
    }
}

/// Takes back what a device delivered, by ordinary edits.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Undo {
    /// The device, as [`super::PeerShow`] takes it.
    pub received_from: String,
    /// Only what came at this moment or later, by this device's clock.
    #[serde(default)]
    pub since: Option<Moment>,
    /// Only count what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was taken back, or would be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct UndoAnswer {
    /// Whether nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
    /// Records whose version came from the device.
    pub received: u64,
    /// Records that have the value again that they had before, with those that
    /// came back with their parents.
    pub restored: u64,
    /// Records that were not there before, and are deleted.
    pub deleted: u64,
    /// Records that stay: their former value is not known any more, or is the
    /// same.
    pub left: u64,
}

impl Request for Undo {
    const PATH: &'static str = "/v1/undo";
    type Answer = UndoAnswer;

    async fn run(self, control: &Control) -> Result<UndoAnswer, Failure> {
        control.undo(self).await
    }
}
