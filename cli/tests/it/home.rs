//! A home: set up once, looked at and configured without a running node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::Value;

use crate::device::Device;

/// S2: an identity is made once and never replaced.
#[test]
fn init_makes_a_device_once() {
    let device = Device::new();
    assert_snapshot!(device.run(["init", "--name", "desktop"]).all(), @r"
    exit 0
    --- stdout
    Created identity  desktop  SHORT
    Store   HOME/store.redb
    Config  HOME/config.toml
    --- stderr
    ");
    let identity = fs::read(device.home().join("identity.key")).unwrap();
    assert_snapshot!(device.run(["init", "--name", "other"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    There is a device here already: HOME.
    To set up another device on this machine, use another --home. [already-exists]
    ");
    assert_eq!(fs::read(device.home().join("identity.key")).unwrap(), identity);
}

#[test]
fn init_tells_programs_the_whole_id() {
    let device = Device::new();
    let created: Value =
        serde_json::from_str(&device.print(["init", "--name", "desktop", "--json"])).unwrap();
    assert_eq!(created["v"], 1);
    assert_eq!(created["self"]["name"], "desktop");
    assert!(created["self"]["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
}

#[test]
fn a_home_that_was_never_set_up_says_how_to() {
    assert_snapshot!(Device::new().run(["list", "chats"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    There is no identity: HOME/identity.key.
    Set this device up:  kinsync init [not-initialised]
    ");
    assert_snapshot!(Device::new().run(["up", "--detach"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    This device has not been set up.
    Set it up with:  kinsync init [not-initialised]
    ");
}

/// A key that others could have read is no secret any more.
#[test]
fn an_identity_that_others_can_read_is_refused() {
    let device = Device::named("desktop");
    let key = device.home().join("identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!(device.run(["status"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    Others can read HOME/identity.key (mode 644); it must be yours alone.
    chmod 600 'HOME/identity.key' [insecure]
    ");
}

#[test]
fn a_store_that_is_no_store_is_refused() {
    let device = Device::named("desktop");
    let store = device.home().join("store.redb");
    fs::write(&store, b"not a store at all").unwrap();
    let ended = device.run(["list", "chats"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.trim_end().ends_with("[store-damaged]"), "{}", ended.stderr);
    assert_eq!(fs::read(&store).unwrap(), b"not a store at all");
}

#[test]
fn a_cut_off_store_is_refused_without_a_panic() {
    let device = Device::named("desktop");
    device.run_with(["put", "characters", "pilot"], "{}");
    let store = device.home().join("store.redb");
    let length = fs::metadata(&store).unwrap().len();
    fs::File::options().write(true).open(&store).unwrap().set_len(length / 2).unwrap();
    let ended = device.run(["list", "characters"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.trim_end().ends_with("[store-damaged]"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn status_works_without_a_node() {
    let device = Device::named("desktop");
    device.run_with(["put", "characters", "pilot"], "{}");
    assert_snapshot!(device.run(["status"]).all(), @r"
    exit 0
    --- stdout
    ○ not running   start it with: kinsync up
      domain      records  tombstones  waiting  conflicts
      characters        1           0        0          0
    --- stderr
    ");
    let status: Value = serde_json::from_str(&device.print(["status", "--json"])).unwrap();
    assert_eq!(status["v"], 1);
    assert_eq!(status["self"]["running"], false);
    assert_eq!(status["peers"], Value::Array(Vec::new()));
}

#[test]
fn peers_begin_with_this_device() {
    let device = Device::named("desktop");
    assert_snapshot!(device.run(["peers"]).all(), @r"
    exit 0
    --- stdout
    NAME     ID         STATE  PATH  LAST SEEN  LAST SYNC  ROLE  RIGHTS
    desktop  SHORT  (you)  –     –          –          –     –
    --- stderr
    ");
    assert_eq!(device.print(["peers", "--json"]), "{\"v\":1,\"peers\":[]}\n");
    assert_snapshot!(device.run(["peers", "show", "laptop"]).all(), @r#"
    exit 4
    --- stdout
    --- stderr
    No device "laptop" is paired with this one.
    No device is paired yet. Show a code on one of them:  kinsync pair [not-paired]
    "#);
    assert_snapshot!(device.run(["revoke", "laptop", "--yes"]).all(), @r#"
    exit 4
    --- stdout
    --- stderr
    No device "laptop" is paired with this one.
    No device is paired yet. Show a code on one of them:  kinsync pair [not-paired]
    "#);
}

#[test]
fn doctor_looks_at_what_is_there() {
    let device = Device::named("desktop");
    let rows: Value = serde_json::from_str(&device.print(["doctor", "--json"])).unwrap();
    let checks: Vec<&str> =
        rows["rows"].as_array().unwrap().iter().map(|row| row["check"].as_str().unwrap()).collect();
    assert!(checks.contains(&"store"), "{checks:?}");
}

#[test]
fn settings_are_read_and_changed_by_name() {
    let device = Device::named("desktop");
    assert_eq!(device.print(["config", "get", "name"]), "desktop\n");
    assert_snapshot!(device.run(["config", "set", "name", "Anna's desktop"]).all(), @r"
    exit 0
    --- stdout
    name = Anna's desktop
    --- stderr
    ");
    assert_eq!(device.print(["config", "get", "name"]), "Anna's desktop\n");
    assert_snapshot!(device.run(["config", "get"]).stdout, @r"
    # What this device calls itself to others.
    name = Anna's desktop
    # The port to listen on, TCP and UDP; 0 for any that is free.
    port = 7842
    # Multiaddrs to listen on, separated by commas; none for every interface.
    listen =
    # Whether to find and be found on the local network.
    mdns = true
    # Whether to use QUIC beside TCP.
    quic = true
    # auto: after every change and on a timer; manual: only when asked.
    sync = auto
    # How often to sync without a reason, in seconds; ever less while nothing changes.
    interval = 30
    # Hold changes that delete more records of a domain than this; 0: never.
    guard-records = 50
    # Hold changes that delete more of a domain than this percentage; 0: never.
    guard-percent = 20
    # Forget deletions, and what they deleted, after so many days; 0: never.
    tombstone-days = 0
    # How much the log says: error, warn, info, debug or trace.
    log = info
    ");
    assert_snapshot!(device.run(["config", "get", "nmae"]).all(), @r#"
    exit 2
    --- stdout
    --- stderr
    There is no setting called "nmae".
    The settings are: name, port, listen, mdns, quic, sync, interval, guard-records,
    guard-percent, tombstone-days, log. [unknown-setting]
    "#);
    assert_snapshot!(device.run(["config", "edit"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    An editor needs a terminal.
    Change one setting with: kinsync config set KEY VALUE [usage]
    ");
}

#[test]
fn the_log_of_a_new_device_is_empty() {
    let device = Device::named("desktop");
    assert_snapshot!(device.run(["log"]).all(), @r"
    exit 0
    --- stdout
    --- stderr
    ");
}

/// What needs other devices runs a node for a moment, and says that there are
/// none.
#[test]
fn verify_and_sync_without_peers_say_so() {
    let device = Device::named("desktop");
    for (setting, value) in [("mdns", "false"), ("port", "0"), ("listen", "/ip4/127.0.0.1/tcp/0")] {
        assert_eq!(device.run(["config", "set", setting, value]).code, 0);
    }
    assert_snapshot!(device.run(["verify"]).all(), @r"
    exit 0
    --- stdout
    No other device is paired with this one.
    --- stderr
    No node is running: one runs here until this is done.
    ");
    assert_snapshot!(device.run(["sync"]).all(), @r"
    exit 4
    --- stdout
    --- stderr
    No node is running: one runs here until this is done.
    No other device is paired with this one.
    Pair one:  kinsync pair [not-paired]
    ");
}

/// A device that was not removed is not made a stranger by a slip.
#[test]
fn a_new_key_is_asked_for_unless_the_old_one_is_dead() {
    let device = Device::named("desktop");
    let identity = || fs::read(device.home().join("identity.key")).unwrap();
    let old = identity();
    let ended = device.run(["init", "--renew"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    assert_eq!(identity(), old);
    assert_eq!(device.run(["init", "--renew", "--yes"]).code, 0);
    assert_ne!(identity(), old);
}
