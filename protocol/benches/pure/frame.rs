//! A page of records as bytes and back: what each record of a first copy pays
//! on either side. Reading checks every value against its hash.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use kinsync_protocol::wire::frame::{Frame, Part, Request};

use crate::records::records;

/// Records of one frame.
const RECORDS: u64 = 1_000;

/// Measures both ways of a frame.
pub(crate) fn measure(criterion: &mut Criterion) {
    let part = Part { records: records(RECORDS), ..Part::default() };
    let page = Request::Exchange(Frame { session: 7, hello: None, parts: vec![part] });
    let bytes = page.encode();
    assert_eq!(Request::decode(&bytes).ok().as_ref(), Some(&page), "measured is what works");
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode_1k_records", |bencher| bencher.iter(|| black_box(&page).encode()));
    group.bench_function("decode_1k_records", |bencher| {
        bencher.iter(|| Request::decode(black_box(&bytes)));
    });
    group.finish();
}
