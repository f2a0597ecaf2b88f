//! When a message was first written.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// The latest time that fits the 13 digits of a key: the year 2286.
const MILLIS_MAX: u64 = 9_999_999_999_999;

/// What a message says about its birth.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Birth {
    /// Milliseconds since the Unix epoch; a date without a zone counts as UTC.
    At(u64),
    /// A date in words that nobody here can read.
    Unreadable(String),
    /// No date at all; what was said instead.
    Undated(String),
}

/// Returns the birth of a message: the date of its first variant, else its own.
pub(super) fn of(message: &Map<String, Value>) -> Birth {
    let first_variant =
        message.get("swipe_info").and_then(|info| info.get(0)).and_then(|info| info.get("send_date"));
    let written =
        [first_variant, message.get("send_date")].into_iter().flatten().find_map(|date| match date {
            Value::Number(number) => Some((from_number(number), number.to_string())),
            Value::String(text) if !text.trim().is_empty() => Some((from_text(text.trim()), text.clone())),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        });
    match written {
        Some((Some(millis), _)) => Birth::At(millis),
        Some((None, text)) => Birth::Unreadable(text),
        None => Birth::Undated(message.get("mes").and_then(Value::as_str).unwrap_or_default().to_owned()),
    }
}

fn from_number(number: &serde_json::Number) -> Option<u64> {
    let millis = number.as_u64().or_else(|| {
        let float = number.as_f64()?.floor();
        (0.0..=MILLIS_MAX as f64).contains(&float).then_some(float as u64)
    })?;
    (millis <= MILLIS_MAX).then_some(millis)
}

/// Reads the ways in which versions of the application wrote dates:
/// `2025-10-04T12:34:56.789Z`, `1687184400000`, `2023-5-12 @21h 32m 29s 228ms`,
/// `June 19, 2023 2:20pm`.
fn from_text(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|millis| *millis <= MILLIS_MAX);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return in_range(time);
    }
    let local =
        text.parse::<DateTime>().ok().or_else(|| from_humanized(text)).or_else(|| from_english(text))?;
    in_range(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn in_range(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_millisecond()).ok().filter(|millis| *millis <= MILLIS_MAX)
}

fn from_humanized(text: &str) -> Option<DateTime> {
    if !text.contains('@') {
        return None;
    }
    let numbers = numbers(text);
    let [year, month, day, hour, minute, second, rest @ ..] = &numbers[..] else { return None };
    let millis = rest.first().copied().unwrap_or(0);
    at(*year, *month, *day, *hour, *minute, *second, millis)
}

fn from_english(text: &str) -> Option<DateTime> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let text = text.to_lowercase();
    let (word, rest) = text.split_once(' ')?;
    let month = MONTHS.iter().position(|month| *month == word || month.get(..3) == Some(word))?;
    let numbers = numbers(rest);
    let [day, year, hour, minute, rest @ ..] = &numbers[..] else { return None };
    let second = rest.first().copied().unwrap_or(0);
    let hour = match (half_of_day(&text), *hour) {
        (Some(Half::Morning), 12) => 0,
        (Some(Half::Afternoon), hour @ 0..12) => hour + 12,
        (_, hour) => hour,
    };
    at(*year, month as u32 + 1, *day, hour, *minute, second, 0)
}

enum Half {
    Morning,
    Afternoon,
}

fn half_of_day(text: &str) -> Option<Half> {
    if text.ends_with("am") {
        Some(Half::Morning)
    } else if text.ends_with("pm") {
        Some(Half::Afternoon)
    } else {
        None
    }
}

/// The numbers in a text; one that is too large for a date ends the search.
fn numbers(text: &str) -> Vec<u32> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    digits.map_while(|digits| digits.parse().ok()).collect()
}

fn at(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32, millis: u32) -> Option<DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    let day = Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
    let nanos = i32::try_from(millis.checked_mul(1_000_000)?).ok()?;
    let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?;
    Some(day.to_datetime(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn born(message: Value) -> Birth {
        of(message.as_object().unwrap())
    }

    #[test]
    fn every_way_of_writing_a_date_is_read() {
        for (text, millis) in [
            ("2025-10-04T12:34:56.789Z", 1_759_581_296_789),
            ("2025-10-04T14:34:56.789+02:00", 1_759_581_296_789),
            ("2025-10-04T12:34:56.789", 1_759_581_296_789),
            ("1687184400000", 1_687_184_400_000),
            ("2023-5-12 @21h 32m 29s 228ms", 1_683_927_149_228),
            ("2023-05-12@21h32m29s", 1_683_927_149_000),
            ("June 19, 2023 2:20pm", 1_687_184_400_000),
            ("Jun 19, 2023 12:00 AM", 1_687_132_800_000),
            ("June 19, 2023 12:20pm", 1_687_177_200_000),
        ] {
            assert_eq!(from_text(text), Some(millis), "{text}");
        }
        assert_eq!(born(json!({"send_date": 1_687_184_400_000_u64})), Birth::At(1_687_184_400_000));
        assert_eq!(born(json!({"send_date": 1_687_184_400_000.5})), Birth::At(1_687_184_400_000));
    }

    #[test]
    fn a_date_that_nobody_can_read_is_told_from_none() {
        let strange = "19 июня 2023 г. 14:20".to_owned();
        assert_eq!(born(json!({"send_date": strange, "mes": "a"})), Birth::Unreadable(strange));
        assert_eq!(born(json!({"send_date": "", "mes": "a"})), Birth::Undated("a".into()));
        assert_eq!(born(json!({"send_date": null})), Birth::Undated(String::new()));
        assert_eq!(born(json!({"send_date": -1})), Birth::Unreadable("-1".into()));
    }

    #[test]
    fn the_first_variant_tells_the_birth() {
        let message = json!({"send_date": 2000, "swipe_info": [{"send_date": 1000}, {"send_date": 2000}]});
        assert_eq!(born(message), Birth::At(1000));
        assert_eq!(born(json!({"send_date": 2000, "swipe_info": [{}]})), Birth::At(2000));
        assert_eq!(born(json!({"send_date": 2000, "swipe_info": "x"})), Birth::At(2000));
    }

    #[test]
    fn the_latest_time_that_fits_is_read_and_the_next_is_not() {
        assert_eq!(from_text("9999999999999"), Some(MILLIS_MAX));
        assert_eq!(from_text("10000000000000"), None);
        assert_eq!(from_text("2287-01-01T00:00:00Z"), None);
        assert_eq!(from_text("1969-12-31T23:59:59Z"), None);
    }

    proptest! {
        #[test]
        fn random_dates_never_panic(text in "\\PC*", month in "(may|June|2023-5-12 @)[ 0-9,:apm@-]{0,30}") {
            let _ = from_text(&text);
            let _ = from_text(&month);
        }
    }
}
