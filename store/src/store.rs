//! The store as others use it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::{Batch, Epoch};
use kinsync_protocol::stamp::{HybridClock, UnixMillis};

use crate::apply::Memory;
use crate::ballast::Ballast;
use crate::commit::Commit;
use crate::disk::Access;
use crate::error::{OpenError, ReadError, WriteError};
use crate::job::{Applied, Job, Pending, PutMany, Queued};
use crate::open::{self, Core, FileMedium, State};
use crate::queue::{self, Sender, Unsent};
use crate::rules::{RuleSet, Rules, Sharing};
use crate::snapshot::StoreSnapshot;
use crate::wal::LOG_BYTES;
use crate::writer::Writer;

/// Memory for pages of the file. More is hardly faster, as what was written last
/// lies in memory anyway; the database's own default of 1 GiB is too much for a
/// phone.
pub const CACHE_BYTES: usize = 24 << 20;

/// Room kept back on the disk: enough to finish the commit under way.
pub const BALLAST_BYTES: u64 = 4 << 20;

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The device that owns it.
    pub device: DeviceId,
    /// A fresh random number: names the log positions given out from now on,
    /// so that a store restored from a backup is noticed by those who
    /// remember positions that it no longer has.
    pub epoch_seed: u64,
    /// Memory for pages of the file; [`CACHE_BYTES`].
    pub cache_bytes: usize,
    /// Size of the reserve beside the file; [`BALLAST_BYTES`]. 0 for none.
    pub ballast_bytes: u64,
}

impl Options {
    /// The usual options.
    pub fn new(device: DeviceId, epoch_seed: u64) -> Self {
        Self { device, epoch_seed, cache_bytes: CACHE_BYTES, ballast_bytes: BALLAST_BYTES }
    }
}

