//! Declaring domains, and looking at what is declared.

use std::sync::Arc;

use kinsync_protocol::declaration::{Declaration, Scope, check_set};
use kinsync_protocol::id::DomainId;
use kinsync_protocol::limits::DOMAINS_MAX;
use kinsync_protocol::record::Key;
use kinsync_store::{DomainCounts, Job, Live, StoreSnapshot, WriteError};
use tokio::sync::mpsc;

use super::{Control, Shared, open::blocking};
use crate::{
    domains::{
        DECLARATIONS, Domain, Domains, Source, file,
        registry::{self, Adopted},
        widening::widens,
    },
    events::Event,
    failure::{Failure, Kind},
    request::{
        DomainAdd, DomainAdded, DomainChange, DomainDetail, DomainInfo, DomainRows, Done, Misfit, Warning,
    },
};

/// How many records that do not fit are named.
const MISFITS_NAMED: usize = 5;

/// How many records are looked at in one view of the store.
const PAGE: usize = 500;

impl Control {
    /// The domains, declared or met.
    pub async fn domain_rows(&self) -> Result<DomainRows, Failure> {
        self.reload_domains().await?;
        let (domains, counts) = (self.domains(), self.shared.storage.read(StoreSnapshot::counts).await?);
        let declared = domains.all().iter().map(|domain| info(domain, &domains, &counts));
        let unknown = counts.iter().filter(|counts| is_unknown(&domains, counts) && counts.live > 0);
        let unknown = unknown.map(|counts| DomainInfo {
            name: counts.name.clone().unwrap_or_else(|| counts.domain.to_string()),
            source: None,
            scope: Scope::User,
            policy: "lww".to_owned(),
            schema: 1,
            reads: 1,
            opt_in: false,
            parent: None,
            records: 0,
            waiting: counts.live,
            asks: Vec::new(),
        });
        Ok(DomainRows { v: 1, rows: declared.chain(unknown).collect(), problems: domains.problems.clone() })
    }

    /// All that is known of one domain.
    pub async fn domain(&self, name: &str) -> Result<DomainDetail, Failure> {
        let rows = self.domain_rows().await?.rows;
        let domains = self.domains();
        let Some(info) = rows.into_iter().find(|row| row.name == name) else {
            return Err(domains
                .named(name)
                .err()
                .unwrap_or_else(|| Failure::internal("a domain without a row")));
        };
        let pending = domains.pending.get(name);
        Ok(DomainDetail {
            v: 1,
            info,
            declaration: domains.find(name).map(|domain| domain.declaration.clone()),
            waiting_declaration: pending.and_then(|pending| pending.declaration.clone()),
            rejected: pending.is_some_and(|pending| pending.rejected),
        })
    }

    /// Declares a domain on all devices, after looking at what is there.
    ///
    /// `too-many-domains` above the limit, `rejects-records` if records do not
    /// fit and the request does not say yes to that.
    pub async fn add_domain(&self, add: DomainAdd) -> Result<DomainAdded, Failure> {
        self.reload_domains().await?;
        let DomainAdd { declaration, dry_run, yes } = add;
        file::check(&declaration).map_err(|what| file::bad(format!("{what}.")))?;
        if declaration.value_file.is_some() {
            return Err(file::bad("`value-file` is for files: send its content as `value`.".to_owned()));
        }
        let domains = self.domains();
        check_with_the_others(&domains, &declaration)?;
        let name = declaration.name.clone();
        let old = domains.find(&name);
        let mut added = DomainAdded {
            v: 1,
            dry_run,
            change: match old {
                None => DomainChange::New,
                Some(old) if old.declaration == declaration => DomainChange::Same,
                Some(_) => DomainChange::Changed,
            },
            widens: old.map(|old| widens(&old.declaration, Some(&declaration))).unwrap_or_default(),
            records: 0,
            misfits: 0,
            first: Vec::new(),
            warnings: unknown_parent(&domains, &declaration),
            name,
        };
        self.count_misfits(&declaration, &mut added).await?;
        if dry_run {
            return Ok(added);
        }
        if added.misfits > 0 && !yes {
            return Err(rejects(&added));
        }
        self.declare(declaration).await?;
        Ok(added)
    }

