//! What people see of conflicts, and how they decide them.

use insta::assert_snapshot;

use crate::device::Device;
use crate::network::{Up, paired};

/// Two devices that wrote one record while apart, met again and kept the
/// laptop's later text.
fn disagreeing() -> (Up, Up) {
    let (desktop, laptop) = paired();
    desktop.put("prompts", "greeting", r#"{"name":"Greeting","text":"Good day"}"#);
    laptop.must(&["sync"]);
    laptop.must(&["down"]);
    desktop.put("prompts", "greeting", r#"{"name":"Greeting","text":"Good morning"}"#);
    laptop.put("prompts", "greeting", r#"{"name":"Greeting","text":"Good evening"}"#);
    laptop.up();
    laptop.must(&["sync"]);
    (desktop, laptop)
}

fn text(device: &Up) -> String {
    device.must(&["get", "prompts", "greeting"])
}

/// D8 S18: the device whose text lost shows both, and its answer holds on every
/// device.
#[test]
fn the_loser_of_a_conflict_can_be_taken() {
    let (desktop, laptop) = disagreeing();
    assert!(text(&desktop).contains("evening") && text(&laptop).contains("evening"));
    let status = desktop.json(&["status", "--json"]);
    let prompts =
        status["domains"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "prompts"));
    assert_eq!(prompts.expect("it is listed")["conflicts"], 1);
    assert_snapshot!(desktop.must(&["conflicts"]), @r"
    prompts@2  greeting
        kept  written on laptop, MINUTE
        lost  written on desktop, MINUTE
    Look at one:  kinsync conflicts show prompts@2
    ");
    assert_snapshot!(desktop.must(&["conflicts", "show", "prompts@2"]), @r#"
    prompts@2  greeting
      kept  laptop, 41 B (remote)
      lost  desktop, 41 B (local)

        FIELD          KEPT                           LOST
        name           "Greeting"                     "Greeting"
      ! text           "Good evening"                 "Good morning"

    Decide:  kinsync conflicts take prompts@2 local
             kinsync conflicts take prompts@2 remote
             kinsync conflicts take prompts@2 FILE
    "#);
    desktop.must(&["conflicts", "take", "prompts@2", "local"]);
    assert!(text(&desktop).contains("morning"));
    assert_eq!(desktop.must(&["conflicts"]), "No conflicts.\n");
    laptop.must(&["sync"]);
    assert!(text(&laptop).contains("morning"));
    assert_eq!(laptop.must(&["conflicts"]), "No conflicts.\n");
    laptop.must(&["verify"]);
}

/// D8: the winner can be confirmed, and a third text written.
#[test]
fn a_conflict_is_decided_by_its_name_or_by_a_text_of_both() {
    let (desktop, laptop) = disagreeing();
    let rows = desktop.json(&["conflicts", "--json"]);
    // What merging keeps beside a value is nobody's to see.
    assert_eq!(rows["rows"][0]["lost"]["bytes"], r#"{"name":"Greeting","text":"Good morning"}"#.len());
    let name = rows["rows"][0]["conflict"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("prompts@"), "{name}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), r#"{"name":"Greeting","text":"Good morning and evening"}"#).expect("written");
    desktop.must(&["conflicts", "take", &name, &file.path().display().to_string()]);
    laptop.must(&["sync"]);
    assert!(text(&laptop).contains("morning and evening"));
    let again = desktop.run(&["conflicts", "take", &name, "remote"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("may have been decided"), "{}", again.stderr);
}

/// D8: a conflict goes by one name as long as it is open, whatever is decided
/// before; places in a list would not.
#[test]
fn names_of_conflicts_stay() {
    let (desktop, laptop) = paired();
    laptop.must(&["sync"]);
    laptop.must(&["down"]);
    for (device, text) in [(&desktop, "one"), (&laptop, "two")] {
        for id in ["a", "b", "c"] {
            device.put("prompts", id, &format!(r#"{{"text":"{text}"}}"#));
        }
    }
    laptop.up();
    laptop.must(&["sync"]);
    let names = || -> Vec<String> {
        let rows = desktop.json(&["conflicts", "--json"])["rows"].clone();
        let rows = rows.as_array().expect("rows");
        rows.iter().map(|row| row["conflict"].as_str().expect("a name").to_owned()).collect()
    };
    let before = names();
    assert_eq!(before.len(), 3);
    desktop.must(&["conflicts", "take", &before[0], "local"]);
    assert_eq!(names(), before[1..]);
    let place = desktop.run(&["conflicts", "take", "1", "local"]);
    assert_eq!(place.code, 1);
    assert!(place.stderr.contains("names look like prompts@1"), "{}", place.stderr);
}

/// D8: a conflict that somebody wrote over is decided.
#[test]
fn writing_over_both_versions_ends_a_conflict() {
    let (desktop, laptop) = disagreeing();
    desktop.put("prompts", "greeting", r#"{"name":"Greeting","text":"Hello"}"#);
    assert_eq!(desktop.must(&["conflicts"]), "No conflicts.\n");
    laptop.must(&["sync"]);
    assert_eq!(laptop.must(&["conflicts"]), "No conflicts.\n");
    let history = desktop.must(&["history", "prompts", "greeting"]);
    assert!(history.contains("lost a conflict"), "{history}");
}

#[test]
fn without_conflicts_there_is_nothing_to_show() {
    let device = Device::named("desktop");
    assert_snapshot!(device.run(["conflicts"]).all(), @r"
    exit 0
    --- stdout
    No conflicts.
    --- stderr
    ");
    assert_eq!(device.run(["conflicts", "show", "1"]).code, 1);
    let missing = device.run(["conflicts", "take", "1", "no-such-file"]);
    assert_eq!(missing.code, 1, "{}", missing.all());
    assert_eq!(device.run(["conflicts", "nothing"]).code, 2);
}
