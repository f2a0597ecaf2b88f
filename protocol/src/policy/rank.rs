//! Which of two values is greater.

use std::cmp::{Ordering, Reverse};

use super::FieldPolicy;
use super::json;

/// A value's place among all values under one policy. Values that the policy
/// is not for come before those that it is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    Other,
    Text(String),
    LeastText(Reverse<String>),
    Long(usize, String),
    Number(Decimal),
    LeastNumber(Reverse<Decimal>),
}

impl Rank {
    /// The rank of a value as written.
    pub(crate) fn new(raw: &str, policy: &FieldPolicy) -> Self {
        let text = json::string(raw);
        match (policy, text, Decimal::read(raw)) {
            (FieldPolicy::Longest, Some(text), _) => Self::Long(text.chars().count(), text),
            (FieldPolicy::Longest, None, _) => Self::Other,
            (FieldPolicy::Min, Some(text), _) => Self::LeastText(Reverse(text)),
            (FieldPolicy::Min, None, Some(number)) => Self::LeastNumber(Reverse(number)),
            (_, Some(text), _) => Self::Text(text),
            (_, None, Some(number)) => Self::Number(number),
            (_, None, None) => Self::Other,
        }
    }
}

/// A number as exact as it is written: JSON sets no limit to digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Decimal {
    /// -1, 0 or 1.
    sign: i8,
    /// The power of ten of the first digit.
    power: i64,
    /// From the first digit that is not zero to the last.
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads a JSON number.
    pub(crate) fn read(raw: &str) -> Option<Self> {
        if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        let (sign, number) = raw.strip_prefix('-').map_or((1, raw), |number| (-1, number));
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        // What is no number of this size is beyond all that are.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse::<i64>().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole.as_bytes(), part.as_bytes()].concat();
        let zeros = all.iter().take_while(|&&digit| digit == b'0').count();
        let mut digits = all.get(zeros..).unwrap_or_default().to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self { sign: 0, power: 0, digits });
        }
        let power = exponent + i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
        Some(Self { sign, power, digits })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.power.cmp(&other.power).then_with(|| self.digits.cmp(&other.digits));
        self.sign.cmp(&other.sign).then_with(|| if self.sign < 0 { size().reverse() } else { size() })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        let rising = [
            "-1e999999999999999999999",
            "-12345678901234567890",
            "-10",
            "-9.5",
            "-1",
            "-0.1",
            "0",
            "1e-99999999999999999999",
            "0.001",
            "0.01",
            "0.1",
            "1",
            "1.5",
            "9",
            "10",
            "12345678901234567890123",
            "12345678901234567890124",
            "1e400",
            "1e99999999999999999999",
        ];
        for pair in rising.windows(2) {
            assert!(Decimal::read(pair[0]) < Decimal::read(pair[1]), "{pair:?}");
        }
        for (a, b) in [("1", "1.0"), ("100", "1e2"), ("0", "-0.0"), ("0.5", "5E-1"), ("12.50", "125e-1")] {
            assert_eq!(Decimal::read(a), Decimal::read(b));
        }
        assert_eq!(Decimal::read("true"), None);
    }

    #[test]
    fn each_policy_has_its_own_order() {
        let rank = |policy: &FieldPolicy, raw: &str| Rank::new(raw, policy);
        assert!(rank(&FieldPolicy::Max, "10") > rank(&FieldPolicy::Max, "9"));
        assert!(rank(&FieldPolicy::Min, "9") > rank(&FieldPolicy::Min, "10"));
        assert!(rank(&FieldPolicy::Max, "\"b\"") > rank(&FieldPolicy::Max, "\"a\""));
        assert!(rank(&FieldPolicy::Min, "\"a\"") > rank(&FieldPolicy::Min, "\"b\""));
        // An accent is two bytes and one character.
        assert!(rank(&FieldPolicy::Longest, "\"abc\"") > rank(&FieldPolicy::Longest, "\"éé\""));
        for policy in [FieldPolicy::Max, FieldPolicy::Min] {
            assert!(
                rank(&policy, "0") > rank(&policy, "\"zzz\"")
                    && rank(&policy, "\"\"") > rank(&policy, "null")
            );
        }
    }

    proptest! {
        #[test]
        fn small_numbers_compare_as_numbers(a in -1000..1000_i32, b in -1000..1000_i32) {
            let read = |number: i32| Decimal::read(&format!("{}", f64::from(number) / 10.0)).unwrap();
            prop_assert_eq!(read(a).cmp(&read(b)), a.cmp(&b));
        }
    }
}
