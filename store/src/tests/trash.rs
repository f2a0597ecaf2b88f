//! Deleted records: listed, brought back, let go; and what a device delivered,
//! taken back.

use std::collections::BTreeMap;

use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::snapshot::{Batch, Snapshot};
use kinsync_protocol::sums::Range;

use super::world::*;
use crate::{Emptied, Job, Rules, Store, UNDO_PAGE, UndoPlan, Undone, WriteError};

fn trash(store: &Store) -> Vec<String> {
    let trash = store.snapshot().unwrap().trash(notes(), None, 100).unwrap();
    trash.into_iter().map(|trashed| trashed.key.as_str().to_owned()).collect()
}

/// D9: what was deleted is listed until it is back or let go of.
#[test]
fn what_was_deleted_is_listed_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    for name in ["a", "b", "c"] {
        put(&store, name, "first", NOW);
        put(&store, name, name, later(1));
    }
    store.delete(notes(), key("a"), later(2)).unwrap();
    store.delete(notes(), key("c"), later(3)).unwrap();
    assert_eq!(trash(&store), ["a", "c"]);
    let snapshot = store.snapshot().unwrap();
    let page = snapshot.trash(notes(), Some(&key("a")), 1).unwrap();
    assert_eq!((page[0].key.as_str(), page[0].from, page[0].received), ("c", None, later(3)));
    assert_eq!(snapshot.trash(notes(), None, 1).unwrap().len(), 1);
    assert_eq!(snapshot.trash(notes(), None, 0).unwrap(), []);

    let (version, children) = store.write(Job::restore_deleted(notes(), key("c"), later(4))).unwrap();
    assert_eq!((get(&store, "c").as_deref(), children), (Some("c"), 0));
    assert!(version.knew(&page[0].deletion), "an ordinary edit of the deletion");
    assert_eq!(trash(&store), ["a"]);
    let live = store.write(Job::restore_deleted(notes(), key("b"), later(4)));
    assert_eq!(live, Err(WriteError::NotFound), "it is not deleted");
    let never = store.write(Job::restore_deleted(notes(), key("x"), later(4)));
    assert_eq!(never, Err(WriteError::NotFound));
}

/// Letting go is this device's own affair: the deletion stays.
#[test]
fn an_emptied_trash_keeps_the_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), PHONE);
    for name in ["a", "b", "c"] {
        put(&store, name, "first", NOW);
        put(&store, name, name, later(1));
    }
    store.delete(notes(), key("a"), later(2)).unwrap();
    store.delete(notes(), key("c"), later(2)).unwrap();
    let root = store.snapshot().unwrap().root(notes()).unwrap();
    let keys = Some(vec![key("a"), key("b"), key("x")]);
    let emptied = store.write(Job::empty_trash(notes(), keys)).unwrap();
    assert_eq!(emptied, Emptied { records: 1, versions: 2 }, "b is not deleted");
    assert_eq!(trash(&store), ["c"]);
    assert_eq!(store.write(Job::empty_trash(notes(), None)).unwrap().records, 1);
    assert_eq!(trash(&store), [""; 0]);
    assert_eq!(store.write(Job::empty_trash(notes(), None)).unwrap(), Emptied::default());
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap(), root);
    assert_eq!(store.snapshot().unwrap().history(notes(), &key("b")).unwrap().len(), 1);
    let gone = store.write(Job::restore_deleted(notes(), key("a"), later(3)));
    assert_eq!(gone, Err(WriteError::NotFound));
    assert_sound(&store);
}

/// The losers of conflicts about a deleted record go with it.
#[test]
fn an_emptied_trash_forgets_the_conflicts_in_it() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    put(&laptop, "x", "early", NOW);
    put(&phone, "x", "late", later(5));
    send_all(&laptop, &phone, later(6));
    phone.delete(notes(), key("x"), later(7)).unwrap();
    assert_eq!(phone.snapshot().unwrap().conflicts(notes(), 9).unwrap().len(), 1);
    phone.write(Job::empty_trash(notes(), None)).unwrap();
    assert_eq!(phone.snapshot().unwrap().conflicts(notes(), 9).unwrap().len(), 0);
    assert_sound(&phone);
}

fn undo(store: &Store, since: u64) -> Undone {
    let job = Job::undo_received(notes(), LAPTOP, later(since), None, later(90));
    store.write(job).unwrap()
}

