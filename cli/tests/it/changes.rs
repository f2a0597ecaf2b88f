//! The durable feed of changes, on the real binary.

use serde_json::Value;

use crate::node::{Node, Talk, pair};

/// What `changes` prints, but the last line; and the token of that.
fn changes(node: &Node, words: &[&str]) -> (Vec<Value>, String) {
    let printed = node.device().print([&["--json", "changes", "messages"], words].concat());
    let line = |line| serde_json::from_str::<Value>(line).expect("an object a line");
    let mut lines: Vec<Value> = printed.lines().map(line).collect();
    let last = lines.pop().expect("at least one line");
    assert_eq!(last["ev"], "caught-up");
    (lines, last["token"].as_str().expect("text").to_owned())
}

fn told(lines: &[Value]) -> Vec<(&str, &str)> {
    assert!(lines.iter().all(|line| line["token"].is_string()), "each can be gone on from");
    lines.iter().filter_map(|line| Some((line["ev"].as_str()?, line["id"].as_str()?))).collect()
}

/// F8, F15: nothing is missed between two looks: not while nobody watches, not
/// over a kill, and not from another device.
#[test]
fn the_feed_goes_on_over_a_kill() {
    let (mut desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    pair(&desktop, &laptop, Some(desktop.address()));
    desktop.put("messages", "a", "{}");
    let (lines, seen) = changes(&desktop, &[]);
    assert_eq!(told(&lines), [("put", "a")]);
    desktop.put("messages", "b", "{}");
    assert_eq!(desktop.run(&["del", "messages", "a"]).code, 0);
    desktop.kill();
    assert_eq!(told(&changes(&desktop, &["--since", &seen]).0), [("put", "b"), ("del", "a")]);
    desktop.up();
    laptop.put("messages", "c", "{}");
    laptop.wait_until_equal(1);
    let (lines, all) = changes(&desktop, &["--since", &seen]);
    assert_eq!(told(&lines), [("put", "b"), ("del", "a"), ("put", "c")]);
    assert_eq!(lines[2]["from"], "laptop");

    let mut watching = Talk::new(&desktop, &["watch", "messages", "--since", &seen]);
    for line in &lines {
        assert_eq!(watching.next(), *line, "what was missed comes first");
    }
    assert_eq!(watching.next()["token"], all);
    desktop.put("messages", "d", "{}");
    assert_eq!(watching.next()["id"], "d");
    desktop.down();
    assert_eq!(watching.end(), 3);
}

/// F15: whoever saw what a restored backup undid is told to begin again.
#[test]
fn a_restored_backup_is_a_resync() {
    let mut desktop = Node::on_loopback("desktop");
    let store = desktop.device().home().join("store.redb");
    let backup = desktop.device().home().join("backup");
    desktop.put("messages", "a", "{}");
    desktop.down();
    std::fs::copy(&store, &backup).expect("copied");
    desktop.up();
    desktop.put("messages", "b", "{}");
    let (_, seen) = changes(&desktop, &[]);
    desktop.down();
    std::fs::copy(&backup, &store).expect("copied");
    desktop.up();
    desktop.put("messages", "c", "{}");
    let (lines, again) = changes(&desktop, &["--since", &seen]);
    assert_eq!(lines[0]["ev"], "resync");
    assert_eq!(told(&lines[1..]), [("put", "a"), ("put", "c")]);
    assert_eq!(changes(&desktop, &["--since", &again]), (vec![], again));
}

#[test]
fn people_are_told_where_to_go_on() {
    let desktop = Node::on_loopback("desktop");
    desktop.put("messages", "a", "{}");
    let ended = desktop.run(&["changes", "messages", "--since", "now"]);
    assert!(ended.stdout.starts_with("Up to date. Go on with:  --since "), "{}", ended.all());
    let ended = desktop.run(&["changes", "messages", "--since", "yesterday"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.ends_with("[bad-token]\n"), "{}", ended.stderr);
}
