//! Where the log goes: a file while a node runs, stderr when `-v` asks for it.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use crate::failure::Result;

/// A log that has grown beyond this is put aside when the next node starts, so
/// that two of them are all a home ever holds.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// Sends events to stderr as `verbose` asks, and to a file at its level when
/// there is one.
pub(crate) fn init(verbose: u8, file: Option<(&Path, &str)>) -> Result<()> {
    let stderr = match verbose {
        0 => EnvFilter::new("off"),
        1 => filter("info"),
        2 => filter("debug"),
        _ => filter("trace"),
    };
    let stderr = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(stderr);
    let file = match file {
        None => None,
        Some((path, level)) => {
            let filter = EnvFilter::try_from_env("KINSYNC_LOG").unwrap_or_else(|_| filter(level));
            let writer = Mutex::new(open(path)?);
            Some(fmt::layer().with_writer(writer).with_ansi(false).with_filter(filter))
        }
    };
    // A second call would be another command in this process; the first stands.
    drop(tracing_subscriber::registry().with(stderr).with(file).try_init());
    Ok(())
}

/// Our own events from this level on, and of others what went wrong: the
/// network's libraries say more than anybody reads.
fn filter(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{others},kinsync={level},kinsync_store={level},kinsync_protocol={level}"))
}

fn open(path: &Path) -> Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).context("create the folder of the log")?;
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1")).context("put the old log aside")?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path).with_context(|| format!("open the log {}", path.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/node.log");
        open(&path).unwrap().set_len(LOG_BYTES_MAX).unwrap();
        open(&path).unwrap();
        assert!(!path.with_extension("log.1").exists());
        open(&path).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        open(&path).unwrap();
        assert!(path.with_extension("log.1").exists());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
