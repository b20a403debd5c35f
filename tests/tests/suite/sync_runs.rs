//! The life of a run: records become customers, once, and what happened to each can be read afterwards.

use std::sync::Arc;
use std::time::Duration;

use roster_commands::import::ColumnMapping;
use roster_commands::sync::TrialInput;
use roster_commands::sync::source::SourceError;
use roster_commands::{
    CommandError, ConnectionInput, CredentialsInput, DataSourceInput, ImportInput, ImportOptions,
    NotFound, RunInput, UpsertInput,
};
use roster_domain::Personal;
use roster_domain::connection::Mode;
use roster_domain::customer::SourceKind;
use roster_domain::import::OnConflict;
use roster_domain::sync_run::RunStatus;
use roster_domain::value::Input;
use roster_projections::rebuild::{Target, rebuild};
use roster_store::Recorded;
use roster_tests::database::Database;
use roster_tests::dump::Dump;
use roster_tests::node::Node;
use roster_tests::scripted::{
    Event, SECRET, Scripted, connection, counts, ended, people, person, quick, rows, run, save,
    saved,
};

const PROJECT: &str = "prj_sync";

async fn start(source: &Scripted) -> (Database, Node) {
    let database = Database::create().await.expect("a database");
    let node = Node::start_with_sources(&database, "sync", vec![Arc::new(source.clone())])
        .await
        .expect("a node");
    (database, node)
}

fn of(id: &str) -> RunInput {
    RunInput {
        connection_id: id.into(),
        ..RunInput::default()
    }
}

fn full(id: &str) -> RunInput {
    RunInput {
        mode: Some(Mode::Full),
        ..of(id)
    }
}

#[tokio::test]
async fn a_run_creates_updates_and_leaves_alone_and_the_next_one_asks_only_for_changes() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(35));
    let id = save(&node, PROJECT, &connection("CRM")).await;

    let first = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.code);
    assert_eq!((counts(&first), first.pages), ([35, 0, 0, 0, 0], 4));
    assert!(first.is_full, "nothing is known yet");
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 35);
    let head = node.cell().head_position().await.expect("a head");

    // Everything again: no customer's event, only those of the run and the connection.
    let again = run(&node, PROJECT, &full(&id)).await;
    assert_eq!(counts(&again), [0, 0, 35, 0, 0]);
    let events = node.cell().read_page(head, 1_000).await.expect("events");
    let names: Vec<_> = events.iter().filter_map(Recorded::name).collect();
    assert!(
        names.iter().all(|name| !name.starts_with("customer.")),
        "{names:?}"
    );

    let mut changed = people(35);
    changed[3] = person(3, "Another", 7);
    changed.push(person(99, "New", 8));
    source.hold(changed);
    let asked = source.asked();
    let next = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(counts(&next), [1, 1, 0, 0, 0]);
    assert!(!next.is_full);
    assert_eq!(source.asked() - asked, 1);
    let cursor = saved(&node, PROJECT, &id).await.cursor;
    assert_eq!(cursor.known(), Some(&Some("8".to_owned())));
    node.close().await;
}

#[tokio::test]
async fn bad_records_never_stop_a_run_and_the_counts_add_up() {
    let source = Scripted::new(7);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    let mut records = people(20);
    records[4].fields.remove("email");
    // A second record of somebody, on another page.
    records.push({
        let mut double = person(2, "Double", 1);
        double.id = "other".into();
        double
    });
    source.hold(records);
    let id = save(&node, PROJECT, &connection("CRM")).await;
    for expected in [[19, 0, 0, 0, 2], [0, 0, 19, 0, 2]] {
        let done = run(&node, PROJECT, &full(&id)).await;
        assert_eq!(done.status, RunStatus::CompletedWithErrors);
        assert_eq!(counts(&done), expected);
        let issues = roster_projections::import_issues::list(
            node.cell().pool(),
            done.id,
            roster_domain::import::Severity::Failed,
            None,
            10,
        );
        let issues = issues.await.expect("findings");
        let codes: Vec<_> = issues.iter().map(|row| row.issue.code.as_str()).collect();
        assert_eq!(codes, ["value_required", "duplicate_record"]);
    }
    node.close().await;
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_no_customer() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(12));
    let id = save(&node, PROJECT, &connection("CRM")).await;
    let dry = RunInput {
        dry_run: true,
        ..of(&id)
    };
    assert_eq!(counts(&run(&node, PROJECT, &dry).await), [12, 0, 0, 0, 0]);
    assert!(rows(&node, PROJECT, &id).await.0.is_empty());
    let cursor = saved(&node, PROJECT, &id).await.cursor;
    assert_eq!(cursor.known(), Some(&None), "no cursor moved");
    node.close().await;
}

