//! A local network in memory: links, doors and stores, and no time of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use kinsync_protocol::hash::tagged;

use super::*;

/// Steps after which a world that has not come to rest never will.
const STEPS_MAX: usize = 100_000;

/// What becomes of trust that is to be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Store {
    Fails,
    Held,
    Works,
}

/// The way back to whoever asked; says so when it is dropped unused.
#[derive(Debug)]
pub(super) struct Back {
    asker: usize,
    ask: AskId,
    dropped: Rc<RefCell<Vec<(usize, AskId)>>>,
}

impl Drop for Back {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push((self.asker, self.ask));
    }
}

struct Device {
    key: SigningKey,
    label: String,
    place: Place,
    pairings: Pairings<Back>,
    window: Window,
    spared: BTreeSet<DeviceId>,
    trust: BTreeMap<DeviceId, Standing>,
    store: Store,
    held: VecDeque<(u64, Box<Paired>)>,
    events: Vec<Event>,
    is_online: bool,
    is_announced: bool,
    dials: usize,
    asked: usize,
    renewable: bool,
}

impl Device {
    fn id(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    fn standing(&self, device: DeviceId) -> Standing {
        self.trust.get(&device).copied().unwrap_or(Standing::Stranger)
    }

    fn lets_in(&self, device: DeviceId) -> bool {
        is_trusted(self.standing(device)) || self.window.hosting || self.spared.contains(&device)
    }

    fn goes_to(&self, device: DeviceId) -> bool {
        is_trusted(self.standing(device)) || self.window.joining || self.spared.contains(&device)
    }
}

pub(super) struct World {
    devices: Vec<Device>,
    now: Now,
    links: BTreeSet<(usize, usize)>,
    /// Questions on their way: who asks, what, whom.
    open: BTreeMap<(usize, AskId), usize>,
    dropped: Rc<RefCell<Vec<(usize, AskId)>>>,
    pairing: u64,
    printed: String,
    /// Answers of this device are lost from now on.
    mute: BTreeSet<usize>,
}

fn random(seed: u8) -> Random {
    let mut count = 0u64;
    Box::new(move |buffer: &mut [u8]| {
        for chunk in buffer.chunks_mut(32) {
            count += 1;
            let bytes = tagged("test", &[&[seed], &count.to_be_bytes()]);
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    })
}

impl World {
    /// Devices that see each other and trust nobody.
    pub(super) fn new(count: u8) -> Self {
        let mut world = Self {
            devices: Vec::new(),
            now: Now { passed: seconds(1_000), wall: Moment(1_795_159_811_000) },
            links: BTreeSet::new(),
            open: BTreeMap::new(),
            dropped: Rc::default(),
            pairing: 0,
            printed: String::new(),
            mute: BTreeSet::new(),
        };
        for name in 0..count {
            let labels = ["desktop", "phone", "laptop"];
            let label = labels.get(usize::from(name)).map_or(format!("foreign {name}"), ToString::to_string);
            let address = format!("/ip4/192.168.1.{}/tcp/7842", name + 1).parse().unwrap();
            let key = SigningKey::from_bytes(&[name + 1; 32]);
            let device = DeviceId(key.verifying_key().to_bytes());
            world.devices.push(Device {
                key,
                label,
                place: Place::told(&address, &device).unwrap(),
                pairings: Pairings::new(random(name)),
                window: Window::default(),
                spared: BTreeSet::new(),
                trust: BTreeMap::new(),
                store: Store::Works,
                held: VecDeque::new(),
                events: Vec::new(),
                is_online: true,
                is_announced: true,
                dials: 0,
                asked: 0,
                renewable: true,
            });
        }
        world
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn id(&self, device: usize) -> DeviceId {
        self.devices[device].id()
    }

    pub(super) fn address(&self, device: usize) -> Multiaddr {
        self.devices[device].place.address()
    }

    pub(super) fn events(&self, device: usize) -> &[Event] {
        &self.devices[device].events
    }

    pub(super) fn window(&self, device: usize) -> Window {
        self.devices[device].window
    }

    pub(super) fn deadline(&self, device: usize) -> Option<Duration> {
        self.devices[device].pairings.deadline()
    }

    pub(super) fn trusted(&self, device: usize) -> Vec<(DeviceId, Standing)> {
        self.devices[device].trust.iter().map(|(id, standing)| (*id, *standing)).collect()
    }

    /// How many codes a device keeps, open ones and others.
    pub(super) fn windows(&self, device: usize) -> usize {
        self.devices[device].pairings.hosting.len()
    }

    /// How many places a device has dialled.
    pub(super) fn dials(&self, device: usize) -> usize {
        self.devices[device].dials
    }

    /// How many questions a device has asked.
    pub(super) fn asked(&self, device: usize) -> usize {
        self.devices[device].asked
    }

    pub(super) fn links(&self, device: usize) -> usize {
        self.links.iter().filter(|(a, b)| *a == device || *b == device).count()
    }

    /// Everything that could have been printed.
    pub(super) fn printed(&self) -> String {
        self.printed.clone()
    }

    pub(super) fn set_trust(&mut self, device: usize, other: usize, standing: Standing) {
        let id = self.id(other);
        self.devices[device].trust.insert(id, standing);
    }

    pub(super) fn set_store(&mut self, device: usize, store: Store) {
        self.devices[device].store = store;
    }

    pub(super) fn set_renewable(&mut self, device: usize, renewable: bool) {
        self.devices[device].renewable = renewable;
    }

    /// Whether others see it without being told where it is.
    pub(super) fn set_announced(&mut self, device: usize, announced: bool) {
        self.devices[device].is_announced = announced;
    }

    /// Whether its answers arrive.
    pub(super) fn set_mute(&mut self, device: usize, mute: bool) {
        if mute {
            self.mute.insert(device)
        } else {
            self.mute.remove(&device)
        };
    }

    pub(super) fn is_storing(&self, device: usize) -> bool {
        !self.devices[device].held.is_empty()
    }

    pub(super) fn finish_storing(&mut self, device: usize) {
        while let Some((id, paired)) = self.devices[device].held.pop_front() {
            self.store(device, id, &paired);
        }
        self.settle();
    }

    pub(super) fn open(&mut self, device: usize, request: &PairOpen) -> PairOpened {
        self.try_open(device, request).expect("a code")
    }

    pub(super) fn try_open(&mut self, device: usize, request: &PairOpen) -> Result<PairOpened, Failure> {
        self.pairing += 1;
        let (id, now, me, address) = (self.pairing, self.now, self.me(device), self.address(device));
        let loopback: Multiaddr = "/ip4/127.0.0.1/tcp/7842".parse().unwrap();
        let result = self.devices[device].pairings.open(id, request, me, &[loopback, address], now);
        self.settle();
        result
    }

    pub(super) fn join(&mut self, device: usize, request: &PairJoin) -> u64 {
        self.try_join(device, request).expect("a join")
    }

    pub(super) fn try_join(&mut self, device: usize, request: &PairJoin) -> Result<u64, Failure> {
        self.pairing += 1;
        let (id, now, me) = (self.pairing, self.now, self.me(device));
        let renewable = self.devices[device].renewable;
        let around = Surroundings { mdns: true, interfaces: 2, renewable };
        let result = self.devices[device].pairings.join(id, request, me, around, now);
        self.settle();
        result.map(|()| id)
    }

    pub(super) fn answer(&mut self, device: usize, pairing: u64, verdict: Verdict) -> Result<(), Failure> {
        let result = self.devices[device].pairings.answer(pairing, verdict, self.now);
        self.settle();
        result
    }

    pub(super) fn cancel(&mut self, device: usize, pairing: u64) -> Result<(), Failure> {
        let result = self.devices[device].pairings.cancel(pairing, self.now);
        self.settle();
        result
    }

    /// Cuts a device off, or lets it back.
    pub(super) fn set_online(&mut self, device: usize, online: bool) {
        self.devices[device].is_online = online;
        if !online {
            for other in 0..self.devices.len() {
                self.unlink(device, other);
            }
        }
        self.settle();
    }

    /// Starts a device anew: what was in memory only is gone.
    pub(super) fn restart(&mut self, device: usize) {
        self.devices[device].pairings = Pairings::new(random(100));
        self.devices[device].window = Window::default();
        self.devices[device].spared.clear();
        self.set_online(device, false);
        self.devices[device].is_online = true;
    }

    /// Has everybody see a device.
    pub(super) fn announce(&mut self, device: usize) {
        let (id, place) = (self.id(device), self.devices[device].place.clone());
        for other in (0..self.devices.len()).filter(|other| *other != device) {
            let standing = self.devices[other].standing(id);
            self.devices[other].pairings.handle_found(id, &place, standing, self.now);
        }
        self.settle();
    }

    /// Connects two devices that trust each other.
    pub(super) fn connect(&mut self, device: usize, other: usize) {
        self.link(device, other, None);
        self.settle();
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.passed + span;
        loop {
            let next = self.devices.iter().filter_map(|device| device.pairings.deadline()).min();
            let at = next.map_or(end, |at| at.clamp(self.now.passed, end));
            self.now.wall = self.now.wall.plus(at - self.now.passed);
            self.now.passed = at;
            for device in &mut self.devices {
                device.pairings.handle_timeout(self.now);
            }
            self.settle();
            if at == end {
                return;
            }
        }
    }

    fn me(&self, device: usize) -> Me {
        let device = &self.devices[device];
        let (label, platform) = (device.label.clone(), "linux".to_owned());
        Me { key: device.key.clone(), card: Card { label, platform, ..Card::default() } }
    }

    fn index(&self, id: DeviceId) -> Option<usize> {
        self.devices.iter().position(|device| device.id() == id)
    }

    /// Runs until nobody has anything to do.
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let dropped = std::mem::take(&mut *self.dropped.borrow_mut());
            for (asker, ask) in dropped {
                self.respond(asker, ask, Err(RequestError::CutShort));
            }
            let Some((device, output)) = (0..self.devices.len())
                .find_map(|device| Some((device, self.devices[device].pairings.poll()?)))
            else {
                if self.dropped.borrow().is_empty() {
                    return;
                }
                continue;
            };
            self.printed.push_str(&format!("{output:?}\n{:?}\n", self.devices[device].pairings));
            self.perform(device, output);
        }
        panic!("not settled after {STEPS_MAX} steps");
    }

    fn perform(&mut self, device: usize, output: Output<Back>) {
        match output {
            Output::Answer { reply, frame } => {
                if !self.mute.contains(&device) {
                    self.respond(reply.asker, reply.ask, Ok(frame));
                }
            }
            Output::Ask { device: to, ask, frame } => self.ask(device, to, ask, &frame),
            Output::Dial { dial, device: expected, addresses } => {
                self.dial(device, dial, expected, &addresses);
            }
            Output::Disconnect(other) => {
                let other = self.index(other).unwrap();
                if !is_trusted(self.devices[device].standing(self.id(other))) {
                    self.unlink(device, other);
                }
            }
            Output::Emit(event) => self.devices[device].events.push(event),
            Output::Lower { device: other, role } => {
                self.devices[device].trust.insert(other, standing(role));
            }
            Output::RenewKey { id } => self.renew(device, id),
            Output::Rescan => {
                for other in 0..self.devices.len() {
                    let seen = &self.devices[other];
                    if other != device && seen.is_online && seen.is_announced {
                        let (id, place) = (seen.id(), seen.place.clone());
                        let standing = self.devices[device].standing(id);
                        self.devices[device].pairings.handle_found(id, &place, standing, self.now);
                    }
                }
            }
            Output::Spare { device: other, spared } => {
                let all = &mut self.devices[device].spared;
                if spared {
                    all.insert(other)
                } else {
                    all.remove(&other)
                };
                self.dismiss(device);
            }
            Output::Store { id, paired } => match self.devices[device].store {
                Store::Works => self.store(device, id, &paired),
                Store::Held => self.devices[device].held.push_back((id, paired)),
                Store::Fails => {
                    let failure = Failure::new(Kind::DiskFull, "The disk is full.");
                    self.devices[device].pairings.handle_stored(id, Err(failure), self.now);
                }
            },
            Output::Window(window) => {
                self.devices[device].window = window;
                self.dismiss(device);
            }
        }
    }

    fn store(&mut self, device: usize, id: u64, paired: &Paired) {
        let now = self.now;
        let device = &mut self.devices[device];
        device.trust.insert(paired.device, standing(paired.role));
        device.spared.remove(&paired.device);
        let devices = 1 + device.trust.values().filter(|standing| is_trusted(**standing)).count() as u64;
        let stored = Stored { name: paired.card.label.clone(), devices };
        device.pairings.handle_stored(id, Ok(stored), now);
    }

    fn ask(&mut self, device: usize, to: DeviceId, ask: AskId, frame: &[u8]) {
        self.devices[device].asked += 1;
        self.open.insert((device, ask), usize::MAX);
        let me = self.id(device);
        let target = self.index(to).filter(|other| self.links.contains(&pair(device, *other)));
        let Some(other) = target else {
            return self.respond(device, ask, Err(RequestError::NotConnected));
        };
        self.open.insert((device, ask), other);
        if !self.devices[other].lets_in(me) && !self.devices[other].standing(me).is_dead() {
            return self.respond(device, ask, Err(RequestError::Refused));
        }
        let back = Back { asker: device, ask, dropped: Rc::clone(&self.dropped) };
        let standing = self.devices[other].standing(me);
        self.devices[other].pairings.handle_request(me, standing, frame, back, self.now);
    }

    fn respond(&mut self, asker: usize, ask: AskId, response: Result<Vec<u8>, RequestError>) {
        if self.open.remove(&(asker, ask)).is_some() {
            self.devices[asker].pairings.handle_response(ask, response, self.now);
        }
    }

    fn dial(&mut self, device: usize, dial: DialId, expected: Option<DeviceId>, addresses: &[Multiaddr]) {
        self.devices[device].dials += 1;
        let at = |other: &&usize| {
            let other = &self.devices[**other];
            other.is_online && addresses.contains(&other.place.address())
        };
        let other = (0..self.devices.len()).collect::<Vec<_>>().iter().find(at).copied();
        let reached = other.filter(|other| expected.is_none_or(|expected| expected == self.id(*other)));
        match reached {
            Some(other) if self.devices[device].goes_to(self.id(other)) => {
                self.link(device, other, Some(dial));
                let dead = self.devices[other].standing(self.id(device)).is_dead();
                if !self.devices[other].lets_in(self.id(device)) && !dead {
                    // Closed doors are found out only after the handshake.
                    self.unlink(device, other);
                }
            }
            _ => self.devices[device].pairings.handle_unreachable(dial, self.now),
        }
    }

    fn link(&mut self, device: usize, other: usize, dial: Option<DialId>) {
        self.links.insert(pair(device, other));
        for (here, there, dial) in [(device, other, dial), (other, device, None)] {
            let (id, now) = (self.id(there), self.now);
            let standing = self.devices[here].standing(id);
            self.devices[here].pairings.handle_connected(id, standing, dial, now);
        }
    }

    fn unlink(&mut self, device: usize, other: usize) {
        if !self.links.remove(&pair(device, other)) {
            return;
        }
        for (here, there) in [(device, other), (other, device)] {
            let id = self.id(there);
            self.devices[here].pairings.handle_disconnected(id, self.now);
            let lost = self.open.iter().filter(|((asker, _), to)| *asker == here && **to == there);
            for (asker, ask) in lost.map(|(open, _)| *open).collect::<Vec<_>>() {
                self.respond(asker, ask, Err(RequestError::Closed));
            }
        }
    }

    /// Shows strangers out whom nothing lets stay.
    fn dismiss(&mut self, device: usize) {
        for other in 0..self.devices.len() {
            let id = self.id(other);
            let here = &self.devices[device];
            if !here.lets_in(id) && !here.goes_to(id) && !here.standing(id).is_dead() {
                self.unlink(device, other);
            }
        }
    }

    fn renew(&mut self, device: usize, pairing: u64) {
        for other in 0..self.devices.len() {
            self.unlink(device, other);
        }
        let seed = tagged("test", &[self.devices[device].key.as_bytes()]);
        self.devices[device].key = SigningKey::from_bytes(&seed);
        self.devices[device].trust.clear();
        self.devices[device].window = Window::default();
        let me = self.me(device);
        self.devices[device].pairings.handle_renewed(pairing, Ok(me), self.now);
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn standing(role: trust::Role) -> Standing {
    match role {
        trust::Role::Once => Standing::Once,
        trust::Role::Guest => Standing::Guest,
        trust::Role::Kin => Standing::Kin,
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
