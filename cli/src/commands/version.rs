//! `kinsync version`: which build this is.

use serde::Serialize;

use super::Run;
use crate::failure::Result;
use crate::output::{Page, Text};

/// Prints the version.
pub(crate) fn run(run: &Run) -> Result<()> {
    run.out.result(&Version {
        v: 1,
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    })
}

#[derive(Serialize)]
struct Version {
    v: u8,
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

impl Text for Version {
    fn text(&self, _: Page) -> String {
        format!("kinsync {} ({} {})\n", self.version, self.os, self.arch)
    }
}
