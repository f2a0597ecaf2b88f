//! A whole world from one number: devices, a bad network, users, and laws that
//! are checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::SigningKey;
use fastrand::Rng;
use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::Key;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::wire::frame::{Request, Response};

use crate::device::{Clock, Device, Durability, Habits, Mail, Out};
use crate::disk::{Disk, Place};
use crate::laws::{Laws, Violation};
use crate::net::Network;
use crate::plan::{Fault, Plan, Shape, draw_rights};
use crate::planted::Planted;
use crate::planted::view::Lens;
use crate::trace::{Moment, Printer, Trace, WORLD};

/// No world takes more steps than this: more would be a storm.
const STEPS_MAX: u64 = 100_000;

/// What a world is made of beside its seed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// A mistake that its devices make.
    pub planted: Option<Planted>,
    /// Whether repairs find nothing, so that only cursors move records.
    pub cursors_only: bool,
    /// Whether devices limit what others may do.
    pub rights: bool,
}

/// What became of a world in which every law held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Worlds in it.
    pub worlds: u64,
    /// Steps taken.
    pub steps: u64,
    /// Simulated milliseconds, all devices together.
    pub device_millis: u64,
    /// Records written by users.
    pub writes: u64,
    /// Times that a device lost power.
    pub crashes: u64,
    /// Backups put back.
    pub restores: u64,
    /// Devices revoked.
    pub revocations: u64,
    /// Sessions that came to their end.
    pub sessions: u64,
    /// The hash of the whole trace.
    pub hash: u64,
}

impl Report {
    /// Adds what other worlds came to, in whatever order.
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.steps += other.steps;
        self.device_millis += other.device_millis;
        self.writes += other.writes;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.revocations += other.revocations;
        self.sessions += other.sessions;
        self.hash ^= other.hash;
    }
}

/// A world in which a law did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Its options.
    pub options: Options,
    /// When it was noticed.
    pub at: u64,
    /// What was noticed.
    pub violation: Violation,
    /// Which store the world ran over.
    pub store: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { law, text } = &self.violation;
        writeln!(f, "seed {} breaks a law at {}", self.seed, Moment(self.at))?;
        writeln!(f, "  law:    {law}")?;
        writeln!(f, "  seen:   {text}")?;
        write!(f, "  replay: scripts/sim --seed {} --trace", self.seed)?;
        if let Some(planted) = self.options.planted {
            write!(f, " --planted {planted:?}")?;
        }
        if self.options.cursors_only {
            write!(f, " --cursors-only")?;
        }
        if self.options.rights {
            write!(f, " --rights")?;
        }
        if self.store != "memory" {
            write!(f, " --store {}", self.store)?;
        }
        Ok(())
    }
}

/// Runs the world of `seed` over one kind of store.
///
/// The trace goes to `printer`, if there is one. Two runs with the same
/// arguments take the same steps.
pub fn run<D: Disk>(seed: u64, options: Options, printer: Option<Printer>) -> Result<Report, Box<Failure>> {
    let mut world = World::<D>::new(seed, options, printer);
    match world.live() {
        Ok(()) => Ok(Report { worlds: 1, hash: world.trace.hash(), ..world.report }),
        Err(violation) => {
            let (line, law) = (violation.text.clone(), violation.law);
            world.trace.note(world.now, WORLD, law.as_bytes(), || format!("BREAKS {law}: {line}"));
            Err(Box::new(Failure { seed, options, at: world.now, violation, store: D::NAME }))
        }
    }
}

enum Event {
    Deliver(Mail),
    Wake(usize),
    Sync {
        device: usize,
        life: u64,
    },
    Start {
        device: usize,
        life: u64,
    },
    Write,
    /// A user does what was lost once more.
    Again {
        device: usize,
        place: Place,
        deletes: bool,
    },
    Fault(Fault),
}

struct World<D: Disk> {
    plan: Plan,
    now: u64,
    rng: Rng,
    network: Network,
    devices: Vec<Device<D>>,
    backups: Vec<Option<D::Backup>>,
    /// What the user of each device wrote last, and whether that deleted it.
    latest: Vec<Option<(Place, bool)>>,
    /// Until when each device hangs.
    hangs: Vec<u64>,
    /// When each device is woken next.
    wakes: Vec<u64>,
    /// Whether each device's next sync is scheduled.
    syncing: Vec<bool>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// Who revokes whom as soon as something of the other waits.
    armed: Option<(usize, usize)>,
    /// Who lets whom do less as soon as something is under way between them.
    narrowing: Option<(usize, usize)>,
    /// Who sent something to whom since all is quiet.
    asked: BTreeSet<(usize, usize)>,
    revokers: BTreeSet<usize>,
    subjects: BTreeSet<usize>,
    laws: Laws,
    trace: Trace,
    report: Report,
}

