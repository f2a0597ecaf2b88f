//! The part of a store that one peer may see.

use std::collections::BTreeSet;

use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::{Cursor, Epoch, Item, Root, Snapshot};
use kinsync_protocol::sums::{Range, Summary};
use kinsync_protocol::trust::{Action, View};
use kinsync_store::{ReadError, StoreSnapshot};

/// A snapshot that shows the domains that are shared with a peer, and nothing
/// in all others.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) snapshot: &'a StoreSnapshot,
    /// As the same snapshot has it.
    pub(super) view: View,
    pub(super) peer: DeviceId,
    /// Whether the peer was admitted once, which no view knows of.
    pub(super) visits: bool,
    /// Domains in which a mass change of the peer waits for a person.
    pub(super) held: BTreeSet<DomainId>,
}

impl Shared<'_> {
    fn has(&self, domain: DomainId) -> bool {
        self.visits || self.view.may(self.peer, Action::SyncDomain(domain))
    }

    fn within<T: Default>(
        &self,
        domain: DomainId,
        read: impl FnOnce(&StoreSnapshot) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        if self.has(domain) { read(self.snapshot) } else { Ok(T::default()) }
    }
}

impl Snapshot for Shared<'_> {
    type Error = ReadError;

    fn domains(&self) -> Result<Vec<DomainId>, ReadError> {
        let mut domains = self.snapshot.domains()?;
        domains.retain(|domain| self.has(*domain));
        Ok(domains)
    }

    fn grants(&self, peer: DeviceId, domain: DomainId) -> Grants {
        let held = Grants { write: false, delete: false, why: Why::Held, ..Grants::ALL };
        match self.has(domain) {
            true if self.held.contains(&domain) => self.snapshot.grants(peer, domain).and(held),
            true => self.snapshot.grants(peer, domain),
            false => Grants::none(Why::Rights),
        }
    }

    fn limited_domains(&self, peer: DeviceId) -> Vec<DomainId> {
        let mut domains = self.snapshot.limited_domains(peer);
        let named = self.view.row(peer).and_then(|row| row.domains.as_ref());
        domains.extend(&self.held);
        domains.extend(named.into_iter().flatten().map(|name| DomainId::of(name)));
        domains
    }

    fn other_grants(&self, peer: DeviceId) -> Grants {
        // No domain has this id but by an accident that nobody can bring about.
        let others = self.visits || self.view.may(peer, Action::SyncDomain(DomainId([0; 16])));
        if others { self.snapshot.other_grants(peer) } else { Grants::none(Why::Rights) }
    }

    fn root(&self, domain: DomainId) -> Result<Root, ReadError> {
        self.within(domain, |snapshot| snapshot.root(domain))
    }

    fn cursor(&self, peer: DeviceId, domain: DomainId) -> Result<Option<Cursor>, ReadError> {
        self.within(domain, |snapshot| snapshot.cursor(peer, domain))
    }

    fn epoch_at(&self, domain: DomainId, seq: u64) -> Result<Option<Epoch>, ReadError> {
        self.within(domain, |snapshot| snapshot.epoch_at(domain, seq))
    }

    fn log(&self, domain: DomainId, after: u64, limit: usize) -> Result<Vec<Item>, ReadError> {
        self.within(domain, |snapshot| snapshot.log(domain, after, limit))
    }

    fn keys(&self, domain: DomainId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, ReadError> {
        self.within(domain, |snapshot| snapshot.keys(domain, after, limit))
    }

    fn item(&self, domain: DomainId, key: KeyHash) -> Result<Option<Item>, ReadError> {
        self.within(domain, |snapshot| snapshot.item(domain, key))
    }

    fn record(&self, domain: DomainId, key: KeyHash) -> Result<Option<Record>, ReadError> {
        self.within(domain, |snapshot| snapshot.record(domain, key))
    }

    fn summary(&self, domain: DomainId, range: Range) -> Result<Summary, ReadError> {
        self.within(domain, |snapshot| snapshot.summary(domain, range))
    }

    fn children(&self, domain: DomainId, range: Range) -> Result<Vec<Summary>, ReadError> {
        self.within(domain, |snapshot| snapshot.children(domain, range))
    }

    fn items(
        &self,
        domain: DomainId,
        range: Range,
        after: Option<KeyHash>,
        limit: usize,
    ) -> Result<Vec<Item>, ReadError> {
        self.within(domain, |snapshot| snapshot.items(domain, range, after, limit))
    }
}
