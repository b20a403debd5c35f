//! A source in memory, which does as it is told: what it holds and how it fails are settled by the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use roster_commands::sync::source::{
    AuthField, AuthKind, Check, Page, Provider, ProviderKind, Record, Session, Settings, Source,
    SourceError, Walk,
};
use roster_commands::sync::{Rows, Tag};
use roster_commands::{ConnectionInput, CredentialsInput, MappingInput, RunInput, SyncOptions};
use roster_domain::Problem;
use roster_domain::connection::Connection;
use roster_domain::sync_run::SyncRun;
use roster_http::ProjectedRows;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::node::Node;
use crate::until::until;

/// A secret that must be found nowhere.
pub const SECRET: &str = "pat-canary-7f3e9b21";

/// What happens at the next page.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is answered.
    Answer,
    /// It fails.
    Fail(SourceError),
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    events: VecDeque<Event>,
    /// Pages that were asked for.
    asked: usize,
    renewals: usize,
}

/// The source `scripted`: records with an `updated` number are its changes.
#[derive(Clone)]
pub struct Scripted {
    provider: Arc<Provider>,
    state: Arc<Mutex<State>>,
    page_size: usize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Scripted {
    /// A source with so many records a page.
    pub fn new(page_size: usize) -> Self {
        let field = AuthField {
            name: "token",
            label: "Token",
            secret: true,
            required: true,
        };
        let provider = Provider {
            provider: "scripted",
            name: "Scripted",
            kind: ProviderKind::Crm,
            auth: vec![AuthKind {
                kind: "token",
                fields: vec![field],
            }],
            config_schema: json!({"type": "object"}),
            incremental: true,
            detects_deletes: true,
            default_mapping: vec![("email", "email"), ("name", "full_name")],
            docs: "",
        };
        Self {
            provider: Arc::new(provider),
            state: Arc::default(),
            page_size,
        }
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds these records from now on.
    pub fn hold(&self, records: Vec<Record>) {
        self.state(|state| state.records = records);
    }

    /// What happens at the next pages; then all are answered.
    pub fn script(&self, events: impl IntoIterator<Item = Event>) {
        self.state(|state| state.events = events.into_iter().collect());
    }

    /// How many pages were asked for.
    pub fn asked(&self) -> usize {
        self.state(|state| state.asked)
    }

    /// How often a new token was got.
    pub fn renewals(&self) -> usize {
        self.state(|state| state.renewals)
    }
}

/// A record of somebody, changed at a time.
pub fn person(id: usize, name: &str, updated: u64) -> Record {
    let fields = json!({
        "email": format!("p{id}@example.org"),
        "name": {"full": name},
        "updated": updated,
    });
    Record {
        id: format!("r{id}"),
        fields: fields.as_object().cloned().unwrap_or_default(),
        ..Record::default()
    }
}

/// So many people.
pub fn people(count: usize) -> Vec<Record> {
    (0..count)
        .map(|id| person(id, &format!("Person {id}"), 1))
        .collect()
}

impl Source for Scripted {
    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn open(&self, settings: Settings) -> Result<Box<dyn Session>, Vec<Problem>> {
        let token = settings.credentials.parts.get("token");
        if token.is_none_or(|token| token.expose_secret() != SECRET) {
            let message = "is no token of this source";
            return Err(vec![Problem::new(
                ["credentials", "token"],
                "invalid",
                message,
            )]);
        }
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Session for Scripted {
    async fn check(&mut self) -> Vec<Check> {
        vec![Check {
            name: "authentication",
            ok: true,
            message: format!("hello, {SECRET}"),
        }]
    }

    async fn page(&mut self, walk: &Walk) -> Result<Page, SourceError> {
        let page_size = walk.limit.unwrap_or(self.page_size);
        self.state(|state| {
            state.asked += 1;
            if let Some(Event::Fail(error)) = state.events.pop_front() {
                return Err(error);
            }
            let updated = |record: &Record| record.fields["updated"].as_u64().unwrap_or_default();
            let since = walk.since.as_ref().and_then(Value::as_u64);
            let mut wanted: Vec<&Record> = state
                .records
                .iter()
                .filter(|record| since.is_none_or(|since| updated(record) > since))
                .collect();
            wanted.sort_by_key(|record| updated(record));
            let from = walk.place.as_ref().and_then(Value::as_u64).unwrap_or(0);
            let from = usize::try_from(from)
                .unwrap_or(usize::MAX)
                .min(wanted.len());
            let to = (from + page_size).min(wanted.len());
            let records: Vec<Record> = wanted[from..to].iter().copied().cloned().collect();
            let cursor = records.iter().map(updated).max();
            Ok(Page {
                records,
                place: (to < wanted.len()).then(|| json!(to)),
                cursor: cursor.map(Value::from),
            })
        })
    }

    async fn renew(&mut self) -> Result<bool, SourceError> {
        self.state(|state| state.renewals += 1);
        Ok(true)
    }
}

/// Patience of tests.
pub fn quick() -> SyncOptions {
    SyncOptions {
        backoff: Duration::from_millis(5),
        attempts: 3,
        ..SyncOptions::default()
    }
}

/// A connection to the source, whose people have their e-mail address as id.
pub fn connection(name: &str) -> ConnectionInput {
    let line = |source: &str, target: &str| MappingInput {
        source: source.into(),
        target: target.into(),
        ..MappingInput::default()
    };
    let token = ("token".to_owned(), SECRET.to_owned());
    ConnectionInput {
        name: Some(name.into()),
        provider: "scripted".into(),
        credentials: Some(CredentialsInput {
            kind: None,
            parts: [token].into(),
        }),
        field_mapping: Some(vec![
            line("email", "customer_user_id"),
            line("email", "email"),
            line("name.full", "full_name"),
        ]),
        ..ConnectionInput::default()
    }
}

/// Saves a connection; its public id.
pub async fn save(node: &Node, project: &str, input: &ConnectionInput) -> String {
    let saved = node
        .directory
        .save_connection(&Node::context(project), input)
        .await
        .expect("the connection is fine");
    saved.value.connection.id_text()
}

/// Runs a connection to its end.
pub async fn run(node: &Node, project: &str, input: &RunInput) -> SyncRun {
    let started = node
        .directory
        .start_sync(&Node::context(project), input)
        .await
        .expect("no other run");
    ended(node, project, started.value.run_id).await
}

/// Waits for the end of a run.
pub async fn ended(node: &Node, project: &str, run_id: uuid::Uuid) -> SyncRun {
    let run = until("the end of a run", async || {
        let run = state(node, project, run_id).await;
        run.status.is_final().then_some(run)
    })
    .await;
    node.settle().await.expect("reads follow");
    run
}

/// A run as the log has it.
pub async fn state(node: &Node, project: &str, run_id: uuid::Uuid) -> SyncRun {
    let project = crate::log::scope(project);
    let project = node.cell().project(&project).await.expect("a database");
    let project = project.expect("the project was written to");
    let run = node.cell().load_fresh::<SyncRun>(&project, run_id).await;
    run.expect("a run").into_state()
}

/// A connection as the log has it.
pub async fn saved(node: &Node, project: &str, id: &str) -> Connection {
    let project = crate::log::scope(project);
    let project = node.cell().project(&project).await.expect("a database");
    let project = project.expect("the project was written to");
    let id = roster_domain::connection::parse_id(id).expect("a public id");
    let connection = node.cell().load_fresh::<Connection>(&project, id).await;
    connection.expect("a connection").into_state()
}

/// The ids of a connection's customers who are on, and of those who are off.
pub async fn rows(node: &Node, project: &str, id: &str) -> (Vec<String>, Vec<String>) {
    let scope = crate::log::scope(project);
    let project = node.cell().project(&scope).await.expect("a database");
    let tag = Tag {
        project_no: project.expect("the project was written to").no,
        provider: "scripted".into(),
        connection_id: id.into(),
    };
    let rows = ProjectedRows::new(node.projections.clone());
    let mut all = Vec::new();
    for enabled in [true, false] {
        let page = rows.page(&tag, enabled, "", 100_000).await.expect("rows");
        all.push(page.into_iter().map(|row| row.customer_user_id).collect());
    }
    let off = all.pop().unwrap_or_default();
    (all.pop().unwrap_or_default(), off)
}

/// What became of the records of a run: created, updated, unchanged, skipped, failed.
pub fn counts(run: &SyncRun) -> [u64; 5] {
    let counts = run.counts;
    [
        counts.created,
        counts.updated,
        counts.unchanged,
        counts.skipped,
        counts.failed,
    ]
}
