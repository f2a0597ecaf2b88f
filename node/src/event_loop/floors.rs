//! Forgetting deletions that are old enough, where a person has asked for it.

use kinsync_protocol::floor::Floor;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::session::Outcome;
use kinsync_store::Job;
use tracing::{info, warn};

use super::EventLoop;

impl EventLoop {
    /// Raises the floor of the domains in which a session has just proven both
    /// sides equal: once a day for each, as a floor is the start of a day.
    pub(super) fn raise_floors(&mut self, device: DeviceId, outcome: &Outcome) {
        let days = self.control.config().borrow().tombstone_days;
        if days == 0 {
            return;
        }
        let now = self.wall();
        let floor = Floor::before(now, days);
        let equal = outcome.domains.iter().filter(|domain| domain.equal_at.is_some());
        let domains: Vec<_> = equal
            .map(|domain| domain.domain)
            .filter(|domain| self.passing.floors.insert(*domain, floor) != Some(floor))
            .collect();
        if domains.is_empty() {
            return;
        }
        let job = Job::raise_floor(device, domains, floor, now);
        self.storage.store().submit(job, |result| match result {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "old deletions are forgotten"),
            Err(error) => warn!(%error, "old deletions were not forgotten"),
        });
    }
}
