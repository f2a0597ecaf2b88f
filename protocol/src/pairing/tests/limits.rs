//! Every limit of a pairing, at the limit.

use super::*;

fn hello(nonce: u8) -> Request {
    let nonce = ByteArray::new([nonce; 16]);
    Request::Hello(message::Hello { version: 1, nameplate: "KX".into(), nonce })
}

fn ask(host: &mut Host, from: u8, request: Request, now: Duration) -> Response {
    host.handle_request(
        id(from),
        Standing::Stranger,
        RequestId(0),
        request,
        now,
        &mut seeded(u64::from(from)),
    );
    replies(&drain_host(host)).remove(0)
}

fn share(from: u8, offer: &Response) -> Request {
    let Response::Offer(offer) = offer else { panic!("no offer") };
    let password = password(&Code::parse(WRONG).unwrap());
    let pake =
        pake::Pake::start(Side::Joiner, &password, id(from), id(DESKTOP), &mut seeded(u64::from(from)));
    Request::ShareJ(message::ShareJ { run: offer.run, share: ByteArray::new(*pake.share()) })
}

#[test]
fn a_fifth_run_takes_the_place_of_the_oldest_without_a_key() {
    let mut host = open_host(CODE, Duration::ZERO);
    let offers: Vec<_> = (10..14)
        .map(|from| (from, ask(&mut host, from, hello(from), seconds(u64::from(from) - 10))))
        .collect();
    assert_matches!(ask(&mut host, 20, hello(20), seconds(4)), Response::Offer(_));
    let answers: Vec<_> =
        offers.iter().map(|(from, offer)| ask(&mut host, *from, share(*from, offer), seconds(5))).collect();
    assert_matches!(answers[0], Response::Refuse { refusal: Refusal::BadMessage, .. });
    assert!(answers[1..].iter().all(|answer| matches!(answer, Response::ShareH(_))));
}

#[test]
fn with_four_runs_at_work_a_fifth_finds_the_host_busy_until_one_is_over() {
    let mut host = open_host(CODE, Duration::ZERO);
    for from in 10..14 {
        let offer = ask(&mut host, from, hello(from), Duration::ZERO);
        assert_matches!(ask(&mut host, from, share(from, &offer), seconds(1)), Response::ShareH(_));
    }
    let busy = Response::Refuse { refusal: Refusal::Busy, tries_left: None };
    assert_eq!(ask(&mut host, 20, hello(20), seconds(2)), busy);
    assert_eq!(host.deadline(), Some(seconds(1) + STEP_TIME_MAX));
    assert_matches!(ask(&mut host, 20, hello(20), seconds(1) + STEP_TIME_MAX), Response::Offer(_));
}

#[test]
fn a_step_in_time_is_taken_and_a_late_one_ends_the_run() {
    for (after, taken) in [(STEP_TIME_MAX - Duration::from_millis(1), true), (STEP_TIME_MAX, false)] {
        let mut host = open_host(CODE, Duration::ZERO);
        let offer = ask(&mut host, 10, hello(1), Duration::ZERO);
        let answer = ask(&mut host, 10, share(10, &offer), after);
        assert_eq!(matches!(answer, Response::ShareH(_)), taken);
    }
}

#[test]
fn a_lifetime_is_brought_within_its_limits() {
    let expiry = |lifetime| {
        let code = Code::parse(CODE).unwrap();
        Host::new(key(DESKTOP), &card("desktop"), code, lifetime, seconds(7)).expires_at()
    };
    assert_eq!(expiry(seconds(1)), seconds(7) + LIFETIME_MIN);
    assert_eq!(expiry(seconds(90)), seconds(97));
    assert_eq!(expiry(seconds(100_000)), seconds(7) + LIFETIME_MAX);
}

#[test]
fn a_hello_of_another_version_is_told_so() {
    let mut host = open_host(CODE, Duration::ZERO);
    let hello = message::Hello { version: 2, nameplate: "KX".into(), nonce: ByteArray::new([0; 16]) };
    let answer = ask(&mut host, 10, Request::Hello(hello), Duration::ZERO);
    assert_eq!(answer, Response::Refuse { refusal: Refusal::Version, tries_left: None });
}

#[test]
fn a_verdict_beyond_what_a_message_can_say_is_not_given() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    let too_long = Verdict::Once { seconds: ONCE_SECONDS_MAX + 1, domains: None };
    assert_eq!(lan.host.handle_answer(too_long, AT, lan.now), Err(VerdictError::Seconds));
    let too_many = Verdict::Guest { domains: Some(vec![String::new(); GUEST_DOMAINS_MAX + 1]) };
    assert_eq!(lan.host.handle_answer(too_many, AT, lan.now), Err(VerdictError::Domains));
    let all = Verdict::Guest { domains: Some(vec![String::new(); GUEST_DOMAINS_MAX]) };
    lan.host.handle_answer(all, AT, lan.now).unwrap();
    lan.settle();
    assert!(lan.trusted().is_some());
}

fn sends(outputs: &[joiner::Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, joiner::Output::Send { .. })).count()
}

