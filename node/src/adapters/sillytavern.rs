//! SillyTavern's data folder as records.
//!
//! | in the folder | domain | key |
//! |---|---|---|
//! | `characters/*.png`, `*.json` | `characters` | file stem |
//! | `worlds/*.json` | `lorebooks` | file stem |
//! | `TextGen Settings/*.json`, … | `presets` | `textgen/` file stem, … |
//! | `sysprompt/*.json` | `prompts` | `sysprompt/` file stem |
//! | `groups/*.json` | `chats` | `groups/` file stem |
//! | `chats/NAME/*.jsonl`: first line | `chats` | `NAME/` file stem |
//! | `group chats/*.jsonl`: first line | `chats` | `group chats/` file stem |
//! | their other lines | `messages` | chat key, birth time, speaker (see `chat.rs`) |
//! | `settings.json` | `settings`, `device-settings`, `personas` | see `settings.rs` |
//!
//! A card gives one record, its JSON plus `picture`: the file's name and the
//! SHA-256 and size of the picture without the card in it. The picture itself
//! is not read into a record.
//!
//! # What is never read
//!
//! Nothing whose name begins with `secret`, in any case, is opened, and no
//! symbolic link below the folder is followed. From settings, presets and
//! prompts, fields that hold credentials are left out (see `credential.rs`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::limits::VALUE_BYTES_MAX;
use serde_json::{Map, Value, json};

use super::{Counts, Entry, FolderError, Import, Item, Reason, Skipped, name, png_text};

mod birth;
mod chat;
mod credential;
mod json;
mod locate;
mod settings;
#[cfg(test)]
mod tests;

/// The largest JSON file that is read, in bytes: it is parsed at once, and
/// takes several times its size in memory while it is.
pub const JSON_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest picture that is read, in bytes; it passes through in pieces.
pub const PICTURE_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The largest conversation that is read, in bytes; it passes through line by
/// line, but the times of its messages are remembered.
pub const CHAT_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

const SETTINGS_FILE: &str = "settings.json";

/// What a folder of the application holds.
#[derive(Clone, Copy, Debug)]
enum Content {
    Cards,
    Chats,
    GroupChats,
    /// JSON files, one record each.
    Records {
        domain: &'static str,
        prefix: &'static str,
        /// Whether fields with credentials are looked for: in what people set,
        /// not in what they write.
        has_credentials: bool,
    },
}

const fn presets(prefix: &'static str) -> Content {
    Content::Records { domain: "presets", prefix, has_credentials: true }
}

/// The folders that are read; every other one is counted as ignored.
const FOLDERS: &[(&str, Content)] = &[
    ("KoboldAI Settings", presets("kobold/")),
    ("NovelAI Settings", presets("novelai/")),
    ("OpenAI Settings", presets("openai/")),
    ("QuickReplies", presets("quick-replies/")),
    ("TextGen Settings", presets("textgen/")),
    ("characters", Content::Cards),
    ("chats", Content::Chats),
    ("context", presets("context/")),
    ("group chats", Content::GroupChats),
    ("groups", Content::Records { domain: "chats", prefix: "groups/", has_credentials: false }),
    ("instruct", presets("instruct/")),
    ("movingUI", presets("moving-ui/")),
    ("reasoning", presets("reasoning/")),
    ("sysprompt", Content::Records { domain: "prompts", prefix: "sysprompt/", has_credentials: true }),
    ("themes", presets("theme/")),
    ("worlds", Content::Records { domain: "lorebooks", prefix: "", has_credentials: false }),
];

/// First parts of chat keys that no character's folder may take.
const RESERVED: &[&str] = &["group chats", "groups"];

