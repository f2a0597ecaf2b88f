//! Which version wins: asked for each record that arrives.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use kinsync_protocol::record::Version;

use crate::records::records;

/// Versions that are put into order.
const VERSIONS: u64 = 10_000;

/// Measures the order of stamps and of versions.
pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    group.throughput(Throughput::Elements(VERSIONS));
    group.bench_function("sort_10k_stamps", |bencher| {
        let stamps: Vec<_> = records(VERSIONS).iter().map(|record| record.version.stamp).collect();
        let sort = |stamps: &mut Vec<_>| stamps.sort_unstable();
        bencher.iter_batched_ref(|| stamps.clone(), sort, BatchSize::LargeInput);
    });
    group.bench_function("sort_10k_versions", |bencher| {
        let versions: Vec<_> = records(VERSIONS).into_iter().map(|record| record.version).collect();
        // As references: what is measured is the order, not the moving.
        let sort = |versions: &mut Vec<_>| versions.sort_unstable();
        bencher.iter_batched_ref(|| versions.iter().collect(), sort, BatchSize::LargeInput);
    });
    group.bench_function("judge_10k_pairs_of_versions", |bencher| {
        let versions: Vec<_> = records(VERSIONS + 1).into_iter().map(|record| record.version).collect();
        let judge = |pair: &[Version]| match black_box(pair) {
            [own, theirs] => theirs > own && !theirs.knew(own),
            _ => false,
        };
        bencher.iter(|| versions.windows(2).filter(|pair| judge(pair)).count());
    });
    group.finish();
}
