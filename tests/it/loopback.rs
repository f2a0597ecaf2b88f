//! Whole nodes on loopback, each with a runtime of its own as it has in a process of its own.

use std::path::Path;

use kinsync::clock::Clock;
use kinsync::control::Control;
use kinsync::events::{Event, Subscription};
use kinsync::request::{PairJoin, PairOpen, PutItem, PutMany, SecretText};
use kinsync::{Home, Node};
use kinsync_tests::wait::until;
use libp2p::Multiaddr;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The domain that all records are in.
pub(crate) const DOMAIN: &str = "settings";

/// Records of [`library`]: more than one frame holds.
pub(crate) const RECORDS: usize = 4_000;

/// Steps on the store at a time.
const THREADS: usize = 64;

/// A device.
pub(crate) struct Device {
    pub(crate) node: Option<Node>,
    pub(crate) runtime: Runtime,
    pub(crate) control: Control,
    _home: Option<TempDir>,
}

impl Device {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_threads(name, THREADS)
    }

    /// A device that does so many steps on its store at a time.
    pub(crate) fn with_threads(name: &str, threads: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let device = Self::start(name, home.path(), threads, Clock::system());
        Self { _home: Some(home), ..device }
    }

    /// A device with its files in this folder.
    pub(crate) fn at(name: &str, folder: &Path) -> Self {
        Self::start(name, folder, THREADS, Clock::system())
    }

    /// A device that goes by this clock.
    pub(crate) fn by(name: &str, clock: Clock) -> Self {
        let home = tempfile::tempdir().unwrap();
        let device = Self::start(name, home.path(), THREADS, clock);
        Self { _home: Some(home), ..device }
    }

    fn start(name: &str, folder: &Path, threads: usize, clock: Clock) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(threads)
            .enable_all()
            .build()
            .unwrap();
        let home = Home::under(folder);
        let (node, control) = runtime.block_on(async {
            drop(Control::init(&home, Some(name)).await.unwrap());
            let control = Control::open_at(&home, clock).await.unwrap();
            control.adjust(|config| {
                config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
                (config.mdns, config.quic) = (false, false);
                // Here much is written at once on purpose.
                (config.guard.records, config.guard.percent) = (0, 0);
            });
            let node = Node::start(control).unwrap();
            let control = node.control().clone();
            (node, control)
        });
        Self { node: Some(node), runtime, control, _home: None }
    }

    pub(crate) fn address(&self) -> Multiaddr {
        let listening =
            || self.runtime.block_on(self.control.status()).unwrap().me.listening.into_iter().next();
        until("it listens", listening).parse().unwrap()
    }

    /// Pairs this device with a host, and waits until both know it.
    pub(crate) fn pair_with(&self, host: &Self) {
        let (here, there) = (self.control.subscribe(), host.control.subscribe());
        let open = PairOpen { yes: true, ..PairOpen::default() };
        let opened = host.runtime.block_on(host.control.pair_open(open)).unwrap();
        let code = SecretText::new(opened.code.reveal());
        let addr = Some(host.address().to_string());
        let join = PairJoin { code, addr, label: None, role: None, allowed: None };
        self.runtime.block_on(self.control.pair_join(join)).unwrap();
        self.runtime.block_on(paired(here));
        host.runtime.block_on(paired(there));
    }

    pub(crate) fn put(&self, id: &str, value: &str) {
        self.runtime.block_on(self.control.put(DOMAIN, id, value.to_owned().into_bytes())).unwrap();
    }

    /// Leaves the network; what it knows stays.
    pub(crate) fn leave(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.stop()).unwrap();
        }
    }

    /// Comes back.
    pub(crate) fn come_back(&mut self) {
        let control = self.control.clone();
        let node = self.runtime.block_on(async { Node::start(control).unwrap() });
        self.control = node.control().clone();
        self.node = Some(node);
    }

    /// Waits until a record has this value here.
    pub(crate) fn wait_for(&self, id: &str, value: &str) {
        until(&format!("{id} is {value}"), || {
            let found = self.runtime.block_on(self.control.get(DOMAIN, id)).ok()?;
            (found.value.0 == value.as_bytes()).then_some(())
        });
    }
}

async fn paired(mut events: Subscription) {
    while let Some(event) = events.next().await {
        match event.event {
            Event::Paired { .. } => return,
            Event::Failed { failure, .. } => panic!("{failure:?}"),
            _ => {}
        }
    }
    panic!("the node has stopped");
}

/// What is on a device with a past.
pub(crate) fn library() -> PutMany {
    let item = |number: usize| PutItem {
        id: format!("c{:03}/{number:05}", number / 100),
        value: format!("{number} {}", "x".repeat(300)).into_bytes().into(),
    };
    PutMany { domain: DOMAIN.to_owned(), items: (0..RECORDS).map(item).collect(), dry_run: false }
}

/// Writes that to a device.
pub(crate) fn fill(device: &Device) {
    for items in library().items.chunks(500) {
        let some = PutMany { items: items.to_vec(), ..library() };
        device.runtime.block_on(device.control.put_many(some)).unwrap();
    }
}
