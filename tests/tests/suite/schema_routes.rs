//! The schema of a project over HTTP: the default one, replacements, and what is refused.

use std::time::{Duration, Instant};

use roster_tests::client::Client;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_replaced_as_a_whole_and_by_its_version() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "replacing")
        .await
        .expect("a client");
    let default = client.ok("schema/get", json!({})).await;
    assert_eq!(
        (&default["version"], &default["updated_at"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(default["schema"]["primary_key"], "customer_user_id");
    let fields: Vec<(&Value, &Value, &Value)> = default["schema"]["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|field| (&field["name"], &field["required"], &field["unique"]))
        .collect();
    let [yes, no] = [json!(true), json!(false)];
    let names = ["customer_user_id", "email", "phone", "full_name"].map(|name| json!(name));
    assert_eq!(
        fields,
        [
            (&names[0], &yes, &yes),
            (&names[1], &no, &no),
            (&names[2], &no, &no),
            (&names[3], &no, &no)
        ]
    );

    // What get returned may be sent back: it is what is in effect.
    let before = client.head().await;
    let same = client
        .ok("schema/upsert", json!({"schema": default["schema"]}))
        .await;
    assert_eq!(
        (&same["version"], client.head().await),
        (&json!(0), before),
        "the same schema is no event"
    );

    let wanted = with(&[
        field("email", &json!({"type": "email"})),
        field(
            "plan",
            &json!({"allowed_values": ["A", "B"], "label": "Plan"}),
        ),
    ]);
    let mut expecting = wanted.clone();
    expecting["expected_version"] = json!(1);
    let detail = client
        .refused(
            "schema/upsert",
            expecting.clone(),
            409,
            "project_user_schema_conflict",
        )
        .await;
    assert_eq!(detail["current_version"], 0);
    expecting["expected_version"] = json!(0);
    let first = client.post("schema/upsert", expecting.clone()).await;
    let first_body = first.ok();
    assert_eq!(first_body["version"], 1);
    assert!(
        first_body["updated_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{first}"
    );
    assert_eq!(
        client.ok("schema/get", json!({})).await,
        first_body,
        "get shows what upsert answered"
    );

    let again = client.post("schema/upsert", wanted.clone()).await;
    assert_eq!(
        (again.ok(), again.position()),
        (first_body.clone(), first.position()),
        "the same again is no event"
    );
    assert_eq!(
        client.post("schema/upsert", expecting).await.ok(),
        first_body,
        "a resent request finds what it did"
    );

    let plain = client.ok("schema/upsert", with(&[])).await;
    assert_eq!(
        (
            &plain["version"],
            plain["schema"]["fields"].as_array().map(Vec::len)
        ),
        (&json!(2), Some(1))
    );
    let mut stale = wanted.clone();
    stale["expected_version"] = json!(1);
    let detail = client
        .refused("schema/upsert", stale, 409, "project_user_schema_conflict")
        .await;
    assert_eq!(detail["current_version"], 2);

    for (members, place) in [
        (json!({}), "body.fields"),
        (json!({"primary_key": "customer_user_id"}), "body.fields"),
        (
            json!({"schema": default["schema"], "primary_key": "customer_user_id"}),
            "body.schema",
        ),
        (
            json!({"schema": {"primary_key": "a", "fields": [], "surprise": 1}}),
            "body.schema.surprise",
        ),
        (
            json!({"primary_key": "a", "fields": [{"name": "a", "typ": "email"}]}),
            "body.fields.0.typ",
        ),
        (
            json!({"primary_key": "a", "fields": [{"name": "a", "type": "date"}]}),
            "body.fields.0.type",
        ),
        (json!({"primary_key": "a", "fields": "a"}), "body.fields"),
    ] {
        client.invalid("schema/upsert", members, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_contradicts_itself_is_refused_and_says_where() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "refusing")
        .await
        .expect("a client");
    let unique: Vec<Value> = (0..9)
        .map(|number| field(&format!("u{number}"), &json!({"unique": true})))
        .collect();
    let eight = client.ok("schema/upsert", with(&unique[..8])).await;
    let before = client.head().await;
    let binding = json!([{"channel": "whatsapp", "profile_field": "other"}]);
    let rule = json!([{"channel": "slack", "field": "other", "source": "connector.email"}]);
    let with_members = |mut schema: Value, name: &str, members: &Value| {
        schema[name] = members.clone();
        schema
    };
    for (schema, place) in [
        (with(&unique), "body.fields"),
        (
            with_members(with(&unique[..8]), "connector_bindings", &binding),
            "body.fields",
        ),
        (
            with_members(with(&unique[..8]), "match_rules", &rule),
            "body.fields",
        ),
        (
            with(&[field("a", &json!({"type": "boolean", "pattern": "x"}))]),
            "body.fields.1.pattern",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "boolean", "allowed_values": ["x"]}),
            )]),
            "body.fields.1.allowed_values",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "email", "allowed_values": ["x"]}),
            )]),
            "body.fields.1.allowed_values",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "phone", "allowed_values": ["x"]}),
            )]),
            "body.fields.1.allowed_values",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "number", "allowed_values": ["x"]}),
            )]),
            "body.fields.1.allowed_values",
        ),
        (
            with(&[field("a", &json!({"pattern": "("}))]),
            "body.fields.1.pattern",
        ),
        (
            with(&[field("a", &json!({"pattern": r"(a)\1"}))]),
            "body.fields.1.pattern",
        ),
        (
            with(&[field("a", &json!({"pattern": "(?=a)a"}))]),
            "body.fields.1.pattern",
        ),
        (
            with(&[field(
                "a",
                &json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}),
            )]),
            "body.fields.1.pattern",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "number", "min_value": 2, "max_value": 1}),
            )]),
            "body.fields.1.min_value",
        ),
        (
            with(&[field("a", &json!({"min_value": 2}))]),
            "body.fields.1.min_value",
        ),
        (
            with(&[field(
                "a",
                &json!({"type": "phone", "default_region": "Germany"}),
            )]),
            "body.fields.1.default_region",
        ),
        (
            with(&[field("a", &json!({"default_region": "DE"}))]),
            "body.fields.1.default_region",
        ),
        (
            with(&[field("a", &json!({})), field("a", &json!({}))]),
            "body.fields.2.name",
        ),
        (with(&[field("enabled", &json!({}))]), "body.fields.1.name"),
        (with(&[field("7up", &json!({}))]), "body.fields.1.name"),
        (with(&[field("", &json!({}))]), "body.fields.1.name"),
        (
            with(&[field(&"x".repeat(65), &json!({}))]),
            "body.fields.1.name",
        ),
        (
            json!({"primary_key": "nowhere", "fields": [{"name": "a"}]}),
            "body.primary_key",
        ),
        (
            json!({"primary_key": "a", "fields": [{"name": "a", "type": "boolean"}]}),
            "body.primary_key",
        ),
        (
            with_members(
                with(&[]),
                "connector_bindings",
                &json!([{"channel": "a b", "profile_field": "x"}]),
            ),
            "body.connector_bindings.0.channel",
        ),
    ] {
        let detail = client
            .refused("schema/upsert", schema.clone(), 422, "schema_invalid")
            .await;
        let problems = detail["problems"].as_array().expect("problems");
        let places: Vec<String> = problems
            .iter()
            .map(|problem| {
                let parts = problem["loc"].as_array().expect("a place").iter();
                parts
                    .map(|part| {
                        part.as_str()
                            .map_or_else(|| part.to_string(), str::to_owned)
                    })
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .collect();
        assert!(
            places.iter().any(|found| found == place),
            "{schema}: {place} is not among {places:?}"
        );
    }
    assert_eq!(client.head().await, before);
    assert_eq!(client.ok("schema/get", json!({})).await, eight);

    // A pattern that a backtracking engine would think about for years.
    client
        .ok(
            "schema/upsert",
            with(&[field(
                "code",
                &json!({"pattern": "(a+)+$|(a|aa)+b|([a-z]+)*c"}),
            )]),
        )
        .await;
    let started = Instant::now();
    client.invalid("users/upsert", json!({"customer_user_id": "c1", "profile": {"code": format!("{}!", "a".repeat(4_000))}}), "body.profile.code").await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the pattern took {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scim_is_announced_and_not_available() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "scim").await.expect("a client");
    for route in ["scim/enable", "scim/disable", "scim/status"] {
        client.refused(route, json!({}), 501, "not_available").await;
        client
            .invalid(route, json!({"surprise": 1}), "body.surprise")
            .await;
    }
}
