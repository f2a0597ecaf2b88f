//! Attacks on a pairing; none may end in trust.

use super::*;

/// A device that speaks to a host directly, step by step.
struct Attacker {
    name: u8,
    joiner: Joiner,
    random: Box<Random<'static>>,
}

impl Attacker {
    fn new(name: u8, code: &str, seed: u64) -> Self {
        Self { name, joiner: joiner(name, code, Duration::ZERO), random: Box::new(seeded(seed)) }
    }

    /// The next request that it would send.
    fn next(&mut self) -> Option<Request> {
        drain_joiner(&mut self.joiner).into_iter().find_map(|output| match output {
            joiner::Output::Send { request, .. } => Some(request),
            _ => None,
        })
    }

    fn hello(&mut self) -> Request {
        self.joiner.handle_found(id(DESKTOP), Standing::Stranger, Duration::ZERO, &mut self.random);
        self.next().unwrap()
    }

    /// Sends to the host and takes the answer in.
    fn send(&mut self, host: &mut Host, request: Request, now: Duration) -> Response {
        host.handle_request(id(self.name), Standing::Stranger, RequestId(0), request, now, &mut self.random);
        let mut outputs = drain_host(host);
        let response = replies(&outputs).remove(0);
        outputs.clear();
        self.joiner.handle_response(id(DESKTOP), response.clone(), AT, now, &mut self.random);
        response
    }

    /// Goes through until the proof is ready to be sent.
    fn prepare(&mut self, host: &mut Host) -> Request {
        let hello = self.hello();
        self.send(host, hello, Duration::ZERO);
        let share = self.next().unwrap();
        self.send(host, share, Duration::ZERO);
        self.next().unwrap()
    }

    fn guess(&mut self, host: &mut Host) -> Response {
        let proof = self.prepare(host);
        self.send(host, proof, Duration::ZERO)
    }
}

fn refused(refusal: Refusal) -> Response {
    Response::Refuse { refusal, tries_left: None }
}

fn wrong(left: u8) -> Response {
    Response::Refuse { refusal: Refusal::Wrong, tries_left: Some(left) }
}

/// L18: after a wrong code nothing is transferred and the host waits on.
#[test]
fn a_wrong_code_costs_one_try_and_leaves_the_window_open() {
    let mut lan = Lan::new(CODE, WRONG);
    lan.run();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), Some(Failure::WrongCode { tries_left: 2 }));
    assert_eq!(lan.guesses(), [2]);
    assert!(lan.host.is_open());
    let mut again = Lan::between(lan.host, joiner(PHONE, CODE, Duration::ZERO), 7);
    again.run();
    assert!(again.trusted().is_some());
}

/// D11: three wrong tries void the code; the right one on try four is refused.
#[test]
fn after_three_wrong_codes_the_right_one_is_refused() {
    let mut host = open_host(CODE, Duration::ZERO);
    for left in [2, 1, 0] {
        assert_eq!(Attacker::new(STRANGER, WRONG, 10 + u64::from(left)).guess(&mut host), wrong(left));
    }
    assert!(!host.is_open());
    let mut right = Attacker::new(PHONE, CODE, 20);
    let hello = right.hello();
    assert_eq!(right.send(&mut host, hello, Duration::ZERO), refused(Refusal::Burned));
}

/// D11: guesses in parallel are counted like guesses in turn.
#[test]
fn of_four_guesses_at_once_three_count_and_the_fourth_is_burned() {
    let mut host = open_host(CODE, Duration::ZERO);
    let mut runs: Vec<_> = (0..4).map(|n| Attacker::new(STRANGER + n, WRONG, 30 + u64::from(n))).collect();
    let proofs: Vec<_> = runs.iter_mut().map(|run| run.prepare(&mut host)).collect();
    let answers: Vec<_> =
        runs.iter_mut().zip(proofs).map(|(run, proof)| run.send(&mut host, proof, Duration::ZERO)).collect();
    assert_eq!(answers, [wrong(2), wrong(1), wrong(0), refused(Refusal::Burned)]);
}

/// The right proof, prepared before the code was burned, comes too late.
#[test]
fn a_right_proof_in_flight_dies_with_the_window() {
    let mut host = open_host(CODE, Duration::ZERO);
    let mut right = Attacker::new(PHONE, CODE, 40);
    let proof = right.prepare(&mut host);
    for seed in 0..3 {
        Attacker::new(STRANGER, WRONG, 41 + seed).guess(&mut host);
    }
    assert_eq!(right.send(&mut host, proof, Duration::ZERO), refused(Refusal::Burned));
}

