//! Who may do what, as it stands at this instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use kinsync_protocol::id::DeviceId;
use libp2p::futures::task::AtomicWaker;

use super::protocols::Protocol;

/// What a device is to this one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Role {
    /// One of the person's own devices.
    Kin,
    /// Somebody else's device that may have some domains.
    Guest,
    /// Trusted until it leaves, and remembered nowhere.
    Once,
    /// Was trusted once and never will be again.
    Revoked,
    /// Anybody else.
    #[default]
    Stranger,
}

impl Role {
    /// Whether records may flow.
    pub fn is_trusted(self) -> bool {
        match self {
            Self::Kin | Self::Guest | Self::Once => true,
            Self::Revoked | Self::Stranger => false,
        }
    }
}

/// Who begins: the other device or this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The other device opens the connection or the stream.
    Theirs,
    /// This device does.
    Ours,
}

/// Whether strangers have a way in, and whether this device may go to them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Window {
    /// A pairing code of ours is open: strangers may connect and ask to pair.
    pub hosting: bool,
    /// The user typed a code: this device may connect to strangers and ask.
    pub joining: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Strangers are absent.
    roles: BTreeMap<DeviceId, Role>,
    window: Window,
    /// Strangers in the middle of pairing, whom a closing window spares.
    pairing: BTreeSet<DeviceId>,
}

#[derive(Debug, Default)]
struct Shared {
    state: RwLock<State>,
    generation: AtomicU64,
    door: AtomicWaker,
}

/// The live trust set, shared by all who have to ask it.
///
/// The store holds what is so; this holds what to do about it right now, and
/// is updated after each commit. Empty at first: it lets nobody in. Clones
/// are handles to the same set.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    shared: Arc<Shared>,
}

impl Admission {
    /// A set that trusts nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that grows with every change.
    ///
    /// Whoever noted it before a long step and finds another one after it has
    /// to ask again.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// What `device` is at this instant.
    pub fn role(&self, device: &DeviceId) -> Role {
        self.read().roles.get(device).copied().unwrap_or_default()
    }

    /// Makes `device` a `role` from this instant, and says what it was.
    ///
    /// Connections that the new role does not allow are closed by the door.
    pub fn set_role(&self, device: DeviceId, role: Role) -> Role {
        self.change(|state| {
            state.pairing.remove(&device);
            match role {
                Role::Stranger => state.roles.remove(&device),
                Role::Kin | Role::Guest | Role::Once | Role::Revoked => state.roles.insert(device, role),
            }
            .unwrap_or_default()
        })
    }

    /// Replaces the whole set, as at start.
    pub fn replace(&self, roles: impl IntoIterator<Item = (DeviceId, Role)>) {
        let roles = roles.into_iter().filter(|(_, role)| *role != Role::Stranger).collect();
        self.change(|state| state.roles = roles);
    }

    /// Everybody who is not a stranger.
    pub fn roles(&self) -> Vec<(DeviceId, Role)> {
        self.read().roles.iter().map(|(device, role)| (*device, *role)).collect()
    }

    /// Whether strangers have a way in at this instant.
    pub fn window(&self) -> Window {
        self.read().window
    }

    /// Opens or closes the way for strangers.
    ///
    /// Closing it disconnects them, except those [`spare`](Self::spare)d.
    pub fn set_window(&self, window: Window) {
        self.change(|state| state.window = window);
    }

    /// Lets a stranger finish pairing although the window has closed.
    ///
    /// For the one whose code was right and who waits for a person's answer.
    /// Such a stranger is also not displaced by others. Ends when the device
    /// gets a role, or with `false`.
    pub fn spare(&self, device: DeviceId, spared: bool) {
        self.change(
            |state| if spared { state.pairing.insert(device) } else { state.pairing.remove(&device) },
        );
    }

    /// Whether a stream of `protocol` may be opened by `side` right now.
    pub fn allows(&self, device: &DeviceId, protocol: Protocol, side: Side) -> bool {
        let state = self.read();
        match (state.role(device), protocol) {
            (Role::Kin, _) | (Role::Guest | Role::Once, Protocol::Pair | Protocol::Sync) => true,
            // It exchanges no trust, but has to be able to say that its own has ended.
            (Role::Guest | Role::Once, Protocol::Trust) => side == Side::Theirs,
            // So that it can be told, also when it tries to pair with a key
            // that is dead.
            (Role::Revoked, Protocol::Trust) => true,
            (Role::Revoked, Protocol::Pair) => state.window.open(side),
            (Role::Stranger, Protocol::Pair) => state.window.open(side) || state.pairing.contains(device),
            (Role::Revoked, Protocol::Sync) | (Role::Stranger, Protocol::Trust | Protocol::Sync) => false,
        }
    }

