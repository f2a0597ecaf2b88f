//! The key exchange over a short password: one run tests one guess.
//!
//! A hash or MAC of the code would not do: whoever sees one can try all codes
//! against it in seconds, without asking anybody.

use curve25519_dalek::edwards::CompressedEdwardsY;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Side;
use crate::id::DeviceId;
use crate::random::{Generator, Random};

/// One side's share: the side's letter and a point.
pub(super) type Share = [u8; 33];

/// Why a share cannot be answered.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum ShareError {
    /// Nobody else would draw the same: our own, sent back.
    #[error("share is our own, reflected")]
    Reflected,
    /// A point of small order carries no secret.
    #[error("share is a low-order point")]
    LowOrder,
    /// No point, not in its one canonical form, or made for the other side.
    #[error("share is not a point of the other side")]
    NotAShare,
}

/// A run begun, waiting for the other side's share.
///
/// The library behind it does not wipe its scalars; a code dies with its
/// window, which bounds what they are worth.
pub(super) struct Pake {
    inner: Spake2<Ed25519Group>,
    share: Share,
    side: Side,
}

impl Pake {
    pub(super) fn start(
        side: Side,
        password: &[u8; 32],
        joiner: DeviceId,
        host: DeviceId,
        random: &mut Random<'_>,
    ) -> Self {
        let password = Password::new(password);
        let joiner = Identity::new(&joiner.peer_id_bytes());
        let host = Identity::new(&host.peer_id_bytes());
        let random = Generator(random);
        let (inner, share) = match side {
            Side::Joiner => Spake2::start_a_with_rng(&password, &joiner, &host, random),
            Side::Host => Spake2::start_b_with_rng(&password, &joiner, &host, random),
        };
        let share = share.try_into().expect("a share is a letter and a compressed point");
        Self { inner, share, side }
    }

    /// Our share, for the other side.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    /// The secret that only somebody with the same password has too.
    pub(super) fn finish(self, theirs: &Share) -> Result<Zeroizing<Vec<u8>>, ShareError> {
        let (letter, point) = theirs.split_first().expect("a share has 33 bytes");
        let expected = match self.side {
            Side::Joiner => b'B',
            Side::Host => b'A',
        };
        if *letter != expected {
            return Err(ShareError::NotAShare);
        }
        // Letters differ between sides, so only the points can be alike.
        if Some(point) == self.share.get(1..) {
            return Err(ShareError::Reflected);
        }
        let packed = CompressedEdwardsY::from_slice(point).map_err(|_| ShareError::NotAShare)?;
        let opened = packed.decompress().ok_or(ShareError::NotAShare)?;
        if opened.is_small_order() {
            return Err(ShareError::LowOrder);
        }
        if opened.compress() != packed {
            return Err(ShareError::NotAShare);
        }
        self.inner.finish(theirs).map(Zeroizing::new).map_err(|_| ShareError::NotAShare)
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;
    use crate::random::seeded;

    const JOINER: DeviceId = DeviceId([1; 32]);
    const HOST: DeviceId = DeviceId([2; 32]);

    fn start(side: Side, password: u8, seed: u64) -> Pake {
        Pake::start(side, &[password; 32], JOINER, HOST, &mut seeded(seed))
    }

    #[test]
    fn the_same_password_makes_the_same_secret_and_another_does_not() {
        let secret = |joiner: u8, host: u8| {
            let (a, b) = (start(Side::Joiner, joiner, 1), start(Side::Host, host, 2));
            let (x, y) = (*a.share(), *b.share());
            (a.finish(&y).unwrap(), b.finish(&x).unwrap())
        };
        let (a, b) = secret(7, 7);
        assert_eq!(a, b);
        let (a, b) = secret(7, 8);
        assert_ne!(a, b);
    }

    #[test]
    fn a_low_order_point_is_refused() {
        for point in EIGHT_TORSION {
            let mut share = [b'A'; 33];
            share[1..].copy_from_slice(point.compress().as_bytes());
            assert_eq!(start(Side::Host, 7, 1).finish(&share).unwrap_err(), ShareError::LowOrder);
        }
    }

    #[test]
    fn a_point_in_another_form_is_refused() {
        // y = 2^255 - 19 + 3 stands for y = 3, which is a point of the curve.
        let mut share = [0xff; 33];
        share[0] = b'A';
        share[1] = 0xf0;
        share[32] = 0x7f;
        let error = start(Side::Host, 7, 1).finish(&share).unwrap_err();
        assert_eq!(error, ShareError::NotAShare);
    }

    #[test]
    fn our_own_share_is_refused_under_either_letter() {
        let host = start(Side::Host, 7, 1);
        let mut share = *host.share();
        share[0] = b'A';
        assert_eq!(host.finish(&share).unwrap_err(), ShareError::Reflected);
        let host = start(Side::Host, 7, 1);
        let share = *host.share();
        assert_eq!(host.finish(&share).unwrap_err(), ShareError::NotAShare);
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let mut share = [0; 33];
        share[0] = b'A';
        share[1] = 2; // y = 2 lies on no point of the curve
        assert_eq!(start(Side::Host, 7, 1).finish(&share).unwrap_err(), ShareError::NotAShare);
    }
}
