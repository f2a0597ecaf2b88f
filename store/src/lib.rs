//! The durable record store of kinsync: no async, no clock, and one file when it
//! is closed.
//!
//! [`Store`] opens the file. Reads take a [`StoreSnapshot`], which is also
//! what a sync session reads; writes are [`Job`]s for the one thread that
//! writes. What a record's write changes, its indexes, sums, history and the
//! cursor that covers it, commits in one transaction, so no crash and no
//! restored backup can make them disagree.
//!
//! A write is answered when it is on disk: in the log beside the tables, which
//! follow later. When the disk is full or a commit fails, writing stops with a
//! named [`State`] and reading goes on.

mod append;
mod apply;
mod ballast;
mod bytes;
mod changes;
mod check;
mod checkpoint;
mod commit;
mod delivery;
mod disk;
mod drafts;
mod error;
mod family;
mod floor;
mod guard;
mod held;
mod history;
mod job;
mod join;
mod memtable;
mod migrate;
mod open;
mod owner;
mod peers;
mod private;
mod query;
mod queue;
mod recall;
mod redo;
mod resolve;
mod rights;
mod rows;
mod rules;
mod snapshot;
mod store;
mod tables;
mod trash;
mod trust;
mod undo;
mod waiting;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub use changes::{Arrival, CHANGES_ROWS_MAX, ChangesPage, Token, TokenError};
pub use check::{Fault, Report};
pub use commit::{Change, Commit, DomainChange};
pub use drafts::{DRAFTS_BYTES_MAX, DRAFTS_MAX, Draft, DraftState, HoldId, HoldIdError, LEASE_MILLIS_MAX};
pub use error::{OpenError, ReadError, WriteError};
pub use guard::{GUARD_DELETIONS_MIN, MassCounts, is_mass_change};
pub use held::{Decided, HELD_BYTES_MAX, HELD_RECORDS_MAX, Held, HeldRecord};
pub use history::{PAST_MILLIS, PAST_VERSIONS, Past};
pub use job::{Applied, DOMAIN_NAME_BYTES_MAX, Job, PutMany, Standing};
pub use open::State;
pub use peers::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, Address, AddressNote, PEER_TEXT_BYTES_MAX, Peer};
pub use private::Private;
pub use query::{Conflict, DomainCounts, Listed, Live, PastVersion};
pub use queue::{QUEUE_JOBS_MAX, QUEUE_WAITS_AT};
pub use rows::Reason;
pub use rules::{Check, Rules, Sharing};
pub use snapshot::StoreSnapshot;
pub use store::{BALLAST_BYTES, CACHE_BYTES, Options, Store};
pub use trash::{Emptied, Trashed};
pub use undo::{UNDO_PAGE, UndoPlan, Undone};
pub use waiting::{MISFIT_CHARS_MAX, Recheck, Waiting, WaitingRecord};
