//! What the person decides here.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use thiserror::Error;

use super::statement::{Body, Kind, Reason, Signed, Statement};
use super::{Changes, LIVE_MAX, Notice, Role, Row, State, View, Visitor};
use crate::card::Card;
use crate::id::DeviceId;
use crate::label;
use crate::pairing::Paired;
use crate::stamp::UnixMillis;

/// Why a pairing cannot be stored.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PairError {
    /// The key was revoked or retired here; only a new one can be paired.
    #[error("this key was revoked or retired and can never be trusted again")]
    Dead,
    /// The limit of trusted devices is reached.
    #[error("{LIVE_MAX} devices are trusted already")]
    Full,
    /// It is this device.
    #[error("a device does not pair with itself")]
    Oneself,
}

/// Why a device cannot be revoked.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RevokeError {
    /// It is this device; it can leave instead.
    #[error("a device does not revoke itself")]
    Oneself,
}

/// Why a device cannot be confirmed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfirmError {
    /// The key was revoked or retired here; only a new one can be paired.
    #[error("this key was revoked or retired and can never be trusted again")]
    Dead,
    /// The limit of trusted devices is reached.
    #[error("{LIVE_MAX} devices are trusted already")]
    Full,
    /// Nobody has brought in such a device as kin.
    #[error("no such device waits to be confirmed")]
    Unknown,
}

/// What becomes of the devices that a revoked one has brought in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Introduced {
    /// They stay; this device vouches for them from now on.
    #[default]
    Keep,
    /// They are revoked too.
    Revoke,
}

impl View {
    /// Stores a pairing, new or repeated. `now` is the monotonic time from
    /// which a visit counts.
    ///
    /// # Errors
    ///
    /// See [`PairError`]; nothing changes then.
    pub fn pair(&mut self, paired: &Paired, at: UnixMillis, now: Duration) -> Result<Changes, PairError> {
        let mut changes = Changes::default();
        let device = paired.device;
        let known = self.rows.get(&device);
        if device == self.me {
            return Err(PairError::Oneself);
        }
        if self.standing(device).is_dead() {
            return Err(PairError::Dead);
        }
        let trusted = known.is_some_and(|row| row.state == State::Kin);
        if paired.role == Role::Once {
            // A lasting trust is not cut down to a visit.
            if !trusted {
                let until = now.saturating_add(Duration::from_secs(paired.once_seconds));
                self.visitors.insert(device, Visitor { until, domains: paired.domains.clone() });
                self.generation += 1;
            }
            return Ok(changes);
        }
        if !trusted && self.count_live() >= LIVE_MAX {
            return Err(PairError::Full);
        }
        let row = Row {
            state: State::Kin,
            role: paired.role,
            origin: self.me,
            voucher: paired.ours.as_ref().map(Statement::signed),
            label: label::clean(&paired.card.label),
            alias: known.and_then(|row| row.alias.clone()),
            domains: paired.domains.clone(),
            since: known.and_then(|row| row.since).or(Some(at)),
            changed: at,
            cause: self.me,
            reason: Reason::None,
            revoked_us: None,
        };
        self.visitors.remove(&device);
        self.put(device, row, &mut changes);
        changes.log.extend(paired.ours.clone());
        changes.log.extend(paired.theirs.clone());
        Ok(changes)
    }

    /// Makes a kin device a guest, as its acknowledgement asks for less than the
    /// person has granted. Never raises one.
    pub fn lower(&mut self, device: DeviceId, role: Role, at: UnixMillis) -> Changes {
        let mut changes = Changes::default();
        let row = self.rows.get(&device).filter(|row| row.state == State::Kin && role < row.role);
        if let Some(row) = row
            && row.role > Role::Guest
        {
            let row = Row { role: Role::Guest, voucher: None, changed: at, ..row.clone() };
            self.put(device, row, &mut changes);
        }
        changes
    }

    /// Ends trust in a key for ever, whether it is known or not.
    ///
    /// In effect when the changed rows are stored.
    ///
    /// # Errors
    ///
    /// See [`RevokeError`].
    pub fn revoke(
        &mut self,
        device: DeviceId,
        introduced: Introduced,
        reason: Reason,
        at: UnixMillis,
    ) -> Result<Changes, RevokeError> {
        if device == self.me {
            return Err(RevokeError::Oneself);
        }
        let mut changes = Changes::default();
        let brought: Vec<_> = self.introduced_by(device).map(|(device, row)| (device, row.clone())).collect();
        self.end_here(device, State::Revoked, reason, at, &mut changes);
        for (device, row) in brought {
            match introduced {
                Introduced::Keep => {
                    self.put(device, Row { origin: self.me, voucher: None, ..row }, &mut changes);
                }
                Introduced::Revoke => {
                    self.end_here(device, State::Revoked, Reason::None, at, &mut changes);
                }
            }
        }
        Ok(changes)
    }

