//! What changed in a domain since a place: for those who keep a copy in step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Request;
use crate::{clock::Moment, control::Control, failure::Failure};

/// How long one [`Changes`] waits at most: less than the minute after which
/// proxies and clients give up on a silent answer.
pub const CHANGES_WAIT_MAX: Duration = Duration::from_secs(30);

/// The place after everything so far, as [`Changes::since`].
pub const NOW: &str = "now";

/// Reads the changes of a domain after a place, oldest first, and waits for
/// some if there are none.
///
/// Nothing is missed: places stay valid over restarts, and when one is of a
/// past that a restored backup undid, the answer says so.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Changes {
    /// The domain's name.
    pub domain: String,
    /// The place: [`ChangesAnswer::next`] or [`ChangeRow::token`] of an
    /// earlier answer, or [`NOW`]. From the beginning if missing.
    #[serde(default)]
    pub since: Option<String>,
    /// At most this many rows; [`kinsync_store::CHANGES_ROWS_MAX`] if more or
    /// missing.
    #[serde(default)]
    pub limit: Option<usize>,
    /// How long to wait when there is nothing to tell;
    /// [`CHANGES_WAIT_MAX`] if more, not at all if missing.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Some changes of a domain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChangesAnswer {
    /// The place is not in this store's past. What follows, over all pages, is
    /// everything: whatever it does not name is not there.
    pub resync: bool,
    /// The changes, oldest first, each record once at its last change.
    pub rows: Vec<ChangeRow>,
    /// The place after them.
    pub next: String,
    /// Whether more follow.
    pub more: bool,
}

/// A record that changed, as it is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChangeRow {
    /// Its key.
    pub id: String,
    /// Whether it was deleted.
    pub deleted: bool,
    /// The name of the peer it came from; none if it was written here.
    pub from: Option<String>,
    /// When it was written.
    pub at: Moment,
    /// Its version.
    pub v: String,
    /// The place of this change.
    pub token: String,
}

impl Request for Changes {
    const PATH: &'static str = "/v1/changes";
    type Answer = ChangesAnswer;

    async fn run(self, control: &Control) -> Result<ChangesAnswer, Failure> {
        control.changes(self).await
    }
}
