//! Mass changes wait for a person.

use std::collections::BTreeMap;

use kinsync_protocol::declaration::Guard;
use kinsync_protocol::id::DomainId;
use kinsync_protocol::limits::VALUE_BYTES_MAX;
use kinsync_protocol::record::Record;
use kinsync_protocol::rights::Rights;
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};

use super::world::*;
use crate::{Applied, Decided, HELD_BYTES_MAX, HELD_RECORDS_MAX, Held, Job, Rules, Store, WriteError};

/// Two devices that hold the same notes and have synced before.
struct Pair {
    _folders: [tempfile::TempDir; 2],
    phone: Store,
    laptop: Store,
    /// Where the phone has read the laptop's log to.
    seen: u64,
}

impl Pair {
    fn with(notes: usize) -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (phone, laptop) = (open(folders[0].path(), PHONE), open(folders[1].path(), LAPTOP));
        for n in 0..notes {
            put(&laptop, &format!("n{n:03}"), "old", NOW);
        }
        send_all(&laptop, &phone, NOW);
        send_all(&phone, &laptop, NOW);
        let seen = head(&laptop);
        Self { _folders: folders, phone, laptop, seen }
    }

    /// What the laptop has to say since.
    fn news(&self) -> Batch {
        batch(&self.laptop, self.seen)
    }

    /// The laptop says all of it in one frame of a session.
    fn sync(&self, session: u64) -> Applied {
        apply(&self.phone, session, self.news())
    }

    fn delete(&self, notes: std::ops::Range<usize>) {
        for n in notes {
            self.laptop.delete(notes_domain(), key(&format!("n{n:03}")), later(1)).unwrap();
        }
    }

    fn edit(&self, notes: std::ops::Range<usize>) {
        for n in notes {
            put(&self.laptop, &format!("n{n:03}"), "new", later(1));
        }
    }

    fn held(&self) -> Vec<Held> {
        self.phone.snapshot().unwrap().held().unwrap()
    }

    fn one(&self) -> Held {
        let held = self.held();
        assert_eq!(held.len(), 1, "{held:?}");
        held[0].clone()
    }

    fn live(&self) -> u64 {
        root(&self.phone).live
    }

    fn assert_equal(&self) {
        send_all(&self.phone, &self.laptop, later(9));
        assert_eq!(root(&self.phone).summary, root(&self.laptop).summary);
        assert_sound(&self.phone);
        assert_sound(&self.laptop);
    }
}

fn notes_domain() -> DomainId {
    notes()
}

fn root(store: &Store) -> kinsync_protocol::snapshot::Root {
    store.snapshot().unwrap().root(notes()).unwrap()
}

fn head(store: &Store) -> u64 {
    root(store).head
}

fn apply(store: &Store, session: u64, batch: Batch) -> Applied {
    store.write(Job::apply_in(Some(session), LAPTOP, vec![batch], later(2))).unwrap()
}

fn accept(store: &Store, number: u64) -> Result<Decided, WriteError> {
    store.write(Job::accept_held(number, later(3)))
}

fn reject(store: &Store, number: u64) -> Result<Decided, WriteError> {
    store.write(Job::reject_held(number, later(3)))
}

fn cursor(store: &Store) -> Option<Cursor> {
    store.snapshot().unwrap().cursor(LAPTOP, notes()).unwrap()
}

/// D10: nothing of a held change is applied, and it is there to be seen.
#[test]
fn a_mass_deletion_is_held_as_a_whole() {
    let pair = Pair::with(200);
    pair.delete(0..51);
    put(&pair.laptop, "another", "new", later(1));
    let (before, cursor_before) = (root(&pair.phone), cursor(&pair.phone));
    let applied = pair.sync(1);
    assert_eq!((applied.received, applied.changed), (52, 0));
    assert!(applied.held.contains(&notes()));
    assert_eq!((root(&pair.phone), cursor(&pair.phone)), (before, cursor_before));
    let held = pair.one();
    assert_eq!((held.peer, held.domain, held.records, held.beyond), (LAPTOP, notes(), 52, 0));
    assert_eq!((held.counts.live, held.counts.deletions, held.counts.replacements), (200, 51, 0));
    let rows = pair.phone.snapshot().unwrap().held_records(held.number).unwrap().unwrap();
    assert_eq!(rows.iter().filter(|row| row.version.deleted && row.standing.is_some()).count(), 51);
    assert_eq!(rows.iter().filter(|row| row.standing.is_none()).count(), 1);
    assert_eq!(pair.phone.snapshot().unwrap().held_records(held.number + 1).unwrap(), None);
}

