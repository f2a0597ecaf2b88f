//! A running node: the store, the swarm and the loop between them.

use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use crate::api::Server;
use crate::commits::Commits;
use crate::control::Control;
use crate::control::command::COMMANDS_MAX;
use crate::event_loop::{EventLoop, Parts};
use crate::failure::{Failure, Kind};
use crate::random;
use crate::swarm::{self, Admission, BuildError};

/// How long answers that are under way may take to get out at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// A node that runs until it is told to stop or dropped.
#[derive(Debug)]
pub struct Node {
    control: Control,
    event_loop: JoinHandle<()>,
}

impl Node {
    /// Puts an open home on the network, as its settings say.
    ///
    /// Must be called within a tokio runtime. The node runs on without the
    /// local API; see [`Node::serve`] for that.
    pub fn start(control: Control) -> Result<Self, Failure> {
        let admission = Admission::new();
        let config = swarm_config(&control);
        let keypair = control.identity().keypair();
        let swarm = swarm::build(&keypair, &config, admission.clone()).map_err(build_failure)?;
        let commits = Arc::new(Commits::default());
        let watched = Arc::clone(&commits);
        control.storage().store().on_commit(move |commit| watched.note(commit));
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let parts = Parts {
            control: control.clone(),
            swarm,
            admission,
            commands: receiver,
            commits,
            boot: random::bytes(),
        };
        let event_loop = tokio::spawn(EventLoop::new(parts).run());
        info!(device = %control.device().short(), "the node is up");
        Ok(Self { control: control.attached(commands), event_loop })
    }

    /// Everything that can be asked of it.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Runs with the local API on its socket until the node stops.
    pub async fn serve(self) -> Result<(), Failure> {
        let server = Server::bind(self.control.home())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.serve(self.control.clone(), async {
            // Dropped or sent, the node has stopped.
            let _ = stopped.await;
        });
        let mut serving = tokio::spawn(serving);
        // The loop ends when nobody can ask it anything any more.
        drop(self.control);
        let ended = tokio::select! {
            ended = self.event_loop => ended.map_err(Failure::internal),
            served = &mut serving => return served.map_err(Failure::internal)?,
        };
        drop(stop);
        // Whoever watches events would keep the socket open for ever.
        let _ = timeout(FAREWELL, serving).await;
        ended
    }

    /// Stops and waits until all is on disk.
    pub async fn stop(self) -> Result<(), Failure> {
        self.control.down().await?;
        self.event_loop.await.map_err(Failure::internal)
    }
}

fn swarm_config(control: &Control) -> swarm::Config {
    let config = control.config();
    let config = config.borrow();
    let mut network = swarm::Config::on_port(config.port);
    if !config.listen.is_empty() {
        network.listen.clone_from(&config.listen);
    }
    network.quic = config.quic;
    network.mdns = config.mdns;
    network
}

fn build_failure(error: BuildError) -> Failure {
    let busy = |port: u16, address: &Multiaddr| {
        Failure::new(Kind::PortInUse, format!("Port {port} is in use by another program ({address})."))
            .hint(format!("Choose another one:  kinsync config set port {}", u32::from(port) + 1))
    };
    match &error {
        BuildError::PortInUse { port, address } => busy(*port, address),
        BuildError::PortPrivileged { port, .. } => {
            Failure::new(Kind::PortInUse, format!("Port {port} needs administrator rights."))
                .hint("Choose a port from 1024 up:  kinsync config set port 7842")
        }
        BuildError::Unsupported(address) => Failure::new(
            Kind::BadAddress,
            format!("Cannot listen on {address}: not an address of TCP or QUIC."),
        )
        .hint("For example:  --listen /ip4/0.0.0.0/tcp/7842"),
        BuildError::Key(_) | BuildError::Listen { .. } | BuildError::Nowhere => {
            Failure::new(Kind::Io, format!("Cannot listen: {error}."))
        }
    }
}
