//! Mistakes in forgetting deletions. A device that makes one tells its store
//! other things than its session found out.

/// A planted mistake in a world of [`crate::floors`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mistake {
    /// A higher floor is taken over before both sides hold the same.
    AdoptedEarly,
    /// Deletions are forgotten that the other side has not heard of.
    ForgottenUnsent,
    /// What a new device brings counts as what a device brings that was away.
    NewIsOld,
    /// What a device brings that was away counts as new.
    OldIsNew,
    /// A floor is raised when a session begins.
    RaisedUnproven,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::AdoptedEarly, Self::ForgottenUnsent, Self::NewIsOld, Self::OldIsNew, Self::RaisedUnproven];
}
