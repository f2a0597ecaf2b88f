//! Mass changes of other devices: what waits, and what a person decides.

use std::sync::{Arc, PoisonError, RwLock};

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_store::{Decided, Held, HeldRecord, Job, WriteError};

use super::Control;
use crate::{
    clock::Moment,
    failure::{Failure, Kind},
    request::{
        HeldChange, HeldDecided, HeldDetail, HeldRecordRow, HeldRow, HeldRows, LIST_ROWS_MAX, Warning,
    },
};

/// What is held, as of the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding(Arc<RwLock<Vec<Held>>>);

impl Holding {
    /// Takes note of all that is held now. What was not held before.
    pub(super) fn replace(&self, now: Vec<Held>) -> Vec<Held> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = |new: &&Held| !held.iter().any(|old| old.number == new.number);
        let new = now.iter().filter(is_new).cloned().collect();
        *held = now;
        new
    }

    fn all(&self) -> Vec<Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Control {
    /// What is held, by number.
    pub fn held(&self) -> HeldRows {
        let mut rows: Vec<_> = self.shared.holding.all().iter().map(|held| self.held_row(held)).collect();
        rows.sort_by_key(|row| row.number);
        HeldRows { rows }
    }

    /// One mass change and its records.
    pub async fn held_show(&self, number: u64) -> Result<HeldDetail, Failure> {
        let read = move |snapshot: &kinsync_store::StoreSnapshot| {
            let held = snapshot.held()?.into_iter().find(|held| held.number == number);
            Ok((held, snapshot.held_records(number)?))
        };
        let (Some(held), Some(records)) = self.shared.storage.read(read).await? else {
            return Err(missing(number));
        };
        let more = records.len() > LIST_ROWS_MAX;
        let rows = records.iter().take(LIST_ROWS_MAX).map(record_row).collect();
        Ok(HeldDetail { held: self.held_row(&held), rows, more })
    }

    /// Applies a mass change. When it returns, that is on disk.
    pub async fn held_accept(&self, number: u64) -> Result<HeldDecided, Failure> {
        self.decide_held(number, Job::accept_held(number, self.now())).await
    }

    /// Keeps what is here instead of a mass change. When it returns, that is on
    /// disk.
    pub async fn held_reject(&self, number: u64) -> Result<HeldDecided, Failure> {
        self.decide_held(number, Job::reject_held(number, self.now())).await
    }

    async fn decide_held(&self, number: u64, job: Job<Decided>) -> Result<HeldDecided, Failure> {
        match self.shared.storage.write(job).await {
            Ok(decided) => Ok(HeldDecided { held: self.held_row(&decided.held), changed: decided.changed }),
            Err(WriteError::NotFound) => Err(missing(number)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anything is held.
    pub(crate) fn holds(&self) -> bool {
        !self.shared.holding.all().is_empty()
    }

    /// What is held of a device in a domain, as people are told.
    pub(crate) fn held_of(&self, device: DeviceId, domain: DomainId) -> Option<Failure> {
        let held = self.shared.holding.all();
        let held = held.iter().find(|held| held.peer == device && held.domain == domain)?;
        let HeldRow { peer, domain, deletions, replacements, .. } = self.held_row(held);
        let changes = match deletions.saturating_add(replacements) {
            1 => "1 change".to_owned(),
            changes => format!("{changes} changes"),
        };
        let wait = if changes.starts_with("1 ") { "waits" } else { "wait" };
        let message = format!("{changes} of {domain} from {} {wait} for your answer.", peer.name);
        Some(Failure::new(Kind::Held, message).hint("See what they are:  kinsync held"))
    }

    pub(super) fn held_warnings(&self) -> Vec<Warning> {
        let warning = |held: &Held| Warning {
            code: Kind::Held.code().to_owned(),
            text: format!("{} See: kinsync held show {}", self.held_text(held), held.number),
        };
        self.shared.holding.all().iter().map(warning).collect()
    }

    fn held_text(&self, held: &Held) -> String {
        let HeldRow { peer, domain, live, deletions, replacements, .. } = self.held_row(held);
        let would = match (deletions, replacements) {
            (deletions, 0) => format!("delete {deletions}"),
            (0, replacements) => format!("replace {replacements}"),
            (deletions, replacements) => format!("delete {deletions} and replace {replacements}"),
        };
        format!("{} would {would} of {live} records of {domain}. Nothing of that was applied.", peer.name)
    }

    pub(super) fn held_row(&self, held: &Held) -> HeldRow {
        HeldRow {
            number: held.number,
            peer: self.peer_name(held.peer),
            domain: self.domains().shown(held.domain),
            since: Moment(held.since.0),
            live: held.counts.live,
            deletions: held.counts.deletions,
            replacements: held.counts.replacements,
            records: held.records,
            bytes: held.bytes,
            beyond: held.beyond,
        }
    }
}

fn record_row(record: &HeldRecord) -> HeldRecordRow {
    let standing = record.standing.as_ref().filter(|standing| !standing.deleted);
    let wins = record.standing.as_ref().is_none_or(|standing| record.version > *standing);
    let change = match standing {
        _ if !wins => HeldChange::Nothing,
        None if record.version.deleted => HeldChange::Nothing,
        None => HeldChange::Add,
        Some(_) if record.version.deleted => HeldChange::Delete,
        Some(standing) if standing.value == record.version.value => HeldChange::Nothing,
        Some(_) => HeldChange::Replace,
    };
    HeldRecordRow {
        id: record.key.as_str().to_owned(),
        change,
        bytes: standing.map(|standing| standing.bytes.into()),
        held_bytes: (!record.version.deleted).then_some(record.version.bytes.into()),
    }
}

fn missing(number: u64) -> Failure {
    Failure::new(Kind::NotFound, format!("Nothing is held under the number {number}."))
        .hint("See what is:  kinsync held")
}
