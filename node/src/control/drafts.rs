//! Drafts: what is written over some time and published at its end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kinsync_store::{Draft, DraftState as State, HoldId, Job, LEASE_MILLIS_MAX, Store, WriteError};

use super::{
    Control,
    version::{moment, version_name},
    writing::check_fits,
};
use crate::{
    clock::Moment,
    domains::Domains,
    events::{Event, Events, Generation},
    failure::{Failure, Kind},
    random,
    request::{
        Done, DraftAnswer, DraftRow, DraftRows, DraftState, HoldCommit, HoldDrop, HoldExtend, HoldLease,
        HoldOpen, HoldOpened, HoldSave, Value, Written,
    },
};

/// How much later than its lease a hold is looked at, as the two clocks that
/// measure it need not run alike.
const LATE: Duration = Duration::from_millis(100);

/// When the holds of this process lapse, by the monotonic clock: the timer of
/// the event loop. What counts is the lease in the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases(Arc<Mutex<BTreeMap<HoldId, Duration>>>);

impl Leases {
    /// A panic elsewhere cannot leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<HoldId, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Begins a draft, or takes up one that was interrupted.
    pub async fn hold(&self, ask: HoldOpen) -> Result<HoldOpened, Failure> {
        let named = self.domains().named(&ask.domain)?;
        let (domain, key) = (named.id(), self.key_to_write(&named, &ask.id)?);
        let (hold, ttl) = (HoldId(random::number()), ttl(ask.ttl_ms));
        let job = Job::hold(domain, key, hold, ttl, self.now());
        let (draft, text) = self.shared.storage.write(job).await?;
        self.shared.events.publish(Event::GenerationStarted(generation(&draft, &self.domains())));
        Ok(HoldOpened { hold: hold.to_string(), until: self.leased(&draft), value: Value(text) })
    }

    /// Replaces the text of a draft.
    pub async fn hold_save(&self, ask: HoldSave) -> Result<HoldLease, Failure> {
        let job = Job::save_draft(exact(&ask.hold)?, ask.value.0, ttl(ask.ttl_ms), self.now());
        let draft = self.shared.storage.write(job).await?;
        Ok(HoldLease { until: self.leased(&draft) })
    }

    /// Gives a hold more time.
    pub async fn hold_extend(&self, ask: HoldExtend) -> Result<HoldLease, Failure> {
        let job = Job::extend_hold(exact(&ask.hold)?, ttl(ask.ttl_ms), self.now());
        let draft = self.shared.storage.write(job).await?;
        Ok(HoldLease { until: self.leased(&draft) })
    }

    /// Makes a draft the record that it is for. When it returns, the record is
    /// on disk.
    ///
    /// `value-does-not-fit` leaves the draft as it is.
    pub async fn hold_commit(&self, ask: HoldCommit) -> Result<Written, Failure> {
        let hold = self.find_hold(&ask.hold).await?;
        let now = self.now();
        let found = self.shared.storage.read(move |snapshot| snapshot.draft(hold, now)).await?;
        if let Some((draft, text)) = found
            && let Some(domain) = self.domains().with_id(draft.domain)
        {
            let value = ask.value.as_ref().map_or(text.as_slice(), |value| &value.0);
            check_fits(domain, draft.key.as_str(), value)?;
        }
        let job = Job::commit_draft(hold, ask.value.map(|value| value.0), now);
        let (draft, version) = self.shared.storage.write(job).await.map_err(|error| gone(error, hold))?;
        self.ended(&draft, true);
        Ok(Written {
            domain: self.domains().shown(draft.domain),
            id: draft.key.as_str().to_owned(),
            version: version_name(version.stamp),
            at: moment(version.stamp),
        })
    }

    /// Forgets a draft.
    pub async fn hold_drop(&self, ask: HoldDrop) -> Result<Done, Failure> {
        let hold = self.find_hold(&ask.hold).await?;
        let job = Job::drop_draft(hold, self.now());
        let draft = self.shared.storage.write(job).await.map_err(|error| gone(error, hold))?;
        self.ended(&draft, false);
        Ok(Done {})
    }

    /// The drafts there are.
    pub async fn drafts(&self) -> Result<DraftRows, Failure> {
        let now = self.now();
        let drafts = self.shared.storage.read(move |snapshot| snapshot.drafts(now)).await?;
        let domains = self.domains();
        Ok(DraftRows { rows: drafts.iter().map(|draft| row(draft, &domains)).collect() })
    }

