//! Finding customers by what people type, and taking them out as a file.

use roster_tests::client::{Client, ids, project};
use roster_tests::server::Server;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_what_a_person_would_call_the_same() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "search")
        .await
        .expect("a client");
    let position = client.upsert_all(json!([
        {"customer_user_id": "p1", "profile": {"full_name": "Ben Ray Luján", "phone": "+1 (505) 230-7040", "note": "100% sure"}},
        {"customer_user_id": "p2", "profile": {"full_name": "Beto O’Rourke", "email": "beto@example.org", "note": "a_b"}},
        {"customer_user_id": "p3", "profile": {"full_name": "Zoë STRASSE", "note": "aXb", "lucky": 42}},
        {"customer_user_id": "p4", "profile": {"full_name": "Łukasz Żółć", "note": "back\\slash"}},
        {"customer_user_id": "ACME-7", "profile": {"full_name": "李 小龍", "note": "quote\"here", "vip": true}},
    ])).await;
    for (search, expected) in [
        ("Luján", vec!["p1"]),
        ("lujan", vec!["p1"]),
        ("LUJÁN", vec!["p1"]),
        ("ray luj", vec!["p1"]),
        ("O'Rourke", vec!["p2"]),
        ("o’rourke", vec!["p2"]),
        ("O`ROURKE", vec!["p2"]),
        ("zoe", vec!["p3"]),
        ("strasse", vec!["p3"]),
        ("zolc", vec!["p4"]),
        ("żółć", vec!["p4"]),
        ("李 小龍", vec!["ACME-7"]),
        ("beto@example", vec!["p2"]),
        ("acme-7", vec!["ACME-7"]),
        ("CME", vec!["ACME-7"]),
        // Digits match a telephone number however it is written.
        ("2307040", vec!["p1"]),
        ("5052307", vec!["p1"]),
        ("505", vec!["p1"]),
        ("+15052307040", vec!["p1"]),
        // Wildcards of SQL and escapes are letters like others.
        ("100%", vec!["p1"]),
        ("%", vec![]),
        ("0%s", vec![]),
        ("a_b", vec!["p2"]),
        ("axb", vec!["p3"]),
        ("_", vec![]),
        ("___", vec![]),
        ("%%%", vec![]),
        ("back\\slash", vec!["p4"]),
        ("quote\"here", vec!["ACME-7"]),
        ("'; DROP", vec![]),
        // One or two characters are the start of id or name.
        ("p", vec!["p1", "p2", "p3", "p4"]),
        ("P3", vec!["p3"]),
        ("b", vec!["p1", "p2"]),
        ("be", vec!["p1", "p2"]),
        ("ac", vec!["ACME-7"]),
        ("z", vec!["p3"]),
        ("zo", vec!["p3"]),
        ("李", vec!["ACME-7"]),
        ("lu", vec!["p4"]),
        ("x", vec![]),
        ("no such person", vec![]),
        (&"x".repeat(200), vec![]),
    ] {
        let list = client.list_at(json!({"search": search}), position).await;
        assert_eq!(ids(&list), expected, "{search}");
        assert_eq!(list["total"], expected.len(), "{search}");
    }
    // What is erased or changed is not found any more.
    client
        .ok("users/delete", json!({"customer_user_id": "p2"}))
        .await;
    let answer = client
        .post(
            "users/upsert",
            json!({"customer_user_id": "p1", "profile": {"full_name": "Ben"}}),
        )
        .await;
    answer.ok();
    for gone in ["rourke", "lujan", "luján"] {
        assert_eq!(
            ids(&client
                .list_at(json!({"search": gone}), answer.position())
                .await),
            Vec::<String>::new(),
            "{gone}"
        );
    }
    assert_eq!(
        ids(&client
            .list_at(json!({"search": "ben"}), answer.position())
            .await),
        ["p1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_rows_of_the_list_as_a_file() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "exports")
        .await
        .expect("a client");
    let header = "customer_user_id,email,phone,full_name,enabled\n";
    assert_eq!(
        client.post("users/export-csv", json!({})).await.text(),
        header,
        "nobody is a file with a header"
    );
    client.upsert_all(json!([
        {"customer_user_id": "b", "profile": {"full_name": "Says \"hi\",\nthen goes", "note": "=1+1"}, "enabled": false},
        {"customer_user_id": "a", "profile": {"email": "ada@example.org", "phone": "+442079460018"}},
        {"customer_user_id": "c", "profile": {"age": 36, "vip": true}, "data_source": {"kind": "csv", "provider": "erp"}},
    ])).await;
    let header = "customer_user_id,email,phone,full_name,age,note,vip,enabled\n";
    let rows = [
        "a,ada@example.org,+442079460018,,,,,true\n",
        "b,,,\"Says \"\"hi\"\",\nthen goes\",,=1+1,,false\n",
        "c,,,,36,,true,true\n",
    ];
    let file = client.post("users/export-csv", json!({})).await;
    assert_eq!(file.text(), format!("{header}{}", rows.concat()));
    assert!(
        file.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/csv")),
        "{file}"
    );
    assert_eq!(
        file.header("content-disposition"),
        Some("attachment; filename=\"customers-exports.csv\"")
    );
    let wrapped = client
        .with_header("accept", "application/json")
        .post("users/export-csv", json!({}))
        .await;
    assert_eq!(wrapped.ok(), json!({"csv": file.text()}));
    let safe = client
        .post("users/export-csv", json!({"spreadsheet_safe": true}))
        .await
        .text();
    assert!(
        safe.contains(",'=1+1,") && safe.contains(",'+442079460018,"),
        "{safe}"
    );
    for (filters, expected) in [
        (json!({"disabled_only": true}), vec![rows[1]]),
        (json!({"enabled_only": true}), vec![rows[0], rows[2]]),
        (
            json!({"data_source_kind": "csv", "data_source_provider": "erp"}),
            vec![rows[2]],
        ),
        (json!({"updated_since": "2999-01-01T00:00:00Z"}), vec![]),
    ] {
        let part = client
            .post("users/export-csv", filters.clone())
            .await
            .text();
        assert_eq!(part, format!("{header}{}", expected.concat()), "{filters}");
    }
    // What was exported is what an import takes: into an empty project, and back.
    let copy = client.in_scope(project("copies"));
    let import = copy
        .ok("users/import-csv", json!({"csv": file.text()}))
        .await;
    assert_eq!(
        (&import["created"], &import["failed"], &import["warnings"]),
        (&json!(3), &json!(0), &json!(0)),
        "{import}"
    );
    assert_eq!(
        copy.post("users/export-csv", json!({})).await.text(),
        file.text()
    );
    assert_eq!(
        client
            .ok("users/import-csv", json!({"csv": file.text()}))
            .await["failed"],
        0
    );
    assert_eq!(
        client.post("users/export-csv", json!({})).await.text(),
        file.text()
    );
}
