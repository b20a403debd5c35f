//! Who is behind an identity, over HTTP: the seed's story, every reason, batches and bad input.

use roster_tests::client::Client;
use roster_tests::imports::import_text;
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

/// A schema whose whatsapp numbers are matched to `phone`, whose web widgets to `email`, and every other channel to `badge`.
fn matching() -> Value {
    let mut schema = with(&[
        field("phone", &json!({"type": "phone", "default_region": "DE"})),
        field("email", &json!({"type": "email", "unique": true})),
        field("full_name", &json!({})),
        field("badge", &json!({})),
    ]);
    schema["match_rules"] = json!([
        {"channel": "whatsapp", "field": "phone"},
        {"channel": "web_widget", "field": "email"},
        {"channel": "*", "field": "badge", "source": "connector.username", "fallback": true},
    ]);
    schema["match_messages"] = json!({"default": {
        "matched": "Hello {display_name}",
        "unmatched": "Who are you?",
        "ambiguous": "Which of you?",
        "disabled": "Closed, {display_name}",
        "no_access": "Not on {channel}",
    }});
    schema
}

async fn project(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id)
        .await
        .expect("a client");
    client.ok("schema/upsert", matching()).await;
    client
}

async fn resolve(client: &Client, channel: &str, external_user_id: &str) -> Value {
    let members = json!({"channel": channel, "external_user_id": external_user_id});
    client.ok("identities/resolve", members).await
}

/// Reason, customer, how it was found, and whether agents may be used.
fn outcome(answer: &Value) -> String {
    let customer = answer["customer"]["customer_user_id"].as_str();
    assert_eq!(answer["matched"], customer.is_some(), "{answer}");
    assert_eq!(answer["reason"], answer["access"]["reason"], "{answer}");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    [
        text(&answer["reason"]),
        customer.unwrap_or("-").to_owned(),
        text(&answer["via"]),
        text(&answer["trust"]),
        text(&answer["access"]["grant_source"]),
        answer["access"]["allowed"].to_string(),
    ]
    .join(" ")
}

