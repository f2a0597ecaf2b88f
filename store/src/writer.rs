//! The thread that owns writing, and its group commit.
//!
//! Jobs that wait while a commit is under way share the next one: a commit
//! costs the same for one record and for two hundred. Nothing waits for
//! company, so a lone write is not slowed down.
//!
//! What a group changes goes to the write-ahead log first; once that is on
//! disk it becomes visible and the jobs are answered. The tables follow when
//! the log is full, after some quiet, and at the end: see [`crate::checkpoint`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::apply::{Memory, Tx};
use crate::checkpoint::Checkpoint;
use crate::commit::Commit;
use crate::disk::Access;
use crate::error::{ReadError, WriteError, is_full};
use crate::job::Queued;
use crate::open::{Core, State, panic_text};
use crate::queue::{COMMIT_BYTES_MAX, Receiver};
use crate::tables::{Memtables, TableChanges, Tables};
use crate::wal::{Generation, Wal, next_generation};

/// Jobs in one commit.
const GROUP_JOBS_MAX: usize = 256;

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
    /// The last generation of the log that a run began with.
    generation: Generation,
    /// The one that is under way.
    checkpoint: Option<Checkpoint>,
}

/// What a transaction did.
struct Done {
    memory: Memory,
    /// `None` if there was nothing to commit.
    commit: Option<Commit>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, queue: Receiver, memory: Memory) -> Self {
        let generation = next_generation(memory.epoch);
        let wal = Wal::new(core.log_bytes);
        Self { core, queue, memory, wal, generation, checkpoint: None }
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self) {
        loop {
            let first = match self.quiet() {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(quiet) => self.queue.recv_timeout(quiet),
            };
            match first {
                Ok(job) => self.commit(vec![job]),
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.close();
                    return;
                }
            }
        }
    }

    /// How long nobody may write before there is something to do for the disk.
    fn quiet(&self) -> Option<Duration> {
        match self.core.state() {
            State::Writing if self.wal.unsynced() > 0 => Some(SETTLE),
            State::Writing if !self.core.is_in_tables() => Some(FOLLOW),
            State::Writing | State::DiskFull | State::Poisoned { .. } => None,
        }
    }

    /// Brings to disk what is not there yet: first the log, then the tables.
    fn rest(&mut self) {
        // Nobody waits for an answer; the state tells what failed.
        let _ = self.fenced(|writer| {
            if writer.wal.unsynced() > 0 {
                return writer.sync();
            }
            match &writer.checkpoint {
                Some(running) if !running.is_finished() => Ok(()),
                Some(_) => writer.finish_checkpoint(),
                None if writer.wal.has_begun() => writer.begin_checkpoint(),
                None => writer.begin_log(TableChanges::default()),
            }
        });
    }

    /// Brings the tables to disk: whoever copies the file then has everything.
    fn close(&mut self) {
        if !self.core.is_in_tables() && self.ready().is_ok() {
            let _ = self.fenced(|writer| {
                if !writer.wal.has_begun() {
                    return writer.begin_log(TableChanges::default());
                }
                writer.begin_checkpoint()?;
                writer.finish_checkpoint()
            });
        }
        // What is not in the tables yet is read from the log at the next start.
        if self.core.is_in_tables()
            && self.core.state() == State::Writing
            && let Err(error) = self.core.medium.remove_log()
        {
            tracing::warn!(%error, "the log was not removed");
        }
    }

    /// Does something after which writing may be over, and says why.
    fn fenced<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, ReadError>) -> Result<T, WriteError> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(failure)) => Err(self.failed(&failure)),
            Err(panic) => Err(self.poison(panic_text(&*panic))),
        }
    }

    /// Does a job, and others that come meanwhile, in one transaction and answers
    /// them.
    fn commit(&mut self, mut group: Vec<Box<dyn Queued>>) {
        let done = self.ready().and_then(|()| {
            self.fenced(|writer| {
                writer.keep_up()?;
                writer.transact(&mut group)
            })
        });
        let failed = done.map(|done| self.committed(done)).err();
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
                if self.core.access() != Some(Access::Write) {
                    self.reopen(Access::Write)?;
                }
                self.core.set_state(State::Writing);
                Ok(())
            }
        }
    }

    /// Begins one, after the one that is under way, while the log goes on.
    fn begin_checkpoint(&mut self) -> Result<(), ReadError> {
        self.finish_checkpoint()?;
        let generation = self.wal.turn().map_err(redb::StorageError::Io)?;
        self.write_tables(self.core.freeze(), generation)
    }

    /// Brings everything into the tables, and `changes` too, which nobody sees
    /// before; then the log takes entries. So the first write of a run is one
    /// commit, and needs no log.
    fn begin_log(&mut self, changes: TableChanges) -> Result<(), ReadError> {
        self.finish_checkpoint()?;
        self.generation = next_generation(self.generation);
        let mut rows = self.core.freeze();
        rows.publish(changes);
        self.write_tables(rows, self.generation)?;
        self.finish_checkpoint()?;
        self.wal.begin(self.generation);
        Ok(())
    }

    fn write_tables(&mut self, rows: Memtables, generation: Generation) -> Result<(), ReadError> {
        let begun = Checkpoint::begin(&self.core, rows, generation).map_err(redb::StorageError::Io)?;
        self.checkpoint = Some(begun);
        Ok(())
    }

    /// Sees to it that the tables follow.
    fn keep_up(&mut self) -> Result<(), ReadError> {
        if self.checkpoint.as_ref().is_some_and(Checkpoint::is_finished) {
            self.finish_checkpoint()?;
        }
        if self.wal.is_full() { self.begin_checkpoint() } else { Ok(()) }
    }

    /// Waits for the end of the one that is under way.
    fn finish_checkpoint(&mut self) -> Result<(), ReadError> {
        let Some(checkpoint) = self.checkpoint.take() else { return Ok(()) };
        match checkpoint.wait() {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_full() => {
                // The failed commit left the database unusable. Without room it
                // can be opened only for reading. What it should hold stays in
                // memory and in the log.
                self.core.ballast.give_up();
                self.core.set_state(State::DiskFull);
                // A failure here poisons; the caller reports it.
                let _ = self.reopen(Access::ReadOnly);
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    fn transact(&mut self, group: &mut Vec<Box<dyn Queued>>) -> Result<Done, ReadError> {
        let view = self.core.view()?;
        let awaited = || self.queue.is_awaited();
        let mut tx = Tx::new(Tables::new(&view), self.memory.clone(), self.core.rules(), &awaited);
        let (mut at, mut bytes) = (0, 0);
        while let Some(job) = group.get_mut(at) {
            job.run(&mut tx)?;
            (at, bytes) = (at + 1, job.bytes().saturating_add(bytes));
            let full = group.len() >= GROUP_JOBS_MAX || bytes >= COMMIT_BYTES_MAX;
            if !full && let Ok(job) = self.queue.try_recv() {
                group.push(job);
            }
        }
        let dirty = tx.dirty;
        let (memory, commit, changes) = tx.finish(self.memory.clock)?;
        if !dirty {
            return Ok(Done { memory, commit: None });
        }
        // Rows that nobody else reads are merged without a copy.
        drop(view);
        if self.wal.has_begun() {
            let mut entry = self.wal.entry();
            changes.note(&mut entry);
            let lazy = group.iter().all(|job| job.is_bulk());
            self.log(&mut entry, lazy)?;
            self.wal.recycle(entry);
            self.core.publish(changes);
        } else {
            self.begin_log(changes)?;
        }
        Ok(Done { memory, commit: Some(commit) })
    }

    /// Brings an entry to disk by the log, or into it if it is `lazy`.
    fn log(&mut self, entry: &mut [u8], lazy: bool) -> Result<(), ReadError> {
        let medium = &*self.core.medium;
        let logged = match self.wal.append(medium, entry) {
            Err(error) if is_full(&error) && self.core.ballast.give_up() => self.wal.append(medium, entry),
            logged => logged,
        };
        logged.map_err(redb::StorageError::Io)?;
        if lazy && self.wal.unsynced() <= BULK_BYTES_MAX {
            return Ok(());
        }
        self.sync()
    }

    /// Waits until the log is on disk.
    fn sync(&mut self) -> Result<(), ReadError> {
        let synced = self.wal.sync();
        if synced.is_err() {
            // What of it is on disk is not known any more.
            self.wal.end();
        }
        Ok(synced.map_err(redb::StorageError::Io)?)
    }

    fn committed(&mut self, done: Done) {
        self.memory = done.memory;
        if let Some(commit) = done.commit {
            if self.core.ballast.is_given_up() {
                tracing::warn!("the disk is full: writing stops until there is room");
                self.core.set_state(State::DiskFull);
            }
            self.core.tell(&commit);
        }
    }

    /// What a failure means for this and all further writes.
    fn failed(&mut self, failure: &ReadError) -> WriteError {
        match failure {
            _ if failure.is_full() => match self.core.state() {
                State::Poisoned { reason } => WriteError::Poisoned { reason },
                State::Writing | State::DiskFull => {
                    tracing::warn!("the disk is full: writing stops until there is room");
                    self.core.ballast.give_up();
                    self.core.set_state(State::DiskFull);
                    WriteError::DiskFull
                }
            },
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
        tracing::error!(%reason, "writing stops after a failure");
        self.core.set_state(State::Poisoned { reason: reason.clone() });
        self.wal.end();
        if let Err(error) = self.core.reopen(Access::ReadOnly) {
            tracing::error!(%error, "the store cannot be read any more");
        }
        WriteError::Poisoned { reason }
    }

    /// Opens the file again, when how the tables and the log stand to each other
    /// is not known.
    fn reopen(&mut self, access: Access) -> Result<(), WriteError> {
        self.wal.end();
        match self.core.reopen(access) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.poison(error.to_string())),
        }
    }
}
