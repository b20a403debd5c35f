//! Databases of the measurements: made, filled through the store, left in peace before each measurement, and dropped.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roster_domain::Scope;
use roster_domain::customer::{Customer, CustomerEvent, decide};
use roster_domain::meta::{Meta, Principal};
use roster_domain::schema::Schema;
use roster_projections::rebuild::Place;
use roster_store::{Cell, CellConfig, ChunkVerdict, Prepared, Project, Vault, migrate};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::options::Machine;
use super::people;
use crate::database::{CELL, KEK};
use crate::log::{scope, upsert};

/// Commands of a chunk.
pub(super) const CHUNK: u32 = 5_000;

/// The connection and cache sizes that the server has by default.
const POOL: u32 = 16;
const CACHED_STREAMS: usize = 100_000;

/// A database of one measurement.
#[derive(Debug)]
pub(super) struct Database {
    name: String,
    maintenance: PgConnectOptions,
}

impl Database {
    /// Makes an empty database, over one that an earlier run left. Who writes to it as a limit writes images of pages as the service
    /// does, which `roster migrate` keeps from `pglz`.
    pub(super) async fn create(machine: &Machine, name: &str) -> anyhow::Result<Self> {
        let name = format!("roster_bench_{name}");
        let maintenance: PgConnectOptions = machine.database_url.parse()?;
        let database = Self { name, maintenance };
        database.drop().await?;
        let mut connection = PgConnection::connect_with(&database.maintenance).await?;
        connection
            .execute(format!("CREATE DATABASE {} TEMPLATE template0", database.name).as_str())
            .await?;
        if let Some(setting) = migrate::page_images(&mut connection).await? {
            let sql = format!("ALTER DATABASE {} SET {setting}", database.name);
            connection.execute(sql.as_str()).await?;
        }
        connection.close().await?;
        Ok(database)
    }

    /// Drops it.
    pub(super) async fn drop(&self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.maintenance).await?;
        connection
            .execute(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name).as_str())
            .await?;
        connection.close().await?;
        Ok(())
    }

    /// The superuser's URL.
    pub(super) fn url(&self) -> String {
        self.maintenance
            .clone()
            .database(&self.name)
            .to_url_lossy()
            .to_string()
    }

    /// A superuser's connection that sees the cell's tables.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        let options = self.maintenance.clone().database(&self.name);
        let options = options.options([
            ("search_path", "roster_main,roster_control,public"),
            ("jit", "off"),
        ]);
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// Where a rebuild is done.
    pub(super) fn place(&self) -> anyhow::Result<Place> {
        let owner_url = SecretString::from(self.url());
        let vault = Vault::parse(KEK)?;
        Ok(Place {
            service_url: migrate::service_url(&owner_url, CELL, &vault)?,
            owner_url,
            cell: CELL.into(),
            vault,
        })
    }

    /// Migrates it and opens the cell as a server would, with a project that has no schema of its own.
    pub(super) async fn open(&self) -> anyhow::Result<Open> {
        self.open_in(&scope("bench")).await
    }

    /// The same with any project; one that a server gave the schema of the people keeps it.
    pub(super) async fn open_in(&self, scope: &Scope) -> anyhow::Result<Open> {
        let owner = SecretString::from(self.url());
        let vault = Vault::parse(KEK)?;
        let config = CellConfig {
            name: CELL.into(),
            database_url: migrate::migrate(&owner, CELL, &vault).await?,
            pool_size: POOL,
            cache_streams: CACHED_STREAMS,
        };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let cell = Cell::open(config, vault, &tracker, stop.clone()).await?;
        let project = cell.create_project(scope, stream_id()).await?;
        let schema_version: Option<i32> =
            sqlx::query_scalar("SELECT version FROM log_streams WHERE stream_id = $1")
                .bind(project.schema_stream)
                .fetch_optional(cell.pool())
                .await?;
        let schema = Arc::new(
            Schema::compile(people::definition(), 1)
                .map_err(|problems| anyhow::anyhow!("{problems:?}"))?,
        );
        Ok(Open {
            cell,
            project,
            schema,
            schema_version: schema_version.unwrap_or(0),
            tracker,
            stop,
        })
    }

    /// Writes out what is dirty and waits for vacuum, so that no measurement pays for the one before it.
    pub(super) async fn quiet(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        connection.execute("CHECKPOINT").await?;
        let patience = Instant::now() + Duration::from_mins(2);
        while Instant::now() < patience {
            let busy: bool = sqlx::query_scalar(
                "SELECT EXISTS (
                     SELECT FROM pg_stat_activity
                      WHERE backend_type = 'autovacuum worker' AND datname = current_database())",
            )
            .fetch_one(&mut connection)
            .await?;
            if !busy {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        connection.close().await?;
        Ok(())
    }
}

