//! `roster restore-check`: erases again, in a restored database, whom the erasure ledger lists.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use roster_commands::clock::{Clock, Ids, SystemClock, SystemIds};
use roster_commands::{Directory, Limits};
use roster_domain::meta::Meta;
use roster_domain::stream::kind;
use roster_projections::erasures::{self, Ledger, LedgerLine};
use roster_projections::{ProjectionOptions, Projections};
use roster_store::{Cell, Standing, restore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Settings;
use crate::output;
use crate::session::Session;

/// Streams that are looked up with one statement.
const PAGE: usize = 1_000;
/// Erasures under way at once; they share appends.
const AT_ONCE: usize = 32;
/// How long the read models are waited for before the next look.
const LOOK: Duration = Duration::from_secs(1);
/// Looks at a read model that fails, after which it is given up.
const FAILED_LOOKS: usize = 30;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A ledger file, beside this server's own; may be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "without_ledger")]
    ledger: Vec<PathBuf>,
    /// There is no ledger: nobody was ever erased, or whoever was may come back.
    #[arg(long)]
    without_ledger: bool,
    /// The database was restored with other tools, such as to a point in time: its log begins another epoch.
    #[arg(long)]
    new_epoch: bool,
}

/// What became of those who are listed.
#[derive(Default)]
struct Counts {
    listed: usize,
    erased: usize,
    gone: usize,
    absent: usize,
    wrong: usize,
}

pub(super) async fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let own = settings.erasure_ledger();
    let ledger = read(&args, &own)?;
    let session = Session::open(settings).await?;
    let cell = &session.cell;
    let used = used_epoch(&ledger, cell.name());
    let pending = restore::unchecked(cell.pool()).await?;
    let epoch = match (&pending, args.new_epoch) {
        (None, true) => cell.begin_epoch(used).await?,
        (None, false) => cell.epoch().await?,
        (Some(_), _) => cell.raise_epoch(used).await?,
    };
    let listed = listed(&ledger, cell.name());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let counts = erase(cell, &listed).await?;
    let shown = show(cell, &tracker, &stop).await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    shown?;
    output::line(format_args!(
        "{} listed: {} erased again, {} gone already, {} not in this database, {} no person's",
        counts.listed, counts.erased, counts.gone, counts.absent, counts.wrong
    ))?;
    if ledger.torn > 0 {
        output::line(format_args!(
            "{} lines were cut off by a crash; each was written again behind it",
            ledger.torn
        ))?;
    }
    let is_good = counts.wrong == 0;
    if is_good && (pending.is_some() || args.new_epoch) {
        let line = LedgerLine::Epoch {
            cell: cell.name().to_owned(),
            epoch,
            time: SystemClock.now().to_utc(),
        };
        erasures::append(&own, &[line]).with_context(|| own.display().to_string())?;
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        restore::mark_checked(cell.pool(), count(counts.listed), count(counts.erased)).await?;
        output::line(format_args!("checked: epoch {epoch} may be served"))?;
    }
    session.close().await;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The files that are named, and the own one where there is one.
fn read(args: &Args, own: &PathBuf) -> anyhow::Result<Ledger> {
    let mut ledger = Ledger::default();
    let mut paths = args.ledger.clone();
    if own.exists() && !paths.contains(own) {
        paths.push(own.clone());
    }
    if paths.is_empty() && !args.without_ledger {
        bail!(
            "no erasure ledger at {}: name one with --ledger, or say --without-ledger",
            own.display()
        );
    }
    for path in paths {
        ledger.read(&path)?;
        output::note(format_args!("ledger {}", path.display()));
    }
    Ok(ledger)
}

/// The highest epoch that a ledger knows of a cell.
fn used_epoch(ledger: &Ledger, name: &str) -> i32 {
    let epochs = ledger.lines.iter().filter_map(|line| match line {
        LedgerLine::Erased { cell, epoch, .. } | LedgerLine::Epoch { cell, epoch, .. } => {
            (cell == name).then_some(*epoch)
        }
    });
    epochs.max().unwrap_or_default()
}

/// Who was erased from a cell: stream, project number and whether the id was suppressed, each person once.
fn listed(ledger: &Ledger, name: &str) -> Vec<(Uuid, i32, bool)> {
    let mut people: BTreeMap<Uuid, (i32, bool)> = BTreeMap::new();
    for line in &ledger.lines {
        match line {
            LedgerLine::Erased {
                cell,
                project_no,
                stream_id,
                suppressed,
                ..
            } if cell == name => {
                let person = people.entry(*stream_id).or_insert((*project_no, false));
                person.1 |= suppressed;
            }
            _ => {}
        }
    }
    people
        .into_iter()
        .map(|(stream, (project_no, suppressed))| (stream, project_no, suppressed))
        .collect()
}

async fn erase(cell: &Cell, listed: &[(Uuid, i32, bool)]) -> anyhow::Result<Counts> {
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let directory = Directory::new(cell.clone(), clock, ids, Limits::default());
    let meta = Meta {
        request_id: "restore-check".into(),
        ..Meta::default()
    };
    let bar = output::count_bar(Some(listed.len() as u64), "listed people");
    let mut counts = Counts {
        listed: listed.len(),
        ..Counts::default()
    };
    for page in listed.chunks(PAGE) {
        let streams: Vec<Uuid> = page.iter().map(|(stream, ..)| *stream).collect();
        let mut alive = Vec::new();
        for (person, standing) in page.iter().zip(cell.standings(&streams).await?) {
            match standing {
                Standing::Open(kind::CUSTOMER) => alive.push(*person),
                Standing::Open(_) => counts.wrong += 1,
                Standing::Closed => counts.gone += 1,
                Standing::Absent => counts.absent += 1,
            }
        }
        let (directory, meta) = (&directory, &meta);
        let erased: Vec<bool> = stream::iter(alive)
            .map(async |(stream, project_no, suppressed)| {
                let project = cell.project_by_no(project_no).await?;
                let project =
                    project.with_context(|| format!("project {project_no} is unknown"))?;
                anyhow::Ok(
                    directory
                        .erase_again(&project, stream, suppressed, meta)
                        .await?
                        .is_some(),
                )
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        counts.erased += erased.iter().filter(|erased| **erased).count();
        bar.inc(page.len() as u64);
    }
    bar.finish_and_clear();
    Ok(counts)
}

/// Brings the read models up to the head: an answer of theirs must not show anybody who was erased again.
async fn show(cell: &Cell, tracker: &TaskTracker, stop: &CancellationToken) -> anyhow::Result<()> {
    let options = ProjectionOptions {
        owner: SystemIds.stream_id().to_string(),
        ..ProjectionOptions::default()
    };
    let projections = Projections::start(cell.clone(), options, tracker, stop.clone());
    let head = cell.head_position().await?;
    output::note(format_args!("filling read models up to position {head}"));
    let bar = output::count_bar(Some(head.unsigned_abs()), "events");
    let mut failed = 0;
    loop {
        projections.wait_for_search(head, LOOK).await;
        let all = projections.status();
        let slowest = all.iter().map(|status| status.position).min();
        if slowest.is_none_or(|position| position >= head) {
            break;
        }
        bar.set_position(slowest.unwrap_or_default().max(0).unsigned_abs());
        let errors: Vec<String> = all.into_iter().filter_map(|status| status.error).collect();
        failed = if errors.is_empty() { 0 } else { failed + 1 };
        if failed == FAILED_LOOKS {
            bail!("the read models do not get on: {}", errors.join(", "));
        }
        tokio::time::sleep(LOOK / 10).await;
    }
    bar.finish_and_clear();
    Ok(())
}