#[tokio::test]
async fn customers_who_are_there_are_updated_or_left_and_keep_what_is_not_mapped() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    let context = Node::context(PROJECT);
    let here = UpsertInput {
        customer_user_id: Some("p0@example.org".into()),
        profile: vec![
            ("full_name".into(), Input::Text("By hand".into())),
            ("city".into(), Input::Text("Bremen".into())),
        ],
        ..UpsertInput::default()
    };
    let upserted = node.directory.upsert_customer(&context, here).await;
    let stream = upserted.expect("a customer").value.stream;
    source.hold(people(2));
    let skipping = roster_commands::ConnectionInput {
        on_conflict: Some(OnConflict::Skip),
        ..connection("Skips")
    };
    let skips = save(&node, PROJECT, &skipping).await;
    assert_eq!(
        counts(&run(&node, PROJECT, &of(&skips)).await),
        [1, 0, 0, 1, 0]
    );
    let updates = save(&node, PROJECT, &connection("Updates")).await;
    let done = run(&node, PROJECT, &of(&updates)).await;
    assert_eq!(counts(&done), [0, 1, 1, 0, 0]);
    let scope = roster_tests::log::scope(PROJECT);
    let project = node.cell().project(&scope).await.expect("a database");
    let customer = node
        .cell()
        .load_fresh::<roster_domain::customer::Customer>(&project.expect("a project"), stream)
        .await
        .expect("a customer")
        .state;
    let profile = customer.profile.known().expect("a profile");
    assert_eq!(profile["full_name"].as_text(), "Person 0");
    assert_eq!(profile["city"].as_text(), "Bremen");
    assert_eq!(customer.source.kind, SourceKind::DirectorySync);
    assert_eq!(
        customer.source.connection_id.as_deref(),
        Some(updates.as_str())
    );
    assert!(customer.is_adopted);
    // The other one's row was updated by nobody and keeps its tag.
    assert_eq!(rows(&node, PROJECT, &skips).await.0, ["p1@example.org"]);
    node.close().await;
}

#[tokio::test]
async fn a_synced_customer_is_written_back_as_it_was_read() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(1));
    let id = save(&node, PROJECT, &connection("CRM")).await;
    run(&node, PROJECT, &of(&id)).await;
    let other = save(&node, PROJECT, &connection("Another")).await;
    let context = Node::context(PROJECT);
    let upsert = async |person: &str, name: &str, source: DataSourceInput| {
        let input = UpsertInput {
            customer_user_id: Some(person.into()),
            profile: vec![("full_name".into(), Input::Text(name.into()))],
            data_source: Some(source),
            ..UpsertInput::default()
        };
        node.directory.upsert_customer(&context, input).await
    };
    let nothing = UpsertInput {
        customer_user_id: Some("p0@example.org".into()),
        ..UpsertInput::default()
    };
    let read = node.directory.upsert_customer(&context, nothing).await;
    let tag = read.expect("the customer").value.customer.source.clone();
    let own = DataSourceInput {
        kind: tag.kind,
        provider: tag.provider.clone(),
        connection_id: tag.connection_id.clone(),
        external_id: tag.external_id.clone(),
        synced_at: tag.synced_at,
    };
    assert_eq!(own.connection_id.as_ref(), Some(&id));
    let written = upsert("p0@example.org", "By hand", own.clone()).await;
    let written = written.expect("its own tag").value;
    assert!(written.changed);
    assert_eq!(written.customer.source, tag);
    let short = DataSourceInput {
        provider: None,
        external_id: Personal::Known(None),
        synced_at: None,
        ..own.clone()
    };
    let written = upsert("p0@example.org", "By hand", short).await;
    assert!(!written.expect("its own tag, in short").value.changed);
    // A connection gets its rows from its runs alone.
    let elsewhere = DataSourceInput {
        connection_id: Some(other),
        ..own.clone()
    };
    let renamed = DataSourceInput {
        external_id: Personal::Known(Some("another".into())),
        ..own.clone()
    };
    for (person, tag) in [
        ("p0@example.org", elsewhere),
        ("p0@example.org", renamed),
        ("new@example.org", own),
    ] {
        let refused = upsert(person, "By hand", tag).await;
        assert!(
            matches!(refused, Err(CommandError::NotFound(NotFound::Connection))),
            "{refused:?}"
        );
    }
    node.close().await;
}

