//! `kinsync init`: this device's identity, store and config.

use kinsync::Control;
use kinsync::request::{SelfRow, Status};
use serde::Serialize;

use super::Run;
use super::peers::short;
use crate::args::Init;
use crate::failure::Result;
use crate::output::{Page, Text, clean};
use crate::parse;
use crate::paths::shown;

/// Creates them; refuses where they are already.
pub(crate) async fn run(run: &Run, args: Init) -> Result<()> {
    let control = if args.renew {
        Control::renew(&run.home).await?
    } else {
        let name = args.name.or_else(host_name);
        Control::init(&run.home, name.as_deref()).await?
    };
    let me = kinsync::request::Request::run(Status {}, &control).await?.me;
    run.out.result(&Created { v: 1, me, store: shown(&run.home.store()), config: shown(&run.home.config()) })
}

/// What the system calls this machine, if other devices can show that.
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let short = name.split('.').next()?;
    parse::device_name(short).ok()
}

#[derive(Serialize)]
struct Created {
    v: u8,
    #[serde(rename = "self")]
    me: SelfRow,
    store: String,
    config: String,
}

impl Text for Created {
    fn text(&self, _: Page) -> String {
        let (name, id) = (clean(&self.me.name), short(&self.me.id));
        format!("Created identity  {name}  {id}\nStore   {}\nConfig  {}\n", self.store, self.config)
    }
}
