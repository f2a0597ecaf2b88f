//! Turns what people type into values, with a reason when it cannot.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;
use kinsync::clock::Moment;

/// How long a code may last: shorter, nobody can type it; longer, it is a
/// password.
const CODE_LIFETIME_SECS: RangeInclusive<u64> = 30..=3600;

/// The longest device name that travels in a card.
const DEVICE_NAME_BYTES_MAX: usize = 64;

/// Reads `300`, `90s`, `5m` or `1h 30m`. A bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let hint = "write seconds, or a time such as 90s or 5m";
    let signed: SignedDuration = text.parse().map_err(|_| hint.to_owned())?;
    Duration::try_from(signed).map_err(|_| hint.to_owned())
}

/// Reads a moment: `2026-11-20T07:30:11Z`, or a span before `now` as
/// [`duration`] reads it.
pub(crate) fn moment(text: &str, now: Moment) -> Result<Moment, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        let at =
            u64::try_from(at.as_millisecond()).map_err(|_| "there was no kinsync before 1970".to_owned())?;
        return Ok(Moment(at));
    }
    let span = duration(text)
        .map_err(|_| "write a time such as 2026-11-20T07:30:11Z, or a span such as 2h".to_owned())?;
    Ok(Moment(now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))))
}

/// Reads how long a pairing code lasts.
pub(crate) fn code_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    if CODE_LIFETIME_SECS.contains(&lifetime.as_secs()) {
        Ok(lifetime)
    } else {
        Err("a code lasts 30 seconds to 1 hour".to_owned())
    }
}

/// Reads a name that other devices will show.
pub(crate) fn device_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() {
        Err("a name cannot be empty".to_owned())
    } else if name.len() > DEVICE_NAME_BYTES_MAX {
        Err(format!("a name has at most {DEVICE_NAME_BYTES_MAX} bytes, this one has {}", name.len()))
    } else if !is_printable(name) {
        Err("a name cannot contain control or direction characters".to_owned())
    } else {
        Ok(name.to_owned())
    }
}

/// Whether every character of `text` shows as itself: no control characters
/// and none that reorder or hide their neighbours.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(is_unprintable)
}

/// Whether a terminal might obey `c` instead of showing it.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'   // zero width, direction marks
            | '\u{2028}'..='\u{202e}'   // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'   // joiners, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(duration("300"), Ok(Duration::from_secs(300)));
        assert_eq!(duration(" 90s "), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "soon", "-5m", "5 parsecs", "1.5.5", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_code_lasts_half_a_minute_to_an_hour() {
        assert!(code_lifetime("29").is_err());
        assert_eq!(code_lifetime("30"), Ok(Duration::from_secs(30)));
        assert_eq!(code_lifetime("1h"), Ok(Duration::from_secs(3600)));
        assert!(code_lifetime("3601").is_err());
    }

    #[test]
    fn a_name_is_short_and_shows_as_it_is() {
        assert_eq!(device_name("  desktop "), Ok("desktop".to_owned()));
        assert_eq!(device_name("Zoë’s téléphone 📱"), Ok("Zoë’s téléphone 📱".to_owned()));
        assert!(device_name(&"x".repeat(64)).is_ok());
        assert!(device_name(&"x".repeat(65)).is_err());
        for name in ["", "  ", "a\nb", "a\u{1b}[2Jb", "\u{202e}potsed"] {
            assert!(device_name(name).is_err(), "{name:?}");
        }
    }
}
