//! One conversation file: a header, then one message a line.
//!
//! # Which message is which
//!
//! The application rewrites whole files, and two devices write to copies of
//! one conversation while apart. So a message's key must not depend on its
//! line (deleting one in the middle would rename all that follow: thousands of
//! records for one edit, P22) nor on its text (an edit would make a second
//! message). What stays is **when it was born and who spoke**: the date that
//! the application writes once. For an answer with several variants that is
//! the date of the first one, since the message's own date follows the variant
//! that is selected. Two turns added apart were born at different times and
//! both stay (D7).
//!
//! - Messages of one speaker with equal dates (old versions of the application
//!   wrote no seconds) are told apart by counting: deleting the first of them
//!   moves the others of that minute, and nothing else.
//! - A date that cannot be read names the message by its letters, and a
//!   message without a date by its text: an edit then leaves the old message
//!   beside the new one, which is better than a turn that takes another's place.
//! - Dates without a time zone count as UTC on every device, so that all give
//!   the same key.
//!
//! # Order
//!
//! The file's order rules. A message's order key is its birth time, moved up
//! just behind the message before it where the times disagree with the file.
//! It depends on nothing that follows, so appending changes no message that is
//! already there, and turns added apart fall into one order by time. Compared
//! as text, there is room between any two: `…0500` lies between `…05` and
//! `…06`.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde_json::{Map, Value};

use super::super::{Reason, name};
use super::{birth, json};

/// The longest line that is read, in bytes; the rest of a longer one is passed
/// over.
///
/// Escapes can make a line several times as long as the record that it gives.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Steps of an order key in one millisecond.
const ORDER_PER_MILLI: u64 = 10_000;

/// How far a message is moved behind the one before it.
const ORDER_STEP: u64 = 100;

/// What a line of the file holds.
#[derive(Debug)]
pub(super) enum Line {
    /// The conversation itself, not yet a record's value.
    Header(Map<String, Value>),
    /// A message: the last part of its key, and its value.
    Message { id: String, value: Map<String, Value> },
}

/// A conversation's lines, read one at a time.
pub(super) struct Chat<R> {
    input: R,
    /// The conversation's key.
    key: String,
    number: u64,
    /// Whether the place of the header is behind us.
    started: bool,
    order: u64,
    /// How many messages had one birth and speaker so far.
    alike: BTreeMap<String, u32>,
    /// A message found in the place of the header.
    held: Option<Line>,
}

impl<R: BufRead> Chat<R> {
    pub(super) fn new(input: R, key: &str) -> Self {
        Self {
            input,
            key: key.to_owned(),
            number: 0,
            started: false,
            order: 0,
            alike: BTreeMap::new(),
            held: None,
        }
    }

    /// Returns the next line that holds something, with its number, counted
    /// from one; nothing at the end of the file.
    ///
    /// The first line gives a header even where the file has none, as group
    /// chats of old versions do; a first line that cannot be read gives none,
    /// so that an empty header never replaces a good one elsewhere.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Result<Line, Reason>)>> {
        if let Some(line) = self.held.take() {
            return Ok(Some((self.number, Ok(line))));
        }
        loop {
            let Some(line) = read_line(&mut self.input)? else { return Ok(None) };
            self.number += 1;
            let line = match line {
                Ok(line) if line.trim_ascii().is_empty() => continue,
                Ok(line) => json::object(&line).map_err(|reason| in_line(reason, self.number)),
                Err(reason) => Err(reason),
            };
            let is_first = !std::mem::replace(&mut self.started, true);
            let line =
                line.map(|fields| if is_first { self.first_line(fields) } else { self.message(fields) });
            return Ok(Some((self.number, line)));
        }
    }

    fn first_line(&mut self, fields: Map<String, Value>) -> Line {
        let is_header = fields.contains_key("chat_metadata") || !fields.contains_key("mes");
        if is_header {
            return Line::Header(fields);
        }
        self.held = Some(self.message(fields));
        let mut header = Map::new();
        header.insert("chat_metadata".into(), Value::Object(Map::new()));
        Line::Header(header)
    }

    /// Makes a message a record: its fields as they are, then `parent` and
    /// `order`, which take the place of fields with these names.
    fn message(&mut self, mut fields: Map<String, Value>) -> Line {
        let born = birth::of(&fields);
        self.order = match born {
            birth::Birth::At(millis) => {
                millis.saturating_mul(ORDER_PER_MILLI).max(self.order.saturating_add(ORDER_STEP))
            }
            birth::Birth::Unreadable(_) | birth::Birth::Undated(_) => self.order.saturating_add(ORDER_STEP),
        };
        let speaker = if fields.get("is_user").and_then(Value::as_bool).unwrap_or(false) { 'u' } else { 'c' };
        let start = match born {
            birth::Birth::At(millis) => format!("{millis:013}-{speaker}"),
            birth::Birth::Unreadable(text) => {
                format!("undated-{}-{speaker}", name::tag("kinsync/import-date/1", &[text.as_bytes()]))
            }
            birth::Birth::Undated(text) => {
                format!("undated-{}-{speaker}", name::tag("kinsync/import-text/1", &[text.as_bytes()]))
            }
        };
        let count = self.alike.entry(start.clone()).or_default();
        let id = format!("{start}{count}");
        *count = count.saturating_add(1);

        for field in ["parent", "order"] {
            fields.shift_remove(field);
        }
        fields.insert("parent".into(), Value::String(self.key.clone()));
        fields.insert("order".into(), Value::String(format!("{:018}", self.order)));
        Line::Message { id, value: fields }
    }
}

