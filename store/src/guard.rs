//! What counts as a mass change: so much of a domain at once that a person
//! should look first. Numbers in, a verdict out.

use kinsync_protocol::declaration::Guard;

/// A share of a domain counts only from this many deletions on: deleting one
/// of three records is what people do every day.
pub const GUARD_DELETIONS_MIN: u64 = 10;

/// What a device would change in a domain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MassCounts {
    /// Live records before any of it.
    pub live: u64,
    /// Live records that it would delete, other than with their parents.
    pub deletions: u64,
    /// Live records that it would replace by versions made from those that
    /// stand.
    pub replacements: u64,
}

/// Whether it is so much that it is held until a person has looked at it.
///
/// Deletions are when they are more than either limit says, replacements only
/// when they are more than both: a device that comes back after months brings
/// many edits, and nothing is wrong with that. A limit of 0, or of 100 percent,
/// is none.
pub fn is_mass_change(guard: Guard, counts: MassCounts) -> bool {
    let MassCounts { live, deletions, replacements } = counts;
    let percent = u64::from(guard.percent);
    let many = |changes: u64| guard.records > 0 && changes > u64::from(guard.records);
    let large = |changes: u64| {
        (1..100).contains(&percent) && u128::from(changes) * 100 > u128::from(live) * u128::from(percent)
    };
    many(deletions)
        || deletions >= GUARD_DELETIONS_MIN && large(deletions)
        || many(replacements) && large(replacements)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D10: more than 50 records or more than a fifth of a domain is held.
    #[test]
    fn deletions_are_held_by_number_or_share_and_replacements_by_both() {
        for (live, deletions, replacements, held) in [
            (0, 0, 0, false),
            // By number.
            (10_000, 50, 0, false),
            (10_000, 51, 0, true),
            // By share: a fifth of 100 is 20.
            (100, 20, 0, false),
            (100, 21, 0, true),
            // A small domain may lose most of what it has.
            (9, 9, 0, false),
            (12, 9, 0, false),
            (12, 10, 0, true),
            (50, 10, 0, false),
            (49, 10, 0, true),
            // P25: months of edits are no accident, unless they leave little as it was.
            (10_000, 0, 51, false),
            (10_000, 0, 2_000, false),
            (10_000, 0, 2_001, true),
            (100, 0, 50, false),
            (100, 0, 51, true),
            // The two do not add up.
            (10_000, 50, 2_000, false),
            (u64::MAX, 51, 0, true),
            (u64::MAX - 1, 0, u64::MAX, true),
        ] {
            let counts = MassCounts { live, deletions, replacements };
            assert_eq!(is_mass_change(Guard::default(), counts), held, "{counts:?}");
        }
    }

    /// D10: both limits can be set, and each can be switched off.
    #[test]
    fn a_limit_that_is_off_holds_nothing() {
        let all = MassCounts { live: 1_000, deletions: 1_000, replacements: 1_000 };
        let some = MassCounts { live: 1_000, deletions: 300, replacements: 0 };
        for (records, percent, counts, held) in [
            (0, 0, all, false),
            (0, 100, all, false),
            (0, 20, some, true),
            (0, 30, some, false),
            (299, 0, some, true),
            (300, 0, some, false),
            (300, 100, some, false),
            (1, 1, all, true),
            (1, 0, MassCounts { deletions: 0, ..all }, false),
            (0, 1, MassCounts { deletions: 0, ..all }, false),
        ] {
            assert_eq!(is_mass_change(Guard { records, percent }, counts), held, "{records} {percent}");
        }
    }
}
