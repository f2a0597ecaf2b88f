//! What lies between the database and the file: the ballast, and a way to
//! read a file that must not or cannot be written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{BackendError, StorageBackend};

use crate::ballast::Ballast;
use crate::error::is_full;

const PAGE: u64 = 4_096;

/// How a store file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// Reads and writes go to the file.
    Write,
    /// Writes stay in memory and are forgotten. The database writes to a file
    /// even to open it; this lets a full disk and a file in doubt be read.
    ReadOnly,
}

/// A storage backend on top of another one.
#[derive(Debug)]
pub(crate) struct Disk {
    inner: Box<dyn StorageBackend>,
    ballast: Arc<Ballast>,
    overlay: Option<Mutex<Overlay>>,
}

/// Pages that were written but belong to nobody's file.
struct Overlay {
    len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("len", &self.len).field("pages", &self.pages.len()).finish()
    }
}

impl Disk {
    pub(crate) fn new(
        inner: Box<dyn StorageBackend>,
        ballast: Arc<Ballast>,
        access: Access,
    ) -> io::Result<Self> {
        let overlay = match access {
            Access::Write => None,
            Access::ReadOnly => Some(Mutex::new(Overlay { len: inner.len()?, pages: BTreeMap::new() })),
        };
        Ok(Self { inner, ballast, overlay })
    }

    /// Repeats an operation once after giving up the ballast for it.
    fn with_room(&self, operation: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match operation() {
            Err(error) if is_full(&error) && self.ballast.give_up() => operation(),
            result => result,
        }
    }

    /// What the file holds from `offset` on; zeros beyond its end.
    fn read_inner(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = self.inner.len()?.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        match out.get_mut(..there) {
            Some(head) if !head.is_empty() => self.inner.read(offset, head),
            _ => Ok(()),
        }
    }
}

/// The parts of pages that `len` bytes from `offset` on touch: page number,
/// start within the page, start within the bytes, length.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE).unwrap_or(0);
        let part = (len - done).min(usize::try_from(PAGE).unwrap_or(usize::MAX) - start);
        let item = (at / PAGE, start, done, part);
        done += part;
        Some(item)
    })
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        match &self.overlay {
            None => self.inner.len(),
            Some(overlay) => Ok(overlay.lock().unwrap_or_else(PoisonError::into_inner).len),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(overlay) = &self.overlay else { return self.inner.read(offset, out) };
        let overlay = overlay.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > overlay.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_inner(offset, out)?;
        for (page, start, done, len) in parts(offset, out.len()) {
            let Some(bytes) = overlay.pages.get(&page).and_then(|page| page.get(start..start + len)) else {
                continue;
            };
            if let Some(out) = out.get_mut(done..done + len) {
                out.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.overlay {
            None => self.with_room(|| self.inner.set_len(len)),
            Some(overlay) => {
                overlay.lock().unwrap_or_else(PoisonError::into_inner).len = len;
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &self.overlay {
            None => self.with_room(|| self.inner.sync_data()),
            Some(_) => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(overlay) = &self.overlay else {
            return self.with_room(|| self.inner.write(offset, data));
        };
        let mut overlay = overlay.lock().unwrap_or_else(PoisonError::into_inner);
        for (page, start, done, len) in parts(offset, data.len()) {
            let bytes = match overlay.pages.entry(page) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => {
                    let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or(usize::MAX)];
                    self.read_inner(page * PAGE, &mut bytes)?;
                    free.insert(bytes.into())
                }
            };
            let target = bytes.get_mut(start..start + len);
            if let (Some(target), Some(data)) = (target, data.get(done..done + len)) {
                target.copy_from_slice(data);
            }
        }
        overlay.len = overlay.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
