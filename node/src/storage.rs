//! The async face of the store: reads on the blocking pool, writes through the
//! store's own thread, both awaited without holding up the runtime.

use std::sync::Arc;

use kinsync_store::{Job, QUEUE_JOBS_MAX, QUEUE_WAITS_AT, ReadError, Store, StoreSnapshot, WriteError};
use tokio::{
    sync::{Semaphore, oneshot},
    task,
};

/// Writes of async callers that are unanswered at the same time: two commits of
/// the most that one takes. Further ones wait here for their turn, in order.
pub const WRITES_MAX: usize = 512;

// Places are left for what is submitted by those who can wait nowhere.
const _: () = assert!(WRITES_MAX < QUEUE_JOBS_MAX - QUEUE_WAITS_AT);

/// A store for async code. Clones are the same store; the last one closes it.
#[derive(Clone, Debug)]
pub struct Storage {
    store: Arc<Store>,
    /// The right to have a write unanswered.
    places: Arc<Semaphore>,
}

impl Storage {
    /// Takes an open store over.
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store), places: Arc::new(Semaphore::new(WRITES_MAX)) }
    }

    /// The store itself, for threads that may wait and for what needs no
    /// waiting.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Reads one consistent view on the blocking pool.
    ///
    /// Cancel safe: a read that nobody waits for ends by itself.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreSnapshot) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let store = Arc::clone(&self.store);
        // The pool refuses only while the runtime is shutting down, and a
        // panic within the read is caught by the store.
        task::spawn_blocking(move || store.read(read)).await.unwrap_or(Err(ReadError::Closed))
    }

    /// Does a job and waits for its commit; before that for its turn, if
    /// [`WRITES_MAX`] are unanswered.
    ///
    /// When cancelled before its turn, nothing has happened. Afterwards it is
    /// not undone: the job commits all the same.
    pub async fn write<T: Send + 'static>(&self, job: Job<T>) -> Result<T, WriteError> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(WriteError::Closed);
        };
        let (reply, answer) = oneshot::channel();
        self.store.submit(job, move |result| {
            drop(place);
            // Whoever asked may have gone; the job is done all the same.
            let _ = reply.send(result);
        });
        answer.await.unwrap_or(Err(WriteError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use kinsync_protocol::id::{DeviceId, DomainId};
    use kinsync_protocol::record::{Key, Version};
    use kinsync_protocol::stamp::UnixMillis;
    use kinsync_store::Options;

    use super::*;

    /// Writers beyond those that have a place.
    const LATE: usize = 8;

    fn write(name: &str) -> Job<Version> {
        Job::put(DomainId::of("notes"), Key::new(name).unwrap(), vec![1], UnixMillis(1))
    }

    /// Async callers wait for their turn without holding a thread, leave room
    /// for those who cannot wait, and none of them is refused.
    #[tokio::test]
    async fn async_writers_beyond_the_bound_wait_for_their_turn() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { ballast_bytes: 0, ..Options::new(DeviceId([1; 32]), 1) };
        let storage = Storage::new(Store::open(folder.path().join("store"), options).unwrap());
        let (release, held) = mpsc::channel::<()>();
        let (hold, holding) = mpsc::channel();
        storage.store().on_commit(move |_| {
            // Nobody listens any more after the first commit, and nobody holds.
            let _ = hold.send(());
            let _ = held.recv();
        });
        storage.store().submit(write("held"), |result| assert!(result.is_ok()));
        holding.recv().unwrap();

        let mut writers = task::JoinSet::new();
        for number in 0..WRITES_MAX + LATE {
            let storage = storage.clone();
            writers.spawn(async move { storage.write(write(&format!("n{number}"))).await });
        }
        while storage.places.available_permits() > 0 {
            task::yield_now().await;
        }
        // On this one thread everybody has had a turn by now.
        task::yield_now().await;
        assert_eq!(storage.store().queued_jobs(), WRITES_MAX);
        storage.store().submit(write("submitted"), |result| assert!(result.is_ok()));
        assert_eq!(storage.store().queued_jobs(), WRITES_MAX + 1);

        drop(release);
        while let Some(written) = writers.join_next().await {
            assert!(written.unwrap().is_ok());
        }
        assert_eq!(storage.places.available_permits(), WRITES_MAX);
    }
}
