//! Lists of jobs and connections by their cursors: every row once, in the order of the pages, and no cursor for another list.

use roster_fakes::{Fake, Vendor};
use roster_tests::client::Client;
use roster_tests::purges::{fill, purge};
use roster_tests::syncs::{self, connected, connection, synced};
use serde_json::{Value, json};

/// Of each kind.
const ROWS: usize = 5;

/// The ids of a list, page by page, and the first cursor.
async fn walk(client: &Client, route: &str, filters: &Value, id: &str) -> (Vec<Value>, Value) {
    let (mut found, mut first, mut cursor) = (Vec::new(), Value::Null, Value::Null);
    loop {
        let mut members = filters.clone();
        members["page_size"] = json!(2);
        members["cursor"] = cursor.clone();
        let page = client.ok(route, members).await;
        assert_eq!(page["total"], ROWS, "{route}: {page}");
        let items = page["items"].as_array().expect("items");
        found.extend(items.iter().map(|item| item[id].clone()));
        cursor = page["next_cursor"].clone();
        assert_eq!(cursor.is_null(), found.len() == ROWS, "{route}: {page}");
        if cursor.is_null() {
            return (found, first);
        }
        if first.is_null() {
            first = cursor.clone();
        }
    }
}

async fn whole(client: &Client, route: &str, filters: &Value, id: &str) -> Vec<Value> {
    let page = client.ok(route, filters.clone()).await;
    assert_eq!(page["next_cursor"], Value::Null, "{route}: {page}");
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item[id].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_leads_through_every_list_and_through_no_other() {
    let fake = Fake::start(Vendor::ALL[0]).await;
    fake.fill(3);
    let server = syncs::server(&[&fake], &[]).await.expect("a server");
    let client = Client::of_project(&server, "paged")
        .await
        .expect("a client");
    let id = connected(&client, &fake).await;
    for number in 1..ROWS {
        let mut another = connection(&fake);
        another["name"] = json!(["Zoë", "zoa", "Ada", "adb"][number - 1]);
        client.ok("connections/upsert", another).await;
    }
    for number in 0..ROWS {
        synced(&client, &id, "full").await;
        let from = u32::try_from(number).expect("it is small") * 10;
        fill(&client, "paged", from..from + 3).await;
        let ids = json!([format!("c{from:05}"), "nobody"]);
        purge(
            &client,
            "users/delete-bulk",
            json!({"customer_user_ids": ids}),
        )
        .await;
    }
    let mut cursors = Vec::new();
    for (route, name, filters, others) in [
        (
            "users/imports/list",
            "import_id",
            json!({}),
            json!({"active_only": true}),
        ),
        (
            "users/purge/list",
            "purge_id",
            json!({}),
            json!({"active_only": true}),
        ),
        (
            "connections/list",
            "connection_id",
            json!({}),
            json!({"search": "zo"}),
        ),
        (
            "runs/list",
            "run_id",
            id.clone(),
            json!({"status": "succeeded"}),
        ),
    ] {
        let (found, cursor) = walk(&client, route, &filters, name).await;
        assert_eq!(
            found,
            whole(&client, route, &filters, name).await,
            "{route}"
        );
        let mut refused = others;
        refused["cursor"] = cursor.clone();
        client
            .post(route, refused)
            .await
            .refused(422, "invalid_cursor");
        cursors.push((route, cursor));
    }
    for (route, _) in &cursors {
        for (of, cursor) in &cursors {
            let answer = client.post(route, json!({"cursor": cursor})).await;
            if of != route {
                answer.refused(422, "invalid_cursor");
            }
        }
        let broken = client.post(route, json!({"cursor": "AAAA"})).await;
        broken.refused(422, "invalid_cursor");
    }
}
