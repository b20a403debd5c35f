//! Making a field unique, within the request and as a job.

use roster_tests::client::{Client, project};
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_field_becomes_unique_only_without_duplicates() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "inline")
        .await
        .expect("a client");
    client
        .upsert(
            "c1",
            json!({"email": "ada@example.org", "badge": "7", "phone": "+4917012345"}),
        )
        .await;
    client
        .upsert("c2", json!({"email": "ada@example.org", "badge": "007"}))
        .await;
    client
        .upsert("c3", json!({"email": "grace@example.org", "badge": "8"}))
        .await;
    let unique_email = with(&[field("email", &json!({"type": "email", "unique": true}))]);
    let detail = client
        .refused("schema/upsert", unique_email.clone(), 422, "schema_invalid")
        .await;
    let named = detail["problems"].to_string();
    assert!(
        named.contains("email") && !named.contains("ada@example.org"),
        "{detail}"
    );
    assert_eq!(
        client.ok("schema/get", json!({})).await["version"],
        0,
        "the old schema stays"
    );
    client
        .upsert("c4", json!({"email": "grace@example.org"}))
        .await;
    client
        .ok("users/delete", json!({"customer_user_id": "c4"}))
        .await;

    client
        .upsert("c2", json!({"email": "c2@example.org"}))
        .await;
    assert_eq!(client.ok("schema/upsert", unique_email).await["version"], 1);
    let taken = json!({"customer_user_id": "c3", "profile": {"email": "ADA@example.org"}});
    let detail = client
        .refused("users/upsert", taken, 409, "unique_value_taken")
        .await;
    assert_eq!(detail["customer_user_id"], "c1");
    assert_eq!(
        client
            .ok("users/get", json!({"fields": {"email": "ada@example.org"}}))
            .await["customer_user_id"],
        "c1"
    );

    // As text 7 and 007 differ; as a number they are one value.
    let text_badge = with(&[
        field("email", &json!({"type": "email", "unique": true})),
        field("badge", &json!({"unique": true})),
    ]);
    assert_eq!(client.ok("schema/upsert", text_badge).await["version"], 2);
    let number_badge = with(&[
        field("email", &json!({"type": "email", "unique": true})),
        field("badge", &json!({"type": "number", "unique": true})),
    ]);
    client
        .refused("schema/upsert", number_badge.clone(), 422, "schema_invalid")
        .await;
    client.upsert("c2", json!({"badge": "9"})).await;
    assert_eq!(client.ok("schema/upsert", number_badge).await["version"], 3);
    let found = client
        .ok("users/get", json!({"fields": {"badge": "7.0"}}))
        .await;
    assert_eq!(
        found["user"]["profile"]["badge"], 7,
        "stored values are read anew: {found}"
    );

    // Fields come and go freely, and what they held stays.
    let fewer = client.ok("schema/upsert", with(&[])).await;
    assert_eq!(fewer["version"], 4);
    let kept = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(
        (
            &kept["user"]["profile"]["email"],
            &kept["user"]["profile"]["phone"]
        ),
        (&json!("ada@example.org"), &json!("+4917012345"))
    );
    client
        .invalid(
            "users/get",
            json!({"fields": {"email": "ada@example.org"}}),
            "body.fields.email",
        )
        .await;
    client
        .upsert("c3", json!({"email": "ada@example.org"}))
        .await;

    let demanding = with(&[
        field("email", &json!({"type": "email"})),
        field("city", &json!({"required": true})),
    ]);
    client.ok("schema/upsert", demanding).await;
    let found = client
        .ok("users/get", json!({"customer_user_id": "c1"}))
        .await;
    assert_eq!(
        found["user"]["profile_valid"], false,
        "a new required field is judged on reading: {found}"
    );
    client.upsert("c1", json!({"city": "London"})).await;
    assert_eq!(
        client
            .ok("users/get", json!({"customer_user_id": "c1"}))
            .await["user"]["profile_valid"],
        true
    );

    let before = client.head().await;
    let other_key = json!({"primary_key": "email", "fields": [{"name": "email", "type": "email"}]});
    client
        .refused(
            "schema/upsert",
            other_key.clone(),
            409,
            "project_user_schema_conflict",
        )
        .await;
    let other_type = json!({"primary_key": "customer_user_id", "fields": [{"name": "customer_user_id", "type": "email"}]});
    client
        .refused(
            "schema/upsert",
            other_type,
            409,
            "project_user_schema_conflict",
        )
        .await;
    assert_eq!(client.head().await, before);
    for id in ["c1", "c2", "c3"] {
        client
            .ok("users/delete", json!({"customer_user_id": id}))
            .await;
    }
    assert_eq!(
        client.ok("schema/upsert", other_key).await["schema"]["primary_key"],
        "email",
        "nobody is left to be renamed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_many_customers_runs_as_a_job() {
    let server = Server::start_with(&[("ROSTER_LIMITS__SCHEMA_IN_REQUEST", "2")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "job").await.expect("a client");
    let people: Vec<Value> = (0..6).map(|number| json!({"customer_user_id": format!("c{number}"), "profile": {"email": format!("p{}@example.org", number / 2 * 2)}})).collect();
    assert_eq!(
        client
            .ok("users/upsert-bulk", json!({"items": people}))
            .await["created"],
        6
    );
    let wanted = with(&[field("email", &json!({"type": "email", "unique": true}))]);

    let detail = client
        .refused(
            "schema/upsert",
            wanted.clone(),
            409,
            "project_user_indexes_preparation_required",
        )
        .await;
    let check = client.preparation_ended(&detail["preparation_id"]).await;
    assert_eq!(
        (&check["status"], &check["fields"]),
        (&json!("duplicates"), &json!(["email"])),
        "{check}"
    );
    let sample = check["duplicates_sample"].as_array().expect("a sample");
    assert_eq!(sample.len(), 3, "{check}");
    assert!(
        sample
            .iter()
            .all(|pair| pair["field"] == "email" && pair["customer_ref"] != pair["holder_ref"]),
        "{check}"
    );
    assert_eq!(
        client.ok("schema/get", json!({})).await["version"],
        0,
        "the old schema stays active"
    );

    // The next upsert names the duplicates, as long as there are any.
    let named = client
        .refused("schema/upsert", wanted.clone(), 422, "schema_invalid")
        .await;
    assert!(named["problems"].to_string().contains("email"), "{named}");

    for number in [1, 3, 5] {
        let email = json!({"email": format!("p{number}@example.org")});
        client.upsert(&format!("c{number}"), email).await;
    }
    let again = client
        .refused(
            "schema/upsert",
            wanted.clone(),
            409,
            "project_user_indexes_preparation_required",
        )
        .await;
    let check = client.preparation_ended(&again["preparation_id"]).await;
    assert_eq!(
        (&check["status"], &check["progress_pct"]),
        (&json!("ready"), &json!(100)),
        "{check}"
    );
    assert_eq!(
        client.ok("schema/get", json!({})).await["version"],
        0,
        "it waits for the next upsert"
    );
    assert_eq!(client.ok("schema/upsert", wanted).await["version"], 1);
    let taken = json!({"customer_user_id": "c1", "profile": {"email": "p2@example.org"}});
    client
        .refused("users/upsert", taken, 409, "unique_value_taken")
        .await;

    for missing in ["01900000-0000-7000-8000-000000000001", "nonsense", ""] {
        client
            .refused(
                "schema/preparation/get",
                json!({"preparation_id": missing}),
                404,
                "preparation_not_found",
            )
            .await;
    }
    let neighbour = client.in_scope(project("other-job"));
    neighbour
        .refused(
            "schema/preparation/get",
            json!({"preparation_id": detail["preparation_id"]}),
            404,
            "preparation_not_found",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_ten_thousand_customers_a_check_is_a_job_and_totals_are_counted_on_demand() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "many").await.expect("a client");
    let rows =
        (0..10_050).map(|number| format!("c{number:05},p{number}@example.org,Person {number}\n"));
    let csv: String = ["customer_user_id,email,full_name\n".to_owned()]
        .into_iter()
        .chain(rows)
        .collect();
    let started = client.import("", csv).await;
    assert_eq!(started.status, 202, "{started}");
    let import = client.import_ended(&started.ok()["import_id"]).await;
    assert_eq!(
        (&import["status"], &import["created"]),
        (&json!("completed"), &json!(10_050)),
        "{import}"
    );

    let all = client.ok("users/list", json!({"page_size": 1})).await;
    assert_eq!(
        (&all["total"], &all["total_at_least"]),
        (&json!(10_050), &Value::Null),
        "filters have exact totals"
    );
    let head = client.head().await;
    let found = client
        .list_at(json!({"search": "person", "page_size": 200}), head)
        .await;
    assert_eq!(
        (&found["total"], &found["total_at_least"]),
        (&Value::Null, &json!(10_000)),
        "a search counts to 10,000"
    );
    assert!(found["next_cursor"].is_string());
    let counted = client
        .list_at(
            json!({"search": "person", "page_size": 1, "count": "exact"}),
            head,
        )
        .await;
    assert_eq!(counted["total"], 10_050);
    let rare = client
        .list_at(json!({"search": "person 10049"}), head)
        .await;
    assert_eq!(
        (&rare["total"], &rare["items"][0]["customer_user_id"]),
        (&json!(1), &json!("c10049"))
    );
    let last = client
        .ok("users/list", json!({"page": 51, "page_size": 200}))
        .await;
    assert_eq!(
        (last["items"].as_array().map(Vec::len), &last["next_cursor"]),
        (Some(50), &Value::Null)
    );

    let wanted = with(&[field("email", &json!({"type": "email", "unique": true}))]);
    let detail = client
        .refused(
            "schema/upsert",
            wanted.clone(),
            409,
            "project_user_indexes_preparation_required",
        )
        .await;
    // While the check runs, a write must already respect the schema that is to come, or end it.
    client
        .upsert("late", json!({"email": "late@example.org"}))
        .await;
    let check = client.preparation_ended(&detail["preparation_id"]).await;
    assert_eq!(
        (&check["status"], &check["progress_pct"]),
        (&json!("ready"), &json!(100)),
        "{check}"
    );
    assert_eq!(client.ok("schema/upsert", wanted).await["version"], 1);
    for email in ["late@example.org", "P10049@example.org"] {
        let taken = json!({"customer_user_id": "other", "profile": {"email": email}});
        client
            .refused("users/upsert", taken, 409, "unique_value_taken")
            .await;
    }
}
