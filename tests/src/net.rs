//! The network between simulated devices: which messages arrive, and when.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// Who reaches whom, and how badly.
#[derive(Clone, Debug)]
pub struct Network {
    /// Messages lost, in percent.
    pub loss: u8,
    /// Messages that arrive only after their sender has given up, in percent.
    pub late: u8,
    /// The longest ordinary delay in milliseconds.
    pub delay_max: u64,
    /// Pairs of devices that never meet, both ways.
    apart: BTreeSet<(usize, usize)>,
    /// Directed cuts, and when each of them ends.
    cuts: BTreeMap<(usize, usize), u64>,
}

/// The longest that a late message takes: two minutes.
const LATE_MAX: u64 = 120_000;

impl Network {
    /// A network without any fault.
    pub fn new(delay_max: u64) -> Self {
        Self { loss: 0, late: 0, delay_max, apart: BTreeSet::new(), cuts: BTreeMap::new() }
    }

    /// Two devices that never meet in this world.
    pub fn keep_apart(&mut self, a: usize, b: usize) {
        self.apart.insert((a.min(b), a.max(b)));
    }

    /// Whether two devices ever meet in this world.
    pub fn meet(&self, a: usize, b: usize) -> bool {
        !self.apart.contains(&(a.min(b), a.max(b)))
    }

    /// Cuts one direction until `until`.
    pub fn cut(&mut self, from: usize, to: usize, until: u64) {
        let end = self.cuts.entry((from, to)).or_default();
        *end = until.max(*end);
    }

    /// Whether a message may pass at `now`.
    pub fn is_open(&self, from: usize, to: usize, now: u64) -> bool {
        self.meet(from, to) && self.cuts.get(&(from, to)).is_none_or(|&until| until <= now)
    }

    /// When a message that is sent now arrives; `None` if it is lost.
    pub fn fate(&self, from: usize, to: usize, now: u64, rng: &mut Rng) -> Option<u64> {
        if !self.is_open(from, to, now) || rng.u8(..100) < self.loss {
            return None;
        }
        let delay = if rng.u8(..100) < self.late {
            rng.u64(1_000..LATE_MAX)
        } else {
            rng.u64(1..=self.delay_max.max(1))
        };
        Some(now + delay)
    }

    /// Ends every fault.
    pub fn heal(&mut self) {
        self.loss = 0;
        self.late = 0;
        self.delay_max = self.delay_max.min(50);
        self.cuts.clear();
    }

    /// The longest shortest path between two devices, in hops.
    pub fn diameter(&self, devices: usize) -> u64 {
        let mut farthest = 1;
        for start in 0..devices {
            let mut reached = BTreeMap::from([(start, 0)]);
            let mut open = vec![start];
            while let Some(at) = open.pop() {
                let hops = reached.get(&at).copied().unwrap_or(0) + 1;
                for next in (0..devices).filter(|&next| next != at && self.meet(at, next)) {
                    if reached.get(&next).is_none_or(|&known| known > hops) {
                        reached.insert(next, hops);
                        open.push(next);
                    }
                }
            }
            farthest = farthest.max(reached.into_values().max().unwrap_or(1));
        }
        farthest
    }
}
