//! `kinsync import DIR --as APPLICATION`: an application's folder as records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicatif::ProgressBar;
use kinsync::adapters::{self, FolderError, Item, sillytavern};
use kinsync::request::{Counts, PUT_MANY_ITEMS_MAX, PutItem, PutMany, Status, Value};
use kinsync_protocol::id::DeviceId;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Run;
use crate::args::{Application, Import};
use crate::failure::{Failure, Result, sentence};
use crate::output::{Align, Output, Page, Text, WIDTH, count, plural, table, wrap};
use crate::paths::shown;
use crate::progress;
use crate::reach::{Class, Node};

/// How many items the reader may be ahead of the writer: values are at most
/// 64 KiB, so this bounds the memory between them.
const AHEAD_MAX: usize = 64;

/// A batch is written when it holds this much, although it may hold more
/// records: few enough bytes that the bar moves while it is written.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Reads the folder, writes what is new, and tells what was left out.
pub(crate) async fn run(run: &Run, args: Import) -> Result<()> {
    let node = run.reach(Class::Local).await?;
    let me = node.ask(Status {}).await?.me;
    let device = me.device().ok_or_else(|| anyhow::anyhow!("read the id of this device"))?;

    let (sender, receiver) = mpsc::channel(AHEAD_MAX);
    let dir = args.dir.clone();
    let reader = tokio::task::spawn_blocking(move || read(args.kind, &dir, &device, &sender));
    let mut writer = Writer::new(run.out, &node, args.dry_run);
    let written = writer.write(receiver).await;
    let read = reader.await.map_err(|error| anyhow::Error::new(error).context("read the folder"))?;
    // When writing failed the reader was cut off, which is not its failure.
    written?;
    let (folder, counts) = read?;
    let imported = writer.done(shown(&folder), args.dry_run, &counts);
    run.out.result(&imported)?;
    node.close().await
}

fn read(
    kind: Application,
    dir: &std::path::Path,
    device: &DeviceId,
    sender: &mpsc::Sender<Item>,
) -> Result<(PathBuf, adapters::Counts)> {
    let each = |item| sender.blocking_send(item).map_err(|_| Failure::stopped("Stopped."));
    match kind {
        Application::SillyTavern => sillytavern::read(dir, device, each),
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a new reason is told in its own words")]
        let code = match &error {
            FolderError::NotRecognised { .. } => "not-recognised",
            FolderError::SeveralUsers { .. } => "several-users",
            _ => "unreadable",
        };
        let error = format!("{:#}", anyhow::Error::new(error));
        Self::usage(sentence(&error) + ".").code_is(code)
    }
}

/// Collects items into batches of one domain and writes them.
struct Writer<'a> {
    node: &'a Node,
    dry_run: bool,
    bar: ProgressBar,
    waiting: BTreeMap<&'static str, (Vec<PutItem>, usize)>,
    domains: BTreeMap<&'static str, Counts>,
    skipped: Vec<Skipped>,
}

impl<'a> Writer<'a> {
    fn new(out: Output, node: &'a Node, dry_run: bool) -> Self {
        let (waiting, domains) = (BTreeMap::new(), BTreeMap::new());
        Self { node, dry_run, bar: progress::bar(out), waiting, domains, skipped: Vec::new() }
    }

    async fn write(&mut self, mut items: mpsc::Receiver<Item>) -> Result<()> {
        while let Some(item) = items.recv().await {
            match item {
                Item::Skipped(skipped) => self.skipped.push(Skipped {
                    line: skipped.to_string(),
                    path: skipped.path.display().to_string(),
                    code: skipped.reason.code(),
                    reason: skipped.reason.to_string(),
                }),
                Item::Entry(entry) => {
                    let (items, bytes) = self.waiting.entry(entry.domain).or_default();
                    *bytes += entry.value.len();
                    items.push(PutItem { id: entry.key, value: Value(entry.value) });
                    if items.len() >= PUT_MANY_ITEMS_MAX || *bytes >= BATCH_BYTES_MAX {
                        let items = std::mem::take(items);
                        *bytes = 0;
                        self.put(entry.domain, items).await?;
                    }
                }
            }
        }
        for (domain, (items, _)) in std::mem::take(&mut self.waiting) {
            self.put(domain, items).await?;
        }
        Ok(())
    }

    async fn put(&mut self, domain: &'static str, items: Vec<PutItem>) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        self.bar.set_message(domain);
        let moved = items.len() as u64;
        let request = PutMany { domain: domain.to_owned(), items, dry_run: self.dry_run };
        let counts = self.node.ask(request).await?;
        let sum = self.domains.entry(domain).or_default();
        sum.added += counts.added;
        sum.changed += counts.changed;
        sum.unchanged += counts.unchanged;
        self.bar.inc(moved);
        Ok(())
    }

    fn done(self, folder: String, dry_run: bool, counts: &adapters::Counts) -> Imported {
        self.bar.finish_and_clear();
        let row = |(name, counts)| DomainRow { name, counts };
        Imported {
            v: 1,
            folder,
            dry_run,
            domains: self.domains.into_iter().map(row).collect(),
            files: counts.files,
            ignored: counts.ignored,
            credentials: counts.credentials,
            skipped: self.skipped,
        }
    }
}

/// What an import did, or would do.
#[derive(Serialize)]
struct Imported {
    v: u8,
    folder: String,
    dry_run: bool,
    domains: Vec<DomainRow>,
    files: u64,
    ignored: u64,
    credentials: u64,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct DomainRow {
    name: &'static str,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Skipped {
    path: String,
    code: &'static str,
    reason: String,
    #[serde(skip)]
    line: String,
}

impl Text for Imported {
    fn text(&self, _: Page) -> String {
        let not_done = if self.dry_run { "  (dry run: nothing was written)" } else { "" };
        let mut text =
            wrap(&format!("{}: {} read{not_done}", self.folder, plural(self.files, "file")), WIDTH);
        text.push('\n');
        let mut rows = vec![["domain", "new", "changed", "same"].map(str::to_owned).to_vec()];
        rows.extend(self.domains.iter().map(|DomainRow { name, counts }| {
            let numbers = [counts.added, counts.changed, counts.unchanged].map(count);
            std::iter::once((*name).to_owned()).chain(numbers).collect()
        }));
        use Align::{Left, Right};
        text += &table(&rows, &[Left, Right, Right, Right], 2);
        if !self.skipped.is_empty() {
            text += &format!("Left out, {}:\n", plural(self.skipped.len() as u64, "time"));
        }
        for skipped in &self.skipped {
            text += &wrap(&format!("  {}", crate::output::clean(&skipped.line)), WIDTH);
            text.push('\n');
        }
        if self.credentials > 0 {
            text += &format!("{} with credentials left out.\n", plural(self.credentials, "field"));
        }
        if self.ignored > 0 {
            text += &format!("{} of other kinds not read.\n", plural(self.ignored, "file"));
        }
        text
    }
}
