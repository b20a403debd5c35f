//! A read after an answered write shows it, on every server of the cell.

use std::collections::BTreeSet;

use roster_tests::client::{Answer, Client, ids};
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_an_answered_write_shows_it() {
    let server = Server::start().await.expect("a server");
    let second = Server::start_on(server.database().clone(), &[])
        .await
        .expect("a second server");
    let client = Client::of_project(&server, "own-writes")
        .await
        .expect("a client");
    let elsewhere = client.at(&second);
    let written = |answer: Answer| {
        answer.ok();
        assert_eq!(answer.header("roster-projected"), None, "{answer}");
        answer.position()
    };
    let mut last = 0;
    for round in 0..20 {
        let id = format!("c{round:02}");
        let position = written(
            client
                .post(
                    "users/upsert",
                    json!({"customer_user_id": id, "profile": {"round": round}}),
                )
                .await,
        );
        assert!(position > last, "positions go up");
        last = position;
        // On this server, and on another one of the cell.
        for (reader, has_written) in [(&client, true), (&elsewhere, false)] {
            let list = reader
                .post("users/list", json!({"order": "desc", "page_size": 1}))
                .await;
            assert_eq!(ids(&list.ok()), std::slice::from_ref(&id));
            assert_eq!(list.ok()["total"], round + 1);
            // Another server shows the write before it knows its position.
            assert!(list.position() >= position || !has_written, "{list}");
            reader
                .ok("users/get", json!({"customer_user_id": id}))
                .await;
        }
        let position = written(
            elsewhere
                .post(
                    "users/upsert",
                    json!({"customer_user_id": id, "enabled": false}),
                )
                .await,
        );
        assert!(position > last, "positions go up");
        last = position;
        assert_eq!(
            client.ok("users/list", json!({"enabled_only": true})).await["total"],
            0
        );
        assert_eq!(
            client.ok("users/data-sources/list", json!({})).await["items"][0]["enabled_count"],
            0
        );
    }
    written(
        client
            .post("users/delete", json!({"customer_user_id": "c00"}))
            .await,
    );
    assert_eq!(client.ok("users/list", json!({})).await["total"], 19);
    let imported = client
        .post(
            "users/import-csv",
            json!({"csv": "customer_user_id\nd1\nd2\n"}),
        )
        .await;
    assert!(written(imported) > last);
    assert_eq!(
        client
            .ok("users/list", json!({"data_source_kind": "csv"}))
            .await["total"],
        2
    );
    let bulk: Vec<Value> = (0..500)
        .map(|number| json!({"customer_user_id": format!("e{number:03}")}))
        .collect();
    written(
        client
            .post("users/upsert-bulk", json!({"items": bulk}))
            .await,
    );
    assert_eq!(client.ok("users/list", json!({})).await["total"], 521);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_the_position_it_asks_for() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "positions")
        .await
        .expect("a client");
    let written = client
        .post(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": {"full_name": "Ada Lovelace"}}),
        )
        .await;
    let position = written.position();
    let at_least = |minimum: String| {
        let reader = client.with_header("roster-min-position", &minimum);
        async move {
            reader
                .post("users/list", json!({"search": "lovelace"}))
                .await
        }
    };
    assert_eq!(ids(&at_least(format!("1:{position}")).await.ok()), ["c1"]);
    assert_eq!(ids(&at_least("1:0".into()).await.ok()), ["c1"]);
    let head = client.get("/readyz").await.ok()["head"]
        .as_i64()
        .expect("a head");
    for ahead in [format!("1:{}", head + 1), "1:9223372036854775807".into()] {
        at_least(ahead).await.refused(409, "position_ahead");
    }
    for of_another_epoch in [format!("2:{position}"), "0:0".into()] {
        let answer = at_least(of_another_epoch).await;
        answer.refused(409, "epoch_changed");
    }
    for nonsense in [
        "",
        "5",
        "1:",
        ":1",
        "1:-1",
        "1:1:1",
        "one:1",
        "1:99999999999999999999",
    ] {
        at_least(nonsense.into())
            .await
            .invalid("header.Roster-Min-Position");
    }
    let exported = client
        .with_header("roster-min-position", &format!("1:{}", head + 1))
        .post("users/export-csv", json!({}))
        .await;
    exported.refused(409, "position_ahead");
    // A write does not look at the header: nothing may keep it from being done.
    let writer = client.with_header("roster-min-position", "1:999999");
    writer.upsert("c2", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_all_its_members() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "records")
        .await
        .expect("a client");
    let tag = json!({"kind": "csv", "provider": "erp", "external_id": "E-7", "synced_at": "2026-01-02T03:04:05+01:00"});
    let upserted = client.ok("users/upsert", json!({
        "customer_user_id": "c1", "profile": {"email": "Ada@Example.org", "age": 36}, "connector_enabled": {"WhatsApp": false}, "data_source": tag,
    })).await;
    let record = &upserted["customer"];
    let listed = client.ok("users/list", json!({})).await["items"][0].clone();
    let got = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(&listed, record, "list and upsert show the same");
    assert_eq!(&got["user"], record, "get and upsert show the same");
    let names: BTreeSet<&str> = record
        .as_object()
        .expect("a record")
        .keys()
        .map(String::as_str)
        .collect();
    let expected: BTreeSet<&str> = [
        "customer_user_id",
        "customer_ref",
        "display_name",
        "profile",
        "profile_valid",
        "enabled",
        "connector_enabled",
        "data_source",
        "version",
        "created_at",
        "updated_at",
    ]
    .into();
    assert_eq!(names, expected);
    assert_eq!(
        record["profile"],
        json!({"age": 36, "customer_user_id": "c1", "email": "ada@example.org"})
    );
    assert_eq!(
        (
            &record["display_name"],
            &record["profile_valid"],
            &record["version"]
        ),
        (&json!("ada@example.org"), &json!(true), &json!(1))
    );
    assert_eq!(record["connector_enabled"], json!({"whatsapp": false}));
    let source = &record["data_source"];
    assert_eq!(
        (&source["kind"], &source["provider"], &source["external_id"]),
        (&json!("csv"), &json!("erp"), &json!("E-7"))
    );
    assert!(
        source["synced_at"]
            .as_str()
            .is_some_and(|at| at.starts_with("2026-01-02T02:04:05") && at.ends_with('Z')),
        "{source}"
    );
    assert_eq!(
        (
            &got["customer_user_id"],
            &got["customer_enabled"],
            &got["display_name"]
        ),
        (&json!("c1"), &json!(true), &json!("ada@example.org"))
    );
    assert_eq!(
        (&got["identities"], &got["channel_access"]),
        (&json!([]), &json!([]))
    );
}
