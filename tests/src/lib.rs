//! The simulator and the situations that kinsync is tested in.

pub mod fuzz;
#[cfg(target_os = "linux")]
pub mod lan;
pub mod model;
pub mod wait;
