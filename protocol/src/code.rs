//! The pairing code, `KXNR-7842`: what a person reads on one device and types on the other.

use std::fmt;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random::{Random, draw};

/// Consonants only, and no Y: codes never spell words, and every letter that
/// looks like a digit can be mended by its position.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// How many symbols a code has: four letters, then four digits.
pub const CODE_SYMBOLS: usize = 8;

/// A pairing code: 20⁴ · 10⁴ of them, 30.6 bits.
///
/// The first two letters are public (the [`Nameplate`]), the other six symbols
/// are the secret. Lives in memory only; wiped when dropped; shows itself only
/// through [`reveal`](Self::reveal).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Code([u8; CODE_SYMBOLS]);

/// The public half of a code: tells windows apart, opens none.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Nameplate([u8; 2]);

/// Why a text is not a pairing code. Costs no try: nothing was sent.
///
/// Names positions, counted from one, and never a symbol.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ParseCodeError {
    /// A position among the last four holds no digit.
    #[error("symbol {at} of the code must be a digit")]
    Digit {
        /// The position, from 5 to 8.
        at: usize,
    },
    /// Too short or too long.
    #[error("a code has 4 letters and 4 digits, like KXNR-7842; this has {symbols} symbols")]
    Length {
        /// How many symbols there are without separators.
        symbols: usize,
    },
    /// A position among the first four holds no letter that codes use.
    #[error("symbol {at} of the code must be a consonant other than Y")]
    Letter {
        /// The position, from 1 to 4.
        at: usize,
    },
}

impl Code {
    /// Draws a code, every one equally likely.
    pub fn generate(random: &mut Random<'_>) -> Self {
        let mut symbols = [0; CODE_SYMBOLS];
        for (at, symbol) in symbols.iter_mut().enumerate() {
            *symbol = match at {
                0..4 => LETTERS[below(20, random)],
                _ => b'0' + below(10, random) as u8,
            };
        }
        Self(symbols)
    }

    /// Reads a code as a person types it.
    ///
    /// Case does not matter; spaces, hyphens and dots are skipped. Since
    /// positions fix what is a letter and what a digit, look-alikes are mended:
    /// `8` among the letters is `B`, `O` among the digits is `0`.
    ///
    /// # Errors
    ///
    /// Says which position is wrong; see [`ParseCodeError`].
    pub fn parse(text: &str) -> Result<Self, ParseCodeError> {
        let typed = || text.chars().filter(|symbol| !is_separator(*symbol));
        let count = typed().count();
        if count != CODE_SYMBOLS {
            return Err(ParseCodeError::Length { symbols: count });
        }
        let mut code = Self([0; CODE_SYMBOLS]);
        for (at, (symbol, place)) in typed().zip(&mut code.0).enumerate() {
            let symbol = symbol.to_ascii_uppercase();
            *place = match at {
                0..4 => letter(symbol).ok_or(ParseCodeError::Letter { at: at + 1 })?,
                _ => digit(symbol).ok_or(ParseCodeError::Digit { at: at + 1 })?,
            };
        }
        Ok(code)
    }

    /// The code for people to read: `KXNR-7842`.
    ///
    /// The one way out. For the screen of the device that shows the code, never
    /// for a log.
    pub fn reveal(&self) -> String {
        let (letters, digits) = self.0.split_at(4);
        let text = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
        format!("{}-{}", text(letters), text(digits))
    }

    /// The part that strangers may see.
    pub fn nameplate(&self) -> Nameplate {
        Nameplate([self.0[0], self.0[1]])
    }

    /// All eight symbols, for the password and the ticket.
    pub(crate) fn symbols(&self) -> &[u8; CODE_SYMBOLS] {
        &self.0
    }
}

/// Shows nothing: a code in a log is a code lost.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

impl Nameplate {
    /// Reads exactly two letters as a peer sends them, with nothing mended.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [first, second] if LETTERS.contains(first) && LETTERS.contains(second) => {
                Some(Self([*first, *second]))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.0[0]), char::from(self.0[1]))
    }
}

