//! Reading the copy: every customer is rebuilt there by stock `QueryReplay` and compared with the live record.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cqrs_es::persist::QueryReplay;
use cqrs_es::{Aggregate, EventEnvelope, Query};
use futures::{StreamExt, TryStreamExt, stream};
use postgres_es::PostgresEventRepository;
use roster_domain::customer::Customer;
use roster_domain::stream::Stream;
use serde_json::Value;
use uuid::Uuid;

use super::{AuditCopy, AuditError};
use crate::{Cell, Loaded, StoreError};

/// Customers that are compared at once.
const PAGE: i64 = 500;
/// Replays that run at once.
const AT_ONCE: usize = 6;

/// A customer whose copy says something else than the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The stream.
    pub stream: Uuid,
    /// What differs; names of members, never values.
    pub message: String,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Customers that are equal.
    pub equal: u64,
    /// Customers whose erasure, or whose registration, the copy does not have yet.
    pub waiting: u64,
    /// Events in the copy that its framework could not read.
    pub unreadable: u64,
    /// Customers that differ.
    pub differences: Vec<Difference>,
}

type Customers = Arc<Mutex<HashMap<Uuid, Rebuilt>>>;

/// A customer as the copy's events make it.
#[derive(Default)]
struct Rebuilt {
    customer: Customer,
    events: i32,
    /// Whether the sequences were 1, 2, 3 and so on.
    is_whole: bool,
}

/// The query that folds.
struct Fold(Customers);

#[async_trait]
impl Query<Customer> for Fold {
    async fn dispatch(&self, aggregate_id: &str, events: &[EventEnvelope<Customer>]) {
        let Ok(stream) = Uuid::parse_str(aggregate_id) else {
            return;
        };
        let mut customers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rebuilt = customers.entry(stream).or_insert_with(|| Rebuilt {
            is_whole: true,
            ..Rebuilt::default()
        });
        for event in events {
            rebuilt.events += 1;
            rebuilt.is_whole &= i32::try_from(event.sequence) == Ok(rebuilt.events);
            rebuilt.customer.apply(event.payload.clone());
        }
    }
}

/// Rebuilds and compares every customer; `progress` gets how many are done.
pub async fn replay(
    cell: &Cell,
    copy: &AuditCopy,
    mut progress: impl FnMut(u64),
) -> Result<Replayed, AuditError> {
    let copied_to = copy.position(cell).await?;
    let rebuilt = Customers::default();
    let unreadable = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&unreadable);
    let mut query_replay: QueryReplay<_, _, Customer> = QueryReplay::new(
        PostgresEventRepository::new(copy.pool.clone()),
        Fold(Arc::clone(&rebuilt)),
    );
    query_replay.use_error_handler(Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let mut found = Replayed::default();
    let mut after = Uuid::nil();
    let mut done = 0;
    loop {
        let page = customers_after(cell, after).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        stream::iter(page.iter().map(|(stream, _)| {
            let id = stream.to_string();
            let query_replay = &query_replay;
            async move { query_replay.replay(&id).await }
        }))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
        .map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
        let mut copied =
            std::mem::take(&mut *rebuilt.lock().unwrap_or_else(PoisonError::into_inner));
        for (live, project_no) in live_states(cell, &page).await? {
            let copy = copied.remove(&live.stream).unwrap_or_default();
            compare(cell, &live, project_no, &copy, copied_to, &mut found).await?;
        }
        done += page.len() as u64;
        progress(done);
    }
    surplus(cell, copy, &mut found).await?;
    found.unreadable = unreadable.load(Ordering::Relaxed);
    Ok(found)
}

/// The next customers by id, with their projects.
async fn customers_after(cell: &Cell, after: Uuid) -> Result<Vec<(Uuid, i32)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT stream_id, project_no
           FROM log_streams
          WHERE stream_id > $1 AND kind = $2
          ORDER BY stream_id
          LIMIT $3",
    )
    .bind(after)
    .bind(Customer::KIND)
    .bind(PAGE)
    .fetch_all(cell.pool())
    .await?)
}

/// Their live states, through the store.
async fn live_states(
    cell: &Cell,
    page: &[(Uuid, i32)],
) -> Result<Vec<(Loaded<Customer>, i32)>, StoreError> {
    let mut states = Vec::with_capacity(page.len());
    let projects: BTreeSet<i32> = page.iter().map(|(_, no)| *no).collect();
    for no in projects {
        let project = cell
            .project_by_no(no)
            .await?
            .ok_or(StoreError::Malformed("project of a customer"))?;
        let streams: Vec<Uuid> = page
            .iter()
            .filter(|(_, of)| *of == no)
            .map(|(stream, _)| *stream)
            .collect();
        let loaded = cell.load_many(&project, &streams).await?;
        states.extend(loaded.into_iter().map(|live| (live, no)));
    }
    Ok(states)
}

