//! Looking at everything that could be wrong, with a remedy for each.

use kinsync_store::{State, StoreSnapshot};

use super::{Control, command::Command, node::is_far_off, open::blocking};
use crate::{
    config::Config,
    failure::Failure,
    identity::Identity,
    request::{DoctorRow, DoctorRows, Level, PeerState},
};

/// Less free space than this is worth a warning: a first sync of a large
/// library takes about as much.
const FREE_BYTES_LOW: u64 = 256 << 20;

/// Less free space than this and the store will soon stop writing.
const FREE_BYTES_BAD: u64 = 16 << 20;

impl Control {
    /// Looks at the files, the store and the disk, and with a running node at
    /// the network. Changes nothing.
    pub async fn doctor(&self) -> Result<DoctorRows, Failure> {
        let mut rows = vec![self.identity_check().await, self.config_check().await];
        rows.push(self.store_check().await);
        rows.push(self.disk_check().await);
        if self.node.is_some() {
            match self.ask(|reply| Command::Doctor { reply }).await {
                Ok(found) => rows.extend(found),
                Err(failure) => rows.push(broken("node", &failure)),
            }
        } else {
            rows.push(DoctorRow {
                check: "node".to_owned(),
                level: Level::Warn,
                text: "not running, so the network was not checked".to_owned(),
                remedy: Some("kinsync up".to_owned()),
            });
        }
        rows.extend(self.clock_checks().await?);
        Ok(DoctorRows { rows })
    }

    async fn identity_check(&self) -> DoctorRow {
        let path = self.shared.home.identity();
        let device = self.device();
        match blocking(move || Identity::load(&path)).await {
            Err(failure) => broken("identity", &failure),
            Ok(found) if found.device() != device => DoctorRow {
                check: "identity".to_owned(),
                level: Level::Bad,
                text: "the file holds another device than the one that runs".to_owned(),
                remedy: Some("kinsync down, then kinsync up".to_owned()),
            },
            Ok(_) => fine("identity", format!("{}, readable by you alone", device.short())),
        }
    }

    async fn config_check(&self) -> DoctorRow {
        let path = self.shared.home.config();
        let shown = path.display().to_string();
        match blocking(move || Config::load(&path)).await {
            Err(failure) => broken("config", &failure),
            Ok(_) => fine("config", shown),
        }
    }

    async fn store_check(&self) -> DoctorRow {
        let store = self.shared.storage.store();
        match store.state() {
            State::Writing => {}
            State::DiskFull => {
                return DoctorRow {
                    check: "store".to_owned(),
                    level: Level::Bad,
                    text: "cannot be written: the disk is full".to_owned(),
                    remedy: Some("free some space; writing resumes by itself".to_owned()),
                };
            }
            State::Poisoned { reason } => {
                return DoctorRow {
                    check: "store".to_owned(),
                    level: Level::Bad,
                    text: format!("writing stopped after a failure: {reason}"),
                    remedy: Some("check the disk, then restart the node".to_owned()),
                };
            }
        }
        let bytes = store.bytes().unwrap_or_default();
        match self.shared.storage.read(|snapshot: &StoreSnapshot| snapshot.check()).await {
            Err(error) => broken("store", &error.into()),
            Ok(report) if !report.is_sound() => DoctorRow {
                check: "store".to_owned(),
                level: Level::Bad,
                text: match report.faults.first() {
                    Some(first) => format!("{} faults, the first: {}", report.count, first.what),
                    None => format!("{} faults", report.count),
                },
                remedy: Some("keep the file; kinsync sync --full fetches what other devices hold".to_owned()),
            },
            Ok(report) => fine(
                "store",
                format!("readable, {} records, {} MB, no damage", report.items, bytes.div_ceil(1 << 20)),
            ),
        }
    }

    async fn disk_check(&self) -> DoctorRow {
        let dir = self.shared.home.data_dir().to_owned();
        let free = blocking(move || {
            free_bytes(&dir).map_err(|error| Failure::io(format_args!("look at {}", dir.display()), &error))
        });
        let free = match free.await {
            Err(failure) => return broken("disk", &failure),
            Ok(free) => free,
        };
        let level = match free {
            ..FREE_BYTES_BAD => Level::Bad,
            FREE_BYTES_BAD..FREE_BYTES_LOW => Level::Warn,
            FREE_BYTES_LOW.. => Level::Ok,
        };
        let remedy = (level != Level::Ok).then(|| "free some space".to_owned());
        DoctorRow { check: "disk".to_owned(), level, text: format!("{} MB free", free >> 20), remedy }
    }

    /// One row for each peer whose clock is far off.
    async fn clock_checks(&self) -> Result<Vec<DoctorRow>, Failure> {
        let peers = self.peers().await?.peers;
        let off = peers.iter().filter(|peer| peer.state != PeerState::Revoked).filter_map(|peer| {
            let offset = peer.clock_offset_ms.filter(|offset| is_far_off(*offset))?;
            let side = if offset > 0 { "ahead of" } else { "behind" };
            let off = jiff::SignedDuration::from_millis(offset.saturating_abs() / 1_000 * 1_000);
            Some(DoctorRow {
                check: "clock".to_owned(),
                level: Level::Warn,
                text: format!("{} is {off:#} {side} this device, at last contact", peer.name),
                remedy: Some("set the clock of the one that is wrong".to_owned()),
            })
        });
        Ok(off.collect())
    }
}

fn fine(check: &str, text: String) -> DoctorRow {
    DoctorRow { check: check.to_owned(), level: Level::Ok, text, remedy: None }
}

fn broken(check: &str, failure: &Failure) -> DoctorRow {
    DoctorRow {
        check: check.to_owned(),
        level: Level::Bad,
        text: failure.message.clone(),
        remedy: failure.hint.clone(),
    }
}

#[cfg(unix)]
fn free_bytes(dir: &std::path::Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_dir: &std::path::Path) -> std::io::Result<u64> {
    Err(std::io::ErrorKind::Unsupported.into())
}