/// D10: up to the limit nothing is held.
#[test]
fn what_people_do_every_day_is_not_held() {
    let pair = Pair::with(300);
    pair.delete(0..50);
    pair.edit(100..160);
    let applied = pair.sync(1);
    assert_eq!((applied.changed, applied.held.len()), (110, 0));
    assert_eq!(pair.live(), 250);
    pair.assert_equal();
}

/// D10: what was accepted is exactly what would have been applied.
#[test]
fn accepting_makes_both_equal() {
    let pair = Pair::with(120);
    put(&pair.phone, "n100", "written apart", later(1));
    pair.delete(0..110);
    put(&pair.laptop, "another", "new", later(1));
    pair.sync(1);
    let number = pair.one().number;
    let decided = accept(&pair.phone, number).unwrap();
    assert_eq!((decided.held.counts.deletions, decided.changed), (110, 111));
    assert_eq!((pair.held(), pair.live()), (vec![], 11));
    assert_eq!(accept(&pair.phone, number), Err(WriteError::NotFound));
    // It comes again, and is no news.
    assert_eq!(pair.sync(2).changed, 0);
    assert_eq!(cursor(&pair.phone).unwrap().seq, head(&pair.laptop));
    pair.assert_equal();
    let conflicts = pair.phone.snapshot().unwrap().conflicts(notes(), 9).unwrap();
    assert_eq!(conflicts.len(), 1, "the one that was written apart is kept");
}

/// D10: what was rejected stands everywhere as it stood here.
#[test]
fn rejecting_makes_both_equal_with_our_versions() {
    let pair = Pair::with(120);
    pair.delete(0..60);
    pair.edit(60..100);
    put(&pair.laptop, "another", "new", later(1));
    pair.sync(1);
    let decided = reject(&pair.phone, pair.one().number).unwrap();
    assert_eq!(decided.changed, 101);
    assert_eq!((pair.held(), pair.live()), (vec![], 121));
    assert_eq!(pair.sync(2).held.len(), 0, "the same once more is no news");
    pair.assert_equal();
    for n in [0, 59, 60, 99, 100] {
        assert_eq!(get(&pair.laptop, &format!("n{n:03}")).as_deref(), Some("old"), "{n}");
    }
    assert_eq!(get(&pair.laptop, "another").as_deref(), Some("new"));
    let past = pair.phone.snapshot().unwrap().history(notes(), &key("n060")).unwrap();
    assert_eq!(past.len(), 1, "what was rejected can still be had");
    let conflicts = pair.laptop.snapshot().unwrap().conflicts(notes(), 9).unwrap();
    assert_eq!(conflicts, [], "whoever rejects knows what it rejects");
}

/// D10: the first sync with a device takes in whatever it is.
#[test]
fn the_first_sync_is_exempt() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(folders[0].path(), PHONE), open(folders[1].path(), LAPTOP));
    (0..100).for_each(|n| put(&laptop, &n.to_string(), "old", NOW));
    // The phone has them from a backup, not from the laptop.
    send_all(&laptop, &phone, NOW);
    let fresh = tempfile::tempdir().unwrap();
    let copy = open(fresh.path(), PHONE);
    copy.apply(DESKTOP, vec![batch(&phone, 0)], NOW).unwrap();
    (0..100).for_each(|n| drop(laptop.delete(notes(), key(&n.to_string()), later(1)).unwrap()));
    let all = batch(&laptop, 0);
    let half = |records: &[Record], last: bool| Batch {
        domain: notes(),
        records: records.to_vec(),
        cursor: all.cursor.clone().filter(|_| last),
        floor: None,
    };
    let (first, second) = all.records.split_at(60);
    assert_eq!(apply(&copy, 1, half(first, false)).changed, 60);
    assert_eq!(apply(&copy, 1, half(second, true)).changed, 40, "the whole session is the first");
    assert_eq!(root(&copy).live, 0);
}

