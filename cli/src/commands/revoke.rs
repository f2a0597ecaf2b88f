//! `kinsync revoke P`: ends the trust in a device.

use kinsync::request::{PeerShow, PeerState, Revoke as Ask, Revoked};

use super::Run;
use crate::args::Revoke;
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, WIDTH, clean, plural, wrap};
use crate::reach::Class;

/// Asks, then revokes; it holds once this returns.
pub(crate) async fn run(run: &Run, args: Revoke) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    // The whole id from here on, so that a rename in between changes nothing.
    let row = node.ask(PeerShow { peer: args.peer }).await?.row;
    if row.state != PeerState::Revoked {
        let question = format!(
            "Revoke {} ({})? It can no longer send or receive.\nWhat it already has stays on it.",
            clean(&row.name),
            row.id,
        );
        if !run.out.confirm(&question)? {
            node.close().await?;
            return Err(Failure::stopped("Nothing was changed."));
        }
    }
    run.out.result(&node.ask(Ask { peer: row.peer_id }).await?)?;
    node.close().await
}

impl Text for Revoked {
    fn text(&self, _: Page) -> String {
        let mut text = "Revoked.".to_owned();
        if self.closed > 0 {
            text += &format!(" {} closed.", plural(self.closed.into(), "connection"));
        }
        let told = names(&self.informed);
        let later = names(&self.later);
        match (told.is_empty(), later.is_empty()) {
            (true, true) => {}
            (false, true) => text += &format!(" {told} informed."),
            (true, false) => text += &format!(" {later} when next seen."),
            (false, false) => text += &format!(" {told} informed; {later} when next seen."),
        }
        wrap(&text, WIDTH) + "\n"
    }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use kinsync::clock::Moment;
    use kinsync::request::{PeerPath, PeerRow};

    use super::*;

    /// S16: who knows it already, and who will.
    #[test]
    fn it_says_who_was_told() {
        let peer = PeerRow {
            id: String::new(),
            peer_id: String::new(),
            name: "old-mac".to_owned(),
            role: None,
            state: PeerState::Revoked,
            path: PeerPath::None,
            last_seen: None,
            last_sync: None,
            clock_offset_ms: None,
            rights: Vec::new(),
        };
        let text = |closed, informed: &[&str], later: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let revoked = Revoked { peer: peer.clone(), closed, informed: own(informed), later: own(later) };
            revoked.text(Page::at(Moment(0)))
        };
        assert_eq!(
            text(1, &["laptop"], &["phone"]),
            "Revoked. 1 connection closed. laptop informed; phone when next seen.\n"
        );
        assert_eq!(text(0, &[], &["phone"]), "Revoked. phone when next seen.\n");
        assert_eq!(text(2, &[], &[]), "Revoked. 2 connections closed.\n");
    }
}
