//! Who is behind an identity: memory, look-ups in process, the way from a commit to the memory, and filling it.
//!
//! `resolve_http` is in [`super::resolve`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::TryStreamExt;
use roster_domain::Timestamp;
use roster_domain::access::{ConnectorIdentity, Facts, LinkedBy};
use roster_domain::customer::{CustomerEvent, ProfileChange};
use roster_domain::schema::Schema;
use roster_domain::value::Value;
use roster_projections::identity::{Asked, IdentityCache, IdentityOptions};
use roster_projections::{ProjectionOptions, Projections};
use roster_store::Verdict;
use sqlx::Executor;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Bench;
use super::database::{Database, Open, meta};
use super::people;
use super::report::{Report, Target};
use super::resolve;
use super::stats::{float, median, millis, percentile};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &[
    "identity_bootstrap",
    "identity_memory",
    "resolve_in_process",
    "commit_to_cache",
    "resolve_http",
    "resolve_redis",
];

/// The most bytes of an identity, and the aim.
const BYTES: (f64, f64) = (150.0, 120.0);
/// The most nanoseconds of a look-up, and the aim.
const NANOS: (f64, f64) = (500.0, 150.0);
/// The most milliseconds from a commit to the memory, and the aim.
const COMMIT: (f64, f64) = (25.0, 10.0);
/// Look-ups of a run in process.
const LOOKS: u32 = 1_000_000;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// What the memory is filled from.
const TABLES: [&str; 4] = [
    "SELECT project_no, stream_id, customer_user_id, enabled, connector_enabled, profile FROM view_customers",
    "SELECT project_no, channel, external_user_id, stream_id FROM view_identities",
    "SELECT project_no, channel, external_user_id, stream_id FROM view_blocks",
    "SELECT project_no, channel, external_user_id, stream_id, agents, enabled, expires_at FROM view_grants",
];

/// The channel of every identity.
pub(super) const CHANNEL: &str = "line";

/// The identity of a person.
pub(super) fn external_user_id(number: u32) -> String {
    format!("U{number:08x}a7c3f1e2")
}

/// A directory whose customers have an identity each.
pub(super) struct Linked {
    pub(super) database: Database,
    pub(super) open: Arc<Open>,
    pub(super) projections: Projections,
    pub(super) rows: u32,
}

impl Linked {
    async fn fill(bench: &Bench) -> anyhow::Result<Self> {
        let rows = bench.plan.rows;
        let database = Database::create(&bench.machine, "identity").await?;
        let open = Arc::new(database.open().await?);
        let mut chunks = open.chunks(0..rows)?;
        for (number, events) in (0..).zip(chunks.iter_mut().flatten()) {
            events.push(CustomerEvent::IdentityLinked {
                at: Timestamp(1),
                channel: CHANNEL.into(),
                external_user_id: external_user_id(number).into(),
                linked_by: LinkedBy::Manual,
            });
        }
        open.append(chunks).await?;
        Self::over(database, open, rows).await
    }

    /// A directory with this many identities, once reads have reached its head.
    pub(super) async fn over(
        database: Database,
        open: Arc<Open>,
        rows: u32,
    ) -> anyhow::Result<Self> {
        let projections = Projections::start(
            open.cell.clone(),
            ProjectionOptions {
                owner: "bench".into(),
                ..ProjectionOptions::default()
            },
            &open.tracker,
            open.stop.clone(),
        );
        let head = open.cell.head_position().await?;
        anyhow::ensure!(
            projections.wait_for(head, PATIENCE).await,
            "the directory does not follow"
        );
        Ok(Self {
            database,
            open,
            projections,
            rows,
        })
    }

    /// A memory of its own, which ends with the token.
    pub(super) fn cache(&self, stop: &CancellationToken) -> IdentityCache {
        IdentityCache::start(
            self.open.cell.clone(),
            self.projections.clone(),
            watch::channel(None).1,
            IdentityOptions {
                most: usize::try_from(self.rows).unwrap_or(usize::MAX / 4) * 4,
            },
            &self.open.tracker,
            stop.clone(),
        )
    }
}

/// Waits until the memory is as far as a position.
pub(super) async fn reached(cache: &IdentityCache, position: i64) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    while cache.position() < position {
        anyhow::ensure!(Instant::now() < patience, "the memory does not follow");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Fills a directory once and measures everything on it.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let linked = Linked::fill(bench).await?;
    let head = linked.open.cell.head_position().await?;
    // What follows the log still is no part of what is measured.
    let projections = &linked.projections;
    anyhow::ensure!(
        projections.wait_for_search(head, PATIENCE).await
            && projections.wait_for_audit(head, PATIENCE).await,
        "search and audit log do not follow"
    );
    let mut bootstraps = Vec::new();
    let mut kept = None;
    for _ in 0..bench.plan.runs {
        linked.database.quiet().await?;
        let copied = copy_out(&linked).await?;
        let stop = linked.open.stop.child_token();
        let started = Instant::now();
        let cache = linked.cache(&stop);
        reached(&cache, head).await?;
        bootstraps.push((millis(started.elapsed()), millis(copied)));
        if let Some((_, before)) = kept.replace((cache, stop)) {
            before.cancel();
        }
    }
    let (cache, _stop) = kept.context("no run")?;
    report.add(
        Target::time("identity_bootstrap", "COPY of its rows").reach(3.0, 1.5),
        &bootstraps,
        Some(format!("{} customers with an identity each", linked.rows)),
    );
    report_memory("identity_memory", &linked, &cache, "", report);
    if bench.wants(&["resolve_in_process"]) {
        in_process(bench, &linked, &cache, report).await?;
    }
    if bench.wants(&["commit_to_cache"]) {
        commits(bench, &linked, &cache, report).await?;
    }
    if bench.wants(&["resolve_http", "resolve_redis"]) {
        resolve::run(bench, report, &linked, cache).await?;
    }
    linked.open.close().await;
    linked.database.drop().await
}