/// D10: a mass change in many frames of one session is one.
#[test]
fn changes_are_counted_over_a_session() {
    let pair = Pair::with(1_000);
    pair.delete(0..80);
    let all = pair.news();
    let frame = |rows: std::ops::Range<usize>| Batch {
        domain: notes(),
        records: all.records[rows].to_vec(),
        cursor: None,
        floor: None,
    };
    assert_eq!(apply(&pair.phone, 1, frame(0..40)).changed, 40);
    assert_eq!(apply(&pair.phone, 1, frame(40..60)).changed, 0, "60 in all");
    assert_eq!(apply(&pair.phone, 1, frame(60..80)).changed, 0);
    let held = pair.one();
    assert_eq!((held.counts.deletions, held.records), (80, 40));
    assert_eq!(apply(&pair.phone, 1, frame(60..80)).changed, 0, "sent twice");
    assert_eq!((pair.one().counts, pair.one().records), (held.counts, held.records));
    // Once it is held, the next session does not get around it.
    assert_eq!(apply(&pair.phone, 2, frame(40..50)).changed, 0);
}

/// Another session begins to count anew.
#[test]
fn a_session_does_not_answer_for_the_one_before() {
    let pair = Pair::with(1_000);
    for round in 0..4_u64 {
        let first = usize::try_from(round).unwrap() * 40;
        pair.delete(first..first + 40);
        assert_eq!(pair.sync(round).held.len(), 0, "{round}");
    }
    assert_eq!(pair.live(), 840);
}

/// Pushes are counted with the session before them.
#[test]
fn pushes_do_not_get_around_the_guard() {
    let pair = Pair::with(1_000);
    pair.delete(0..60);
    let all = pair.news();
    let mut held = false;
    for records in all.records.chunks(10) {
        let push = Batch { domain: notes(), records: records.to_vec(), cursor: None, floor: None };
        let applied = pair.phone.apply(LAPTOP, vec![push], later(2)).unwrap();
        held |= !applied.held.is_empty();
    }
    assert!(held);
    assert_eq!(pair.live(), 950);
    assert!(!pair.one().is_whole, "a push tells a part");
    pair.sync(1);
    assert!(pair.one().is_whole);
}

/// P25: edits of months pass; only what leaves little as it was is held.
#[test]
fn many_edits_pass_and_a_rewrite_is_held() {
    let pair = Pair::with(400);
    pair.edit(0..80);
    assert_eq!(pair.sync(1).changed, 80);
    pair.edit(100..181);
    let applied = pair.sync(2);
    assert_eq!((applied.changed, applied.held.len()), (0, 1));
    assert_eq!(pair.one().counts.replacements, 81);
}

/// A mass change that somebody made here as well is none any more.
#[test]
fn what_was_done_here_too_is_let_go() {
    let pair = Pair::with(200);
    pair.delete(0..60);
    pair.sync(1);
    for n in 0..40 {
        pair.phone.delete(notes(), key(&format!("n{n:03}")), later(5)).unwrap();
    }
    assert_eq!(pair.one().counts.deletions, 60);
    pair.sync(2);
    assert_eq!((pair.held(), pair.live()), (vec![], 140));
    pair.sync(3);
    pair.assert_equal();
}

fn chats() -> DomainId {
    DomainId::of("chats")
}

/// Notes that belong to chats.
fn families(store: &Store) {
    let rules = Rules { parent: Some(chats()), ..Rules::default() };
    store.set_rules(BTreeMap::from([(notes(), rules), (chats(), Rules::default())]));
}

fn batch_of(store: &Store, domain: DomainId) -> Batch {
    let snapshot = store.snapshot().unwrap();
    let root = snapshot.root(domain).unwrap();
    let record = |item: kinsync_protocol::snapshot::Item| {
        let hash = kinsync_protocol::item::key_hash(domain, &item.key);
        snapshot.record(domain, hash).unwrap().unwrap()
    };
    let records = snapshot.log(domain, 0, usize::MAX).unwrap().into_iter().map(record).collect();
    Batch {
        domain,
        records,
        cursor: Some(Cursor { epoch: root.epoch, seq: root.head, after: None }),
        floor: None,
    }
}

