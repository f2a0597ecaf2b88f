//! What the machine can do at most: the same work without kinsync.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use redb::{Database, TableDefinition};

use crate::report::Report;

const TABLE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("records");

/// Bytes of a record.
const RECORD: usize = 300;

/// Rows of one commit, where many are written.
const BATCH: u64 = 1_000;

/// Rows written one at a time.
const SINGLE: u64 = 1_000;

/// Times that a record goes there and back.
const PINGS: u32 = 5_000;

/// Measures all floors once.
pub(crate) fn measure(dir: &Path, records: u64, report: &mut Report) -> Result<()> {
    report.note("F1", copy(records * RECORD as u64)?);
    report.note("F2", insert(dir, records, BATCH)? / records as f64);
    report.note("F4", insert(dir, SINGLE, 1)? / SINGLE as f64);
    report.note("F5", ping()?);
    Ok(())
}

/// Seconds to write `records` rows into redb, `batch` in each durable commit.
fn insert(dir: &Path, records: u64, batch: u64) -> Result<f64> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let value = [b'x'; RECORD];
    let began = Instant::now();
    let database = Database::create(dir.join("floor.redb"))?;
    for first in (0..records).step_by(usize::try_from(batch)?) {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for record in first..(first + batch).min(records) {
                table.insert(format!("c{:05}/{record:07}", record / 100).as_str(), value.as_slice())?;
            }
        }
        transaction.commit()?;
    }
    let took = began.elapsed().as_secs_f64();
    drop(database);
    fs::remove_dir_all(dir)?;
    Ok(took)
}

/// Seconds to send `bytes` over loopback and hear that they came.
fn copy(bytes: u64) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let receiver = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 18];
        while stream.read(&mut buffer)? > 0 {}
        stream.write_all(b"k")?;
        Ok(())
    });
    let began = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    let buffer = vec![7; 1 << 18];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(buffer.len() as u64);
        stream.write_all(buffer.get(..usize::try_from(length)?).context("within the buffer")?)?;
        left -= length;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    let took = began.elapsed().as_secs_f64();
    receiver.join().ok().context("the receiver")??;
    Ok(took)
}

/// Seconds one way, the median.
fn ping() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut record = [0; RECORD];
        for _ in 0..PINGS {
            stream.read_exact(&mut record)?;
            stream.write_all(&record)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut record = [1; RECORD];
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let began = Instant::now();
        stream.write_all(&record)?;
        stream.read_exact(&mut record)?;
        times.push(began.elapsed().as_secs_f64() / 2.0);
    }
    echo.join().ok().context("the echo")??;
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no times")
}
