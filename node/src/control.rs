//! Everything that anybody can ask of a node, as plain async methods.
//!
//! The command line, the local API and an embedding application all stand on
//! this type. What concerns records, the registry and settings is done on the
//! store right here, so it works with no node running; what needs the network
//! is sent to the event loop as a [`Command`].

pub mod command;

use crate::{
    events::{Events, Subscription},
    failure::Failure,
    home::Home,
    request::{
        ConfigRow, ConfigRows, Counts, DoctorRows, Done, GetAnswer, HistoryRows, List, ListAnswer, LogRows,
        PairJoin, PairJoining, PairOpen, PairOpened, PeerAddress, PeerDetail, PeerList, PeerRow, PutMany,
        Revoked, StatusAnswer, Stopping, SyncNow, SyncRows, Value, Verdict, VerifyAnswer, VersionAnswer,
        Written,
    },
};

pub use command::Command;

/// The version of the local API. Another one cannot be talked to.
pub const API_VERSION: u32 = 1;

/// A node, as those who use it see it. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Control {
    home: Home,
    events: Events,
}

fn missing<T>() -> Result<T, Failure> {
    Err(Failure::internal("there is no store yet"))
}

#[allow(clippy::unused_async, unused_variables, missing_docs)]
impl Control {
    /// Sets a home up: identity, configuration and an empty store.
    pub async fn init(home: &Home, name: Option<&str>) -> Result<Self, Failure> {
        missing()
    }
    /// Opens the store of a home that no node is running on.
    pub async fn open(home: &Home) -> Result<Self, Failure> {
        missing()
    }
    pub fn subscribe(&self) -> Subscription {
        self.events.subscribe()
    }
    pub fn subscribe_after(&self, last: &str) -> Subscription {
        self.events.subscribe_after(last)
    }
    pub async fn put(&self, domain: &str, id: &str, value: Value) -> Result<Written, Failure> {
        missing()
    }
    pub async fn get(&self, domain: &str, id: &str) -> Result<GetAnswer, Failure> {
        missing()
    }
    pub async fn del(&self, domain: &str, id: &str) -> Result<Written, Failure> {
        missing()
    }
    pub async fn list(&self, list: List) -> Result<ListAnswer, Failure> {
        missing()
    }
    pub async fn history(&self, domain: &str, id: &str) -> Result<HistoryRows, Failure> {
        missing()
    }
    pub async fn restore(&self, domain: &str, id: &str, version: &str) -> Result<Written, Failure> {
        missing()
    }
    pub async fn put_many(&self, request: PutMany) -> Result<Counts, Failure> {
        missing()
    }
    pub async fn peers(&self) -> Result<PeerList, Failure> {
        missing()
    }
    pub async fn peer(&self, peer: &str) -> Result<PeerDetail, Failure> {
        missing()
    }
    pub async fn rename_peer(&self, peer: &str, name: &str) -> Result<PeerRow, Failure> {
        missing()
    }
    pub async fn add_peer_address(&self, peer: &str, addr: &str) -> Result<PeerAddress, Failure> {
        missing()
    }
    pub async fn forget_peer(&self, peer: &str) -> Result<Done, Failure> {
        missing()
    }
    pub async fn revoke(&self, peer: &str) -> Result<Revoked, Failure> {
        missing()
    }
    pub async fn sync_now(&self, request: SyncNow) -> Result<SyncRows, Failure> {
        missing()
    }
    pub async fn verify(&self, peer: Option<&str>) -> Result<VerifyAnswer, Failure> {
        missing()
    }
    pub async fn pair_open(&self, request: PairOpen) -> Result<PairOpened, Failure> {
        missing()
    }
    pub async fn pair_join(&self, request: PairJoin) -> Result<PairJoining, Failure> {
        missing()
    }
    pub async fn pair_answer(&self, pairing: u64, verdict: Verdict) -> Result<Done, Failure> {
        missing()
    }
    pub async fn pair_cancel(&self, pairing: u64) -> Result<Done, Failure> {
        missing()
    }
    pub async fn status(&self) -> Result<StatusAnswer, Failure> {
        missing()
    }
    pub async fn config_rows(&self, key: Option<&str>) -> Result<ConfigRows, Failure> {
        missing()
    }
    pub async fn config_set(&self, key: &str, value: &str) -> Result<ConfigRow, Failure> {
        missing()
    }
    pub async fn log_tail(&self, lines: Option<usize>) -> Result<LogRows, Failure> {
        missing()
    }
    pub async fn doctor(&self) -> Result<DoctorRows, Failure> {
        missing()
    }
    pub async fn down(&self) -> Result<Stopping, Failure> {
        missing()
    }
    pub fn version(&self) -> VersionAnswer {
        VersionAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: API_VERSION,
            pid: std::process::id(),
        }
    }
}
