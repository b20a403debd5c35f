//! The peers: the same upsert on other event stores as they come, each behind an axum handler of the same shape.
//!
//! They check no credential and seal nothing, which is in their favour.

mod disintegrate;
mod postgres_es;

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use clap::ValueEnum;
use serde::Deserialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgConnection, PgPool};
use tokio::net::TcpListener;

use super::http::Target;
use super::options::variable;
use super::people;
use super::server::Ready;

/// Connections, as many as the server under test has.
const POOL: u32 = 16;
/// Customers that are filled in at once.
const CHUNK: usize = 5_000;

/// Another event store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// cqrs-es over postgres-es.
    PostgresEs,
    /// disintegrate over disintegrate-postgres.
    Disintegrate,
}

/// The values of a customer by field.
type Profile = BTreeMap<String, String>;

/// What both take of the body.
#[derive(Debug, Deserialize)]
struct Upsert {
    project_id: String,
    customer_user_id: String,
    profile: Profile,
}

impl Upsert {
    /// The stream of the customer.
    fn stream(&self) -> String {
        stream_of(&self.project_id, &self.customer_user_id)
    }

    /// The values that differ from those that are stored.
    fn changes(&self, stored: &Profile) -> Profile {
        let differs = |(name, value): &(&String, &String)| stored.get(*name) != Some(value);
        let changed = self.profile.iter().filter(differs);
        changed
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn stream_of(project_id: &str, customer_user_id: &str) -> String {
    format!("{project_id}/{customer_user_id}")
}

fn failed(error: &dyn Display) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

impl Peer {
    /// Its name in the arguments of this program.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PostgresEs => "postgres-es",
            Self::Disintegrate => "disintegrate",
        }
    }

    /// The oldest Postgres that it runs on, as `server_version_num` has it.
    pub(super) const fn oldest_postgres(self) -> i32 {
        match self {
            Self::PostgresEs => 0,
            // Its functions have hexadecimal numbers.
            Self::Disintegrate => 160_000,
        }
    }

    /// Serves the peer until the process is ended; writes the ready file that `roster serve` would.
    pub(super) async fn serve(self) -> anyhow::Result<()> {
        let url = variable("ROSTER_BENCH_DATABASE_URL")
            .context("ROSTER_BENCH_DATABASE_URL is not set")?;
        let ready = variable("ROSTER_READY_FILE").context("ROSTER_READY_FILE is not set")?;
        let pool = pool(&url).await?;
        let upsert: MethodRouter = match self {
            Self::PostgresEs => postgres_es::handler(pool),
            Self::Disintegrate => disintegrate::handler(pool).await?,
        };
        let router = Router::new().route(
            "/directory-sync/internal/volt/project-users/users/upsert",
            upsert,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let text = |text: &str| Some(text.to_owned());
        let contents = serde_json::to_vec(&Ready {
            url: format!("http://{}", listener.local_addr()?),
            api_key: text("none"),
            account_id: text("acc_demo"),
            org_id: text("org_demo"),
            project_id: text("bench"),
        })?;
        std::fs::write(&ready, contents)?;
        Ok(axum::serve(listener, router).await?)
    }

    /// Makes the peer's tables and fills them with customers as it would itself.
    pub(super) async fn fill(
        self,
        connection: &mut PgConnection,
        url: &str,
        target: &Target,
        customers: u32,
    ) -> anyhow::Result<()> {
        let numbers: Vec<u32> = (0..customers).collect();
        match self {
            Self::PostgresEs => postgres_es::fill(connection, target, &numbers).await?,
            Self::Disintegrate => disintegrate::fill(pool(url).await?, target, &numbers).await?,
        }
        connection.execute("ANALYZE").await?;
        Ok(())
    }
}

async fn pool(url: &str) -> anyhow::Result<PgPool> {
    let options = PgPoolOptions::new()
        .max_connections(POOL)
        .test_before_acquire(false);
    Ok(options.connect(url).await?)
}

/// The values of a made-up person by field.
fn profile_of(number: u32) -> Profile {
    let names = people::COLUMNS.iter().map(|name| (*name).to_owned());
    names.zip(people::person(number, 0)).collect()
}
