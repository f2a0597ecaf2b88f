//! The simulator and the situations that kinsync is tested in.

pub mod campaign;
pub mod device;
pub mod disk;
pub mod flood;
pub mod floors;
pub mod fuzz;
pub mod guard;
pub mod joins;
#[cfg(target_os = "linux")]
pub mod lan;
pub mod laws;
pub mod model;
pub mod net;
pub mod past;
pub mod plan;
pub mod planted;
pub mod seeds;
pub(crate) mod small;
pub mod trace;
pub mod wait;
pub mod world;
