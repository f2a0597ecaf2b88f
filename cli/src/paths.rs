//! Where things are: under `--home`, or where the system keeps such things.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use directories::{BaseDirs, ProjectDirs};
use kinsync::{Home, Kind};

use crate::failure::{Failure, Result};

/// The folder that was given, wherever a process of this command stands.
pub(crate) fn absolute(home: Option<&Path>) -> Result<Option<PathBuf>> {
    Ok(home.map(std::path::absolute).transpose().context("find the folder of --home")?)
}

/// Everything under `home`, or in the folders of the system without one.
pub(crate) fn home(home: Option<&Path>) -> Result<Home> {
    if let Some(home) = home {
        return Ok(Home::under(home));
    }
    let dirs = ProjectDirs::from("", "", "kinsync").ok_or_else(|| {
        Failure::new(Kind::NotFound, "This user has no home folder.")
            .hint("Say where things belong:  kinsync --home DIR …")
    })?;
    let data = dirs.data_local_dir();
    let log = dirs.state_dir().unwrap_or(data).join("log");
    let run = dirs.runtime_dir().map_or_else(|| data.join("run"), Path::to_owned);
    Ok(Home::at(data, dirs.config_dir(), log, run))
}

/// What the node tells its makers, beside the activity log for its users.
pub(crate) fn trace_log(home: &Home) -> PathBuf {
    home.log_dir().join("node.log")
}

/// A path as people write it: `~` for the home folder.
pub(crate) fn shown(path: &Path) -> String {
    let base = BaseDirs::new();
    let inside = base.as_ref().and_then(|dirs| path.strip_prefix(dirs.home_dir()).ok());
    match inside {
        Some(rest) if !rest.as_os_str().is_empty() => format!("~/{}", rest.display()),
        Some(_) | None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_holds_everything() {
        let home = home(Some(Path::new("/tmp/a"))).unwrap();
        for path in [home.identity(), home.store(), home.config(), home.socket(), trace_log(&home)] {
            assert!(path.starts_with("/tmp/a"), "{path:?}");
        }
    }

    #[test]
    fn a_relative_home_is_made_absolute() {
        assert!(absolute(Some(Path::new("a"))).unwrap().unwrap().is_absolute());
        assert_eq!(absolute(None).unwrap(), None);
    }
}
