//! Purges that go on: the same request again, cancelled, overlapping, and what they cannot erase.

use roster_tests::client::{ACCOUNT, Credential, ORG, token};
use roster_tests::purges::{fill, purge, start, stats, total};
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// A pause after each chunk that outlasts a test: its purge does not end by itself.
const ENDLESS: (&str, &str) = ("ROSTER_PURGE__CHUNK_PAUSE_MS", "600000");

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
    let running = until("the first chunk", async || {
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
async fn a_purge_that_goes_on_hears_of_its_cancel_before_the_next_chunk() {
    let (_server, client) = start(&[("ROSTER_PURGE__CHUNK_PAUSE_MS", "1500")], "heard").await;
    fill(&client, "a", 0..400).await;
    let filter = json!({"data_source_provider": "a"});
    let started = client.ok("users/delete-by-filter", filter).await;
    let id = json!({"purge_id": started["purge_id"]});
    let running = until("the first chunk", async || {
        let purge = client.ok("users/purge/get", id.clone()).await;
        (purge["status"] == "running").then_some(purge)
    });
    let done = stats(&running.await)[1];
    client.ok("users/purge/cancel", id).await;
    let ended = client.purge_ended(&started["purge_id"]).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    assert_eq!(stats(&ended), [400, done, 0, 0], "{ended}");
    assert_eq!(total(&client).await, 400 - done);
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
    until("the first chunk", async || {
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
