//! Making a field unique in a large project: the check runs as a job, the old schema stays, and writes go on meanwhile.

use roster_commands::authority::Operation;
use roster_commands::{Applied, CommandError, FindBy, Limits, SchemaInput, UpsertInput, Upserted};
use roster_domain::Problem;
use roster_domain::schema::{Definition, Field, FieldType, ProjectSchema};
use roster_domain::value::Input;
use roster_projections::preparations::{self, PreparationRow};
use roster_tests::bench::people;
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use uuid::Uuid;

/// Customers up to which the nodes of this file check within the request.
const FEW: usize = 100;

fn limits() -> Limits {
    Limits {
        schema_in_request: FEW,
        ..Limits::default()
    }
}

/// The default schema, its e-mail addresses unique or not.
fn definition(unique: bool) -> Definition {
    let mut definition = Definition::default();
    for field in &mut definition.fields {
        field.unique |= unique && field.name == "email";
    }
    definition
}

/// What this file does to a project, over a node.
struct Project {
    node: Node,
}

impl Project {
    /// A project with a few more customers than are checked within a request; `customer-<n>` has the address `<n>@…`.
    async fn large(database: &Database) -> Self {
        let project = Self {
            node: Node::start(database, "one", limits())
                .await
                .expect("a node"),
        };
        for from in (0..FEW + 20).step_by(60) {
            let inputs =
                (from..from + 60).map(|number| input(number, &format!("{number}@example.org")));
            let written = project
                .node
                .directory
                .upsert_customers(&Node::context("p"), inputs.collect())
                .await;
            assert!(written.expect("verdicts").value.iter().all(Result::is_ok));
        }
        project
    }

    async fn replace(&self, unique: bool) -> Result<Applied<ProjectSchema>, CommandError> {
        let input = SchemaInput {
            definition: definition(unique),
            expected_version: None,
        };
        self.node
            .directory
            .upsert_schema(&Node::context("p"), input)
            .await
    }

    /// Asks for unique addresses, which needs a preparation.
    async fn prepare(&self) -> Uuid {
        match self.replace(true).await {
            Err(CommandError::PreparationRequired { preparation_id }) => preparation_id,
            other => panic!(
                "no preparation was started: {:?}",
                other.map(|applied| applied.value.version)
            ),
        }
    }

    async fn upsert(&self, number: usize, email: &str) -> Result<Upserted, CommandError> {
        let upserted = self
            .node
            .directory
            .upsert_customer(&Node::context("p"), input(number, email))
            .await;
        upserted.map(|applied| applied.value)
    }

    /// The customer whom an address finds, once addresses are unique.
    async fn find(&self, email: &str) -> Option<Uuid> {
        let by = FindBy::Field("email".into(), Input::Text(email.into()));
        self.node
            .directory
            .find_customer(&Node::context("p"), Operation::GetCustomer, by)
            .await
            .expect("a look-up")
    }

    async fn ended(&self, preparation_id: Uuid) -> PreparationRow {
        let cell = self.node.cell();
        let project = cell
            .project(&Node::context("p").scope)
            .await
            .expect("a look-up")
            .expect("the project");
        until("the end of a preparation", async || {
            let row = preparations::get(cell.pool(), project.no, preparation_id)
                .await
                .expect("a query");
            row.filter(|row| row.finished_at.is_some())
        })
        .await
    }

    /// The problems that keep unique addresses out.
    async fn refusal(&self) -> Vec<Problem> {
        match self.replace(true).await {
            Err(CommandError::SchemaInvalid(problems)) => problems,
            other => panic!(
                "no duplicate is named: {:?}",
                other.map(|applied| applied.value.version)
            ),
        }
    }
}

fn input(number: usize, email: &str) -> UpsertInput {
    UpsertInput {
        customer_user_id: Some(format!("customer-{number}")),
        profile: vec![("email".into(), Input::Text(email.into()))],
        ..UpsertInput::default()
    }
}

