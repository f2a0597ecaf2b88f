//! Two devices on loopback, each with a node in the background.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use insta::assert_snapshot;
use serde_json::Value;

use crate::device::{Device, Ended};

/// A device whose node runs; stopped when the test ends.
pub(crate) struct Up(Device);

impl Up {
    pub(crate) fn new(name: &str) -> Self {
        let up = Self(Device::named(name));
        up.up();
        up
    }

    /// Starts its node, on another port than before.
    pub(crate) fn up(&self) {
        let ended = self.0.run(["up", "--detach", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    /// Writes a record.
    pub(crate) fn put(&self, domain: &str, id: &str, value: &str) {
        let ended = self.0.run_with(["put", domain, id], value);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    /// Runs the words with this on standard input.
    pub(crate) fn run_with(&self, words: &[&str], input: &str) -> Ended {
        self.0.run_with(words, input)
    }

    /// What the words print, as it is.
    pub(crate) fn print(&self, words: &[&str]) -> String {
        self.0.print(words)
    }

    /// The words must succeed.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let ended = self.0.run(words);
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.all());
        ended.stdout
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.0.run(words)
    }

    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.0.print(words)).expect("one object")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.run(["down"]);
    }
}

/// A command that prints an object a line while it runs.
struct Talk {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Talk {
    fn new(up: &Up, words: &[&str]) -> Self {
        let mut child = up.0.spawn(words);
        let stdout = child.stdout.take().expect("was asked for");
        let stdin = child.stdin.take();
        Self { child, lines: BufReader::new(stdout).lines(), stdin }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        writeln!(stdin, "{line}").expect("it is read");
    }

    /// The next line, which must be this event.
    fn hear(&mut self, event: &str) -> Value {
        let line = self.lines.next().expect("it says more").expect("text");
        let value: Value = serde_json::from_str(&line).expect("an object a line");
        assert_eq!(value["event"], event, "{line}");
        value
    }

