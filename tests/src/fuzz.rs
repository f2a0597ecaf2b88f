//! Hostile bytes for everything that reads bytes from outside, the same ones for the same seed.
//!
//! A [`Target`] is what a fuzzer calls: one function that takes any bytes and may only return. The mutations here know
//! nothing of coverage; in exchange they need no other compiler, run in the gate, and repeat byte for byte. An input
//! that once broke a target stays in `tests/fuzz/corpus/TARGET/` and is replayed for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;

mod targets;

pub use targets::targets;

/// Mutated inputs grow to this: beyond the buffers that readers use, far below what makes a run slow.
pub const INPUT_BYTES_MAX: usize = 4 << 10;

/// One reader of bytes that come from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of inputs.
    pub name: &'static str,
    /// Valid inputs, made by the code itself so that they follow the format.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads the bytes. Panics if reading breaks a rule of the reader.
    pub run: fn(&[u8]),
    /// How much dearer a run is than reading a message. A campaign does as many fewer.
    pub cost: u64,
}

/// An input that made a target panic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crash {
    /// The target.
    pub target: &'static str,
    /// The input, made as small as cutting makes it.
    pub input: Vec<u8>,
}

impl Target {
    /// Runs the target on the kept inputs, the seeds, and `runs` mutations of both, divided by
    /// its cost.
    ///
    /// # Errors
    ///
    /// The first input that made it panic.
    ///
    /// # Panics
    ///
    /// If a kept input cannot be read from disk.
    pub fn campaign(&self, runs: u64, seed: u64) -> Result<(), Crash> {
        let mut inputs = kept(self.name);
        inputs.extend((self.seeds)());
        inputs.iter().try_for_each(|input| self.check(input))?;
        let mut random = Rng::with_seed(seed);
        for _ in 0..runs / self.cost {
            self.check(&mutated(&inputs, &mut random))?;
        }
        Ok(())
    }

    fn check(&self, input: &[u8]) -> Result<(), Crash> {
        let breaks = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| (self.run)(input))).is_err();
        if breaks(input) {
            return Err(Crash { target: self.name, input: smallest(input.to_vec(), breaks) });
        }
        Ok(())
    }
}

/// Where the inputs of a target are kept.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn kept(target: &str) -> Vec<Vec<u8>> {
    let Ok(folder) = std::fs::read_dir(corpus(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = folder.map(|entry| entry.expect("the folder is ours").path()).collect();
    // The order of a folder differs from machine to machine.
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("the folder holds files only")).collect()
}

/// One to four changes to one of `inputs`.
fn mutated(inputs: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(inputs).cloned().unwrap_or_default();
    for _ in 0..random.u8(1..=4) {
        mutate(&mut bytes, inputs, random);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let end = random.usize(at..=bytes.len().min(at + 32));
    match random.u8(0..10) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.insert(at, random.u8(..)),
        3 => bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(8)),
        4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        5 => {
            let claim = random.choice(LENGTH_CLAIMS).copied().unwrap_or_default();
            drop(bytes.splice(at..end, claim.iter().copied()));
        }
        6 => {
            let other = random.choice(inputs).map(Vec::as_slice).unwrap_or_default();
            let from = random.usize(..=other.len());
            drop(bytes.splice(at.., other[from..].iter().copied()));
        }
        7 => drop(bytes.splice(at..at, std::iter::repeat_n(random.u8(..), random.usize(1..=64)))),
        _ if at == bytes.len() => {}
        8 => bytes[at] ^= 1 << random.u8(0..8),
        _ => bytes[at] = random.u8(..),
    }
}

/// Beginnings of CBOR strings, lists and maps that claim more than follows, without end, or what our types do not have.
const LENGTH_CLAIMS: &[&[u8]] = &[
    &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5a, 0x7f, 0xff, 0xff, 0xff],
    &[0x7b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x9a, 0x10, 0, 0, 0],
    &[0xbb, 0, 0, 0, 1, 0, 0, 0, 0],
    &[0x5f],
    &[0x7f],
    &[0x9f],
    &[0xbf],
    &[0xff],
    &[0xc2, 0x41, 1],
    &[0xf9, 0x7e, 0],
    &[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xf6],
    &[0xf8, 0xff],
];

/// Cuts pieces out of `input`, ever smaller ones, as long as it still `breaks`.
fn smallest(mut input: Vec<u8>, breaks: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut piece = input.len().next_power_of_two();
    while piece > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..input.len().min(at + piece));
            if breaks(&shorter) { input = shorter } else { at += piece }
        }
        piece /= 2;
    }
    input
}

/// Nothing that sends a crash on its way out may hide it: a target with a planted fault is caught.
#[test]
fn a_planted_fault_is_found_and_made_small() {
    let planted = Target {
        name: "planted",
        seeds: || vec![b"hello, world, this is long".to_vec()],
        run: |bytes| assert!(!bytes.contains(&0x5f), "a string without end"),
        cost: 1,
    };
    let crash = planted.campaign(2_000, 1).expect_err("the fault is there");
    assert_eq!(crash, Crash { target: "planted", input: vec![0x5f] });
}

#[test]
fn a_campaign_repeats_byte_for_byte() {
    let inputs = [b"one".to_vec(), b"another".to_vec()];
    let run = || {
        let mut random = Rng::with_seed(7);
        (0..500).map(|_| mutated(&inputs, &mut random)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
