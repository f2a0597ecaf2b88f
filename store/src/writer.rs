//! The thread that owns writing, and its group commit.
//!
//! Jobs that wait while a commit is under way share the next one: a commit
//! costs the same for one record and for two hundred. Nothing waits for
//! company, so a lone write is not slowed down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redb::Durability;

use crate::apply::{Memory, Tx};
use crate::commit::Commit;
use crate::disk::Access;
use crate::error::{ReadError, WriteError};
use crate::job::Queued;
use crate::open::{Core, State, panic_text};
use crate::queue::Receiver;
use crate::tables::Tables;

/// Jobs in one commit.
const GROUP_JOBS_MAX: usize = 256;

/// Bytes of values in one commit, so that the ballast is enough to finish it
/// on a full disk. One job may exceed it.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Of so many commits of a first copy, one goes to disk.
const BULK_COMMITS: u32 = 10;

/// Bytes of values that may wait for the disk during a first copy.
const BULK_BYTES_MAX: usize = 16 << 20;

/// Commits that are not on disk go there after so much quiet.
const SETTLE: Duration = Duration::from_millis(100);

/// The writing side of a store.
pub(crate) struct Writer {
    core: Arc<Core>,
    queue: Receiver,
    memory: Memory,
    /// Commits and bytes since the last one that went to disk.
    unsettled: (u32, usize),
}

/// What a transaction did.
enum Done {
    /// It is committed, on disk or not.
    Committed { memory: Memory, commit: Commit, durable: bool },
    /// There was nothing to commit.
    Unchanged { memory: Memory },
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, queue: Receiver, memory: Memory) -> Self {
        Self { core, queue, memory, unsettled: (0, 0) }
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self) {
        loop {
            let first = if self.unsettled.0 > 0 {
                match self.queue.recv_timeout(SETTLE) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.commit(Vec::new());
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        self.commit(Vec::new());
                        return;
                    }
                }
            } else {
                match self.queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            };
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while group.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(job) = self.queue.try_recv() else { break };
                bytes = bytes.saturating_add(job.bytes());
                group.push(job);
            }
            self.commit(group);
        }
    }

    /// Does a group of jobs in one transaction and answers them. An empty
    /// group brings to disk what is not there yet.
    fn commit(&mut self, mut group: Vec<Box<dyn Queued>>) {
        let failed = match self.ready() {
            Err(refused) => Some(refused),
            Ok(()) => {
                let done = catch_unwind(AssertUnwindSafe(|| self.transact(&mut group)));
                match done {
                    Ok(Ok(done)) => {
                        self.committed(done, group.iter().map(|job| job.bytes()).sum());
                        None
                    }
                    Ok(Err(failure)) => Some(self.failed(&failure)),
                    Err(panic) => Some(self.poison(panic_text(&*panic))),
                }
            }
        };
        for job in group {
            job.finish(failed.clone());
        }
    }

    /// Whether writing is possible now. On a disk that was full, tries whether
    /// it still is.
    fn ready(&mut self) -> Result<(), WriteError> {
        match self.core.state() {
            State::Writing => Ok(()),
            State::Poisoned { reason } => Err(WriteError::Poisoned { reason }),
            State::DiskFull => {
                if self.core.ballast.build().is_err() {
                    return Err(WriteError::DiskFull);
                }
                if self.core.access() == Some(Access::Write) {
                    self.core.set_state(State::Writing);
                    return Ok(());
                }
                self.reopen(Access::Write)
            }
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Queued>]) -> Result<Done, ReadError> {
        let database = self.core.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(ReadError::Closed)?;
        let mut transaction = database.database.begin_write()?;
        let bulk = !group.is_empty() && group.iter().all(|job| job.is_bulk());
        let durable = !bulk || self.unsettled.0 + 1 >= BULK_COMMITS || self.unsettled.1 >= BULK_BYTES_MAX;
        if durable {
            // Reopening after a crash takes milliseconds instead of a walk
            // through the file, if the last commit on disk was made like this.
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None)?;
        }
        let mut tx = Tx::new(Tables::open(&transaction)?, self.memory.clone(), self.core.rules());
        for job in group.iter_mut() {
            job.run(&mut tx)?;
        }
        let dirty = tx.dirty;
        let (memory, commit) = tx.finish(self.memory.clock)?;
        if !dirty && !group.is_empty() {
            transaction.abort()?;
            return Ok(Done::Unchanged { memory });
        }
        transaction.commit()?;
        Ok(Done::Committed { memory, commit, durable })
    }

    fn committed(&mut self, done: Done, bytes: usize) {
        match done {
            Done::Unchanged { memory } => self.memory = memory,
            Done::Committed { memory, commit, durable } => {
                self.memory = memory;
                self.unsettled = match durable {
                    true => (0, 0),
                    false => (self.unsettled.0 + 1, self.unsettled.1.saturating_add(bytes)),
                };
                if self.core.ballast.is_given_up() {
                    tracing::warn!("the disk is full: writing stops until there is room");
                    self.core.set_state(State::DiskFull);
                }
                self.core.tell(&commit);
            }
        }
    }

    /// What a transaction that failed means for this and all further writes.
    fn failed(&mut self, failure: &ReadError) -> WriteError {
        match failure {
            _ if failure.is_full() => {
                tracing::warn!("the disk is full: writing stops until there is room");
                self.core.ballast.give_up();
                self.core.set_state(State::DiskFull);
                self.unsettled = (0, 0);
                // The failed commit left the database unusable. Without room
                // it can be opened only for reading.
                match self.reopen(Access::ReadOnly) {
                    Ok(()) => WriteError::DiskFull,
                    Err(error) => error,
                }
            }
            // The row was unreadable before anything was written.
            ReadError::Damaged { what } => {
                tracing::error!(%what, "a write met damage");
                WriteError::Damaged { what: what.clone() }
            }
            ReadError::Closed => WriteError::Closed,
            ReadError::Storage(error) => self.poison(error.to_string()),
        }
    }

    fn poison(&mut self, reason: String) -> WriteError {
        tracing::error!(%reason, "writing stops after a failed commit");
        self.core.set_state(State::Poisoned { reason: reason.clone() });
        self.unsettled = (0, 0);
        if let Err(error) = self.core.reopen(Access::ReadOnly) {
            tracing::error!(%error, "the store cannot be read any more");
        }
        WriteError::Poisoned { reason }
    }

    /// Opens the file again. What was committed without being on disk may be
    /// gone, and others may have seen it: the log goes on under a new epoch.
    fn reopen(&mut self, access: Access) -> Result<(), WriteError> {
        self.memory.epoch = next_epoch(self.memory.epoch);
        match self.core.reopen(access) {
            Ok(clock) => {
                self.memory.clock.last = self.memory.clock.last.max(clock);
                self.core.set_state(match access {
                    Access::Write => State::Writing,
                    Access::ReadOnly => State::DiskFull,
                });
                Ok(())
            }
            Err(error) => Err(self.poison(error.to_string())),
        }
    }
}

/// An epoch that follows from another, as unlikely to be met elsewhere.
fn next_epoch(epoch: u64) -> u64 {
    let mixed = epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0xd1b5_4a32_d192_ed03);
    (mixed ^ (mixed >> 29)).max(1)
}
