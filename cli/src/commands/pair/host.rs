//! The side that shows the code and decides who comes in.

use std::future;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use kinsync::clock::{Clock, Moment};
use kinsync::events::Event;
use kinsync::request::{PairAnswer, PairOpen, PairOpened, SecretText, Status, Verdict};
use serde::Serialize;

use super::{Heard, Pairing, answer, code, paired, role, who};
use crate::args::Pair;
use crate::commands::Run;
use crate::failure::{Failure, Result};
use crate::output::{Output, WIDTH, ask, clean, wrap};
use crate::reach::{Class, Node};

/// A code that lets anybody in unasked must not stay open for long.
const UNASKED_LIFETIME_MAX: Duration = Duration::from_secs(600);

/// The port that the other side tries at an address without one.
const USUAL_PORT: &str = "7842";

/// Opens a code and stays until a device is paired or the code is gone.
pub(crate) async fn run(run: &Run, args: Pair) -> Result<()> {
    if run.out.yes() && args.expires > UNASKED_LIFETIME_MAX {
        return Err(Failure::usage("With --yes a code lasts at most 10 minutes.")
            .hint("Whoever has it comes in unasked: use a shorter --expires."));
    }
    let node = run.reach(Class::Bounded).await?;
    let ended = hold(run, &args, &node).await;
    // After a failure too: a node of its own has the other device to tell.
    let closed = node.close().await;
    ended.and(closed)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what concerns other things passes by")]
async fn hold(run: &Run, args: &Pair, node: &Node) -> Result<()> {
    let events = node.events().await?;
    let opened = node
        .ask(PairOpen {
            expires_s: Some(args.expires.as_secs()),
            label: args.label.clone(),
            role: args.role.map(role),
            yes: run.out.yes(),
            allowed: args.rights.clone().allowed(),
        })
        .await?;
    let mut pairing =
        Pairing { run, node, events, number: opened.pairing, when_stopped: "The code is void." };
    let me = node.ask(Status {}).await?.me;
    let name = args.label.as_deref().unwrap_or(&me.name);
    show(run.out, args, &opened, &format!("{}  {}", clean(name), me.id))?;

    let mut countdown = Countdown::new(run.out, opened.expires_at);
    let event = loop {
        match pairing.next(countdown.tick()).await? {
            Heard::Other(()) => countdown.show(),
            Heard::Event(event) => match &event {
                Event::Request { name, platform, device_id, check, asks, .. } => {
                    countdown.clear();
                    let who = who(name, platform.as_deref());
                    if run.out.is_json() {
                        run.out.line_json(&event)?;
                    } else {
                        run.out.say(&format!("{who} wants to join.  {}", clean(device_id)));
                        run.out.say(&format!("Check number {}. Same on the other screen?", clean(check)));
                    }
                    if *asks && let Some(event) = decide(&mut pairing).await? {
                        break event;
                    }
                }
                Event::Paired { .. } => break event,
                _ => {}
            },
        }
    };
    countdown.clear();
    if let Event::Paired { peer, .. } = &event {
        paired(run.out, &event, peer)?;
    }
    Ok(())
}

/// Asks the person, or the program, until there is a clear answer. Returns
/// early with the event that ended the pairing meanwhile.
async fn decide(pairing: &mut Pairing<'_>) -> Result<Option<Event>> {
    let out = pairing.run.out;
    if !out.is_json() {
        out.say("kin = reads and changes everything, adds devices");
    }
    loop {
        let prompt = if out.is_json() { "" } else { "[k]in  [g]uest  [o]nce  [r]eject > " };
        // Nobody can interrupt a read: it stays behind in its thread if the
        // pairing ends first.
        let line = tokio::task::spawn_blocking(move || ask(prompt));
        let verdict = match pairing.next(line).await? {
            Heard::Event(event @ Event::Paired { .. }) => return Ok(Some(event)),
            Heard::Event(_) => continue,
            Heard::Other(read) => match read.unwrap_or(Ok(None))? {
                None => Verdict::Reject,
                Some(line) => match answer::parse(&line) {
                    Some(verdict) => verdict,
                    None => continue,
                },
            },
        };
        let number = pairing.number;
        pairing.node.ask(PairAnswer { pairing: number, verdict }).await?;
        return Ok(None);
    }
}

fn show(out: Output, args: &Pair, opened: &PairOpened, me: &str) -> Result<()> {
    if out.is_json() {
        return out.line_json(&CodeLine {
            event: "code",
            code: &opened.code,
            expires_at: opened.expires_at,
            ticket: args.qr.then_some(&opened.ticket),
            addresses: &opened.addresses,
            pairing: opened.pairing,
        });
    }
    let code = opened.code.reveal();
    if args.qr {
        let picture = code::picture(&opened.ticket).unwrap_or_default();
        out.raw(&format!("{picture}{}\n", opened.ticket.reveal()))?;
    }
    let expires = clock(args.expires);
    out.raw(&format!("Code:  {code}      expires in {expires}\n"))?;
    out.raw(&format!("On the other device, run:  kinsync pair {code}\n"))?;
    out.raw(&(wrap(&format!("This device:  {me}"), WIDTH) + "\n"))?;
    if let Some(address) = unusual(&opened.addresses) {
        out.raw(&format!("If it finds nothing, add there:  --addr {address}\n"))?;
    }
    out.note("Waiting…  (Ctrl+C stops and voids the code)");
    Ok(())
}

/// An address to type, when this device is not at the port that an address
/// without one means.
fn unusual(addresses: &[String]) -> Option<String> {
    let typed = |address: &String| {
        let mut parts = address.split('/').skip(1);
        let (family, ip) = (parts.next()?, parts.next()?);
        let port = (parts.next()? == "tcp").then(|| parts.next())??;
        (family == "ip4" && port != USUAL_PORT).then(|| format!("{ip}:{port}"))
    };
    let mut found: Vec<String> = addresses.iter().filter_map(typed).collect();
    // Its own loopback helps only another device on this machine.
    found.sort_by_key(|address| address.starts_with("127."));
    found.into_iter().next()
}

/// `{"event":"code","code":…,"expires_at":…}`
#[derive(Serialize)]
struct CodeLine<'a> {
    event: &'static str,
    code: &'a SecretText,
    expires_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a SecretText>,
    addresses: &'a [String],
    pairing: u64,
}

