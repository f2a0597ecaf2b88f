//! One row of the registry, as the rest of [`super::Control`] sees it.

use kinsync_protocol::id::DeviceId;

use super::Control;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::request::{PeerAddress, PeerState, Role};

/// One device that is or was trusted.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    pub(super) label: String,
    pub(super) platform: Option<String>,
    pub(super) app: Option<String>,
    pub(super) since: Option<Moment>,
    pub(super) added_by: Option<DeviceId>,
    pub(super) addresses: Vec<PeerAddress>,
    pub(super) last_seen: Option<Moment>,
    pub(super) last_sync: Option<Moment>,
    pub(super) clock_offset_ms: Option<i64>,
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        &self.label
    }

    pub(super) const fn is_over(&self) -> bool {
        false
    }

    pub(super) const fn is_kin(&self) -> bool {
        true
    }

    pub(super) const fn role(&self) -> Option<Role> {
        Some(Role::Kin)
    }

    pub(super) const fn state(&self, online: bool) -> PeerState {
        if online { PeerState::Online } else { PeerState::Offline }
    }
}

fn missing<T>() -> Result<T, Failure> {
    Err(Failure::internal("there is no registry yet"))
}

#[allow(clippy::unused_async, unused_variables)]
impl Control {
    pub(super) async fn registry(&self) -> Result<Vec<Entry>, Failure> {
        Ok(Vec::new())
    }
    pub(super) async fn write_alias(&self, device: DeviceId, alias: Option<String>) -> Result<(), Failure> {
        missing()
    }
    pub(super) async fn write_address(&self, device: DeviceId, addr: String) -> Result<(), Failure> {
        missing()
    }
    pub(super) async fn write_hidden(&self, device: DeviceId) -> Result<(), Failure> {
        missing()
    }
    pub(super) async fn write_revoked(&self, device: DeviceId) -> Result<(), Failure> {
        missing()
    }
}
