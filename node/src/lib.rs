//! A peer-to-peer sync node to embed in an application.
//!
//! Everything that can be asked of a node is a method of [`Control`], and each
//! of them has a [`request::Request`] type that says the same over the local
//! socket, so that the command line, an application in the same process and an
//! application beside it see one interface.

pub mod activity;
pub mod adapters;
pub mod address;
pub mod api;
pub mod clock;
mod commits;
pub mod config;
pub mod control;
pub mod domains;
mod event_loop;
pub mod events;
pub mod failure;
pub mod home;
pub mod identity;
pub mod node;
pub mod pairings;
pub mod passes;
mod random;
pub mod request;
pub mod state;
pub mod status;
pub mod storage;
pub mod swarm;

pub use control::Control;
pub use failure::{Failure, Kind};
pub use home::Home;
pub use node::Node;
