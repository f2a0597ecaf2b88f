//! `docs/spec.md` says what the code does: each worked block and each limit on the page is compared with the code.

use std::collections::BTreeMap;
use std::path::Path;

use ed25519_dalek::SigningKey;
use kinsync_protocol::card::Card;
use kinsync_protocol::code::Code;
use kinsync_protocol::floor::Floor;
use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::hash::tagged;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash};
use kinsync_protocol::item::{item_hash, key_hash, value_hash};
use kinsync_protocol::pairing::message as pairing;
use kinsync_protocol::policy::{FieldPolicy, Join, Policy};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::Cursor;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};
use kinsync_protocol::sums::{Range, Summary, range_print, root_print};
use kinsync_protocol::ticket::Ticket;
use kinsync_protocol::trust::message::{Announcement, Bye, Message};
use kinsync_protocol::trust::statement::{Body, Kind, RunId, Signed, Statement};
use kinsync_protocol::value::{self, Header};
use kinsync_protocol::wire::Bounded;
use kinsync_protocol::wire::frame::{
    ByteArray16, Delta, Done, Frame, Head, Hello, HelloCursor, HelloDomain, Leaf, Part, Push, RangePrints,
    Refusal, Request, Response,
};

/// The moment of the examples: 1,800,000,000,000 ms, count 3.
const TIME: Hlc = Hlc((1_800_000_000_000 << 16) | 3);
const NONCE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What counts in a worked block: no comment, no white space.
fn bare(block: &str) -> String {
    let code = block.lines().map(|line| line.split_once("  # ").map_or(line, |(code, _)| code));
    code.flat_map(str::chars).filter(|symbol| !symbol.is_whitespace()).collect()
}

/// The blocks of the page by name.
fn worked(page: &str) -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```worked ") {
        let (name, after) = after.split_once('\n').expect("a block has a first line");
        let (block, after) = after.split_once("\n```").expect("a block ends");
        let before = blocks.insert(name.to_owned(), bare(block));
        assert_eq!(before, None, "two blocks are called {name}");
        rest = after;
    }
    blocks
}

