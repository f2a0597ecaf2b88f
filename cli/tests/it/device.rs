//! One device: a home of its own and the binary to run on it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

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

    /// Runs `kinsync` with these words and an empty standard input.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ended {
        self.run_with(words, "")
    }

    /// Runs `kinsync` with these words and this standard input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, input: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinsync"));
        command
            .env_clear()
            .env("KINSYNC_HOME", self.home())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        // Commands that read nothing are gone before they are written to.
        drop(child.stdin.take().expect("was asked for").write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("it ends");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: self.redacted(&output.stdout),
            stderr: self.redacted(&output.stderr),
        }
    }

    /// What was printed, with what differs from run to run put aside.
    fn redacted(&self, printed: &[u8]) -> String {
        let text = String::from_utf8(printed.to_vec()).expect("text");
        let text = text.replace(&self.home().display().to_string(), "HOME");
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

impl Ended {
    /// All of it, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
