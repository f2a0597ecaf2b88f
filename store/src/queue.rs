//! The line of jobs before the writer, and its end.
//!
//! Whoever can wait for a place does so; what is submitted by those who cannot
//! finds places kept free for it. So the line has an end, whoever writes, and
//! nobody waits on a thread that has to go on.

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
    jobs: VecDeque<Entry>,
    /// No job will come, or none will be taken.
    closed: bool,
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
        state.jobs.push_back(job);
        drop(state);
        self.came.notify_one();
    }

    fn take(&self, state: &mut State) -> Option<Entry> {
        let job = state.jobs.pop_front()?;
        if state.jobs.len() < QUEUE_WAITS_AT {
            self.left.notify_one();
        }
        Some(job)
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
        let full = |state: &mut State| state.jobs.len() >= QUEUE_WAITS_AT && !state.closed;
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
        if state.jobs.len() >= QUEUE_JOBS_MAX {
            return Err(Unsent::Full(job));
        }
        self.0.put(state, job);
        Ok(())
    }

    /// Jobs in line.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().jobs.len()
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
        let nothing = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let mut state =
            self.0.came.wait_while(self.0.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        self.0.take(&mut state).ok_or(RecvError)
    }

    /// The same, waiting no longer than `limit`.
    pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<Entry, RecvTimeoutError> {
        let nothing = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let waited = self.0.came.wait_timeout_while(self.0.lock(), limit, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let none = if state.closed { RecvTimeoutError::Disconnected } else { RecvTimeoutError::Timeout };
        self.0.take(&mut state).ok_or(none)
    }

    /// Takes the next job, if there is one that may share a commit with those
    /// taken since the last [`Receiver::recv`].
    pub(crate) fn try_recv(&self) -> Result<Entry, TryRecvError> {
        let mut state = self.0.lock();
        let none = if state.closed { TryRecvError::Disconnected } else { TryRecvError::Empty };
        self.0.take(&mut state).ok_or(none)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
        // Whoever waits for an answer hears that there is none.
        let left = std::mem::take(&mut self.0.lock().jobs);
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

    /// A job that does nothing.
    struct Numbered(usize);

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
    }

    fn fill(line: &Sender, jobs: std::ops::Range<usize>) {
        for number in jobs {
            assert!(line.try_send(Box::new(Numbered(number))).is_ok());
        }
    }

    #[test]
    fn jobs_leave_in_the_order_in_which_they_came() {
        let (sender, receiver) = line();
        fill(&sender, 0..QUEUE_JOBS_MAX);
        assert!(matches!(sender.try_send(Box::new(Numbered(0))), Err(Unsent::Full(_))));
        for number in 0..QUEUE_JOBS_MAX {
            assert_eq!(receiver.try_recv().map(|job| job.bytes()).ok(), Some(number));
        }
        assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(Duration::ZERO).err(), Some(RecvTimeoutError::Timeout));
    }

    #[test]
    fn what_is_in_line_when_it_closes_is_still_taken() {
        let (sender, receiver) = line();
        fill(&sender, 0..2);
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
        fill(&sender, 0..QUEUE_WAITS_AT);
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
