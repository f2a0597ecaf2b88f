//! Which declarations are in force on this device.
//!
//! A file of this device goes before a record that the devices share, and that
//! before what is built in. A record is in force as soon as it is here, unless
//! it would let records go further than they may now: then a person of this
//! device is asked, and until the answer the narrower declaration holds. So
//! this device remembers what it has adopted, apart from the records.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use kinsync_protocol::declaration::{Declaration, SetError, check_set};
use kinsync_protocol::hash;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::limits::DOMAINS_MAX;
use kinsync_protocol::record::Key;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_store::{Job, ReadError, Store, StoreSnapshot};
use serde::{Deserialize, Serialize};

use super::widening::widens;
use super::{DECLARATIONS, Domain, Domains, Pending, Source, file, rules};
use crate::failure::Failure;

/// Where this device notes what it has adopted, apart from all that syncs.
const ADOPTED: &str = "kinsync/adopted";

/// How many rows are read at once.
const PAGE: usize = 256;

/// The built-in domains as they are written, in the order in which people are
/// shown them.
const BUILT_IN: [&str; 23] = [
    include_str!("characters.toml"),
    include_str!("personas.toml"),
    include_str!("lorebooks.toml"),
    include_str!("lorebook-entries.toml"),
    include_str!("presets.toml"),
    include_str!("prompts.toml"),
    include_str!("chats.toml"),
    include_str!("messages.toml"),
    include_str!("group-chats.toml"),
    include_str!("group-messages.toml"),
    include_str!("sessions.toml"),
    include_str!("session-messages.toml"),
    include_str!("memories.toml"),
    include_str!("facts.toml"),
    include_str!("pinned-memory.toml"),
    include_str!("knowledge-preferences.toml"),
    include_str!("plugin-config.toml"),
    include_str!("folders.toml"),
    include_str!("regex-rules.toml"),
    include_str!("profile.toml"),
    include_str!("settings.toml"),
    include_str!("device-settings.toml"),
    include_str!("secrets.toml"),
];

/// The built-in domains alone.
pub fn built_in() -> &'static Arc<Domains> {
    static DOMAINS: LazyLock<Arc<Domains>> = LazyLock::new(|| {
        let domain = |text: &&str| {
            let declaration = file::parse(text).expect("a test reads each of them");
            Arc::new(Domain::new(declaration, Source::BuiltIn).expect("its schema was checked with it"))
        };
        Arc::new(Domains::new(BUILT_IN.iter().map(domain).collect()))
    });
    &DOMAINS
}

/// The domains of one device as they are now. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    current: Arc<RwLock<Arc<Domains>>>,
    /// Held while it is read anew, so that two readings do not mix.
    reading: Arc<Mutex<()>>,
    /// Whether the store has been told of any rules.
    told: Arc<AtomicBool>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            current: Arc::new(RwLock::new(Arc::clone(built_in()))),
            reading: Arc::new(Mutex::new(())),
            told: Arc::default(),
        }
    }
}

impl Registry {
    /// The domains as they are now.
    pub fn current(&self) -> Arc<Domains> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads files and records again, and notes what is adopted. Blocks on the
    /// disk. Whether anything is in force now that was not before, or the
    /// other way round.
    pub fn reload(&self, files: &Path, store: &Store, now: UnixMillis) -> Result<bool, Failure> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Known { files: read_files(files), ..store.read(read_store)? };
        let old = self.current();
        let (domains, changes) = assemble(known, &old);
        let said = |domains: &Domains| -> Vec<(Source, Declaration)> {
            domains.all().iter().map(|domain| (domain.source, domain.declaration.clone())).collect()
        };
        let changed = said(&old) != said(&domains);
        let (rules, sharing) = (rules::of(&domains), domains.sharing());
        // First what holds, so that a disk that cannot be written hinders none
        // of it.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(domains);
        let tell = !self.told.swap(true, Ordering::Relaxed) || changed;
        if tell {
            store.set_rules(rules);
            store.set_sharing(sharing);
        }
        for (name, adopted) in changes {
            note(store, &name, adopted.as_ref(), now)?;
        }
        let mut page = if tell { store.write(Job::recheck(None, now))? } else { None };
        while page.is_some() {
            page = store.write(Job::recheck(page, now))?;
        }
        Ok(changed)
    }
}

