//! A disk that was full, and the room that there is again.
//!
//! A store on a full disk tries again with each write. But passes that failed
//! for want of room wait longer and longer, up to a minute, and the other side
//! cannot know better. So once something was refused here, the store is given
//! something to do on each beat, and when it has done that all devices are asked
//! for what they could not bring.

use std::convert::Infallible;

use kinsync_protocol::trust::Changes;
use kinsync_store::Job;
use tracing::info;

use super::{EventLoop, Work};

/// What became of what devices brought.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Whether something was refused since there last was room.
    refused: bool,
    /// Whether a try has not been answered: one at a time, should the disk stall.
    trying: bool,
}

impl Room {
    /// Something that a device brought found no room.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether to try now if there is room.
    fn begin(&mut self) -> bool {
        self.refused && !std::mem::replace(&mut self.trying, true)
    }

    /// How a try went. Whether what was refused can be asked for.
    fn tried(&mut self, is_written: bool) -> bool {
        self.trying = false;
        is_written && std::mem::take(&mut self.refused)
    }
}

impl EventLoop {
    /// Tries whether there is room for what was refused.
    pub(super) fn try_room(&mut self) {
        if self.room.begin() {
            let storage = self.storage.clone();
            // Changes nothing, so it costs no commit; without room it is refused
            // like any other.
            let job = Job::change_view(|_| Ok::<_, Infallible>((Changes::default(), ())));
            self.work.spawn(async move { Work::TriedRoom(storage.write(job).await.is_ok()) });
        }
    }

    pub(super) fn on_tried_room(&mut self, is_written: bool) {
        if self.room.tried(is_written) {
            info!("there is room on the disk again");
            let now = self.now();
            self.state.handle_resumed(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_asked_for_once_there_is_room() {
        let mut room = Room::default();
        assert!(!room.begin(), "nothing was refused");
        room.refuse();
        assert!(room.begin());
        assert!(!room.tried(false));
        assert!(room.begin(), "on the next beat");
        assert!(room.tried(true));
        assert!(!room.begin(), "nothing was refused since");
    }

    #[test]
    fn a_store_that_stalls_is_given_one_try() {
        let mut room = Room::default();
        room.refuse();
        assert_eq!([room.begin(), room.begin()], [true, false]);
    }
}
