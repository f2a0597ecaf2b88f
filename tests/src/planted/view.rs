//! What a session sees of a store: the truth, unless a mistake is planted.

use kinsync_protocol::grants::Grants;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::{Cursor, Epoch, Item, Root, Snapshot};
use kinsync_protocol::sums::{Range, Summary};

use super::Planted;

/// How a device shows its store to sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lens {
    /// The planted mistake.
    pub(crate) planted: Option<Planted>,
    /// Hides everything that a repair reads, and lets every log be followed
    /// from its start: only cursors move records then. Repairs heal what
    /// cursors miss, so mistakes in them show only without.
    pub(crate) cursors_only: bool,
}

/// A snapshot behind a lens, for a session with one peer.
pub(crate) struct View<'a, S> {
    pub(crate) inner: &'a S,
    pub(crate) peer: DeviceId,
    pub(crate) lens: Lens,
}

impl<S: Snapshot> View<'_, S> {
    fn has(&self, planted: Planted) -> bool {
        self.lens.planted == Some(planted)
    }
}

impl<S: Snapshot> Snapshot for View<'_, S> {
    type Error = S::Error;

    fn domains(&self) -> Result<Vec<DomainId>, S::Error> {
        self.inner.domains()
    }

    fn grants(&self, peer: DeviceId, domain: DomainId) -> Grants {
        self.inner.grants(peer, domain)
    }

    fn limited_domains(&self, peer: DeviceId) -> Vec<DomainId> {
        self.inner.limited_domains(peer)
    }

    fn other_grants(&self, peer: DeviceId) -> Grants {
        self.inner.other_grants(peer)
    }

    fn root(&self, domain: DomainId) -> Result<Root, S::Error> {
        let mut root = self.inner.root(domain)?;
        if self.has(Planted::RootByCount) {
            root.summary.sum = [0; 4];
        }
        Ok(root)
    }

    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Cursor>, S::Error> {
        let cursor = self.inner.cursor(peer, domain)?;
        if cursor.is_none() && self.lens.cursors_only && self.inner.root(domain)?.summary.items > 0 {
            return Ok(Some(Cursor { epoch: 0, seq: 0, after: None }));
        }
        Ok(cursor)
    }

    fn epoch_at(&self, domain: DomainId, seq: u64) -> Result<Option<Epoch>, S::Error> {
        self.inner.epoch_at(domain, seq)
    }

    fn had(&self, domain: DomainId, epoch: Epoch, seq: u64) -> Result<bool, S::Error> {
        Ok(self.inner.had(domain, epoch, seq)? || self.lens.cursors_only && seq == 0)
    }

    fn log(&self, domain: DomainId, after: u64, limit: usize) -> Result<Vec<Item>, S::Error> {
        let mut items = self.inner.log(domain, after, limit)?;
        if self.has(Planted::PageEnd) && items.len() > 1 {
            items.remove(items.len() - 2);
        }
        if self.has(Planted::EchoSuppressed) {
            items.retain(|item| item.from != Some(self.peer));
        }
        Ok(items)
    }

    fn keys(&self, domain: DomainId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, S::Error> {
        self.inner.keys(domain, after, limit)
    }

    fn item(&self, domain: DomainId, key: KeyHash) -> Result<Option<Item>, S::Error> {
        self.inner.item(domain, key)
    }

    fn record(&self, domain: DomainId, key: KeyHash) -> Result<Option<Record>, S::Error> {
        self.inner.record(domain, key)
    }

    fn summary(&self, domain: DomainId, range: Range) -> Result<Summary, S::Error> {
        if self.lens.cursors_only {
            return Ok(Summary::EMPTY);
        }
        self.inner.summary(domain, range)
    }

    fn children(&self, domain: DomainId, range: Range) -> Result<Vec<Summary>, S::Error> {
        let mut children = self.inner.children(domain, range)?;
        if self.lens.cursors_only {
            children.fill(Summary::EMPTY);
        }
        if self.has(Planted::ChildSkipped) {
            let part = children.len() / 16;
            children.iter_mut().skip(3 * part).take(part).for_each(|child| *child = Summary::EMPTY);
        }
        Ok(children)
    }

    fn items(
        &self,
        domain: DomainId,
        range: Range,
        after: Option<KeyHash>,
        limit: usize,
    ) -> Result<Vec<Item>, S::Error> {
        if self.lens.cursors_only {
            return Ok(Vec::new());
        }
        self.inner.items(domain, range, after, limit)
    }
}
