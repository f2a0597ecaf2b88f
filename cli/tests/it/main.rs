//! The real `kinsync` binary, as people and scripts meet it.

mod contract;
mod demo;
mod device;

mod help;
mod home;
mod import;
mod network;
mod records;
mod usage;
