//! Texts in the making: nothing of them syncs before they are committed.

use serde::{Deserialize, Serialize};

use super::{Done, Request, Value, Written};
use crate::{clock::Moment, control::Control, failure::Failure};

/// Begins a draft of a record, or takes up one that was interrupted.
///
/// `hold-taken` while another holder writes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HoldOpen {
    /// The domain's name.
    pub domain: String,
    /// The key of the record that it will be.
    pub id: String,
    /// How long the hold lasts without a sign of life;
    /// [`kinsync_store::LEASE_MILLIS_MAX`] if more or missing.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A hold on a draft.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HoldOpened {
    /// Its name, for all that follows.
    pub hold: String,
    /// When it lapses.
    pub until: Moment,
    /// The text that an interrupted holder left; empty if it is new.
    pub value: Value,
}

impl Request for HoldOpen {
    const PATH: &'static str = "/v1/holds";
    type Answer = HoldOpened;

    async fn run(self, control: &Control) -> Result<HoldOpened, Failure> {
        control.hold(self).await
    }
}

/// Replaces the text of a draft; a sign of life too.
///
/// `hold-lapsed` if none came in time: open it again.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HoldSave {
    /// [`HoldOpened::hold`].
    pub hold: String,
    /// All of the text so far.
    pub value: Value,
    /// As [`HoldOpen::ttl_ms`].
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// How long a hold lasts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HoldLease {
    /// When it lapses.
    pub until: Moment,
}

impl Request for HoldSave {
    const PATH: &'static str = "/v1/holds/save";
    type Answer = HoldLease;

    async fn run(self, control: &Control) -> Result<HoldLease, Failure> {
        control.hold_save(self).await
    }
}

/// A sign of life.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HoldExtend {
    /// [`HoldOpened::hold`].
    pub hold: String,
    /// As [`HoldOpen::ttl_ms`].
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

impl Request for HoldExtend {
    const PATH: &'static str = "/v1/holds/extend";
    type Answer = HoldLease;

    async fn run(self, control: &Control) -> Result<HoldLease, Failure> {
        control.hold_extend(self).await
    }
}

/// Makes a draft the record that it is for, also an interrupted one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HoldCommit {
    /// [`HoldOpened::hold`], or a beginning of it that fits one draft.
    pub hold: String,
    /// All of the text, if the last of it was not saved.
    #[serde(default)]
    pub value: Option<Value>,
}

impl Request for HoldCommit {
    const PATH: &'static str = "/v1/holds/commit";
    type Answer = Written;

    async fn run(self, control: &Control) -> Result<Written, Failure> {
        control.hold_commit(self).await
    }
}

/// Forgets a draft. The record it was for stays as it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HoldDrop {
    /// As [`HoldCommit::hold`].
    pub hold: String,
}

impl Request for HoldDrop {
    const PATH: &'static str = "/v1/holds/drop";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.hold_drop(self).await
    }
}

/// Lists the drafts there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Drafts {}

/// The drafts, by domain and key.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DraftRows {
    /// One row a draft.
    pub rows: Vec<DraftRow>,
}

/// A draft without its text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DraftRow {
    /// The name of its hold.
    pub hold: String,
    /// The domain's name, or its id if this device does not know the name.
    pub domain: String,
    /// The key of the record that it is for.
    pub id: String,
    /// Whether somebody writes it.
    pub state: DraftState,
    /// When it was begun.
    pub started: Moment,
    /// When its text was last saved.
    pub saved: Moment,
    /// How long its text is.
    pub bytes: u64,
}

/// Whether somebody writes a draft.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DraftState {
    /// Its holder went away: keep it or drop it.
    Interrupted,
    /// Its holder is at work.
    Running,
}

impl Request for Drafts {
    const PATH: &'static str = "/v1/holds/list";
    type Answer = DraftRows;

    async fn run(self, control: &Control) -> Result<DraftRows, Failure> {
        control.drafts().await
    }
}

/// Reads one draft.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DraftGet {
    /// As [`HoldCommit::hold`].
    pub hold: String,
}

/// A draft with its text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DraftAnswer {
    /// The draft.
    #[serde(flatten)]
    pub draft: DraftRow,
    /// Its text.
    pub value: Value,
}

impl Request for DraftGet {
    const PATH: &'static str = "/v1/holds/get";
    type Answer = DraftAnswer;

    async fn run(self, control: &Control) -> Result<DraftAnswer, Failure> {
        control.draft(&self.hold).await
    }
}
