//! `users/list`: filters, orders, pages, search, and that it shows what was just written.

use std::collections::BTreeSet;
use std::time::Duration;

use roster_tests::client::{Answer, Client, ids};
use roster_tests::server::Server;
use serde_json::{Value, json};

const SEARCH_PATIENCE: Duration = Duration::from_secs(20);

/// A list that shows everything up to the answer of a write, search included.
async fn listed(client: &Client, filters: Value, after: i64) -> Value {
    let reader = client.with_header("roster-min-position", &format!("1:{after}"));
    let asked = reader.post("users/list", filters);
    tokio::time::timeout(SEARCH_PATIENCE, asked).await.expect("search follows within its lag").ok()
}

/// Creates customers, and answers the position that shows them.
async fn create(client: &Client, items: Value) -> i64 {
    let answer = client.post("users/upsert-bulk", json!({"items": items})).await;
    assert_eq!(answer.ok()["failed"], 0, "{answer}");
    answer.position()
}

/// All pages of a list by its cursor.
async fn walk(client: &Client, filters: &Value, page_size: u32) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut members = filters.clone();
        members["page_size"] = json!(page_size);
        members["cursor"] = cursor;
        let page = client.ok("users/list", members).await;
        assert!(ids(&page).len() <= page_size as usize, "{page}");
        all.extend(ids(&page));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return all;
        }
        assert!(all.len() <= 10_000, "the cursor does not end");
    }
}

/// Three dozen customers of several sources; every third is disabled.
async fn crowd(client: &Client) -> i64 {
    let people = (0..36).map(|number| {
        let mut item = json!({
            "customer_user_id": format!("c{number:02}"),
            "profile": {"email": format!("person{number}@example.org"), "team": if number % 2 == 0 { "red" } else { "blue" }},
            "enabled": number % 3 != 0,
        });
        match number % 4 {
            1 => item["data_source"] = json!({"kind": "csv", "provider": "csv_file"}),
            2 => item["data_source"] = json!({"kind": "csv", "provider": "erp"}),
            3 => item["data_source"] = json!({"kind": "scim", "provider": "okta", "external_id": format!("x{number}")}),
            _ => {}
        }
        item
    });
    create(client, people.collect()).await
}

