//! A device whose node runs in a process of its own, on loopback or on a host
//! of a test LAN, and what scripts do with it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kinsync::Home;
use kinsync::api::Client;
use kinsync::request::Request;
use kinsync_tests::wait::until;
use serde_json::Value;

use crate::device::{Device, Ended};

/// Ends a command that would hang; no test passes because of it.
const PATIENCE: &str = "60";

/// Starts a program where the device is.
type Start = Box<dyn Fn(&mut Command) -> io::Result<Child>>;

/// A device and its node. The process ends with this value.
pub(crate) struct Node {
    device: Device,
    start: Start,
    words: Vec<String>,
    running: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    addresses: Vec<String>,
}

impl Node {
    /// A node that can be reached over TCP on loopback, and nowhere else.
    pub(crate) fn on_loopback(name: &str) -> Self {
        let switches = ["--no-mdns", "--no-quic", "--listen", "/ip4/127.0.0.1/tcp/0"];
        let mut node = Self::new(name, Box::new(Command::spawn), &switches);
        node.up();
        // It keeps its port when it comes back.
        let switches = ["--no-mdns", "--no-quic", "--listen", node.address()];
        node.words = switches.map(str::to_owned).to_vec();
        node
    }

    /// A node as it is after `kinsync up`, on a host of a LAN.
    #[cfg(target_os = "linux")]
    pub(crate) fn on(host: kinsync_tests::lan::Host, name: &str) -> Self {
        let start = move |command: &mut Command| host.run(|| command.spawn());
        let mut node = Self::new(name, Box::new(start), &[]);
        node.up();
        node
    }

    fn new(name: &str, start: Start, switches: &[&str]) -> Self {
        let words = switches.iter().map(|word| (*word).to_owned()).collect();
        Self { device: Device::named(name), start, words, running: None, addresses: Vec::new() }
    }

    /// Starts the node, and returns once it answers.
    pub(crate) fn up(&mut self) {
        let said = self.device.home().join("up.err");
        let mut command = self.command(&["--json", "up"]);
        let words = &self.words;
        command.args(words).stdin(Stdio::null()).stderr(File::create(&said).expect("created"));
        let mut child = (self.start)(&mut command).expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("was asked for")).lines();
        let first = lines.next().and_then(Result::ok);
        let started: Value =
            first.map_or(Value::Null, |line| serde_json::from_str(&line).expect("an object"));
        self.running = Some((child, lines));
        assert!(!started.is_null(), "{}", std::fs::read_to_string(&said).unwrap_or_default());
        let addresses = started["self"]["listening"].as_array().cloned().unwrap_or_default();
        self.addresses = addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }

    /// Stops the node as a person does.
    pub(crate) fn down(&mut self) {
        assert_eq!(self.run(&["down"]).code, 0);
        let (mut child, _) = self.running.take().expect("it is up");
        assert!(child.wait().expect("it ends").success());
    }

    /// Ends the node without a word, as a power cut does (`kill -9`).
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().expect("it is our own");
            child.wait().expect("it ends");
        }
    }

    /// The first address that it listens at.
    pub(crate) fn address(&self) -> &str {
        self.addresses.first().expect("it listens somewhere")
    }

    /// Its device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.device.run([&["--timeout", PATIENCE], words].concat())
    }

    /// Runs a command that must succeed and print one object.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let printed = self.device.print([&["--json", "--timeout", PATIENCE], words].concat());
        serde_json::from_str(&printed).expect("one object")
    }

    /// Writes a record.
    pub(crate) fn put(&self, domain: &str, id: &str, value: &str) {
        let ended = self.device.run_with(["put", domain, id, "-"], value);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    /// How many records a domain has.
    pub(crate) fn count(&self, domain: &str) -> u64 {
        let status = self.json(&["status"]);
        let rows = status["domains"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["name"] == domain);
        row.map_or(0, |row| row["records"].as_u64().expect("a number"))
    }

    /// What it says of the device with this name; null if it knows none.
    pub(crate) fn peer(&self, name: &str) -> Value {
        let peers = self.json(&["peers"]);
        let rows = peers["peers"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// Waits until this device sees another one in this state.
    pub(crate) fn wait_for(&self, peer: &str, state: &str) {
        until(&format!("{peer} is {state}"), || (self.peer(peer)["state"] == state).then_some(()));
    }

    /// Waits until `verify` proves that this many other devices hold the same.
    pub(crate) fn wait_until_equal(&self, peers: usize) {
        until("all devices are equal", || {
            let ended = self.run(&["--json", "verify"]);
            let answer: Value = serde_json::from_str(&ended.stdout).ok()?;
            let rows = answer["peers"].as_array()?;
            let checked = rows.iter().filter(|row| row["checked"] == true).count();
            (ended.code == 0 && answer["equal"] == true && checked == peers).then_some(())
        });
    }

    /// Whether two devices list the same records of a domain in the same order.
    pub(crate) fn assert_same_list(&self, other: &Self, domain: &str) {
        let list = |node: &Self| node.device.print(["list", domain, "--json"]);
        assert_eq!(list(self), list(other));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinsync"));
        command.env_clear().env("KINSYNC_HOME", self.device.home()).args(words).stdout(Stdio::piped());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that prints an object a line while it runs. The process ends with
/// this value.
pub(crate) struct Talk {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Talk {
    /// Starts it.
    pub(crate) fn new(node: &Node, words: &[&str]) -> Self {
        let mut command = node.command(&["--json", "--timeout", PATIENCE]);
        let command = command.args(words).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("was asked for");
        let stdin = child.stdin.take();
        Self { child, lines: BufReader::new(stdout).lines(), stdin }
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("it is open"), "{line}").expect("it is read");
    }

    /// The next line, which must be this event.
    pub(crate) fn hear(&mut self, event: &str) -> Value {
        let value = self.next();
        assert_eq!(value["event"], event, "{value}");
        value
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.lines.next().expect("it says more").expect("text");
        serde_json::from_str(&line).expect("an object a line")
    }

    /// Its exit code, once it has ended.
    pub(crate) fn end(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks a node as an application beside it does.
pub(crate) fn ask<R: Request>(node: &Node, request: R) -> R::Answer {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::running(&Home::under(node.device().home())).await.expect("it runs");
        client.call(request).await.expect("it is done")
    })
}

/// Opens a code, and returns it.
pub(crate) fn open(host: &Node, words: &[&str]) -> (Talk, String) {
    let mut shown = Talk::new(host, &[&["pair"], words].concat());
    let code = shown.hear("code")["code"].as_str().expect("a code").to_owned();
    (shown, code)
}

/// Enters a code.
pub(crate) fn enter(joiner: &Node, code: &str, address: Option<&str>) -> Talk {
    let mut words = vec!["pair", code];
    words.extend(address.iter().flat_map(|address| ["--addr", address]));
    Talk::new(joiner, &words)
}

/// Pairs two devices, over a typed address or over whatever finds the other.
pub(crate) fn pair(host: &Node, joiner: &Node, address: Option<&str>) {
    let (mut shown, code) = open(host, &["--yes"]);
    let mut typed = enter(joiner, &code, address);
    assert_eq!(typed.hear("request")["check"], shown.hear("request")["check"]);
    typed.hear("paired");
    shown.hear("paired");
    assert_eq!((shown.end(), typed.end()), (0, 0));
}
