//! Mass changes on real nodes: they wait for a person.

use insta::assert_snapshot;
use kinsync_tests::wait::until;
use serde_json::Value;

use crate::library;
use crate::node::{Node, pair};

/// Records of the chat that everybody holds.
const TURNS: u64 = 120;

/// A desktop and a laptop that hold one chat and are equal.
fn with_a_chat() -> (Node, Node) {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    library::chat(folder.path(), "Pilot", 0..TURNS, 20);
    library::import(&laptop, folder.path());
    pair(&desktop, &laptop, Some(desktop.address()));
    desktop.wait_until_equal(1);
    assert_eq!(desktop.count("messages"), TURNS);
    (desktop, laptop)
}

/// Deletes most of the chat on a device that is away meanwhile.
fn delete_most(laptop: &mut Node, kept: usize) {
    laptop.down();
    let listed = laptop.device().print(["list", "messages", "--json"]);
    let id = |line: &str| serde_json::from_str::<Value>(line).expect("an object")["id"].clone();
    let ids: Vec<Value> = listed.lines().map(id).collect();
    for id in ids.iter().skip(kept) {
        let id = id.as_str().expect("text");
        assert_eq!(laptop.run(&["del", "messages", id]).code, 0);
    }
    laptop.up();
}

/// The one thing that is held.
fn held(desktop: &Node) -> Value {
    until("the change is held", || {
        let rows = desktop.json(&["held"])["rows"].as_array().expect("rows").clone();
        (rows.len() == 1).then(|| rows[0].clone())
    })
}

/// D10: an application gone wrong on one device does not empty the others:
/// nothing is applied, a person is told, and a no brings everything back.
#[test]
fn a_mass_deletion_waits_and_a_no_brings_everything_back() {
    let (desktop, mut laptop) = with_a_chat();
    delete_most(&mut laptop, 50);
    let row = held(&desktop);
    assert_eq!((&row["peer"]["name"], &row["domain"]), (&Value::from("laptop"), &Value::from("messages")));
    assert_eq!(desktop.count("messages"), TURNS);
    let sync = desktop.run(&["sync"]);
    assert_snapshot!(sync.all(), @r"
    exit 8
    --- stdout
    laptop  held
    --- stderr
    70 changes of messages from laptop wait for your answer.
    See what they are:  kinsync held [held]
    ");
    let synced = |node: &Node| {
        let log = node.run(&["log"]).stdout;
        log.lines().filter(|line| line.contains("  synced  ") && line.contains("\"held\"")).count()
    };
    assert_eq!((desktop.run(&["sync"]).code, synced(&desktop)), (8, 1), "it is told once");
    let row = held(&desktop);
    assert_eq!((&row["deletions"], &row["live"]), (&Value::from(TURNS - 50), &Value::from(TURNS)));
    let number = row["number"].to_string();
    let status = desktop.json(&["status"]);
    assert!(status["flags"].as_array().expect("flags").contains(&"held".into()), "{status}");
    assert!(status["warnings"].as_array().expect("rows").iter().any(|row| row["code"] == "held"), "{status}");
    let shown = desktop.json(&["held", "show", &number]);
    assert_eq!(shown["rows"].as_array().expect("rows").len() as u64, TURNS - 50);
    assert!(shown["rows"].as_array().expect("rows").iter().all(|row| row["change"] == "delete"), "{shown}");

    // Other domains go on, both ways.
    laptop.put("characters", "pilot", "{}");
    desktop.put("prompts", "greeting", "{}");
    until("the rest goes on", || {
        (desktop.count("characters") == 1 && laptop.count("prompts") == 1).then_some(())
    });
    assert_eq!(desktop.run(&["held", "reject", &number]).code, 0);
    desktop.wait_until_equal(1);
    assert_eq!((desktop.count("messages"), laptop.count("messages")), (TURNS, TURNS));
    assert_eq!(desktop.run(&["held"]).stdout, "Nothing is held.\n");
    assert_eq!(desktop.run(&["held", "accept", &number]).code, 1);
}

/// D10: a yes applies it.
#[test]
fn a_mass_deletion_is_applied_after_a_yes() {
    let (mut desktop, mut laptop) = with_a_chat();
    delete_most(&mut laptop, 50);
    let number = held(&desktop)["number"].to_string();
    assert_eq!(desktop.run(&["held", "accept", &number]).code, 2, "nobody is there to answer");
    desktop.kill();
    desktop.up();
    assert_eq!(held(&desktop)["number"].to_string(), number, "it outlives the node");
    assert_eq!(desktop.run(&["--yes", "held", "accept", &number]).code, 0);
    desktop.wait_until_equal(1);
    assert_eq!((desktop.count("messages"), laptop.count("messages")), (50, 50));
    assert_eq!(desktop.run(&["sync"]).code, 0);
}

/// D10: whoever does not want it switches it off.
#[test]
fn the_guard_can_be_switched_off() {
    let (desktop, mut laptop) = with_a_chat();
    for setting in ["guard-records", "guard-percent"] {
        assert_eq!(desktop.run(&["config", "set", setting, "0"]).code, 0);
    }
    delete_most(&mut laptop, 50);
    desktop.wait_until_equal(1);
    assert_eq!(desktop.count("messages"), 50);
}
