//! A store that is restored from a backup is noticed.

use std::fs;

use kinsync_protocol::snapshot::Snapshot;

use super::world::*;

/// A position given out before a backup was restored is not taken for one of
/// the same number given out after it.
#[test]
fn a_restored_backup_does_not_own_the_positions_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let store = open(folder.path(), PHONE);
    (0..10).for_each(|n| put(&store, &format!("n{n}"), "old", NOW));
    let at_backup = store.snapshot().unwrap().root(notes()).unwrap();
    drop(store);
    fs::copy(&file, &backup).unwrap();

    let store = open(folder.path(), PHONE);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap(), at_backup, "starting alone changes nothing");
    (0..10).for_each(|n| put(&store, &format!("n{n}"), "lost", later(1)));
    let lost = store.snapshot().unwrap().root(notes()).unwrap();
    assert!(store.snapshot().unwrap().had(notes(), lost.epoch, lost.head).unwrap());
    drop(store);
    fs::copy(&backup, &file).unwrap();

    let store = open(folder.path(), PHONE);
    let had = |epoch, seq| store.snapshot().unwrap().had(notes(), epoch, seq).unwrap();
    assert!(had(at_backup.epoch, at_backup.head), "what the backup holds is still known");
    assert!(!had(lost.epoch, lost.head), "before the first write");
    (0..30).for_each(|n| put(&store, &format!("m{n}"), "new", later(2)));
    let now = store.snapshot().unwrap().root(notes()).unwrap();
    assert!(now.head > lost.head);
    assert!(!had(lost.epoch, lost.head), "after writing past the lost position");
    assert!(had(at_backup.epoch, at_backup.head));
    assert!(!had(at_backup.epoch, at_backup.head + 1), "the old epoch ended with the backup");
    assert!(had(now.epoch, now.head));
    assert!(!had(now.epoch, now.head + 1));
    assert!(!had(now.epoch, at_backup.head), "the new epoch begins after the backup");
    assert_sound(&store);
}

/// Positions written before a restart stay known after it, also when more
/// follow.
#[test]
fn a_restart_keeps_old_positions_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut roots = Vec::new();
    for round in 0..4 {
        let store = open(folder.path(), PHONE);
        put(&store, "x", &format!("{round}"), later(round));
        let snapshot = store.snapshot().unwrap();
        roots.push(snapshot.root(notes()).unwrap());
        for root in &roots {
            assert!(snapshot.had(notes(), root.epoch, root.head).unwrap());
        }
    }
}

/// The cursors a restored store holds are as old as its records, so it asks
/// for exactly what it lost.
#[test]
fn cursors_rewind_with_the_records_they_cover() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let laptop = open(there.path(), LAPTOP);
    let phone = open(here.path(), PHONE);
    put(&laptop, "a", "1", NOW);
    send_all(&laptop, &phone, NOW);
    drop(phone);
    fs::copy(here.path().join("store"), here.path().join("backup")).unwrap();
    let phone = open(here.path(), PHONE);
    put(&laptop, "b", "2", NOW);
    send_all(&laptop, &phone, NOW);
    drop(phone);
    fs::rename(here.path().join("backup"), here.path().join("store")).unwrap();

    let phone = open(here.path(), PHONE);
    let cursor = phone.snapshot().unwrap().cursor(LAPTOP, notes()).unwrap().unwrap();
    assert_eq!(get(&phone, "b"), None);
    let missing = batch(&laptop, cursor.seq);
    assert_eq!(missing.records.len(), 1);
    phone.apply(LAPTOP, vec![missing], NOW).unwrap();
    assert_eq!(get(&phone, "b").as_deref(), Some("2"));
}
