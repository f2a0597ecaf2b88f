//! Kinds of records: which are declared, and how another is.

use kinsync_protocol::declaration::{Declaration, Scope};
use serde::{Deserialize, Serialize};

use super::{Done, Request, Warning};
use crate::{control::Control, domains::Source, failure::Failure};

/// Lists the domains: those that are declared, and those whose records are
/// here without anybody having declared them here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Domains {}

/// The domains of this device.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DomainRows {
    /// The version of this object: 1.
    pub v: u32,
    /// The built-in ones, the others by name, then those that nobody declared.
    pub rows: Vec<DomainInfo>,
    /// What could not be read or does not fit the others, a line each.
    pub problems: Vec<String>,
}

/// One domain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DomainInfo {
    /// Its name, or its id if this device does not know the name.
    pub name: String,
    /// Where its declaration stands; none if nobody declared it here.
    pub source: Option<Source>,
    /// Whose its records are.
    pub scope: Scope,
    /// What concurrent versions of a record make.
    pub policy: String,
    /// The number of the schema that is written.
    pub schema: u32,
    /// The oldest number that is read.
    pub reads: u32,
    /// Whether records go to named devices only.
    pub opt_in: bool,
    /// The domain whose records its own belong to.
    pub parent: Option<String>,
    /// Records that are there.
    pub records: u64,
    /// Records that wait: for a declaration or for an upgrade.
    pub waiting: u64,
    /// What a newer declaration would widen, if one waits for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
}

impl Request for Domains {
    const PATH: &'static str = "/v1/domains";
    type Answer = DomainRows;

    async fn run(self, control: &Control) -> Result<DomainRows, Failure> {
        control.domain_rows().await
    }
}

/// Shows one domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainShow {
    /// Its name.
    pub name: String,
}

/// All that is known of one domain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DomainDetail {
    /// The version of this object: 1.
    pub v: u32,
    /// Its row.
    #[serde(flatten)]
    pub info: DomainInfo,
    /// What was declared.
    pub declaration: Option<Declaration>,
    /// The declaration that waits for an answer; with `asks` and without this
    /// the declaration in force would just go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_declaration: Option<Declaration>,
    /// Whether somebody here said no to it.
    #[serde(default)]
    pub rejected: bool,
}

impl Request for DomainShow {
    const PATH: &'static str = "/v1/domains/show";
    type Answer = DomainDetail;

    async fn run(self, control: &Control) -> Result<DomainDetail, Failure> {
        control.domain(&self.name).await
    }
}

/// Declares a domain on all devices, or changes what is declared.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainAdd {
    /// What is declared; without a `value-file`.
    pub declaration: Declaration,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Do it also if records that are there do not fit.
    #[serde(default)]
    pub yes: bool,
}

/// What a declaration does, or would do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DomainAdded {
    /// The version of this object: 1.
    pub v: u32,
    /// The domain's name.
    pub name: String,
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// What was there before.
    pub change: DomainChange,
    /// What it lets records do that they could not do before.
    pub widens: Vec<String>,
    /// Records that were looked at.
    pub records: u64,
    /// Those that do not fit it.
    pub misfits: u64,
    /// The first of those.
    pub first: Vec<Misfit>,
    /// What may be meant otherwise: `unknown-parent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What a declaration does to those that are there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainChange {
    /// There was none of that name.
    New,
    /// There was another one.
    Changed,
    /// It is the one that is in force.
    Same,
}

/// A record that does not fit its domain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Misfit {
    /// Its key.
    pub id: String,
    /// What does not fit, by field.
    pub why: String,
}

impl Request for DomainAdd {
    const PATH: &'static str = "/v1/domains/add";
    type Answer = DomainAdded;

    async fn run(self, control: &Control) -> Result<DomainAdded, Failure> {
        control.add_domain(self).await
    }
}

/// Takes a declaration that widens what records may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainAccept {
    /// The domain's name.
    pub name: String,
}

impl Request for DomainAccept {
    const PATH: &'static str = "/v1/domains/accept";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.answer_domain(&self.name, true).await
    }
}

/// Stays with the declaration that is in force here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainReject {
    /// The domain's name.
    pub name: String,
}

impl Request for DomainReject {
    const PATH: &'static str = "/v1/domains/reject";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.answer_domain(&self.name, false).await
    }
}

/// Takes a declaration back that somebody added. Its records stay, and wait.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DomainRemove {
    /// The domain's name.
    pub name: String,
}

impl Request for DomainRemove {
    const PATH: &'static str = "/v1/domains/remove";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.remove_domain(&self.name).await
    }
}