/// Reads the folder `dir` and hands each record and each thing left out to
/// `each`, in an order that depends on the names alone.
///
/// `dir` may also be the application's folder or its `data`. Settings of the
/// device get keys under `device`. Reading twice gives the same items; whether
/// a record is new is for the caller to see. Holds one file in memory at a
/// time, of a conversation one line.
///
/// Returns the folder that was read, and the counts. Damaged files are
/// [`Item::Skipped`] and end nothing.
///
/// # Errors
///
/// [`FolderError`] before the first item, or what `each` returned, at once.
pub fn read<E: From<FolderError>>(
    dir: &Path,
    device: &DeviceId,
    each: impl FnMut(Item) -> Result<(), E>,
) -> Result<(PathBuf, Counts), E> {
    let root = locate::locate(dir)?;
    let mut walk =
        Walk { root, device: device.to_string(), counts: Counts::default(), keys: BTreeSet::new(), each };
    walk.root()?;
    Ok((walk.root, walk.counts))
}

/// Reads the folder `dir` at once; see [`read`].
///
/// # Errors
///
/// [`FolderError`] when there is nothing to read.
pub fn read_all(dir: &Path, device: &DeviceId) -> Result<Import, FolderError> {
    let (mut records, mut skipped) = (Vec::new(), Vec::new());
    let (folder, counts) = read::<FolderError>(dir, device, |item| {
        match item {
            Item::Entry(entry) => records.push(entry),
            Item::Skipped(line) => skipped.push(line),
        }
        Ok(())
    })?;
    Ok(Import { folder, records, skipped, counts })
}

/// Whether a file or folder with this name must never be opened.
fn is_secret(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("secret"))
}

/// Files that editors, systems and the application leave beside the real ones.
fn is_leftover(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".bak", ".backup", ".old", ".orig", ".swp", ".tmp", "~"];
    name.starts_with('.') || ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

/// The stem of a file name with one of these extensions, in any case.
fn stem<'a>(name: &'a str, extensions: &[&str]) -> Option<&'a str> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))).then_some(stem)
}

