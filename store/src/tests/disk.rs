//! Real file systems without room.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_matches::assert_matches;
use kinsync_protocol::snapshot::Snapshot;

use super::world::*;
use crate::{BALLAST_BYTES, OpenError, Options, State, Store, WriteError};

/// Set for the test that runs again where it may mount.
const INSIDE: &str = "KINSYNC_STORE_TMPFS";

/// Runs the named test again in mount and user namespaces of its own; what it
/// mounts ends with it. The place for its mounts, if this is that run.
fn on_own_mounts(name: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os(INSIDE) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
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
        .arg(env::current_exe().unwrap())
        .args(["--exact", &format!("tests::disk::{name}"), "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the test did not run: {text}");
    None
}

fn mount(folder: &Path, options: &str) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status();
    assert!(mounted.unwrap().success());
}

fn with_ballast() -> Options {
    Options { ballast_bytes: BALLAST_BYTES, ..options(PHONE) }
}

/// On a full disk the commit under way is finished, the store says so, opens
/// again and reads; with room again it writes.
#[test]
fn a_full_disk_stops_writing_and_nothing_else() {
    let Some(folder) = on_own_mounts("a_full_disk_stops_writing_and_nothing_else") else { return };
    mount(&folder, "size=16m");
    let path = folder.join("store");
    let store = Store::open(&path, with_ballast()).unwrap();
    put(&store, "x", "1", NOW);
    assert_eq!(fs::metadata(folder.join("store.ballast")).unwrap().len(), BALLAST_BYTES);
    // Somebody else fills the disk.
    let filler = folder.join("filler");
    let mut bytes = 10 << 20;
    while bytes > 0 {
        let mut all = fs::read(&filler).unwrap_or_default();
        all.resize(all.len() + bytes, 1);
        if fs::write(&filler, all).is_err() {
            bytes /= 2;
        }
    }
    let mut written = 0;
    let error = loop {
        match store.put(notes(), key(&format!("n{written}")), vec![7; 50_000], NOW) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, store.state()), (WriteError::DiskFull, State::DiskFull));
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, written + 1);
    assert_sound(&store);
    drop(store);

    let store = Store::open(&path, with_ballast()).unwrap();
    assert_eq!(store.state(), State::DiskFull);
    assert_eq!(get(&store, "x").as_deref(), Some("1"));
    assert_eq!(store.put(notes(), key("y"), vec![1], NOW), Err(WriteError::DiskFull));

    fs::remove_file(&filler).unwrap();
    put(&store, "y", "2", NOW);
    assert_eq!(store.state(), State::Writing);
    assert_eq!(fs::metadata(folder.join("store.ballast")).unwrap().len(), BALLAST_BYTES);
    drop(store);
    let store = Store::open(&path, with_ballast()).unwrap();
    assert_eq!(get(&store, "y").as_deref(), Some("2"));
    assert_sound(&store);
}

/// A disk without room for a store at all.
#[test]
fn a_store_that_cannot_be_created_says_so() {
    let Some(folder) = on_own_mounts("a_store_that_cannot_be_created_says_so") else { return };
    mount(&folder, "size=16k");
    assert_matches!(Store::open(folder.join("store"), with_ballast()), Err(OpenError::DiskFull));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "what was begun is taken away");
}

/// A file system that lets nobody write.
#[test]
fn a_read_only_disk_says_so() {
    let Some(folder) = on_own_mounts("a_read_only_disk_says_so") else { return };
    mount(&folder, "size=16m");
    drop(Store::open(folder.join("store"), with_ballast()).unwrap());
    let again = Command::new("mount").args(["-o", "remount,ro"]).arg(&folder).status();
    assert!(again.unwrap().success());
    assert_matches!(Store::open(folder.join("store"), with_ballast()), Err(OpenError::ReadOnly { .. }));
    assert_matches!(Store::open(folder.join("other"), with_ballast()), Err(OpenError::ReadOnly { .. }));
}
