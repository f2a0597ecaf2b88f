//! What applications say that they read and have, and what they lack.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use kinsync_protocol::declaration::Need;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::record::Key;
use kinsync_store::{Job, ReadError, Store};
use serde::{Deserialize, Serialize};

use super::Control;
use crate::{
    domains::{Domain, Domains},
    events::Event,
    failure::{Failure, Kind},
    request::{
        APP_HAS_MAX, APP_TEXT_BYTES_MAX, APPS_MAX, AppState, Choice, Choose, Done, Met, Missing, Needed,
        Readiness, Ready,
    },
};

/// Where applications are noted, apart from all that syncs.
const APPS: &str = "kinsync/apps";

/// Where choices are noted: one row for all.
const CHOICES: &str = "kinsync/choices";

/// What applications have said, on this device alone. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Apps(Arc<RwLock<Said>>);

#[derive(Clone, Debug, Default)]
struct Said {
    apps: BTreeMap<String, AppState>,
    choices: Choices,
}

/// Choices by domain and by what is missing, each with all that applications
/// had when it was made.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Choices(BTreeMap<String, (Choice, Vec<String>)>);

impl Said {
    /// All that any application has.
    fn has(&self) -> Vec<String> {
        let mut has: Vec<_> = self.apps.values().flat_map(|app| app.has.iter().cloned()).collect();
        has.sort();
        has.dedup();
        has
    }
}

