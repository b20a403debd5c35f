//! The append: verdicts, claims, guards, idempotency, sealing, and what the database itself refuses.

use std::sync::Arc;

use cqrs_es::persist::PersistedEventRepository;
use cqrs_es::{Aggregate, AggregateContext, EventStore};
use roster_domain::Timestamp;
use roster_domain::customer::{Customer, CustomerCommand, CustomerEvent, decide};
use roster_domain::meta::Meta;
use roster_domain::stream::{Claim, claim_kind};
use roster_store::{
    AggregateStore, Cell, ChunkVerdict, Loaded, Prepared, Project, ReplayRepository, Verdict,
};
use roster_tests::database::{Database, TestCell};
use roster_tests::log::{schema_with_unique_email, scope, upsert};
use sqlx::Executor;
use uuid::Uuid;

fn prepare(
    cell: &Cell,
    project: &Project,
    loaded: &Loaded<Customer>,
    command: &CustomerCommand,
) -> Prepared {
    let events = decide(&loaded.state, command).expect("the command is allowed");
    cell.prepare(project, loaded, events, &Meta::default())
        .expect("it encodes")
}

/// A cell of its own with a project.
async fn set_up() -> (Database, TestCell, Arc<Project>) {
    let database = Database::create().await.expect("a database");
    let test = database.cell().await.expect("a cell");
    let project = test.cell.create_project(&scope("p"), new_id()).await;
    (database, test, project.expect("a project"))
}

fn new_id() -> Uuid {
    Uuid::from_u128(rand::random())
}

#[tokio::test]
async fn events_come_back_as_they_were_written() {
    let (database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let ada = cell.new_stream::<Customer>(new_id());
    let register = upsert(&schema, "ada", &[("email", "ada@example.org")], 1);
    let verdict = cell
        .append(prepare(cell, &project, &ada, &register))
        .await
        .expect("it is written");
    assert_eq!(
        verdict,
        Verdict::Accepted {
            version: 1,
            position: 1
        }
    );

    let page = cell.read_page(0, 10).await.expect("a page");
    assert_eq!(page.len(), 1);
    let event: CustomerEvent = page[0].decode().expect("it decodes");
    assert_eq!(
        vec![event],
        decide(&Customer::default(), &register).expect("allowed")
    );
    let holder = cell
        .holder(&project, &Claim::unique_value("email", "ada@example.org"))
        .await
        .expect("a look-up");
    assert_eq!(holder, Some(ada.stream));

    // Another server has no cache: it opens the snapshot.
    let other = database.cell().await.expect("a second cell");
    let loaded: Loaded<Customer> = other
        .cell
        .load(&project, ada.stream)
        .await
        .expect("it loads");
    assert_eq!(loaded.state.display_name(), "ada@example.org");
    other.close().await;
    test.close().await;
}

#[tokio::test]
async fn losers_use_no_positions_and_winners_are_not_aborted() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let ada = cell.new_stream::<Customer>(new_id());
    cell.append(prepare(
        cell,
        &project,
        &ada,
        &upsert(&schema, "ada", &[("email", "a@example.org")], 1),
    ))
    .await
    .expect("it is written");

    let stale = upsert(&schema, "ada", &[("full_name", "Ada")], 2);
    let rival = cell.new_stream::<Customer>(new_id());
    let bob = cell.new_stream::<Customer>(new_id());
    let guarded = cell.new_stream::<Customer>(new_id());
    let (conflict, taken, fine, guard) = tokio::join!(
        cell.append(prepare(cell, &project, &ada, &stale)),
        cell.append(prepare(
            cell,
            &project,
            &rival,
            &upsert(&schema, "eve", &[("email", "a@example.org")], 2)
        )),
        cell.append(prepare(
            cell,
            &project,
            &bob,
            &upsert(&schema, "bob", &[], 2)
        )),
        cell.append(
            prepare(cell, &project, &guarded, &upsert(&schema, "cy", &[], 2))
                .guard(project.schema_stream, 7)
        ),
    );
    // The stale command registers anew, for its decision saw no customer.
    assert_eq!(conflict.expect("an answer"), Verdict::VersionConflict);
    assert_eq!(
        taken.expect("an answer"),
        Verdict::ClaimTaken {
            claim: Claim::unique_value("email", "a@example.org"),
            holder: ada.stream
        }
    );
    assert!(matches!(
        fine.expect("an answer"),
        Verdict::Accepted {
            version: 1,
            position: 2
        }
    ));
    assert_eq!(guard.expect("an answer"), Verdict::StaleGuard);
    assert_eq!(cell.head_position().await.expect("a head"), 2);
    test.close().await;
}