#[tokio::test]
async fn what_passes_is_waited_for_and_what_does_not_ends_the_run() {
    let source = Scripted::new(5);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(12));
    let fail = |error: SourceError| Event::Fail(error);
    let text = || "the vendor says no".to_owned();
    let once = Duration::from_millis(1);
    let passing = vec![
        fail(SourceError::Throttled(Some(once))),
        fail(SourceError::Throttled(None)),
        Event::Answer,
        fail(SourceError::Transient(text())),
        fail(SourceError::Unauthorized(text())),
        Event::Answer,
    ];
    let hour = Some(Duration::from_hours(1));
    let scripts: Vec<(&str, Vec<Event>, RunStatus, Option<&str>)> = vec![
        ("passes", passing, RunStatus::Succeeded, None),
        (
            "server errors",
            vec![fail(SourceError::Transient(text())); 3],
            RunStatus::Failed,
            Some("source_unavailable"),
        ),
        (
            "a quota",
            vec![Event::Answer, fail(SourceError::Quota(None))],
            RunStatus::RateLimited,
            Some("quota"),
        ),
        (
            "a long pause",
            vec![fail(SourceError::Throttled(hour))],
            RunStatus::RateLimited,
            Some("throttled"),
        ),
        (
            "a page that is none",
            vec![Event::Answer, fail(SourceError::Answer(text()))],
            RunStatus::Failed,
            Some("answer_invalid"),
        ),
        (
            "a place that is gone",
            vec![Event::Answer, fail(SourceError::PlaceGone(text()))],
            RunStatus::Succeeded,
            None,
        ),
        (
            "a credential that is gone",
            vec![fail(SourceError::Unauthorized(text())); 2],
            RunStatus::Failed,
            Some("auth_failed"),
        ),
    ];
    for (what, script, status, code) in scripts {
        let id = save(&node, PROJECT, &connection(what)).await;
        source.script(script);
        let done = run(&node, PROJECT, &full(&id)).await;
        assert_eq!(
            (done.status, done.code.as_deref()),
            (status, code),
            "{what}"
        );
        assert_eq!(done.retry_at.is_some(), code == Some("throttled"), "{what}");
        let paused = saved(&node, PROJECT, &id).await.paused_reason;
        let is_refused = code == Some("auth_failed");
        assert_eq!(paused.as_deref(), code.filter(|_| is_refused), "{what}");
        source.script([]);
        let next = run(&node, PROJECT, &full(&id)).await;
        assert_eq!(next.status, RunStatus::Succeeded, "{what}");
    }
    assert!(source.renewals() >= 2);
    node.close().await;
}

#[tokio::test]
async fn a_record_that_comes_twice_leaves_what_it_said_last() {
    let source = Scripted::new(2_000);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(2_050));
    let id = save(&node, PROJECT, &connection("CRM")).await;
    run(&node, PROJECT, &of(&id)).await;
    // The second one stands on the next page, which is decided while the first one is written, and says what was there before.
    let others = (20..2_050).map(|id| person(id, &format!("Person {id}"), 6));
    let mut records = vec![person(1, "Another", 5), person(1, "Person 1", 7)];
    records.extend(others);
    source.hold(records);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(done.status, RunStatus::Succeeded);
    assert_eq!(counts(&done), [0, 2, 2_030, 0, 0]);
    let profile: String = sqlx::query_scalar(
        "SELECT profile::text FROM view_customers WHERE customer_user_id = 'p1@example.org'",
    )
    .fetch_one(node.cell().pool())
    .await
    .expect("a row");
    assert!(profile.contains("Person 1"), "{profile}");
    node.close().await;
}

