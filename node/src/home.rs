//! Where a node's files are.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use kinsync_protocol::hash;

use crate::failure::{Failure, Kind};

/// The longest path a socket can have: macOS has room for 104 bytes with the
/// closing zero, Linux for 108.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Where sockets go whose own directory has too long a path. Everybody may
/// make directories there, so ours is checked before it is used.
const SHORT_RUN_DIR: &str = "/tmp";

/// Where a node's files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    run: PathBuf,
}

impl Home {
    /// Everything under one directory, so that several devices can live on one
    /// machine.
    pub fn under(dir: impl Into<PathBuf>) -> Self {
        let data = dir.into();
        Self { config: data.clone(), log: data.join("log"), run: data.join("run"), data }
    }

    /// The places of the operating system. `run` is for the socket.
    pub fn at(
        data: impl Into<PathBuf>,
        config: impl Into<PathBuf>,
        log: impl Into<PathBuf>,
        run: impl Into<PathBuf>,
    ) -> Self {
        Self { data: data.into(), config: config.into(), log: log.into(), run: run.into() }
    }

    /// The directory of the store and the identity.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The device's secret key.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity.key")
    }

    /// The records and the registry.
    pub fn store(&self) -> PathBuf {
        self.data.join("store.redb")
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Domains that are declared on this device alone, a TOML file each.
    pub fn domains(&self) -> PathBuf {
        self.config.join("domains")
    }

    /// The directory of the logs.
    pub fn log_dir(&self) -> &Path {
        &self.log
    }

    /// What happened, one JSON object a line.
    pub fn activity_log(&self) -> PathBuf {
        self.log.join("activity.jsonl")
    }

    /// The directory of the socket and of the process number.
    pub fn run_dir(&self) -> PathBuf {
        let dir = self.run.clone();
        let longest = dir.join("kinsync.sock");
        if longest.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return dir;
        }
        // The same home must always give the same short name, and two homes
        // must not.
        let digest = hash::tagged("kinsync/run/1", &[dir.as_os_str().as_encoded_bytes()]);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Path::new(SHORT_RUN_DIR).join(format!("kinsync-{name}"))
    }

    /// The socket of the local API.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("kinsync.sock")
    }

    /// The number of the process that runs the node.
    pub fn pid_file(&self) -> PathBuf {
        self.run_dir().join("node.pid")
    }

    /// Whether somebody has set this home up.
    pub fn is_initialised(&self) -> bool {
        self.identity().exists()
    }

    /// The process that runs the node here, if it left its number.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }
}

/// Creates a directory that only its owner may enter, whatever the umask, or
/// checks that an existing one is so.
pub(crate) fn private_dir(dir: &Path) -> Result<(), Failure> {
    create_private_dir(dir).map_err(|error| Failure::io(format_args!("create {}", dir.display()), &error))?;
    check_private(dir, "700")
}

/// Makes a directory a home: a new one, or an empty one of ours, is made
/// private; one with something in it has to be private already, since its
/// files may be meant for others.
pub(crate) fn claim_dir(dir: &Path) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

        let ours = fs::symlink_metadata(dir)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw());
        if ours && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
                .map_err(|error| Failure::io(format_args!("make {} private", dir.display()), &error))?;
        }
    }
    private_dir(dir)
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// Refuses a file or directory that is not ours or that others may read.
#[cfg(unix)]
pub(crate) fn check_private(path: &Path, mode: &str) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;

    let meta = fs::symlink_metadata(path)
        .map_err(|error| Failure::io(format_args!("look at {}", path.display()), &error))?;
    let shown = path.display();
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(Kind::Insecure, format!("{shown} belongs to another user."))
            .hint("Run kinsync as the user that owns it, or use another --home."));
    }
    if meta.mode() & 0o077 != 0 {
        let is = meta.mode() & 0o777;
        return Err(Failure::new(
            Kind::Insecure,
            format!("Others can read {shown} (mode {is:o}); it must be yours alone."),
        )
        .hint(format!("chmod {mode} '{shown}'")));
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check_private(_path: &Path, _mode: &str) -> Result<(), Failure> {
    Ok(())
}

/// Creates a file that only its owner may read; it must not be there yet.
pub(crate) fn create_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces a file as a whole: whoever reads it sees the old one or the new
/// one, also after a crash.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private_file(&staged, bytes)?;
    fs::rename(&staged, path)?;
    sync_dir_of(path)
}

/// Makes a rename or a new name in the directory of `path` survive a power
/// cut.
pub(crate) fn sync_dir_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(dir) => fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn the_socket_of_a_deep_home_has_a_short_path_of_its_own() {
        let deep = |name: &str| Home::under(PathBuf::from("/tmp").join("d".repeat(120)).join(name));
        let (a, b) = (deep("a").socket(), deep("b").socket());
        assert!(a.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        assert_ne!(a, b);
        assert_eq!(a, deep("a").socket());
        assert_eq!(Home::under("/h").socket(), Path::new("/h/run/kinsync.sock"));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused_with_the_remedy() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("home");
        private_dir(&dir).expect("a new one is private");
        assert_eq!(mode(&dir), 0o700);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        let failure = private_dir(&dir).expect_err("others can enter");
        assert_eq!(failure.kind, Kind::Insecure);
        assert!(failure.hint.expect("a remedy").starts_with("chmod 700"));
    }

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("config.toml");
        for text in ["one", "two"] {
            replace_file(&path, text.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
            assert_eq!(mode(&path), 0o600);
        }
    }
}
