//! Character cards: JSON in a text chunk of a PNG file.

use std::io::{self, Read};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The largest text chunk that is read, packed or unpacked, in bytes.
///
/// Base64 of the largest record is 1.4 MiB; the rest is room for other
/// programs' text. Without a limit, a small packed chunk could unpack to fill
/// the memory.
pub(super) const TEXT_BYTES_MAX: u64 = 8 * 1024 * 1024;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The keywords of cards, the newer format first. Applications write both, the
/// older one without what only the newer one can say.
const KEYWORDS: [&[u8]; 2] = [b"ccv3", b"chara"];

/// Real cards differ in padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What is wrong with a PNG file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PngError {
    /// Text that is not base64.
    #[error("the character data is not base64")]
    BadBase64,
    /// A chunk whose checksum does not fit its content.
    #[error("wrong checksum in chunk {chunk}")]
    BadChecksum {
        /// The chunk's type, with `?` for anything but letters.
        chunk: String,
    },
    /// A packed text chunk that cannot be unpacked.
    #[error("the character data cannot be unpacked")]
    BadPacking,
    /// The file stops in the middle.
    #[error("the file ends too early")]
    CutShort,
    /// The file does not begin as a PNG file does.
    #[error("not a PNG file")]
    NotPng,
    /// A text chunk over the limit.
    #[error("a text chunk is larger than {limit} bytes")]
    TextTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The system stopped the reading.
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

impl From<io::Error> for PngError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::CutShort
        } else {
            Self::Unreadable(error.kind())
        }
    }
}

/// A picture and the card texts in it.
pub(super) struct Picture {
    /// The card texts as they are in the file (base64), the preferred one first.
    pub(super) texts: Vec<Vec<u8>>,
    /// SHA-256 of the picture alone: the file without its card texts.
    ///
    /// An edit of the card leaves it as it is, so that the picture, once it is
    /// an attachment, does not travel again with every edited word.
    pub(super) sha256: [u8; 32],
    /// How many bytes that hash covers.
    pub(super) bytes: u64,
}

/// Reads a PNG file up to its end chunk and checks every checksum on the way.
///
/// Holds one text chunk at a time in memory, whatever the lengths in the file
/// claim.
pub(super) fn read(mut input: impl Read) -> Result<Picture, PngError> {
    let mut picture = Hashed::default();
    let mut texts: [Option<Vec<u8>>; KEYWORDS.len()] = Default::default();

    let mut signature = [0; SIGNATURE.len()];
    input.read_exact(&mut signature)?;
    if signature != SIGNATURE {
        return Err(PngError::NotPng);
    }
    picture.update(&signature);

    loop {
        let (mut length, mut kind) = ([0; 4], [0; 4]);
        input.read_exact(&mut length)?;
        input.read_exact(&mut kind)?;
        let bytes = u64::from(u32::from_be_bytes(length));
        let mut crc = crc32fast::Hasher::new();
        crc.update(&kind);

        let mut is_card = false;
        if matches!(&kind, b"tEXt" | b"zTXt" | b"iTXt") {
            if bytes > TEXT_BYTES_MAX {
                return Err(PngError::TextTooLarge { limit: TEXT_BYTES_MAX });
            }
            let mut body = Vec::new();
            if input.by_ref().take(bytes).read_to_end(&mut body)? as u64 != bytes {
                return Err(PngError::CutShort);
            }
            crc.update(&body);
            if let Some((place, rest)) = keyword(&body) {
                is_card = true;
                // The first one counts, as in the applications that read them.
                if let Some(slot @ None) = texts.get_mut(place) {
                    *slot = Some(text(&kind, rest)?);
                }
            } else {
                picture.chunk_start(length, kind);
                picture.update(&body);
            }
        } else {
            picture.chunk_start(length, kind);
            let mut body = input.by_ref().take(bytes);
            let mut buffer = [0; 16 * 1024];
            let mut left = bytes;
            while left > 0 {
                let part = match body.read(&mut buffer) {
                    Ok(read) => buffer.get(..read).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                if part.is_empty() {
                    return Err(PngError::CutShort);
                }
                crc.update(part);
                picture.update(part);
                left = left.saturating_sub(part.len() as u64);
            }
        }

        let mut stored = [0; 4];
        input.read_exact(&mut stored)?;
        if u32::from_be_bytes(stored) != crc.finalize() {
            let letter = |byte: &u8| if byte.is_ascii_alphabetic() { char::from(*byte) } else { '?' };
            return Err(PngError::BadChecksum { chunk: kind.iter().map(letter).collect() });
        }
        if !is_card {
            picture.update(&stored);
        }
        if &kind == b"IEND" {
            break;
        }
    }
    Ok(Picture {
        texts: texts.into_iter().flatten().collect(),
        sha256: picture.hash.finalize().into(),
        bytes: picture.bytes,
    })
}

/// Decodes a card's base64 text into JSON bytes.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, PngError> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(text).map_err(|_| PngError::BadBase64)
}

