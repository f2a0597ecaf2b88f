//! One row of the registry, as the rest of [`super::Control`] sees it, and the
//! ways in which a person changes one.

use std::{collections::BTreeMap, convert::Infallible};

use kinsync_protocol::{
    id::DeviceId,
    rights::Rights,
    trust::{Introduced, Role as Trusted, Row, State, statement::Reason},
};
use kinsync_store::{Address, AddressNote, Job, Peer};

use super::Control;
use crate::{
    clock::Moment,
    failure::{Failure, Kind},
    request::{PeerAddress, PeerState, Role},
};

/// One device that is or was trusted.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    row: Row,
    noted: Peer,
    addresses: Vec<Address>,
    rights: Rights,
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        match self.row.name() {
            // A device that was revoked before it was met has no name.
            "" => "unnamed",
            name => name,
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.row.label
    }

    pub(super) fn platform(&self) -> Option<String> {
        self.noted.platform.clone()
    }

    pub(super) fn app(&self) -> Option<String> {
        self.noted.app.clone()
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.row.state, State::Retired | State::Revoked)
    }

    pub(super) fn is_kin(&self) -> bool {
        self.row.state == State::Kin && self.row.role == Trusted::Kin
    }

    pub(super) const fn role(&self) -> Option<Role> {
        match (self.row.state, self.row.role) {
            (State::Kin, Trusted::Kin) => Some(Role::Kin),
            (State::Kin, Trusted::Guest) => Some(Role::Guest),
            (State::Kin, Trusted::Once) => Some(Role::Once),
            (State::Absent | State::Retired | State::Revoked, _) => None,
        }
    }

    pub(super) const fn state(&self, online: bool) -> PeerState {
        match self.row.state {
            State::Retired => PeerState::Retired,
            State::Revoked => PeerState::Revoked,
            State::Absent | State::Kin if online => PeerState::Online,
            State::Absent | State::Kin => PeerState::Offline,
        }
    }

    pub(super) fn since(&self) -> Option<Moment> {
        self.row.since.map(|at| Moment(at.0))
    }

    pub(super) fn last_seen(&self) -> Option<Moment> {
        self.noted.last_seen.map(|at| Moment(at.0))
    }

    pub(super) fn last_sync(&self) -> Option<Moment> {
        self.noted.last_equal.map(|at| Moment(at.0))
    }

    /// The device that brought it in.
    pub(super) const fn origin(&self) -> DeviceId {
        self.row.origin
    }

    /// When it told this device that it is revoked, if it did.
    pub(super) fn revoked_us(&self) -> Option<Moment> {
        self.row.revoked_us.map(|at| Moment(at.0))
    }

    /// What it may do here.
    pub(super) const fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(super) fn addresses(&self) -> Vec<PeerAddress> {
        let address = |address: &Address| PeerAddress {
            addr: address.text.clone(),
            worked: address.last_success.map(|at| Moment(at.0)),
            typed: address.typed,
        };
        self.addresses.iter().map(address).collect()
    }
}

impl Control {
    /// All devices that are or were trusted, without those that a person has
    /// forgotten. Those that only wait for a person's yes are warnings, not
    /// peers.
    pub(super) async fn registry(&self) -> Result<Vec<Entry>, Failure> {
        let me = self.device();
        let read = self.shared.storage.read(move |snapshot| {
            let noted: BTreeMap<_, _> = snapshot.peers()?.into_iter().collect();
            let view = snapshot.trust_view()?;
            let mut rights = BTreeMap::new();
            for device in view.rows().keys() {
                rights.insert(*device, snapshot.rights(*device)?);
            }
            Ok((view, noted, snapshot.addresses(None)?, rights))
        });
        let (view, mut noted, addresses, mut rights) = read.await?;
        let mut entries = Vec::new();
        for (device, row) in view.rows() {
            let noted = noted.remove(device);
            let over = matches!(row.state, State::Retired | State::Revoked);
            if *device == me || row.state == State::Absent || (over && noted.is_none()) {
                continue;
            }
            entries.push(Entry {
                device: *device,
                row: row.clone(),
                rights: rights.remove(device).unwrap_or_default(),
                noted: noted.unwrap_or_default(),
                addresses: addresses.iter().filter(|address| address.device == *device).cloned().collect(),
            });
        }
        Ok(entries)
    }

    pub(super) async fn write_alias(&self, device: DeviceId, alias: Option<String>) -> Result<(), Failure> {
        let change =
            Job::change_view(move |view| Ok::<_, Infallible>((view.set_alias(device, alias.as_deref()), ())));
        let Ok(_) = self.shared.storage.write(change).await?;
        Ok(())
    }

    pub(super) async fn write_address(&self, device: DeviceId, addr: String) -> Result<(), Failure> {
        Ok(self.shared.storage.write(Job::note_address(device, addr, AddressNote::Typed)).await?)
    }

    /// Lists show the dead only as long as something is noted of them.
    pub(super) async fn write_forgotten(&self, device: DeviceId) -> Result<(), Failure> {
        Ok(self.shared.storage.write(Job::forget_peer(device)).await?)
    }

    pub(super) async fn write_revoked(&self, device: DeviceId) -> Result<(), Failure> {
        let at = self.now();
        let change = Job::change_view(move |view| {
            view.revoke(device, Introduced::Keep, Reason::None, at).map(|changes| (changes, ()))
        });
        self.shared
            .storage
            .write(change)
            .await?
            .map_err(|error| Failure::new(Kind::BadRequest, format!("That cannot be done: {error}.")))?;
        // So that it stays in lists until somebody forgets it.
        Ok(self.shared.storage.write(Job::note_peer(device, at, |_| {})).await?)
    }
}
