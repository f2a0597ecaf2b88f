//! Pairing: how two devices that share nothing but a typed code come to trust
//! each other's keys.
//!
//! The *host* shows a code, the *joiner* types it. Both put it into a
//! password-authenticated key exchange that binds both keys; each then proves
//! the key to the other, the joiner first, so that the host counts every guess.
//! The host commits to its share before it sees the joiner's, so nobody can
//! search for a pair of shares whose check number fits.
//!
//! ```text
//! joiner                      host
//!   Hello      ------------>    code open?
//!              <------------  Offer         commitment to the share
//!   ShareJ     ------------>
//!              <------------  ShareH        share and salt: the commitment opens
//!   ConfirmJ   ------------>    a wrong one costs one of three tries
//!              <------------  ConfirmH      both screens show the check number
//!   Await      ------------>    the person decides
//!              <------------  Decision      trust is stored
//!   Ack        ------------>
//!              <------------  Done
//! ```
//!
//! Each request has one response. The device behind a message is the key that
//! the transport proved, never a field of the message.

use std::fmt;
use std::time::Duration;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::card::Card;
use crate::code::Code;
use crate::hash::tagged;
use crate::id::DeviceId;
use crate::trust::Role;
use crate::trust::statement::{RunId, Statement};

pub mod host;
pub mod joiner;
pub mod message;
mod pake;

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/kinsync/pair/1";

/// How long a code is open unless the person says otherwise: time to walk to
/// the other device.
pub const LIFETIME: Duration = Duration::from_secs(300);

/// The shortest life of a code that still lets a person type it.
pub const LIFETIME_MIN: Duration = Duration::from_secs(30);

/// The longest life of a code; every second of it invites guesses.
pub const LIFETIME_MAX: Duration = Duration::from_secs(3600);

/// How long a machine may take for one step; several round trips over a relay.
pub const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the person may take to answer.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// Wrong confirmations that void a code: three guesses at four million.
pub const GUESSES_MAX: u8 = 3;

/// Runs that a host keeps open at once: enough for people, and a flood can
/// hold no more memory than this.
pub const RUNS_MAX: usize = 4;

/// How long a device admitted once stays so unless the host says otherwise.
pub const ONCE_SECONDS: u64 = 3600;

/// The longest time a device can be admitted once: a day.
pub const ONCE_SECONDS_MAX: u64 = 86_400;

/// Domains that a host can name when it limits a device; with names of
/// [`DOMAIN_NAME_BYTES_MAX`] they fit into one message.
pub const GUEST_DOMAINS_MAX: usize = 32;

/// The longest name in such a list, in bytes.
pub const DOMAIN_NAME_BYTES_MAX: usize = 64;

const PASSWORD: &str = "kinsync/pair/1/password";
const COMMIT: &str = "kinsync/pair/1/commit";
const TRANSCRIPT: &str = "kinsync/pair/1/transcript";
const CONFIRM_JOINER: &str = "kinsync/pair/1/confirm-joiner";
const CONFIRM_HOST: &str = "kinsync/pair/1/confirm-host";
const CHECK: &str = "kinsync/pair/1/sas";
const SIGN_JOINER: &str = "kinsync/pair/1/sig-joiner";
const SIGN_HOST: &str = "kinsync/pair/1/sig-host";

/// The six digits that both screens show: `482 913`.
///
/// Differ when somebody who overheard the code stands between the devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CheckNumber(pub u32);

impl fmt::Display for CheckNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// What the person at the host answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// No.
    Reject,
    /// For this session.
    Once {
        /// At most this long (at most [`ONCE_SECONDS_MAX`]).
        seconds: u64,
        /// For these domains only, by name; `None` stands for all.
        domains: Option<Vec<String>>,
    },
    /// As somebody else's device.
    Guest {
        /// For these domains only, by name; `None` stands for all.
        domains: Option<Vec<String>>,
    },
    /// As one of the person's own devices.
    Kin,
}

impl Verdict {
    /// The role it grants, if any.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Reject => None,
            Self::Once { .. } => Some(Role::Once),
            Self::Guest { .. } => Some(Role::Guest),
            Self::Kin => Some(Role::Kin),
        }
    }

    /// The verdict, or what is left of it for a device that asks for less.
    #[must_use]
    pub fn limited_to(self, role: Role) -> Self {
        let domains = match (self.role(), &self) {
            (Some(granted), Self::Guest { domains }) if role < granted => domains.clone(),
            (Some(granted), _) if role < granted => None,
            _ => return self,
        };
        match role {
            Role::Once => Self::Once { seconds: ONCE_SECONDS, domains },
            Role::Guest | Role::Kin => Self::Guest { domains },
        }
    }

    /// Checks a verdict against the limits of what a message can say.
    fn check(&self) -> Result<(), VerdictError> {
        if let Self::Once { seconds, .. } = self
            && *seconds > ONCE_SECONDS_MAX
        {
            return Err(VerdictError::Seconds);
        }
        match self {
            Self::Once { domains: Some(domains), .. } | Self::Guest { domains: Some(domains) } => {
                let fits = domains.len() <= GUEST_DOMAINS_MAX
                    && domains.iter().all(|name| name.len() <= DOMAIN_NAME_BYTES_MAX);
                if fits { Ok(()) } else { Err(VerdictError::Domains) }
            }
            Self::Reject | Self::Once { .. } | Self::Guest { .. } | Self::Kin => Ok(()),
        }
    }
}