/// The place of a card's keyword in [`KEYWORDS`], and what follows the keyword.
fn keyword(body: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = split(body)?;
    let place = KEYWORDS.iter().position(|keyword| keyword.eq_ignore_ascii_case(word))?;
    Some((place, rest))
}

/// The text of a chunk of this kind, unpacked if need be.
fn text(kind: &[u8; 4], rest: &[u8]) -> Result<Vec<u8>, PngError> {
    match kind {
        b"zTXt" => match rest {
            [0, packed @ ..] => unpack(packed),
            _ => Err(PngError::BadPacking),
        },
        b"iTXt" => {
            let (packed, rest) = match rest {
                [packed @ (0 | 1), 0, rest @ ..] => (*packed == 1, rest),
                _ => return Err(PngError::BadPacking),
            };
            // Language and translated keyword come before the text.
            let text = split(rest).and_then(|(_, rest)| split(rest)).ok_or(PngError::BadPacking)?.1;
            if packed { unpack(text) } else { Ok(text.to_vec()) }
        }
        _ => Ok(rest.to_vec()),
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, PngError> {
    let mut text = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(packed).take(TEXT_BYTES_MAX + 1);
    decoder.read_to_end(&mut text).map_err(|_| PngError::BadPacking)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(PngError::TextTooLarge { limit: TEXT_BYTES_MAX });
    }
    Ok(text)
}

/// What stands before and after the first zero byte.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    Some((halves.next()?, halves.next()?))
}

#[derive(Default)]
struct Hashed {
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn chunk_start(&mut self, length: [u8; 4], kind: [u8; 4]) {
        self.update(&length);
        self.update(&kind);
    }
}

/// Makes PNG files for tests.
#[cfg(test)]
pub(super) mod fixture {
    use std::io::Write as _;

    use super::*;

