//! A disk that loses power: what was not synced survives in part, in any
//! order and torn.

use kinsync_protocol::record::Record;
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};

use super::platter::{created, start, start_with};
use super::world::*;
use crate::{State, WriteError};

/// Position `seq` of the laptop's log. Every fifth key comes again.
fn from_laptop(seq: u64, first_copy: bool) -> Batch {
    let stamp = Stamp { time: Hlc(Hlc::at(NOW).0 + seq), device: LAPTOP };
    let name = key(&format!("l{:03}", seq - seq % 5));
    let record = Record::new(name.clone(), Some(seq.to_be_bytes().to_vec()), stamp, Ancestry::default());
    let cursor = Cursor { epoch: 1, seq, after: first_copy.then_some(name) };
    Batch { domain: notes(), records: vec![record], cursor: Some(cursor), floor: None }
}

/// S3 F17: acknowledged writes survive, and no cursor is ahead of the records
/// it covers, wherever the power goes.
#[test]
fn acknowledged_writes_survive_power_cuts() {
    let mut cuts = 0;
    for seed in 0..120 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = created(PHONE);
        // What was answered: local values by key, and the laptop's position.
        let mut values = std::collections::BTreeMap::new();
        let mut acknowledged = 0;
        for _ in 0..3 {
            // Now and then the tables have to follow the log within a round.
            let log_bytes = if random.bool() { 8 << 20 } else { 3_000 };
            let store = start_with(&disk, log_bytes);
            disk.0.lock().unwrap().power = Some(random.u64(1..150));
            let mut seq = {
                let cursor = store.snapshot().unwrap().cursor(LAPTOP, notes()).unwrap();
                cursor.map_or(0, |cursor| cursor.seq)
            };
            for n in 0..30 {
                let written = if random.bool() {
                    let (name, value) = (format!("p{}", random.u8(..8)), n.to_string());
                    let written = store.put(notes(), key(&name), value.clone().into_bytes(), NOW);
                    // A write without an answer may be there or not.
                    let known: &mut Vec<Option<String>> = values.entry(name).or_insert(vec![None]);
                    if written.is_ok() {
                        known.clear();
                    }
                    known.push(Some(value));
                    written.map(|_| ())
                } else {
                    let first_copy = random.bool();
                    let applied = store.apply(LAPTOP, vec![from_laptop(seq + 1, first_copy)], NOW);
                    if applied.is_ok() {
                        seq += 1;
                        if !first_copy {
                            acknowledged = seq;
                        }
                    }
                    applied.map(|_| ())
                };
                if let Err(error) = written {
                    assert!(matches!(error, WriteError::Poisoned { .. }), "{error}");
                    cuts += 1;
                    break;
                }
            }
            // Without power, closing writes nothing more.
            disk.0.lock().unwrap().power = Some(0);
            drop(store);
            disk.0.lock().unwrap().recover(&mut random);

            let store = start(&disk);
            assert_sound(&store);
            for (name, known) in &mut values {
                let value = get(&store, name);
                assert!(known.contains(&value), "seed {seed}: {name} {value:?} {known:?}");
                *known = vec![value];
            }
            let snapshot = store.snapshot().unwrap();
            let cursor = snapshot.cursor(LAPTOP, notes()).unwrap().map_or(0, |cursor| cursor.seq);
            assert!(cursor >= acknowledged, "seed {seed}: cursor {cursor}, acknowledged {acknowledged}");
            for seq in 1..=cursor {
                let name = key(&format!("l{:03}", seq - seq % 5));
                let record = snapshot.get(notes(), &name).unwrap();
                let stored = record.map(|record| record.value).expect("the cursor covers it");
                assert!(u64::from_be_bytes(stored.try_into().unwrap()) >= seq, "seed {seed}");
            }
            acknowledged = cursor;
        }
    }
    assert!(cuts > 100, "the power hardly ever went during a write: {cuts}");
}

/// S16 (R4): a revocation that was answered holds after a power cut.
#[test]
fn an_answered_revocation_survives_power_cuts() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = created(PHONE);
        let store = start(&disk);
        for seq in 1..20 {
            store.apply(LAPTOP, vec![from_laptop(seq, true)], NOW).unwrap();
        }
        disk.0.lock().unwrap().power = Some(random.u64(..40));
        let revoked = store.write(revoke(LAPTOP));
        disk.0.lock().unwrap().power = Some(0);
        drop(store);
        disk.0.lock().unwrap().recover(&mut random);
        let store = start(&disk);
        let applied = store.apply(LAPTOP, vec![from_laptop(50, false)], NOW);
        if revoked.is_ok() {
            assert_eq!(applied, Err(WriteError::NotTrusted { peer: LAPTOP }), "seed {seed}");
        }
        assert_sound(&store);
    }
}

/// A commit that failed in the middle stops writing, and reading goes on.
#[test]
fn a_failed_commit_stops_writing_but_not_reading() {
    let disk = created(PHONE);
    let store = start(&disk);
    put(&store, "x", "1", NOW);
    // Once, then the disk answers again.
    disk.0.lock().unwrap().fails = Some(0);
    let refused = store.put(notes(), key("x"), b"2".to_vec(), NOW);
    assert!(matches!(refused, Err(WriteError::Poisoned { .. })));
    assert!(matches!(store.state(), State::Poisoned { .. }));
    assert_eq!(get(&store, "x").as_deref(), Some("1"));
    let refused = store.put(notes(), key("y"), vec![1], NOW);
    assert!(matches!(refused, Err(WriteError::Poisoned { .. })));
    drop(store);
    assert_eq!(get(&start(&disk), "x").as_deref(), Some("1"));
}

