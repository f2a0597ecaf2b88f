//! Parents and children: what ends together, and what comes back together.

use std::collections::BTreeMap;

use assert_matches::assert_matches;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::item;
use kinsync_protocol::record::Key;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::snapshot::{Batch, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use proptest::prelude::*;

use super::platter::{Disk, created, start};
use super::world::*;
use crate::{Job, Reason, Rules, Store, WriteError};

fn chats() -> DomainId {
    DomainId::of("chats")
}

fn messages() -> DomainId {
    DomainId::of("messages")
}

fn variants() -> DomainId {
    DomainId::of("variants")
}

const FAMILY: [&str; 3] = ["chats", "messages", "variants"];

/// A store whose chats have messages, and those variants.
fn home(disk: &Disk) -> Store {
    let store = start(disk);
    let child_of = |parent| Rules { parent: Some(parent), ..Rules::default() };
    store.set_rules(BTreeMap::from([
        (chats(), Rules::default()),
        (messages(), child_of(chats())),
        (variants(), child_of(messages())),
    ]));
    store
}

fn write(store: &Store, domain: DomainId, name: &str, value: &str, now: UnixMillis) {
    store.put(domain, key(name), value.into(), now).unwrap();
}

fn read(store: &Store, domain: DomainId, name: &str) -> Option<String> {
    let record = store.snapshot().unwrap().get(domain, &key(name)).unwrap()?;
    Some(String::from_utf8(record.value).unwrap())
}

/// All that `store` holds of a domain.
fn all(store: &Store, domain: DomainId) -> Batch {
    let snapshot = store.snapshot().unwrap();
    let items = snapshot.log(domain, 0, usize::MAX).unwrap();
    let record = |key: Key| snapshot.record(domain, item::key_hash(domain, &key)).unwrap().unwrap();
    Batch {
        domain,
        records: items.into_iter().map(|item| record(item.key)).collect(),
        cursor: None,
        floor: None,
    }
}

fn send(from: &Store, to: &Store, domains: &[DomainId], now: UnixMillis) {
    let batches = domains.iter().map(|domain| all(from, *domain)).collect();
    to.apply(from.device(), batches, now).unwrap();
}

fn roots(store: &Store) -> Vec<kinsync_protocol::sums::Summary> {
    let snapshot = store.snapshot().unwrap();
    FAMILY.iter().map(|name| snapshot.root(DomainId::of(name)).unwrap().summary).collect()
}

/// A chat of two messages, one of which has a variant.
fn library(store: &Store) {
    write(store, chats(), "c", "a chat", NOW);
    write(store, messages(), "c/1", "hello", NOW);
    write(store, messages(), "c/2", "hi", NOW);
    write(store, variants(), "c/1/a", "hullo", NOW);
    write(store, messages(), "d/1", "of another chat", NOW);
}

/// P23: children go with their parent in its transaction, on every device, and
/// every device makes the same tombstones of them.
#[test]
fn the_end_of_a_parent_ends_its_children_everywhere() {
    let (here, there) = (created(PHONE), created(LAPTOP));
    let (phone, laptop) = (home(&here), home(&there));
    library(&phone);
    send(&phone, &laptop, &[variants(), messages(), chats()], NOW);
    phone.delete(chats(), key("c"), later(5)).unwrap();
    assert_eq!(read(&phone, messages(), "c/1"), None);
    assert_eq!(read(&phone, variants(), "c/1/a"), None);
    assert_eq!(read(&phone, messages(), "d/1").as_deref(), Some("of another chat"));

    // Only the chat's own tombstone travels, and the rest follows.
    send(&phone, &laptop, &[chats()], later(6));
    assert_eq!(roots(&phone), roots(&laptop));
    assert_eq!(read(&laptop, messages(), "d/1").as_deref(), Some("of another chat"));
    for store in [&phone, &laptop] {
        let history = store.snapshot().unwrap().history(messages(), &key("c/1")).unwrap();
        assert_eq!(history.iter().map(|past| past.reason).collect::<Vec<_>>(), [Reason::ParentDeleted]);
        assert_sound(store);
    }
}

/// P23: what a device that was away adds to a deleted chat is deleted too, and
/// can be had back.
#[test]
fn a_child_that_comes_too_late_is_deleted_and_kept() {
    let (here, there) = (created(PHONE), created(LAPTOP));
    let (phone, laptop) = (home(&here), home(&there));
    library(&phone);
    send(&phone, &laptop, &[chats(), messages(), variants()], NOW);
    phone.delete(chats(), key("c"), later(5)).unwrap();
    write(&laptop, messages(), "c/3", "too late", later(9));
    send(&laptop, &phone, &[messages()], later(10));
    assert_eq!(read(&phone, messages(), "c/3"), None);
    let trash = phone.snapshot().unwrap().trash(messages(), None, 9).unwrap();
    let late = trash.iter().find(|trashed| trashed.key == key("c/3")).unwrap();
    assert!(late.with_parent && late.last.from == Some(LAPTOP));
    send(&phone, &laptop, &[messages(), chats()], later(11));
    assert_eq!(roots(&phone), roots(&laptop));
}

#[test]
fn nothing_is_written_under_a_deleted_parent() {
    let disk = created(PHONE);
    let phone = home(&disk);
    library(&phone);
    phone.delete(chats(), key("c"), NOW).unwrap();
    let refused = Err(WriteError::ParentDeleted { parent: key("c") });
    assert_eq!(phone.put(messages(), key("c/9"), vec![1], NOW), refused);
    let many = vec![(key("d/8"), vec![1]), (key("c/9"), vec![1])];
    assert!(phone.put_many(messages(), many, NOW).is_err());
    assert_eq!(read(&phone, messages(), "d/8"), None, "all or none");
    // A chat that was never there is no deleted one.
    write(&phone, messages(), "new/1", "first", NOW);
}

/// D9: a chat comes back with its messages, and theirs, wherever it was
/// deleted; a message that was deleted before the chat stays deleted.
#[test]
fn a_restored_parent_brings_its_children_back() {
    let (here, there) = (created(PHONE), created(LAPTOP));
    let (phone, laptop) = (home(&here), home(&there));
    library(&phone);
    phone.delete(messages(), key("c/2"), later(1)).unwrap();
    send(&phone, &laptop, &[chats(), messages(), variants()], later(2));
    phone.delete(chats(), key("c"), later(5)).unwrap();
    send(&phone, &laptop, &[chats()], later(6));
    let (_, children) = laptop.write(Job::restore_deleted(chats(), key("c"), later(7))).unwrap();
    assert_eq!(children, 2);
    // In the worst order: children before their parent.
    for domain in [variants(), messages(), chats()] {
        send(&laptop, &phone, &[domain], later(8));
    }
    send(&phone, &laptop, &[variants(), messages(), chats()], later(9));
    send(&laptop, &phone, &[variants(), messages(), chats()], later(10));
    for store in [&phone, &laptop] {
        assert_eq!(read(store, chats(), "c").as_deref(), Some("a chat"));
        assert_eq!(read(store, messages(), "c/1").as_deref(), Some("hello"));
        assert_eq!(read(store, variants(), "c/1/a").as_deref(), Some("hullo"));
        assert_eq!(read(store, messages(), "c/2"), None);
        assert_sound(store);
    }
    assert_eq!(roots(&phone), roots(&laptop));
}

/// Where the children of a restored parent travel and the parent does not yet,
/// two devices do not undo each other for ever.
#[test]
fn children_that_travel_before_their_restored_parent_stay() {
    let (here, there) = (created(PHONE), created(LAPTOP));
    let (phone, laptop) = (home(&here), home(&there));
    library(&phone);
    send(&phone, &laptop, &[chats(), messages(), variants()], NOW);
    phone.delete(chats(), key("c"), later(5)).unwrap();
    send(&phone, &laptop, &[chats()], later(6));
    laptop.write(Job::restore_deleted(chats(), key("c"), later(7))).unwrap();
    send(&laptop, &phone, &[messages()], later(8));
    assert_eq!(read(&phone, messages(), "c/1"), None, "its parent is deleted here");
    send(&phone, &laptop, &[messages()], later(9));
    assert_eq!(read(&laptop, messages(), "c/1").as_deref(), Some("hello"), "its parent lives here");
    send(&laptop, &phone, &[messages()], later(10));
    assert_eq!(read(&phone, messages(), "c/1").as_deref(), Some("hello"), "somebody knows more");
    let root = |store: &Store| store.snapshot().unwrap().root(messages()).unwrap().summary;
    assert_eq!(root(&phone), root(&laptop));
    send(&laptop, &phone, &[variants(), chats()], later(11));
    assert_eq!(roots(&phone), roots(&laptop));
    assert_eq!(read(&phone, variants(), "c/1/a").as_deref(), Some("hullo"));
    // A later deletion of the chat is one of all of it.
    phone.delete(chats(), key("c"), later(12)).unwrap();
    send(&phone, &laptop, &[chats()], later(13));
    assert_eq!(read(&laptop, messages(), "c/1"), None);
    assert_eq!(roots(&phone), roots(&laptop));
}

/// A new chat under an old name does not begin with the messages of the old
/// one.
#[test]
fn a_new_parent_of_an_old_name_has_none_of_its_children() {
    let disk = created(PHONE);
    let phone = home(&disk);
    library(&phone);
    phone.delete(chats(), key("c"), later(5)).unwrap();
    write(&phone, chats(), "c", "a new chat", later(6));
    assert_eq!(read(&phone, messages(), "c/1"), None);
    // Nor do they come with the new one when that is deleted and restored.
    write(&phone, messages(), "c/7", "of the new one", later(7));
    phone.delete(chats(), key("c"), later(8)).unwrap();
    phone.write(Job::restore_deleted(chats(), key("c"), later(9))).unwrap();
    assert_eq!(read(&phone, messages(), "c/7").as_deref(), Some("of the new one"));
    assert_eq!(read(&phone, messages(), "c/1"), None);
}

/// D16: a device that lets the phone delete nothing keeps a chat whole that
/// the phone deleted on a third device, in whatever order that reaches it.
#[test]
fn children_stay_where_the_end_of_their_parent_is_not_granted() {
    let orders = [
        [chats(), messages(), variants()],
        [variants(), messages(), chats()],
        [messages(), chats(), variants()],
    ];
    for (there, back) in orders.iter().flat_map(|there| orders.iter().map(move |back| (there, back))) {
        let disks = [created(PHONE), created(LAPTOP), created(DESKTOP)];
        let [phone, laptop, desktop] = [home(&disks[0]), home(&disks[1]), home(&disks[2])];
        library(&phone);
        for store in [&laptop, &desktop] {
            send(&phone, store, &FAMILY.map(DomainId::of), NOW);
        }
        write(&desktop, messages(), "c/1", "edited where it ends", later(1));
        let no_delete = Rights { delete: false, ..Rights::ALL };
        laptop.write(Job::allow(PHONE, no_delete)).unwrap();
        phone.delete(chats(), key("c"), later(5)).unwrap();
        send(&phone, &desktop, &[chats()], later(6));
        assert_eq!(read(&desktop, messages(), "c/2"), None, "there the phone may delete");
        let mut rounds = 0;
        while roots(&laptop) != roots(&desktop) {
            there.iter().for_each(|domain| send(&desktop, &laptop, &[*domain], later(7)));
            back.iter().for_each(|domain| send(&laptop, &desktop, &[*domain], later(8)));
            rounds += 1;
            assert!(rounds < 6, "they do not come to an end");
        }
        for store in [&laptop, &desktop] {
            assert_eq!(read(store, chats(), "c").as_deref(), Some("a chat"));
            assert!(read(store, messages(), "c/1").is_some());
            assert_eq!(read(store, messages(), "c/2").as_deref(), Some("hi"));
            assert_eq!(read(store, variants(), "c/1/a").as_deref(), Some("hullo"));
            assert_sound(store);
        }
        // Whoever may delete the chat still ends all of it.
        desktop.delete(chats(), key("c"), later(20)).unwrap();
        while roots(&laptop) != roots(&desktop) {
            there.iter().for_each(|domain| send(&desktop, &laptop, &[*domain], later(21)));
            back.iter().for_each(|domain| send(&laptop, &desktop, &[*domain], later(22)));
        }
        assert_eq!(read(&laptop, messages(), "c/2"), None);
        assert_eq!(read(&laptop, variants(), "c/1/a"), None);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize, u8),
    Delete(usize, usize),
    Restore(usize, usize),
    /// From one device to another, one domain.
    Send(usize, usize, usize),
}

const KEYS: [(&str, &[&str]); 3] =
    [("chats", &["c", "d"]), ("messages", &["c/1", "c/2", "d/1"]), ("variants", &["c/1/a", "d/1/a"])];

fn step() -> impl Strategy<Value = Step> {
    let device = 0..3_usize;
    let record = 0..7_usize;
    prop_oneof![
        4 => (device.clone(), record.clone(), 0..3_u8).prop_map(|(d, r, v)| Step::Put(d, r, v)),
        3 => (device.clone(), record.clone()).prop_map(|(d, r)| Step::Delete(d, r)),
        2 => (device.clone(), record).prop_map(|(d, r)| Step::Restore(d, r)),
        5 => (device.clone(), device, 0..3_usize).prop_map(|(a, b, domain)| Step::Send(a, b, domain)),
    ]
}

fn place(record: usize) -> (DomainId, Key) {
    let all =
        KEYS.iter().flat_map(|(domain, keys)| keys.iter().map(|name| (DomainId::of(domain), key(name))));
    all.collect::<Vec<_>>().swap_remove(record)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    /// P18 P23: whatever three devices do to parents and children, and in
    /// whatever order their domains travel, they end equal after finitely many
    /// exchanges, and no child outlives its parent.
    /// That holds, too, where one of them lets another one delete nothing.
    #[test]
    fn families_converge_in_any_order(
        steps in prop::collection::vec(step(), 1..40),
        order in any::<u8>(),
        limited in any::<bool>(),
    ) {
        let disks = [created(PHONE), created(LAPTOP), created(DESKTOP)];
        let stores: Vec<Store> = disks.iter().map(home).collect();
        if limited {
            let no_delete = Rights { delete: false, ..Rights::ALL };
            stores[0].write(Job::allow(LAPTOP, no_delete)).unwrap();
        }
        let mut at = 0;
        let mut now = || {
            at += 1;
            later(at)
        };
        for step in steps {
            match step {
                Step::Put(device, record, value) => {
                    let (domain, key) = place(record);
                    let put = stores[device].put(domain, key, vec![value], now());
                    assert_matches!(put, Ok(_) | Err(WriteError::ParentDeleted { .. }));
                }
                Step::Delete(device, record) => {
                    let (domain, key) = place(record);
                    let deleted = stores[device].delete(domain, key, now());
                    assert_matches!(deleted, Ok(_) | Err(WriteError::NotFound));
                }
                Step::Restore(device, record) => {
                    let (domain, key) = place(record);
                    let _ = stores[device].write(Job::restore_deleted(domain, key, now()));
                }
                Step::Send(a, b, domain) if a != b => {
                    send(&stores[a], &stores[b], &[DomainId::of(FAMILY[domain])], now());
                }
                Step::Send(..) => {}
            }
        }
        let mut domains = FAMILY.map(DomainId::of);
        domains.rotate_left(usize::from(order % 3));
        let mut rounds = 0;
        while roots(&stores[0]) != roots(&stores[1]) || roots(&stores[1]) != roots(&stores[2]) {
            for (a, b) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                domains.iter().for_each(|domain| send(&stores[a], &stores[b], &[*domain], later(1_000)));
            }
            rounds += 1;
            prop_assert!(rounds < 12, "they do not come to an end");
        }
        for store in &stores {
            assert_sound(store);
            for record in 2..7 {
                let (domain, child) = place(record);
                let parent = if record < 5 { chats() } else { messages() };
                let snapshot = store.snapshot().unwrap();
                let live = snapshot.get(domain, &child).unwrap().is_some();
                let parent_key = kinsync_protocol::family::parent_key(&child).unwrap();
                let parent = snapshot.item(parent, item::key_hash(parent, &parent_key)).unwrap();
                prop_assert!(!live || parent.is_none_or(|item| !item.version.deleted), "{child} outlives its parent");
            }
        }
    }
}
