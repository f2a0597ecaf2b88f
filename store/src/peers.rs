//! What is known about other devices, apart from trust.
//!
//! Nothing here grants anything; it is for people, and for dialling.

use kinsync_protocol::id::{DeviceId, DomainId};
use kinsync_protocol::snapshot::Cursor;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::wire;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::apply::Stop;
use crate::error::{ReadError, WriteError};
use crate::job::{Job, check_text};
use crate::rows::decode_cursor;
use crate::snapshot::StoreSnapshot;
use crate::tables::Rows;

/// Bytes of a text that a peer or a person gives for a peer.
pub const PEER_TEXT_BYTES_MAX: usize = 128;

/// Bytes of a remembered address: a multiaddr with a peer id and a relay.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// Addresses remembered for one device. Typed ones stay; of the others, those
/// that worked longest ago go.
pub const ADDRESSES_MAX: usize = 16;

/// Bytes of one row. Only a damaged one is longer.
const ROW_BYTES_MAX: usize = 4_096;

/// What is known about a device.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Peer {
    /// When something was first noted of it.
    pub first_seen: UnixMillis,
    /// When it was last connected.
    pub last_seen: Option<UnixMillis>,
    /// When both sides were last proven equal.
    pub last_equal: Option<UnixMillis>,
    /// The name this device's owner gave it.
    pub alias: Option<String>,
    /// The operating system it says it runs on.
    pub platform: Option<String>,
    /// The version of kinsync that it says it runs.
    pub app: Option<String>,
}

/// An address of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The device.
    pub device: DeviceId,
    /// The address, as the node writes it.
    pub text: String,
    /// Whether somebody typed it in.
    pub typed: bool,
    /// When a connection over it last came about.
    pub last_success: Option<UnixMillis>,
    /// When it was last tried.
    pub last_tried: Option<UnixMillis>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
struct AddressRow {
    typed: bool,
    last_success: Option<UnixMillis>,
    last_tried: Option<UnixMillis>,
}

/// What became of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressNote {
    /// Somebody typed it in.
    Typed,
    /// It was tried, without success so far.
    Tried(UnixMillis),
    /// A connection over it came about.
    Worked(UnixMillis),
}

impl Job<()> {
    /// Notes something about a device: `change` gets what is known, or a new
    /// row first seen `now`.
    ///
    /// # Errors
    /// [`WriteError::TextTooLong`] above [`PEER_TEXT_BYTES_MAX`].
    pub fn note_peer(
        device: DeviceId,
        now: UnixMillis,
        change: impl FnOnce(&mut Peer) + Send + 'static,
    ) -> Self {
        Self::new(move |tx| {
            let before: Option<Peer> =
                tx.tables.peers.get(&device.0)?.map(|row| decode(row.value(), "peer")).transpose()?;
            let mut after = before.clone().unwrap_or(Peer { first_seen: now, ..Peer::default() });
            change(&mut after);
            for text in [&after.alias, &after.platform, &after.app].into_iter().flatten() {
                check_text(text, PEER_TEXT_BYTES_MAX)?;
            }
            if before.as_ref() != Some(&after) {
                tx.tables.peers.insert(&device.0, wire::encode(&after).as_slice());
                tx.dirty = true;
            }
            Ok(())
        })
    }

    /// Forgets what is known about a device: its row, its addresses and how
    /// far its logs were taken in. Its trust and its records stay.
    pub fn forget_peer(device: DeviceId) -> Self {
        Self::new(move |tx| {
            tx.tables.peers.remove(&device.0);
            tx.tables
                .addresses
                .retain_in::<&[u8]>(prefix(&device).as_slice().., |key, _| !key.starts_with(&device.0))?;
            tx.tables.cursors.retain_in::<&[u8; 36]>(.., |key, _| !key.starts_with(&device.0))?;
            tx.dirty = true;
            Ok(())
        })
    }

