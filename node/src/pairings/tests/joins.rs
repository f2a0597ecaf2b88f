//! Looking for the device that shows the code.

use super::*;

/// S13: with an address, discovery is not needed and nobody else is asked.
#[test]
fn a_typed_address_is_the_only_one_that_is_dialled() {
    let mut world = World::new(3);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.set_announced(DESKTOP, false);
    let addr = Some(opened.addresses[0].clone());
    world.join(PHONE, &PairJoin { addr, ..typed(code_of(&opened)) });
    assert_matches!(world.events(PHONE).first(), Some(Event::Found { path, .. }) if path == "address");
    assert_eq!(world.dials(PHONE), 1);
    world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
}

#[test]
fn a_typed_address_where_nobody_is_fails_at_once() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let join = |addr: &str| PairJoin { addr: Some(addr.to_owned()), ..typed(code_of(&opened)) };
    world.join(PHONE, &join("192.168.1.99"));
    let failed = failure(&world, PHONE);
    assert_eq!((failed.kind, failed.exit_code()), (Kind::Unreachable, 5));
    assert!(failed.message.contains("/ip4/192.168.1.99/tcp/7842"), "{}", failed.message);
    assert_eq!(world.try_join(PHONE, &join("desktop")).unwrap_err().kind, Kind::BadAddress);
}

#[test]
fn a_typed_address_of_a_device_without_the_code_says_so() {
    let mut world = World::new(3);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let addr = Some(world.address(LAPTOP).to_string());
    world.join(PHONE, &PairJoin { addr, ..typed(code_of(&opened)) });
    let failed = failure(&world, PHONE);
    assert_eq!(failed.kind, Kind::Unreachable);
    assert!(failed.message.contains("shows no such code"), "{}", failed.message);
}

#[test]
fn a_ticket_pairs_with_its_device_and_no_other() {
    let mut world = World::new(3);
    let opened = world.open(DESKTOP, &PairOpen::default());
    // Somebody else at the desktop's place cannot take the part.
    let ticket = opened.ticket.reveal().to_owned();
    world.set_announced(DESKTOP, false);
    world.join(PHONE, &typed(ticket.as_str()));
    assert_eq!((world.dials(PHONE), world.asked(PHONE)), (1, 4), "nobody else was asked");
    world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));

    let mut world = World::new(3);
    let elsewhere = world.open(DESKTOP, &PairOpen::default());
    assert_eq!(elsewhere.ticket.reveal(), ticket, "the same world again");
    world.set_online(DESKTOP, false);
    world.open(LAPTOP, &PairOpen::default());
    world.join(PHONE, &typed(ticket.as_str()));
    world.pass(seconds(9));
    assert_eq!(failure(&world, PHONE).kind, Kind::Unreachable);
    assert_eq!(world.asked(PHONE), 0);
    assert_eq!(world.try_join(DESKTOP, &typed(ticket)).unwrap_err().kind, Kind::BadCode);
}

#[test]
fn a_ticket_with_an_address_of_another_device_is_refused() {
    let mut world = World::new(3);
    let opened = world.open(DESKTOP, &PairOpen::default());
    let laptop = format!("{}/p2p/{}", world.address(LAPTOP), crate::identity::peer_id(&world.id(LAPTOP)));
    let join = PairJoin { addr: Some(laptop), ..typed(opened.ticket.reveal()) };
    assert_eq!(world.try_join(PHONE, &join).unwrap_err().kind, Kind::BadAddress);
}

/// I6: where the other machine finds this one, without what only it can reach.
#[test]
fn an_open_code_comes_with_addresses_that_others_can_dial() {
    let mut world = World::new(1);
    let opened = world.open(DESKTOP, &PairOpen::default());
    assert_eq!(opened.addresses, [world.address(DESKTOP).to_string()]);
}

#[test]
fn a_code_that_cannot_be_one_is_refused_before_anything_is_sent() {
    let mut world = World::new(2);
    for text in ["", "BCDF", "AAAA-1111", "BCDF-78421", "kinsync://pair#zz", "kinsync:nonsense"] {
        let failed = world.try_join(PHONE, &typed(text)).unwrap_err();
        assert_eq!((failed.kind, failed.exit_code()), (Kind::BadCode, 2), "{text}");
        assert!(text.is_empty() || !failed.message.contains(text));
    }
    assert_eq!(world.window(PHONE), Window::default());
}

/// CLI transcript: what was checked, why probably, what to try.
#[test]
fn where_nobody_is_the_message_says_what_was_checked() {
    let mut world = World::new(1);
    world.join(0, &typed("TTXX-1111"));
    world.pass(seconds(7));
    assert_eq!(world.events(0), []);
    world.pass(seconds(1));
    let failed = failure(&world, 0);
    assert_eq!((failed.kind, failed.exit_code()), (Kind::Unreachable, 5));
    assert_eq!(
        failed.message,
        "No device answers on this network. Checked: mDNS (no replies in 8 s), 2 interfaces."
    );
    let hint = failed.hint.unwrap();
    assert!(hint.contains("--addr") && hint.contains("kinsync doctor") && !hint.contains("TTXX"), "{hint}");
    assert_eq!(world.window(0), Window::default());
}