/// The same rows to nowhere.
async fn copy_out(linked: &Linked) -> anyhow::Result<Duration> {
    let mut connection = linked.database.connect().await?;
    connection.execute("SET enable_seqscan = on").await?;
    let started = Instant::now();
    for select in TABLES {
        let statement = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
        let mut pieces = connection.copy_out_raw(&statement).await?;
        while pieces.try_next().await?.is_some() {}
    }
    Ok(started.elapsed())
}

/// What a memory takes, an identity each.
pub(super) fn report_memory(
    name: &'static str,
    linked: &Linked,
    cache: &IdentityCache,
    note: &str,
    report: &mut Report,
) {
    let weight = cache.weight();
    let identities = f64::from(linked.rows);
    let each = float(weight.structures) / identities;
    let texts = float(weight.texts) / identities;
    let (floor, aim) = BYTES;
    report.add(
        Target::within(name, "B an identity").reach(1.0, floor / aim),
        &[(each, floor)],
        Some(format!(
            "{} identities, and {texts:.0} B of names {note}",
            linked.rows
        )),
    );
}

/// The schema in memory, which is there once the end of the log was seen.
async fn fresh_schema(linked: &Linked, cache: &IdentityCache) -> anyhow::Result<Arc<Schema>> {
    let patience = Instant::now() + PATIENCE;
    loop {
        if let Some(schema) = cache.schema(linked.open.project.no) {
            return Ok(schema);
        }
        anyhow::ensure!(Instant::now() < patience, "the memory is never fresh");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn in_process(
    bench: &Bench,
    linked: &Linked,
    cache: &IdentityCache,
    report: &mut Report,
) -> anyhow::Result<()> {
    let schema = fresh_schema(linked, cache).await?;
    // Every look-up is of another person, as in the street.
    let identities: Vec<ConnectorIdentity> = (0..LOOKS)
        .map(|_| {
            let number = rand::random::<u32>() % linked.rows;
            ConnectorIdentity::read(CHANNEL, &external_user_id(number)).context("an identity")
        })
        .collect::<anyhow::Result<_>>()?;
    let identities = Arc::new(identities);
    let project_no = linked.open.project.no;
    let mut pairs = Vec::new();
    for _ in 0..bench.plan.runs {
        let (cache, schema) = (cache.clone(), Arc::clone(&schema));
        let asked = Arc::clone(&identities);
        // On a thread of its own: whoever follows the log runs on those of the runtime.
        let (took, missed) = tokio::task::spawn_blocking(move || {
            let facts = Facts::default();
            let mut missed = 0_usize;
            let started = Instant::now();
            for identity in asked.iter() {
                let asked = Asked {
                    project_no,
                    schema: &schema,
                    identity,
                    facts: &facts,
                    now: Timestamp(1),
                };
                let found = cache.find_kept(asked);
                missed += usize::from(found.is_none_or(|found| found.customer.is_none()));
            }
            (started.elapsed(), missed)
        })
        .await?;
        // A memory that was not fresh for a moment says so.
        anyhow::ensure!(
            missed < identities.len() / 100,
            "{missed} look-ups found nobody"
        );
        pairs.push((took.as_secs_f64() * 1e9 / f64::from(LOOKS), NANOS.0));
    }
    report.add(
        Target::within("resolve_in_process", "ns").reach(1.0, NANOS.0 / NANOS.1),
        &pairs,
        None,
    );
    Ok(())
}

/// One customer after another is changed; how long after the commit the memory has it.
async fn commits(
    bench: &Bench,
    linked: &Linked,
    cache: &IdentityCache,
    report: &mut Report,
) -> anyhow::Result<()> {
    let open = &linked.open;
    let mut times = Vec::new();
    for turn in 0..bench.plan.singles {
        let id = people::id(turn % linked.rows);
        let claim = roster_domain::stream::Claim::customer_id(&id);
        let loaded = open
            .cell
            .load_holder::<roster_domain::customer::Customer>(&open.project, &claim)
            .await?
            .context("a customer")?;
        let change = ProfileChange {
            set: [("city".into(), Value::Text(format!("City {turn}").into()))].into(),
            cleared: Vec::new(),
        };
        let updated = CustomerEvent::Updated {
            at: Timestamp(2),
            fields: vec!["city".into()],
            change: roster_domain::Personal::new(change),
            enabled: None,
            connector_enabled: std::collections::BTreeMap::new(),
            source: None,
            claimed: loaded.state.claimed.clone(),
        };
        let prepared = open
            .cell
            .prepare(&open.project, &loaded, vec![updated], &meta())?;
        let Verdict::Accepted { position, .. } = open.cell.append(prepared).await? else {
            anyhow::bail!("a change lost");
        };
        let committed = Instant::now();
        while cache.position() < position {
            tokio::task::yield_now().await;
        }
        times.push(millis(committed.elapsed()));
    }
    let note = format!("p50 {:.2} ms, {} commits", median(&times), times.len());
    report.add(
        Target::within("commit_to_cache", "ms p99").reach(1.0, COMMIT.0 / COMMIT.1),
        &[(percentile(&times, 99), COMMIT.0)],
        Some(note),
    );
    Ok(())
}