    /// Remembers what became of an address.
    ///
    /// # Errors
    /// [`WriteError::TextTooLong`] above [`ADDRESS_BYTES_MAX`].
    pub fn note_address(device: DeviceId, text: String, note: AddressNote) -> Self {
        Self::new(move |tx| {
            check_text(&text, ADDRESS_BYTES_MAX)?;
            let key = address_key(&device, &text);
            let before: Option<AddressRow> = tx
                .tables
                .addresses
                .get(key.as_slice())?
                .map(|row| decode(row.value(), "address"))
                .transpose()?;
            let mut after = before.clone().unwrap_or_default();
            match note {
                AddressNote::Typed => after.typed = true,
                AddressNote::Tried(at) => after.last_tried = Some(at),
                AddressNote::Worked(at) => {
                    (after.last_tried, after.last_success) = (Some(at), Some(at));
                }
            }
            if before.as_ref() == Some(&after) {
                return Ok(());
            }
            tx.tables.addresses.insert(key.as_slice(), wire::encode(&after).as_slice());
            tx.dirty = true;
            let mut all = addresses(&tx.tables.addresses, Some(device))?;
            if all.len() > ADDRESSES_MAX {
                // The new one is worth more than its record says so far.
                all.retain(|address| !address.typed && address.text != text);
                all.sort_by_key(|address| (address.last_success, address.last_tried));
                if let Some(least) = all.first() {
                    tx.tables.addresses.remove(address_key(&device, &least.text).as_slice());
                }
            }
            Ok(())
        })
    }

    /// Forgets an address.
    ///
    /// # Errors
    /// [`WriteError::NotFound`] if it is not remembered.
    pub fn remove_address(device: DeviceId, text: String) -> Self {
        Self::new(move |tx| {
            if !tx.tables.addresses.take(address_key(&device, &text).as_slice())? {
                return Err(Stop::Refused(WriteError::NotFound));
            }
            tx.dirty = true;
            Ok(())
        })
    }
}

impl StoreSnapshot {
    /// All devices something is known about.
    pub fn peers(&self) -> Result<Vec<(DeviceId, Peer)>, ReadError> {
        let mut peers = Vec::new();
        for row in self.view.peers.range::<&[u8; 32]>(..)? {
            let (device, row) = row?;
            peers.push((DeviceId(*device.value()), decode(row.value(), "peer")?));
        }
        Ok(peers)
    }

    /// What is known about a device.
    pub fn peer(&self, device: DeviceId) -> Result<Option<Peer>, ReadError> {
        let row = self.view.peers.get(&device.0)?;
        row.map(|row| decode(row.value(), "peer")).transpose()
    }

    /// The addresses of a device, or of all: those that worked last first,
    /// then typed ones.
    pub fn addresses(&self, device: Option<DeviceId>) -> Result<Vec<Address>, ReadError> {
        let mut addresses = addresses(&self.view.addresses, device)?;
        addresses.sort_by(|a, b| {
            let order = |address: &Address| {
                (address.device, std::cmp::Reverse((address.last_success, address.typed)))
            };
            order(a).cmp(&order(b))
        });
        Ok(addresses)
    }

    /// How far each domain of a peer was taken in.
    pub fn cursors(&self, peer: DeviceId) -> Result<Vec<(DomainId, Cursor)>, ReadError> {
        let mut cursors = Vec::new();
        for row in self.view.cursors.range::<&[u8; 36]>(&crate::tables::cursor_key(&peer.0, 0)..)? {
            let (key, row) = row?;
            let Some((device, dom)) = key.value().split_first_chunk::<32>() else { continue };
            if *device != peer.0 {
                break;
            }
            let dom = u32::from_be_bytes(dom.try_into().expect("four of 36 bytes are left"));
            cursors.push((self.domain_row(dom)?.id, decode_cursor(row.value())?));
        }
        Ok(cursors)
    }
}

fn addresses(
    table: &impl Rows<&'static [u8], &'static [u8]>,
    device: Option<DeviceId>,
) -> Result<Vec<Address>, ReadError> {
    let start = device.as_ref().map(prefix).unwrap_or_default();
    let mut addresses = Vec::new();
    for row in table.range::<&[u8]>(start.as_slice()..)? {
        let (key, row) = row?;
        if !key.value().starts_with(&start) {
            break;
        }
        let damaged = || ReadError::damaged("unreadable address row");
        let (device, text) = key.value().split_first_chunk::<32>().ok_or_else(damaged)?;
        let text = std::str::from_utf8(text).map_err(|_| damaged())?.to_owned();
        let AddressRow { typed, last_success, last_tried } = decode(row.value(), "address")?;
        addresses.push(Address { device: DeviceId(*device), text, typed, last_success, last_tried });
    }
    Ok(addresses)
}

