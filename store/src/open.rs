//! Opening a store: creation that a crash cannot tear, a fence around what
//! damage can do, and what is shared by all who use the store.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

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
use crate::redo;
use crate::rules::{RuleSet, Sharing};
use crate::tables::{Base, META, Memtables, TableChanges, View};
use crate::wal::{self, FILES, Generation};

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
    /// Opens one of the [`FILES`] of the write-ahead log. Without `create`, none
    /// if there is none.
    fn open_log(&self, number: usize, create: bool) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Removes them.
    fn remove_log(&self) -> io::Result<()>;
}

type Subscriber = Box<dyn FnMut(&Commit) + Send>;

/// What a reader that begins now sees.
#[derive(Default)]
struct Current {
    /// What was written last, and what of it is on its way to the tables.
    active: Memtables,
    frozen: Memtables,
    /// The tables as they were last brought to disk. `None` while they are not
    /// open.
    base: Option<Base>,
    /// Whether the log of an earlier run was read.
    is_recovered: bool,
}

/// What the writer thread and the readers share.
pub(crate) struct Core {
    pub(crate) medium: Box<dyn Medium>,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) device: DeviceId,
    cache_bytes: usize,
    /// Bytes of entries of the write-ahead log after which the tables follow.
    pub(crate) log_bytes: u64,
    pub(crate) database: RwLock<Option<Opened>>,
    current: Mutex<Current>,
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
            current: Mutex::default(),
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

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All tables as they stand now.
    pub(crate) fn view(&self) -> Result<View, ReadError> {
        let current = self.current();
        let base = current.base.as_ref().ok_or(ReadError::Closed)?;
        Ok(View::new(&current.active, &current.frozen, base))
    }

    /// Shows everybody what a transaction has changed.
    pub(crate) fn publish(&self, changes: TableChanges) {
        self.current().active.publish(changes);
    }

    /// Whether the tables hold everything.
    pub(crate) fn is_in_tables(&self) -> bool {
        let current = self.current();
        current.active.is_empty() && current.frozen.is_empty()
    }

    /// Makes what lies in memory what is to be written into the tables.
    pub(crate) fn freeze(&self) -> Memtables {
        let mut current = self.current();
        let active = std::mem::take(&mut current.active);
        if current.frozen.is_empty() {
            current.frozen = active;
        } else {
            current.frozen.absorb(&active);
        }
        current.frozen.clone()
    }

    /// The tables hold what was frozen.
    pub(crate) fn thaw(&self, base: Base) {
        let mut current = self.current();
        let frozen = std::mem::take(&mut current.frozen);
        let before = current.base.replace(base);
        drop(current);
        drop((frozen, before));
    }

    /// Opens the file, closing it first if it is open. What lies in memory over
    /// its tables stays; the first time, that is what the log holds. The last
    /// time that its clock gave out.
    pub(crate) fn reopen(&self, access: Access) -> Result<Hlc, OpenError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(self.current().base.take());
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
        let (version, generation) = migrate::version(&view.open_table(META).map_err(damaged)?)?;
        drop(view);
        let recovered = match generation {
            Some(generation) if !self.current().is_recovered => self.recover(generation)?,
            _ => Memtables::default(),
        };
        if version < migrate::VERSION {
            let transaction = database.begin_write().map_err(damaged)?;
            recovered.write(&transaction).map_err(damaged)?;
            migrate::run(&transaction, version).map_err(damaged)?;
            transaction.commit().map_err(damaged)?;
        }
        let base = Base::new(database.begin_read().map_err(damaged)?);
        // Damage that makes reading panic had better show now.
        base.check().map_err(damaged)?;
        let mut current = self.current();
        if !current.is_recovered {
            (current.active, current.is_recovered) = (recovered, true);
        }
        current.base = Some(base);
        drop(current);
        let clock = migrate::check(&self.view().map_err(damaged)?.meta, self.device)?;
        Ok((Opened { database, access }, clock))
    }

    /// What the log holds and the tables lack.
    fn recover(&self, generation: Generation) -> Result<Memtables, OpenError> {
        let entries = wal::read(&*self.medium, generation).map_err(from_io)?;
        let (mut changes, mut recovered) = (TableChanges::default(), Memtables::default());
        for change in entries.iter().flat_map(|entry| redo::changes(entry)) {
            changes.redo(&change.map_err(damaged)?).map_err(damaged)?;
        }
        recovered.publish(changes);
        if !entries.is_empty() {
            tracing::info!(entries = entries.len(), "read from the log what the tables lack");
        }
        Ok(recovered)
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
    fn log(&self, number: usize) -> PathBuf {
        match number {
            0 => beside(&self.path, "wal"),
            _ => beside(&self.path, &format!("wal{}", number + 1)),
        }
    }
}

impl Medium for FileMedium {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn bytes(&self) -> io::Result<u64> {
        let log: u64 = (0..FILES).filter_map(|number| Some(fs::metadata(self.log(number)).ok()?.len())).sum();
        fs::metadata(&self.path).map(|meta| meta.len() + log)
    }

    fn open_log(&self, number: usize, create: bool) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let path = self.log(number);
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
        for number in 0..FILES {
            match fs::remove_file(self.log(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
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
