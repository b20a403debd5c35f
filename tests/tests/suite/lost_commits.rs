//! Read tables are written without waiting for the disk, so a crash of Postgres takes their last pages back, checkpoints
//! included. Nothing stays lost, also where nobody writes anything any more.

use roster_commands::{Limits, SchemaInput, UpsertInput};
use roster_domain::schema::Definition;
use roster_domain::value::Input;
use roster_tests::database::Database;
use roster_tests::fold;
use roster_tests::node::Node;
use roster_tests::until::until;
use sqlx::{Connection, Executor, PgConnection};

/// What a crash leaves of the pages that wrote a customer, the only one of its source.
const TAKEN_BACK: [&str; 4] = [
    "DELETE FROM view_customers WHERE customer_user_id = 'lost'",
    "DELETE FROM view_customer_search WHERE customer_user_id = 'lost'",
    "UPDATE view_data_sources SET count = count - 1, enabled_count = enabled_count - 1",
    "UPDATE log_checkpoints SET position = position - 1 WHERE name IN ('directory', 'search')",
];

async fn write(node: &Node, id: &str) {
    let input = UpsertInput {
        customer_user_id: Some(id.to_owned()),
        profile: vec![(
            "email".into(),
            Input::Text(format!("{id}@example.org").into()),
        )],
        enabled: None,
        connector_enabled: std::collections::BTreeMap::new(),
        data_source: None,
        replace: false,
        expected_version: None,
    };
    let written = node
        .directory
        .upsert_customer(&Node::context("p"), input)
        .await;
    written.expect("a customer");
}

async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_crash_of_postgres_took_back_are_written_again_in_their_order() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "node", Limits::default())
        .await
        .expect("a node");
    let definition = Definition {
        auto_match: false,
        ..Definition::default()
    };
    let input = SchemaInput {
        definition,
        expected_version: None,
    };
    let schema = node
        .directory
        .upsert_schema(&Node::context("p"), input)
        .await;
    schema.expect("a schema");
    write(&node, "kept").await;
    write(&node, "lost").await;
    let head = node.settle().await.expect("it settles");
    let mut crash = database.superuser().await.expect("a connection");
    let mut taken = crash.begin().await.expect("a transaction");
    for statement in TAKEN_BACK {
        taken.execute(statement).await.expect("it is taken back");
    }
    taken.commit().await.expect("a commit");

    // The directory is kept from noticing, so that the search index is the first to go on.
    let mut held = crash.begin().await.expect("a transaction");
    held.execute("SELECT FROM log_checkpoints WHERE name = 'directory' FOR UPDATE")
        .await
        .expect("a lock");
    let mut other = database.superuser().await.expect("a connection");
    until("the search index goes on", async || {
        let search = node.projections.status();
        let search = search.iter().find(|status| status.name == "search");
        let waits = search.is_some_and(|search| search.error.is_some());
        let moved = "SELECT position FROM log_checkpoints WHERE name = 'search'";
        (waits || count(&mut other, moved).await == head).then_some(())
    })
    .await;
    held.rollback().await.expect("it is let go");

    for table in ["view_customers", "view_customer_search"] {
        let rows = format!("SELECT count(*) FROM {table} WHERE customer_user_id = 'lost'");
        until(table, async || {
            (count(&mut other, &rows).await == 1).then_some(())
        })
        .await;
    }
    node.settle().await.expect("it settles");
    fold::check(&database, &Node::context("p").scope, head).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_stands_where_a_new_one_goes_is_replaced() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "node", Limits::default())
        .await
        .expect("a node");
    write(&node, "first").await;
    node.settle().await.expect("it settles");
    let mut stray = database.superuser().await.expect("a connection");
    let row = "INSERT INTO view_customers
               SELECT (jsonb_populate_record(v, jsonb_build_object('stream_id', gen_random_uuid(),
                                                                   'customer_user_id', 'second', 'position', 1))).*
                 FROM view_customers v";
    stray.execute(row).await.expect("a stray row");
    write(&node, "second").await;
    node.settle().await.expect("it settles");
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT v.customer_user_id
           FROM view_customers v
           JOIN log_streams s ON s.stream_id = v.stream_id AND s.last_position = v.position
          ORDER BY v.customer_user_id",
    )
    .fetch_all(&mut stray)
    .await
    .expect("the rows");
    assert_eq!(ids, ["first", "second"]);
    let counted: i64 = sqlx::query_scalar("SELECT sum(count)::bigint FROM view_data_sources")
        .fetch_one(&mut stray)
        .await
        .expect("the count");
    assert_eq!(counted, 2);
    node.close().await;
}
