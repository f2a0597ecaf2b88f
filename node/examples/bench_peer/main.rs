//! One end of a pair under measurement: an application that embeds kinsync,
//! driven by JSON lines.
//!
//! Reads one object a line on stdin and answers one a line on stdout; an answer
//! with `error` is a failure. Times are Unix seconds. `scripts/bench` drives two
//! of these; any other program that answers the same verbs can stand beside them.
//!
//! | `op` | takes | answers | meaning |
//! | --- | --- | --- | --- |
//! | `open` | `dir manual` | | opens the library in a folder, or makes one |
//! | `create` | | | the first end has a library |
//! | `fill` | `start count gen step` | `ms` | writes records, many at a time |
//! | `one` | `i gen` | `t0 t1` | writes one record; `t1` once it is on disk |
//! | `many` | `start count gen writers` | `ms` | writes one at a time, by so many at once |
//! | `listen` | | `addr` | accepts the other end |
//! | `connect` | `addr` | `t0` | starts live sync; `t0` before the first byte |
//! | `wait` | `count limit_s` | `done t` | until so many records came, 0: until equal |
//! | `arrivals` | | `t` | when each record since the last call became visible |
//! | `again` | | | one more pass with the other end, to its end |
//! | `pair` | `addr` | | pairs with the other end, without a pass if `manual` |
//! | `where` | | `addr` | how the node is reached by those who know it |
//! | `reach` | `addr` | | learns where a device is, and connects |
//! | `meet` | `count limit_s` | | waits until so many devices are connected |
//! | `large` | `i bytes` | | writes one record of that size |
//! | `load` | `writers` | | writes elsewhere without a pause from now on |
//! | `unload` | | `records` | stops that; how many it wrote |
//! | `renew` | | | gives the device a new key, known to nobody |
//! | `check` | `i gen` | `ok` | whether record `i` is of that generation |
//! | `close` | | | closes and ends |
#![allow(clippy::print_stdout, reason = "answers go to stdout")]
#![allow(clippy::wildcard_enum_match_arm, reason = "it waits for some events and passes over others")]

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kinsync::config::SyncMode;
use kinsync::control::Control;
use kinsync::events::Event;
use kinsync::request::{PairJoin, PairOpen, PeerState, PutItem, PutMany, SecretText, SyncNow, SyncOutcome};
use kinsync::{Home, Node};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

mod record;

/// Records in one call of `put_many`.
const BATCH: u64 = 500;

/// Calls of `put_many` under way: as many as one commit takes.
const BATCHES_AT_ONCE: usize = 8;

/// How long one pass may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The domain that all records are in.
const DOMAIN: &str = "messages";

/// The domain that is written without a pause, and how many records it has of
/// each writer.
const LOAD_DOMAIN: &str = "settings";
const LOAD_RECORDS: u64 = 10 * BATCH;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut library = None;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let op = request["op"].as_str().unwrap_or_default().to_owned();
        let answer = match runtime.block_on(answer(&mut library, &op, &request)) {
            Ok(answer) => answer,
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
        if op == "close" {
            break;
        }
    }
    Ok(())
}

