//! cqrs-es and postgres-es as they come: `postgres_cqrs`, a `GenericQuery` and a view repository. Nothing keeps an order
//! across customers, which is in its favour.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, ViewRepository};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, View};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgConnection, PgPool};

use super::{CHUNK, Profile, Upsert, failed, profile_of, stream_of};
use crate::bench::http::Target;
use crate::bench::people;

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

/// The state of a customer, and its view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PeerCustomer {
    customer_user_id: String,
    profile: Profile,
    enabled: bool,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PeerEvent {
    Registered {
        customer_user_id: String,
        profile: Profile,
    },
    Updated {
        set: Profile,
    },
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
    type Command = Upsert;
    type Event = PeerEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Upsert,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        let event = if self.version == 0 {
            PeerEvent::Registered {
                customer_user_id: command.customer_user_id,
                profile: command.profile,
            }
        } else {
            let set = command.changes(&self.profile);
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
    let mut id = String::new();
    for attempt in 0..ATTEMPTS {
        let command = match Upsert::deserialize(&body) {
            Ok(command) => command,
            Err(error) => return failed(&error),
        };
        id = command.stream();
        match peer.framework.execute(&id, command).await {
            Ok(()) => break,
            Err(AggregateError::AggregateConflict) if attempt + 1 < ATTEMPTS => {}
            Err(error) => return failed(&error),
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
        Ok(None) => failed(&"the view does not show the write"),
        Err(error) => failed(&error),
    }
}

/// The upsert, which is answered once the view shows it.
pub(super) fn handler(pool: PgPool) -> MethodRouter {
    let views = Arc::new(Views::new("customer_view", pool.clone()));
    let query = GenericQuery::new(Arc::clone(&views));
    let framework = Arc::new(postgres_cqrs(pool, vec![Box::new(query)], ()));
    post(upsert).with_state(Peer { framework, views })
}

/// Makes the tables and fills them with customers as the framework would.
pub(super) async fn fill(
    connection: &mut PgConnection,
    target: &Target,
    numbers: &[u32],
) -> anyhow::Result<()> {
    connection.execute(TABLES).await?;
    for some in numbers.chunks(CHUNK) {
        let (mut ids, mut events, mut views) = (Vec::new(), Vec::new(), Vec::new());
        for number in some {
            let customer_user_id = people::id(*number);
            ids.push(stream_of(&target.project_id, &customer_user_id));
            let mut view = PeerCustomer::default();
            let event = PeerEvent::Registered {
                customer_user_id,
                profile: profile_of(*number),
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
    Ok(())
}
