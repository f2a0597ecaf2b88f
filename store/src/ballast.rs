//! A file that holds room on the disk, given up when the disk is full.
//!
//! The database cannot finish a commit or even open on a full disk. Giving up
//! the ballast lets the commit under way finish; then writing stops until the
//! ballast can be built again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// The reserve of one store.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: Option<PathBuf>,
    bytes: u64,
    given_up: AtomicBool,
}

impl Ballast {
    /// A reserve of `bytes` at `path`; none at all without a path.
    pub(crate) fn new(path: Option<PathBuf>, bytes: u64) -> Self {
        Self { path, bytes, given_up: AtomicBool::new(false) }
    }

    /// Builds the reserve unless it stands.
    pub(crate) fn build(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            self.given_up.store(false, Ordering::Release);
            return Ok(());
        };
        let stands = fs::metadata(path).is_ok_and(|meta| meta.len() == self.bytes);
        if !stands {
            let built = self.fill(path);
            if built.is_err() {
                // Half a reserve would only hurt whoever is short of room.
                let _ = fs::remove_file(path);
            }
            built?;
        }
        self.given_up.store(false, Ordering::Release);
        Ok(())
    }

    fn fill(&self, path: &PathBuf) -> io::Result<()> {
        let mut file = File::create(path)?;
        // Varied bytes: some file systems keep no room for zeros or repetition.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut left = self.bytes;
        while left > 0 {
            let block: Vec<u8> = (0..8_192)
                .flat_map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_be_bytes()
                })
                .take(usize::try_from(left).unwrap_or(usize::MAX))
                .collect();
            file.write_all(&block)?;
            left = left.saturating_sub(block.len() as u64);
        }
        file.sync_data()
    }

    /// Gives up the reserve. Whether there was one.
    pub(crate) fn give_up(&self) -> bool {
        self.given_up.store(true, Ordering::Release);
        self.path.as_ref().is_some_and(|path| fs::remove_file(path).is_ok())
    }

    /// Whether the reserve was given up and not built again.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }
}
