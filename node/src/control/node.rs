//! How the node is, its settings, and what happened.

use std::collections::BTreeMap;

use kinsync_store::{DomainCounts, ReadError, State, StoreSnapshot, Waiting, WaitingRecord};

use super::{
    API_VERSION, Control,
    command::{Command, NodeFacts},
    domains::is_unknown,
    open::blocking,
};
use crate::{
    activity::Activity,
    config::{Config, SETTINGS, Setting},
    domains::Domains,
    events::Event,
    failure::{Failure, Kind},
    identity,
    request::{
        Choice, ConfigRow, ConfigRows, DomainRow, LogRows, Missing, PeerRow, PeerState, Pill, QueueRow,
        SelfRow, StatusAnswer, VersionAnswer, Warning,
    },
    status,
};

/// How many declarations that cannot be used are told one by one.
const PROBLEMS_SHOWN: usize = 3;

/// How many lines of the log are shown if nobody says.
const LOG_LINES: usize = 100;

impl Control {
    /// How the node is. With no node running it tells what the store knows.
    pub async fn status(&self) -> Result<StatusAnswer, Failure> {
        // Read first: whoever watches from this id on misses nothing that
        // happens while the rest is put together.
        let last_event = self.shared.events.last_id();
        let facts = self.facts().await?;
        let peers = self.peers().await?.peers;
        let read = |snapshot: &StoreSnapshot| {
            let counts = snapshot.counts()?;
            let waiting = counts.iter().filter(|counts| counts.waiting > 0);
            let first = waiting.map(|counts| Ok((counts.domain, snapshot.waiting(counts.domain, 1)?.pop())));
            let first = first.collect::<Result<BTreeMap<_, _>, ReadError>>()?;
            Ok((counts, first))
        };
        let (counts, first) = self.shared.storage.read(read).await?;
        let rows: Vec<_> = domain_rows(&self.domains(), &counts);
        let mut warnings = self.warnings(&rows, &peers, facts.as_ref());
        for counts in &counts {
            if let Some(first) = first.get(&counts.domain).and_then(Option::as_ref) {
                let text = self.why_waiting(counts, first);
                warnings.push(Warning { code: "waiting-upgrade".to_owned(), text });
            }
        }
        let trust = self.trust_warnings().await?;
        warnings.extend(trust.warnings);
        let mut status = facts.as_ref().map(|facts| facts.status.clone()).unwrap_or_default();
        status.error |= trust.shut_out || !matches!(self.shared.storage.store().state(), State::Writing);
        status.conflicts |= rows.iter().any(|row| row.conflicts > 0);
        status.waiting_upgrade |= rows.iter().any(|row| row.waiting > 0);
        status.readiness |= warnings.iter().any(|warning| warning.code == "readiness");
        status.held |= self.holds();
        status.clock |= warnings.iter().any(|warning| warning.code == "clock");
        let state = match facts {
            Some(_) => status::pill(&status, self.shared.clock.monotonic()),
            None if status.error => Pill::Error,
            None => Pill::Offline,
        };
        let queue = facts.as_ref().map(|facts| queue(facts, &peers)).unwrap_or_default();
        Ok(StatusAnswer {
            v: 1,
            me: self.self_row(facts.as_ref()),
            state,
            flags: status::flags(&status),
            peers,
            domains: rows,
            queue,
            warnings,
            last_event,
        })
    }

