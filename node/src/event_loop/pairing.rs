//! Pairing on the network: does what the two sides of a code ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::Paired;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::trust::{PairError, Role as Trusted, Standing};
use kinsync_store::{Job, WriteError};
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use tracing::{debug, info, warn};

use super::{EventLoop, Purpose, Work};
use crate::events::Event;
use crate::failure::{Failure, Kind};
use crate::pairings::{AskId, DialId, Me, Now, Output, Pairings, Stored, Surroundings};
use crate::random;
use crate::request::{PairJoin, PairJoining, PairOpen, PairOpened, Verdict};
use crate::swarm::addresses::Place;
use crate::swarm::exchange::{Reply as Answer, RequestError};
use crate::swarm::mdns::Found;
use crate::swarm::{Protocol, dial, dial_somebody};

/// The pairings of the node, and what they wait for.
pub(super) struct Pairing {
    pub(super) pairings: Pairings,
    numbers: u64,
    dials: BTreeMap<ConnectionId, DialId>,
    /// What the other device of a pairing may do here, where a person said so.
    rights: BTreeMap<u64, Rights>,
}

/// What a step on the store came to.
pub(super) enum Done {
    /// A new device is in the view, or not.
    Stored { id: u64, paired: Box<Paired>, result: Result<Result<(), PairError>, WriteError> },
    /// A device has a weaker role now.
    Lowered(Result<(), WriteError>),
}

