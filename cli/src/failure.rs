//! How a command ends badly, as its user sees it: what happened, what to try,
//! a stable code and the exit code.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

use kinsync::Kind;
use serde::Serialize;

use crate::output::{WIDTH, clean, wrap};

/// A command's bad end.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    code: Cow<'static, str>,
    message: String,
    hint: Option<String>,
    tries_left: Option<u8>,
    /// Whether the output has said everything, as that of `verify` does.
    silent: bool,
}

/// The result of everything that a command does.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure of the given kind.
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            exit: kind.exit_code(),
            code: kind.code().into(),
            message: message.to_string(),
            hint: None,
            tries_left: None,
            silent: false,
        }
    }

    /// Something was typed that cannot be meant.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::BadRequest, message).code_is("usage")
    }

    /// Ends with this exit code when the output has said it all.
    pub(crate) fn silent(exit: u8) -> Self {
        Self { exit, silent: true, ..Self::new(Kind::Internal, "") }
    }

    /// The user stopped it.
    pub(crate) fn stopped(message: impl fmt::Display) -> Self {
        Self { exit: 1, ..Self::new(Kind::Rejected, message) }.code_is("stopped")
    }

    /// The same under another stable code.
    pub(crate) fn code_is(mut self, code: &'static str) -> Self {
        self.code = code.into();
        self
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit.into()
    }

    /// The stable code, such as `not-found`.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Whether there is nothing left to say.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// What a program reads of it.
    pub(crate) fn json(&self) -> ErrorJson<'_> {
        ErrorJson {
            code: &self.code,
            message: &self.message,
            hint: self.hint.as_deref(),
            tries_left: self.tries_left,
        }
    }

    /// What goes to stderr: text that ends with the code in brackets, or one
    /// JSON object. Empty when there is nothing left to say.
    pub(crate) fn render(&self, json: bool) -> String {
        if self.silent {
            return String::new();
        }
        if json {
            let line = serde_json::to_string(&Envelope { error: self.json() });
            return line.expect("strings always serialise") + "\n";
        }
        let said = self.message.lines().chain(self.hint.iter().flat_map(|hint| hint.lines()));
        let mut text = said.map(|line| wrap(&clean(line), WIDTH)).collect::<Vec<_>>().join("\n");
        let code = format!("[{}]", self.code);
        let last = text.lines().last().map_or(0, |line| line.chars().count());
        text.push(if last + 1 + code.len() > WIDTH { '\n' } else { ' ' });
        text + &code + "\n"
    }
}

/// `{"error":{"code","message","hint"}}`
#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorJson<'a>,
}

/// A failure as a program reads it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ErrorJson<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries_left: Option<u8>,
}

/// The same text with a large first letter.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What the node, or its library in this process, could not do.
impl From<kinsync::Failure> for Failure {
    fn from(failure: kinsync::Failure) -> Self {
        let kinsync::Failure { hint, tries_left, .. } = failure;
        Self { hint, tries_left, ..Self::new(failure.kind, failure.message) }
    }
}

/// A cause that has no code of its own, with every source it names.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Kind::Io, format!("Could not {error:#}.")).code_is("failed")
    }
}

/// What clap found wrong, in its own words.
impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let rest: Vec<&str> =
            rest.lines().filter(|line| !line.trim().is_empty()).map(str::trim_end).collect();
        let failure = Self::usage(sentence(message.trim_end()));
        if rest.is_empty() { failure } else { failure.hint(rest.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_with_the_code() {
        let failure =
            Failure::new(Kind::NotRunning, "No node is running.").hint("Start one with: kinsync up");
        assert_eq!(failure.render(false), "No node is running.\nStart one with: kinsync up [not-running]\n");
    }

    #[test]
    fn a_long_line_is_wrapped_and_the_code_stays_whole() {
        let failure = Failure::new(Kind::Io, "word ".repeat(40).trim());
        let text = failure.render(false);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.ends_with("[io]\n"));
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let failure = Failure::new(Kind::WrongCode, "Wrong \"code\".");
        assert_eq!(
            failure.render(true),
            "{\"error\":{\"code\":\"wrong-code\",\"message\":\"Wrong \\\"code\\\".\",\"hint\":null}}\n"
        );
    }
}