async fn answer(library: &mut Option<Library>, op: &str, request: &Value) -> Result<Value> {
    let number = |key: &str, default: u64| request[key].as_u64().unwrap_or(default);
    if op == "open" {
        let dir = request["dir"].as_str().context("`dir` is missing")?;
        let manual = request["manual"].as_bool().unwrap_or_default();
        *library = Some(Library::open(dir.into(), manual).await?);
        return Ok(json!({}));
    }
    if op == "close" {
        if let Some(library) = library.take() {
            library.close().await?;
        }
        return Ok(json!({}));
    }
    if op == "renew" {
        let Library { home, manual, .. } = library.take().context("not open")?;
        drop(Control::renew(&home).await?);
        *library = Some(Library::open(home.data_dir().to_owned(), manual).await?);
        return Ok(json!({}));
    }
    let library = library.as_mut().context("not open")?;
    match op {
        "again" => {
            library.go(None);
            library.wait(0, LIMIT).await
        }
        "pair" => {
            library.pair(&request["addr"]).await?;
            Ok(json!({}))
        }
        "where" => library.place().await,
        "reach" => {
            library.reach(&request["addr"]).await?;
            Ok(json!({}))
        }
        "meet" => {
            library.meet(number("count", 1), Duration::from_secs(number("limit_s", 60))).await?;
            Ok(json!({}))
        }
        "large" => {
            library.large(number("i", 0), usize::try_from(number("bytes", 0))?).await?;
            Ok(json!({}))
        }
        "load" => {
            library.load(number("writers", 1));
            Ok(json!({}))
        }
        "unload" => Ok(json!({ "records": library.unload().await? })),
        "create" => Ok(json!({})),
        "fill" => {
            let (start, count, generation) = (number("start", 0), number("count", 0), number("gen", 0));
            let began = now();
            library.fill(start, count, number("step", 1), generation).await?;
            Ok(json!({ "ms": (now() - began) * 1e3 }))
        }
        "one" => {
            let t0 = now();
            library.one(number("i", 0), number("gen", 0)).await?;
            Ok(json!({ "t0": t0, "t1": now() }))
        }
        "many" => {
            let (start, count, generation) = (number("start", 0), number("count", 0), number("gen", 0));
            let began = now();
            library.many(start, count, generation, number("writers", 1)).await?;
            Ok(json!({ "ms": (now() - began) * 1e3 }))
        }
        "listen" => library.listen().await,
        "connect" => {
            let t0 = now();
            library.connect(&request["addr"]).await?;
            Ok(json!({ "t0": t0 }))
        }
        "wait" => library.wait(number("count", 0), Duration::from_secs(number("limit_s", 60))).await,
        "arrivals" => Ok(json!({ "t": library.arrived.take() })),
        "check" => {
            let (i, generation) = (number("i", 0), number("gen", 0));
            let found = library.control().get(DOMAIN, &record::id(i)).await;
            Ok(
                json!({ "ok": found.is_ok_and(|found| found.value.0 == record::record(i, generation).into_bytes()) }),
            )
        }
        _ => bail!("no verb is called {op:?}"),
    }
}

/// What has come from the other end.
#[derive(Debug, Default)]
struct Arrived {
    times: Mutex<Vec<f64>>,
}

impl Arrived {
    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An open library, on the network or not.
struct Library {
    home: Home,
    /// Whether passes run only when asked for.
    manual: bool,
    control: Control,
    node: Option<Node>,
    arrived: Arc<Arrived>,
    /// How many records have come, and when the last of them did.
    count: watch::Receiver<(u64, f64)>,
    /// What had come when the last `connect` began.
    before: u64,
    /// The pass that the last `connect` asked for.
    pass: Option<tokio::task::JoinHandle<Result<f64>>>,
    /// Who writes without a pause, and how many records they have written.
    loading: JoinSet<Result<()>>,
    loaded: Arc<AtomicU64>,
}

impl Library {
    async fn open(dir: PathBuf, manual: bool) -> Result<Self> {
        let home = Home::under(dir);
        let control = match home.is_initialised() {
            true => Control::open(&home).await?,
            false => Control::init(&home, Some("bench")).await?,
        };
        let listen = "/ip4/127.0.0.1/tcp/0".parse().context("an address")?;
        control.adjust(|config| {
            config.listen = vec![listen];
            config.mdns = false;
            config.quic = false;
            // Ten thousand edits at once are the workload here, not a mistake.
            (config.guard.records, config.guard.percent) = (0, 0);
            if manual {
                config.sync = SyncMode::Manual;
            }
        });
        let arrived = Arc::new(Arrived::default());
        let (told, count) = watch::channel((0, 0.0));
        let noted = Arc::clone(&arrived);
        control.storage().store().on_commit(move |commit| {
            let now = now();
            let came = commit
                .domains
                .iter()
                .filter(|change| change.domain == kinsync_protocol::id::DomainId::of(DOMAIN));
            // Only one end writes at a time; a list that is too long to tell is one that came.
            let came: u64 = came
                .map(|change| match change.complete {
                    true => change.changes.iter().filter(|change| change.from.is_some()).count() as u64,
                    false => change.head - change.previous,
                })
                .sum();
            if came > 0 {
                let mut times = noted.times.lock().unwrap_or_else(PoisonError::into_inner);
                times.extend((0..came).map(|_| now));
                told.send_modify(|(count, last)| (*count, *last) = (*count + came, now));
            }
        });
        let (loading, loaded) = (JoinSet::new(), Arc::default());
        Ok(Self { home, manual, control, node: None, arrived, count, before: 0, pass: None, loading, loaded })
    }

