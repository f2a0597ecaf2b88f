//! Where the data is: the folder named, or one below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::FolderError;
use super::{FOLDERS, SETTINGS_FILE};

/// Where installations keep the data of their only user, below their own folder.
const USUAL_PLACES: &[&str] = &["default-user", "data/default-user", "public"];

/// Where installations keep a folder for each user.
const FOLDERS_OF_USERS: &[&str] = &[".", "data"];

/// Returns the folder with the data of one user: `dir` itself, or a folder
/// inside it when `dir` is the application's folder or its `data`.
pub(super) fn locate(dir: &Path) -> Result<PathBuf, FolderError> {
    let unreadable = |source: io::Error| FolderError::Unreadable { path: dir.to_owned(), source };
    fs::read_dir(dir).map_err(unreadable)?;

    if is_data(dir) {
        return Ok(dir.to_owned());
    }
    let mut users: Vec<String> = Vec::new();
    for place in FOLDERS_OF_USERS {
        let Ok(entries) = fs::read_dir(dir.join(place)) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // `_storage` and its like hold the application's own state.
            if !is_folder || name.starts_with(['.', '_']) || super::is_secret(&name) {
                continue;
            }
            // The application's own folder holds what a new user starts with.
            if *place == "." && name == "default" && dir.join("package.json").is_file() {
                continue;
            }
            if is_data(&entry.path()) {
                users.push(if *place == "." { name } else { format!("{place}/{name}") });
            }
        }
    }
    users.sort();
    match &users[..] {
        [] => Err(FolderError::NotRecognised { path: dir.to_owned(), application: "SillyTavern" }),
        [only] => Ok(dir.join(only)),
        // The user made at the first start is not another user beside `public`.
        _ => match users.iter().filter(|user| !USUAL_PLACES.contains(&user.as_str())).count() {
            0 => {
                let usual = USUAL_PLACES.iter().find(|place| users.iter().any(|user| user == *place));
                Ok(dir.join(usual.unwrap_or(&".")))
            }
            _ => Err(FolderError::SeveralUsers { path: dir.to_owned(), users }),
        },
    }
}

/// Whether something in `dir` is named as in a data folder.
fn is_data(dir: &Path) -> bool {
    let is = |name: &str, folder: bool| {
        fs::symlink_metadata(dir.join(name))
            .is_ok_and(|found| if folder { found.is_dir() } else { found.is_file() })
    };
    is(SETTINGS_FILE, false) || FOLDERS.iter().any(|(name, _)| is(name, true))
}
