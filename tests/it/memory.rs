//! What a frame of the largest size may cost in memory, however it is made.

use kinsync_protocol::id::{DeviceId, DeviceTag, DomainId, KeyHash};
use kinsync_protocol::limits::{
    ANCESTRY_DEVICES_MAX, FRAME_BYTES_MAX, FRAME_PARTS_MAX, FRAME_ROWS_MAX, PUSH_SERVED_MAX,
};
use kinsync_protocol::record::{Key, Record};
use kinsync_protocol::snapshot::Cursor;
use kinsync_protocol::stamp::{Ancestry, Hlc, Stamp};
use kinsync_protocol::sums::Range;
use kinsync_protocol::wire::frame::{Delta, Frame, Leaf, Part, Push, RangePrints, Request};
use peak_alloc::PeakAlloc;

/// All that reading one message may take at a time. A device reads few at once, so this bounds what peers can take.
const DECODE_BYTES_MAX: usize = 24 << 20;

/// Counts what this process holds.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most memory that was held while `bytes` were read, beyond what was held before.
fn cost_of_reading(bytes: &[u8]) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    drop(Request::decode(bytes));
    MEMORY.peak_usage().saturating_sub(before)
}

/// Whether only this test runs in this process, so that no other one is counted.
fn alone() -> bool {
    let alone = std::env::var_os("NEXTEST").is_some();
    if !alone {
        eprintln!("NOT RUN: other tests would be counted; use cargo nextest run");
    }
    alone
}

fn stamp(device: u64) -> Stamp {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&device.to_be_bytes());
    // The zero key is nobody, and stands in no ancestry.
    id[31] = 1;
    Stamp { time: Hlc(1), device: DeviceId(id) }
}

fn record(number: usize, ancestors: usize) -> Record {
    let ancestors = (1..=ancestors as u64).map(|device| (stamp(device).device, Hlc(0))).collect();
    let key = Key::new(format!("{number:x}")).unwrap();
    Record::new(key, None, stamp(0), Ancestry::from_entries(ancestors))
}

/// Nearly the longest request of a kind that still fits into a frame, of at most `most` elements.
fn longest(most: usize, make: impl Fn(usize) -> Request) -> Vec<u8> {
    let sample = 512;
    let each = make(sample).encode().len().div_ceil(sample);
    let bytes = make(most.min(FRAME_BYTES_MAX / (each + each / 32 + 1))).encode();
    assert!(bytes.len() <= FRAME_BYTES_MAX, "{} bytes: the elements grow", bytes.len());
    let read = Request::decode(&bytes);
    assert!(read.is_ok(), "what is refused early costs little: {read:?}");
    bytes
}

fn in_one_part(part: Part) -> Request {
    Request::Exchange(Frame { parts: vec![part], ..Frame::default() })
}

#[test]
fn no_frame_costs_more_than_a_named_bound() {
    if !alone() {
        return;
    }
    let cursor = Cursor { epoch: 0, seq: 0, after: None };
    let records = |ancestors| {
        longest(FRAME_ROWS_MAX, move |count| {
            let records = (0..count).map(|number| record(number, ancestors)).collect();
            in_one_part(Part { records, ..Part::default() })
        })
    };
    let hostile: [(&str, Vec<u8>); 7] = [
        ("short records", records(0)),
        ("records with ancestors", records(ANCESTRY_DEVICES_MAX)),
        (
            "pushed records",
            longest(FRAME_ROWS_MAX, |count| {
                let records = (0..count).map(|number| record(number, 0)).collect();
                let served = vec![DeviceTag([0; 8]); PUSH_SERVED_MAX];
                Request::Push(Push {
                    domain: DomainId([0; 16]),
                    epoch: 0,
                    previous: 0,
                    seq: 0,
                    records,
                    served,
                })
            }),
        ),
        (
            "wishes",
            longest(FRAME_ROWS_MAX, |count| {
                in_one_part(Part { want: vec![KeyHash([0; 16]); count], ..Part::default() })
            }),
        ),
        (
            "empty parts",
            longest(FRAME_PARTS_MAX, |count| {
                let delta = Delta { to: cursor.clone(), heads: Vec::new() };
                let part = Part { delta: Some(delta), ..Part::default() };
                Request::Exchange(Frame { parts: vec![part; count], ..Frame::default() })
            }),
        ),
        (
            "empty leaves",
            longest(FRAME_ROWS_MAX, |count| {
                in_one_part(Part {
                    leaves: vec![Leaf { range: Range::ALL, heads: vec![] }; count],
                    ..Part::default()
                })
            }),
        ),
        (
            "ranges",
            longest(FRAME_ROWS_MAX, |count| {
                in_one_part(Part {
                    ranges: vec![
                        RangePrints { range: Range { bits: 8, prefix: 3 }, prints: vec![[0; 4]; 16] };
                        count
                    ],
                    ..Part::default()
                })
            }),
        ),
    ];
    for (what, bytes) in hostile {
        let cost = cost_of_reading(&bytes);
        eprintln!("{what}: {} bytes on the wire, {cost} in memory", bytes.len());
        assert!(cost <= DECODE_BYTES_MAX, "{what}: {} bytes on the wire cost {cost}", bytes.len());
    }
}

/// What a message claims to hold costs nothing; only what it holds does.
#[test]
fn a_claim_costs_nothing() {
    if !alone() {
        return;
    }
    for claim in [
        &[1, 0x84, 0, 0x9b, 0, 0, 0, 0xff, 0, 0, 0, 0][..],
        &[1, 0x84, 0, 0x9a, 0xff, 0, 0, 0],
        &[2, 0x86, 0x5b, 0, 0, 0, 0x0f, 0, 0, 0, 0, 1],
    ] {
        let cost = cost_of_reading(claim);
        assert!(cost <= 4 << 10, "{claim:02x?} costs {cost}");
    }
}
