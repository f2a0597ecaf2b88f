//! The way to a node: the one that runs, or its library in this process.

use std::time::Duration;

use kinsync::api::{Client, EventStream};
use kinsync::events::Event;
use kinsync::request::Request;
use kinsync::{Control, Home, Kind};

use crate::commands::Run;
use crate::failure::{Failure, Result};

/// How often to look whether a node has come or gone.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    /// The one that runs for this command alone.
    own: Option<kinsync::Node>,
}

impl Node {
    /// Finds a node in the way that `class` allows.
    pub(crate) async fn reach(run: &Run, class: Class) -> Result<Self> {
        let home = run.home.clone();
        let running = Client::running(&home).await;
        let missing = matches!(&running, Err(failure) if failure.kind == Kind::NotRunning);
        if class == Class::Running || !missing {
            return Ok(Self { home, client: running?, own: None });
        }
        let control = Control::open(&home).await?;
        if class == Class::Local {
            return Ok(Self { home, client: Client::Embedded(control), own: None });
        }
        run.out.note("No node is running here: this command runs one until it is done.");
        let own = kinsync::Node::start(control)?;
        Ok(Self { home, client: Client::Embedded(own.control().clone()), own: Some(own) })
    }

    /// Asks one thing.
    pub(crate) async fn ask<R: Request>(&self, request: R) -> Result<R::Answer> {
        Ok(self.client.call(request).await?)
    }

    /// Stops what was started for this command.
    pub(crate) async fn close(self) -> Result<()> {
        match self.own {
            Some(own) => Ok(own.stop().await?),
            None => Ok(()),
        }
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
