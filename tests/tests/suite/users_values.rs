//! How each type of value is read and kept.

use roster_tests::schema::typed_project;
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn values_are_kept_in_their_canonical_form() {
    let server = Server::start().await.expect("a server");
    let client = typed_project(&server, "forms").await;
    client
        .upsert("c1", json!({"full_name": "  Ada Lovelace "}))
        .await;
    for (field, value, expected) in [
        ("email", json!(" Ada@Example.ORG "), r#""ada@example.org""#),
        ("phone", json!("0170 1234567"), r#""+491701234567""#),
        ("phone", json!("+44 20 7946 0018"), r#""+442079460018""#),
        ("phone", json!("0044 20 7946 0018"), r#""+442079460018""#),
        ("mobile", json!("(1) 505-230.7040"), r#""+15052307040""#),
        ("mobile", json!(491_701_234_567_i64), r#""+491701234567""#),
        (
            "amount",
            json!("12,345,678,901,234,567,890.10"),
            "12345678901234567890.1",
        ),
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
        let answer = client
            .post(
                "users/upsert",
                json!({"customer_user_id": "c1", "profile": {field: value}}),
            )
            .await;
        answer.ok();
        // As text, for a parser may lose digits.
        let stored = format!(r#""{field}":{expected}"#);
        assert!(
            answer.text().contains(&stored),
            "{field} of {value}: {answer}"
        );
        let listed = client.post("users/list", json!({})).await;
        assert!(
            listed.text().contains(&stored),
            "{field} of {value}: {listed}"
        );
    }
    // Every digit of a JSON number counts, though no binary fraction has them.
    let body = client.body(&json!({"customer_user_id": "c1"})).to_string();
    let body = body.replacen('{', r#"{"profile":{"amount":12345678901234567890.10},"#, 1);
    let answer = client.post_text("users/upsert", body).await;
    answer.ok();
    assert!(
        answer.text().contains(r#""amount":12345678901234567890.1"#),
        "{answer}"
    );
    // Values are looked up in the search index, which follows within its own lag.
    let reader = client.with_header("roster-min-position", &format!("1:{}", answer.position()));
    assert_eq!(
        reader
            .ids(json!({"fields": {"amount": "12345678901234567890.100"}}))
            .await,
        ["c1"]
    );

    for (field, value) in [
        ("email", json!("no address")),
        ("email", json!("a@b")),
        ("email", json!(true)),
        ("phone", json!("1234")),
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
        assert!(
            finding["msg"].is_string() && finding["type"].is_string(),
            "{answer}"
        );
        if let Some(text) = value.as_str().filter(|text| text.len() > 6) {
            assert!(
                !answer.text().contains(text),
                "the answer repeats the input: {answer}"
            );
        }
    }
    // Every problem is named at once, and nothing of the request is done.
    let before = client.head().await;
    let many = json!({"customer_user_id": "c1", "profile": {"email": "x", "age": 999, "plan": "Gold", "full_name": "New"}});
    let answer = client.post("users/upsert", many).await;
    for field in ["email", "age", "plan"] {
        answer.invalid(&format!("body.profile.{field}"));
    }
    assert_eq!(client.head().await, before);

    let wide: serde_json::Map<String, Value> = (0..65)
        .map(|number| (format!("x{number}"), json!(1)))
        .collect();
    client
        .invalid(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": wide}),
            "body.profile",
        )
        .await;
    let heavy: serde_json::Map<String, Value> = (0..20)
        .map(|number| (format!("x{number}"), json!("y".repeat(4_000))))
        .collect();
    client
        .invalid(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": heavy}),
            "body.profile",
        )
        .await;
    assert_eq!(client.head().await, before);
}
