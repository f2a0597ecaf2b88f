//! What a sync costs on the wire, counted outside of both processes.

use kinsync_tests::wait::until;

use crate::library;
use crate::node::{Node, pair};
use crate::proxy::Proxy;

/// What one edit may cost, with everything that goes with it.
const EDIT_BYTES_MAX: u64 = 8 * 1024;

/// What a pass may cost that finds nothing to do. Half of it is encryption and
/// the frames around the two messages.
const NOTHING_BYTES_MAX: u64 = 1024;

/// Edits of one record while a device takes nearly nothing, and their size.
const EDITS: u64 = 10;
const EDIT_BYTES: usize = 50_000;

/// P22, P25: one edit among 5,000 messages costs what was edited, and a sync of
/// nothing costs next to nothing.
#[test]
fn an_edit_costs_what_was_edited() {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    library::chat(folder.path(), "Pilot", 0..5_000, 200);
    library::import(&desktop, folder.path());
    assert_eq!(desktop.count("messages"), 5_000);

    let wire = Proxy::to(desktop.address());
    pair(&desktop, &laptop, Some(&wire.multiaddr()));
    laptop.wait_until_equal(1);
    assert!(wire.passed() > 1 << 20, "the first sync did not pass here");

    // A proof of the other side, or a ping, may pass at the same time; not
    // each time, so the least is what this sync costs.
    let costs = (0..5).map(|_| {
        let before = wire.passed();
        assert_eq!(laptop.json(&["sync", "desktop", "--wait"])["peers"][0]["outcome"], "equal");
        wire.passed() - before
    });
    let nothing = costs.min().expect("five syncs");
    assert!(nothing < NOTHING_BYTES_MAX, "a sync of nothing took {nothing} bytes");

    for (writer, reader, peer) in [(&desktop, &laptop, "laptop"), (&laptop, &desktop, "desktop")] {
        let before = wire.passed();
        let value = format!(r#"{{"mes":"edited for {peer}"}}"#);
        writer.put("messages", "Pilot/log/1795000002000-u0", &value);
        assert_eq!(writer.json(&["sync", peer, "--wait"])["peers"][0]["outcome"], "equal");
        let edit = wire.passed() - before;
        assert!(edit < EDIT_BYTES_MAX, "one edit took {edit} bytes");
        assert_eq!(reader.device().print(["get", "messages", "Pilot/log/1795000002000-u0"]), value);
    }
    assert_eq!(laptop.count("messages"), 5_000, "an edit is no new message");
    assert_eq!(wire.accepted(), 1);
}

/// A device that takes a byte for each edit keeps no other one waiting, and what it has not taken is not kept for it as
/// often as it was written.
#[test]
fn a_device_that_takes_a_byte_at_a_time_keeps_nobody_waiting() {
    let names = ["desktop", "laptop", "phone"];
    let [desktop, laptop, phone] = names.map(Node::on_loopback);
    let wire = Proxy::to(desktop.address());
    pair(&desktop, &laptop, Some(desktop.address()));
    pair(&desktop, &phone, Some(&wire.multiaddr()));
    let has = |node: &Node, value: &str| node.run(&["get", "settings", "edit"]).stdout.trim_end() == value;
    desktop.put("settings", "edit", "before");
    for node in [&laptop, &phone] {
        until("the first edit is there", || has(node, "before").then_some(()));
    }

    let before = wire.passed();
    wire.hold_after(0);
    let edit = |number: u64| format!("{number} {}", noise(number));
    for number in 0..EDITS {
        desktop.put("settings", "edit", &edit(number));
        until("the edit is on the laptop", || has(&laptop, &edit(number)).then_some(()));
        wire.wait_until_held();
        wire.let_through(1);
    }
    assert!(has(&phone, "before"), "so few bytes bring nothing");
    assert!(wire.passed() - before <= EDITS);
    wire.release();
    until("the last edit is on the phone", || has(&phone, &edit(EDITS - 1)).then_some(()));
    let (passed, written) = (wire.passed() - before, EDITS * EDIT_BYTES as u64);
    assert!(passed < written / 2, "{passed} bytes passed, {written} were written");
}

/// Text that compression makes nothing of: what is counted is what was written.
fn noise(seed: u64) -> String {
    let mut state = seed;
    let letter = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        char::from(b'A' + (state >> 59) as u8)
    };
    std::iter::repeat_with(letter).take(EDIT_BYTES).collect()
}

/// D7, F14, F17: turns that two devices add to one chat while apart are all
/// kept, in one order.
#[test]
fn turns_added_apart_are_all_kept() {
    let (mut desktop, mut laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    library::chat(folder.path(), "Pilot", 0..50, 40);
    library::import(&desktop, folder.path());
    pair(&desktop, &laptop, Some(desktop.address()));
    laptop.wait_until_equal(1);

    desktop.down();
    laptop.down();
    // Each application goes on with its own copy of the file.
    library::chat(folder.path(), "Pilot", (0..50).chain((50..70).step_by(2)), 40);
    library::import(&desktop, folder.path());
    library::chat(folder.path(), "Pilot", (0..50).chain((51..71).step_by(2)), 40);
    library::import(&laptop, folder.path());
    assert_eq!((desktop.count("messages"), laptop.count("messages")), (60, 60));

    desktop.up();
    laptop.up();
    laptop.wait_until_equal(1);
    assert_eq!(laptop.count("messages"), 70);
    laptop.assert_same_list(&desktop, "messages");
    let turns = |node: &Node| -> Vec<String> {
        let listed = node.device().print(["list", "messages", "--json"]);
        let ids =
            listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object"));
        let mut turns: Vec<(String, String)> = ids
            .map(|row| {
                let id = row["id"].as_str().expect("an id").to_owned();
                let value = node.device().print(["get", "messages", &id]);
                let value: serde_json::Value = serde_json::from_str(&value).expect("an object");
                let text = value["mes"].as_str().expect("text");
                let turn = text.split(' ').next().expect("it begins with its number");
                (value["order"].as_str().expect("an order").to_owned(), turn.to_owned())
            })
            .collect();
        turns.sort();
        turns.into_iter().map(|(_, turn)| turn).collect()
    };
    let expected: Vec<String> = (0..70).map(|turn| turn.to_string()).collect();
    assert_eq!(turns(&laptop), expected);
}