    /// Takes leave in good standing: this device's key is given up, and the
    /// next exchange tells the others.
    pub fn leave(&mut self, at: UnixMillis) -> Changes {
        let mut changes = Changes::default();
        self.end_here(self.me, State::Retired, Reason::None, at, &mut changes);
        changes
    }

    /// Whether this device has taken leave.
    pub fn has_left(&self) -> bool {
        self.rows.get(&self.me).is_some_and(|row| row.state >= State::Retired)
    }

    /// Says yes to a device that another brought in: this device vouches for it
    /// from now on.
    ///
    /// # Errors
    ///
    /// See [`ConfirmError`]; nothing changes then.
    pub fn confirm(&mut self, device: DeviceId, at: UnixMillis) -> Result<Changes, ConfirmError> {
        let row = self.rows.get(&device).ok_or(ConfirmError::Unknown)?;
        match row.state {
            State::Retired | State::Revoked => return Err(ConfirmError::Dead),
            State::Absent if self.count_live() >= LIVE_MAX => return Err(ConfirmError::Full),
            State::Kin if row.role != Role::Kin => return Err(ConfirmError::Unknown),
            State::Absent | State::Kin => {}
        }
        let (origin, since) = (self.me, row.since.or(Some(at)));
        let row = Row {
            state: State::Kin,
            origin,
            voucher: None,
            since,
            changed: at,
            cause: origin,
            ..row.clone()
        };
        let mut changes = Changes::default();
        self.put(device, row, &mut changes);
        Ok(changes)
    }

    /// A device that this one trusts refuses it, saying that it is revoked.
    pub fn handle_bye_revoked(&mut self, from: DeviceId, at: UnixMillis) -> Changes {
        let mut changes = Changes::default();
        self.note_revoked_by(from, at, &mut changes);
        changes
    }

    /// Takes over what a trusted device calls itself now.
    pub fn note_card(&mut self, from: DeviceId, card: &Card) -> Changes {
        let mut changes = Changes::default();
        let label = label::clean(&card.label);
        let row = self.rows.get(&from).filter(|row| row.state == State::Kin && row.label != label);
        if let Some(row) = row {
            let row = Row { label, ..row.clone() };
            self.rows.insert(from, row.clone());
            changes.rows.insert(from, row);
        }
        changes
    }

    /// Sets or clears what the person calls a device.
    pub fn set_alias(&mut self, device: DeviceId, alias: Option<&str>) -> Changes {
        let mut changes = Changes::default();
        let alias = alias.map(label::clean).filter(|alias| !alias.is_empty());
        if let Some(row) = self.rows.get_mut(&device)
            && row.alias != alias
        {
            row.alias = alias;
            changes.rows.insert(device, row.clone());
        }
        changes
    }

    /// The two statements by which this device changes its key: "that is one of
    /// us" and "I take leave", to be sent in one message under the old key.
    pub fn statements_of_rotation(
        &self,
        old: &SigningKey,
        new: DeviceId,
        label: &str,
        at: UnixMillis,
    ) -> Vec<Statement> {
        let kin = Body { label: label.to_owned(), ..Body::new(Kind::Kin, new, self.me, at) };
        let leave = Body { reason: Reason::Rotated, ..Body::new(Kind::Retired, self.me, self.me, at) };
        [kin, leave].map(|body| Statement::new(Signed::sign(&body, old), None)).into()
    }

    /// This view under a new key: the old one is retired, and what it vouched
    /// for is vouched for by the new one.
    #[must_use]
    pub fn rotated(&self, new: DeviceId, at: UnixMillis) -> (Self, Changes) {
        let mut view = Self { me: new, visitors: Default::default(), ..self.clone() };
        let mut changes = Changes::default();
        for (device, row) in &self.rows {
            if row.origin == self.me {
                view.put(*device, Row { origin: new, voucher: None, ..row.clone() }, &mut changes);
            }
        }
        view.end_here(self.me, State::Retired, Reason::Rotated, at, &mut changes);
        changes.notices.clear();
        (view, changes)
    }

    fn end_here(
        &mut self,
        device: DeviceId,
        state: State,
        reason: Reason,
        at: UnixMillis,
        changes: &mut Changes,
    ) {
        let by = self.me;
        let row = match self.rows.get(&device) {
            Some(row) if row.state >= state => return,
            Some(row) => Row { state, reason, changed: at, cause: by, ..row.clone() },
            None => Row {
                state,
                role: Role::Kin,
                origin: by,
                voucher: None,
                label: String::new(),
                alias: None,
                domains: None,
                since: None,
                changed: at,
                cause: by,
                reason,
                revoked_us: None,
            },
        };
        self.put(device, row, changes);
        if changes.ended.contains(&device) {
            changes.notices.push(Notice::Ended { device, state, by, reason });
        }
    }
}
