//! The thread that owns writing, and its group commit.
//!
//! Jobs that wait while a commit is under way share the next one: a commit
//! costs the same for one record and for two hundred. Nothing waits for
//! company, so a lone write is not slowed down.
//!
//! What a group changes goes to the write-ahead log first; once that is on
//! disk the transaction becomes visible and the jobs are answered. The tables
//! themselves go to disk when the log is full, after some quiet, and at the
//! end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redb::Durability;

use crate::apply::{Memory, Tx};
use crate::commit::Commit;
use crate::disk::Access;
use crate::error::{ReadError, WriteError, is_full};
use crate::job::Queued;
use crate::migrate;
use crate::open::{Core, State, panic_text};
use crate::queue::Receiver;
use crate::redo::Redo;
use crate::tables::Tables;
use crate::wal::{Generation, Wal, next_generation};

/// Jobs in one commit.
const GROUP_JOBS_MAX: usize = 256;

/// Bytes of values in one commit. One job may exceed it. More is no faster, and
/// a commit holds the pages that it touches in memory.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Bytes of the log that may wait for the disk during a first copy.
const BULK_BYTES_MAX: u64 = 2 << 20;

/// What a first copy left waiting goes to disk after so much quiet.
const SETTLE: Duration = Duration::from_millis(100);

/// The tables follow the log to disk after so much quiet.
const FOLLOW: Duration = Duration::from_secs(1);

/// The writing side of a store.
pub(crate) struct Writer {
    core: Arc<Core>,
    queue: Receiver,
    memory: Memory,
    wal: Wal,
    /// The last generation of the log that was named.
    generation: Generation,
}

/// What a transaction did.
enum Done {
    /// It is committed.
    Committed { memory: Memory, commit: Commit },
    /// There was nothing to commit.
    Unchanged { memory: Memory },
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, queue: Receiver, memory: Memory) -> Self {
        let generation = next_generation(memory.epoch);
        let wal = Wal::new(core.log_bytes);
        Self { core, queue, memory, wal, generation }
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self) {
        loop {
            let first = match self.quiet() {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(quiet) => self.queue.recv_timeout(quiet),
            };
            let first = match first {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) if self.wal.unsynced() > 0 => {
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.commit(Vec::new());
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.close();
                    return;
                }
            };
            self.commit(vec![first]);
        }
    }

    /// How long nobody may write before something is brought to disk.
    fn quiet(&self) -> Option<Duration> {
        match (self.wal.unsynced() > 0, self.wal.is_empty()) {
            (true, _) => Some(SETTLE),
            (false, false) => Some(FOLLOW),
            (false, true) => None,
        }
    }

    /// Brings to disk what the log holds.
    fn sync(&mut self) {
        if let Err(error) = self.wal.sync() {
            self.poison(error.to_string());
        }
    }

    /// Brings the tables to disk: whoever copies the file then has everything.
    fn close(&mut self) {
        if !self.wal.is_empty() {
            self.commit(Vec::new());
        }
        // What is not in the tables yet is done again at the next start.
        if self.wal.is_empty()
            && self.core.state() == State::Writing
            && let Err(error) = self.core.medium.remove_log()
        {
            tracing::warn!(%error, "the log was not removed");
        }
    }

    /// Does a job, and others that come meanwhile, in one transaction and answers
    /// them. Without a job it brings the tables to disk.
    fn commit(&mut self, mut group: Vec<Box<dyn Queued>>) {
        let failed = match self.ready() {
            Err(refused) => Some(refused),
            Ok(()) => {
                let done = catch_unwind(AssertUnwindSafe(|| self.transact(&mut group)));
                match done {
                    Ok(Ok(done)) => {
                        self.committed(done);
                        None
                    }
                    Ok(Err(failure)) => Some(self.failed(&failure)),
                    Err(panic) => Some(self.poison(panic_text(&*panic))),
                }
            }
        };
        for job in group {
            if failed.is_some() || job.is_done() {
                job.finish(failed.clone());
            } else {
                self.queue.put_back(job);
            }
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

    fn transact(&mut self, group: &mut Vec<Box<dyn Queued>>) -> Result<Done, ReadError> {
        let core = Arc::clone(&self.core);
        let database = core.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(ReadError::Closed)?;
        let mut transaction = database.database.begin_write()?;
        let redo = Redo::new(self.wal.entry());
        let awaited = || self.queue.is_awaited();
        let tables = Tables::new(&transaction, &redo);
        let mut tx = Tx::new(tables, self.memory.clone(), self.core.rules(), &awaited);
        let (mut at, mut bytes) = (0, 0);
        while let Some(job) = group.get_mut(at) {
            job.run(&mut tx)?;
            (at, bytes) = (at + 1, job.bytes().saturating_add(bytes));
            let full = group.len() >= GROUP_JOBS_MAX || bytes >= GROUP_BYTES_MAX;
            if !full && let Ok(job) = self.queue.try_recv() {
                group.push(job);
            }
        }
        let dirty = tx.dirty;
        let (memory, commit) = tx.finish(self.memory.clock)?;
        if !dirty && !group.is_empty() {
            transaction.abort()?;
            return Ok(Done::Unchanged { memory });
        }
        let entry = redo.into_bytes();
        let lazy = group.iter().all(|job| job.is_bulk());
        if !group.is_empty() && self.log(entry, lazy)? {
            transaction.set_durability(Durability::None)?;
            transaction.commit()?;
        } else {
            self.generation = next_generation(self.generation);
            migrate::note_generation(&transaction, self.generation)?;
            // Reopening after a crash takes milliseconds instead of a walk
            // through the file, if the last commit on disk was made like this.
            transaction.set_quick_repair(true);
            transaction.commit()?;
            self.wal.begin(self.generation);
        }
        Ok(Done::Committed { memory, commit })
    }

    /// Brings an entry to disk by the log, or into it if it is `lazy`. Not if
    /// there is no room for it.
    fn log(&mut self, entry: Vec<u8>, lazy: bool) -> Result<bool, ReadError> {
        if !self.wal.takes(&entry) {
            return Ok(false);
        }
        let logged = self.wal.append(&*self.core.medium, entry).and_then(|()| {
            let waits = lazy && self.wal.unsynced() <= BULK_BYTES_MAX;
            if waits { Ok(()) } else { self.wal.sync() }
        });
        match logged {
            Ok(()) => Ok(true),
            // The commit of the tables knows what to do then.
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(redb::StorageError::Io(error).into()),
        }
    }

    fn committed(&mut self, done: Done) {
        match done {
            Done::Unchanged { memory } => self.memory = memory,
            Done::Committed { memory, commit } => {
                self.memory = memory;
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
        self.wal.end();
        if let Err(error) = self.core.reopen(Access::ReadOnly) {
            tracing::error!(%error, "the store cannot be read any more");
        }
        WriteError::Poisoned { reason }
    }

    /// Opens the file again. What was committed without being on disk may be
    /// gone, and others may have seen it: the log goes on under a new epoch.
    fn reopen(&mut self, access: Access) -> Result<(), WriteError> {
        self.memory.epoch = next_epoch(self.memory.epoch);
        self.wal.end();
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
