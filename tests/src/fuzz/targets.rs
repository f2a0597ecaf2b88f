//! The readers of bytes from outside, with valid inputs for each.
//!
//! The rule that all share: what is read can be written and is then read as the same thing.

use super::Target;

mod pairing;
mod sync;
mod text;
mod trust;
mod value;

/// Every reader of bytes that come from outside.
pub fn targets() -> Vec<Target> {
    [&pairing::TARGETS[..], &sync::TARGETS, &text::TARGETS, &trust::TARGETS, &value::TARGETS].concat()
}
