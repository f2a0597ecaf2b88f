//! The messages of `/kinsync/sync/1`.
//!
//! A session is an exchange of [`Frame`]s in strict turns, each a request or
//! its answer. Authors stand in a frame as numbers into the frame's own list
//! of devices, so every frame can be read alone (spec §5).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_bytes::ByteBuf;

use super::compress::decompress;
use super::{Bounded, DecodeError, decode, encode, positional};
use crate::floor::Floor;
use crate::grants::Grants;
use crate::id::{DeviceId, DeviceTag, DomainId, KeyHash, ValueHash};
use crate::limits::{
    ANCESTRY_DEVICES_MAX, DOMAINS_MAX, FRAME_BYTES_MAX, FRAME_DEVICES_MAX, FRAME_PARTS_MAX, FRAME_ROWS_MAX,
    PUSH_SERVED_MAX,
};
use crate::record::{Key, Record, Version};
use crate::snapshot::{Cursor, Epoch};
use crate::stamp::{Ancestry, Hlc, Stamp};
use crate::sums::{Nonce, Range, RangePrint, RootPrint};

/// What one device asks of another on the sync protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// A step of a session.
    Exchange(Frame),
    /// A change, sent as soon as it is on disk.
    Push(Push),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// The other side's step of the session.
    Exchange(Frame),
    /// The change is on disk.
    Pushed {
        /// Whether it followed on all that came before; a session has to fetch
        /// the rest otherwise.
        in_order: bool,
    },
    /// No, for now or for good.
    Refuse(Refusal),
}

/// Why a request was not served: what a peer may learn, and no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Too much to do. Ask again later.
    Busy,
    /// The session is not known, or no longer. Open a new one.
    NoSession,
    /// The asker is not trusted.
    NotTrusted,
    /// The request broke the protocol.
    BadMessage,
    /// The store cannot write at the moment.
    NoStore,
}

/// One side's step in a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frame {
    /// The number that the initiator drew for the session.
    pub session: u64,
    /// The opening, in the first frame of each side.
    pub hello: Option<Hello>,
    /// What concerns one domain each.
    pub parts: Vec<Part>,
}

positional! {
    /// The state of all domains of one side.
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct Hello {
        /// The salt of all fingerprints; the responder repeats it.
        pub nonce: Nonce,
        /// Whether the initiator only compares: no records travel then.
        pub compare: bool,
        /// What the sender grants the receiver in every domain that the list
        /// does not name.
        pub others: Grants,
        /// The initiator's domains; the responder's are the same in the same
        /// order, followed by those the initiator does not have. A domain's
        /// place in that list is its number for the rest of the session.
        pub domains: Bounded<HelloDomain, DOMAINS_MAX>,
    }
}

positional! {
    /// The state of one domain on one side.
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct HelloDomain {
        /// Which domain.
        pub domain: DomainId,
        /// The fingerprint of its root.
        pub print: ByteArray16,
        /// How many items it holds, tombstones included.
        pub items: u64,
        /// How many of them are live records; for people who compare.
        pub live: u64,
        /// The epoch of its arrival log.
        pub epoch: Epoch,
        /// The last position of its arrival log.
        pub head: u64,
        /// How far this side has taken in the other side's log.
        pub cursor: Option<HelloCursor>,
        /// What the sender grants the receiver. Without reading, the state
        /// above is that of a domain with no items.
        pub grants: Grants,
        /// The sender's floor.
        pub floor: Floor,
    }
}

positional! {
    /// A [`Cursor`] on the wire.
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct HelloCursor {
        /// See [`Cursor::epoch`].
        pub epoch: Epoch,
        /// See [`Cursor::seq`].
        pub seq: u64,
        /// See [`Cursor::after`].
        pub after: Option<Key>,
    }
}

impl From<Cursor> for HelloCursor {
    fn from(Cursor { epoch, seq, after }: Cursor) -> Self {
        Self { epoch, seq, after }
    }
}

impl From<HelloCursor> for Cursor {
    fn from(HelloCursor { epoch, seq, after }: HelloCursor) -> Self {
        Self { epoch, seq, after }
    }
}

/// Sixteen bytes as one CBOR byte string.
pub type ByteArray16 = serde_bytes::ByteArray<16>;

