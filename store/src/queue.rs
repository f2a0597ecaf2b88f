//! The line of jobs before the writer, and its end.
//!
//! Whoever can wait for a place does so; what is submitted by those who cannot
//! finds places kept free for it. So the line has an end, whoever writes, and
//! nobody waits on a thread that has to go on.
//!
//! Small jobs go before large ones and share no commit with them: one edit waits
//! for the large job under way and for none behind it. Each kind keeps its
//! order.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::Queued;

/// Jobs in line above which whoever can wait has to: two commits of the most
/// that one takes.
pub const QUEUE_WAITS_AT: usize = 512;

/// Jobs in line at most. Beyond it one is refused; those who submit without
/// waiting keep well below.
pub const QUEUE_JOBS_MAX: usize = 1_280;

/// Commits of small jobs in a row while large ones wait. Then comes a large one,
/// so that small ones without a pause keep nobody waiting for ever.
const OVERTAKING_MAX: u32 = 4;

/// Bytes of values in one commit. One job may exceed it. More is no faster, and
/// others wait longer. As soon as a small job waits, no further large one joins
/// those that are there.
pub(crate) const COMMIT_BYTES_MAX: usize = 1 << 20;

type Entry = Box<dyn Queued>;

/// The end of the line for those who bring jobs. The line is closed with it.
pub(crate) struct Sender(Arc<Line>);

/// The end of the line for the writer. Jobs that it leaves behind end with it.
pub(crate) struct Receiver(Arc<Line>);

#[derive(Default)]
struct Line {
    state: Mutex<State>,
    /// A job came, or none will.
    came: Condvar,
    /// There is room, or there is nobody to wait for.
    left: Condvar,
}

#[derive(Default)]
struct State {
    small: VecDeque<Entry>,
    large: VecDeque<Entry>,
    /// Bytes of the large jobs taken for this commit; none if it is one of
    /// small ones.
    taken: Option<usize>,
    /// Commits of small jobs since the last one of large ones, while those
    /// waited.
    overtaking: u32,
    /// No job will come, or none will be taken.
    closed: bool,
}

impl State {
    fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// The job that the next commit begins with.
    fn first(&mut self) -> Option<Entry> {
        let overtaken = self.overtaking >= OVERTAKING_MAX && !self.large.is_empty();
        if !overtaken && let Some(job) = self.small.pop_front() {
            self.taken = None;
            self.overtaking = if self.large.is_empty() { 0 } else { self.overtaking + 1 };
            return Some(job);
        }
        let job = self.large.pop_front()?;
        self.taken = Some(job.bytes());
        self.overtaking = 0;
        Some(job)
    }

    /// One more job for that commit.
    fn further(&mut self) -> Option<Entry> {
        let Some(bytes) = self.taken else { return self.small.pop_front() };
        if !self.small.is_empty() || bytes >= COMMIT_BYTES_MAX {
            return None;
        }
        let job = self.large.pop_front()?;
        self.taken = Some(bytes.saturating_add(job.bytes()));
        Some(job)
    }
}

/// A job that found no place.
pub(crate) enum Unsent {
    /// There are as many as there may be.
    Full(Entry),
    /// The writer is gone.
    Closed(Entry),
}

/// An empty line.
pub(crate) fn line() -> (Sender, Receiver) {
    let line = Arc::new(Line::default());
    (Sender(Arc::clone(&line)), Receiver(line))
}

impl Line {
    /// A panic elsewhere cannot leave the line half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, job: Entry) {
        let kind = if job.is_large() { &mut state.large } else { &mut state.small };
        kind.push_back(job);
        drop(state);
        self.came.notify_one();
    }

    /// Lets in who waits for the place of a job that was taken.
    fn taken(&self, state: &State, job: Option<Entry>) -> Option<Entry> {
        if job.is_some() && state.len() < QUEUE_WAITS_AT {
            self.left.notify_one();
        }
        job
    }

    fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
        self.left.notify_all();
    }
}

