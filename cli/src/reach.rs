//! The way to a node: the one that runs, or its library in this process.

use std::time::Duration;

use kinsync::api::{Client, EventStream};
use kinsync::events::Event;
use kinsync::request::{Request, SelfRow, StatusAnswer};
use kinsync::{Control, Home, Kind};

use crate::commands::Run;
use crate::failure::{Failure, Result};

/// How often to look whether a node has come or gone.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often to look for the addresses of a node that has just started: two
/// seconds in all, many times what a busy machine takes.
const LOOKS_MAX: u32 = 100;

/// What a command needs of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// The network for as long as one task takes: without a running node, one
    /// runs in the foreground until the task is done.
    Bounded,
    /// Records, the registry or settings: without a running node, the store is
    /// used in this process.
    Local,
    /// A node that runs already.
    Running,
}

/// A node to ask.
#[derive(Debug)]
pub(crate) struct Node {
    home: Home,
    client: Client,
    /// The node that runs for this command alone.
    own: Option<kinsync::Node>,
}

impl Node {
    /// Finds a node in the way that `class` allows.
    pub(crate) async fn reach(run: &Run, class: Class) -> Result<Self> {
        let home = run.home.clone();
        let client = match class {
            Class::Bounded | Class::Local => Client::connect(&home).await?,
            Class::Running => Client::running(&home).await?,
        };
        match client {
            Client::Embedded(control) if class == Class::Bounded => {
                run.out.note("No node is running: one runs here until this is done.");
                let own = start(control)?;
                listening(async || Ok(own.control().status().await?)).await?;
                Ok(Self { home, client: Client::Embedded(own.control().clone()), own: Some(own) })
            }
            client @ (Client::Embedded(_) | Client::Socket(_)) => Ok(Self { home, client, own: None }),
        }
    }

    /// Asks one thing.
    pub(crate) async fn ask<R: Request>(&self, request: R) -> Result<R::Answer> {
        Ok(self.client.call(request).await?)
    }

    /// Stops what was started for this command.
    pub(crate) async fn close(self) -> Result<()> {
        if let Some(own) = self.own {
            own.stop().await?;
        }
        Ok(())
    }

    /// Waits until no node runs here any more.
    pub(crate) async fn gone(&self) {
        while Client::running(&self.home).await.is_ok() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Watches what happens from now on.
    pub(crate) async fn events(&self) -> Result<Events> {
        Ok(Events(self.client.events(None).await?))
    }
}

/// Starts a node for one task. It is the one that dials, so any free port does
/// when another program has the usual one.
fn start(control: Control) -> Result<kinsync::Node, kinsync::Failure> {
    match kinsync::Node::start(control.clone()) {
        Err(failure) if failure.kind == Kind::PortInUse => {
            control.adjust(|config| {
                config.port = 0;
                config.listen.clear();
            });
            kinsync::Node::start(control)
        }
        other => other,
    }
}

/// Waits until a node that has just started knows its addresses, and returns
/// what it says of itself. One that finds none does not hold anybody up.
pub(crate) async fn listening(status: impl AsyncFn() -> Result<StatusAnswer>) -> Result<SelfRow> {
    let mut looks = 0;
    loop {
        let me = status().await?.me;
        if !me.listening.is_empty() || looks == LOOKS_MAX {
            return Ok(me);
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What happens in a node, as it happens.
#[derive(Debug)]
pub(crate) struct Events(EventStream);

impl Events {
    /// Waits for the next event; a node that ends is a failure. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        match self.0.next().await {
            Some(numbered) => Ok(numbered.event),
            None => Err(Failure::new(Kind::NotRunning, "The node has stopped.")),
        }
    }
}