impl Pairing {
    pub(super) fn new() -> Self {
        let random = Box::new(|bytes: &mut [u8]| random::fill(bytes));
        Self { pairings: Pairings::new(random), numbers: 0, dials: BTreeMap::new(), rights: BTreeMap::new() }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl EventLoop {
    fn pairing_now(&self) -> Now {
        Now { passed: self.now(), wall: self.control.clock().wall() }
    }

    fn myself(&self) -> Me {
        Me { key: self.control.identity().key().clone(), card: self.card(None) }
    }

    pub(super) fn pair_open(&mut self, request: &PairOpen) -> Result<PairOpened, Failure> {
        let (id, me, now) = (self.pairing.number(), self.myself(), self.pairing_now());
        let listening: Vec<_> = self.links.listening().cloned().collect();
        let opened = self.pairing.pairings.open(id, request, me, &listening, now)?;
        self.pairing.rights.extend(request.allowed.as_ref().map(|allowed| (id, allowed.rights())));
        info!(pairing = id, "a code is open");
        Ok(opened)
    }

    pub(super) fn pair_join(&mut self, request: &PairJoin) -> Result<PairJoining, Failure> {
        let (id, me, now) = (self.pairing.number(), self.myself(), self.pairing_now());
        let around = Surroundings {
            mdns: self.control.config().borrow().mdns,
            interfaces: self.links.interfaces(),
            renewable: self.trusting.is_alone(),
        };
        self.pairing.pairings.join(id, request, me, around, now)?;
        self.pairing.rights.extend(request.allowed.as_ref().map(|allowed| (id, allowed.rights())));
        for (device, places) in self.swarm.behaviour().discovery.strangers() {
            for place in places {
                self.pairing.pairings.handle_found(device, &place, Standing::Stranger, now);
            }
        }
        Ok(PairJoining { pairing: id })
    }

    pub(super) fn pair_answer(&mut self, pairing: u64, verdict: Verdict) -> Result<(), Failure> {
        let now = self.pairing_now();
        self.pairing.pairings.answer(pairing, verdict, now)
    }

    pub(super) fn pair_cancel(&mut self, pairing: u64) -> Result<(), Failure> {
        let now = self.pairing_now();
        self.pairing.pairings.cancel(pairing, now)
    }

    pub(super) fn on_pair_request(&mut self, device: DeviceId, frame: &[u8], answer: Answer) {
        let (standing, now) = (self.trusting.standing(device), self.pairing_now());
        self.pairing.pairings.handle_request(device, standing, frame, answer, now);
    }

    pub(super) fn on_pair_answer(&mut self, ask: AskId, answer: Result<Vec<u8>, RequestError>) {
        let now = self.pairing_now();
        self.pairing.pairings.handle_response(ask, answer, now);
    }

    pub(super) fn pair_found(&mut self, found: &Found) {
        let (standing, now) = (self.trusting.standing(found.device), self.pairing_now());
        self.pairing.pairings.handle_found(found.device, &found.place, standing, now);
    }

    pub(super) fn pair_connected(&mut self, device: DeviceId, connection: ConnectionId) {
        let dial = self.pairing.dials.remove(&connection);
        let (standing, now) = (self.trusting.standing(device), self.pairing_now());
        self.pairing.pairings.handle_connected(device, standing, dial, now);
    }

    pub(super) fn pair_disconnected(&mut self, device: DeviceId) {
        let now = self.pairing_now();
        self.pairing.pairings.handle_disconnected(device, now);
    }

    /// A dial failed. Whether it was one for a pairing.
    pub(super) fn pair_unreachable(&mut self, connection: ConnectionId) -> bool {
        let now = self.pairing_now();
        let Some(dial) = self.pairing.dials.remove(&connection) else {
            return false;
        };
        self.pairing.pairings.handle_unreachable(dial, now);
        true
    }

    pub(super) fn pairing_timeout(&mut self) {
        let now = self.pairing_now();
        self.pairing.pairings.handle_timeout(now);
    }

    pub(super) fn pairing_deadline(&self) -> Option<Duration> {
        self.pairing.pairings.deadline()
    }

    /// Does what the pairings ask for.
    pub(super) fn settle_pairings(&mut self) {
        while let Some(output) = self.pairing.pairings.poll() {
            match output {
                Output::Answer { reply, frame } => {
                    if let Err(error) = self.swarm.behaviour_mut().pair.answer(reply, frame) {
                        debug!(%error, "nobody waits for the answer");
                    }
                }
                Output::Ask { device, ask, frame } => {
                    let request = self.swarm.behaviour_mut().pair.request(device, frame);
                    self.requests.insert((Protocol::Pair, request), Purpose::Pairing(ask));
                }
                Output::Dial { dial, device, addresses } => self.dial_stranger(dial, device, &addresses),
                Output::Disconnect(device) => {
                    if !self.admission.role(&device).is_trusted() {
                        self.disconnect(device);
                    }
                }
                Output::Emit(event) => {
                    if let Event::Failed { pairing, .. } | Event::Paired { pairing, .. } = &event {
                        self.pairing.rights.remove(pairing);
                    }
                    self.control.events().publish(event);
                }
                Output::Lower { device, role } => self.lower(device, role),
                Output::RenewKey { id } => {
                    let failure = Failure::new(
                        Kind::Revoked,
                        "This device was removed from that set, and its key can never come back.",
                    )
                    .hint(super::RENEW);
                    let now = self.pairing_now();
                    self.pairing.pairings.handle_renewed(id, Err(failure), now);
                }
                Output::Rescan => self.swarm.behaviour_mut().discovery.scan_now(),
                Output::Spare { device, spared } => self.admission.spare(device, spared),
                Output::Store { id, paired } => self.store_pairing(id, paired),
                Output::Window(window) => self.admission.set_window(window),
            }
        }
    }

    fn dial_stranger(&mut self, id: DialId, device: Option<DeviceId>, addresses: &[Multiaddr]) {
        // The key named in an address was checked when it was typed.
        let whose = device.unwrap_or(self.me);
        let places: Vec<_> = addresses.iter().filter_map(|address| Place::told(address, &whose)).collect();
        let dialled = match (device, places.first()) {
            (Some(device), Some(_)) => dial(&mut self.swarm, &device, &places),
            (None, Some(place)) => dial_somebody(&mut self.swarm, place),
            (_, None) => {
                let now = self.pairing_now();
                self.pairing.pairings.handle_unreachable(id, now);
                return;
            }
        };
        match dialled {
            Ok(connection) => {
                self.pairing.dials.insert(connection, id);
            }
            Err(error) => {
                debug!(%error, "not dialled");
                let now = self.pairing_now();
                self.pairing.pairings.handle_unreachable(id, now);
            }
        }
    }

    /// Puts a new device into the view. The pairing goes on once that is on
    /// disk and in effect.
    fn store_pairing(&mut self, id: u64, paired: Box<Paired>) {
        let (at, now) = (self.wall(), self.now());
        if paired.role == Trusted::Once {
            if self.trusting.standing(paired.device).is_dead() {
                let failure = Failure::new(Kind::Revoked, "That device was removed from the set meanwhile.");
                return self.fail_pairing(id, failure);
            }
            if let Some(rights) = self.pairing.rights.get(&id) {
                self.storage.store().submit(Job::allow(paired.device, rights.clone()), |result| {
                    if let Err(error) = result {
                        warn!(%error, "rights were not stored");
                    }
                });
            }
            let until = now + Duration::from_secs(paired.once_seconds);
            self.admit_once(paired.device, until);
            self.finish_pairing(id, &paired);
            return;
        }
        let (storage, wanted) = (self.storage.clone(), paired.clone());
        let job = Job::change_view(move |view| view.pair(&wanted, at, now).map(|changes| (changes, ())));
        // Before the trust, so that no session comes between.
        let rights = self.pairing.rights.get(&id).map(|rights| Job::allow(paired.device, rights.clone()));
        self.work.spawn(async move {
            let allowed = match rights {
                Some(rights) => storage.write(rights).await.map(drop),
                None => Ok(()),
            };
            let result = match allowed {
                Ok(()) => storage.write(job).await.map(|outcome| outcome.map(|_| ())),
                Err(error) => Err(error),
            };
            Work::Pairing(Done::Stored { id, paired, result })
        });
    }

    fn lower(&mut self, device: DeviceId, role: Trusted) {
        if role == Trusted::Once {
            return;
        }
        let (storage, at) = (self.storage.clone(), self.wall());
        let job = Job::change_view(move |view| {
            let changes = view.lower(device, role, at);
            Ok::<_, std::convert::Infallible>((changes, ()))
        });
        self.work.spawn(async move {
            let result = storage.write(job).await.map(|Ok(_)| ());
            Work::Pairing(Done::Lowered(result))
        });
    }

    pub(super) fn on_pairing_done(&mut self, done: Done) {
        match done {
            Done::Stored { id, paired, result: Ok(Ok(())) } => {
                self.reload_view();
                self.spread(Some(paired.device));
                self.finish_pairing(id, &paired);
            }
            Done::Stored { id, result: Ok(Err(error)), .. } => {
                let failure = Failure::new(Kind::BadRequest, format!("Not possible: {error}."));
                self.fail_pairing(id, failure);
            }
            Done::Stored { id, result: Err(error), .. } => self.fail_pairing(id, Failure::from(error)),
            Done::Lowered(Ok(())) => self.reload_view(),
            Done::Lowered(Err(error)) => warn!(%error, "a role was not lowered"),
        }
    }

    fn finish_pairing(&mut self, id: u64, paired: &Paired) {
        info!(device = %paired.device.short(), role = ?paired.role, "paired");
        let name = match paired.card.label.as_str() {
            "" => paired.device.short(),
            label => label.to_owned(),
        };
        let stored = Stored { name, devices: self.trusting.devices() };
        let now = self.pairing_now();
        self.pairing.pairings.handle_stored(id, Ok(stored), now);
    }

    fn fail_pairing(&mut self, id: u64, failure: Failure) {
        let now = self.pairing_now();
        self.pairing.pairings.handle_stored(id, Err(failure), now);
    }
}
