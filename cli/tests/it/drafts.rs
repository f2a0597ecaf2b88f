//! Drafts on real nodes: what an application writes over some time.

use kinsync::request::{HoldCommit, HoldOpen, HoldSave};
use kinsync_tests::wait::until;
use serde_json::Value;

use crate::node::{Node, ask, pair};

/// Begins a draft and saves half of it. The name of the hold.
fn half(node: &Node, id: &str) -> String {
    let ask_for = HoldOpen { domain: "settings".to_owned(), id: id.to_owned(), ttl_ms: None };
    let hold = ask(node, ask_for).hold;
    ask(node, HoldSave { hold: hold.clone(), value: "{\"text\":\"Hel".into(), ttl_ms: None });
    hold
}

fn drafts(node: &Node) -> Vec<Value> {
    node.json(&["drafts"])["rows"].as_array().expect("rows").clone()
}

/// P21: while a reply is written, everything else syncs and the other device
/// sees nothing of it; with the commit it is there.
#[test]
fn a_reply_reaches_the_other_device_when_it_is_finished() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    pair(&desktop, &laptop, Some(desktop.address()));
    desktop.put("settings", "question", "{}");
    let hold = half(&desktop, "reply");
    laptop.put("settings", "meanwhile", "{}");
    desktop.put("settings", "meanwhile too", "{}");
    laptop.wait_until_equal(1);
    desktop.wait_until_equal(1);
    assert_eq!((desktop.count("settings"), laptop.count("settings")), (3, 3));
    assert_eq!(laptop.run(&["get", "settings", "reply"]).code, 1);
    assert_eq!(drafts(&laptop), [Value::Null; 0]);

    let whole = "{\"text\":\"Hello\"}";
    ask(&desktop, HoldCommit { hold, value: Some(whole.into()) });
    until("the reply has arrived", || (laptop.count("settings") == 4).then_some(()));
    assert_eq!(laptop.device().print(["get", "settings", "reply"]), whole);
    assert_eq!(drafts(&desktop), [Value::Null; 0]);
}

/// P21: a kill leaves the half reply on this device alone, interrupted, for a
/// person to keep or to drop.
#[test]
fn a_kill_leaves_a_half_reply_interrupted_and_unsynced() {
    let (mut desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    pair(&desktop, &laptop, Some(desktop.address()));
    desktop.put("settings", "reply", "{}");
    laptop.wait_until_equal(1);
    let (kept, dropped) = (half(&desktop, "reply"), half(&desktop, "another"));
    desktop.kill();
    desktop.up();
    laptop.run(&["sync"]);
    laptop.wait_until_equal(1);
    assert_eq!(laptop.count("settings"), 1);
    assert_eq!(laptop.device().print(["get", "settings", "reply"]), "{}", "the old one stays");
    let rows = drafts(&desktop);
    assert_eq!(rows.iter().map(|row| &row["state"]).collect::<Vec<_>>(), ["interrupted", "interrupted"]);
    assert_eq!(desktop.device().print(["drafts", "show", &kept]), "{\"text\":\"Hel");

    assert_eq!(desktop.run(&["drafts", "commit", &kept]).code, 0);
    assert_eq!(desktop.run(&["drafts", "drop", &dropped]).code, 2, "nobody is there to answer");
    assert_eq!(desktop.run(&["--yes", "drafts", "drop", &dropped[..8]]).code, 0);
    assert_eq!(desktop.run(&["drafts"]).stdout, "No drafts.\n");
    let half = "{\"text\":\"Hel";
    until("what was kept has arrived", || {
        (laptop.device().print(["get", "settings", "reply"]) == half).then_some(())
    });
}
