//! Deleted records, and taking back what a device delivered.

use kinsync_protocol::{id::DomainId, record::Key, stamp::UnixMillis};
use kinsync_store::{Job, UndoPlan, WriteError};

use super::{
    Control,
    version::{moment, version_name},
};
use crate::{
    clock::Moment,
    domains::DECLARATIONS,
    failure::{Failure, Kind},
    request::{
        Restored, TRASH_ROWS_MAX, Trash, TrashEmptied, TrashEmpty, TrashRow, TrashRows, Undo, UndoAnswer,
        Written,
    },
};

impl Control {
    /// The domains to look at: one by its name, or all that hold something.
    pub(super) async fn chosen(&self, domain: Option<&str>) -> Result<Vec<(DomainId, String)>, Failure> {
        let domains = self.domains();
        if let Some(name) = domain {
            let domain = domains.named(name)?;
            return Ok(vec![(domain.id(), domain.name().to_owned())]);
        }
        let counts = self.shared.storage.read(kinsync_store::StoreSnapshot::counts).await?;
        Ok(counts.into_iter().map(|counts| (counts.domain, domains.shown(counts.domain))).collect())
    }

    /// Lists deleted records whose last value is still there.
    pub async fn trash(&self, request: Trash) -> Result<TrashRows, Failure> {
        if request.after.is_some() && request.domain.is_none() {
            return Err(Failure::new(Kind::BadRequest, "A page of the trash needs its domain."));
        }
        let after = request.after.map(Key::new).transpose()?;
        let mut answer = TrashRows::default();
        for (domain, name) in self.chosen(request.domain.as_deref()).await? {
            let after = after.clone();
            let mut trashed = self
                .shared
                .storage
                .read(move |snapshot| snapshot.trash(domain, after.as_ref(), TRASH_ROWS_MAX + 1))
                .await?;
            let more = trashed.len() > TRASH_ROWS_MAX;
            trashed.truncate(TRASH_ROWS_MAX);
            if request.domain.is_some() {
                answer.next = trashed.last().filter(|_| more).map(|last| last.key.as_str().to_owned());
            }
            answer.rows.extend(trashed.into_iter().map(|trashed| TrashRow {
                domain: name.clone(),
                id: trashed.key.as_str().to_owned(),
                deleted: Moment(trashed.received.0),
                from: trashed.from.map(|device| self.shared.names.of(device)),
                with_parent: trashed.with_parent,
                limbo: trashed.in_limbo,
                version: version_name(trashed.last.version.stamp),
            }));
        }
        Ok(answer)
    }

    /// Brings a deleted record back, and what was deleted with it.
    pub async fn restore_deleted(&self, domain: &str, id: &str) -> Result<Restored, Failure> {
        let domain = self.domains().named(domain)?;
        let key = Key::new(id)?;
        let job = Job::restore_deleted(domain.id(), key.clone(), self.now());
        let (version, others) = match self.shared.storage.write(job).await {
            Err(WriteError::NotFound) => {
                return Err(Failure::new(
                    Kind::NotFound,
                    format!("The trash holds no {}/{key}.", domain.name()),
                )
                .hint(format!("See what it holds:  kinsync trash list {}", domain.name())));
            }
            written => written?,
        };
        let written = Written {
            domain: domain.name().to_owned(),
            id: key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        };
        Ok(Restored { written, others })
    }

    /// Lets go of what deleted records were, here and for good.
    pub async fn empty_trash(&self, request: TrashEmpty) -> Result<TrashEmptied, Failure> {
        if request.id.is_some() && request.domain.is_none() {
            return Err(Failure::new(Kind::BadRequest, "A record in the trash needs its domain."));
        }
        let keys = request.id.map(Key::new).transpose()?.map(|key| vec![key]);
        let mut emptied = TrashEmptied::default();
        for (domain, _) in self.chosen(request.domain.as_deref()).await? {
            let one = self.shared.storage.write(Job::empty_trash(domain, keys.clone())).await?;
            emptied.records += one.records;
            emptied.versions += one.versions;
        }
        Ok(emptied)
    }

    /// Takes back what a device delivered, but for declarations of domains:
    /// without them, records of other devices could not be used any more.
    /// [`DomainsRemove`](crate::request::DomainRemove) takes back one.
    ///
    /// Not undone when cancelled: what was taken back by then stays so.
    pub async fn undo(&self, request: Undo) -> Result<UndoAnswer, Failure> {
        let peer = self.known_peer(&request.received_from).await?;
        let since = UnixMillis(request.since.unwrap_or_default().0);
        let mut answer = UndoAnswer { dry_run: request.dry_run, ..UndoAnswer::default() };
        let mut plan = UndoPlan::default();
        let mut chosen = self.chosen(None).await?;
        chosen.retain(|(domain, _)| *domain != DomainId::of(DECLARATIONS));
        let domains = self.domains();
        // Parents first: their children come back with them.
        chosen.sort_by_key(|(domain, _)| domains.depth(*domain));
        for (domain, _) in chosen {
            let received =
                self.shared.storage.read(move |snapshot| snapshot.received_from(domain, peer, since)).await?;
            answer.received += received;
            if received == 0 {
                continue;
            }
            let mut after = None;
            loop {
                let page = if request.dry_run {
                    let job = Job::would_undo(domain, peer, since, after, plan);
                    let (page, would) = self.shared.storage.write(job).await?;
                    plan = would;
                    page
                } else {
                    let job = Job::undo_received(domain, peer, since, after, self.now());
                    self.shared.storage.write(job).await?
                };
                answer.restored += page.restored;
                answer.deleted += page.deleted;
                answer.left += page.left;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(answer)
    }
}
