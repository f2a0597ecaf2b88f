//! One device in a view, as the store keeps it.

use super::Role;
use super::statement::{Reason, Signed};
use crate::cbor::{self, DecodeError, int_map};
use crate::id::DeviceId;
use crate::stamp::UnixMillis;

/// The largest row that is read back: a voucher and a list of domains.
const ROW_BYTES_MAX: usize = 8192;

/// How far trust in a key has come. It never goes back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Not trusted, and kept only because the person has to decide.
    Absent = 0,
    /// Trusted, as far as the role goes.
    Kin = 1,
    /// Left in good standing; what it vouched for stays good.
    Retired = 2,
    /// Revoked; what it vouched for and is not known yet is not believed.
    Revoked = 3,
}

/// What is known of one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// How far trust has come.
    pub state: State,
    /// Guest or kin. Means something while the state is kin.
    pub role: Role,
    /// The device that really paired it.
    pub origin: DeviceId,
    /// That device's signed word; `None` where this device signs its own when
    /// it is needed.
    pub voucher: Option<Signed>,
    /// What it calls itself; cleaned.
    pub label: String,
    /// What the person calls it here, if they do. Never leaves this device.
    pub alias: Option<String>,
    /// The only domains a guest may sync, by name; `None` stands for all.
    pub domains: Option<Vec<String>>,
    /// When it was first trusted here, if it ever was.
    pub since: Option<UnixMillis>,
    /// When the state last changed here.
    pub changed: UnixMillis,
    /// Which device brought the state about: the one that told us, or this one.
    pub cause: DeviceId,
    /// Why it was retired or revoked; for display.
    pub reason: Reason,
    /// When it told us that it has revoked this device.
    pub revoked_us: Option<UnixMillis>,
}

struct Wire {
    state: u8,
    role: u8,
    origin: DeviceId,
    voucher: Option<Signed>,
    label: String,
    alias: Option<String>,
    domains: Option<Vec<String>>,
    since: Option<UnixMillis>,
    changed: UnixMillis,
    cause: DeviceId,
    reason: u8,
    revoked_us: Option<UnixMillis>,
}
int_map!(Wire {
    1: state,
    2: role,
    3: origin,
    4: label,
    5: changed,
    6: cause,
    7: reason,
} optional {
    8: voucher,
    9: alias,
    10: domains,
    11: since,
    12: revoked_us,
});

impl Row {
    /// What people see: the alias, or else the label.
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.label)
    }

    /// The row as bytes, for the store.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&Wire {
            state: self.state as u8,
            role: self.role as u8,
            origin: self.origin,
            voucher: self.voucher.clone(),
            label: self.label.clone(),
            alias: self.alias.clone(),
            domains: self.domains.clone(),
            since: self.since,
            changed: self.changed,
            cause: self.cause,
            reason: self.reason as u8,
            revoked_us: self.revoked_us,
        })
    }

    /// Reads a row that [`encode`](Self::encode) has written.
    ///
    /// # Errors
    ///
    /// The bytes are damaged or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = cbor::decode(bytes, ROW_BYTES_MAX)?;
        let state = match wire.state {
            0 => State::Absent,
            1 => State::Kin,
            2 => State::Retired,
            3 => State::Revoked,
            _ => return Err(DecodeError::Invalid { what: "state" }),
        };
        Ok(Self {
            state,
            role: Role::from_number(wire.role)?,
            origin: wire.origin,
            voucher: wire.voucher,
            label: wire.label,
            alias: wire.alias,
            domains: wire.domains,
            since: wire.since,
            changed: wire.changed,
            cause: wire.cause,
            reason: Reason::from_number(wire.reason),
            revoked_us: wire.revoked_us,
        })
    }
}
