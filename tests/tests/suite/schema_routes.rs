//! The schema of a project over HTTP: the default one, changes, conflicts and uniqueness checks.

use std::time::{Duration, Instant};

use roster_tests::client::Client;
use roster_tests::server::Server;
use serde_json::{Value, json};

/// A schema with the id and these fields.
fn with(fields: &[Value]) -> Value {
    let id = json!({"name": "customer_user_id", "required": true, "unique": true});
    let fields: Vec<Value> = [id].into_iter().chain(fields.iter().cloned()).collect();
    json!({"primary_key": "customer_user_id", "fields": fields})
}

fn field(name: &str, more: &Value) -> Value {
    let mut field = json!({"name": name});
    for (member, value) in more.as_object().expect("members are an object") {
        field[member] = value.clone();
    }
    field
}

async fn head(client: &Client) -> i64 {
    client.get("/readyz").await.ok()["head"].as_i64().expect("a head")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_replaced_as_a_whole_and_by_its_version() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "replacing").await.expect("a client");
    let default = client.ok("schema/get", json!({})).await;
    assert_eq!((&default["version"], &default["updated_at"]), (&json!(0), &Value::Null));
    assert_eq!(default["schema"]["primary_key"], "customer_user_id");
    let fields: Vec<(&Value, &Value, &Value)> = default["schema"]["fields"].as_array().expect("fields").iter()
        .map(|field| (&field["name"], &field["required"], &field["unique"])).collect();
    let [yes, no] = [json!(true), json!(false)];
    let names = ["customer_user_id", "email", "phone", "full_name"].map(|name| json!(name));
    assert_eq!(fields, [(&names[0], &yes, &yes), (&names[1], &no, &no), (&names[2], &no, &no), (&names[3], &no, &no)]);

    // What get returned may be sent back: it is what is in effect.
    let before = head(&client).await;
    let same = client.ok("schema/upsert", json!({"schema": default["schema"]})).await;
    assert_eq!((&same["version"], head(&client).await), (&json!(0), before), "the same schema is no event");

    let wanted = with(&[field("email", &json!({"type": "email"})), field("plan", &json!({"allowed_values": ["A", "B"], "label": "Plan"}))]);
    let mut expecting = wanted.clone();
    expecting["expected_version"] = json!(1);
    let detail = client.refused("schema/upsert", expecting.clone(), 409, "project_user_schema_conflict").await;
    assert_eq!(detail["current_version"], 0);
    expecting["expected_version"] = json!(0);
    let first = client.post("schema/upsert", expecting.clone()).await;
    let first_body = first.ok();
    assert_eq!(first_body["version"], 1);
    assert!(first_body["updated_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{first}");
    assert_eq!(client.ok("schema/get", json!({})).await, first_body, "get shows what upsert answered");

    let again = client.post("schema/upsert", wanted.clone()).await;
    assert_eq!((again.ok(), again.position()), (first_body.clone(), first.position()), "the same again is no event");
    assert_eq!(client.post("schema/upsert", expecting).await.ok(), first_body, "a resent request finds what it did");

    let plain = client.ok("schema/upsert", with(&[])).await;
    assert_eq!((&plain["version"], plain["schema"]["fields"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    let mut stale = wanted.clone();
    stale["expected_version"] = json!(1);
    let detail = client.refused("schema/upsert", stale, 409, "project_user_schema_conflict").await;
    assert_eq!(detail["current_version"], 2);

    for (members, place) in [
        (json!({}), "body.fields"),
        (json!({"primary_key": "customer_user_id"}), "body.fields"),
        (json!({"schema": default["schema"], "primary_key": "customer_user_id"}), "body.schema"),
        (json!({"schema": {"primary_key": "a", "fields": [], "surprise": 1}}), "body.schema.surprise"),
        (json!({"primary_key": "a", "fields": [{"name": "a", "typ": "email"}]}), "body.fields.0.typ"),
        (json!({"primary_key": "a", "fields": [{"name": "a", "type": "date"}]}), "body.fields.0.type"),
        (json!({"primary_key": "a", "fields": "a"}), "body.fields"),
    ] {
        client.invalid("schema/upsert", members, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_contradicts_itself_is_refused_and_says_where() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "refusing").await.expect("a client");
    let unique: Vec<Value> = (0..9).map(|number| field(&format!("u{number}"), &json!({"unique": true}))).collect();
    let eight = client.ok("schema/upsert", with(&unique[..8])).await;
    let before = head(&client).await;
    let binding = json!([{"channel": "whatsapp", "profile_field": "other"}]);
    let rule = json!([{"channel": "slack", "field": "other", "source": "connector.email"}]);
    let with_members = |mut schema: Value, name: &str, members: &Value| {
        schema[name] = members.clone();
        schema
    };
    for (schema, place) in [
        (with(&unique), "body.fields"),
        (with_members(with(&unique[..8]), "connector_bindings", &binding), "body.fields"),
        (with_members(with(&unique[..8]), "match_rules", &rule), "body.fields"),
        (with(&[field("a", &json!({"type": "boolean", "pattern": "x"}))]), "body.fields.1.pattern"),
        (with(&[field("a", &json!({"type": "boolean", "allowed_values": ["x"]}))]), "body.fields.1.allowed_values"),
        (with(&[field("a", &json!({"type": "email", "allowed_values": ["x"]}))]), "body.fields.1.allowed_values"),
        (with(&[field("a", &json!({"type": "phone", "allowed_values": ["x"]}))]), "body.fields.1.allowed_values"),
        (with(&[field("a", &json!({"type": "number", "allowed_values": ["x"]}))]), "body.fields.1.allowed_values"),
        (with(&[field("a", &json!({"pattern": "("}))]), "body.fields.1.pattern"),
        (with(&[field("a", &json!({"pattern": r"(a)\1"}))]), "body.fields.1.pattern"),
        (with(&[field("a", &json!({"pattern": "(?=a)a"}))]), "body.fields.1.pattern"),
        (with(&[field("a", &json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}))]), "body.fields.1.pattern"),
        (with(&[field("a", &json!({"type": "number", "min_value": 2, "max_value": 1}))]), "body.fields.1.min_value"),
        (with(&[field("a", &json!({"min_value": 2}))]), "body.fields.1.min_value"),
        (with(&[field("a", &json!({"type": "phone", "default_region": "Germany"}))]), "body.fields.1.default_region"),
        (with(&[field("a", &json!({"default_region": "DE"}))]), "body.fields.1.default_region"),
        (with(&[field("a", &json!({})), field("a", &json!({}))]), "body.fields.2.name"),
        (with(&[field("enabled", &json!({}))]), "body.fields.1.name"),
        (with(&[field("7up", &json!({}))]), "body.fields.1.name"),
        (with(&[field("", &json!({}))]), "body.fields.1.name"),
        (with(&[field(&"x".repeat(65), &json!({}))]), "body.fields.1.name"),
        (json!({"primary_key": "nowhere", "fields": [{"name": "a"}]}), "body.primary_key"),
        (json!({"primary_key": "a", "fields": [{"name": "a", "type": "boolean"}]}), "body.primary_key"),
        (with_members(with(&[]), "connector_bindings", &json!([{"channel": "a b", "profile_field": "x"}])), "body.connector_bindings.0.channel"),
    ] {
        let detail = client.refused("schema/upsert", schema.clone(), 422, "schema_invalid").await;
        let problems = detail["problems"].as_array().expect("problems");
        let places: Vec<String> = problems.iter().map(|problem| {
            let parts = problem["loc"].as_array().expect("a place").iter();
            parts.map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect::<Vec<_>>().join(".")
        }).collect();
        assert!(places.iter().any(|found| found == place), "{schema}: {place} is not among {places:?}");
    }
    assert_eq!(head(&client).await, before);
    assert_eq!(client.ok("schema/get", json!({})).await, eight);

    // A pattern that a backtracking engine would think about for years.
    client.ok("schema/upsert", with(&[field("code", &json!({"pattern": "(a+)+$|(a|aa)+b|([a-z]+)*c"}))])).await;
    let started = Instant::now();
    client.invalid("users/upsert", json!({"customer_user_id": "c1", "profile": {"code": format!("{}!", "a".repeat(4_000))}}), "body.profile.code").await;
    assert!(started.elapsed() < Duration::from_secs(5), "the pattern took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_becomes_unique_only_without_duplicates() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "inline").await.expect("a client");
    client.upsert("c1", json!({"email": "ada@example.org", "badge": "7", "phone": "+4917012345"})).await;
    client.upsert("c2", json!({"email": "ada@example.org", "badge": "007"})).await;
    client.upsert("c3", json!({"email": "grace@example.org", "badge": "8"})).await;
    let unique_email = with(&[field("email", &json!({"type": "email", "unique": true}))]);
    let detail = client.refused("schema/upsert", unique_email.clone(), 422, "schema_invalid").await;
    let named = detail["problems"].to_string();
    assert!(named.contains("email") && !named.contains("ada@example.org"), "{detail}");
    assert_eq!(client.ok("schema/get", json!({})).await["version"], 0, "the old schema stays");
    client.upsert("c4", json!({"email": "grace@example.org"})).await;
    client.ok("users/delete", json!({"customer_user_id": "c4"})).await;

    client.upsert("c2", json!({"email": "c2@example.org"})).await;
    assert_eq!(client.ok("schema/upsert", unique_email).await["version"], 1);
    let taken = json!({"customer_user_id": "c3", "profile": {"email": "ADA@example.org"}});
    let detail = client.refused("users/upsert", taken, 409, "unique_value_taken").await;
    assert_eq!(detail["customer_user_id"], "c1");
    assert_eq!(client.ok("users/get", json!({"fields": {"email": "ada@example.org"}})).await["customer_user_id"], "c1");

    // As text 7 and 007 differ; as a number they are one value.
    let text_badge = with(&[field("email", &json!({"type": "email", "unique": true})), field("badge", &json!({"unique": true}))]);
    assert_eq!(client.ok("schema/upsert", text_badge).await["version"], 2);
    let number_badge = with(&[field("email", &json!({"type": "email", "unique": true})), field("badge", &json!({"type": "number", "unique": true}))]);
    client.refused("schema/upsert", number_badge.clone(), 422, "schema_invalid").await;
    client.upsert("c2", json!({"badge": "9"})).await;
    assert_eq!(client.ok("schema/upsert", number_badge).await["version"], 3);
    let found = client.ok("users/get", json!({"fields": {"badge": "7.0"}})).await;
    assert_eq!(found["user"]["profile"]["badge"], 7, "stored values are read anew: {found}");

    // Fields come and go freely, and what they held stays.
    let fewer = client.ok("schema/upsert", with(&[])).await;
    assert_eq!(fewer["version"], 4);
    let kept = client.ok("users/get", json!({"customer_user_id": "c1"})).await;
    assert_eq!((&kept["user"]["profile"]["email"], &kept["user"]["profile"]["phone"]), (&json!("ada@example.org"), &json!("+4917012345")));
    client.invalid("users/get", json!({"fields": {"email": "ada@example.org"}}), "body.email").await;
    client.upsert("c3", json!({"email": "ada@example.org"})).await;

    let demanding = with(&[field("email", &json!({"type": "email"})), field("city", &json!({"required": true}))]);
    client.ok("schema/upsert", demanding).await;
    let found = client.ok("users/get", json!({"customer_user_id": "c1"})).await;
    assert_eq!(found["user"]["profile_valid"], false, "a new required field is judged on reading: {found}");
    client.upsert("c1", json!({"city": "London"})).await;
    assert_eq!(client.ok("users/get", json!({"customer_user_id": "c1"})).await["user"]["profile_valid"], true);

    let before = head(&client).await;
    let other_key = json!({"primary_key": "email", "fields": [{"name": "email", "type": "email"}]});
    client.refused("schema/upsert", other_key.clone(), 409, "project_user_schema_conflict").await;
    let other_type = json!({"primary_key": "customer_user_id", "fields": [{"name": "customer_user_id", "type": "email"}]});
    client.refused("schema/upsert", other_type, 409, "project_user_schema_conflict").await;
    assert_eq!(head(&client).await, before);
    for id in ["c1", "c2", "c3"] {
        client.ok("users/delete", json!({"customer_user_id": id})).await;
    }
    assert_eq!(client.ok("schema/upsert", other_key).await["schema"]["primary_key"], "email", "nobody is left to be renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_many_customers_runs_as_a_job() {
    let server = Server::start_with(&[("ROSTER_LIMITS__SCHEMA_IN_REQUEST", "2")]).await.expect("a server");
    let client = Client::of_project(&server, "job").await.expect("a client");
    let people: Vec<Value> = (0..6).map(|number| json!({"customer_user_id": format!("c{number}"), "profile": {"email": format!("p{}@example.org", number / 2 * 2)}})).collect();
    assert_eq!(client.ok("users/upsert-bulk", json!({"items": people})).await["created"], 6);
    let wanted = with(&[field("email", &json!({"type": "email", "unique": true}))]);

    let detail = client.refused("schema/upsert", wanted.clone(), 409, "project_user_indexes_preparation_required").await;
    let check = ended(&client, &detail["preparation_id"]).await;
    assert_eq!((&check["status"], &check["fields"]), (&json!("duplicates"), &json!(["email"])), "{check}");
    let sample = check["duplicates_sample"].as_array().expect("a sample");
    assert_eq!(sample.len(), 3, "{check}");
    assert!(sample.iter().all(|pair| pair["field"] == "email" && pair["customer_ref"] != pair["holder_ref"]), "{check}");
    assert_eq!(client.ok("schema/get", json!({})).await["version"], 0, "the old schema stays active");

    for number in [1, 3, 5] {
        client.upsert(&format!("c{number}"), json!({"email": format!("p{number}@example.org")})).await;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client.post("schema/upsert", wanted.clone()).await;
        if answer.status == 200 {
            assert_eq!(answer.ok()["version"], 1);
            break;
        }
        let detail = answer.refused(409, "project_user_indexes_preparation_required");
        let check = ended(&client, &detail["preparation_id"]).await;
        assert_eq!((&check["status"], &check["progress_pct"]), (&json!("ready"), &json!(100)), "{check}");
        assert!(Instant::now() < deadline, "the schema does not take effect: {answer}");
    }
    let taken = json!({"customer_user_id": "c1", "profile": {"email": "p2@example.org"}});
    client.refused("users/upsert", taken, 409, "unique_value_taken").await;

    for missing in ["01900000-0000-7000-8000-000000000001", "nonsense", ""] {
        client.refused("schema/preparation/get", json!({"preparation_id": missing}), 404, "preparation_not_found").await;
    }
    let neighbour = client.in_scope(roster_tests::client::project("other-job"));
    neighbour.refused("schema/preparation/get", json!({"preparation_id": detail["preparation_id"]}), 404, "preparation_not_found").await;
}

/// A preparation that has come to an end.
async fn ended(client: &Client, preparation_id: &Value) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let check = client.ok("schema/preparation/get", json!({"preparation_id": preparation_id})).await;
        if check["status"] != "running" {
            return check;
        }
        assert!(Instant::now() < deadline, "the check does not end: {check}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scim_is_announced_and_not_available() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "scim").await.expect("a client");
    for route in ["scim/enable", "scim/disable", "scim/status"] {
        client.refused(route, json!({}), 501, "not_available").await;
        client.invalid(route, json!({"surprise": 1}), "body.surprise").await;
    }
}
