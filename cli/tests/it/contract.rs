//! What scripts rely on: JSON everywhere, stable codes, documented exit codes.

use serde_json::Value;

use crate::device::Device;

/// D2: what works prints one JSON value, or one a line, and ends with 0.
#[test]
fn every_command_that_needs_no_network_speaks_json() {
    let laptop = Device::named("laptop");
    laptop.run_with(["put", "characters", "pilot"], "{}");
    let commands: [&[&str]; 15] = [
        &["--json", "put", "characters", "pilot", "-"],
        &["--json", "get", "characters", "pilot"],
        &["--json", "list", "characters"],
        &["--json", "history", "characters", "pilot"],
        &["--json", "changes", "characters"],
        &["--json", "drafts"],
        &["--json", "held"],
        &["--json", "peers"],
        &["--json", "status"],
        &["--json", "doctor"],
        &["--json", "domains"],
        &["--json", "domains", "show", "characters"],
        &["--json", "config", "get"],
        &["--json", "log"],
        &["--json", "version"],
    ];
    for words in commands {
        let ended = laptop.run_with(words.iter().copied(), "{\"name\":\"Ada\"}");
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.stderr);
        for line in ended.stdout.lines() {
            let read = serde_json::from_str::<Value>(line);
            let is_object = !["list", "changes", "log"].iter().any(|stream| words.contains(stream));
            let json = read.unwrap_or_else(|_| panic!("{words:?} printed {line}"));
            assert!(!is_object || json["v"] == 1, "{words:?} printed {line}");
        }
    }
}

/// D2: what fails says so as one JSON object on standard error, with a stable
/// code, and ends with the exit code of its kind.
#[test]
fn every_failure_is_an_object_with_a_code() {
    let laptop = Device::named("laptop");
    let failures: [(&[&str], i32, &str); 10] = [
        (&["get", "characters", "nobody"], 1, "not-found"),
        (&["get", "nothing", "nobody"], 2, "unknown-domain"),
        (&["get", "characters", ""], 2, "bad-key"),
        (&["config", "set", "port", "many"], 2, "bad-setting"),
        (&["config", "get", "colour"], 2, "unknown-setting"),
        (&["domains", "show", "nothing"], 2, "unknown-domain"),
        (&["domains", "remove", "characters"], 1, "not-found"),
        (&["down"], 3, "not-running"),
        (&["peers", "show", "nobody"], 4, "not-paired"),
        (&["pair", "KXNR"], 2, "bad-code"),
    ];
    for (words, code, kind) in failures {
        let ended = laptop.run(std::iter::once("--json").chain(words.iter().copied()));
        assert_eq!(ended.code, code, "{words:?}: {}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        let said: Value = serde_json::from_str(last).unwrap_or_default();
        assert_eq!(said["error"]["code"], kind, "{words:?}: {}", ended.stderr);
        assert!(said["error"]["message"].is_string(), "{words:?}: {}", ended.stderr);
    }
}