    /// Whether a connection begun by `side` may exist right now.
    pub fn may_connect(&self, device: &DeviceId, side: Side) -> bool {
        let state = self.read();
        match (state.role(device), side) {
            (Role::Kin | Role::Guest | Role::Once, _) | (Role::Revoked, Side::Theirs) => true,
            (Role::Revoked, Side::Ours) => state.window.joining,
            (Role::Stranger, _) => state.window.open(side) || state.pairing.contains(device),
        }
    }

    /// Whether a closing window spares this stranger.
    pub fn is_spared(&self, device: &DeviceId) -> bool {
        self.read().pairing.contains(device)
    }

    /// Has `waker` called at the next change. One at a time: the door's.
    pub(crate) fn wake_on_change(&self, waker: &Waker) {
        self.shared.door.register(waker);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut state);
            // Under the lock, so that nobody reads a new state under an old number.
            self.shared.generation.fetch_add(1, Ordering::AcqRel);
            result
        };
        self.shared.door.wake();
        result
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn role(&self, device: &DeviceId) -> Role {
        self.roles.get(device).copied().unwrap_or_default()
    }
}

impl Window {
    fn open(self, side: Side) -> bool {
        match side {
            Side::Theirs => self.hosting,
            Side::Ours => self.joining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: DeviceId = DeviceId([1; 32]);
    const HOSTING: Window = Window { hosting: true, joining: false };
    const CLOSED: Window = Window { hosting: false, joining: false };

    fn reachable(admission: &Admission, side: Side) -> Vec<Protocol> {
        Protocol::ALL.into_iter().filter(|protocol| admission.allows(&PHONE, *protocol, side)).collect()
    }

    /// S9: nobody is let in unless somebody said so.
    #[test]
    fn a_new_set_lets_nobody_in() {
        let admission = Admission::new();
        for side in [Side::Theirs, Side::Ours] {
            assert!(!admission.may_connect(&PHONE, side));
            assert_eq!(reachable(&admission, side), []);
        }
    }

    #[test]
    fn each_role_reaches_its_protocols_and_no_other() {
        use Protocol::{Pair, Sync, Trust};
        let cases: [(Role, &[Protocol], &[Protocol]); 5] = [
            (Role::Kin, &[Pair, Trust, Sync], &[Pair, Trust, Sync]),
            (Role::Guest, &[Pair, Trust, Sync], &[Pair, Trust, Sync]),
            (Role::Once, &[Pair, Trust, Sync], &[Pair, Trust, Sync]),
            (Role::Revoked, &[Trust], &[Pair, Trust]),
            (Role::Stranger, &[], &[Pair]),
        ];
        for (role, closed, hosting) in cases {
            let admission = Admission::new();
            admission.set_role(PHONE, role);
            assert_eq!(reachable(&admission, Side::Theirs), closed, "{role:?}");
            admission.set_window(HOSTING);
            assert_eq!(reachable(&admission, Side::Theirs), hosting, "{role:?}, window open");
            let is_kin = matches!(role, Role::Kin | Role::Revoked);
            assert_eq!(admission.allows(&PHONE, Trust, Side::Ours), is_kin, "{role:?}");
        }
    }

    #[test]
    fn an_open_code_lets_strangers_come_and_does_not_send_us_to_them() {
        let admission = Admission::new();
        admission.set_window(HOSTING);
        assert!(admission.may_connect(&PHONE, Side::Theirs));
        assert!(!admission.may_connect(&PHONE, Side::Ours));
        assert!(!admission.allows(&PHONE, Protocol::Pair, Side::Ours));
    }

    #[test]
    fn a_spared_stranger_outlives_the_window_until_it_has_a_role() {
        let admission = Admission::new();
        admission.set_window(HOSTING);
        admission.spare(PHONE, true);
        admission.set_window(CLOSED);
        assert_eq!(reachable(&admission, Side::Theirs), [Protocol::Pair]);

        admission.set_role(PHONE, Role::Kin);
        assert!(!admission.is_spared(&PHONE));
        admission.set_role(PHONE, Role::Stranger);
        assert!(!admission.may_connect(&PHONE, Side::Theirs));
    }

    #[test]
    fn every_change_gets_a_new_number() {
        let admission = Admission::new();
        let mut last = admission.generation();
        let changes: [&dyn Fn(); 4] = [
            &|| {
                admission.set_role(PHONE, Role::Kin);
            },
            &|| admission.set_window(HOSTING),
            &|| admission.spare(PHONE, true),
            &|| admission.replace([(PHONE, Role::Guest)]),
        ];
        for change in changes {
            change();
            assert!(admission.generation() > last);
            last = admission.generation();
        }
        assert_eq!(admission.roles(), [(PHONE, Role::Guest)]);
    }
}