fn chat_library() -> ([tempfile::TempDir; 2], Store, Store) {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (phone, laptop) = (open(folders[0].path(), PHONE), open(folders[1].path(), LAPTOP));
    for store in [&phone, &laptop] {
        families(store);
    }
    for chat in 0..60 {
        laptop.put(chats(), key(&format!("c{chat}")), b"{}".to_vec(), NOW).unwrap();
        for turn in 0..3 {
            put(&laptop, &format!("c{chat}/{turn}"), "text", NOW);
        }
    }
    let all = vec![batch_of(&laptop, chats()), batch_of(&laptop, notes())];
    phone.apply(LAPTOP, all, NOW).unwrap();
    (folders, phone, laptop)
}

/// Children that end with their parent count as none: deleting a long chat is
/// deleting one thing.
#[test]
fn children_of_a_deleted_parent_do_not_count() {
    for order in [[chats(), notes()], [notes(), chats()]] {
        let (_folders, phone, laptop) = chat_library();
        for n in 0..100 {
            put(&laptop, &format!("c0/more{n}"), "text", NOW);
        }
        phone.apply(LAPTOP, vec![batch_of(&laptop, notes())], NOW).unwrap();
        laptop.delete(chats(), key("c0"), later(1)).unwrap();
        let batches = order.map(|domain| batch_of(&laptop, domain)).to_vec();
        let applied = phone.write(Job::apply_in(Some(1), LAPTOP, batches, later(2))).unwrap();
        assert_eq!(applied.held.len(), 0);
        assert_eq!(root(&phone).live, 59 * 3);
        // The same in a frame of its own before the parent's.
        let (_folders, phone, laptop) = chat_library();
        for n in 0..100 {
            put(&laptop, &format!("c0/more{n}"), "text", NOW);
        }
        phone.apply(LAPTOP, vec![batch_of(&laptop, notes())], NOW).unwrap();
        laptop.delete(chats(), key("c0"), later(1)).unwrap();
        for domain in order {
            phone.write(Job::apply_in(Some(1), LAPTOP, vec![batch_of(&laptop, domain)], later(2))).unwrap();
        }
        assert_eq!(phone.snapshot().unwrap().held().unwrap(), []);
        assert_eq!(root(&phone).live, 59 * 3);
    }
}

/// While the end of parents is held, so is that of their children.
#[test]
fn children_of_held_parents_are_held_with_them() {
    let (_folders, phone, laptop) = chat_library();
    for chat in 0..12 {
        laptop.delete(chats(), key(&format!("c{chat}")), later(1)).unwrap();
    }
    let batches = vec![batch_of(&laptop, notes()), batch_of(&laptop, chats())];
    let applied = phone.write(Job::apply_in(Some(1), LAPTOP, batches.clone(), later(2))).unwrap();
    assert_eq!(applied.held.len(), 0, "12 of 60 are a fifth");
    assert_eq!(root(&phone).live, 48 * 3);

    laptop.delete(chats(), key("c12"), later(3)).unwrap();
    let (_folders, phone, _) = chat_library();
    phone.apply(LAPTOP, vec![], NOW).unwrap();
    let batches = vec![batch_of(&laptop, notes()), batch_of(&laptop, chats())];
    let before = phone.snapshot().unwrap().root(chats()).unwrap();
    let applied = phone.write(Job::apply_in(Some(1), LAPTOP, batches, later(4))).unwrap();
    assert_eq!(applied.held.len(), 2);
    assert_eq!(phone.snapshot().unwrap().root(chats()).unwrap(), before);
    assert_eq!(root(&phone).live, 180);
    let held = phone.snapshot().unwrap().held().unwrap();
    let of_chats = held.iter().find(|held| held.domain == chats()).unwrap();
    accept(&phone, of_chats.number).unwrap();
    phone.write(Job::apply_in(Some(2), LAPTOP, vec![], later(5))).unwrap();
    assert_eq!(phone.snapshot().unwrap().held().unwrap(), [], "the children went with their parents");
    assert_eq!(root(&phone).live, 47 * 3);
}

/// D10: each domain may say how much is much, and so may the person.
#[test]
fn the_limits_can_be_set() {
    let pair = Pair::with(100);
    pair.phone.set_guard(Guard { records: 0, percent: 0 });
    pair.delete(0..60);
    assert_eq!(pair.sync(1).held.len(), 0);
    let rules = Rules { guard: Guard { records: 3, percent: 100 }, ..Rules::default() };
    pair.phone.set_rules(BTreeMap::from([(notes(), rules)]));
    pair.delete(60..64);
    assert_eq!(pair.sync(2).held.len(), 1);
}

