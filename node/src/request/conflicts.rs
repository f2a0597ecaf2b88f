//! Versions that did not know each other: seeing both, and deciding.

use serde::{Deserialize, Serialize};

use super::{Request, Value, Written};
use crate::{clock::Moment, control::Control, failure::Failure};

/// How many conflicts one answer lists at most: more than a person decides at
/// once, and well under a megabyte.
pub const CONFLICT_ROWS_MAX: usize = 1_000;

/// How many conflicts one claim takes at most: an application merges them in
/// memory.
pub const CLAIMS_MAX: usize = 100;

/// How long a claim may last, in seconds: an application that hangs keeps a
/// conflict from others no longer.
pub const CLAIM_SECONDS_MAX: u64 = 300;

/// How long a claim lasts if nothing is said, in seconds.
pub const CLAIM_SECONDS: u64 = 30;

/// Lists conflicts that nobody has decided, oldest first in each domain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Conflicts {
    /// The domain's name; all of them if missing.
    #[serde(default)]
    pub domain: Option<String>,
}

/// The open conflicts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConflictRows {
    /// One row each, at most [`CONFLICT_ROWS_MAX`].
    pub rows: Vec<ConflictRow>,
    /// How many there are.
    pub total: u64,
}

/// One open conflict.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConflictRow {
    /// Its name, the same on this device as long as it is open: `messages@12`.
    pub conflict: String,
    /// The domain's name.
    pub domain: String,
    /// The record's key.
    pub id: String,
    /// The version that stands.
    pub kept: ConflictSide,
    /// The version that lost.
    pub lost: ConflictSide,
}

/// One of two versions that did not know each other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConflictSide {
    /// The version's name.
    pub version: String,
    /// When it was written, by its author's clock.
    pub at: Moment,
    /// The device that wrote it.
    pub device: String,
    /// That device's name, if this device knows one.
    pub name: Option<String>,
    /// Whether it is the one that this device had before the other came.
    pub local: bool,
    /// How long its value is; none for a deletion.
    pub bytes: Option<u64>,
}

impl Request for Conflicts {
    const PATH: &'static str = "/v1/conflicts";
    type Answer = ConflictRows;

    async fn run(self, control: &Control) -> Result<ConflictRows, Failure> {
        control.conflicts(self.domain.as_deref()).await
    }
}

/// Shows both sides of a conflict.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConflictShow {
    /// [`ConflictRow::conflict`].
    pub conflict: String,
}

/// Both sides of a conflict.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConflictDetail {
    /// What the list says of it.
    #[serde(flatten)]
    pub row: ConflictRow,
    /// The value that stands; none for a deletion.
    pub kept_value: Option<Value>,
    /// The value that lost; none for a deletion.
    pub lost_value: Option<Value>,
    /// The fields of both, where both are JSON objects.
    pub fields: Vec<ConflictField>,
}

/// One field of two JSON objects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConflictField {
    /// The field's name.
    pub name: String,
    /// What stands there, as JSON; none if it is missing.
    pub kept: Option<String>,
    /// What lost, as JSON; none if it is missing.
    pub lost: Option<String>,
    /// Whether they differ.
    pub differs: bool,
}

impl Request for ConflictShow {
    const PATH: &'static str = "/v1/conflicts/show";
    type Answer = ConflictDetail;

    async fn run(self, control: &Control) -> Result<ConflictDetail, Failure> {
        control.conflict(&self.conflict).await
    }
}

/// Decides a conflict, for all devices.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConflictTake {
    /// [`ConflictRow::conflict`].
    pub conflict: String,
    /// What the record is to be.
    pub take: Take,
    /// The value, for [`Take::Value`].
    #[serde(default)]
    pub value: Option<Value>,
}

/// Which side of a conflict is to stand.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The version that this device had before the other came.
    Local,
    /// The version that came from another device.
    Remote,
    /// The version that stands.
    Kept,
    /// The version that lost.
    Lost,
    /// A value made of both.
    Value,
}

impl Request for ConflictTake {
    const PATH: &'static str = "/v1/conflicts/take";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.take_conflict(self).await
    }
}

/// Takes open conflicts to merge them; nobody else gets them until the lease
/// ends. Answers with none if all are taken.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConflictClaim {
    /// The domain's name.
    pub domain: String,
    /// At most so many, up to [`CLAIMS_MAX`].
    #[serde(default = "claims_max")]
    pub max: usize,
    /// For how long, in seconds, up to [`CLAIM_SECONDS_MAX`].
    #[serde(default = "claim_seconds")]
    pub lease_s: u64,
}

fn claims_max() -> usize {
    CLAIMS_MAX
}

fn claim_seconds() -> u64 {
    CLAIM_SECONDS
}

/// Conflicts to merge.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claimed {
    /// One row each.
    pub rows: Vec<ClaimedRow>,
}

/// A conflict to merge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClaimedRow {
    /// Its name, for [`ConflictResolve`].
    pub conflict: String,
    /// The claim, for [`ConflictResolve`].
    pub claim: u64,
    /// The record's key.
    pub id: String,
    /// The value that stands; none for a deletion.
    pub kept: Option<Value>,
    /// The value that lost; none for a deletion.
    pub lost: Option<Value>,
}

impl Request for ConflictClaim {
    const PATH: &'static str = "/v1/conflicts/claim";
    type Answer = Claimed;

    async fn run(self, control: &Control) -> Result<Claimed, Failure> {
        control.claim_conflicts(self).await
    }
}

/// Decides a claimed conflict for a value made of both sides.
///
/// `changed` if the record has another version by now, or the lease ended and
/// somebody else has claimed it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConflictResolve {
    /// [`ClaimedRow::conflict`].
    pub conflict: String,
    /// [`ClaimedRow::claim`].
    pub claim: u64,
    /// What the record is to be.
    pub value: Value,
}

impl Request for ConflictResolve {
    const PATH: &'static str = "/v1/conflicts/resolve";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.resolve_conflict(self).await
    }
}
