//! The network: libp2p behind a door.
//!
//! Knows frames and keys, and nothing of what the frames say. Whoever drives
//! the swarm keeps [`Admission`] equal to the store's trust table, sends
//! frames through the three [`Exchange`]s of [`Behaviour`], and dials.

pub mod addresses;
pub mod admission;
pub mod behaviour;
pub mod build;
pub mod codec;
mod delegate;
mod dial;
pub mod door;
pub mod exchange;
pub mod gate;
mod identity;
pub mod mdns;
pub mod prefer;
pub mod protocols;
pub mod pulse;

#[cfg(test)]
mod tests;

/// Streams that a connection may have, both directions together.
///
/// On TCP the multiplexer closes the whole connection when a peer opens more,
/// so [`Protocol::limits`] keeps honest peers far below it.
pub const STREAMS_PER_CONNECTION_MAX: usize = 64;

pub use admission::{Admission, Role, Side, Window};
pub use behaviour::{Behaviour, Event};
pub use build::{BuildError, Config, build};
pub use dial::{dial, dial_somebody};
pub use door::Refusal;
pub use exchange::{AnswerError, Exchange, Reply, RequestError, RequestId};
pub use identity::{device_id, parse_peer_id, peer_id};
pub use protocols::Protocol;
