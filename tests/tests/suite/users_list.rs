//! `users/list`: filters, orders, pages and totals.

use roster_tests::client::{Client, ids, project};
use roster_tests::server::Server;
use serde_json::{Value, json};

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
    client.upsert_all(people.collect()).await
}

fn numbers(wanted: impl Fn(u32) -> bool) -> Vec<String> {
    (0..36)
        .filter(|number| wanted(*number))
        .map(|number| format!("c{number:02}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_and_totals_are_exact() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "filters")
        .await
        .expect("a client");
    assert_eq!(
        client.ok("users/list", json!({})).await["total"],
        0,
        "a project without customers is an empty list"
    );
    let position = crowd(&client).await;
    let all: [(Value, Vec<String>); 17] = [
        (json!({}), numbers(|_| true)),
        (json!({"enabled_only": true}), numbers(|n| n % 3 != 0)),
        (json!({"disabled_only": true}), numbers(|n| n % 3 == 0)),
        (
            json!({"enabled_only": false, "disabled_only": false}),
            numbers(|_| true),
        ),
        (
            json!({"data_source_kind": "manual"}),
            numbers(|n| n % 4 == 0),
        ),
        (
            json!({"data_source_kind": "csv"}),
            numbers(|n| matches!(n % 4, 1 | 2)),
        ),
        (
            json!({"data_source_provider": "erp"}),
            numbers(|n| n % 4 == 2),
        ),
        (
            json!({"data_source_kind": "scim", "data_source_provider": "okta", "enabled_only": true}),
            numbers(|n| n % 4 == 3 && n % 3 != 0),
        ),
        (
            json!({"data_source_kind": "manual", "data_source_provider": "okta"}),
            vec![],
        ),
        (json!({"data_source_connection_id": "none-such"}), vec![]),
        (json!({"fields": {"team": "red"}}), numbers(|n| n % 2 == 0)),
        (json!({"fields": {"team": "RED"}}), vec![]),
        (
            json!({"fields": {"email": " Person7@EXAMPLE.org "}}),
            numbers(|n| n == 7),
        ),
        (
            json!({"fields": {"team": "blue", "email": "person8@example.org"}}),
            vec![],
        ),
        (
            json!({"fields": {"team": "blue"}, "disabled_only": true, "data_source_kind": "csv"}),
            numbers(|n| n % 2 == 1 && n % 3 == 0 && n % 4 == 1),
        ),
        (
            json!({"search": "person1", "fields": {"team": "red"}}),
            numbers(|n| matches!(n, 10 | 12 | 14 | 16 | 18)),
        ),
        (
            json!({"search": "  ", "data_source_kind": "", "data_source_provider": null, "enabled_only": null, "cursor": "", "fields": null}),
            numbers(|_| true),
        ),
    ];
    for (filters, expected) in &all {
        let mut wide = filters.clone();
        wide["page_size"] = json!(200);
        let list = client.list_at(wide, position).await;
        assert_eq!(&ids(&list), expected, "{filters}");
        assert_eq!(
            (&list["total"], &list["next_cursor"]),
            (&json!(expected.len()), &Value::Null),
            "{filters}"
        );
        assert_eq!(
            &walk(&client, filters, 5).await,
            expected,
            "{filters} by cursor"
        );
        let second = client
            .list_at(
                {
                    let mut second = filters.clone();
                    second["page"] = json!(2);
                    second["page_size"] = json!(7);
                    second
                },
                position,
            )
            .await;
        let on_second: Vec<&String> = expected.iter().skip(7).take(7).collect();
        assert_eq!(
            ids(&second).iter().collect::<Vec<_>>(),
            on_second,
            "{filters} page 2"
        );
        assert_eq!(
            (&second["total"], &second["page"], &second["page_size"]),
            (&json!(expected.len()), &json!(2), &json!(7))
        );
    }
    assert_eq!(
        ids(&client.ok("users/list", json!({})).await).len(),
        25,
        "a page has 25 rows"
    );
    let past = client.ok("users/list", json!({"page": 1_000})).await;
    assert_eq!((ids(&past).len(), &past["total"]), (0, &json!(36)));

    for (members, place) in [
        (
            json!({"enabled_only": true, "disabled_only": true}),
            "body.disabled_only",
        ),
        (
            json!({"data_source_kind": "sheet"}),
            "body.data_source_kind",
        ),
        (
            json!({"updated_since": "2026-01-01T00:00:00"}),
            "body.updated_since",
        ),
        (json!({"updated_since": "yesterday"}), "body.updated_since"),
        (json!({"sort": "email"}), "body.sort"),
        (json!({"order": "down"}), "body.order"),
        (json!({"count": "estimate"}), "body.count"),
        (
            json!({"fields": {"email": "no address"}}),
            "body.fields.email",
        ),
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
    let exact = client
        .ok("users/list", json!({"search": "person", "count": "exact"}))
        .await;
    assert_eq!(exact["total"], 36, "{exact}");

    let sources = client.ok("users/data-sources/list", json!({})).await;
    assert_eq!(sources["total_customers"], 36);
    let mut counts: Vec<String> = sources["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            format!(
                "{} {} {} {}",
                item["kind"], item["provider"], item["count"], item["enabled_count"]
            )
        })
        .collect();
    counts.sort_unstable();
    let expected = [
        r#""csv" "csv_file" 9 6"#,
        r#""csv" "erp" 9 6"#,
        r#""manual" null 9 6"#,
        r#""scim" "okta" 9 6"#,
    ];
    assert_eq!(counts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_walks_everybody_once_in_every_order() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "orders")
        .await
        .expect("a client");
    // Byte order: digits before capitals before small letters before other letters.
    let mixed = [
        "B", "a", "10", "9", "ä", "Z", "_", "~", "b", "a b", "a!", "é",
    ];
    client
        .upsert_all(
            mixed
                .iter()
                .map(|id| json!({"customer_user_id": id}))
                .collect(),
        )
        .await;
    let mut by_id: Vec<String> = mixed.map(str::to_owned).into();
    by_id.sort_unstable();
    for (number, id) in mixed.iter().enumerate() {
        if number % 3 == 0 {
            client.upsert(id, json!({"note": "moved"})).await;
        }
    }
    let everybody = client.ok("users/list", json!({"page_size": 200})).await;
    let key = |name: &str| {
        let mut rows: Vec<(String, String)> = everybody["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| {
                let text = |member: &str| item[member].as_str().unwrap_or_default().to_owned();
                (text(name), text("customer_user_id"))
            })
            .collect();
        rows.sort_unstable();
        rows.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&everybody), by_id);
    for (sort, expected) in [
        ("customer_user_id", by_id.clone()),
        ("created_at", key("created_at")),
        ("updated_at", key("updated_at")),
    ] {
        for order in ["asc", "desc"] {
            let mut expected = expected.clone();
            if order == "desc" {
                expected.reverse();
            }
            for page_size in [1, 5, 12, 13] {
                let filters = json!({"sort": sort, "order": order});
                assert_eq!(
                    walk(&client, &filters, page_size).await,
                    expected,
                    "{sort} {order} {page_size}"
                );
            }
        }
    }

    // A customer that goes or comes behind the cursor neither repeats nor hides the others.
    let first = client.ok("users/list", json!({"page_size": 4})).await;
    let seen = ids(&first);
    client
        .ok("users/delete", json!({"customer_user_id": seen[3]}))
        .await;
    client.upsert("0", json!({})).await;
    let next = client
        .ok(
            "users/list",
            json!({"page_size": 200, "cursor": first["next_cursor"]}),
        )
        .await;
    assert_eq!(ids(&next), by_id[4..]);

    let cursor = &first["next_cursor"];
    assert!(
        cursor
            .as_str()
            .is_some_and(|text| !text.contains(&seen[3]) || seen[3].len() < 2),
        "{first}"
    );
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
        client
            .refused("users/list", other, 422, "invalid_cursor")
            .await;
    }
    let elsewhere = client.in_scope(project("other-orders"));
    elsewhere.upsert("c", json!({})).await;
    elsewhere
        .refused(
            "users/list",
            json!({"cursor": cursor}),
            422,
            "invalid_cursor",
        )
        .await;
    client
        .ok(
            "users/list",
            json!({"cursor": cursor, "page_size": 50, "count": "exact"}),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updated_since_shows_what_moved_and_nothing_else() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "since")
        .await
        .expect("a client");
    for id in ["a", "b", "c"] {
        client.upsert(id, json!({})).await;
    }
    let moved = client.upsert("b", json!({"city": "Bonn"})).await;
    let since = &moved["updated_at"];
    assert_eq!(
        client.ids(json!({"updated_since": since})).await,
        ["b"],
        "from is inclusive"
    );
    let later = client.upsert("a", json!({"city": "Rome"})).await;
    assert_eq!(
        client.ids(json!({"updated_since": since})).await,
        ["a", "b"]
    );
    assert_eq!(
        client
            .ids(json!({"updated_since": later["updated_at"], "search": "b"}))
            .await,
        Vec::<String>::new()
    );
    // The same instant in another zone, and one that nobody lives to see.
    let zoned = since.as_str().expect("a time").replace('Z', "+00:00");
    assert_eq!(
        client.ids(json!({"updated_since": zoned})).await,
        ["a", "b"]
    );
    assert_eq!(
        client
            .ids(json!({"updated_since": "2999-01-01T00:00:00+01:00"}))
            .await,
        Vec::<String>::new()
    );
    // Nothing changed: nothing moved.
    let same = client.upsert("c", json!({})).await;
    assert_eq!(
        client.ids(json!({"updated_since": since})).await,
        ["a", "b"]
    );
    assert_eq!(same["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_ten_thousand_are_told_only_as_long_as_there_are_so_many() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "beyond")
        .await
        .expect("a client");
    let rows = (0..10_060).map(|number| format!("c{number:05},Person {number},red\n"));
    let csv: String = ["customer_user_id,full_name,team\n".to_owned()]
        .into_iter()
        .chain(rows)
        .collect();
    let started = client.import("", csv).await;
    client.import_ended(&started.ok()["import_id"]).await;
    let lists = [
        json!({"search": "person"}),
        json!({"fields": {"team": "red"}}),
        json!({"search": "person", "sort": "updated_at", "order": "desc"}),
        json!({"search": "person", "enabled_only": true, "fields": {"team": "red"}}),
    ];
    let mut position = client.head().await;
    for (left, first) in [(10_060, 0), (10_020, 40), (9_980, 80), (10_020, 40)] {
        let items = (0..80)
            .map(|number| {
                let is_gone = number < first;
                json!({
                    "customer_user_id": format!("c{number:05}"),
                    "profile": {
                        "full_name": if is_gone { "Nobody".to_owned() } else { format!("Person {number}") },
                        "team": if is_gone { "blue" } else { "red" },
                    },
                })
            })
            .collect();
        position = position.max(client.upsert_all(items).await);
        for list in lists.iter().chain(&lists) {
            let page = client.list_at(list.clone(), position).await;
            let told = (&page["total"], &page["total_at_least"]);
            if left > 10_000 {
                assert_eq!(told, (&Value::Null, &json!(10_000)), "{list} of {left}");
            } else {
                assert_eq!(told, (&json!(left), &Value::Null), "{list} of {left}");
            }
            let next = page["next_cursor"].clone();
            let mut second = list.clone();
            second["cursor"] = next;
            let second = client.list_at(second, position).await;
            assert_eq!(ids(&second).len(), 25, "{list}: the page behind the first");
            assert!(
                ids(&page).iter().all(|id| !ids(&second).contains(id)),
                "{list}"
            );
        }
    }
}
