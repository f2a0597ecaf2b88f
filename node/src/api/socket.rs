//! The Unix socket that the local API listens on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream, unix};

use crate::{
    control::Control,
    failure::Failure,
    home::{self, Home},
};

/// How long `accept` rests after an error such as "too many open files", so
/// that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// The local API of one node, bound and ready to serve.
///
/// Dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    files: Files,
}

#[derive(Debug)]
struct Files {
    socket: PathBuf,
    pid: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in [&self.socket, &self.pid] {
            // Gone already is as good as removed, and nothing else helps here.
            let _ = fs::remove_file(path);
        }
    }
}

impl Server {
    /// Binds the socket of a home. The caller holds the store, so a socket
    /// that is there already is left over from a node that was killed.
    ///
    /// Must be called within a tokio runtime.
    pub fn bind(home: &Home) -> Result<Self, Failure> {
        home::private_dir(&home.run_dir())?;
        let files = Files { socket: home.socket(), pid: home.pid_file() };
        let shown = files.socket.display();
        match fs::remove_file(&files.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(format_args!("remove the old {shown}"), &error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&files.socket)
            .map_err(|error| Failure::io(format_args!("listen on {shown}"), &error))?;
        private(&files.socket).map_err(|error| Failure::io(format_args!("make {shown} private"), &error))?;
        let pid = std::process::id().to_string();
        home::replace_file(&files.pid, pid.as_bytes())
            .map_err(|error| Failure::io(format_args!("write {}", files.pid.display()), &error))?;
        Ok(Self { listener, files })
    }

    /// Serves until `stopped` resolves, and then until the answers under way
    /// are out.
    pub async fn serve(
        self,
        control: Control,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let listener = Owned { listener: self.listener, uid: own_uid() };
        let served = axum::serve(listener, super::router(control)).with_graceful_shutdown(stopped).await;
        drop(self.files);
        served.map_err(|error| Failure::io("serve the local API", &error))
    }
}

#[cfg(unix)]
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a connection of the user `uid` may ask anything: its owner, or the
/// administrator, who could read the files anyway.
fn may_ask(uid: Option<u32>, own: u32) -> bool {
    uid == Some(own) || uid == Some(0)
}

/// A listener that serves its own user alone.
struct Owned {
    listener: UnixListener,
    uid: u32,
}

impl Listener for Owned {
    type Io = UnixStream;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (UnixStream, unix::SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    let uid = stream.peer_cred().ok().map(|cred| cred.uid());
                    if may_ask(uid, self.uid) {
                        return (stream, addr);
                    }
                    tracing::warn!(?uid, "another user tried the local API");
                }
                Err(error) => {
                    tracing::warn!(%error, "the local API could not accept");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Security case 25: whoever the system does not name as the owner is not served.
    #[test]
    fn only_the_owner_and_the_administrator_may_ask() {
        assert!(may_ask(Some(1000), 1000));
        assert!(may_ask(Some(0), 1000));
        assert!(!may_ask(Some(1001), 1000));
        assert!(!may_ask(None, 1000));
    }
}