fn prefix(device: &DeviceId) -> Vec<u8> {
    device.0.to_vec()
}

fn address_key(device: &DeviceId, text: &str) -> Vec<u8> {
    let mut key = prefix(device);
    key.extend_from_slice(text.as_bytes());
    key
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, ReadError> {
    wire::decode(bytes, ROW_BYTES_MAX)
        .map_err(|error| ReadError::damaged(format!("unreadable {what} row: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::{LAPTOP, NOW, PHONE, batch, later, open, put};

    fn note(store: &crate::Store, text: &str, note: AddressNote) {
        store.write(Job::note_address(LAPTOP, text.into(), note)).unwrap();
    }

    /// D1: an address that worked is tried first the next time.
    #[test]
    fn addresses_that_worked_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        note(&store, "never", AddressNote::Tried(NOW));
        note(&store, "typed", AddressNote::Typed);
        note(&store, "old", AddressNote::Worked(NOW));
        note(&store, "new", AddressNote::Worked(later(1)));
        drop(store);
        let store = open(folder.path(), PHONE);
        let texts = |store: &crate::Store| -> Vec<_> {
            let addresses = store.snapshot().unwrap().addresses(Some(LAPTOP)).unwrap();
            addresses.into_iter().map(|address| address.text).collect()
        };
        assert_eq!(texts(&store), ["new", "old", "typed", "never"]);
        store.write(Job::remove_address(LAPTOP, "old".into())).unwrap();
        assert_eq!(texts(&store), ["new", "typed", "never"]);
        let gone = store.write(Job::remove_address(LAPTOP, "old".into()));
        assert_eq!(gone, Err(WriteError::NotFound));
    }

    #[test]
    fn a_device_has_at_most_sixteen_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        note(&store, "typed", AddressNote::Typed);
        for n in 0..ADDRESSES_MAX as u64 + 4 {
            note(&store, &format!("a{n}"), AddressNote::Worked(later(n)));
        }
        let addresses = store.snapshot().unwrap().addresses(Some(LAPTOP)).unwrap();
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        assert!(addresses.iter().any(|address| address.typed));
        assert!(addresses.iter().all(|address| address.text != "a0"));
    }

    #[test]
    fn addresses_end_at_512_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), PHONE);
        note(&store, &"a".repeat(ADDRESS_BYTES_MAX), AddressNote::Typed);
        let long = "a".repeat(ADDRESS_BYTES_MAX + 1);
        let refused = store.write(Job::note_address(LAPTOP, long, AddressNote::Typed));
        assert_eq!(refused, Err(WriteError::TextTooLong { bytes: 513, limit: 512 }));
    }

    /// D15: what is known about a device survives a restart, until it is
    /// forgotten.
    #[test]
    fn a_device_is_remembered_until_it_is_forgotten() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(here.path(), PHONE);
        let laptop = open(there.path(), LAPTOP);
        put(&laptop, "x", "1", NOW);
        store.apply(LAPTOP, vec![batch(&laptop, 0)], NOW).unwrap();
        note(&store, "here", AddressNote::Typed);
        store.write(Job::note_peer(LAPTOP, NOW, |peer| peer.alias = Some("Mine".into()))).unwrap();
        store.write(Job::note_peer(LAPTOP, later(5), |peer| peer.last_seen = Some(later(5)))).unwrap();
        drop(store);
        let store = open(here.path(), PHONE);
        let peer = store.snapshot().unwrap().peer(LAPTOP).unwrap().unwrap();
        assert_eq!((peer.first_seen, peer.last_seen), (NOW, Some(later(5))));
        assert_eq!(peer.alias.as_deref(), Some("Mine"));
        assert_eq!(store.snapshot().unwrap().cursors(LAPTOP).unwrap().len(), 1);

        store.write(Job::forget_peer(LAPTOP)).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.peer(LAPTOP).unwrap(), None);
        assert_eq!(snapshot.addresses(Some(LAPTOP)).unwrap(), []);
        assert_eq!(snapshot.cursors(LAPTOP).unwrap(), []);
        let long = "a".repeat(PEER_TEXT_BYTES_MAX + 1);
        assert!(store.write(Job::note_peer(LAPTOP, NOW, |peer| peer.alias = Some(long))).is_err());
    }
}
