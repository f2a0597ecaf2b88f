//! A network of our own: hosts on one switch, out of Linux network namespaces.
//!
//! Nothing has a name that outlives the process. Each namespace is held by a file descriptor alone, so it ends with the
//! [`Lan`], also when a test panics or is killed, and nothing that somebody else made is ever touched.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

use crate::wait::until;

/// The most hosts on one switch: what the last byte of an address can number.
pub const HOSTS_MAX: usize = 200;

/// Set to `required` where a LAN is known to be possible, so that a test that passes it over fails.
pub const LAN_VARIABLE: &str = "KINSYNC_LAN";

/// Why no LAN could be built here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LanError {
    /// The `ip` command could not be started.
    #[error("the `ip` command is missing (Debian: apt-get install iproute2)")]
    Missing(#[source] io::Error),
    /// The kernel, or the sandbox around this process, said no.
    #[error("`{command}` failed, so this needs root on Linux: {reason}")]
    Refused {
        /// The command that failed.
        command: String,
        /// What it printed.
        reason: String,
    },
    /// A namespace could not be opened or entered.
    #[error("cannot use a network namespace")]
    Namespace(#[from] io::Error),
}

/// Hosts on one switch that reach each other and nothing else.
///
/// Host `i` has the address `10.77.1.(i + 1)/24` and an IPv6 link-local address on its only interface `eth0`.
#[derive(Debug)]
pub struct Lan {
    switch: Namespace,
    hosts: Vec<Host>,
    multicast_blocked: AtomicBool,
}

/// One machine on a [`Lan`]. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: Namespace,
    address: Ipv4Addr,
}

/// A network namespace, alive as long as a clone of this or a process in it.
#[derive(Clone, Debug)]
struct Namespace(Arc<File>);

/// A program on a host. Ends with this value, also when a test panics.
#[derive(Debug)]
pub struct Running(pub Child);

impl Lan {
    /// Builds a LAN of `hosts` machines.
    ///
    /// # Errors
    ///
    /// Where namespaces are forbidden or the `ip` command is missing.
    ///
    /// # Panics
    ///
    /// If `hosts` exceeds [`HOSTS_MAX`].
    pub fn new(hosts: usize) -> Result<Self, LanError> {
        assert!(hosts <= HOSTS_MAX, "{hosts} hosts do not fit on one switch");
        let switch = Namespace::new()?;
        // Snooping would learn group members first; a home switch floods.
        switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0")?;
        switch.ip("link set br0 up")?;
        let mut lan = Self { switch, hosts: Vec::new(), multicast_blocked: AtomicBool::new(false) };
        for number in 1..=u8::try_from(hosts).expect("below HOSTS_MAX") {
            let host = Host { namespace: Namespace::new()?, address: Ipv4Addr::new(10, 77, 1, number) };
            lan.attach(number, &host)?;
            lan.hosts.push(host);
        }
        (0..hosts).for_each(|index| lan.wait_for_carrier(index));
        Ok(lan)
    }

    /// Builds a LAN, or prints why the calling test does not run here and returns `None`.
    ///
    /// # Panics
    ///
    /// If there is no LAN although [`LAN_VARIABLE`] says `required`.
    #[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
    pub fn new_or_say_why(hosts: usize) -> Option<Self> {
        let error = match Self::new(hosts) {
            Ok(lan) => return Some(lan),
            Err(error) => error,
        };
        let required = std::env::var(LAN_VARIABLE).is_ok_and(|value| value == "required");
        assert!(!required, "{LAN_VARIABLE}=required, but {error}");
        eprintln!("NOT RUN: {error}");
        None
    }

    /// The host with this index.
    ///
    /// # Panics
    ///
    /// If the LAN has fewer hosts.
    pub fn host(&self, index: usize) -> Host {
        self.hosts.get(index).expect("the test built this host").clone()
    }

    /// Silently stops all frames from and to a host. Its interface stays up, as out of reach of the Wi-Fi.
    pub fn cut(&self, index: usize) {
        self.port(index, "nomaster");
    }

    /// Pulls the cable of a host: its interface loses the carrier and says so.
    pub fn unplug(&self, index: usize) {
        self.port(index, "down");
    }

    /// Undoes [`cut`](Self::cut) and [`unplug`](Self::unplug).
    pub fn heal(&self, index: usize) {
        self.port(index, "up");
        self.port(index, "master br0");
        self.flood_multicast(index);
        self.wait_for_carrier(index);
    }

