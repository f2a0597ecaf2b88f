//! `kinsync init`: this device's identity, store and config.

use kinsync::request::{SelfRow, Status};
use kinsync::{Control, Kind};
use serde::Serialize;

use super::Run;
use super::peers::short;
use crate::args::Init;
use crate::failure::{Failure, Result};
use crate::output::{Page, Text, clean};
use crate::parse;
use crate::paths::shown;
use crate::reach::Class;

/// Creates them; refuses where they are already.
pub(crate) async fn run(run: &Run, args: Init) -> Result<()> {
    let control = if args.renew {
        renew(run).await?
    } else {
        let name = args.name.or_else(host_name);
        Control::init(&run.home, name.as_deref()).await?
    };
    let me = kinsync::request::Request::run(Status {}, &control).await?.me;
    run.out.result(&Created { v: 1, me, store: shown(&run.home.store()), config: shown(&run.home.config()) })
}

/// Gives this device a new key. One that does not know of its removal asks
/// first: with a new key it is a stranger to every device.
async fn renew(run: &Run) -> Result<Control> {
    if run.reach(Class::Running).await.is_ok() {
        return Err(Failure::new(Kind::Busy, "A node is running on this device.")
            .hint("Stop it first:  kinsync down; kinsync init --renew"));
    }
    let node = run.reach(Class::Local).await?;
    let warnings = node.ask(Status {}).await?.warnings;
    node.close().await?;
    let question = "This device does not know of having been removed. With a new key it is a \
                    stranger\nto every device it is paired with. Go on?";
    if !warnings.iter().any(|warning| warning.code == "revoked") && !run.out.confirm(question)? {
        return Err(Failure::stopped("Nothing was changed."));
    }
    Ok(Control::renew(&run.home).await?)
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