/// The time that is left, in place, where somebody can see it.
struct Countdown {
    ends: Moment,
    seen: bool,
    is_shown: bool,
}

impl Countdown {
    fn new(out: Output, ends: Moment) -> Self {
        Self { ends, seen: out.shows_progress() && io::stderr().is_terminal(), is_shown: false }
    }

    /// Waits until the next look at the clock is due.
    fn tick(&self) -> impl Future<Output = ()> + use<> {
        let seen = self.seen;
        async move {
            if seen {
                tokio::time::sleep(Duration::from_secs(1)).await;
            } else {
                future::pending::<()>().await;
            }
        }
    }

    fn show(&mut self) {
        let left = self.ends.since(Clock::system().wall());
        self.is_shown = true;
        // A line that cannot be drawn is no reason to stop.
        drop(write!(io::stderr(), "\r\u{1b}[K{} left ", clock(left)));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            drop(write!(io::stderr(), "\r\u{1b}[K"));
        }
    }
}

impl Drop for Countdown {
    /// What is said next, a failure for example, begins a line.
    fn drop(&mut self) {
        self.clear();
    }
}

/// `5:00`
fn clock(span: Duration) -> String {
    format!("{}:{:02}", span.as_secs() / 60, span.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_when_the_port_is_not_the_usual_one() {
        let own = |addresses: &[&str]| {
            unusual(&addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(own(&["/ip4/10.0.0.2/tcp/7842", "/ip4/10.0.0.2/udp/7842/quic-v1"]), None);
        assert_eq!(own(&["/ip4/127.0.0.1/tcp/99", "/ip4/10.0.0.2/tcp/99"]), Some("10.0.0.2:99".to_owned()));
        assert_eq!(own(&["/ip4/127.0.0.1/tcp/99"]), Some("127.0.0.1:99".to_owned()));
        assert_eq!(own(&["/memory/1", "", "/ip4", "/ip6/::1/tcp/99"]), None);
    }
}
