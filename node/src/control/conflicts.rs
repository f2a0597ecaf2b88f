//! Conflicts: seeing both sides, deciding, and leasing them to applications
//! that merge.

use std::{collections::BTreeMap, time::Duration};

use kinsync_protocol::{
    id::{DeviceId, DomainId},
    item,
    record::Version,
    snapshot::{Item, Snapshot as _},
};
use kinsync_store::{Conflict, Job, StoreSnapshot, WriteError};

use super::{
    Control,
    version::{moment, version_name},
};
use crate::{
    failure::{Failure, Kind},
    request::{
        CLAIM_SECONDS_MAX, CLAIMS_MAX, CONFLICT_ROWS_MAX, Claimed, ClaimedRow, ConflictClaim, ConflictDetail,
        ConflictField, ConflictResolve, ConflictRow, ConflictRows, ConflictSide, ConflictTake, Take, Value,
        Written,
    },
};

/// Conflicts that applications have taken to merge. Forgotten with the
/// process: then all of them can be claimed again.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: BTreeMap<(DomainId, u64), Lease>,
    last: u64,
}

/// Claims that are remembered. Beyond it the one that lapses first is forgotten,
/// and its holder told to claim again.
const LEASES_MAX: usize = 4_096;

/// One claim.
#[derive(Clone, Debug)]
struct Lease {
    claim: u64,
    until: Duration,
    /// The version that stood when it was claimed.
    standing: Version,
}

impl Leases {
    fn is_taken(&self, place: (DomainId, u64), now: Duration) -> bool {
        self.leases.get(&place).is_some_and(|lease| lease.until > now)
    }

    fn take(&mut self, place: (DomainId, u64), standing: Version, until: Duration) -> u64 {
        self.last += 1;
        if self.leases.len() >= LEASES_MAX
            && let Some((first, _)) = self.leases.iter().min_by_key(|(_, lease)| lease.until)
        {
            let first = *first;
            self.leases.remove(&first);
        }
        self.leases.insert(place, Lease { claim: self.last, until, standing });
        self.last
    }
}

/// An open conflict with the version that stands.
struct Open {
    domain: DomainId,
    name: String,
    conflict: Conflict,
    standing: Item,
}

impl Open {
    fn handle(&self) -> String {
        format!("{}@{}", self.name, self.conflict.loser.number)
    }

    /// Whether the loser is what this device had before the winner came.
    fn lost_is_local(&self, me: DeviceId) -> bool {
        let (kept, lost) = (self.standing.version.stamp.device, self.conflict.loser.version.stamp.device);
        lost == me || kept != me && self.standing.from.is_some()
    }
}

impl Control {
    /// Lists open conflicts, oldest first in each domain.
    pub async fn conflicts(&self, domain: Option<&str>) -> Result<ConflictRows, Failure> {
        let open = self.open_conflicts(domain).await?;
        let total = open.len() as u64;
        let mut rows = Vec::new();
        for open in open.iter().take(CONFLICT_ROWS_MAX) {
            let (kept, lost) = self.sides(open).await?;
            rows.push(self.conflict_row(open, kept.as_deref(), lost.as_deref()));
        }
        Ok(ConflictRows { rows, total })
    }

    /// Shows both sides of a conflict.
    pub async fn conflict(&self, conflict: &str) -> Result<ConflictDetail, Failure> {
        let open = self.open_conflict(conflict).await?;
        let (kept, lost) = self.sides(&open).await?;
        let row = self.conflict_row(&open, kept.as_deref(), lost.as_deref());
        let fields = fields(kept.as_deref(), lost.as_deref());
        Ok(ConflictDetail { row, kept_value: kept.map(Value), lost_value: lost.map(Value), fields })
    }

