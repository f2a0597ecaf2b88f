//! Pairing as it goes on: open codes, typed codes, and the devices between.
//!
//! The protocol's two machines say what is sent and when; this says to whom,
//! over which connection, and what the people hear of it. Pure like
//! [`crate::state`]: tell it what happened, drain [`Pairings::poll`], wait for
//! [`Pairings::deadline`].
//!
//! ```text
//! request ---> Hosting ---> Host (protocol)  ---> answers, what to store
//! found, ----> Joining ---> Joiner (protocol) --> dials, questions, what to store
//! connected
//! ```
//!
//! Trust is on disk before the other side or a person hears of it: after
//! [`Output::Store`] a pairing stands still until [`Pairings::handle_stored`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use kinsync_protocol::card::Card;
use kinsync_protocol::code::Code;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing;
use kinsync_protocol::pairing::host::RequestId;
use kinsync_protocol::pairing::message::{Refusal, Request, Response};
use kinsync_protocol::trust::{self, Standing};
use libp2p::Multiaddr;

use crate::events::Event;
use crate::failure::Failure;
use crate::request::{PairJoin, PairOpen, PairOpened, Role, Verdict};
use crate::swarm::addresses::{Place, Reach};
use crate::swarm::{RequestError, Window, exchange};

mod api;
mod candidates;
mod failures;
mod hosting;
mod joining;
mod target;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among many")]
mod tests;

pub use api::{AskId, DialId, Me, Now, Output, Random, Stored, Surroundings};
use hosting::Hosting;
use joining::Joining;
use target::Target;

/// Codes that are open at once. Each invites three guesses, and nobody shows
/// more than one or two.
pub const WINDOWS_MAX: usize = 4;

/// Typed codes that are looked for at once.
pub const JOINS_MAX: usize = 4;

/// Codes that are over and still tell latecomers so.
const CLOSED_MAX: usize = 8;

/// The longest life of a code that lets anybody in unasked.
pub const UNASKED_LIFETIME_MAX: Duration = Duration::from_secs(600);

/// Draws of a code until one has a nameplate that is free here. With a dozen
/// of four hundred taken, one in thirty draws fails.
const DRAWS_MAX: usize = 64;

/// All pairings of a node.
pub struct Pairings<R = exchange::Reply> {
    random: Random,
    hosting: BTreeMap<u64, Hosting>,
    joining: BTreeMap<u64, Joining>,
    replies: BTreeMap<RequestId, (DeviceId, R)>,
    connected: BTreeMap<DeviceId, Standing>,
    numbers: Numbers,
    window: Window,
    outputs: VecDeque<Output<R>>,
}

/// Numbers for requests, questions and dials.
#[derive(Debug, Default)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What the parts of a [`Pairings`] work with.
struct Context<'a, R> {
    now: Now,
    random: &'a mut Random,
    numbers: &'a mut Numbers,
    replies: &'a mut BTreeMap<RequestId, (DeviceId, R)>,
    connected: &'a BTreeMap<DeviceId, Standing>,
    outputs: &'a mut VecDeque<Output<R>>,
}

impl<R> Context<'_, R> {
    fn put(&mut self, output: Output<R>) {
        self.outputs.push_back(output);
    }

    fn emit(&mut self, event: Event) {
        self.put(Output::Emit(event));
    }
}

impl<R> Pairings<R> {
    /// No pairing yet. `random` has to be the system's.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            hosting: BTreeMap::new(),
            joining: BTreeMap::new(),
            replies: BTreeMap::new(),
            connected: BTreeMap::new(),
            numbers: Numbers::default(),
            window: Window::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Opens a code. `id` is the number of the pairing, never used before;
    /// `addresses` are those that this device listens at.
    ///
    /// # Errors
    ///
    /// Too many codes are open, or one that asks nobody would live too long.
    pub fn open(
        &mut self,
        id: u64,
        request: &PairOpen,
        me: Me,
        addresses: &[Multiaddr],
        now: Now,
    ) -> Result<PairOpened, Failure> {
        self.pass(now);
        if self.hosting.values().filter(|window| window.is_open()).count() >= WINDOWS_MAX {
            return Err(failures::too_many_windows());
        }
        let lifetime = request.expires_s.map_or(pairing::LIFETIME, Duration::from_secs);
        if request.yes && lifetime > UNASKED_LIFETIME_MAX {
            return Err(failures::unasked_for_too_long());
        }
        let lifetime = lifetime.clamp(pairing::LIFETIME_MIN, pairing::LIFETIME_MAX);
        let code = self.draw_code()?;
        let device = me.device();
        let places = places(addresses, device);
        let expires_at = now.wall.plus(lifetime);
        let window = Hosting::open(id, request, &me, code, lifetime, now.passed);
        let opened = window.opened(device, &places, expires_at);
        self.hosting.insert(id, window);
        self.settle(now);
        Ok(opened)
    }

