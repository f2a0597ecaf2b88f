//! A wire between two nodes that is outside of both: it counts what passes, and
//! can be held.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use kinsync_tests::wait::until;

/// How much is passed on at once: small, so that a hold comes in the middle of
/// something.
const PIECE_BYTES: usize = 4096;

/// Listens on loopback and passes everything on to one node.
pub(crate) struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes in both directions, since the beginning.
    passed: u64,
    /// Connections, since the beginning.
    accepted: u64,
    /// Connections that are open now.
    open: u64,
    /// Bytes that may still pass, if it is to be held.
    left: Option<u64>,
}

impl Proxy {
    /// A wire to the node that listens at this multiaddr.
    pub(crate) fn to(multiaddr: &str) -> Self {
        let port = multiaddr.rsplit('/').next().and_then(|port| port.parse::<u16>().ok());
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a TCP address")));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has room");
        let address = listener.local_addr().expect("it listens");
        let wire = Arc::new(Wire::default());
        let shared = Arc::clone(&wire);
        // Ends with the process: nothing else is told when a test is over.
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                shared.lock().accepted += 1;
                if let Ok(there) = TcpStream::connect(target) {
                    connect(&shared, &here, &there);
                }
            }
        });
        Self { address, wire }
    }

    /// What to type for it.
    pub(crate) fn multiaddr(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.address.ip(), self.address.port())
    }

    /// Bytes that have passed in both directions.
    pub(crate) fn passed(&self) -> u64 {
        self.wire.lock().passed
    }

    /// Connections that were made.
    pub(crate) fn accepted(&self) -> u64 {
        self.wire.lock().accepted
    }

    /// Lets this many more bytes pass, then nothing until [`release`](Self::release).
    pub(crate) fn hold_after(&self, bytes: u64) {
        self.wire.lock().left = Some(bytes);
    }

    /// Lets this many bytes of what is held pass.
    pub(crate) fn let_through(&self, bytes: u64) {
        let mut state = self.wire.lock();
        state.left = state.left.map(|left| left + bytes);
        self.wire.changed.notify_all();
    }

    /// Waits until something is held.
    pub(crate) fn wait_until_held(&self) {
        until("something is held", || (self.wire.lock().left == Some(0)).then_some(()));
    }

    /// Lets everything pass.
    pub(crate) fn release(&self) {
        self.wire.lock().left = None;
        self.wire.changed.notify_all();
    }

    /// Waits until no connection is open.
    pub(crate) fn wait_until_closed(&self) {
        until("the connection is closed", || (self.wire.lock().open == 0).then_some(()));
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Waits until some of `wanted` bytes may pass, and counts them.
    fn pass(&self, wanted: u64) -> u64 {
        let state = self.lock();
        let mut state =
            self.changed.wait_while(state, |state| state.left == Some(0)).expect("nobody panics with it");
        let passing = state.left.unwrap_or(u64::MAX).min(wanted);
        state.left = state.left.map(|left| left - passing);
        state.passed += passing;
        passing
    }
}

/// Copies both ways until both have ended.
fn connect(wire: &Arc<Wire>, here: &TcpStream, there: &TcpStream) {
    wire.lock().open += 1;
    let clone = |stream: &TcpStream| stream.try_clone().expect("there are file descriptors");
    let ways = [(clone(here), clone(there)), (clone(there), clone(here))];
    let ways = ways.map(|(from, to)| {
        let wire = Arc::clone(wire);
        std::thread::spawn(move || copy(&wire, from, to))
    });
    let wire = Arc::clone(wire);
    std::thread::spawn(move || {
        for way in ways {
            way.join().expect("copying does not panic");
        }
        wire.lock().open -= 1;
    });
}

fn copy(wire: &Wire, mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; PIECE_BYTES];
    'copying: while let Ok(read @ 1..) = from.read(&mut piece) {
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            let passing = usize::try_from(wire.pass(rest.len() as u64)).expect("no more than it was");
            let (now, later) = rest.split_at(passing);
            if to.write_all(now).is_err() {
                break 'copying;
            }
            rest = later;
        }
    }
    // Who ends one way hears the end of it on the other.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
