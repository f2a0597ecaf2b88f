//! Bringing the tables to disk while writing goes on.
//!
//! What lies in memory over the tables is frozen, and a thread of its own writes
//! it into them in one transaction, in the order of keys: rows that stand beside
//! each other are written together, and a row that changed a hundred times is
//! written once. Readers see the same all the while.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use redb::ReadableDatabase;

use crate::error::ReadError;
use crate::migrate;
use crate::open::Core;
use crate::tables::{Base, Memtables};
use crate::wal::Generation;

/// One that was begun.
pub(crate) struct Checkpoint {
    thread: JoinHandle<Result<(), ReadError>>,
}

impl Checkpoint {
    /// Begins to write rows, what is frozen among them. Afterwards the tables name
    /// this generation of the log.
    pub(crate) fn begin(core: &Arc<Core>, rows: Memtables, generation: Generation) -> io::Result<Self> {
        let core = Arc::clone(core);
        let thread = thread::Builder::new()
            .name("kinsync-tables".into())
            .spawn(move || write(&core, rows, generation))?;
        Ok(Self { thread })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end. A panic goes on here.
    pub(crate) fn wait(self) -> Result<(), ReadError> {
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn write(core: &Core, rows: Memtables, generation: Generation) -> Result<(), ReadError> {
    let database = core.database.read().unwrap_or_else(PoisonError::into_inner);
    let database = &database.as_ref().ok_or(ReadError::Closed)?.database;
    let mut transaction = database.begin_write()?;
    rows.write(&transaction)?;
    migrate::note_generation(&transaction, generation)?;
    // Reopening after a crash takes milliseconds instead of a walk through the
    // file, if the last commit on disk was made like this.
    transaction.set_quick_repair(true);
    transaction.commit()?;
    core.thaw(Base::new(database.begin_read()?));
    Ok(())
}
