//! Records from long ago, in the store of a device that is not running.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::Batch;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};
use kinsync_store::Store;

/// The author of all of them: a device that is gone since.
const AUTHOR: DeviceId = DeviceId([9; 32]);

/// Brings a record into `store` that was written, or deleted for `None`, so
/// many `days` before `now`, as if a device that the store trusts had sent it.
///
/// # Panics
///
/// If there is no such device, or the store does not take it.
pub fn bring(store: &Store, domain: &str, id: &str, value: Option<&str>, days: u64, now: u64) {
    let trusted = store.read(|view| view.trust_view()).expect("it reads");
    let from = *trusted.rows().keys().next().expect("a device that was paired");
    let time = Hlc::at(UnixMillis(now - days * 86_400_000));
    let key = Key::new(id).expect("a key");
    let value = value.map(|value| value.as_bytes().to_vec());
    let record = Record::new(key, value, Stamp { time, device: AUTHOR }, Ancestry::default());
    let batch = Batch { domain: DomainId::of(domain), records: vec![record], cursor: None, floor: None };
    store.apply(from, vec![batch], UnixMillis(now)).expect("taken in");
}
