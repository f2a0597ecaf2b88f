//! Revoking a device in the middle of a transfer.

use kinsync_tests::wait::until;

use crate::library;
use crate::node::{Node, enter, open, pair};
use crate::proxy::Proxy;

/// Messages on the device that is revoked: 12 MB, some twenty pages.
const MESSAGES: u64 = 3_000;

/// Bytes after which the wire stands still: in the middle of them.
const HELD_AFTER: u64 = 4 << 20;

/// A desktop that takes in the messages of a laptop, over a wire that stands
/// still when it has a part of them.
fn in_the_middle() -> (Node, Node, Proxy) {
    let (desktop, laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    library::chat(folder.path(), "Pilot", 0..MESSAGES, 4_000);
    library::import(&laptop, folder.path());
    let wire = Proxy::to(desktop.address());
    wire.hold_after(HELD_AFTER);
    pair(&desktop, &laptop, Some(&wire.multiaddr()));
    wire.wait_until_held();
    until("some of it is there", || (desktop.count("messages") > 0).then_some(()));
    (desktop, laptop, wire)
}

/// How often a device has noted that it was removed.
fn notes(node: &Node) -> usize {
    node.device().print(["log"]).lines().filter(|line| line.contains("revoked_here")).count()
}

/// S16, S17, P33: once `revoke` has returned nothing of the device comes in any
/// more, its connection ends, and it says so once and stays quiet.
#[test]
fn a_revoked_device_is_cut_off_in_the_middle() {
    let (desktop, mut laptop, wire) = in_the_middle();
    let revoked = desktop.json(&["revoke", "laptop", "--yes"]);
    let taken = desktop.count("messages");
    assert!(taken < MESSAGES, "{taken}");
    assert_eq!(revoked["closed"], 1, "{revoked}");

    wire.release();
    wire.wait_until_closed();
    until("the laptop knows", || (laptop.json(&["status"])["state"] == "error").then_some(()));
    let refused = laptop.run(&["--json", "sync", "desktop"]);
    assert_eq!(refused.code, 4, "{}", refused.all());
    assert!(refused.stderr.contains(r#""code":"revoked""#), "{}", refused.stderr);
    assert_eq!(desktop.count("messages"), taken);
    assert_eq!(laptop.count("messages"), MESSAGES, "what it has stays on it");
    assert_eq!(laptop.json(&["status"])["state"], "error");

    // From now on it is quiet, also after a restart.
    let dialled = wire.accepted();
    laptop.down();
    laptop.up();
    assert_eq!(laptop.run(&["sync", "desktop"]).code, 4);
    assert_eq!(wire.accepted(), dialled);
    assert_eq!(notes(&laptop), 1);
    assert_eq!(desktop.count("messages"), taken);
}

/// P33: so does a guest, at once or when it comes back.
#[test]
fn a_guest_that_is_revoked_says_so_once() {
    for away in [false, true] {
        let (desktop, mut laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
        let (mut shown, code) = open(&desktop, &["--yes", "--as", "guest"]);
        let mut typed = enter(&laptop, &code, Some(desktop.address()));
        shown.hear("request");
        typed.hear("request");
        typed.hear("paired");
        shown.hear("paired");
        assert_eq!((shown.end(), typed.end()), (0, 0));
        laptop.wait_for("desktop", "online");
        if away {
            laptop.down();
        }
        desktop.json(&["revoke", "laptop", "--yes"]);
        if away {
            laptop.up();
        }
        until("the laptop knows", || (laptop.json(&["status"])["state"] == "error").then_some(()));
        let refused = laptop.run(&["sync", "desktop"]);
        assert!(refused.code == 4 && refused.stderr.contains("[revoked]"), "{}", refused.all());
        laptop.down();
        laptop.up();
        assert_eq!(laptop.run(&["sync", "desktop"]).code, 4);
        assert_eq!(notes(&laptop), 1);
    }
}

/// S15, S16: a revocation holds when the power goes right after the command has
/// returned, although the revoked device never heard of it.
#[test]
fn a_revocation_outlives_a_power_cut() {
    let (mut desktop, laptop, wire) = in_the_middle();
    desktop.json(&["revoke", "laptop", "--yes"]);
    desktop.kill();
    wire.release();
    wire.wait_until_closed();

    desktop.up();
    assert_eq!(desktop.peer("laptop")["state"], "revoked");
    let taken = desktop.count("messages");
    assert!(taken < MESSAGES, "{taken}");
    until("the laptop is refused", || (laptop.run(&["sync", "desktop"]).code == 4).then_some(()));
    assert_eq!(desktop.count("messages"), taken);
    assert_eq!(notes(&laptop), 1);
}