#[tokio::test]
async fn a_chunk_is_written_whole_or_not_at_all() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let make = |id: &str, email: &str| {
        let stream = cell.new_stream::<Customer>(new_id());
        prepare(
            cell,
            &project,
            &stream,
            &upsert(&schema, id, &[("email", email)], 1),
        )
    };
    let answer = cell
        .append_all(vec![make("a", "x@example.org"), make("b", "x@example.org")])
        .await;
    let ChunkVerdict::Lost(lost) = answer.expect("an answer") else {
        panic!("two takers of one value")
    };
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].0, 1);
    assert_eq!(cell.head_position().await.expect("a head"), 0);

    let answer = cell
        .append_all(vec![make("a", "x@example.org"), make("b", "y@example.org")])
        .await;
    assert_eq!(
        answer.expect("an answer"),
        ChunkVerdict::Accepted { last_position: 2 }
    );
    let answer = cell
        .append_all(vec![make("c", "z@example.org"), make("d", "y@example.org")])
        .await;
    let ChunkVerdict::Lost(lost) = answer.expect("an answer") else {
        panic!("y is taken")
    };
    assert!(
        matches!(&lost[..], [(1, Verdict::ClaimTaken { .. })]),
        "{lost:?}"
    );
    assert_eq!(cell.head_position().await.expect("a head"), 2);
    test.close().await;
}

#[tokio::test]
async fn a_chunk_behind_another_shares_its_fate() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    // Two changes of one customer, the second decided by what the first is about to leave.
    let two = |id: &str, version: i64| {
        let first = cell.new_stream::<Customer>(new_id());
        let register = upsert(&schema, id, &[("email", "x@example.org")], version);
        let events = decide(&first.state, &register).expect("it is allowed");
        let prepared = cell.prepare_with_state(&project, &first, events, &Meta::default());
        let (first_change, after) = prepared.expect("it encodes");
        let second = first.moved(first_change.len(), after);
        let change = upsert(&schema, id, &[("email", "y@example.org")], version + 1);
        let second_change = prepare(cell, &project, &second, &change);
        (first, first_change, second_change)
    };
    let (_, first, second) = two("a", 1);
    let first = cell.send_all(vec![first], None).await.expect("it is sent");
    let second = cell.send_all(vec![second], Some(&first)).await;
    let second = second
        .expect("it is sent")
        .verdict()
        .await
        .expect("a verdict");
    assert_eq!(second, ChunkVerdict::Accepted { last_position: 2 });
    assert_eq!(
        first.verdict().await.expect("a verdict"),
        ChunkVerdict::Accepted { last_position: 1 }
    );

    // The value is free again, but somebody else writes the version that the second relies on.
    let (stream, first, second) = two("b", 3);
    let other = upsert(&schema, "other", &[], 3);
    let other = prepare(cell, &project, &stream, &other);
    assert!(matches!(
        cell.append(other).await,
        Ok(Verdict::Accepted { version: 1, .. })
    ));
    let first = cell.send_all(vec![first], None).await.expect("it is sent");
    let second = cell.send_all(vec![second], Some(&first)).await;
    let second = second
        .expect("it is sent")
        .verdict()
        .await
        .expect("a verdict");
    assert_eq!(second, ChunkVerdict::Lost(Vec::new()));
    assert!(matches!(
        first.verdict().await,
        Ok(ChunkVerdict::Lost(lost)) if lost.len() == 1
    ));
    assert_eq!(cell.head_position().await.expect("a head"), 3);
    test.close().await;
}