    /// Looks at each record of the domain.
    async fn count_misfits(&self, declaration: &Declaration, added: &mut DomainAdded) -> Result<(), Failure> {
        let domain =
            Domain::new(declaration.clone(), Source::Record).map_err(|what| file::bad(what + "."))?;
        let domain = Arc::new(domain);
        let mut after: Option<Key> = None;
        loop {
            let (domain, from) = (Arc::clone(&domain), after.take());
            let (last, looked) = self
                .shared
                .storage
                .read(move |snapshot| {
                    let page = snapshot.list(domain.id(), "", from.as_ref(), PAGE)?;
                    let mut looked = Vec::new();
                    for row in &page {
                        let Some(live) = snapshot.get(domain.id(), &row.key)? else { continue };
                        looked.push((row.key.clone(), misfit(&domain, &live)));
                    }
                    Ok((page.last().filter(|_| page.len() == PAGE).map(|row| row.key.clone()), looked))
                })
                .await?;
            for (key, why) in looked {
                added.records += 1;
                let Some(why) = why else { continue };
                added.misfits += 1;
                if added.first.len() < MISFITS_NAMED {
                    added.first.push(Misfit { id: key.as_str().to_owned(), why });
                }
            }
            after = last;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Puts a declaration in force here, then tells the others.
    async fn declare(&self, declaration: Declaration) -> Result<(), Failure> {
        let (name, value) = (declaration.name.clone(), registry::value_of(&declaration)?);
        let key = Key::new(name.as_str())?;
        // Adopted before it is a record: whoever adds it has said yes to it.
        let adopted = Adopted { declaration: Some(declaration), rejected: None };
        self.note_adopted(&name, Some(adopted)).await?;
        let job = Job::put_many(DomainId::of(DECLARATIONS), vec![(key, value)], self.now());
        self.shared.storage.write(job).await?;
        self.shared.storage.write(Job::name_domains(vec![name])).await?;
        self.reload_domains().await
    }

    /// Answers a declaration that widens what records may do.
    pub async fn answer_domain(&self, name: &str, accept: bool) -> Result<Done, Failure> {
        self.reload_domains().await?;
        let domains = self.domains();
        let Some(pending) = domains.pending.get(name) else {
            domains.named(name)?;
            return Err(Failure::new(
                Kind::NotFound,
                format!("No declaration of {name} waits for an answer."),
            ));
        };
        let next = pending.declaration.as_ref();
        let adopted = if accept {
            next.map(|declaration| Adopted { declaration: Some(declaration.clone()), rejected: None })
        } else {
            let domain = domains.find(name).filter(|domain| domain.source == Source::Record);
            let declaration = domain.map(|domain| domain.declaration.clone());
            Some(Adopted { declaration, rejected: Some(registry::digest(next)) })
        };
        self.note_adopted(name, adopted).await?;
        self.reload_domains().await?;
        Ok(Done {})
    }

    /// Takes a declaration back on all devices. Its records stay, and wait.
    pub async fn remove_domain(&self, name: &str) -> Result<Done, Failure> {
        self.reload_domains().await?;
        let domain = self.domains().named(name)?;
        let key = Key::new(name)?;
        match self.shared.storage.write(Job::delete(DomainId::of(DECLARATIONS), key, self.now())).await {
            Ok(_) => {}
            Err(WriteError::NotFound) => {
                let failure = Failure::new(Kind::NotFound, format!("Nobody added {name}."));
                return Err(match domain.source {
                    Source::BuiltIn => failure.hint("It is built in, and stays."),
                    Source::File | Source::Record => failure.hint(format!(
                        "It stands in a file of this device:  {}",
                        self.shared.home.domains().display()
                    )),
                });
            }
            Err(error) => return Err(error.into()),
        }
        self.reload_domains().await?;
        Ok(Done {})
    }

    async fn note_adopted(&self, name: &str, adopted: Option<Adopted>) -> Result<(), Failure> {
        let (name, now, storage) = (name.to_owned(), self.now(), self.shared.storage.clone());
        blocking(move || registry::note(storage.store(), &name, adopted.as_ref(), now)).await
    }

    /// Reads files and records again.
    async fn reload_domains(&self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(move || reload(&shared)).await
    }

    /// Takes in what other devices declare, from now on.
    pub(super) fn watch_declarations(&self) {
        let (news, mut heard) = mpsc::channel::<()>(1);
        let declarations = DomainId::of(DECLARATIONS);
        self.shared.storage.store().on_commit(move |commit| {
            if commit.domains.iter().any(|change| change.domain == declarations) {
                // Full means that a reading is about to begin, which will see it.
                let _ = news.try_send(());
            }
        });
        // The store owns the sender, and the task holds no store: both end
        // when the last handle is gone.
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                let Some(shared) = shared.upgrade() else { return };
                if let Err(error) = blocking(move || reload(&shared)).await {
                    tracing::warn!(%error, "the declarations of domains could not be read");
                }
            }
        });
    }
}

