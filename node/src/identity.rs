//! This device's key, and the file that keeps it.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer as _, SigningKey};
use kinsync_protocol::id::DeviceId;
use zeroize::Zeroizing;

use crate::{
    clock::Moment,
    failure::{Failure, Kind},
    home,
};

/// How long an identity file is: the secret half of the key and nothing else.
pub const SECRET_BYTES: usize = 32;

/// The key that makes this device somebody.
///
/// It exists on one device only. Whoever has the file is this device, so it
/// lies in a directory and a file that nobody else may read, and a file that
/// others can read is not used.
pub struct Identity {
    key: SigningKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("device", &self.device()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new key and writes it to `path`, where no file may be yet.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let identity = Self::generate()?;
        home::create_private_file(path, identity.key.as_bytes())
            .and_then(|()| home::sync_dir_of(path))
            .map_err(|error| {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Failure::io(format_args!("write {}", path.display()), &error);
                }
                Failure::new(
                    Kind::AlreadyExists,
                    format!("There is an identity already: {}.", path.display()),
                )
                .hint("To set up another device on this machine, use another --home.")
            })?;
        Ok(identity)
    }

    /// Reads the key from `path`, unless others could read it too.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut file = fs::File::open(path).map_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Failure::io(format_args!("read {shown}"), &error);
            }
            Failure::new(Kind::NotInitialised, format!("There is no identity: {shown}."))
                .hint("Set this device up:  kinsync init")
        })?;
        home::check_private(path, "600")?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        let whole = file.read_exact(secret.as_mut()).is_ok() && matches!(file.read(&mut [0]), Ok(0));
        if !whole {
            return Err(Failure::new(
                Kind::Insecure,
                format!("{shown} is not an identity: it must be {SECRET_BYTES} bytes long."),
            )
            .hint("Put the file back from where it came, or move it away and set up anew."));
        }
        Ok(Self { key: SigningKey::from_bytes(&secret) })
    }

    /// Makes the key that is to follow the one at `path`, and keeps it beside
    /// it. It means nothing until [`Identity::promote`].
    pub fn prepare(path: &Path) -> Result<Self, Failure> {
        let next = Self::generate()?;
        home::replace_file(&prepared_path(path), next.key.as_bytes())
            .map_err(|error| Failure::io("write the next identity", &error))?;
        Ok(next)
    }

    /// The key that [`Identity::prepare`] left, if it did and nobody has
    /// promoted it.
    pub fn prepared(path: &Path) -> Result<Option<Self>, Failure> {
        let next = prepared_path(path);
        if next.exists() { Self::load(&next).map(Some) } else { Ok(None) }
    }

    /// Takes a prepared key back.
    pub fn unprepare(path: &Path) -> Result<(), Failure> {
        match fs::remove_file(prepared_path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("remove the next identity", &error))
            }
            _ => Ok(()),
        }
    }

    /// Puts the prepared key in the place of the one at `path`. The old one is
    /// kept, so that nothing that it signed becomes a riddle; at every moment
    /// there is one whole identity file. Returns where the old one went.
    pub fn promote(path: &Path, now: Moment) -> Result<PathBuf, Failure> {
        let old = Self::load(path)?;
        let dir = path.with_file_name("identities");
        home::private_dir(&dir)?;
        let archived = dir.join(format!("{}-{}.key", old.device().short(), now.0));
        home::create_private_file(&archived, old.key.as_bytes())
            .and_then(|()| home::sync_dir_of(&archived))
            .map_err(|error| Failure::io("keep the old identity", &error))?;
        fs::rename(prepared_path(path), path)
            .and_then(|()| home::sync_dir_of(path))
            .map_err(|error| Failure::io("write the new identity", &error))?;
        Ok(archived)
    }

    fn generate() -> Result<Self, Failure> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(secret.as_mut()).map_err(|error| {
            Failure::new(Kind::Io, format!("The system gives no random numbers: {error}."))
        })?;
        Ok(Self { key: SigningKey::from_bytes(&secret) })
    }

    /// Who this device is.
    pub fn device(&self) -> DeviceId {
        DeviceId(self.key.verifying_key().to_bytes())
    }

    /// Signs bytes that begin with their own purpose; see the tags of the
    /// protocol.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    /// The key, for the state machines that sign.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The key as the transport wants it.
    pub fn keypair(&self) -> libp2p::identity::Keypair {
        let mut secret = Zeroizing::new(self.key.to_bytes());
        libp2p::identity::Keypair::ed25519_from_bytes(secret.as_mut())
            .expect("32 bytes are an Ed25519 secret")
    }
}

