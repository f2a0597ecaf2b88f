//! Mass changes of other devices, which wait for a person.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::{clock::Moment, control::Control, events::PeerName, failure::Failure};

/// Lists what is held.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct HeldList {}

/// What is held, by number.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldRows {
    /// One row a device and domain.
    pub rows: Vec<HeldRow>,
}

/// A mass change of one device in one domain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldRow {
    /// Its number.
    pub number: u64,
    /// Who wants it.
    pub peer: PeerName,
    /// The domain's name, or its id if this device does not know the name.
    pub domain: String,
    /// Since when it is held.
    pub since: Moment,
    /// How many records of the domain there were.
    pub live: u64,
    /// How many of them it would delete.
    pub deletions: u64,
    /// How many of them it would replace.
    pub replacements: u64,
    /// Records of it that are kept here, new ones included.
    pub records: u64,
    /// How large they are.
    pub bytes: u64,
    /// Records for which there was no room; they come again after a yes.
    pub beyond: u64,
}

impl Request for HeldList {
    const PATH: &'static str = "/v1/held";
    type Answer = HeldRows;

    async fn run(self, control: &Control) -> Result<HeldRows, Failure> {
        Ok(control.held())
    }
}

/// Shows the records of a mass change.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct HeldShow {
    /// [`HeldRow::number`].
    pub number: u64,
}

/// A mass change and its records.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldDetail {
    /// The change.
    #[serde(flatten)]
    pub held: HeldRow,
    /// Its records, [`super::LIST_ROWS_MAX`] at most.
    pub rows: Vec<HeldRecordRow>,
    /// Whether there are more.
    pub more: bool,
}

/// One record of a mass change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldRecordRow {
    /// Its key.
    pub id: String,
    /// What would become of it.
    pub change: HeldChange,
    /// How long its value is here; none if there is none.
    pub bytes: Option<u64>,
    /// How long the held value is; none for a deletion.
    pub held_bytes: Option<u64>,
}

/// What would become of a record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldChange {
    /// It would be there.
    Add,
    /// It would be gone.
    Delete,
    /// It would stay as it is.
    Nothing,
    /// It would have another value.
    Replace,
}

impl Request for HeldShow {
    const PATH: &'static str = "/v1/held/show";
    type Answer = HeldDetail;

    async fn run(self, control: &Control) -> Result<HeldDetail, Failure> {
        control.held_show(self.number).await
    }
}

/// Applies a mass change.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct HeldAccept {
    /// [`HeldRow::number`].
    pub number: u64,
}

/// What became of a mass change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeldDecided {
    /// The change.
    #[serde(flatten)]
    pub held: HeldRow,
    /// Records that have a new version now.
    pub changed: u64,
}

impl Request for HeldAccept {
    const PATH: &'static str = "/v1/held/accept";
    type Answer = HeldDecided;

    async fn run(self, control: &Control) -> Result<HeldDecided, Failure> {
        control.held_accept(self.number).await
    }
}

/// Keeps what is here instead of a mass change, on every device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct HeldReject {
    /// [`HeldRow::number`].
    pub number: u64,
}

impl Request for HeldReject {
    const PATH: &'static str = "/v1/held/reject";
    type Answer = HeldDecided;

    async fn run(self, control: &Control) -> Result<HeldDecided, Failure> {
        control.held_reject(self.number).await
    }
}