/// L18: a code with another beginning costs no try.
#[test]
fn a_code_that_begins_differently_is_wrong_and_costs_nothing() {
    let mut world = World::new(2);
    let code = code_of(&world.open(DESKTOP, &PairOpen::default()));
    let first = if code.starts_with('B') { 'C' } else { 'B' };
    world.join(PHONE, &typed(format!("{first}{}", &code[1..])));
    world.pass(seconds(9));
    let failed = failure(&world, PHONE);
    assert_eq!((failed.kind, failed.tries_left), (Kind::WrongCode, None));
    assert_eq!(world.events(DESKTOP), []);
}

#[test]
fn a_code_entered_on_the_device_that_shows_it_is_explained() {
    let mut world = World::new(2);
    let code = code_of(&world.open(DESKTOP, &PairOpen::default()));
    world.join(DESKTOP, &typed(code));
    world.pass(seconds(9));
    let failed = failure(&world, DESKTOP);
    assert!(failed.hint.unwrap().contains("on the other device"));
}

#[test]
fn the_host_is_found_among_foreign_devices() {
    let mut world = World::new(12);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    assert!(asked(&world, DESKTOP).is_some());
    assert_eq!(world.links(PHONE), 1, "the others were let go of");
}

/// Security §3.6: at most 16 of the devices that are seen are tried.
#[test]
fn of_many_foreign_devices_sixteen_are_tried_once_each() {
    let mut world = World::new(22);
    world.set_announced(DESKTOP, false);
    world.join(PHONE, &typed("TTXX-1111"));
    world.pass(seconds(10));
    assert_eq!(world.dials(PHONE), 16);
    assert_eq!(world.asked(PHONE), 16);
    let failed = failure(&world, PHONE);
    assert!(failed.message.contains("20 devices, 16 reached"), "{}", failed.message);
    assert_eq!((world.links(PHONE), world.window(PHONE)), (0, Window::default()));
}

/// Four at a time: dials and questions together.
#[test]
fn at_most_four_are_tried_at_the_same_time() {
    let mut pairings: Pairings<()> = Pairings::new(Box::new(|bytes| bytes.fill(7)));
    let now = Now { passed: seconds(1), wall: Moment(0) };
    let key = SigningKey::from_bytes(&[1; 32]);
    let around = Surroundings { mdns: true, interfaces: 1, renewable: true };
    let me = Me { key, card: Card::default() };
    pairings.join(1, &typed("KXNR-7842"), me, around, now).unwrap();
    for name in 10..20 {
        let device = DeviceId([name; 32]);
        let address: Multiaddr = format!("/ip4/10.0.0.{name}/tcp/1").parse().unwrap();
        let place = Place::told(&address, &device).unwrap();
        for _ in 0..3 {
            pairings.handle_found(device, &place, Standing::Stranger, now);
        }
    }
    let outputs: Vec<_> = std::iter::from_fn(|| pairings.poll()).collect();
    assert_matches!(&outputs[..2], [Output::Window(Window { joining: true, .. }), Output::Rescan]);
    let dials: BTreeMap<_, _> = outputs.iter().filter_map(dialled).collect();
    assert_eq!((outputs.len(), dials.len()), (6, 4));
    let (dial, device) = dials.first_key_value().unwrap();
    pairings.handle_connected(*device, Standing::Stranger, Some(*dial), now);
    assert_matches!(pairings.poll(), Some(Output::Ask { device: asked, .. }) if asked == *device);
    assert!(pairings.poll().is_none(), "a question holds the place of the dial");
    let (dial, _) = dials.last_key_value().unwrap();
    pairings.handle_unreachable(*dial, now);
    assert_matches!(pairings.poll(), Some(Output::Dial { .. }));
}

fn dialled(output: &Output<()>) -> Option<(DialId, DeviceId)> {
    match output {
        Output::Dial { dial, device: Some(device), .. } => Some((*dial, *device)),
        _ => None,
    }
}

#[test]
fn a_device_that_appears_while_the_search_is_on_is_tried() {
    let mut world = World::new(2);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.set_online(DESKTOP, false);
    world.join(PHONE, &typed(code_of(&opened)));
    world.pass(seconds(5));
    world.set_online(DESKTOP, true);
    world.announce(DESKTOP);
    assert!(asked(&world, DESKTOP).is_some());
}