/// What a frame says of one domain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// The domain's number in the session.
    pub domain: u16,
    /// Records: announced inline, wanted, or found missing by a repair.
    pub records: Vec<Record>,
    /// News of the sender's arrival log.
    pub delta: Option<Delta>,
    /// Records that the sender wants of the other side.
    pub want: Vec<KeyHash>,
    /// Fingerprints of the children of ranges that may differ.
    pub ranges: Vec<RangePrints>,
    /// Ranges small enough to be listed whole.
    pub leaves: Vec<Leaf>,
    /// The sender's root, once it has nothing more to send.
    pub done: Option<Done>,
}

impl Part {
    /// Whether the part says nothing.
    pub fn is_empty(&self) -> bool {
        self.done.is_none() && !self.says_more_than_done()
    }

    /// Whether the part says anything beside the sender's root.
    pub fn says_more_than_done(&self) -> bool {
        let Self { domain: _, records, delta, want, ranges, leaves, done: _ } = self;
        !(records.is_empty() && delta.is_none() && want.is_empty() && ranges.is_empty() && leaves.is_empty())
    }
}

/// A page of the sender's arrival log.
///
/// Every row of it stands in the same part: as a record, or as a head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delta {
    /// Where the page ends, as the receiver's cursor once it has all of it.
    pub to: Cursor,
    /// Rows whose values travel only if they are wanted.
    pub heads: Vec<Head>,
}

/// A version without key, value and ancestry: enough to see whether it is
/// wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The record.
    pub key: KeyHash,
    /// The version's stamp.
    pub stamp: Stamp,
    /// Whether it deletes the record.
    pub deleted: bool,
    /// The first half of its value hash.
    pub value: [u8; 8],
}

impl Head {
    /// The head of a version.
    pub fn new(key: KeyHash, version: &Version) -> Self {
        Self { key, stamp: version.stamp, deleted: version.deleted, value: half(&version.value) }
    }

    /// Whether the version behind this head would replace `own`.
    pub fn beats(&self, own: &Version) -> bool {
        (self.stamp, self.deleted, self.value) > (own.stamp, own.deleted, half(&own.value))
    }

    /// Whether `own` would replace the version behind this head.
    pub fn loses_to(&self, own: &Version) -> bool {
        (self.stamp, self.deleted, self.value) < (own.stamp, own.deleted, half(&own.value))
    }
}

fn half(value: &ValueHash) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&value.as_bytes()[..8]);
    half
}

/// The fingerprints of all children of a range, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RangePrints {
    /// The range that is split.
    pub range: Range,
    /// One fingerprint for each child.
    pub prints: Vec<RangePrint>,
}

/// All versions of one side in a range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// The range.
    pub range: Range,
    /// Its versions.
    pub heads: Vec<Head>,
}

positional! {
    /// One side has nothing more to send; the other one compares.
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct Done {
        /// The fingerprint of the sender's root.
        pub print: ByteArray16,
        /// The epoch of the sender's log.
        pub epoch: Epoch,
        /// The position of the sender's log at that root.
        pub head: u64,
    }
}

impl Done {
    /// The fingerprint.
    pub fn root_print(&self) -> RootPrint {
        *self.print
    }
}

/// A change of one domain, sent ahead of any session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Push {
    /// The domain.
    pub domain: DomainId,
    /// The epoch of the sender's log.
    pub epoch: Epoch,
    /// The position of the log before the first of the records.
    pub previous: u64,
    /// The position of the log after the last of them.
    pub seq: u64,
    /// The records, complete.
    pub records: Vec<Record>,
    /// Devices to which the receiver need not pass them on: they have them, or
    /// somebody sends them. A hint; at most [`PUSH_SERVED_MAX`].
    pub served: Vec<DeviceTag>,
}

impl Request {
    /// Writes the request.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Exchange(frame) => tagged(EXCHANGE, &WireFrame::from_frame(frame)),
            Self::Push(push) => tagged(PUSH, &WirePush::from_push(push)),
        }
    }

    /// Reads a request, [compressed](super::compress()) or not, of at most
    /// [`FRAME_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match split(&decompress(bytes)?)? {
            (EXCHANGE, body) => Ok(Self::Exchange(decode::<WireFrame>(body, FRAME_BYTES_MAX)?.into_frame()?)),
            (PUSH, body) => Ok(Self::Push(decode::<WirePush>(body, FRAME_BYTES_MAX)?.into_push()?)),
            (kind, _) => Err(DecodeError::malformed(format_args!("no request has kind {kind}"))),
        }
    }
}