#[tokio::test]
async fn values_that_a_chunk_moves_between_customers_change_hands() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let (a, b) = (new_id(), new_id());
    for (stream, id) in [(a, "a"), (b, "b")] {
        let loaded = cell.new_stream::<Customer>(stream);
        let email = format!("{id}@example.org");
        cell.append(prepare(
            cell,
            &project,
            &loaded,
            &upsert(&schema, id, &[("email", &email)], 1),
        ))
        .await
        .expect("it is written");
    }
    let swap = [(a, "a", "b@example.org"), (b, "b", "a@example.org")];
    let mut chunk = Vec::new();
    for (stream, id, email) in swap {
        let loaded = cell
            .load::<Customer>(&project, stream)
            .await
            .expect("it loads");
        chunk.push(prepare(
            cell,
            &project,
            &loaded,
            &upsert(&schema, id, &[("email", email)], 2),
        ));
    }
    assert!(matches!(
        cell.append_all(chunk).await,
        Ok(ChunkVerdict::Accepted { .. })
    ));
    for (stream, _, email) in swap {
        let holder = cell
            .holder(&project, &Claim::unique_value("email", email))
            .await
            .expect("a look-up");
        assert_eq!(holder, Some(stream));
    }
    test.close().await;
}

#[tokio::test]
async fn an_erased_customer_leaves_no_claim_no_key_and_no_value() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let stream = new_id();
    let register = upsert(&schema, "ada", &[("email", "ada@example.org")], 1);
    cell.append(prepare(cell, &project, &cell.new_stream(stream), &register))
        .await
        .expect("it is written");
    let loaded = cell
        .load::<Customer>(&project, stream)
        .await
        .expect("it loads");
    let sealed = loaded.seal("note", b"ada").expect("there is a key");
    assert_eq!(
        cell.open_for(stream, "note", &sealed)
            .await
            .expect("a key")
            .as_deref(),
        Some(b"ada".as_slice())
    );

    let erase = CustomerCommand::Erase { at: Timestamp(2) };
    cell.append(prepare(cell, &project, &loaded, &erase))
        .await
        .expect("it is written");
    assert_eq!(
        cell.open_for(stream, "note", &sealed)
            .await
            .expect("a look-up"),
        None
    );
    assert_eq!(
        cell.holder(&project, &Claim::customer_id("ada"))
            .await
            .expect("a look-up"),
        None
    );
    assert_eq!(
        cell.count_claims(&project, claim_kind::UNIQUE_VALUE, 10)
            .await
            .expect("a count"),
        0
    );
    let page = cell.read_page(0, 10).await.expect("a page");
    let CustomerEvent::Registered {
        customer_user_id, ..
    } = page[0].decode().expect("it decodes")
    else {
        panic!("the first event registers")
    };
    assert_eq!(customer_user_id.known(), None);
    // The stream is closed for ever, whatever an old server still has in its cache.
    let verdict = cell
        .append(prepare(cell, &project, &loaded, &erase))
        .await
        .expect("an answer");
    assert_eq!(verdict, Verdict::StreamClosed);
    test.close().await;
}

#[tokio::test]
async fn a_request_key_answers_the_first_answer_until_it_is_forgotten() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let key = [7; 32];
    let first = cell.new_stream::<Customer>(new_id());
    let prepared = prepare(cell, &project, &first, &upsert(&schema, "a", &[], 1))
        .answer_once(key, b"job 1", 600);
    assert!(matches!(
        cell.append(prepared).await,
        Ok(Verdict::Accepted { .. })
    ));
    let again = |id: &str| {
        let stream = cell.new_stream::<Customer>(new_id());
        prepare(cell, &project, &stream, &upsert(&schema, id, &[], 1))
            .answer_once(key, b"job 2", 600)
    };
    let replayed = cell.append(again("b")).await.expect("an answer");
    assert_eq!(
        replayed,
        Verdict::Replayed {
            answer: b"job 1".to_vec(),
            position: 1
        }
    );

    test.close().await;
}

