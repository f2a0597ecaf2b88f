//! What the compiler does not check about the source, as an ordinary test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders that hold Rust.
const CRATES: [&str; 5] = ["protocol", "store", "node", "cli", "tests"];

/// What rustfmt leaves alone, comments and literals, still has to fit a window.
const LINE_WIDTH_MAX: usize = 120;

/// What the code of a folder leaves to others, and why. Does not hold for its tests.
const FORBIDDEN: [(&str, &[&str], &str); 4] = [
    (
        "protocol/src",
        &[
            "tokio",
            "libp2p",
            "redb",
            "std::fs",
            "std::net",
            "std::env",
            "std::thread",
            "std::process",
            "SystemTime",
            "Instant::now",
            "OsRng",
            "fastrand",
            "getrandom::",
        ],
        "protocol is pure: bytes, time and randomness are arguments",
    ),
    (
        "store/src",
        &[
            "tokio",
            "libp2p",
            "async fn",
            ".await",
            "std::net",
            "std::env",
            "SystemTime",
            "Instant::now",
            "OsRng",
            "fastrand",
            "getrandom::",
        ],
        "store is synchronous; time and randomness are arguments",
    ),
    (
        "node/src",
        &["clap::", "redb::", "env::args", "env::var", "env::vars"],
        "node is embedded: arguments, variables and database belong to others",
    ),
    ("cli/src", &["libp2p::", "redb::"], "cli asks the node"),
];

/// The one file that may pause a thread: it waits for an event and gives up after a limit.
const MAY_SLEEP: &str = "tests/src/wait.rs";

/// One breach, where an editor can jump to it.
#[derive(Debug, Eq, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    text: String,
}

