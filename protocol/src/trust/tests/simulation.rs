//! Random sets of devices that pair, revoke and leave while out of contact.

use super::super::accept::Claim;
use super::*;
use crate::random::{draw, seeded};

/// Enough to meet every order of a few contacts, and over in seconds.
const SEEDS: u64 = 4_000;

/// Seeds that go through real signatures and bytes as well.
const SIGNED_SEEDS: u64 = 20;

/// News needs a round per device to go round, and a few more to quiet down.
const ROUNDS_MAX: usize = 20;

struct World {
    views: Vec<View>,
    random: Box<crate::random::Random<'static>>,
    signed: bool,
}

impl World {
    fn new(seed: u64, signed: bool) -> Self {
        Self { views: Vec::new(), random: Box::new(seeded(seed)), signed }
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = u32::from_be_bytes(draw(&mut self.random));
        number as usize % bound.max(1)
    }

    fn name(index: usize) -> u8 {
        index as u8 + 1
    }

    fn id(&self, index: usize) -> DeviceId {
        if self.signed { id(Self::name(index)) } else { DeviceId([Self::name(index); 32]) }
    }

    fn add(&mut self) -> usize {
        let index = self.views.len();
        self.views.push(View::new(self.id(index)));
        index
    }

    fn pair(&mut self, host: usize, joiner: usize) {
        for (me, other) in [(host, joiner), (joiner, host)] {
            let word = match self.signed {
                true => paired(Self::name(me), Self::name(other), Role::Kin),
                false => unsigned(self.id(other)),
            };
            self.views[me].pair(&word, AT, Duration::ZERO).unwrap();
        }
    }

    fn said(&self, from: usize) -> (Vec<Claim>, Vec<Statement>) {
        match self.signed {
            true => (Vec::new(), self.views[from].statements_to_send(&key(Self::name(from)))),
            false => (self.views[from].claims(), Vec::new()),
        }
    }

    /// Two devices meet; they talk if both still hold each other to be kin.
    fn meet(&mut self, a: usize, b: usize) {
        let talks = |of: usize, with: usize| self.views[of].may(self.id(with), Action::ExchangeTrust);
        if !talks(a, b) || !talks(b, a) || a == b {
            return;
        }
        let (from_a, from_b) = (self.said(a), self.said(b));
        for (from, to, (claims, statements)) in [(a, b, from_a), (b, a, from_b)] {
            let from = self.id(from);
            if self.signed {
                let changes = self.views[to].accept(from, &statements, AT);
                assert_eq!(changes.refused, 0);
            } else {
                let claims = claims.into_iter().map(|claim| (claim, None)).collect();
                self.views[to].believe(from, claims, AT);
            }
        }
    }

    /// Everybody tries to meet everybody until nothing changes.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before: Vec<_> = self.views.iter().map(View::generation).collect();
            for a in 0..self.views.len() {
                for b in a + 1..self.views.len() {
                    self.meet(a, b);
                }
            }
            if self.views.iter().map(View::generation).eq(before) {
                return;
            }
        }
        panic!("views still change after {ROUNDS_MAX} rounds");
    }

    fn standing(&self, of: usize, at: usize) -> Standing {
        self.views[at].standing(self.id(of))
    }
}

/// A pairing whose words are signed only if somebody asks for them.
fn unsigned(device: DeviceId) -> Paired {
    let (card, role) = (Card::default(), Role::Kin);
    Paired { device, card, role, domains: None, once_seconds: 0, ours: None, theirs: None }
}

/// What was said about whom, before anybody met again.
struct End {
    by: usize,
    subject: usize,
}

/// D13: whatever the order of meetings, all live devices end with the same
/// view, trust each other, and trust nobody that a live device has ended.
fn run(seed: u64, signed: bool) {
    let mut world = World::new(seed, signed);
    world.add();
    for _ in 0..2 + world.below(4) {
        let host = world.below(world.views.len());
        let joiner = world.add();
        world.pair(host, joiner);
        world.settle();
    }
    let count = world.views.len();
    let mut ends = Vec::new();
    for _ in 0..1 + world.below(3) {
        let (by, subject) = (world.below(count), world.below(count));
        let id = world.id(subject);
        if by == subject {
            world.views[by].leave(AT);
        } else if !world.views[by].standing(id).is_dead() {
            world.views[by].revoke(id, Introduced::Keep, Reason::None, AT).unwrap();
        }
        ends.push(End { by, subject });
    }
    for _ in 0..3 * count {
        let (a, b) = (world.below(count), world.below(count));
        world.meet(a, b);
    }
    world.settle();
    let live: Vec<_> = (0..count).filter(|device| ends.iter().all(|end| end.subject != *device)).collect();
    check(&world, &live, &ends, seed);

    let Some(host) = (!live.is_empty()).then(|| live[world.below(live.len())]) else {
        return;
    };
    let late = world.add();
    world.pair(host, late);
    world.settle();
    let live = [live, vec![late]].concat();
    check(&world, &live, &ends, seed);
}

fn check(world: &World, live: &[usize], ends: &[End], seed: u64) {
    for at in live {
        for other in live.iter().filter(|other| *other != at) {
            assert_eq!(world.standing(*other, *at), Standing::Kin, "seed {seed}: {at} lost {other}");
        }
        for end in ends {
            // Ended by itself or by a device that nobody has ended: for sure.
            if end.by == end.subject || live.contains(&end.by) {
                assert!(
                    world.standing(end.subject, *at).is_dead(),
                    "seed {seed}: {at} trusts {}",
                    end.subject
                );
            }
            // By one that was itself ended: whoever was heard first, all agree.
            let first = world.standing(end.subject, live[0]).is_dead();
            assert_eq!(world.standing(end.subject, *at).is_dead(), first, "seed {seed}: views differ");
        }
    }
}

#[test]
fn live_devices_agree_whatever_the_order_of_meetings() {
    for seed in 0..SEEDS {
        run(seed, false);
    }
}

#[test]
fn live_devices_agree_over_signed_statements() {
    for seed in 0..SIGNED_SEEDS {
        run(seed, true);
    }
}
