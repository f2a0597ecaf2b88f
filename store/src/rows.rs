//! The rows that are written by the thousand, as bytes.
//!
//! Item and history rows carry a check over their content and their place:
//! the database does not verify its pages on every read, and a version that
//! changed on disk must never be taken for one that somebody wrote.

use kinsync_protocol::floor::Floor;
use kinsync_protocol::hash;
use kinsync_protocol::id::{DeviceId, DomainId, KeyHash, ValueHash};
use kinsync_protocol::limits::ANCESTRY_DEVICES_MAX;
use kinsync_protocol::record::{Key, Version};
use kinsync_protocol::snapshot::{Cursor, Item};
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp, UnixMillis};
use kinsync_protocol::sums::Summary;

use crate::bytes::Reader;
use crate::error::ReadError;

/// Gives a device its local number.
pub(crate) type Intern<'a> = dyn FnMut(DeviceId) -> Result<u32, ReadError> + 'a;

/// Finds the device of a local number.
pub(crate) type Resolve<'a> = dyn FnMut(u32) -> Result<DeviceId, ReadError> + 'a;

const CHECK_BYTES: usize = 4;

/// The state of a whole domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DomainRow {
    pub(crate) id: DomainId,
    /// The last position of the arrival log; 0 when it is empty.
    pub(crate) head: u64,
    pub(crate) live: u64,
    pub(crate) summary: Summary,
    /// The last number given to a history row.
    pub(crate) past: u64,
    /// How many conflicts are listed.
    pub(crate) conflicts: u64,
    /// How many records are marked as waiting.
    pub(crate) waiting: u64,
    /// The revision of the rules that those marks follow; 0 for none.
    pub(crate) rules: u64,
    pub(crate) floor: Floor,
    /// The last position of the log at which a tombstone stood that was
    /// forgotten.
    pub(crate) forgotten: u64,
}

impl DomainRow {
    pub(crate) fn new(id: DomainId) -> Self {
        Self {
            id,
            head: 0,
            live: 0,
            summary: Summary::EMPTY,
            past: 0,
            conflicts: 0,
            waiting: 0,
            rules: 0,
            floor: Floor::NEVER,
            forgotten: 0,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&self.head.to_be_bytes());
        bytes.extend_from_slice(&self.live.to_be_bytes());
        bytes.extend_from_slice(&self.summary.to_bytes());
        bytes.extend_from_slice(&self.past.to_be_bytes());
        bytes.extend_from_slice(&self.conflicts.to_be_bytes());
        bytes.extend_from_slice(&self.waiting.to_be_bytes());
        bytes.extend_from_slice(&self.rules.to_be_bytes());
        bytes.extend_from_slice(&self.floor.0.to_be_bytes());
        bytes.extend_from_slice(&self.forgotten.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut row = Reader::new(bytes, "domain");
        Ok(Self {
            id: DomainId(row.array()?),
            head: row.u64()?,
            live: row.u64()?,
            summary: Summary::from_bytes(&row.array()?),
            past: row.u64()?,
            conflicts: row.u64()?,
            waiting: row.u64()?,
            rules: row.u64()?,
            // A row from before there were floors ends here.
            floor: if row.is_at_end() { Floor::NEVER } else { Floor(row.u32()?) },
            forgotten: if row.is_at_end() { 0 } else { row.u64()? },
        })
    }
}

/// A record without its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ItemRow {
    pub(crate) item: Item,
    /// When it was committed here, by this device's clock.
    pub(crate) received: UnixMillis,
}

impl ItemRow {
    pub(crate) fn encode(&self, place: Place, intern: &mut Intern<'_>) -> Result<Vec<u8>, ReadError> {
        let Item { key, version, seq, from } = &self.item;
        let mut bytes = Vec::with_capacity(64 + key.as_str().len());
        bytes.extend_from_slice(&seq.to_be_bytes());
        write_from(&mut bytes, *from, intern)?;
        bytes.extend_from_slice(&self.received.0.to_be_bytes());
        write_version(&mut bytes, version, intern)?;
        bytes.extend_from_slice(key.as_str().as_bytes());
        Ok(place.seal(bytes))
    }

