//! One round: a new cell, callers, faults, healing, and the checks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_domain::stream::kind;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::caller::Caller;
use super::expected::Expected;
use super::fleet::{Fleet, faketime};
use super::ground::Ground;
use super::ledger;
use super::options::Arguments;
use super::outcome;
use super::plan::{Fault, kinds, plan};
use super::said::{Said, schema};
use super::strike::{expire_leases, heal, strike};
use crate::bus::Subscriber;
use crate::client::Client;
use crate::database::Database;
use crate::fold::{self, Log};
use crate::scale::patience;

/// The project of a round.
const PROJECT: &str = "prj_faults";
/// How often jobs are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Of so many rounds, one waits until leases run out by themselves.
const WAITS_FOR_LEASES: u64 = 4;

/// What a round was like.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What is wrong; nothing in a good round.
    pub(super) violations: Vec<String>,
    /// Acknowledged, refused and unknown attempts.
    pub(super) counts: [usize; 3],
    /// Events in the log.
    pub(super) events: i64,
    /// What went wrong by plan.
    pub(super) faults: Vec<Fault>,
    /// Servers, and how often one ended by itself.
    pub(super) servers: (usize, u32),
    /// From the last fault until everything had healed.
    pub(super) healing: Duration,
}

/// Runs the round of a seed.
pub(super) async fn run(
    ground: &mut Ground,
    arguments: &Arguments,
    seed: u64,
) -> anyhow::Result<Outcome> {
    let mut random = StdRng::seed_from_u64(seed);
    let drawn = random.random_range(1..=3);
    let count = arguments.servers.unwrap_or(drawn).max(1);
    ground.kill_nats()?;
    ground.wipe_nats()?;
    ground.revive_nats()?;
    let database = Arc::new(Database::create_on(&ground.maintenance_url()).await?);
    let mut fleet = Fleet::start(ground, &database, count).await?;
    let client = Client::of_project(&fleet.members[0].server, PROJECT).await?;
    client.ok("schema/upsert", schema(None)).await;

    let mut subscriber = Subscriber::connect_to(ground.nats_url()).await?;
    let (hear, heard_enough) = oneshot::channel::<()>();
    let mut following = JoinSet::new();
    following.spawn(async move {
        tokio::select! {
            () = subscriber.follow() => {}
            _ = heard_enough => {}
        }
        subscriber
    });
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..arguments.callers {
        let (addresses, stop) = (fleet.addresses.clone(), Arc::clone(&stop));
        callers.spawn(Caller::new(number, client.clone(), addresses, seed, stop).run());
    }
    let kinds = kinds(&arguments.only, ground.has_disk(), faketime().is_some());
    let steps = plan(
        &mut random,
        Duration::from_secs(arguments.seconds),
        count,
        &kinds,
    );
    for step in &steps {
        sleep(step.quiet).await;
        strike(step.fault, ground, &mut fleet, &database).await?;
        sleep(step.hold).await;
        heal(step.fault, ground, &fleet)?;
        fleet
            .revive()
            .await
            .with_context(|| format!("after {:?}", step.fault))?;
    }
    let healing = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let mut said = Said::default();
    while let Some(ended) = callers.join_next().await {
        said.merge(ended?);
    }
    let client = client.at_url(&fleet.addresses.of(0));
    let mut outcome = Outcome {
        violations: Vec::new(),
        counts: said.counts(),
        events: 0,
        faults: steps.iter().map(|step| step.fault).collect(),
        servers: (count, fleet.ended),
        healing: Duration::ZERO,
    };
    let checked = check(&database, &mut fleet, &client, &said, seed).await;
    outcome.healing = healing.elapsed();
    match checked {
        Ok((head, wrong)) => {
            outcome.events = head;
            outcome.violations.extend(wrong);
            // Whoever followed is told to stop, and hears the rest.
            drop(hear);
            let followed = following.join_next().await.context("nobody followed")?;
            outcome.violations.extend(match followed {
                Ok(subscriber) => hear_all(subscriber, &database, head).await?,
                Err(panic) => Some(format!("the subscriber: {}", super::said_by(panic))),
            });
        }
        Err(error) => outcome.violations.push(format!("{error:#}")),
    }
    if !outcome.violations.is_empty() {
        keep(&arguments.out, seed, &fleet, &outcome)?;
    }
    Ok(outcome)
}