    /// Looks for the device that shows a code. `id` is the number of the
    /// pairing, never used before.
    ///
    /// # Errors
    ///
    /// What was typed is no code, ticket or address, or too many searches run.
    pub fn join(
        &mut self,
        id: u64,
        request: &PairJoin,
        me: Me,
        around: Surroundings,
        now: Now,
    ) -> Result<(), Failure> {
        self.pass(now);
        if self.joining.len() >= JOINS_MAX {
            return Err(failures::too_many_joins());
        }
        let target = Target::read(request, me.device())?;
        let is_ours =
            self.hosting.values().any(|window| window.is_open() && window.nameplate() == target.nameplate());
        let mut joining = Joining::new(id, target, &me, around, is_ours, now);
        // The way out has to be open before anybody is dialled.
        self.open_window(Window { joining: true, ..self.window });
        joining.begin(&mut self.context(now));
        self.joining.insert(id, joining);
        self.settle(now);
        Ok(())
    }

    /// The answer of the person at the host; never grants more than the code
    /// can.
    ///
    /// # Errors
    ///
    /// There is no such pairing, or nothing that waits for an answer.
    pub fn answer(&mut self, id: u64, verdict: Verdict, now: Now) -> Result<(), Failure> {
        self.pass(now);
        let result = match self.hosting.get_mut(&id) {
            Some(window) => window.answer(verdict, now),
            None if self.joining.contains_key(&id) => Err(failures::nothing_to_answer()),
            None => Err(failures::no_such_pairing(id)),
        };
        self.settle(now);
        result
    }

    /// Ends a pairing on either side. What is being stored already cannot be
    /// taken back any more; it ends as paired.
    ///
    /// # Errors
    ///
    /// There is no such pairing.
    pub fn cancel(&mut self, id: u64, now: Now) -> Result<(), Failure> {
        self.pass(now);
        if let Some(window) = self.hosting.get_mut(&id).filter(|window| window.is_open()) {
            window.withdraw();
        } else if let Some(mut joining) = self.joining.remove(&id) {
            if !joining.cancel(&mut self.context(now)) {
                self.joining.insert(id, joining);
            }
        } else {
            return Err(failures::no_such_pairing(id));
        }
        self.settle(now);
        Ok(())
    }

    /// Handles a request by `device`, whose key the transport has proven and
    /// whose `standing` is that of this moment.
    pub fn handle_request(&mut self, device: DeviceId, standing: Standing, frame: &[u8], reply: R, now: Now) {
        self.pass(now);
        let Ok(request) = Request::decode(frame) else {
            return self.refuse(reply, Refusal::BadMessage);
        };
        let Some(id) = self.window_for(device, &request) else {
            let hello = request.run().is_none();
            return self.refuse(reply, if hello { Refusal::NoSuchCode } else { Refusal::BadMessage });
        };
        let number = RequestId(self.numbers.next());
        self.replies.insert(number, (device, reply));
        if let Some(window) = self.hosting.get_mut(&id) {
            window.handle_request(device, standing, number, request, now.passed, &mut self.random);
        }
        self.settle(now);
    }

    /// Handles the response to a question, or the lack of one.
    pub fn handle_response(&mut self, ask: AskId, response: Result<Vec<u8>, RequestError>, now: Now) {
        self.pass(now);
        self.with_joins(now, |joining, context| {
            joining.handle_response(ask, response.as_deref().ok(), context)
        });
        self.settle(now);
    }