/// A trusted device that has forgotten this one can pair again.
#[test]
fn a_device_that_is_trusted_and_connected_is_asked_too() {
    let mut world = World::new(3);
    world.set_trust(PHONE, DESKTOP, Standing::Kin);
    world.set_trust(PHONE, LAPTOP, Standing::Kin);
    world.set_trust(LAPTOP, PHONE, Standing::Kin);
    world.connect(PHONE, LAPTOP);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
    assert_eq!(world.trusted(DESKTOP), [(world.id(PHONE), Standing::Kin)]);
    assert_eq!(world.links(PHONE), 2, "trusted devices stay connected");
}

/// P33, security §4.4: a removed device comes back under a new key, with the
/// same code and without a try.
#[test]
fn a_removed_device_pairs_again_with_a_new_key() {
    let mut world = World::new(2);
    let old = world.id(PHONE);
    world.set_trust(DESKTOP, PHONE, Standing::Revoked);
    world.set_trust(PHONE, DESKTOP, Standing::Kin);
    world.set_renewable(PHONE, false);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    assert_ne!(world.id(PHONE), old);
    world.answer(DESKTOP, opened.pairing, Verdict::Kin).unwrap();
    assert_eq!(role(&world, PHONE), Some(Role::Kin));
    let expected = BTreeMap::from([(old, Standing::Revoked), (world.id(PHONE), Standing::Kin)]);
    assert_eq!(world.trusted(DESKTOP), expected.into_iter().collect::<Vec<_>>());
    assert!(!world.events(DESKTOP).iter().any(|event| matches!(event, Event::Warning(_))), "no try");
}

/// Anybody on the network can say that a key is dead; it must not cost the
/// trust of all others.
#[test]
fn a_stranger_cannot_talk_a_device_out_of_its_key() {
    let mut world = World::new(3);
    let old = world.id(PHONE);
    world.set_trust(PHONE, LAPTOP, Standing::Kin);
    world.set_trust(DESKTOP, PHONE, Standing::Revoked);
    world.set_renewable(PHONE, false);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    world.pass(seconds(10));
    assert_eq!(world.id(PHONE), old);
    let failed = failure(&world, PHONE);
    assert_eq!((failed.kind, failed.exit_code()), (Kind::Revoked, 4));
    assert_eq!(world.trusted(PHONE), [(world.id(LAPTOP), Standing::Kin)]);
}

#[test]
fn a_key_is_renewed_once_and_other_codes_end_with_it() {
    let mut pairings: Pairings<()> = Pairings::new(Box::new(|bytes| bytes.fill(7)));
    let now = Now { passed: seconds(1), wall: Moment(0) };
    let me = |name| Me { key: SigningKey::from_bytes(&[name; 32]), card: Card::default() };
    let around = Surroundings { mdns: true, interfaces: 1, renewable: true };
    let host = DeviceId([9; 32]);
    pairings.open(1, &PairOpen::default(), me(1), &[], now).unwrap();
    let addr = Some("10.0.0.9".to_owned());
    pairings.join(2, &PairJoin { addr, ..typed("KXNR-7842") }, me(1), around, now).unwrap();
    let refusal = Response::Refuse { refusal: Refusal::KeyRevoked, tries_left: None }.encode();
    let mut renewed = 0;
    let mut events = Vec::new();
    while let Some(output) = pairings.poll() {
        match output {
            Output::Dial { dial, .. } => pairings.handle_connected(host, Standing::Stranger, Some(dial), now),
            Output::Ask { ask, .. } => pairings.handle_response(ask, Ok(refusal.clone()), now),
            Output::RenewKey { id: 2 } => {
                renewed += 1;
                pairings.handle_renewed(2, Ok(me(2)), now);
            }
            Output::Emit(event) => events.push(event),
            _ => {}
        }
    }
    assert_eq!(renewed, 1);
    assert_matches!(&events[..], [
        Event::Failed { pairing: 1, failure: open },
        Event::Failed { pairing: 2, failure: typed },
    ] if open.kind == Kind::CodeVoid && typed.kind == Kind::Revoked);
}

#[test]
fn a_host_that_was_removed_here_is_named() {
    let mut world = World::new(2);
    world.set_trust(PHONE, DESKTOP, Standing::Revoked);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    let failed = failure(&world, PHONE);
    assert_eq!(failed.kind, Kind::Revoked);
    assert!(failed.message.contains(&world.id(DESKTOP).short()));
}

#[test]
fn a_device_that_was_removed_here_is_told_so_by_its_own_code() {
    let mut world = World::new(2);
    world.set_trust(DESKTOP, PHONE, Standing::Retired);
    let opened = world.open(DESKTOP, &PairOpen::default());
    world.join(PHONE, &typed(code_of(&opened)));
    assert!(asked(&world, DESKTOP).is_some(), "under its new key");
}

#[test]
fn four_codes_can_be_looked_for_at_once() {
    let mut world = World::new(1);
    for _ in 0..JOINS_MAX {
        world.join(DESKTOP, &typed("KXNR-7842"));
    }
    assert_eq!(world.try_join(DESKTOP, &typed("KXNR-7842")).unwrap_err().kind, Kind::Busy);
}
