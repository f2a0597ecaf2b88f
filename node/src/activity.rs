//! What happened on this device, kept for people: a line of JSON each.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufRead as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    clock::Moment,
    events::Event,
    failure::Failure,
    request::{LogRow, LogRows},
};

/// How long the log may grow before a new one is begun: some ten thousand
/// lines.
pub const FILE_BYTES_MAX: u64 = 2 << 20;

/// How many files are kept, the current one included.
pub const FILES_MAX: usize = 4;

/// How many lines one question gets at most.
pub const TAIL_LINES_MAX: usize = 10_000;

/// The activity log of one home.
#[derive(Debug)]
pub struct Activity {
    path: PathBuf,
    /// Lines are whole because only one is written at a time.
    writing: Mutex<()>,
}

impl Activity {
    /// The log at `path`, which need not exist yet.
    pub const fn at(path: PathBuf) -> Self {
        Self { path, writing: Mutex::new(()) }
    }

    /// Notes an event, if it is one to keep. A log that cannot be written
    /// stops nothing.
    pub fn note(&self, event: &Event, at: Moment) {
        if !is_kept(event) {
            return;
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.append(event, at) {
            tracing::warn!(%error, "the activity log cannot be written");
        }
    }

    fn append(&self, event: &Event, at: Moment) -> io::Result<()> {
        let mut line = serde_json::to_value(event)?;
        if let Some(fields) = line.as_object_mut() {
            fields.shift_insert(0, "at".to_owned(), at.to_string().into());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        self.rotate()?;
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.open(&self.path)?.write_all(format!("{line}\n").as_bytes())
    }

    fn rotate(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(meta) if meta.len() >= FILE_BYTES_MAX => {}
            _ => return Ok(()),
        }
        for age in (1..FILES_MAX).rev() {
            let from = self.file(age - 1);
            if from.exists() {
                fs::rename(from, self.file(age))?;
            }
        }
        Ok(())
    }

    fn file(&self, age: usize) -> PathBuf {
        match age {
            0 => self.path.clone(),
            age => self.path.with_extension(format!("{age}.jsonl")),
        }
    }

    /// The last lines, the oldest first. What is no line of a log is passed
    /// over.
    pub fn tail(&self, lines: usize) -> Result<LogRows, Failure> {
        let lines = lines.min(TAIL_LINES_MAX);
        let mut rows = VecDeque::new();
        for age in (0..FILES_MAX).rev() {
            read(&self.file(age), lines, &mut rows)
                .map_err(|error| Failure::io("read the activity log", &error))?;
        }
        Ok(LogRows { rows: rows.into() })
    }
}

fn read(path: &Path, lines: usize, rows: &mut VecDeque<LogRow>) -> io::Result<()> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for line in io::BufReader::new(file).split(b'\n') {
        if let Ok(row) = serde_json::from_slice(&line?) {
            rows.push_back(row);
            while rows.len() > lines {
                rows.pop_front();
            }
        }
    }
    Ok(())
}

/// What people ask for later: who came, who went, what was exchanged, what was
/// refused. Never a code, and not every single record.
fn is_kept(event: &Event) -> bool {
    match event {
        Event::ConflictPending { .. }
        | Event::DomainsChanged {}
        | Event::Failed { .. }
        | Event::GenerationInterrupted(_)
        | Event::Held { .. }
        | Event::Paired { .. }
        | Event::PeerOffline(_)
        | Event::PeerOnline(_)
        | Event::Policy { .. }
        | Event::RecordsApplied { .. }
        | Event::Revoked { .. }
        | Event::RevokedHere { .. }
        | Event::SettingsChanged { .. }
        | Event::Stopping
        | Event::Trusted { .. }
        | Event::Warning(_) => true,
        Event::Synced { pull, push, failure, .. } => *pull + *push > 0 || failure.is_some(),
        Event::Code { .. }
        | Event::Del(_)
        | Event::Found { .. }
        | Event::GenerationFinished { .. }
        | Event::GenerationStarted(_)
        | Event::Put(_)
        | Event::Readiness { .. }
        | Event::Request { .. }
        | Event::Resync
        | Event::SessionProgress { .. }
        | Event::Status { .. }
        | Event::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events::PeerName, request::SecretText};

    fn log() -> (tempfile::TempDir, Activity) {
        let temp = tempfile::tempdir().expect("a directory");
        let activity = Activity::at(temp.path().join("log/activity.jsonl"));
        (temp, activity)
    }

    fn online(name: &str) -> Event {
        Event::PeerOnline(PeerName { id: "7QXK".to_owned(), name: name.to_owned() })
    }

    /// D20: what happened is there afterwards, the last of it first to hand.
    #[test]
    fn the_tail_is_the_end_in_order() {
        let (_temp, log) = log();
        assert!(log.tail(5).expect("an empty log").rows.is_empty());
        for name in ["phone", "laptop", "desktop"] {
            log.note(&online(name), Moment(1_000));
        }
        let rows = log.tail(2).expect("read").rows;
        let names: Vec<_> = rows.iter().map(|row| &row.fields["name"]).collect();
        assert_eq!(names, ["laptop", "desktop"]);
        assert_eq!((rows[0].event.as_str(), rows[0].at), ("peer_online", Moment(1_000)));
    }

    /// D20: the log cannot fill the disk.
    #[test]
    fn old_files_go() {
        let (_temp, log) = log();
        fs::create_dir_all(log.path.parent().expect("a directory")).expect("made");
        for _ in 0..FILES_MAX + 1 {
            let long = format!("{}\n", " ".repeat(usize::try_from(FILE_BYTES_MAX).expect("fits")));
            fs::write(&log.path, long).expect("written");
            log.note(&online("phone"), Moment(1));
        }
        let files = fs::read_dir(log.path.parent().expect("a directory")).expect("listed").count();
        assert_eq!(files, FILES_MAX);
        assert_eq!(log.tail(9).expect("read").rows.len(), 1);
    }

    /// S11: a code is in no log.
    #[test]
    fn a_code_is_not_kept() {
        let (_temp, log) = log();
        let code = SecretText::new("KXNR-7842");
        log.note(&Event::Code { pairing: 1, code, expires_at: Moment(1) }, Moment(1));
        assert!(!log.path.exists());
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let (_temp, log) = log();
        log.note(&online("phone"), Moment(1));
        let mut text = fs::read(&log.path).expect("read");
        text.extend_from_slice(b"\xff\xfe{\n");
        fs::write(&log.path, text).expect("written");
        log.note(&online("laptop"), Moment(2));
        assert_eq!(log.tail(9).expect("read").rows.len(), 2);
    }
}