/// Where a key waits for its turn.
fn prepared_path(path: &Path) -> PathBuf {
    path.with_extension("next")
}

/// The libp2p peer id of a device, as it prints.
pub fn peer_id(device: &DeviceId) -> String {
    crate::swarm::peer_id(device).to_string()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("identity.key");
        (temp, path)
    }

    /// Security case 26: the modes are right whatever the umask.
    #[test]
    fn a_new_identity_is_for_its_owner_alone() {
        let (_temp, path) = place();
        let identity = Identity::create(&path).expect("created");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Identity::load(&path).expect("loaded").device(), identity.device());
    }

    /// Security case 26: a key that others could have read is not used.
    #[test]
    fn an_identity_that_others_can_read_is_refused_with_the_remedy() {
        let (_temp, path) = place();
        Identity::create(&path).expect("created");
        for mode in [0o644, 0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let failure = Identity::load(&path).expect_err("others can read it");
            assert_eq!(failure.kind, Kind::Insecure);
            assert!(failure.hint.expect("a remedy").starts_with("chmod 600"));
        }
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let (_temp, path) = place();
        let first = Identity::create(&path).expect("created");
        assert_eq!(Identity::create(&path).expect_err("twice").kind, Kind::AlreadyExists);
        assert_eq!(Identity::load(&path).expect("loaded").device(), first.device());
    }

    #[test]
    fn a_file_of_another_length_is_no_identity() {
        let (_temp, path) = place();
        for length in [0, 31, 33] {
            home::create_private_file(&path, &vec![7; length]).expect("written");
            assert_eq!(Identity::load(&path).expect_err("wrong").kind, Kind::Insecure);
            fs::remove_file(&path).expect("removed");
        }
        assert_eq!(Identity::load(&path).expect_err("none").kind, Kind::NotInitialised);
    }

    /// P13: a revoked device goes on with a new key, and keeps the old.
    #[test]
    fn a_promoted_identity_keeps_the_old_one_aside() {
        let (_temp, path) = place();
        let old = Identity::create(&path).expect("created");
        let next = Identity::prepare(&path).expect("prepared");
        assert_eq!(Identity::load(&path).expect("loaded").device(), old.device());
        let archived = Identity::promote(&path, Moment(5)).expect("promoted");
        assert_eq!(Identity::load(&path).expect("loaded").device(), next.device());
        assert_eq!(Identity::load(&archived).expect("kept").device(), old.device());
        assert!(Identity::prepared(&path).expect("looked").is_none());
    }

    /// Security case 27.
    #[test]
    fn debug_shows_the_device_and_no_secret() {
        let (_temp, path) = place();
        let identity = Identity::create(&path).expect("created");
        let text = format!("{identity:?}");
        let secret: String = identity.key.to_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert!(text.contains("DeviceId"));
        assert!(!text.contains(&secret[..8]));
    }

    #[test]
    fn the_transport_proves_the_same_device() {
        let (_temp, path) = place();
        let identity = Identity::create(&path).expect("created");
        let proven = identity.keypair().public().to_peer_id();
        assert_eq!(proven.to_bytes(), identity.device().peer_id_bytes());
        assert_eq!(proven.to_string(), peer_id(&identity.device()));
    }
}
