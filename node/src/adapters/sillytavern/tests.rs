//! Whole folders, made here, and a real one where there is one.

use assert_matches::assert_matches;
use tempfile::TempDir;

use super::super::png_text::fixture::{card, picture};
use super::*;

const PHONE: DeviceId = DeviceId([1; 32]);

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn import(files: &[(&str, &[u8])]) -> Import {
    read_all(folder(files).path(), &PHONE).unwrap()
}

/// `domain:key` of every record.
fn names(import: &Import) -> Vec<String> {
    import.records.iter().map(|entry| format!("{}:{}", entry.domain, entry.key)).collect()
}

fn value(import: &Import, domain: &str, key: &str) -> Value {
    let entry = import.records.iter().find(|entry| entry.domain == domain && entry.key == key).unwrap();
    serde_json::from_slice(&entry.value).unwrap()
}

fn lines(import: &Import) -> Vec<String> {
    import.skipped.iter().map(Skipped::to_string).collect()
}

/// One file of every kind.
fn everything() -> Vec<(&'static str, Vec<u8>)> {
    let chat = concat!(
        r#"{"user_name":"User","character_name":"Ada","chat_metadata":{"note":"x"}}"#,
        "\n",
        r#"{"name":"Ada","is_user":false,"mes":"Hello","send_date":"2025-10-04T12:00:00Z"}"#,
        "\n",
        r#"{"name":"User","is_user":true,"mes":"Hi","send_date":"2025-10-04T12:00:09Z"}"#,
        "\n",
    );
    vec![
        ("characters/Ada.png", picture(&[card("chara", r#"{"name":"Ada","spec":"chara_card_v2"}"#)])),
        ("characters/Bo.json", br#"{"name":"Bo"}"#.to_vec()),
        ("worlds/Eldoria.json", br#"{"entries":{}}"#.to_vec()),
        ("TextGen Settings/Naive.json", br#"{"temp":0.98}"#.to_vec()),
        ("KoboldAI Settings/Godlike.settings", b"{}".to_vec()),
        ("instruct/ChatML.json", b"{}".to_vec()),
        ("sysprompt/Actor.json", br#"{"name":"Actor"}"#.to_vec()),
        ("groups/17.json", br#"{"id":"17","chats":["17"]}"#.to_vec()),
        ("group chats/17.jsonl", br#"{"mes":"x","send_date":1000}"#.to_vec()),
        ("chats/Ada/Ada - 2025.jsonl", chat.as_bytes().to_vec()),
        ("settings.json", br#"{"username":"User","main_api":"openai","api_key":"sk-1"}"#.to_vec()),
        ("backgrounds/a.jpg", vec![0xff]),
        ("characters/Ada/joy.png", vec![0]),
    ]
}

fn borrowed<'a>(files: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    files.iter().map(|(path, content)| (*path, content.as_slice())).collect()
}

/// P19, D24: every kind of content becomes records of its own domain.
#[test]
fn every_kind_of_file_becomes_records_of_its_domain() {
    let files = everything();
    let import = import(&borrowed(&files));
    let expected = [
        "presets:kobold/Godlike",
        "presets:textgen/Naive",
        "characters:Ada",
        "characters:Bo",
        "chats:Ada/Ada - 2025",
        "messages:Ada/Ada - 2025/1759579200000-c0",
        "messages:Ada/Ada - 2025/1759579209000-u0",
        "chats:group chats/17",
        "messages:group chats/17/0000000001000-c0",
        "chats:groups/17",
        "presets:instruct/ChatML",
        "settings:username",
        "device-settings:",
        "prompts:sysprompt/Actor",
        "lorebooks:Eldoria",
    ]
    .map(str::to_owned);
    let mut names = names(&import);
    let device_settings = names.iter_mut().find(|name| name.starts_with("device-settings:")).unwrap();
    assert_eq!(*device_settings, format!("device-settings:{}/main_api", PHONE));
    device_settings.truncate("device-settings:".len());
    assert_eq!(names, expected);
    assert_eq!(lines(&import), Vec::<String>::new());
    assert_eq!((import.counts.files, import.counts.ignored, import.counts.credentials), (11, 2, 1));
    assert_eq!(import.counts.records.values().sum::<u64>(), names.len() as u64);
    let message = value(&import, "messages", "Ada/Ada - 2025/1759579209000-u0");
    assert_eq!(message["mes"], "Hi");
    assert_eq!(message["parent"], "Ada/Ada - 2025");
    assert_eq!(message["order"], "017595792090000000");
}

/// D24: reading twice gives the same keys and the same bytes.
#[test]
fn reading_twice_gives_the_same_items() {
    let files = everything();
    let dir = folder(&borrowed(&files));
    let once = read_all(dir.path(), &PHONE).unwrap();
    assert_eq!(read_all(dir.path(), &PHONE).unwrap(), once);
    let mut keys: Vec<_> = once.records.iter().map(|entry| (entry.domain, &entry.key)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), once.records.len());
}

#[test]
fn a_card_is_its_json_and_the_name_of_its_picture() {
    let both = picture(&[card("chara", r#"{"z":1,"a":2}"#), card("ccv3", r#"{"spec":"chara_card_v3"}"#)]);
    let broken_new = picture(&[card("ccv3", "{"), card("chara", r#"{"z":1,"a":2}"#)]);
    let import = import(&[("characters/A.PNG", &both), ("characters/B.png", &broken_new)]);
    assert_eq!(value(&import, "characters", "A")["spec"], "chara_card_v3");
    assert_eq!(value(&import, "characters", "A")["picture"]["file"], "A.PNG");
    let bytes = picture(&[]).len();
    assert_eq!(value(&import, "characters", "A")["picture"]["bytes"], bytes);
    let text = String::from_utf8(import.records[1].value.clone()).unwrap();
    assert!(text.starts_with(r#"{"z":1,"a":2,"picture":{"file":"B.png","sha256":""#), "{text}");
}

/// D24: one clear line per broken file, and no other file harmed.
#[test]
fn a_broken_file_is_one_line_and_harms_no_other() {
    let mut flipped = picture(&[card("chara", "{}")]);
    let place = flipped.len() - 20;
    flipped[place] ^= 1;
    let import = import(&[
        ("characters/1.png", &flipped),
        ("characters/2.png", &picture(&[])),
        ("characters/3.png", b""),
        ("characters/4.png", b"GIF89a then something"),
        ("characters/5.png", &picture(&[card("chara", "[]")])),
        ("characters/6.png", &picture(&[card("chara", r#"{"name":"fine"}"#)])),
        ("chats/A/1.jsonl", b"{\"chat_metadata\":{}}\n{\"mes\":\n[1]\n{\"mes\":\"fine\"}\n"),
        ("chats/A/2.jsonl", b""),
        ("chats/A/3.jsonl", b"\xff\xfe\n{\"mes\":\"fine\"}"),
        ("worlds/1.json", b"{\n  \"entries\": {"),
        ("worlds/2.json", b"\xff{}"),
        ("worlds/3.json", b"{}"),
    ]);
    let expected = [
        "characters/1.png: broken picture: wrong checksum in chunk tEXt",
        "characters/2.png: no character data in this picture",
        "characters/3.png: broken picture: the file ends too early",
        "characters/4.png: broken picture: not a PNG file",
        "characters/5.png: JSON, but not an object",
        "chats/A/1.jsonl: line 2: the JSON ends too early (line 2, column 7) (and 1 more line)",
        "chats/A/2.jsonl: the file is empty",
        "chats/A/3.jsonl: line 1: not valid UTF-8",
        "worlds/1.json: the JSON ends too early (line 2, column 14)",
        "worlds/2.json: not valid UTF-8",
    ];
    assert_eq!(lines(&import), expected);
    let counts: Vec<_> = import.counts.records.into_iter().collect();
    // A conversation whose header cannot be read gives its messages alone.
    assert_eq!(counts, [("characters", 1), ("chats", 1), ("lorebooks", 1), ("messages", 2)]);
    assert_eq!(import.counts.skipped, 10);
}

/// D24: secrets are skipped, whatever they hold and wherever they are.
#[test]
fn nothing_named_secret_is_opened() {
    let files: Vec<(&str, &[u8])> = vec![
        ("settings.json", b"{}"),
        ("secrets.json", br#"{"api_key_openai":"sk-1"}"#),
        ("SECRET/characters/x.json", b"{}"),
        ("worlds/Secret plans.json", br#"{"entries":{}}"#),
        ("chats/secretary/1.jsonl", br#"{"mes":"x"}"#),
        ("backgrounds/secret.jpg", b"x"),
    ];
    let dir = folder(&files);
    // A folder in the place of a file would be an error if it were opened.
    fs::remove_file(dir.path().join("secrets.json")).unwrap();
    fs::create_dir(dir.path().join("secrets.json")).unwrap();
    let import = read_all(dir.path(), &PHONE).unwrap();
    assert_eq!(import.records, []);
    let mut lines = lines(&import);
    lines.sort();
    let expected = ["SECRET", "chats/secretary", "secrets.json", "worlds/Secret plans.json"];
    assert_eq!(lines, expected.map(|path| format!("{path}: named as a secret, never opened")));
    assert_eq!(import.counts.ignored, 0);
}

/// D24: a provider's key leaves with no record.
#[test]
fn no_credential_leaves_in_a_record() {
    let import = import(&[
        ("settings.json", br#"{"oai_settings":{"proxy_password":"hunter2","temp":1},"token":"hunter2"}"#),
        ("OpenAI Settings/Mine.json", br#"{"reverse_proxy":"https://a:hunter2@x","temp":1}"#),
    ]);
    assert_eq!(import.counts.credentials, 3);
    assert!(import.records.iter().all(|entry| !String::from_utf8_lossy(&entry.value).contains("hunter2")));
    assert_eq!(value(&import, "presets", "openai/Mine"), json!({"temp": 1}));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let outside = folder(&[("x.json", b"{}")]);
    let dir = folder(&[("settings.json", b"{}"), ("worlds/a.json", b"{}")]);
    std::os::unix::fs::symlink(outside.path().join("x.json"), dir.path().join("worlds/x.json")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("themes")).unwrap();
    let import = read_all(dir.path(), &PHONE).unwrap();
    assert_eq!(names(&import), ["lorebooks:a"]);
    let expected = ["themes: a symbolic link, not followed", "worlds/x.json: a symbolic link, not followed"];
    assert_eq!(lines(&import), expected);
}

#[test]
fn hidden_and_backup_files_are_ignored() {
    let import = import(&[
        ("settings.json", b"{}"),
        ("worlds/.hidden.json", b"{"),
        ("worlds/a.json.bak", b"{"),
        ("worlds/a.json~", b"{"),
        ("worlds/notes.txt", b"x"),
        ("backups/b/c/chat.jsonl", b"{"),
    ]);
    assert_eq!((names(&import).len(), lines(&import).len(), import.counts.ignored), (0, 0, 5));
}

#[test]
fn a_value_at_the_limit_is_read_and_one_over_it_is_a_line() {
    let book = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)).into_bytes();
    let chat = [&b"{\"mes\":\"fine\"}\n"[..], &book(VALUE_BYTES_MAX)].concat();
    let import = import(&[
        ("worlds/fits.json", &book(VALUE_BYTES_MAX)),
        ("worlds/over.json", &book(VALUE_BYTES_MAX + 1)),
        ("chats/A/1.jsonl", &chat),
    ]);
    assert_eq!(import.counts.records.get("lorebooks"), Some(&1));
    assert_eq!(import.counts.records.get("messages"), Some(&1));
    let codes: Vec<_> = import.skipped.iter().map(|line| line.reason.code()).collect();
    assert_eq!(codes, ["lines", "value-too-large"]);
    assert_eq!(lines(&import)[1], "worlds/over.json: over has 1048577 bytes, the limit is 1048576");
}

#[test]
fn a_file_over_its_limit_is_a_line_and_is_not_read() {
    let dir = folder(&[("worlds/a.json", b"{}"), ("characters/a.png", b""), ("chats/A/1.jsonl", b"")]);
    for (path, limit) in [
        ("worlds/a.json", JSON_FILE_BYTES_MAX),
        ("characters/a.png", PICTURE_FILE_BYTES_MAX),
        ("chats/A/1.jsonl", CHAT_FILE_BYTES_MAX),
    ] {
        // A file with a hole: large, and nothing on the disk.
        let file = File::options().write(true).open(dir.path().join(path)).unwrap();
        file.set_len(limit + 1).unwrap();
    }
    let import = read_all(dir.path(), &PHONE).unwrap();
    let codes: Vec<_> = import.skipped.iter().map(|line| line.reason.code()).collect();
    assert_eq!(codes, ["file-too-large"; 3]);
    assert_eq!(import.records, []);
}

#[test]
fn of_two_files_for_one_record_the_picture_counts() {
    let import = import(&[
        ("characters/Ada.json", br#"{"from":"json"}"#),
        ("characters/Ada.png", &picture(&[card("chara", r#"{"from":"png"}"#)])),
    ]);
    assert_eq!(value(&import, "characters", "Ada")["from"], "png");
    assert_eq!(lines(&import), ["characters/Ada.json: Ada was already read from another file"]);
}

#[test]
fn every_key_fits_whatever_the_names() {
    let long = "n".repeat(200);
    let path = format!("chats/{long}/{long}.jsonl");
    let reserved = "chats/group chats/x.jsonl";
    let import = import(&[
        (&path, b"{\"mes\":\"x\",\"send_date\":\"yesterday\"}"),
        (reserved, b"{\"mes\":\"x\"}"),
        ("group chats/x.jsonl", b"{\"mes\":\"y\"}"),
        ("worlds/a\nb.json", b"{}"),
    ]);
    assert_eq!(import.records.len(), 7);
    let key_is_fine = |key: &str| key.len() <= 256 && !key.chars().any(char::is_control);
    assert!(import.records.iter().all(|entry| key_is_fine(&entry.key)), "{:?}", names(&import));
}

#[test]
fn a_line_for_people_has_no_control_characters() {
    let import = import(&[("worlds/a\n\u{1b}[31m.json", b"{")]);
    assert!(lines(&import).iter().all(|line| !line.chars().any(char::is_control)));
}

#[test]
fn the_application_folder_and_its_data_folder_are_accepted() {
    let one = folder(&[
        ("app/package.json", b"{}"),
        ("app/default/settings.json", b"{}"),
        ("app/data/default-user/worlds/a.json", b"{}"),
        ("app/data/_storage/chats/x.json", b"{}"),
    ]);
    for place in ["app", "app/data", "app/data/default-user"] {
        let import = read_all(&one.path().join(place), &PHONE).unwrap();
        assert_eq!(names(&import), ["lorebooks:a"]);
        assert_eq!(import.folder, one.path().join("app/data/default-user"));
    }
    let old = folder(&[("public/worlds/a.json", b"{}")]);
    assert_eq!(read_all(old.path(), &PHONE).unwrap().folder, old.path().join("public"));
}

#[test]
fn a_folder_of_several_users_is_asked_about() {
    let dir = folder(&[("data/ada/worlds/a.json", b"{}"), ("data/default-user/worlds/a.json", b"{}")]);
    let error = read_all(dir.path(), &PHONE).unwrap_err();
    assert_matches!(error, FolderError::SeveralUsers { users, .. } if users == ["data/ada", "data/default-user"]);
}

#[test]
fn a_folder_without_such_data_says_what_to_name() {
    let dir = folder(&[("pictures/a.png", b"x")]);
    let error = read_all(dir.path(), &PHONE).unwrap_err();
    assert!(error.to_string().contains("name the folder with settings.json"), "{error}");
    let missing = read_all(&dir.path().join("missing"), &PHONE).unwrap_err();
    assert_matches!(missing, FolderError::Unreadable { .. });
}

#[test]
fn a_caller_that_fails_ends_the_reading_at_once() {
    let files = everything();
    let dir = folder(&borrowed(&files));
    let mut seen = 0;
    let ended = read::<Stop>(dir.path(), &PHONE, |_| {
        seen += 1;
        if seen == 3 { Err(Stop::Full) } else { Ok(()) }
    });
    assert_matches!(ended, Err(Stop::Full));
    assert_eq!(seen, 3);
}

#[derive(Debug)]
enum Stop {
    Folder,
    Full,
}

impl From<FolderError> for Stop {
    fn from(_: FolderError) -> Self {
        Self::Folder
    }
}

/// P19, D24: a real library, where this machine has one.
///
/// `KINSYNC_SAMPLE_LIBRARY` names it; else a `shared/library` beside the
/// sources is taken.
#[test]
fn a_real_library_is_read_whole() {
    let named = std::env::var_os("KINSYNC_SAMPLE_LIBRARY").map(PathBuf::from);
    let beside = || {
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        above.map(|folder| folder.join("shared/library")).find(|folder| folder.is_dir())
    };
    let Some(library) = named.or_else(beside) else { return };

    let import = read_all(&library, &PHONE).unwrap();
    assert_eq!(lines(&import), Vec::<String>::new());
    assert_eq!(read_all(&library, &PHONE).unwrap(), import);
    let counts: Vec<_> = import.counts.records.iter().map(|(domain, count)| (*domain, *count)).collect();
    let expected = [
        ("characters", 1),
        ("device-settings", 13),
        ("lorebooks", 1),
        ("personas", 1),
        ("presets", 125),
        ("prompts", 12),
        ("settings", 16),
    ];
    assert_eq!(counts, expected);
    assert_eq!((import.counts.files, import.counts.ignored, import.counts.credentials), (140, 5, 2));
    let seraphina = value(&import, "characters", "Seraphina");
    assert_eq!(seraphina["name"], "Seraphina");
    assert_eq!(seraphina["data"]["tags"].as_array().map(Vec::is_empty), Some(true));
    assert_eq!(value(&import, "personas", "user-default.png")["name"], "User");
    assert!(value(&import, "lorebooks", "Eldoria")["entries"].is_object());
}
