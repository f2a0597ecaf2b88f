//! Pairing codes on the real binary: what is said, and what is refused.

use kinsync_tests::wait::until;
use serde_json::Value;

use crate::node::{Node, Talk, enter, open};

/// The names of an object's fields, in order.
fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Another code with the same nameplate.
fn wrong(code: &str) -> String {
    let (start, last) = code.split_at(code.len() - 1);
    format!("{start}{}", if last == "0" { "1" } else { "0" })
}

/// S10, S11, S13, D11: both sides tell a program the same story, and nothing
/// but the host's first line holds the code.
#[test]
fn a_pairing_is_a_line_of_json_for_each_thing_that_happens() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let mut shown = Talk::new(&desktop, &["pair", "--label", "big screen", "--expires", "2m"]);
    let code_line = shown.hear("code");
    assert_eq!(fields(&code_line), ["event", "code", "expires_at", "addresses", "pairing"]);
    let code = code_line["code"].as_str().expect("a code");
    let shape: String = code.chars().map(|c| if c.is_ascii_digit() { 'd' } else { 'A' }).collect::<String>();
    assert_eq!(shape, "AAAAAdddd", "{code}");
    assert_eq!(code.as_bytes()[4], b'-');

    let mut typed = enter(&laptop, code, Some(desktop.address()));
    let (asked, asking) = (shown.hear("request"), typed.hear("request"));
    for (request, name, asks) in [(&asked, "laptop", true), (&asking, "big screen", false)] {
        let names = ["event", "pairing", "name", "platform", "device_id", "check", "asks"];
        assert_eq!(fields(request), names);
        assert_eq!(request["name"], name);
        assert_eq!(request["asks"], asks);
    }
    assert_eq!(asked["check"], asking["check"]);
    assert_eq!(asked["check"].as_str().map(str::len), Some("410 793".len()));

    shown.say("k");
    for (talk, name) in [(&mut shown, "laptop"), (&mut typed, "big screen")] {
        let paired = talk.hear("paired");
        assert_eq!(fields(&paired), ["event", "pairing", "peer"]);
        assert_eq!(fields(&paired["peer"]), ["id", "peer_id", "name", "role", "devices"]);
        assert_eq!(paired["peer"]["name"], name);
        assert_eq!(paired["peer"]["role"], "kin");
    }
    assert_eq!((shown.end(), typed.end()), (0, 0));
    for (node, other) in [(&desktop, &asked), (&laptop, &asking)] {
        assert_eq!(node.json(&["peers"])["peers"][0]["id"], other["device_id"]);
    }
    for node in [&desktop, &laptop] {
        assert!(!node.device().print(["log"]).contains(code));
    }
}

/// L18, D11: after three wrong codes the right one is void, and nothing came
/// in.
#[test]
fn the_right_code_after_three_wrong_ones_is_refused() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    desktop.put("characters", "pilot", "{}");
    let (mut shown, code) = open(&desktop, &["--yes"]);
    for _ in 0..3 {
        let mut typed = enter(&laptop, &wrong(&code), Some(desktop.address()));
        assert_eq!(typed.hear("failed")["code"], "wrong-code");
        assert_eq!(typed.end(), 6);
    }
    assert_eq!(shown.hear("failed")["code"], "code-void");
    assert_eq!(shown.end(), 6);
    let mut typed = enter(&laptop, &code, Some(desktop.address()));
    assert_eq!(typed.hear("failed")["code"], "code-void");
    assert_eq!(typed.end(), 6);
    assert_eq!(laptop.peer("desktop"), Value::Null);
    assert_eq!(laptop.count("characters"), 0);
}

/// D11: a code is used once.
#[test]
fn a_second_device_needs_a_code_of_its_own() {
    let desktop = Node::on_loopback("desktop");
    let (laptop, phone) = (Node::on_loopback("laptop"), Node::on_loopback("phone"));
    let (mut shown, code) = open(&desktop, &["--yes"]);
    enter(&laptop, &code, Some(desktop.address())).hear("request");
    shown.hear("request");
    shown.hear("paired");
    let mut late = enter(&phone, &code, Some(desktop.address()));
    assert_eq!(late.hear("failed")["code"], "code-void");
    assert_eq!(late.end(), 6);
    assert_eq!(desktop.peer("phone"), Value::Null);
}

/// I15: both sides hear a clear no.
#[test]
fn a_device_that_is_turned_away_hears_so() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let (mut shown, code) = open(&desktop, &[]);
    let mut typed = enter(&laptop, &code, Some(desktop.address()));
    shown.hear("request");
    shown.say("reject");
    typed.hear("request");
    for mut talk in [shown, typed] {
        assert_eq!(talk.hear("failed")["code"], "rejected");
        assert_eq!(talk.end(), 4);
    }
    assert_eq!(desktop.peer("laptop"), Value::Null);
    assert_eq!(laptop.peer("desktop"), Value::Null);
}

/// S12: a code that was valid for too short says that it has expired, on both
/// screens.
///
/// Waits for the shortest life that a code can have.
#[test]
fn a_code_that_is_too_old_says_so() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let (mut shown, code) = open(&desktop, &["--yes", "--expires", "30"]);
    assert_eq!(shown.hear("failed")["code"], "expired");
    assert_eq!(shown.end(), 6);
    let mut typed = enter(&laptop, &code, Some(desktop.address()));
    assert_eq!(typed.hear("failed")["code"], "expired");
    assert_eq!(typed.end(), 6);
}

/// S6: with mDNS switched off nothing is looked for, and the message says what
/// was checked.
#[test]
fn nobody_is_found_where_nothing_is_looked_at() {
    let laptop = Node::on_loopback("laptop");
    let ended = laptop.run(&["pair", "KXNR-7842"]);
    assert_eq!(ended.code, 5, "{}", ended.all());
    assert!(ended.stderr.contains("Checked: mDNS is switched off, 0 interfaces."), "{}", ended.stderr);
    assert!(ended.stderr.contains("--addr"), "{}", ended.stderr);
    let ended = laptop.run(&["pair", "KXNR-7842", "--addr", "/ip4/127.0.0.1/tcp/9"]);
    assert_eq!(ended.code, 5, "{}", ended.all());
    assert!(ended.stderr.contains("No device answers at /ip4/127.0.0.1/tcp/9."), "{}", ended.stderr);
}

/// S9: a device that is up and not paired gets nothing by asking.
#[test]
fn a_stranger_syncs_with_nobody() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    desktop.put("characters", "pilot", "{}");
    let peer = desktop.json(&["status"])["self"]["peer_id"].as_str().expect("an id").to_owned();
    // An address is no reason to trust whoever is there.
    assert_eq!(laptop.run(&["peers", "add-addr", &peer, desktop.address()]).code, 4);
    assert_eq!(laptop.run(&["sync"]).code, 4);
    until("the laptop is still idle", || (laptop.json(&["status"])["state"] == "idle").then_some(()));
    assert_eq!(laptop.count("characters"), 0);
}
