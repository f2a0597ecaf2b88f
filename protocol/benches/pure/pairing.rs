//! A pairing from the typed code to trust on both sides, every message through
//! its encoding: what a device pays for one guess, and for one success.

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use ed25519_dalek::SigningKey;
use kinsync_protocol::card::Card;
use kinsync_protocol::code::Code;
use kinsync_protocol::id::DeviceId;
use kinsync_protocol::pairing::host::{self, Host, RequestId};
use kinsync_protocol::pairing::joiner::{self, Joiner};
use kinsync_protocol::pairing::message::{Request, Response};
use kinsync_protocol::pairing::{LIFETIME, Verdict};
use kinsync_protocol::stamp::UnixMillis;
use kinsync_protocol::trust::{Role, Standing};

use crate::records::Mixed;

const CODE: &str = "KXNR-7842";
const AT: UnixMillis = UnixMillis(1_700_000_000_000);
const NOW: Duration = Duration::ZERO;

/// Measures one pairing.
pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pairing");
    group.bench_function("host_and_joiner_to_the_end", |bencher| {
        bencher.iter_batched(Pair::new, Pair::run, BatchSize::SmallInput);
    });
    group.finish();
}

/// A device that shows a code, and one on which it was typed.
struct Pair {
    host: Host,
    joiner: Joiner,
    desktop: DeviceId,
    phone: DeviceId,
    random: Mixed,
}

impl Pair {
    fn new() -> Self {
        let [desktop, phone] = [1, 2].map(|name| SigningKey::from_bytes(&[name; 32]));
        let id = |key: &SigningKey| DeviceId(key.verifying_key().to_bytes());
        let card = |label: &str| Card { label: label.into(), ..Card::default() };
        let code = || Code::parse(CODE).expect("a code");
        Self {
            desktop: id(&desktop),
            phone: id(&phone),
            host: Host::new(desktop, &card("desktop"), code(), LIFETIME, NOW),
            joiner: Joiner::new(phone, &card("phone"), code(), Role::Kin, None, NOW),
            random: Mixed(3),
        }
    }

    /// Carries messages until both trust each other.
    fn run(mut self) -> Self {
        let mut random = |buffer: &mut [u8]| self.random.fill(buffer);
        let (mut trusted, mut paired, mut requests) = (false, false, 0);
        self.joiner.handle_found(self.desktop, Standing::Stranger, NOW, &mut random);
        while let Some(output) = self.joiner.poll() {
            if let joiner::Output::Send { request, .. } = output {
                let request = Request::decode(&request.encode()).expect("as it was encoded");
                requests += 1;
                let (from, number) = (self.phone, RequestId(requests));
                self.host.handle_request(from, Standing::Stranger, number, request, NOW, &mut random);
            } else {
                paired |= matches!(output, joiner::Output::Paired(_));
            }
            while let Some(output) = self.host.poll() {
                if let host::Output::Reply { response, .. } = output {
                    let response = Response::decode(&response.encode()).expect("as it was encoded");
                    self.joiner.handle_response(self.desktop, response, AT, NOW, &mut random);
                } else if let host::Output::AskUser { .. } = output {
                    self.host.handle_answer(Verdict::Kin, AT, NOW).expect("somebody asked");
                } else {
                    trusted |= matches!(output, host::Output::Trust(_));
                }
            }
        }
        assert!(trusted && paired, "measured is a pairing that works");
        self
    }
}
