//! The socket, the routes and the client against each other.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    control::{
        Command,
        command::{COMMANDS_MAX, NodeFacts},
    },
    events::Event,
    home::Home,
    request::{Pill, Verdict},
};

/// A node whose event loop is the test.
struct Running {
    _temp: tempfile::TempDir,
    home: Home,
    control: Control,
    commands: mpsc::Receiver<Command>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Failure>>,
}

impl Running {
    async fn new() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let home = Home::under(temp.path().join("home"));
        let control = Control::init(&home, Some("laptop")).await.expect("set up");
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let control = control.attached(sender);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::bind(&home).expect("bound");
        let served = tokio::spawn(server.serve(control.clone(), async {
            // Stopping and dropping are one here.
            let _ = stopped.await;
        }));
        Self { _temp: temp, home, control, commands, stop, served }
    }

    async fn client(&self) -> Client {
        Client::running(&self.home).await.expect("it runs")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// What the server answers to these bytes.
async fn raw(home: &Home, request: &str) -> String {
    let mut stream = UnixStream::connect(home.socket()).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// Security case 25: nobody else can reach the door.
#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_node() {
    let node = Running::new().await;
    assert_eq!(mode(&node.home.run_dir()), 0o700);
    assert_eq!(mode(&node.home.socket()), 0o600);
    assert_eq!(node.home.pid(), Some(std::process::id()));
    node.stop.send(()).expect("serving");
    node.served.await.expect("no panic").expect("no failure");
    assert!(!node.home.socket().exists());
    let failure = Client::running(&node.home).await.expect_err("gone");
    assert_eq!((failure.kind, failure.exit_code()), (Kind::NotRunning, 3));
}

#[tokio::test]
async fn a_socket_left_by_a_killed_node_is_replaced() {
    let temp = tempfile::tempdir().expect("a directory");
    let home = Home::under(temp.path().join("home"));
    let control = Control::init(&home, None).await.expect("set up");
    fs::create_dir(home.run_dir()).expect("made");
    fs::set_permissions(home.run_dir(), fs::Permissions::from_mode(0o700)).expect("chmod");
    drop(std::os::unix::net::UnixListener::bind(home.socket()).expect("bound"));
    assert_eq!(Client::running(&home).await.expect_err("dead").kind, Kind::NotRunning);
    drop(Server::bind(&home).expect("bound again"));
    drop(control);
}

/// F8: every surface gives the same answers.
#[tokio::test]
async fn the_socket_answers_as_the_process_does() {
    let node = Running::new().await;
    let client = node.client().await;
    let put = Put { domain: "settings".into(), id: "a".into(), value: vec![0xff, 0].into(), app: None };
    let written = client.call(put).await.expect("written");
    let get = || Get { domain: "settings".into(), id: "a".into() };
    let found = client.call(get()).await.expect("found");
    assert_eq!(found, get().run(&node.control).await.expect("found"));
    assert_eq!((found.version, found.value.0), (written.version, vec![0xff, 0]));
    let missing = || Get { domain: "settings".into(), id: "b".into() };
    let failure = client.call(missing()).await.expect_err("not there");
    assert_eq!(failure, missing().run(&node.control).await.expect_err("not there"));
    assert_eq!(failure.kind, Kind::NotFound);
}

#[tokio::test]
async fn without_a_node_the_client_uses_the_store() {
    let temp = tempfile::tempdir().expect("a directory");
    let home = Home::under(temp.path().join("home"));
    drop(Control::init(&home, None).await.expect("set up"));
    let client = Client::connect(&home).await.expect("the store is free");
    assert!(!client.is_running());
    assert_eq!(client.call(Status {}).await.expect("told").state, Pill::Offline);
    assert_eq!(client.call(Down {}).await.expect_err("no node").kind, Kind::NotRunning);
}

#[tokio::test]
async fn a_store_that_a_dead_process_does_not_hold_is_told_from_one_that_is_held() {
    let temp = tempfile::tempdir().expect("a directory");
    let home = Home::under(temp.path().join("home"));
    let held = Control::init(&home, None).await.expect("set up");
    let failure = Client::connect(&home).await.expect_err("held, and no socket");
    assert_eq!((failure.kind, failure.exit_code()), (Kind::StoreLocked, 3));
    drop(held);
    Client::connect(&home).await.expect("free");
}

/// P31: with a node the word comes from the event loop's facts.
#[tokio::test]
async fn network_requests_reach_the_event_loop() {
    let mut node = Running::new().await;
    let client = node.client().await;
    let asking = tokio::spawn(async move { client.call(Status {}).await });
    while !asking.is_finished() {
        let command = tokio::select! {
            command = node.commands.recv() => command.expect("the node is attached"),
            () = tokio::task::yield_now() => continue,
        };
        let Command::Facts { reply } = command else { panic!("{command:?}") };
        let mut facts = NodeFacts::default();
        facts.status.running = 1;
        reply.send(Ok(facts)).expect("somebody waits");
    }
    let status = asking.await.expect("no panic").expect("told");
    assert_eq!((status.state, status.me.running), (Pill::Syncing, true));
}

#[tokio::test]
async fn a_failure_of_the_event_loop_arrives_as_it_is() {
    let mut node = Running::new().await;
    let client = node.client().await;
    let asking =
        tokio::spawn(async move { client.call(PairAnswer { pairing: 7, verdict: Verdict::Kin }).await });
    let command = node.commands.recv().await.expect("a command");
    let Command::PairAnswer { pairing: 7, verdict: Verdict::Kin, reply } = command else {
        panic!("{command:?}")
    };
    let failure = Failure::new(Kind::Expired, "Too late.").hint("Again.");
    reply.send(Err(failure.clone())).expect("somebody waits");
    assert_eq!(asking.await.expect("no panic").expect_err("refused"), failure);
}

#[tokio::test]
async fn events_come_over_the_socket_and_can_be_taken_up_again() {
    let node = Running::new().await;
    let client = node.client().await;
    let mut watching = client.events(None).await.expect("watching");
    let change = |key: &str| Event::SettingsChanged { keys: vec![key.to_owned()] };
    node.control.events().publish(change("a"));
    let first = watching.next().await.expect("an event");
    assert_eq!(first.event, change("a"));
    drop(watching);
    node.control.events().publish(change("b\n\nid: 1"));
    let mut again = client.events(Some(&first.id)).await.expect("watching");
    assert_eq!(again.next().await.expect("an event").event, change("b\n\nid: 1"));
    let mut lost = client.events(Some("0-0")).await.expect("watching");
    assert_eq!(lost.next().await.expect("an event").event, Event::Resync);
}

#[tokio::test]
async fn watching_ends_when_the_node_stops() {
    let node = Running::new().await;
    let mut watching = node.client().await.events(None).await.expect("watching");
    node.control.events().publish(Event::Stopping);
    node.stop.send(()).expect("serving");
    assert_eq!(watching.next().await.expect("an event").event, Event::Stopping);
    assert_eq!(watching.next().await, None);
    node.served.await.expect("no panic").expect("no failure");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_code() {
    let node = Running::new().await;
    for (request, status, code) in [
        (
            "POST /v1/put HTTP/1.1\r\nhost: k\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            "400",
            "bad-request",
        ),
        (
            "POST /v1/put HTTP/1.1\r\nhost: k\r\ncontent-length: 1\r\nconnection: close\r\n\r\n{",
            "400",
            "bad-request",
        ),
        ("POST /v1/nothing HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n", "400", "bad-request"),
    ] {
        let answer = raw(&node.home, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(PROBLEM) && answer.contains(code), "{answer}");
    }
}

/// Nobody makes the node hold more than its limit in memory.
#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    let node = Running::new().await;
    let long = BODY_BYTES_MAX + 1;
    let head = format!("POST /v1/put HTTP/1.1\r\nhost: k\r\ncontent-length: {long}\r\n\r\n");
    let stream = UnixStream::connect(node.home.socket()).await.expect("connected");
    let (mut answers, mut asks) = stream.into_split();
    let asking = tokio::spawn(async move {
        asks.write_all(head.as_bytes()).await.expect("sent");
        // The node hangs up somewhere in the middle.
        let _ = asks.write_all(&vec![b' '; long]).await;
        // Open until the answer is here: half a connection is none.
        asks
    });
    let mut answer = [0; 12];
    answers.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(asking.await);
}

#[tokio::test]
async fn the_version_can_be_read_with_nothing_but_a_path() {
    let node = Running::new().await;
    let answer = raw(&node.home, "GET /v1/version HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"api\":1"), "{answer}");
}
