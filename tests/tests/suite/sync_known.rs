//! What a sync need not look at again, and what it must: a record is passed over only where applying it would change nothing.

use std::sync::Arc;

use roster_commands::sync::source::Record;
use roster_commands::{
    ConnectionInput, DataSourceInput, DeletedRows, Jobs, MappingInput, RunInput, SchemaInput,
    UpsertInput,
};
use roster_domain::Personal;
use roster_domain::connection::{DeleteMissing, Mode};
use roster_domain::customer::SourceKind;
use roster_domain::schema::Definition;
use roster_domain::sync_run::{RunStatus, SyncRun};
use roster_domain::value::Input;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::scripted::{
    Scripted, connection, counts, people, person, quick, rows, run, save,
};

const PROJECT: &str = "prj_known";
const PEOPLE: usize = 25;

/// A connection whose source was read once.
struct Synced {
    database: Database,
    node: Node,
    source: Scripted,
    id: String,
    _jobs: Jobs,
}

/// The lines of [`connection`] and one from `phone`.
fn with_phone(name: &str) -> ConnectionInput {
    let mut input = connection(name);
    let phone = MappingInput {
        source: "phone".into(),
        target: "phone".into(),
        ..MappingInput::default()
    };
    input.field_mapping.get_or_insert_default().push(phone);
    input
}

impl Synced {
    async fn start(input: ConnectionInput) -> Self {
        let source = Scripted::new(10);
        let database = Database::create().await.expect("a database");
        let node = Node::start_with_sources(&database, "sync", vec![Arc::new(source.clone())])
            .await
            .expect("a node");
        let jobs = node.start_jobs_with(quick());
        source.hold(people(PEOPLE));
        let id = save(&node, PROJECT, &input).await;
        let synced = Self {
            database,
            node,
            source,
            id,
            _jobs: jobs,
        };
        assert_eq!(synced.counts().await, [PEOPLE as u64, 0, 0, 0, 0]);
        assert_eq!(synced.known().await, (25, 25));
        synced
    }

    async fn run_of(&self, id: &str) -> SyncRun {
        let input = RunInput {
            connection_id: id.into(),
            mode: Some(Mode::Full),
            ..RunInput::default()
        };
        run(&self.node, PROJECT, &input).await
    }

    /// What a full run comes to: created, updated, unchanged, skipped, failed.
    async fn counts(&self) -> [u64; 5] {
        counts(&self.run_of(&self.id).await)
    }

    /// How many customers are known, and of how many it is known what their record said.
    async fn known(&self) -> (i64, i64) {
        sqlx::query_as("SELECT count(*), count(digest) FROM job_sync_known")
            .fetch_one(self.node.cell().pool())
            .await
            .expect("a count")
    }

    async fn upsert(&self, id: usize, input: UpsertInput) {
        let input = UpsertInput {
            customer_user_id: Some(format!("p{id}@example.org")),
            ..input
        };
        let context = Node::context(PROJECT);
        let upserted = self.node.directory.upsert_customer(&context, input).await;
        upserted.expect("a customer");
    }

    async fn write(&self, id: usize, field: &str, text: &str) {
        let profile = vec![(field.into(), Input::Text(text.into()))];
        let input = UpsertInput {
            profile,
            ..UpsertInput::default()
        };
        self.upsert(id, input).await;
    }

    async fn erase(&self, id: usize, suppress: bool) {
        let context = Node::context(PROJECT);
        let id = format!("p{id}@example.org");
        let erased = self.node.directory.erase_customer(&context, &id, suppress);
        erased.await.expect("it was there");
    }

    async fn profile(&self, id: usize) -> String {
        self.node.settle().await.expect("reads follow");
        sqlx::query_scalar("SELECT profile::text FROM view_customers WHERE customer_user_id = $1")
            .bind(format!("p{id}@example.org"))
            .fetch_one(self.node.cell().pool())
            .await
            .expect("a row")
    }
}

#[tokio::test]
async fn who_says_the_same_is_passed_over_without_a_look_at_the_customer() {
    let synced = Synced::start(connection("CRM")).await;
    let mut superuser = synced.database.superuser().await.expect("a connection");
    // Whoever looked at one of these would find a state that does not open.
    let spoilt = "UPDATE log_streams SET state = '\\x00'
                   WHERE stream_id IN (SELECT stream_id FROM job_sync_known)";
    let spoilt = sqlx::query(spoilt).execute(&mut superuser).await;
    assert_eq!(
        spoilt.expect("they are there").rows_affected(),
        PEOPLE as u64
    );
    let done = synced.run_of(&synced.id).await;
    assert_eq!(done.status, RunStatus::Succeeded, "{:?}", done.code);
    assert_eq!(counts(&done), [0, 0, PEOPLE as u64, 0, 0]);
    assert_eq!(done.marked, PEOPLE as u64, "they are there");
    synced.node.close().await;
}

#[tokio::test]
async fn who_was_edited_meanwhile_is_looked_at() {
    let synced = Synced::start(connection("CRM")).await;
    synced.write(3, "full_name", "By hand").await;
    synced.write(4, "city", "Bremen").await;
    let switch = UpsertInput {
        enabled: Some(false),
        ..UpsertInput::default()
    };
    synced.upsert(5, switch).await;
    assert_eq!(synced.counts().await, [0, 1, 24, 0, 0]);
    assert!(synced.profile(3).await.contains("Person 3"));
    assert!(synced.profile(4).await.contains("Bremen"));
    assert_eq!(
        rows(&synced.node, PROJECT, &synced.id).await.1,
        ["p5@example.org"]
    );
    // Whom the run changed is known again after one that finds nothing to do.
    assert_eq!(synced.known().await, (25, 24));
    assert_eq!(synced.counts().await, [0, 0, 25, 0, 0]);
    assert_eq!(synced.known().await, (25, 25));
    synced.node.close().await;
}

