//! Mistakes that a simulated device can be told to make.
//!
//! A green simulator means little until it is graded: each of these has been
//! made by somebody, and the laws must find each within its budget of seeds.
//! None of them is in product code: they live in the simulated device, in its
//! store in memory, and in what it shows of that store to a session.

pub mod floors;
pub mod guard;
pub mod joins;
pub(crate) mod sabotage;
pub(crate) mod view;

/// A planted mistake.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Planted {
    /// A write is acknowledged before it is durable.
    AckBeforeSync,
    /// The cursor is committed before the records that it covers.
    CursorBeforeData,
    /// Of two versions with one time, the one that arrived last wins.
    TieByArrival,
    /// Stamps are the wall clock and nothing else.
    WallClockStamps,
    /// A start goes on in the epoch of the last one.
    SameEpoch,
    /// Any answer is taken for the answer to the open request.
    StaleReply,
    /// Tombstones older than 30 days are dropped.
    TombstoneExpiry,
    /// An overwritten record keeps its place in the arrival log.
    OverwriteKeepsNumber,
    /// A crash may leave half of a batch, and its cursor.
    HalfBatch,
    /// A row next to the end of a page of the log is not sent.
    PageEnd,
    /// Records from more than ten minutes in the future are refused.
    RefuseFuture,
    /// Whatever arrives replaces what stands.
    AlwaysOverwrite,
    /// A request that timed out still counts as open.
    LeakedSlot,
    /// Deletions get no row in the arrival log.
    DeleteNotLogged,
    /// The hybrid clock is lost with the process.
    ClockForgotten,
    /// Versions with one stamp are taken for one version.
    NoValueTieBreak,
    /// A sixteenth of every range that a repair splits looks empty.
    ChildSkipped,
    /// Lists of wanted records are not sent.
    WantsDropped,
    /// The cursor moves although wanted records are missing.
    CursorDespiteWants,
    /// What came from a device is never announced to it again.
    EchoSuppressed,
    /// A push that does not follow on moves the cursor all the same.
    PushMovesCursor,
    /// Two domains with as many items count as equal.
    RootByCount,
    /// Losers are not kept.
    HistoryForgotten,
    /// The clock follows any stamp, however far ahead.
    ClockFollowsAnything,
    /// A write does not look at the version that it replaces.
    EditIgnoresReplaced,
    /// Trust is checked when a message arrives and not when it is committed.
    TrustCheckedEarly,
    /// A start forgets who was revoked.
    RevocationForgotten,
    /// A request that came before a revocation is still answered.
    AnswersAfterRevocation,
    /// What others say of revocations is not believed.
    RevocationNotSpread,
    /// A device that was told of its revocation goes on asking.
    RevokedGoesOn,
    /// Rights are checked when a message arrives and not when it is committed.
    RightsCheckedEarly,
    /// A start forgets what others may do.
    RightsForgotten,
    /// A push goes out whatever the other side takes or may have.
    PushIgnoresGrants,
    /// A deletion stands, whoever made it.
    AnybodyDeletes,
    /// A session goes on by what was granted when it began.
    SessionKeepsGrants,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::AckBeforeSync,
        Self::CursorBeforeData,
        Self::TieByArrival,
        Self::WallClockStamps,
        Self::SameEpoch,
        Self::StaleReply,
        Self::TombstoneExpiry,
        Self::OverwriteKeepsNumber,
        Self::HalfBatch,
        Self::PageEnd,
        Self::RefuseFuture,
        Self::AlwaysOverwrite,
        Self::LeakedSlot,
        Self::DeleteNotLogged,
        Self::ClockForgotten,
        Self::NoValueTieBreak,
        Self::ChildSkipped,
        Self::WantsDropped,
        Self::CursorDespiteWants,
        Self::EchoSuppressed,
        Self::PushMovesCursor,
        Self::RootByCount,
        Self::HistoryForgotten,
        Self::ClockFollowsAnything,
        Self::EditIgnoresReplaced,
        Self::TrustCheckedEarly,
        Self::RevocationForgotten,
        Self::AnswersAfterRevocation,
        Self::RevocationNotSpread,
        Self::RevokedGoesOn,
        Self::RightsCheckedEarly,
        Self::RightsForgotten,
        Self::PushIgnoresGrants,
        Self::AnybodyDeletes,
        Self::SessionKeepsGrants,
    ];

    /// The mistake of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| format!("{planted:?}") == name)
    }
}
