//! A migrated database, a cell on it and its projections. Only where `ROSTER_TEST_DATABASE_URL` names a superuser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roster_domain::customer::{Customer, CustomerCommand, Tagging, Upsert};
use roster_domain::meta::Meta;
use roster_domain::schema::{Definition, Schema};
use roster_domain::value::Value;
use roster_domain::{Scope, Timestamp};
use roster_projections::{ProjectionOptions, Projections};
use roster_store::{Cell, CellConfig, ChunkVerdict, Loaded, Project, Vault, Verdict, migrate};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const KEK: &str = "7465737420746573742074657374207465737420746573742074657374207465";
/// Long enough for any machine; nothing waits for all of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Roles belong to the cluster, so migrations of two databases at once disturb each other.
static MIGRATING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A database of one test.
pub(crate) struct Database {
    url: SecretString,
    vault: Vault,
}

/// One server's view of the database.
pub(crate) struct Server {
    pub(crate) cell: Cell,
    pub(crate) projections: Projections,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Database {
    /// A fresh database; `None` where none is configured.
    pub(crate) async fn create(name: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "the test's only setting")]
        let url = std::env::var("ROSTER_TEST_DATABASE_URL").ok()?;
        let options: PgConnectOptions = url.parse().expect("a URL");
        let mut owner = PgConnection::connect_with(&options)
            .await
            .expect("the database answers");
        let name = format!("projections_{name}");
        owner
            .execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)").as_str())
            .await
            .expect("dropped");
        owner
            .execute(format!("CREATE DATABASE {name} TEMPLATE template0").as_str())
            .await
            .expect("created");
        let url = SecretString::from(options.database(&name).to_url_lossy().to_string());
        let vault = Vault::parse(KEK).expect("a key");
        let _turn = MIGRATING.lock().await;
        migrate::migrate(&url, "main", &vault)
            .await
            .expect("migrated");
        Some(Self { url, vault })
    }

    pub(crate) fn existing(name: &str) -> Self {
        let url = std::env::var("ROSTER_TEST_DATABASE_URL").unwrap();
        let options: PgConnectOptions = url.parse().unwrap();
        let url = SecretString::from(
            options
                .database(&format!("projections_{name}"))
                .to_url_lossy()
                .to_string(),
        );
        Self {
            url,
            vault: Vault::parse(KEK).unwrap(),
        }
    }
    pub(crate) async fn sql(&self, sql: &str) {
        use secrecy::ExposeSecret;
        let options: PgConnectOptions = self.url.expose_secret().parse().unwrap();
        PgConnection::connect_with(&options)
            .await
            .unwrap()
            .execute(sql)
            .await
            .unwrap();
    }

    /// Opens the cell and starts its projections.
    pub(crate) async fn server(&self, owner: &str) -> Server {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let config = CellConfig {
            name: "main".into(),
            database_url: migrate::service_url(&self.url, "main", &self.vault).expect("a URL"),
            pool_size: 8,
            cache_streams: 10_000,
        };
        let cell = Cell::open(config, self.vault.clone(), &tracker, stop.clone())
            .await
            .expect("the cell opens");
        let options = ProjectionOptions {
            owner: owner.into(),
        };
        let projections = Projections::start(cell.clone(), options, &tracker, stop.clone());
        Server {
            cell,
            projections,
            tracker,
            stop,
        }
    }
}

impl Server {
    pub(crate) async fn project(&self, id: &str) -> Arc<Project> {
        let scope = Scope {
            account_id: "acc".into(),
            org_id: "org".into(),
            project_id: id.into(),
        };
        let schema_stream = Uuid::from_u128(0xabc0 + id.bytes().map(u128::from).sum::<u128>());
        self.cell
            .create_project(&scope, schema_stream)
            .await
            .expect("a project")
    }

    /// Decides and appends; the position after it.
    pub(crate) async fn run(
        &self,
        project: &Project,
        stream: Uuid,
        command: &CustomerCommand,
    ) -> i64 {
        let before: Loaded<Customer> = self.cell.load(project, stream).await.expect("loaded");
        let events = roster_domain::customer::decide(&before.state, command).expect("accepted");
        if events.is_empty() {
            return 0;
        }
        let prepared = self
            .cell
            .prepare(project, &before, events, &Meta::default())
            .expect("prepared");
        match self.cell.append(prepared).await.expect("appended") {
            Verdict::Accepted { position, .. } => position,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Registers new customers in chunks; the position after them.
    pub(crate) async fn register(
        &self,
        project: &Project,
        commands: Vec<(Uuid, CustomerCommand)>,
    ) -> i64 {
        let mut last = 0;
        for part in commands.chunks(2_000) {
            let chunk = part
                .iter()
                .map(|(stream, command)| {
                    let before: Loaded<Customer> = self.cell.new_stream(*stream);
                    let events =
                        roster_domain::customer::decide(&before.state, command).expect("accepted");
                    self.cell
                        .prepare(project, &before, events, &Meta::default())
                        .expect("prepared")
                })
                .collect();
            match self.cell.append_all(chunk).await.expect("appended") {
                ChunkVerdict::Accepted { last_position } => last = last_position,
                ChunkVerdict::Lost(_) => panic!("a chunk was lost"),
            }
        }
        last
    }

    /// Waits for both projections.
    pub(crate) async fn settle(&self, position: i64) {
        assert!(
            self.projections.wait_for(position, PATIENCE).await,
            "{:?}",
            self.projections.status()
        );
        assert!(
            self.projections.wait_for_search(position, PATIENCE).await,
            "{:?}",
            self.projections.status()
        );
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.cell.pool().close().await;
    }
}

/// An upsert of text fields under the default schema.
pub(crate) fn upsert(
    id: &str,
    fields: &[(&str, &str)],
    enabled: Option<bool>,
    tagging: Tagging,
    at: i64,
) -> CustomerCommand {
    let changes: BTreeMap<String, Option<Value>> = fields
        .iter()
        .map(|(name, text)| {
            (
                (*name).to_owned(),
                (!text.is_empty()).then(|| Value::Text((*text).to_owned())),
            )
        })
        .collect();
    CustomerCommand::Upsert(Upsert {
        schema: Arc::new(Schema::compile(Definition::default(), 0).expect("valid")),
        pending_unique: Arc::from(Vec::new()),
        at: Timestamp(at),
        customer_user_id: id.into(),
        changes,
        replace: false,
        enabled,
        connector_enabled: BTreeMap::new(),
        tagging,
        expected_version: None,
        skip_existing: false,
    })
}