/// An open cell of this process.
#[derive(Debug)]
pub(super) struct Open {
    /// The cell.
    pub(super) cell: Cell,
    /// Its only project.
    pub(super) project: Arc<Project>,
    /// What commands are decided by.
    pub(super) schema: Arc<Schema>,
    /// The version of its stream, which commands rely on.
    pub(super) schema_version: i32,
    /// Its tasks.
    pub(super) tracker: TaskTracker,
    /// Ends them.
    pub(super) stop: CancellationToken,
}

impl Open {
    /// The events of a new customer.
    pub(super) fn register(&self, number: u32) -> anyhow::Result<Vec<CustomerEvent>> {
        let values = people::person(number, 0);
        let fields: Vec<(&str, &str)> = people::COLUMNS
            .into_iter()
            .zip(values.iter().map(String::as_str))
            .collect();
        let command = upsert(&self.schema, &values[0], &fields, 1_750_000_000_000_000);
        decide(&Customer::default(), &command).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
    }

    /// Seals and encodes the events of a new customer.
    pub(super) fn prepare(&self, events: Vec<CustomerEvent>) -> anyhow::Result<Prepared> {
        let new = self.cell.new_stream::<Customer>(stream_id());
        Ok(self
            .cell
            .prepare(&self.project, &new, events, &meta())?
            .guard(self.project.schema_stream, self.schema_version))
    }

    /// Appends chunks while the next one is prepared, as an import does; the time of it.
    pub(super) async fn append(
        self: &Arc<Self>,
        chunks: Vec<Vec<Vec<CustomerEvent>>>,
    ) -> anyhow::Result<Duration> {
        self.write(chunks.into_iter(), |open, chunk| {
            let prepared = chunk.into_iter().map(|events| open.prepare(events));
            prepared.collect()
        })
        .await
    }

    /// Fills the log with new customers, of whom a chunk or two are in memory at a time.
    pub(super) async fn fill(self: &Arc<Self>, numbers: Range<u32>) -> anyhow::Result<Duration> {
        let end = numbers.end;
        let chunks = numbers.step_by(CHUNK as usize);
        let chunks = chunks.map(move |from| from..end.min(from + CHUNK));
        self.write(chunks, |open, numbers| {
            let prepared = numbers.map(|number| open.prepare(open.register(number)?));
            prepared.collect()
        })
        .await
    }

    async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        mut waiting: impl Iterator<Item = T>,
        prepare: fn(&Self, T) -> anyhow::Result<Vec<Prepared>>,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let prepare = |chunk: Option<T>| {
            let open = Arc::clone(self);
            let prepared = move || chunk.map(|chunk| prepare(&open, chunk)).transpose();
            tokio::task::spawn_blocking(prepared)
        };
        let mut next = prepare(waiting.next());
        while let Some(chunk) = next.await?? {
            next = prepare(waiting.next());
            match self.cell.append_all(chunk).await? {
                ChunkVerdict::Accepted { .. } => {}
                ChunkVerdict::Lost(lost) => anyhow::bail!("a chunk lost: {:?}", lost.first()),
            }
        }
        Ok(started.elapsed())
    }

    /// The decided events of new customers in chunks.
    pub(super) fn chunks(
        &self,
        numbers: Range<u32>,
    ) -> anyhow::Result<Vec<Vec<Vec<CustomerEvent>>>> {
        let chunk = |from: u32| {
            (from..numbers.end.min(from + CHUNK))
                .map(|number| self.register(number))
                .collect()
        };
        numbers.clone().step_by(CHUNK as usize).map(chunk).collect()
    }

    /// Ends the cell's tasks and waits for them.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.cell.pool().close().await;
    }
}

/// A cause as an HTTP request has it.
pub(super) fn meta() -> Meta {
    Meta {
        principal: Principal::ApiKey("bench0000001".into()),
        request_id: "0190b3c8-7b1e-7d3a-9d58-bench0000001".into(),
        ..Meta::default()
    }
}

/// An id as the server mints it: new streams are neighbours in the index.
#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark is its own source of ids"
)]
pub(super) fn stream_id() -> Uuid {
    Uuid::now_v7()
}
