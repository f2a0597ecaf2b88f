//! How long the pure parts take that run once for each record, each frame or
//! each pairing. `scripts/bench --pure` measures; a test run goes through each
//! of them once.

use criterion::Criterion;

mod frame;
mod order;
mod pairing;
mod records;
mod sums;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    order::measure(&mut criterion);
    frame::measure(&mut criterion);
    sums::measure(&mut criterion);
    pairing::measure(&mut criterion);
    criterion.final_summary();
}