/// One typed code is proven to three devices at most, however many claim to
/// show it.
#[test]
fn fake_hosts_get_three_guesses_at_a_typed_code() {
    let mut joiner = joiner(PHONE, CODE, Duration::ZERO);
    let mut random = seeded(4);
    let mut fakes: Vec<_> = (20..26)
        .map(|name| {
            let host =
                Host::new(key(name), &card("desktop"), Code::parse(WRONG).unwrap(), LIFETIME, Duration::ZERO);
            joiner.handle_found(id(name), Standing::Stranger, Duration::ZERO, &mut random);
            (id(name), host)
        })
        .collect();
    let (mut proofs, mut failure) = (0, None);
    for _ in 0..100 {
        for output in drain_joiner(&mut joiner) {
            match output {
                joiner::Output::Send { to, request } => {
                    let proof = matches!(request, Request::ConfirmJ(_));
                    proofs += usize::from(proof);
                    let (_, fake) = fakes.iter_mut().find(|(name, _)| *name == to).unwrap();
                    fake.handle_request(
                        id(PHONE),
                        Standing::Stranger,
                        RequestId(0),
                        request,
                        Duration::ZERO,
                        &mut random,
                    );
                    let response = if proof {
                        // An honest host would say "wrong"; a fake one bluffs.
                        Response::ConfirmH(message::ConfirmH {
                            proof: ByteArray::new([0; 32]),
                            card: Default::default(),
                            signature: ByteArray::new([0; 64]),
                        })
                    } else {
                        replies(&drain_host(fake)).remove(0)
                    };
                    joiner.handle_response(to, response, AT, Duration::ZERO, &mut random);
                }
                joiner::Output::Failed { failure: found } => failure = Some(found),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((proofs, failure), (3, Some(Failure::NotThatDevice)));
}

/// A device that answers first without knowing the code does not stop the
/// right one from being found.
#[test]
fn the_right_host_is_found_behind_a_wrong_one() {
    let mut lan = Lan::new(CODE, CODE);
    lan.joiner.handle_found(id(STRANGER), Standing::Stranger, Duration::ZERO, &mut lan.random);
    let offer =
        message::Offer { run: RunId::new([1; 16]), commit: ByteArray::new([1; 32]), seconds_left: 60 };
    lan.joiner.handle_response(id(STRANGER), Response::Offer(offer), AT, Duration::ZERO, &mut lan.random);
    lan.run();
    assert_eq!(lan.paired(), None);
    lan.joiner.handle_failure(id(STRANGER), Duration::ZERO);
    lan.settle();
    assert!(lan.paired().is_some());
}

#[test]
fn sixteen_devices_are_asked_four_at_a_time() {
    let mut joiner = joiner(PHONE, CODE, Duration::ZERO);
    let mut random = seeded(5);
    for name in 20..40 {
        for _ in 0..8 {
            // However often a device is found, it is asked once.
            joiner.handle_found(id(name), Standing::Stranger, Duration::ZERO, &mut random);
        }
    }
    let mut asked = Vec::new();
    loop {
        let outputs = drain_joiner(&mut joiner);
        assert!(sends(&outputs) <= HELLOS_AT_ONCE);
        let before = asked.len();
        asked.extend(outputs.iter().filter_map(|output| match output {
            joiner::Output::Send { to, .. } => Some(*to),
            _ => None,
        }));
        if asked.len() == before {
            break;
        }
        for host in asked[before..].iter().copied() {
            joiner.handle_failure(host, Duration::ZERO);
        }
    }
    assert_eq!(asked.len(), joiner::CANDIDATES_MAX);
}

const HELLOS_AT_ONCE: usize = joiner::HELLOS_MAX;

#[test]
fn a_ticket_names_the_only_device_that_is_asked() {
    let code = Code::parse(CODE).unwrap();
    let only = Some(id(DESKTOP));
    let mut joiner = Joiner::new(key(PHONE), &card("phone"), code, Role::Kin, only, Duration::ZERO);
    joiner.handle_found(id(STRANGER), Standing::Stranger, Duration::ZERO, &mut seeded(6));
    assert!(drain_joiner(&mut joiner).is_empty());
    joiner.handle_found(id(DESKTOP), Standing::Stranger, Duration::ZERO, &mut seeded(6));
    assert_eq!(sends(&drain_joiner(&mut joiner)), 1);
    joiner.handle_failure(id(DESKTOP), seconds(1));
    assert_eq!(drain_joiner(&mut joiner), [joiner::Output::Failed { failure: Failure::NobodyAnswered }]);
}

#[test]
fn a_search_that_finds_nobody_ends() {
    let mut joiner = joiner(PHONE, CODE, Duration::ZERO);
    assert_eq!(joiner.deadline(), Some(joiner::SEARCH_TIME_MAX));
    joiner.handle_timeout(joiner::SEARCH_TIME_MAX - Duration::from_millis(1));
    assert_eq!(joiner.poll(), None);
    joiner.handle_timeout(joiner::SEARCH_TIME_MAX);
    assert_eq!(joiner.poll(), Some(joiner::Output::Failed { failure: Failure::NobodyAnswered }));
    assert_eq!(joiner.deadline(), None);
}

#[test]
fn a_host_that_stops_answering_does_not_hold_the_joiner() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.run();
    let patience = ANSWER_TIME_MAX + STEP_TIME_MAX;
    assert_eq!(lan.joiner.deadline(), Some(patience));
    lan.joiner.handle_timeout(patience);
    lan.settle();
    assert_eq!(lan.failure(), Some(Failure::Lost));
}
