//! The node itself: how it is, how it is set up, and its end.

use kinsync_protocol::id::DeviceId;
use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use super::{PeerRow, Request};
use crate::{clock::Moment, control::Control, failure::Failure};

/// Asks how the node is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Status {}

/// The one word that says how things are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pill {
    /// Something needs a person.
    Error,
    /// Nothing to do.
    Idle,
    /// Two passes in a row reached nobody.
    Offline,
    /// A person stopped it.
    Paused,
    /// A pass has just ended well.
    Success,
    /// A pass is running.
    Syncing,
}

/// How the node is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StatusAnswer {
    /// The version of this object: 1.
    pub v: u32,
    /// This device.
    #[serde(rename = "self")]
    pub me: SelfRow,
    /// The one word.
    pub state: Pill,
    /// What else is to know: `conflicts`, `waiting-upgrade`, `held`, `clock`,
    /// `readiness`.
    pub flags: Vec<String>,
    /// The other devices.
    pub peers: Vec<PeerRow>,
    /// What is kept.
    pub domains: Vec<DomainRow>,
    /// What waits for peers that are not there.
    pub queue: Vec<QueueRow>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// The id of the last event before this answer was made.
    pub last_event: String,
}

/// This device in a status.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SelfRow {
    /// The printed device id.
    pub id: String,
    /// The full libp2p peer id.
    pub peer_id: String,
    /// The name it shows to others.
    pub name: String,
    /// The version of kinsync.
    pub version: String,
    /// Whether a node is running; otherwise this is the store alone.
    pub running: bool,
    /// The process that runs it.
    pub pid: Option<u32>,
    /// How long it has been running.
    pub uptime_s: Option<u64>,
    /// Where it listens.
    pub listening: Vec<String>,
    /// What reaches beyond this device: `lan`, later `relay`, `dht`, `gateway`.
    pub reach: Vec<String>,
    /// Where its files are.
    pub home: String,
}

impl SelfRow {
    /// The device that [`SelfRow::peer_id`] names.
    pub fn device(&self) -> Option<DeviceId> {
        let peer: PeerId = self.peer_id.parse().ok()?;
        DeviceId::from_peer_id_bytes(&peer.to_bytes())
    }
}

/// One domain in a status.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DomainRow {
    /// Its name, or its id if this device does not know the name.
    pub name: String,
    /// Records that are there.
    pub records: u64,
    /// Records that were deleted.
    pub tombstones: u64,
    /// Records that wait for an upgrade of this device.
    pub waiting: u64,
    /// Conflicts that are kept.
    pub conflicts: u64,
}

/// What waits for one peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QueueRow {
    /// The printed device id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many records.
    pub records: u64,
    /// When it was last seen.
    pub last_seen: Option<Moment>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Warning {
    /// Its stable code.
    pub code: String,
    /// What it is and what to do.
    pub text: String,
}

impl Request for Status {
    const PATH: &'static str = "/v1/status";
    type Answer = StatusAnswer;

    async fn run(self, control: &Control) -> Result<StatusAnswer, Failure> {
        control.status().await
    }
}

/// Reads one setting, or all of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ConfigGet {
    /// Which one; all if missing.
    #[serde(default)]
    pub key: Option<String>,
}

/// Settings.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigRows {
    /// One row a setting, in the order of the documentation.
    pub rows: Vec<ConfigRow>,
}

/// One setting.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigRow {
    /// Its name.
    pub key: String,
    /// Its value, as [`ConfigSet`] takes it.
    pub value: String,
    /// The value it has when nobody sets it.
    pub default: String,
    /// What it does.
    pub about: String,
    /// Whether a running node takes a change only at its next start.
    pub restart: bool,
}

impl Request for ConfigGet {
    const PATH: &'static str = "/v1/config/get";
    type Answer = ConfigRows;

    async fn run(self, control: &Control) -> Result<ConfigRows, Failure> {
        control.config_rows(self.key.as_deref()).await
    }
}

/// Changes one setting and writes it to the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConfigSet {
    /// Its name.
    pub key: String,
    /// Its new value.
    pub value: String,
}

impl Request for ConfigSet {
    const PATH: &'static str = "/v1/config/set";
    type Answer = ConfigRow;

    async fn run(self, control: &Control) -> Result<ConfigRow, Failure> {
        control.config_set(&self.key, &self.value).await
    }
}

/// Reads the last lines of the activity log.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct LogTail {
    /// How many; 100 if missing.
    #[serde(default)]
    pub lines: Option<usize>,
}

/// Lines of the activity log, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LogRows {
    /// The lines.
    pub rows: Vec<LogRow>,
}

/// One line of the activity log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LogRow {
    /// When it happened.
    pub at: Moment,
    /// What happened, as the name of an event.
    pub event: String,
    /// Its particulars, as the event has them.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl Request for LogTail {
    const PATH: &'static str = "/v1/log";
    type Answer = LogRows;

    async fn run(self, control: &Control) -> Result<LogRows, Failure> {
        control.log_tail(self.lines).await
    }
}

/// Looks at everything that could be wrong.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Doctor {}

/// What was looked at.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DoctorRows {
    /// One row a check.
    pub rows: Vec<DoctorRow>,
}

/// One check.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DoctorRow {
    /// What was looked at: `store`, `port 7842`, `laptop`.
    pub check: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Ok,
    /// Worth knowing.
    Warn,
    /// Something does not work.
    Bad,
}

impl Request for Doctor {
    const PATH: &'static str = "/v1/doctor";
    type Answer = DoctorRows;

    async fn run(self, control: &Control) -> Result<DoctorRows, Failure> {
        control.doctor().await
    }
}

/// Stops the node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Down {}

/// The node is stopping.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stopping {
    /// The process that ends.
    pub pid: u32,
}

impl Request for Down {
    const PATH: &'static str = "/v1/down";
    type Answer = Stopping;

    async fn run(self, control: &Control) -> Result<Stopping, Failure> {
        control.down().await
    }
}

/// Asks which version runs; the first thing a client should do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Version {}

/// Which version runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VersionAnswer {
    /// The version of kinsync.
    pub version: String,
    /// The version of the local API; another one cannot be talked to.
    pub api: u32,
    /// The process that runs it.
    pub pid: u32,
}

impl Request for Version {
    const PATH: &'static str = "/v1/version";
    type Answer = VersionAnswer;

    async fn run(self, control: &Control) -> Result<VersionAnswer, Failure> {
        Ok(control.version())
    }
}
