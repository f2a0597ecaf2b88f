//! Nodes on loopback beside somebody who takes all that is to be had: what is written still arrives elsewhere, and what
//! anybody can have under way has an end. Nothing here measures time: `scripts/bench` does.

use kinsync::control::Control;
use kinsync::events::{Event, Subscription};
use kinsync::passes::ANSWERING_MAX;
use kinsync::request::{PairJoin, PairOpen, PutItem, PutMany, SecretText};
use kinsync::{Home, Node};
use kinsync_tests::flood::{AT_ONCE_MAX, Flood, Heard};
use kinsync_tests::wait::until;
use libp2p::Multiaddr;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const DOMAIN: &str = "settings";

/// Records of the library that is asked for: more than one frame holds.
const RECORDS: usize = 4_000;

/// Bytes of a page at least, compressed, where there is more than one: far more than an answer without records.
const PAGE_BYTES_MIN: u64 = 4 << 10;

/// Edits each way while something else goes on.
const EDITS: usize = 5;

/// Answers that a flood takes before and after the edits: it was there all the time.
const FLOODED: u64 = 50;

/// Who writes without a pause, and how many records at a time.
const WRITERS: usize = 4;
const WRITTEN: usize = 50;

/// A device with a runtime of its own, as it has in a process of its own.
struct Device {
    node: Option<Node>,
    runtime: Runtime,
    control: Control,
    _home: TempDir,
}

impl Device {
    fn new(name: &str) -> Self {
        Self::with_threads(name, 64)
    }