/// Waits for everything to heal and holds it against what was said: the head, and what is wrong.
async fn check(
    database: &Arc<Database>,
    fleet: &mut Fleet,
    client: &Client,
    said: &Said,
    seed: u64,
) -> anyhow::Result<(i64, Vec<String>)> {
    if !seed.is_multiple_of(WAITS_FOR_LEASES) {
        expire_leases(database).await?;
    }
    fleet.revive().await?;
    fleet.settled(client).await?;
    let fresh = database.cell().await?;
    let cell = &fresh.cell;
    let deadline = Instant::now() + patience() / 2;
    for job in [kind::IMPORT, kind::PURGE, kind::PREPARATION] {
        loop {
            let open = cell.open_jobs(&[job]).await?;
            if open.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "jobs are stuck: {open:?}");
            sleep(LOOK).await;
        }
    }
    let head = fleet.settled(client).await?;
    let mut wrong: Vec<String> = said.wrong_reads.clone();
    let entries = ledger::read(cell).await?;
    wrong.extend(ledger::violations(said, &entries));
    let log = Log::read(cell).await;
    let expected = Expected::of(said, &entries, &log);
    wrong.extend(expected.differences(&Expected::folded(&log)));
    wrong.extend(outcome::jobs(client, said, &log).await?);
    wrong.extend(outcome::journal(client, said).await?);
    // Reading looks for identities, and who is found to be nobody's is noted: so this list comes first.
    wrong.extend(outcome::unmatched(client, said, &expected).await?);
    wrong.extend(outcome::reads(fleet, client, said, &expected).await?);
    fresh.close().await;
    let (folded, scope) = (Arc::clone(database), client.scope().clone());
    let mut folding = JoinSet::new();
    folding.spawn(async move { fold::check(&folded, &scope, head).await });
    if let Some(Err(panic)) = folding.join_next().await {
        wrong.push(format!("the read tables: {}", super::said_by(panic)));
    }
    wrong.extend(verify(fleet).await?);
    Ok((head, wrong))
}

/// `roster log verify`, as an operator says it.
async fn verify(fleet: &Fleet) -> anyhow::Result<Option<String>> {
    let mut command = fleet.members[0].server.command();
    command.args(["log", "verify"]);
    let output = spawn_blocking(move || command.output()).await??;
    Ok((!output.status.success()).then(|| {
        let said = [output.stdout, output.stderr].concat();
        format!("roster log verify: {}", String::from_utf8_lossy(&said))
    }))
}

/// The subscriber hears up to the head; what it heard is the log.
async fn hear_all(
    mut subscriber: Subscriber,
    database: &Database,
    head: i64,
) -> anyhow::Result<Option<String>> {
    let mut hearing = JoinSet::new();
    hearing.spawn(async move {
        subscriber.hear(head).await;
        subscriber
    });
    let heard = timeout(patience(), hearing.join_next()).await;
    let subscriber = match heard {
        Ok(Some(Ok(subscriber))) => subscriber,
        Ok(Some(Err(panic))) => {
            return Ok(Some(format!("the subscriber: {}", super::said_by(panic))));
        }
        _ => return Ok(Some("the subscriber does not come to the end".into())),
    };
    let mut connection = database.superuser().await?;
    let log: Vec<String> =
        sqlx::query_scalar("SELECT encode(digest, 'hex') FROM log_events ORDER BY position")
            .fetch_all(&mut connection)
            .await?;
    Ok((subscriber.digests() != log).then(|| "the subscriber heard another log".into()))
}

/// Keeps what shows how a round went wrong.
fn keep(out: &Path, seed: u64, fleet: &Fleet, outcome: &Outcome) -> anyhow::Result<()> {
    let folder = out.join(format!("seed-{seed}"));
    fleet.keep_logs(&folder)?;
    let text = json!({
        "seed": seed,
        "faults": outcome.faults.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>(),
        "violations": outcome.violations,
    });
    Ok(std::fs::write(
        folder.join("violations.json"),
        serde_json::to_string_pretty(&text)?,
    )?)
}
