//! The one word that says how things are, from facts alone.

use std::time::Duration;

use crate::request::Pill;

/// How long a success is shown before it is idle again.
pub const SUCCESS_SHOWN: Duration = Duration::from_secs(5);

/// How many passes in a row must reach nobody before it is called offline: one
/// may be a peer that is just restarting.
pub const OFFLINE_AFTER_FAILURES: u32 = 2;

/// The facts. Times are of [`crate::clock::Clock::monotonic`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// The node cannot go on without a person: a damaged store, a full disk,
    /// or this device was removed from the set.
    pub error: bool,
    /// A person stopped it.
    pub paused: bool,
    /// Passes that are running.
    pub running: u32,
    /// When the last pass ended that ended well.
    pub last_success: Option<Duration>,
    /// Passes since then that reached nobody.
    pub failures: u32,
    /// Conflicts that are kept.
    pub conflicts: bool,
    /// Records that wait for an upgrade.
    pub waiting_upgrade: bool,
    /// Changes that a guard holds back.
    pub held: bool,
    /// A peer's clock, or this one's, is far off.
    pub clock: bool,
    /// Records need something that no application here has, and nobody has
    /// decided what to do about it.
    pub readiness: bool,
}

/// The word that fits the facts at `now`.
///
/// What needs a person comes first, then what a person asked for, then what is
/// happening, then what has happened.
pub fn pill(facts: &Facts, now: Duration) -> Pill {
    let fresh = facts.last_success.is_some_and(|at| now.saturating_sub(at) < SUCCESS_SHOWN);
    if facts.error {
        Pill::Error
    } else if facts.paused {
        Pill::Paused
    } else if facts.running > 0 {
        Pill::Syncing
    } else if facts.failures >= OFFLINE_AFTER_FAILURES {
        Pill::Offline
    } else if fresh && facts.failures == 0 {
        Pill::Success
    } else {
        Pill::Idle
    }
}

/// What else is to know beside the word.
pub fn flags(facts: &Facts) -> Vec<String> {
    [
        (facts.conflicts, "conflicts"),
        (facts.waiting_upgrade, "waiting-upgrade"),
        (facts.held, "held"),
        (facts.clock, "clock"),
        (facts.readiness, "readiness"),
    ]
    .into_iter()
    .filter(|(raised, _)| *raised)
    .map(|(_, flag)| flag.to_owned())
    .collect()
}

/// When the word changes by itself, if it does: the end of a success.
pub fn changes_at(facts: &Facts, now: Duration) -> Option<Duration> {
    (pill(facts, now) == Pill::Success).then(|| facts.last_success.map(|at| at + SUCCESS_SHOWN)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn ago(seconds: u64) -> Option<Duration> {
        Some(NOW - Duration::from_secs(seconds))
    }

    /// P31: one word at a time, and it follows the real state.
    #[test]
    fn the_word_follows_the_facts() {
        let quiet = Facts::default();
        for (facts, word) in [
            (quiet.clone(), Pill::Idle),
            (Facts { running: 1, ..quiet.clone() }, Pill::Syncing),
            (Facts { last_success: ago(0), ..quiet.clone() }, Pill::Success),
            (Facts { last_success: ago(4), ..quiet.clone() }, Pill::Success),
            (Facts { last_success: ago(5), ..quiet.clone() }, Pill::Idle),
            (Facts { last_success: ago(1), running: 1, ..quiet.clone() }, Pill::Syncing),
            (Facts { failures: 1, ..quiet.clone() }, Pill::Idle),
            (Facts { failures: 1, last_success: ago(1), ..quiet.clone() }, Pill::Idle),
            (Facts { failures: 2, ..quiet.clone() }, Pill::Offline),
            (Facts { failures: 2, running: 1, ..quiet.clone() }, Pill::Syncing),
            (Facts { paused: true, running: 1, failures: 9, ..quiet.clone() }, Pill::Paused),
            (Facts { error: true, paused: true, running: 1, ..quiet.clone() }, Pill::Error),
        ] {
            assert_eq!(pill(&facts, NOW), word, "{facts:?}");
        }
    }

    /// P31: a success ends by itself, at a moment that can be waited for.
    #[test]
    fn a_success_says_when_it_ends() {
        let facts = Facts { last_success: ago(2), ..Facts::default() };
        let end = changes_at(&facts, NOW).expect("it ends");
        assert_eq!(end, NOW + Duration::from_secs(3));
        assert_eq!(pill(&facts, end), Pill::Idle);
        assert_eq!(changes_at(&facts, end), None);
    }

    /// P31: flags stand beside the word and never replace it.
    #[test]
    fn flags_do_not_change_the_word() {
        let facts = Facts { conflicts: true, clock: true, ..Facts::default() };
        assert_eq!(flags(&facts), ["conflicts", "clock"]);
        assert_eq!(pill(&facts, NOW), Pill::Idle);
        assert!(flags(&Facts::default()).is_empty());
    }
}
