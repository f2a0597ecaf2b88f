//! What other devices say, and which of it is believed.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;

use super::statement::{Body, Kind, Reason, Signed, Statement};
use super::{Adoption, LIVE_MAX, Role, Row, Standing, State, UNDECIDED_MAX, UNKNOWN_ENDS_MAX, View};
use crate::id::DeviceId;
use crate::stamp::UnixMillis;

/// What a change of the view asks of the caller.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Rows to store, all in one transaction.
    pub rows: BTreeMap<DeviceId, Row>,
    /// Devices that lost their trust: cut them off once the rows are stored.
    pub ended: BTreeSet<DeviceId>,
    /// What to tell the person.
    pub notices: Vec<Notice>,
    /// The statements that changed something, for the log.
    pub log: Vec<Statement>,
    /// How many statements were not believed: unsigned, in another's name, or
    /// beyond a limit. Ours to log; the peer hears nothing of it.
    pub refused: usize,
}

/// What the person should know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A new device is trusted, brought in by another.
    Adopted {
        /// The new device.
        device: DeviceId,
        /// Who told us.
        by: DeviceId,
        /// Who paired it.
        origin: DeviceId,
    },
    /// A new device waits for the person's yes.
    AskAdoption {
        /// The new device.
        device: DeviceId,
        /// Who told us.
        by: DeviceId,
        /// Who paired it.
        origin: DeviceId,
    },
    /// A device was paired by one that is revoked here: confirm or revoke it.
    BroughtInByRevoked {
        /// The device.
        device: DeviceId,
        /// Who told us.
        by: DeviceId,
        /// Who paired it.
        origin: DeviceId,
    },
    /// Trust in a device has ended.
    Ended {
        /// The device.
        device: DeviceId,
        /// Retired or revoked.
        state: State,
        /// Who said so.
        by: DeviceId,
        /// Why.
        reason: Reason,
    },
    /// A device has revoked this one; nothing is synced with it any more.
    RevokedUs {
        /// The device.
        by: DeviceId,
    },
    /// A new device was not trusted, as there are too many already.
    SetFull {
        /// The new device.
        device: DeviceId,
        /// Who told us.
        by: DeviceId,
    },
}

/// A statement whose signatures hold and whose signer is the sender.
///
/// Made by checking a [`Statement`]; what a device says of its own view before
/// it signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    pub(super) kind: Kind,
    pub(super) subject: DeviceId,
    /// Who really paired the subject.
    pub(super) origin: DeviceId,
    pub(super) voucher: Option<Signed>,
    pub(super) label: String,
    pub(super) reason: Reason,
    pub(super) at: UnixMillis,
}

/// Why a statement is not believed.
struct Unbelieved;

impl View {
    /// Takes in what `from`, whose key the transport has proven, says.
    ///
    /// Only kin are believed, each only in its own name. New devices come
    /// before the end of others, so that a device that changed its key can name
    /// the new one and take leave of the old one in one message.
    pub fn accept(&mut self, from: DeviceId, statements: &[Statement], at: UnixMillis) -> Changes {
        if self.standing(from) != Standing::Kin || from == self.me {
            return Changes { refused: statements.len(), ..Changes::default() };
        }
        let mut refused = 0;
        let mut claims = Vec::new();
        for statement in statements {
            match self.check(from, statement) {
                Ok(Some(claim)) => claims.push((claim, Some(statement.clone()))),
                Ok(None) => {}
                Err(Unbelieved) => refused += 1,
            }
        }
        let mut changes = self.believe(from, claims, at);
        changes.refused += refused;
        changes
    }

    /// What this device says to its kin, signed with its key: new devices
    /// first. Unchanged views make unchanged bytes.
    pub fn statements_to_send(&self, key: &SigningKey) -> Vec<Statement> {
        let sign = |claim: Claim| {
            let Claim { kind, subject, label, reason, at, .. } = claim;
            let body = Body { label, reason, ..Body::new(kind, subject, self.me, at) };
            Statement::new(Signed::sign(&body, key), claim.voucher)
        };
        self.claims().into_iter().map(sign).collect()
    }