/// Shares carry no information about the code, so aborting is free.
#[test]
fn fifty_aborted_runs_cost_nothing() {
    let mut host = open_host(CODE, Duration::ZERO);
    for seed in 0..50 {
        let mut run = Attacker::new(STRANGER, WRONG, 100 + seed);
        run.prepare(&mut host);
        host.handle_disconnect(id(STRANGER));
    }
    let mut lan = Lan::between(host, joiner(PHONE, CODE, Duration::ZERO), 8);
    lan.run();
    assert!(lan.trusted().is_some() && lan.guesses().is_empty());
}

#[test]
fn another_nameplate_costs_nothing() {
    let mut lan = Lan::new(CODE, "ZZNR-7842");
    lan.run();
    lan.joiner.handle_search_end(lan.now);
    lan.settle();
    assert_eq!(lan.failure(), Some(Failure::NoSuchCode));
    assert!(lan.guesses().is_empty() && lan.host.is_open());
    assert_eq!(lan.recorded.len(), 1);
}

/// A proof can be tried once: the run is gone with it.
#[test]
fn a_proof_cannot_be_tried_twice() {
    let mut host = open_host(CODE, Duration::ZERO);
    let mut guesser = Attacker::new(STRANGER, WRONG, 50);
    let proof = guesser.prepare(&mut host);
    assert_eq!(guesser.send(&mut host, proof.clone(), Duration::ZERO), wrong(2));
    assert_eq!(guesser.send(&mut host, proof, Duration::ZERO), refused(Refusal::BadMessage));
}

/// A relay that puts its own identity in between fails on both sides.
#[test]
fn a_relay_with_its_own_key_pairs_nobody() {
    for (seen_by_host, seen_by_joiner) in [(STRANGER, STRANGER), (STRANGER, DESKTOP), (PHONE, STRANGER)] {
        let mut lan = Lan::new(CODE, CODE);
        (lan.seen_by_host, lan.seen_by_joiner) = (id(seen_by_host), id(seen_by_joiner));
        lan.run();
        lan.assert_nothing_stored();
        assert_eq!(lan.guesses(), [2]);
        assert_eq!(lan.checks(), (None, None));
    }
}

/// With the code overheard, a man in the middle pairs with both – and the
/// numbers on the two screens differ.
#[test]
fn an_overheard_code_never_makes_the_check_numbers_match() {
    for seed in 0..200 {
        let now = Duration::ZERO;
        let mut to_host = Lan::between(open_host(CODE, now), joiner(STRANGER, CODE, now), seed);
        (to_host.seen_by_host, to_host.answer) = (id(STRANGER), None);
        to_host.run();
        let fake = Host::new(key(STRANGER), &card("desktop"), Code::parse(CODE).unwrap(), LIFETIME, now);
        let mut to_joiner = Lan::between(fake, joiner(PHONE, CODE, now), 10_000 + seed);
        (to_joiner.seen_by_joiner, to_joiner.answer) = (id(STRANGER), None);
        to_joiner.run();
        let (on_desktop, on_phone) = (to_host.checks().0, to_joiner.checks().1);
        assert!(on_desktop.is_some() && on_phone.is_some());
        assert_ne!(on_desktop, on_phone, "seed {seed}");
    }
}

#[test]
fn a_device_does_not_pair_with_itself() {
    let mut same =
        Joiner::new(key(DESKTOP), &card("me"), Code::parse(CODE).unwrap(), Role::Kin, None, Duration::ZERO);
    same.handle_found(id(DESKTOP), Standing::Stranger, Duration::ZERO, &mut seeded(1));
    assert_eq!(same.poll(), None);
    let mut host = open_host(CODE, Duration::ZERO);
    let mut forged = Attacker::new(PHONE, CODE, 60);
    let hello = forged.hello();
    forged.name = DESKTOP;
    assert_eq!(forged.send(&mut host, hello, Duration::ZERO), refused(Refusal::BadMessage));
}

