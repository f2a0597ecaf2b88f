//! The figures of all rounds, and the table made of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

/// Figures by name; several of one name are rounds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: BTreeMap<String, Vec<f64>>,
}

/// A row of the table: what it is, the figure, its unit, and what it is
/// measured against.
struct Row {
    what: &'static str,
    figure: &'static str,
    scale: f64,
    unit: &'static str,
    /// The floor that the figure is a multiple of, if it is one.
    floor: Option<&'static str>,
}

const fn row(what: &'static str, figure: &'static str, scale: f64, unit: &'static str) -> Row {
    Row { what, figure, scale, unit, floor: None }
}

const fn against(
    what: &'static str,
    figure: &'static str,
    scale: f64,
    unit: &'static str,
    floor: &'static str,
) -> Row {
    Row { what, figure, scale, unit, floor: Some(floor) }
}

const FLOORS: [Row; 5] = [
    row("F1 raw TCP copy of the payload", "F1", 1e3, "ms"),
    row("F2 raw redb, a durable commit per 1,000, for n records", "F2", 1e3, "ms"),
    row("F4 raw redb, one durable row at a time", "F4", 1e6, "us"),
    row("F5 300 bytes there and back over TCP, one way", "F5", 1e6, "us"),
    row("2 F4 + F5", "F24", 1e3, "ms"),
];

const ROWS: [Row; 36] = [
    row("start to ready, empty", "start_empty", 1e3, "ms"),
    against("W5 bulk: n records", "fill", 1.0, "s", "F2"),
    against("W1 first copy", "W1", 1.0, "s", "F2"),
    row("W1 records a second", "W1_rate", 1.0, "/s"),
    row("W1 bytes of wire, of payload", "W1_wire", 1.0, "x"),
    row("W1 memory at its end A", "W1_memory_a", 1.0, "MiB"),
    row("W1 memory at its end B", "W1_memory_b", 1.0, "MiB"),
    row("W1 CPU at its end B", "W1_cpu_b", 1.0, "s"),
    against("W4 write to visible, median", "W4", 1e3, "ms", "F24"),
    against("W4 slowest of 100", "W4_max", 1e3, "ms", "F24"),
    row("W4 bytes an edit", "W4_wire", 1.0, "B"),
    row("W7 idle CPU, of one core, A", "idle_cpu_a", 100.0, "%"),
    row("W7 idle CPU, of one core, B", "idle_cpu_b", 100.0, "%"),
    row("W7 idle bytes a minute", "idle_wire", 1.0, "B"),
    row("W7 idle memory A", "idle_memory_a", 1.0, "MiB"),
    row("W7 idle memory B", "idle_memory_b", 1.0, "MiB"),
    against("W5 one at a time", "single", 1e6, "us", "F4"),
    against("W5 64 writers, a write", "writers", 1e6, "us", "F4"),
    row("disk of payload A", "disk_a", 1.0, "x"),
    row("disk of payload B", "disk_b", 1.0, "x"),
    row("start to ready, full", "start_full", 1e3, "ms"),
    row("start to ready after kill -9", "start_killed", 1e3, "ms"),
    row("W2 nothing changed", "W2", 1e3, "ms"),
    row("W2 bytes with handshakes", "W2_wire", 1.0, "B"),
    row("W2 bytes of the pass alone", "W2_pass_wire", 1.0, "B"),
    row("W3 d = 1", "W3_1", 1e3, "ms"),
    row("W3 d = 1 bytes", "W3_1_wire", 1.0, "B"),
    row("W3 d = 100 by cursor", "W3_100", 1e3, "ms"),
    row("W3 d = 100 bytes a record over payload", "W3_100_wire", 1.0, "B"),
    against("W3 d = 10k by cursor", "W3_10000", 1e3, "ms", "F2"),
    row("W3 d = 10k bytes of payload", "W3_10000_wire", 1.0, "x"),
    row("W3 by repair, d = 100", "repair", 1e3, "ms"),
    row("W3 by repair, bytes a record", "repair_wire", 1.0, "B"),
    row("W3 by repair, CPU of A", "repair_cpu_a", 1e3, "ms"),
    row("W3 by repair, CPU of B", "repair_cpu_b", 1e3, "ms"),
    row("memory of B, the most", "memory_b", 1.0, "MiB"),
];