/// A number below `bound`, each equally likely: bytes that would favour the
/// small ones are thrown away.
fn below(bound: u8, random: &mut Random<'_>) -> usize {
    let fair = u8::MAX - u8::MAX % bound;
    loop {
        let [byte] = draw(random);
        if byte < fair {
            return usize::from(byte % bound);
        }
    }
}

/// What people put between symbols, dashes of word processors included.
fn is_separator(symbol: char) -> bool {
    symbol.is_whitespace() || matches!(symbol, '-' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn letter(symbol: char) -> Option<u8> {
    let mended = match symbol {
        '2' => 'Z',
        '5' => 'S',
        '6' => 'G',
        '8' => 'B',
        other => other,
    };
    u8::try_from(mended).ok().filter(|byte| LETTERS.contains(byte))
}

fn digit(symbol: char) -> Option<u8> {
    let mended = match symbol {
        'D' | 'O' | 'Q' => '0',
        'I' | 'L' => '1',
        'Z' => '2',
        'S' => '5',
        'G' => '6',
        'B' => '8',
        other => other,
    };
    u8::try_from(mended).ok().filter(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::seeded;

    /// S11: a code has the form `KXNR-7842`.
    #[test]
    fn a_fresh_code_has_four_letters_a_hyphen_and_four_digits() {
        let mut random = seeded(1);
        for _ in 0..1000 {
            let text = Code::generate(&mut random).reveal();
            let (letters, digits) = text.split_once('-').unwrap();
            assert!(letters.len() == 4 && letters.bytes().all(|byte| LETTERS.contains(&byte)));
            assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn every_symbol_is_equally_likely() {
        let mut random = seeded(2);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            let code = Code::generate(&mut random);
            *counts.entry((0, code.0[3])).or_insert(0) += 1;
            *counts.entry((1, code.0[7])).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 30);
        for ((half, _), count) in counts {
            let expected = if half == 0 { 1000 } else { 2000 };
            assert!((expected * 4 / 5..expected * 6 / 5).contains(&count), "{count}");
        }
    }

    #[test]
    fn bytes_that_would_favour_small_numbers_are_drawn_again() {
        let mut bytes = [255, 240, 239].into_iter();
        assert_eq!(below(20, &mut |buffer| buffer[0] = bytes.next().unwrap()), 239 % 20);
    }

    #[test]
    fn what_people_type_is_read() {
        for typed in ["KXNR-7842", "kxnr7842", " kx nr.78-42 ", "KXNR\u{2013}7842", "kxnr 7B42", "KXNR 784Z"]
        {
            assert_eq!(Code::parse(typed).unwrap().reveal(), "KXNR-7842", "{typed}");
        }
        assert_eq!(Code::parse("5826 OQDI").unwrap().reveal(), "SBZG-0001");
        assert_eq!(Code::parse("BBBB LSBG").unwrap().reveal(), "BBBB-1586");
    }

    #[test]
    fn what_cannot_be_mended_says_where() {
        assert_eq!(Code::parse("KXNR-784").unwrap_err(), ParseCodeError::Length { symbols: 7 });
        assert_eq!(Code::parse("KXAR-7842").unwrap_err(), ParseCodeError::Letter { at: 3 });
        assert_eq!(Code::parse("KXNR-78X2").unwrap_err(), ParseCodeError::Digit { at: 7 });
        assert_eq!(Code::parse("KXNR-784²").unwrap_err(), ParseCodeError::Digit { at: 8 });
    }

    #[test]
    fn a_code_prints_itself_only_when_asked() {
        let code = Code::parse("KXNR-7842").unwrap();
        assert_eq!(format!("{code:?}"), "Code(***)");
        assert_eq!(code.nameplate().to_string(), "KX");
    }

    #[test]
    fn a_nameplate_from_a_peer_is_exact() {
        assert_eq!(Nameplate::parse("KX").unwrap().to_string(), "KX");
        for wrong in ["", "K", "kx", "KXN", "K8", "KÄ"] {
            assert_eq!(Nameplate::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,16}") {
            if let Ok(code) = Code::parse(&text) {
                prop_assert_eq!(Code::parse(&code.reveal()).unwrap().reveal(), code.reveal());
            }
        }
    }
}
