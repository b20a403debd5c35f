//! Purges over HTTP: what is refused, and whom a purge is of.

use roster_tests::client::{ACCOUNT, Client, Credential, ids, project};
use roster_tests::purges::{fill, purge, start, stats, total};
use serde_json::{Value, json};

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