    fn control(&self) -> &Control {
        self.node.as_ref().map_or(&self.control, Node::control)
    }

    fn start(&mut self) -> Result<()> {
        if self.node.is_none() {
            self.node = Some(Node::start(self.control.clone())?);
        }
        Ok(())
    }

    async fn fill(&self, start: u64, count: u64, step: u64, generation: u64) -> Result<()> {
        let mut under_way = JoinSet::new();
        let mut next = 0;
        while next < count || !under_way.is_empty() {
            if next < count && under_way.len() < BATCHES_AT_ONCE {
                let end = count.min(next + BATCH);
                let items = (next..end).map(|k| start + k * step).map(|i| PutItem {
                    id: record::id(i),
                    value: record::record(i, generation).into_bytes().into(),
                });
                let request = PutMany { domain: DOMAIN.to_owned(), items: items.collect(), dry_run: false };
                let control = self.control.clone();
                under_way.spawn(async move { control.put_many(request).await });
                next = end;
            } else if let Some(done) = under_way.join_next().await {
                done??;
            }
        }
        Ok(())
    }

    async fn one(&self, i: u64, generation: u64) -> Result<()> {
        self.control.put(DOMAIN, &record::id(i), record::record(i, generation).into_bytes()).await?;
        Ok(())
    }