#[tokio::test]
async fn a_small_project_is_checked_within_the_request() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "one", limits())
        .await
        .expect("a node");
    let project = Project { node };
    for number in 0..20 {
        project
            .upsert(number, &format!("{number}@example.org"))
            .await
            .expect("it is written");
    }
    assert_eq!(
        project
            .replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    let taken = project.upsert(99, "7@example.org").await;
    assert!(matches!(taken, Err(CommandError::UniqueValueTaken { field, .. }) if field == "email"));
    assert!(project.find("7@example.org").await.is_some());
    project.node.close().await;
}

#[tokio::test]
async fn the_old_schema_stays_until_the_job_is_done_and_the_next_upsert_takes_effect() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    assert_eq!(
        project.prepare().await,
        preparation_id,
        "the same request names the same job"
    );
    let active = Node::context("p");
    let cell = project.node.cell();
    let scope = cell
        .project(&active.scope)
        .await
        .expect("a look-up")
        .expect("the project");
    assert_eq!(
        project
            .node
            .directory
            .active_schema(&scope)
            .await
            .expect("a schema")
            .schema
            .version(),
        0
    );

    project.node.start_jobs();
    let row = project.ended(preparation_id).await;
    assert_eq!((row.status.as_str(), row.progress_pct), ("ready", 100));
    assert_eq!(
        (row.fields.as_slice(), row.total),
        (["email".to_owned()].as_slice(), row.checked)
    );
    let applied = project.replace(true).await.expect("it takes effect");
    assert_eq!(applied.value.version, 1);
    assert!(
        project
            .replace(true)
            .await
            .expect("it is the same")
            .position
            .is_none()
    );
    let taken = project.upsert(500, "7@example.org").await;
    assert!(matches!(taken, Err(CommandError::UniqueValueTaken { .. })));
    assert!(project.find("7@example.org").await.is_some());
    project.node.close().await;
}

#[tokio::test]
async fn a_job_that_was_started_by_a_server_that_went_is_done_by_the_next() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    project.node.close().await;
    let node = Node::start(&database, "two", limits())
        .await
        .expect("a node");
    node.start_jobs();
    let project = Project { node };
    assert_eq!(project.ended(preparation_id).await.status, "ready");
    assert_eq!(
        project
            .replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    project.node.close().await;
}

#[tokio::test]
async fn a_server_that_remembers_the_schema_of_before_goes_by_the_present_one() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let other = Node::start(&database, "two", limits())
        .await
        .expect("a node");
    let other = Project { node: other };
    let ranks = |ranks: &[&str], unique| {
        let mut definition = definition(unique);
        definition.fields.push(Field {
            allowed_values: ranks.iter().map(|rank| (*rank).to_owned()).collect(),
            ..Field::new("rank", FieldType::default())
        });
        SchemaInput {
            definition,
            expected_version: None,
        }
    };
    let replace = async |input| {
        let context = Node::context("p");
        project.node.directory.upsert_schema(&context, input).await
    };
    let ranked = async |number, rank: &str| {
        let mut input = input(number, &format!("{number}@example.org"));
        input
            .profile
            .push(("rank".into(), Input::Text(rank.into())));
        let context = Node::context("p");
        let written = other.node.directory.upsert_customer(&context, input).await;
        written.map(|applied| applied.value.changed)
    };
    replace(ranks(&["low"], false)).await.expect("a schema");
    assert!(ranked(1, "low").await.expect("it is allowed"));
    assert!(ranked(1, "high").await.is_err());
    replace(ranks(&["low", "high"], false))
        .await
        .expect("a schema");
    assert!(ranked(1, "high").await.expect("it is allowed by now"));
    // A preparation that one server starts is known to the one that does it.
    let Err(CommandError::PreparationRequired { preparation_id }) =
        replace(ranks(&["low", "high"], true)).await
    else {
        panic!("no preparation was started");
    };
    project.node.close().await;
    other.node.start_jobs();
    assert_eq!(other.ended(preparation_id).await.status, "ready");
    other.node.close().await;
}

