//! What two kinsync devices must agree on.
//!
//! Nothing in this crate opens a socket or a file, reads a clock or draws a
//! random number: time, randomness and keys are arguments, so a test can run
//! years of traffic in seconds and repeat it byte for byte.

pub mod beside;
pub mod card;
pub mod cbor;
pub mod code;
pub mod declaration;
pub mod family;
pub mod fault;
pub mod floor;
pub mod grants;
pub mod hash;
pub mod id;
pub mod item;
pub mod label;
pub mod limits;
pub mod pairing;
pub mod policy;
pub mod random;
pub mod record;
pub mod rights;
pub mod session;
pub mod snapshot;
pub mod stamp;
pub mod sums;
pub mod ticket;
pub mod trust;
pub mod value;
pub mod wire;
