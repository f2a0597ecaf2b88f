//! The side that enters the code.

use std::future;

use kinsync::events::Event;
use kinsync::request::PairJoin;

use super::{Heard, Pairing, code, paired, role, who};
use crate::args::Join;
use crate::commands::Run;
use crate::failure::Result;
use crate::output::clean;
use crate::reach::{Class, Node};

/// Looks for the device that shows the code and stays until it has answered.
pub(crate) async fn run(run: &Run, args: Join) -> Result<()> {
    let code = code::typed(args.code)?;
    let node = run.reach(Class::Bounded).await?;
    let (role, allowed) = (args.role.map(role), args.rights.allowed());
    let ask = PairJoin { code, addr: args.addr, label: args.label, role, allowed };
    let ended = enter(run, &node, ask).await;
    let closed = node.close().await;
    ended.and(closed)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what concerns other things passes by")]
async fn enter(run: &Run, node: &Node, ask: PairJoin) -> Result<()> {
    let events = node.events().await?;
    let joining = node.ask(ask).await?;
    run.out.note("Looking for the other device…");
    let mut pairing =
        Pairing { run, node, events, number: joining.pairing, when_stopped: "Nobody is trusted." };
    loop {
        let Heard::Event(event) = pairing.next(future::pending::<()>()).await? else { continue };
        match &event {
            Event::Found { path, .. } => run.out.note(match path.as_str() {
                "lan" => "Found on LAN.",
                _ => "Found at that address.",
            }),
            Event::Request { name, platform, check, .. } => {
                if run.out.is_json() {
                    run.out.line_json(&event)?;
                } else {
                    run.out.say(&format!("Connected to {}", who(name, platform.as_deref())));
                    run.out.say(&format!("Check number {}. Same on the other screen?", clean(check)));
                    run.out.note(&format!("Waiting for {} to accept…", clean(name)));
                }
            }
            Event::Paired { peer, .. } => {
                return paired(run.out, &event, peer);
            }
            _ => {}
        }
    }
}
