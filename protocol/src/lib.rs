//! What two kinsync devices must agree on.
//!
//! Nothing in this crate opens a socket or a file, reads a clock or draws a
//! random number: time, randomness and keys are arguments, so a test can run
//! years of traffic in seconds and repeat it byte for byte.

pub mod hash;
pub mod id;
