//! What the tests of the store share.

use std::convert::Infallible;
use std::path::Path;

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::{Batch, Cursor, Snapshot};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::statement::Reason;
use kinsync_protocol::trust::{Changes, Role, Row, State};

use crate::{Job, Options, Store};

pub(crate) const PHONE: DeviceId = DeviceId([1; 32]);
pub(crate) const LAPTOP: DeviceId = DeviceId([2; 32]);
pub(crate) const DESKTOP: DeviceId = DeviceId([3; 32]);

/// Some moment.
pub(crate) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub(crate) fn later(millis: u64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

pub(crate) fn notes() -> DomainId {
    DomainId::of("notes")
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A new epoch for each opening, without a ballast of its own: most tests do
/// not fill the disk.
pub(crate) fn options(device: DeviceId) -> Options {
    Options { ballast_bytes: 0, cache_bytes: 4 << 20, ..Options::new(device, fastrand::u64(..)) }
}

pub(crate) fn open(folder: &Path, device: DeviceId) -> Store {
    let store = Store::open(folder.join("store"), options(device)).unwrap();
    for peer in [PHONE, LAPTOP, DESKTOP] {
        trust(&store, peer);
    }
    store
}

/// Writes a row about `peer` as the trust exchange would, without its words.
pub(crate) fn set_trust(
    peer: DeviceId,
    state: State,
    role: Role,
    domains: Option<Vec<String>>,
) -> Job<Trusted> {
    Job::change_view(move |view| {
        let row = Row {
            state,
            role,
            origin: view.me(),
            voucher: None,
            label: "peer".into(),
            alias: None,
            domains,
            since: Some(NOW),
            changed: NOW,
            cause: view.me(),
            reason: Reason::None,
            revoked_us: None,
        };
        let changes = Changes { rows: [(peer, row)].into(), ..Changes::default() };
        Ok((changes, ()))
    })
}

pub(crate) type Trusted = Result<(Changes, ()), Infallible>;

pub(crate) fn revoke(peer: DeviceId) -> Job<Trusted> {
    set_trust(peer, State::Revoked, Role::Kin, None)
}

pub(crate) fn trust(store: &Store, peer: DeviceId) {
    store.write(set_trust(peer, State::Kin, Role::Kin, None)).unwrap().unwrap();
}

pub(crate) fn put(store: &Store, name: &str, value: &str, now: UnixMillis) {
    store.put(notes(), key(name), value.into(), now).unwrap();
}

pub(crate) fn get(store: &Store, name: &str) -> Option<String> {
    let record = store.snapshot().unwrap().get(notes(), &key(name)).unwrap()?;
    Some(String::from_utf8(record.value).unwrap())
}

/// Panics with the faults if there are any.
pub(crate) fn assert_sound(store: &Store) {
    let report = store.snapshot().unwrap().check().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Everything that arrived at `store` after position `after`, and the cursor
/// that covers it.
pub(crate) fn batch(store: &Store, after: u64) -> Batch {
    let snapshot = store.snapshot().unwrap();
    let root = snapshot.root(notes()).unwrap();
    let records: Vec<Record> = snapshot
        .log(notes(), after, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|item| {
            let hash = kinsync_protocol::item::key_hash(notes(), &item.key);
            snapshot.record(notes(), hash).unwrap().unwrap()
        })
        .collect();
    Batch {
        domain: notes(),
        records,
        cursor: Some(Cursor { epoch: root.epoch, seq: root.head, after: None }),
        floor: None,
    }
}

/// Sends all of `from` to `to`.
pub(crate) fn send_all(from: &Store, to: &Store, now: UnixMillis) {
    to.apply(from.device(), vec![batch(from, 0)], now).unwrap();
}