/// Whether `has` meets what is wanted: it is that, or a kind of it.
fn meets(has: &str, wanted: &str) -> bool {
    has.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `has` is the model that a record names, with or without the kind of
/// thing before it.
fn is_model(has: &str, model: &str) -> bool {
    has == model || has.split_once('/').is_some_and(|(_, name)| name == model)
}

impl Apps {
    /// Reads what was noted.
    pub(super) fn load(store: &Store) -> Result<Self, ReadError> {
        let said = store.read(|snapshot| {
            let rows = snapshot.list_private(DomainId::of(APPS), "", None, APPS_MAX)?;
            let read = |(key, row): (Key, kinsync_store::Private)| {
                Some((key.as_str().to_owned(), serde_json::from_slice(&row.value).ok()?))
            };
            let apps = rows.into_iter().filter_map(read).collect();
            let choices = Key::new(CHOICES).ok().map(|key| snapshot.private(DomainId::of(CHOICES), &key));
            let choices = choices.transpose()?.flatten();
            let choices = choices.and_then(|row| serde_json::from_slice(&row.value).ok()).unwrap_or_default();
            Ok(Said { apps, choices })
        })?;
        Ok(Self(Arc::new(RwLock::new(said))))
    }

    fn said(&self) -> Said {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether what a model made is of no use here: applications have said
    /// what they have, and none has that model.
    pub(super) fn lacks_model(&self) -> impl Fn(&str) -> bool + Send + 'static {
        let said = self.said();
        let (any, has) = (!said.apps.is_empty(), said.has());
        move |model| any && !has.iter().any(|has| is_model(has, model))
    }

    /// The schema number that an application reads and writes in a domain.
    pub(super) fn schema(&self, app: Option<&str>, domain: &Domain) -> u32 {
        let declared = domain.declaration.schema;
        let said = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let stated = app.and_then(|app| said.apps.get(app)?.schema.get(domain.name()).copied());
        stated.unwrap_or(declared).min(declared)
    }

    /// What records need and what of it is missing, in one domain or in all.
    pub(super) fn readiness(&self, domains: &Domains, only: Option<&str>) -> Readiness {
        let said = self.said();
        let has = said.has();
        let mut needs = Vec::new();
        for domain in domains.all().iter().filter(|domain| only.is_none_or(|only| only == domain.name())) {
            for requirement in &domain.declaration.requires {
                let by = said.apps.values().find_map(|app| {
                    let has = app.has.iter().find(|has| meets(has, &requirement.id))?;
                    Some((app.id.clone(), has.clone()))
                });
                let state = match by {
                    Some(_) => Met::Met,
                    None if said.apps.is_empty() => Met::Unknown,
                    None => Met::Missing,
                };
                let choice = said.choices.0.get(&place(domain.name(), &requirement.id));
                needs.push(Needed {
                    domain: domain.name().to_owned(),
                    id: requirement.id.clone(),
                    need: requirement.need,
                    without: requirement.without,
                    state,
                    by,
                    // What applications have is another now: ask again.
                    choice: choice
                        .filter(|(_, then)| state == Met::Missing && *then == has)
                        .map(|(choice, _)| *choice),
                });
            }
        }
        let missing = needs.iter().filter(|needed| needed.state == Met::Missing);
        let missing: Vec<_> = missing
            .map(|Needed { domain, id, need, without, choice, .. }| Missing {
                domain: domain.clone(),
                id: id.clone(),
                need: *need,
                without: *without,
                choice: *choice,
            })
            .collect();
        let blocks =
            |missing: &Missing| missing.need == Need::Must && missing.choice != Some(Choice::Without);
        let state = match missing.as_slice() {
            _ if said.apps.is_empty() => Ready::Unknown,
            [] => Ready::Ready,
            some if some.iter().any(blocks) => Ready::Blocked,
            _ => Ready::ReadyWithout,
        };
        let apps = said.apps.into_iter().map(|(id, app)| (id, app.has)).collect();
        Readiness { state, missing, needs, apps }
    }
}

fn place(domain: &str, id: &str) -> String {
    format!("{domain} {id}")
}

impl Control {
    /// Notes what an application reads and has. What is missing then.
    ///
    /// `bad-request` if it says too much.
    pub async fn set_app(&self, app: AppState) -> Result<Readiness, Failure> {
        let too_long = app.has.iter().chain([&app.id]).chain(app.schema.keys());
        let too_long = too_long.into_iter().any(|text| text.is_empty() || text.len() > APP_TEXT_BYTES_MAX);
        let said = self.shared.apps.said();
        let is_new = !said.apps.contains_key(&app.id);
        if too_long
            || app.has.len() > APP_HAS_MAX
            || app.schema.len() > APP_HAS_MAX
            || (is_new && said.apps.len() >= APPS_MAX)
        {
            return Err(Failure::new(
                Kind::BadRequest,
                format!(
                    "Names have 1 to {APP_TEXT_BYTES_MAX} bytes, an application says up to {APP_HAS_MAX} things, \
                     and up to {APPS_MAX} applications do."
                ),
            ));
        }
        let value = serde_json::to_vec(&app).map_err(Failure::internal)?;
        let key = Key::new(app.id.as_str())?;
        let job = Job::put_private(DomainId::of(APPS), key, value, self.now());
        self.shared.storage.write(job).await?;
        let before = said.has();
        self.shared.apps.change(|said| {
            said.apps.insert(app.id.clone(), app);
        });
        let readiness = self.readiness(None)?;
        if before != self.shared.apps.said().has() || is_new {
            self.tell_readiness();
        }
        Ok(readiness)
    }

    /// What the records that are declared here need, and what of it is
    /// missing; in all domains if none is named.
    ///
    /// `unknown-domain` if nobody declared that one.
    pub fn readiness(&self, domain: Option<&str>) -> Result<Readiness, Failure> {
        if let Some(name) = domain {
            self.domains().named(name)?;
        }
        Ok(self.shared.apps.readiness(&self.domains(), domain))
    }

    /// Notes a choice about something that is missing; it holds until what
    /// applications have changes.
    ///
    /// `not-found` if that is not missing.
    pub async fn choose(&self, choose: Choose) -> Result<Done, Failure> {
        let readiness = self.readiness(Some(&choose.domain))?;
        let is_it = |missing: &Missing| missing.domain == choose.domain && missing.id == choose.id;
        if !readiness.missing.iter().any(is_it) {
            let Choose { domain, id, .. } = choose;
            return Err(Failure::new(Kind::NotFound, format!("{id} is not missing for {domain}."))
                .hint(format!("See what is:  kinsync domains readiness {domain}")));
        }
        let has = self.shared.apps.said().has();
        let mut choices = self.shared.apps.said().choices;
        choices.0.insert(place(&choose.domain, &choose.id), (choose.choice, has));
        let value = serde_json::to_vec(&choices).map_err(Failure::internal)?;
        let job = Job::put_private(DomainId::of(CHOICES), Key::new(CHOICES)?, value, self.now());
        self.shared.storage.write(job).await?;
        self.shared.apps.change(|said| said.choices = choices);
        Ok(Done {})
    }

    /// Tells what is missing and what can be done about it, if something is
    /// that nobody has decided about.
    pub(super) fn tell_readiness(&self) {
        let Readiness { state, mut missing, .. } = self.shared.apps.readiness(&self.domains(), None);
        missing.retain(|missing| matches!(missing.choice, None | Some(Choice::Later)));
        if !missing.is_empty() {
            self.shared.events.publish(Event::Readiness { state, missing, choices: Choice::ALL.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_meets_what_is_wanted_by_whole_parts() {
        assert!(meets("embedding-model/small", "embedding-model"));
        assert!(meets("embedding-model", "embedding-model"));
        assert!(!meets("embedding-models", "embedding-model"));
        assert!(!meets("embedding-model", "embedding-model/small"));
        assert!(is_model("embedding-model/small", "small") && is_model("small", "small"));
        assert!(!is_model("embedding-model/small", "embedding-model"));
    }
}
