//! Dispatches over HTTP: what is answered, what is recorded, and that the same call again is the first one.

use std::sync::Arc;

use futures::future::join_all;
use roster_tests::client::{Client, project};
use roster_tests::database::Database;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

fn schema() -> Value {
    with(&[
        field("full_name", &json!({})),
        field("email", &json!({"type": "email", "unique": true})),
        field("credit", &json!({"type": "number"})),
        field("vip", &json!({"type": "boolean"})),
    ])
}

/// Ada on line as `U-ada`, who may use the agent `sales`.
async fn with_ada(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id)
        .await
        .expect("a client");
    client.ok("schema/upsert", schema()).await;
    let profile =
        json!({"full_name": "Ada", "email": "ada@example.org", "credit": 12.50, "vip": true});
    client.upsert("ada", profile).await;
    let grant = json!({"customer_user_id": "ada", "channel": "line", "external_user_id": "U-ada", "agents": ["Sales"]});
    client.ok("users/attach-channel-grant", grant).await;
    client
}

fn call(who: &str, run_id: &str, more: Value) -> Value {
    let mut call = json!({
        "channel": "line",
        "external_user_id": who,
        "run_id": run_id,
        "agent_alias": "sales",
        "endpoint": "POST /orders",
        "invoker_fields": {"user_id": "customer_user_id"},
        "llm_fields": {"article": "A"},
    });
    let Value::Object(more) = more else {
        panic!("members are an object");
    };
    for (name, value) in more {
        call[name] = value;
    }
    call
}

fn runs(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["run_id"].as_str().unwrap_or("erased"))
        .collect()
}