/// The same where the tables cannot follow the log: what was acknowledged stays
/// readable, and is there after the next start.
#[test]
fn tables_that_cannot_follow_stop_writing_but_not_reading() {
    let mut in_log = 0;
    for at in 0..40 {
        let disk = created(PHONE);
        // The tables follow each write.
        let store = start_with(&disk, 1);
        put(&store, "x", "1", NOW);
        put(&store, "x", "2", NOW);
        disk.0.lock().unwrap().fails = Some(at);
        let mut last = 2;
        let error = loop {
            match store.put(notes(), key("x"), (last + 1).to_string().into_bytes(), NOW) {
                Ok(_) => last += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, WriteError::Poisoned { .. }), "{error}");
        assert_eq!(get(&store, "x"), Some(last.to_string()));
        assert_sound(&store);
        drop(store);
        in_log += u64::from(disk.has_log());
        let store = start(&disk);
        let value = get(&store, "x");
        assert!([last, last + 1].iter().any(|n| value == Some(n.to_string())), "{at}: {value:?}");
        assert_sound(&store);
    }
    assert!(in_log > 30, "{in_log}");
}

/// A full disk stops writing and not reading, and loses nothing; writing
/// resumes when there is room.
#[test]
fn writing_pauses_while_the_disk_is_full() {
    let disk = created(PHONE);
    let store = start(&disk);
    put(&store, "x", "1", NOW);
    let room = disk.len().unwrap();
    disk.0.lock().unwrap().room = Some(usize::try_from(room).unwrap());
    let mut written = 0;
    let error = loop {
        match store.put(notes(), key(&format!("n{written}")), vec![7; 100_000], NOW) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert_eq!(error, WriteError::DiskFull);
    assert_eq!(store.state(), State::DiskFull);
    assert_eq!(get(&store, "x").as_deref(), Some("1"));
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, written + 1);
    let before = store.snapshot().unwrap().root(notes()).unwrap();

    disk.0.lock().unwrap().room = None;
    put(&store, "y", "2", NOW);
    assert_eq!(store.state(), State::Writing);
    let after = store.snapshot().unwrap().root(notes()).unwrap();
    assert_eq!(after.epoch, before.epoch, "no position that others may have seen is gone");
    assert!(store.snapshot().unwrap().had(notes(), before.epoch, before.head).unwrap());
    assert_sound(&store);
    drop(store);
    assert_eq!(get(&start(&disk), "y").as_deref(), Some("2"));
}

/// F17: a write is on disk before the tables are, and closing brings them there
/// too: whoever copies the closed file has everything.
#[test]
fn the_log_has_what_the_tables_do_not_have_yet() {
    let disk = created(PHONE);
    let store = start(&disk);
    put(&store, "x", "1", NOW);
    assert!(!disk.has_log(), "the first write of a run goes to the tables");
    for n in 2..9 {
        put(&store, "x", &n.to_string(), NOW);
    }
    assert!(disk.has_log());
    disk.0.lock().unwrap().power = Some(0);
    drop(store);
    disk.0.lock().unwrap().recover(&mut fastrand::Rng::with_seed(1));
    let store = start(&disk);
    assert_eq!(get(&store, "x").as_deref(), Some("8"));
    assert_sound(&store);
    put(&store, "x", "9", NOW);
    put(&store, "x", "10", NOW);
    drop(store);
    assert!(!disk.has_log(), "closed");
    assert_eq!(get(&start(&disk), "x").as_deref(), Some("10"));
}

/// A log whose writes a restored backup undid stays undone.
#[test]
fn the_log_of_another_past_is_not_applied() {
    let disk = created(PHONE);
    let store = start(&disk);
    put(&store, "x", "1", NOW);
    drop(store);
    let backup = disk.tables();
    for _ in 0..2 {
        let store = start(&disk);
        put(&store, "x", "2", NOW);
        put(&store, "x", "3", NOW);
        disk.0.lock().unwrap().power = Some(0);
        drop(store);
        disk.0.lock().unwrap().recover(&mut fastrand::Rng::with_seed(1));
        assert!(disk.has_log());
        disk.restore(&backup);
        let store = start(&disk);
        assert_eq!(get(&store, "x").as_deref(), Some("1"));
        put(&store, "y", "1", NOW);
        put(&store, "y", "2", NOW);
        assert_sound(&store);
        drop(store);
        assert_eq!(get(&start(&disk), "x").as_deref(), Some("1"));
        disk.restore(&backup);
    }
}

/// What was acknowledged is there to be read also while the tables cannot follow
/// the log, as the disk is full.
#[test]
fn a_full_disk_hides_nothing_that_is_in_the_log() {
    let disk = created(PHONE);
    let store = start_with(&disk, 400_000);
    let mut written = 0;
    // The log has room already when the disk fills up.
    for _ in 0..3 {
        put(&store, &format!("n{written}"), "early", NOW);
        written += 1;
    }
    let room = disk.len().unwrap();
    disk.0.lock().unwrap().room = Some(usize::try_from(room).unwrap());
    while store.put(notes(), key(&format!("n{written}")), vec![7; 50_000], NOW).is_ok() {
        written += 1;
        assert!(written < 1_000);
    }
    assert_eq!(store.state(), State::DiskFull);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, written);
    assert_sound(&store);
    drop(store);

    let store = start(&disk);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, written);
    disk.0.lock().unwrap().room = None;
    put(&store, "y", "2", NOW);
    assert_eq!(store.snapshot().unwrap().root(notes()).unwrap().live, written + 1);
    assert_sound(&store);
}