/// Sending a host's words back to it, or a joiner's to a joiner, leads nowhere.
#[test]
fn swapped_roles_pair_nobody() {
    let mut joiner = joiner(PHONE, CODE, Duration::ZERO);
    let mut random = seeded(61);
    joiner.handle_found(id(STRANGER), Standing::Stranger, Duration::ZERO, &mut random);
    let run = RunId::new([7; 16]);
    // A fake host that commits to nothing it knows and reflects the share.
    let offer = message::Offer { run, commit: ByteArray::new([0; 32]), seconds_left: 9 };
    joiner.handle_response(id(STRANGER), Response::Offer(offer), AT, Duration::ZERO, &mut random);
    let share = drain_joiner(&mut joiner).into_iter().find_map(|output| match output {
        joiner::Output::Send { request: Request::ShareJ(share), .. } => Some(share.share),
        _ => None,
    });
    let mut reflected = share.unwrap();
    reflected[0] = b'B';
    let share = message::ShareH { share: reflected, salt: ByteArray::new([0; 32]) };
    joiner.handle_response(id(STRANGER), Response::ShareH(share), AT, Duration::ZERO, &mut random);
    joiner.handle_search_end(Duration::ZERO);
    assert_eq!(drain_joiner(&mut joiner), [joiner::Output::Failed { failure: Failure::NotThatDevice }]);

    // A host's share, sent to another window of the same code as a joiner's.
    let (mut one, mut other) = (open_host(CODE, Duration::ZERO), open_host(CODE, Duration::ZERO));
    let mut relay = Attacker::new(STRANGER, CODE, 62);
    let hello = relay.hello();
    relay.send(&mut one, hello.clone(), Duration::ZERO);
    let share = relay.next().unwrap();
    let Response::ShareH(stolen) = relay.send(&mut one, share, Duration::ZERO) else { panic!("no share") };
    let Response::Offer(offer) = relay.send(&mut other, hello, Duration::ZERO) else { panic!("no offer") };
    let mut point = stolen.share;
    for letter in [b'B', b'A'] {
        point[0] = letter;
        let share = Request::ShareJ(message::ShareJ { run: offer.run, share: point });
        let answer = relay.send(&mut other, share, Duration::ZERO);
        assert_eq!(answer, refused(Refusal::BadMessage), "the first ends the run");
    }
}

/// A recorded run, sent again into a window with the same code, is one wrong
/// guess at most.
#[test]
fn a_recorded_pairing_cannot_be_replayed() {
    let mut lan = Lan::new(CODE, CODE);
    lan.run();
    assert!(lan.trusted().is_some());
    let mut again = open_host(CODE, Duration::ZERO);
    let mut random = seeded(70);
    let mut current = None;
    for request in lan.recorded {
        let request = match (request, current) {
            (Request::ShareJ(share), Some(run)) => Request::ShareJ(message::ShareJ { run, ..share }),
            (Request::ConfirmJ(confirm), Some(run)) => {
                Request::ConfirmJ(message::ConfirmJ { run, ..confirm })
            }
            (Request::Await(wait), Some(run)) => Request::Await(message::Await { run, ..wait }),
            (Request::Ack(ack), Some(run)) => Request::Ack(message::Ack { run, ..ack }),
            (other, _) => other,
        };
        again.handle_request(
            id(PHONE),
            Standing::Stranger,
            RequestId(0),
            request,
            Duration::ZERO,
            &mut random,
        );
        let outputs = drain_host(&mut again);
        let trusts = |output: &host::Output| {
            matches!(
                output,
                host::Output::Trust(_) | host::Output::AskUser { .. } | host::Output::Confirmed { .. }
            )
        };
        assert!(!outputs.iter().any(trusts));
        if let Some(Response::Offer(offer)) = replies(&outputs).first() {
            current = Some(offer.run);
        }
    }
    assert!(again.is_open());
}

/// A host that answers with another share than it promised is caught before
/// the joiner proves anything to it.
#[test]
fn a_share_changed_after_the_commitment_is_caught() {
    for change in 0..3 {
        let mut lan = Lan::new(CODE, CODE);
        lan.on_response = Box::new(move |response| match response {
            Response::ShareH(share) if change == 0 => share.salt[0] ^= 1,
            Response::ShareH(share) if change == 1 => {
                let other = pake::Pake::start(Side::Host, &[0; 32], id(PHONE), id(DESKTOP), &mut seeded(99));
                share.share = ByteArray::new(*other.share());
            }
            Response::Offer(offer) if change == 2 => offer.commit[0] ^= 1,
            _ => {}
        });
        lan.run();
        lan.assert_nothing_stored();
        assert!(!lan.recorded.iter().any(|request| matches!(request, Request::ConfirmJ(_))));
        lan.joiner.handle_search_end(lan.now);
        lan.settle();
        assert_eq!(lan.failure(), Some(Failure::NotThatDevice));
    }
}

