//! How long to wait before trying again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait. A device that appears on the network is dialled at once
/// whatever the wait, so this only bounds what a missing one costs.
const LONGEST: Duration = Duration::from_secs(60);

/// The wait before try number `attempts`: doubling, with up to a quarter more
/// so that two devices do not keep meeting half-way.
pub(super) fn delay(attempts: u32, jitter: u8) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX));
    let wait = doubled.min(LONGEST);
    wait + wait * u32::from(jitter) / 1_024
}

/// Spreads retries: a small generator, seeded by the caller (SplitMix64,
/// Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 56) as u8
    }
}

#[test]
fn waits_double_up_to_a_minute() {
    assert_eq!(delay(0, 0), Duration::from_secs(1));
    assert_eq!(delay(3, 0), Duration::from_secs(8));
    assert_eq!(delay(u32::MAX, 0), LONGEST);
    assert!(delay(3, 255) < Duration::from_secs(10));
}
