//! The pages say what is so: files that they name exist, tests that they cite show what they are cited for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders that hold Rust.
const CRATES: [&str; 5] = ["protocol", "store", "node", "cli", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder, as paths from the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else {
                found.push(path.to_str().expect("a plain name").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<String> {
    let named = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned);
    named.into_iter().chain(files("docs").into_iter().filter(|path| path.ends_with(".md"))).collect()
}

/// What stands in code marks on the lines of a page outside of its blocks.
fn marked(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in page.lines() {
        let fence = line.starts_with("```");
        in_block ^= fence;
        if !in_block && !fence {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut all: Vec<String> =
        CRATES.iter().chain(&["docs", "scripts"]).flat_map(|crate_| files(crate_)).collect();
    all.extend(["deny.toml", "clippy.toml", "Cargo.toml"].map(str::to_owned));
    let mut lost = Vec::new();
    for path in pages() {
        let page = read(&path);
        for name in marked(&page) {
            let is_file =
                [".rs", ".toml"].iter().any(|end| name.ends_with(end)) && !name.contains([' ', '*', '~']);
            let end = format!("/{name}");
            if is_file && !all.iter().any(|file| file == name || file.ends_with(&end)) {
                lost.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(lost.is_empty(), "files that do not exist:\n{}", lost.join("\n"));
}

/// Every test of a file: its name, and what its doc comment says.
fn tests_of(source: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut comment = String::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else {
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            if let (Some(name), true) = (name, is_test) {
                found.push((name, comment.clone()));
            }
            comment.clear();
            is_test = false;
        }
    }
    found
}

/// The promises that a comment cites: `P22`, `D8`.
fn cited(comment: &str) -> BTreeSet<&str> {
    let words = comment.split(|symbol: char| !symbol.is_ascii_alphanumeric());
    words.filter(|word| is_promise(word)).collect()
}

fn is_promise(word: &str) -> bool {
    let mut symbols = word.chars();
    let letter = symbols.next().is_some_and(|letter| "PLSFID".contains(letter));
    letter && (2..=3).contains(&word.len()) && symbols.all(|symbol| symbol.is_ascii_digit())
}

/// The rows of the promises: id, and the tests that show it as file and name.
fn promises(page: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut rows = Vec::new();
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, _, tests] = cells[..] else { continue };
        if is_promise(id) {
            let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
            rows.push((id, names.iter().filter_map(|name| name.split_once("::")).collect()));
        }
    }
    rows
}

#[test]
fn every_promise_is_shown_by_the_tests_that_the_page_names() {
    let page = read("docs/promises.md");
    let rows = promises(&page);
    assert!(rows.len() > 30, "the table was not found");
    let ids: BTreeSet<_> = rows.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), rows.len(), "a promise stands there twice");
    let mut wrong = Vec::new();
    for (id, tests) in &rows {
        if tests.is_empty() {
            wrong.push(format!("{id}: no test"));
        }
        for (file, name) in tests {
            let source = read(file);
            let found = tests_of(&source).into_iter().find(|(test, _)| test == name);
            if !found.is_some_and(|(_, comment)| cited(&comment).contains(id)) {
                wrong.push(format!("{id}: {file} has no test {name} whose comment names it"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/promises.md:\n{}", wrong.join("\n"));
}

/// One task owns the swarm, so that nothing else can hold it up or change it.
#[test]
fn only_the_event_loop_drives_the_swarm() {
    let drives = |file: &String| {
        let source = read(file);
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        code.contains("select_next_some()")
    };
    let is_code = |file: &String| file.ends_with(".rs") && !file.contains("/tests");
    let found: Vec<_> = files("node/src").into_iter().filter(is_code).filter(drives).collect();
    assert_eq!(found, ["node/src/event_loop.rs"]);
}

#[test]
fn tests_and_what_they_cite_are_found() {
    let source = [
        "/// P22 D8: one\n/// two.\n#[test]\nfn a() {}\n",
        "/// P1: no test\nfn b() {}\n#[tokio::test]\nasync fn c() {}\n",
    ]
    .concat();
    let tests = tests_of(&source);
    assert_eq!(tests.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(Vec::from_iter(cited(&tests[0].1)), ["D8", "P22"]);
    assert_eq!(marked("a `b.rs` c\n```\n`d.rs`\n```\n"), ["b.rs"]);
}