async fn everybody(client: &Client, channel: &str, agents: &[&str]) {
    let members = json!({"channel": channel, "external_user_id": "*", "agents": agents});
    client.ok("users/attach-channel-grant", members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_phone_is_found_by_its_rule_and_then_by_its_link() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "story").await;
    let csv = "customer_user_id,full_name,phone\nc-1,Ada Lovelace,0170 1234567\nc-2,Alan Turing,0170 7654321\n";
    import_text(&client, csv, json!({})).await;
    everybody(&client, "whatsapp", &["Sales"]).await;

    let first = resolve(&client, "WhatsApp", "49 170 1234567").await;
    assert_eq!(outcome(&first), "matched c-1 rule rule wildcard true");
    assert_eq!(
        first["rule"],
        json!({"channel": "whatsapp", "field": "phone", "source": "connector.phone"})
    );
    assert_eq!(first["message"], "Hello Ada Lovelace");
    assert_eq!(first["access"]["agents"], json!(["Sales"]));
    let again = resolve(&client, "whatsapp", "+491701234567").await;
    assert_eq!(outcome(&again), "matched c-1 link linked wildcard true");
    assert!(again.get("rule").is_none());
    assert!(again["position"].as_i64() >= first["position"].as_i64());
    let links = client
        .ok("identities/list", json!({"customer_user_id": "c-1"}))
        .await;
    assert_eq!(links["items"][0]["linked_by"], "auto");

    let unknown = resolve(&client, "whatsapp", "+33612345678").await;
    assert_eq!(outcome(&unknown), "unmatched - none none - false");
    assert_eq!(unknown["message"], "Who are you?");
    let link = json!({"channel": "whatsapp", "external_user_id": "0033 6 12 34 56 78", "customer_user_id": "c-2"});
    client.ok("identities/link", link).await;
    let known = resolve(&client, "whatsapp", "+33612345678").await;
    assert_eq!(outcome(&known), "matched c-2 link linked wildcard true");
    assert!(known["customer"].get("profile").is_none());
    let members =
        json!({"channel": "whatsapp", "external_user_id": "+33612345678", "include_profile": true});
    let profile = client.ok("identities/resolve", members).await["customer"]["profile"].clone();
    assert_eq!(profile["phone"], "+491707654321");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_its_cause_and_its_message() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "reasons").await;
    client
        .upsert(
            "ada",
            json!({"full_name": "Ada", "phone": "+4917010", "email": "ada@b.co"}),
        )
        .await;
    let seen = async |expected: &str, message: &str| {
        let answer = resolve(&client, "whatsapp", "+4917010").await;
        assert_eq!(outcome(&answer), expected);
        assert_eq!(answer["message"], message, "{answer}");
        answer
    };
    seen("no_grant ada rule rule - false", "Not on whatsapp").await;
    everybody(&client, "whatsapp", &["*"]).await;
    seen("matched ada link linked wildcard true", "Hello Ada").await;
    let attach = |more: Value| {
        let mut members = json!({"customer_user_id": "ada", "channel": "whatsapp",
            "external_user_id": "+4917010", "agents": ["sales", "support"]});
        for (name, value) in more.as_object().expect("members") {
            members[name] = value.clone();
        }
        client.post("users/attach-channel-grant", members)
    };
    attach(json!({})).await.ok();
    let specific = seen("matched ada link linked specific true", "Hello Ada").await;
    assert_eq!(specific["access"]["agents"], json!(["sales", "support"]));
    attach(json!({"enabled": false})).await.ok();
    let denied = seen(
        "grant_disabled ada link linked specific false",
        "Not on whatsapp",
    )
    .await;
    assert_eq!(denied["access"]["agents"], json!([]));
    attach(json!({"expires_at": "2020-01-01T00:00:00Z"}))
        .await
        .ok();
    seen("matched ada link linked wildcard true", "Hello Ada").await;
    let wildcard = json!({"channel": "whatsapp", "external_user_id": "*"});
    client.ok("users/revoke-channel-grant", wildcard).await;
    seen("grant_expired ada link linked - false", "Not on whatsapp").await;
    attach(json!({})).await.ok();
    let switch = |enabled: bool| json!({"customer_user_id": "ada", "channel": "whatsapp", "enabled": enabled});
    client
        .ok("users/set-connector-enabled", switch(false))
        .await;
    seen(
        "connector_disabled ada link linked specific false",
        "Closed, Ada",
    )
    .await;
    client.ok("users/set-connector-enabled", switch(true)).await;
    let enable = |enabled: bool| json!({"customer_user_id": "ada", "enabled": enabled});
    client.ok("users/upsert", enable(false)).await;
    seen(
        "customer_disabled ada link linked specific false",
        "Closed, Ada",
    )
    .await;
    client.ok("users/upsert", enable(true)).await;
    seen("matched ada link linked specific true", "Hello Ada").await;
    let unlink = json!({"channel": "whatsapp", "external_user_id": "+4917010"});
    client.ok("identities/unlink", unlink).await;
    let blocked = seen("blocked - none none - false", "Who are you?").await;
    assert_eq!(blocked["rule"]["field"], "phone");
    client
        .upsert("twin", json!({"full_name": "Twin", "phone": "+4917010"}))
        .await;
    seen("ambiguous - none none - false", "Which of you?").await;
    client
        .ok("users/delete", json!({"customer_user_id": "ada"}))
        .await;
    seen("no_grant twin rule rule - false", "Not on whatsapp").await;
    client
        .ok("users/delete", json!({"customer_user_id": "twin"}))
        .await;
    seen("unmatched - none none - false", "Who are you?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_fact_is_only_claimed_and_links_nothing_unless_it_is_vouched_for() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "claims").await;
    client.upsert("ada", json!({"email": "ada@b.co"})).await;
    let seen = async |facts: Value| {
        let members =
            json!({"channel": "web_widget", "external_user_id": "visitor-7", "facts": facts});
        outcome(&client.ok("identities/resolve", members).await)
    };
    let email = json!({"email": "ADA@b.co"});
    for _ in 0..2 {
        assert_eq!(
            seen(email.clone()).await,
            "no_grant ada rule claimed - false"
        );
    }
    assert_eq!(seen(json!({})).await, "unmatched - none none - false");
    let verified = json!({"email": "ADA@b.co", "verified": ["email"]});
    assert_eq!(seen(verified).await, "no_grant ada rule rule - false");
    assert_eq!(seen(json!({})).await, "no_grant ada link linked - false");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_rule_is_asked_where_no_other_had_a_value() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "fallback").await;
    client.upsert("ada", json!({"badge": "B-7"})).await;
    let line = json!({"channel": "line", "external_user_id": "U1", "facts": {"username": "B-7"}});
    let answer = client.ok("identities/resolve", line).await;
    assert_eq!(outcome(&answer), "no_grant ada rule rule - false");
    let phone = json!({"channel": "whatsapp", "external_user_id": "+15550100", "facts": {"username": "B-7"}});
    let answer = client.ok("identities/resolve", phone).await;
    assert_eq!(outcome(&answer), "unmatched - none none - false");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_item_in_its_place() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "batch").await;
    client.upsert("ada", json!({"phone": "+4917010"})).await;
    let item = |channel: &str, id: &str| json!({"channel": channel, "external_user_id": id});
    let items = [
        item("whatsapp", "+4917010"),
        item("fax", "1"),
        item("whatsapp", "nobody"),
        item("whatsapp", "+4917020"),
        item("whatsapp", "004917010"),
    ];
    let answer = client
        .ok(
            "identities/resolve-batch",
            json!({"items": items, "include_profile": true}),
        )
        .await;
    let shown: Vec<String> = answer["items"]
        .as_array()
        .expect("items")
        .iter()
        .enumerate()
        .map(|(place, item)| {
            assert_eq!(item["index"], place);
            match item["error"]["problems"][0]["loc"][1].as_str() {
                Some(member) => member.to_owned(),
                None => item["result"]["reason"].as_str().unwrap_or("-").to_owned(),
            }
        })
        .collect();
    assert_eq!(
        shown,
        [
            "no_grant",
            "channel",
            "external_user_id",
            "unmatched",
            "no_grant"
        ]
    );
    assert_eq!(
        answer["items"][0]["result"]["customer"]["profile"]["phone"],
        "+4917010"
    );
    let many = |count: usize| json!({"items": vec![item("line", "U1"); count]});
    let most = client.ok("identities/resolve-batch", many(500)).await;
    assert_eq!(most["items"].as_array().map(Vec::len), Some(500));
    for count in [0, 501] {
        client
            .invalid("identities/resolve-batch", many(count), "body.items")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_identity_is_refused_with_its_place() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "bad").await;
    let long = "x".repeat(10 << 10);
    for (channel, id, place) in [
        ("fax", "1", "body.channel"),
        ("", "1", "body.channel"),
        ("line", "", "body.external_user_id"),
        ("line", "   ", "body.external_user_id"),
        ("line", long.as_str(), "body.external_user_id"),
        ("line", "a\nb", "body.external_user_id"),
        ("line", "a\u{7f}b", "body.external_user_id"),
        ("line", "*", "body.external_user_id"),
        ("whatsapp", "ada", "body.external_user_id"),
    ] {
        let members = json!({"channel": channel, "external_user_id": id});
        client.invalid("identities/resolve", members, place).await;
    }
    for (facts, place) in [
        (json!({"phone": long}), "body.facts.phone"),
        (json!({"fax": "1"}), "body.facts.fax"),
        (json!({"verified": ["shoe_size"]}), "body.facts.verified.0"),
    ] {
        let members = json!({"channel": "line", "external_user_id": "U1", "facts": facts});
        client.invalid("identities/resolve", members, place).await;
    }
    let elsewhere = client.in_scope(roster_tests::client::project("nothing"));
    let answer = resolve(&elsewhere, "line", "U1").await;
    assert_eq!(outcome(&answer), "unmatched - none none - false");
    assert_eq!(answer["message"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_spellings_of_a_number_meet_at_run_time_and_where_they_were_typed() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "spellings").await;
    let foreign = Client::of_project(&server, "foreign")
        .await
        .expect("a client");
    let mut schema = matching();
    schema["fields"][1] = json!({"name": "phone", "type": "phone"});
    foreign.ok("schema/upsert", schema).await;
    let spellings = [
        "+491701234567",
        "491701234567",
        "00491701234567",
        "+49 170 1234567",
        "0049 170 123 45 67",
        "+49-170-1234567",
        "+49.170.123.4567",
        "+49 (170) 1234567",
        "+49 (0)170 1234567",
        "(+49) 170/1234567",
        "[49] 170 1234567",
        " +49\u{a0}170\u{a0}1234567 ",
        "+49\u{202f}170\u{2009}1234567",
        "\u{200e}+49 170 1234567\u{200e}",
        "+49\u{2011}170\u{2013}1234567",
        "\u{ff0b}\u{ff14}\u{ff19}\u{ff11}\u{ff17}\u{ff10}1234567",
        "\u{ff10}\u{ff10}\u{ff14}\u{ff19}\u{ff11}\u{ff17}\u{ff10}\u{ff11}\u{ff12}\u{ff13}4567",
        "+\u{664}\u{669} 170 1234567",
        "\t+49\u{feff}1701234567\n",
        "0000491701234567",
    ];
    // One who typed it as people do at home, one whose number has no home.
    client.upsert("ada", json!({"phone": "0170 1234567"})).await;
    foreign
        .upsert("ada", json!({"phone": "+49 170 1234567"}))
        .await;
    for of in [&client, &foreign] {
        let items: Vec<Value> = spellings
            .iter()
            .map(|spelling| json!({"channel": "whatsapp", "external_user_id": spelling}))
            .collect();
        let answer = of
            .ok("identities/resolve-batch", json!({"items": items}))
            .await;
        for (spelling, item) in spellings
            .iter()
            .zip(answer["items"].as_array().expect("items"))
        {
            let found = &item["result"]["customer"]["customer_user_id"];
            assert_eq!(found, "ada", "{spelling:?}: {item}");
        }
        let listed = of
            .ok("identities/list", json!({"customer_user_id": "ada"}))
            .await;
        assert_eq!(
            listed["items"].as_array().map(Vec::len),
            Some(1),
            "{listed}"
        );
    }
    let national = json!({"channel": "whatsapp", "external_user_id": "0170 7654321", "customer_user_id": "ada"});
    client.ok("identities/link", national).await;
    let found = resolve(&client, "whatsapp", "+49 170 7654321").await;
    assert_eq!(outcome(&found), "no_grant ada link linked - false");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_on_a_field_that_is_gone_still_finds_those_who_kept_the_value() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "gone").await;
    client.upsert("ada", json!({"badge": "B-7"})).await;
    let mut schema = matching();
    let fields = schema["fields"].as_array_mut().expect("fields");
    fields.retain(|field| field["name"] != "badge");
    client.ok("schema/upsert", schema).await;
    let line = json!({"channel": "line", "external_user_id": "U1", "facts": {"username": "B-7"}});
    let found = client.ok("identities/resolve", line).await;
    assert_eq!(outcome(&found), "no_grant ada rule rule - false");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_and_metrics_tell_what_it_does() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "measured").await;
    client.upsert("ada", json!({"phone": "+4917010"})).await;
    let link = json!({"channel": "line", "external_user_id": "U1", "customer_user_id": "ada"});
    client.ok("identities/link", link).await;
    let gauge = async |name: &str| -> f64 {
        let text = client.get("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    until("look-ups are answered from memory", async || {
        let answer = resolve(&client, "line", "U1").await;
        assert_eq!(outcome(&answer), "no_grant ada link linked - false");
        let answered = gauge("roster_identity_lookups_total{from=\"memory\"}").await;
        (answered > 0.0).then_some(())
    })
    .await;
    until("the memory is measured", async || {
        let entries = gauge("roster_identity_cache_entries").await;
        let bytes = gauge("roster_identity_cache_bytes").await;
        // A customer and an identity.
        (entries >= 2.0 && bytes > 0.0).then_some(())
    })
    .await;
    assert!(gauge("roster_identity_cache_position").await >= 2.0);
    let text = client.get("/metrics").await.text();
    assert!(!text.contains("4917010") && !text.contains("ada"), "{text}");
}
