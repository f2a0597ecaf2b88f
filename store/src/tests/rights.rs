//! What other devices may do here.

use kinsync_protocol::grants::{Grants, Why};
use kinsync_protocol::rights::{RIGHTS_DOMAINS_MAX, Rights};
use kinsync_protocol::snapshot::{Batch, Snapshot};

use super::world::*;
use crate::{Job, Rules, Sharing, Store, WriteError};

fn allow(store: &Store, device: kinsync_protocol::id::DeviceId, rights: Rights) {
    store.write(Job::allow(device, rights)).unwrap();
}

fn reads_only() -> Rights {
    Rights { write: false, ..Rights::ALL }
}

fn no_delete() -> Rights {
    Rights { delete: false, ..Rights::ALL }
}

/// D16: what a device may not write does not commit, whatever was agreed on
/// before, and nothing of the other domains of the job does.
#[test]
fn what_is_not_granted_does_not_commit() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (laptop, phone) = (open(mine.path(), LAPTOP), open(theirs.path(), PHONE));
    put(&phone, "a", "one", NOW);
    allow(&laptop, PHONE, reads_only());
    let refused = laptop.apply(PHONE, vec![batch(&phone, 0)], NOW);
    assert_eq!(refused, Err(WriteError::NotGranted { peer: PHONE }));
    assert_eq!(get(&laptop, "a"), None);
    // The device is trusted all the same, and so are the others.
    laptop.apply(DESKTOP, vec![batch(&phone, 0)], NOW).unwrap();
    assert_eq!(get(&laptop, "a").as_deref(), Some("one"));
    allow(&laptop, PHONE, Rights::ALL);
    put(&phone, "a", "two", later(1));
    laptop.apply(PHONE, vec![batch(&phone, 0)], NOW).unwrap();
    assert_eq!(get(&laptop, "a").as_deref(), Some("two"));
}

/// D10 D16: a deletion that is not granted is undone in the transaction that
/// would have made it, so both sides hold the same again.
#[test]
fn a_deletion_that_is_not_granted_is_undone() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (laptop, phone) = (open(mine.path(), LAPTOP), open(theirs.path(), PHONE));
    put(&laptop, "a", "kept", NOW);
    put(&laptop, "b", "edited", NOW);
    send_all(&laptop, &phone, NOW);
    allow(&laptop, PHONE, no_delete());
    phone.delete(notes(), key("a"), later(5)).unwrap();
    put(&phone, "b", "by the phone", later(5));
    let applied = laptop.apply(PHONE, vec![batch(&phone, 0)], later(6)).unwrap();
    assert_eq!((applied.undone, applied.changed, applied.conflicts), (1, 2, 0));
    assert_eq!(get(&laptop, "a").as_deref(), Some("kept"));
    assert_eq!(get(&laptop, "b").as_deref(), Some("by the phone"));
    // The same again finds a version that knew the deletion.
    let again = laptop.apply(PHONE, vec![batch(&phone, 0)], later(7)).unwrap();
    assert_eq!((again.undone, again.changed), (0, 0));
    send_all(&laptop, &phone, later(8));
    assert_eq!(get(&phone, "a").as_deref(), Some("kept"));
    let print = |store: &Store| store.snapshot().unwrap().root(notes()).unwrap().summary;
    assert_eq!(print(&laptop), print(&phone));
    assert_sound(&laptop);
}

/// D16: a deletion by a device that may not delete is undone also where
/// another one passes it on, and a device that may not delete cannot pass one
/// on in another's name.
#[test]
fn neither_author_nor_messenger_may_lack_the_right_to_delete() {
    for limited in [PHONE, DESKTOP] {
        let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (laptop, phone) = (open(mine.path(), LAPTOP), open(theirs.path(), PHONE));
        put(&laptop, "a", "kept", NOW);
        send_all(&laptop, &phone, NOW);
        phone.delete(notes(), key("a"), later(5)).unwrap();
        allow(&laptop, limited, no_delete());
        laptop.apply(DESKTOP, vec![batch(&phone, 0)], later(6)).unwrap();
        assert_eq!(get(&laptop, "a").as_deref(), Some("kept"));
        allow(&laptop, limited, Rights::ALL);
        send_all(&laptop, &phone, later(9));
        phone.delete(notes(), key("a"), later(10)).unwrap();
        laptop.apply(DESKTOP, vec![batch(&phone, 0)], later(11)).unwrap();
        assert_eq!(get(&laptop, "a"), None);
    }
}

