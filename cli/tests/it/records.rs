//! Records from the command line, without a running node.

use insta::assert_snapshot;
use serde_json::Value;

use crate::device::Device;

const PILOT: &str = r#"{"name":"Harbour pilot","tags":["sea"]}"#;

/// F8: a value comes back as it went, byte for byte.
#[test]
fn what_is_put_can_be_got() {
    let device = Device::named("desktop");
    assert_snapshot!(device.run_with(["put", "characters", "pilot"], PILOT).all(), @r"
    exit 0
    --- stdout
    characters/pilot STAMP
    --- stderr
    ");
    assert_eq!(device.print(["get", "characters", "pilot"]), PILOT);
    let file = device.home().join("value.json");
    std::fs::write(&file, "{\"name\":\"Zoë\"}\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(device.run(["put", "characters", "zoe", file]).code, 0);
    assert_eq!(device.print(["get", "characters", "zoe"]), "{\"name\":\"Zoë\"}\n");
    let got: Value = serde_json::from_str(&device.print(["get", "characters", "pilot", "--json"])).unwrap();
    assert_eq!(got["value"]["text"], PILOT);
}

#[test]
fn what_is_not_there_is_not_found() {
    let device = Device::named("desktop");
    assert_snapshot!(device.run(["get", "characters", "pilot"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    There is no record characters/pilot.
    See what there is:  kinsync list characters [not-found]
    ");
    let ended = device.run(["del", "characters", "pilot", "--json"]);
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!((ended.code, error["error"]["code"].as_str()), (1, Some("not-found")));
}

#[test]
fn bad_names_are_refused_with_their_reason() {
    let device = Device::named("desktop");
    let misspelt = device.run_with(["put", "charaters", "pilot"], "{}");
    assert_eq!(misspelt.code, 2);
    let said = misspelt.stderr;
    assert!(
        said.starts_with("There is no domain called \"charaters\".\nThe domains are: characters, personas,"),
        "{said}"
    );
    assert!(said.ends_with("Declare another:  kinsync domains add FILE [unknown-domain]\n"), "{said}");
    assert_snapshot!(device.run_with(["put", "characters", ""], "{}").all(), @r"
    exit 2
    --- stdout
    --- stderr
    That cannot be the id of a record: a key cannot be empty.
    Ids are 1 to 256 bytes of text without control characters. [bad-key]
    ");
    assert_snapshot!(device.run_with(["put", "characters", "a\u{1b}[2Jb"], "{}").all(), @r"
    exit 2
    --- stdout
    --- stderr
    That cannot be the id of a record: a key cannot contain the control character
    U+001B.
    Ids are 1 to 256 bytes of text without control characters. [bad-key]
    ");
    let long = "x".repeat(257);
    assert_snapshot!(device.run_with(["put", "characters", &long], "{}").stderr, @r"
    That cannot be the id of a record: a key of 257 bytes exceeds the limit of 256.
    Ids are 1 to 256 bytes of text without control characters. [bad-key]
    ");
    assert_snapshot!(device.run_with(["put", "characters", "big"], &"x".repeat((1 << 20) + 1)).all(), @r"
    exit 2
    --- stdout
    --- stderr
    A value of 1048577 bytes is over the limit of 1048576.
    Values this large are attachments, not records. [value-too-large]
    ");
    assert_snapshot!(device.run(["put", "characters", "pilot", "no-such-file"]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    Could not read no-such-file: No such file or directory (os error 2). [failed]
    ");
}

/// The contract for scripts: key order, one object a line.
#[test]
fn a_list_is_in_key_order() {
    let device = Device::named("desktop");
    for id in ["zebra", "Ant", "mole"] {
        assert_eq!(device.run_with(["put", "characters", id], "{}").code, 0);
    }
    assert_snapshot!(device.run(["list", "characters", "--json"]).stdout, @r#"
    {"id":"Ant","mtime":"TIME","bytes":2}
    {"id":"mole","mtime":"TIME","bytes":2}
    {"id":"zebra","mtime":"TIME","bytes":2}
    "#);
    assert_snapshot!(device.run(["list", "characters"]).stdout, @r"
    Ant                                                 MINUTE      2 B
    mole                                                MINUTE      2 B
    zebra                                               MINUTE      2 B
    ");
    let domains = device.run(["list"]).stdout;
    let lines: Vec<Vec<&str>> = domains.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[..3], [["DOMAIN", "RECORDS"], ["characters", "3"], ["personas", "0"]], "{domains}");
}

/// D9: what was replaced or deleted can be brought back.
#[test]
fn a_deleted_record_can_be_restored() {
    let device = Device::named("desktop");
    device.run_with(["put", "settings", "pilot"], "one");
    device.run_with(["put", "settings", "pilot"], "two");
    assert_snapshot!(device.run(["del", "settings", "pilot"]).all(), @r"
    exit 0
    --- stdout
    settings/pilot STAMP
    --- stderr
    ");
    assert_eq!(device.run(["get", "settings", "pilot"]).code, 1);
    assert_snapshot!(device.run(["history", "settings", "pilot"]).stdout, @r"
    VERSION                              BY       SIZE
    STAMP  desktop     –  current: deleted
    STAMP  desktop   3 B  until deleted
    STAMP  desktop   3 B  replaced
    ");
    let history: Value =
        serde_json::from_str(&device.print(["history", "settings", "pilot", "--json"])).unwrap();
    let oldest = history["rows"].as_array().unwrap().last().unwrap()["version"].as_str().unwrap();
    assert_eq!(device.run(["restore", "settings", &format!("pilot@{oldest}")]).code, 0);
    assert_eq!(device.print(["get", "settings", "pilot"]), "one");
    assert_snapshot!(device.run(["restore", "settings", "pilot@1999"]).all(), @r#"
    exit 2
    --- stdout
    --- stderr
    The record had no version "1999".
    See its versions:  kinsync history settings 'pilot' [bad-version]
    "#);
}