impl Response {
    /// Writes the response.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Exchange(frame) => tagged(EXCHANGE, &WireFrame::from_frame(frame)),
            Self::Pushed { in_order } => tagged(PUSH, in_order),
            Self::Refuse(refusal) => tagged(REFUSE, &refusal_code(*refusal)),
        }
    }

    /// Reads a response, [compressed](super::compress()) or not, of at most
    /// [`FRAME_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match split(&decompress(bytes)?)? {
            (EXCHANGE, body) => Ok(Self::Exchange(decode::<WireFrame>(body, FRAME_BYTES_MAX)?.into_frame()?)),
            (PUSH, body) => Ok(Self::Pushed { in_order: decode(body, FRAME_BYTES_MAX)? }),
            (REFUSE, body) => refusal(decode(body, FRAME_BYTES_MAX)?).map(Self::Refuse),
            (kind, _) => Err(DecodeError::malformed(format_args!("no response has kind {kind}"))),
        }
    }
}

/// The first byte of a message; the rest is CBOR.
const EXCHANGE: u8 = 1;
const PUSH: u8 = 2;
const REFUSE: u8 = 3;

fn tagged<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.append(&mut encode(body));
    bytes
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match bytes {
        [kind, body @ ..] => Ok((*kind, body)),
        [] => Err(DecodeError::malformed("an empty message")),
    }
}

fn refusal_code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Busy => 1,
        Refusal::NoSession => 2,
        Refusal::NotTrusted => 3,
        Refusal::BadMessage => 4,
        Refusal::NoStore => 5,
    }
}

fn refusal(code: u8) -> Result<Refusal, DecodeError> {
    match code {
        1 => Ok(Refusal::Busy),
        2 => Ok(Refusal::NoSession),
        3 => Ok(Refusal::NotTrusted),
        4 => Ok(Refusal::BadMessage),
        5 => Ok(Refusal::NoStore),
        code => Err(DecodeError::malformed(format_args!("no refusal has code {code}"))),
    }
}

/// Numbers the devices of a frame in order of first use.
#[derive(Default)]
struct Numbering {
    numbers: BTreeMap<DeviceId, u16>,
    devices: Vec<DeviceId>,
}

impl Numbering {
    fn number(&mut self, device: DeviceId) -> u16 {
        *self.numbers.entry(device).or_insert_with(|| {
            self.devices.push(device);
            // A sender closes a frame long before it names this many devices.
            u16::try_from(self.devices.len() - 1).unwrap_or(u16::MAX)
        })
    }

    fn into_devices(self) -> Devices {
        Bounded::truncating(self.devices)
    }
}

type Devices = Bounded<DeviceId, FRAME_DEVICES_MAX>;

fn device(devices: &Devices, number: u16) -> Result<DeviceId, DecodeError> {
    let device = devices.get(usize::from(number)).copied();
    device.ok_or_else(|| DecodeError::malformed(format_args!("no device has number {number}")))
}

positional! {
    struct WireFrame {
        session: u64,
        devices: Devices,
        hello: Option<Hello>,
        parts: Bounded<WirePart, FRAME_PARTS_MAX>,
    }
}

impl WireFrame {
    fn from_frame(frame: &Frame) -> Self {
        let mut numbering = Numbering::default();
        let parts = frame.parts.iter().map(|part| WirePart::from_part(part, &mut numbering)).collect();
        Self {
            session: frame.session,
            hello: frame.hello.clone(),
            parts: Bounded::truncating(parts),
            devices: numbering.into_devices(),
        }
    }

