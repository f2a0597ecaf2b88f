//! `kinsync up`: runs the node, here or in the background.

mod detach;

use kinsync::config::Config;
use kinsync::request::{SelfRow, Status};
use kinsync::{Control, Kind};
use serde::Serialize;

use super::Run;
use super::status::reach;
use crate::args::Up;
use crate::failure::{Failure, Result};
use crate::logging;
use crate::output::{Page, Text, WIDTH, clean, wrap};
use crate::paths::trace_log;
use crate::reach::{Class, listening};

/// Runs it until it is told to stop, or starts it and returns.
pub(crate) async fn run(run: &Run, args: Up) -> Result<()> {
    if let Ok(node) = run.reach(Class::Running).await {
        let pid = node.ask(Status {}).await?.me.pid;
        let pid = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
        return Err(Failure::new(Kind::Busy, format!("A node is up already{pid}."))
            .hint("Stop it with:  kinsync down"));
    }
    if args.detach {
        let node = detach::start(run, &args).await?;
        let me = listening(async || node.ask(Status {}).await).await?;
        return run.out.result(&Started { v: 1, me });
    }
    foreground(run, &args).await
}

async fn foreground(run: &Run, args: &Up) -> Result<()> {
    if args.background {
        // Without this the node would end with the terminal. Only a leader of
        // a session cannot leave it, and that one has no terminal to lose.
        let _ = rustix::process::setsid();
    }
    let config = Config::load(&run.home.config())?;
    logging::init(run.verbose, Some((&trace_log(&run.home), config.log.word())))?;
    let control = Control::open(&run.home).await?;
    let mut adjusted = Ok(());
    control.adjust(|config| adjusted = adjust(config, args));
    adjusted?;

    let node = kinsync::Node::start(control)?;
    let control = node.control().clone();
    let served = node.serve();
    tokio::pin!(served);
    let me = tokio::select! {
        biased;
        me = listening(async || Ok(control.status().await?)) => me?,
        served = &mut served => return Ok(served?),
    };
    run.out.result(&Started { v: 1, me })?;
    run.out.note("Stop it with Ctrl+C or:  kinsync down");
    tokio::select! {
        biased;
        served = &mut served => return Ok(served?),
        () = super::interrupted() => {}
    }
    // The answer to this comes from the node that is served meanwhile.
    let (stopped, served) = tokio::join!(control.down(), served);
    stopped?;
    Ok(served?)
}

/// What was typed goes before what the file says, for this run.
fn adjust(config: &mut Config, args: &Up) -> Result<(), kinsync::Failure> {
    if let Some(port) = args.port {
        config.port = port;
        config.listen.clear();
    }
    if !args.listen.is_empty() {
        config.set("listen", &args.listen.join(","))?;
    }
    config.mdns &= !args.no_mdns;
    config.quic &= !args.no_quic;
    Ok(())
}

#[derive(Serialize)]
struct Started {
    v: u8,
    #[serde(rename = "self")]
    me: SelfRow,
}

/// `kinsync is up. LAN only, port 7842. Relay off, DHT off. Gateway off.`
impl Text for Started {
    fn text(&self, _: Page) -> String {
        let mut text = format!("kinsync is up. {}", clean(&reach(&self.me.reach)));
        if let Some(port) = port(&self.me.listening) {
            text += &format!(", port {port}");
        }
        text += ".";
        let off: Vec<&str> = [("relay", "Relay off"), ("dht", "DHT off")]
            .iter()
            .filter(|(name, _)| !self.me.reach.iter().any(|on| on == name))
            .map(|(_, off)| *off)
            .collect();
        if !off.is_empty() {
            text += &format!(" {}.", off.join(", "));
        }
        if !self.me.reach.iter().any(|on| on == "gateway") {
            text += " Gateway off.";
        }
        wrap(&text, WIDTH) + "\n"
    }
}

/// The port of the first address that has one.
fn port(listening: &[String]) -> Option<u16> {
    let port = |address: &String| {
        let mut parts = address.split('/');
        parts.find(|part| *part == "tcp" || *part == "udp")?;
        parts.next()?.parse().ok()
    };
    listening.iter().find_map(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_first_address() {
        let listening = ["/ip4/10.0.0.1/tcp/7842", "/ip4/10.0.0.1/udp/7843/quic-v1"];
        assert_eq!(port(&listening.map(str::to_owned)), Some(7842));
        assert_eq!(port(&["/memory/5".to_owned()]), None);
        assert_eq!(port(&[]), None);
    }
}