/// One source file, and the same text with comments and the contents of literals blanked out.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_only(text) }
    }

    fn finding(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, text: text.into() }
    }

    /// Numbered lines of code, comments and literals blank.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line at which the tests of this file begin.
    fn tests_begin(&self) -> usize {
        let whole = self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("tests/");
        let marker = self.code_lines().find(|(_, line)| line.trim() == "#[cfg(test)]");
        if whole { 1 } else { marker.map_or(usize::MAX, |(line, _)| line) }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in CRATES {
        collect(&root().join(folder), &mut paths);
    }
    let read = |path: PathBuf| {
        let relative =
            path.strip_prefix(root()).expect("collected below the root").to_str().expect("a plain name");
        Source::new(relative, &std::fs::read_to_string(&path).unwrap())
    };
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// `text` with comments and the contents of string and character literals replaced by blanks, line by line.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let ahead =
        |at: usize, pattern: &str| pattern.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    while at < bytes.len() {
        let end = if ahead(at, "//") {
            (at..bytes.len()).find(|&i| bytes[i] == '\n').unwrap_or(bytes.len())
        } else if ahead(at, "/*") {
            block_comment_end(&bytes, at)
        } else if let Some(hashes) = raw_string(&bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + 2 + hashes;
            (body..bytes.len()).find(|&i| ahead(i, &close)).map_or(bytes.len(), |i| i + close.len())
        } else if bytes[at] == '"' {
            literal_end(&bytes, at, '"')
        } else if bytes[at] == '\'' && (bytes.get(at + 1) == Some(&'\\') || bytes.get(at + 2) == Some(&'\''))
        {
            literal_end(&bytes, at, '\'')
        } else {
            code.push(bytes[at]);
            at += 1;
            continue;
        };
        code.extend(bytes[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

fn block_comment_end(bytes: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at..bytes.len().min(at + 2)] {
            ['/', '*'] => (depth, at) = (depth + 1, at + 2),
            ['*', '/'] if depth == 1 => return at + 2,
            ['*', '/'] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn literal_end(bytes: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == '\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

/// How many hashes open the raw string at `at`, if one begins there.
fn raw_string(bytes: &[char], at: usize) -> Option<usize> {
    let inside_a_name =
        at > 0 && (bytes[at - 1].is_alphanumeric() || bytes[at - 1] == '_') && bytes[at - 1] != 'b';
    if bytes[at] != 'r' || inside_a_name {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&c| c == '#').count();
    (bytes.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Whether `line` names `word`, not as part of a longer name.
fn names(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back().is_some_and(in_name) && word.starts_with(in_name);
        let after = line[start + word.len()..].chars().next().is_some_and(in_name) && word.ends_with(in_name);
        !before && !after
    })
}

/// A line around one unbreakable word, such as golden bytes or a link, may be wider.
fn too_wide(source: &Source) -> Vec<Finding> {
    let wide = |(index, line): (usize, &str)| {
        let width = line.chars().count();
        let unbreakable = line.split_whitespace().any(|word| word.len() > LINE_WIDTH_MAX / 2);
        let text = format!("{width} columns, at most {LINE_WIDTH_MAX}");
        (width > LINE_WIDTH_MAX && !unbreakable).then(|| source.finding(index + 1, text))
    };
    source.text.lines().enumerate().filter_map(wide).collect()
}

fn without_purpose(source: &Source) -> Vec<Finding> {
    let purpose = source.text.starts_with("//!");
    if purpose { Vec::new() } else { vec![source.finding(1, "begin with `//!` and what this file is for")] }
}

fn unnumbered_promise(source: &Source) -> Vec<Finding> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let lines = source.text.lines().enumerate();
    let open =
        |line: &str| words.iter().any(|word| names(line, word) && !line.contains(&format!("{word}(#")));
    lines
        .filter(|(_, line)| open(line))
        .map(|(index, _)| source.finding(index + 1, "write it as NAME(#number), or do it now"))
        .collect()
}

fn forbidden_import(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let tests_begin = source.tests_begin();
    for (folder, words, reason) in FORBIDDEN {
        if !source.path.starts_with(folder) {
            continue;
        }
        for (number, line) in source.code_lines().take_while(|(number, _)| *number < tests_begin) {
            let named = words.iter().filter(|word| names(line, word));
            found.extend(named.map(|word| source.finding(number, format!("names `{word}`: {reason}"))));
        }
    }
    found
}

/// Finds `matches!(…);` as a statement: its answer goes nowhere, so the test that holds it tests nothing.
fn answer_thrown_away(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (start, call) in source.code.match_indices("matches!(") {
        let before = source.code[..start].trim_end().chars().next_back();
        let mut depth = 0_usize;
        let end = source.code[start..].char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => return false,
            }
            depth == 0
        });
        let after = end.and_then(|(length, _)| source.code[start + length + 1..].chars().next());
        let named = source.code[..start].chars().next_back().is_some_and(|c| c == '_' || c.is_alphanumeric());
        if !named && after == Some(';') && matches!(before, Some(';' | '{' | '}')) {
            let line = source.code[..start].lines().count().max(1);
            found.push(source.finding(line, format!("the answer of `{call}…)` is thrown away: assert it")));
        }
    }
    found
}

fn in_tests(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    // Under tokio's paused clock a sleep is an event like any other.
    let tests_begin = source.tests_begin();
    let paused_clock = source.code.contains("start_paused");
    for (number, line) in source.code_lines() {
        if line.contains("#[ignore") {
            found.push(source.finding(number, "an ignored test shows nothing: make it pass or remove it"));
        }
        if line.contains("fn test_") {
            found.push(source.finding(number, "name the behaviour as a sentence, without `test_`"));
        }
        let pauses = line.contains("thread::sleep")
            || line.contains("time::sleep(") && !paused_clock && number >= tests_begin;
        // A measurement watches what happens while nothing does; it tests nothing.
        let measures = source.path.contains("/examples/");
        if pauses && !measures && source.path != MAY_SLEEP {
            found.push(
                source.finding(number, format!("a pause decides nothing: wait for the event ({MAY_SLEEP})")),
            );
        }
    }
    found
}

fn vague_name(source: &Source) -> Vec<Finding> {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let vague = ["util.rs", "utils.rs", "common.rs", "helper.rs", "helpers.rs", "misc.rs"].contains(&name);
    if vague { vec![source.finding(1, "this name hides a better noun")] } else { Vec::new() }
}

/// Finds files that no `mod` line leads to: they are not compiled, so nothing in them holds.
fn unreachable(sources: &[Source]) -> Vec<Finding> {
    let all: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let is_root = |path: &str| {
        let (_, inside) = path.split_once('/').unwrap_or_default();
        let own_target = ["benches/", "examples/", "tests/"]
            .iter()
            .filter_map(|folder| inside.strip_prefix(folder))
            .any(|rest| !rest.contains('/') || rest.ends_with("/main.rs") && rest.matches('/').count() == 1);
        own_target
            || ["src/lib.rs", "src/main.rs", "it/main.rs", "tests/it/main.rs", "build.rs"].contains(&inside)
    };
    let mut reached: BTreeSet<String> =
        all.iter().filter(|path| is_root(path)).map(|&path| path.to_owned()).collect();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let source = sources.iter().find(|source| source.path == path).expect("reached from the list");
        for child in children(source) {
            if all.contains(child.as_str()) && reached.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| source.finding(1, "no `mod` line leads here: the file is not compiled")).collect()
}

/// The files that the `mod` lines of `source` may mean.
fn children(source: &Source) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = name.trim_end_matches(".rs");
    let below =
        if ["lib", "main", "mod"].contains(&stem) { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut files = Vec::new();
    for (_, line) in source.code_lines() {
        let Some(module) = line.trim().strip_suffix(';').and_then(|line| line.rsplit_once("mod ")) else {
            continue;
        };
        files.push(format!("{below}/{}.rs", module.1));
        files.push(format!("{below}/{}/mod.rs", module.1));
    }
    files
}

fn findings(source: &Source) -> Vec<Finding> {
    [
        too_wide,
        without_purpose,
        unnumbered_promise,
        forbidden_import,
        answer_thrown_away,
        in_tests,
        vague_name,
    ]
    .iter()
    .flat_map(|rule| rule(source))
    .collect()
}

#[test]
fn the_source_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 5, "the source was not found below {}", root().display());
    let mut found: Vec<Finding> = sources.iter().flat_map(findings).collect();
    found.extend(unreachable(&sources));
    let list: Vec<_> =
        found.iter().map(|Finding { path, line, text }| format!("{path}:{line}: {text}")).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

const NOWHERE: [usize; 0] = [];

/// The lines of `text` that `rule` objects to.
fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
}