fn key_of(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn laptop() -> DeviceId {
    DeviceId(key_of(1).verifying_key().to_bytes())
}

fn phone() -> DeviceId {
    DeviceId(key_of(2).verifying_key().to_bytes())
}

fn messages() -> DomainId {
    DomainId::of("messages")
}

fn record(key: &str, value: Option<&str>, time: Hlc, device: DeviceId, seen: Ancestry) -> Record {
    let value = value.map(|value| value.as_bytes().to_vec());
    Record::new(Key::new(key).unwrap(), value, Stamp { time, device }, seen)
}

/// The record of the page and the tombstone beside it.
fn records() -> [Record; 2] {
    let later = Hlc(TIME.0 + (60_000 << 16));
    [
        record("c12/0481", Some("hello"), TIME, laptop(), Ancestry::default()),
        record("c12/0482", None, later, phone(), Ancestry::default()),
    ]
}

fn place(record: &Record) -> KeyHash {
    key_hash(messages(), &record.key)
}

fn summary(records: &[Record]) -> Summary {
    let mut summary = Summary::EMPTY;
    records.iter().for_each(|record| summary.add(&item_hash(messages(), place(record), &record.version)));
    summary
}

fn range_of(record: &Record) -> Range {
    Range { bits: 8, prefix: place(record).prefix(8) }
}

/// The phone's value of section 2.10, and the merged one.
fn stored_values() -> [Vec<u8>; 2] {
    let tags = ("tags".to_owned(), FieldPolicy::SetUnion { by: None });
    let policy = Policy::Fields { default: FieldPolicy::Lww, fields: BTreeMap::from([tags]) };
    let write = |body: &str, minutes: u64, device, old: Option<&Record>| {
        let stamp = Stamp { time: Hlc(TIME.0 + ((minutes * 60_000) << 16)), device };
        let before = old.map(|old| (&old.version, old.value.as_deref().unwrap()));
        let value = policy.write(1, body.as_bytes(), before, stamp).unwrap();
        let seen = old.map(|old| old.version.seen.replaced_by(old.version.stamp, device));
        Record::new(Key::new("c12/0481").unwrap(), Some(value), stamp, seen.unwrap_or_default())
    };
    let first = write(r#"{"tags":["x"],"title":"a"}"#, 0, laptop(), None);
    let phones = write(r#"{"tags":["y"],"title":"a"}"#, 1, phone(), Some(&first));
    let laptops = write(r#"{"tags":["x"],"title":"b"}"#, 2, laptop(), Some(&first));
    let value = |record: &Record| record.value.clone().unwrap();
    let join = policy.join((&phones.version, &value(&phones)), (&laptops.version, &value(&laptops)));
    let Join::Merged { value: merged, lost: false } = join else { panic!("{join:?}") };
    assert!(merged.ends_with(br#"{"tags":["y"],"title":"b"}"#));
    [value(&phones), merged]
}

fn exchange(hello: Option<Hello>, parts: Vec<Part>) -> String {
    hex(&Request::Exchange(Frame { session: 7, hello, parts }).encode())
}

fn hello() -> String {
    let domain = HelloDomain {
        domain: messages(),
        print: ByteArray16::new(root_print(NONCE, &summary(&records()))),
        items: 2,
        live: 1,
        epoch: 9,
        head: 2,
        cursor: Some(HelloCursor { epoch: 5, seq: 40, after: None }),
        grants: Grants { write: false, delete: false, why: Why::Held, ..Grants::ALL },
        floor: Floor::JOINED,
    };
    let domains = Bounded::truncating(vec![domain]);
    let hello = Hello { nonce: NONCE, compare: false, others: Grants::ALL, domains };
    exchange(Some(hello), Vec::new())
}

fn delta() -> String {
    let [record, tombstone] = records();
    let print = ByteArray16::new(root_print(NONCE, &summary(&records())));
    let heads = vec![Head::new(place(&tombstone), &tombstone.version)];
    let part = Part {
        records: vec![record],
        delta: Some(Delta { to: Cursor { epoch: 9, seq: 2, after: None }, heads }),
        done: Some(Done { print, epoch: 9, head: 2 }),
        ..Part::default()
    };
    exchange(None, vec![part])
}

fn repair() -> String {
    let [record, tombstone] = records();
    let one = summary(std::slice::from_ref(&record));
    let range = range_of(&record);
    let child = |child: Range| if child.contains(place(&record)) { one } else { Summary::EMPTY };
    let prints = range.children().map(|part| range_print(NONCE, part, &child(part))).collect();
    let heads = vec![Head::new(place(&tombstone), &tombstone.version)];
    let part = Part {
        want: vec![place(&record)],
        ranges: vec![RangePrints { range, prints }],
        leaves: vec![Leaf { range: range_of(&tombstone), heads }],
        ..Part::default()
    };
    exchange(None, vec![part])
}

fn push() -> String {
    let [_, tombstone] = records();
    let Stamp { time, device } = tombstone.version.stamp;
    let seen = tombstone.version.seen.replaced_by(tombstone.version.stamp, laptop());
    assert_eq!(seen.latest(device), Some(time));
    let records = vec![record("c12/0481", Some("hello"), time.next(), laptop(), seen)];
    let served = vec![device.tag()];
    hex(&Request::Push(Push { domain: messages(), epoch: 9, previous: 2, seq: 3, records, served }).encode())
}

fn answers() -> String {
    let pushed = [true, false].map(|in_order| Response::Pushed { in_order });
    let refusals =
        [Refusal::Busy, Refusal::NoSession, Refusal::NotTrusted, Refusal::BadMessage, Refusal::NoStore];
    let all = pushed.into_iter().chain(refusals.map(Response::Refuse));
    all.map(|answer| hex(&answer.encode())).collect()
}

fn statement() -> Statement {
    let body = Body::new(Kind::Kin, phone(), laptop(), UnixMillis(1_800_000_000_000));
    Statement::new(Signed::sign(&Body { label: "phone".into(), ..body }, &key_of(1)), None)
}

fn announcement() -> String {
    let card = Card {
        label: "laptop".into(),
        platform: "linux".into(),
        app: "kinsync 0.1.0".into(),
        schema: 1,
        ..Card::default()
    };
    let (boot, clock) = (RunId::new([7; 16]), UnixMillis(1_800_000_000_000));
    let said = Announcement { card, statements: vec![statement()], boot, clock };
    hex(&Message::Announcement(said).encode())
}

fn pair_hello() -> String {
    let hello = pairing::Hello { version: 1, nameplate: "KX".into(), nonce: RunId::new([4; 16]) };
    hex(&pairing::Request::Hello(hello).encode())
}

fn pair_refuse() -> String {
    let refuse = pairing::Response::Refuse { refusal: pairing::Refusal::Wrong, tries_left: Some(2) };
    hex(&refuse.encode())
}

fn ticket() -> String {
    let code = Code::parse("KXNR-7842").unwrap();
    let addresses = vec![vec![4, 127, 0, 0, 1, 6, 30, 162]];
    Ticket { code, host: DeviceId([1; 32]), addresses, expires_unix: 1_800_000_000 }.reveal()
}

/// What the code has to say to a block, where it gives the bytes alone.
fn whole() -> BTreeMap<&'static str, String> {
    let [record, _] = records();
    let one = summary(std::slice::from_ref(&record));
    BTreeMap::from([
        ("announcement", announcement()),
        ("answers", answers()),
        ("bye", hex(&Message::Bye(Bye::Revoked).encode())),
        ("delta", delta()),
        ("device-id", hex(laptop().as_bytes())),
        ("device-text", laptop().to_string()),
        ("domain-id", hex(messages().as_bytes())),
        ("hello", hello()),
        ("item-hash", hex(&item_hash(messages(), place(&record), &record.version))),
        ("key-hash", hex(place(&record).as_bytes())),
        ("pair-hello", pair_hello()),
        ("pair-refuse", pair_refuse()),
        ("peer-id", hex(&laptop().peer_id_bytes())),
        ("push", push()),
        ("range-print", hex(&range_print(NONCE, range_of(&record), &one))),
        ("repair", repair()),
        ("root-print", hex(&root_print(NONCE, &summary(&records())))),
        ("statement", hex(&statement().encode())),
        ("summary", hex(&summary(&records()).to_bytes())),
        ("tagged", hex(&tagged("example", &[b"ab", b"c"]))),
        ("ticket", ticket()),
        ("edited-value", hex(&stored_values()[0])),
        ("merged-value", hex(&stored_values()[1])),
        ("stored-value", hex(&value::wrap(&Header::new(2), b"{}").unwrap())),
        ("value-hash", hex(value_hash(b"hello").as_bytes())),
    ])
}

/// The same where the bytes stand inside of others, and how many digits they have.
fn inside() -> BTreeMap<&'static str, (String, usize)> {
    // The protocol's own test compares these with what it derives.
    let vector = bare(&read("protocol/src/pairing/tests/vector.rs"));
    BTreeMap::from([
        ("card", (announcement(), 74)),
        ("head", (delta(), 70)),
        ("pair-check", (vector, 6)),
        ("statement-body", (hex(&statement().encode()), 224)),
    ])
}

#[test]
fn every_worked_block_holds_what_the_code_produces() {
    let mut blocks = worked(&read("docs/spec.md"));
    let mut wrong = Vec::new();
    for (name, expected) in whole() {
        let found = blocks.remove(name).unwrap_or_default();
        if found != bare(&expected) {
            wrong.push(format!("{name}\n  page {found}\n  code {expected}"));
        }
    }
    for (name, (whole, digits)) in inside() {
        let found = blocks.remove(name).unwrap_or_default();
        if found.len() != digits || !whole.contains(&found) {
            wrong.push(format!("{name}\n  page {found}\n  is not in {whole}"));
        }
    }
    let vector = read("protocol/src/pairing/tests/vector.rs");
    let derived = blocks.remove("pair-vector").unwrap_or_default();
    assert_eq!(derived.len(), 6 * 64, "six hashes");
    for hash in derived.as_bytes().chunks(64) {
        let hash = str::from_utf8(hash).unwrap();
        if !vector.contains(&format!("\"{hash}\"")) {
            wrong.push(format!("pair-vector\n  page {hash}\n  is not in the protocol's vector"));
        }
    }
    assert!(wrong.is_empty(), "docs/spec.md differs from the code:\n{}", wrong.join("\n"));
    assert_eq!(Vec::from_iter(blocks.keys()), Vec::<&String>::new(), "blocks that nothing is compared with");
}

/// The constants of a file: name and text of the value, and whether others see it.
fn constants(source: &str) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for (start, _) in source.match_indices("const ") {
        let line = source[..start].rfind('\n').map_or(0, |end| end + 1);
        let (public, Some(text)) =
            (source[line..start].starts_with("pub "), source[start..].split(';').next())
        else {
            continue;
        };
        let unindented = ["", "pub ", "pub(crate) "].contains(&&source[line..start]);
        let Some((head, value)) = text.split_once(" = ") else { continue };
        let Some((name, kind)) = head.trim_start_matches("const ").split_once(": ") else { continue };
        if unindented && ["usize", "u64", "u32", "u16", "u8", "Duration"].contains(&kind) {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            found.push((name.to_owned(), value, public));
        }
    }
    found
}

/// Reads numbers, names of other constants, `<<`, `+`, `*` and parentheses.
struct Reader<'a> {
    rest: &'a str,
    known: &'a BTreeMap<String, u64>,
}

impl Reader<'_> {
    fn take(&mut self, symbol: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn shifts(&mut self) -> Option<u64> {
        let mut value = self.sum()?;
        while self.take("<<") {
            value <<= self.sum()?;
        }
        Some(value)
    }

    fn sum(&mut self) -> Option<u64> {
        let mut value = self.product()?;
        while self.take("+") {
            value += self.product()?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<u64> {
        let mut value = self.atom()?;
        while self.take("*") {
            value *= self.atom()?;
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<u64> {
        if self.take("(") {
            let value = self.shifts()?;
            return self.take(")").then_some(value);
        }
        let rest = self.rest.trim_start();
        let end = rest.find(|symbol: char| !symbol.is_alphanumeric() && symbol != '_').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word.replace('_', "").parse().ok().or_else(|| self.known.get(word).copied())
    }
}

/// The value as it stands on the page: `1024`, `300 s`, `100 ms`.
fn value(text: &str, known: &BTreeMap<String, u64>) -> Option<String> {
    let units = [("Duration::from_secs(", " s"), ("Duration::from_millis(", " ms")];
    let (text, unit) = units
        .iter()
        .find_map(|(call, unit)| Some((text.strip_prefix(call)?.strip_suffix(')')?, *unit)))
        .unwrap_or((text, ""));
    let mut reader = Reader { rest: text, known };
    let value = reader.shifts()?;
    reader.rest.trim().is_empty().then(|| format!("{value}{unit}"))
}

fn rust_files(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(rust_files(&path));
        } else if path.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

/// The cells of the page's table rows that begin with a name in code.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

#[test]
fn every_limit_on_the_page_is_the_one_in_the_code() {
    let page = read("docs/spec.md");
    let (_, section) = page.split_once("\n## 10 ").expect("section 10 holds the limits");
    let (section, _) = section.split_once("\n## 11 ").expect("section 11 follows");
    let rows = rows(section);
    let mut wrong = Vec::new();
    let mut listed = BTreeMap::new();
    for row in &rows {
        let [name, value, file, why] = row[..] else { panic!("a row with other columns: {row:?}") };
        assert!(!why.is_empty(), "{name} has no reason");
        assert_eq!(
            listed.insert((file.to_owned(), name.to_owned()), value),
            None,
            "{name} stands there twice"
        );
    }
    let mut files = rust_files("protocol/src");
    files.retain(|file| !file.contains("/tests"));
    files.extend(rust_files("node/src"));
    let sources: Vec<_> = files.iter().map(|file| (file, constants(&read(file)))).collect();
    let mut known = BTreeMap::new();
    for _ in 0..2 {
        // Twice, as a constant may be made of one in a later file.
        for (name, text, _) in sources.iter().flat_map(|(_, constants)| constants) {
            if let Some(value) = value(text, &known).and_then(|value| value.parse().ok()) {
                known.insert(name.clone(), value);
            }
        }
    }
    for (file, constants) in sources {
        for (name, text, public) in constants {
            let in_code = value(&text, &known);
            match listed.remove(&(file.clone(), name.clone())) {
                Some(on_page) if in_code.as_deref() == Some(on_page) => {}
                None if !public || file.starts_with("node/") => {}
                on_page => wrong.push(format!("{file} {name}: page {on_page:?}, code {in_code:?}")),
            }
        }
    }
    wrong.extend(listed.keys().map(|(file, name)| format!("{file} {name}: not in the code")));
    assert!(wrong.is_empty(), "docs/spec.md differs from the code:\n{}", wrong.join("\n"));
    assert!(rows.len() > 40, "the table was not found");
}

#[test]
fn the_limits_of_each_protocol_are_those_in_the_code() {
    let page = read("docs/spec.md");
    let source = read("node/src/swarm/protocols.rs");
    let known = BTreeMap::from([("KIB".to_owned(), 1024)]);
    for protocol in ["Pair", "Trust", "Sync"] {
        let start = format!("Self::{protocol} => Limits {{");
        let (_, block) = source.split_once(&start).expect("every protocol has its limits");
        let (block, _) = block.split_once('}').expect("a block ends");
        let fields = ["request", "answer", "patience", "idle", "total", "in_flight", "streams"];
        let in_code = fields.map(|field| {
            let (_, text) = block.split_once(&format!("{field}: ")).expect("every limit is given");
            let (text, _) = text.split_once(",\n").expect("a field ends");
            value(text, &known).expect("a limit is a number")
        });
        let row = rows(&page).into_iter().find(|row| row[0] == protocol).expect("every protocol has a row");
        assert_eq!(row[1..], in_code, "{protocol}");
    }
}

#[test]
fn a_value_is_read_as_the_compiler_reads_it() {
    let known = BTreeMap::from([("KIB".to_owned(), 1024)]);
    assert_eq!(value("1024 * KIB + 64 * KIB", &known).as_deref(), Some("1114112"));
    assert_eq!(value("KIB + (64 << 10)", &known).as_deref(), Some("66560"));
    assert_eq!(value("Duration::from_secs(3_600)", &known).as_deref(), Some("3600 s"));
    assert_eq!(value("u32::MAX", &known), None);
    assert_eq!(bare("01 02  # one\n  03"), "010203");
}