    /// What this device says, before it is signed.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let claim = |(device, row): (&DeviceId, &Row)| {
            let kind = match (row.state, row.role) {
                (State::Kin, Role::Kin) => Kind::Kin,
                // Guests are nobody else's business; the undecided are nobody's.
                (State::Kin, Role::Guest | Role::Once) | (State::Absent, _) => return None,
                (State::Retired, _) => Kind::Retired,
                (State::Revoked, _) => Kind::Revoked,
            };
            let introduced = kind == Kind::Kin && row.origin != self.me;
            Some(Claim {
                kind,
                subject: *device,
                origin: row.origin,
                voucher: row.voucher.clone().filter(|_| introduced),
                label: row.label.clone(),
                reason: row.reason,
                at: if kind == Kind::Kin { row.since.unwrap_or(row.changed) } else { row.changed },
            })
        };
        let mut claims: Vec<_> = self.rows.iter().filter_map(claim).collect();
        claims.sort_by_key(|claim| claim.kind);
        claims
    }

    /// Takes in claims by a kin device.
    pub(super) fn believe(
        &mut self,
        from: DeviceId,
        claims: Vec<(Claim, Option<Statement>)>,
        at: UnixMillis,
    ) -> Changes {
        let mut changes = Changes::default();
        let (adds, ends): (Vec<_>, Vec<_>) = claims.iter().partition(|(claim, _)| claim.kind == Kind::Kin);
        for (claim, statement) in &adds {
            if self.add(from, claim, at, &mut changes) {
                changes.log.extend(statement.clone());
            }
        }
        for (claim, statement) in &ends {
            if self.end(from, claim, at, &mut changes) {
                changes.log.extend(statement.clone());
            }
        }
        // Last, as an end in this very message may be what makes a voucher bad.
        for (claim, statement) in &adds {
            if self.better(claim, &mut changes) {
                changes.log.extend(statement.clone());
            }
        }
        changes
    }

    /// Checks a statement; `None` when it is nothing new, which most are, and
    /// which no signature could change.
    fn check(&self, from: DeviceId, statement: &Statement) -> Result<Option<Claim>, Unbelieved> {
        if !statement.fits() {
            return Err(Unbelieved);
        }
        let signed = statement.signed();
        let body = signed.claim().map_err(|_| Unbelieved)?;
        if body.by != from {
            return Err(Unbelieved);
        }
        let (origin, voucher) = match (body.kind, statement.voucher()) {
            (Kind::Kin, Some(voucher)) => {
                (voucher.claim().map_err(|_| Unbelieved)?.by, Some(voucher.clone()))
            }
            (Kind::Kin, None) => (from, Some(signed.clone())),
            (Kind::Retired | Kind::Revoked, _) => (from, None),
        };
        // Nobody speaks for themselves.
        if body.kind == Kind::Kin && origin == body.subject {
            return Err(Unbelieved);
        }
        if !self.is_news(from, &body, origin) {
            return Ok(None);
        }
        let body = signed.verify().map_err(|_| Unbelieved)?;
        if let Some(voucher) = statement.voucher()
            && body.kind == Kind::Kin
        {
            let word = voucher.verify().map_err(|_| Unbelieved)?;
            if word.kind != Kind::Kin || word.subject != body.subject {
                return Err(Unbelieved);
            }
        }
        let Body { kind, subject, label, reason, at, .. } = body;
        Ok(Some(Claim { kind, subject, origin, voucher, label, reason, at }))
    }

    fn is_news(&self, from: DeviceId, body: &Body, origin: DeviceId) -> bool {
        let row = self.rows.get(&body.subject);
        match body.kind {
            Kind::Kin if body.subject == self.me => false,
            Kind::Kin => match row {
                // Another origin may be what saves it when the first is revoked.
                Some(row) => row.state <= State::Kin && row.origin != origin,
                None => true,
            },
            Kind::Retired | Kind::Revoked if body.subject == self.me => !self.has_revoked_us(from),
            Kind::Retired | Kind::Revoked => row.is_none_or(|row| row.state < end_state(body.kind)),
        }
    }

    /// Rule for "X is one of us".
    fn add(&mut self, from: DeviceId, claim: &Claim, at: UnixMillis, changes: &mut Changes) -> bool {
        let (device, by, origin) = (claim.subject, from, claim.origin);
        let known = self.rows.get(&device);
        if device == self.me || known.is_some_and(|row| row.state > State::Absent) {
            return false;
        }
        let row = Row {
            state: State::Absent,
            role: Role::Kin,
            origin,
            voucher: claim.voucher.clone(),
            label: claim.label.clone(),
            alias: None,
            domains: None,
            since: None,
            changed: at,
            cause: from,
            reason: Reason::None,
            revoked_us: None,
        };
        let (row, notice) = if self.is_revoked(origin) {
            (row, Notice::BroughtInByRevoked { device, by, origin })
        } else if self.adoption == Adoption::Ask {
            (row, Notice::AskAdoption { device, by, origin })
        } else if self.count_live() >= LIVE_MAX {
            changes.refused += 1;
            changes.notices.push(Notice::SetFull { device, by });
            return false;
        } else {
            (Row { state: State::Kin, since: Some(at), ..row }, Notice::Adopted { device, by, origin })
        };
        if row.state == State::Absent {
            // Said before: nothing new to decide. Or too much to decide.
            let undecided = self.rows.values().filter(|row| row.state == State::Absent).count();
            if known.is_some() || undecided >= UNDECIDED_MAX {
                return false;
            }
        }
        self.put(device, row, changes);
        changes.notices.push(notice);
        true
    }

    /// Rule for "X is over": believed whoever paired X, as it fails safe.
    fn end(&mut self, from: DeviceId, claim: &Claim, at: UnixMillis, changes: &mut Changes) -> bool {
        let (device, state) = (claim.subject, end_state(claim.kind));
        if device == self.me {
            return self.note_revoked_by(from, at, changes);
        }
        let row = match self.rows.get(&device) {
            Some(row) if row.state >= state => return false,
            Some(row) => row.clone(),
            None => {
                let unknown =
                    |row: &&Row| row.since.is_none() && row.state >= State::Retired && row.cause == from;
                if self.rows.values().filter(unknown).count() >= UNKNOWN_ENDS_MAX {
                    changes.refused += 1;
                    return false;
                }
                Row {
                    state,
                    role: Role::Kin,
                    origin: from,
                    voucher: None,
                    label: claim.label.clone(),
                    alias: None,
                    domains: None,
                    since: None,
                    changed: at,
                    cause: from,
                    reason: claim.reason,
                    revoked_us: None,
                }
            }
        };
        let was_trusted = row.state == State::Kin;
        let reason = claim.reason;
        self.put(device, Row { state, changed: at, cause: from, reason, ..row }, changes);
        if was_trusted {
            changes.notices.push(Notice::Ended { device, state, by: from, reason });
        }
        true
    }

    /// A device has said that it revoked this one. Nobody else's trust changes
    /// by that; the person decides who is right.
    pub(super) fn note_revoked_by(&mut self, from: DeviceId, at: UnixMillis, changes: &mut Changes) -> bool {
        match self.rows.get(&from) {
            Some(row) if row.state == State::Kin && row.revoked_us.is_none() => {
                self.put(from, Row { revoked_us: Some(at), ..row.clone() }, changes);
                changes.notices.push(Notice::RevokedUs { by: from });
                true
            }
            _ => false,
        }
    }

    /// Keeps the better of two vouchers: one whose origin is not revoked.
    fn better(&mut self, claim: &Claim, changes: &mut Changes) -> bool {
        match self.rows.get(&claim.subject) {
            Some(row)
                if row.state == State::Kin
                    && row.role == Role::Kin
                    && self.is_revoked(row.origin)
                    && !self.is_revoked(claim.origin) =>
            {
                let row = Row { origin: claim.origin, voucher: claim.voucher.clone(), ..row.clone() };
                self.put(claim.subject, row, changes);
                true
            }
            _ => false,
        }
    }
}

fn end_state(kind: Kind) -> State {
    match kind {
        Kind::Kin => State::Kin,
        Kind::Retired => State::Retired,
        Kind::Revoked => State::Revoked,
    }
}