fn reload(shared: &Shared) -> Result<(), Failure> {
    let now = kinsync_protocol::stamp::UnixMillis(shared.clock.wall().0);
    if shared.registry.reload(&shared.home.domains(), shared.storage.store(), now)? {
        shared.events.publish(Event::DomainsChanged {});
    }
    Ok(())
}

/// Why a record does not fit; one that a newer device wrote fits none.
fn misfit(domain: &Domain, live: &Live) -> Option<String> {
    match live.schema {
        0 => Some("a newer kinsync wrote it".to_owned()),
        schema if schema > domain.declaration.schema => {
            Some(format!("it has schema {schema}, newer than {}", domain.declaration.schema))
        }
        _ => domain.check(&live.value).err(),
    }
}

fn rejects(added: &DomainAdded) -> Failure {
    let first: Vec<_> = added.first.iter().map(|misfit| format!("  {}: {}", misfit.id, misfit.why)).collect();
    let DomainAdded { name, records, misfits, .. } = added;
    let more = misfits - first.len() as u64;
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let message = format!("{misfits} of {records} records of {name} do not fit:\n{}{more}", first.join("\n"));
    Failure::new(Kind::RejectsRecords, message)
        .hint("They would stay and wait. To go on all the same, add --yes.")
}

/// A parent that nobody has declared here may come later, or be misspelt.
fn unknown_parent(domains: &Domains, declaration: &Declaration) -> Vec<Warning> {
    let parent = declaration.parent.iter().filter(|parent| domains.find(parent).is_none());
    let warning = |parent: &String| Warning {
        code: "unknown-parent".to_owned(),
        text: format!(
            "`parent`: nobody has declared {parent} here; until then its records belong to nothing."
        ),
    };
    parent.map(warning).collect()
}

/// Whether the whole set still fits with `declaration` in it.
fn check_with_the_others(domains: &Domains, declaration: &Declaration) -> Result<(), Failure> {
    let others = domains.all().iter().map(|domain| &domain.declaration);
    let others: Vec<_> = others.filter(|other| other.name != declaration.name).collect();
    if others.len() >= DOMAINS_MAX {
        return Err(Failure::new(
            Kind::TooManyDomains,
            format!("{} domains are declared already, the limit is {DOMAINS_MAX}.", others.len()),
        )
        .hint(
            "A domain is a kind of records, not a place for some. Remove one:  kinsync domains remove NAME",
        ));
    }
    check_set(others.into_iter().chain([declaration])).map_err(|error| file::bad(format!("{error}.")))
}

/// Whether records of a domain are here that nobody declared here.
pub(super) fn is_unknown(domains: &Domains, counts: &DomainCounts) -> bool {
    domains.with_id(counts.domain).is_none() && counts.domain != DomainId::of(DECLARATIONS)
}

fn info(domain: &Domain, domains: &Domains, counts: &[DomainCounts]) -> DomainInfo {
    let counts = counts.iter().find(|counts| counts.domain == domain.id());
    let Declaration { name, policy, scope, schema, reads, opt_in, parent, .. } = &domain.declaration;
    let pending = domains.pending.get(name);
    DomainInfo {
        name: name.clone(),
        source: Some(domain.source),
        scope: *scope,
        policy: policy.to_string(),
        schema: *schema,
        reads: *reads,
        opt_in: *opt_in,
        parent: parent.clone(),
        records: counts.map_or(0, |counts| counts.live),
        waiting: counts.map_or(0, |counts| counts.waiting),
        asks: pending.map(|pending| pending.widens.clone()).unwrap_or_default(),
    }
}
