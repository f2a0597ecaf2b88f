//! Setting a home up, and opening it.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use kinsync_protocol::{id::DomainId, stamp::UnixMillis};
use kinsync_store::{Commit, Held, Job, OpenError, Options, Store, StoreSnapshot};
use tokio::{sync::watch, task, time::sleep};

use super::{Control, Names, Shared, app::Apps, held::Holding, version_name};
use crate::{
    activity::Activity,
    clock::{Clock, Moment},
    commits::Heads,
    config::{Config, clean_name},
    domains::{DECLARATIONS, Registry},
    events::{Event, Events, PeerName, RecordChange},
    failure::{Failure, Kind},
    home::{self, Home},
    identity::Identity,
    storage::Storage,
};

/// How often a store that somebody holds is tried again: a node that has been
/// told to stop closes its socket first and its store a moment later.
const LOCKED_TRIES: u32 = 40;

/// How long between two tries.
const LOCKED_WAIT: Duration = Duration::from_millis(50);

impl Control {
    /// Sets a home up: identity, settings and an empty store. A home that has
    /// an identity is left alone.
    pub async fn init(home: &Home, name: Option<&str>) -> Result<Self, Failure> {
        let (at, name) = (home.clone(), name.map(str::to_owned));
        blocking(move || set_up(&at, name.as_deref())).await?;
        Self::open(home).await
    }

    /// Gives the device of a home a new key, after the old one was revoked: a
    /// dead key can never be paired again. Records and history stay; nobody is
    /// trusted, as nobody knows the new key.
    ///
    /// `store-locked` while a node runs on the home. A crash in the middle
    /// leaves the old key or the new one, and a store that fits it.
    pub async fn renew(home: &Home) -> Result<Self, Failure> {
        let at = home.clone();
        blocking(move || renew(&at)).await?;
        Self::open(home).await
    }

    /// Opens the store of a home that no node is running on.
    ///
    /// `not-initialised` if nobody has set it up, `store-locked` if another
    /// process has it open.
    pub async fn open(home: &Home) -> Result<Self, Failure> {
        Self::open_at(home, Clock::system()).await
    }

    /// As [`Control::open`], by another clock than the machine's.
    pub async fn open_at(home: &Home, clock: Clock) -> Result<Self, Failure> {
        let mut tries = LOCKED_TRIES;
        let control = loop {
            let (home, clock) = (home.clone(), clock.clone());
            match blocking(move || open(home, clock)).await {
                Err(failure) if failure.kind == Kind::StoreLocked && tries > 0 => tries -= 1,
                opened => break opened?,
            }
            sleep(LOCKED_WAIT).await;
        };
        control.refresh_names().await?;
        control.watch_declarations();
        Ok(control)
    }
}

/// Runs what waits for the disk without holding up the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Failure::internal(error)))
}

fn set_up(home: &Home, name: Option<&str>) -> Result<(), Failure> {
    if home.is_initialised() {
        return Err(Failure::new(
            Kind::AlreadyExists,
            format!("There is a device here already: {}.", home.data_dir().display()),
        )
        .hint("To set up another device on this machine, use another --home."));
    }
    let mut config = Config::load(&home.config())?;
    if let Some(name) = name {
        config.name = clean_name(name).ok_or_else(|| {
            Failure::new(Kind::BadSetting, format!("{name:?} cannot be the name of a device."))
        })?;
    }
    home::claim_dir(home.data_dir())?;
    if let Some(dir) = home.config().parent() {
        fs::create_dir_all(dir)
            .map_err(|error| Failure::io(format_args!("create {}", dir.display()), &error))?;
    }
    // The identity comes last: it is what makes a home one, so a crash before
    // it leaves a home that can be set up again.
    config.save(&home.config())?;
    Identity::create(&home.identity())?;
    Ok(())
}