    /// One draft with its text.
    pub async fn draft(&self, hold: &str) -> Result<DraftAnswer, Failure> {
        let (hold, now) = (self.find_hold(hold).await?, self.now());
        let found = self.shared.storage.read(move |snapshot| snapshot.draft(hold, now)).await?;
        let (draft, text) = found.ok_or_else(|| gone(WriteError::NotFound, hold))?;
        Ok(DraftAnswer { draft: row(&draft, &self.domains()), value: Value(text) })
    }

    /// When the next hold of this process lapses, by the monotonic clock.
    pub(crate) fn lapses_at(&self) -> Option<Duration> {
        self.shared.leases.lock().values().min().copied()
    }

    /// Marks the drafts as interrupted whose holds have lapsed, if one has.
    pub(crate) fn lapse(&self) {
        let now = self.shared.clock.monotonic();
        let mut leases = self.shared.leases.lock();
        let before = leases.len();
        leases.retain(|_, until| *until > now);
        if leases.len() == before {
            return;
        }
        drop(leases);
        let (events, domains) = (self.shared.events.clone(), self.domains());
        self.shared.storage.store().submit(Job::lapse_drafts(self.now()), move |lapsed| match lapsed {
            Ok(lapsed) => tell(&lapsed, &events, &domains),
            Err(error) => tracing::warn!(%error, "lapsed drafts could not be marked"),
        });
    }

    fn leased(&self, draft: &Draft) -> Moment {
        let until = match draft.state {
            State::Running { until } => until,
            State::Interrupted => self.now(),
        };
        let left = Duration::from_millis(until.0.saturating_sub(self.now().0));
        self.shared.leases.lock().insert(draft.hold, self.shared.clock.monotonic() + left + LATE);
        Moment(until.0)
    }

    fn ended(&self, draft: &Draft, kept: bool) {
        self.shared.leases.lock().remove(&draft.hold);
        let generation = generation(draft, &self.domains());
        self.shared.events.publish(Event::GenerationFinished { generation, kept });
    }

    /// The hold that is called `wanted` or whose name begins so.
    async fn find_hold(&self, wanted: &str) -> Result<HoldId, Failure> {
        let wanted = wanted.trim().to_ascii_lowercase();
        if let Ok(hold) = wanted.parse() {
            return Ok(hold);
        }
        let now = self.now();
        let drafts = self.shared.storage.read(move |snapshot| snapshot.drafts(now)).await?;
        let fits = |draft: &&Draft| !wanted.is_empty() && draft.hold.to_string().starts_with(&wanted);
        let mut found = drafts.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(draft), None) => Ok(draft.hold),
            (Some(_), Some(_)) => {
                let message = format!("More than one draft begins with {wanted:?}; give more of it.");
                Err(Failure::new(Kind::Ambiguous, message))
            }
            (None, _) => Err(missing(&wanted)),
        }
    }
}

/// Marks what an earlier run of the program left, and tells of it.
pub(super) fn interrupt(store: &Store, events: &Events, domains: &Domains) {
    match store.write(Job::interrupt_drafts()) {
        Ok(interrupted) => tell(&interrupted, events, domains),
        // They are shown as running until their leases are over.
        Err(error) => tracing::warn!(%error, "interrupted drafts could not be marked"),
    }
}

fn tell(interrupted: &[Draft], events: &Events, domains: &Domains) {
    for draft in interrupted {
        events.publish(Event::GenerationInterrupted(generation(draft, domains)));
    }
}

fn generation(draft: &Draft, domains: &Domains) -> Generation {
    let DraftRow { hold, domain, id, .. } = row(draft, domains);
    Generation { hold, domain, id }
}

fn row(draft: &Draft, domains: &Domains) -> DraftRow {
    DraftRow {
        hold: draft.hold.to_string(),
        domain: domains.shown(draft.domain),
        id: draft.key.as_str().to_owned(),
        state: match draft.state {
            State::Running { .. } => DraftState::Running,
            State::Interrupted => DraftState::Interrupted,
        },
        started: Moment(draft.started.0),
        saved: Moment(draft.saved.0),
        bytes: draft.bytes,
    }
}

fn ttl(asked: Option<u64>) -> u64 {
    asked.unwrap_or(LEASE_MILLIS_MAX)
}

fn exact(hold: &str) -> Result<HoldId, Failure> {
    hold.parse().map_err(|_| missing(hold))
}

fn missing(hold: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("There is no draft {hold:?}."))
        .hint("See what there is:  kinsync drafts")
}

fn gone(error: WriteError, hold: HoldId) -> Failure {
    if error == WriteError::NotFound { missing(&hold.to_string()) } else { error.into() }
}
