//! The other devices of the set: who they are, where they are, and the end of
//! trust.
//!
//! Every request that names a peer takes its name or alias, its printed id,
//! its libp2p id, or an unambiguous beginning of one of them.

use serde::{Deserialize, Serialize};

use super::{Done, Request};
use crate::{clock::Moment, control::Control, failure::Failure};

/// Where a peer stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Trusted, and not connected.
    Offline,
    /// Trusted and connected.
    Online,
    /// It left in good standing.
    Retired,
    /// It was removed from the set.
    Revoked,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerPath {
    /// Over the internet, directly.
    DirectWan,
    /// On the local network.
    Lan,
    /// Not connected.
    #[default]
    None,
    /// Through a relay.
    Relay,
}

/// One peer in a list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerRow {
    /// The printed device id, all four groups.
    pub id: String,
    /// The full libp2p peer id.
    pub peer_id: String,
    /// The name to show: this device's own alias for it, else its own label.
    pub name: String,
    /// `kin`, `guest` or `once`; none once trust has ended.
    pub role: Option<super::Role>,
    /// Where it stands.
    pub state: PeerState,
    /// How it is reached.
    pub path: PeerPath,
    /// When it was last connected.
    pub last_seen: Option<Moment>,
    /// When both sides were last proven equal.
    pub last_sync: Option<Moment>,
    /// How far its clock is ahead of this device's.
    pub clock_offset_ms: Option<i64>,
    /// What it may do: `read`, `write`, `delete`, `only:` and `also:` with the
    /// names of domains.
    pub rights: Vec<String>,
}

/// Lists the peers, revoked ones last.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Peers {}

/// All peers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerList {
    /// The version of this object: 1.
    pub v: u32,
    /// The peers by name, revoked ones last.
    pub peers: Vec<PeerRow>,
}

impl Request for Peers {
    const PATH: &'static str = "/v1/peers";
    type Answer = PeerList;

    async fn run(self, control: &Control) -> Result<PeerList, Failure> {
        control.peers().await
    }
}

/// Shows one peer in full.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerShow {
    /// Which peer.
    pub peer: String,
}

/// Everything known about one peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerDetail {
    /// What lists show.
    #[serde(flatten)]
    pub row: PeerRow,
    /// The label that it gave itself.
    pub label: String,
    /// The operating system it said it runs on.
    pub platform: Option<String>,
    /// The version of kinsync that it said it runs.
    pub app: Option<String>,
    /// When this device first trusted it.
    pub since: Option<Moment>,
    /// The device that brought it in, if that was not this one.
    pub added_by: Option<String>,
    /// Its remembered addresses, the best first.
    pub addresses: Vec<PeerAddress>,
    /// Records that wait for it.
    pub queued: u64,
    /// Failed passes since the last one that ended well.
    pub failures: u32,
    /// Why the last pass failed.
    pub last_failure: Option<Failure>,
}

/// A remembered address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerAddress {
    /// The multiaddr, without the peer id.
    pub addr: String,
    /// When it last worked; never, if it was only typed in.
    pub worked: Option<Moment>,
    /// Whether a person typed it in.
    pub typed: bool,
}

impl Request for PeerShow {
    const PATH: &'static str = "/v1/peers/show";
    type Answer = PeerDetail;

    async fn run(self, control: &Control) -> Result<PeerDetail, Failure> {
        control.peer(&self.peer).await
    }
}

/// Gives a peer another name on this device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerRename {
    /// Which peer.
    pub peer: String,
    /// Its new name; empty to go back to its own label.
    pub name: String,
}

impl Request for PeerRename {
    const PATH: &'static str = "/v1/peers/rename";
    type Answer = PeerRow;

    async fn run(self, control: &Control) -> Result<PeerRow, Failure> {
        control.rename_peer(&self.peer, &self.name).await
    }
}

/// Remembers an address of a peer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerAddAddr {
    /// Which peer.
    pub peer: String,
    /// A multiaddr, `192.168.1.31`, `192.168.1.31:7842` or `[fe80::1]:7842`.
    pub addr: String,
}

impl Request for PeerAddAddr {
    const PATH: &'static str = "/v1/peers/add-addr";
    type Answer = PeerAddress;

    async fn run(self, control: &Control) -> Result<PeerAddress, Failure> {
        control.add_peer_address(&self.peer, &self.addr).await
    }
}

/// Removes the row of a revoked or never-used peer from lists.
///
/// Trust does not change: a revoked key stays dead.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PeerForget {
    /// Which peer.
    pub peer: String,
}

impl Request for PeerForget {
    const PATH: &'static str = "/v1/peers/forget";
    type Answer = Done;

    async fn run(self, control: &Control) -> Result<Done, Failure> {
        control.forget_peer(&self.peer).await
    }
}

/// Ends trust in a peer, at once and for ever.
///
/// When it answers, the end of trust is on disk and no record from that peer
/// commits any more.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Revoke {
    /// Which peer.
    pub peer: String,
}

/// Trust has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Revoked {
    /// The peer as it is now.
    pub peer: PeerRow,
    /// Connections to it that were closed.
    pub closed: u32,
    /// Names of the devices that have been told.
    pub informed: Vec<String>,
    /// Names of the devices that will be told when they are next seen.
    pub later: Vec<String>,
}

impl Request for Revoke {
    const PATH: &'static str = "/v1/revoke";
    type Answer = Revoked;

    async fn run(self, control: &Control) -> Result<Revoked, Failure> {
        control.revoke(&self.peer).await
    }
}