    fn end(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

/// Opens a code on `host`; the words for the other device to enter it.
fn open(host: &Up, words: &[&str]) -> (Talk, String, String) {
    let mut talk = Talk::new(host, &[&["--json", "pair"], words].concat());
    let shown = talk.hear("code");
    let code = shown["code"].as_str().expect("a code").to_owned();
    let addr = shown["addresses"][0].as_str().expect("an address").to_owned();
    (talk, code, addr)
}

pub(crate) fn paired() -> (Up, Up) {
    let (desktop, laptop) = (Up::new("desktop"), Up::new("laptop"));
    let (mut host, code, addr) = open(&desktop, &["--yes"]);
    let mut joiner = Talk::new(&laptop, &["--json", "pair", &code, "--addr", &addr]);
    assert_eq!(host.hear("request")["check"], joiner.hear("request")["check"]);
    assert_eq!(host.hear("paired")["peer"]["name"], "laptop");
    assert_eq!(joiner.hear("paired")["peer"]["name"], "desktop");
    assert_eq!((host.end(), joiner.end()), (0, 0));
    (desktop, laptop)
}

/// S6: a node is up when its command returns, and down when `down` does.
#[test]
fn a_node_comes_and_goes() {
    let desktop = Up::new("desktop");
    let status = desktop.json(&["status", "--json"]);
    assert_eq!(status["self"]["running"], true);
    assert!(status["self"]["listening"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"));
    let again = desktop.run(&["up"]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.ends_with("[busy]\n"), "{}", again.stderr);
    assert_snapshot!(desktop.run(&["down"]).all(), @r"
    exit 0
    --- stdout
    kinsync is down.
    --- stderr
    ");
    assert_eq!(desktop.run(&["down"]).code, 3);
}

/// S11, P9: the host answers for programs too, by a line on standard input.
#[test]
fn a_host_answers_for_the_device_that_proved_the_code() {
    let (desktop, laptop) = (Up::new("desktop"), Up::new("laptop"));
    let (mut host, code, addr) = open(&desktop, &[]);
    let mut joiner = Talk::new(&laptop, &["--json", "pair", &code, "--addr", &addr]);
    let request = host.hear("request");
    assert_eq!(request["name"], "laptop");
    assert_eq!(request["check"], joiner.hear("request")["check"]);
    host.say("maybe");
    host.say(r#"{"answer":"kin"}"#);
    assert_eq!(host.hear("paired")["peer"]["role"], "kin");
    joiner.hear("paired");
    assert_eq!((host.end(), joiner.end()), (0, 0));
    assert_eq!(desktop.json(&["peers", "--json"])["peers"][0]["name"], "laptop");
}

#[test]
fn a_rejected_device_is_told_so() {
    let (desktop, laptop) = (Up::new("desktop"), Up::new("laptop"));
    let (mut host, code, addr) = open(&desktop, &[]);
    let mut joiner = Talk::new(&laptop, &["--json", "pair", &code, "--addr", &addr]);
    host.hear("request");
    host.say("r");
    joiner.hear("request");
    assert_eq!(joiner.hear("failed")["code"], "rejected");
    assert_eq!(host.hear("failed")["code"], "rejected");
    assert_eq!((host.end(), joiner.end()), (4, 4));
    assert_eq!(desktop.json(&["peers", "--json"])["peers"], Value::Array(Vec::new()));
}

/// S12: three wrong codes void the right one, and each says what is left.
#[test]
fn three_wrong_codes_void_the_right_one() {
    let (desktop, laptop) = (Up::new("desktop"), Up::new("laptop"));
    let (mut host, code, addr) = open(&desktop, &["--yes"]);
    let last = if code.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &code[..code.len() - 1]);
    assert_snapshot!(laptop.run(&["pair", &wrong, "--addr", &addr]).all(), @r"
    exit 6
    --- stdout
    --- stderr
    Looking for the other device…
    Found at that address.
    Wrong code. 2 tries left, then the code is void.
    Look at the other screen again and type it once more. [wrong-code]
    ");
    assert_snapshot!(laptop.run(&["pair", &wrong, "--addr", &addr]).stderr, @r"
    Looking for the other device…
    Found at that address.
    Wrong code. 1 try left, then the code is void.
    Look at the other screen again and type it once more. [wrong-code]
    ");
    assert_snapshot!(laptop.run(&["pair", &wrong, "--addr", &addr]).stderr, @r"
    Looking for the other device…
    Found at that address.
    Wrong code. It was the last try: the code is void.
    Ask for a new one:  kinsync pair, on the other device. [wrong-code]
    ");
    assert_eq!(host.hear("failed")["code"], "code-void");
    assert_eq!(host.end(), 6);
    let late = laptop.run(&["pair", &code, "--addr", &addr]);
    assert_eq!(late.code, if late.stderr.contains("[unreachable]") { 5 } else { 6 }, "{}", late.stderr);
}

/// P17, D3: what one device writes the other one reads, and both are proven
/// equal.
#[test]
fn paired_devices_hold_the_same() {
    let (desktop, laptop) = paired();
    let mut watch = Talk::new(&laptop, &["watch", "characters", "--json"]);
    desktop.0.run_with(["put", "characters", "pilot"], r#"{"name":"Harbour pilot"}"#);
    assert_eq!(desktop.run(&["sync", "laptop"]).code, 0);
    assert_eq!(laptop.0.print(["get", "characters", "pilot"]), r#"{"name":"Harbour pilot"}"#);
    assert_snapshot!(desktop.run(&["verify"]).all(), @r"
    exit 0
    --- stdout
    laptop  equal  (1 domain, 1 record)
    --- stderr
    ");
    assert_eq!(laptop.json(&["verify", "--json"])["equal"], true);
    drop(watch.child.kill());
    drop(watch.child.wait());
}

/// S16: a revoked device is refused from the moment the command returns.
#[test]
fn a_revoked_device_is_refused() {
    let (desktop, laptop) = paired();
    assert_eq!(desktop.run(&["revoke", "laptop"]).code, 2);
    assert_eq!(desktop.run(&["revoke", "laptop", "--yes"]).code, 0);
    assert_eq!(desktop.json(&["peers", "--json"])["peers"][0]["state"], "revoked");
    desktop.0.run_with(["put", "characters", "pilot"], "{}");
    let refused = laptop.run(&["sync"]);
    assert!(matches!(refused.code, 4 | 5), "{}", refused.all());
    assert_eq!(laptop.run(&["get", "characters", "pilot"]).code, 1);
}

/// I19: every surface shows one list of devices: the running node through its
/// socket, and the store alone.
#[test]
fn the_devices_are_the_same_on_every_surface() {
    let (desktop, laptop) = paired();
    let running = desktop.json(&["peers", "--json"]);
    desktop.run(&["peers", "rename", "laptop", "study"]);
    assert_eq!(desktop.run(&["down"]).code, 0);
    let alone = desktop.json(&["peers", "--json"]);
    assert_eq!(running["peers"][0]["id"], alone["peers"][0]["id"]);
    assert_eq!(alone["peers"][0]["name"], "study");
    drop(laptop);
}
