//! Opening a store: creation that a crash cannot tear, a fence around what
//! damage can do, and what is shared by all who use the store.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::stamp::Hlc;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend};

use crate::ballast::Ballast;
use crate::commit::Commit;
use crate::disk::{Access, Disk};
use crate::error::{OpenError, ReadError, is_full, is_read_only};
use crate::migrate;
use crate::rules::{RuleSet, Sharing};
use crate::tables::{META, View};
use crate::wal::{self, Generation, next_generation};

/// How the store stands with writing. Reading goes on in every state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Writes are taken.
    Writing,
    /// The disk is full. The next write tries again.
    DiskFull,
    /// A commit failed; writing needs a restart.
    Poisoned {
        /// The failure.
        reason: String,
    },
}

/// An open database and how it was opened.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) access: Access,
}

/// Where a store lives.
pub(crate) trait Medium: Send + Sync {
    /// Opens the storage, which exists.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// How many bytes it takes.
    fn bytes(&self) -> io::Result<u64>;
    /// Opens the storage of the write-ahead log. Without `create`, none if there
    /// is none.
    fn open_log(&self, create: bool) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Removes it.
    fn remove_log(&self) -> io::Result<()>;
}

type Subscriber = Box<dyn FnMut(&Commit) + Send>;

/// What the writer thread and the readers share.
pub(crate) struct Core {
    pub(crate) medium: Box<dyn Medium>,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) device: DeviceId,
    cache_bytes: usize,
    /// Bytes of entries that the write-ahead log takes.
    pub(crate) log_bytes: u64,
    pub(crate) database: RwLock<Option<Opened>>,
    state: Mutex<State>,
    subscribers: Mutex<Vec<Subscriber>>,
    rules: Mutex<Arc<RuleSet>>,
    /// Records whose hashes did not fit when they were read.
    pub(crate) damaged: Arc<AtomicU64>,
}

impl Core {
    pub(crate) fn new(
        medium: Box<dyn Medium>,
        ballast: Ballast,
        device: DeviceId,
        cache_bytes: usize,
        log_bytes: u64,
    ) -> Self {
        Self {
            medium,
            ballast: Arc::new(ballast),
            device,
            cache_bytes,
            log_bytes,
            database: RwLock::new(None),
            state: Mutex::new(State::Writing),
            subscribers: Mutex::new(Vec::new()),
            rules: Mutex::default(),
            damaged: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The rules for transactions that begin now.
    pub(crate) fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_rules(&self, rules: RuleSet) {
        let mut current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let sharing = Arc::clone(&current.sharing);
        *current = Arc::new(rules.shared(sharing).guarded(current.default_guard()));
    }

    pub(crate) fn set_sharing(&self, sharing: BTreeMap<DomainId, Sharing>) {
        let mut current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(RuleSet::clone(&current).shared(Arc::new(sharing)));
    }

    pub(crate) fn set_guard(&self, guard: Guard) {
        let mut current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(RuleSet::clone(&current).guarded(guard));
    }

    pub(crate) fn access(&self) -> Option<Access> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(|opened| opened.access)
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    pub(crate) fn tell(&self, commit: &Commit) {
        if commit.is_empty() {
            return;
        }
        for subscriber in self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            // The commit has happened; a watcher's failure must not undo its answers.
            if catch_unwind(AssertUnwindSafe(|| subscriber(commit))).is_err() {
                tracing::error!("a subscriber failed");
            }
        }
    }

    /// Opens the file, closing it first if it is open. The last time its
    /// clock gave out.
    pub(crate) fn reopen(&self, access: Access) -> Result<Hlc, OpenError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closing a database in doubt may meet the same damage again.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(database.take()))) {
            tracing::error!(reason = panic_text(&*panic), "closing the store failed");
        }
        let (opened, clock) = fence(|| self.open(access))?;
        *database = Some(opened);
        Ok(clock)
    }

    fn open(&self, access: Access) -> Result<(Opened, Hlc), OpenError> {
        let inner = self.medium.open().map_err(from_io)?;
        if inner.len().map_err(from_io)? == 0 {
            return Err(OpenError::Damaged { reason: "the file is empty".into() });
        }
        let disk = Disk::new(inner, Arc::clone(&self.ballast), access).map_err(from_io)?;
        let database = Database::builder()
            .set_cache_size(self.cache_bytes)
            .create_with_backend(disk)
            .map_err(from_database)?;
        let view = database.begin_read().map_err(damaged)?;
        let meta = view.open_table(META).map_err(damaged)?;
        let (version, mut facts) = migrate::check(&meta, self.device)?;
        drop((meta, view));
        if let Some(generation) = facts.generation
            && let Some(clock) = self.redo(&database, generation)?
        {
            facts.clock = clock;
        }
        if version < migrate::VERSION {
            let transaction = database.begin_write().map_err(damaged)?;
            migrate::run(&transaction, version).map_err(damaged)?;
            transaction.commit().map_err(damaged)?;
        }
        // Damage that makes reading panic had better show now.
        View::new(database.begin_read().map_err(damaged)?).check().map_err(damaged)?;
        Ok((Opened { database, access }, facts.clock))
    }

    /// Does again what the log holds and the tables lack, and voids the log. The
    /// clock as it stands then, if there was something.
    fn redo(&self, database: &Database, generation: Generation) -> Result<Option<Hlc>, OpenError> {
        let Some(file) = self.medium.open_log(false).map_err(from_io)? else { return Ok(None) };
        let entries = wal::read(&*file, generation).map_err(from_io)?;
        file.close().map_err(from_io)?;
        if entries.is_empty() {
            return Ok(None);
        }
        tracing::info!(entries = entries.len(), "writing from the log what the tables lack");
        let mut transaction = database.begin_write().map_err(damaged)?;
        transaction.set_quick_repair(true);
        let clock = migrate::redo(&transaction, &entries, next_generation(generation)).map_err(damaged)?;
        transaction.commit().map_err(damaged)?;
        Ok(Some(clock))
    }
}