/// What has been accepted goes on until both are equal, and no further.
#[test]
fn an_accepted_change_lets_the_rest_of_it_in() {
    let pair = Pair::with(300);
    pair.delete(0..200);
    let all = pair.news();
    let push = Batch { domain: notes(), records: all.records[..60].to_vec(), cursor: None, floor: None };
    pair.phone.apply(LAPTOP, vec![push], later(2)).unwrap();
    accept(&pair.phone, pair.one().number).unwrap();
    assert_eq!(pair.phone.snapshot().unwrap().lifted(LAPTOP).unwrap(), [notes()]);
    assert_eq!(pair.phone.snapshot().unwrap().lifted(DESKTOP).unwrap(), []);
    assert_eq!((pair.sync(1).held.len(), pair.live()), (0, 100));
    pair.phone.write(Job::guard_again(LAPTOP, vec![notes()], NOW)).unwrap();
    assert_eq!(pair.phone.snapshot().unwrap().lifted(LAPTOP).unwrap(), []);
    pair.delete(200..260);
    assert_eq!(pair.sync(2).held.len(), 1);
}

/// S16: what a revoked device wanted cannot be accepted any more.
#[test]
fn a_revoked_device_is_not_accepted() {
    let pair = Pair::with(100);
    pair.delete(0..60);
    pair.sync(1);
    pair.phone.write(revoke(LAPTOP)).unwrap().unwrap();
    let number = pair.one().number;
    assert_eq!(accept(&pair.phone, number), Err(WriteError::NotTrusted { peer: LAPTOP }));
    let decided = reject(&pair.phone, number).unwrap();
    assert_eq!((decided.changed, pair.live(), pair.held()), (60, 100, vec![]));
}

/// D16: accepting gives a device no more than it may do by then.
#[test]
fn accepting_keeps_to_the_rights_of_that_moment() {
    let pair = Pair::with(100);
    pair.delete(0..60);
    pair.sync(1);
    let allow = |rights| pair.phone.write(Job::allow(LAPTOP, rights)).unwrap();
    let number = pair.one().number;
    allow(Rights { write: false, ..Rights::ALL });
    assert_eq!(accept(&pair.phone, number), Err(WriteError::NotGranted { peer: LAPTOP }));
    assert_eq!((pair.live(), pair.held().len()), (100, 1));
    allow(Rights { delete: false, ..Rights::ALL });
    assert_eq!(accept(&pair.phone, number).unwrap().changed, 60);
    assert_eq!(pair.live(), 100, "its deletions are undone");
    pair.assert_equal();
    assert_eq!(root(&pair.laptop).live, 100);
}

/// D16: what is let go by itself is held back by rights all the same.
#[test]
fn what_is_let_go_keeps_to_the_rights_of_that_moment() {
    let pair = Pair::with(100);
    pair.delete(0..60);
    put(&pair.laptop, "new", "by the laptop", later(1));
    pair.sync(1);
    let rights = Rights { domains: Some(["other".to_owned()].into()), ..Rights::ALL };
    pair.phone.write(Job::allow(LAPTOP, rights)).unwrap();
    for n in 0..60 {
        pair.phone.delete(notes_domain(), key(&format!("n{n:03}")), later(3)).unwrap();
    }
    let other = Batch { domain: DomainId::of("other"), records: Vec::new(), cursor: None, floor: None };
    apply(&pair.phone, 2, other.clone());
    assert_eq!((pair.live(), pair.held().len()), (40, 1));
    pair.phone.write(Job::allow(LAPTOP, Rights::ALL)).unwrap();
    apply(&pair.phone, 3, other);
    assert_eq!((pair.live(), pair.held()), (41, vec![]));
}

