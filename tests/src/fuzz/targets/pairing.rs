//! Pairing messages, read alone and by a host in the middle of a run.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use kinsync_protocol::card::Card;
use kinsync_protocol::code::Code;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::host::{self, Host, RequestId};
use kinsync_protocol::pairing::joiner::{self, Joiner};
use kinsync_protocol::pairing::message::{Request, Response};
use kinsync_protocol::pairing::{LIFETIME, Verdict};
use kinsync_protocol::random::Random;
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::{Role, Standing};

use crate::fuzz::Target;

pub(super) const TARGETS: [Target; 3] = [
    // Each run goes through a key exchange.
    Target { name: "pairing_host", seeds: requests, run: answer_request, cost: 16 },
    Target { name: "pairing_request", seeds: requests, run: read_request, cost: 1 },
    Target { name: "pairing_response", seeds: responses, run: read_response, cost: 1 },
];

fn read_request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()).expect("what is written is read"), request);
    }
}

fn read_response(bytes: &[u8]) {
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(Response::decode(&response.encode()).expect("what is written is read"), response);
    }
}

/// Hands a request to a host that has just served the honest ones before it.
fn answer_request(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else {
        return;
    };
    let before = match request {
        Request::Hello(_) => 0,
        Request::ShareJ(_) => 1,
        Request::ConfirmJ(_) => 2,
        Request::Await(_) => 3,
        Request::Ack(_) => 4,
    };
    let mut run = Run::new();
    run.carry(before);
    run.host.handle_request(run.phone, Standing::Stranger, RequestId(99), request, NOW, &mut run.random);
    let replies = std::iter::from_fn(|| run.host.poll()).filter(|output| {
        let host::Output::Reply { response, .. } = output else { return false };
        read_response(&response.encode());
        true
    });
    assert!(replies.count() <= 1, "one request, more than one reply");
}

const NOW: Duration = Duration::ZERO;

/// A host and a joiner that know the same code, the same ones every time.
struct Run {
    host: Host,
    joiner: Joiner,
    desktop: DeviceId,
    phone: DeviceId,
    random: Box<Random<'static>>,
    asked: Vec<Request>,
    answered: Vec<Response>,
}

impl Run {
    fn new() -> Self {
        let code = || Code::parse("KXNR-7842").expect("the code of the manual");
        let card = Card { label: "phone".into(), platform: "linux".into(), ..Card::default() };
        let (desktop, phone) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let id = |key: &SigningKey| DeviceId(key.verifying_key().to_bytes());
        let mut random = fastrand::Rng::with_seed(7);
        Self {
            desktop: id(&desktop),
            phone: id(&phone),
            host: Host::new(desktop, &card, code(), LIFETIME, NOW),
            joiner: Joiner::new(phone, &card, code(), Role::Kin, None, NOW),
            random: Box::new(move |buffer| random.fill(buffer)),
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Carries the first `count` requests of an honest run, and their answers.
    fn carry(&mut self, count: usize) {
        self.joiner.handle_found(self.desktop, Standing::Stranger, NOW, &mut self.random);
        while self.asked.len() < count {
            let sent = std::iter::from_fn(|| self.joiner.poll());
            let sent = sent.filter(|output| matches!(output, joiner::Output::Send { .. })).last();
            let Some(joiner::Output::Send { request, .. }) = sent else { return };
            self.asked.push(request.clone());
            let id = RequestId(self.asked.len() as u64);
            self.host.handle_request(self.phone, Standing::Stranger, id, request, NOW, &mut self.random);
            self.host.handle_answer(Verdict::Kin, UnixMillis(0), NOW).expect("a plain verdict");
            while let Some(output) = self.host.poll() {
                if let host::Output::Reply { response, .. } = output {
                    self.answered.push(response.clone());
                    let at = UnixMillis(0);
                    self.joiner.handle_response(self.desktop, response, at, NOW, &mut self.random);
                }
            }
        }
    }
}

fn whole() -> Run {
    let mut run = Run::new();
    run.carry(usize::MAX);
    run
}

fn requests() -> Vec<Vec<u8>> {
    whole().asked.iter().map(Request::encode).collect()
}

fn responses() -> Vec<Vec<u8>> {
    whole().answered.iter().map(Response::encode).collect()
}

#[test]
fn seeds_are_a_whole_run() {
    let run = whole();
    assert_eq!(run.asked.len(), 5, "{:?}", run.asked);
    assert_eq!(run.answered.last(), Some(&Response::Done));
}