/// The parser counts lines within its own text, which is one line of the file.
fn in_line(mut reason: Reason, number: u64) -> Reason {
    if let Reason::CutShort { line, .. } | Reason::NotJson { line, .. } = &mut reason {
        *line = usize::try_from(number).unwrap_or(usize::MAX);
    }
    reason
}

/// Reads one line without its end, holding at most [`LINE_BYTES_MAX`] of it.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, Reason>>> {
    let mut line = Vec::new();
    let mut too_long = false;
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            break;
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        if line.len().saturating_add(part.len()) > LINE_BYTES_MAX {
            too_long = true;
            line.clear();
        }
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(any.then_some(if too_long { Err(Reason::LineTooLong { limit: LINE_BYTES_MAX }) } else { Ok(line) }))
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = r#"{"user_name":"User","chat_metadata":{}}"#;

    /// The messages of a file by id: text and order.
    fn messages(lines: &[&str]) -> BTreeMap<String, (String, String)> {
        let text = lines.join("\n");
        let mut chat = Chat::new(text.as_bytes(), "Seraphina/one");
        let mut found = BTreeMap::new();
        while let Some((_, line)) = chat.next().unwrap() {
            if let Ok(Line::Message { id, value }) = line {
                let text =
                    |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                assert_eq!(text("parent"), "Seraphina/one");
                assert!(found.insert(id, (text("mes"), text("order"))).is_none(), "each id once");
            }
        }
        found
    }

    fn said(second: u32, mes: &str) -> String {
        format!(r#"{{"is_user":true,"mes":"{mes}","send_date":"2025-10-04T12:00:{second:02}.000Z"}}"#)
    }

    fn same_minute(mes: &str) -> String {
        format!(r#"{{"is_user":true,"mes":"{mes}","send_date":"June 19, 2023 2:20pm"}}"#)
    }

    /// D7: appending changes nothing that is already there.
    #[test]
    fn an_appended_turn_leaves_the_others_as_they_are() {
        let [a, b, c] = [said(1, "a"), said(2, "b"), said(3, "c")];
        let before = messages(&[HEADER, &a, &b]);
        let after = messages(&[HEADER, &a, &b, &c]);
        assert_eq!(after.len(), 3);
        assert!(before.iter().all(|(id, message)| after.get(id) == Some(message)));
    }

    /// P22: what follows a deleted message keeps its key and its bytes.
    #[test]
    fn a_deleted_middle_message_moves_no_other() {
        let [a, b, c] = [said(1, "a"), said(2, "b"), said(3, "c")];
        let mut before = messages(&[HEADER, &a, &b, &c]);
        let after = messages(&[HEADER, &a, &c]);
        before.retain(|_, (text, _)| text != "b");
        assert_eq!(before, after);
    }

    /// P22: an edit changes one record and makes none.
    #[test]
    fn an_edited_message_keeps_its_key() {
        let [a, b, c] = [said(1, "a"), said(2, "b"), said(3, "c")];
        let before = messages(&[HEADER, &a, &b, &c]);
        let after = messages(&[HEADER, &a, &said(2, "better"), &c]);
        assert!(before.keys().eq(after.keys()));
        assert_eq!(before.iter().filter(|(id, message)| after.get(*id) != Some(message)).count(), 1);
    }

    /// D7: two devices add turns to copies of one conversation; every turn has
    /// its own key, and the order is one.
    #[test]
    fn turns_added_apart_all_stay_and_have_one_order() {
        let start = said(1, "start");
        let phone = messages(&[HEADER, &start, &said(10, "phone 1"), &said(30, "phone 2")]);
        let laptop = messages(&[HEADER, &start, &said(20, "laptop 1"), &said(40, "laptop 2")]);
        let mut both: Vec<_> =
            phone.into_iter().chain(laptop).collect::<BTreeMap<_, _>>().into_values().collect();
        both.sort_by(|a, b| a.1.cmp(&b.1));
        let texts: Vec<_> = both.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["start", "phone 1", "laptop 1", "phone 2", "laptop 2"]);
    }

    #[test]
    fn messages_of_one_minute_stay_apart_and_in_order() {
        let lines = [HEADER, &same_minute("a"), &same_minute("b"), &same_minute("c")];
        let found = messages(&lines);
        let mut orders: Vec<_> = found.values().cloned().collect();
        orders.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(orders.iter().map(|(text, _)| text.as_str()).collect::<String>(), "abc");
        assert_eq!(
            found.keys().map(String::as_str).collect::<Vec<_>>(),
            ["1687184400000-u0", "1687184400000-u1", "1687184400000-u2"]
        );
    }

    #[test]
    fn the_order_follows_the_file_where_the_dates_do_not() {
        let found = messages(&[HEADER, &said(9, "late"), &said(1, "early"), &said(30, "later")]);
        let order = |text: &str| found.values().find(|(found, _)| found == text).unwrap().1.clone();
        assert!(order("late") < order("early") && order("early") < order("later"));
        assert_eq!(order("late").len(), 18);
        let between = format!("{}5", order("late"));
        assert!(order("late") < between && between < order("early"), "room between neighbours");
    }

    #[test]
    fn choosing_another_variant_keeps_the_key() {
        let answer = |date: &str| {
            format!(
                concat!(
                    r#"{{"mes":"x","send_date":"{date}","swipes":["x","y"],"swipe_info":["#,
                    r#"{{"send_date":"2025-10-04T12:00:00Z"}},{{"send_date":"2025-10-04T12:05:00Z"}}]}}"#,
                ),
                date = date
            )
        };
        let first = messages(&[HEADER, &answer("2025-10-04T12:00:00Z")]);
        let second = messages(&[HEADER, &answer("2025-10-04T12:05:00Z")]);
        assert_eq!(first, second);
    }

    #[test]
    fn a_message_without_a_date_is_known_by_its_text() {
        let undated = |mes: &str| format!(r#"{{"mes":"{mes}"}}"#);
        let found = messages(&[HEADER, &undated("a"), &undated("b"), &undated("a")]);
        assert_eq!(found.len(), 3);
        let shorter = messages(&[HEADER, &undated("b")]);
        assert!(shorter.keys().all(|id| found.contains_key(id)));
        assert!(found.keys().all(|id| id.len() <= 40));
    }

    #[test]
    fn a_file_without_a_header_gives_one_and_loses_no_message() {
        let first = said(1, "a");
        let mut chat = Chat::new(first.as_bytes(), "x");
        assert_matches!(chat.next().unwrap(), Some((1, Ok(Line::Header(_)))));
        assert_matches!(chat.next().unwrap(), Some((1, Ok(Line::Message { .. }))));
        assert!(chat.next().unwrap().is_none());
    }

    #[test]
    fn a_broken_line_harms_no_other() {
        let text = [HEADER, &said(1, "a"), "{\"mes\":", "", "[]", &said(2, "b")].join("\r\n");
        let mut chat = Chat::new(text.as_bytes(), "x");
        let mut seen = Vec::new();
        while let Some((number, line)) = chat.next().unwrap() {
            seen.push((number, line.err().map(|reason| reason.code())));
        }
        assert_eq!(seen, [(1, None), (2, None), (3, Some("cut-short")), (5, Some("not-object")), (6, None)]);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_over_it_is_passed_over() {
        let line = |bytes: usize| format!("{}\n{{}}\n", " ".repeat(bytes));
        let read = |text: String| {
            let mut input = io::BufReader::new(text.as_bytes());
            (
                read_line(&mut input).unwrap().unwrap().is_ok(),
                read_line(&mut input).unwrap().unwrap().unwrap(),
            )
        };
        assert_eq!(read(line(LINE_BYTES_MAX)), (true, b"{}".to_vec()));
        assert_eq!(read(line(LINE_BYTES_MAX + 1)), (false, b"{}".to_vec()));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut chat = Chat::new(&bytes[..], "x");
            while chat.next().unwrap().is_some() {}
        }

        #[test]
        fn random_messages_have_ids_of_their_own(
            lines in prop::collection::vec((0u32..4, any::<bool>(), "[a-c]{0,2}"), 0..40),
        ) {
            let lines: Vec<_> = lines
                .iter()
                .map(|(second, dated, mes)| if *dated { said(*second, mes) } else { format!(r#"{{"mes":"{mes}"}}"#) })
                .collect();
            let all: Vec<_> = std::iter::once(HEADER).chain(lines.iter().map(String::as_str)).collect();
            prop_assert_eq!(messages(&all).len(), lines.len());
        }
    }
}