    pub(crate) fn decode(bytes: &[u8], place: Place, resolve: &mut Resolve<'_>) -> Result<Self, ReadError> {
        let mut row = Reader::new(place.open(bytes, "item")?, "item");
        let seq = row.u64()?;
        let from = read_from(&mut row, resolve)?;
        let received = UnixMillis(row.u64()?);
        let version = read_version(&mut row, resolve)?;
        let damaged = row.damaged();
        let key = std::str::from_utf8(row.rest()).ok().and_then(|text| Key::new(text).ok()).ok_or(damaged)?;
        Ok(Self { item: Item { key, version, seq, from }, received })
    }
}

/// Why a version stands in history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// A later version that knew it took its place.
    Replaced,
    /// Its record was deleted by somebody who knew it.
    Deleted,
    /// It lost against a version whose author had not seen it, or was replaced
    /// by one.
    Conflict,
    /// It is part of the version that was made of it and another one, or
    /// stands as a record of its own.
    Merged,
    /// It was made into another version together with one that was written
    /// apart, and not all of it is in there.
    Overruled,
    /// Its record was deleted with the record that it belongs to.
    ParentDeleted,
    /// It lost a conflict that was decided since.
    Settled,
    /// It came from a device that was away for longer than deletions are
    /// remembered.
    Floor,
}

impl Reason {
    const ALL: [(u8, Self); 8] = [
        (0, Self::Replaced),
        (1, Self::Deleted),
        (2, Self::Conflict),
        (3, Self::ParentDeleted),
        (4, Self::Merged),
        (5, Self::Settled),
        (6, Self::Overruled),
        (7, Self::Floor),
    ];

    /// Whether the version is listed as a conflict that is open.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Conflict | Self::Overruled)
    }

    fn encode(self) -> u8 {
        let (number, _) = Self::ALL.into_iter().find(|(_, reason)| *reason == self).expect("all are listed");
        number
    }

    fn decode(row: &mut Reader<'_>) -> Result<Self, ReadError> {
        let number = row.u8()?;
        let reason = Self::ALL.into_iter().find(|(listed, _)| *listed == number);
        reason.map(|(_, reason)| reason).ok_or_else(|| row.damaged())
    }
}

/// A version that was set aside, and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PastRow {
    pub(crate) reason: Reason,
    /// When it was set aside, by this device's clock.
    pub(crate) at: UnixMillis,
    /// The version that took its place.
    pub(crate) by: Stamp,
    /// The device that delivered it here; `None` for a local write.
    pub(crate) from: Option<DeviceId>,
    pub(crate) version: Version,
    /// `None` for a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

impl PastRow {
    pub(crate) fn encode(&self, place: Place, intern: &mut Intern<'_>) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(96 + self.value.as_ref().map_or(0, Vec::len));
        bytes.push(self.reason.encode());
        bytes.extend_from_slice(&self.at.0.to_be_bytes());
        bytes.extend_from_slice(&self.by.time.0.to_be_bytes());
        bytes.extend_from_slice(&intern(self.by.device)?.to_be_bytes());
        write_from(&mut bytes, self.from, intern)?;
        write_version(&mut bytes, &self.version, intern)?;
        if let Some(value) = &self.value {
            bytes.extend_from_slice(value);
        }
        Ok(place.seal(bytes))
    }

    pub(crate) fn decode(bytes: &[u8], place: Place, resolve: &mut Resolve<'_>) -> Result<Self, ReadError> {
        let mut row = Reader::new(place.open(bytes, "history")?, "history");
        let reason = Reason::decode(&mut row)?;
        let at = UnixMillis(row.u64()?);
        let by = Stamp { time: Hlc(row.u64()?), device: resolve(row.u32()?)? };
        let from = read_from(&mut row, resolve)?;
        let version = read_version(&mut row, resolve)?;
        let value = (!version.deleted).then(|| row.rest().to_vec());
        Ok(Self { reason, at, by, from, version, value })
    }

    /// The time it was set aside, without reading the rest.
    pub(crate) fn peek_at(bytes: &[u8]) -> Result<(Reason, UnixMillis), ReadError> {
        let mut row = Reader::new(bytes, "history");
        Ok((Reason::decode(&mut row)?, UnixMillis(row.u64()?)))
    }
}

