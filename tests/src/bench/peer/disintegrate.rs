//! disintegrate and disintegrate-postgres as they come: a decision over the events of one customer, stored as JSON in a
//! serializable transaction that is made again after a conflict.
//!
//! It is answered once its event is stored. No read table is kept, which is in its favour: whoever reads folds the events.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use disintegrate::serde::json::Json as JsonEvents;
use disintegrate::{
    Decision, DecisionError, Event, EventStore, NoSnapshot, PersistedEvent, StateMutate, StateQuery,
};
use disintegrate_postgres::{Error, PgDecisionMaker, PgEventStore, decision_maker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::{CHUNK, Profile, Upsert, failed, profile_of, stream_of};
use crate::bench::http::Target;
use crate::bench::people;

/// Decisions of one upsert before it is given up: neighbours on one page of an index are conflicts too.
const ATTEMPTS: usize = 50;
/// What Postgres calls a serialization failure.
const SERIALIZATION_FAILURE: &str = "40001";

#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
enum PeerEvent {
    CustomerRegistered {
        #[id]
        customer: String,
        profile: Profile,
    },
    CustomerUpdated {
        #[id]
        customer: String,
        set: Profile,
    },
}

/// What is decided by.
#[derive(Clone, Debug, Default, StateQuery, Serialize, Deserialize)]
#[state_query(PeerEvent)]
struct Customer {
    #[id]
    customer: String,
    profile: Profile,
    version: u64,
}

impl StateMutate for Customer {
    fn mutate(&mut self, event: PeerEvent) {
        self.version += 1;
        match event {
            PeerEvent::CustomerRegistered { profile, .. } => self.profile = profile,
            PeerEvent::CustomerUpdated { set, .. } => self.profile.extend(set),
        }
    }
}

/// Creates or changes a customer.
struct Decided<'a>(&'a Upsert);

impl Decision for Decided<'_> {
    type Event = PeerEvent;
    type StateQuery = Customer;
    type Error = Infallible;

    fn state_query(&self) -> Customer {
        Customer {
            customer: self.0.stream(),
            ..Customer::default()
        }
    }

    fn process(&self, state: &Customer) -> Result<Vec<PeerEvent>, Infallible> {
        let customer = self.0.stream();
        if state.version == 0 {
            let profile = self.0.profile.clone();
            return Ok(vec![PeerEvent::CustomerRegistered { customer, profile }]);
        }
        let set = self.0.changes(&state.profile);
        Ok(vec![PeerEvent::CustomerUpdated { customer, set }])
    }
}

type Maker = PgDecisionMaker<PeerEvent, JsonEvents<PeerEvent>, NoSnapshot>;

#[derive(Serialize)]
struct Answer {
    event: Option<PeerEvent>,
    changed: bool,
}

async fn upsert(State(maker): State<Maker>, Json(command): Json<Upsert>) -> Response {
    for _ in 0..ATTEMPTS {
        match maker.make(Decided(&command)).await {
            Ok(events) => {
                let event = events.into_iter().next().map(PersistedEvent::into_inner);
                return Json(Answer {
                    event,
                    changed: true,
                })
                .into_response();
            }
            Err(error) if is_conflict(&error) => {}
            Err(error) => return failed(&error),
        }
    }
    failed(&"conflict after conflict")
}

fn is_conflict(error: &DecisionError<Infallible>) -> bool {
    let (DecisionError::StateStore(cause) | DecisionError::EventStore(cause)) = error else {
        return false;
    };
    match cause.downcast_ref() {
        Some(Error::Concurrency) => true,
        Some(Error::Database(sqlx::Error::Database(said))) => {
            said.code().as_deref() == Some(SERIALIZATION_FAILURE)
        }
        _ => false,
    }
}

/// The upsert.
pub(super) async fn handler(pool: PgPool) -> anyhow::Result<MethodRouter> {
    let store = PgEventStore::try_new(pool, JsonEvents::default()).await?;
    Ok(post(upsert).with_state(decision_maker(store, NoSnapshot)))
}

/// Makes the tables and fills them through the store.
pub(super) async fn fill(pool: PgPool, target: &Target, numbers: &[u32]) -> anyhow::Result<()> {
    let store: PgEventStore<PeerEvent, JsonEvents<PeerEvent>> =
        PgEventStore::try_new(pool, JsonEvents::default()).await?;
    for some in numbers.chunks(CHUNK) {
        let events = some.iter().map(|number| PeerEvent::CustomerRegistered {
            customer: stream_of(&target.project_id, &people::id(*number)),
            profile: profile_of(*number),
        });
        store.append_without_validation(events.collect()).await?;
    }
    Ok(())
}