    /// A device that does so many steps on its store at a time.
    fn with_threads(name: &str, threads: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(threads)
            .enable_all()
            .build()
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        let place = Home::under(home.path());
        let (node, control) = runtime.block_on(async {
            let control = Control::init(&place, Some(name)).await.unwrap();
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
        Self { node: Some(node), runtime, control, _home: home }
    }

    fn address(&self) -> Multiaddr {
        let listening =
            || self.runtime.block_on(self.control.status()).unwrap().me.listening.into_iter().next();
        until("it listens", listening).parse().unwrap()
    }

    /// Pairs this device with a host, and waits until both know it.
    fn pair_with(&self, host: &Self) {
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

    fn put(&self, id: &str, value: &str) {
        self.runtime.block_on(self.control.put(DOMAIN, id, value.to_owned().into_bytes())).unwrap();
    }

    /// Waits until a record has this value here.
    fn wait_for(&self, id: &str, value: &str) {
        until(&format!("{id} is {value}"), || {
            let found = self.runtime.block_on(self.control.get(DOMAIN, id)).ok()?;
            (found.value.0 == value.as_bytes()).then_some(())
        });
    }

    /// Leaves, and comes back without manners.
    fn flood(&mut self, victim: &Self) -> Flood {
        self.runtime.block_on(self.node.take().unwrap().stop()).unwrap();
        let (identity, address) = (self.control.identity(), victim.address());
        let connect = async { Flood::connect(identity, victim.control.device(), &address).unwrap() };
        let flood = self.runtime.block_on(connect);
        until("it is greeted", || flood.heard().greeted.then_some(()));
        // What it said is taken in a moment later; until then it is told to come back.
        until("it is served", || {
            let before = flood.heard();
            flood.ask(1);
            let after = heard(&flood, |heard| heard != before);
            (after.answers > before.answers).then_some(())
        });
        flood
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

fn heard(flood: &Flood, enough: impl Fn(Heard) -> bool) -> Heard {
    until("a flood has heard enough", || Some(flood.heard()).filter(|heard| enough(*heard)))
}

fn library() -> PutMany {
    let item = |number: usize| PutItem {
        id: format!("c{:03}/{number:05}", number / 100),
        value: format!("{number} {}", "x".repeat(300)).into_bytes().into(),
    };
    PutMany { domain: DOMAIN.to_owned(), items: (0..RECORDS).map(item).collect(), dry_run: false }
}

fn fill(device: &Device) {
    for items in library().items.chunks(500) {
        let some = PutMany { items: items.to_vec(), ..library() };
        device.runtime.block_on(device.control.put_many(some)).unwrap();
    }
}

/// A trusted device that asks for everything again and again has its answers, and edits go both ways beside it.
#[test]
fn who_asks_for_everything_again_and_again_keeps_nobody_waiting() {
    let (desktop, laptop, mut phone) = (Device::new("desktop"), Device::new("laptop"), Device::new("phone"));
    fill(&desktop);
    laptop.pair_with(&desktop);
    phone.pair_with(&desktop);
    desktop.put("edit", "before");
    laptop.wait_for("edit", "before");

    let flood = phone.flood(&desktop);
    flood.ask_always(AT_ONCE_MAX);
    let before = heard(&flood, |heard| heard.answers >= FLOODED);
    for edit in 0..EDITS {
        let (there, back) = (format!("there {edit}"), format!("back {edit}"));
        desktop.put("edit", &there);
        laptop.wait_for("edit", &there);
        laptop.put("edit", &back);
        desktop.wait_for("edit", &back);
    }
    let after = heard(&flood, |heard| heard.answers >= before.answers + FLOODED);
    assert!(after.bytes > before.bytes + FLOODED * PAGE_BYTES_MIN, "it got pages of records: {after:?}");
    assert_eq!(after.lost, 0, "whoever is refused hears it, and keeps the connection");
}

/// Of one device so many requests are worked on, and no more; another one is served beside it all the same.
#[test]
fn what_one_device_can_have_under_way_has_an_end() {
    let (desktop, mut phone, mut tablet) =
        (Device::with_threads("desktop", 1), Device::new("phone"), Device::new("tablet"));
    fill(&desktop);
    phone.pair_with(&desktop);
    tablet.pair_with(&desktop);
    let (greedy, modest) = (phone.flood(&desktop), tablet.flood(&desktop));

    // Nothing gets done while the store's one thread is held.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (holds, holding) = std::sync::mpsc::channel();
    let hold = desktop.runtime.spawn_blocking(move || {
        holds.send(()).unwrap();
        // Ends when nobody holds the other end any more.
        let _ = held.recv();
    });
    holding.recv().unwrap();
    let (greedy_before, modest_before) = (greedy.heard(), modest.heard());
    greedy.ask(AT_ONCE_MAX);
    let refused = (AT_ONCE_MAX - ANSWERING_MAX) as u64;
    let greedy_held = heard(&greedy, |heard| heard.busy >= greedy_before.busy + refused);
    modest.ask(1);
    assert_eq!(greedy_held.answers, greedy_before.answers, "nothing is answered yet");

    drop(release);
    desktop.runtime.block_on(hold).unwrap();
    let served = (ANSWERING_MAX + 1) as u64;
    let modest_after = heard(&modest, |heard| heard != modest_before);
    let expected = Heard { answers: modest_before.answers + 1, bytes: modest_after.bytes, ..modest_before };
    assert_eq!(modest_after, expected, "the other one was not turned away");
    let greedy_after = heard(&greedy, |heard| heard.answers >= greedy_before.answers + served - 1);
    assert_eq!(greedy_after.busy, greedy_before.busy + refused, "as many as that, and no more");
    assert_eq!(greedy_after.answers, greedy_before.answers + served - 1);
    assert_eq!(greedy_after.lost, 0);
}

/// A store that is written without a pause, by as many as want to: what is written beside them arrives elsewhere.
#[test]
fn a_disk_in_full_use_keeps_no_edit_back() {
    let (desktop, laptop) = (Device::new("desktop"), Device::new("laptop"));
    laptop.pair_with(&desktop);
    desktop.put("edit", "before");
    laptop.wait_for("edit", "before");

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let control = desktop.control.clone();
        let write = async move {
            for round in 0_u64.. {
                let mut many = library();
                many.items.truncate(WRITTEN);
                for item in &mut many.items {
                    item.id = format!("{writer}/{}", item.id);
                    item.value = format!("{round} {}", "y".repeat(300)).into_bytes().into();
                }
                control.put_many(many).await.unwrap();
            }
        };
        writers.spawn_on(write, desktop.runtime.handle());
    }
    for edit in 0..EDITS {
        let (there, back) = (format!("there {edit}"), format!("back {edit}"));
        desktop.put("edit", &there);
        laptop.wait_for("edit", &there);
        laptop.put("edit", &back);
        desktop.wait_for("edit", &back);
    }
    assert_eq!(writers.len(), WRITERS);
    assert!(writers.try_join_next().is_none(), "they write on");
    desktop.runtime.block_on(writers.shutdown());
}