/// Where a row stands, as part of its check: a row that the disk delivers for
/// another one does not pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) dom: u32,
    pub(crate) key: KeyHash,
}

impl Place {
    fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.dom.to_be_bytes());
        bytes[4..].copy_from_slice(self.key.as_bytes());
        bytes
    }

    fn seal(self, content: Vec<u8>) -> Vec<u8> {
        seal_row(&self.bytes(), content)
    }

    fn open<'a>(self, bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], ReadError> {
        open_row(&self.bytes(), bytes).ok_or_else(|| ReadError::damaged(format!("an altered {what} row")))
    }
}

fn check(place: &[u8], content: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = hash::tagged("kinsync/row/1", &[place, content]);
    [a, b, c, d]
}

/// Puts a check behind the content of a row that stands at `place`.
pub(crate) fn seal_row(place: &[u8], mut content: Vec<u8>) -> Vec<u8> {
    let check = check(place, &content);
    content.extend_from_slice(&check);
    content
}

/// The content of a row at `place`, unless it is not what [`seal_row`] wrote.
pub(crate) fn open_row<'a>(place: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (content, stored) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    (*stored == check(place, content)).then_some(content)
}

/// 0 stands for this device.
fn write_from(bytes: &mut Vec<u8>, from: Option<DeviceId>, intern: &mut Intern<'_>) -> Result<(), ReadError> {
    let number = match from {
        Some(device) => intern(device)?.saturating_add(1),
        None => 0,
    };
    bytes.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn read_from(row: &mut Reader<'_>, resolve: &mut Resolve<'_>) -> Result<Option<DeviceId>, ReadError> {
    row.u32()?.checked_sub(1).map(resolve).transpose()
}

fn write_version(bytes: &mut Vec<u8>, version: &Version, intern: &mut Intern<'_>) -> Result<(), ReadError> {
    bytes.extend_from_slice(&version.stamp.time.0.to_be_bytes());
    bytes.extend_from_slice(&intern(version.stamp.device)?.to_be_bytes());
    bytes.push(u8::from(version.deleted));
    bytes.extend_from_slice(&version.value.0);
    bytes.extend_from_slice(&version.bytes.to_be_bytes());
    let seen = version.seen.entries();
    bytes.push(u8::try_from(seen.len()).expect("an ancestry holds at most 64 devices"));
    for (device, time) in seen {
        bytes.extend_from_slice(&intern(*device)?.to_be_bytes());
        bytes.extend_from_slice(&time.0.to_be_bytes());
    }
    Ok(())
}

fn read_version(row: &mut Reader<'_>, resolve: &mut Resolve<'_>) -> Result<Version, ReadError> {
    let time = Hlc(row.u64()?);
    let device = resolve(row.u32()?)?;
    let deleted = row.u8()? != 0;
    let value = ValueHash(row.array()?);
    let bytes = row.u32()?;
    let count = usize::from(row.u8()?);
    if count > ANCESTRY_DEVICES_MAX {
        return Err(row.damaged());
    }
    let mut seen = Vec::with_capacity(count);
    for _ in 0..count {
        seen.push((resolve(row.u32()?)?, Hlc(row.u64()?)));
    }
    Ok(Version { stamp: Stamp { time, device }, deleted, value, bytes, seen: Ancestry::from_entries(seen) })
}

/// Writes a cursor.
pub(crate) fn encode_cursor(cursor: &Cursor) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17);
    bytes.extend_from_slice(&cursor.epoch.to_be_bytes());
    bytes.extend_from_slice(&cursor.seq.to_be_bytes());
    if let Some(after) = &cursor.after {
        bytes.extend_from_slice(after.as_str().as_bytes());
    }
    bytes
}

/// Reads [`encode_cursor`]. A key is never empty, so no text means no key.
pub(crate) fn decode_cursor(bytes: &[u8]) -> Result<Cursor, ReadError> {
    let mut row = Reader::new(bytes, "cursor");
    let (epoch, seq) = (row.u64()?, row.u64()?);
    let damaged = row.damaged();
    let after = match row.rest() {
        [] => None,
        text => Some(std::str::from_utf8(text).ok().and_then(|text| Key::new(text).ok()).ok_or(damaged)?),
    };
    Ok(Cursor { epoch, seq, after })
}
