//! Declarations as people write them: TOML, one domain a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use kinsync_protocol::declaration::{DECLARATION_BYTES_MAX, Declaration};

use super::shape::Shape;
use crate::failure::{Failure, Kind};

/// Reads a declaration from a file, with the schema that it may have in a
/// second file beside it.
///
/// What is wrong is told by the line and the key.
pub fn read(path: &Path) -> Result<Declaration, Failure> {
    let shown = path.display().to_string();
    let text = text(path)?;
    let mut declaration = parse(&text).map_err(|Wrong { line, what }| match line {
        Some(line) => bad(format!("{shown}, line {line}: {what}.")),
        None => bad(format!("{shown}: {what}.")),
    })?;
    if let Some(name) = declaration.value_file.take() {
        let beside = Path::new(&name);
        if beside.components().count() != 1 || beside.file_name().is_none() {
            return Err(bad(format!("{shown}: `value-file` names a file beside this one, not {name:?}.")));
        }
        let path = path.with_file_name(beside);
        let schema = self::text(&path)?;
        let schema = serde_json::from_str(&schema)
            .map_err(|error| bad(format!("{}: this is not JSON: {error}.", path.display())))?;
        declaration.value = Some(schema);
        check(&declaration).map_err(|what| bad(format!("{shown}: {what}.")))?;
    }
    Ok(declaration)
}

/// What is wrong with a text, and where as far as that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// The line, counted from one.
    pub line: Option<usize>,
    /// What it is, in words, without a full stop.
    pub what: String,
}

/// Reads and checks the text of a declaration.
pub fn parse(text: &str) -> Result<Declaration, Wrong> {
    let declaration: Declaration = toml::from_str(text).map_err(|error| {
        let what = error.message().trim_end_matches('.').replace('\n', " ");
        Wrong { line: error.span().map(|span| line_at(text, span.start)), what }
    })?;
    check(&declaration).map_err(|what| {
        let key = what.split('`').nth(1).unwrap_or_default();
        Wrong { line: line_of(text, key), what }
    })?;
    Ok(declaration)
}

/// Checks a declaration with its schema, if that is at hand.
pub fn check(declaration: &Declaration) -> Result<(), String> {
    declaration.check().map_err(|error| error.to_string())?;
    let schema = declaration.value.as_ref().map(Shape::new).transpose();
    schema.map_err(|error| format!("`value` is no JSON Schema: {error}"))?;
    let bytes = serde_json::to_vec(declaration).map_or(0, |bytes| bytes.len());
    if bytes > DECLARATION_BYTES_MAX {
        return Err(format!("it has {bytes} bytes, the limit is {DECLARATION_BYTES_MAX}"));
    }
    Ok(())
}

/// A declaration that cannot be used.
pub fn bad(message: String) -> Failure {
    Failure::new(Kind::BadDeclaration, message).hint("How a domain is declared:  docs/domains.md")
}

/// Reads a file that may hold no more than a declaration does.
fn text(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| Failure::io(format_args!("read {}", path.display()), error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    let limit = DECLARATION_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() > DECLARATION_BYTES_MAX {
        let limit = DECLARATION_BYTES_MAX;
        return Err(bad(format!("{} has more than {limit} bytes.", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| bad(format!("{} is not text.", path.display())))
}

fn line_at(text: &str, place: usize) -> usize {
    text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
}

/// The first line that begins with a key: `key = …`, `[key]`, `[[key]]`.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let key = key.split('.').next().filter(|key| !key.is_empty())?;
    let begins = |line: &str| {
        let rest = line.trim_start().trim_start_matches('[').strip_prefix(key);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
    };
    text.lines().position(begins).map(|line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (Option<usize>, String) {
        let wrong = parse(text).expect_err("wrong");
        (wrong.line, wrong.what)
    }

    /// F5: what is misspelt is named with its line, never passed over.
    #[test]
    fn what_is_wrong_is_told_by_line_and_key() {
        let (line, what) = wrong("name = \"notes\"\n\npolcy = \"lww\"\n");
        assert_eq!(line, Some(3));
        assert!(what.contains("`polcy`"), "{what}");
        let (line, what) = wrong("name = \"notes\"\npolicy = \"last\"\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("\"last\""), "{what}");
        let (line, what) = wrong("name = \"notes\"\nidentity = [\"text:0\"]\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("text:0"), "{what}");
        let (line, what) = wrong("name = \"notes\"\nschema = 2\nreads = 3\n");
        assert_eq!(line, Some(3));
        assert!(what.contains("no range"), "{what}");
        let (line, what) = wrong("name = \"notes\"\n[value]\ntype = \"text\"\n");
        assert_eq!(line, Some(2));
        assert!(what.contains("no JSON Schema"), "{what}");
        let (line, _) = wrong("name = \"a\"\nname = \"b\"\n");
        assert_eq!(line, Some(2));
        assert_eq!(wrong("name = \"kinsync/x\"\n").0, Some(1));
        assert!(wrong("schema = 1\n").1.contains("`name`"));
    }

    #[test]
    fn a_schema_can_stand_in_a_file_beside() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("notes.toml");
        let write = |name: &str, text: &str| std::fs::write(temp.path().join(name), text).expect("written");
        write("notes.toml", "name = \"notes\"\nvalue-file = \"notes.json\"\nidentity = [\"text\"]\n");
        write("notes.json", r#"{"type":"object","properties":{"text":{"type":"string"}}}"#);
        let declaration = read(&path).expect("both are read");
        assert!(declaration.value.is_some() && declaration.value_file.is_none());
        // What the schema does not list cannot make a key, also from a file.
        write("notes.json", r#"{"type":"object","properties":{"title":{}}}"#);
        assert!(read(&path).expect_err("no such field").message.contains("`identity`"));
        write("notes.json", "{");
        assert!(read(&path).expect_err("cut short").message.contains("not JSON"));
        write("notes.toml", "name = \"notes\"\nvalue-file = \"../notes.json\"\n");
        assert!(read(&path).expect_err("elsewhere").message.contains("beside"));
    }

    #[test]
    fn a_file_ends_at_the_limit_of_a_declaration() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("notes.toml");
        let text = "name = \"notes\"\n#";
        let full = format!("{text}{}", "x".repeat(DECLARATION_BYTES_MAX - text.len()));
        std::fs::write(&path, &full).expect("written");
        assert!(read(&path).is_ok());
        std::fs::write(&path, full + "x").expect("written");
        let failure = read(&path).expect_err("one more");
        assert_eq!(failure.kind, Kind::BadDeclaration);
        assert!(failure.message.contains("more than 262144 bytes"), "{failure}");
        std::fs::write(&path, b"name = \"\xff\"").expect("written");
        assert!(read(&path).expect_err("no text").message.contains("not text"));
    }
}