#[tokio::test]
async fn a_full_run_that_its_source_stopped_is_gone_on_with_and_takes_nobody_away() {
    let source = Scripted::new(5);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(22));
    let input = roster_commands::ConnectionInput {
        mode: Some(Mode::Full),
        delete_missing: Some(roster_domain::connection::DeleteMissing::Delete),
        ..connection("CRM")
    };
    let id = save(&node, PROJECT, &input).await;
    let stops = || {
        let quota = Event::Fail(SourceError::Quota(None));
        source.script([Event::Answer, Event::Answer, quota]);
    };
    stops();
    let stopped = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(stopped.status, RunStatus::RateLimited);
    assert_eq!(counts(&stopped), [10, 0, 0, 0, 0]);
    let rest = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(rest.status, RunStatus::Succeeded);
    assert_eq!((counts(&rest), rest.pages), ([12, 0, 0, 0, 0], 3));

    // Whoever was read before the stop was not seen by the second run, and stays.
    let mut fewer = people(22);
    fewer.remove(20);
    source.hold(fewer);
    stops();
    run(&node, PROJECT, &of(&id)).await;
    let rest = run(&node, PROJECT, &of(&id)).await;
    assert_eq!((counts(&rest)[2], rest.removals.deleted), (11, 0));
    let whole = run(&node, PROJECT, &of(&id)).await;
    assert_eq!((counts(&whole)[2], whole.removals.deleted), (21, 1));

    // Another config is another walk.
    stops();
    run(&node, PROJECT, &of(&id)).await;
    let other = roster_commands::ConnectionInput {
        connection_id: Some(id.clone()),
        delete_guard_pct: Some(30),
        ..input
    };
    save(&node, PROJECT, &other).await;
    let anew = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(counts(&anew), [0, 0, 21, 0, 0]);
    node.close().await;
}

#[tokio::test]
async fn a_cursor_that_the_source_forgot_leads_to_a_walk_through_everything() {
    let source = Scripted::new(5);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(8));
    let id = save(&node, PROJECT, &connection("CRM")).await;
    run(&node, PROJECT, &of(&id)).await;
    source.script([Event::Fail(SourceError::CursorGone("gone".into()))]);
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(done.status, RunStatus::Succeeded);
    assert_eq!((done.is_full, counts(&done)), (true, [0, 0, 8, 0, 0]));
    node.close().await;
}

#[tokio::test]
async fn of_two_runs_at_once_one_is_refused_with_the_other_one() {
    let source = Scripted::new(5);
    let (_database, node) = start(&source).await;
    source.hold(people(5));
    let id = save(&node, PROJECT, &connection("CRM")).await;
    let context = Node::context(PROJECT);
    let input = of(&id);
    let (one, other) = tokio::join!(
        node.directory.start_sync(&context, &input),
        node.directory.start_sync(&context, &input)
    );
    let (started, refused) = match (one, other) {
        (Ok(started), Err(refused)) | (Err(refused), Ok(started)) => (started, refused),
        both => panic!("one of them: {both:?}"),
    };
    let run_id = started.value.run_id;
    assert!(matches!(refused, CommandError::RunInProgress { run_id: active } if active == run_id));
    let cancelled = node.directory.cancel_sync(&context, run_id).await;
    assert!(cancelled.expect("a run").value);
    let _jobs = node.start_jobs_with(quick());
    let run = ended(&node, PROJECT, run_id).await;
    assert_eq!(run.status, RunStatus::Cancelled);
    node.close().await;
}

