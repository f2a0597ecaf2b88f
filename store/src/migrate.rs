//! The version of the store file, and the steps from one to the next.

use kinsync_protocol::id::DeviceId;
use kinsync_protocol::stamp::Hlc;
use redb::{ReadableTable, WriteTransaction};

use crate::error::{OpenError, ReadError};
use crate::tables::{self, META, Rows, Tables};
use crate::wal::Generation;

/// The version this program writes.
pub(crate) const VERSION: u32 = 4;

/// Changes a file of one version into one of the next, within a transaction.
type Step = fn(&WriteTransaction) -> Result<(), ReadError>;

/// The step at index `n` makes version `n + 2` of version `n + 1`. From 2 to 3 a
/// log came beside the tables, from 3 to 4 its second file: a program that does
/// not know what follows the tables must not open them.
const STEPS: &[Step] = &[add_tables, nothing, nothing];

const KEY_VERSION: &str = "version";
const KEY_DEVICE: &str = "device";
const KEY_CLOCK: &str = "clock";
const KEY_STARTS: &str = "starts";
const KEY_GENERATION: &str = "generation";

/// Writes the facts of a new file.
pub(crate) fn create(transaction: &WriteTransaction, device: DeviceId) -> Result<(), ReadError> {
    tables::create(transaction)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(KEY_VERSION, VERSION.to_be_bytes().as_slice())?;
    meta.insert(KEY_DEVICE, device.0.as_slice())?;
    Ok(())
}

/// The version of a file that this program can use, and the generation of the
/// log whose entries follow its tables.
pub(crate) fn version(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<(u32, Option<Generation>), OpenError> {
    let read = |key: &str| -> Result<Option<Vec<u8>>, OpenError> {
        let row = meta.get(key).map_err(|error| damaged(&error))?;
        Ok(row.map(|row| row.value().to_vec()))
    };
    let version = read(KEY_VERSION)?
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or_else(|| damaged(&"it does not say its version"))?;
    if version > VERSION {
        return Err(OpenError::Newer { found: version, known: VERSION });
    }
    if version == 0 {
        return Err(damaged(&"it has no version"));
    }
    let generation = read(KEY_GENERATION)?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    Ok((version, generation))
}

/// Checks whose store it is. The last time that its clock gave out.
pub(crate) fn check(
    meta: &impl Rows<&'static str, &'static [u8]>,
    device: DeviceId,
) -> Result<Hlc, OpenError> {
    let read = |key: &str| -> Result<Option<Vec<u8>>, OpenError> {
        let row = meta.get(key).map_err(|error| damaged(&error))?;
        Ok(row.map(|row| row.value().to_vec()))
    };
    let owner = read(KEY_DEVICE)?
        .and_then(|bytes| bytes.try_into().ok())
        .map(DeviceId)
        .ok_or_else(|| damaged(&"it does not say whose it is"))?;
    if owner != device {
        return Err(OpenError::OtherDevice { owner });
    }
    let clock = match read(KEY_CLOCK)? {
        None => 0,
        Some(bytes) => {
            bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged(&"its clock is unreadable"))?
        }
    };
    Ok(Hlc(clock))
}

/// Runs the steps from `version` to the current one. Whether there were any.
pub(crate) fn run(transaction: &WriteTransaction, version: u32) -> Result<bool, ReadError> {
    let done = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
    let steps = STEPS.get(done..).unwrap_or_default();
    for step in steps {
        step(transaction)?;
    }
    if !steps.is_empty() {
        transaction.open_table(META)?.insert(KEY_VERSION, VERSION.to_be_bytes().as_slice())?;
    }
    Ok(!steps.is_empty())
}

/// 1 to 2: tables were added.
fn add_tables(transaction: &WriteTransaction) -> Result<(), ReadError> {
    tables::create(transaction)
}

/// What was there stays as it is.
fn nothing(_: &WriteTransaction) -> Result<(), ReadError> {
    Ok(())
}

/// Names the generation of the log whose entries follow, in the transaction
/// that brings the tables to disk.
pub(crate) fn note_generation(
    transaction: &WriteTransaction,
    generation: Generation,
) -> Result<(), ReadError> {
    transaction.open_table(META)?.insert(KEY_GENERATION, generation.to_be_bytes().as_slice())?;
    Ok(())
}

/// Notes the clock, in the transaction of the writes that it stamped.
pub(crate) fn note_clock(tables: &mut Tables<'_>, clock: Hlc) {
    tables.meta.insert(KEY_CLOCK, clock.0.to_be_bytes().as_slice());
}

/// Notes whose the file is from now on.
pub(crate) fn note_owner(tables: &mut Tables<'_>, device: DeviceId) {
    tables.meta.insert(KEY_DEVICE, device.0.as_slice());
}

/// Counts a start that wrote something.
pub(crate) fn note_start(tables: &mut Tables<'_>) -> Result<(), ReadError> {
    let starts = tables
        .meta
        .get(KEY_STARTS)?
        .and_then(|row| row.value().try_into().ok())
        .map_or(0, u64::from_be_bytes);
    tables.meta.insert(KEY_STARTS, starts.saturating_add(1).to_be_bytes().as_slice());
    Ok(())
}

fn damaged(reason: &impl ToString) -> OpenError {
    OpenError::Damaged { reason: reason.to_string() }
}