#[test]
fn a_forbidden_import_is_found_in_code_only() {
    let text = "//! tokio\nuse tokio::net;\nlet a = \"tokio\"; // tokio\nlet tokio_like = 1;\n";
    assert_eq!(lines(forbidden_import, "protocol/src/x.rs", text), [2]);
    assert_eq!(lines(forbidden_import, "store/src/x.rs", "async fn f() {\n    g().await\n}\n"), [1, 2]);
    assert_eq!(lines(forbidden_import, "cli/src/x.rs", "use libp2p::Swarm;\nuse redb::Table;\n"), [1, 2]);
    let with_tests = "use std::net::TcpStream;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
    assert_eq!(lines(forbidden_import, "protocol/src/x.rs", with_tests), [1]);
    assert_eq!(lines(forbidden_import, "node/src/x.rs", with_tests), NOWHERE);
}

#[test]
fn an_answer_thrown_away_is_found() {
    let text = [
        "fn f() {",
        "    matches!(a, Some(_));",
        "    assert!(matches!(a, Some(_)));",
        "    let b =",
        "        matches!(a, None);",
        "    assert_matches!(a, None);",
        "    matches!(",
        "        a,",
        "        Some(_)",
        "    );",
        "    matches!(a, None)",
        "}",
    ]
    .join("\n");
    assert_eq!(lines(answer_thrown_away, "store/src/x.rs", &text), [2, 7]);
}

#[test]
fn what_makes_a_test_worthless_is_found() {
    let text = "#[ignore]\nfn test_a() {}\nfn b() { std::thread::sleep(x) }\nlet c = \"#[ignore]\";\n";
    assert_eq!(lines(in_tests, "tests/it/x.rs", text), [1, 2, 3]);
    assert_eq!(lines(in_tests, MAY_SLEEP, "thread::sleep(x);\n"), NOWHERE);
    assert_eq!(
        lines(in_tests, "node/src/x.rs", "time::sleep(x).await;\n#[cfg(test)]\ntime::sleep(x);\n"),
        [3]
    );
}

#[test]
fn width_purpose_and_open_promises_are_found() {
    let words = format!("{}ä", "xä x".repeat(LINE_WIDTH_MAX / 4));
    let texts = [&words[..words.len() - 2], &words, &"ä".repeat(LINE_WIDTH_MAX + 1)].join("\n");
    assert_eq!(lines(too_wide, "cli/src/x.rs", &texts), [2]);
    assert_eq!(lines(without_purpose, "cli/src/x.rs", "use a;\n"), [1]);
    let promise = concat!("// TO", "DO later\n// TO", "DO(#12) later\n// FIX", "ME\n");
    assert_eq!(lines(unnumbered_promise, "cli/src/x.rs", promise), [1, 3]);
    assert_eq!(lines(vague_name, "cli/src/helpers.rs", ""), [1]);
}

#[test]
fn a_file_that_is_not_compiled_is_found() {
    let tree = [
        Source::new("store/src/lib.rs", "pub mod open;\n#[cfg(test)]\nmod tests;\n// mod gone;\n"),
        Source::new("store/src/open.rs", "mod migrate;\n"),
        Source::new("store/src/open/migrate.rs", ""),
        Source::new("store/src/tests.rs", ""),
        Source::new("store/src/gone.rs", ""),
        Source::new("store/examples/one.rs", ""),
        Source::new("tests/it/main.rs", "mod pairing;\n"),
        Source::new("tests/it/pairing.rs", ""),
        Source::new("tests/it/forgotten.rs", ""),
    ];
    let lost: Vec<_> = unreachable(&tree).into_iter().map(|finding| finding.path).collect();
    assert_eq!(lost, ["store/src/gone.rs", "tests/it/forgotten.rs"]);
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a /* b /* c */ d */ e \"f \\\" g\" r#\"h \" i\"# 'j' '\\'' &'k l // m\nn";
    let words: Vec<_> = code_only(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "e", "&'k", "l", "n"]);
    assert_eq!(code_only(text).lines().count(), text.lines().count());
}