fn numbers(wanted: impl Fn(u32) -> bool) -> Vec<String> {
    (0..36).filter(|number| wanted(*number)).map(|number| format!("c{number:02}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_and_totals_are_exact() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "filters").await.expect("a client");
    assert_eq!(client.ok("users/list", json!({})).await["total"], 0, "a project without customers is an empty list");
    let position = crowd(&client).await;
    let all: [(Value, Vec<String>); 17] = [
        (json!({}), numbers(|_| true)),
        (json!({"enabled_only": true}), numbers(|n| n % 3 != 0)),
        (json!({"disabled_only": true}), numbers(|n| n % 3 == 0)),
        (json!({"enabled_only": false, "disabled_only": false}), numbers(|_| true)),
        (json!({"data_source_kind": "manual"}), numbers(|n| n % 4 == 0)),
        (json!({"data_source_kind": "csv"}), numbers(|n| matches!(n % 4, 1 | 2))),
        (json!({"data_source_provider": "erp"}), numbers(|n| n % 4 == 2)),
        (json!({"data_source_kind": "scim", "data_source_provider": "okta", "enabled_only": true}), numbers(|n| n % 4 == 3 && n % 3 != 0)),
        (json!({"data_source_kind": "manual", "data_source_provider": "okta"}), vec![]),
        (json!({"data_source_connection_id": "none-such"}), vec![]),
        (json!({"fields": {"team": "red"}}), numbers(|n| n % 2 == 0)),
        (json!({"fields": {"team": "RED"}}), vec![]),
        (json!({"fields": {"email": " Person7@EXAMPLE.org "}}), numbers(|n| n == 7)),
        (json!({"fields": {"team": "blue", "email": "person8@example.org"}}), vec![]),
        (json!({"fields": {"team": "blue"}, "disabled_only": true, "data_source_kind": "csv"}), numbers(|n| n % 2 == 1 && n % 3 == 0 && n % 4 == 1)),
        (json!({"search": "person1", "fields": {"team": "red"}}), numbers(|n| matches!(n, 10 | 12 | 14 | 16 | 18))),
        (
            json!({"search": "  ", "data_source_kind": "", "data_source_provider": null, "enabled_only": null, "cursor": "", "fields": null}),
            numbers(|_| true),
        ),
    ];
    for (filters, expected) in &all {
        let mut wide = filters.clone();
        wide["page_size"] = json!(200);
        let list = listed(&client, wide, position).await;
        assert_eq!(&ids(&list), expected, "{filters}");
        assert_eq!((&list["total"], &list["next_cursor"]), (&json!(expected.len()), &Value::Null), "{filters}");
        assert_eq!(&walk(&client, filters, 5).await, expected, "{filters} by cursor");
        let second = listed(&client, { let mut second = filters.clone(); second["page"] = json!(2); second["page_size"] = json!(7); second }, position).await;
        let on_second: Vec<&String> = expected.iter().skip(7).take(7).collect();
        assert_eq!(ids(&second).iter().collect::<Vec<_>>(), on_second, "{filters} page 2");
        assert_eq!((&second["total"], &second["page"], &second["page_size"]), (&json!(expected.len()), &json!(2), &json!(7)));
    }
    assert_eq!(ids(&client.ok("users/list", json!({})).await).len(), 25, "a page has 25 rows");
    let past = client.ok("users/list", json!({"page": 1_000})).await;
    assert_eq!((ids(&past).len(), &past["total"]), (0, &json!(36)));

    for (members, place) in [
        (json!({"enabled_only": true, "disabled_only": true}), "body.disabled_only"),
        (json!({"data_source_kind": "sheet"}), "body.data_source_kind"),
        (json!({"updated_since": "2026-01-01T00:00:00"}), "body.updated_since"),
        (json!({"updated_since": "yesterday"}), "body.updated_since"),
        (json!({"sort": "email"}), "body.sort"),
        (json!({"order": "down"}), "body.order"),
        (json!({"count": "estimate"}), "body.count"),
        (json!({"fields": {"email": "no address"}}), "body.fields.email"),
        (json!({"fields": {"team": ["red"]}}), "body.fields.team"),
        (json!({"page": 0}), "body.page"),
        (json!({"page": -1}), "body.page"),
        (json!({"page_size": 0}), "body.page_size"),
        (json!({"page_size": 201}), "body.page_size"),
        (json!({"page_size": 1_000_000_000}), "body.page_size"),
        (json!({"search": "x".repeat(201)}), "body.search"),
    ] {
        client.invalid("users/list", members, place).await;
    }
    let exact = client.ok("users/list", json!({"search": "person", "count": "exact"})).await;
    assert_eq!(exact["total"], 36, "{exact}");

    let sources = client.ok("users/data-sources/list", json!({})).await;
    assert_eq!(sources["total_customers"], 36);
    let mut counts: Vec<String> = sources["items"].as_array().expect("items").iter().map(|item| {
        format!("{} {} {} {}", item["kind"], item["provider"], item["count"], item["enabled_count"])
    }).collect();
    counts.sort_unstable();
    let expected = [r#""csv" "csv_file" 9 6"#, r#""csv" "erp" 9 6"#, r#""manual" null 9 6"#, r#""scim" "okta" 9 6"#];
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_walks_everybody_once_in_every_order() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "orders").await.expect("a client");
    // Byte order: digits before capitals before small letters before other letters.
    let mixed = ["B", "a", "10", "9", "ä", "Z", "_", "~", "b", "a b", "a!", "é"];
    create(&client, mixed.iter().map(|id| json!({"customer_user_id": id})).collect()).await;
    let mut by_id: Vec<String> = mixed.map(str::to_owned).into();
    by_id.sort_unstable();
    for (number, id) in mixed.iter().enumerate() {
        if number % 3 == 0 {
            client.upsert(id, json!({"note": "moved"})).await;
        }
    }
    let everybody = client.ok("users/list", json!({"page_size": 200})).await;
    let key = |name: &str| {
        let mut rows: Vec<(String, String)> = everybody["items"].as_array().expect("items").iter().map(|item| {
            let text = |member: &str| item[member].as_str().unwrap_or_default().to_owned();
            (text(name), text("customer_user_id"))
        }).collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&everybody), by_id);
    for (sort, expected) in [("customer_user_id", by_id.clone()), ("created_at", key("created_at")), ("updated_at", key("updated_at"))] {
        for order in ["asc", "desc"] {
            let mut expected = expected.clone();
            if order == "desc" {
                expected.reverse();
            }
            for page_size in [1, 5, 12, 13] {
                let filters = json!({"sort": sort, "order": order});
                assert_eq!(walk(&client, &filters, page_size).await, expected, "{sort} {order} {page_size}");
            }
        }
    }

    // A customer that goes or comes behind the cursor neither repeats nor hides the others.
    let first = client.ok("users/list", json!({"page_size": 4})).await;
    let seen = ids(&first);
    client.ok("users/delete", json!({"customer_user_id": seen[3]})).await;
    client.upsert("0", json!({})).await;
    let next = client.ok("users/list", json!({"page_size": 200, "cursor": first["next_cursor"]})).await;
    assert_eq!(ids(&next), by_id[4..]);

    let cursor = &first["next_cursor"];
    assert!(cursor.as_str().is_some_and(|text| !text.contains(&seen[3]) || seen[3].len() < 2), "{first}");
    for other in [
        json!({"cursor": cursor, "enabled_only": true}),
        json!({"cursor": cursor, "search": "a"}),
        json!({"cursor": cursor, "sort": "created_at"}),
        json!({"cursor": cursor, "order": "desc"}),
        json!({"cursor": cursor, "fields": {"note": "moved"}}),
        json!({"cursor": cursor, "data_source_kind": "manual"}),
        json!({"cursor": cursor, "updated_since": "2026-01-01T00:00:00Z"}),
        json!({"cursor": "nonsense"}),
        json!({"cursor": "AAAA"}),
        json!({"cursor": "ä"}),
    ] {
        client.refused("users/list", other, 422, "invalid_cursor").await;
    }
    let elsewhere = client.in_scope(roster_tests::client::project("other-orders"));
    elsewhere.upsert("c", json!({})).await;
    elsewhere.refused("users/list", json!({"cursor": cursor}), 422, "invalid_cursor").await;
    client.ok("users/list", json!({"cursor": cursor, "page_size": 50, "count": "exact"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updated_since_shows_what_moved_and_nothing_else() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "since").await.expect("a client");
    for id in ["a", "b", "c"] {
        client.upsert(id, json!({})).await;
    }
    let moved = client.upsert("b", json!({"city": "Bonn"})).await;
    let since = &moved["updated_at"];
    assert_eq!(client.ids(json!({"updated_since": since})).await, ["b"], "from is inclusive");
    let later = client.upsert("a", json!({"city": "Rome"})).await;
    assert_eq!(client.ids(json!({"updated_since": since})).await, ["a", "b"]);
    assert_eq!(client.ids(json!({"updated_since": later["updated_at"], "search": "b"})).await, Vec::<String>::new());
    // The same instant in another zone, and one that nobody lives to see.
    let zoned = since.as_str().expect("a time").replace('Z', "+00:00");
    assert_eq!(client.ids(json!({"updated_since": zoned})).await, ["a", "b"]);
    assert_eq!(client.ids(json!({"updated_since": "2999-01-01T00:00:00+01:00"})).await, Vec::<String>::new());
    // Nothing changed: nothing moved.
    let same = client.upsert("c", json!({})).await;
    assert_eq!(client.ids(json!({"updated_since": since})).await, ["a", "b"]);
    assert_eq!(same["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_what_a_person_would_call_the_same() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "search").await.expect("a client");
    let position = create(&client, json!([
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
        ("小龍", vec!["ACME-7"]),
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
        let list = listed(&client, json!({"search": search}), position).await;
        assert_eq!(ids(&list), expected, "{search}");
        assert_eq!(list["total"], expected.len(), "{search}");
    }
    // What is erased or changed is not found any more.
    client.ok("users/delete", json!({"customer_user_id": "p2"})).await;
    let answer = client.post("users/upsert", json!({"customer_user_id": "p1", "profile": {"full_name": "Ben"}})).await;
    answer.ok();
    for gone in ["rourke", "lujan", "luján"] {
        assert_eq!(ids(&listed(&client, json!({"search": gone}), answer.position()).await), Vec::<String>::new(), "{gone}");
    }
    assert_eq!(ids(&listed(&client, json!({"search": "ben"}), answer.position()).await), ["p1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_an_answered_write_shows_it() {
    let server = Server::start().await.expect("a server");
    let second = Server::start_on(server.database().clone(), &[]).await.expect("a second server");
    let client = Client::of_project(&server, "own-writes").await.expect("a client");
    let elsewhere = client.at(&second);
    let written = |answer: Answer| {
        answer.ok();
        assert_eq!(answer.header("roster-projected"), None, "{answer}");
        answer.position()
    };
    let mut last = 0;
    for round in 0..20 {
        let id = format!("c{round:02}");
        let position = written(client.post("users/upsert", json!({"customer_user_id": id, "profile": {"round": round}})).await);
        assert!(position > last, "positions go up");
        last = position;
        // On this server, and on another one of the cell.
        for reader in [&client, &elsewhere] {
            let list = reader.post("users/list", json!({"order": "desc", "page_size": 1})).await;
            assert_eq!(ids(&list.ok()), [id.clone()]);
            assert_eq!(list.ok()["total"], round + 1);
            assert!(list.position() >= position, "{list}");
            reader.ok("users/get", json!({"customer_user_id": id})).await;
        }
        let position = written(elsewhere.post("users/upsert", json!({"customer_user_id": id, "enabled": false})).await);
        assert!(position > last, "positions go up");
        last = position;
        assert_eq!(client.ok("users/list", json!({"enabled_only": true})).await["total"], 0);
        assert_eq!(client.ok("users/data-sources/list", json!({})).await["items"][0]["enabled_count"], 0);
    }
    written(client.post("users/delete", json!({"customer_user_id": "c00"})).await);
    assert_eq!(client.ok("users/list", json!({})).await["total"], 19);
    let imported = client.post("users/import-csv", json!({"csv": "customer_user_id\nd1\nd2\n"})).await;
    assert!(written(imported) > last);
    assert_eq!(client.ok("users/list", json!({"data_source_kind": "csv"})).await["total"], 2);
    let bulk: Vec<Value> = (0..500).map(|number| json!({"customer_user_id": format!("e{number:03}")})).collect();
    written(client.post("users/upsert-bulk", json!({"items": bulk})).await);
    assert_eq!(client.ok("users/list", json!({})).await["total"], 521);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_the_position_it_asks_for() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "positions").await.expect("a client");
    let written = client.post("users/upsert", json!({"customer_user_id": "c1", "profile": {"full_name": "Ada Lovelace"}})).await;
    let position = written.position();
    let at_least = |minimum: String| {
        let reader = client.with_header("roster-min-position", &minimum);
        async move { reader.post("users/list", json!({"search": "lovelace"})).await }
    };
    assert_eq!(ids(&at_least(format!("1:{position}")).await.ok()), ["c1"]);
    assert_eq!(ids(&at_least("1:0".into()).await.ok()), ["c1"]);
    let head = client.get("/readyz").await.ok()["head"].as_i64().expect("a head");
    for ahead in [format!("1:{}", head + 1), "1:9223372036854775807".into(), format!("2:{position}"), "0:0".into()] {
        at_least(ahead).await.refused(409, "position_ahead");
    }
    for nonsense in ["", "5", "1:", ":1", "1:-1", "1:1:1", "one:1", "1:99999999999999999999"] {
        at_least(nonsense.into()).await.invalid("header.Roster-Min-Position");
    }
    let exported = client.with_header("roster-min-position", &format!("1:{}", head + 1)).post("users/export-csv", json!({})).await;
    exported.refused(409, "position_ahead");
    // A write does not look at the header: nothing may keep it from being done.
    let writer = client.with_header("roster-min-position", "1:999999");
    writer.upsert("c2", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_all_its_members() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "records").await.expect("a client");
    let tag = json!({"kind": "csv", "provider": "erp", "external_id": "E-7", "synced_at": "2026-01-02T03:04:05+01:00"});
    let upserted = client.ok("users/upsert", json!({
        "customer_user_id": "c1", "profile": {"email": "Ada@Example.org", "age": 36}, "connector_enabled": {"WhatsApp": false}, "data_source": tag,
    })).await;
    let record = &upserted["customer"];
    let listed = client.ok("users/list", json!({})).await["items"][0].clone();
    let got = client.ok("users/get", json!({"customer_user_id": "c1"})).await;
    assert_eq!(&listed, record, "list and upsert show the same");
    assert_eq!(&got["user"], record, "get and upsert show the same");
    let names: BTreeSet<&str> = record.as_object().expect("a record").keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = [
        "customer_user_id", "customer_ref", "display_name", "profile", "profile_valid", "enabled", "connector_enabled",
        "data_source", "version", "created_at", "updated_at",
    ].into();
    assert_eq!(names, expected);
    assert_eq!(record["profile"], json!({"age": 36, "customer_user_id": "c1", "email": "ada@example.org"}));
    assert_eq!((&record["display_name"], &record["profile_valid"], &record["version"]), (&json!("ada@example.org"), &json!(true), &json!(1)));
    assert_eq!(record["connector_enabled"], json!({"whatsapp": false}));
    let source = &record["data_source"];
    assert_eq!((&source["kind"], &source["provider"], &source["external_id"]), (&json!("csv"), &json!("erp"), &json!("E-7")));
    assert!(source["synced_at"].as_str().is_some_and(|at| at.starts_with("2026-01-02T02:04:05") && at.ends_with('Z')), "{source}");
    assert_eq!((&got["customer_user_id"], &got["customer_enabled"], &got["display_name"]), (&json!("c1"), &json!(true), &json!("ada@example.org")));
    assert_eq!((&got["identities"], &got["channel_access"]), (&json!([]), &json!([])));
}
