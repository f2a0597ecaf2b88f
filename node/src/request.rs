//! Every operation as a type: what is asked, what is answered, and under
//! which path.
//!
//! One declaration serves the application that embeds a node (it calls the
//! method of [`Control`]), the local socket (a route per type) and the command
//! line (which sends the same type).

mod app;
mod changes;
mod conflicts;
mod domains;
mod held;
mod holds;
mod node;
mod pairing;
mod peers;
mod records;
mod rights;
mod sync;
mod trash;
mod value;

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{control::Control, failure::Failure};

pub use app::{
    APP_HAS_MAX, APP_TEXT_BYTES_MAX, APPS_MAX, AppState, Choice, Choose, Met, Missing, Needed, Readiness,
    ReadinessGet, Ready,
};
pub use changes::{CHANGES_WAIT_MAX, ChangeRow, Changes, ChangesAnswer, NOW};
pub use conflicts::{
    CLAIM_SECONDS, CLAIM_SECONDS_MAX, CLAIMS_MAX, CONFLICT_ROWS_MAX, Claimed, ClaimedRow, ConflictClaim,
    ConflictDetail, ConflictField, ConflictResolve, ConflictRow, ConflictRows, ConflictShow, ConflictSide,
    ConflictTake, Conflicts, Take,
};
pub use domains::{
    DomainAccept, DomainAdd, DomainAdded, DomainChange, DomainDetail, DomainInfo, DomainReject, DomainRemove,
    DomainRows, DomainShow, Domains, Misfit,
};
pub use held::{
    HeldAccept, HeldChange, HeldDecided, HeldDetail, HeldList, HeldRecordRow, HeldReject, HeldRow, HeldRows,
    HeldShow,
};
pub use holds::{
    DraftAnswer, DraftGet, DraftRow, DraftRows, DraftState, Drafts, HoldCommit, HoldDrop, HoldExtend,
    HoldLease, HoldOpen, HoldOpened, HoldSave,
};
pub use node::{
    ConfigGet, ConfigRow, ConfigRows, ConfigSet, Doctor, DoctorRow, DoctorRows, DomainRow, Down, Level,
    LogRow, LogRows, LogTail, Pill, QueueRow, SelfRow, Status, StatusAnswer, Stopping, Version,
    VersionAnswer, Warning,
};
pub use pairing::{
    PairAnswer, PairCancel, PairJoin, PairJoining, PairOpen, PairOpened, Role, SecretText, Verdict,
};
pub use peers::{
    PeerAddAddr, PeerAddress, PeerDetail, PeerForget, PeerList, PeerPath, PeerRename, PeerRow, PeerShow,
    PeerState, Peers, Revoke, Revoked,
};
pub use records::{
    Append, Counts, Del, Get, GetAnswer, History, HistoryKind, HistoryRow, HistoryRows, LIST_ROWS_MAX, List,
    ListAnswer, ListRow, PUT_MANY_BYTES_MAX, PUT_MANY_ITEMS_MAX, Put, PutItem, PutMany, Restore, Written,
};
pub use rights::{Allowed, LimitedBy, LimitedDomain, PeerAllow, Withheld, sentences, words};
pub use sync::{SyncNow, SyncOutcome, SyncRow, SyncRows, Verify, VerifyAnswer, VerifyDomain, VerifyPeer};
pub use trash::{
    Restored, TRASH_ROWS_MAX, Trash, TrashEmptied, TrashEmpty, TrashRestore, TrashRow, TrashRows, Undo,
    UndoAnswer,
};
pub use value::Value;

/// One operation of a node, the same on every surface.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// The path of the local API: `/v1/put`.
    const PATH: &'static str;

    /// What a success answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Does it.
    fn run(self, control: &Control) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// "Done", where there is nothing more to say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, serde::Deserialize)]
pub struct Done {}