/// One pass over a folder.
struct Walk<F> {
    root: PathBuf,
    device: String,
    counts: Counts,
    /// The keys handed out, except those of messages.
    keys: BTreeSet<(&'static str, String)>,
    each: F,
}

/// Something in a folder that may be opened.
struct Found {
    name: String,
    /// Relative to the root.
    path: PathBuf,
    is_folder: bool,
}

impl<F, E> Walk<F>
where
    F: FnMut(Item) -> Result<(), E>,
{
    fn root(&mut self) -> Result<(), E> {
        for found in self.list(Path::new(""))? {
            let content = FOLDERS.iter().find(|(name, _)| *name == found.name).map(|(_, content)| *content);
            match content {
                Some(content) if found.is_folder => self.folder(&found.path, content)?,
                None if !found.is_folder && found.name == SETTINGS_FILE => self.settings(&found.path)?,
                Some(_) | None => self.ignore(found),
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, content: Content) -> Result<(), E> {
        let mut found = self.list(folder)?;
        if let Content::Cards = content {
            // Where a card is there twice, the one with the picture counts.
            found.sort_by_key(|found| stem(&found.name, &["png"]).is_none());
        }
        for found in found {
            match content {
                Content::Cards if !found.is_folder && stem(&found.name, &["png"]).is_some() => {
                    self.card(&found.path, stem(&found.name, &["png"]).unwrap_or_default())?;
                }
                Content::Cards if !found.is_folder && stem(&found.name, &["json"]).is_some() => {
                    let key = name::part(stem(&found.name, &["json"]).unwrap_or_default(), &[]);
                    self.json_file(&found.path, "characters", key, false)?;
                }
                Content::Chats if found.is_folder => {
                    let character = name::part(&found.name, RESERVED);
                    for file in self.list(&found.path)? {
                        match stem(&file.name, &["jsonl"]) {
                            Some(stem) if !file.is_folder => self.chat(&file.path, &character, stem)?,
                            Some(_) | None => self.ignore(file),
                        }
                    }
                }
                Content::GroupChats if !found.is_folder && stem(&found.name, &["jsonl"]).is_some() => {
                    self.chat(&found.path, "group chats", stem(&found.name, &["jsonl"]).unwrap_or_default())?;
                }
                Content::Records { domain, prefix, has_credentials }
                    if !found.is_folder && stem(&found.name, &["json", "settings"]).is_some() =>
                {
                    let stem = stem(&found.name, &["json", "settings"]).unwrap_or_default();
                    let key = format!("{prefix}{}", name::part(stem, &[]));
                    self.json_file(&found.path, domain, key, has_credentials)?;
                }
                Content::Cards | Content::Chats | Content::GroupChats | Content::Records { .. } => {
                    self.ignore(found);
                }
            }
        }
        Ok(())
    }

    /// Lists a folder in the order of the names, without what must not be
    /// opened; says so for each such thing, except for hidden files.
    fn list(&mut self, folder: &Path) -> Result<Vec<Found>, E> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) => {
                self.skip(folder, Reason::Unreadable(error.kind()))?;
                return Ok(Vec::new());
            }
        };
        let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                Ok(found) => names.push(found),
                Err(error) => self.skip(folder, Reason::Unreadable(error.kind()))?,
            }
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));

        let mut list = Vec::new();
        for (name, kind) in names {
            let path = folder.join(&name);
            let name = match name.into_string() {
                Ok(name) => name,
                // The visible part still tells a secret from a wrong name.
                Err(name) if is_secret(&name.to_string_lossy()) => {
                    self.skip(&path, Reason::Secret)?;
                    continue;
                }
                Err(_) => {
                    self.skip(&path, Reason::NameNotUtf8)?;
                    continue;
                }
            };
            if is_secret(&name) {
                self.skip(&path, Reason::Secret)?;
            } else if is_leftover(&name) {
                self.counts.ignored += 1;
            } else if kind.is_symlink() {
                self.skip(&path, Reason::Link)?;
            } else if kind.is_dir() || kind.is_file() {
                list.push(Found { name, path, is_folder: kind.is_dir() });
            } else {
                self.counts.ignored += 1;
            }
        }
        Ok(list)
    }

    /// Counts what is not read; looks into folders for their number of files only.
    fn ignore(&mut self, found: Found) {
        if !found.is_folder {
            self.counts.ignored += 1;
            return;
        }
        let mut open = vec![self.root.join(found.path)];
        while let Some(folder) = open.pop() {
            // What cannot be listed would not have been read either.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if is_secret(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(entry.path());
                } else {
                    self.counts.ignored += 1;
                }
            }
        }
    }

    fn card(&mut self, path: &Path, stem: &str) -> Result<(), E> {
        self.counts.files += 1;
        match self.read_card(path) {
            Ok(card) => self.record(path, "characters", name::part(stem, &[]), &Value::Object(card)),
            Err(reason) => self.skip(path, reason),
        }
    }

    /// The preferred card of a picture that can be read, with `picture` added.
    fn read_card(&self, path: &Path) -> Result<Map<String, Value>, Reason> {
        let file = self.open(path, PICTURE_FILE_BYTES_MAX)?;
        let picture = png_text::read(BufReader::new(file))?;
        let cards = picture.texts.iter().map(|text| json::object(&png_text::decode(text)?));
        let mut reason = Reason::NoCard;
        for card in cards {
            match card {
                Ok(mut card) => {
                    let hash = picture.sha256.iter().fold(String::new(), |mut text, byte| {
                        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
                        text
                    });
                    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
                    card.insert(
                        "picture".into(),
                        json!({"file": file, "sha256": hash, "bytes": picture.bytes}),
                    );
                    return Ok(card);
                }
                Err(error) if reason == Reason::NoCard => reason = error,
                Err(_) => {}
            }
        }
        Err(reason)
    }

    fn json_file(
        &mut self,
        path: &Path,
        domain: &'static str,
        key: String,
        has_credentials: bool,
    ) -> Result<(), E> {
        self.counts.files += 1;
        match self.read_json(path) {
            Ok(fields) => {
                let mut value = Value::Object(fields);
                if has_credentials {
                    self.counts.credentials += credential::remove(&mut value);
                }
                self.record(path, domain, key, &value)
            }
            Err(reason) => self.skip(path, reason),
        }
    }

    fn settings(&mut self, path: &Path) -> Result<(), E> {
        self.counts.files += 1;
        let mut value = match self.read_json(path) {
            Ok(fields) => Value::Object(fields),
            Err(reason) => return self.skip(path, reason),
        };
        self.counts.credentials += credential::remove(&mut value);
        let Value::Object(fields) = value else { return Ok(()) };
        for part in settings::split(fields, &self.device) {
            self.record(path, part.domain, part.key, &part.value)?;
        }
        Ok(())
    }

    fn chat(&mut self, path: &Path, folder: &str, stem: &str) -> Result<(), E> {
        self.counts.files += 1;
        let key = format!("{folder}/{}", name::part(stem, &[]));
        if self.keys.contains(&("chats", key.clone())) {
            return self.skip(path, Reason::SameKey { key });
        }
        let file = match self.open(path, CHAT_FILE_BYTES_MAX) {
            Ok(file) => file,
            Err(reason) => return self.skip(path, reason),
        };
        // A file that grows while it is read must not grow for ever.
        let mut chat = chat::Chat::new(BufReader::new(file.take(CHAT_FILE_BYTES_MAX)), &key);
        let mut left_out: Option<(u64, u64, Reason)> = None;
        let mut is_empty = true;
        loop {
            let (number, line) = match chat.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return self.skip(path, Reason::Unreadable(error.kind())),
            };
            is_empty = false;
            let done = match line {
                Ok(chat::Line::Header(header)) => self.entry("chats", key.clone(), &Value::Object(header))?,
                Ok(chat::Line::Message { id, value }) => {
                    self.entry("messages", format!("{key}/{id}"), &Value::Object(value))?
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = done {
                let (_, count, _) = left_out.get_or_insert((number, 0, reason));
                *count += 1;
            }
        }
        self.keys.insert(("chats", key));
        if is_empty {
            self.skip(path, Reason::Empty)?;
        }
        match left_out {
            Some((first, count, cause)) => {
                self.skip(path, Reason::Lines { first, count, cause: Box::new(cause) })
            }
            None => Ok(()),
        }
    }

    /// Opens a regular file of at most `limit` bytes.
    fn open(&self, path: &Path, limit: u64) -> Result<File, Reason> {
        let unreadable = |error: std::io::Error| Reason::Unreadable(error.kind());
        let file = File::open(self.root.join(path)).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        if bytes > limit { Err(Reason::FileTooLarge { bytes, limit }) } else { Ok(file) }
    }

    fn read_json(&self, path: &Path) -> Result<Map<String, Value>, Reason> {
        let file = self.open(path, JSON_FILE_BYTES_MAX)?;
        let mut bytes = Vec::new();
        // A file that grows between the look and the reading ends in the middle.
        file.take(JSON_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Reason::Unreadable(error.kind()))?;
        json::object(&bytes)
    }

    /// Hands out a record that a whole file, or a part of it, became.
    fn record(&mut self, path: &Path, domain: &'static str, key: String, value: &Value) -> Result<(), E> {
        if !self.keys.insert((domain, key.clone())) {
            return self.skip(path, Reason::SameKey { key });
        }
        match self.entry(domain, key, value)? {
            Ok(()) => Ok(()),
            Err(reason) => self.skip(path, reason),
        }
    }

    /// Hands out a record, or says why it cannot be one.
    fn entry(&mut self, domain: &'static str, key: String, value: &Value) -> Result<Result<(), Reason>, E> {
        let value = json::bytes(value);
        if value.len() > VALUE_BYTES_MAX {
            return Ok(Err(Reason::ValueTooLarge { key, bytes: value.len() }));
        }
        (self.each)(Item::Entry(Entry { domain, key, value }))?;
        *self.counts.records.entry(domain).or_default() += 1;
        Ok(Ok(()))
    }

    fn skip(&mut self, path: &Path, reason: Reason) -> Result<(), E> {
        self.counts.skipped += 1;
        (self.each)(Item::Skipped(Skipped { path: path.to_owned(), reason }))
    }
}
