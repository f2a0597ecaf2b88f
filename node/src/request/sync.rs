//! Making peers equal now, and proving that they are.

use serde::{Deserialize, Serialize};

use super::{LimitedDomain, Request};
use crate::{control::Control, failure::Failure};

/// Runs one pass with a peer, or with all of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SyncNow {
    /// Which peer; all trusted ones if missing.
    #[serde(default)]
    pub peer: Option<String>,
    /// Answer after the pass has ended instead of when it has begun.
    #[serde(default)]
    pub wait: bool,
    /// Compare everything, even where cursors say that nothing changed.
    #[serde(default)]
    pub full: bool,
    /// Only count what would be exchanged.
    #[serde(default)]
    pub dry_run: bool,
}

/// The passes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SyncRows {
    /// The version of this object: 1.
    pub v: u32,
    /// One row a peer.
    pub peers: Vec<SyncRow>,
}

/// One pass with one peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SyncRow {
    /// The printed device id.
    pub id: String,
    /// The peer's name.
    pub name: String,
    /// How it went.
    pub outcome: SyncOutcome,
    /// Records that came.
    pub pull: u64,
    /// Records that went.
    pub push: u64,
    /// Attachments that came or went.
    pub blobs: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What the two devices do not share; that is no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<LimitedDomain>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a pass went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncOutcome {
    /// It ended, and both sides are proven equal in all that they share.
    Equal,
    /// It ended early.
    Failed,
    /// It did all that it may: what is left waits for a person, here or there.
    Held,
    /// No address of the peer answers.
    Offline,
    /// It has begun; nobody waits for it.
    Started,
    /// Nothing was exchanged; the numbers say what would have been.
    Would,
}

impl Request for SyncNow {
    const PATH: &'static str = "/v1/sync";
    type Answer = SyncRows;

    async fn run(self, control: &Control) -> Result<SyncRows, Failure> {
        control.sync_now(self).await
    }
}

/// Compares with a peer, or with all of them, and changes nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Verify {
    /// Which peer; all trusted ones if missing.
    #[serde(default)]
    pub peer: Option<String>,
}

/// Whether the peers are equal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerifyAnswer {
    /// The version of this object: 1.
    pub v: u32,
    /// Whether every peer that could be asked is equal in all that is shared
    /// with it.
    pub equal: bool,
    /// One row a peer.
    pub peers: Vec<VerifyPeer>,
}

/// The comparison with one peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerifyPeer {
    /// The printed device id.
    pub id: String,
    /// The peer's name.
    pub name: String,
    /// Whether it could be asked at all.
    pub checked: bool,
    /// One row a domain; empty if it could not be asked.
    pub domains: Vec<VerifyDomain>,
    /// What the two devices do not share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limited: Vec<LimitedDomain>,
    /// Why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The comparison of one domain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerifyDomain {
    /// The domain's name, or its id if this device does not know the name.
    pub name: String,
    /// Whether both sides hold the same.
    pub equal: bool,
    /// Whether they need not, as not everything is shared, and nothing waits to
    /// travel that may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
    /// Records on this device.
    pub records: u64,
    /// Records on the other one, if it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_records: Option<u64>,
}

impl Request for Verify {
    const PATH: &'static str = "/v1/verify";
    type Answer = VerifyAnswer;

    async fn run(self, control: &Control) -> Result<VerifyAnswer, Failure> {
        control.verify(self.peer.as_deref()).await
    }
}
