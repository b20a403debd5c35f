//! The peer: the same upsert on cqrs-es and postgres-es as they come, behind an axum handler of the same shape.
//!
//! It checks no credential, seals nothing and keeps no order across customers, all of which is in its favour.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, ViewRepository};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, View};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::Executor;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;

use super::http::Target;
use super::options::variable;
use super::people;
use super::server::Ready;

/// The tables that postgres-es describes in its `db/init.sql`, without its example rows.
const TABLES: &str = "
CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL,
    event_version text NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE TABLE customer_view (
    view_id text NOT NULL,
    version bigint CHECK (version >= 0) NOT NULL,
    payload json NOT NULL,
    PRIMARY KEY (view_id)
)";

/// Decisions of one upsert before it is given up.
const ATTEMPTS: usize = 4;
/// Connections, as many as the server under test has.
const POOL: u32 = 16;

/// The state of a customer, and its view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PeerCustomer {
    customer_user_id: String,
    profile: BTreeMap<String, String>,
    enabled: bool,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PeerEvent {
    Registered {
        customer_user_id: String,
        profile: BTreeMap<String, String>,
    },
    Updated {
        set: BTreeMap<String, String>,
    },
}

#[derive(Debug, Deserialize)]
struct PeerUpsert {
    project_id: String,
    customer_user_id: String,
    profile: BTreeMap<String, String>,
}

impl DomainEvent for PeerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Registered { .. } => "customer.registered".into(),
            Self::Updated { .. } => "customer.updated".into(),
        }
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl PeerCustomer {
    fn fold(&mut self, event: PeerEvent) {
        self.version += 1;
        match event {
            PeerEvent::Registered {
                customer_user_id,
                profile,
            } => {
                *self = Self {
                    customer_user_id,
                    profile,
                    enabled: true,
                    version: self.version,
                };
            }
            PeerEvent::Updated { set } => self.profile.extend(set),
        }
    }
}

impl Aggregate for PeerCustomer {
    const TYPE: &'static str = "customer";
    type Command = PeerUpsert;
    type Event = PeerEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: PeerUpsert,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        let PeerUpsert {
            customer_user_id,
            profile,
            ..
        } = command;
        let event = if self.version == 0 {
            PeerEvent::Registered {
                customer_user_id,
                profile,
            }
        } else {
            let set: BTreeMap<_, _> = profile
                .into_iter()
                .filter(|(name, value)| self.profile.get(name) != Some(value))
                .collect();
            if set.is_empty() {
                return Ok(());
            }
            PeerEvent::Updated { set }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: PeerEvent) {
        self.fold(event);
    }
}

impl View<PeerCustomer> for PeerCustomer {
    fn update(&mut self, event: &EventEnvelope<PeerCustomer>) {
        self.fold(event.payload.clone());
    }
}

type Views = PostgresViewRepository<PeerCustomer, PeerCustomer>;

#[derive(Clone)]
struct Peer {
    framework: Arc<PostgresCqrs<PeerCustomer>>,
    views: Arc<Views>,
}

#[derive(Serialize)]
struct Answer {
    customer: PeerCustomer,
    created: bool,
    changed: bool,
}

async fn upsert(State(peer): State<Peer>, Json(body): Json<serde_json::Value>) -> Response {
    let failed = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    let mut id = String::new();
    for attempt in 0..ATTEMPTS {
        let command = match PeerUpsert::deserialize(&body) {
            Ok(command) => command,
            Err(error) => {
                return (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response();
            }
        };
        id = format!("{}/{}", command.project_id, command.customer_user_id);
        match peer.framework.execute(&id, command).await {
            Ok(()) => break,
            Err(AggregateError::AggregateConflict) if attempt + 1 < ATTEMPTS => {}
            Err(error) => return failed(error.to_string()),
        }
    }
    match peer.views.load(&id).await {
        Ok(Some(customer)) => {
            let created = customer.version == 1;
            Json(Answer {
                customer,
                created,
                changed: true,
            })
            .into_response()
        }
        Ok(None) => failed("the view does not show the write".into()),
        Err(error) => failed(error.to_string()),
    }
}

/// Serves the peer until the process is ended; writes the ready file that `roster serve` would.
pub(super) async fn serve() -> anyhow::Result<()> {
    let url =
        variable("ROSTER_BENCH_DATABASE_URL").context("ROSTER_BENCH_DATABASE_URL is not set")?;
    let ready = variable("ROSTER_READY_FILE").context("ROSTER_READY_FILE is not set")?;
    let pool = PgPoolOptions::new()
        .max_connections(POOL)
        .test_before_acquire(false)
        .connect(&url)
        .await?;
    let views = Arc::new(Views::new("customer_view", pool.clone()));
    let query = GenericQuery::new(Arc::clone(&views));
    let framework = Arc::new(postgres_cqrs(pool, vec![Box::new(query)], ()));
    let router = Router::new()
        .route(
            "/directory-sync/internal/volt/project-users/users/upsert",
            post(upsert),
        )
        .with_state(Peer { framework, views });
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

/// Makes the peer's tables and fills them with customers as its own framework would.
pub(super) async fn fill(
    connection: &mut sqlx::PgConnection,
    target: &Target,
    customers: u32,
) -> anyhow::Result<()> {
    connection.execute(TABLES).await?;
    let numbers: Vec<u32> = (0..customers).collect();
    for some in numbers.chunks(5_000) {
        let (mut ids, mut events, mut views) = (Vec::new(), Vec::new(), Vec::new());
        for number in some {
            let values = people::person(*number, 0);
            let profile: BTreeMap<String, String> = people::COLUMNS
                .iter()
                .map(|name| (*name).to_owned())
                .zip(values)
                .collect();
            let customer_user_id = people::id(*number);
            ids.push(format!("{}/{customer_user_id}", target.project_id));
            let mut view = PeerCustomer::default();
            let event = PeerEvent::Registered {
                customer_user_id,
                profile,
            };
            events.push(serde_json::to_string(&event)?);
            view.fold(event);
            views.push(serde_json::to_string(&view)?);
        }
        sqlx::query(
            "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS given(id, event, view)), views AS (
                 INSERT INTO customer_view (view_id, version, payload) SELECT id, 1, view::json FROM given)
             INSERT INTO events SELECT 'customer', id, 1, 'customer.registered', '1', event::json, '{}' FROM given",
        )
        .bind(ids)
        .bind(events)
        .bind(views)
        .execute(&mut *connection)
        .await?;
    }
    connection.execute("ANALYZE").await?;
    Ok(())
}
