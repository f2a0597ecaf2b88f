//! Everything that anybody can ask of a node, as plain async methods.
//!
//! The command line, the local API and an embedding application all stand on
//! this type. What concerns records, the registry and settings is done on the
//! store right here, so it works with no node running; what needs the network
//! is sent to the event loop as a [`Command`].

mod app;
mod append;
mod changes;
pub mod command;
mod conflicts;
mod doctor;
mod domains;
mod drafts;
mod held;
mod network;
mod node;
mod open;
mod peers;
mod records;
mod registry;
mod select;
#[cfg(test)]
mod tests;
mod trash;
mod version;
mod writing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use kinsync_protocol::{id::DeviceId, stamp::UnixMillis};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::Clock,
    commits::Heads,
    config::Config,
    domains::{Domains, Registry},
    events::{Events, PeerName, Subscription},
    failure::{Failure, Kind},
    home::Home,
    identity::Identity,
    storage::Storage,
};

pub use command::Command;
pub use version::version_name;

/// The version of the local API. Another one cannot be talked to.
pub const API_VERSION: u32 = 1;

/// A node, as those who use it see it. Clones are the same node.
///
/// The last clone closes the store; the last one that is attached to an event
/// loop ends that loop.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
    node: Option<mpsc::Sender<Command>>,
}

#[derive(Debug)]
struct Shared {
    apps: app::Apps,
    home: Home,
    identity: Identity,
    clock: Clock,
    config: watch::Sender<Config>,
    events: Events,
    heads: Heads,
    holding: held::Holding,
    leases: drafts::Leases,
    names: Names,
    registry: Registry,
    claims: Mutex<conflicts::Leases>,
    storage: Storage,
    /// When this process opened the store.
    opened: Duration,
}

/// The names of devices as last read from the registry, for those who cannot
/// wait for it.
#[derive(Clone, Debug, Default)]
struct Names(Arc<RwLock<BTreeMap<DeviceId, String>>>);

impl Names {
    fn of(&self, device: DeviceId) -> String {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&device).cloned().unwrap_or_else(|| device.short())
    }

    fn known(&self, device: DeviceId) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&device).cloned()
    }

    fn printed(&self, id: &str) -> Option<String> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|(device, _)| device.to_string() == id).map(|(_, name)| name.clone())
    }

    fn replace(&self, names: BTreeMap<DeviceId, String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl Control {
    /// The same node with an event loop that takes its commands.
    ///
    /// The loop itself keeps a clone that is not attached, so that its channel
    /// closes, and it ends, when nobody else is left.
    #[must_use]
    pub fn attached(&self, node: mpsc::Sender<Command>) -> Self {
        Self { shared: Arc::clone(&self.shared), node: Some(node) }
    }

    /// Where the files are.
    pub fn home(&self) -> &Home {
        &self.shared.home
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.shared.identity.device()
    }

    /// This device's key.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The domains that are in force now.
    pub fn domains(&self) -> Arc<Domains> {
        self.shared.registry.current()
    }

    /// The store.
    pub fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The settings as they are now, and every change of them.
    pub fn config(&self) -> watch::Receiver<Config> {
        self.shared.config.subscribe()
    }

    /// Changes settings for this run alone; the file stays as it is.
    pub fn adjust(&self, change: impl FnOnce(&mut Config)) {
        self.shared.config.send_modify(change);
        let guard = self.shared.config.borrow().guard;
        self.shared.storage.store().set_guard(guard);
    }

    /// What happens here: to be told by whoever makes it happen.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Watches from now on.
    pub fn subscribe(&self) -> Subscription {
        self.shared.events.subscribe()
    }

    /// Watches from the event after `last` on; the first one is
    /// [`crate::events::Event::Resync`] if some of them are gone.
    pub fn subscribe_after(&self, last: &str) -> Subscription {
        self.shared.events.subscribe_after(last)
    }

    /// A device by its two names.
    pub(crate) fn peer_name(&self, device: DeviceId) -> PeerName {
        PeerName { id: device.to_string(), name: self.shared.names.of(device) }
    }

    fn claims(&self) -> MutexGuard<'_, conflicts::Leases> {
        self.shared.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(self.shared.clock.wall().0)
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(command::Reply<T>) -> Command + Send) -> Result<T, Failure> {
        let Some(node) = &self.node else { return Err(Failure::not_running()) };
        let (reply, answer) = oneshot::channel();
        let stopped = || Failure::new(Kind::NotRunning, "The node has stopped.");
        node.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}
