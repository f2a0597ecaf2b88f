//! Mistakes in how domains join what was written apart.
//!
//! The store makes none of them: a device that makes one tells its store other
//! rules than its world goes by, or writes what the store never would.

/// A planted mistake in a world of [`crate::joins`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mistake {
    /// A set of elements is overwritten as a whole.
    SetOverwritten,
    /// A write forgets who counted what, and when each field was written.
    StateForgotten,
    /// Of two records that should stand beside each other one is replaced.
    OneOfBoth,
    /// The end of a parent leaves its children.
    ChildrenLeft,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SetOverwritten, Self::StateForgotten, Self::OneOfBoth, Self::ChildrenLeft];
}