#[tokio::test]
async fn customers_with_the_same_value_are_named_until_one_of_them_changes() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let first = project
        .upsert(3, "twin@example.org")
        .await
        .expect("it is written")
        .stream;
    let second = project
        .upsert(4, "Twin@Example.org")
        .await
        .expect("it is written")
        .stream;
    let preparation_id = project.prepare().await;
    project.node.start_jobs();
    let row = project.ended(preparation_id).await;
    assert_eq!(row.status, "duplicates");
    let [found] = row.duplicates.as_slice() else {
        panic!("one pair: {:?}", row.duplicates)
    };
    let mut pair = [found.customer_ref, found.holder_ref];
    pair.sort_unstable();
    let mut expected = [first, second];
    expected.sort_unstable();
    assert_eq!((found.field.as_str(), pair), ("email", expected));

    let [problem] = &project.refusal().await[..] else {
        panic!("one problem")
    };
    assert_eq!(
        (problem.loc.join("."), problem.kind.as_str()),
        ("fields.email".into(), "duplicate_value")
    );
    assert!(
        problem.message.contains("'customer-3'") && problem.message.contains("'customer-4'"),
        "{problem:?}"
    );

    project
        .upsert(4, "other@example.org")
        .await
        .expect("it is written");
    let again = project.prepare().await;
    assert_ne!(again, preparation_id);
    assert_eq!(project.ended(again).await.status, "ready");
    assert_eq!(
        project
            .replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    project.node.close().await;
}

#[tokio::test]
async fn a_duplicate_that_is_written_meanwhile_stands_and_ends_the_preparation() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    // Both take the pending claim: the first gets it, the second is written without it.
    project
        .upsert(501, "twin@example.org")
        .await
        .expect("it is written");
    project
        .upsert(502, "twin@example.org")
        .await
        .expect("it is written all the same");
    project.node.start_jobs();
    assert_ne!(project.ended(preparation_id).await.status, "ready");
    let again = project.prepare().await;
    assert_eq!(project.ended(again).await.status, "duplicates");
    let problems = project.refusal().await;
    assert!(
        problems[0].message.contains("customer-501")
            && problems[0].message.contains("customer-502")
    );
    project.node.close().await;
}

#[tokio::test]
async fn writes_after_the_job_and_before_the_schema_keep_their_claims() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    let meanwhile = project
        .upsert(600, "meanwhile@example.org")
        .await
        .expect("it is written")
        .stream;
    project.node.start_jobs();
    assert_eq!(project.ended(preparation_id).await.status, "ready");
    let late = project
        .upsert(601, "late@example.org")
        .await
        .expect("it is written")
        .stream;
    let moved = project
        .upsert(5, "moved@example.org")
        .await
        .expect("it is written")
        .stream;
    let freed = project
        .upsert(602, "5@example.org")
        .await
        .expect("the address is free")
        .stream;
    assert_eq!(
        project
            .replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    for (email, holder) in [
        ("meanwhile", meanwhile),
        ("late", late),
        ("moved", moved),
        ("5", freed),
    ] {
        assert_eq!(
            project.find(&format!("{email}@example.org")).await,
            Some(holder),
            "{email}"
        );
    }
    project.node.close().await;
}

#[tokio::test]
async fn a_duplicate_that_is_written_after_the_job_keeps_the_schema_out() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    project.node.start_jobs();
    assert_eq!(project.ended(preparation_id).await.status, "ready");
    project
        .upsert(700, "7@example.org")
        .await
        .expect("it is not unique yet");
    let again = project.prepare().await;
    assert_eq!(project.ended(again).await.status, "duplicates");
    assert!(project.refusal().await[0].message.contains("customer-700"));
    project.node.close().await;
}

#[tokio::test]
async fn another_schema_takes_the_place_of_one_that_is_being_prepared() {
    let database = Database::create().await.expect("a database");
    let project = Project::large(&database).await;
    let preparation_id = project.prepare().await;
    let mut other = definition(false);
    other.fields.retain(|field| field.name != "full_name");
    let input = SchemaInput {
        definition: other,
        expected_version: Some(0),
    };
    let applied = project
        .node
        .directory
        .upsert_schema(&Node::context("p"), input)
        .await
        .expect("it needs no check");
    assert_eq!(applied.value.version, 1);
    project.node.start_jobs();
    assert_eq!(project.ended(preparation_id).await.status, "failed");
    project
        .upsert(800, "8@example.org")
        .await
        .expect("nothing is unique");
    project.node.close().await;
}