/// What an edit may take beside a load, of what it takes in quiet.
const W4_BESIDE_LOAD_MAX: f64 = 5.0;

/// The loads: what, the ratio, how heavy it was, in what unit.
const LOADS: [(&str, &str, &str, &str); 2] = [
    ("W4 beside a greedy device", "load_greedy", "load_greedy_answers", "answers/s"),
    ("W4 beside bulk writes", "load_bulk", "load_bulk_rate", "records/s"),
];

impl Report {
    /// Notes a figure of this round.
    pub(crate) fn note(&mut self, name: impl Into<String>, figure: f64) {
        self.figures.entry(name.into()).or_default().push(figure);
    }

    /// The median of a figure, its least and its greatest.
    fn spread(&self, name: &str) -> Option<(f64, f64, f64)> {
        let mut rounds = self.figures.get(name)?.clone();
        rounds.sort_by(f64::total_cmp);
        Some((*rounds.get(rounds.len() / 2)?, *rounds.first()?, *rounds.last()?))
    }

    /// The floor of a row for `records` records.
    fn floor(&self, name: &str, records: u64) -> Option<f64> {
        let of = |name: &str| self.spread(name).map(|(median, ..)| median);
        match name {
            "F2" => Some(of("F2")? * records as f64),
            "F24" => Some(2.0 * of("F4")? + of("F5")?),
            _ => of(name),
        }
    }

    /// Prints the table of every size.
    pub(crate) fn print(&self, sizes: &[(u64, u32)]) {
        for (records, rounds) in sizes {
            println!("\n{records} records of 300 bytes, {rounds} rounds: median (least - greatest)\n");
            println!("| what | figure | of the floor |\n| --- | --- | --- |");
            for Row { what, figure, scale, unit, .. } in FLOORS {
                if let Some(floor) = self.floor(figure, *records) {
                    println!("| {what} | {} {unit} | |", digits(floor * scale));
                }
            }
            for row in ROWS {
                let Some((median, least, most)) = self.spread(&format!("{}@{records}", row.figure)) else {
                    continue;
                };
                // A change of 10,000 records has the floor of 10,000.
                let of = if row.figure == "W3_10000" { 10_000 } else { *records };
                let ratio = row.floor.and_then(|floor| Some(median / self.floor(floor, of)?));
                let ratio = ratio.map_or_else(String::new, |ratio| {
                    format!("{} {}", digits(ratio), row.floor.unwrap_or_default())
                });
                let [median, least, most] = [median, least, most].map(|figure| digits(figure * row.scale));
                println!("| {} | {median} {} ({least} - {most}) | {ratio} |", row.what, row.unit);
            }
        }
        self.print_load();
        if let Some((median, ..)) = self.spread("mesh_copies") {
            println!(
                "\nW9 mesh of five: an edit crosses {} times for each device that lacks it.",
                digits(median)
            );
        }
    }

    /// Prints what an edit takes beside somebody who takes all that is to be
    /// had, of the same edits in quiet.
    fn print_load(&self) {
        let Some((quiet, ..)) = self.spread("load_quiet") else { return };
        println!(
            "\nBeside a load, in the same round: median (least - greatest); W4 in quiet {} ms\n",
            digits(quiet * 1e3)
        );
        println!("| what | figure | to reach |\n| --- | --- | --- |");
        for (what, figure, load, unit) in LOADS {
            let (Some((median, least, most)), Some((load, ..))) = (self.spread(figure), self.spread(load))
            else {
                continue;
            };
            let [median, least, most, load] = [median, least, most, load].map(digits);
            println!(
                "| {what}, of quiet | {median} x ({least} - {most}), {load} {unit} | {W4_BESIDE_LOAD_MAX} x |"
            );
        }
    }

    /// Writes every figure of every round.
    pub(crate) fn save(&self, out: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&json!({ "v": 1, "figures": self.figures }))?;
        fs::write(out, text).with_context(|| format!("write {}", out.display()))
    }
}

/// A figure with three digits that count.
fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
