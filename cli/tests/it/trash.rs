//! Deleted records and what a device has brought: seen, brought back, taken
//! back.

use insta::assert_snapshot;

use crate::device::Device;
use crate::network::paired;

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
