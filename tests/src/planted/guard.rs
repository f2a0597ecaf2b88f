//! Mistakes in how mass changes are held.
//!
//! The store makes none of them: a device that makes one sets its guard aside
//! at the wrong moment, or does behind its back what the guard would not.

/// A planted mistake in a world of [`crate::guard`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mistake {
    /// Replacements are not counted.
    ReplacementsUncounted,
    /// What is held is applied all the same.
    AppliesAndHolds,
    /// What comes without a session is not counted.
    PushUnguarded,
    /// A no is taken for a yes.
    NoIsYes,
    /// A no changes nothing.
    NoIsForgotten,
    /// The first sync with a device is no exception.
    FirstSyncHeld,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ReplacementsUncounted,
        Self::AppliesAndHolds,
        Self::PushUnguarded,
        Self::NoIsYes,
        Self::NoIsForgotten,
        Self::FirstSyncHeld,
    ];
}