    /// What the event loop says about itself, if there is one.
    pub(super) async fn facts(&self) -> Result<Option<NodeFacts>, Failure> {
        if self.node.is_none() {
            return Ok(None);
        }
        match self.ask(|reply| Command::Facts { reply }).await {
            Ok(facts) => Ok(Some(facts)),
            Err(failure) if failure.kind == Kind::NotRunning => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn self_row(&self, facts: Option<&NodeFacts>) -> SelfRow {
        let device = self.device();
        let up = self.shared.clock.monotonic().saturating_sub(self.shared.opened);
        let reach = facts.map(|_| "lan".to_owned()).into_iter().collect();
        SelfRow {
            id: device.to_string(),
            peer_id: identity::peer_id(&device),
            name: self.shared.config.borrow().name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: facts.is_some(),
            pid: facts.map(|_| std::process::id()),
            uptime_s: facts.map(|_| up.as_secs()),
            listening: facts.map(|facts| facts.listening.clone()).unwrap_or_default(),
            reach,
            home: self.shared.home.data_dir().display().to_string(),
        }
    }

    fn warnings(&self, rows: &[DomainRow], peers: &[PeerRow], facts: Option<&NodeFacts>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, text: String| warnings.push(Warning { code: code.to_owned(), text });
        match self.shared.storage.store().state() {
            State::Writing => {}
            State::DiskFull => warn(
                "disk-full",
                "The disk is full: nothing is written until there is room again.".to_owned(),
            ),
            State::Poisoned { reason } => warn(
                "read-only",
                format!("Writing stopped after a failure: {reason}. Check the disk and restart the node."),
            ),
        }
        match self.shared.storage.store().damaged() {
            0 => {}
            damaged => warn("store-damaged", format!("{damaged} reads met damage. See: kinsync doctor")),
        }
        for row in rows {
            match row.conflicts {
                0 => {}
                1 => warn("conflicts", format!("1 conflict in {} is kept in history.", row.name)),
                n => warn("conflicts", format!("{n} conflicts in {} are kept in history.", row.name)),
            }
        }
        let domains = self.domains();
        for (name, pending) in domains.pending.iter().filter(|(_, pending)| !pending.rejected) {
            let text = format!(
                "Another device declares {name} anew: {}. Look at it:  kinsync domains show {name}",
                pending.widens.join("; ")
            );
            warn("domain-asks", text);
        }
        let undecided = |missing: &Missing| matches!(missing.choice, None | Some(Choice::Later));
        for Missing { domain, id, .. } in
            self.shared.apps.readiness(&domains, None).missing.iter().filter(|m| undecided(m))
        {
            let text = format!(
                "Records of {domain} need {id}, which no application here has. \
                 See:  kinsync domains readiness {domain}"
            );
            warn("readiness", text);
        }
        for problem in domains.problems.iter().take(PROBLEMS_SHOWN) {
            warn("domain-problem", problem.clone());
        }
        for peer in peers.iter().filter(|peer| peer.state != PeerState::Revoked) {
            let Some(offset) = peer.clock_offset_ms.filter(|offset| is_far_off(*offset)) else { continue };
            let side = if offset > 0 { "ahead of" } else { "behind" };
            let off = jiff::SignedDuration::from_millis(offset.saturating_abs() / 1_000 * 1_000);
            warn("clock", format!("The clock of {} is {off:#} {side} this device's.", peer.name));
        }
        warnings.extend(self.held_warnings());
        warnings.extend(facts.into_iter().flat_map(|facts| facts.warnings.iter().cloned()));
        warnings
    }

    /// Why records of a domain wait, by the first of them, and what to do.
    fn why_waiting(&self, counts: &DomainCounts, first: &WaitingRecord) -> String {
        let domains = self.domains();
        let name = match domains.with_id(counts.domain) {
            Some(domain) => domain.name().to_owned(),
            None => counts.name.clone().unwrap_or_else(|| counts.domain.to_string()),
        };
        let declared = domains.with_id(counts.domain).map_or(1, |domain| domain.declaration.schema);
        let by = self.device_name(first.version.stamp.device).unwrap_or_else(|| "Another device".to_owned());
        let records = if counts.waiting == 1 {
            "1 record waits".to_owned()
        } else {
            format!("{} records wait", counts.waiting)
        };
        match &first.why {
            Waiting::UnknownDomain => format!("{records} in {name}: nobody declared that domain here."),
            Waiting::NewerSchema { schema } => format!(
                "{by} runs a newer schema for {name} ({schema} > {declared}). {records}. Update this device."
            ),
            Waiting::OlderSchema { schema } => {
                format!(
                    "{by} runs an older schema for {name} ({schema} < {declared}). {records}. Update {by}."
                )
            }
            Waiting::Misfit { why } => {
                format!("{records} in {name}, as they do not fit what is declared. {}: {why}.", first.key)
            }
            Waiting::Unreadable | _ => {
                format!("{by} runs a later kinsync. {records} in {name}. Update this device.")
            }
        }
    }

    /// Which version this is.
    pub fn version(&self) -> VersionAnswer {
        VersionAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: API_VERSION,
            pid: std::process::id(),
        }
    }

    /// One setting, or all of them.
    pub async fn config_rows(&self, key: Option<&str>) -> Result<ConfigRows, Failure> {
        let path = self.shared.home.config();
        let config = blocking(move || Config::load(&path)).await?;
        let rows = match key {
            Some(key) => vec![config.row(Setting::named(key)?)],
            None => SETTINGS.iter().map(|setting| config.row(setting)).collect(),
        };
        Ok(ConfigRows { rows })
    }

    /// Changes one setting in the file, and in the running node where it can
    /// take it at once.
    pub async fn config_set(&self, key: &str, value: &str) -> Result<ConfigRow, Failure> {
        let setting = Setting::named(key)?;
        let (path, new) = (self.shared.home.config(), value.trim().to_owned());
        let config = blocking(move || {
            let mut config = Config::load(&path)?;
            config.set(setting.key, &new)?;
            config.save(&path)?;
            Ok(config)
        })
        .await?;
        if !setting.restart {
            let value = setting.get(&config);
            self.adjust(|live| {
                live.set(setting.key, &value).expect("it was checked when the file was changed");
            });
        }
        self.shared.events.publish(Event::SettingsChanged { keys: vec![setting.key.to_owned()] });
        Ok(config.row(setting))
    }

    /// The last lines of the activity log, the oldest first.
    pub async fn log_tail(&self, lines: Option<usize>) -> Result<LogRows, Failure> {
        let log = Activity::at(self.shared.home.activity_log());
        blocking(move || log.tail(lines.unwrap_or(LOG_LINES))).await
    }
}

/// How far two clocks may be apart before people are told, in milliseconds.
const CLOCK_OFFSET_MS_MAX: u64 = 2 * 60 * 1_000;

/// Whether a clock is so far off that people should know.
pub(super) const fn is_far_off(offset_ms: i64) -> bool {
    offset_ms.unsigned_abs() > CLOCK_OFFSET_MS_MAX
}

/// The declared domains in their order, then those that nobody declared here:
/// their records are kept and passed on, and wait.
fn domain_rows(domains: &Domains, counts: &[DomainCounts]) -> Vec<DomainRow> {
    let known = domains.all().iter().map(|domain| {
        let counts = counts.iter().find(|counts| counts.domain == domain.id());
        DomainRow {
            name: domain.name().to_owned(),
            records: counts.map_or(0, |counts| counts.live),
            tombstones: counts.map_or(0, |counts| counts.tombstones),
            waiting: counts.map_or(0, |counts| counts.waiting),
            conflicts: counts.map_or(0, |counts| counts.conflicts),
        }
    });
    let unknown = counts.iter().filter(|counts| is_unknown(domains, counts)).map(|counts| DomainRow {
        name: counts.name.clone().unwrap_or_else(|| counts.domain.to_string()),
        records: 0,
        tombstones: counts.tombstones,
        waiting: counts.live,
        conflicts: counts.conflicts,
    });
    known.chain(unknown).collect()
}

fn queue(facts: &NodeFacts, peers: &[PeerRow]) -> Vec<QueueRow> {
    let waiting = facts.peers.iter().filter(|(_, peer)| !peer.online && peer.queued > 0);
    waiting
        .filter_map(|(device, peer)| {
            let row = peers.iter().find(|row| row.id == device.to_string())?;
            Some(QueueRow {
                id: row.id.clone(),
                name: row.name.clone(),
                records: peer.queued,
                last_seen: row.last_seen,
            })
        })
        .collect()
}
