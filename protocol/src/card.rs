//! What a device says about itself. Nothing here grants anything.

use crate::cbor::{DecodeError, int_map};
use crate::label;

/// The longest platform name, in bytes: `windows`, `android`.
pub const PLATFORM_BYTES_MAX: usize = 16;

/// The longest application name with version, in bytes.
pub const APP_BYTES_MAX: usize = 32;

/// How many capabilities a card may list; more would not be read by anybody.
pub const CAPABILITIES_MAX: usize = 16;

/// A device's introduction: shown to the person who decides, and on tables.
///
/// Lies in it harm nobody: who a device is follows from its key alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Card {
    /// What its owner calls it, at most 64 bytes.
    pub label: String,
    /// Its operating system, at most [`PLATFORM_BYTES_MAX`].
    pub platform: String,
    /// The application that embeds kinsync, at most [`APP_BYTES_MAX`].
    pub app: String,
    /// The newest schema it can read.
    pub schema: u64,
    /// What it can do beyond the first version; at most [`CAPABILITIES_MAX`]
    /// names of at most [`APP_BYTES_MAX`].
    pub capabilities: Vec<String>,
    /// Counts up with every change of the card, so that the latest is known.
    pub sequence: u64,
}
int_map!(Card { 1: label, 2: platform, 3: app, 4: schema, 5: capabilities, 6: sequence });

impl Card {
    /// The card as it may be sent and shown: texts cleaned and cut to size.
    #[must_use]
    pub fn cleaned(&self) -> Self {
        Self {
            label: label::clean(&self.label),
            platform: label::clean_to(&self.platform, PLATFORM_BYTES_MAX),
            app: label::clean_to(&self.app, APP_BYTES_MAX),
            schema: self.schema,
            capabilities: self
                .capabilities
                .iter()
                .take(CAPABILITIES_MAX)
                .map(|name| label::clean_to(name, APP_BYTES_MAX))
                .collect(),
            sequence: self.sequence,
        }
    }

    /// Checks a received card against its limits and makes it safe to show.
    pub(crate) fn accept(&self) -> Result<Self, DecodeError> {
        let fits = self.label.len() <= label::LABEL_BYTES_MAX
            && self.platform.len() <= PLATFORM_BYTES_MAX
            && self.app.len() <= APP_BYTES_MAX
            && self.capabilities.len() <= CAPABILITIES_MAX
            && self.capabilities.iter().all(|name| name.len() <= APP_BYTES_MAX);
        if fits { Ok(self.cleaned()) } else { Err(DecodeError::Invalid { what: "device card" }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cbor;

    pub(crate) fn any_card() -> impl Strategy<Value = Card> {
        let texts = ("\\PC{0,30}", "[a-z]{0,16}", "[a-z0-9. ]{0,32}");
        (texts, any::<u64>(), prop::collection::vec("[a-z]{0,32}", 0..=16), any::<u64>()).prop_map(
            |((label, platform, app), schema, capabilities, sequence)| {
                Card { label, platform, app, schema, capabilities, sequence }.cleaned()
            },
        )
    }

    #[test]
    fn a_card_keeps_its_bytes() {
        let card = Card {
            label: "Pixel 8".into(),
            platform: "android".into(),
            app: "kinsync 0.1".into(),
            schema: 1,
            capabilities: vec!["blob".into()],
            sequence: 2,
        };
        let hex = "a60167506978656c2038026761\
                   6e64726f6964036b6b696e73796e6320302e310401058164626c6f620602";
        let bytes = cbor::encode(&card);
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
        assert_eq!(cbor::decode::<Card>(&bytes, 4096).unwrap(), card);
    }

    #[test]
    fn a_card_at_its_limits_passes_and_one_over_is_refused() {
        let card = Card {
            label: "x".repeat(64),
            platform: "x".repeat(16),
            app: "x".repeat(32),
            schema: 0,
            capabilities: vec!["x".repeat(32); 16],
            sequence: 0,
        };
        assert_eq!(card.accept().unwrap(), card);
        assert!(Card { label: "x".repeat(65), ..card.clone() }.accept().is_err());
        assert!(Card { platform: "x".repeat(17), ..card.clone() }.accept().is_err());
        assert!(Card { app: "x".repeat(33), ..card.clone() }.accept().is_err());
        assert!(Card { capabilities: vec![String::new(); 17], ..card.clone() }.accept().is_err());
        assert!(Card { capabilities: vec!["x".repeat(33)], ..card }.accept().is_err());
    }

    #[test]
    fn a_card_that_tries_to_steer_a_terminal_is_cleaned() {
        let card = Card { label: "\u{1b}]0;owned\u{7}phone".into(), ..Card::default() };
        assert_eq!(card.accept().unwrap().label, "]0;ownedphone");
    }

    proptest! {
        #[test]
        fn a_card_survives_its_bytes(card in any_card()) {
            let read: Card = cbor::decode(&cbor::encode(&card), 4096).unwrap();
            prop_assert_eq!(read.accept().unwrap(), card);
        }
    }
}