#[tokio::test]
async fn a_server_that_remembers_customers_as_they_were_misses_no_claim() {
    let database = Database::create().await.expect("a database");
    let one = Project {
        node: Node::start(&database, "one", limits())
            .await
            .expect("a node"),
    };
    let two = Project {
        node: Node::start(&database, "two", limits())
            .await
            .expect("a node"),
    };
    one.upsert(1, "").await.expect("it is written");
    let holder = two
        .upsert(1, "first@example.org")
        .await
        .expect("it is written")
        .stream;
    assert_eq!(
        one.replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    assert_eq!(two.find("first@example.org").await, Some(holder));
    let taken = two.upsert(2, "first@example.org").await;
    assert!(matches!(taken, Err(CommandError::UniqueValueTaken { .. })));
    one.node.close().await;
    two.node.close().await;
}

#[tokio::test]
async fn a_server_that_remembers_the_schema_as_it_was_does_not_call_it_unchanged() {
    let database = Database::create().await.expect("a database");
    let one = Project {
        node: Node::start(&database, "one", limits())
            .await
            .expect("a node"),
    };
    let two = Project {
        node: Node::start(&database, "two", limits())
            .await
            .expect("a node"),
    };
    assert_eq!(
        one.replace(true)
            .await
            .expect("it takes effect")
            .value
            .version,
        1
    );
    assert_eq!(
        two.replace(true).await.expect("it is the same").position,
        None
    );
    assert_eq!(
        one.replace(false)
            .await
            .expect("it takes effect")
            .value
            .version,
        2
    );
    let again = two.replace(true).await.expect("it takes effect");
    assert_eq!((again.value.version, again.position.is_some()), (3, true));
    one.node.close().await;
    two.node.close().await;
}

#[tokio::test]
async fn more_than_ten_thousand_customers_are_prepared_over_http() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    let rows = 10_250;
    let csv: String = people::csv(0..rows, 0).collect();
    let import_id = client.import("", csv).await.ok()["import_id"].clone();
    has_status(
        &client,
        "users/imports/get",
        json!({"import_id": import_id}),
        "completed",
    )
    .await;

    let mut definition = client.ok("schema/get", json!({})).await["schema"].clone();
    for field in definition["fields"].as_array_mut().expect("fields") {
        field["unique"] = json!(
            ["email", "customer_user_id"].contains(&field["name"].as_str().unwrap_or_default())
        );
    }
    let unique = json!({"schema": definition, "expected_version": 0});
    let code = "project_user_indexes_preparation_required";
    let detail = client
        .refused("schema/upsert", unique.clone(), 409, code)
        .await;
    let preparation = json!({"preparation_id": detail["preparation_id"]});
    assert_eq!(client.ok("schema/get", json!({})).await["version"], 0);
    let done = has_status(&client, "schema/preparation/get", preparation, "ready").await;
    assert_eq!(done["progress_pct"], 100);
    assert_eq!(client.ok("schema/upsert", unique).await["version"], 1);

    let stolen = json!({"customer_user_id": "thief", "profile": {"email": people::email(77)}});
    let taken = client
        .refused("users/upsert", stolen, 409, "unique_value_taken")
        .await;
    assert_eq!(
        (&taken["field"], &taken["customer_user_id"]),
        (&json!("email"), &json!(people::id(77)))
    );
    let unknown = json!({"preparation_id": Uuid::nil()});
    client
        .refused(
            "schema/preparation/get",
            unknown,
            404,
            "preparation_not_found",
        )
        .await;
}

/// Asks until a job has a status; progress never goes back.
async fn has_status(client: &Client, route: &str, members: Value, status: &str) -> Value {
    let mut progress = 0;
    until(status, async || {
        let found = client.ok(route, members.clone()).await;
        let now = found["progress_pct"].as_i64().unwrap_or_default();
        assert!(now >= progress, "progress went from {progress} to {now}");
        progress = now;
        (found["status"] == status).then_some(found)
    })
    .await
}
