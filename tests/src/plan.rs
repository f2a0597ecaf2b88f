//! What a seed expands to: the devices, faults and work of one world.

use std::collections::BTreeSet;

use fastrand::Rng;
use kinsync_protocol::rights::Rights;

use crate::device::Durability;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY as i64;

/// What a seed expands to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many devices there are.
    pub devices: usize,
    /// How long there are faults and writes, in milliseconds.
    pub length: u64,
    /// Time between two passes of a device over its peers.
    pub interval: u64,
    /// How commits become durable.
    pub durability: Durability,
    /// The longest time until they do.
    pub sync_max: u64,
    /// Messages lost, in percent.
    pub loss: u8,
    /// Messages that come too late, in percent.
    pub late: u8,
    /// The longest ordinary delay.
    pub delay_max: u64,
    /// Who meets whom.
    pub shape: Shape,
    /// What users do.
    pub work: Work,
    /// Records that device 0 starts with.
    pub library: usize,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
    /// Wall clocks at the start: offset, drift in parts per million.
    pub clocks: Vec<(i64, i64)>,
    /// Wall clocks show only multiples of this.
    pub grain: u64,
    /// Whether a push is sent before the one before it is answered.
    pub pipelined: bool,
    /// Only cursors move records; see the lens of the device.
    pub cursors_only: bool,
    /// What devices let others do from the start: who, whom, what.
    pub rights: Vec<(usize, usize, Rights)>,
}

/// Who meets whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// Everybody.
    Mesh,
    /// Neighbours in a row.
    Row,
    /// Everybody only the first device.
    Star,
}

/// What users do.
#[derive(Clone, Debug)]
pub struct Work {
    /// How many writes there are.
    pub writes: usize,
    /// How many domains they are spread over.
    pub domains: usize,
    /// Keys that everybody writes.
    pub hot: usize,
    /// How often a hot key is written, in percent.
    pub hot_percent: u8,
    /// How often a turn is added to a chat, in percent.
    pub chat_percent: u8,
    /// How often something is deleted, in percent.
    pub delete_percent: u8,
    /// How often something that is there is written again, in percent.
    pub edit_percent: u8,
    /// How often a value is too large to travel unasked, in percent.
    pub large_percent: u8,
    /// How often a value fills a good part of a frame, in percent.
    pub huge_percent: u8,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Power is lost, and comes back after so long.
    Crash(u64),
    /// Power is lost within the next commit.
    Doom,
    /// A device does nothing for so long.
    Hang(u64),
    /// One direction between two devices is cut for so long.
    CutOneWay(u64),
    /// Both directions are cut for so long.
    Cut(u64),
    /// A device reaches nobody for so long.
    Away(u64),
    /// A backup is made.
    Backup,
    /// A backup is put back.
    Restore,
    /// A wall clock jumps to this offset.
    Clock(i64),
    /// A user changes what another device may do.
    Allow,
    /// A user does so while something is under way between the two.
    AllowInFlight,
    /// A user revokes a device.
    Revoke,
    /// A user revokes a device as soon as something of it waits to be
    /// committed.
    RevokeInFlight,
}

impl Plan {
    /// What `seed` expands to.
    pub fn draw(rng: &mut Rng, cursors_only: bool) -> Self {
        let devices = *pick(rng, &[2, 2, 3, 3, 3, 4, 5]);
        let length = *pick(rng, &[10 * MINUTE, HOUR, DAY, 30 * DAY, 400 * DAY]);
        let passes = rng.u64(8..40);
        let durability = if cursors_only {
            Durability::AtOnce
        } else {
            *pick(rng, &[Durability::AtOnce, Durability::Later, Durability::Queued])
        };
        let mut plan = Self {
            devices,
            length,
            interval: (length / passes).max(20_000),
            durability,
            sync_max: *pick(rng, &[20, 200, 5_000]),
            loss: if rng.bool() { rng.u8(..30) } else { 0 },
            late: if rng.bool() { rng.u8(..20) } else { 0 },
            delay_max: *pick(rng, &[5, 50, 500, 4_000]),
            shape: *pick(rng, &[Shape::Mesh, Shape::Mesh, Shape::Mesh, Shape::Row, Shape::Star]),
            work: Work::draw(rng),
            library: if rng.u8(..8) == 0 { rng.usize(..900) } else { 0 },
            faults: Vec::new(),
            clocks: Vec::new(),
            grain: *pick(rng, &[1, 1, 1_000, MINUTE, DAY]),
            pipelined: rng.bool(),
            cursors_only,
            rights: Vec::new(),
        };
        plan.draw_clocks(rng);
        plan.draw_faults(rng);
        plan
    }