impl Sender {
    /// Puts a job in line, once there are fewer than [`QUEUE_WAITS_AT`]. Only a
    /// thread that may block calls it, and never the writer's own.
    pub(crate) fn send(&self, job: Entry) -> Result<(), Unsent> {
        let full = |state: &mut State| state.len() >= QUEUE_WAITS_AT && !state.closed;
        let state = self.0.left.wait_while(self.0.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Unsent::Closed(job));
        }
        self.0.put(state, job);
        Ok(())
    }

    /// Puts a job in line now, if there are fewer than [`QUEUE_JOBS_MAX`].
    pub(crate) fn try_send(&self, job: Entry) -> Result<(), Unsent> {
        let state = self.0.lock();
        if state.closed {
            return Err(Unsent::Closed(job));
        }
        if state.len() >= QUEUE_JOBS_MAX {
            return Err(Unsent::Full(job));
        }
        self.0.put(state, job);
        Ok(())
    }

    /// Jobs in line.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Receiver {
    /// Takes the next job, waiting for it. An error once the line is closed and
    /// empty.
    pub(crate) fn recv(&self) -> Result<Entry, RecvError> {
        let nothing = |state: &mut State| state.len() == 0 && !state.closed;
        let mut state =
            self.0.came.wait_while(self.0.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let job = state.first();
        self.0.taken(&state, job).ok_or(RecvError)
    }

    /// The same, waiting no longer than `limit`.
    pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<Entry, RecvTimeoutError> {
        let nothing = |state: &mut State| state.len() == 0 && !state.closed;
        let waited = self.0.came.wait_timeout_while(self.0.lock(), limit, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let none = if state.closed { RecvTimeoutError::Disconnected } else { RecvTimeoutError::Timeout };
        let job = state.first();
        self.0.taken(&state, job).ok_or(none)
    }

    /// Whether a small job waits.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.lock().small.is_empty()
    }

    /// Puts a large job back of which only a part is done: it goes on before all
    /// other large ones.
    pub(crate) fn put_back(&self, job: Entry) {
        self.0.lock().large.push_front(job);
    }

    /// Takes the next job, if there is one that may share a commit with those
    /// taken since the last [`Receiver::recv`].
    pub(crate) fn try_recv(&self) -> Result<Entry, TryRecvError> {
        let mut state = self.0.lock();
        let none = if state.closed { TryRecvError::Disconnected } else { TryRecvError::Empty };
        let job = state.further();
        self.0.taken(&state, job).ok_or(none)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
        // Whoever waits for an answer hears that there is none.
        let mut state = self.0.lock();
        let left = (std::mem::take(&mut state.small), std::mem::take(&mut state.large));
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::apply::Tx;
    use crate::error::{ReadError, WriteError};

    /// A job that does nothing, of so many bytes.
    struct Numbered(usize);

    /// A job of at least so many is large, and has a commit of its own.
    const LARGE: usize = COMMIT_BYTES_MAX;

    /// The least bytes of a large job here.
    const LARGE_MIN: usize = COMMIT_BYTES_MAX / 2;

    impl Queued for Numbered {
        fn run(&mut self, _: &mut Tx<'_>) -> Result<(), ReadError> {
            Ok(())
        }

        fn finish(self: Box<Self>, _: Option<WriteError>) {}

        fn bytes(&self) -> usize {
            self.0
        }

        fn is_bulk(&self) -> bool {
            false
        }

        fn is_done(&self) -> bool {
            true
        }

        fn is_large(&self) -> bool {
            self.0 >= LARGE_MIN
        }
    }

    fn put(line: &Sender, jobs: impl IntoIterator<Item = usize>) {
        for bytes in jobs {
            assert!(line.try_send(Box::new(Numbered(bytes))).is_ok());
        }
    }

    /// The jobs of the next commit.
    fn commit(line: &Receiver) -> Vec<usize> {
        let first = line.recv_timeout(Duration::ZERO).ok();
        let further = std::iter::from_fn(|| line.try_recv().ok());
        first.into_iter().chain(further).map(|job| job.bytes()).collect()
    }

    #[test]
    fn jobs_leave_in_the_order_in_which_they_came() {
        let (sender, receiver) = line();
        put(&sender, 0..QUEUE_JOBS_MAX);
        assert!(matches!(sender.try_send(Box::new(Numbered(0))), Err(Unsent::Full(_))));
        assert!(commit(&receiver).into_iter().eq(0..QUEUE_JOBS_MAX));
        assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(Duration::ZERO).err(), Some(RecvTimeoutError::Timeout));
    }

    #[test]
    fn small_jobs_go_before_large_ones_and_each_kind_keeps_its_order() {
        let (sender, receiver) = line();
        put(&sender, [LARGE, 1, LARGE + 1, 2]);
        assert_eq!(commit(&receiver), [1, 2]);
        assert_eq!(commit(&receiver), [LARGE]);
        put(&sender, [3]);
        assert_eq!(commit(&receiver), [3]);
        assert_eq!(commit(&receiver), [LARGE + 1]);
        assert_eq!(commit(&receiver), [0; 0]);
    }

    #[test]
    fn small_jobs_without_a_pause_let_large_ones_through() {
        let (sender, receiver) = line();
        put(&sender, [LARGE, LARGE + 1]);
        for large in [LARGE, LARGE + 1] {
            for next in std::iter::repeat_n(1, OVERTAKING_MAX as usize).chain([large]) {
                put(&sender, [1]);
                assert_eq!(commit(&receiver).first(), Some(&next));
            }
        }
    }

    #[test]
    fn large_jobs_share_a_commit_up_to_a_bound_until_a_small_one_comes() {
        let large = LARGE_MIN;
        let (sender, receiver) = line();
        put(&sender, [large; 4]);
        assert_eq!(commit(&receiver), [large; 2]);
        assert!(receiver.recv().is_ok());
        put(&sender, [1]);
        assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Empty), "the small one is next");
        assert_eq!(commit(&receiver), [1]);
        assert_eq!(commit(&receiver), [large]);
    }

    #[test]
    fn what_is_in_line_when_it_closes_is_still_taken() {
        let (sender, receiver) = line();
        put(&sender, 0..2);
        drop(sender);
        assert!(receiver.recv().is_ok());
        assert!(receiver.recv_timeout(Duration::MAX).is_ok());
        assert!(receiver.recv().is_err());
        assert_eq!(receiver.recv_timeout(Duration::MAX).err(), Some(RecvTimeoutError::Disconnected));
        assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Disconnected));
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_gone() {
        let (sender, receiver) = line();
        put(&sender, 0..QUEUE_WAITS_AT);
        let (begin, begun) = mpsc::channel();
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                begin.send(()).unwrap();
                sender.send(Box::new(Numbered(0)))
            });
            begun.recv().unwrap();
            drop(receiver);
            assert!(matches!(waits.join().unwrap(), Err(Unsent::Closed(_))));
        });
        assert_eq!(sender.len(), 0);
        assert!(matches!(sender.try_send(Box::new(Numbered(0))), Err(Unsent::Closed(_))));
    }
}
