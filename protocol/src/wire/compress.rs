//! Compressed messages of the sync protocol: LZ4 over a whole message (spec §5).

use std::borrow::Cow;

use super::DecodeError;
use crate::limits::FRAME_BYTES_MAX;

/// The first byte of a compressed message.
pub(super) const COMPRESSED: u8 = 4;

/// Below this a message travels as it is: there is little to gain, and single
/// changes stay quick.
const COMPRESS_FROM_BYTES: usize = 512;

/// The message, compressed if that makes it shorter.
///
/// What is compressed together tells by its length how alike it is. A message with
/// records that not every device may have is therefore sent as it is.
pub fn compress(message: Vec<u8>) -> Vec<u8> {
    let Ok(length) = u32::try_from(message.len()) else { return message };
    if message.len() < COMPRESS_FROM_BYTES {
        return message;
    }
    let block = lz4_flex::block::compress(&message);
    let short = [&[COMPRESSED][..], &length.to_be_bytes(), &block].concat();
    if short.len() < message.len() { short } else { message }
}

/// The message as it was before [`compress`]. What comes out is bounded like what
/// came in: by [`FRAME_BYTES_MAX`].
pub(super) fn decompress(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let too_large = |bytes| DecodeError::TooLarge { bytes, limit: FRAME_BYTES_MAX };
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    let Some((&COMPRESSED, rest)) = bytes.split_first() else { return Ok(Cow::Borrowed(bytes)) };
    let Some((length, block)) = rest.split_first_chunk() else {
        return Err(DecodeError::malformed("a compressed message without a length"));
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(too_large(length));
    }
    let message = lz4_flex::block::decompress(block, length).map_err(DecodeError::malformed)?;
    if message.len() != length {
        return Err(DecodeError::malformed("a compressed message of another length than it says"));
    }
    Ok(Cow::Owned(message))
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    use super::*;

    fn claim(length: usize, block: &[u8]) -> Vec<u8> {
        [&[COMPRESSED][..], &u32::try_from(length).unwrap().to_be_bytes(), block].concat()
    }

    /// The bound holds for what comes out, whatever a peer claims or hides.
    #[test]
    fn what_comes_out_is_bounded() {
        let full = vec![7; FRAME_BYTES_MAX];
        let compressed = compress(full.clone());
        assert!(compressed.len() < FRAME_BYTES_MAX / 100);
        assert_eq!(decompress(&compressed).unwrap(), full);
        let over = lz4_flex::block::compress(&vec![7; FRAME_BYTES_MAX + 1]);
        let too_large = DecodeError::TooLarge { bytes: FRAME_BYTES_MAX + 1, limit: FRAME_BYTES_MAX };
        assert_eq!(decompress(&claim(FRAME_BYTES_MAX + 1, &over)), Err(too_large.clone()));
        assert_matches!(decompress(&claim(FRAME_BYTES_MAX, &over)), Err(DecodeError::Malformed { .. }));
        assert_eq!(decompress(&vec![1; FRAME_BYTES_MAX + 1]), Err(too_large));
    }

    #[test]
    fn a_packed_message_says_its_length() {
        let block = lz4_flex::block::compress(&[1; 600]);
        assert!(decompress(&claim(600, &block)).is_ok());
        for length in [0, 599, 601] {
            assert_matches!(
                decompress(&claim(length, &block)),
                Err(DecodeError::Malformed { .. }),
                "{length}"
            );
        }
        for short in [&[COMPRESSED][..], &[COMPRESSED, 0, 0, 0]] {
            assert_matches!(decompress(short), Err(DecodeError::Malformed { .. }));
        }
    }

    #[test]
    fn short_messages_and_noise_travel_as_they_are() {
        let short = vec![1; COMPRESS_FROM_BYTES - 1];
        assert_eq!(compress(short.clone()), short);
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(4_096)
        .collect();
        assert_eq!(compress(noise.clone()), noise);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(bytes in prop::collection::vec(0..4_u8, 1..4_000)) {
            // A message never begins with the kind of a compressed one.
            prop_assume!(bytes[0] != COMPRESSED);
            let compressed = compress(bytes.clone());
            prop_assert_eq!(decompress(&compressed).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            block in prop::collection::vec(any::<u8>(), 0..400),
            length in 0..2_000_usize,
        ) {
            if let Ok(message) = decompress(&claim(length, &block)) {
                prop_assert_eq!(message.len(), length);
            }
        }
    }
}