    /// Gives devices rights, and lets users change them.
    pub fn draw_rights(&mut self, rng: &mut Rng) {
        for granter in 0..self.devices {
            for subject in (0..self.devices).filter(|subject| *subject != granter) {
                if rng.bool() {
                    self.rights.push((granter, subject, draw_rights(rng)));
                }
            }
        }
        if rng.bool() {
            for _ in 0..rng.usize(1..=6) {
                let fault = if rng.bool() { Fault::Allow } else { Fault::AllowInFlight };
                self.faults.push((rng.u64(..self.length), fault));
            }
            self.faults.sort_by_key(|&(at, _)| at);
        }
    }

    fn draw_clocks(&mut self, rng: &mut Rng) {
        let wrong = rng.bool();
        for _ in 0..self.devices {
            let offset = if wrong { skew(rng) } else { 0 };
            let drift = if wrong && rng.bool() { rng.i64(-200..=200) } else { 0 };
            self.clocks.push((offset, drift));
        }
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        let length = self.length;
        let mut add = |rng: &mut Rng, most: usize, fault: &dyn Fn(&mut Rng) -> Fault| {
            if rng.bool() {
                for _ in 0..rng.usize(1..=most) {
                    let at = rng.u64(..length);
                    let fault = fault(rng);
                    self.faults.push((at, fault));
                }
            }
        };
        let short = move |rng: &mut Rng| rng.u64(1_000..=length / 8);
        add(rng, 6, &|rng| Fault::Crash(short(rng)));
        add(rng, 8, &|_| Fault::Doom);
        add(rng, 3, &|rng| Fault::Hang(short(rng)));
        add(rng, 4, &|rng| Fault::CutOneWay(short(rng)));
        add(rng, 4, &|rng| Fault::Cut(short(rng)));
        add(rng, 2, &|rng| Fault::Away(rng.u64(length / 8..=length * 9 / 10)));
        add(rng, 5, &|rng| Fault::Clock(if rng.bool() { skew(rng) } else { 0 }));
        if !self.cursors_only && rng.u8(..3) == 0 {
            for _ in 0..rng.usize(1..=3) {
                let restore = rng.u64(length / 8..length);
                let age = if rng.bool() { short(rng) } else { rng.u64(..restore) };
                self.faults.push((restore.saturating_sub(age), Fault::Backup));
                self.faults.push((restore, Fault::Restore));
            }
        }
        if self.devices > 2 && rng.u8(..3) == 0 {
            // Whoever is left has to reach the others.
            self.shape = Shape::Mesh;
            for _ in 0..rng.usize(1..=2) {
                let fault = if rng.bool() { Fault::Revoke } else { Fault::RevokeInFlight };
                self.faults.push((rng.u64(..length), fault));
            }
        }
        self.faults.sort_by_key(|&(at, _)| at);
    }
}

/// What a device lets another one do.
pub fn draw_rights(rng: &mut Rng) -> Rights {
    let all = ["messages", "settings", "characters"];
    let some: BTreeSet<_> = all.into_iter().filter(|_| rng.bool()).map(str::to_owned).collect();
    let domains = Some(some).filter(|_| rng.u8(..3) == 0);
    let (read, write) = *pick(rng, &[(true, true), (true, true), (true, false), (false, true)]);
    Rights { domains, read, write, delete: rng.bool(), also: BTreeSet::new() }
}

impl Work {
    fn draw(rng: &mut Rng) -> Self {
        let percent = |rng: &mut Rng, most: u8| if rng.bool() { rng.u8(..=most) } else { 0 };
        Self {
            writes: *pick(rng, &[4, 20, 60, 150, 300]),
            domains: rng.usize(1..=3),
            hot: *pick(rng, &[1, 1, 2, 5]),
            hot_percent: *pick(rng, &[0, 30, 100]),
            chat_percent: percent(rng, 60),
            delete_percent: percent(rng, 30),
            edit_percent: percent(rng, 50),
            large_percent: percent(rng, 30),
            huge_percent: if rng.u8(..16) == 0 { 4 } else { 0 },
        }
    }
}

/// How far a wall clock is wrong.
fn skew(rng: &mut Rng) -> i64 {
    let minutes = |n: i64| n * MINUTE as i64;
    let far = [minutes(10), minutes(24 * 60), -minutes(24 * 60), YEAR, i64::MIN / 2];
    if rng.bool() { *pick(rng, &far) } else { rng.i64(-5_000..5_000) }
}

fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}
