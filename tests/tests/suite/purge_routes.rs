//! Purges over HTTP: what is refused, whom a purge is of, and what is told about it.

use roster_tests::client::{ACCOUNT, Client, Credential, ORG, ids, project, token};
use roster_tests::server::Server;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// A pause after each chunk that outlasts a test: its purge does not end by itself.
const ENDLESS: (&str, &str) = ("ROSTER_PURGE__CHUNK_PAUSE_MS", "600000");

async fn start(settings: &[(&str, &str)], project_id: &str) -> (Server, Client) {
    let server = Server::start_with(settings).await.expect("a server");
    let client = Client::of_project(&server, project_id)
        .await
        .expect("a client");
    (server, client)
}

/// So many customers of a provider, by a streamed import.
async fn fill(client: &Client, provider: &str, numbers: std::ops::Range<u32>) {
    let rows: Vec<String> = numbers
        .map(|number| format!("c{number:05},person{number}@example.org"))
        .collect();
    let csv = format!("customer_user_id,email\n{}\n", rows.join("\n"));
    let answer = client.import(&format!("provider={provider}"), csv).await;
    client.import_ended(&answer.ok()["import_id"]).await;
}

/// Starts a purge and waits for its end.
async fn purge(client: &Client, route: &str, members: Value) -> Value {
    let answer = client.post(route, members).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.ok()["status"], "pending", "{answer}");
    client.purge_ended(&answer.ok()["purge_id"]).await
}

fn stats(purge: &Value) -> [i64; 4] {
    ["total", "deleted", "not_found", "failed"]
        .map(|name| purge["stats"][name].as_i64().expect("a number"))
}

async fn total(client: &Client) -> i64 {
    client.ok("users/list", json!({})).await["total"]
        .as_i64()
        .expect("a total")
}

