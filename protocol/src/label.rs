//! Names that other devices give, made safe to print.

/// How long a label may be, in bytes: a line in a table.
pub const LABEL_BYTES_MAX: usize = 64;

/// A label as it may be shown: no control characters, no marks that turn the
/// direction of text or show nothing, single spaces, at most
/// [`LABEL_BYTES_MAX`].
///
/// Everything that comes from a peer and reaches a screen goes through this.
/// Applying it twice changes nothing.
pub fn clean(text: &str) -> String {
    clean_to(text, LABEL_BYTES_MAX)
}

/// As [`clean`], at most `max` bytes long.
pub(crate) fn clean_to(text: &str, max: usize) -> String {
    let mut label = String::new();
    let mut gap = false;
    for symbol in text.chars() {
        if symbol.is_whitespace() {
            gap = true;
        } else if !is_hidden(symbol) {
            let space = usize::from(gap && !label.is_empty());
            if label.len() + space + symbol.len_utf8() > max {
                break;
            }
            if space > 0 {
                label.push(' ');
            }
            label.push(symbol);
            gap = false;
        }
    }
    label
}

/// C0 and C1 controls (a terminal obeys them), bidirectional overrides (they
/// reorder what is read), and what has no width at all.
fn is_hidden(symbol: char) -> bool {
    symbol.is_control()
        || matches!(symbol,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hostile_label_prints_harmless() {
        assert_eq!(clean("\u{1b}[31mroot\u{7}"), "[31mroot");
        assert_eq!(clean("exe\u{202e}gnp.\u{2066}x"), "exegnp.x");
        assert_eq!(clean("  my \t\r\n  phone \u{2028}two "), "my phone two");
        assert_eq!(clean("a\u{9b}b\u{85}c"), "ab c");
        assert_eq!(clean("\u{200b}\u{feff}"), "");
        assert_eq!(clean("<img src=x>"), "<img src=x>");
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        assert_eq!(clean(&"ä".repeat(40)).len(), LABEL_BYTES_MAX);
        assert_eq!(clean(&format!("x{}", "ä".repeat(40))).len(), LABEL_BYTES_MAX - 1);
        assert_eq!(clean(&"x".repeat(64)), "x".repeat(64));
    }

    proptest! {
        #[test]
        fn cleaning_is_bounded_and_done_once(text in "\\PC{0,200}|[\\x00-\\u{ffff}]{0,100}") {
            let label = clean(&text);
            prop_assert!(label.len() <= LABEL_BYTES_MAX);
            prop_assert!(!label.chars().any(is_hidden));
            prop_assert_eq!(clean(&label), label);
        }
    }
}
