//! Deletions that are forgotten, one device at a time; many of them meet in the
//! simulated worlds.

use kinsync_protocol::floor::Floor;
use kinsync_protocol::item;
use kinsync_protocol::limits::{FLOOR_AGE_DAYS_MIN, LIMBO_DAYS};
use kinsync_protocol::record::{Record, Version};
use kinsync_protocol::snapshot::{Batch, FloorNews, Snapshot};
use kinsync_protocol::stamp::{Hlc, Stamp, UnixMillis};
use kinsync_protocol::trust::{Role, State};

use super::world::*;
use crate::{Job, Reason, Store, Token};

const DAY: u64 = 86_400_000;
const DAYS: u32 = 90;

/// So long after [`NOW`] that what was written then can be forgotten.
fn much_later() -> UnixMillis {
    later(u64::from(DAYS + 1) * DAY)
}

fn raise(store: &Store, now: UnixMillis) -> u64 {
    let raise = Job::raise_floor(LAPTOP, vec![notes()], Floor::before(now, DAYS), now);
    store.write(raise).unwrap()
}

fn floor(store: &Store) -> Floor {
    store.read(|view| view.root(notes())).unwrap().floor
}

fn tell(store: &Store, news: FloorNews, now: UnixMillis) {
    let batch = Batch { domain: notes(), records: Vec::new(), cursor: None, floor: Some(news) };
    store.apply(LAPTOP, vec![batch], now).unwrap();
}

fn bring(store: &Store, record: Record, floor: Option<FloorNews>, now: UnixMillis) {
    store
        .apply(LAPTOP, vec![Batch { domain: notes(), records: vec![record], cursor: None, floor }], now)
        .unwrap();
}

fn version(store: &Store, name: &str) -> Option<Version> {
    let found = store.read(|view| view.item(notes(), item::key_hash(notes(), &key(name)))).unwrap();
    found.map(|item| item.version)
}

/// What the laptop once wrote.
fn old(name: &str, value: Option<&str>) -> Record {
    let stamp = Stamp { time: Hlc::at(NOW), device: LAPTOP };
    Record::new(key(name), value.map(|value| value.as_bytes().to_vec()), stamp, Default::default())
}

/// D12: what was deleted long ago leaves no trace, in the sums neither, and what
/// lives or was deleted since stays.
#[test]
fn old_deletions_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    ["a", "b", "c"].into_iter().for_each(|name| put(&store, name, "x", NOW));
    store.delete(notes(), key("a"), later(1)).unwrap();
    store.delete(notes(), key("b"), much_later()).unwrap();
    assert_eq!(raise(&store, later(u64::from(DAYS - 1) * DAY)), 0, "none is old enough");
    assert_eq!(raise(&store, much_later()), 1);
    assert_eq!(floor(&store), Floor::before(much_later(), DAYS));
    assert_eq!(version(&store, "a"), None);
    assert!(version(&store, "b").unwrap().deleted);
    assert_eq!(get(&store, "c").as_deref(), Some("x"));
    assert_eq!(store.read(|view| view.history(notes(), &key("a"))).unwrap(), []);
    assert_eq!(raise(&store, much_later()), 0, "once is enough");
    assert_sound(&store);
    drop(store);
    assert_eq!(floor(&open(folder.path(), PHONE)), Floor::before(much_later(), DAYS));
}

/// D12: only a device of the same person raises a floor, and only so far as the
/// own clock agrees.
#[test]
fn a_floor_is_not_raised_by_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    let last = Floor::before(much_later(), FLOOR_AGE_DAYS_MIN);
    tell(&store, FloorNews::Equal { floor: Floor(last.0 + 1) }, much_later());
    assert_eq!(floor(&store), Floor::JOINED, "from a clock that runs ahead");
    store.write(set_trust(LAPTOP, State::Kin, Role::Guest, None)).unwrap().unwrap();
    tell(&store, FloorNews::Equal { floor: last }, much_later());
    assert_eq!((floor(&store), raise(&store, much_later())), (Floor::JOINED, 0), "from a guest");
    trust(&store, LAPTOP);
    tell(&store, FloorNews::Equal { floor: last }, much_later());
    assert_eq!(floor(&store), last);
    tell(&store, FloorNews::Equal { floor: Floor(last.0 - 1) }, much_later());
    assert_eq!(floor(&store), last, "it never goes back");
}

/// D12: a higher floor forgets only what the other device has taken in.
#[test]
fn deletions_that_the_other_device_has_not_heard_of_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    for name in ["a", "b"] {
        put(&store, name, "x", NOW);
        store.delete(notes(), key(name), NOW).unwrap();
    }
    let higher = |known| FloorNews::Higher { floor: Floor::before(much_later(), DAYS), known };
    let known = store.read(|view| view.log(notes(), 0, 9)).unwrap()[0].seq;
    tell(&store, higher(known), much_later());
    assert_eq!((version(&store, "a"), version(&store, "b").is_some()), (None, true));
    assert_eq!(floor(&store), Floor::NEVER, "nothing is proven yet");
    tell(&store, higher(u64::MAX), much_later());
    assert_eq!(version(&store, "b"), None);
    assert_sound(&store);
}