/// What this device has adopted of one domain.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Adopted {
    /// The declaration that came with a record and is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declaration: Option<Declaration>,
    /// The digest of a declaration that somebody here said no to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// Writes down what is adopted of one domain; `None` forgets it.
pub fn note(store: &Store, name: &str, adopted: Option<&Adopted>, now: UnixMillis) -> Result<(), Failure> {
    let (domain, key) = (DomainId::of(ADOPTED), Key::new(name)?);
    match adopted {
        Some(adopted) => {
            let value = serde_json::to_vec(adopted).map_err(Failure::internal)?;
            store.write(Job::put_private(domain, key, value, now))?;
        }
        None => match store.write(Job::delete_private(domain, key)) {
            Ok(()) | Err(kinsync_store::WriteError::NotFound) => {}
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}

/// A declaration as the value of its record: the same bytes for the same
/// declaration.
pub fn value_of(declaration: &Declaration) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(declaration).map_err(Failure::internal)
}

/// What tells a declaration from others; that of nothing for a removal.
pub fn digest(declaration: Option<&Declaration>) -> String {
    let bytes = declaration.and_then(|declaration| serde_json::to_vec(declaration).ok()).unwrap_or_default();
    let digest = hash::tagged("kinsync/declaration/1", &[&bytes]);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that says something about domains.
#[derive(Debug, Default)]
struct Known {
    files: Vec<(PathBuf, Result<Declaration, Failure>)>,
    /// Records by name.
    records: BTreeMap<String, Vec<u8>>,
    adopted: BTreeMap<String, Adopted>,
    more: bool,
}

/// Reads the files in the order of their names; more than there may be domains
/// are not looked at.
fn read_files(folder: &Path) -> Vec<(PathBuf, Result<Declaration, Failure>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension() == Some(OsStr::new("toml"))).collect();
    paths.sort();
    let over = paths.get(DOMAINS_MAX).cloned();
    let mut files: Vec<_> = paths
        .into_iter()
        .take(DOMAINS_MAX)
        .map(|path| {
            let read = file::read(&path);
            (path, read)
        })
        .collect();
    files.extend(over.map(|path| {
        let failure = file::bad(format!("Only the first {DOMAINS_MAX} files here are read."));
        (path, Err(failure))
    }));
    files
}

fn read_store(snapshot: &StoreSnapshot) -> Result<Known, ReadError> {
    let mut known = Known::default();
    let declarations = DomainId::of(DECLARATIONS);
    let mut after: Option<Key> = None;
    loop {
        let page = snapshot.list(declarations, "", after.as_ref(), PAGE)?;
        for row in &page {
            if known.records.len() == DOMAINS_MAX {
                known.more = true;
                break;
            }
            if let Some(value) = snapshot.get(declarations, &row.key)?.map(|live| live.value) {
                known.records.insert(row.key.as_str().to_owned(), value);
            }
        }
        after = page.last().map(|row| row.key.clone());
        if page.len() < PAGE || known.more {
            break;
        }
    }
    let mut after: Option<Key> = None;
    loop {
        let page = snapshot.list_private(DomainId::of(ADOPTED), "", after.as_ref(), PAGE)?;
        for (key, row) in &page {
            let adopted = serde_json::from_slice(&row.value).unwrap_or_default();
            known.adopted.insert(key.as_str().to_owned(), adopted);
        }
        after = page.last().map(|(key, _)| key.clone());
        if page.len() < PAGE {
            return Ok(known);
        }
    }
}

/// What to note of domains by name; `None` forgets what was noted.
type Changes = BTreeMap<String, Option<Adopted>>;

/// Decides what is in force.
fn assemble(known: Known, old: &Domains) -> (Domains, Changes) {
    let Known { files, records, adopted, more } = known;
    let mut problems = Vec::new();
    let mut chosen: BTreeMap<String, (Declaration, Source)> = BTreeMap::new();
    let (mut pending, mut changes) = (BTreeMap::new(), Changes::new());
    for domain in built_in().all() {
        chosen.insert(domain.name().to_owned(), (domain.declaration.clone(), Source::BuiltIn));
    }
    if more {
        problems.push(format!("More than {DOMAINS_MAX} domains are declared; the others wait."));
    }

    let names: BTreeSet<&String> = records.keys().chain(adopted.keys()).collect();
    for name in names {
        let noted = adopted.get(name).cloned().unwrap_or_default();
        let built_in = chosen.get(name).map(|(declaration, _)| declaration.clone());
        let shared = match records.get(name).map(|value| shared(name, value)) {
            Some(Ok(declaration)) => Some(declaration),
            Some(Err(what)) => {
                problems.push(format!("The declaration of {name:?} cannot be used: {what}."));
                // What was in force stays so: nothing is known of what is meant.
                noted.declaration.clone()
            }
            None => None,
        };
        let base = noted.declaration.clone().or_else(|| built_in.clone());
        let next = shared.clone().or(built_in);
        let phrases = base.as_ref().map(|base| widens(base, next.as_ref())).unwrap_or_default();
        if phrases.is_empty() {
            let adopt =
                shared.clone().map(|declaration| Adopted { declaration: Some(declaration), rejected: None });
            if adopt.as_ref() != adopted.get(name) {
                changes.insert(name.clone(), adopt);
            }
            if let Some(declaration) = shared {
                chosen.insert(name.clone(), (declaration, Source::Record));
            }
            continue;
        }
        let rejected = noted.rejected == Some(digest(next.as_ref()));
        pending.insert(name.clone(), Pending { declaration: next, widens: phrases, rejected });
        if let Some(declaration) = noted.declaration {
            chosen.insert(name.clone(), (declaration, Source::Record));
        }
    }

    for (path, read) in files {
        match read {
            Ok(declaration) => match chosen.get(&declaration.name) {
                Some((_, Source::File)) => {
                    problems.push(format!(
                        "{}: {} stands in another file too.",
                        path.display(),
                        declaration.name
                    ));
                }
                _ => {
                    pending.remove(&declaration.name);
                    chosen.insert(declaration.name.clone(), (declaration, Source::File));
                }
            },
            Err(failure) => problems.push(match failure.message.contains(&path.display().to_string()) {
                true => failure.message,
                false => format!("{}: {}", path.display(), failure.message),
            }),
        }
    }

    leave_out_what_does_not_fit(&mut chosen, &mut problems);
    let mut domains = Domains::new(in_order(chosen, old, &mut problems));
    (domains.pending, domains.problems) = (pending, problems);
    (domains, changes)
}

/// Reads the declaration in a record.
fn shared(name: &str, value: &[u8]) -> Result<Declaration, String> {
    let declaration: Declaration = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if declaration.name != name {
        return Err(format!("it stands under another name than {:?}", declaration.name));
    }
    if declaration.value_file.is_some() {
        return Err("`value-file` is for files".to_owned());
    }
    file::check(&declaration)?;
    Ok(declaration)
}

/// Takes declarations out until the others fit each other. What is built in
/// stays, and files go last.
fn leave_out_what_does_not_fit(
    chosen: &mut BTreeMap<String, (Declaration, Source)>,
    problems: &mut Vec<String>,
) {
    while let Err(error) = check_set(chosen.values().map(|(declaration, _)| declaration)) {
        let (concerned, surplus) = match &error {
            SetError::Cycle { names } => (names.clone(), 1),
            SetError::Scope { child, parent } => (vec![child.clone(), parent.clone()], 1),
            SetError::TooMany { count } => {
                (chosen.keys().cloned().collect(), count.saturating_sub(DOMAINS_MAX))
            }
            SetError::Twice { .. } | _ => (chosen.keys().cloned().collect(), 1),
        };
        let from = |wanted: Source| {
            let source = |name: &&String| chosen.get(*name).is_some_and(|(_, source)| *source == wanted);
            concerned.iter().rev().filter(source).cloned().collect::<Vec<_>>()
        };
        let out: Vec<_> = from(Source::Record).into_iter().chain(from(Source::File)).take(surplus).collect();
        match out.as_slice() {
            [] => return,
            [one] => problems.push(format!("The declaration of {one:?} does not fit the others: {error}.")),
            several => problems.push(format!("{} declarations are left out: {error}.", several.len())),
        }
        for name in out {
            chosen.remove(&name);
            // Without it the built-in one holds again, and fits.
            if let Some(domain) = built_in().find(&name) {
                chosen.insert(name, (domain.declaration.clone(), Source::BuiltIn));
            }
        }
    }
}

/// The built-in ones in their order, then the others by name; those that have
/// not changed as they were, since compiling a schema takes time.
fn in_order(
    mut chosen: BTreeMap<String, (Declaration, Source)>,
    old: &Domains,
    problems: &mut Vec<String>,
) -> Vec<Arc<Domain>> {
    let first = built_in().all().iter().filter_map(|domain| chosen.remove(domain.name()));
    let first: Vec<_> = first.collect();
    let mut domains = Vec::new();
    for (declaration, source) in first.into_iter().chain(chosen.into_values()) {
        let same = old
            .find(&declaration.name)
            .filter(|domain| domain.declaration == declaration && domain.source == source);
        match same {
            Some(domain) => domains.push(Arc::clone(domain)),
            None => match Domain::new(declaration, source) {
                Ok(domain) => domains.push(Arc::new(domain)),
                Err(what) => problems.push(what),
            },
        }
    }
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Declaration {
        file::parse(text).expect("a declaration")
    }

    fn record(text: &str) -> (String, Vec<u8>) {
        let declaration = of(text);
        let value = value_of(&declaration).expect("serialises");
        (declaration.name, value)
    }

    fn records(texts: &[&str]) -> Known {
        Known { records: texts.iter().map(|text| record(text)).collect(), ..Known::default() }
    }

    fn assembled(known: Known) -> (Domains, Changes) {
        assemble(known, built_in())
    }

    /// What this device notes after it has seen `texts`.
    fn adopted(texts: &[&str]) -> BTreeMap<String, Adopted> {
        let (_, changes) = assembled(records(texts));
        changes.into_iter().filter_map(|(name, adopted)| Some((name, adopted?))).collect()
    }

    #[test]
    fn what_is_built_in_is_sound() {
        let domains = built_in();
        assert_eq!(domains.all().len(), BUILT_IN.len());
        assert_eq!(check_set(domains.all().iter().map(|domain| &domain.declaration)), Ok(()));
        let unchanged = assembled(Known::default()).0;
        assert!(unchanged.problems.is_empty() && unchanged.pending.is_empty());
        assert_eq!(unchanged.all().len(), BUILT_IN.len());
    }

    /// F11: a record is all that a new domain needs.
    #[test]
    fn a_domain_that_nobody_knew_is_in_force_at_once() {
        let (domains, changes) = assembled(records(&["name = \"notes\"\npolicy = \"keep-both\""]));
        let notes = domains.find("notes").expect("declared");
        assert_eq!(notes.source, Source::Record);
        assert_eq!(domains.all().last().expect("it is the last").name(), "notes");
        assert!(changes.contains_key("notes") && changes.len() == 1);
        // Once noted there is nothing to note.
        let again = Known { adopted: adopted(&["name = \"notes\""]), ..records(&["name = \"notes\""]) };
        assert!(assembled(again).1.is_empty());
    }

    /// F7, F20: what goes further waits for a yes of this device; what draws
    /// closer does not.
    #[test]
    fn a_declaration_that_widens_is_not_adopted() {
        let narrow = "name = \"journal\"\nopt-in = true";
        let before = adopted(&[narrow]);
        let known = Known { adopted: before.clone(), ..records(&["name = \"journal\"\nschema = 2"]) };
        let (domains, changes) = assembled(known);
        let journal = domains.find("journal").expect("declared");
        assert!(journal.declaration.opt_in && journal.declaration.schema == 1);
        let pending = domains.pending.get("journal").expect("it waits");
        assert_eq!(pending.widens, ["records would go to devices that nobody named"]);
        assert!(!pending.rejected && changes.is_empty());

        let closer =
            Known { adopted: before, ..records(&["name = \"journal\"\nopt-in = true\nscope = \"device\""]) };
        let (domains, changes) = assembled(closer);
        assert!(domains.pending.is_empty() && changes.len() == 1);
    }

    #[test]
    fn a_built_in_domain_is_not_widened_either() {
        let (domains, _) =
            assembled(records(&["name = \"secrets\"", "name = \"device-settings\"\nschema = 2"]));
        assert!(domains.find("secrets").expect("built in").declaration.opt_in);
        assert_eq!(domains.pending.len(), 2);
        assert!(domains.all().iter().all(|domain| domain.source == Source::BuiltIn));
    }

    #[test]
    fn a_no_is_remembered_for_that_declaration_alone() {
        let wide = "name = \"journal\"";
        let mut before = adopted(&["name = \"journal\"\nopt-in = true"]);
        before.get_mut("journal").expect("noted").rejected = Some(digest(Some(&of(wide))));
        let pending = |text: &str| {
            let known = Known { adopted: before.clone(), ..records(&[text]) };
            assembled(known).0.pending.remove("journal").expect("it waits").rejected
        };
        assert!(pending(wide));
        assert!(!pending("name = \"journal\"\nschema = 2"));
    }

    /// F20: taking a declaration away lets nothing out.
    #[test]
    fn a_removal_does_not_widen_either() {
        let known = |text: &str| Known { adopted: adopted(&[text]), ..Known::default() };
        let (domains, changes) = assembled(known("name = \"journal\"\nopt-in = true"));
        assert!(domains.find("journal").is_some_and(|journal| journal.declaration.opt_in));
        assert_eq!(domains.pending["journal"].declaration, None);
        assert!(changes.is_empty());
        let (domains, changes) = assembled(known("name = \"notes\""));
        assert!(domains.find("notes").is_none());
        assert_eq!(changes.get("notes"), Some(&None));
        // What was built in holds again.
        let (domains, _) = assembled(known("name = \"chats\"\nschema = 2"));
        assert_eq!(domains.find("chats").expect("built in").declaration.schema, 1);
    }

    #[test]
    fn a_file_of_this_device_goes_before_the_rest() {
        let file = |name: &str, text: &str| (PathBuf::from(name), Ok(of(text)));
        let known = Known {
            files: vec![
                file("a.toml", "name = \"notes\"\npolicy = \"manual\""),
                file("b.toml", "name = \"notes\""),
                file("c.toml", "name = \"secrets\""),
                (PathBuf::from("d.toml"), Err(file::bad("It is broken.".to_owned()))),
            ],
            ..records(&["name = \"notes\"\npolicy = \"keep-both\"", "name = \"secrets\""])
        };
        let (domains, _) = assembled(known);
        let notes = domains.find("notes").expect("declared");
        assert_eq!((notes.source, notes.declaration.policy.to_string().as_str()), (Source::File, "manual"));
        assert!(domains.pending.is_empty(), "who writes a file has said yes");
        assert!(!domains.find("secrets").expect("declared").declaration.opt_in);
        assert_eq!(domains.problems.len(), 2, "{:?}", domains.problems);
        assert!(domains.problems[1].starts_with("d.toml: It is broken."));
    }

    #[test]
    fn what_cannot_be_read_takes_nothing_away() {
        let mut known = records(&["name = \"notes\"", "name = \"other\""]);
        known.adopted = adopted(&["name = \"notes\"\npolicy = \"manual\""]);
        known.records.insert("notes".to_owned(), b"{\"name\":\"notes\",\"polcy\":1}".to_vec());
        let wrong_name = known.records.get("other").cloned().expect("there");
        known.records.insert("another".to_owned(), wrong_name);
        let (domains, _) = assembled(known);
        assert_eq!(domains.find("notes").expect("kept").declaration.policy.to_string(), "manual");
        assert!(domains.find("other").is_some() && domains.find("another").is_none());
        assert_eq!(domains.problems.len(), 2, "{:?}", domains.problems);
    }

    #[test]
    fn parents_in_a_circle_are_left_out_and_told() {
        let texts =
            ["name = \"a\"\nparent = \"b\"", "name = \"b\"\nparent = \"a\"", "name = \"c\"\nparent = \"b\""];
        let (domains, _) = assembled(records(&texts));
        assert_eq!(domains.all().len(), BUILT_IN.len() + 2);
        assert!(domains.problems[0].contains("in a circle"), "{:?}", domains.problems);
        // A built-in domain does not go for the sake of another.
        let (domains, _) = assembled(records(&["name = \"chats\"\nparent = \"messages\""]));
        assert!(domains.find("messages").is_some() && domains.find("chats").is_some());
        assert_eq!(domains.problems.len(), 1);
    }

    #[test]
    fn more_domains_than_there_may_be_are_left_out_and_told() {
        let room = DOMAINS_MAX - BUILT_IN.len();
        let known = |count: usize| {
            let name = |number: usize| record(&format!("name = \"d{number:05}\""));
            Known { records: (0..count).map(name).collect(), ..Known::default() }
        };
        assert!(assembled(known(room)).0.problems.is_empty());
        let (domains, _) = assembled(known(room + 1));
        assert_eq!(domains.all().len(), DOMAINS_MAX);
        assert!(domains.problems[0].contains("the limit is 4096"), "{:?}", domains.problems);
    }
}