    fn into_frame(self) -> Result<Frame, DecodeError> {
        let Self { session, devices, hello, parts } = self;
        let mut rows = 0;
        let parts: Vec<Part> =
            parts.into_inner().into_iter().map(|part| part.into_part(&devices)).collect::<Result<_, _>>()?;
        for part in &parts {
            rows += part.records.len()
                + part.want.len()
                + part.delta.as_ref().map_or(0, |delta| delta.heads.len());
            // Each costs its reader a few rows of the store, however short it is.
            rows += part.ranges.len() + part.leaves.len();
            rows += part.leaves.iter().map(|leaf| leaf.heads.len()).sum::<usize>();
        }
        if rows > FRAME_ROWS_MAX {
            return Err(DecodeError::malformed(format_args!("{rows} rows in one frame")));
        }
        Ok(Frame { session, hello, parts })
    }
}

positional! {
    struct WirePart {
        domain: u16,
        records: Bounded<WireRecord, FRAME_ROWS_MAX>,
        delta: Option<WireDelta>,
        want: ByteBuf,
        ranges: Bounded<WireRange, FRAME_ROWS_MAX>,
        leaves: Bounded<WireRange, FRAME_ROWS_MAX>,
        done: Option<Done>,
    }
}

impl WirePart {
    fn from_part(part: &Part, numbering: &mut Numbering) -> Self {
        let want = part.want.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<_>>();
        let ranges = part.ranges.iter().map(|RangePrints { range, prints }| WireRange {
            bits: range.bits,
            prefix: range.prefix,
            body: ByteBuf::from(prints.concat()),
        });
        let leaves = part.leaves.iter().map(|Leaf { range, heads }| WireRange {
            bits: range.bits,
            prefix: range.prefix,
            body: pack(heads, numbering),
        });
        Self {
            domain: part.domain,
            leaves: Bounded::truncating(leaves.collect()),
            records: Bounded::truncating(
                part.records.iter().map(|r| WireRecord::from_record(r, numbering)).collect(),
            ),
            delta: part
                .delta
                .as_ref()
                .map(|delta| WireDelta { to: delta.to.clone().into(), heads: pack(&delta.heads, numbering) }),
            want: ByteBuf::from(want),
            ranges: Bounded::truncating(ranges.collect()),
            done: part.done.clone(),
        }
    }

    fn into_part(self, devices: &Devices) -> Result<Part, DecodeError> {
        let ranges = self.ranges.into_inner().into_iter().map(|wire| {
            let range = wire.range()?;
            let (prints, rest) = wire.body.as_chunks::<4>();
            let children = range.split_bits().map_or(0, |bits| 1_usize << bits);
            if !rest.is_empty() || prints.len() != children {
                return Err(DecodeError::malformed("fingerprints that do not fit their range"));
            }
            Ok(RangePrints { range, prints: prints.to_vec() })
        });
        let leaves = self.leaves.into_inner().into_iter().map(|wire| {
            let (range, heads) = (wire.range()?, unpack(&wire.body, devices)?);
            match heads.iter().all(|head| range.contains(head.key)) {
                true => Ok(Leaf { range, heads }),
                false => Err(DecodeError::malformed("a leaf with a key of another range")),
            }
        });
        let (want, rest) = self.want.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(DecodeError::malformed("half a key hash"));
        }
        Ok(Part {
            domain: self.domain,
            ranges: ranges.collect::<Result<_, _>>()?,
            leaves: leaves.collect::<Result<_, _>>()?,
            want: want.iter().map(|&key| KeyHash(key)).collect(),
            records: records(self.records.into_inner(), devices)?,
            delta: match self.delta {
                Some(WireDelta { to, heads }) => {
                    Some(Delta { to: to.into(), heads: unpack(&heads, devices)? })
                }
                None => None,
            },
            done: self.done,
        })
    }
}

fn records(wire: Vec<WireRecord>, devices: &Devices) -> Result<Vec<Record>, DecodeError> {
    wire.into_iter().map(|record| record.into_record(devices)).collect()
}

positional! {
    struct WireDelta {
        to: HelloCursor,
        heads: ByteBuf,
    }
}

positional! {
    struct WireRange {
        bits: u8,
        prefix: u64,
        body: ByteBuf,
    }
}

impl WireRange {
    fn range(&self) -> Result<Range, DecodeError> {
        let range = Range { bits: self.bits, prefix: self.prefix };
        if range.is_valid() { Ok(range) } else { Err(DecodeError::malformed("no such range")) }
    }
}

positional! {
    struct WireRecord {
        key: Key,
        time: Hlc,
        device: u16,
        value: Option<ByteBuf>,
        seen: Bounded<(u16, Hlc), ANCESTRY_DEVICES_MAX>,
    }
}

