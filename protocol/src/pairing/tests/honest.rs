//! Pairings in which nobody cheats.

use super::*;

/// S13: after the code was typed, both devices are paired.
#[test]
fn the_right_code_pairs_both() {
    let mut lan = Lan::new(CODE, "kxnr 7B42");
    lan.run();
    let (host, joiner) = (lan.trusted().unwrap(), lan.paired().unwrap());
    assert_eq!((host.device, host.role), (id(PHONE), Role::Kin));
    assert_eq!((joiner.device, joiner.role), (id(DESKTOP), Role::Kin));
    assert_eq!(lan.closing(), Some(Closing::Paired));
    assert_eq!(lan.joiner_outputs.last(), Some(&joiner::Output::Finished));
    assert!(lan.guesses().is_empty());
    assert!(!lan.host.is_open());
}

/// D11: both screens show the same number.
#[test]
fn both_screens_show_the_same_number() {
    for seed in 0..20 {
        let now = Duration::ZERO;
        let mut lan = Lan::between(open_host(CODE, now), joiner(PHONE, CODE, now), seed);
        lan.run();
        let (host, joiner) = lan.checks();
        assert!(host.is_some());
        assert_eq!(host, joiner);
    }
}

/// I14: the prompt shows who wants in; S11: with the label.
#[test]
fn each_side_learns_the_others_card() {
    let mut lan = Lan::new(CODE, CODE);
    lan.run();
    assert_eq!(lan.trusted().unwrap().card, card("phone"));
    assert_eq!(lan.paired().unwrap().card, card("desktop"));
}

/// Each side holds the other's signed word, bound to this run.
#[test]
fn kin_vouch_for_each_other() {
    let mut lan = Lan::new(CODE, CODE);
    lan.run();
    let joiner = lan.paired().unwrap();
    let by_host = joiner.theirs.unwrap().signed().verify().unwrap();
    assert_eq!((by_host.by, by_host.subject), (id(DESKTOP), id(PHONE)));
    assert_eq!((by_host.label.as_str(), by_host.at), ("phone", AT));
    let by_joiner = joiner.ours.clone().unwrap().signed().verify().unwrap();
    assert_eq!((by_joiner.by, by_joiner.subject), (id(PHONE), id(DESKTOP)));
    assert_eq!(by_host.run, by_joiner.run);
    assert_ne!(*by_host.run, [0; 16]);
    let confirmed = lan.host_outputs.iter().find_map(|output| match output {
        host::Output::Confirmed { device, role, statement } => Some((*device, *role, statement.clone())),
        _ => None,
    });
    assert_eq!(confirmed, Some((id(PHONE), Role::Kin, joiner.ours)));
}

/// L10: nobody is trusted before the person has answered.
#[test]
fn the_joiner_waits_for_the_person() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), None);
    lan.now = seconds(119);
    lan.host.handle_answer(Verdict::Kin, AT, lan.now).unwrap();
    lan.settle();
    assert!(lan.trusted().is_some() && lan.paired().is_some());
}

#[test]
fn a_no_stores_nothing_whether_it_comes_early_or_late() {
    let mut early = Lan::new(CODE, CODE);
    early.answer = Some(Verdict::Reject);
    early.run();
    let mut late = Lan::new(CODE, CODE);
    late.answer = None;
    late.run();
    late.host.handle_answer(Verdict::Reject, AT, seconds(60)).unwrap();
    late.settle();
    for lan in [early, late] {
        lan.assert_nothing_stored();
        assert_eq!(lan.failure(), Some(Failure::Rejected));
        assert_eq!(lan.closing(), Some(Closing::Rejected));
    }
}

#[test]
fn silence_is_a_no() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    assert_eq!(lan.host.deadline(), Some(ANSWER_TIME_MAX));
    lan.host.handle_timeout(ANSWER_TIME_MAX);
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), Some(Failure::Rejected));
}

#[test]
fn a_late_yes_trusts_nobody() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    lan.host.handle_answer(Verdict::Kin, AT, ANSWER_TIME_MAX).unwrap();
    lan.settle();
    lan.assert_nothing_stored();
}

#[test]
fn a_joiner_that_leaves_while_the_person_thinks_is_not_trusted() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    lan.host.handle_disconnect(id(LAPTOP));
    assert!(lan.host.is_open());
    lan.host.handle_disconnect(id(PHONE));
    lan.host.handle_answer(Verdict::Kin, AT, seconds(1)).unwrap();
    lan.joiner.handle_failure(id(DESKTOP), seconds(1));
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!(lan.closing(), Some(Closing::GuestLeft));
    assert_eq!(lan.failure(), Some(Failure::Lost));
}

#[test]
fn a_yes_that_the_joiner_never_asks_for_trusts_nobody() {
    let mut lan = Lan::new(CODE, CODE);
    lan.on_request = Box::new(|request| {
        if let Request::Await(wait) = request {
            wait.run = RunId::new([0; 16]);
        }
    });
    lan.run();
    lan.host.handle_timeout(STEP_TIME_MAX);
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!(lan.closing(), Some(Closing::GuestLeft));
}