fn open(home: Home, clock: Clock) -> Result<Control, Failure> {
    let config = Config::load(&home.config())?;
    let (identity, store) = open_store(&home, clock.wall())?;
    let registry = Registry::default();
    store.set_sharing(registry.current().sharing());
    if let Err(error) = registry.reload(&home.domains(), &store, UnixMillis(clock.wall().0)) {
        // What is built in is in force all the same, and reading goes on.
        tracing::warn!(%error, "the declarations of domains could not be read or noted");
    }
    let names = registry.current().all().iter().map(|domain| domain.name().to_owned()).collect();
    if let Err(error) = store.write(Job::name_domains(names)) {
        // Names are for people; a store that cannot be written is still read.
        tracing::warn!(%error, "the names of the domains could not be noted");
    }
    let (events, names) =
        (Events::logged(random()?, Activity::at(home.activity_log()), clock.clone()), Names::default());
    let heads = Heads::default();
    let holding = Holding::default();
    drop(holding.replace(store.read(StoreSnapshot::held)?));
    let watching = (events.clone(), names.clone(), registry.clone(), heads.clone(), holding.clone());
    store.on_commit(move |commit| {
        tell(commit, &watching.0, &watching.1, &watching.2);
        for (domain, conflicts) in &commit.conflicts {
            let domain = watching.2.current().shown(*domain);
            watching.0.publish(Event::ConflictPending { domain, conflicts: *conflicts });
        }
        if let Some(held) = &commit.held {
            tell_held(watching.4.replace(held.clone()), &watching.0, &watching.1, &watching.2);
        }
        watching.3.note(commit);
    });
    store.set_guard(config.guard);
    super::drafts::interrupt(&store, &events, &registry.current());
    let shared = Shared {
        apps: Apps::load(&store)?,
        home,
        identity,
        opened: clock.monotonic(),
        clock,
        config: watch::Sender::new(config),
        events,
        heads,
        holding,
        leases: Default::default(),
        names,
        registry,
        claims: Mutex::default(),
        storage: Storage::new(store),
    };
    Ok(Control { shared: Arc::new(shared), node: None })
}

/// Opens the store with the key that it belongs to, and ends a renewal that a
/// crash has left in the middle.
fn open_store(home: &Home, now: Moment) -> Result<(Identity, Store), Failure> {
    let path = home.identity();
    let identity = Identity::load(&path)?;
    let prepared = Identity::prepared(&path)?;
    match (Store::open(home.store(), Options::new(identity.device(), random()?)), prepared) {
        (Ok(store), None) => Ok((identity, store)),
        (Ok(store), Some(_)) => {
            Identity::unprepare(&path)?;
            Ok((identity, store))
        }
        (Err(OpenError::OtherDevice { owner }), Some(next)) if owner == next.device() => {
            Identity::promote(&path, now)?;
            Ok((next, Store::open(home.store(), Options::new(owner, random()?))?))
        }
        (Err(OpenError::Locked), _) => Err(locked(home)),
        (Err(error), _) => Err(error.into()),
    }
}

fn locked(home: &Home) -> Failure {
    let failure = Failure::from(OpenError::Locked);
    match home.pid() {
        Some(pid) => {
            Failure { message: format!("Process {pid} holds the store but does not answer."), ..failure }
        }
        None => failure,
    }
}

fn renew(home: &Home) -> Result<(), Failure> {
    let now = Clock::system().wall();
    let path = home.identity();
    let (_, store) = open_store(home, now)?;
    // The new key is on disk before the store is its own, and takes the old
    // one's place after that: whatever is missing, the next start does.
    let next = Identity::prepare(&path)?;
    store.write(Job::hand_over(next.device(), UnixMillis(now.0)))?;
    drop(store);
    Identity::promote(&path, now)?;
    Ok(())
}

fn random() -> Result<u64, Failure> {
    getrandom::u64()
        .map_err(|error| Failure::new(Kind::Io, format!("The system gives no random numbers: {error}.")))
}

/// Tells of mass changes that are held from now on.
fn tell_held(new: Vec<Held>, events: &Events, names: &Names, registry: &Registry) {
    for held in new {
        events.publish(Event::Held {
            peer: PeerName { id: held.peer.to_string(), name: names.of(held.peer) },
            number: held.number,
            domain: registry.current().shown(held.domain),
            deletions: held.counts.deletions,
            replacements: held.counts.replacements,
        });
    }
}

/// Makes events of what a commit changed.
fn tell(commit: &Commit, events: &Events, names: &Names, registry: &Registry) {
    let domains = registry.current();
    for domain in &commit.domains {
        if domain.domain == DomainId::of(DECLARATIONS) {
            // Told as a change of the domains, once it is in force.
            continue;
        }
        let name = domains.shown(domain.domain);
        if !domain.complete {
            // Too many to tell one by one: whoever shows them reads again.
            events.publish(Event::RecordsApplied {
                domain: name,
                from: None,
                records: domain.head.saturating_sub(domain.previous),
            });
            continue;
        }
        for change in &domain.changes {
            let record = RecordChange {
                domain: name.clone(),
                id: change.key.as_str().to_owned(),
                from: change.from.map(|device| names.of(device)),
                at: Moment(change.stamp.time.wall().0),
                v: version_name(change.stamp),
            };
            events.publish(if change.deleted { Event::Del(record) } else { Event::Put(record) });
        }
    }
}
