//! Deleted records and what a device has brought: seen, brought back, taken
//! back.

use insta::assert_snapshot;
use kinsync::{Control, Home};
use kinsync_tests::past;
use kinsync_tests::wait::until;

use crate::device::Device;
use crate::network::paired;
use crate::node::{Node, pair};

/// D9: what was deleted can be listed and comes back as an ordinary edit.
#[test]
fn a_deleted_record_comes_back() {
    let device = Device::named("desktop");
    assert_eq!(device.run_with(["put", "prompts", "greeting"], r#"{"text":"Good day"}"#).code, 0);
    assert_eq!(device.run(["del", "prompts", "greeting"]).code, 0);
    assert_snapshot!(device.run(["trash"]).stdout, @"MINUTE  prompts/greeting");
    assert_eq!(device.run(["trash", "restore", "prompts", "greeting"]).code, 0);
    assert_eq!(device.print(["get", "prompts", "greeting"]), r#"{"text":"Good day"}"#);
    assert_eq!(device.run(["trash"]).stdout, "");
    let again = device.run(["trash", "restore", "prompts", "greeting"]);
    assert_snapshot!(again.all(), @r"
    exit 1
    --- stdout
    --- stderr
    The trash holds no prompts/greeting.
    See what it holds:  kinsync trash list prompts [not-found]
    ");
}

/// P23 D9: a chat takes its messages along on every device, and brings them
/// back.
#[test]
fn a_chat_goes_and_comes_back_with_its_messages() {
    let (desktop, laptop) = paired();
    desktop.put("chats", "c1", r#"{"title":"Harbour"}"#);
    desktop.put("messages", "c1/1", r#"{"text":"Ahoy"}"#);
    desktop.put("messages", "c1/2", r#"{"text":"Anchors aweigh"}"#);
    laptop.must(&["sync"]);
    laptop.must(&["del", "chats", "c1"]);
    assert_eq!(laptop.must(&["list", "messages"]), "");
    laptop.must(&["sync"]);
    assert_eq!(desktop.must(&["list", "messages"]), "");
    assert_snapshot!(desktop.must(&["trash"]), @r"
    MINUTE  chats/c1  by laptop
    MINUTE  messages/c1/1  with its parent
    MINUTE  messages/c1/2  with its parent
    ");
    assert_snapshot!(desktop.must(&["trash", "restore", "chats", "c1"]), @r"
    chats/c1 STAMP
    and 2 records that went with it
    ");
    laptop.must(&["sync"]);
    assert!(laptop.must(&["get", "messages", "c1/2"]).contains("aweigh"));
    laptop.must(&["verify"]);
}

/// D9: what was let go of is gone here, and the deletion stays.
#[test]
fn an_emptied_trash_gives_nothing_back() {
    let device = Device::named("desktop");
    assert_eq!(device.run_with(["put", "prompts", "a"], "{}").code, 0);
    assert_eq!(device.run(["del", "prompts", "a"]).code, 0);
    assert_eq!(device.run(["trash", "empty"]).code, 2, "it asks");
    assert_snapshot!(device.run(["trash", "empty", "--yes"]).stdout, @"Let go of 1 record.");
    assert_eq!(device.run(["trash", "restore", "prompts", "a"]).code, 1);
    assert_snapshot!(device.run(["trash", "empty", "--yes"]).stdout, @"The trash was empty.");
}

/// D9: taking back what a device brought leaves the kinds of records that it
/// declared: others have records of them, too.
#[test]
fn what_a_device_declared_stays_when_its_records_are_taken_back() {
    let (desktop, laptop) = paired();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "name = \"tides\"\n").expect("written");
    laptop.must(&["domains", "add", &file.path().display().to_string()]);
    laptop.must(&["sync"]);
    desktop.put("tides", "mine", "high at noon");
    laptop.put("prompts", "new", "{}");
    laptop.must(&["sync"]);
    assert_snapshot!(desktop.must(&["undo", "--received-from", "laptop", "--yes"]), @"Restored 0, deleted 1.");
    assert!(desktop.must(&["get", "tides", "mine"]).contains("high at noon"));
    laptop.must(&["sync"]);
    assert!(laptop.must(&["get", "tides", "mine"]).contains("high at noon"));
}

/// D9: what a device brought is taken back everywhere, by edits.
#[test]
fn what_a_device_brought_is_taken_back() {
    let (desktop, laptop) = paired();
    desktop.put("prompts", "mine", r#"{"text":"as it was"}"#);
    laptop.must(&["sync"]);
    laptop.put("prompts", "mine", r#"{"text":"spoilt"}"#);
    laptop.put("prompts", "new", r#"{"text":"unwanted"}"#);
    laptop.must(&["sync"]);
    let count = desktop.json(&["undo", "--received-from", "laptop", "--dry-run", "--json"]);
    assert_eq!(
        (&count["received"], &count["restored"], &count["deleted"]),
        (&2.into(), &1.into(), &1.into())
    );
    let would = desktop.must(&["undo", "--received-from", "laptop", "--dry-run"]);
    assert_eq!(would, "Would restore 1, delete 1.\n");
    assert_eq!(
        desktop.json(&[
            "undo",
            "--received-from",
            "laptop",
            "--since",
            "2100-01-01T00:00:00Z",
            "--dry-run",
            "--json"
        ])["received"],
        0
    );
    assert_eq!(desktop.run(&["undo", "--received-from", "laptop"]).code, 2, "it asks");
    assert_snapshot!(desktop.must(&["undo", "--received-from", "laptop", "--yes"]), @"Restored 1, deleted 1.");
    laptop.must(&["sync"]);
    assert!(laptop.must(&["get", "prompts", "mine"]).contains("as it was"));
    assert_eq!(laptop.run(&["get", "prompts", "new"]).code, 1);
    assert_eq!(desktop.run(&["undo", "--received-from", "laptop", "--since", "soon"]).code, 2);
    assert_eq!(desktop.run(&["undo", "--received-from", "nobody"]).code, 4);
}

/// Brings records of 200 days ago into the store of a device that is down.
fn long_ago(node: &Node, records: &[(&str, Option<&str>)]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let control = Control::open(&Home::under(node.device().home())).await.expect("nobody else has it");
        for (id, value) in records {
            past::bring(control.storage().store(), "prompts", id, *value, 200, control.clock().wall().0);
        }
    });
}

/// D12: deletions are remembered for ever, or for as long as a person says; then
/// a device that was away for longer brings nothing back by itself.
#[test]
fn deletions_are_remembered_for_as_long_as_is_set() {
    let (mut desktop, mut laptop) = (Node::on_loopback("desktop"), Node::on_loopback("laptop"));
    pair(&desktop, &laptop, Some(desktop.address()));
    desktop.put("prompts", "a", "{}");
    laptop.wait_until_equal(1);
    laptop.down();
    desktop.down();
    long_ago(&desktop, &[("deleted", None)]);
    long_ago(&laptop, &[("stale", Some("{}"))]);
    desktop.up();
    let remembers = |node: &Node| node.run(&["history", "prompts", "deleted"]).code == 0;
    assert!(remembers(&desktop), "for ever, unless somebody says otherwise");
    assert_snapshot!(desktop.run(&["config", "set", "tombstone-days", "89"]).stderr, @r#"
    tombstone-days cannot be "89": it must be a number of days from 90 to 36500, or
    0 for never.
    tombstone-days: Forget deletions, and what they deleted, after so many days; 0:
    never. [bad-setting]
    "#);
    assert_eq!(desktop.run(&["config", "set", "tombstone-days", "90"]).code, 0);
    let tablet = Node::on_loopback("tablet");
    pair(&desktop, &tablet, Some(desktop.address()));
    until("the deletion is forgotten", || (!remembers(&desktop)).then_some(()));

    assert_eq!(laptop.run(&["get", "prompts", "stale"]).code, 0);
    laptop.up();
    let lives = |node: &Node| node.run(&["get", "prompts", "stale"]).code == 0;
    until("it is set aside", || (!lives(&laptop)).then_some(()));
    for node in [&desktop, &laptop] {
        let trash = node.device().print(["trash", "list", "--limbo"]);
        assert!(trash.contains("prompts/stale  from a device long away"), "{trash}");
    }
    assert_eq!(laptop.run(&["trash", "restore", "prompts", "stale"]).code, 0);
    until("it is back everywhere", || (lives(&desktop) && lives(&tablet)).then_some(()));
}
