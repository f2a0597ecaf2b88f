//! One binary for all integration tests; one module per situation.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says why it did not run")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one answer it expects")]

mod abuse;
mod dependencies;
mod docs;
mod floors;
mod fuzz;
mod guard;
mod joins;
#[cfg(target_os = "linux")]
mod lan;
mod loopback;
mod memory;
#[cfg(target_os = "linux")]
mod mounts;
mod planted;
mod real_store;
mod session;
mod simulation;
mod spec;
#[cfg(target_os = "linux")]
mod strain;
mod tidy;
