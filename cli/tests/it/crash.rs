//! Processes that end at the worst moment, and homes that cannot be used.

use std::process::Command;

use crate::library;
use crate::node::{Node, pair};
use crate::proxy::Proxy;

/// Records of the first sync, if no other number is asked for.
const RECORDS: u64 = 20_000;

/// Asks for another number of records: `scripts/torture` does.
const RECORDS_VARIABLE: &str = "KINSYNC_TORTURE_RECORDS";

/// How often a side is killed, if no other number is asked for.
const KILLS: u64 = 4;

/// Asks for another number of kills.
const KILLS_VARIABLE: &str = "KINSYNC_TORTURE_KILLS";

/// Letters of each record.
const LETTERS: u64 = 60;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// F17: either side can be killed at any moment of a first sync. It comes back,
/// the sync goes on, and both end equal.
#[test]
fn a_first_sync_survives_kills_of_either_side() {
    let (records, kills) = (number(RECORDS_VARIABLE, RECORDS), number(KILLS_VARIABLE, KILLS));
    let (mut desktop, mut laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    library::chat(folder.path(), "Pilot", 0..records, LETTERS as usize);
    library::import(&laptop, folder.path());

    let wire = Proxy::to(desktop.address());
    // At least its letters travel of a record, however well the rest of it compresses.
    let step = records * LETTERS / (kills + 1);
    wire.hold_after(step);
    pair(&desktop, &laptop, Some(&wire.multiaddr()));
    let mut taken = 0;
    for kill in 0..kills {
        wire.wait_until_held();
        let victim = if kill % 2 == 0 { &mut desktop } else { &mut laptop };
        victim.kill();
        wire.release();
        wire.wait_until_closed();
        wire.hold_after(step);
        victim.up();
        let now = desktop.count("messages");
        assert!(now >= taken, "{taken} records were there, {now} are left");
        assert!(now < records, "the sync was over before kill {kill}");
        taken = now;
        laptop.run(&["sync", "--no-wait"]);
    }
    wire.release();
    laptop.wait_until_equal(1);
    assert_eq!(desktop.count("messages"), records);
    let doctor = desktop.run(&["doctor"]);
    assert!(!doctor.stdout.contains("damage found"), "{}", doctor.stdout);
}

/// A node that was killed leaves nothing behind that keeps the next one away.
#[test]
fn a_killed_node_comes_back_with_all_that_was_acknowledged() {
    let mut desktop = Node::on_loopback("desktop");
    for number in 0..20 {
        desktop.put("characters", &number.to_string(), "{}");
    }
    desktop.kill();
    assert_eq!(desktop.count("characters"), 20, "read without a node");
    desktop.up();
    assert_eq!(desktop.count("characters"), 20);
}

#[test]
fn a_second_node_on_one_home_is_refused() {
    let desktop = Node::on_loopback("desktop");
    let second = desktop.run(&["up", "--no-mdns", "--port", "0"]);
    assert_eq!(second.code, 1, "{}", second.all());
    assert!(second.stderr.contains("A node is up already"), "{}", second.stderr);
    assert!(second.stderr.ends_with("[busy]\n"), "{}", second.stderr);
    // Everything else goes through the node that runs.
    desktop.put("characters", "pilot", "{}");
}

/// Two nodes are started at the same moment: one of them runs.
#[test]
fn of_two_nodes_that_start_together_one_runs() {
    let device = crate::device::Device::named("desktop");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinsync"));
        command.env_clear().env("KINSYNC_HOME", device.home());
        command.args(["up", "--detach", "--no-mdns", "--no-quic", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        command.spawn().expect("the binary starts")
    };
    let ended = [start(), start()].map(|child| child.wait_with_output().expect("it ends"));
    for ended in &ended {
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.success() || said.contains("[busy]") || said.contains("[store-locked]"),
            "{said}"
        );
    }
    // One that only looked up, as the other one answered, would come up after that one's end.
    assert_eq!(ended.iter().filter(|ended| ended.status.success()).count(), 1);
    assert_eq!(device.run(["down"]).code, 0);
    assert_eq!(device.run(["down"]).code, 3);
}

/// A home on a medium that cannot be written is refused in words.
#[cfg(target_os = "linux")]
#[test]
fn a_home_that_cannot_be_written_says_so() {
    // The kernel lets nobody make a folder here, not even root.
    let ended = {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinsync"));
        command.env_clear().args(["--home", "/proc/kinsync", "init", "--name", "desktop"]);
        command.output().expect("the binary starts")
    };
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("/proc/kinsync"), "{said}");
    assert!(said.trim_end().ends_with(']') && !said.contains("panicked"), "{said}");
}
