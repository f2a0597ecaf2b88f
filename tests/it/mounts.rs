//! File systems of a test's own, which end with it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for the test that runs again where it may mount.
const INSIDE: &str = "KINSYNC_TESTS_MOUNTS";

/// Runs the named test of this binary again in mount and user namespaces of
/// its own. The place for its mounts, if this is that run; nothing if it has
/// run there, or if this system lets nobody mount anything.
pub(crate) fn on_own_mounts(name: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os(INSIDE) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let namespaces = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    if !namespaces().arg("true").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: this system lets nobody mount a file system of their own");
        return None;
    }
    let output = namespaces()
        .arg(env::current_exe().expect("this binary"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the test did not run: {text}");
    None
}

/// Mounts a file system in memory, with options such as `size=16m`.
pub(crate) fn mount(folder: &Path, options: &str) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status();
    assert!(mounted.is_ok_and(|status| status.success()), "a file system in memory");
}
