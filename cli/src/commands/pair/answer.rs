//! The host's answer to a device that has proved the code.

use kinsync::request::Verdict;
use serde::Deserialize;

/// Reads one line: a letter, a word, or for programs the same as JSON.
///
/// `None` for everything else, which asks again: only a clear word may trust.
pub(crate) fn parse(line: &str) -> Option<Verdict> {
    let line = line.trim();
    if let Ok(Form::Object { answer } | Form::Text(answer)) = serde_json::from_str(line) {
        return word(&answer);
    }
    word(line)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Object {
        #[serde(alias = "verdict")]
        answer: String,
    },
    Text(String),
}

fn word(word: &str) -> Option<Verdict> {
    match word.to_ascii_lowercase().as_str() {
        "g" | "guest" => Some(Verdict::Guest),
        "k" | "kin" => Some(Verdict::Kin),
        "o" | "once" => Some(Verdict::Once),
        "r" | "reject" => Some(Verdict::Reject),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_words_and_json_are_answers() {
        for line in ["k", "K\n", " kin ", "\"kin\"", "\"k\"", r#"{"answer":"kin"}"#, r#"{"verdict":"k"}"#] {
            assert_eq!(parse(line), Some(Verdict::Kin), "{line}");
        }
        assert_eq!(parse("guest"), Some(Verdict::Guest));
        assert_eq!(parse("o"), Some(Verdict::Once));
        assert_eq!(parse("r"), Some(Verdict::Reject));
    }

    #[test]
    fn nothing_unclear_is_an_answer() {
        for line in ["", "y", "yes", "ok", "kinn", "{}", r#"{"answer":1}"#, "[\"kin\"]", "null", "1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
