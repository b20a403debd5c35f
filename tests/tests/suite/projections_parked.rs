//! A customer whom a projection cannot write is left out until somebody asks again; nobody else waits for that.

use std::time::Duration;

use roster_commands::{Limits, SchemaInput, UpsertInput};
use roster_domain::schema::Definition;
use roster_domain::value::Input;
use roster_projections::customers::{self, Filter};
use roster_projections::rebuild::{Target, rebuild, retry_parked, roll_back};
use roster_tests::database::Database;
use roster_tests::fold;
use roster_tests::node::Node;
use roster_tests::until::until;
use sqlx::Executor as _;

/// What this file's constraint keeps out of the read tables.
const POISON: &str = "Poison";

async fn upsert(node: &Node, id: &str, name: &str) {
    let input = UpsertInput {
        customer_user_id: Some(id.into()),
        profile: vec![("full_name".into(), Input::Text(name.into()))],
        ..UpsertInput::default()
    };
    let context = Node::context("p");
    let written = node.directory.upsert_customer(&context, input).await;
    written.expect("the log takes it");
}

/// The ids that a search finds.
async fn found(node: &Node, term: &str) -> Vec<String> {
    let scope = Node::context("p").scope;
    let project = node.cell().project(&scope).await.expect("a look-up");
    let filter = Filter {
        search: Some(term.into()),
        ..Filter::default()
    };
    let (pool, totals) = (node.projections.pool(), node.projections.totals());
    let page = customers::list(pool, totals, project.expect("the project").no, &filter);
    let rows = page.await.expect("a page").rows.into_iter();
    rows.map(|row| row.customer_user_id).collect()
}

fn parked(node: &Node, projection: &str) -> usize {
    let status = node.projections.status().into_iter();
    let mut of = status.filter(|status| status.name == projection);
    of.next().expect("its status").parked_streams
}

/// Twenty-one people, of whom `c07` is left out for a name that the read tables refused and take again at the end.
async fn leave_one_out() -> (Database, Node) {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "one", Limits::default())
        .await
        .expect("a node");
    let input = SchemaInput {
        definition: Definition {
            auto_match: false,
            ..Definition::default()
        },
        expected_version: None,
    };
    let context = Node::context("p");
    let saved = node.directory.upsert_schema(&context, input);
    saved.await.expect("a schema");
    upsert(&node, "before", "Person before").await;
    node.settle().await.expect("reads follow");
    let mut superuser = database.superuser().await.expect("a connection");
    let constraint = format!(
        "ALTER TABLE view_customers ADD CONSTRAINT no_poison CHECK (display_name <> '{POISON}')"
    );
    superuser
        .execute(constraint.as_str())
        .await
        .expect("it fits");
    for number in 0..20 {
        let name = if number == 7 { POISON } else { "Person" };
        upsert(&node, &format!("c{number:02}"), name).await;
    }
    node.settle().await.expect("reads follow without it");
    assert_eq!(parked(&node, "directory"), 1);
    assert_eq!(found(&node, "person").await.len(), 20);
    assert!(found(&node, POISON).await.is_empty());
    // What comes of it later is left out too.
    upsert(&node, "c07", "Person healed").await;
    node.settle().await.expect("reads follow without it");
    assert!(found(&node, "healed").await.is_empty());
    superuser
        .execute("ALTER TABLE view_customers DROP CONSTRAINT no_poison")
        .await
        .expect("it is there");
    (database, node)
}

/// Waits until `c07` is read and searched like everyone else, while events never cease.
async fn come_back(database: &Database, node: &Node) {
    let mut turn = 0;
    until("the customer is there again", async || {
        turn += 1;
        upsert(node, "busy", &format!("Person {turn}")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let is_back = parked(node, "directory") == 0 && parked(node, "search") == 0;
        (is_back && found(node, "healed").await == ["c07"]).then_some(())
    })
    .await;
    let head = node.settle().await.expect("reads follow");
    fold::check(database, &Node::context("p").scope, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_is_left_out_and_comes_back_while_others_are_written() {
    let (database, node) = leave_one_out().await;
    let place = database.place().expect("a place");
    let asked = retry_parked(&place, Target::Directory).await;
    assert_eq!(asked.expect("a database"), 1);
    come_back(&database, &node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_tables_leave_out_comes_back_with_a_rebuild_and_with_a_roll_back() {
    let (database, node) = leave_one_out().await;
    let place = database.place().expect("a place");
    let rebuilt = rebuild(&place, Target::Directory, &|_| {}).await;
    rebuilt.expect("the tables are made anew");
    come_back(&database, &node).await;
    // The tables that were live before never had the customer.
    let back = roll_back(&place, Target::Directory, &|_| {}).await;
    back.expect("the old tables are there");
    come_back(&database, &node).await;
    node.close().await;
}
