//! Two devices, an open network between them, and people who attack it.

use assert_matches::assert_matches;
use ed25519_dalek::SigningKey;
use serde_bytes::ByteArray;

use super::host::{Closing, Host, RequestId};
use super::joiner::{Failure, Joiner};
use super::message::{Refusal, Request, Response};
use super::*;
use crate::random::{Random, seeded};
use crate::stamp::UnixMillis;
use crate::trust::Standing;

mod attacks;
mod honest;
mod limits;
mod vector;

const CODE: &str = "KXNR-7842";
const WRONG: &str = "KXNR-7843";
const AT: UnixMillis = UnixMillis(1_700_000_000_000);

fn key(name: u8) -> SigningKey {
    SigningKey::from_bytes(&[name; 32])
}

fn id(name: u8) -> DeviceId {
    DeviceId(key(name).verifying_key().to_bytes())
}

const DESKTOP: u8 = 1;
const PHONE: u8 = 2;
const LAPTOP: u8 = 3;
const STRANGER: u8 = 9;

fn card(label: &str) -> Card {
    Card { label: label.into(), platform: "linux".into(), app: "kinsync".into(), ..Card::default() }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn open_host(code: &str, now: Duration) -> Host {
    Host::new(key(DESKTOP), &card("desktop"), Code::parse(code).unwrap(), LIFETIME, now)
}

fn joiner(name: u8, code: &str, now: Duration) -> Joiner {
    Joiner::new(key(name), &card("phone"), Code::parse(code).unwrap(), Role::Kin, None, now)
}

/// Answers that a host gave, by request.
fn replies(outputs: &[host::Output]) -> Vec<Response> {
    let reply = |output: &host::Output| match output {
        host::Output::Reply { response, .. } => Some(response.clone()),
        _ => None,
    };
    outputs.iter().filter_map(reply).collect()
}

fn drain_host(host: &mut Host) -> Vec<host::Output> {
    std::iter::from_fn(|| host.poll()).collect()
}

fn drain_joiner(joiner: &mut Joiner) -> Vec<joiner::Output> {
    std::iter::from_fn(|| joiner.poll()).collect()
}

/// One host and one joiner, their messages carried as bytes, at a time that
/// the test moves.
struct Lan {
    host: Host,
    joiner: Joiner,
    /// What the host sees the joiner as, and the joiner the host.
    seen_by_host: DeviceId,
    seen_by_joiner: DeviceId,
    now: Duration,
    answer: Option<Verdict>,
    host_outputs: Vec<host::Output>,
    joiner_outputs: Vec<joiner::Output>,
    recorded: Vec<Request>,
    random: Box<Random<'static>>,
    on_request: Box<dyn FnMut(&mut Request)>,
    on_response: Box<dyn FnMut(&mut Response)>,
}

impl Lan {
    fn new(host_code: &str, joiner_code: &str) -> Self {
        Self::between(open_host(host_code, Duration::ZERO), joiner(PHONE, joiner_code, Duration::ZERO), 1)
    }

    fn between(host: Host, joiner: Joiner, seed: u64) -> Self {
        Self {
            host,
            joiner,
            seen_by_host: id(PHONE),
            seen_by_joiner: id(DESKTOP),
            now: Duration::ZERO,
            answer: Some(Verdict::Kin),
            host_outputs: Vec::new(),
            joiner_outputs: Vec::new(),
            recorded: Vec::new(),
            random: Box::new(seeded(seed)),
            on_request: Box::new(|_| {}),
            on_response: Box::new(|_| {}),
        }
    }

    /// Lets the joiner find the host and carries messages until both are quiet.
    fn run(&mut self) {
        self.joiner.handle_found(self.seen_by_joiner, Standing::Stranger, self.now, &mut self.random);
        self.settle();
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        for output in drain_joiner(&mut self.joiner) {
            moved = true;
            if let joiner::Output::Send { to, request } = &output
                && *to == self.seen_by_joiner
            {
                let mut request = request.clone();
                (self.on_request)(&mut request);
                self.recorded.push(request.clone());
                let request = Request::decode(&request.encode()).unwrap();
                let number = RequestId(self.recorded.len() as u64);
                self.host.handle_request(
                    self.seen_by_host,
                    Standing::Stranger,
                    number,
                    request,
                    self.now,
                    &mut self.random,
                );
            }
            self.joiner_outputs.push(output);
        }
        for output in drain_host(&mut self.host) {
            moved = true;
            match &output {
                host::Output::Reply { to, response, .. } => {
                    assert_eq!(*to, self.seen_by_host);
                    let mut response = response.clone();
                    (self.on_response)(&mut response);
                    let response = Response::decode(&response.encode()).unwrap();
                    let from = self.seen_by_joiner;
                    self.joiner.handle_response(from, response, AT, self.now, &mut self.random);
                }
                host::Output::AskUser { .. } => {
                    if let Some(verdict) = self.answer.clone() {
                        self.host.handle_answer(verdict, AT, self.now).unwrap();
                    }
                }
                _ => {}
            }
            self.host_outputs.push(output);
        }
        moved
    }

    fn trusted(&self) -> Option<Paired> {
        self.host_outputs.iter().find_map(|output| match output {
            host::Output::Trust(paired) => Some((**paired).clone()),
            _ => None,
        })
    }

    fn paired(&self) -> Option<Paired> {
        self.joiner_outputs.iter().find_map(|output| match output {
            joiner::Output::Paired(paired) => Some((**paired).clone()),
            _ => None,
        })
    }

    fn failure(&self) -> Option<Failure> {
        self.joiner_outputs.iter().find_map(|output| match output {
            joiner::Output::Failed { failure } => Some(*failure),
            _ => None,
        })
    }

    fn closing(&self) -> Option<Closing> {
        self.host_outputs.iter().find_map(|output| match output {
            host::Output::Closed { closing } => Some(*closing),
            _ => None,
        })
    }

    fn guesses(&self) -> Vec<u8> {
        let left = |output: &host::Output| match output {
            host::Output::BadGuess { left, .. } => Some(*left),
            _ => None,
        };
        self.host_outputs.iter().filter_map(left).collect()
    }

    fn checks(&self) -> (Option<CheckNumber>, Option<CheckNumber>) {
        let host = self.host_outputs.iter().find_map(|output| match output {
            host::Output::AskUser { check, .. } => Some(*check),
            _ => None,
        });
        let joiner = self.joiner_outputs.iter().find_map(|output| match output {
            joiner::Output::ShowCheck { check, .. } => Some(*check),
            _ => None,
        });
        (host, joiner)
    }

    /// Nobody trusts anybody.
    fn assert_nothing_stored(&self) {
        assert_eq!(self.trusted(), None);
        assert_eq!(self.paired(), None);
    }
}
