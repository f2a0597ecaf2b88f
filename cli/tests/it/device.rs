//! One device: a home of its own and the binary to run on it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A home that is gone when the test is.
pub(crate) struct Device {
    home: TempDir,
}

/// How a command ended and what it said.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Device {
    /// A home with nothing in it.
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The folder of the home.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A home that has been set up.
    pub(crate) fn named(name: &str) -> Self {
        let device = Self::new();
        let ended = device.run(["init", "--name", name]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        device
    }

    /// Runs `kinsync` with these words; it must succeed. Returns what it
    /// printed as it is.
    pub(crate) fn print<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let output = self.start(words, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `kinsync` with these words and an empty standard input.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ended {
        self.run_with(words, "")
    }

    /// Runs `kinsync` with these words and this standard input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, input: &str) -> Ended {
        let output = self.start(words, input);
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: self.redacted(&output.stdout),
            stderr: self.redacted(&output.stderr),
        }
    }

    /// Starts `kinsync` with these words and leaves it running.
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinsync"));
        command
            .env_clear()
            .env("KINSYNC_HOME", self.home())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }

    fn start<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, input: &str) -> Output {
        let mut child = self.spawn(words);
        // Commands that read nothing are gone before they are written to.
        drop(child.stdin.take().expect("was asked for").write_all(input.as_bytes()));
        child.wait_with_output().expect("it ends")
    }

    /// What was printed, with what differs from run to run put aside.
    fn redacted(&self, printed: &[u8]) -> String {
        let text = String::from_utf8(printed.to_vec()).expect("text");
        let text = text.replace(&self.home().display().to_string(), "HOME");
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let text = redacted(&text);
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

impl Ended {
    /// All of it, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// What differs from run to run: its shape (`d` a digit, `A` a letter of an id,
/// `*` a letter or digit) and what stands for it.
const SHAPES: [(&str, &str); 6] = [
    ("dddd-dd-ddTdd:dd:dd.dddZ-d-AAAAAAAA", "STAMP"),
    ("dddd-dd-ddTdd:dd:dd.dddZ", "TIME"),
    ("dddd-dd-dd dd:dd", "MINUTE"),
    ("AAAA-AAAA-AAAA-AAAA", "DEVICE"),
    ("AAAA-AAAA", "SHORT"),
    ("12D3KooW********************************************", "PEER"),
];

fn redacted(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut rest = letters.as_slice();
    let mut redacted = String::new();
    while let Some((first, after)) = rest.split_first() {
        let shape = SHAPES.iter().find(|(shape, _)| begins(rest, shape));
        match shape {
            Some((shape, name)) => {
                redacted += name;
                rest = rest.get(shape.len()..).unwrap_or_default();
            }
            None => {
                redacted.push(*first);
                rest = after;
            }
        }
    }
    redacted
}

fn begins(text: &[char], shape: &str) -> bool {
    text.len() >= shape.len()
        && shape.chars().zip(text).all(|(shape, c)| match shape {
            '*' => c.is_ascii_alphanumeric(),
            'A' => c.is_ascii_uppercase() || c.is_ascii_digit(),
            'd' => c.is_ascii_digit(),
            shape => *c == shape,
        })
}
