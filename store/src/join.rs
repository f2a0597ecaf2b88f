//! Concurrent versions of a record, where the domain's policy does more than
//! let the greater one stand.

use std::sync::Arc;

use kinsync_protocol::beside;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::policy::Join;
use kinsync_protocol::record::{Record, Version};
use kinsync_protocol::stamp::UnixMillis;

use crate::apply::{Joined, Tx, are_conflict};
use crate::error::ReadError;
use crate::rows::{ItemRow, Reason};

impl Tx<'_> {
    /// Joins a record that arrived with one that stands, neither of which knew
    /// the other, by the domain's policy. `None` if the greater one stands and
    /// the other one is a conflict.
    pub(crate) fn join_by_policy(
        &mut self,
        domain: DomainId,
        old: &ItemRow,
        record: &Record,
        from: DeviceId,
        now: UnixMillis,
    ) -> Result<Option<Joined>, ReadError> {
        let rules = Arc::clone(&self.rules);
        let Some(rules) = rules.get(domain) else { return Ok(None) };
        let (ours, theirs) = (&old.item.version, &record.version);
        let (Some(our_value), Some(their_value)) = (self.value(domain, &record.key)?, &record.value) else {
            return Ok(None);
        };
        // What nobody here can read is not taken apart.
        if !rules.knows(&our_value) || !rules.knows(their_value) {
            return Ok(None);
        }
        let theirs_stands = theirs > ours;
        match rules.policy.join((ours, &our_value), (theirs, their_value)) {
            Join::Greater => Ok(None),
            Join::Covered if theirs_stands => {
                let old = Some(old.clone());
                self.replace_for(domain, old, record.clone(), Some(from), Some(Reason::Merged), now)?;
                Ok(Some(Joined { changed: true, conflict: false }))
            }
            Join::Covered => Ok(Some(Joined { changed: false, conflict: false })),
            Join::Merged { value, lost } => {
                let version = Version::merged(ours, theirs, &value);
                let key = record.key.clone();
                let merged = Record { key, version: version.clone(), value: Some(value) };
                if version <= *ours || version <= *theirs || merged.check().is_err() {
                    return Ok(None);
                }
                let reason = |is_lesser| if lost && is_lesser { Reason::Overruled } else { Reason::Merged };
                let (our_reason, their_reason) = (reason(theirs_stands), reason(!theirs_stands));
                self.replace_for(domain, Some(old.clone()), merged, None, Some(our_reason), now)?;
                let kept =
                    self.keep_loser(domain, record.clone(), their_reason, version.stamp, Some(from), now)?;
                let conflict = lost && (theirs_stands || kept);
                Ok(Some(Joined { changed: true, conflict }))
            }
            Join::Both => {
                let (loser, value) =
                    if theirs_stands { (ours, our_value) } else { (theirs, their_value.clone()) };
                let beside = beside::record(&record.key, loser, value);
                if theirs_stands {
                    let old = Some(old.clone());
                    self.replace_for(domain, old, record.clone(), Some(from), Some(Reason::Merged), now)?;
                }
                let stands_beside = self.item(domain, &beside.key)?;
                let known = stands_beside.as_ref().is_some_and(|old| old.item.version.knew(&beside.version));
                let changed = if known {
                    false
                } else {
                    let conflict = stands_beside
                        .as_ref()
                        .is_some_and(|old| are_conflict(&beside.version, &old.item.version));
                    self.stand(domain, stands_beside, beside, None, conflict, now)?.changed
                };
                Ok(Some(Joined { changed: theirs_stands || changed, conflict: false }))
            }
        }
    }
}