#[test]
fn the_weaker_of_both_wishes_counts_on_both_sides() {
    let now = Duration::ZERO;
    let guest = |domains: Option<&str>| Verdict::Guest { domains: domains.map(|name| vec![name.to_owned()]) };
    let once = Verdict::Once { seconds: 60, domains: None };
    let cases = [
        (Verdict::Kin, Role::Guest, Role::Guest, None),
        (Verdict::Kin, Role::Once, Role::Once, None),
        (guest(Some("notes")), Role::Kin, Role::Guest, Some("notes")),
        (guest(Some("notes")), Role::Once, Role::Once, Some("notes")),
        (guest(None), Role::Guest, Role::Guest, None),
        (once, Role::Kin, Role::Once, None),
    ];
    for (verdict, wish, role, domain) in cases {
        let code = Code::parse(CODE).unwrap();
        let joiner = Joiner::new(key(PHONE), &card("phone"), code, wish, None, now);
        let mut lan = Lan::between(open_host(CODE, now), joiner, 3);
        lan.answer = Some(verdict);
        lan.run();
        let domains = domain.map(|name| vec![name.to_owned()]);
        for side in [lan.trusted().unwrap(), lan.paired().unwrap()] {
            assert_eq!((side.role, &side.domains), (role, &domains));
            assert!(side.ours.is_none() && side.theirs.is_none(), "only kin vouch");
        }
        assert_eq!(lan.closing(), Some(Closing::Paired));
    }
}

#[test]
fn a_joiner_that_takes_less_in_the_end_lowers_the_hosts_row() {
    let mut lan = Lan::new(CODE, CODE);
    lan.on_request = Box::new(|request| {
        if let Request::Ack(ack) = request {
            (ack.role, ack.statement) = (Role::Guest, None);
        }
    });
    lan.run();
    let confirmed = lan
        .host_outputs
        .iter()
        .any(|output| matches!(output, host::Output::Confirmed { role: Role::Guest, statement: None, .. }));
    assert!(confirmed);
}

/// A lost acknowledgement is cured by pairing again; trust stands on both sides.
#[test]
fn a_lost_acknowledgement_closes_the_window_all_the_same() {
    let mut lan = Lan::new(CODE, CODE);
    lan.on_request = Box::new(|request| {
        if let Request::Ack(ack) = request {
            ack.run = RunId::new([0; 16]);
        }
    });
    lan.run();
    assert!(lan.trusted().is_some() && lan.paired().is_some());
    assert_eq!(lan.joiner_outputs.last(), Some(&joiner::Output::Finished));
    assert_eq!(lan.host.deadline(), Some(STEP_TIME_MAX));
    lan.host.handle_timeout(STEP_TIME_MAX);
    lan.settle();
    assert_eq!(lan.closing(), Some(Closing::Paired));
}

/// A code that was opened at zero and is typed later.
fn typed_at(now: Duration) -> Lan {
    let mut lan = Lan::between(open_host(CODE, Duration::ZERO), joiner(PHONE, CODE, now), 2);
    lan.now = now;
    lan
}

/// S12: an expired code is refused with "expired".
#[test]
fn an_expired_code_says_so() {
    let mut lan = typed_at(LIFETIME);
    lan.run();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), Some(Failure::Expired));
    assert_eq!(lan.closing(), Some(Closing::Expired));
    let mut lan = typed_at(LIFETIME - Duration::from_millis(1));
    lan.run();
    assert!(lan.trusted().is_some());
}

#[test]
fn a_code_that_expires_while_the_person_thinks_still_pairs() {
    let mut lan = typed_at(LIFETIME - seconds(1));
    lan.answer = None;
    lan.run();
    lan.now = LIFETIME + seconds(60);
    lan.host.handle_timeout(lan.now);
    lan.host.handle_answer(Verdict::Kin, AT, lan.now).unwrap();
    lan.settle();
    assert!(lan.trusted().is_some());
}

#[test]
fn a_code_taken_back_is_unknown() {
    let mut lan = Lan::new(CODE, CODE);
    lan.host.handle_withdrawal();
    lan.run();
    lan.assert_nothing_stored();
    assert_eq!(lan.closing(), Some(Closing::Withdrawn));
    lan.joiner.handle_search_end(lan.now);
    lan.settle();
    assert_eq!(lan.failure(), Some(Failure::NoSuchCode));
}

/// A revoked device learns that it needs a new key, and no try is spent.
#[test]
fn a_revoked_joiner_is_told_and_pairs_with_a_new_key() {
    let mut random = seeded(5);
    let mut host = open_host(CODE, Duration::ZERO);
    for standing in [Standing::Revoked, Standing::Retired] {
        let mut old = joiner(PHONE, CODE, Duration::ZERO);
        old.handle_found(id(DESKTOP), Standing::Stranger, Duration::ZERO, &mut random);
        let hello = drain_joiner(&mut old).into_iter().find_map(|output| match output {
            joiner::Output::Send { request, .. } => Some(request),
            _ => None,
        });
        host.handle_request(id(PHONE), standing, RequestId(1), hello.unwrap(), Duration::ZERO, &mut random);
        let response = replies(&drain_host(&mut host)).remove(0);
        old.handle_response(id(DESKTOP), response, AT, Duration::ZERO, &mut random);
        let failure = Failure::KeyRevoked { host: id(DESKTOP) };
        assert_eq!(drain_joiner(&mut old), [joiner::Output::Failed { failure }]);
    }
    let mut lan = Lan::between(host, joiner(LAPTOP, CODE, Duration::ZERO), 6);
    lan.seen_by_host = id(LAPTOP);
    lan.run();
    assert!(lan.trusted().is_some());
    assert!(lan.guesses().is_empty());
}

#[test]
fn a_host_that_was_revoked_here_gets_no_share() {
    let mut lan = Lan::new(CODE, CODE);
    lan.joiner.handle_found(id(DESKTOP), Standing::Revoked, Duration::ZERO, &mut lan.random);
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), Some(Failure::HostRevoked { host: id(DESKTOP) }));
    assert_eq!(lan.recorded.len(), 1, "only the Hello went out");
}

/// Secrets never reach a log.
#[test]
fn machines_in_a_log_show_no_code() {
    let lan = Lan::new(CODE, CODE);
    let shown = format!("{:?} {:?}", lan.host, lan.joiner);
    assert!(!shown.contains("7842") && !shown.contains("NR"), "{shown}");
}
