//! Devices on a LAN of their own: real multicast, real addresses, default
//! settings.
//!
//! To have a folder of your own among what is shared, name it in
//! `KINSYNC_LIBRARY`.

use std::path::Path;

use kinsync_tests::lan::Lan;
use kinsync_tests::wait::until;

use crate::library;
use crate::node::{Node, enter, open, pair};

/// A folder to import beside the one that is made for the test.
const LIBRARY_VARIABLE: &str = "KINSYNC_LIBRARY";

/// S6, S10, S13, P1, P19, P20, P31: three devices are paired with two codes and
/// no address, share a library, are edited on every side, and end equal.
#[test]
fn three_devices_find_each_other_and_hold_the_same() {
    let Some(lan) = Lan::new_or_say_why(3) else { return };
    let desktop = Node::on(lan.host(0), "desktop");
    let laptop = Node::on(lan.host(1), "laptop");
    let phone = Node::on(lan.host(2), "phone");
    assert_eq!(desktop.json(&["status"])["state"], "idle");

    pair(&desktop, &laptop, None);
    pair(&laptop, &phone, None);
    // One code for the whole set: the two that never met trust each other.
    desktop.wait_for("phone", "online");
    phone.wait_for("desktop", "online");

    let folder = tempfile::tempdir().expect("a temporary folder");
    library::small(folder.path());
    library::import(&desktop, folder.path());
    if let Some(own) = std::env::var_os(LIBRARY_VARIABLE) {
        library::import(&desktop, Path::new(&own));
    }
    laptop.put("personas", "me", r#"{"name":"You"}"#);
    phone.put("characters", "Keeper", r#"{"name":"Keeper"}"#);
    for node in [&desktop, &laptop, &phone] {
        node.wait_until_equal(2);
    }

    assert_eq!(phone.device().print(["get", "personas", "me"]), r#"{"name":"You"}"#);
    assert_eq!(laptop.count("messages"), 20);
    for domain in
        ["characters", "chats", "lorebooks", "messages", "personas", "presets", "prompts", "settings"]
    {
        desktop.assert_same_list(&laptop, domain);
        desktop.assert_same_list(&phone, domain);
    }
    let status = phone.json(&["status"]);
    assert!(["idle", "success", "syncing"].iter().any(|word| status["state"] == *word), "{status}");
    assert_eq!(status["peers"].as_array().map(Vec::len), Some(2));
}

/// D1: where multicast is blocked nobody is found, a typed address works, and
/// from then on the remembered one does.
#[test]
fn without_multicast_a_typed_address_is_remembered() {
    let Some(lan) = Lan::new_or_say_why(3) else { return };
    lan.block_multicast();
    let desktop = Node::on(lan.host(0), "desktop");
    let mut laptop = Node::on(lan.host(1), "laptop");
    let phone = Node::on(lan.host(2), "phone");

    let (mut shown, code) = open(&desktop, &["--yes"]);
    let lost = enter(&phone, &code, None);
    let address = lan.host(0).address().to_string();
    enter(&laptop, &code, Some(&address)).hear("request");
    shown.hear("request");
    shown.hear("paired");
    desktop.put("characters", "pilot", r#"{"name":"Harbour pilot"}"#);
    laptop.wait_until_equal(1);

    laptop.down();
    desktop.wait_for("laptop", "offline");
    desktop.put("characters", "pilot", r#"{"name":"Harbour pilot, retired"}"#);
    laptop.up();
    laptop.wait_until_equal(1);
    let pilot = laptop.device().print(["get", "characters", "pilot"]);
    assert_eq!(pilot, r#"{"name":"Harbour pilot, retired"}"#);

    // P11: it says what was checked.
    let mut lost = lost;
    let failed = lost.hear("failed");
    assert_eq!(failed["code"], "unreachable");
    let said = failed["message"].as_str().expect("text");
    assert!(said.contains("mDNS (no replies in 8 s), 1 interface."), "{said}");
    assert!(failed["hint"].as_str().is_some_and(|hint| hint.contains("--addr")), "{failed}");
    assert_eq!(lost.end(), 5);
}

/// D13: a device that was away learns of a revocation at its next contact, and
/// refuses the revoked device too.
#[test]
fn a_revocation_reaches_a_device_that_was_away() {
    let Some(lan) = Lan::new_or_say_why(3) else { return };
    let desktop = Node::on(lan.host(0), "desktop");
    let laptop = Node::on(lan.host(1), "laptop");
    let mut phone = Node::on(lan.host(2), "phone");
    pair(&desktop, &laptop, None);
    pair(&desktop, &phone, None);
    phone.wait_for("laptop", "online");
    laptop.wait_for("phone", "online");
    for node in [&desktop, &laptop, &phone] {
        node.wait_until_equal(2);
    }

    // The laptop does not hear of it either: it would only say so by itself.
    phone.down();
    lan.cut(1);
    let revoked = desktop.json(&["revoke", "laptop", "--yes"]);
    assert_eq!(revoked["later"], serde_json::json!(["phone"]), "{revoked}");
    desktop.put("characters", "pilot", "{}");

    phone.up();
    phone.wait_for("laptop", "revoked");
    until("the phone has the new record", || (phone.count("characters") == 1).then_some(()));

    lan.heal(1);
    until("the laptop is told", || {
        let ended = laptop.run(&["sync", "phone"]);
        (ended.code == 4).then_some(())
    });
    assert_eq!(laptop.count("characters"), 0);
    assert_eq!(phone.peer("laptop")["state"], "revoked");
}