/// What is held outlives the program, and no number is given twice.
#[test]
fn a_restart_keeps_what_is_held() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let laptop = open(folders[1].path(), LAPTOP);
    let phone = open(folders[0].path(), PHONE);
    (0..100).for_each(|n| put(&laptop, &n.to_string(), "old", NOW));
    send_all(&laptop, &phone, NOW);
    (0..60).for_each(|n| drop(laptop.delete(notes(), key(&n.to_string()), later(1)).unwrap()));
    apply(&phone, 1, batch(&laptop, 100));
    drop(phone);
    let phone = open(folders[0].path(), PHONE);
    let held = phone.snapshot().unwrap().held().unwrap();
    assert_eq!((held.len(), held[0].number, held[0].records), (1, 1, 60));
    reject(&phone, 1).unwrap();
    (60..100).for_each(|n| drop(laptop.delete(notes(), key(&n.to_string()), later(5)).unwrap()));
    apply(&phone, 2, batch(&laptop, 160));
    assert_eq!(phone.snapshot().unwrap().held().unwrap()[0].number, 2);
}

/// What nobody could keep is counted, and comes again after the yes.
#[test]
fn what_is_held_has_limits() {
    let pair = Pair::with(100);
    pair.delete(0..60);
    let mut large = pair.news();
    let records = HELD_BYTES_MAX / VALUE_BYTES_MAX as u64;
    let value = vec![b'x'; VALUE_BYTES_MAX];
    for n in 0..=records {
        pair.laptop.put(notes(), key(&format!("large {n}")), value.clone(), later(1)).unwrap();
    }
    let all = pair.news();
    large.records = all.records[..60].to_vec();
    apply(&pair.phone, 1, large);
    for record in &all.records[60..] {
        apply(
            &pair.phone,
            1,
            Batch { domain: notes(), records: vec![record.clone()], cursor: None, floor: None },
        );
    }
    let held = pair.one();
    assert_eq!((held.records, held.bytes, held.beyond), (60 + records, HELD_BYTES_MAX, 1));
    accept(&pair.phone, held.number).unwrap();
    assert_eq!(pair.live(), 40 + records);
    pair.sync(2);
    pair.assert_equal();
    assert_eq!(pair.live(), 40 + records + 1);
}

#[test]
fn held_records_are_limited_in_number() {
    let pair = Pair::with(100);
    pair.delete(0..60);
    apply(&pair.phone, 1, pair.news());
    let room = usize::try_from(HELD_RECORDS_MAX).unwrap() - 60;
    let many = |count: usize| (0..count).map(|n| (key(&format!("new {n}")), b"x".to_vec())).collect();
    pair.laptop.put_many(notes(), many(room), later(1)).unwrap();
    apply(&pair.phone, 1, pair.news());
    assert_eq!((pair.one().records, pair.one().beyond), (HELD_RECORDS_MAX, 0));
    put(&pair.laptop, "one more", "x", later(1));
    apply(&pair.phone, 1, pair.news());
    assert_eq!((pair.one().records, pair.one().beyond), (HELD_RECORDS_MAX, 1));
}

/// D10: the first sync ends with its session: what is pushed after it waits.
#[test]
fn a_push_after_the_first_sync_is_not_part_of_it() {
    let pair = Pair::with(200);
    let desktop = tempfile::tempdir().unwrap();
    let desktop = open(desktop.path(), DESKTOP);
    put(&desktop, "own", "new", NOW);
    apply(&desktop, 1, batch(&pair.laptop, 0));
    assert_eq!(root(&desktop).live, 201);
    pair.delete(0..51);
    let push = |batch| desktop.write(Job::apply(LAPTOP, vec![batch], later(2))).unwrap();
    assert!(push(pair.news()).held.contains(&notes()));
    assert_eq!(root(&desktop).live, 201);
}

/// D10: what came another way meanwhile does not wait for an answer any more.
#[test]
fn devices_that_are_equal_hold_nothing() {
    let pair = Pair::with(200);
    pair.delete(0..51);
    pair.sync(1);
    let held = pair.one();
    pair.phone.set_guard(Guard { records: 0, percent: 0 });
    pair.phone.apply(DESKTOP, vec![batch(&pair.laptop, 0)], later(2)).unwrap();
    pair.phone.set_guard(Guard::default());
    assert_eq!((pair.live(), pair.one()), (149, held));
    pair.phone.write(Job::guard_again(LAPTOP, vec![notes()], later(3))).unwrap();
    assert_eq!(pair.held(), []);
    pair.assert_equal();
}
