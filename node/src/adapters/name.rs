//! File names and titles as parts of keys.

use std::fmt::Write as _;

use kinsync_protocol::hash;

/// The longest part of a key, in bytes.
///
/// Two parts, a message's own part and the slashes stay below the 256 bytes of
/// a key.
pub(super) const PART_BYTES_MAX: usize = 104;

/// How many letters of a hash end a part that could not stay as it was.
const TAIL_LETTERS: usize = 16;

/// Returns `name` as one part of a key.
///
/// A name that is empty, too long, one of `reserved` or that holds a slash or
/// a control character is cut and cleaned, and gets a hash of the full name as
/// its tail: the same name gives the same part on every device, and different
/// names stay different.
pub(super) fn part(name: &str, reserved: &[&str]) -> String {
    let clean = |c: char| !c.is_control() && c != '/';
    if !name.is_empty()
        && name.len() <= PART_BYTES_MAX
        && name.chars().all(clean)
        && !reserved.contains(&name)
    {
        return name.to_owned();
    }
    let mut part = String::new();
    for c in name.chars() {
        if part.len() + c.len_utf8() + 1 + TAIL_LETTERS > PART_BYTES_MAX {
            break;
        }
        part.push(if clean(c) { c } else { '_' });
    }
    part.push('~');
    part.push_str(&tag("kinsync/import-name/1", &[name.as_bytes()]));
    part
}

/// The first 64 bits of a tagged hash in hexadecimal.
pub(super) fn tag(purpose: &str, parts: &[&[u8]]) -> String {
    hash::tagged(purpose, parts).iter().take(TAIL_LETTERS / 2).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_name_stays_as_it_is() {
        assert_eq!(part("Mistral V2 & V3", &[]), "Mistral V2 & V3");
        let longest = "x".repeat(PART_BYTES_MAX);
        assert_eq!(part(&longest, &[]), longest);
    }

    #[test]
    fn names_that_are_too_long_stay_apart_and_fit() {
        let one = format!("{}1", "é".repeat(PART_BYTES_MAX / 2));
        let two = format!("{}2", "é".repeat(PART_BYTES_MAX / 2));
        assert_ne!(part(&one, &[]), part(&two, &[]));
        assert_eq!(part(&one, &[]), part(&one, &[]));
        assert!(part(&one, &[]).len() <= PART_BYTES_MAX);
    }

    #[test]
    fn no_part_holds_a_slash_or_a_control_character_or_is_empty() {
        for name in ["a/b", "a\nb", "\u{9b}31m", ""] {
            let part = part(name, &[]);
            assert!(
                !part.is_empty() && !part.contains('/') && !part.chars().any(char::is_control),
                "{part:?}"
            );
        }
        assert_ne!(part("groups", &["groups"]), "groups");
    }
}