#[tokio::test(flavor = "multi_thread")]
async fn named_customers_are_purged_and_every_id_is_counted_once() {
    let (_server, client) = start(&[], "named").await;
    fill(&client, "a", 0..5).await;
    let ids = json!([" c00000 ", "c00001", "c00000", "nobody", "c00003"]);
    let purge = purge(
        &client,
        "users/delete-bulk",
        json!({"customer_user_ids": ids}),
    )
    .await;
    assert_eq!(purge["status"], "completed", "{purge}");
    assert_eq!(stats(&purge), [4, 3, 1, 0], "{purge}");
    assert_eq!(purge["progress_pct"], 100);
    assert_eq!(purge["filters"], Value::Null);
    assert_eq!(purge["errors_sample"], json!([]));
    assert!(!purge["started_at"].is_null(), "{purge}");
    assert_eq!(client.ids(json!({})).await, ["c00002", "c00004"]);
    client
        .refused(
            "users/get",
            json!({"customer_user_id": "c00001"}),
            404,
            "customer_not_found",
        )
        .await;
    let counted = client.ok("users/data-sources/list", json!({})).await;
    assert_eq!(counted["total_customers"], 2);
    let back = client
        .upsert("c00001", json!({"email": "person1@example.org"}))
        .await;
    assert_eq!(back["version"], 1, "the id and the address are free");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_a_blank_one_or_501_of_them_are_refused() {
    let (_server, client) = start(&[], "too-many").await;
    let many = |count: u32| -> Value { (0..count).map(|number| format!("c{number}")).collect() };
    for (ids, place) in [
        (json!([]), "body.customer_user_ids"),
        (many(501), "body.customer_user_ids"),
        (json!(["a", " "]), "body.customer_user_ids.1"),
        (Value::Null, "body.customer_user_ids"),
    ] {
        let members = json!({"customer_user_ids": ids});
        client.invalid("users/delete-bulk", members, place).await;
    }
    assert_eq!(client.ok("users/purge/list", json!({})).await["total"], 0);
    let most = purge(
        &client,
        "users/delete-bulk",
        json!({"customer_user_ids": many(500)}),
    )
    .await;
    assert_eq!(stats(&most), [500, 0, 500, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_and_purges_of_another_project_are_not_there() {
    let (server, client) = start(&[], "mine").await;
    let other = Client::of_project(&server, "theirs")
        .await
        .expect("a client");
    other
        .upsert("secret", json!({"full_name": "Their Name"}))
        .await;
    let members = json!({"customer_user_ids": ["secret"]});
    let mine = purge(&client, "users/delete-bulk", members.clone()).await;
    let nobody = purge(
        &client,
        "users/delete-bulk",
        json!({"customer_user_ids": ["nobody"]}),
    )
    .await;
    assert_eq!(stats(&mine), [1, 0, 1, 0], "{mine}");
    assert_eq!(
        stats(&mine),
        stats(&nobody),
        "an id of others looks like any"
    );
    assert!(!mine.to_string().contains("secret"), "{mine}");
    assert_eq!(other.ids(json!({})).await, ["secret"]);

    let id = json!({"purge_id": mine["purge_id"]});
    let missing = json!({"purge_id": "01900000-0000-7000-8000-000000000001"});
    for route in ["users/purge/get", "users/purge/cancel"] {
        for members in [&id, &missing, &json!({"purge_id": "no id"})] {
            other
                .refused(route, members.clone(), 404, "purge_not_found")
                .await;
        }
        client
            .refused(route, missing.clone(), 404, "purge_not_found")
            .await;
        client.ok(route, id.clone()).await;
    }
    assert_eq!(other.ok("users/purge/list", json!({})).await["total"], 0);
    assert_eq!(client.ok("users/purge/list", json!({})).await["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_goes_only_with_the_id_of_the_right_project() {
    let (_server, client) = start(&[], "all-of-it").await;
    fill(&client, "a", 0..3).await;
    for members in [
        json!({}),
        json!({"enabled_only": true}),
        json!({"disabled_only": true}),
        json!({"search": "  ", "data_source_kind": null, "enabled_only": true}),
        json!({"search": "\u{301}"}),
        json!({"updated_since": "2020-01-01T00:00:00Z"}),
    ] {
        for route in ["users/delete-preview", "users/delete-by-filter"] {
            client
                .refused(route, members.clone(), 400, "restrictive_filter_required")
                .await;
        }
    }
    for wrong in ["all-of-i", "ALL-OF-IT", "other"] {
        for members in [
            json!({"confirm_project_id": wrong}),
            json!({"confirm_project_id": wrong, "search": "person1"}),
        ] {
            client
                .refused(
                    "users/delete-by-filter",
                    members,
                    400,
                    "confirmation_required",
                )
                .await;
        }
    }
    assert_eq!(total(&client).await, 3);
    for (route, members) in [
        ("users/delete-by-filter", json!({"serach": "person1"})),
        ("users/delete-preview", json!({"serach": "person1"})),
    ] {
        client.invalid(route, members, "body.serach").await;
    }
    let everybody = json!({"confirm_project_id": "all-of-it"});
    let everybody = purge(&client, "users/delete-by-filter", everybody).await;
    assert_eq!(stats(&everybody), [3, 3, 0, 0], "{everybody}");
    assert_eq!(total(&client).await, 0);
    let again = json!({"confirm_project_id": "all-of-it"});
    let again = purge(&client, "users/delete-by-filter", again).await;
    assert_eq!(
        (stats(&again), &again["status"]),
        ([0; 4], &json!("completed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_and_a_purge_are_of_the_same_customers() {
    let (_server, client) = start(&[], "same").await;
    fill(&client, "crm", 0..30).await;
    fill(&client, "erp", 30..60).await;
    let filters = json!({
        "search": "person", "data_source_provider": "crm", "enabled_only": true,
        "page": 9, "page_size": 5000, "sort": "updated_at", "order": "desc", "cursor": "x",
    });
    let preview = client.ok("users/delete-preview", filters.clone()).await;
    assert_eq!(
        (&preview["total"], &preview["exceeds_limit"]),
        (&json!(30), &json!(false))
    );
    let sample: Vec<&str> = preview["sample"]
        .as_array()
        .expect("a sample")
        .iter()
        .filter_map(|record| record["customer_user_id"].as_str())
        .collect();
    let first: Vec<String> = (0..10).map(|number| format!("c{number:05}")).collect();
    assert_eq!(sample, first);

    let mut members = filters.clone();
    members["expected_total"] = json!(31);
    let changed = client
        .refused(
            "users/delete-by-filter",
            members.clone(),
            409,
            "total_changed",
        )
        .await;
    assert_eq!(changed["matched"], 30);
    members["expected_total"] = json!(30);
    for (limit, is_right) in [(0, false), (5_001, false), (12, true)] {
        members["limit"] = json!(limit);
        if !is_right {
            client
                .invalid("users/delete-by-filter", members.clone(), "body.limit")
                .await;
        }
    }
    let answer = client.post("users/delete-by-filter", members).await;
    assert_eq!(answer.status, 202, "{answer}");
    let started = answer.ok();
    assert_eq!(
        [
            &started["total"],
            &started["matched"],
            &started["remaining"]
        ],
        [12, 30, 18].map(|number| json!(number)).each_ref(),
        "{started}"
    );
    let limited = client.purge_ended(&started["purge_id"]).await;
    assert_eq!(stats(&limited), [12, 12, 0, 0]);
    let left = client
        .ok(
            "users/list",
            json!({"data_source_provider": "crm", "page_size": 1}),
        )
        .await;
    assert_eq!(
        (ids(&left), &left["total"]),
        (vec!["c00012".into()], &json!(18))
    );

    // What was sought is dropped with the end of the purge; the rest of the filter stays.
    let rest = purge(&client, "users/delete-by-filter", filters).await;
    assert_eq!(stats(&rest), [18, 18, 0, 0]);
    let shown = &rest["filters"];
    assert_eq!(
        (
            &shown["search"],
            &shown["values_dropped"],
            &shown["data_source_provider"]
        ),
        (&Value::Null, &json!(true), &json!("crm")),
        "{rest}"
    );
    let left = json!({"data_source_provider": "erp"});
    assert_eq!(client.ok("users/list", left).await["total"], 30);

    // Exact values are a filter too, though not one that suffices.
    let one = json!({"data_source_provider": "erp", "fields": {"email": " PERSON30@example.org"}});
    let one = purge(&client, "users/delete-by-filter", one).await;
    assert_eq!(stats(&one), [1, 1, 0, 0]);
    let found = client
        .post("users/get", json!({"customer_user_id": "c00030"}))
        .await;
    assert_eq!(found.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_5_000_and_a_limit_empties_a_larger_project() {
    let (_server, client) = start(&[], "large").await;
    fill(&client, "a", 0..5_001).await;
    for members in [
        json!({"confirm_project_id": "large"}),
        json!({"data_source_kind": "csv"}),
        json!({"search": "person"}),
    ] {
        let detail = client
            .refused(
                "users/delete-by-filter",
                members.clone(),
                409,
                "too_many_matches",
            )
            .await;
        assert_eq!(
            (&detail["matched"], &detail["limit"]),
            (&json!(5_001), &json!(5_000)),
            "{members}"
        );
    }
    assert_eq!(client.ok("users/purge/list", json!({})).await["total"], 0);
    let preview = json!({"data_source_kind": "csv"});
    let preview = client.ok("users/delete-preview", preview).await;
    assert_eq!(
        (&preview["total"], &preview["exceeds_limit"]),
        (&json!(5_001), &json!(true))
    );
    let members = json!({"confirm_project_id": "large", "limit": 5_000});
    let purged = purge(&client, "users/delete-by-filter", members.clone()).await;
    assert_eq!(stats(&purged), [5_000, 5_000, 0, 0], "{purged}");
    assert_eq!(
        client.ids(json!({})).await,
        ["c05000"],
        "the first by id go"
    );
    let purged = purge(&client, "users/delete-by-filter", members).await;
    assert_eq!(stats(&purged), [1, 1, 0, 0], "{purged}");
    assert_eq!(total(&client).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_answered_with_its_unfinished_purge() {
    let (_server, client) = start(&[ENDLESS], "again").await;
    fill(&client, "a", 0..100).await;
    let named: Vec<String> = (0..60).map(|number| format!("c{number:05}")).collect();
    let mut turned = named.clone();
    turned.reverse();
    let filter = json!({"search": "person9", "enabled_only": true});
    for (route, first, same, other) in [
        (
            "users/delete-bulk",
            json!({"customer_user_ids": named}),
            json!({"customer_user_ids": turned}),
            json!({"customer_user_ids": ["c00001"]}),
        ),
        (
            "users/delete-by-filter",
            filter.clone(),
            json!({"page": 2, "search": " person9", "enabled_only": true}),
            json!({"search": "person8", "enabled_only": true}),
        ),
    ] {
        let started = client.post(route, first.clone()).await;
        assert_eq!(started.header("idempotency-replayed"), None, "{started}");
        for (caller, members) in [
            (client.clone(), first.clone()),
            (client.with_header("idempotency-key", "one"), first),
            (client.with_header("idempotency-key", "two"), same),
        ] {
            let again = caller.post(route, members).await;
            assert_eq!(again.status, 202, "{again}");
            assert_eq!(
                again.header("idempotency-replayed"),
                Some("true"),
                "{again}"
            );
            assert_eq!(again.ok()["purge_id"], started.ok()["purge_id"]);
            assert_eq!(again.ok()["total"], started.ok()["total"]);
        }
        let different = client.post(route, other).await;
        assert_ne!(different.ok()["purge_id"], started.ok()["purge_id"]);
    }
    // Two servers' worth of callers at once still start one purge.
    let members = json!({"search": "person7"});
    let callers = (0..8).map(|_| client.post("users/delete-by-filter", members.clone()));
    let mut started: Vec<String> = futures::future::join_all(callers)
        .await
        .iter()
        .map(|answer| answer.ok()["purge_id"].to_string())
        .collect();
    started.dedup();
    assert_eq!(started.len(), 1, "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_shows_its_filter_until_it_is_cancelled_and_keeps_what_is_done() {
    let (server, client) = start(&[ENDLESS], "cancelled").await;
    fill(&client, "a", 0..100).await;
    let claims = json!({
        "sub": "who@example.org", "exp": 4_102_444_800_i64, "account_id": ACCOUNT, "org_id": ORG,
        "project_id": "cancelled", "is_admin": true,
    });
    let actor = client.with_credential(Credential::Bearer(token(&claims)));
    let filter = json!({"search": "person", "data_source_provider": "a"});
    let started = actor.ok("users/delete-by-filter", filter).await;
    let id = json!({"purge_id": started["purge_id"]});
    let running = roster_tests::until::until("the first chunk", async || {
        let purge = client.ok("users/purge/get", id.clone()).await;
        (purge["status"] == "running").then_some(purge)
    });
    let running = running.await;
    assert_eq!(running["filters"]["search"], "person", "{running}");
    assert_eq!(running["requested_by"], "token:who@example.org");
    let done = running["stats"]["deleted"].as_i64().expect("a number");
    assert!((1..100).contains(&done), "{running}");
    assert_eq!(running["progress_pct"], done);
    let active = json!({"active_only": true});
    let listed = client.ok("users/purge/list", active.clone()).await;
    assert_eq!(
        (&listed["total"], &listed["items"][0]["purge_id"]),
        (&json!(1), &started["purge_id"])
    );

    // A person who comes back under an id that is still to be purged is somebody else, and stays.
    for comes_back in ["c00099", "c00000"] {
        let members = json!({"customer_user_id": comes_back});
        if comes_back == "c00099" {
            client.ok("users/delete", members).await;
        }
        client
            .upsert(
                comes_back,
                json!({"email": "person99@example.org", "note": comes_back}),
            )
            .await;
        client.upsert(comes_back, json!({"email": null})).await;
    }
    client.ok("users/purge/cancel", id.clone()).await;
    client.ok("users/purge/cancel", id.clone()).await;
    // The pause outlasts the test; the next start of the server finds the wish.
    let mut server = server;
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    let ended = client.purge_ended(&started["purge_id"]).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    assert_eq!(stats(&ended), [100, done, 0, 0], "{ended}");
    assert_eq!(ended["stats"]["remaining"], 100 - done);
    assert!(ended["progress_pct"].as_i64() < Some(100));
    assert_eq!(ended["filters"]["search"], Value::Null);
    assert_eq!(ended["requested_by"], "token:who@example.org");
    assert_eq!(client.ok("users/purge/list", active).await["total"], 0);
    assert_eq!(total(&client).await, 100 - done + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_overlapping_purges_the_later_finds_nobody() {
    let (_server, client) = start(&[("ROSTER_PURGE__CHUNK_PAUSE_MS", "300")], "overlap").await;
    fill(&client, "a", 0..120).await;
    let first = client
        .ok(
            "users/delete-by-filter",
            json!({"data_source_provider": "a"}),
        )
        .await;
    let second = client
        .ok(
            "users/delete-by-filter",
            json!({"confirm_project_id": "overlap"}),
        )
        .await;
    let (first, second) = (
        client.purge_ended(&first["purge_id"]).await,
        client.purge_ended(&second["purge_id"]).await,
    );
    let (first, second) = (stats(&first), stats(&second));
    assert_eq!(
        first[1] + second[1],
        120,
        "each is erased once: {first:?} {second:?}"
    );
    assert_eq!(first[0], first[1] + first[2]);
    assert_eq!(second[0], second[1] + second[2]);
    assert_eq!(total(&client).await, 0);
}

async fn change(connection: &mut PgConnection, sql: &str) {
    let changed = sqlx::query(sql)
        .execute(connection)
        .await
        .expect("a change");
    assert_eq!(changed.rows_affected(), 1, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_cannot_be_erased_is_kept_with_the_reason() {
    let (server, client) = start(&[], "failing").await;
    fill(&client, "a", 0..50).await;
    let mut connection = server.database().superuser().await.expect("a connection");
    // The key of one record is damaged, as a disk would do it.
    change(
        &mut connection,
        "UPDATE log_streams SET key = '\\x00' || substr(key, 2)
          WHERE stream_id = (SELECT stream_id FROM view_customers WHERE customer_user_id = 'c00042')",
    )
    .await;
    let purged = purge(
        &client,
        "users/delete-by-filter",
        json!({"data_source_provider": "a"}),
    )
    .await;
    assert_eq!(
        (&purged["status"], stats(&purged)),
        (&json!("completed_with_errors"), [50, 49, 0, 1]),
        "{purged}"
    );
    assert_eq!(
        purged["errors_sample"],
        json!([{"customer_user_id": "c00042", "error": "the record of the customer cannot be read"}])
    );
    assert_eq!(total(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_whose_list_is_lost_says_so_and_ends() {
    let (mut server, client) = start(&[ENDLESS], "lost").await;
    fill(&client, "a", 0..50).await;
    let started = client
        .ok(
            "users/delete-by-filter",
            json!({"data_source_provider": "a"}),
        )
        .await;
    let mut connection = server.database().superuser().await.expect("a connection");
    let id = json!({"purge_id": started["purge_id"]});
    roster_tests::until::until("the first chunk", async || {
        (client.ok("users/purge/get", id.clone()).await["status"] == "running").then_some(())
    })
    .await;
    change(&mut connection, "DELETE FROM job_chunks WHERE chunk_no = 1").await;
    server.restart().await.expect("it starts");
    let client = client.at(&server);
    let ended = client.purge_ended(&started["purge_id"]).await;
    assert_eq!(ended["status"], "completed_with_errors", "{ended}");
    let [all, deleted, not_found, failed] = stats(&ended);
    assert_eq!((all, not_found, deleted + failed), (50, 0, 50), "{ended}");
    assert!(deleted > 0 && failed > 0, "{ended}");
    assert_eq!(
        ended["errors_sample"],
        json!([{"customer_user_id": null, "error": "the list of the customers can no longer be read"}])
    );
    assert_eq!(total(&client).await, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_in_a_project_that_nobody_wrote_finds_nobody() {
    let (server, client) = start(&[], "first").await;
    let key = server.key(ACCOUNT, &["*"]).await.expect("a key");
    let fresh = Client::new(&server, project("never"), Credential::Bearer(key));
    let preview = fresh
        .ok("users/delete-preview", json!({"search": "a"}))
        .await;
    assert_eq!(
        preview,
        json!({"total": 0, "sample": [], "exceeds_limit": false})
    );
    assert_eq!(fresh.ok("users/purge/list", json!({})).await["total"], 0);
    let nobody = purge(&fresh, "users/delete-by-filter", json!({"search": "a"})).await;
    assert_eq!(stats(&nobody), [0; 4]);
    drop(client);
}
