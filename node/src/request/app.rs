//! What an application says of itself, and what it lacks for the records here.

use std::collections::BTreeMap;

use kinsync_protocol::declaration::{Need, Without};
use serde::{Deserialize, Serialize};

use super::{Done, Request};
use crate::{control::Control, failure::Failure};

/// How many applications one device remembers.
pub const APPS_MAX: usize = 64;

/// How many things an application can say that it has.
pub const APP_HAS_MAX: usize = 1_024;

/// The longest name of an application or of a thing that it has, in bytes.
pub const APP_TEXT_BYTES_MAX: usize = 128;

/// An application says what it reads and what it has: at each of its starts,
/// and again when that changes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AppState {
    /// Its name, the same at each start.
    pub id: String,
    /// The schema number of each domain that it reads and writes; the one that
    /// is declared where it says nothing.
    #[serde(default)]
    pub schema: BTreeMap<String, u32>,
    /// What it has: `embedding-model/bge-small`.
    #[serde(default)]
    pub has: Vec<String>,
}

impl Request for AppState {
    const PATH: &'static str = "/v1/app";
    type Answer = Readiness;

    async fn run(self, control: &Control) -> Result<Readiness, Failure> {
        control.set_app(self).await
    }
}

/// Asks what records need, and what of it is missing here.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ReadinessGet {
    /// Only for the records of this domain.
    #[serde(default)]
    pub domain: Option<String>,
}

impl Request for ReadinessGet {
    const PATH: &'static str = "/v1/readiness";
    type Answer = Readiness;

    async fn run(self, control: &Control) -> Result<Readiness, Failure> {
        control.readiness(self.domain.as_deref())
    }
}

/// Whether the records that are here can be made use of.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Readiness {
    /// All in one word.
    pub state: Ready,
    /// What is missing, by domain.
    pub missing: Vec<Missing>,
    /// All that is needed, by domain.
    #[serde(default)]
    pub needs: Vec<Needed>,
    /// What applications have said that they have, by their names.
    #[serde(default)]
    pub apps: BTreeMap<String, Vec<String>>,
}

/// Something that records need, and whether it is there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Needed {
    /// The domain whose records need it.
    pub domain: String,
    /// What it is: `embedding-model`.
    pub id: String,
    /// How badly it is needed.
    pub need: Need,
    /// What happens without it.
    pub without: Without,
    /// Whether it is there.
    pub state: Met,
    /// Which application has it, and what that is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<(String, String)>,
    /// What somebody chose to do about it, until what applications have
    /// changes.
    pub choice: Option<Choice>,
}

/// Whether something that is needed is there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// An application has it.
    Met,
    /// No application has it.
    Missing,
    /// No application has said what it has.
    Unknown,
}

/// Whether records can be made use of.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// Something is missing without which records are of no use.
    Blocked,
    /// Nothing is missing.
    Ready,
    /// Something is missing, and the rest works.
    ReadyWithout,
    /// No application has said what it has.
    #[default]
    Unknown,
}

/// Something that records need and no application here has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Missing {
    /// The domain whose records need it.
    pub domain: String,
    /// What it is: `embedding-model`.
    pub id: String,
    /// How badly it is needed.
    pub need: Need,
    /// What happens without it.
    pub without: Without,
    /// What somebody chose to do about it, until what applications have
    /// changes.
    pub choice: Option<Choice>,
}

/// What can be done about something that is missing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Nothing for now; ask again.
    Later,
    /// Set it up now.
    Provide,
    /// Go on without it.
    Without,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Provide, Self::Without, Self::Later];
}

/// Notes what somebody chose to do about something that is missing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Choose {
    /// The domain.
    pub domain: String,
    /// What is missing.
    pub id: String,
    /// What to do.
    pub choice: Choice,
}

impl Request for Choose {
    const PATH: &'static str = "/v1/readiness/choose";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.choose(self).await
    }
}
