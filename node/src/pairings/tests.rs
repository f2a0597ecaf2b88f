//! Devices that pair over a network in memory.

use std::time::Duration;

use assert_matches::assert_matches;
use ed25519_dalek::SigningKey;
use kinsync_protocol::pairing::Paired;

use super::*;
use crate::clock::Moment;
use crate::failure::Kind;
use crate::request::SecretText;

mod ends;
mod joins;
mod world;

use world::{Store, World};

const DESKTOP: usize = 0;
const PHONE: usize = 1;
const LAPTOP: usize = 2;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn code_of(opened: &PairOpened) -> String {
    opened.code.reveal().to_owned()
}

/// Another code with the same nameplate.
fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &code[..code.len() - 1])
}

fn typed(code: impl Into<String>) -> PairJoin {
    PairJoin { code: SecretText::new(code), addr: None, label: None, role: None, allowed: None }
}

/// The number of the pairing in which `device` was asked for an answer.
fn asked(world: &World, device: usize) -> Option<u64> {
    world.events(device).iter().rev().find_map(|event| match event {
        Event::Request { pairing, asks: true, .. } => Some(*pairing),
        _ => None,
    })
}

fn check_number(world: &World, device: usize) -> String {
    let shown = world.events(device).iter().find_map(|event| match event {
        Event::Request { check, .. } => Some(check.clone()),
        _ => None,
    });
    shown.expect("a check number is shown")
}

fn failure(world: &World, device: usize) -> Failure {
    let failed = world.events(device).iter().rev().find_map(|event| match event {
        Event::Failed { failure, .. } => Some(failure.clone()),
        _ => None,
    });
    failed.expect("it failed")
}

fn role(world: &World, device: usize) -> Option<Role> {
    world.events(device).iter().rev().find_map(|event| match event {
        Event::Paired { peer, .. } => Some(peer.role),
        _ => None,
    })
}

/// A desktop that shows a code and a phone that has entered it.
fn meet(world: &mut World) -> u64 {
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    asked(world, DESKTOP).expect("the person is asked")
}

/// S10, S11, S13, I14: a code of the known form, entered on the second device,
/// makes both list each other; both screens show the same number before.
#[test]
fn the_code_that_one_device_shows_pairs_both() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen { expires_s: Some(300), ..PairOpen::default() });
    assert_eq!(opened.code.reveal().len(), "KXNR-7842".len());
    assert_eq!(opened.expires_at, world.now().wall.plus(seconds(300)));
    world.join(PHONE, &typed(code_of(&opened)));
    assert_eq!(check_number(&world, DESKTOP), check_number(&world, PHONE));
    assert_matches!(
        world.events(DESKTOP).first(),
        Some(Event::Request { name, platform: Some(platform), asks: true, .. })
            if name == "phone" && platform == "linux"
    );
    assert_matches!(world.events(PHONE), [Event::Found { path, .. }, Event::Request { name, asks: false, .. }]
        if path == "lan" && name == "desktop");

    let pairing = asked(&world, DESKTOP).unwrap();
    assert_eq!(world.trusted(DESKTOP), []);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    for (device, other, name) in [(DESKTOP, PHONE, "phone"), (PHONE, DESKTOP, "desktop")] {
        assert_eq!(world.trusted(device), [(world.id(other), Standing::Kin)]);
        assert_matches!(world.events(device).last(), Some(Event::Paired { peer, .. })
            if peer.name == name && peer.role == Role::Kin && peer.devices == 2
                && peer.id == world.id(other).to_string());
    }
    world.pass(seconds(11));
    for device in [DESKTOP, PHONE] {
        assert_eq!(world.window(device), Window::default(), "nobody else is let in");
        assert_eq!(world.deadline(device), None);
    }
}

#[test]
fn each_answer_gives_its_role_to_both() {
    for (verdict, expected, standing) in [
        (Verdict::Kin, Role::Kin, Standing::Kin),
        (Verdict::Guest, Role::Guest, Standing::Guest),
        (Verdict::Once, Role::Once, Standing::Once),
    ] {
        let mut world = World::new(2);
        let pairing = meet(&mut world);
        world.answer(DESKTOP, pairing, verdict).unwrap();
        for (device, other) in [(DESKTOP, PHONE), (PHONE, DESKTOP)] {
            assert_eq!(role(&world, device), Some(expected));
            assert_eq!(world.trusted(device), [(world.id(other), standing)]);
        }
    }
}