    /// Decides a conflict, for all devices.
    pub async fn take_conflict(&self, request: ConflictTake) -> Result<Written, Failure> {
        let open = self.open_conflict(&request.conflict).await?;
        let (domain, key, number) = (open.domain, open.conflict.key.clone(), open.conflict.loser.number);
        let lost_is_local = open.lost_is_local(self.device());
        let job = match (request.take, request.value) {
            (Take::Value, Some(value)) => {
                self.check_fits(domain, &value.0)?;
                Job::resolve(domain, key, open.standing.version.clone(), number, value.0, self.now())
            }
            (Take::Value, None) => {
                return Err(Failure::new(
                    Kind::BadRequest,
                    "A conflict is decided by a value, and there is none.",
                ));
            }
            (Take::Kept, _) => Job::dismiss(domain, key, number, self.now()),
            (Take::Lost, _) => Job::take(domain, key, number, self.now()),
            (Take::Local, _) if lost_is_local => Job::take(domain, key, number, self.now()),
            (Take::Remote, _) if !lost_is_local => Job::take(domain, key, number, self.now()),
            (Take::Local | Take::Remote, _) => Job::dismiss(domain, key, number, self.now()),
        };
        self.decide(open, job).await
    }

    /// Takes open conflicts to merge them.
    pub async fn claim_conflicts(&self, request: ConflictClaim) -> Result<Claimed, Failure> {
        if request.lease_s == 0 || request.lease_s > CLAIM_SECONDS_MAX {
            return Err(Failure::new(
                Kind::BadRequest,
                format!("A claim lasts from 1 to {CLAIM_SECONDS_MAX} seconds."),
            ));
        }
        let most = request.max.min(CLAIMS_MAX);
        let mut claimed = Claimed::default();
        for open in self.open_conflicts(Some(&request.domain)).await? {
            if claimed.rows.len() >= most {
                break;
            }
            let now = self.shared.clock.monotonic();
            let place = (open.domain, open.conflict.loser.number);
            let claim = {
                let mut leases = self.claims();
                if leases.is_taken(place, now) {
                    continue;
                }
                let until = now + Duration::from_secs(request.lease_s);
                leases.take(place, open.standing.version.clone(), until)
            };
            let (kept, lost) = self.sides(&open).await?;
            claimed.rows.push(ClaimedRow {
                conflict: open.handle(),
                claim,
                id: open.conflict.key.as_str().to_owned(),
                kept: kept.map(Value),
                lost: lost.map(Value),
            });
        }
        Ok(claimed)
    }

    /// Decides a claimed conflict for a value made of both sides.
    pub async fn resolve_conflict(&self, request: ConflictResolve) -> Result<Written, Failure> {
        let open = self.open_conflict(&request.conflict).await?;
        self.check_fits(open.domain, &request.value.0)?;
        let number = open.conflict.loser.number;
        let lease = self.claims().leases.get(&(open.domain, number)).cloned();
        let Some(lease) = lease.filter(|lease| lease.claim == request.claim) else {
            return Err(Failure::new(Kind::Changed, "Somebody else has claimed this conflict since.")
                .hint("Claim it again."));
        };
        let key = open.conflict.key.clone();
        let job = Job::resolve(open.domain, key, lease.standing, number, request.value.0, self.now());
        let place = (open.domain, number);
        let written = self.decide(open, job).await;
        if written.is_ok() {
            self.claims().leases.remove(&place);
        }
        written
    }

    /// Refuses a value that does not have the shape of its domain.
    pub(super) fn check_fits(&self, domain: DomainId, value: &[u8]) -> Result<(), Failure> {
        let Some(domain) = self.domains().with_id(domain).cloned() else { return Ok(()) };
        domain.check(value).map_err(|why| {
            Failure::new(Kind::ValueDoesNotFit, format!("That is no value of {}: {why}.", domain.name()))
                .hint(format!("See what it needs:  kinsync domains show {}", domain.name()))
        })
    }

    async fn decide(&self, open: Open, job: Job<Version>) -> Result<Written, Failure> {
        let version = match self.shared.storage.write(job).await {
            Err(WriteError::NotFound) => return Err(no_conflict(&open.handle())),
            written => written?,
        };
        Ok(Written {
            domain: open.name,
            id: open.conflict.key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        })
    }

    /// All open conflicts, oldest first in each domain.
    async fn open_conflicts(&self, domain: Option<&str>) -> Result<Vec<Open>, Failure> {
        let mut open = Vec::new();
        for (domain, name) in self.chosen(domain).await? {
            let read = move |snapshot: &StoreSnapshot| {
                let mut conflicts = Vec::new();
                for conflict in snapshot.conflicts(domain, usize::MAX)?.into_iter().rev() {
                    if let Some(item) = snapshot.item(domain, item::key_hash(domain, &conflict.key))? {
                        conflicts.push((conflict, item));
                    }
                }
                Ok(conflicts)
            };
            for (conflict, standing) in self.shared.storage.read(read).await? {
                open.push(Open { domain, name: name.clone(), conflict, standing });
            }
        }
        Ok(open)
    }