#[test]
fn a_card_changed_on_the_way_is_noticed_on_both_sides() {
    let mut lan = Lan::new(CODE, CODE);
    lan.on_request = Box::new(|request| {
        if let Request::ConfirmJ(confirm) = request {
            confirm.card[3] ^= 1;
        }
    });
    lan.run();
    lan.assert_nothing_stored();
    assert_eq!(lan.guesses(), [2]);
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.on_response = Box::new(|response| {
        if let Response::ConfirmH(confirm) = response {
            confirm.card[3] ^= 1;
        }
    });
    lan.run();
    lan.joiner.handle_search_end(lan.now);
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!(lan.failure(), Some(Failure::NotThatDevice));
}

/// Knowing the code is not owning the key.
#[test]
fn a_proof_without_the_devices_signature_is_no_pairing_and_no_guess() {
    let mut lan = Lan::new(CODE, CODE);
    lan.on_request = Box::new(|request| {
        if let Request::ConfirmJ(confirm) = request {
            confirm.signature[0] ^= 1;
        }
    });
    lan.run();
    lan.assert_nothing_stored();
    assert!(lan.guesses().is_empty());
    assert_eq!(lan.failure(), Some(Failure::BadMessage));
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.on_response = Box::new(|response| {
        if let Response::ConfirmH(confirm) = response {
            confirm.signature[0] ^= 1;
        }
    });
    lan.run();
    assert_eq!(lan.checks().1, None);
}

/// A host signs what it likes; that it knows the code, only the proof shows.
#[test]
fn a_host_that_signs_but_proves_nothing_is_not_the_device_meant() {
    let mut lan = Lan::new(CODE, CODE);
    lan.answer = None;
    lan.on_response = Box::new(|response| {
        if let Response::ConfirmH(confirm) = response {
            confirm.proof[31] ^= 1;
        }
    });
    lan.run();
    lan.joiner.handle_search_end(lan.now);
    lan.settle();
    lan.assert_nothing_stored();
    assert_eq!((lan.checks().1, lan.failure()), (None, Some(Failure::NotThatDevice)));
}

/// Low-order and foreign points end the run; nothing is learnt from them.
#[test]
fn a_share_that_is_no_share_is_a_bad_message() {
    for point in curve25519_dalek::constants::EIGHT_TORSION {
        let mut host = open_host(CODE, Duration::ZERO);
        let mut attacker = Attacker::new(STRANGER, WRONG, 80);
        let hello = attacker.hello();
        let Response::Offer(offer) = attacker.send(&mut host, hello, Duration::ZERO) else {
            panic!("no offer")
        };
        let mut share = [b'A'; 33];
        share[1..].copy_from_slice(point.compress().as_bytes());
        let share = Request::ShareJ(message::ShareJ { run: offer.run, share: ByteArray::new(share) });
        assert_eq!(attacker.send(&mut host, share, Duration::ZERO), refused(Refusal::BadMessage));
        assert!(host.is_open());
    }
}

/// Who guesses another's run id neither ends nor takes over that run.
#[test]
fn a_run_belongs_to_the_device_that_began_it() {
    let mut host = open_host(CODE, Duration::ZERO);
    let mut right = Attacker::new(PHONE, CODE, 90);
    let proof = right.prepare(&mut host);
    let mut thief = Attacker::new(STRANGER, CODE, 91);
    assert_eq!(thief.send(&mut host, proof.clone(), Duration::ZERO), refused(Refusal::BadMessage));
    assert!(host.expects(id(PHONE), &proof) && !host.expects(id(STRANGER), &proof));
    assert_matches!(right.send(&mut host, proof, Duration::ZERO), Response::ConfirmH(_));
    let wait = right.next().unwrap();
    assert_eq!(thief.send(&mut host, wait, Duration::ZERO), refused(Refusal::BadMessage));
}

/// Of two that know the code, the first is asked about and the other refused.
#[test]
fn the_second_user_of_a_code_is_refused() {
    let mut host = open_host(CODE, Duration::ZERO);
    let (mut first, mut second) = (Attacker::new(PHONE, CODE, 92), Attacker::new(LAPTOP, CODE, 93));
    let (one, two) = (first.prepare(&mut host), second.prepare(&mut host));
    assert_matches!(first.send(&mut host, one, Duration::ZERO), Response::ConfirmH(_));
    assert_eq!(second.send(&mut host, two, Duration::ZERO), refused(Refusal::Burned));
}