/// Why a verdict cannot be given.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum VerdictError {
    /// Too many domains, or too long names.
    #[error("at most {GUEST_DOMAINS_MAX} domains with names of {DOMAIN_NAME_BYTES_MAX} bytes can be named")]
    Domains,
    /// Too long a session.
    #[error("a session lasts at most {ONCE_SECONDS_MAX} seconds")]
    Seconds,
}

/// What a finished pairing grants, on either side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paired {
    /// The other device.
    pub device: DeviceId,
    /// What it says about itself; safe to show.
    pub card: Card,
    /// What both have agreed on: the weaker of the two wishes.
    pub role: Role,
    /// The only domains that may be synced with it, by name; `None` stands for
    /// all. Says how far the host lets the joiner; always `None` for kin.
    pub domains: Option<Vec<String>>,
    /// How long the admission lasts at most; means something for role once.
    pub once_seconds: u64,
    /// This device's signed word for the other; only for kin.
    pub ours: Option<Statement>,
    /// The other device's signed word for this one; only for kin, and on the
    /// host only once the joiner has acknowledged.
    pub theirs: Option<Statement>,
}

/// The two sides of a run. Signatures and proofs of one never fit the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Joiner,
    Host,
}

/// Everything public that both sides saw, hashed.
struct Transcript {
    run: RunId,
    nonce: [u8; 16],
    joiner: DeviceId,
    host: DeviceId,
    commit: [u8; 32],
    joiner_share: [u8; 33],
    host_share: [u8; 33],
    salt: [u8; 32],
}

impl Transcript {
    fn hash(&self) -> [u8; 32] {
        let joiner = self.joiner.peer_id_bytes();
        let host = self.host.peer_id_bytes();
        let parts: [&[u8]; 8] = [
            self.run.as_ref(),
            &self.nonce,
            &joiner,
            &host,
            &self.commit,
            &self.joiner_share,
            &self.host_share,
            &self.salt,
        ];
        tagged(TRANSCRIPT, &parts)
    }
}

/// The code as the key exchange takes it.
fn password(code: &Code) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(tagged(PASSWORD, &[code.symbols()]))
}

/// What the host promises its share and salt by.
fn commitment(run: &RunId, nonce: &[u8; 16], share: &[u8; 33], salt: &[u8; 32]) -> [u8; 32] {
    tagged(COMMIT, &[run.as_ref(), nonce, share, salt])
}

/// What a run's shared secret is good for.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Keys {
    joiner: [u8; 32],
    host: [u8; 32],
    #[zeroize(skip)]
    transcript: [u8; 32],
    #[zeroize(skip)]
    check: CheckNumber,
}

impl Keys {
    fn derive(shared: &[u8], transcript: [u8; 32]) -> Self {
        let source = Hkdf::<Sha256>::new(Some(&transcript), shared);
        let fill = |purpose: &str, key: &mut [u8]| {
            source.expand(purpose.as_bytes(), key).expect("hkdf yields thousands of bytes");
        };
        let mut check = [0; 8];
        let mut keys = Self { joiner: [0; 32], host: [0; 32], transcript, check: CheckNumber(0) };
        fill(CONFIRM_JOINER, &mut keys.joiner);
        fill(CONFIRM_HOST, &mut keys.host);
        fill(CHECK, &mut check);
        keys.check = CheckNumber((u64::from_be_bytes(check) % 1_000_000) as u32);
        keys
    }

    /// The proof by `side` that it knows the code, over its card.
    fn proof(&self, side: Side, card: &[u8]) -> [u8; 32] {
        let key = match side {
            Side::Joiner => &self.joiner,
            Side::Host => &self.host,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("hmac takes keys of any length");
        mac.update(&self.transcript);
        mac.update(card);
        mac.finalize().into_bytes().into()
    }

    /// I9: takes the same time whichever byte is wrong.
    fn holds(&self, side: Side, card: &[u8], proof: &[u8; 32]) -> bool {
        self.proof(side, card).ct_eq(proof).into()
    }

    /// What `side` signs with its device key.
    fn to_sign(&self, side: Side, card: &[u8]) -> [u8; 32] {
        let purpose = match side {
            Side::Joiner => SIGN_JOINER,
            Side::Host => SIGN_HOST,
        };
        tagged(purpose, &[&self.transcript, card])
    }
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one output among many")]
mod tests;
