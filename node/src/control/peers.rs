//! The registry: the other devices, and the end of trust.

use std::collections::BTreeSet;

use kinsync_protocol::{id::DeviceId, rights::Rights, trust::State};
use kinsync_store::Job;

use super::{
    Control,
    command::{Command, NodeFacts, PeerFacts, RevokeEffect},
    registry::Entry,
    select::{Candidate, select},
};
use crate::{
    address,
    config::clean_name,
    events::{Event, PeerName},
    failure::{Failure, Kind},
    identity,
    request::{
        Allowed, Done, LimitedBy, PeerAddress, PeerDetail, PeerList, PeerRow, PeerState, Revoked, Warning,
        words,
    },
};

impl Control {
    /// All peers by name, the ones whose trust has ended last.
    pub async fn peers(&self) -> Result<PeerList, Failure> {
        let facts = self.facts().await?;
        let mut peers: Vec<_> =
            self.registry().await?.iter().map(|entry| row(entry, facts.as_ref())).collect();
        peers.sort_by_key(|peer| (is_over(peer.state), peer.name.to_lowercase(), peer.id.clone()));
        Ok(PeerList { v: 1, peers })
    }

    /// Everything known about one peer.
    pub async fn peer(&self, peer: &str) -> Result<PeerDetail, Failure> {
        let entry = self.meant(peer).await?;
        let facts = self.facts().await?;
        let heard =
            facts.as_ref().and_then(|facts| facts.peers.get(&entry.device)).cloned().unwrap_or_default();
        let PeerFacts { queued, failures, last_failure, platform, app, .. } = heard;
        Ok(PeerDetail {
            row: row(&entry, facts.as_ref()),
            label: entry.label().to_owned(),
            platform: platform.or_else(|| entry.platform()),
            app: app.or_else(|| entry.app()),
            since: entry.since(),
            added_by: (entry.origin() != self.device()).then(|| self.shared.names.of(entry.origin())),
            addresses: entry.addresses(),
            queued,
            failures,
            last_failure,
        })
    }

    /// Gives a peer another name on this device; none to use its own again.
    pub async fn rename_peer(&self, peer: &str, name: &str) -> Result<PeerRow, Failure> {
        let device = self.meant(peer).await?.device;
        let alias = match name.trim() {
            "" => None,
            name => Some(clean_name(name).ok_or_else(|| {
                Failure::new(Kind::BadRequest, format!("{name:?} cannot be the name of a device."))
            })?),
        };
        self.write_alias(device, alias).await?;
        self.changed(device).await
    }

    /// Remembers an address of a peer; a running node tries it at once.
    pub async fn add_peer_address(&self, peer: &str, addr: &str) -> Result<PeerAddress, Failure> {
        let typed = address::parse(addr)?;
        let entry = self.meant(peer).await?;
        if entry.is_over() {
            return Err(over(&entry));
        }
        if let Some(other) = typed.device.filter(|device| *device != entry.device) {
            return Err(Failure::new(
                Kind::BadAddress,
                format!("That address names {}, not {}.", other.short(), entry.name()),
            ));
        }
        let addr = typed.addr.to_string();
        self.write_address(entry.device, addr.clone()).await?;
        self.changed(entry.device).await?;
        Ok(PeerAddress { addr, worked: None, typed: true })
    }

    /// Says what a peer may do here, instead of what it could do before.
    ///
    /// When it returns, that is on disk, nothing commits that the peer sent and
    /// may not send any more, and a running node tells it.
    pub async fn allow_peer(&self, peer: &str, allowed: &Allowed) -> Result<PeerRow, Failure> {
        let rights = self.rights_of(allowed)?;
        let device = self.trusted_peer(peer).await?;
        let before = self.shared.storage.write(Job::allow(device, rights.clone())).await?;
        match self.ask(|reply| Command::RightsChanged { device, reply }).await {
            Ok(()) => {}
            // With no node nothing is under way.
            Err(failure) if failure.kind == Kind::NotRunning => {}
            Err(failure) => return Err(failure),
        }
        let row = self.row_of(device).await?;
        if before != rights {
            self.shared.events.publish(Event::Policy {
                peer: PeerName::from(&row),
                by: LimitedBy::Own,
                rights: Some(row.rights.clone()),
                limited: Vec::new(),
            });
        }
        Ok(row)
    }