#[tokio::test]
async fn a_test_and_a_preview_write_nothing_and_tell_no_secret() {
    let source = Scripted::new(5);
    let (_database, node) = start(&source).await;
    source.hold(people(3));
    let context = Node::context(PROJECT);
    let trial = TrialInput::Unsaved(Box::new(connection("CRM")));
    let tested = node.directory.test_connection(&context, &trial).await;
    let tested = tested.expect("it works");
    assert!(tested.is_ok());
    assert!(!tested.checks[0].message.contains(SECRET));
    let seen = node.directory.preview_connection(&context, &trial, 2).await;
    let seen = seen.expect("it works");
    let actions: Vec<_> = seen.rows.iter().map(|row| row.action).collect();
    assert_eq!(actions, ["create", "create"]);
    assert_eq!(node.cell().head_position().await.expect("a head"), 0);
    node.close().await;
}

#[tokio::test]
async fn a_connection_that_goes_takes_its_credential_along_and_leaves_its_rows_to_the_next_one() {
    let source = Scripted::new(5);
    let (database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    source.hold(people(4));
    let context = Node::context(PROJECT);
    let id = save(&node, PROJECT, &connection("CRM")).await;
    run(&node, PROJECT, &of(&id)).await;
    let deleted = node
        .directory
        .delete_connection(&context, &id, roster_commands::DeletedRows::Keep)
        .await;
    deleted.expect("it was there");
    node.settle().await.expect("reads follow");
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 4);
    let later = save(&node, PROJECT, &connection("CRM")).await;
    let done = run(&node, PROJECT, &of(&later)).await;
    assert_eq!(counts(&done), [0, 4, 0, 0, 0], "the tag alone");
    assert_eq!(rows(&node, PROJECT, &later).await.0.len(), 4);
    let deleted = node
        .directory
        .delete_connection(&context, &later, roster_commands::DeletedRows::Purge)
        .await;
    assert!(deleted.expect("it was there").value.purge_id.is_some());
    roster_tests::until::until("the purge", async || {
        node.settle().await.expect("reads follow");
        let (on, off) = rows(&node, PROJECT, &later).await;
        (on.is_empty() && off.is_empty()).then_some(())
    })
    .await;
    node.close().await;
    let dump = Dump::take(&database).await.expect("a dump");
    assert_eq!(dump.forms_of(SECRET), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_whose_columns_are_named_is_imported_with_and_without_a_header() {
    let (_database, node) = start(&Scripted::new(5)).await;
    let _jobs = node.start_jobs_with(quick());
    let context = Node::context(PROJECT);
    let fields = |pairs: [(&str, &str); 2]| {
        let pairs = pairs.map(|(column, field)| (column.to_owned(), field.to_owned()));
        pairs.into_iter().collect()
    };
    for (has_header, csv, pairs) in [
        (
            true,
            "Who;Left out;Name\na;x;Ada\nb;y;Bea\n",
            [("Who", "customer_user_id"), ("Name", "full_name")],
        ),
        (
            false,
            "c;x;Cleo\nd;y;Dee\n",
            [("1", "customer_user_id"), ("3", "full_name")],
        ),
        // One row, whose end is that of the file.
        (
            false,
            "e;x;Eve",
            [("1", "customer_user_id"), ("3", "full_name")],
        ),
    ] {
        let options = ImportOptions {
            mapping: Some(ColumnMapping {
                fields: fields(pairs),
                has_header,
            }),
            ..ImportOptions::default()
        };
        let input = ImportInput {
            options,
            body: csv.as_bytes(),
        };
        let started = node.directory.start_import(&context, input).await;
        let id = started.expect("a good file").value.import_id;
        let ended = node
            .directory
            .wait_for_import(&context, id, Duration::from_mins(1));
        assert!(ended.await.expect("a database"));
    }
    node.settle().await.expect("reads follow");
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT customer_user_id, profile::text FROM view_customers ORDER BY customer_user_id",
    )
    .fetch_all(node.cell().pool())
    .await
    .expect("rows");
    for ((id, profile), (expected, name)) in found.iter().zip([
        ("a", "Ada"),
        ("b", "Bea"),
        ("c", "Cleo"),
        ("d", "Dee"),
        ("e", "Eve"),
    ]) {
        assert_eq!(id, expected);
        assert!(
            profile.contains(name) && !profile.contains('x'),
            "{profile}"
        );
    }
    assert_eq!(found.len(), 5);
    node.close().await;
}

#[tokio::test]
async fn rebuilt_tables_of_connections_and_runs_are_the_live_ones() {
    let source = Scripted::new(5);
    let (database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    let mut records = people(9);
    records[4].fields.remove("email");
    source.hold(records);
    let id = save(&node, PROJECT, &connection("CRM")).await;
    run(&node, PROJECT, &of(&id)).await;
    let gone = save(&node, PROJECT, &connection("Gone")).await;
    node.directory
        .delete_connection(
            &Node::context(PROJECT),
            &gone,
            roster_commands::DeletedRows::Keep,
        )
        .await
        .expect("it was there");
    node.settle().await.expect("reads follow");
    let mut superuser = database.superuser().await.expect("a connection");
    let mut tables = async || {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (table, order) in [
            ("view_connections", "connection_id"),
            ("view_sync_runs", "run_id"),
            ("view_import_issues", "import_id, position, ordinal"),
        ] {
            let sql = format!("SELECT to_json(t)::text FROM {table} t ORDER BY {order}");
            let found = sqlx::query_scalar(&sql).fetch_all(&mut superuser).await;
            rows.push(found.expect("rows"));
        }
        rows
    };
    let live = tables().await;
    assert_eq!(live.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let place = database.place().expect("a place");
    rebuild(&place, Target::Directory, &|_| {})
        .await
        .expect("it is rebuilt");
    assert_eq!(tables().await, live);
    node.close().await;
}

#[tokio::test]
async fn a_connection_is_tried_as_it_would_be_saved_and_nobody_else_has_it() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let id = save(&node, PROJECT, &connection("CRM")).await;
    let context = Node::context(PROJECT);
    let changed = |credentials| {
        TrialInput::Unsaved(Box::new(ConnectionInput {
            connection_id: Some(id.clone()),
            credentials,
            ..ConnectionInput::default()
        }))
    };
    let wrong = CredentialsInput {
        kind: None,
        parts: [("token".to_owned(), "another".to_owned())].into(),
    };
    for (input, is_good) in [
        (TrialInput::Saved(id.clone()), true),
        (changed(None), true),
        (changed(Some(wrong)), false),
    ] {
        let tried = node.directory.test_connection(&context, &input).await;
        assert_eq!(tried.is_ok(), is_good);
    }
    // Neither another project's nor another thing's id opens anything.
    let elsewhere = Node::context("elsewhere");
    let input = UpsertInput {
        customer_user_id: Some("a@example.org".into()),
        profile: vec![("full_name".into(), Input::Text("Ada".into()))],
        ..UpsertInput::default()
    };
    let customer = node.directory.upsert_customer(&elsewhere, input).await;
    let stream = customer.expect("a customer").value.stream;
    for id in [id.clone(), format!("dconn_{}", stream.simple())] {
        let input = TrialInput::Saved(id);
        let tried = node.directory.test_connection(&elsewhere, &input).await;
        assert!(
            matches!(tried, Err(CommandError::NotFound(NotFound::Connection))),
            "{:?}",
            tried.err()
        );
    }
    // Trying makes no project.
    let nowhere = Node::context("nowhere");
    let input = TrialInput::Saved(id);
    let tried = node.directory.test_connection(&nowhere, &input).await;
    assert!(tried.is_err());
    let project = node.cell().project(&nowhere.scope).await;
    assert!(project.expect("a look-up").is_none());
    node.close().await;
}

#[tokio::test]
async fn a_record_whose_id_is_too_long_to_be_found_again_fails_alone() {
    let source = Scripted::new(10);
    let (_database, node) = start(&source).await;
    let _jobs = node.start_jobs_with(quick());
    let mut records = people(3);
    records[1].id = "x".repeat(3_000);
    source.hold(records);
    let id = save(&node, PROJECT, &connection("CRM")).await;
    let done = run(&node, PROJECT, &of(&id)).await;
    assert_eq!(counts(&done), [2, 0, 0, 0, 1]);
    assert_eq!(rows(&node, PROJECT, &id).await.0.len(), 2);
    node.close().await;
}