impl WireRecord {
    fn from_record(record: &Record, numbering: &mut Numbering) -> Self {
        let Version { stamp, seen, .. } = &record.version;
        let seen = seen.entries().iter().map(|&(device, time)| (numbering.number(device), time));
        Self {
            key: record.key.clone(),
            time: stamp.time,
            seen: Bounded::truncating(seen.collect()),
            device: numbering.number(stamp.device),
            value: record.value.clone().map(ByteBuf::from),
        }
    }

    fn into_record(self, devices: &Devices) -> Result<Record, DecodeError> {
        let seen = self.seen.iter().map(|&(number, time)| Ok((device(devices, number)?, time)));
        let seen = Ancestry::from_entries(seen.collect::<Result<_, _>>()?);
        let stamp = Stamp { time: self.time, device: device(devices, self.device)? };
        Record::received(self.key, self.value.map(ByteBuf::into_vec), stamp, seen)
            .map_err(DecodeError::malformed)
    }
}

positional! {
    struct WirePush {
        domain: DomainId,
        devices: Devices,
        epoch: Epoch,
        previous: u64,
        seq: u64,
        records: Bounded<WireRecord, FRAME_ROWS_MAX>,
        served: Bounded<DeviceTag, PUSH_SERVED_MAX>,
    }
}

impl WirePush {
    fn from_push(push: &Push) -> Self {
        let mut numbering = Numbering::default();
        let records =
            push.records.iter().map(|record| WireRecord::from_record(record, &mut numbering)).collect();
        Self {
            domain: push.domain,
            epoch: push.epoch,
            previous: push.previous,
            seq: push.seq,
            records: Bounded::truncating(records),
            devices: numbering.into_devices(),
            served: Bounded::truncating(push.served.clone()),
        }
    }

    fn into_push(self) -> Result<Push, DecodeError> {
        let Self { domain, devices, epoch, previous, seq, records, served } = self;
        let records = self::records(records.into_inner(), &devices)?;
        Ok(Push { domain, epoch, previous, seq, records, served: served.into_inner() })
    }
}

/// The length of a packed [`Head`]: key 16, time 8, device 2, deleted 1,
/// value 8.
pub const HEAD_BYTES: usize = 35;

fn pack(heads: &[Head], numbering: &mut Numbering) -> ByteBuf {
    let mut bytes = Vec::with_capacity(heads.len() * HEAD_BYTES);
    for head in heads {
        bytes.extend_from_slice(head.key.as_bytes());
        bytes.extend_from_slice(&head.stamp.time.0.to_be_bytes());
        bytes.extend_from_slice(&numbering.number(head.stamp.device).to_be_bytes());
        bytes.push(u8::from(head.deleted));
        bytes.extend_from_slice(&head.value);
    }
    ByteBuf::from(bytes)
}

fn unpack(bytes: &[u8], devices: &Devices) -> Result<Vec<Head>, DecodeError> {
    let (heads, rest) = bytes.as_chunks::<HEAD_BYTES>();
    if !rest.is_empty() {
        return Err(DecodeError::malformed("half a head"));
    }
    heads.iter().map(|bytes| unpack_head(bytes, devices)).collect()
}

fn unpack_head(bytes: &[u8; HEAD_BYTES], devices: &Devices) -> Result<Head, DecodeError> {
    let (key, rest) = bytes.split_first_chunk::<16>().expect("35 bytes");
    let (time, rest) = rest.split_first_chunk::<8>().expect("19 bytes");
    let (number, rest) = rest.split_first_chunk::<2>().expect("11 bytes");
    let (deleted, rest) = rest.split_first_chunk::<1>().expect("9 bytes");
    let (value, _) = rest.split_first_chunk::<8>().expect("8 bytes");
    let deleted = match deleted {
        [0] => false,
        [1] => true,
        _ => return Err(DecodeError::malformed("a mark that is neither 0 nor 1")),
    };
    let stamp =
        Stamp { time: Hlc(u64::from_be_bytes(*time)), device: device(devices, u16::from_be_bytes(*number))? };
    Ok(Head { key: KeyHash(*key), stamp, deleted, value: *value })
}

#[cfg(test)]
mod tests;
