//! The demo that a newcomer types first.

use std::process::{Command, Stdio};

/// Pairing, records both ways, an import, a conflict, a revoke: the script ends with 0 only when each of them did what
/// it should.
#[test]
fn the_demo_shows_what_it_says() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo");
    let output = Command::new(script)
        .env("KINSYNC", env!("CARGO_BIN_EXE_kinsync"))
        .stdin(Stdio::null())
        .output()
        .expect("the demo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert_eq!(complained, "");
}