    /// A device was seen on the local network, trusted or not.
    pub fn handle_found(&mut self, device: DeviceId, place: &Place, standing: Standing, now: Now) {
        self.pass(now);
        self.with_joins(now, |joining, _| joining.handle_found(device, place, standing));
        self.settle(now);
    }

    /// A connection with a device is up, whoever made it. `dial` names the
    /// dial of ours that it came from, if it was one.
    pub fn handle_connected(&mut self, device: DeviceId, standing: Standing, dial: Option<DialId>, now: Now) {
        self.pass(now);
        self.connected.insert(device, standing);
        self.with_joins(now, |joining, context| joining.handle_connected(device, standing, dial, context));
        self.settle(now);
    }

    /// The last connection with a device is gone.
    pub fn handle_disconnected(&mut self, device: DeviceId, now: Now) {
        self.pass(now);
        self.connected.remove(&device);
        for window in self.hosting.values_mut() {
            window.handle_disconnect(device);
        }
        self.replies.retain(|_, (asker, _)| *asker != device);
        self.settle(now);
    }

    /// A dial of ours reached nobody, or not the device that was meant.
    pub fn handle_unreachable(&mut self, dial: DialId, now: Now) {
        self.pass(now);
        self.with_joins(now, |joining, context| joining.handle_unreachable(dial, context));
        self.settle(now);
    }

    /// What [`Output::Store`] asked for is on disk and in effect, or failed.
    pub fn handle_stored(&mut self, id: u64, result: Result<Stored, Failure>, now: Now) {
        if let Some(mut window) = self.hosting.remove(&id) {
            if window.handle_stored(result, &mut self.context(now)) {
                self.hosting.insert(id, window);
            }
        } else if let Some(mut joining) = self.joining.remove(&id)
            && joining.handle_stored(result, &mut self.context(now))
        {
            self.joining.insert(id, joining);
        }
        self.settle(now);
    }

    /// This device has a new key, as [`Output::RenewKey`] asked for, or could
    /// not get one. Every connection is gone, and with the old key all other
    /// pairings.
    pub fn handle_renewed(&mut self, id: u64, result: Result<Me, Failure>, now: Now) {
        let Some(mut joining) = self.joining.remove(&id) else {
            return;
        };
        match result {
            Err(failure) => self.outputs.push_back(Output::Emit(Event::Failed { pairing: id, failure })),
            Ok(me) => {
                let others = self.hosting.values().filter(|window| window.is_open()).map(Hosting::id);
                for pairing in others.chain(self.joining.keys().copied()) {
                    let failure = failures::renewed();
                    self.outputs.push_back(Output::Emit(Event::Failed { pairing, failure }));
                }
                self.hosting.clear();
                self.joining.clear();
                self.replies.clear();
                self.connected.clear();
                self.window = Window::default();
                self.open_window(Window { hosting: false, joining: true });
                joining.renew(&me, now);
                joining.begin(&mut self.context(now));
                self.joining.insert(id, joining);
            }
        }
        self.settle(now);
    }

