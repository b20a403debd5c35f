//! A database for each test, cloned from a migrated template, and cells over it.

use roster_projections::rebuild::Place;
use roster_store::{Cell, CellConfig, Vault, migrate};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::cluster::cluster;

/// The key-encryption key of every test, as 64 hexadecimal digits.
pub const KEK: &str = "7465737420746573742074657374207465737420746573742074657374207465";
/// The cell of every test.
pub const CELL: &str = "main";

/// A migrated database of its own, dropped with the value.
#[derive(Debug)]
pub struct Database {
    name: String,
    owner_url: SecretString,
    /// The superuser's URL of the database `postgres` beside it.
    maintenance_url: String,
}

impl Database {
    /// Clones the template; the first caller of a run makes it.
    pub async fn create() -> anyhow::Result<Self> {
        Self::create_on(&cluster().database_url).await
    }

    /// The same on another Postgres, given by the superuser's URL of its database `postgres`.
    pub async fn create_on(maintenance_url: &str) -> anyhow::Result<Self> {
        Self::of_template(maintenance_url, &template(maintenance_url).await?).await
    }

    /// A copy of it as it is now, as a restore of a backup makes one. Nobody may be connected.
    pub async fn copy(&self) -> anyhow::Result<Self> {
        Self::of_template(&self.maintenance_url, &self.name).await
    }

    async fn of_template(maintenance_url: &str, template: &str) -> anyhow::Result<Self> {
        let name = format!("test_{}", Uuid::from_u128(rand::random()).simple());
        let mut maintenance = connect(maintenance_url).await?;
        maintenance
            .execute(format!("CREATE DATABASE {name} TEMPLATE {template}").as_str())
            .await?;
        maintenance.close().await?;
        let owner_url = url_of(maintenance_url, &name)?;
        migrate::link_role(&owner_url, CELL).await?;
        Ok(Self {
            name,
            owner_url,
            maintenance_url: maintenance_url.to_owned(),
        })
    }

    /// A database that another process made and will drop.
    pub fn of_another(name: &str) -> anyhow::Result<std::mem::ManuallyDrop<Self>> {
        let maintenance_url = cluster().database_url.clone();
        Ok(std::mem::ManuallyDrop::new(Self {
            name: name.to_owned(),
            owner_url: url_of(&maintenance_url, name)?,
            maintenance_url,
        }))
    }

    /// A database without a table.
    pub async fn create_empty() -> anyhow::Result<Self> {
        let name = format!("test_{}", Uuid::from_u128(rand::random()).simple());
        let maintenance_url = cluster().database_url.clone();
        let mut maintenance = connect(&maintenance_url).await?;
        maintenance
            .execute(format!("CREATE DATABASE {name} TEMPLATE template0").as_str())
            .await?;
        maintenance.close().await?;
        Ok(Self {
            owner_url: url_of(&maintenance_url, &name)?,
            name,
            maintenance_url,
        })
    }

    /// The superuser's URL.
    pub const fn owner_url(&self) -> &SecretString {
        &self.owner_url
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection as superuser with the cell's search path.
    pub async fn superuser(&self) -> anyhow::Result<PgConnection> {
        self.superuser_of(CELL).await
    }

    /// The same for another cell.
    pub async fn superuser_of(&self, cell: &str) -> anyhow::Result<PgConnection> {
        let path = format!("roster_{cell},roster_control,public");
        let options = options(&self.maintenance_url, &self.name)?.options([("search_path", path)]);
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// Where a rebuild is done.
    pub fn place(&self) -> anyhow::Result<Place> {
        let vault = Vault::parse(KEK)?;
        Ok(Place {
            owner_url: self.owner_url.clone(),
            service_url: migrate::service_url(&self.owner_url, CELL, &vault)?,
            cell: CELL.into(),
            vault,
        })
    }

    /// Opens a cell as a server would.
    pub async fn cell(&self) -> anyhow::Result<TestCell> {
        let vault = Vault::parse(KEK)?;
        let config = CellConfig {
            name: CELL.into(),
            database_url: migrate::service_url(&self.owner_url, CELL, &vault)?,
            pool_size: 10,
            cache_streams: 5_000,
        };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let cell = Cell::open(config, vault, &tracker, stop.clone()).await?;
        Ok(TestCell {
            cell,
            tracker,
            stop,
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, maintenance_url) = (self.name.clone(), self.maintenance_url.clone());
        // A runtime of its own, for a drop cannot wait on the test's.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut maintenance = connect(&maintenance_url).await?;
                maintenance
                    .execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)").as_str())
                    .await?;
                anyhow::Ok(())
            })
        });
        drop(dropped.join());
    }
}

/// An open cell with its tasks.
#[derive(Debug)]
pub struct TestCell {
    /// The cell.
    pub cell: Cell,
    /// Its tasks.
    pub tracker: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

impl TestCell {
    /// Stops the cell's tasks and waits for them.
    pub async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.cell.pool().close().await;
    }
}

/// The template's name: one a build, so that a cluster that outlives a run is not stale.
async fn template(maintenance_url: &str) -> anyhow::Result<String> {
    let build = option_env!("CARGO_PKG_VERSION")
        .unwrap_or_default()
        .replace('.', "_");
    let stamp = std::env::current_exe()?
        .metadata()?
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis();
    let name = format!("template_{build}_{stamp}");
    let mut maintenance = connect(maintenance_url).await?;
    maintenance
        .execute("SELECT pg_advisory_lock(7309, 9)")
        .await?;
    let known: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut maintenance)
            .await?;
    if !known {
        let draft = format!("{name}_draft");
        maintenance
            .execute(format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)").as_str())
            .await?;
        maintenance
            .execute(format!("CREATE DATABASE {draft} TEMPLATE template0").as_str())
            .await?;
        migrate::migrate(&url_of(maintenance_url, &draft)?, CELL, &Vault::parse(KEK)?).await?;
        maintenance
            .execute(format!("ALTER DATABASE {draft} RENAME TO {name}").as_str())
            .await?;
    }
    maintenance.close().await?;
    Ok(name)
}

fn options(maintenance_url: &str, database: &str) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions = maintenance_url.parse()?;
    Ok(options.database(database))
}

fn url_of(maintenance_url: &str, database: &str) -> anyhow::Result<SecretString> {
    let options = options(maintenance_url, database)?;
    Ok(SecretString::from(options.to_url_lossy().to_string()))
}

async fn connect(maintenance_url: &str) -> anyhow::Result<PgConnection> {
    Ok(PgConnection::connect_with(&options(maintenance_url, "postgres")?).await?)
}