    /// What was typed, if it can be granted.
    pub(super) fn rights_of(&self, allowed: &Allowed) -> Result<Rights, Failure> {
        if allowed.read_only && allowed.send_only {
            return Err(Failure::new(
                Kind::BadRequest,
                "A device that may neither read nor send shares nothing.",
            )
            .hint("End the trust in it:  kinsync revoke"));
        }
        self.domains().check_shared(allowed.domains.as_deref().unwrap_or_default(), &allowed.also)?;
        Ok(allowed.rights())
    }

    /// Removes a peer whose trust has ended from lists. Its key stays dead.
    pub async fn forget_peer(&self, peer: &str) -> Result<Done, Failure> {
        let entry = self.meant(peer).await?;
        if !entry.is_over() {
            return Err(Failure::new(Kind::Busy, format!("{} is still trusted.", entry.name()))
                .hint(format!("End that first:  kinsync revoke '{}'", entry.name())));
        }
        self.write_forgotten(entry.device).await?;
        self.refresh_names().await?;
        Ok(Done {})
    }

    /// Ends trust in a peer, at once and for ever.
    ///
    /// When it returns, that is on disk, no record from the peer commits any
    /// more, and a running node has closed its connections. Revoking twice
    /// changes nothing.
    pub async fn revoke(&self, peer: &str) -> Result<Revoked, Failure> {
        let entry = self.meant(peer).await?;
        let device = entry.device;
        self.write_revoked(device).await?;
        let effect = match self.ask(|reply| Command::Revoked { device, reply }).await {
            Ok(effect) => effect,
            // With no node there is nothing to close; the others learn it from
            // the next one.
            Err(failure) if failure.kind == Kind::NotRunning => RevokeEffect::default(),
            Err(failure) => return Err(failure),
        };
        let peer = self.row_of(device).await?;
        self.shared.events.publish(Event::Revoked { peer: PeerName::from(&peer), by: None });
        let informed: BTreeSet<_> = effect.informed.into_iter().collect();
        let kin = self.registry().await?.into_iter().filter(|other| other.is_kin());
        let (told, later): (Vec<_>, Vec<_>) = kin.partition(|other| informed.contains(&other.device));
        let names = |entries: Vec<Entry>| entries.iter().map(|entry| entry.name().to_owned()).collect();
        Ok(Revoked { peer, closed: effect.closed, informed: names(told), later: names(later) })
    }

    /// Tells a running node that the registry has changed, and answers with
    /// the peer as it is now.
    async fn changed(&self, device: DeviceId) -> Result<PeerRow, Failure> {
        self.refresh_names().await?;
        if let Some(node) = &self.node {
            // A loop that has gone needs no telling.
            let _ = node.send(Command::PeersChanged { device }).await;
        }
        self.row_of(device).await
    }

    async fn row_of(&self, device: DeviceId) -> Result<PeerRow, Failure> {
        let facts = self.facts().await?;
        let registry = self.registry().await?;
        let entry = registry.iter().find(|entry| entry.device == device);
        entry
            .map(|entry| row(entry, facts.as_ref()))
            .ok_or_else(|| Failure::new(Kind::NotPaired, "That device is not paired any more."))
    }

    /// The peer that somebody means, trusted or not.
    async fn meant(&self, wanted: &str) -> Result<Entry, Failure> {
        let mut registry = self.registry().await?;
        let candidates: Vec<_> = registry
            .iter()
            .map(|entry| Candidate {
                device: entry.device,
                name: entry.name().to_owned(),
                live: !entry.is_over(),
            })
            .collect();
        let device = select(wanted, &candidates)?;
        let index = registry.iter().position(|entry| entry.device == device);
        index.map(|index| registry.swap_remove(index)).ok_or_else(|| Failure::internal("a peer went missing"))
    }

    /// The peer that somebody means, trusted or not.
    pub(super) async fn known_peer(&self, wanted: &str) -> Result<DeviceId, Failure> {
        Ok(self.meant(wanted).await?.device)
    }

    /// The trusted peer that somebody means.
    pub(super) async fn trusted_peer(&self, wanted: &str) -> Result<DeviceId, Failure> {
        let entry = self.meant(wanted).await?;
        if entry.is_over() { Err(over(&entry)) } else { Ok(entry.device) }
    }