/// I15: the other side hears a clear no.
#[test]
fn a_no_is_told_and_stores_nothing() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.answer(DESKTOP, pairing, Verdict::Reject).unwrap();
    for device in [DESKTOP, PHONE] {
        assert_eq!(failure(&world, device).kind, Kind::Rejected);
        assert_eq!(world.trusted(device), []);
    }
    assert_eq!(world.answer(DESKTOP, pairing, Verdict::Kin).unwrap_err().kind, Kind::BadRequest);
}

#[test]
fn silence_is_a_no() {
    let mut world = World::new(2);
    meet(&mut world);
    world.pass(pairing::ANSWER_TIME_MAX);
    for device in [DESKTOP, PHONE] {
        assert_eq!(failure(&world, device).kind, Kind::Rejected);
        assert_eq!(world.trusted(device), []);
    }
}

#[test]
fn a_code_for_guests_makes_no_kin() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen { role: Some(Role::Guest), ..PairOpen::default() });
    world.join(PHONE, &typed(code_of(&opened)));
    let pairing = asked(&world, DESKTOP).unwrap();
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (Some(Role::Guest), Some(Role::Guest)));
}

#[test]
fn a_joiner_that_asks_for_less_gets_less() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &PairJoin { role: Some(Role::Once), ..typed(code_of(&opened)) });
    let pairing = asked(&world, DESKTOP).unwrap();
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (Some(Role::Once), Some(Role::Once)));
}

#[test]
fn a_code_that_asks_nobody_lets_in_with_its_own_role() {
    let mut world = World::new(2);
    let request = PairOpen { yes: true, role: Some(Role::Guest), ..PairOpen::default() };
    let opened = world.open(DESKTOP, &request);
    world.join(PHONE, &typed(code_of(&opened)));
    assert_matches!(world.events(DESKTOP).first(), Some(Event::Request { asks: false, .. }));
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (Some(Role::Guest), Some(Role::Guest)));

    let long = PairOpen { expires_s: Some(601), ..request };
    assert_eq!(world.try_open(DESKTOP, &long).unwrap_err().kind, Kind::BadRequest);
}

/// Nothing is said that is not on disk.
#[test]
fn each_side_speaks_of_trust_only_once_it_is_stored() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.set_store(DESKTOP, Store::Held);
    world.set_store(PHONE, Store::Held);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (None, None));
    assert!(!world.is_storing(PHONE), "the joiner has not heard of it");

    world.finish_storing(DESKTOP);
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (None, None));
    assert!(world.is_storing(PHONE));

    world.finish_storing(PHONE);
    assert_eq!((role(&world, DESKTOP), role(&world, PHONE)), (Some(Role::Kin), Some(Role::Kin)));
}

#[test]
fn a_host_that_cannot_store_promises_nothing() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.set_store(DESKTOP, Store::Fails);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(failure(&world, DESKTOP).kind, Kind::DiskFull);
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
    assert_eq!((world.trusted(DESKTOP), world.trusted(PHONE)), (vec![], vec![]));
}

/// A lost last step is cured by pairing again.
#[test]
fn a_joiner_that_cannot_store_pairs_again_later() {
    let mut world = World::new(2);
    let pairing = meet(&mut world);
    world.set_store(PHONE, Store::Fails);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(failure(&world, PHONE).kind, Kind::DiskFull);
    assert_eq!(world.trusted(PHONE), []);
    world.pass(seconds(11));
    assert_eq!(role(&world, DESKTOP), Some(Role::Kin), "the host had stored it");

    world.set_store(PHONE, Store::Works);
    let pairing = meet(&mut world);
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
    assert_eq!(world.trusted(DESKTOP).len(), 1);
}

/// D11: a log of everything that passes holds no code.
#[test]
fn nothing_that_prints_holds_the_code() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let code = code_of(&opened);
    world.join(PHONE, &typed(wrong(&code)));
    world.join(PHONE, &typed(code.as_str()));
    let pairing = asked(&world, DESKTOP).unwrap();
    world.answer(DESKTOP, pairing, Verdict::Kin).unwrap();
    let printed = world.printed();
    let plain = code.replace('-', "");
    let sent = plain.bytes().skip(2).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    for secret in [code.as_str(), &plain, &plain[4..], &sent] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(!format!("{opened:?}").contains(&plain[4..]));
}