    pub(in super::super) fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(kind);
        crc.update(body);
        [&(body.len() as u32).to_be_bytes(), &kind[..], body, &crc.finalize().to_be_bytes()].concat()
    }

    pub(in super::super) fn pack(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// One grey pixel, with `chunks` before the end.
    pub(in super::super) fn picture(chunks: &[Vec<u8>]) -> Vec<u8> {
        let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
        let pixel = chunk(b"IDAT", &pack(&[0, 128]));
        [&SIGNATURE[..], &header, &pixel, &chunks.concat(), &chunk(b"IEND", &[])].concat()
    }

    /// A text chunk `keyword` with `json` in base64.
    pub(in super::super) fn card(keyword: &str, json: &str) -> Vec<u8> {
        chunk(b"tEXt", &[keyword.as_bytes(), &[0], BASE64.encode(json).as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    use super::fixture::{card, chunk, pack, picture};
    use super::*;

    fn cards(file: &[u8]) -> Vec<String> {
        let texts = read(file).unwrap().texts;
        texts.iter().map(|text| String::from_utf8(decode(text).unwrap()).unwrap()).collect()
    }

    #[test]
    fn the_newer_card_comes_first() {
        let file = picture(&[card("chara", "{\"v\":2}"), card("ccv3", "{\"v\":3}")]);
        assert_eq!(cards(&file), ["{\"v\":3}", "{\"v\":2}"]);
    }

    #[test]
    fn the_first_of_two_equal_keywords_counts() {
        assert_eq!(cards(&picture(&[card("chara", "1"), card("Chara", "2")])), ["1"]);
    }

    #[test]
    fn packed_and_international_text_is_read() {
        let text = BASE64.encode("{}");
        let packed = [b"chara\0\0", &pack(text.as_bytes())[..]].concat();
        assert_eq!(cards(&picture(&[chunk(b"zTXt", &packed)])), ["{}"]);
        let plain = [b"chara\0\0\0en\0card\0", text.as_bytes()].concat();
        assert_eq!(cards(&picture(&[chunk(b"iTXt", &plain)])), ["{}"]);
        let packed = [b"chara\0\x01\0\0\0", &pack(text.as_bytes())[..]].concat();
        assert_eq!(cards(&picture(&[chunk(b"iTXt", &packed)])), ["{}"]);
    }

    #[test]
    fn the_picture_stays_the_same_when_only_the_card_changes() {
        let old = read(&picture(&[card("chara", "old")])[..]).unwrap();
        let new = read(&picture(&[card("chara", "new"), card("ccv3", "new")])[..]).unwrap();
        let bare = picture(&[]);
        assert_eq!(old.sha256, new.sha256);
        assert_eq!(old.sha256, <[u8; 32]>::from(Sha256::digest(&bare)));
        assert_eq!(old.bytes, bare.len() as u64);
        let other = read(&picture(&[chunk(b"tEXt", b"Title\0x")])[..]).unwrap();
        assert_ne!(old.sha256, other.sha256);
    }

    #[test]
    fn a_flipped_bit_is_found_in_every_chunk() {
        let file = picture(&[card("chara", "{}")]);
        for place in 12..file.len() {
            let mut broken = file.clone();
            broken[place] ^= 1;
            assert!(read(&broken[..]).is_err(), "byte {place}");
        }
        let mut broken = file.clone();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        assert_matches!(read(&broken[..]).err(), Some(PngError::BadChecksum { chunk }) if chunk == "IEND");
    }

    #[test]
    fn a_file_cut_anywhere_says_so() {
        let file = picture(&[card("chara", "{}")]);
        for length in 0..file.len() {
            assert_matches!(read(&file[..length]).err(), Some(PngError::CutShort), "{} bytes", length);
        }
    }

    #[test]
    fn a_text_chunk_at_the_limit_is_read_and_one_over_it_is_not() {
        let body = |bytes: u64| [&b"chara\0"[..], &vec![b'A'; bytes as usize - 6]].concat();
        assert!(read(&picture(&[chunk(b"tEXt", &body(TEXT_BYTES_MAX))])[..]).is_ok());
        let over = picture(&[chunk(b"tEXt", &body(TEXT_BYTES_MAX + 1))]);
        assert_matches!(read(&over[..]).err(), Some(PngError::TextTooLarge { .. }));
    }

    #[test]
    fn a_packed_bomb_is_refused_at_the_limit() {
        let packed = |bytes: u64| [&b"chara\0\0"[..], &pack(&vec![b'A'; bytes as usize])].concat();
        assert!(read(&picture(&[chunk(b"zTXt", &packed(TEXT_BYTES_MAX))])[..]).is_ok());
        let over = picture(&[chunk(b"zTXt", &packed(TEXT_BYTES_MAX + 1))]);
        assert_matches!(read(&over[..]).err(), Some(PngError::TextTooLarge { .. }));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        let file = [&SIGNATURE[..], &u32::MAX.to_be_bytes(), b"IDAT", b"x"].concat();
        assert_matches!(read(&file[..]).err(), Some(PngError::CutShort));
    }

    #[test]
    fn base64_without_padding_or_with_line_breaks_is_read() {
        assert_eq!(decode(b"e30").unwrap(), b"{}");
        assert_eq!(decode(b"e3\r\n0=").unwrap(), b"{}");
        assert_matches!(decode(b"{}"), Err(PngError::BadBase64));
    }

    proptest! {
        #[test]
        fn random_chunks_never_panic(
            kind in prop::sample::select(vec![*b"tEXt", *b"zTXt", *b"iTXt", *b"IDAT"]),
            body in prop::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let body = [b"chara\0", &body[..]].concat();
            let file = picture(&[chunk(&kind, &body)]);
            if let Ok(picture) = read(&file[..]) {
                picture.texts.iter().for_each(|text| drop(decode(text)));
            }
            let _ = read(&file[..cut.index(file.len())]);
        }
    }
}