async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_goes_in_and_an_empty_one_is_nobodys() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let more = json!({
        "invoker_fields": {"id": "customer_user_id", "money": "credit", "vip": "vip", "phone": "phone"},
        "llm_fields": {"phone": "+49 1", "money": 1_000_000, "list": [1, {"a": null}], "exact": 1.5},
    });
    let body = client.body(&call("U-ada", "r", more)).to_string();
    let body = body.replace("\"exact\":1.5", "\"exact\":1.50");
    let answer = client.post_text("dispatches", body).await;
    assert!(
        answer.text().contains("\"exact\":1.50"),
        "digits are kept: {answer}"
    );
    let answer = answer.ok();
    assert_eq!(
        answer["injected_fields"],
        json!({"id": "ada", "money": 12.5, "vip": true})
    );
    assert_eq!(answer["dropped_llm_fields"], json!(["money", "phone"]));
    assert_eq!(
        answer["fields"],
        json!({"id": "ada", "money": 12.5, "vip": true, "list": [1, {"a": null}], "exact": 1.5})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_gets_nothing_and_is_recorded_too() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let more = json!({"agent_alias": "support", "llm_fields": {"user_id": "eve", "a": 1}});
    let refused = client.ok("dispatches", call("U-ada", "r-1", more)).await;
    assert_eq!(
        refused,
        json!({"allowed": false, "reason": "agent_not_granted", "trust": "linked", "injected_fields": {},
            "dropped_llm_fields": ["user_id"], "fields": {}})
    );
    client
        .ok(
            "users/upsert",
            json!({"customer_user_id": "ada", "enabled": false}),
        )
        .await;
    let refused = client
        .ok("dispatches", call("U-ada", "r-2", json!({})))
        .await;
    assert_eq!(refused["reason"], "customer_disabled");
    client
        .ok("dispatches", call("U-eve", "r-3", json!({})))
        .await;
    let audit = client.ok("audit/list", json!({})).await;
    let outcomes: Vec<&Value> = audit["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["outcome"])
        .collect();
    assert_eq!(
        outcomes,
        ["unmatched", "customer_disabled", "agent_not_granted"]
    );
    assert_eq!(audit["items"][0]["external_user_id"], "U-eve");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_again_gets_the_first_answer() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let first = client.ok("dispatches", call("U-ada", "r", json!({}))).await;
    client
        .upsert(
            "ada",
            json!({"full_name": "Ada", "email": "new@example.org"}),
        )
        .await;
    client
        .ok(
            "users/upsert",
            json!({"customer_user_id": "ada", "enabled": false}),
        )
        .await;
    // Whatever else is said: another case of the agent, another person, another model.
    for more in [
        json!({}),
        json!({"agent_alias": "SALES", "llm_fields": {"article": "B"}}),
        json!({"external_user_id": "U-eve"}),
    ] {
        assert_eq!(
            client.ok("dispatches", call("U-ada", "r", more)).await,
            first
        );
    }
    // Another endpoint, run or project is another call.
    for more in [
        json!({"endpoint": "POST /refunds"}),
        json!({"run_id": "r2"}),
    ] {
        let other = client.ok("dispatches", call("U-ada", "r", more)).await;
        assert_eq!(other["reason"], "customer_disabled");
    }
    let elsewhere = client.in_scope(project("q"));
    let other = elsewhere
        .ok("dispatches", call("U-ada", "r", json!({})))
        .await;
    assert_eq!(other["reason"], "unmatched");
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 3);
    assert_eq!(elsewhere.ok("audit/list", json!({})).await["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_are_asked_at_once_give_one_answer() {
    let database = Arc::new(Database::create().await.expect("a database"));
    let one = Server::start_on(Arc::clone(&database), &[])
        .await
        .expect("a server");
    let other = Server::start_on(database, &[])
        .await
        .expect("another server");
    let client = with_ada(&one, "p").await;
    // A grant may take a quarter of a second to the other server, unless it is asked for.
    let shown = format!("1:{}", client.head().await);
    let client = client.with_header("roster-min-position", &shown);
    let both = [client.clone(), client.at(&other)];
    for round in 0..20 {
        let run_id = format!("run-{round}");
        let calls = (0..8).map(|number| {
            let said = json!({"llm_fields": {"article": number}});
            both[number % 2].ok("dispatches", call("U-ada", &run_id, said))
        });
        let answers = join_all(calls).await;
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        assert_eq!(answers[0]["allowed"], true);
    }
    for client in &both {
        assert_eq!(client.ok("audit/list", json!({})).await["total"], 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_answer_of_yesterday_is_still_the_first_answer() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let first = client.ok("dispatches", call("U-ada", "r", json!({}))).await;
    let mut connection = server.database().superuser().await.expect("a connection");
    make_day(&mut connection, 1).await;
    move_to_day(&mut connection, 1).await;
    let again = call("U-ada", "r", json!({"llm_fields": {"article": "B"}}));
    assert_eq!(client.ok("dispatches", again).await, first);
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 1);
}

/// A partition for so many days ago.
async fn make_day(connection: &mut PgConnection, ago: i32) {
    let sql = format!(
        "DO $$ BEGIN EXECUTE format(
             'CREATE TABLE log_journal_%s PARTITION OF log_journal FOR VALUES FROM (%L) TO (%L)',
             to_char(now() AT TIME ZONE 'UTC' - interval '{ago} days', 'YYYYMMDD'),
             date_trunc('day', now(), 'UTC') - interval '{ago} days',
             date_trunc('day', now(), 'UTC') - interval '{ago} days' + interval '1 day');
         END $$"
    );
    connection.execute(sql.as_str()).await.expect("a partition");
}

/// What is in the journal happened so many days earlier. Only somebody who may switch triggers off can do that.
async fn move_to_day(connection: &mut PgConnection, ago: i32) {
    let sql = format!(
        "SET session_replication_role = replica;
         UPDATE log_journal SET recorded_at = date_trunc('day', recorded_at, 'UTC') - interval '{ago} days' + interval '23 hours';
         SET session_replication_role = origin"
    );
    connection.execute(sql.as_str()).await.expect("moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_dropped_takes_its_dispatches_and_nothing_else() {
    let mut server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    for run in ["old-1", "old-2"] {
        client.ok("dispatches", call("U-ada", run, json!({}))).await;
    }
    let mut connection = server.database().superuser().await.expect("a connection");
    make_day(&mut connection, 5).await;
    move_to_day(&mut connection, 5).await;
    for run in ["new-1", "new-2", "new-3"] {
        client.ok("dispatches", call("U-ada", run, json!({}))).await;
    }
    let before = client.ok("audit/list", json!({})).await;
    assert_eq!(runs(&before), ["new-3", "new-2", "new-1", "old-2", "old-1"]);
    let others = [
        "SELECT count(*) FROM log_events",
        "SELECT count(*) FROM log_claims",
        "SELECT count(*) FROM view_customers",
        "SELECT count(*) FROM view_grants",
    ];
    let mut kept = Vec::new();
    for sql in others {
        kept.push(count(&mut connection, sql).await);
    }

    server.set("ROSTER_JOURNAL__RETENTION_DAYS", "4");
    server.restart().await.expect("a start");
    let client = client.at(&server);
    let after = until("the day to be dropped", async || {
        let list = client.ok("audit/list", json!({})).await;
        (list["total"] == 3).then_some(list)
    });
    assert_eq!(runs(&after.await), ["new-3", "new-2", "new-1"]);
    for (sql, expected) in others.into_iter().zip(kept) {
        assert_eq!(count(&mut connection, sql).await, expected, "{sql}");
    }
    let again = client
        .ok("dispatches", call("U-ada", "new-1", json!({})))
        .await;
    assert_eq!(again["allowed"], true);
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 3);
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_day_is_made_when_it_is_needed() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let mut connection = server.database().superuser().await.expect("a connection");
    let partitions: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'log_journal'::regclass",
    )
    .fetch_all(&mut connection)
    .await
    .expect("partitions");
    assert!(partitions.len() >= 4, "{partitions:?}");
    for partition in partitions {
        connection
            .execute(format!("DROP TABLE {partition}").as_str())
            .await
            .expect("dropped");
    }
    let answer = client.ok("dispatches", call("U-ada", "r", json!({}))).await;
    assert_eq!(answer["allowed"], true);
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_record_changes_but_that_its_sealed_part_goes() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    client.ok("dispatches", call("U-ada", "r", json!({}))).await;
    let test = server.database().cell().await.expect("a cell");
    let mut owner = server.database().superuser().await.expect("a connection");
    for statement in [
        "UPDATE log_journal SET endpoint = 'x'",
        "UPDATE log_journal SET allowed = false, sealed = NULL",
        "DELETE FROM log_journal",
        "TRUNCATE log_journal",
    ] {
        let mut codes = Vec::new();
        for outcome in [
            test.cell.pool().execute(statement).await,
            owner.execute(statement).await,
        ] {
            let error = outcome.expect_err(statement);
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            codes.push(code.map(std::borrow::Cow::into_owned));
        }
        let refused = Some("42501".to_owned());
        assert_eq!(codes, [refused.clone(), refused], "{statement}");
    }
    owner
        .execute("UPDATE log_journal SET sealed = NULL")
        .await
        .expect("the sealed part may go");
    let list = client.ok("audit/list", json!({})).await;
    assert_eq!(
        (
            &list["items"][0]["run_id"],
            &list["items"][0]["injected_fields"]
        ),
        (&Value::Null, &json!({}))
    );
    test.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged_and_filtered() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    for number in 0..30 {
        let (who, endpoint) = if number % 3 == 0 {
            ("U-eve", "GET /Stock")
        } else {
            ("U-ada", "POST /orders")
        };
        let more = json!({"endpoint": endpoint, "agent_alias": if number % 2 == 0 { "sales" } else { "Support" }});
        client
            .ok("dispatches", call(who, &format!("r-{number:02}"), more))
            .await;
    }
    let first = client.ok("audit/list", json!({})).await;
    assert_eq!((runs(&first).len(), &first["total"]), (25, &json!(30)));
    let second = client
        .ok("audit/list", json!({"cursor": first["next_cursor"]}))
        .await;
    let all: Vec<&str> = runs(&first).into_iter().chain(runs(&second)).collect();
    let expected: Vec<String> = (0..30)
        .rev()
        .map(|number| format!("r-{number:02}"))
        .collect();
    assert_eq!(all, expected);
    assert!(second["next_cursor"].is_null());
    let by_page = client
        .ok("audit/list", json!({"page": 2, "page_size": 7}))
        .await;
    assert_eq!(runs(&by_page), &expected[7..14]);

    let middle = first["items"][15]["created_at"].clone();
    for (filter, expected) in [
        (json!({"matched": true}), 20),
        (json!({"matched": false}), 10),
        (json!({"customer_user_id": "ada"}), 20),
        (
            json!({"customer_ref": first["items"][1]["customer_ref"]}),
            20,
        ),
        (json!({"customer_user_id": "nobody"}), 0),
        (json!({"endpoint": "stock"}), 10),
        (json!({"endpoint": "%"}), 0),
        (json!({"channel": "LINE"}), 30),
        (json!({"channel": "sms"}), 0),
        (json!({"agent_alias": "support"}), 15),
        (
            json!({"agent_alias": "sales", "endpoint": "stock", "matched": false}),
            5,
        ),
        (
            json!({"customer_user_id": "ada", "agent_alias": "support"}),
            10,
        ),
        (json!({"from": middle}), 16),
        (json!({"to": middle}), 14),
    ] {
        let list = client.ok("audit/list", filter.clone()).await;
        assert_eq!(list["total"], expected, "{filter}");
    }
    let other = json!({"cursor": first["next_cursor"], "matched": true});
    client
        .refused("audit/list", other, 422, "invalid_cursor")
        .await;
    client
        .invalid("audit/list", json!({"channel": "smoke"}), "body.channel")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_leaves_records_without_a_person() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    // Before she was known under it, and after.
    client
        .ok("dispatches", call("U-second", "before", json!({})))
        .await;
    let link =
        json!({"channel": "line", "external_user_id": "U-second", "customer_user_id": "ada"});
    client.ok("identities/link", link).await;
    client
        .ok("dispatches", call("U-second", "after", json!({})))
        .await;
    // By an address that is hers and that nobody ever linked.
    let mail = call("ADA@example.org", "mail", json!({"channel": "email"}));
    let unmatched = client.ok("dispatches", mail).await;
    assert_eq!(unmatched["reason"], "unmatched", "{unmatched}");
    client
        .ok("dispatches", call("U-other", "stranger", json!({})))
        .await;
    let export = client
        .ok("users/person-export", json!({"customer_user_id": "ada"}))
        .await;
    let exported = export["dispatches"].as_array().expect("dispatches");
    assert_eq!(
        (exported.len(), &exported[0]["run_id"]),
        (1, &json!("after"))
    );

    client
        .ok("users/delete", json!({"customer_user_id": "ada"}))
        .await;
    let list = client.ok("audit/list", json!({})).await;
    assert_eq!(runs(&list), ["stranger", "erased", "erased", "erased"]);
    assert_eq!(list["items"][2]["outcome"], "allowed");
    for item in &list["items"].as_array().expect("items")[1..] {
        for member in ["external_user_id", "customer_user_id"] {
            assert!(item[member].is_null(), "{item}");
        }
        assert_eq!(item["injected_fields"], json!({}));
    }
    // Nobody is there to call an agent for.
    let again = client
        .ok("dispatches", call("U-second", "after", json!({})))
        .await;
    assert_eq!(
        (&again["allowed"], &again["fields"]),
        (&json!(false), &json!({}))
    );
    let stranger = client
        .ok("dispatches", call("U-other", "stranger", json!({})))
        .await;
    assert_eq!(stranger["reason"], "unmatched");
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_wait_is_recorded_all_the_same() {
    let settings = [("ROSTER_JOURNAL__AUDIT", "async")];
    let mut server = Server::start_with(&settings).await.expect("a server");
    let client = with_ada(&server, "p").await;
    for number in 0..300 {
        let answer = client
            .ok(
                "dispatches",
                call("U-ada", &format!("r-{number}"), json!({})),
            )
            .await;
        assert_eq!(answer["allowed"], true);
    }
    // A stop writes what waits.
    assert!(server.stop().await.expect("a stop").success());
    server.restart().await.expect("a start");
    assert_eq!(
        client.at(&server).ok("audit/list", json!({})).await["total"],
        300
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_not_recorded() {
    let server = Server::start().await.expect("a server");
    let client = with_ada(&server, "p").await;
    let long = "x".repeat(70_000);
    for (more, place) in [
        (json!({"run_id": " "}), "body.run_id"),
        (json!({"agent_alias": "a\u{1}"}), "body.agent_alias"),
        (json!({"endpoint": "x".repeat(513)}), "body.endpoint"),
        (
            json!({"invoker_fields": {" a": "email"}}),
            "body.invoker_fields",
        ),
        (json!({"invoker_fields": {"a": ""}}), "body.invoker_fields"),
        (json!({"llm_fields": {"": 1}}), "body.llm_fields"),
        (json!({"llm_fields": {"a": long}}), "body.llm_fields"),
        (json!({"channel": "smoke"}), "body.channel"),
        (json!({"external_user_id": "a\nb"}), "body.external_user_id"),
    ] {
        let shown = more.to_string();
        let finding = client
            .invalid("dispatches", call("U-ada", "r", more), place)
            .await;
        assert!(!finding.to_string().contains("xxxx"), "{shown:.80}");
    }
    let mut twice = client.body(&call("U-ada", "r", json!({}))).to_string();
    twice = twice.replace("\"article\":\"A\"", "\"article\":\"A\",\"article\":\"B\"");
    let answer = client.post_text("dispatches", twice).await;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(client.ok("audit/list", json!({})).await["total"], 0);
}