#[tokio::test]
async fn a_request_that_is_sent_twice_at_once_is_carried_out_once_and_fails_nobody() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let new = |id: &str| {
        let stream = cell.new_stream::<Customer>(new_id());
        prepare(cell, &project, &stream, &upsert(&schema, id, &[], 1))
    };
    let once = |id: &str| new(id).answer_once([7; 32], id.as_bytes(), 600);
    // They wait together, since nobody else runs on this thread before all are sent.
    let (first, again, other) = tokio::join!(
        cell.append(once("a")),
        cell.append(once("b")),
        cell.append(new("c"))
    );
    assert!(matches!(first, Ok(Verdict::Accepted { .. })), "{first:?}");
    assert!(matches!(other, Ok(Verdict::Accepted { .. })), "{other:?}");
    let replayed = matches!(&again, Ok(Verdict::Replayed { answer, .. }) if answer == b"a");
    assert!(replayed, "{again:?}");
    test.close().await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_the_log() {
    let database = Database::create().await.expect("a database");
    let test = database.cell().await.expect("a cell");
    let mut superuser = database.superuser().await.expect("a connection");
    for statement in [
        "UPDATE log_events SET version = 2",
        "DELETE FROM log_events",
        "TRUNCATE log_events",
        "DELETE FROM log_batches",
    ] {
        assert!(superuser.execute(statement).await.is_err(), "{statement}");
        assert!(
            test.cell.pool().execute(statement).await.is_err(),
            "{statement}"
        );
    }
    let error = test
        .cell
        .pool()
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT log_append(false, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')")
        .await
        .expect_err("the isolation level is refused");
    assert!(error.to_string().contains("read committed"), "{error}");
    test.close().await;
}

#[tokio::test]
async fn a_changed_type_and_a_wrong_key_keep_a_server_from_starting() {
    let database = Database::create().await.expect("a database");
    database.cell().await.expect("a cell").close().await;
    let mut superuser = database.superuser().await.expect("a connection");
    superuser
        .execute("UPDATE log_types SET fingerprint = 'other' WHERE type_no = 1")
        .await
        .expect("a change");
    let error = database.cell().await.expect_err("the type differs");
    assert!(error.to_string().contains("customer.registered"), "{error}");
    superuser
        .execute("DELETE FROM log_types")
        .await
        .expect("a change");
    superuser
        .execute("UPDATE key_checks SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)")
        .await
        .expect("a change");
    let error = database.cell().await.expect_err("the key differs");
    assert!(error.to_string().contains("key-encryption key"), "{error}");
}

#[tokio::test]
async fn the_log_serves_the_stock_framework() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let store = AggregateStore::new(cell.clone(), project.clone());
    let id = new_id().to_string();
    let mut context: Loaded<Customer> = store.load_aggregate(&id).await.expect("it loads");
    let events = decide(&context.state, &upsert(&schema, "ada", &[], 1)).expect("allowed");
    for event in &events {
        context.aggregate().apply(event.clone());
    }
    let committed = EventStore::<Customer>::commit(&store, events, context, [].into())
        .await
        .expect("it commits");
    assert_eq!(committed.len(), 1);
    let envelopes = EventStore::<Customer>::load_events(&store, &id)
        .await
        .expect("they load");
    assert_eq!(envelopes[0].payload, committed[0].payload);

    let repository = ReplayRepository::<CustomerEvent>::new(cell.clone(), test.tracker.clone());
    let mut stream = repository
        .stream_all_events::<Customer>()
        .await
        .expect("a stream");
    let replayed = stream
        .next::<Customer>(&[])
        .await
        .expect("one event")
        .expect("it decodes");
    assert_eq!(replayed.payload, committed[0].payload);
    assert!(stream.next::<Customer>(&[]).await.is_none());
    drop(stream);
    test.close().await;
}

#[tokio::test]
async fn bulk_work_waits_for_what_was_before_it_and_not_for_what_comes_meanwhile() {
    let (_database, test, project) = set_up().await;
    let cell = &test.cell;
    let schema = schema_with_unique_email();
    let register = async |number: u32| {
        let customer = cell.new_stream::<Customer>(new_id());
        let command = upsert(&schema, &format!("c{number}"), &[], 1);
        let verdict = cell
            .append(prepare(cell, &project, &customer, &command))
            .await
            .expect("it is written");
        let position = i64::from(number);
        assert_eq!(
            verdict,
            Verdict::Accepted {
                version: 1,
                position
            }
        );
    };
    for number in 1..=150 {
        register(number).await;
    }
    cell.projected().send_replace(0);
    {
        let mut turn = std::pin::pin!(cell.wait_for_bulk_turn());
        assert!(futures::poll!(&mut turn).is_pending());
        assert!(cell.holds_bulk_back());
        for number in 151..=160 {
            register(number).await;
        }
        cell.projected().send_replace(49);
        assert!(futures::poll!(&mut turn).is_pending(), "49 of 150");
        cell.projected().send_replace(50);
        turn.await;
    }
    assert!(!cell.holds_bulk_back());
    test.close().await;
}
