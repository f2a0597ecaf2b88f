//! An application's folder on the command line.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::device::Device;

/// A folder with a little of everything that is read, and a damaged file.
fn folder(at: &Path) -> String {
    let data = at.join("library");
    for (path, text) in [
        ("settings.json", r#"{"theme":"dark","power_user":{"font_scale":1}}"#),
        ("worlds/Harbour.json", r#"{"entries":{}}"#),
        ("worlds/Broken.json", r#"{"entries":"#),
        ("characters/Pilot.json", r#"{"name":"Pilot"}"#),
        ("chats/Pilot/first.jsonl", "{\"user_name\":\"You\"}\n{\"name\":\"Pilot\",\"mes\":\"Ahoy\"}\n"),
        ("secrets.json", r#"{"api_key_openai":"sk-1"}"#),
        ("thumbnails/a.png", ""),
    ] {
        let path = data.join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("created");
        fs::write(path, text).expect("written");
    }
    data.display().to_string()
}

/// D23: a dry run counts and writes nothing; a second run changes nothing.
#[test]
fn an_import_counts_first_and_changes_nothing_twice() {
    let device = Device::named("desktop");
    let data = folder(device.home());
    let import = ["import", data.as_str(), "--as", "sillytavern"];
    assert_snapshot!(device.run(import.iter().chain(&["--dry-run"])).all(), @r"
    exit 0
    --- stdout
    HOME/library: 5 files read  (dry run: nothing was written)
      domain           new  changed  same
      characters         1        0     0
      chats              1        0     0
      device-settings    1        0     0
      lorebooks          1        0     0
      messages           1        0     0
      settings           2        0     0
    Left out, 2 times:
      secrets.json: named as a secret, never opened
      worlds/Broken.json: the JSON ends too early (line 1, column 11)
    1 file of other kinds not read.
    --- stderr
    ");
    assert_eq!(device.print(["list", "lorebooks"]), "");
    assert_snapshot!(device.run(import).all(), @r"
    exit 0
    --- stdout
    HOME/library: 5 files read
      domain           new  changed  same
      characters         1        0     0
      chats              1        0     0
      device-settings    1        0     0
      lorebooks          1        0     0
      messages           1        0     0
      settings           2        0     0
    Left out, 2 times:
      secrets.json: named as a secret, never opened
      worlds/Broken.json: the JSON ends too early (line 1, column 11)
    1 file of other kinds not read.
    --- stderr
    ");
    assert_snapshot!(device.run(import).all(), @r"
    exit 0
    --- stdout
    HOME/library: 5 files read
      domain           new  changed  same
      characters         0        0     1
      chats              0        0     1
      device-settings    0        0     1
      lorebooks          0        0     1
      messages           0        0     1
      settings           0        0     2
    Left out, 2 times:
      secrets.json: named as a secret, never opened
      worlds/Broken.json: the JSON ends too early (line 1, column 11)
    1 file of other kinds not read.
    --- stderr
    ");
    assert_eq!(device.print(["get", "lorebooks", "Harbour"]), r#"{"entries":{}}"#);
}

#[test]
fn programs_get_the_same_as_one_object() {
    let device = Device::named("desktop");
    let data = folder(device.home());
    let printed = device.print(["import", data.as_str(), "--as", "sillytavern", "--json"]);
    let imported: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(imported["dry_run"], false);
    let skipped = imported["skipped"].as_array().unwrap();
    assert!(skipped.iter().any(|skipped| skipped["path"] == "worlds/Broken.json"), "{printed}");
    assert!(!printed.contains("sk-1"));
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let device = Device::named("desktop");
    let empty = device.home().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_snapshot!(device.run(["import", empty.to_str().unwrap(), "--as", "sillytavern"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    HOME/empty holds no SillyTavern data; name the folder with
    settings.json, characters and chats in it. [not-recognised]
    ");
    assert_snapshot!(device.run(["import", "no-such-folder", "--as", "sillytavern"]).all(), @r"
    exit 2
    --- stdout
    --- stderr
    Cannot read the folder no-such-folder: No such file or directory (os error 2).
    [unreadable]
    ");
}
