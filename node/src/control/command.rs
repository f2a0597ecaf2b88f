//! What the event loop is asked to do, and what it says about itself.
//!
//! Commands name devices by their key alone: names and selectors are resolved
//! before, in [`super::Control`].

use std::collections::{BTreeMap, BTreeSet};

use kinsync_protocol::id::DeviceId;
use tokio::sync::oneshot;

use crate::{
    clock::Moment,
    failure::Failure,
    request::{
        DoctorRow, LimitedDomain, PairJoin, PairJoining, PairOpen, PairOpened, PeerPath, SyncOutcome,
        Verdict, VerifyDomain, Warning,
    },
    status,
};

/// Where the answer to a command goes. A dropped sender reads as "the node has
/// stopped".
pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// How many commands may wait for the event loop. People and scripts ask one
/// thing at a time; more than this is a client gone wild, which then waits.
pub const COMMANDS_MAX: usize = 64;

/// Something that only a running node can do.
#[derive(Debug)]
pub enum Command {
    /// Check sockets, discovery and the reachability of peers.
    Doctor {
        /// Where the rows go.
        reply: Reply<Vec<DoctorRow>>,
    },
    /// Say how things are.
    Facts {
        /// Where the facts go.
        reply: Reply<NodeFacts>,
    },
    /// The answer of the person at the host.
    PairAnswer {
        /// Which pairing.
        pairing: u64,
        /// The answer.
        verdict: Verdict,
        /// Answered once the pairing has taken it.
        reply: Reply<()>,
    },
    /// End a pairing on either side.
    PairCancel {
        /// Which pairing.
        pairing: u64,
        /// Answered once it has ended.
        reply: Reply<()>,
    },
    /// Look for the device that shows this code.
    PairJoin {
        /// What was asked.
        request: PairJoin,
        /// Answered at once; the rest comes as events.
        reply: Reply<PairJoining>,
    },
    /// Open a code.
    PairOpen {
        /// What was asked; its lifetime has been checked.
        request: PairOpen,
        /// Answered at once; the rest comes as events.
        reply: Reply<PairOpened>,
    },
    /// Names or addresses in the registry have changed.
    PeersChanged {
        /// Whose.
        device: DeviceId,
    },
    /// What a device may do here has changed, and that is on disk.
    RightsChanged {
        /// Which device.
        device: DeviceId,
        /// Answered once nothing goes on under the rights before.
        reply: Reply<()>,
    },
    /// Trust in a device has ended and that is on disk: cut it off and tell the
    /// others.
    Revoked {
        /// Which device.
        device: DeviceId,
        /// Answered once its connections are closed.
        reply: Reply<RevokeEffect>,
    },
    /// Stop.
    Shutdown {
        /// Answered when the node has begun to stop.
        reply: Reply<()>,
    },
    /// Run a pass with each of these.
    SyncNow {
        /// With whom; never empty.
        peers: BTreeSet<DeviceId>,
        /// Answer when the passes have ended, not when they have begun.
        wait: bool,
        /// Compare everything.
        full: bool,
        /// Only count.
        dry_run: bool,
        /// One report a peer.
        reply: Reply<Vec<SyncReport>>,
    },
    /// Compare with each of these and change nothing.
    Verify {
        /// With whom; never empty.
        peers: BTreeSet<DeviceId>,
        /// One report a peer.
        reply: Reply<Vec<VerifyReport>>,
    },
}

/// How one pass went.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncReport {
    /// With whom.
    pub device: DeviceId,
    /// How it went.
    pub outcome: SyncOutcome,
    /// Records that came.
    pub pull: u64,
    /// Records that went.
    pub push: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What the two devices do not share.
    pub limited: Vec<LimitedDomain>,
    /// Why it did not end well.
    pub failure: Option<Failure>,
}

/// How one comparison went.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyReport {
    /// With whom.
    pub device: DeviceId,
    /// The domains, or why it could not be asked.
    pub domains: Result<Vec<VerifyDomain>, Failure>,
    /// What the two devices do not share.
    pub limited: Vec<LimitedDomain>,
}

/// What a revocation did on the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RevokeEffect {
    /// Connections that were closed.
    pub closed: u32,
    /// Devices that have been told; the others will be.
    pub informed: Vec<DeviceId>,
}

/// What the event loop says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Where it listens, as multiaddrs.
    pub listening: Vec<String>,
    /// Whether it looks for devices on the local network.
    pub mdns: bool,
    /// What the status word is made from.
    pub status: status::Facts,
    /// What is known of each trusted peer.
    pub peers: BTreeMap<DeviceId, PeerFacts>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
}

/// What the event loop knows of one peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerFacts {
    /// Whether it is connected.
    pub online: bool,
    /// How.
    pub path: PeerPath,
    /// When it was last connected.
    pub last_seen: Option<Moment>,
    /// When both sides were last proven equal.
    pub last_sync: Option<Moment>,
    /// How far its clock is ahead.
    pub clock_offset_ms: Option<i64>,
    /// Records that wait for it.
    pub queued: u64,
    /// Failed passes since the last one that ended well.
    pub failures: u32,
    /// Why the last pass failed.
    pub last_failure: Option<Failure>,
    /// The operating system it says it runs on.
    pub platform: Option<String>,
    /// The version of kinsync that it says it runs.
    pub app: Option<String>,
}
