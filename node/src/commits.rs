//! From the store's writer to those who wait for it: what was committed since
//! the event loop last looked, and how far each domain has grown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kinsync_protocol::id::DomainId;
use kinsync_store::Commit;
use tokio::sync::{Notify, watch};

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

/// The last position of each domain that grew since the store was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads(Arc<watch::Sender<BTreeMap<DomainId, u64>>>);

impl Heads {
    /// Takes note of a commit. Called on the writer's thread; never waits.
    pub(crate) fn note(&self, commit: &Commit) {
        if commit.domains.is_empty() {
            return;
        }
        self.0.send_modify(|heads| {
            heads.extend(commit.domains.iter().map(|change| (change.domain, change.head)));
        });
    }

    /// Watches one domain from now on.
    pub(crate) fn of(&self, domain: DomainId) -> Head {
        let heads = self.0.subscribe();
        let seen = heads.borrow().get(&domain).copied();
        Head { heads, domain, seen }
    }
}

/// One domain's place among [`Heads`].
pub(crate) struct Head {
    heads: watch::Receiver<BTreeMap<DomainId, u64>>,
    domain: DomainId,
    seen: Option<u64>,
}

impl Head {
    /// Waits until the domain has grown since the last call, or since this was
    /// made.
    ///
    /// Cancel safe.
    pub(crate) async fn grown(&mut self) {
        let (domain, seen) = (self.domain, self.seen);
        let grown = self.heads.wait_for(|heads| heads.get(&domain).copied() != seen).await;
        match grown.ok().map(|heads| heads.get(&domain).copied()) {
            Some(head) => self.seen = head,
            // Nobody writes here any more.
            None => std::future::pending().await,
        }
    }
}