/// D9: everything that one device delivered goes back to what it was, as
/// edits that travel; what came from elsewhere stays.
#[test]
fn what_a_device_delivered_is_taken_back() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    for name in ["edited", "deleted", "mine", "later"] {
        put(&phone, name, "mine", NOW);
    }
    send_all(&phone, &laptop, NOW);
    for name in ["edited", "new", "later"] {
        put(&laptop, name, "theirs", later(10));
    }
    laptop.delete(notes(), key("deleted"), later(10)).unwrap();
    send_all(&laptop, &phone, later(20));
    put(&phone, "later", "mine again", later(30));
    assert_eq!(phone.snapshot().unwrap().received_from(notes(), LAPTOP, later(20)).unwrap(), 3);
    assert_eq!(undo(&phone, 21), Undone::default(), "nothing arrived since");

    assert_eq!(undo(&phone, 20), Undone { restored: 2, deleted: 1, left: 0, next: None });
    send_all(&phone, &laptop, later(91));
    for store in [&phone, &laptop] {
        assert_eq!(get(store, "edited").as_deref(), Some("mine"));
        assert_eq!(get(store, "deleted").as_deref(), Some("mine"));
        assert_eq!(get(store, "new"), None);
        assert_eq!(get(store, "later").as_deref(), Some("mine again"), "an edit of ours");
        assert_sound(store);
    }
    assert_eq!(undo(&phone, 0), Undone::default(), "all of it is ours now");
    // And the undoing is undone by hand.
    phone.write(Job::restore_deleted(notes(), key("new"), later(95))).unwrap();
    assert_eq!(get(&phone, "new").as_deref(), Some("theirs"));
}

/// D9: what an undo would do is counted as it is then done: what goes or comes
/// back with its parent once, and what cannot be undone as left.
#[test]
fn an_undo_does_what_was_counted_before() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    let (chats, turns) = (DomainId::of("chats"), notes());
    let turn = Rules { parent: Some(chats), ..Rules::default() };
    for store in [&phone, &laptop] {
        store.set_guard(Guard { records: 0, percent: 0 });
        store.set_rules(BTreeMap::from([(chats, Rules::default()), (turns, turn.clone())]));
    }
    let both = |from: &Store, to: &Store, at| {
        for domain in [chats, turns] {
            let snapshot = from.snapshot().unwrap();
            let items = snapshot.items(domain, Range::ALL, None, 99).unwrap();
            let hashes = items.iter().map(|item| kinsync_protocol::item::key_hash(domain, &item.key));
            let records = hashes.map(|hash| snapshot.record(domain, hash).unwrap().unwrap()).collect();
            to.apply(from.device(), vec![Batch { domain, records, cursor: None, floor: None }], at).unwrap();
        }
    };
    for chat in ["a", "b"] {
        phone.put(chats, key(chat), "{}".into(), NOW).unwrap();
        for n in 0..3 {
            phone.put(turns, key(&format!("{chat}/{n}")), "mine".into(), NOW).unwrap();
        }
    }
    both(&phone, &laptop, NOW);
    laptop.delete(chats, key("a"), later(10)).unwrap();
    laptop.put(turns, key("b/0"), "theirs".into(), later(10)).unwrap();
    laptop.put(chats, key("c"), "{}".into(), later(10)).unwrap();
    laptop.put(turns, key("c/0"), "theirs".into(), later(10)).unwrap();
    both(&laptop, &phone, later(20));
    let (mut counted, mut plan) = ((0, 0, 0), UndoPlan::default());
    let roots = |store: &Store| [chats, turns].map(|of| store.snapshot().unwrap().root(of).unwrap());
    let before = roots(&phone);
    for domain in [chats, turns] {
        let job = Job::would_undo(domain, LAPTOP, NOW, None, plan);
        let (would, next) = phone.write(job).unwrap();
        counted = (counted.0 + would.restored, counted.1 + would.deleted, counted.2 + would.left);
        plan = next;
    }
    assert_eq!(roots(&phone), before, "counting changes nothing");
    let mut done = (0, 0, 0);
    for domain in [chats, turns] {
        let undone = phone.write(Job::undo_received(domain, LAPTOP, NOW, None, later(90))).unwrap();
        done = (done.0 + undone.restored, done.1 + undone.deleted, done.2 + undone.left);
    }
    assert_eq!(counted, done);
    // The chat with its three turns, and the edited turn; the new chat.
    assert_eq!((done.0, done.1), (5, 1));
    assert_eq!(get(&phone, "a/2").as_deref(), Some("mine"));
}

/// An undo of a whole library comes in pages, each record once.
#[test]
fn an_undo_goes_on_where_it_stopped() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(here.path(), PHONE), open(there.path(), LAPTOP));
    let many = (0..UNDO_PAGE + 1).map(|n| (key(&format!("n{n}")), vec![1])).collect();
    laptop.put_many(notes(), many, NOW).unwrap();
    send_all(&laptop, &phone, NOW);
    let page = |after| phone.write(Job::undo_received(notes(), LAPTOP, NOW, after, later(9))).unwrap();
    let first = page(None);
    assert_eq!(first.deleted, UNDO_PAGE as u64);
    let second = page(first.next);
    assert_eq!((second.deleted, second.next), (1, None));
    assert_eq!(phone.snapshot().unwrap().root(notes()).unwrap().live, 0);
}
