//! Creating, changing, reading and erasing customers over HTTP.

use roster_tests::client::{Client, ids};
use roster_tests::server::Server;
use serde_json::{Value, json};

/// A schema with every type of field.
fn every_type() -> Value {
    json!({"primary_key": "customer_user_id", "fields": [
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "full_name", "required": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "phone", "type": "phone", "default_region": "DE", "unique": true},
        {"name": "mobile", "type": "phone"},
        {"name": "amount", "type": "number"},
        {"name": "age", "type": "number", "min_value": 0, "max_value": 150},
        {"name": "vip", "type": "boolean"},
        {"name": "plan", "allowed_values": ["Basic", "Premium"]},
        {"name": "code", "pattern": "[A-Z]{2}-[0-9]+"},
    ]})
}

/// A client of a project whose schema has every type of field.
async fn typed_project(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id).await.expect("a client");
    client.ok("schema/upsert", every_type()).await;
    client
}

async fn head(client: &Client) -> i64 {
    client.get("/readyz").await.ok()["head"].as_i64().expect("a head")
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_kept_in_their_canonical_form() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "forms").await;
    client.upsert("c1", json!({"full_name": "  Ada Lovelace "})).await;
    for (field, value, expected) in [
        ("email", json!(" Ada@Example.ORG "), r#""ada@example.org""#),
        ("phone", json!("0170 1234567"), r#""+491701234567""#),
        ("phone", json!("+44 20 7946 0018"), r#""+442079460018""#),
        ("phone", json!("0044 20 7946 0018"), r#""+442079460018""#),
        ("mobile", json!("(1) 505-230.7040"), r#""+15052307040""#),
        ("mobile", json!(491_701_234_567_i64), r#""+491701234567""#),
        ("amount", json!("12,345,678,901,234,567,890.10"), "12345678901234567890.1"),
        ("amount", json!("-0.50"), "-0.5"),
        ("amount", json!("1e3"), "1000"),
        ("amount", json!(" +7 "), "7"),
        ("age", json!("036"), "36"),
        ("vip", json!("Yes"), "true"),
        ("vip", json!("on"), "true"),
        ("vip", json!(0), "false"),
        ("vip", json!("N"), "false"),
        ("vip", json!(true), "true"),
        ("plan", json!("premium"), r#""Premium""#),
        ("code", json!(" AB-12 "), r#""AB-12""#),
        ("extra", json!("  kept "), r#""kept""#),
        ("extra", json!(1.50), "1.5"),
        ("extra", json!(false), "false"),
    ] {
        let answer = client.post("users/upsert", json!({"customer_user_id": "c1", "profile": {field: value}})).await;
        answer.ok();
        // As text, for a parser may lose digits.
        let stored = format!(r#""{field}":{expected}"#);
        assert!(answer.text().contains(&stored), "{field} of {value}: {answer}");
        let listed = client.post("users/list", json!({})).await;
        assert!(listed.text().contains(&stored), "{field} of {value}: {listed}");
    }
    // Every digit of a JSON number counts, though no binary fraction has them.
    let body = client.body(&json!({"customer_user_id": "c1"})).to_string();
    let body = body.replacen('{', r#"{"profile":{"amount":12345678901234567890.10},"#, 1);
    let answer = client.post_text("users/upsert", body).await;
    answer.ok();
    assert!(answer.text().contains(r#""amount":12345678901234567890.1"#), "{answer}");
    let found = client.ok("users/list", json!({"fields": {"amount": "12345678901234567890.100"}})).await;
    assert_eq!(ids(&found), ["c1"]);

    for (field, value) in [
        ("email", json!("no address")),
        ("email", json!("a@b")),
        ("email", json!(true)),
        ("phone", json!("12345")),
        ("phone", json!("call me")),
        ("mobile", json!("+1234567890123456")),
        ("amount", json!("1,5")),
        ("amount", json!("seven")),
        ("amount", json!("1e5000")),
        ("age", json!(-1)),
        ("age", json!("150.01")),
        ("vip", json!("maybe")),
        ("vip", json!(2)),
        ("plan", json!("Gold")),
        ("code", json!("AB-12x")),
        ("code", json!("xAB-12")),
        ("extra", json!(["a"])),
        ("extra", json!({"a": 1})),
        ("extra", json!("x".repeat(4_097))),
        ("enabled", json!(true)),
        (" padded ", json!("x")),
        ("", json!("x")),
    ] {
        let upsert = json!({"customer_user_id": "c1", "profile": {field: value}});
        let answer = client.post("users/upsert", upsert).await;
        let finding = answer.invalid(&format!("body.profile.{field}"));
        assert!(finding["msg"].is_string() && finding["type"].is_string(), "{answer}");
        if let Some(text) = value.as_str().filter(|text| text.len() > 6) {
            assert!(!answer.text().contains(text), "the answer repeats the input: {answer}");
        }
    }
    // Every problem is named at once, and nothing of the request is done.
    let before = head(&client).await;
    let many = json!({"customer_user_id": "c1", "profile": {"email": "x", "age": 999, "plan": "Gold", "full_name": "New"}});
    let answer = client.post("users/upsert", many).await;
    for field in ["email", "age", "plan"] {
        answer.invalid(&format!("body.profile.{field}"));
    }
    assert_eq!(head(&client).await, before);

    let wide: serde_json::Map<String, Value> = (0..65).map(|number| (format!("x{number}"), json!(1))).collect();
    client.invalid("users/upsert", json!({"customer_user_id": "c1", "profile": wide}), "body.profile").await;
    let heavy: serde_json::Map<String, Value> = (0..20).map(|number| (format!("x{number}"), json!("y".repeat(4_000)))).collect();
    client.invalid("users/upsert", json!({"customer_user_id": "c1", "profile": heavy}), "body.profile").await;
    assert_eq!(head(&client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_merges_replaces_and_clears() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "merging").await;
    let profile = |record: &Value| record["profile"].clone();
    let created = client.ok("users/upsert", json!({
        "customer_user_id": "c1", "profile": {"full_name": "Ada", "email": "ada@example.org", "city": "London", "age": 36},
    })).await;
    assert_eq!((&created["created"], &created["changed"]), (&json!(true), &json!(true)));
    let customer_ref = created["customer"]["customer_ref"].clone();

    // Absent keeps, null and blank clear.
    let merged = client.upsert("c1", json!({"city": null, "age": "", "team": "engine"})).await;
    assert_eq!(profile(&merged), json!({"customer_user_id": "c1", "full_name": "Ada", "email": "ada@example.org", "team": "engine"}));
    assert_eq!((&merged["version"], &merged["customer_ref"]), (&json!(2), &customer_ref));

    let before = head(&client).await;
    let same = client.ok("users/upsert", json!({
        "customer_user_id": " c1 ", "enabled": true, "connector_enabled": {"sms": true},
        "profile": {"email": "ADA@example.org ", "team": "engine", "city": null, "customer_user_id": "c1"},
    })).await;
    assert_eq!((&same["created"], &same["changed"]), (&json!(false), &json!(false)), "{same}");
    assert_eq!(same["customer"], merged, "nothing changed, so nothing moved");
    assert_eq!(head(&client).await, before, "nothing changed, so there is no event");

    client.invalid("users/upsert", json!({"customer_user_id": "c1", "profile": {"full_name": null}}), "body.profile.full_name").await;
    client.invalid("users/upsert", json!({"customer_user_id": "c2", "profile": {"email": "x@example.org"}}), "body.profile.full_name").await;
    let replacing = json!({"customer_user_id": "c1", "profile": {"email": "ada@example.org"}, "replace": true});
    client.invalid("users/upsert", replacing, "body.profile.full_name").await;
    assert_eq!(head(&client).await, before);
    let replaced = client.ok("users/upsert", json!({
        "customer_user_id": "c1", "profile": {"full_name": "Ada King"}, "replace": true,
    })).await;
    assert_eq!(profile(&replaced["customer"]), json!({"customer_user_id": "c1", "full_name": "Ada King"}));

    // A released value is free for another customer.
    client.upsert("c2", json!({"full_name": "Grace", "email": "ada@example.org"})).await;

    let off = client.ok("users/upsert", json!({"customer_user_id": "c1", "enabled": false})).await;
    assert_eq!((&off["customer"]["enabled"], &off["changed"]), (&json!(false), &json!(true)));
    let switched = client.ok("users/upsert", json!({"customer_user_id": "c1", "connector_enabled": {" WhatsApp": false}})).await;
    assert_eq!(switched["customer"]["connector_enabled"], json!({"whatsapp": false}));
    assert_eq!(switched["customer"]["enabled"], false, "an absent switch stays");
    let unknown = json!({"customer_user_id": "c1", "connector_enabled": {"pigeon": false}});
    client.invalid("users/upsert", unknown, "body.connector_enabled").await;

    for (members, place) in [
        (json!({"profile": {"full_name": "Nobody"}}), "body.customer_user_id"),
        (json!({"customer_user_id": "  ", "profile": {}}), "body.customer_user_id"),
        (json!({"customer_user_id": "x".repeat(257)}), "body.customer_user_id"),
        (json!({"customer_user_id": "a\u{7}b"}), "body.customer_user_id"),
        (json!({"customer_user_id": 7}), "body.customer_user_id"),
        (json!({"customer_user_id": "c1", "enabled": "perhaps"}), "body.enabled"),
        (json!({"customer_user_id": "c1", "profile": []}), "body.profile"),
        (json!({"customer_user_id": "c1", "profil": {}}), "body.profil"),
        (json!({"customer_user_id": "c1", "expected_version": "1"}), "body.expected_version"),
        (json!({"customer_user_id": "c1", "data_source": {"kind": "sheet"}}), "body.data_source.kind"),
        (json!({"customer_user_id": "c1", "data_source": {"kind": "csv", "connection_id": "x"}}), "body.data_source.connection_id"),
        (json!({"customer_user_id": "c1", "data_source": {"kind": "csv", "synced_at": "2026-01-01T00:00:00"}}), "body.data_source.synced_at"),
    ] {
        client.invalid("users/upsert", members, place).await;
    }
    client.refused("users/upsert", json!({"customer_user_id": "c1", "data_source": {"kind": "directory_sync", "connection_id": "x"}}), 404, "connection_not_found").await;
    let twice = client.body(&json!({"customer_user_id": "c1"})).to_string();
    let twice = twice.replacen('{', r#"{"profile":{"city":"a","city":"b"},"#, 1);
    assert_eq!(client.post_text("users/upsert", twice).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_the_primary_key_and_case_matters() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "ids").await.expect("a client");
    // The default schema: the id fills its own field.
    let record = client.upsert("Ada", json!({})).await;
    assert_eq!(record["profile"], json!({"customer_user_id": "Ada"}));
    client.upsert("ada", json!({})).await;
    client.upsert("  ädä ✓ ", json!({})).await;
    assert_eq!(client.ids(json!({})).await, ["Ada", "ada", "ädä ✓"]);
    let by_profile = client.ok("users/upsert", json!({"profile": {"customer_user_id": " Bob "}})).await;
    assert_eq!(by_profile["customer"]["customer_user_id"], "Bob");
    let differing = json!({"customer_user_id": "Ada", "profile": {"customer_user_id": "Bob"}});
    client.refused("users/upsert", differing, 409, "primary_key_mismatch").await;
    let id = "€".repeat(256);
    assert_eq!(client.upsert(&id, json!({})).await["customer_user_id"], id);

    // Another primary key: the canonical spelling of its value is the id.
    let numbered = client.in_scope(roster_tests::client::project("numbers"));
    numbered.ok("schema/upsert", json!({"primary_key": "email", "fields": [
        {"name": "email", "type": "email", "required": true}, {"name": "full_name"},
    ]})).await;
    let record = numbered.ok("users/upsert", json!({"profile": {"email": " Ada@Example.org"}})).await;
    assert_eq!((&record["customer"]["customer_user_id"], &record["created"]), (&json!("ada@example.org"), &json!(true)));
    let again = numbered.ok("users/upsert", json!({"customer_user_id": "ADA@example.org", "profile": {"full_name": "Ada"}})).await;
    assert_eq!((&again["created"], &again["customer"]["profile"]["email"]), (&json!(false), &json!("ada@example.org")));
    let found = numbered.ok("users/get", json!({"customer_user_id": " ADA@EXAMPLE.ORG "})).await;
    assert_eq!(found["display_name"], "Ada");
    numbered.ok("users/get", json!({"fields": {"email": "Ada@example.org"}})).await;
    numbered.refused("users/upsert", json!({"customer_user_id": "ada@example.org", "profile": {"email": "grace@example.org"}}), 409, "primary_key_mismatch").await;
    numbered.refused("users/upsert", json!({"customer_user_id": "ada@example.org", "profile": {"email": "grace@example.org"}, "replace": true}), 409, "primary_key_mismatch").await;
    numbered.invalid("users/upsert", json!({"customer_user_id": "no address"}), "body.customer_user_id").await;
    numbered.ok("users/delete", json!({"customer_user_id": "ADA@example.org"})).await;
    assert_eq!(numbered.ok("users/list", json!({})).await["total"], 0);

    for (profile, name) in [
        (json!({"full_name": "Full", "name": "Name", "email": "e@example.org"}), "Full"),
        (json!({"name": "Name", "first_name": "First", "last_name": "Last"}), "Name"),
        (json!({"first_name": "First", "last_name": "Last", "email": "e2@example.org"}), "First Last"),
        (json!({"email": "e3@example.org"}), "e3@example.org"),
        (json!({"phone": "+15052307040"}), "shown"),
    ] {
        let record = client.ok("users/upsert", json!({"customer_user_id": "shown", "profile": profile, "replace": true})).await;
        assert_eq!(record["customer"]["display_name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_has_one_holder_and_versions_guard_a_change() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "unique").await;
    client.upsert("c1", json!({"full_name": "Ada", "email": "ada@example.org", "phone": "0170 1234567"})).await;
    client.upsert("c2", json!({"full_name": "Grace"})).await;
    let before = head(&client).await;
    for (field, value) in [("email", "ADA@example.org"), ("phone", "+49 170 1234567")] {
        for id in ["c2", "c3"] {
            let upsert = json!({"customer_user_id": id, "profile": {"full_name": "Grace", field: value}});
            let detail = client.refused("users/upsert", upsert, 409, "unique_value_taken").await;
            assert_eq!((&detail["field"], &detail["customer_user_id"]), (&json!(field), &json!("c1")), "{detail}");
        }
    }
    assert_eq!(head(&client).await, before);
    assert_eq!(client.ids(json!({})).await, ["c1", "c2"]);

    for (by, id) in [(json!({"email": " ADA@example.org"}), "c1"), (json!({"phone": "01701234567"}), "c1"), (json!({"customer_user_id": "c2"}), "c2")] {
        let found = client.ok("users/get", json!({"fields": by})).await;
        assert_eq!(found["customer_user_id"], id);
    }
    client.refused("users/get", json!({"fields": {"email": "nobody@example.org"}}), 404, "customer_not_found").await;
    client.refused("users/get", json!({"customer_user_id": "C1"}), 404, "customer_not_found").await;
    client.invalid("users/get", json!({"fields": {"full_name": "Ada"}}), "body.full_name").await;
    for (members, place) in [
        (json!({}), "body.customer_user_id"),
        (json!({"customer_user_id": "c1", "fields": {"email": "ada@example.org"}}), "body.fields"),
        (json!({"fields": {"email": "ada@example.org", "phone": "01701234567"}}), "body.fields"),
    ] {
        client.invalid("users/get", members, place).await;
    }

    let change = |version: i32, city: &str| json!({"customer_user_id": "c2", "profile": {"city": city}, "expected_version": version});
    let detail = client.refused("users/upsert", change(7, "Rome"), 409, "version_conflict").await;
    assert_eq!(detail["current_version"], 1);
    client.refused("users/upsert", change(0, "Rome"), 409, "version_conflict").await;
    assert_eq!(client.ok("users/upsert", change(1, "Rome")).await["customer"]["version"], 2);
    client.refused("users/upsert", change(1, "Bonn"), 409, "version_conflict").await;
    let new = json!({"customer_user_id": "c9", "profile": {"full_name": "New"}, "expected_version": 3});
    let detail = client.refused("users/upsert", new, 409, "version_conflict").await;
    assert_eq!(detail["current_version"], 0);
    let first = json!({"customer_user_id": "c9", "profile": {"full_name": "New"}, "expected_version": 0});
    assert_eq!(client.ok("users/upsert", first).await["created"], true);

    // Sixteen callers want one address: one gets it.
    let wanting = (0..16).map(|number| {
        let upsert = json!({"customer_user_id": format!("w{number}"), "profile": {"full_name": "W", "email": "one@example.org"}});
        client.post("users/upsert", upsert)
    });
    let answers = futures::future::join_all(wanting).await;
    let winners = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(winners, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "unique_value_taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_items_have_a_verdict_each() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "bulk").await;
    client.upsert("c1", json!({"full_name": "Ada", "email": "ada@example.org"})).await;
    let answer = client.ok("users/upsert-bulk", json!({"items": [
        {"customer_user_id": "c1", "profile": {"full_name": "Ada"}},
        {"customer_user_id": "c2", "profile": {"full_name": "Grace"}},
        {"customer_user_id": "c2", "profile": {"city": "Arlington"}},
        {"customer_user_id": "c2", "profile": {"city": "Arlington"}},
        {"customer_user_id": "c3", "profile": {"full_name": "Eve", "email": "ada@example.org"}},
        {"customer_user_id": "c4", "profile": {"full_name": "Bob", "email": "nonsense"}},
        {"customer_user_id": "c1", "expected_version": 9},
        {"profile": {"full_name": "Nobody"}},
        {"customer_user_id": "c1", "profile": {"customer_user_id": "c7"}},
        {"customer_user_id": "c5", "profile": {"full_name": "Linus"}, "enabled": false},
    ]})).await;
    let statuses: Vec<&str> = answer["items"].as_array().expect("verdicts").iter().map(|item| item["status"].as_str().expect("a status")).collect();
    assert_eq!(statuses, ["unchanged", "created", "updated", "unchanged", "failed", "failed", "failed", "failed", "failed", "created"]);
    let counts = ["total", "created", "updated", "unchanged", "failed"].map(|name| answer[name].as_i64());
    assert_eq!(counts, [10, 2, 1, 2, 5].map(Some));
    let codes: Vec<&Value> = (4..9).map(|place| &answer["items"][place]["error"]["code"]).collect();
    assert_eq!(codes, ["unique_value_taken", "invalid", "version_conflict", "invalid", "primary_key_mismatch"]);
    assert_eq!(answer["items"][4]["error"]["customer_user_id"], "c1");
    assert_eq!(answer["items"][5]["error"]["problems"][0]["loc"], json!(["body", "items", 5, "profile", "email"]));
    assert_eq!((&answer["items"][1]["version"], &answer["items"][2]["version"]), (&json!(1), &json!(2)));
    assert_eq!(client.ids(json!({})).await, ["c1", "c2", "c5"]);
    assert_eq!(client.ids(json!({"enabled_only": true})).await, ["c1", "c2"]);

    let items = |count: usize| -> Vec<Value> { (0..count).map(|number| json!({"customer_user_id": format!("b{number}"), "profile": {"full_name": "B"}})).collect() };
    client.invalid("users/upsert-bulk", json!({"items": items(501)}), "body.items").await;
    client.invalid("users/upsert-bulk", json!({"items": []}), "body.items").await;
    client.invalid("users/upsert-bulk", json!({}), "body.items").await;
    client.invalid("users/upsert-bulk", json!({"items": [{"customer_user_id": "x", "profil": {}}]}), "body.items.0.profil").await;
    assert_eq!(client.ok("users/list", json!({})).await["total"], 3, "a refused request wrote something");
    assert_eq!(client.ok("users/upsert-bulk", json!({"items": items(500)})).await["created"], 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_customer_who_comes_back_is_somebody_else() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "erasing").await;
    let first = client.upsert("c1", json!({"full_name": "Ada", "email": "ada@example.org"})).await;
    let deleted = client.ok("users/delete", json!({"customer_user_id": " c1 "})).await;
    assert_eq!(deleted, json!({"deleted": true, "customer_user_id": "c1", "revoked": {"links": 0, "grants": 0}}));
    for route in ["users/get", "users/delete"] {
        client.refused(route, json!({"customer_user_id": "c1"}), 404, "customer_not_found").await;
    }
    client.refused("users/get", json!({"fields": {"email": "ada@example.org"}}), 404, "customer_not_found").await;
    client.refused("users/delete", json!({"customer_user_id": "nobody"}), 404, "customer_not_found").await;
    client.invalid("users/delete", json!({}), "body.customer_user_id").await;
    assert_eq!(client.ok("users/list", json!({})).await["total"], 0);
    assert_eq!(client.ok("users/data-sources/list", json!({})).await["total_customers"], 0);
    assert_eq!(client.ok("users/suppressions/list", json!({})).await["total"], 0);

    let second = client.ok("users/upsert", json!({"customer_user_id": "c1", "profile": {"full_name": "Another", "email": "ada@example.org"}})).await;
    assert_eq!((&second["created"], &second["customer"]["version"]), (&json!(true), &json!(1)));
    assert_ne!(second["customer"]["customer_ref"], first["customer_ref"]);
    assert_eq!(client.ids(json!({})).await, ["c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_skip_a_suppressed_id_until_it_is_free_again() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "suppressing").await.expect("a client");
    for id in ["a", "b", "c"] {
        client.upsert(id, json!({})).await;
        client.ok("users/delete", json!({"customer_user_id": id, "suppress": true})).await;
    }
    let page = client.ok("users/suppressions/list", json!({"page_size": 2})).await;
    assert_eq!((ids(&page), &page["total"]), (vec!["a".to_owned(), "b".to_owned()], &json!(3)));
    let next = client.ok("users/suppressions/list", json!({"page_size": 2, "cursor": page["next_cursor"]})).await;
    assert_eq!((ids(&next), &next["next_cursor"]), (vec!["c".to_owned()], &Value::Null));
    assert_eq!(ids(&client.ok("users/suppressions/list", json!({"page": 2, "page_size": 2})).await), ["c"]);
    client.refused("users/suppressions/list", json!({"cursor": "nonsense"}), 422, "invalid_cursor").await;

    let csv = json!({"csv": "customer_user_id,email\na,a@example.org\nd,d@example.org\nb,b@example.org\n"});
    let import = client.ok("users/import-csv", csv.clone()).await;
    let counts = ["total", "created", "updated", "unchanged", "skipped", "failed"].map(|name| import[name].as_i64());
    assert_eq!(counts, [3, 1, 0, 0, 2, 0].map(Some), "{import}");
    assert_eq!(client.ids(json!({})).await, ["d"]);
    // A person at the console may bring the customer back; imports go on skipping the id.
    client.upsert("b", json!({})).await;
    assert_eq!(client.ok("users/import-csv", csv.clone()).await["skipped"], 2);

    let removed = client.ok("users/suppressions/remove", json!({"customer_user_id": " a "})).await;
    assert_eq!(removed, json!({"removed": true, "customer_user_id": "a"}));
    client.refused("users/suppressions/remove", json!({"customer_user_id": "a"}), 404, "suppression_not_found").await;
    client.refused("users/suppressions/remove", json!({"customer_user_id": "d"}), 404, "suppression_not_found").await;
    let import = client.ok("users/import-csv", csv).await;
    assert_eq!((&import["created"], &import["skipped"]), (&json!(1), &json!(1)), "{import}");
    assert_eq!(client.ids(json!({})).await, ["a", "b", "d"]);
    assert_eq!(ids(&client.ok("users/suppressions/list", json!({})).await), ["b", "c"]);
    // Suppressing twice is one suppression.
    client.ok("users/delete", json!({"customer_user_id": "b", "suppress": true})).await;
    assert_eq!(client.ok("users/suppressions/list", json!({})).await["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_keeps_its_tag_unless_somebody_changes_it() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "tags").await.expect("a client");
    let kind = |record: &Value| format!("{} {}", record["data_source"]["kind"], record["data_source"]["provider"]);
    let manual = client.upsert("manual", json!({})).await;
    assert_eq!(kind(&manual), r#""manual" null"#);
    let tagged = json!({"customer_user_id": "synced", "data_source": {"kind": "scim", "provider": "okta"}});
    assert_eq!(kind(&client.ok("users/upsert", tagged).await["customer"]), r#""scim" "okta""#);
    assert_eq!(kind(&client.upsert("synced", json!({"city": "Rome"})).await), r#""scim" "okta""#);

    let csv = "customer_user_id,city\nmanual,Bonn\nsynced,Bonn\nnew,Bonn\n";
    let import = client.ok("users/import-csv", json!({"csv": csv, "provider": "erp"})).await;
    assert_eq!((&import["created"], &import["updated"]), (&json!(1), &json!(2)), "{import}");
    for (id, expected) in [("manual", r#""csv" "erp""#), ("new", r#""csv" "erp""#), ("synced", r#""scim" "okta""#)] {
        let found = client.ok("users/get", json!({"customer_user_id": id})).await;
        assert_eq!(kind(&found["user"]), expected, "{id}");
        assert_eq!(found["user"]["profile"]["city"], "Bonn", "{id}");
    }
    let retagged = json!({"customer_user_id": "new", "data_source": {"kind": "manual"}});
    assert_eq!(kind(&client.ok("users/upsert", retagged).await["customer"]), r#""manual" null"#);
}
