//! CSV imports over HTTP: what rows mean, for new customers and for those who exist.

use roster_tests::client::Client;
use roster_tests::imports::{counts, import_text};
use roster_tests::server::Server;
use serde_json::{Value, json};

/// A required name, unique addresses, and one field of most other kinds.
fn schema() -> Value {
    json!({"primary_key": "customer_user_id", "fields": [
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "full_name", "required": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "phone", "type": "phone", "default_region": "DE"},
        {"name": "age", "type": "number", "min_value": 0},
        {"name": "plan", "allowed_values": ["Basic", "Premium"]},
    ]})
}

async fn start() -> (Server, Client) {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.ok("schema/upsert", schema()).await;
    (server, client)
}

async fn user(client: &Client, id: &str) -> Value {
    client
        .ok("users/get", json!({"customer_user_id": id}))
        .await["user"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_create_change_and_leave_customers() {
    let (_server, client) = start().await;
    let csv = "Customer_User_Id, FULL_NAME ,email,enabled\n\
        a,Ada,Ada@Example.org,\n\
        b,\"Bo, Jr.\",,no\n\
        c,Cy,,yes\n\
        d,Di,,perhaps\n";
    let result = import_text(&client, csv, json!({})).await;
    assert_eq!(
        (counts(&result), &result["status"]),
        ([3, 0, 0, 0, 1], &json!("completed_with_errors"))
    );
    let sample = &result["errors_sample"][0];
    assert_eq!(
        (
            &sample["row"],
            &sample["customer_user_id"],
            &sample["field"]
        ),
        (&json!(5), &json!("d"), &json!("enabled"))
    );
    let ada = user(&client, "a").await;
    assert_eq!(
        ada["profile"],
        json!({"customer_user_id": "a", "full_name": "Ada", "email": "ada@example.org"})
    );
    assert_eq!(
        (&ada["enabled"], &ada["data_source"]["kind"]),
        (&json!(true), &json!("csv"))
    );
    assert_eq!(ada["data_source"]["provider"], "csv_file");
    assert_eq!(user(&client, "b").await["enabled"], false);

    let again = "customer_user_id,full_name,enabled\na,Ada,\nb,Bob,\nc,Cy,off\n";
    let result = import_text(&client, again, json!({})).await;
    assert_eq!(counts(&result), [0, 2, 1, 0, 0]);
    let (a, b, c) = (
        user(&client, "a").await,
        user(&client, "b").await,
        user(&client, "c").await,
    );
    assert_eq!(
        (&a["profile"]["email"], &a["version"]),
        (&json!("ada@example.org"), &json!(1))
    );
    assert_eq!(
        (&b["profile"]["full_name"], &b["enabled"]),
        (&json!("Bob"), &json!(false))
    );
    assert_eq!(c["enabled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_keep_what_is_there_and_what_is_empty() {
    let (_server, client) = start().await;
    import_text(
        &client,
        "customer_user_id,full_name,email,age\na,Ada,ada@example.org,36\n",
        json!({}),
    )
    .await;

    let csv = "customer_user_id,full_name,email,age\na,Other,,1\nb,Bo,,\n";
    let skipped = import_text(&client, csv, json!({"on_conflict": "skip"})).await;
    assert_eq!(counts(&skipped), [1, 0, 0, 1, 0]);
    assert_eq!(user(&client, "a").await["profile"]["full_name"], "Ada");

    let csv = "customer_user_id,full_name,email\na,Ada,\n";
    let kept = import_text(&client, csv, json!({"empty_cells": "keep"})).await;
    assert_eq!(counts(&kept), [0, 0, 1, 0, 0]);
    let cleared = import_text(&client, csv, json!({"empty_cells": "clear"})).await;
    assert_eq!(counts(&cleared), [0, 1, 0, 0, 0]);
    let profile = user(&client, "a").await["profile"].clone();
    assert_eq!(
        profile,
        json!({"customer_user_id": "a", "full_name": "Ada", "age": 36}),
        "a missing column is left"
    );

    client
        .invalid(
            "users/import-csv",
            json!({"csv": csv, "on_conflict": "replace"}),
            "body.on_conflict",
        )
        .await;
    client
        .invalid(
            "users/import-csv",
            json!({"csv": csv, "delimiter": "x"}),
            "body.delimiter",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_everything_and_writes_nothing() {
    let (server, client) = start().await;
    import_text(
        &client,
        "customer_user_id,full_name,email\na,Ada,ada@example.org\n",
        json!({}),
    )
    .await;
    let mut connection = server.database().superuser().await.expect("a connection");
    let customers =
        "SELECT count(*) FROM log_events e JOIN log_streams s USING (stream_id) WHERE s.kind = 1";
    let before: i64 = sqlx::query_scalar(customers)
        .fetch_one(&mut connection)
        .await
        .expect("a count");

    let csv = "customer_user_id,full_name,email,age,city\n\
        a,Ada L.,ada@example.org,36,London\n\
        b,Bo,ADA@example.org,,\n\
        c,Cy,cy@example.org,-1,\n\
        d,Di,cy@example.org,,\n\
        a,Ada L.,ada@example.org,36,London\n";
    let dry = import_text(&client, csv, json!({"dry_run": true})).await;
    assert_eq!(counts(&dry), [1, 1, 1, 0, 2]);
    assert_eq!(
        (&dry["dry_run"], &dry["unknown_columns"]),
        (&json!(true), &json!(["city"]))
    );
    let after: i64 = sqlx::query_scalar(customers)
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(before, after, "no customer has an event");
    assert_eq!(client.ids(json!({})).await, ["a"]);
    assert_eq!(user(&client, "a").await["profile"]["full_name"], "Ada");

    let real = import_text(&client, csv, json!({})).await;
    assert_eq!(counts(&real), counts(&dry));
    let messages = |result: &Value| result["errors_sample"].clone();
    assert_eq!(messages(&real), messages(&dry));
    assert_eq!(real["warnings_sample"], dry["warnings_sample"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_name_the_same_customer_apply_in_order() {
    let (_server, client) = start().await;
    let csv = "customer_user_id,full_name,email,age\n\
        a,First,one@example.org,1\n\
        b,Bo,,\n\
        a,Second,two@example.org,\n\
        b,Bo,one@example.org,\n\
        a,Second,two@example.org,\n\
        a,Third,one@example.org,3\n\
        a,Fourth,,4\n";
    let result = import_text(&client, csv, json!({})).await;
    // The sixth wants the address that the fourth took.
    assert_eq!(counts(&result), [2, 3, 1, 0, 1], "{result}");
    let (a, b) = (user(&client, "a").await, user(&client, "b").await);
    assert_eq!(
        a["profile"],
        json!({"customer_user_id": "a", "full_name": "Fourth", "age": 4})
    );
    assert_eq!(
        (&a["version"], &b["profile"]["email"]),
        (&json!(3), &json!("one@example.org"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_name_the_same_customer_apply_in_order_however_far_apart_they_are() {
    let (_server, client) = start().await;
    client.upsert("a", json!({"full_name": "First"})).await;
    // More rows than a first chunk has, so that the last row is looked at while the first one is written.
    let between: Vec<String> = (0..600).map(|no| format!("b{no},Bo\n")).collect();
    let csv = format!(
        "customer_user_id,full_name\na,Second\n{}a,First\n",
        between.concat()
    );
    let result = import_text(&client, &csv, json!({})).await;
    assert_eq!(counts(&result), [600, 2, 0, 0, 0], "{result}");
    assert_eq!(user(&client, "a").await["profile"]["full_name"], "First");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_about_somebody_whom_a_row_far_before_it_creates_changes_them() {
    let (_server, client) = start().await;
    let between: Vec<String> = (0..600).map(|no| format!("b{no},Bo,\n")).collect();
    // The last row has no name, which whoever is new must have.
    let csv = format!(
        "customer_user_id,full_name,email\na,Ada,\n{}a,,ada@example.org\n",
        between.concat()
    );
    let result = import_text(&client, &csv, json!({"empty_cells": "keep"})).await;
    assert_eq!(counts(&result), [601, 1, 0, 0, 0], "{result}");
    let profile = &user(&client, "a").await["profile"];
    assert_eq!(
        (&profile["full_name"], &profile["email"]),
        (&json!("Ada"), &json!("ada@example.org"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_value_fails_its_row_and_no_other() {
    let (_server, client) = start().await;
    client
        .upsert(
            "holder",
            json!({"full_name": "H", "email": "held@example.org"}),
        )
        .await;
    let csv = "customer_user_id,full_name,email\n\
        a,Ada,held@example.org\n\
        b,Bo,new@example.org\n\
        c,Cy,NEW@example.org\n\
        holder,H,other@example.org\n\
        d,Di,held@example.org\n";
    let result = import_text(&client, csv, json!({})).await;
    assert_eq!(counts(&result), [2, 1, 0, 0, 2], "{result}");
    for (place, (row, id)) in [(2, "a"), (4, "c")].into_iter().enumerate() {
        let finding = &result["errors_sample"][place];
        assert_eq!(
            (&finding["row"], &finding["customer_user_id"]),
            (&json!(row), &json!(id)),
            "{result}"
        );
        assert_eq!(finding["field"], "email");
    }
    assert_eq!(client.ids(json!({})).await, ["b", "d", "holder"]);
    assert_eq!(
        user(&client, "d").await["profile"]["email"],
        "held@example.org"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_optional_values_are_cleared_and_required_ones_fail_the_row() {
    let (_server, client) = start().await;
    client
        .upsert("a", json!({"full_name": "Ada", "age": 36, "plan": "basic"}))
        .await;
    let csv = "customer_user_id,full_name,email,phone,age,plan\n\
        a,Ada,no address,+49 30 123456,old,PREMIUM\n\
        b,,b@example.org,,,\n\
        ,Nobody,n@example.org,,,\n\
        c,Cy,,,,Gold\n\
        ,,,,,\n";
    let result = import_text(&client, csv, json!({})).await;
    assert_eq!(
        (counts(&result), &result["warnings"]),
        ([1, 1, 0, 1, 2], &json!(3)),
        "{result}"
    );
    let warned: Vec<(u64, &str)> = result["warnings_sample"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| {
            (
                finding["row"].as_u64().unwrap_or(0),
                finding["field"].as_str().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(warned, [(2, "email"), (2, "age"), (5, "plan")]);
    let ada = user(&client, "a").await;
    let expected = json!({"customer_user_id": "a", "full_name": "Ada", "phone": "+4930123456", "plan": "Premium"});
    assert_eq!(ada["profile"], expected);
    let failed: Vec<&Value> = result["errors_sample"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(
        (&failed[0]["row"], &failed[0]["field"]),
        (&json!(3), &json!("full_name"))
    );
    assert_eq!(
        (&failed[1]["row"], &failed[1]["field"]),
        (&json!(4), &json!("customer_user_id"))
    );
    assert!(
        !result.to_string().contains("no address"),
        "a finding does not repeat the value"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_adopt_rows_written_by_hand_and_no_others() {
    let (_server, client) = start().await;
    client.upsert("manual", json!({"full_name": "M"})).await;
    let scim = json!({
        "customer_user_id": "scim", "profile": {"full_name": "S"}, "data_source": {"kind": "scim", "provider": "okta"},
    });
    client.ok("users/upsert", scim).await;
    import_text(
        &client,
        "customer_user_id,full_name\nearlier,E\n",
        json!({"provider": "shop"}),
    )
    .await;

    let csv = "customer_user_id,full_name\nmanual,M\nscim,S2\nearlier,E2\nnew,N\n";
    let result = import_text(&client, csv, json!({"provider": "erp"})).await;
    assert_eq!(
        (counts(&result), &result["provider"]),
        ([1, 3, 0, 0, 0], &json!("erp"))
    );
    for (id, kind, provider) in [
        ("manual", "csv", "erp"),
        ("scim", "scim", "okta"),
        ("earlier", "csv", "shop"),
        ("new", "csv", "erp"),
    ] {
        let found = user(&client, id).await["data_source"].clone();
        assert_eq!(
            (&found["kind"], &found["provider"]),
            (&json!(kind), &json!(provider)),
            "{id}"
        );
    }
    let sources = client.ok("users/data-sources/list", json!({})).await;
    assert_eq!(sources["total_customers"], 4);
    let counted: Vec<(&str, u64)> = sources["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| {
            (
                item["provider"].as_str().unwrap_or(""),
                item["count"].as_u64().unwrap_or(0),
            )
        })
        .collect();
    assert_eq!(counted, [("erp", 2), ("shop", 1), ("okta", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_outside_the_schema_are_kept_and_listed() {
    let (_server, client) = start().await;
    let csv = "customer_user_id,full_name,City, Shoe size ,\na,Ada,London,38,ignored\n";
    let result = import_text(&client, csv, json!({})).await;
    assert_eq!(result["unknown_columns"], json!(["City", "Shoe size"]));
    let profile = user(&client, "a").await["profile"].clone();
    let expected =
        json!({"customer_user_id": "a", "full_name": "Ada", "City": "London", "Shoe size": "38"});
    assert_eq!(profile, expected);
    let exported = client.post("users/export-csv", json!({})).await.text();
    assert_eq!(
        exported,
        "customer_user_id,full_name,email,phone,age,plan,City,Shoe size,enabled\na,Ada,,,,,London,38,true\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn suppressed_ids_are_skipped_until_they_are_let_in_again() {
    let (_server, client) = start().await;
    client.upsert("gone", json!({"full_name": "G"})).await;
    client
        .ok(
            "users/delete",
            json!({"customer_user_id": "gone", "suppress": true}),
        )
        .await;
    let csv = "customer_user_id,full_name\ngone,G\nother,O\n";
    assert_eq!(
        counts(&import_text(&client, csv, json!({})).await),
        [1, 0, 0, 1, 0]
    );
    client
        .ok(
            "users/suppressions/remove",
            json!({"customer_user_id": "gone"}),
        )
        .await;
    assert_eq!(
        counts(&import_text(&client, csv, json!({})).await),
        [1, 0, 1, 0, 0]
    );
}