impl<D: Disk> World<D> {
    fn new(seed: u64, options: Options, printer: Option<Printer>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut plan = Plan::draw(&mut rng, options.cursors_only);
        if options.rights {
            plan.draw_rights(&mut rng);
        }
        let mut trace = Trace::new(printer);
        trace.note(0, WORLD, &seed.to_be_bytes(), || format!("seed {seed}: {plan:?}"));
        let lens = Lens { planted: options.planted, cursors_only: options.cursors_only };
        let Plan { interval, durability, pipelined, .. } = plan;
        let habits = Habits { interval, durability, pipelined, lens };
        let keys: Vec<SigningKey> = (0..plan.devices).map(|_| random_key(&mut rng)).collect();
        let ids: Vec<_> = keys.iter().map(|key| DeviceId(key.verifying_key().to_bytes())).collect();
        let devices: Vec<Device<D>> = (0..plan.devices)
            .map(|index| {
                let mut device = Device::new(index, keys[index].clone(), ids.clone(), habits, rng.fork());
                let (offset, drift) = plan.clocks[index];
                device.clock = Clock { offset, drift, grain: plan.grain };
                device
            })
            .collect();
        let mut network = Network::new(plan.delay_max);
        network.loss = plan.loss;
        network.late = plan.late;
        for a in 0..plan.devices {
            for b in 0..a {
                let apart = match plan.shape {
                    Shape::Mesh => false,
                    Shape::Row => a - b != 1,
                    Shape::Star => b != 0,
                };
                if apart {
                    network.keep_apart(a, b);
                }
            }
        }
        let count = plan.devices;
        Self {
            plan,
            now: 0,
            rng,
            network,
            devices,
            backups: (0..count).map(|_| None).collect(),
            latest: vec![None; count],
            hangs: vec![0; count],
            wakes: vec![u64::MAX; count],
            syncing: vec![false; count],
            queue: BTreeMap::new(),
            sequence: 0,
            armed: None,
            narrowing: None,
            asked: BTreeSet::new(),
            revokers: BTreeSet::new(),
            subjects: BTreeSet::new(),
            laws: Laws::new(count, options.rights),
            trace,
            report: Report::default(),
        }
    }

    fn live(&mut self) -> Result<(), Violation> {
        for device in 0..self.devices.len() {
            self.start(device);
        }
        for (granter, subject, rights) in std::mem::take(&mut self.plan.rights) {
            self.allow(granter, subject, rights)?;
        }
        for _ in 0..self.plan.library {
            self.write(0)?;
        }
        let length = self.plan.length;
        for _ in 0..self.plan.work.writes {
            let at = self.rng.u64(..length);
            self.schedule(at, Event::Write);
        }
        for (at, fault) in std::mem::take(&mut self.plan.faults) {
            self.schedule(at, Event::Fault(fault));
        }
        self.run_until(length)?;
        self.heal()?;
        let mut passes = self.network.diameter(self.devices.len()) + 2;
        if self.laws.limited {
            // What may not go straight goes round, and what may not be deleted
            // comes back the same way.
            passes += 2 * self.devices.len() as u64;
        }
        let pass = self.plan.interval + 60_000;
        self.run_until(length + passes * pass)?;
        let network = &self.network;
        self.laws.settled(&self.devices, |a, b| network.meet(a, b))?;
        self.stay_quiet(pass)?;
        self.report.device_millis = self.now * self.devices.len() as u64;
        Ok(())
    }