async fn compare(
    cell: &Cell,
    live: &Loaded<Customer>,
    project_no: i32,
    copy: &Rebuilt,
    copied_to: i64,
    found: &mut Replayed,
) -> Result<(), StoreError> {
    let mut differs = |message: String| {
        found.differences.push(Difference {
            stream: live.stream,
            message: format!("{message} (project {project_no})"),
        });
    };
    let mut state = live.state.clone();
    if copy.events < live.version {
        // The customer moved on since the export: it is compared as it was there.
        let events = cell.read_stream(live.stream, 0).await?;
        let expected = events
            .iter()
            .take_while(|recorded| recorded.position <= copied_to)
            .count();
        if i32::try_from(expected) != Ok(copy.events) {
            differs(format!("the copy has {} of {expected} events", copy.events));
            return Ok(());
        }
        if expected == 0 || live.state.is_closed() {
            found.waiting += 1;
            return Ok(());
        }
        let mut then = Customer::default();
        for recorded in &events[..expected] {
            then.apply(recorded.decode()?);
        }
        state = Arc::new(then);
    }
    if copy.events > live.version {
        differs(format!(
            "the copy has {} events, the log has {}",
            copy.events, live.version
        ));
    } else if !copy.is_whole {
        differs("the copy's sequence has a gap".into());
    } else if *state == copy.customer {
        found.equal += 1;
    } else {
        differs(members(&state, &copy.customer).join(", "));
    }
    Ok(())
}

/// Customers of the copy that the log does not know.
async fn surplus(cell: &Cell, copy: &AuditCopy, found: &mut Replayed) -> Result<(), AuditError> {
    let mut after = String::new();
    loop {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT aggregate_id
               FROM events
              WHERE aggregate_type = $1 AND aggregate_id > $2
              ORDER BY aggregate_id
              LIMIT $3",
        )
        .bind(Customer::TYPE)
        .bind(&after)
        .bind(PAGE)
        .fetch_all(&copy.pool)
        .await?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after.clone_from(last);
        let streams: Vec<Uuid> = ids
            .iter()
            .filter_map(|id| Uuid::parse_str(id).ok())
            .collect();
        let known: Vec<Uuid> = sqlx::query_scalar(
            "SELECT stream_id FROM log_streams WHERE stream_id = ANY($1) AND kind = $2",
        )
        .bind(&streams)
        .bind(Customer::KIND)
        .fetch_all(cell.pool())
        .await
        .map_err(StoreError::from)?;
        let known: BTreeSet<Uuid> = known.into_iter().collect();
        found.differences.extend(
            streams
                .into_iter()
                .filter(|stream| !known.contains(stream))
                .map(|stream| Difference {
                    stream,
                    message: "the log does not know this customer".into(),
                }),
        );
    }
}

/// The members of two records that differ.
fn members(live: &Customer, copy: &Customer) -> Vec<String> {
    let json = |customer: &Customer| serde_json::to_value(customer).unwrap_or_default();
    let mut paths = Vec::new();
    differing("", &json(live), &json(copy), &mut paths);
    paths
}

fn differing(path: &str, live: &Value, copy: &Value, paths: &mut Vec<String>) {
    match (live, copy) {
        (Value::Object(live_members), Value::Object(copied_members)) => {
            let names: BTreeSet<&String> =
                live_members.keys().chain(copied_members.keys()).collect();
            for name in names {
                // The wrapper of personal values is no member that anybody knows.
                let inner = match (path.is_empty(), name.as_str()) {
                    (true, _) => name.clone(),
                    (false, "known") => path.to_owned(),
                    (false, _) => format!("{path}.{name}"),
                };
                let null = &Value::Null;
                differing(
                    &inner,
                    live_members.get(name).unwrap_or(null),
                    copied_members.get(name).unwrap_or(null),
                    paths,
                );
            }
        }
        _ if live == copy => {}
        _ => paths.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use roster_domain::Personal;
    use roster_domain::customer::Customer;
    use roster_domain::value::Value;

    use super::members;

    #[test]
    fn members_that_differ_are_named_without_their_values() {
        let live = Customer {
            profile: Personal::new([("email".into(), Value::Text("a@b".into()))].into()),
            ..Customer::default()
        };
        let copy = Customer {
            profile: Personal::new([("email".into(), Value::Text("c@d".into()))].into()),
            enabled: true,
            ..Customer::default()
        };
        assert_eq!(members(&live, &live), Vec::<String>::new());
        let named = members(&live, &copy);
        assert_eq!(named.len(), 2, "{named:?}");
        assert_eq!(named[0], "enabled");
        assert!(named[1].starts_with("profile.email"), "{named:?}");
    }
}
