//! What one device lets another do: set by a person, enforced where it is
//! granted, told to both.

use kinsync_tests::wait::until;
use serde_json::{Value, json};

use crate::node::{Node, Talk, open, pair};

fn paired() -> (Node, Node) {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    pair(&desktop, &laptop, Some(desktop.address()));
    (desktop, laptop)
}

fn allow(node: &Node, words: &[&str]) {
    let ended = node.run(&[&["peers", "allow"], words].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn named(name: &str) -> String {
    format!("{{\"name\":\"{name}\"}}")
}

fn value(node: &Node, domain: &str, id: &str) -> Option<String> {
    let ended = node.run(&["get", domain, id]);
    (ended.code == 0).then(|| ended.stdout.trim_end().to_owned())
}

fn wait_for_value(node: &Node, domain: &str, id: &str, wanted: &str) {
    until(&format!("{id} is there"), || {
        value(node, domain, id).filter(|value| *value == named(wanted)).map(drop)
    });
}

/// A pass that must go well; the lines about what is not shared.
fn limits(node: &Node, peer: &str) -> Vec<String> {
    let ended = node.run(&["sync", peer]);
    assert_eq!(ended.code, 0, "{}", ended.all());
    let lines = ended.stdout.replace("\n         ", " ");
    lines.lines().filter(|line| line.starts_with("limited: ")).map(str::to_owned).collect()
}

fn rights(node: &Node, peer: &str) -> Value {
    node.peer(peer)["rights"].clone()
}

/// D16: a device that may only read gets everything and changes nothing here;
/// both sides say so, and it is no failure. Lifted while the two are connected,
/// what waited arrives by itself.
#[test]
fn a_device_that_may_only_read_changes_nothing_here() {
    let (desktop, laptop) = paired();
    desktop.put("characters", "pilot", &named("Pilot"));
    wait_for_value(&laptop, "characters", "pilot", "Pilot");
    allow(&desktop, &["laptop", "--read-only"]);
    assert_eq!(rights(&desktop, "laptop"), json!(["read"]));
    laptop.put("characters", "pilot", &named("Changed there"));
    laptop.put("characters", "new", &named("New"));
    let limited = "limited: desktop does not take changes of characters from this device";
    assert_eq!(limits(&laptop, "desktop"), [limited]);
    let limited = "limited: this device does not take changes of characters from laptop";
    assert_eq!(limits(&desktop, "laptop"), [limited]);
    assert_eq!(value(&desktop, "characters", "pilot"), Some(named("Pilot")));
    assert_eq!(value(&desktop, "characters", "new"), None);

    // What the desktop writes goes on arriving, without a word.
    desktop.put("characters", "other", &named("Other"));
    wait_for_value(&laptop, "characters", "other", "Other");
    assert_eq!(limits(&laptop, "desktop").len(), 1);
    let verified = laptop.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.all());
    assert!(verified.stdout.contains("1 domain limited"), "{}", verified.stdout);
    let warnings = laptop.json(&["status"])["warnings"].clone();
    let text = "desktop does not take changes of characters from this device.";
    assert!(
        warnings.as_array().unwrap().iter().any(|one| one["code"] == "limited" && one["text"] == text),
        "{warnings}"
    );
    let log = laptop.device().print(["--json", "log"]);
    assert!(log.contains(r#""event":"policy""#) && log.contains(r#""by":"peer""#), "{log}");

    allow(&desktop, &["laptop", "--all"]);
    wait_for_value(&desktop, "characters", "pilot", "Changed there");
    wait_for_value(&desktop, "characters", "new", "New");
    desktop.wait_until_equal(1);
    assert!(limits(&laptop, "desktop").is_empty());
    assert_eq!(laptop.json(&["status"])["warnings"], json!([]));
}

/// D16: a device that may only send gets nothing.
#[test]
fn a_device_that_may_only_send_gets_nothing() {
    let (desktop, laptop) = paired();
    allow(&desktop, &["laptop", "--send-only"]);
    assert_eq!(rights(&desktop, "laptop"), json!(["write", "delete"]));
    desktop.put("characters", "private", &named("Private"));
    laptop.put("characters", "sent", &named("Sent"));
    wait_for_value(&desktop, "characters", "sent", "Sent");
    let limited = "limited: desktop does not give characters to this device";
    assert_eq!(limits(&laptop, "desktop"), [limited]);
    assert_eq!(value(&laptop, "characters", "private"), None);
    allow(&desktop, &["laptop", "--all"]);
    wait_for_value(&laptop, "characters", "private", "Private");
    desktop.wait_until_equal(1);
}

/// D16: only the domains that were named are shared, in either direction.
#[test]
fn only_the_named_domains_are_shared() {
    let (desktop, laptop) = paired();
    allow(&desktop, &["laptop", "--domains", "characters,personas"]);
    for node in [&desktop, &laptop] {
        let name = node.json(&["status"])["self"]["name"].as_str().unwrap().to_owned();
        node.put("characters", &name, &named(&name));
        node.put("prompts", &name, r#"{"name":"prompt"}"#);
    }
    wait_for_value(&laptop, "characters", "desktop", "desktop");
    wait_for_value(&desktop, "characters", "laptop", "laptop");
    let limited = "limited: desktop does not share prompts with this device";
    assert_eq!(limits(&laptop, "desktop"), [limited]);
    assert_eq!(value(&desktop, "prompts", "laptop"), None);
    assert_eq!(value(&laptop, "prompts", "desktop"), None);
    assert_eq!(rights(&desktop, "laptop")[3], "only:characters,personas");
    let row = desktop.run(&["peers"]).stdout;
    assert!(row.contains("all, 2 domains"), "{row}");

    let unknown = desktop.run(&["peers", "allow", "laptop", "--domains", "charaters"]);
    assert_eq!(unknown.code, 2, "{}", unknown.all());
    assert!(unknown.stderr.contains("characters, personas"), "{}", unknown.stderr);
    assert_eq!(rights(&desktop, "laptop")[3], "only:characters,personas");
}

/// D16 F11: a device that shares one domain hears how that is declared, and
/// gets no record of another one.
#[test]
fn declarations_reach_a_device_that_shares_one_domain() {
    let (desktop, laptop) = paired();
    let declare = |name: &str| {
        let file = desktop.device().home().join("new.toml");
        std::fs::write(&file, format!("name = \"{name}\"\n")).expect("written");
        assert_eq!(desktop.run(&["domains", "add", &file.display().to_string()]).code, 0);
    };
    declare("tides");
    allow(&desktop, &["laptop", "--domains", "tides"]);
    declare("currents");
    desktop.put("tides", "noon", &named("High"));
    desktop.put("currents", "noon", &named("North"));
    wait_for_value(&laptop, "tides", "noon", "High");
    until("both are declared", || (laptop.run(&["domains", "show", "currents"]).code == 0).then_some(()));
    assert_eq!(laptop.run(&["sync", "desktop"]).code, 0);
    assert_eq!(value(&laptop, "currents", "noon"), None);
}

/// D10, D16: a deletion by a device that may not delete is undone on both.
#[test]
fn a_deletion_that_is_not_granted_is_undone_everywhere() {
    let (desktop, laptop) = paired();
    allow(&desktop, &["laptop", "--no-delete"]);
    desktop.put("characters", "pilot", &named("Pilot"));
    wait_for_value(&laptop, "characters", "pilot", "Pilot");
    assert_eq!(laptop.run(&["del", "characters", "pilot"]).code, 0);
    wait_for_value(&laptop, "characters", "pilot", "Pilot");
    assert_eq!(value(&desktop, "characters", "pilot"), Some(named("Pilot")));
    desktop.wait_until_equal(1);
    // Its edits stand, and what the desktop deletes is deleted.
    laptop.put("characters", "pilot", &named("Edited"));
    wait_for_value(&desktop, "characters", "pilot", "Edited");
    assert_eq!(desktop.run(&["del", "characters", "pilot"]).code, 0);
    until("it is deleted", || value(&laptop, "characters", "pilot").is_none().then_some(()));
}

/// D16: both sides can say so while they pair, and it holds from the first
/// session on.
#[test]
fn rights_that_come_with_the_pairing_hold_from_the_first_session() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    desktop.put("characters", "here", &named("Here"));
    laptop.put("characters", "there", &named("There"));
    let unknown = desktop.run(&["pair", "--domains", "nothing"]);
    assert_eq!(unknown.code, 2, "{}", unknown.all());
    let (mut shown, code) = open(&desktop, &["--yes", "--read-only"]);
    let address = desktop.address().to_owned();
    let mut typed = Talk::new(&laptop, &["pair", &code, "--addr", &address, "--no-delete"]);
    typed.hear("request");
    shown.hear("request");
    typed.hear("paired");
    shown.hear("paired");
    wait_for_value(&laptop, "characters", "here", "Here");
    assert_eq!(limits(&laptop, "desktop").len(), 1);
    assert_eq!(value(&desktop, "characters", "there"), None);
    assert_eq!(rights(&desktop, "laptop"), json!(["read"]));
    assert_eq!(rights(&laptop, "desktop"), json!(["read", "write"]));
    let shown = laptop.run(&["peers", "show", "desktop"]).stdout;
    assert!(shown.contains("read, write"), "{shown}");
}

/// F20: secrets leave a device only towards one that both ends asked to share
/// them with, by name.
#[test]
fn secrets_are_shared_only_where_both_ends_ask_for_them() {
    let (desktop, laptop) = paired();
    desktop.put("secrets", "key", r#"{"name":"key"}"#);
    desktop.put("characters", "pilot", &named("Pilot"));
    wait_for_value(&laptop, "characters", "pilot", "Pilot");
    assert!(limits(&desktop, "laptop").is_empty());
    desktop.wait_until_equal(1);
    assert_eq!(value(&laptop, "secrets", "key"), None);
    allow(&desktop, &["laptop", "--also", "secrets"]);
    let limited = "limited: laptop was not asked to share secrets with this device";
    let told = desktop.run(&["sync", "laptop"]).stdout;
    assert!(told.contains(limited) && told.contains("kinsync peers allow NAME --also secrets\n"), "{told}");
    assert_eq!(value(&laptop, "secrets", "key"), None);
    allow(&laptop, &["desktop", "--also", "secrets"]);
    wait_for_value(&laptop, "secrets", "key", "key");
    assert!(limits(&desktop, "laptop").is_empty());
    assert_eq!(rights(&laptop, "desktop")[3], "also:secrets");

    let shared_anyway = desktop.run(&["peers", "allow", "laptop", "--also", "characters"]);
    assert_eq!(shared_anyway.code, 2, "{}", shared_anyway.all());
    assert!(shared_anyway.stderr.contains("secrets"), "{}", shared_anyway.stderr);
}

/// Wrong usage changes nothing.
#[test]
fn what_makes_no_sense_is_refused() {
    let (desktop, laptop) = paired();
    for words in [&["--read-only", "--send-only"][..], &[], &["--all", "--no-delete"]] {
        let ended = desktop.run(&[&["peers", "allow", "laptop"], words].concat());
        assert_eq!(ended.code, 2, "{}", ended.all());
    }
    assert_eq!(desktop.run(&["peers", "allow", "phone", "--read-only"]).code, 4);
    assert_eq!(rights(&desktop, "laptop"), json!(["read", "write", "delete"]));
    assert_eq!(desktop.json(&["sync"])["v"], 1);
    drop(laptop);
}
