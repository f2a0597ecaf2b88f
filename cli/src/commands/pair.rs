//! `kinsync pair`: two devices come to trust each other by a short code.
//!
//! Both sides ask the node to begin and then follow its events, in words for
//! people or as one JSON object a line for programs.

mod answer;
mod code;
mod host;
mod joiner;

use std::future::Future;
use std::time::Duration;

use kinsync::Kind;
use kinsync::events::{Event, PairedPeer};
use kinsync::request::{PairCancel, Role};
use serde::Serialize;

use super::Run;
use crate::args::{self, Join, Pair};
use crate::failure::{Failure, Result};
use crate::output::{Output, clean, plural};
use crate::reach::{Events, Node};

/// Shows a code, or enters the one that was given.
pub(crate) async fn run(run: &Run, args: Pair) -> Result<()> {
    match args.code {
        Some(code) => {
            let Pair { addr, label, role, rights, .. } = args;
            join(run, Join { code: Some(code), addr, label, role, rights }).await
        }
        None => told(run.out, host::run(run, args).await),
    }
}

/// Enters a code.
pub(crate) async fn join(run: &Run, args: Join) -> Result<()> {
    told(run.out, joiner::run(run, args).await)
}

/// A program reads the end of the story where it read the rest of it.
fn told(out: Output, result: Result<()>) -> Result<()> {
    if let Err(failure) = &result
        && out.is_json()
        && !failure.is_silent()
    {
        out.line_json(&Failed { event: "failed", error: failure.json() })?;
    }
    result
}

#[derive(Serialize)]
struct Failed<'a> {
    event: &'static str,
    #[serde(flatten)]
    error: crate::failure::ErrorJson<'a>,
}

/// A pairing that has begun, and what has been heard of it.
struct Pairing<'a> {
    run: &'a Run,
    node: &'a Node,
    events: Events,
    number: u64,
    /// What stopping it means on this side.
    when_stopped: &'static str,
}

impl Pairing<'_> {
    /// Waits for the next event of this pairing. When the user gives up or the
    /// time does, the pairing is cancelled, so that no code stays open.
    ///
    /// `meanwhile` runs beside it, and its result comes back if it is first.
    async fn next<T>(&mut self, meanwhile: impl Future<Output = T>) -> Result<Heard<T>> {
        tokio::select! {
            biased;
            () = super::interrupted() => {
                let stopped = Failure::stopped(format!("Stopped. {}", self.when_stopped));
                Err(self.cancel(stopped).await)
            }
            () = until(self.run.timeout) => Err(self.cancel(self.too_long()).await),
            event = Self::own(&mut self.events, self.number) => {
                let event = event?;
                if let Event::Failed { failure, .. } = event {
                    return Err(failure.into());
                }
                Ok(Heard::Event(event))
            }
            other = meanwhile => Ok(Heard::Other(other)),
        }
    }

    async fn own(events: &mut Events, number: u64) -> Result<Event> {
        loop {
            let event = events.next().await?;
            if event.pairing() == Some(number) {
                return Ok(event);
            }
        }
    }

    fn too_long(&self) -> Failure {
        let seconds = self.run.timeout.unwrap_or_default().as_secs_f64();
        Failure::new(Kind::Timeout, format!("Not paired within {seconds} s. {}", self.when_stopped))
    }

    async fn cancel(&self, why: Failure) -> Failure {
        match self.node.ask(PairCancel { pairing: self.number }).await {
            Ok(_) => why,
            Err(failure) => failure,
        }
    }
}

/// What came first.
enum Heard<T> {
    Event(Event),
    Other(T),
}

/// Prints that it is done: the same on both screens.
fn paired(out: Output, event: &Event, peer: &PairedPeer) -> Result<()> {
    if out.is_json() {
        return out.line_json(event);
    }
    let name = clean(&peer.name);
    let text = match peer.role {
        Role::Kin => format!("Paired with {name}. {} in your set.\n", plural(peer.devices, "device")),
        Role::Guest => format!("Paired with {name} as guest.\n"),
        Role::Once => format!("Connected with {name} this once. Nothing is remembered.\n"),
    };
    out.raw(&text)
}

/// `laptop (linux)`
fn who(name: &str, platform: Option<&str>) -> String {
    match platform {
        Some(platform) => format!("{} ({})", clean(name), clean(platform)),
        None => clean(name),
    }
}

/// A role as the node knows it.
fn role(role: args::Role) -> Role {
    match role {
        args::Role::Guest => Role::Guest,
        args::Role::Kin => Role::Kin,
        args::Role::Once => Role::Once,
    }
}

async fn until(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
