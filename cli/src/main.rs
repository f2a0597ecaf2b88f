//! The `kinsync` command.

fn main() {}
