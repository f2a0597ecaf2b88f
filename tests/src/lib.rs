//! The simulator and the situations that kinsync is tested in.