/// Turns a panic over a damaged file into an error.
fn fence<T>(open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(result) => result,
        Err(panic) => Err(OpenError::Damaged { reason: panic_text(&*panic) }),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it caused a panic").to_owned()
}

fn damaged(error: impl Into<ReadError>) -> OpenError {
    let error = error.into();
    let reason = match &error {
        ReadError::Storage(cause) => cause.to_string(),
        ReadError::Damaged { .. } | ReadError::Closed => error.to_string(),
    };
    match error.into_io() {
        Some(error) => from_io(error),
        None => OpenError::Damaged { reason },
    }
}

pub(crate) fn from_io(error: io::Error) -> OpenError {
    if is_full(&error) {
        OpenError::DiskFull
    } else if is_read_only(&error) {
        OpenError::ReadOnly { reason: error.to_string() }
    } else if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
        OpenError::Damaged { reason: error.to_string() }
    } else {
        OpenError::Io(error)
    }
}

fn from_database(error: DatabaseError) -> OpenError {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) { OpenError::Locked } else { damaged(error) }
}

/// A store in a file.
pub(crate) struct FileMedium {
    pub(crate) path: PathBuf,
}

impl FileMedium {
    fn log(&self) -> PathBuf {
        beside(&self.path, "wal")
    }
}

impl Medium for FileMedium {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn bytes(&self) -> io::Result<u64> {
        let log = fs::metadata(self.log()).map_or(0, |meta| meta.len());
        fs::metadata(&self.path).map(|meta| meta.len() + log)
    }

    fn open_log(&self, create: bool) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let path = self.log();
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !create {
                    return Ok(None);
                }
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
                // An entry in a file that a crash takes away is on no disk.
                sync_folder(&path)?;
                file
            }
            opened => opened?,
        };
        Ok(Some(Box::new(FileBackend::new(file).map_err(io::Error::other)?)))
    }

    fn remove_log(&self) -> io::Result<()> {
        match fs::remove_file(self.log()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Creates the store file unless it exists: under another name first, so that
/// a file under its own name is always whole.
pub(crate) fn create_file(path: &Path, device: DeviceId) -> Result<(), OpenError> {
    if path.try_exists().map_err(from_io)? {
        return Ok(());
    }
    // Two processes that both find no file must not both make one.
    let lock_path = beside(path, "lock");
    let lock = File::create(&lock_path).map_err(from_io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Locked),
        Err(fs::TryLockError::Error(error)) => return Err(from_io(error)),
    }
    let result = if path.try_exists().map_err(from_io)? { Ok(()) } else { create_locked(path, device) };
    let _ = fs::remove_file(&lock_path);
    result
}

fn create_locked(path: &Path, device: DeviceId) -> Result<(), OpenError> {
    let unfinished = beside(path, "new");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&unfinished)
        .map_err(from_io)?;
    let created = fence(|| {
        let keep = file.try_clone().map_err(from_io)?;
        let backend = FileBackend::new(file).map_err(from_database)?;
        create_on(backend, device)?;
        keep.sync_all().map_err(from_io)?;
        fs::rename(&unfinished, path).map_err(from_io)?;
        sync_folder(path).map_err(from_io)
    });
    if created.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    created
}

/// Makes an empty store on empty storage.
pub(crate) fn create_on(backend: impl StorageBackend, device: DeviceId) -> Result<(), OpenError> {
    let database = Database::builder().create_with_backend(backend).map_err(from_database)?;
    let mut transaction = database.begin_write().map_err(damaged)?;
    transaction.set_quick_repair(true);
    migrate::create(&transaction, device).map_err(damaged)?;
    transaction.commit().map_err(damaged)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The file next to `path` whose name ends in `.end` instead.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(end);
    path.with_file_name(name)
}
