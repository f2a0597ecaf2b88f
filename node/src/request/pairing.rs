//! Making two devices trust each other by a short code.
//!
//! Both sides are started by a request and then told by events what happens
//! (`request`, `paired`, `failed`, each with the number of its pairing), so
//! subscribe first. Stopping early is [`PairCancel`].

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{Allowed, Done, Request};
use crate::{clock::Moment, control::Control, failure::Failure};

/// What a device may do in the set.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads and writes, until the connection ends; nothing is remembered.
    Once,
    /// Reads and writes; may not bring in or remove devices.
    Guest,
    /// Reads and changes everything, adds and removes devices.
    Kin,
}

/// The answer on the host's screen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As [`Role::Guest`].
    Guest,
    /// As [`Role::Kin`].
    Kin,
    /// As [`Role::Once`].
    Once,
    /// No.
    Reject,
}

/// Text that is not for logs: a pairing code or a ticket.
///
/// `Debug` shows nothing of it and dropping it overwrites it.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Shows it, to a person or to the machine that checks it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Opens a code on this device and waits for another one to enter it.
///
/// Answers at once with the code; the rest comes as events.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PairOpen {
    /// How long the code is good for, in seconds; 300 if missing.
    #[serde(default)]
    pub expires_s: Option<u64>,
    /// What this device calls itself to the other one; its name if missing.
    #[serde(default)]
    pub label: Option<String>,
    /// The most that this code can grant; [`Role::Kin`] if missing.
    #[serde(default)]
    pub role: Option<Role>,
    /// Accept whoever proves the code, as `role`, without asking.
    #[serde(default)]
    pub yes: bool,
    /// What the other device may do here from the start; everything if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Allowed>,
}

/// A code is open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PairOpened {
    /// The number of this pairing, in its events.
    pub pairing: u64,
    /// What to type on the other device.
    pub code: SecretText,
    /// The same with this device's id and addresses, for a QR picture.
    pub ticket: SecretText,
    /// When the code ends.
    pub expires_at: Moment,
    /// Addresses of this device, for `--addr` where discovery is blocked.
    pub addresses: Vec<String>,
}

impl Request for PairOpen {
    const PATH: &'static str = "/v1/pair/open";
    type Answer = PairOpened;

    async fn run(self, control: &Control) -> Result<PairOpened, Failure> {
        control.pair_open(self).await
    }
}

/// Enters a code that another device shows.
///
/// Answers as soon as the code has the right form; the rest comes as events.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PairJoin {
    /// The code as typed, or a ticket.
    pub code: SecretText,
    /// Where the other device is, if discovery cannot find it.
    #[serde(default)]
    pub addr: Option<String>,
    /// What this device calls itself to the other one; its name if missing.
    #[serde(default)]
    pub label: Option<String>,
    /// The most that this device wants to be; [`Role::Kin`] if missing.
    #[serde(default, rename = "as")]
    pub role: Option<Role>,
    /// What the other device may do here from the start; everything if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Allowed>,
}

/// A code has been entered and the other device is being looked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PairJoining {
    /// The number of this pairing, in its events.
    pub pairing: u64,
}

impl Request for PairJoin {
    const PATH: &'static str = "/v1/pair/join";
    type Answer = PairJoining;

    async fn run(self, control: &Control) -> Result<PairJoining, Failure> {
        control.pair_join(self).await
    }
}

/// Answers the question that a `request` event asks on the host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct PairAnswer {
    /// Which pairing.
    pub pairing: u64,
    /// The answer.
    pub verdict: Verdict,
}

impl Request for PairAnswer {
    const PATH: &'static str = "/v1/pair/answer";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.pair_answer(self.pairing, self.verdict).await
    }
}

/// Ends a pairing on either side; a code that was open is void.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct PairCancel {
    /// Which pairing.
    pub pairing: u64,
}

impl Request for PairCancel {
    const PATH: &'static str = "/v1/pair/cancel";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.pair_cancel(self.pairing).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S11: the code never reaches a log.
    #[test]
    fn debug_hides_the_code() {
        let join = PairJoin {
            code: SecretText::new("KXNR-7842"),
            addr: None,
            label: None,
            role: Some(Role::Guest),
            allowed: None,
        };
        assert!(!format!("{join:?}").contains("7842"));
        let text = serde_json::to_string(&join).expect("serialises");
        assert!(text.contains(r#""as":"guest""#));
    }
}
