//! The real `kinsync` binary, as people and scripts meet it.

mod device;

mod help;
mod usage;
