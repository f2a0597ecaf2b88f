//! The async face of the store: reads on the blocking pool, writes through the
//! store's own thread, both awaited without holding up the runtime.

use std::sync::Arc;

use kinsync_store::{Job, ReadError, Store, StoreSnapshot, WriteError};
use tokio::{sync::oneshot, task};

/// A store for async code. Clones are the same store; the last one closes it.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Store>);

impl Storage {
    /// Takes an open store over.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(store))
    }

    /// The store itself, for threads that may wait and for what needs no
    /// waiting.
    pub fn store(&self) -> &Arc<Store> {
        &self.0
    }

    /// Reads one consistent view on the blocking pool.
    ///
    /// Cancel safe: a read that nobody waits for ends by itself.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreSnapshot) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let store = Arc::clone(&self.0);
        // The pool refuses only while the runtime is shutting down, and a
        // panic within the read is caught by the store.
        task::spawn_blocking(move || store.read(read)).await.unwrap_or(Err(ReadError::Closed))
    }

    /// Does a job and waits for its commit.
    ///
    /// Not undone when cancelled: the job commits all the same.
    pub async fn write<T: Send + 'static>(&self, job: Job<T>) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.0.submit(job, move |result| {
            // Whoever asked may have gone; the job is done all the same.
            let _ = reply.send(result);
        });
        answer.await.unwrap_or(Err(WriteError::Closed))
    }
}
