//! The real `kinsync` binary, as people and scripts meet it.

mod device;
mod library;
mod node;
mod proxy;

mod changes;
mod chats;
mod codes;
mod conflicts;
mod contract;
mod crash;
mod demo;
mod domains;
mod drafts;
mod held;
mod help;
mod home;
mod import;
#[cfg(target_os = "linux")]
mod lan;
mod network;
mod readiness;
mod records;
mod revoking;
mod rights;
mod traffic;
mod trash;
mod usage;
