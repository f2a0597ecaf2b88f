//! What a command prints: text and JSON from the same value.
//!
//! Results go to stdout; progress, notes and questions to stderr, so that a
//! script can read the one without the other.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use kinsync::clock::{Clock, Moment};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::args::Global;
use crate::failure::{Failure, Result};
use crate::parse::is_unprintable;

/// How many columns text may use.
pub(crate) const WIDTH: usize = 80;

/// How this run talks: set once from the options, passed to every command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    colour: bool,
    yes: bool,
}

/// A result that people can read; its JSON form is its serde form.
pub(crate) trait Text: Serialize {
    /// The lines for people, in at most [`WIDTH`] columns.
    fn text(&self, page: Page) -> String;
}

impl Output {
    /// Decides from the options, the environment and the terminal.
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            json: global.json,
            quiet: global.quiet,
            colour: wanted && io::stdout().is_terminal(),
            yes: global.yes,
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether `--yes` was given.
    pub(crate) fn yes(&self) -> bool {
        self.yes
    }

    /// Prints a result.
    pub(crate) fn result<T: Text>(&self, value: &T) -> Result<()> {
        if self.json { self.object(value) } else { print(&value.text(self.page())) }
    }

    /// Prints one row of several, which is a line of its own in JSON.
    pub(crate) fn row<T: Text>(&self, value: &T) -> Result<()> {
        if self.json { self.line_json(value) } else { print(&value.text(self.page())) }
    }

    /// Prints the one JSON object of a command, with the number of its form.
    pub(crate) fn object<T: Serialize>(&self, value: &T) -> Result<()> {
        let json = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        print(&(numbered(json) + "\n"))
    }

    /// What the clock shows.
    pub(crate) fn now(&self) -> Moment {
        Clock::system().wall()
    }

    fn page(&self) -> Page {
        Page { colour: self.colour, now: self.now() }
    }

    /// Prints one line of a stream as JSON.
    pub(crate) fn line_json<T: Serialize>(&self, value: &T) -> Result<()> {
        let line = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        print(&(line + "\n"))
    }

