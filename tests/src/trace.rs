//! What happened in a world, as a hash that two runs can compare and as lines
//! that people can read.

use std::fmt;

/// Stands for no device in particular.
pub const WORLD: usize = usize::MAX;

/// Receives the lines of a trace.
pub type Printer = Box<dyn FnMut(&str)>;

/// The running record of one world.
pub struct Trace {
    hash: Fnv,
    printer: Option<Printer>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash.0).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty record; lines go to `printer`, if there is one.
    pub fn new(printer: Option<Printer>) -> Self {
        Self { hash: Fnv::new(), printer }
    }

    /// Notes a step of `device` at `now`, milliseconds of simulated time.
    ///
    /// `bytes` go into the hash and `line` is shown to people: what is not in
    /// the bytes does not count when two runs are compared.
    pub fn note(&mut self, now: u64, device: usize, bytes: &[u8], line: impl FnOnce() -> String) {
        self.hash.feed(&now.to_be_bytes());
        self.hash.feed(&(device as u64).to_be_bytes());
        self.hash.feed(bytes);
        if let Some(print) = &mut self.printer {
            let who = if device == WORLD { "world".to_owned() } else { format!("device {device}") };
            print(&format!("{} {who}: {}", Moment(now), line()));
        }
    }

    /// The hash of everything noted so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

/// A point in simulated time, readable.
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1_000, self.0 % 1_000);
        let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3_600 % 24, seconds / 86_400);
        write!(f, "{days:>3}d {hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
    }
}

/// A small hash that is the same on every machine and in every build.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fnv(u64);

impl Fnv {
    /// The hash of nothing.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes in bytes, eight at a time.
    pub fn feed(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x0100_0000_01b3);
    }

    /// The hash, well mixed.
    pub fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^ (hash >> 32)
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}
