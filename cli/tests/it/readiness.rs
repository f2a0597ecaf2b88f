//! What records need beside them, and what a person decides about it.

use std::fs;

use insta::assert_snapshot;
use kinsync::request::AppState;
use serde_json::{Value, json};

use crate::node::{Node, ask};

const SONGS: &str = r#"
name = "songs"
requires = [
    { id = "piano", need = "must" },
    { id = "tuner", need = "should", without = "ignore" },
]
"#;

fn has(names: &[&str]) -> AppState {
    let has = names.iter().map(|name| (*name).to_owned()).collect();
    AppState { id: "harbour".to_owned(), has, ..AppState::default() }
}

/// L13, L15: what is missing is seen, decided and asked again from the command line.
#[test]
fn what_is_missing_is_shown_and_decided() {
    let node = Node::on_loopback("desktop");
    let file = node.device().home().join("songs.toml");
    fs::write(&file, SONGS).expect("written");
    assert_eq!(node.run(&["domains", "add", &file.display().to_string()]).code, 0);
    assert_snapshot!(node.run(&["domains", "readiness"]).stdout, @r"
    DOMAIN    NEEDS            NEED    WITHOUT  HERE     CHOICE
    memories  embedding-model  should  disable  unknown  –
    songs     piano            must    disable  unknown  –
    songs     tuner            should  ignore   unknown  –
    Unknown: no application has said what it has.
    ");

    ask(&node, has(&["embedding-model/small"]));
    let status = node.run(&["status"]).stdout;
    assert!(status.contains("kinsync domains readiness songs"), "{status}");
    assert_snapshot!(node.run(&["domains", "readiness"]).stdout, @r"
    DOMAIN    NEEDS            NEED    WITHOUT  HERE              CHOICE
    memories  embedding-model  should  disable  small in harbour  –
    songs     piano            must    disable  missing           –
    songs     tuner            should  ignore   missing           –
    Blocked: what must be there is missing.
    Decide:  kinsync domains choose songs piano provide   or   without   or   later
    ");
    let choose = |id: &str, choice: &str| node.run(&["domains", "choose", "songs", id, choice]);
    let chosen = choose("piano", "without").stdout;
    assert_eq!(chosen, "songs goes on without piano, until what applications have changes.\n");
    assert_eq!(choose("tuner", "later").code, 0);
    assert_snapshot!(node.run(&["domains", "readiness", "songs"]).stdout, @r"
    DOMAIN  NEEDS  NEED    WITHOUT  HERE     CHOICE
    songs   piano  must    disable  missing  without
    songs   tuner  should  ignore   missing  later
    Ready without what is missing.
    Decide:  kinsync domains choose songs tuner provide   or   without   or   later
    ");
    let told = node.json(&["domains", "readiness", "songs"]);
    assert_eq!((&told["v"], &told["state"]), (&1.into(), &"ready-without".into()));
    let piano = json!({"domain": "songs", "id": "piano", "need": "must", "without": "disable",
        "state": "missing", "choice": "without"});
    assert_eq!((&told["needs"][0], &told["missing"][1]["id"]), (&piano, &"tuner".into()));
    assert_eq!(told["apps"], json!({"harbour": ["embedding-model/small"]}));

    ask(&node, has(&["piano/grand"]));
    let told = node.json(&["domains", "readiness", "songs"]);
    assert_eq!(told["needs"][0]["by"], json!(["harbour", "piano/grand"]));
    assert_eq!(told["needs"][1]["choice"], Value::Null, "asked again");
    assert_snapshot!(choose("piano", "without").all(), @r"
    exit 1
    --- stdout
    --- stderr
    piano is not missing for songs.
    See what is:  kinsync domains readiness songs [not-found]
    ");
    let unknown = node.run(&["domains", "readiness", "ballads"]);
    assert!(unknown.code == 2 && unknown.stderr.ends_with("[unknown-domain]\n"), "{}", unknown.stderr);
    assert_eq!(choose("tuner", "perhaps").code, 2);
    let nothing = node.run(&["domains", "readiness", "chats"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, "These records need nothing beside them.\n"));
}
