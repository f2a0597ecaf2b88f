//! What was typed wrongly, and what needs something that is not there.

use insta::assert_snapshot;

use crate::device::Device;

#[test]
fn an_unknown_verb_is_a_usage_error() {
    assert_snapshot!(Device::new().run(["snyc"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    Unrecognized subcommand 'snyc'
      tip: a similar subcommand exists: 'sync'
    Usage: kinsync [OPTIONS] <COMMAND>
    For more information, try '--help'. [usage]
    ");
}

#[test]
fn a_usage_error_speaks_json_when_asked() {
    let ended = Device::new().run(["--json", "pair", "--expires", "29"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(error["error"]["code"], "usage");
    let message = "Invalid value '29' for '--expires <TIME>': a code lasts 30 seconds to 1 hour";
    assert_eq!(error["error"]["message"], message);
    assert_eq!(error["error"]["hint"], "For more information, try '--help'.");
}

#[test]
fn json_behind_two_dashes_is_no_option() {
    let ended = Device::new().run(["get", "--", "--json"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.ends_with("[usage]\n"), "{}", ended.stderr);
}

#[test]
fn no_verb_prints_the_help_and_fails() {
    let ended = Device::new().run::<&str>([]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("Usage: kinsync"), "{}", ended.stderr);
}

#[test]
fn a_code_lasts_at_most_ten_minutes_with_yes() {
    assert_snapshot!(Device::new().run(["pair", "--yes", "--expires", "601"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    With --yes a code lasts at most 10 minutes.
    Whoever has it comes in unasked: use a shorter --expires. [usage]
    ");
}

#[test]
fn an_empty_code_is_a_usage_error() {
    assert_snapshot!(Device::new().run(["pair", "-"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    No code was given.
    Type the one that the other device shows. [usage]
    ");
}

#[test]
fn what_needs_a_node_says_so() {
    let device = Device::new();
    assert_snapshot!(device.run(["down"]).all(), @r"
    exit 3
    --- stdout
    --- stderr
    No node is running here.
    Start it:  kinsync up [not-running]
    ");
    assert_snapshot!(device.run(["watch", "--json"]).all(), @r#"
    exit 3
    --- stdout
    --- stderr
    {"error":{"code":"not-running","message":"No node is running here.","hint":"Start it:  kinsync up"}}
    "#);
}

#[test]
fn a_version_must_be_named() {
    assert_snapshot!(Device::new().run(["restore", "characters", "pilot"]).all(), @r#"
    exit 2
    --- stdout
    --- stderr
    "pilot" names no version.
    Write ID@VERSION, with a version from: kinsync history DOMAIN ID [usage]
    "#);
}

/// A script that forgets `--json` can still find the code.
#[test]
fn every_error_ends_with_its_code() {
    let device = Device::new();
    for words in [&["down"][..], &["snyc"], &["restore", "a", "b"], &["pair", "-"], &["up", "--port", "x"]] {
        let ended = device.run(words);
        let last = ended.stderr.trim_end().rsplit(' ').next().unwrap_or_default();
        assert!(last.starts_with('[') && last.ends_with(']'), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.lines().all(|line| line.chars().count() <= 80), "{}", ended.stderr);
    }
}
