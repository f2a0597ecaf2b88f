//! Many worlds in a row: what `scripts/sim` asks for, and how it went.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Disk;
use crate::planted::Planted;
use crate::trace::Printer;
use crate::world::{Failure, Options, Report, run};

/// Failures after which a campaign gives up.
const FAILURES_MAX: usize = 4;

const YEAR_MILLIS: u64 = 365 * 86_400_000;

/// Which worlds to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Their seeds.
    pub seeds: Range<u64>,
    /// Their options.
    pub options: Options,
    /// Whether to show every step.
    pub trace: bool,
}

/// How a campaign went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All worlds in which every law held.
    pub total: Report,
    /// The others.
    pub failures: Vec<Failure>,
}

impl Campaign {
    /// The worlds `seeds`, unless the environment names others.
    ///
    /// # Panics
    ///
    /// If the environment names something that is not there.
    pub fn from_environment(seeds: Range<u64>, options: Options) -> Self {
        let read = |name: &str| std::env::var(format!("KINSYNC_SIM_{name}")).ok();
        let number = |text: String| text.parse::<u64>().expect("a seed is a number");
        let start = read("SEED").map_or(seeds.start, number);
        let count = read("WORLDS").map_or(seeds.end - seeds.start, number);
        let planted = read("PLANTED").map(|name| Planted::parse(&name).expect("a planted mistake"));
        let options = Options { planted: planted.or(options.planted), ..options };
        Self { seeds: start..start.saturating_add(count), options, trace: read("TRACE").is_some() }
    }

    /// Runs the worlds over one kind of store, on two threads unless it is
    /// traced.
    pub fn run<D: Disk>(&self, print: fn(&str)) -> Summary {
        let next = AtomicU64::new(self.seeds.start);
        let work = || {
            let mut summary = Summary::default();
            while summary.failures.len() < FAILURES_MAX {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !self.seeds.contains(&seed) {
                    break;
                }
                let printer = self.trace.then(|| Box::new(print) as Printer);
                match run::<D>(seed, self.options, printer) {
                    Ok(report) => summary.total.add(&report),
                    Err(failure) => summary.failures.push(*failure),
                }
            }
            summary
        };
        if self.trace {
            return work();
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            let mut summary = work();
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            summary.total.add(&other.total);
            summary.failures.extend(other.failures);
            summary
        })
    }
}

impl Summary {
    /// One line about all worlds.
    pub fn line(&self) -> String {
        let Report { worlds, steps, device_millis, writes, crashes, restores, revocations, sessions, hash } =
            self.total;
        let years = device_millis as f64 / YEAR_MILLIS as f64;
        format!(
            "{worlds} worlds, {steps} steps, {years:.1} device-years, {writes} writes, {sessions} sessions, \
             {crashes} crashes, {restores} restores, {revocations} revocations, {} failures, hash {hash:016x}",
            self.failures.len()
        )
    }

    /// Every failure, with the command that repeats it.
    pub fn failed(&self) -> String {
        self.failures.iter().map(|failure| format!("\n{failure}\n")).collect()
    }
}