/// A host that sends another's word, or its word for another, is not believed.
#[test]
fn a_decision_needs_the_hosts_own_word_for_this_device_and_run() {
    for forge in 0..4 {
        let mut lan = Lan::new(CODE, CODE);
        lan.on_response = Box::new(move |response| {
            if let Response::Decision(decision) = response {
                let run = decision.run;
                decision.statement = match forge {
                    0 => None,
                    1 => Some(host::vouch(&key(STRANGER), id(PHONE), run, "", AT)),
                    2 => Some(host::vouch(&key(DESKTOP), id(STRANGER), run, "", AT)),
                    _ => Some(host::vouch(&key(DESKTOP), id(PHONE), RunId::new([0; 16]), "", AT)),
                };
            }
        });
        lan.run();
        assert_eq!(lan.paired(), None, "{forge}");
        assert_eq!(lan.failure(), Some(Failure::BadMessage));
    }
}

/// The joiner's word in the acknowledgement is checked alike.
#[test]
fn an_acknowledgement_needs_the_joiners_own_word() {
    for forge in 0..3 {
        let mut lan = Lan::new(CODE, CODE);
        lan.on_request = Box::new(move |request| {
            if let Request::Ack(ack) = request {
                ack.statement = match forge {
                    0 => None,
                    1 => Some(host::vouch(&key(STRANGER), id(DESKTOP), ack.run, "", AT)),
                    _ => Some(host::vouch(&key(PHONE), id(LAPTOP), ack.run, "", AT)),
                };
            }
        });
        lan.run();
        let confirmed = |output: &host::Output| matches!(output, host::Output::Confirmed { .. });
        assert!(!lan.host_outputs.iter().any(confirmed));
    }
}

#[test]
fn messages_out_of_order_are_refused() {
    let mut host = open_host(CODE, Duration::ZERO);
    let mut attacker = Attacker::new(STRANGER, CODE, 94);
    let proof = attacker.prepare(&mut host);
    let Request::ConfirmJ(confirm) = proof else { panic!("no proof") };
    let share = Request::ShareJ(message::ShareJ { run: confirm.run, share: ByteArray::new([0x41; 33]) });
    let wait = Request::Await(message::Await { run: confirm.run, role: Role::Kin });
    let ack = Request::Ack(message::Ack { run: confirm.run, role: Role::Kin, statement: None });
    for early in [wait, ack, share, Request::ConfirmJ(confirm)] {
        assert_eq!(attacker.send(&mut host, early, Duration::ZERO), refused(Refusal::BadMessage));
    }
}

/// Whatever single byte of whatever message is changed, either both sides
/// pair with each other under the same number or nobody stores anything.
#[test]
fn a_changed_byte_pairs_nobody_with_anybody_else() {
    let mut random = fastrand_like(1);
    for seed in 0..300 {
        let (target, at, to) = (random() % 10, random(), random());
        let mut lan =
            Lan::between(open_host(CODE, Duration::ZERO), joiner(PHONE, CODE, Duration::ZERO), seed);
        let mut count = 0;
        lan.on_request = Box::new(move |request| {
            count += 2;
            if count == target {
                flip(request, at, to, Request::encode, |bytes| Request::decode(bytes).ok());
            }
        });
        let mut count = 1;
        lan.on_response = Box::new(move |response| {
            count += 2;
            if count == target {
                flip(response, at, to, Response::encode, |bytes| Response::decode(bytes).ok());
            }
        });
        lan.run();
        for paired in [lan.trusted(), lan.paired()].into_iter().flatten() {
            assert!([id(PHONE), id(DESKTOP)].contains(&paired.device));
            assert_eq!(lan.checks().0, lan.checks().1, "seed {seed}");
        }
    }
}

fn flip<T>(
    message: &mut T,
    at: u64,
    to: u64,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    let mut bytes = encode(message);
    let at = at as usize % bytes.len();
    bytes[at] = to as u8;
    if let Some(changed) = decode(&bytes) {
        *message = changed;
    }
}

fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut random = seeded(seed);
    move || u64::from_le_bytes(crate::random::draw(&mut random))
}

/// I9: a proof that is wrong in any single byte does not hold. The comparison
/// is `subtle`'s, which looks at all bytes whichever is wrong.
#[test]
fn a_proof_wrong_in_any_byte_does_not_hold() {
    let keys = Keys::derive(&[7; 32], [9; 32]);
    let proof = keys.proof(Side::Joiner, b"card");
    assert!(keys.holds(Side::Joiner, b"card", &proof));
    assert!(!keys.holds(Side::Host, b"card", &proof));
    for at in 0..proof.len() {
        let mut wrong = proof;
        wrong[at] ^= 1;
        assert!(!keys.holds(Side::Joiner, b"card", &wrong), "byte {at}");
    }
}
