//! Finding each other, on a network that the test makes for itself.

use std::{collections::BTreeSet, env, fs, process::Command};

use libp2p::swarm::SwarmEvent;

use super::*;
use crate::swarm::mdns::{Discovery, Found};

/// Says to a copy of this test that it is on a network of its own.
const INSIDE: &str = "KINSYNC_TEST_LAN";

/// Runs the test called `name` again as the only program of a network with
/// one wired interface. Says whether this is that copy.
fn inside_a_lan(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "ip link add lan0 type veth peer name lan1 && ip addr add 10.77.0.1/24 dev lan0 \
                  && ip link set lo up && ip link set lan0 up && ip link set lan1 up && exec \"$0\" \"$@\"";
    let run = |arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", script]).args(arguments);
        unshare.env(INSIDE, "1").output()
    };
    if !run(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine does not let a user make a network");
        return false;
    }
    let program = env::current_exe().unwrap();
    let name = format!("swarm::tests::discovery::{name}");
    let output = run(&[program.to_str().unwrap(), "--exact", &name, "--nocapture"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "inside the network: {text}");
    false
}

async fn on_the_lan(seed: u8) -> Node {
    Node::listening(seed, "/ip4/10.77.0.1/tcp/0", false).await
}

fn discovery(node: &mut Node) -> &mut Discovery {
    &mut node.swarm.behaviour_mut().discovery
}

/// Waits until `nodes[finder]` has found the devices with the keys `seeds`.
async fn finds(nodes: &mut [&mut Node], finder: usize, seeds: &[u8]) {
    let mut missing: BTreeSet<_> = seeds.iter().map(|seed| key(*seed).public().to_peer_id()).collect();
    until(nodes, |at, event| {
        if let (true, SwarmEvent::Behaviour(Event::Found(Found { device, .. }))) = (at == finder, event) {
            missing.remove(&peer_id(&device));
        }
        missing.is_empty().then_some(())
    })
    .await;
}

/// Waits until both of two have found each other.
async fn find_each_other(nodes: [&mut Node; 2]) {
    let mut found = BTreeSet::new();
    until(&mut { nodes }, |at, event| {
        if let SwarmEvent::Behaviour(Event::Found(_)) = event {
            found.insert(at);
        }
        (found.len() == 2).then_some(())
    })
    .await;
}

/// Waits until a packet of `node` has come back to it.
async fn hears_itself(node: &mut Node) {
    let heard = poll_fn(|cx| {
        while node.swarm.poll_next_unpin(cx).is_ready() {}
        if discovery(node).health().heard_self > 0 { Poll::Ready(()) } else { Poll::Pending }
    });
    timeout(PATIENCE, heard).await.expect("multicast comes back");
}

/// Waits until nobody on this network has the port of mDNS.
async fn port_is_free() {
    let taken = || fs::read_to_string("/proc/net/udp").unwrap().contains(":14E9 ");
    timeout(PATIENCE, async {
        while taken() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port of mDNS is free");
}

/// S6: devices on one network find each other, also those that come later.
#[tokio::test]
async fn devices_on_one_network_find_each_other() {
    if !inside_a_lan("devices_on_one_network_find_each_other") {
        return;
    }
    let (mut phone, mut laptop) = (on_the_lan(1).await, on_the_lan(2).await);
    phone.trusts(&laptop);
    for node in [&mut phone, &mut laptop] {
        discovery(node).set_enabled(true);
    }
    find_each_other([&mut phone, &mut laptop]).await;
    assert_eq!(discovery(&mut phone).places(&laptop.device).len(), 1);
    assert_eq!(discovery(&mut phone).strangers(), []);
    assert_eq!(discovery(&mut laptop).strangers().len(), 1);

    let mut desktop = on_the_lan(3).await;
    discovery(&mut desktop).set_enabled(true);
    finds(&mut [&mut phone, &mut laptop, &mut desktop], 0, &[3]).await;
    let health = discovery(&mut desktop).health();
    assert!(health.running && health.error.is_none(), "{health:?}");

    discovery(&mut phone).scan_now();
    finds(&mut [&mut phone, &mut laptop, &mut desktop], 0, &[2, 3]).await;
    hears_itself(&mut phone).await;
}

/// S6: off means that no mDNS packet is sent or answered, from that instant.
#[tokio::test]
async fn switched_off_nothing_listens_and_nothing_answers() {
    if !inside_a_lan("switched_off_nothing_listens_and_nothing_answers") {
        return;
    }
    let (mut phone, mut laptop) = (on_the_lan(1).await, on_the_lan(2).await);
    port_is_free().await;

    discovery(&mut phone).set_enabled(true);
    hears_itself(&mut phone).await;
    discovery(&mut phone).set_enabled(false);
    assert!(!discovery(&mut phone).health().running);
    port_is_free().await;

    // Several in a row leave nothing behind either.
    for node in [&mut phone, &mut laptop] {
        discovery(node).set_enabled(true);
    }
    find_each_other([&mut phone, &mut laptop]).await;
    for _ in 0..3 {
        discovery(&mut phone).scan_now();
        finds(&mut [&mut phone, &mut laptop], 0, &[2]).await;
    }
    for node in [&mut phone, &mut laptop] {
        discovery(node).set_enabled(false);
    }
    port_is_free().await;
}