#[tokio::test]
async fn who_was_erased_is_forgotten_and_comes_back_as_somebody_else() {
    let synced = Synced::start(connection("CRM")).await;
    synced.erase(3, false).await;
    synced.erase(4, true).await;
    assert_eq!(synced.known().await, (23, 23));
    assert_eq!(synced.counts().await, [1, 0, 23, 1, 0]);
    assert_eq!(
        synced.known().await,
        (24, 24),
        "nobody is known who is suppressed"
    );
    assert_eq!(synced.counts().await, [0, 0, 24, 1, 0]);
    synced.node.close().await;
}

#[tokio::test]
async fn who_goes_with_their_record_or_their_connection_is_forgotten() {
    let synced = Synced::start(ConnectionInput {
        delete_missing: Some(DeleteMissing::Delete),
        mode: Some(Mode::Full),
        ..connection("CRM")
    })
    .await;
    synced.source.hold(people(PEOPLE - 2));
    let done = synced.run_of(&synced.id).await;
    assert_eq!((counts(&done)[2], done.removals.deleted), (23, 2));
    assert_eq!(synced.known().await, (23, 23));
    let context = Node::context(PROJECT);
    let directory = &synced.node.directory;
    let deleted = directory.delete_connection(&context, &synced.id, DeletedRows::Keep);
    deleted.await.expect("it was there");
    assert_eq!(synced.known().await, (0, 0));
    synced.node.close().await;
}

#[tokio::test]
async fn another_mapping_is_applied_to_everybody() {
    let synced = Synced::start(connection("CRM")).await;
    let mut input = connection("CRM");
    input.connection_id = Some(synced.id.clone());
    input.field_mapping.as_mut().expect("lines")[2].source = "email".into();
    save(&synced.node, PROJECT, &input).await;
    assert_eq!(synced.counts().await, [0, 25, 0, 0, 0]);
    assert!(!synced.profile(3).await.contains("Person"));
    synced.node.close().await;
}

#[tokio::test]
async fn another_schema_is_held_against_everybody() {
    let synced = Synced::start(with_phone("CRM")).await;
    let mut definition = Definition::default();
    let fields = definition.fields.iter_mut();
    fields
        .filter(|field| field.name == "phone")
        .for_each(|field| field.required = true);
    let input = SchemaInput {
        definition,
        expected_version: None,
    };
    let context = Node::context(PROJECT);
    let schema = synced.node.directory.upsert_schema(&context, input).await;
    schema.expect("a schema");
    assert_eq!(synced.counts().await, [0, 0, 0, 0, 25]);
    assert_eq!(synced.known().await, (25, 0));
    synced.node.close().await;
}

#[tokio::test]
async fn who_has_another_source_is_always_looked_at() {
    let synced = Synced::start(connection("CRM")).await;
    let scim = UpsertInput {
        data_source: Some(DataSourceInput {
            kind: SourceKind::Scim,
            provider: None,
            connection_id: None,
            external_id: Personal::Known(None),
            synced_at: None,
        }),
        ..UpsertInput::default()
    };
    synced.upsert(3, scim).await;
    // The row of another source is the same and is not known; so is every row to another connection.
    assert_eq!(synced.counts().await, [0, 0, 25, 0, 0]);
    assert_eq!(synced.known().await, (25, 24));
    let other = save(&synced.node, PROJECT, &with_phone("Other")).await;
    assert_eq!(counts(&synced.run_of(&other).await), [0, 0, 25, 0, 0]);
    assert_eq!(synced.known().await, (50, 24));
    // Once the first one is gone, its rows are the other one's, though their records say what they said.
    let context = Node::context(PROJECT);
    let directory = &synced.node.directory;
    let deleted = directory.delete_connection(&context, &synced.id, DeletedRows::Keep);
    deleted.await.expect("it was there");
    assert_eq!(counts(&synced.run_of(&other).await), [0, 24, 1, 0, 0]);
    synced.node.close().await;
}

#[tokio::test]
async fn a_record_that_comes_twice_leaves_what_it_said_last_in_a_walk_through_everything() {
    let synced = Synced::start(connection("CRM")).await;
    let said: Record = person(3, "Person 3", 1);
    for between in [0, 9, 20] {
        let mut records = people(PEOPLE);
        records.retain(|record| record.id != said.id);
        records.insert(0, person(3, "Another", 1));
        records.insert(1 + between, said.clone());
        synced.source.hold(records);
        assert_eq!(synced.counts().await, [0, 2, 24, 0, 0], "{between}");
        assert!(synced.profile(3).await.contains("Person 3"), "{between}");
    }
    synced.node.close().await;
}

#[tokio::test]
async fn another_record_that_names_a_known_customer_is_kept_out_in_any_order() {
    let synced = Synced::start(connection("CRM")).await;
    let mut double = person(3, "Double", 1);
    double.id = "other".into();
    for place in [PEOPLE, 15] {
        let mut records = people(PEOPLE);
        records.insert(place, double.clone());
        synced.source.hold(records);
        assert_eq!(synced.counts().await, [0, 0, 25, 0, 1], "{place}");
        assert!(synced.profile(3).await.contains("Person 3"));
    }
    // Its own record comes later on: the first one that names somebody counts.
    let mut records = people(PEOPLE);
    records.insert(0, double);
    synced.source.hold(records);
    assert_eq!(synced.counts().await, [0, 1, 24, 0, 1]);
    assert!(synced.profile(3).await.contains("Double"));
    synced.node.close().await;
}