    /// Ends whatever is overdue. Early and repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        self.pass(now);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output<R>> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let windows = self.hosting.values().filter_map(Hosting::deadline);
        windows.chain(self.joining.values().filter_map(Joining::deadline)).min()
    }

    /// Whether a pairing needs the network to be looked at closely.
    pub fn is_searching(&self) -> bool {
        !self.joining.is_empty()
    }

    /// Which window a request is for: the one that expects it, or else, so that
    /// it can say why not, the one that the device has greeted.
    fn window_for(&self, device: DeviceId, request: &Request) -> Option<u64> {
        let expecting = |window: &&Hosting| window.expects(device, request);
        let open = self.hosting.values().filter(|window| window.is_open()).find(expecting);
        let expected = open.or_else(|| self.hosting.values().find(expecting));
        let greeted = || self.hosting.values().rev().find(|window| window.was_greeted_by(device));
        let late = request.run().and_then(|_| greeted());
        expected.or(late).map(Hosting::id)
    }

    fn refuse(&mut self, reply: R, refusal: Refusal) {
        let frame = Response::Refuse { refusal, tries_left: None }.encode();
        self.outputs.push_back(Output::Answer { reply, frame });
    }

    /// Draws a code whose nameplate no window here has: a joiner that sees the
    /// nameplate must be right about the window.
    fn draw_code(&mut self) -> Result<Code, Failure> {
        for _ in 0..DRAWS_MAX {
            let code = Code::generate(&mut self.random);
            if !self.hosting.values().any(|window| window.nameplate() == code.nameplate()) {
                return Ok(code);
            }
        }
        Err(Failure::internal("no nameplate is free"))
    }

    /// Lets time pass in all machines.
    fn pass(&mut self, now: Now) {
        for window in self.hosting.values_mut() {
            window.handle_timeout(now.passed);
        }
        for joining in self.joining.values_mut() {
            joining.handle_timeout(now.passed);
        }
    }

    fn with_joins(&mut self, now: Now, mut each: impl FnMut(&mut Joining, &mut Context<'_, R>)) {
        let mut joins = std::mem::take(&mut self.joining);
        let mut context = self.context(now);
        joins.values_mut().for_each(|joining| each(joining, &mut context));
        self.joining = joins;
    }

    /// Does what the machines say, and forgets what is over.
    fn settle(&mut self, now: Now) {
        let mut windows = std::mem::take(&mut self.hosting);
        let mut context = self.context(now);
        windows.values_mut().for_each(|window| window.drain(&mut context));
        windows.retain(|_, window| window.is_kept(now.passed));
        while windows.values().filter(|window| !window.is_open()).count() > CLOSED_MAX {
            let oldest = windows.values().find(|window| !window.is_open()).map(Hosting::id);
            oldest.and_then(|id| windows.remove(&id));
        }
        self.hosting = windows;

        let mut joins = std::mem::take(&mut self.joining);
        let mut context = self.context(now);
        joins.retain(|_, joining| joining.drain(&mut context));
        self.joining = joins;
        self.open_window(Window { hosting: !self.hosting.is_empty(), joining: !self.joining.is_empty() });
    }

    fn open_window(&mut self, window: Window) {
        if window != self.window {
            self.window = window;
            self.outputs.push_back(Output::Window(window));
        }
    }

    fn context(&mut self, now: Now) -> Context<'_, R> {
        Context {
            now,
            random: &mut self.random,
            numbers: &mut self.numbers,
            replies: &mut self.replies,
            connected: &self.connected,
            outputs: &mut self.outputs,
        }
    }
}

/// Shows how many pairings there are, and nothing of their codes.
impl<R> fmt::Debug for Pairings<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairings")
            .field("hosting", &self.hosting.len())
            .field("joining", &self.joining.len())
            .finish_non_exhaustive()
    }
}

/// Where another device can reach this one: what leads off the machine, or
/// loopback if nothing does.
fn places(addresses: &[Multiaddr], me: DeviceId) -> Vec<Multiaddr> {
    let mut places: Vec<_> = addresses.iter().filter_map(|address| Place::told(address, &me)).collect();
    drop_loopback(&mut places);
    places.sort_by_key(|place| (place.carrier(), place.reach()));
    places.iter().map(Place::address).collect()
}

/// Drops the places that are the dialler's own machine, if there are others.
fn drop_loopback(places: &mut Vec<Place>) {
    if places.iter().any(|place| place.reach() != Reach::Loopback) {
        places.retain(|place| place.reach() != Reach::Loopback);
    }
}

/// A name to show: the label, or the id of a device without one.
fn shown(card: &Card, device: DeviceId) -> String {
    if card.label.is_empty() { device.short() } else { card.label.clone() }
}

fn role_of(role: Role) -> trust::Role {
    match role {
        Role::Once => trust::Role::Once,
        Role::Guest => trust::Role::Guest,
        Role::Kin => trust::Role::Kin,
    }
}

fn shown_role(role: trust::Role) -> Role {
    match role {
        trust::Role::Once => Role::Once,
        trust::Role::Guest => Role::Guest,
        trust::Role::Kin => Role::Kin,
    }
}

fn is_trusted(standing: Standing) -> bool {
    matches!(standing, Standing::Once | Standing::Guest | Standing::Kin)
}
