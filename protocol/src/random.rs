//! Randomness as an argument: this crate never draws any itself.

use std::convert::Infallible;

use spake2::rand_core::{TryCryptoRng, TryRng};

/// Fills a buffer from the operating system's random source.
///
/// Passed to every function that needs fresh bytes, so that a test can repeat
/// a run byte for byte. Everything else must pass a cryptographically secure
/// source: codes, session ids and shares come from here.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// Draws `N` bytes.
pub(crate) fn draw<const N: usize>(random: &mut Random<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

/// Shows a [`Random`] to libraries that ask for a generator.
pub(crate) struct Generator<'a, 'b>(pub(crate) &'a mut Random<'b>);

impl TryRng for Generator<'_, '_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(draw(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(draw(self.0)))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(buffer);
        Ok(())
    }
}

impl TryCryptoRng for Generator<'_, '_> {}

/// A repeatable source for tests: hashes of a seed and a counter.
#[cfg(test)]
pub(crate) fn seeded(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut count = 0u64;
    move |buffer: &mut [u8]| {
        for chunk in buffer.chunks_mut(32) {
            let bytes = crate::hash::tagged("test", &[&seed.to_be_bytes(), &count.to_be_bytes()]);
            count += 1;
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
