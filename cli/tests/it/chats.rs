//! Conversations that go on on several devices.

use crate::device::Device;
use crate::network::paired;

/// D7: both devices add turns while apart; all are kept, in one order.
#[test]
fn turns_added_apart_are_kept_in_one_order() {
    let (desktop, laptop) = paired();
    desktop.put("chats", "c1", r#"{"title":"Harbour"}"#);
    let say = |device: &crate::network::Up, text: &str| {
        let ended = device.run_with(&["append", "messages", "c1"], &format!(r#"{{"text":"{text}"}}"#));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    say(&desktop, "ahoy");
    laptop.must(&["sync"]);
    laptop.must(&["down"]);
    say(&desktop, "who is there");
    say(&laptop, "me");
    say(&desktop, "answer");
    say(&laptop, "from the laptop");
    laptop.up();
    laptop.must(&["sync"]);
    let ids = |device: &crate::network::Up| -> Vec<String> {
        let lines = device.print(&["list", "messages", "--json"]);
        lines.lines().map(|line| line.split('"').nth(3).expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&desktop).len(), 5);
    assert_eq!(ids(&desktop), ids(&laptop));
    assert_eq!(desktop.must(&["conflicts"]), "No conflicts.\n");
    // The first turn that both had read stays the first.
    let first = ids(&laptop).swap_remove(0);
    assert!(laptop.must(&["get", "messages", &first]).contains("ahoy"));
    laptop.must(&["verify"]);
}

#[test]
fn only_what_belongs_to_something_is_added_behind_it() {
    let device = Device::named("desktop");
    let ended = device.run_with(["append", "prompts", "x"], "{}");
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("belong to no others"), "{}", ended.stderr);
    assert_eq!(device.run_with(["append", "messages", ""], "{}").code, 2);
    let misfit = device.run_with(["append", "messages", "c1"], "no object");
    assert!(misfit.stderr.ends_with("[value-does-not-fit]\n"), "{}", misfit.stderr);
}