/// A durable store of records, open in this process alone.
///
/// Reads take a snapshot each and never wait; writes go through one thread.
/// Dropping it finishes the writes that were submitted and closes the file.
pub struct Store {
    core: Arc<Core>,
    queue: Option<Sender>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store at `path`, creating it if there is no file.
    ///
    /// On a full disk an existing store opens for reading.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        open::create_file(path, options.device)?;
        let ballast = (options.ballast_bytes > 0).then(|| open::beside(path, "ballast"));
        let ballast = Ballast::new(ballast, options.ballast_bytes);
        let medium = Box::new(FileMedium { path: path.to_owned() });
        let core = Core::new(medium, ballast, options.device, options.cache_bytes, LOG_BYTES);
        Self::start(core, options.epoch_seed)
    }

    pub(crate) fn start(core: Core, epoch_seed: Epoch) -> Result<Self, OpenError> {
        let clock = match core.reopen(Access::Write) {
            Err(OpenError::DiskFull) => {
                core.set_state(State::DiskFull);
                core.reopen(Access::ReadOnly)?
            }
            opened => opened?,
        };
        // The file may be open thanks to the ballast alone.
        if core.ballast.is_given_up() || core.ballast.build().is_err() {
            tracing::warn!("the disk is full: the store opens for reading");
            core.set_state(State::DiskFull);
        }
        let memory = Memory {
            device: core.device,
            epoch: epoch_seed.max(1),
            clock: HybridClock { last: clock },
            started: false,
            once: Default::default(),
            tallies: Default::default(),
            looked: Default::default(),
        };
        let core = Arc::new(core);
        let (queue, jobs) = queue::line();
        let writer = Writer::new(Arc::clone(&core), jobs, memory);
        let writer = thread::Builder::new()
            .name("kinsync-store".into())
            .spawn(|| writer.run())
            .map_err(OpenError::Io)?;
        Ok(Self { core, queue: Some(queue), writer: Some(writer) })
    }

    /// Takes a consistent view of the store. Keep it for one step of work
    /// only: while it lives, what writes replace takes room in memory and in the
    /// file.
    pub fn snapshot(&self) -> Result<StoreSnapshot, ReadError> {
        let core = &self.core;
        Ok(StoreSnapshot::new(core.view()?, core.device, core.rules(), Arc::clone(&core.damaged)))
    }

    /// Reads within a snapshot, behind a fence: damage in the file that makes
    /// the database panic comes back as an error.
    pub fn read<T>(&self, read: impl FnOnce(&StoreSnapshot) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let read = std::panic::AssertUnwindSafe(|| read(&self.snapshot()?));
        std::panic::catch_unwind(read)
            .unwrap_or_else(|panic| Err(ReadError::damaged(open::panic_text(&*panic))))
    }

    /// Hands a job to the writer and returns, whatever waits before it.
    /// `reply` is called on the writer's thread once the job is committed or
    /// refused; it must not wait for another write.
    ///
    /// For those who may not wait on their thread. They bound by themselves how
    /// many of theirs are unanswered: with [`QUEUE_JOBS_MAX`] in line a job is
    /// refused as [`WriteError::Busy`], and `reply` called right here.
    ///
    /// [`QUEUE_JOBS_MAX`]: crate::QUEUE_JOBS_MAX
    pub fn submit<T: Send + 'static>(
        &self,
        job: Job<T>,
        reply: impl FnOnce(Result<T, WriteError>) + Send + 'static,
    ) {
        self.line_up(Box::new(Pending::new(job, reply)), Sender::try_send);
    }

    fn line_up(&self, job: Box<dyn Queued>, send: fn(&Sender, Box<dyn Queued>) -> Result<(), Unsent>) {
        let sent = match &self.queue {
            Some(queue) => send(queue, job),
            None => Err(Unsent::Closed(job)),
        };
        match sent {
            Ok(()) => {}
            Err(Unsent::Full(job)) => job.finish(Some(WriteError::Busy)),
            Err(Unsent::Closed(job)) => job.finish(Some(WriteError::Closed)),
        }
    }

    /// The same from a thread that may block: where the line is long, it waits
    /// for a place. Not for async code, nor within a reply or a subscriber.
    pub fn submit_in_line<T: Send + 'static>(
        &self,
        job: Job<T>,
        reply: impl FnOnce(Result<T, WriteError>) + Send + 'static,
    ) {
        self.line_up(Box::new(Pending::new(job, reply)), Sender::send);
    }

    /// Does a job and waits for its commit; before that for its place in line,
    /// if [`QUEUE_WAITS_AT`](crate::QUEUE_WAITS_AT) are there. Not for async code, nor
    /// within a reply or a subscriber.
    pub fn write<T: Send + 'static>(&self, job: Job<T>) -> Result<T, WriteError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.submit_in_line(job, move |result| {
            // Nobody waits only if this thread is gone.
            let _ = reply.send(result);
        });
        answer.recv().unwrap_or(Err(WriteError::Closed))
    }

    /// [`Job::put`], waiting for its commit.
    pub fn put(
        &self,
        domain: DomainId,
        key: Key,
        value: Vec<u8>,
        now: UnixMillis,
    ) -> Result<Version, WriteError> {
        self.write(Job::put(domain, key, value, now))
    }

    /// [`Job::put_many`], waiting for its commit.
    pub fn put_many(
        &self,
        domain: DomainId,
        records: Vec<(Key, Vec<u8>)>,
        now: UnixMillis,
    ) -> Result<PutMany, WriteError> {
        self.write(Job::put_many(domain, records, now))
    }

    /// [`Job::delete`], waiting for its commit.
    pub fn delete(&self, domain: DomainId, key: Key, now: UnixMillis) -> Result<Version, WriteError> {
        self.write(Job::delete(domain, key, now))
    }

    /// [`Job::restore`], waiting for its commit.
    pub fn restore(
        &self,
        domain: DomainId,
        key: Key,
        number: u64,
        now: UnixMillis,
    ) -> Result<Version, WriteError> {
        self.write(Job::restore(domain, key, number, now))
    }

    /// [`Job::apply`], waiting for its commit.
    pub fn apply(&self, from: DeviceId, batches: Vec<Batch>, now: UnixMillis) -> Result<Applied, WriteError> {
        self.write(Job::apply(from, batches, now))
    }

    /// Says what is to know of domains, instead of all that was said before.
    /// Holds for every job that has not begun; [`Job::recheck`] brings the
    /// records that are there already up to it.
    pub fn set_rules(&self, rules: BTreeMap<DomainId, Rules>) {
        self.core.set_rules(RuleSet::new(rules));
    }

    /// Says with whom the records of domains are shared from now on: those
    /// that are not named, with everybody who may have them.
    pub fn set_sharing(&self, sharing: BTreeMap<DomainId, Sharing>) {
        self.core.set_sharing(sharing);
    }

    /// With whom the records of a domain are shared.
    pub fn sharing(&self, domain: DomainId) -> Sharing {
        self.core.rules().sharing(domain)
    }

    /// Says how many changes at once are held, in domains whose rules do not
    /// say it. Holds for every job that has not begun.
    pub fn set_guard(&self, guard: Guard) {
        self.core.set_guard(guard);
    }

    /// Calls `subscriber` with every commit from now on, on the writer's
    /// thread, before the jobs of the commit are answered. It must be quick
    /// and must not wait for a write.
    pub fn on_commit(&self, subscriber: impl FnMut(&Commit) + Send + 'static) {
        self.core.subscribe(Box::new(subscriber));
    }

    /// The device that owns the store.
    pub fn device(&self) -> DeviceId {
        self.core.device
    }

    /// How the store stands with writing.
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// How many times a record was read whose hashes did not fit.
    pub fn damaged(&self) -> u64 {
        self.core.damaged.load(Ordering::Relaxed)
    }

    /// How many jobs wait for the writer.
    pub fn queued_jobs(&self) -> usize {
        self.queue.as_ref().map_or(0, Sender::len)
    }

    /// The length of the store file in bytes.
    pub fn bytes(&self) -> std::io::Result<u64> {
        self.core.medium.bytes()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("device", &self.core.device).field("state", &self.state()).finish()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The last handle may be dropped by a reply, on the writer's own
            // thread, which cannot wait for itself.
            if writer.thread().id() != thread::current().id() && writer.join().is_err() {
                tracing::error!("the writer's thread failed");
            }
        }
    }
}