    /// Equal devices say so to each other in one round trip, and nothing else.
    fn stay_quiet(&mut self, pass: u64) -> Result<(), Violation> {
        self.laws.finished.clear();
        self.laws.quiet = true;
        let end = self.now + pass;
        self.run_until(end)?;
        let living = self.laws.living(&self.devices);
        for &opener in &living {
            let peers = living.iter().copied();
            for peer in peers.filter(|&peer| peer != opener && self.network.meet(opener, peer)) {
                let finished = self.laws.finished.get(&(opener, peer)).copied().unwrap_or(0);
                let most = pass * 4 / (self.plan.interval * 3) + 2;
                if !(1..=most).contains(&finished) {
                    let text = format!("device {opener} finished {finished} sessions with device {peer}");
                    return Err(Violation { law: "a pass a time", text });
                }
            }
        }
        let revoked = |at: &usize| !living.contains(at);
        if let Some((from, to)) = self.asked.iter().find(|(from, to)| revoked(from) && !revoked(to)) {
            let text = format!("device {from} goes on asking device {to}");
            return Err(Violation { law: "a revoked device hears so once and stops", text });
        }
        Ok(())
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.report.steps += 1;
            if self.report.steps > STEPS_MAX {
                let text = format!("{STEPS_MAX} steps and no end");
                return Err(Violation { law: "it settles", text });
            }
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver(mail) => self.deliver(mail),
            Event::Wake(device) => {
                if self.wakes[device] > self.now {
                    return Ok(());
                }
                self.wakes[device] = u64::MAX;
                if self.hangs[device] > self.now {
                    self.wake(device, self.hangs[device]);
                    return Ok(());
                }
                self.with(device, |_, _, _| ())
            }
            Event::Sync { device, life } => {
                if self.devices[device].life != life {
                    return Ok(());
                }
                self.syncing[device] = false;
                self.with(device, |device, now, out| device.synced(now, out))?;
                while self.devices[device].is_ready() {
                    self.with(device, |device, now, out| device.go_on_ready(now, out))?;
                }
                Ok(())
            }
            Event::Start { device, life } => {
                if self.devices[device].life == life && !self.devices[device].up {
                    self.start(device);
                }
                Ok(())
            }
            Event::Write => {
                let device = self.rng.usize(..self.devices.len());
                if self.devices[device].up && self.hangs[device] <= self.now {
                    self.write(device)?;
                }
                Ok(())
            }
            Event::Again { device, place, deletes } => {
                if self.devices[device].up && self.now < self.plan.length {
                    let value = (!deletes).then(|| format!("again {}", self.now).into_bytes());
                    self.report.writes += 1;
                    self.with(device, |device, now, out| device.write(place, value, now, out))?;
                }
                Ok(())
            }
            Event::Fault(fault) => self.strike(fault),
        }
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), Violation> {
        let to = mail.to;
        if !self.devices[to].up || !self.network.is_open(mail.from, to, self.now) {
            return Ok(());
        }
        if self.hangs[to] > self.now {
            self.schedule(self.hangs[to], Event::Deliver(mail));
            return Ok(());
        }
        self.trace.note(self.now, to, &mail.bytes, || {
            let (number, from, bytes) = (mail.number, mail.from, mail.bytes.len());
            format!("gets {} {number} of device {from}, {bytes} bytes{}", kind(&mail), said(&mail))
        });
        self.with(to, |device, now, out| device.receive(mail, now, out))
    }

    /// Lets a device act, judges what it did and carries its messages away.
    fn with(&mut self, at: usize, act: impl FnOnce(&mut Device<D>, u64, &mut Out)) -> Result<(), Violation> {
        if !self.devices[at].up {
            return Ok(());
        }
        let mut out = Out::default();
        let life = self.devices[at].life;
        act(&mut self.devices[at], self.now, &mut out);
        if self.devices[at].up {
            self.devices[at].poll(self.now, &mut out);
        }
        for effect in &out.effects {
            self.trace.note(self.now, at, &[], || format!("{effect:?}"));
            self.laws.judge(at, effect, &self.devices, self.now)?;
            if let crate::device::Effect::Finished { .. } = effect {
                self.report.sessions += 1;
            }
        }
        for mut mail in out.mail {
            mail.ghost = self.laws.ghost(at);
            self.laws.sent(&mail)?;
            self.send(mail);
        }
        if self.devices[at].life != life {
            return self.fallen(at, None);
        }
        if out.unsynced && self.plan.durability != Durability::AtOnce && !self.syncing[at] {
            self.syncing[at] = true;
            let when = self.now + self.rng.u64(1..=self.plan.sync_max);
            self.schedule(when, Event::Sync { device: at, life });
        }
        if let Some(deadline) = self.devices[at].deadline() {
            self.wake(at, deadline);
        }
        if let Some((_, subject)) =
            self.armed.take_if(|(revoker, subject)| *revoker == at && self.devices[at].has_queued(*subject))
        {
            self.revoke(at, subject)?;
        }
        if let Some((_, subject)) = self.narrowing.take_if(|(granter, subject)| {
            let device = &self.devices[at];
            *granter == at && (device.has_queued(*subject) || device.is_in_session(*subject))
        }) {
            let rights =
                Rights { read: self.rng.bool(), write: self.rng.bool(), ..draw_rights(&mut self.rng) };
            self.allow(at, subject, rights)?;
        }
        Ok(())
    }

    /// A user says what another device may do.
    fn allow(&mut self, at: usize, subject: usize, rights: Rights) -> Result<(), Violation> {
        self.with(at, |device, now, out| device.allow(subject, rights, now, out))
    }

    fn send(&mut self, mail: Mail) {
        if self.laws.quiet {
            self.asked.insert((mail.from, mail.to));
        }
        let fate = self.network.fate(mail.from, mail.to, self.now, &mut self.rng);
        self.trace.note(self.now, mail.from, &mail.bytes, || {
            let end = fate.map_or("lost".to_owned(), |at| format!("arrives at {}", Moment(at)));
            format!("sends {} {} to device {}, {end}", kind(&mail), mail.number, mail.to)
        });
        if let Some(at) = fate {
            self.schedule(at, Event::Deliver(mail));
        }
    }

    fn wake(&mut self, device: usize, at: u64) {
        let at = at.max(self.now + 1);
        if at != u64::MAX && at < self.wakes[device] {
            self.wakes[device] = at;
            self.schedule(at, Event::Wake(device));
        }
    }

    fn start(&mut self, device: usize) {
        let peers = (0..self.devices.len()).filter(|&peer| peer != device && self.network.meet(device, peer));
        self.devices[device].start(peers, self.now);
        self.trace.note(self.now, device, b"start", || "starts".to_owned());
        self.syncing[device] = false;
        if let Some(deadline) = self.devices[device].deadline() {
            self.wake(device, deadline);
        }
    }

    /// A device has lost power: its store is judged, and it comes back later.
    fn fallen(&mut self, at: usize, down: Option<u64>) -> Result<(), Violation> {
        self.report.crashes += 1;
        self.trace.note(self.now, at, b"crash", || "loses power".to_owned());
        self.laws.crashed(at, &self.devices[at])?;
        self.laws.cursors(&self.devices)?;
        let down = match down {
            Some(down) => down,
            None => self.rng.u64(100..30_000),
        };
        let life = self.devices[at].life;
        self.schedule(self.now + down, Event::Start { device: at, life });
        if let Some((place, deletes)) = self.latest[at].take().filter(|_| self.rng.bool()) {
            let soon = self.rng.u64(1..5_000);
            self.schedule(self.now + down + soon, Event::Again { device: at, place, deletes });
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> Result<(), Violation> {
        let at = self.rng.usize(..self.devices.len());
        let other = (at + self.rng.usize(1..self.devices.len())) % self.devices.len();
        self.trace.note(self.now, at, b"fault", || format!("{fault:?} (other: device {other})"));
        match fault {
            Fault::Crash(down) if self.devices[at].up => {
                self.devices[at].crash();
                self.fallen(at, Some(down))?;
            }
            Fault::Doom if self.devices[at].up => self.devices[at].doomed = true,
            Fault::Crash(_) | Fault::Doom => (),
            Fault::Hang(long) => self.hangs[at] = self.now + long,
            Fault::CutOneWay(long) => self.network.cut(at, other, self.now + long),
            Fault::Cut(long) => self.cut(at, other, long),
            Fault::Away(long) => {
                for other in 0..self.devices.len() {
                    self.cut(at, other, long);
                }
            }
            Fault::Backup => self.backups[at] = Some(self.devices[at].disk.backup()),
            Fault::Restore => self.restore(at)?,
            Fault::Clock(offset) => self.devices[at].clock.offset = offset,
            Fault::Allow if self.devices[at].up => {
                let rights = draw_rights(&mut self.rng);
                self.allow(at, other, rights)?;
            }
            Fault::Allow => (),
            Fault::AllowInFlight => self.narrowing = Some((at, other)),
            Fault::Revoke => self.revoke(at, other)?,
            Fault::RevokeInFlight => self.armed = Some((at, other)),
        }
        Ok(())
    }

    /// A user revokes a device. Those who revoke are never revoked in these
    /// worlds, so that it is clear who is left.
    fn revoke(&mut self, at: usize, subject: usize) -> Result<(), Violation> {
        if !self.devices[at].up || self.subjects.contains(&at) || self.revokers.contains(&subject) {
            return Ok(());
        }
        self.report.revocations += 1;
        self.revokers.insert(at);
        self.subjects.insert(subject);
        self.laws.revoking(subject, &self.devices);
        self.with(at, |device, _, out| device.revoke(subject, out))
    }

    fn cut(&mut self, at: usize, other: usize, long: u64) {
        self.network.cut(at, other, self.now + long);
        self.network.cut(other, at, self.now + long);
    }

    fn restore(&mut self, at: usize) -> Result<(), Violation> {
        let at = if self.backups[at].is_some() {
            at
        } else {
            self.backups.iter().position(Option::is_some).unwrap_or(at)
        };
        // A backup of a revoker may be the only one that knows of it.
        if self.revokers.contains(&at) {
            return Ok(());
        }
        let Some(backup) = &self.backups[at] else {
            return Ok(());
        };
        self.report.restores += 1;
        self.devices[at].restore(backup);
        self.laws.restored(at, &self.devices);
        self.fallen(at, Some(1_000))
    }

    /// Ends every fault, so that all devices can become equal.
    fn heal(&mut self) -> Result<(), Violation> {
        self.trace.note(self.now, WORLD, b"heal", || "all faults end".to_owned());
        self.network.heal();
        (self.armed, self.narrowing) = (None, None);
        self.hangs.fill(0);
        for device in 0..self.devices.len() {
            self.devices[device].doomed = false;
            if !self.devices[device].up {
                self.start(device);
            }
        }
        Ok(())
    }

    /// A user writes something.
    fn write(&mut self, at: usize) -> Result<(), Violation> {
        self.report.writes += 1;
        let (place, value) = self.invent(at);
        let size = value.as_ref().map(Vec::len);
        self.trace.note(self.now, at, place.1.as_str().as_bytes(), || format!("writes {} {size:?}", place.1));
        self.latest[at] = Some((place.clone(), value.is_none()));
        self.with(at, |device, now, out| device.write(place, value, now, out))
    }

    fn invent(&mut self, at: usize) -> (Place, Option<Vec<u8>>) {
        let work = self.plan.work.clone();
        let n = self.report.writes;
        let domain = DOMAINS[self.rng.usize(..work.domains)];
        let domain = DomainId::of(domain);
        let percent = self.rng.u8(..100);
        let shown = self.laws.shown(at);
        let mut value = Some(format!("value {n}").into_bytes());
        if self.rng.u8(..100) < work.large_percent
            && let Some(value) = &mut value
        {
            value.resize(self.rng.usize(1_000..3_000), b'x');
        }
        if self.rng.u8(..100) < work.huge_percent
            && let Some(value) = &mut value
        {
            value.resize(self.rng.usize(100_000..400_000), b'x');
        }
        let there = self.rng.u8(..100);
        if there < work.edit_percent.max(work.delete_percent) && !shown.is_empty() {
            let place = shown.keys().nth(self.rng.usize(..shown.len())).cloned();
            let place = place.expect("an index below the length");
            let deletes = self.rng.u8(..100) < work.delete_percent;
            return (place, value.filter(|_| !deletes));
        }
        let key = if percent < work.hot_percent {
            format!("hot/{}", self.rng.usize(..work.hot))
        } else if self.rng.u8(..100) < work.chat_percent {
            let chat = self.rng.usize(..2);
            let turns = shown.keys().filter(|place| place.0 == domain);
            let turns = turns.filter_map(|(_, key)| turn(key.as_str(), chat));
            let order = turns.max().unwrap_or(0) + 1;
            format!("chat/{chat}/{order:06}/{at}/{n}")
        } else {
            format!("once/{n}")
        };
        ((domain, Key::new(key).expect("a short plain key")), value)
    }
}

const DOMAINS: [&str; 3] = ["messages", "settings", "characters"];

/// The place of a turn in the order of its chat.
fn turn(key: &str, chat: usize) -> Option<u64> {
    let rest = key.strip_prefix(&format!("chat/{chat}/"))?;
    rest.split('/').next()?.parse().ok()
}

/// What a sync message says, for people.
fn said(mail: &Mail) -> String {
    let text = match (mail.trust, mail.answer) {
        (true, _) => return String::new(),
        (false, false) => format!(": {:?}", Request::decode(&mail.bytes)),
        (false, true) => format!(": {:?}", Response::decode(&mail.bytes)),
    };
    text.chars().take(2_000).collect()
}

fn kind(mail: &Mail) -> &'static str {
    match (mail.trust, mail.answer) {
        (false, false) => "request",
        (false, true) => "answer",
        (true, false) => "announcement",
        (true, true) => "view",
    }
}

fn random_key(rng: &mut Rng) -> SigningKey {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    SigningKey::from_bytes(&bytes)
}