/// A tombstone of what is not here, or is deleted already, is taken in.
#[test]
fn there_is_nothing_to_undo_where_nothing_stands() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (laptop, phone) = (open(mine.path(), LAPTOP), open(theirs.path(), PHONE));
    put(&phone, "a", "gone", NOW);
    phone.delete(notes(), key("a"), later(1)).unwrap();
    allow(&laptop, PHONE, no_delete());
    let applied = laptop.apply(PHONE, vec![batch(&phone, 0)], later(2)).unwrap();
    assert_eq!((applied.undone, applied.changed), (0, 1));
    assert_eq!(get(&laptop, "a"), None);
}

/// F20: a domain that has to be asked for is granted to whom it was asked for,
/// and one that stays with its owner to nobody.
#[test]
fn some_domains_are_granted_by_name_only_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let laptop = open(folder.path(), LAPTOP);
    let granted = |laptop: &Store| laptop.snapshot().unwrap().grants(PHONE, notes());
    assert_eq!(granted(&laptop), Grants::ALL);
    laptop.set_sharing([(notes(), Sharing::OptIn)].into());
    // Neither knows of the other.
    laptop.set_rules([(notes(), Rules::default())].into());
    assert_eq!(granted(&laptop), Grants::none(Why::OptIn));
    assert_eq!(laptop.snapshot().unwrap().limited_domains(PHONE), [notes()]);
    assert_eq!(laptop.snapshot().unwrap().other_grants(PHONE), Grants::ALL);
    let batch = || Batch { domain: notes(), records: Vec::new(), cursor: None, floor: None };
    assert_eq!(laptop.apply(PHONE, vec![batch()], NOW), Err(WriteError::NotGranted { peer: PHONE }));
    allow(&laptop, PHONE, Rights { also: ["notes".to_owned()].into(), ..Rights::ALL });
    assert_eq!(granted(&laptop), Grants::ALL);
    assert!(laptop.apply(PHONE, vec![batch()], NOW).is_ok());
    laptop.set_sharing([(notes(), Sharing::Nobody)].into());
    assert_eq!(granted(&laptop), Grants::none(Why::Scope));
}

#[test]
fn rights_survive_a_restart_and_end_at_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let laptop = open(folder.path(), LAPTOP);
    let many = |count: usize| Rights {
        domains: Some((0..count).map(|n| format!("{n:0128}")).collect()),
        ..no_delete()
    };
    assert_eq!(laptop.write(Job::allow(PHONE, many(RIGHTS_DOMAINS_MAX))), Ok(Rights::ALL));
    let beyond = laptop.write(Job::allow(PHONE, many(RIGHTS_DOMAINS_MAX + 1)));
    assert_eq!(beyond, Err(WriteError::TooManyDomains { limit: RIGHTS_DOMAINS_MAX }));
    let long = Rights { also: ["x".repeat(129)].into(), ..Rights::ALL };
    let long = laptop.write(Job::allow(PHONE, long));
    assert_eq!(long, Err(WriteError::TextTooLong { bytes: 129, limit: 128 }));
    drop(laptop);
    let laptop = Store::open(folder.path().join("store"), options(LAPTOP)).unwrap();
    assert_eq!(laptop.snapshot().unwrap().rights(PHONE).unwrap(), many(RIGHTS_DOMAINS_MAX));
    assert_eq!(laptop.snapshot().unwrap().rights(DESKTOP).unwrap(), Rights::ALL);
}