    async fn many(&self, start: u64, count: u64, generation: u64, writers: u64) -> Result<()> {
        let mut under_way = JoinSet::new();
        for writer in 0..writers {
            let control = self.control.clone();
            under_way.spawn(async move {
                for i in (start + writer..start + count).step_by(usize::try_from(writers)?) {
                    let value = record::record(i, generation).into_bytes();
                    control.put(DOMAIN, &record::id(i), value).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    }

    fn load(&mut self, writers: u64) {
        for writer in 0..writers {
            let (control, loaded) = (self.control().clone(), Arc::clone(&self.loaded));
            self.loading.spawn(async move {
                for batch in 0_u64.. {
                    let (first, generation) = (batch * BATCH % LOAD_RECORDS, batch * BATCH / LOAD_RECORDS);
                    let items = (first..first + BATCH).map(|i| PutItem {
                        id: format!("{writer}/{}", record::id(i)),
                        value: record::record(i, generation).into_bytes().into(),
                    });
                    let request =
                        PutMany { domain: LOAD_DOMAIN.to_owned(), items: items.collect(), dry_run: false };
                    control.put_many(request).await?;
                    loaded.fetch_add(BATCH, Ordering::Relaxed);
                }
                Ok(())
            });
        }
    }

    async fn unload(&mut self) -> Result<u64> {
        self.loading.abort_all();
        while let Some(ended) = self.loading.join_next().await {
            // One that was not stopped here has failed.
            if let Ok(ended) = ended {
                ended?;
            }
        }
        Ok(self.loaded.swap(0, Ordering::Relaxed))
    }

    /// Goes on the network and says how the other end gets here.
    async fn listen(&mut self) -> Result<Value> {
        self.start()?;
        // A node is up before its sockets are.
        while self.control().status().await?.me.listening.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let opened = self.control().pair_open(PairOpen { yes: true, ..PairOpen::default() }).await?;
        let address = opened.addresses.first().context("no address to listen on")?;
        let id = self.control.device().to_string();
        Ok(json!({ "addr": { "id": id, "address": address, "code": opened.code.reveal() } }))
    }

    async fn connect(&mut self, addr: &Value) -> Result<()> {
        self.arrived.take();
        self.before = self.count.borrow().0;
        let id = self.pair(addr).await?;
        self.go(Some(id));
        Ok(())
    }

    /// Goes on the network and pairs with the other end, unless that has been
    /// done. Its device id.
    async fn pair(&mut self, addr: &Value) -> Result<String> {
        let text =
            |key: &str| addr[key].as_str().map(str::to_owned).with_context(|| format!("`{key}` is missing"));
        let (id, address, code) = (text("id")?, text("address")?, text("code")?);
        let paired = self.control.peers().await?.peers.iter().any(|peer| peer.id == id);
        if paired {
            self.control.add_peer_address(&id, &address).await?;
        }
        self.start()?;
        if paired {
            return Ok(id);
        }
        let mut events = self.control().subscribe();
        let code = SecretText::new(code);
        let request = PairJoin { code, addr: Some(address), label: None, role: None, allowed: None };
        let joining = self.control().pair_join(request).await?;
        loop {
            match events.next().await.context("the node has stopped")?.event {
                Event::Paired { pairing, .. } if pairing == joining.pairing => return Ok(id),
                Event::Failed { pairing, failure } if pairing == joining.pairing => {
                    bail!("{}", failure.message)
                }
                _ => {}
            }
        }
    }

    /// Begins a pass; [`Library::wait`] for 0 records waits for its end.
    fn go(&mut self, peer: Option<String>) {
        let control = self.control().clone();
        self.pass = Some(tokio::spawn(async move {
            let answer = control.sync_now(SyncNow { peer, wait: true, ..SyncNow::default() }).await?;
            match answer.peers.first() {
                Some(row) if row.outcome == SyncOutcome::Equal => Ok(now()),
                row => bail!("the pass ended as {row:?}"),
            }
        }));
    }

    /// The device and where it listens.
    async fn place(&self) -> Result<Value> {
        let address = self.control().status().await?.me.listening.into_iter().next();
        let address = address.context("no address to listen on")?;
        Ok(json!({ "addr": { "id": self.control.device().to_string(), "address": address } }))
    }

    /// Tells the node where a device is that another one introduces, and waits
    /// until both are equal.
    async fn reach(&mut self, addr: &Value) -> Result<()> {
        let text = |key: &str| addr[key].as_str().with_context(|| format!("`{key}` is missing"));
        let (id, address) = (text("id")?, text("address")?);
        let mut events = self.control().subscribe();
        let introduced = async {
            while !self.control().peers().await?.peers.iter().any(|peer| peer.id == id) {
                events.next().await;
            }
            anyhow::Ok(())
        };
        timeout(LIMIT, introduced).await.context("nobody introduced it")??;
        self.control().add_peer_address(id, address).await?;
        self.go(Some(id.to_owned()));
        self.wait(0, LIMIT).await?;
        Ok(())
    }

    /// Waits until `count` devices are connected.
    async fn meet(&self, count: u64, limit: Duration) -> Result<()> {
        let mut events = self.control().subscribe();
        let met = async {
            loop {
                let peers = self.control().peers().await?.peers;
                if peers.iter().filter(|peer| peer.state == PeerState::Online).count() as u64 >= count {
                    return anyhow::Ok(());
                }
                events.next().await;
            }
        };
        timeout(limit, met).await.context("they did not all meet")?
    }

    async fn large(&self, i: u64, bytes: usize) -> Result<()> {
        let text: String = (0..).map(|part| record::record(i, part)).take(bytes / 300).collect();
        let value = json!({ "order": format!("{i:07}"), "text": text }).to_string();
        self.control.put(DOMAIN, &record::id(i), value.into_bytes()).await?;
        Ok(())
    }

    async fn wait(&mut self, count: u64, limit: Duration) -> Result<Value> {
        if count == 0 {
            let pass = self.pass.take().context("nobody connected")?;
            return match timeout(limit, pass).await {
                Ok(ended) => Ok(json!({ "done": true, "t": ended?? })),
                Err(_) => Ok(json!({ "done": false, "t": now() })),
            };
        }
        let wanted = self.before + count;
        let came = timeout(limit, self.count.wait_for(|(count, _)| *count >= wanted)).await;
        match came {
            Ok(came) => Ok(json!({ "done": true, "t": came?.1 })),
            Err(_) => Ok(json!({ "done": false, "t": now() })),
        }
    }

    async fn close(self) -> Result<()> {
        let Self { node, control, home: _, .. } = self;
        drop(control);
        if let Some(node) = node {
            node.stop().await?;
        }
        Ok(())
    }
}

/// Unix seconds, finer than the milliseconds of the node's own clock.
#[allow(clippy::disallowed_methods, reason = "it measures the node from outside")]
fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
