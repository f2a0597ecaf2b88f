//! Kinds of records that somebody declares.

use std::fs;
use std::path::PathBuf;

use insta::assert_snapshot;
use kinsync_tests::wait::until;
use serde_json::Value;

use crate::device::Device;
use crate::node::{Node, pair};

const NOTES: &str = r#"
name = "notes"
policy = "fields"

[fields]
text = "longest"
tags = "set-union"

[value]
type = "object"
required = ["text"]

[value.properties]
text = { type = "string" }
tags = { type = "array", items = { type = "string" } }
"#;

/// Writes a file into a device's home.
fn file(device: &Device, name: &str, text: &str) -> String {
    let path: PathBuf = device.home().join(name);
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn json(printed: &str) -> Value {
    serde_json::from_str(printed).expect("one object")
}

/// F5, F6, F7: shape, policy and scope of every domain can be seen.
#[test]
fn domains_are_listed_and_shown() {
    let device = Device::named("desktop");
    let listed = device.run(["domains"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let row = |name: &str| {
        let line = listed.stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_default().split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("characters"), "fields user built-in");
    assert_eq!(row("memories"), "set-union user built-in");
    assert_eq!(row("device-settings"), "lww device built-in");
    assert_eq!(row("secrets"), "lww named devices built-in");
    let shown = device.run(["domains", "show", "memories"]).stdout;
    let head: String = shown.lines().take(8).map(|line| line.to_owned() + "\n").collect();
    assert_snapshot!(head, @r#"
    memories: 0 records
      declared    built-in
      policy      set-union
      scope       user
      schema      1
      identity    ["project","source","content:200"]
      derived     {"embedding":"embedding_model"}
      requires    [{"id":"embedding-model","need":"should","without":"disable"}]
    "#);
    assert!(shown.contains("\n  value\n    {\n"), "{shown}");
    let shown = json(&device.print(["domains", "show", "messages", "--json"]));
    assert_eq!((&shown["parent"], &shown["policy"]), (&"chats".into(), &"fields".into()));
    assert_eq!(shown["declaration"]["fields"]["variants"]["set-union"], "id");
}

/// F5, F11: a file is all that a new kind of records needs.
#[test]
fn a_domain_is_declared_by_a_file_and_taken_back() {
    let device = Device::named("desktop");
    let notes = file(&device, "notes.toml", NOTES);
    assert_eq!(device.run(["domains", "check", &notes]).stdout, "notes would be new.\n");
    assert_eq!(device.run(["get", "notes", "a"]).code, 2, "checking declares nothing");
    let added = device.run(["domains", "add", &notes]).stdout;
    assert_eq!(added, "notes is declared, here and on your other devices.\n");
    assert_eq!(device.run_with(["put", "notes", "a"], r#"{"text":"b"}"#).code, 0);
    let again = device.run(["domains", "add", &notes]).stdout;
    assert_eq!(again, "notes is declared like this already.\n  1 record: all fit.\n");
    let shown = json(&device.print(["domains", "show", "notes", "--json"]));
    assert_eq!((&shown["source"], &shown["records"]), (&"record".into(), &1.into()));

    assert_eq!(device.run(["domains", "remove", "notes"]).code, 0);
    assert_eq!(device.run(["get", "notes", "a"]).code, 2);
    let shown = json(&device.print(["domains", "show", "notes", "--json"]));
    assert_eq!((&shown["source"], &shown["waiting"]), (&Value::Null, &1.into()));
    assert!(device.run(["status"]).stdout.contains("nobody declared"));
    assert_eq!(device.run(["domains", "add", &notes]).code, 0);
    assert_eq!(device.print(["get", "notes", "a"]), r#"{"text":"b"}"#);
}

/// F5: what is wrong with a declaration is told by line and key.
#[test]
fn a_bad_declaration_is_refused_with_its_reason() {
    let device = Device::named("desktop");
    let refused = |text: &str| {
        let path = file(&device, "bad.toml", text);
        let ended = device.run(["domains", "add", &path]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{text}");
        ended.stderr
    };
    assert_snapshot!(refused("name = \"notes\"\npolcy = \"lww\"\n"), @r"
    HOME/bad.toml, line 2: unknown field `polcy`, expected one of `name`,
    `schema`, `reads`, `policy`, `scope`, `opt-in`, `parent`, `identity`, `derived`,
    `requires`, `exclude`, `fields`, `value`, `value-file`, `guard`, `migrate`.
    How a domain is declared:  docs/domains.md [bad-declaration]
    ");
    for (text, reason) in [
        ("name = \"notes\"\nidentity = [\"text:0\"]\n", "line 2: "),
        ("name = \"notes\"\nidentity = [\"txt\"]\n[value.properties]\ntext = {}\n", "\"txt\""),
        ("name = \"kinsync/notes\"\n", "only kinsync's own"),
        ("name = \"chats\"\nparent = \"messages\"\n", "in a circle"),
        ("name = \"notes\"\n[value]\n\"$ref\" = \"https://example.org/a.json\"\n", "nothing is fetched"),
        ("", "missing field `name`"),
        ("name = \"a b\"\n", "letters, digits"),
        ("name = \"../x19\"\n", "`name`: \"../x19\" has a part between slashes"),
        ("name = \"notes\"\nidentity = []\n", "line 2: `identity` names no field"),
        ("name = \"notes\"\nparent = \"chats\"\nidentity = [\"text\"]\n", "line 3: `identity`: the key"),
        ("name = \"notes\"\nparent = \"a b\"\n", "line 2: `parent`"),
    ] {
        let said = refused(text).replace('\n', " ");
        assert!(said.contains(reason) && said.contains("[bad-declaration]"), "{said}");
    }
    let long = format!("name = \"{}\"\n", "n".repeat(129));
    assert!(refused(&long).contains("128"));
    assert_eq!(device.run(["domains", "add", "no-such-file.toml"]).code, 1);
}

/// F5: a parent that nobody declared may come later, and is told of.
#[test]
fn a_parent_that_nobody_declared_is_told_of() {
    let device = Device::named("desktop");
    let pages = file(&device, "pages.toml", "name = \"pages\"\nparent = \"nootbooks\"\n");
    assert_snapshot!(device.run(["domains", "check", &pages]).stdout, @r"
    pages would be new.
    ! `parent`: nobody has declared nootbooks here; until then its records belong to
    nothing.
    ");
    let added = json(&device.print(["domains", "add", &pages, "--json"]));
    assert_eq!(added["warnings"][0]["code"], "unknown-parent");
    let parent = file(&device, "nootbooks.toml", "name = \"nootbooks\"\n");
    assert_eq!(device.run(["domains", "add", &parent]).code, 0);
    assert!(json(&device.print(["domains", "add", &pages, "--json"]))["warnings"].is_null());
}

/// 10,000 domains are an error with a name, wherever they come from.
#[test]
fn there_is_an_end_to_domains() {
    let device = Device::named("desktop");
    let folder = device.home().join("domains");
    fs::create_dir(&folder).expect("created");
    for number in 0..10_000 {
        fs::write(folder.join(format!("d{number}.toml")), format!("name = \"d{number}\"\n"))
            .expect("written");
    }
    let status = device.run(["status"]).stdout;
    assert!(status.contains("Only the first 4096 files"), "{status}");
    let one_more = file(&device, "more.toml", "name = \"more\"\n");
    let ended = device.run(["domains", "add", &one_more]);
    assert!(ended.code == 2 && ended.stderr.contains("[too-many-domains]"), "{}", ended.stderr);
}

/// F5: a schema that records do not fit says how many, and which first.
#[test]
fn a_schema_that_rejects_what_is_there_is_refused() {
    let device = Device::named("desktop");
    let loose = file(&device, "notes.toml", "name = \"notes\"\n");
    assert_eq!(device.run(["domains", "add", &loose]).code, 0);
    device.run_with(["put", "notes", "good"], r#"{"text":"b"}"#);
    for number in 0..7 {
        device.run_with(["put", "notes", &format!("bad{number}")], r#"{"text":7}"#);
    }
    let strict = file(&device, "notes.toml", NOTES);
    assert_snapshot!(device.run(["domains", "add", &strict, "--dry-run"]).stdout, @r"
    notes would change.
      8 records: 7 do not fit.
        bad0: text: expected text, found a number
        bad1: text: expected text, found a number
        bad2: text: expected text, found a number
        bad3: text: expected text, found a number
        bad4: text: expected text, found a number
        and 2 more
    ");
    assert_snapshot!(device.run(["domains", "add", &strict]).all(), @r"
    exit 1
    --- stdout
    --- stderr
    7 of 8 records of notes do not fit:
      bad0: text: expected text, found a number
      bad1: text: expected text, found a number
      bad2: text: expected text, found a number
      bad3: text: expected text, found a number
      bad4: text: expected text, found a number
      and 2 more
    They would stay and wait. To go on all the same, add --yes. [rejects-records]
    ");
    assert_eq!(device.run(["domains", "add", &strict, "--yes"]).code, 0);
}

/// A file of this device goes before what the others declare.
#[test]
fn a_local_file_goes_before_the_rest() {
    let device = Device::named("desktop");
    fs::create_dir(device.home().join("domains")).expect("created");
    file(&device, "domains/chats.toml", "name = \"chats\"\npolicy = \"manual\"\n");
    file(&device, "domains/broken.toml", "name = \"broken\"\npolcy = 1\n");
    let shown = json(&device.print(["domains", "show", "chats", "--json"]));
    assert_eq!((&shown["source"], &shown["policy"]), (&"file".into(), &"manual".into()));
    let listed = device.run(["domains"]).stdout;
    assert!(listed.contains("HOME/domains/broken.toml, line 2"), "{listed}");
    let removed = device.run(["domains", "remove", "chats"]);
    assert!(removed.code == 1 && removed.stderr.contains("HOME/domains"), "{}", removed.stderr);
}

/// F6, F11, D5: three policies, three nodes, nothing rebuilt or restarted: the
/// declaration arrives as a record, edits made apart end as each policy says,
/// and all hold the same.
#[test]
fn a_domain_from_a_file_alone_reaches_every_device() {
    let [desktop, laptop, mut phone] = ["desktop", "laptop", "phone"].map(Node::on_loopback);
    pair(&desktop, &laptop, Some(desktop.address()));
    pair(&desktop, &phone, Some(desktop.address()));
    for (name, policy) in [("notes", "fields"), ("drawings", "keep-both"), ("marks", "lww")] {
        let text = format!("name = \"{name}\"\npolicy = \"{policy}\"\n");
        let path = file(desktop.device(), "new.toml", &text);
        assert_eq!(desktop.run(&["domains", "add", &path]).code, 0);
        desktop.put(name, "from-desktop", r#"{"by":"desktop"}"#);
    }
    for node in [&laptop, &phone] {
        until("the new domains are known", || {
            let shown = node.run(&["--json", "domains", "show", "marks"]);
            (shown.code == 0 && json(&shown.stdout)["source"] == "record").then_some(())
        });
        for name in ["notes", "drawings", "marks"] {
            until("they are all there", || {
                node.run(&["get", name, "from-desktop"]).stdout.contains("desktop").then_some(())
            });
        }
    }
    // Edits made apart: nobody hears of the phone's before it is back.
    phone.down();
    for name in ["notes", "drawings", "marks"] {
        phone.put(name, "from-desktop", r#"{"by":"desktop","phone":1}"#);
        laptop.put(name, "from-desktop", r#"{"by":"desktop","laptop":1}"#);
    }
    until("the desktop has the laptop's", || {
        let all = |name: &&str| desktop.run(&["get", name, "from-desktop"]).stdout.contains("laptop");
        ["notes", "drawings", "marks"].iter().all(all).then_some(())
    });
    phone.up();
    // The laptop and the phone know each other and no address.
    for node in [&laptop, &phone, &laptop] {
        until("both hold the same", || (node.run(&["sync", "desktop"]).code == 0).then_some(()));
    }
    for name in ["notes", "drawings", "marks"] {
        desktop.assert_same_list(&laptop, name);
        desktop.assert_same_list(&phone, name);
    }
    let note = json(&phone.device().print(["get", "notes", "from-desktop"]));
    assert_eq!((&note["phone"], &note["laptop"]), (&1.into(), &1.into()));
    assert_eq!(["notes", "drawings", "marks"].map(|name| desktop.count(name)), [1, 2, 1]);
}

/// F7, F20: each device asks before a declaration lets records go further.
#[test]
fn what_widens_is_asked_about_on_each_device() {
    let [desktop, laptop] = ["desktop", "laptop"].map(Node::on_loopback);
    pair(&desktop, &laptop, Some(desktop.address()));
    let declare = |text: &str| {
        let path = file(desktop.device(), "new.toml", text);
        assert_eq!(desktop.run(&["domains", "add", &path]).code, 0);
    };
    let shown = || json(&laptop.run(&["--json", "domains", "show", "journal"]).stdout);
    declare("name = \"journal\"\nopt-in = true\n");
    until("the laptop knows it", || (laptop.run(&["domains", "show", "journal"]).code == 0).then_some(()));
    declare("name = \"journal\"\n");
    until("the laptop asks", || (!shown()["asks"].is_null()).then_some(()));
    assert_eq!((&shown()["opt_in"], &shown()["rejected"]), (&true.into(), &false.into()));
    let status = laptop.run(&["status"]).stdout;
    assert!(status.contains("kinsync domains show journal"), "{status}");

    assert_eq!(laptop.run(&["domains", "reject", "journal"]).code, 0);
    assert_eq!((&shown()["opt_in"], &shown()["rejected"]), (&true.into(), &true.into()));
    assert!(!laptop.run(&["status"]).stdout.contains("kinsync domains show journal"));
    assert_eq!(laptop.run(&["domains", "accept", "journal"]).code, 0);
    assert_eq!((&shown()["opt_in"], &shown()["asks"]), (&false.into(), &Value::Null));
    assert_eq!(laptop.run(&["domains", "accept", "journal"]).code, 1);
}

/// F11: the page that teaches domains does what it says.
#[test]
fn the_worked_example_works() {
    let page = include_str!("../../../docs/domains.md");
    let device = Device::named("desktop");
    let mut blocks = page.split("\n```");
    let mut commands = 0;
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        let (kind, text) = block.split_once('\n').unwrap_or_default();
        if let Some(name) = kind.strip_prefix("toml file=") {
            file(&device, name, text);
        }
        if kind != "console" {
            continue;
        }
        for step in text.split("\n$ ").map(|step| step.trim_start_matches("$ ")) {
            let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
            let (input, command) = match command.split_once(" | ") {
                Some((echo, command)) => (echo.trim_start_matches("echo ").trim_matches('\''), command),
                None => ("", command),
            };
            let in_home = |word: &str| match word.ends_with(".toml") {
                true => device.home().join(word).display().to_string(),
                false => word.to_owned(),
            };
            let words: Vec<_> = command.split_whitespace().skip(1).map(in_home).collect();
            let ended = device.run_with(&words, input);
            let said = ended.stdout + &ended.stderr;
            commands += 1;
            if !expected.is_empty() {
                assert_eq!(said.trim_end(), expected.trim_end(), "{command}");
            }
        }
    }
    assert_eq!(commands, 7, "the example was not found");
}

/// I25, I28: the same memory written on two devices is one record on both.
#[test]
fn a_memory_written_twice_is_one_record() {
    let [desktop, laptop] = ["desktop", "laptop"].map(Node::on_loopback);
    let memory = r#"{"project":"boat","source":"chat","content":"The tide turns at six."}"#;
    for node in [&desktop, &laptop] {
        let ended = node.device().run_with(["put", "memories", "-"], memory);
        assert!(
            ended.code == 0 && ended.stdout.starts_with("memories/216487ed197836afabe2d7f3c3dfae78 "),
            "{}",
            ended.stderr
        );
    }
    pair(&desktop, &laptop, Some(desktop.address()));
    until("both hold the same", || (laptop.run(&["sync", "desktop"]).code == 0).then_some(()));
    assert_eq!((desktop.count("memories"), laptop.count("memories")), (1, 1));
    let wrong = desktop.device().run_with(["put", "memories", "mine"], memory);
    assert!(wrong.code == 1 && wrong.stderr.contains("[wrong-id]"), "{}", wrong.stderr);
}

/// F19, F20: each device has its own settings, and what is excluded stays.
#[test]
fn what_is_of_one_device_stays_its_own() {
    let [desktop, laptop] = ["desktop", "laptop"].map(Node::on_loopback);
    pair(&desktop, &laptop, Some(desktop.address()));
    for (node, theme) in [(&desktop, "\"dark\""), (&laptop, "\"light\"")] {
        node.put("device-settings", "theme", theme);
    }
    desktop.put("presets", "builtin", r#"{"builtin":true}"#);
    until("both hold the same", || {
        let synced = laptop.run(&["sync", "desktop"]).code == 0;
        (synced && laptop.count("device-settings") == 2).then_some(())
    });
    assert_eq!(desktop.device().print(["get", "device-settings", "theme"]), "\"dark\"");
    assert_eq!(laptop.device().print(["get", "device-settings", "theme"]), "\"light\"");
    let listed = laptop.run(&["list", "device-settings"]).stdout;
    assert!(listed.contains("  desktop\n") && listed.contains("  laptop\n"), "{listed}");
    let others = laptop.json(&["status"])["self"]["id"].as_str().map(|id| format!("{id}/theme"));
    let refused = desktop.device().run_with(["put", "device-settings", &others.expect("an id")], "1");
    assert!(refused.code == 4 && refused.stderr.contains("[not-owner]"), "{}", refused.stderr);
    assert_eq!((desktop.count("presets"), laptop.count("presets")), (0, 0));
    assert!(desktop.run(&["list", "presets"]).stdout.starts_with("builtin "));
    assert_eq!(laptop.run(&["get", "presets", "builtin"]).code, 1);
}

/// D5: records of a kind that nobody declared here wait and are passed on;
/// the declaration is all that has to come.
#[test]
fn what_waited_for_a_declaration_does_not_travel_again() {
    let [desktop, mut laptop] = ["desktop", "laptop"].map(Node::on_loopback);
    // A file of one device is not shared: the other one does not know it.
    fs::create_dir(desktop.device().home().join("domains")).expect("created");
    let text = "name = \"charts\"\n[value]\ntype = \"object\"\n";
    file(desktop.device(), "domains/charts.toml", text);
    assert_eq!(desktop.run(&["domains"]).code, 0, "it is read");
    for number in 0..5 {
        desktop.put("charts", &format!("c{number}"), "{}");
    }
    pair(&desktop, &laptop, Some(desktop.address()));
    until("they wait on the laptop", || (waiting(&laptop) == 5).then_some(()));
    assert_eq!(laptop.run(&["get", "charts", "c0"]).code, 2);
    // With no node there is nobody to fetch anything from.
    laptop.down();
    let path = file(laptop.device(), "charts.toml", text);
    assert_eq!(laptop.run(&["domains", "add", &path]).code, 0);
    assert_eq!((waiting(&laptop), laptop.count("charts")), (0, 5));
    assert_eq!(laptop.device().print(["get", "charts", "c0"]), "{}");
}

/// How many records wait on a device.
fn waiting(node: &Node) -> u64 {
    let status = node.json(&["status"]);
    let rows = status["domains"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["waiting"].as_u64().unwrap_or_default()).sum()
}