    /// Prints text that has no JSON form, such as a log or a script.
    pub(crate) fn raw(&self, text: &str) -> Result<()> {
        print(text)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        done(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Says what is going on, on stderr; not with `--quiet` or `--json`.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet && !self.json {
            self.say(line);
        }
    }

    /// Says something that must be read, on stderr, even with `--quiet`.
    pub(crate) fn say(&self, line: &str) {
        complain(&(wrap(line, WIDTH) + "\n"));
    }

    /// Whether a progress bar would be seen and not be in the way.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Asks before something that cannot be taken back.
    ///
    /// `--yes` answers; without it and without a terminal nobody can, which is
    /// a usage error and not a silent no.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if self.json || !io::stdin().is_terminal() {
            return Err(Failure::usage("This asks a question, and nobody is there to answer it.")
                .hint("Add --yes when you are sure."));
        }
        let answer = ask(&format!("{question}  [y/N] "))?.unwrap_or_default();
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// The object with `"v":1` in front, by which a script knows the form of what
/// it reads; as it is if it has one, or is no object.
fn numbered(json: String) -> String {
    match json.strip_prefix('{') {
        Some(fields) if fields.starts_with("\"v\":") => json,
        Some("}") => r#"{"v":1}"#.to_owned(),
        Some(fields) => format!(r#"{{"v":1,{fields}"#),
        None => json,
    }
}

/// Puts a failure's text on stderr.
pub(crate) fn complain(text: &str) {
    // A closed stderr must not end the work that it tells about.
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Asks on stderr and reads a line; `None` at the end of the input.
pub(crate) fn ask(prompt: &str) -> Result<Option<String>> {
    complain(prompt);
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("read the answer")?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    done(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A reader that has seen enough, as `head` does, is no failure to tell about.
fn done(result: io::Result<()>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(1)),
        Err(error) => Err(anyhow::Error::new(error).context("write the output").into()),
    }
}

/// What text is written for: a terminal with or without colours, at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    colour: bool,
    now: Moment,
}

impl Page {
    /// A page without colours at this time, for tests.
    #[cfg(test)]
    pub(crate) fn at(now: Moment) -> Self {
        Self { colour: false, now }
    }

    /// Good news.
    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something to look at.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Bad news.
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// How long something has been so.
    pub(crate) fn since(self, then: Moment) -> Duration {
        self.now.since(then)
    }

    /// How long ago something was, or a dash when it never was.
    pub(crate) fn ago(self, then: Option<Moment>) -> String {
        match then.map(|then| self.since(then)) {
            None => "–".to_owned(),
            Some(span) if span.as_secs() == 0 => "now".to_owned(),
            Some(span) => format!("{} ago", coarse(span)),
        }
    }

    fn with(self, style: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A span in its largest unit: `4 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn coarse(span: Duration) -> String {
    match span.as_secs() {
        s @ ..60 => format!("{s} s"),
        s @ ..3_600 => format!("{} min", s / 60),
        s @ ..86_400 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// A span in its two largest units: `6 min 20 s`, `3 h 12 min`.
pub(crate) fn fine(span: Duration) -> String {
    match span.as_secs() {
        s @ ..60 => format!("{s} s"),
        s @ ..3_600 => format!("{} min {} s", s / 60, s % 60),
        s @ ..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Makes text from other devices harmless: what a terminal might obey instead
/// of showing becomes `�`.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// Shortens `text` to at most `columns`, with `…` in place of what is gone.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if short.width() >= columns {
            short.pop();
            break;
        }
    }
    short + "…"
}

/// Breaks a line at spaces so that each part has at most `columns`, keeping
/// its indentation. A longer word stays whole, and so does a command that
/// stands behind two spaces: people copy it.
pub(crate) fn wrap(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let mut lines = vec![indent.clone()];
    for word in words(line) {
        let last = lines.last_mut().expect("starts with one line and only grows");
        let is_first = last.len() == indent.len();
        if !is_first && last.width() + 1 + word.width() > columns {
            lines.push(format!("{indent}{word}"));
        } else {
            if !is_first {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}

/// The words of a line; a command behind two spaces is one.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split("  ").map(str::trim).flat_map(|part| {
        let is_command = part.starts_with("kinsync ");
        let (whole, apart) = if is_command { (part, "") } else { ("", part) };
        Some(whole).filter(|whole| !whole.is_empty()).into_iter().chain(apart.split_whitespace())
    })
}

/// How a column of a table stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lays out rows so that columns stand below each other, two spaces apart.
///
/// The widest left-aligned column gives way when a row would be too wide.
pub(crate) fn table(rows: &[Vec<String>], align: &[Align], indent: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|c| c.width()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let total: usize = indent + widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
    if total > WIDTH {
        let left = |(column, _): &(usize, &mut usize)| align.get(*column) != Some(&Align::Right);
        let widest = widths.iter_mut().enumerate().filter(left).max_by_key(|(_, width)| **width);
        if let Some((_, width)) = widest {
            *width = width.saturating_sub(total - WIDTH).max(4);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = shorten(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match align.get(column) {
                Some(Align::Right) => line.extend([space.as_str(), &cell]),
                Some(Align::Left) | None => line.extend([cell.as_str(), &space]),
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes a number with a thin gap between thousands: `18 940`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Writes a size in the unit that keeps it short: `212 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = next;
    }
    if scaled < 9.95 { format!("{scaled:.1} {unit}") } else { format!("{scaled:.0} {unit}") }
}

/// `1 record`, `2 records`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_says_which_form_it_has() {
        assert_eq!(numbered(r#"{"a":2}"#.to_owned()), r#"{"v":1,"a":2}"#);
        assert_eq!(numbered(r#"{"v":1,"a":2}"#.to_owned()), r#"{"v":1,"a":2}"#);
        assert_eq!(numbered("{}".to_owned()), r#"{"v":1}"#);
        assert_eq!(numbered("[1]".to_owned()), "[1]");
    }

    #[test]
    fn a_hostile_name_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\r\n"), "a�[2Jb�c��");
        assert_eq!(clean("Zoë’s 📱"), "Zoë’s 📱");
    }

    #[test]
    fn a_span_is_told_in_the_units_that_matter() {
        let spans = [0, 59, 60, 3_599, 3_600, 11_520, 86_400, 190_000].map(Duration::from_secs);
        assert_eq!(spans.map(coarse), ["0 s", "59 s", "1 min", "59 min", "1 h", "3 h", "1 d", "2 d"]);
        assert_eq!(
            spans.map(fine),
            ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "3 h 12 min", "1 d 0 h", "2 d 4 h"]
        );
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(18_940), "18 940");
        assert_eq!(count(1_234_567), "1 234 567");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(34_000_000), "34 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
    }

    #[test]
    fn a_wide_table_still_fits() {
        let rows = vec![vec!["x".repeat(90), "1".to_owned()], vec!["y".to_owned(), "20".to_owned()]];
        let text = table(&rows, &[Align::Left, Align::Right], 2);
        assert!(text.lines().all(|line| line.width() <= WIDTH), "{text}");
        assert!(text.contains('…'));
        assert!(text.ends_with("20\n"));
    }

    #[test]
    fn a_line_breaks_at_spaces_and_keeps_its_indentation() {
        assert_eq!(wrap("  one two three", 10), "  one two\n  three");
        assert_eq!(wrap("short", 10), "short");
        assert_eq!(wrap("  one two.  Do:  kinsync up", 22), "  one two. Do:\n  kinsync up");
    }
}