    /// One by its name.
    async fn open_conflict(&self, wanted: &str) -> Result<Open, Failure> {
        let wanted = wanted.trim().trim_start_matches('#');
        let open = self.open_conflicts(None).await?;
        let found = open.into_iter().find(|open| open.handle() == wanted);
        found.ok_or_else(|| no_conflict(wanted))
    }

    /// The value that stands and the one that lost.
    async fn sides(&self, open: &Open) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>), Failure> {
        let (domain, key, number) = (open.domain, open.conflict.key.clone(), open.conflict.loser.number);
        let sides = move |snapshot: &StoreSnapshot| {
            let kept = snapshot.get(domain, &key)?.map(|live| live.value);
            let lost = snapshot.version(domain, &key, number)?.and_then(|past| past.value);
            Ok((kept, lost))
        };
        Ok(self.shared.storage.read(sides).await?)
    }

    /// The row of a conflict between these values. Their lengths are those
    /// that a person wrote: a version counts what merging keeps beside, too.
    fn conflict_row(&self, open: &Open, kept: Option<&[u8]>, lost: Option<&[u8]>) -> ConflictRow {
        let lost_is_local = open.lost_is_local(self.device());
        let side = |version: &Version, value: Option<&[u8]>, local: bool| ConflictSide {
            version: version_name(version.stamp),
            at: moment(version.stamp),
            device: version.stamp.device.to_string(),
            name: self.device_name(version.stamp.device),
            local,
            bytes: (!version.deleted)
                .then(|| value.map_or_else(|| version.bytes.into(), |value| value.len() as u64)),
        };
        ConflictRow {
            conflict: open.handle(),
            domain: open.name.clone(),
            id: open.conflict.key.as_str().to_owned(),
            kept: side(&open.standing.version, kept, !lost_is_local),
            lost: side(&open.conflict.loser.version, lost, lost_is_local),
        }
    }
}

fn no_conflict(wanted: &str) -> Failure {
    let message = match wanted.parse::<u64>() {
        Ok(_) => format!("{wanted} is no name of a conflict: names look like prompts@{wanted}."),
        Err(_) => format!("No open conflict is {wanted:?}: it may have been decided."),
    };
    Failure::new(Kind::NotFound, message).hint("See what there is:  kinsync conflicts")
}

/// The fields of two JSON objects side by side; none if either is something
/// else.
fn fields(kept: Option<&[u8]>, lost: Option<&[u8]>) -> Vec<ConflictField> {
    type Object = serde_json::Map<String, serde_json::Value>;
    let object = |value: Option<&[u8]>| serde_json::from_slice::<Object>(value?).ok();
    let (Some(kept), Some(lost)) = (object(kept), object(lost)) else { return Vec::new() };
    let new = lost.keys().filter(|name| !kept.contains_key(*name));
    kept.keys()
        .chain(new)
        .map(|name| {
            let (kept, lost) = (kept.get(name), lost.get(name));
            ConflictField {
                name: name.clone(),
                kept: kept.map(ToString::to_string),
                lost: lost.map(ToString::to_string),
                differs: kept != lost,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use kinsync_protocol::id::{DeviceId, ValueHash};
    use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};

    use super::*;

    #[test]
    fn claims_that_nobody_keeps_are_not_remembered_for_ever() {
        let mut leases = Leases::default();
        let domain = DomainId::of("notes");
        let stamp = Stamp { time: Hlc(1), device: DeviceId([1; 32]) };
        let version =
            Version { stamp, seen: Ancestry::default(), deleted: false, bytes: 0, value: ValueHash([0; 16]) };
        for number in 0..=LEASES_MAX as u64 {
            leases.take((domain, number), version.clone(), Duration::from_secs(number));
        }
        assert_eq!(leases.leases.len(), LEASES_MAX);
        assert!(!leases.leases.contains_key(&(domain, 0)), "the one that lapsed first is gone");
        assert!(leases.is_taken((domain, LEASES_MAX as u64), Duration::ZERO));
    }
}