    /// All trusted peers.
    pub(super) async fn trusted_peers(&self) -> Result<BTreeSet<DeviceId>, Failure> {
        let registry = self.registry().await?;
        Ok(registry.into_iter().filter(|entry| !entry.is_over()).map(|entry| entry.device).collect())
    }

    /// The name of a device, this one included, if it has one; what is shown
    /// for a version that devices made of several.
    pub(super) fn device_name(&self, device: DeviceId) -> Option<String> {
        if device == DeviceId::NULL {
            return Some("merged".to_owned());
        }
        if device == self.device() {
            return Some(self.shared.config.borrow().name.clone());
        }
        self.shared.names.known(device)
    }

    /// The name of the device with this printed id, if it has one.
    pub(super) fn device_named(&self, printed: &str) -> Option<String> {
        if self.device().to_string() == printed {
            return self.device_name(self.device());
        }
        self.shared.names.printed(printed)
    }

    /// What the registry has to say to the person.
    pub(super) async fn trust_warnings(&self) -> Result<TrustWarnings, Failure> {
        let registry = self.registry().await?;
        let trusted = || registry.iter().filter(|entry| !entry.is_over());
        let removals = trusted().filter_map(|entry| {
            let at = entry.revoked_us()?;
            Some(Warning {
                code: "revoked".to_owned(),
                text: format!(
                    "This device was removed by {} at {at}. Sync with it is off. Your data here is kept.",
                    entry.name()
                ),
            })
        });
        let mut warnings: Vec<_> = removals.collect();
        let shut_out = !warnings.is_empty() && warnings.len() == trusted().count();
        let undecided = self.shared.storage.read(move |snapshot| {
            let view = snapshot.trust_view()?;
            let waiting = view.rows().iter().filter(|(_, row)| row.state == State::Absent);
            Ok(waiting.map(|(device, row)| (row.name().to_owned(), device.short(), row.origin)).collect())
        });
        let undecided: Vec<(String, String, DeviceId)> = undecided.await?;
        warnings.extend(undecided.into_iter().map(|(name, id, origin)| Warning {
            code: "unconfirmed".to_owned(),
            text: format!(
                "{name} ({id}) was brought in by {} and is not trusted. To trust it, pair it with a code.",
                self.shared.names.of(origin)
            ),
        }));
        Ok(TrustWarnings { warnings, shut_out })
    }

    /// Reads the names again that events show. To be called when the registry
    /// has changed by other ways than the methods here.
    pub async fn refresh_names(&self) -> Result<(), Failure> {
        let registry = self.registry().await?;
        let names = registry.into_iter().map(|entry| (entry.device, entry.name().to_owned()));
        self.shared.names.replace(names.collect());
        Ok(())
    }
}

/// What the registry has to say to the person.
pub(super) struct TrustWarnings {
    pub(super) warnings: Vec<Warning>,
    /// Whether every trusted device has removed this one.
    pub(super) shut_out: bool,
}

fn over(entry: &Entry) -> Failure {
    Failure::new(Kind::Revoked, format!("{} is not trusted any more.", entry.name()))
        .hint("Pair it again:  kinsync pair   (it gets a new key)")
}

const fn is_over(state: PeerState) -> bool {
    matches!(state, PeerState::Retired | PeerState::Revoked)
}

fn row(entry: &Entry, facts: Option<&NodeFacts>) -> PeerRow {
    let heard = facts.and_then(|facts| facts.peers.get(&entry.device));
    let online = heard.is_some_and(|heard| heard.online);
    PeerRow {
        id: entry.device.to_string(),
        peer_id: identity::peer_id(&entry.device),
        name: entry.name().to_owned(),
        role: entry.role(),
        state: entry.state(online),
        path: heard.map(|heard| heard.path).unwrap_or_default(),
        last_seen: heard.and_then(|heard| heard.last_seen).or_else(|| entry.last_seen()),
        last_sync: heard.and_then(|heard| heard.last_sync).or_else(|| entry.last_sync()),
        clock_offset_ms: heard.and_then(|heard| heard.clock_offset_ms),
        rights: match entry.role() {
            Some(_) => words(entry.rights()),
            None => Vec::new(),
        },
    }
}
