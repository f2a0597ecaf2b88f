//! Data folders of a chat application, made for a test.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::node::Node;

/// The beginning of a chat, in milliseconds since 1970.
const BEGIN: u64 = 1_795_000_000_000;

/// Writes a small library with a little of everything.
pub(crate) fn small(at: &Path) {
    for (path, text) in [
        ("settings.json", r#"{"theme":"dark","power_user":{"font_scale":1}}"#),
        ("worlds/Harbour.json", r#"{"entries":{"0":{"key":["tide"],"content":"It comes twice a day."}}}"#),
        ("characters/Pilot.json", r#"{"name":"Pilot","description":"Brings ships in."}"#),
        ("TextGen Settings/Calm.json", r#"{"temp":0.4}"#),
        ("sysprompt/Plain.json", r#"{"name":"Plain","content":"Answer in plain words."}"#),
    ] {
        write(&at.join(path), text);
    }
    chat(at, "Pilot", 0..20, 40);
}

/// Writes a chat whose turns are these, each some letters long.
///
/// The same turns are the same lines wherever they are written.
pub(crate) fn chat(at: &Path, with: &str, turns: impl IntoIterator<Item = u64>, letters: usize) {
    let mut text = "{\"user_name\":\"You\",\"character_name\":\"Pilot\",\"chat_metadata\":{}}\n".to_owned();
    for turn in turns {
        let (at, name, mine) = (BEGIN + turn * 1000, if turn % 2 == 0 { "You" } else { with }, turn % 2 == 0);
        // Not the same letter again and again: nothing may be saved by packing.
        let said: String = (0..letters as u64).map(|place| letter(turn, place)).collect();
        writeln!(text, r#"{{"name":"{name}","is_user":{mine},"send_date":{at},"mes":"{turn} {said}"}}"#)
            .expect("writing to a string cannot fail");
    }
    write(&at.join(format!("chats/{with}/log.jsonl")), &text);
}

/// Imports a folder that a test has written.
pub(crate) fn import(node: &Node, from: &Path) {
    let folder = from.to_str().expect("the test named it");
    let ended = node.run(&["import", folder, "--as", "sillytavern"]);
    assert_eq!(ended.code, 0, "{}", ended.all());
}

fn letter(turn: u64, place: u64) -> char {
    let mixed = (turn + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left((place % 64) as u32) ^ place;
    char::from(b'a' + u8::try_from(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 59).unwrap_or(0) % 26)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below the folder")).expect("created");
    fs::write(path, text).expect("written");
}
