//! Who holds a claim, asked by many at once.

use futures::future::join_all;
use roster_domain::customer::{Customer, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::Claim;
use roster_store::{Cell, Project, Verdict};
use roster_tests::database::Database;
use roster_tests::log::{schema_with_unique_email, scope, upsert};
use sqlx::Executor;
use uuid::Uuid;

const CUSTOMERS: usize = 300;

fn new_id() -> Uuid {
    Uuid::from_u128(rand::random())
}

async fn register(cell: &Cell, project: &Project, id: &str) -> Uuid {
    let new = cell.new_stream::<Customer>(new_id());
    let command = upsert(&schema_with_unique_email(), id, &[], 1);
    let events = decide(&new.state, &command).expect("the command is allowed");
    let prepared = cell.prepare(project, &new, events, &Meta::default());
    let verdict = cell.append(prepared.expect("it encodes")).await;
    assert!(matches!(verdict, Ok(Verdict::Accepted { .. })));
    new.stream
}

/// The holder of an id, as a stream.
async fn holder(cell: &Cell, project: &Project, id: &str) -> Option<Uuid> {
    let claim = Claim::customer_id(id);
    let found = cell.load_holder::<Customer>(project, &claim);
    let found = found.await.expect("it is looked up")?;
    assert_eq!(
        found.state.customer_user_id.known().map(String::as_str),
        Some(id)
    );
    Some(found.stream)
}

#[tokio::test]
async fn everybody_who_asks_at_once_gets_their_own_holder() {
    let database = Database::create().await.expect("a database");
    let test = database.cell().await.expect("a cell");
    let cell = &test.cell;
    let mut registered = Vec::new();
    for name in ["p", "q"] {
        let project = cell.create_project(&scope(name), new_id()).await;
        let project = project.expect("a project");
        for number in 0..CUSTOMERS {
            let id = format!("c{number}");
            // Every third is nobody's, and the two projects have the same ids.
            let stream = match number % 3 {
                0 => None,
                _ => Some(register(cell, &project, &id).await),
            };
            registered.push((project.clone(), id, stream));
        }
    }
    let asked = registered
        .iter()
        .map(|(project, id, _)| holder(cell, project, id));
    let found = join_all(asked).await;
    let expected: Vec<Option<Uuid>> = registered.iter().map(|(.., stream)| *stream).collect();
    assert_eq!(found, expected);
    test.close().await;
}

#[tokio::test]
async fn a_closed_connection_is_replaced_unnoticed() {
    let database = Database::create().await.expect("a database");
    let test = database.cell().await.expect("a cell");
    let cell = &test.cell;
    let project = cell.create_project(&scope("p"), new_id()).await;
    let project = project.expect("a project");
    let ada = register(cell, &project, "ada").await;
    assert_eq!(holder(cell, &project, "ada").await, Some(ada));
    let mut superuser = database.superuser().await.expect("a connection");
    superuser
        .execute(
            "SELECT pg_terminate_backend(pid)
               FROM pg_stat_activity
              WHERE datname = current_database()
                AND query LIKE '%AS wanted(project_no, kind, key, ord)%'
                AND pid <> pg_backend_pid()",
        )
        .await
        .expect("it is closed");
    assert_eq!(holder(cell, &project, "ada").await, Some(ada));
    test.close().await;
}