/// D12: a deletion stays while there is something to decide about its record.
#[test]
fn a_deletion_with_an_open_conflict_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    put(&store, "a", "mine", NOW);
    store.delete(notes(), key("a"), later(9)).unwrap();
    bring(&store, old("a", Some("theirs")), None, later(10));
    assert_eq!(store.read(|view| view.conflicts(notes(), 9)).unwrap().len(), 1);
    assert_eq!(raise(&store, much_later()), 0);
    assert!(version(&store, "a").is_some());
}

/// P23 D12: a device that was away for longer brings nothing back. What it
/// brings can be seen in the trash, apart, and had back.
#[test]
fn what_a_device_brings_that_was_away_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    raise(&store, much_later());
    bring(&store, old("a", Some("old")), None, much_later());
    bring(&store, old("b", None), None, much_later());
    assert_eq!(get(&store, "a"), None);
    for name in ["a", "b"] {
        let end = version(&store, name).unwrap();
        assert_eq!(Floor::that_made(&end), Some(floor(&store)));
        assert_eq!(end, floor(&store).end(&old(name, Some("old").filter(|_| name == "a")).version));
    }
    let trash = store.read(|view| view.trash(notes(), None, 9)).unwrap();
    assert_eq!(trash.len(), 1, "a deletion brings nothing");
    assert!(trash[0].in_limbo && trash[0].last.reason == Reason::Floor);
    bring(&store, old("a", Some("old")), None, much_later());
    assert_eq!(get(&store, "a"), None, "also when it comes again");
    let after = UnixMillis(much_later().0 + u64::from(LIMBO_DAYS - 1) * DAY);
    raise(&store, after);
    assert_eq!(store.read(|view| view.trash(notes(), None, 9)).unwrap().len(), 1, "it is there for a while");
    let (back, _) = store.write(Job::restore_deleted(notes(), key("a"), after)).unwrap();
    assert!(!floor(&store).is_above(&back));
    assert_eq!(get(&store, "a").as_deref(), Some("old"));
    assert_sound(&store);
}

/// D12: a record that is known here is joined like any other, and a new device's
/// old library comes in whole, above the floor.
#[test]
fn what_is_known_or_new_is_not_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    put(&store, "a", "x", UnixMillis(NOW.0 - 1));
    raise(&store, much_later());
    bring(&store, old("a", Some("theirs")), None, much_later());
    assert_eq!(get(&store, "a").as_deref(), Some("theirs"));
    bring(&store, old("b", Some("new")), Some(FloorNews::New), much_later());
    assert_eq!(get(&store, "b").as_deref(), Some("new"));
    let lifted = version(&store, "b").unwrap();
    assert!(!floor(&store).is_above(&lifted) && lifted.knew(&old("b", Some("new")).version));
    assert_eq!(store.read(|view| view.trash(notes(), None, 9)).unwrap(), []);
    assert_sound(&store);
}

/// D12: a device whose clock says that a record is young does not let a floor
/// end it.
#[test]
fn an_end_by_a_floor_that_is_too_young_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), LAPTOP);
    put(&store, "a", "x", NOW);
    let mine = version(&store, "a").unwrap();
    let end = |floor: Floor| Record { key: key("a"), version: floor.end(&mine), value: None };
    let far = Floor::before(UnixMillis(NOW.0 + 365 * DAY), DAYS);
    let batch = |record| vec![Batch { domain: notes(), records: vec![record], cursor: None, floor: None }];
    store.apply(PHONE, batch(end(far)), later(1)).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("x"));
    assert!(version(&store, "a").unwrap() > end(far).version, "it travels");
    let now = UnixMillis(NOW.0 + 365 * DAY);
    let standing = version(&store, "a").unwrap();
    let again = Record { version: Floor(far.0 + 1).end(&standing), ..end(far) };
    store.apply(PHONE, batch(again), now).unwrap();
    assert_eq!(get(&store, "a"), None, "believed once the clock agrees");
    assert!(store.read(|view| view.trash(notes(), None, 9)).unwrap()[0].in_limbo);
}

/// F15: whoever has not heard of a deletion that was forgotten begins again.
#[test]
fn the_feed_begins_again_after_a_forgotten_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    ["a", "b"].into_iter().for_each(|name| put(&store, name, "x", NOW));
    let changes = |since| store.read(|view| view.changes(notes(), since, 9)).unwrap();
    let before = changes(Token::START).next;
    store.delete(notes(), key("a"), NOW).unwrap();
    let after = changes(Token::START).next;
    raise(&store, much_later());
    assert!(changes(before).resync);
    assert_eq!(changes(before).changes.len(), 1);
    assert!(!changes(after).resync && !changes(Token::START).resync);
}
