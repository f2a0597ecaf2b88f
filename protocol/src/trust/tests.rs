//! What trust does, rule by rule, in random sets of devices, and against forgers.

use ed25519_dalek::SigningKey;

use super::statement::{Body, Kind, Reason, Signed, Statement};
use super::*;
use crate::card::Card;
use crate::pairing::Paired;
use crate::stamp::UnixMillis;

mod forgery;
mod rows;
mod rules;
mod simulation;

const PHONE: u8 = 1;
const LAPTOP: u8 = 2;
const DESKTOP: u8 = 3;
const TABLET: u8 = 4;
const AT: UnixMillis = UnixMillis(1_700_000_000_000);

fn key(name: u8) -> SigningKey {
    SigningKey::from_bytes(&[name; 32])
}

fn id(name: u8) -> DeviceId {
    DeviceId(key(name).verifying_key().to_bytes())
}

/// What a pairing leaves on the side of `me`, word included.
fn paired(me: u8, other: u8, role: Role) -> Paired {
    let body = Body { label: "paired".into(), ..Body::new(Kind::Kin, id(other), id(me), AT) };
    Paired {
        device: id(other),
        card: Card { label: "paired".into(), ..Card::default() },
        role,
        domains: None,
        once_seconds: 60,
        ours: (role == Role::Kin).then(|| Statement::new(Signed::sign(&body, &key(me)), None)),
        theirs: None,
    }
}

/// A set of devices that know each other as far as they were told.
struct Set {
    views: BTreeMap<u8, View>,
}

impl Set {
    /// Devices of which each was paired by the first.
    fn of(names: &[u8]) -> Self {
        let views = names.iter().map(|name| (*name, View::new(id(*name)))).collect();
        let mut set = Self { views };
        for other in &names[1..] {
            set.pair(names[0], *other);
        }
        set.tell_all();
        set
    }

    fn view(&mut self, name: u8) -> &mut View {
        self.views.entry(name).or_insert_with(|| View::new(id(name)))
    }

    fn pair(&mut self, host: u8, joiner: u8) {
        self.view(host).pair(&paired(host, joiner, Role::Kin), AT, Duration::ZERO).unwrap();
        self.view(joiner).pair(&paired(joiner, host, Role::Kin), AT, Duration::ZERO).unwrap();
    }

    /// `from` meets `to`, and `to` hears what `from` says.
    fn tell(&mut self, from: u8, to: u8) -> Changes {
        let statements = self.view(from).statements_to_send(&key(from));
        self.view(to).accept(id(from), &statements, AT)
    }

    /// Everybody meets everybody until nobody learns anything more.
    fn tell_all(&mut self) {
        let names: Vec<_> = self.views.keys().copied().collect();
        for _ in 0..20 {
            let before = self.views.clone();
            for from in &names {
                for to in names.iter().filter(|to| *to != from) {
                    self.tell(*from, *to);
                }
            }
            if self.views == before {
                return;
            }
        }
        panic!("views never settle");
    }

    fn standing(&self, of: u8, at: u8) -> Standing {
        self.views[&at].standing(id(of))
    }
}
