//! Sums of items: what a write does to them, and what a session asks of them.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use kinsync_protocol::item::{item_hash, key_hash};
use kinsync_protocol::sums::{Range, Summary, range_print};

use crate::records::{domain, records};

/// Items that one measurement goes through.
const ITEMS: u64 = 1_000;

/// Sums that hold an item: of all, of its eight leading bits, of its sixteen.
const LEVELS: usize = 3;

/// Fingerprints of the first split.
const CHILDREN: u64 = 256;

/// Measures hashing, replacing and fingerprints.
pub(crate) fn measure(criterion: &mut Criterion) {
    let items: Vec<_> =
        records(ITEMS).into_iter().map(|record| (key_hash(domain(), &record.key), record.version)).collect();
    let hash = |(key, version): &_| item_hash(domain(), *key, version);
    let mut group = criterion.benchmark_group("sums");
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("hash_1k_items", |bencher| {
        bencher.iter(|| items.iter().map(hash).fold(0, |all, hash| all ^ hash[0]));
    });
    let hashes: Vec<_> = items.iter().map(hash).collect();
    group.bench_function("replace_1k_items_at_three_levels", |bencher| {
        let mut levels = [Summary::EMPTY; LEVELS];
        levels.iter_mut().for_each(|level| hashes.iter().for_each(|hash| level.add(hash)));
        bencher.iter(|| {
            for (old, new) in hashes.iter().zip(hashes.iter().cycle().skip(1)) {
                for level in black_box(&mut levels) {
                    level.remove(old);
                    level.add(new);
                }
            }
        });
    });
    group.throughput(Throughput::Elements(CHILDREN));
    group.bench_function("print_256_ranges", |bencher| {
        let mut summary = Summary::EMPTY;
        hashes.iter().for_each(|hash| summary.add(hash));
        let print = |range| range_print([7; 8], range, black_box(&summary));
        bencher.iter(|| Range::ALL.children().map(print).fold(0, |all, print| all ^ print[0]));
    });
    group.finish();
}