    /// Stops all multicast on the switch, as guest Wi-Fi does. Everything else goes on.
    pub fn block_multicast(&self) {
        self.set_multicast_blocked(true);
    }

    /// Undoes [`block_multicast`](Self::block_multicast).
    pub fn allow_multicast(&self) {
        self.set_multicast_blocked(false);
    }

    fn attach(&self, number: u8, host: &Host) -> Result<(), LanError> {
        // Link-local addresses would be unusable for the two seconds in which they are checked for doubles. A container
        // may forbid the setting; then tests that use them wait.
        let _ = host.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"));
        let inside = host.namespace.path();
        self.switch.ip(&format!("link add p{number} type veth peer name eth0 netns {inside}"))?;
        self.switch.ip(&format!("link set p{number} master br0 up"))?;
        for command in [
            "link set lo up".to_owned(),
            format!("address add {}/24 broadcast + dev eth0", host.address),
            "link set eth0 up".to_owned(),
            "route add 224.0.0.0/4 dev eth0".to_owned(),
        ] {
            host.namespace.ip(&command)?;
        }
        Ok(())
    }

    /// The kernel notices a new carrier some time later, up to a second on a busy machine. Until then frames are lost.
    fn wait_for_carrier(&self, index: usize) {
        let port = format!("-o -d link show p{}", index + 1);
        until("the switch forwards the frames of a host", || {
            self.switch.ip(&port).is_ok_and(|shown| shown.contains("state forwarding")).then_some(())
        });
        let host = self.host(index);
        until("a host sees its carrier", || {
            host.namespace.ip("-o link show eth0").is_ok_and(|shown| shown.contains("state UP")).then_some(())
        });
    }

    fn port(&self, index: usize, setting: &str) {
        assert!(index < self.hosts.len(), "the test did not build host {index}");
        let set = self.switch.ip(&format!("link set p{} {setting}", index + 1));
        set.expect("the port exists as long as the LAN");
    }

    fn set_multicast_blocked(&self, blocked: bool) {
        self.multicast_blocked.store(blocked, Ordering::SeqCst);
        for index in 0..self.hosts.len() {
            self.flood_multicast(index);
        }
    }

    fn flood_multicast(&self, index: usize) {
        let flood = if self.multicast_blocked.load(Ordering::SeqCst) { "off" } else { "on" };
        // A port that is cut belongs to no switch; healing it comes back here.
        let _ = self.switch.ip(&format!("link set p{} type bridge_slave mcast_flood {flood}", index + 1));
    }
}

impl Host {
    /// Its address on the LAN.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs `job` on this host and returns its answer. Sockets that it opens stay on this host.
    ///
    /// # Panics
    ///
    /// If `job` does.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let answer = std::thread::scope(|scope| scope.spawn(|| self.namespace.enter(job)).join());
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `job` on this host beside the caller. Threads that it starts are on this host as well.
    pub fn spawn<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.namespace.clone();
        std::thread::spawn(move || namespace.enter(job))
    }

    /// Starts a program on this host.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(&self, command: &mut Command) -> io::Result<Running> {
        self.run(|| command.spawn()).map(Running)
    }

    /// Runs a program on this host to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())
    }
}

impl Namespace {
    /// Makes a namespace under a name, takes hold of it, and gives the name back at once.
    fn new() -> Result<Self, LanError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("kinsync-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        ip(&format!("netns add {name}"))?;
        let opened = File::open(format!("/run/netns/{name}"));
        ip(&format!("netns delete {name}"))?;
        Ok(Self(Arc::new(opened?)))
    }

    /// A path by which other processes reach this namespace while this one lives.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Moves the calling thread, which must be done after `job`, into this namespace.
    fn enter<T>(&self, job: impl FnOnce() -> T) -> T {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("we made this namespace, so we may enter it");
        job()
    }

    fn ip(&self, arguments: &str) -> Result<String, LanError> {
        std::thread::scope(|scope| scope.spawn(|| self.enter(|| ip(arguments))).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the `ip` command and returns what it printed.
fn ip(arguments: &str) -> Result<String, LanError> {
    let words = arguments.split_whitespace();
    let output = Command::new("ip").args(words).output().map_err(LanError::Missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LanError::Refused { command: format!("ip {arguments}"), reason })
}
