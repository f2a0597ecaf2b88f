//! From the store's writer to the event loop: what was committed since the
//! loop last looked.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use kinsync_protocol::id::DomainId;
use kinsync_store::Commit;
use tokio::sync::Notify;

/// What was committed and not yet taken. Grows with the number of domains, not
/// with the number of commits.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    domains: Mutex<BTreeSet<DomainId>>,
    news: Notify,
}

impl Commits {
    /// Takes note of a commit. Called on the writer's thread; never waits.
    pub(crate) fn note(&self, commit: &Commit) {
        if commit.domains.is_empty() {
            return;
        }
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        domains.extend(commit.domains.iter().map(|change| change.domain));
        drop(domains);
        self.news.notify_one();
    }

    /// Waits for commits and takes the domains that they changed.
    ///
    /// Cancel safe: what is not returned is returned by the next call.
    pub(crate) async fn next(&self) -> BTreeSet<DomainId> {
        loop {
            let taken = std::mem::take(&mut *self.domains.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.news.notified().await;
        }
    }
}
