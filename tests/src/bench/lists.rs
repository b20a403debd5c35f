//! `users_list/…`: every way to list a large directory, one request after another, by its slowest twentieth.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::Bench;
use super::http::{Connection, Target as Api};
use super::import::{Directory, ask};
use super::people;
use super::report::{Report, Target};
use super::stats::{median, millis, percentile};

/// The most milliseconds that 95 of 100 requests may take; half of it is the aim.
const BOUND: f64 = 20.0;
/// The time after which a slow case has shown enough.
const ENOUGH: Duration = Duration::from_secs(10);
/// Requests before those that count.
const WARM: usize = 3;

/// Adds few customers that differ from the imported ones, then asks for lists.
pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    directory: &Directory,
) -> anyhow::Result<()> {
    let api = &directory.server.target;
    add_rare(api).await.context("customers that differ")?;
    directory.server.caught_up().await?;
    directory.database.quiet().await?;
    let cases = cases(bench, directory).await?;
    let mut connection = Connection::open(api.address).await?;
    let (mut worst, mut worst_first) = (None, None);
    for (name, bodies) in cases {
        let name = format!("users_list/{name}");
        if !bench.wants(&[&name]) {
            continue;
        }
        let requests: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| api.request("users/list", body))
            .collect();
        let (mut times, mut first, mut total) = (Vec::new(), 0.0, Value::Null);
        let started = Instant::now();
        for turn in 0..bench.plan.lists + WARM {
            let since = Instant::now();
            let request = &requests[turn % requests.len()];
            let answer = ask(&mut connection, request)
                .await
                .with_context(|| format!("{name}: {}", bodies[turn % bodies.len()]))?;
            match turn {
                0 => first = millis(since.elapsed()),
                _ if turn >= WARM => times.push(millis(since.elapsed())),
                _ => {}
            }
            total = if answer["total"].is_null() {
                answer["total_at_least"].clone()
            } else {
                answer["total"].clone()
            };
            if started.elapsed() > ENOUGH && times.len() >= 5 {
                break;
            }
        }
        let tail = percentile(&times, 95);
        let note = format!(
            "p50 {:.1} ms, first {first:.1} ms, {} requests, total {total}",
            median(&times),
            times.len()
        );
        report.add(
            Target::within(&name, "ms p95").reach(1.0, 2.0),
            &[(tail, BOUND)],
            Some(note),
        );
        slowest(&mut worst, tail, &name);
        slowest(&mut worst_first, first, &name);
    }
    if let Some((tail, name)) = worst {
        report.add(
            Target::within("users_list_worst", "ms p95").reach(1.0, 2.0),
            &[(tail, BOUND)],
            Some(name),
        );
    }
    // What the server has not counted yet, on pages that nobody has just read: told, and nothing is required of one time.
    if let Some((first, name)) = worst_first {
        report.add(
            Target::within("users_list_first_worst", "ms"),
            &[(first, BOUND)],
            Some(name),
        );
    }
    Ok(())
}

fn slowest(worst: &mut Option<(f64, String)>, millis: f64, name: &str) {
    if worst.as_ref().is_none_or(|(most, _)| millis > *most) {
        *worst = Some((millis, name.to_owned()));
    }
}

/// Forty manual customers under names of their own, 300 of a rare provider, and 2,000 disabled ones.
async fn add_rare(api: &Api) -> anyhow::Result<()> {
    let manual: Vec<Value> = (0..40)
        .map(|number| {
            let id = format!("x7q-manual-{number:02}");
            json!({ "customer_user_id": id, "profile": {
                "email": format!("{id}@elsewhere.test"), "full_name": format!("Xq Rare {number}"), "city": "Nuuk",
            }})
        })
        .collect();
    let rare: Vec<Value> = (0..300)
        .map(|number| {
            json!({
                "customer_user_id": people::id(20_000_000 + number),
                "profile": { "email": people::email(20_000_000 + number), "city": "Tórshavn" },
                "data_source": { "kind": "csv", "provider": "rare_crm" },
            })
        })
        .collect();
    let disabled: Vec<Value> =
        (0..2_000).map(|number| json!({ "customer_user_id": people::id(number * 3), "profile": {}, "enabled": false })).collect();
    for items in [manual, rare]
        .iter()
        .flat_map(|items| items.chunks(500))
        .chain(disabled[..].chunks(500))
    {
        let answer = api
            .call("users/upsert-bulk", &json!({ "items": items }))
            .await?;
        anyhow::ensure!(answer["failed"] == json!(0), "upsert-bulk: {answer}");
    }
    Ok(())
}

/// A name, and bodies that take turns.
type Case = (String, Vec<Value>);

async fn cases(bench: &Bench, directory: &Directory) -> anyhow::Result<Vec<Case>> {
    let api = &directory.server.target;
    let rows = bench.plan.rows;
    let [oldest, middle, newest] = times(directory).await?;
    let some: Vec<u32> = (1..=5).map(|part| rows / 7 * part).collect();
    let mut cases: Vec<Case> = vec![("first_page".into(), vec![json!({})])];
    let mut add = |name: &str, bodies: Vec<Value>| cases.push((name.to_owned(), bodies));
    add("enabled_only", vec![json!({ "enabled_only": true })]);
    add("disabled_only", vec![json!({ "disabled_only": true })]);
    add("kind_common", vec![json!({ "data_source_kind": "csv" })]);
    add("kind_rare", vec![json!({ "data_source_kind": "manual" })]);
    add(
        "provider_common",
        vec![json!({ "data_source_provider": "csv_file" })],
    );
    add(
        "provider_rare",
        vec![json!({ "data_source_provider": "rare_crm" })],
    );
    add(
        "connection_none",
        vec![json!({ "data_source_connection_id": "nowhere" })],
    );
    add(
        "updated_since_all",
        vec![json!({ "updated_since": oldest })],
    );
    add(
        "updated_since_some",
        vec![json!({ "updated_since": middle })],
    );
    add(
        "updated_since_few",
        vec![json!({ "updated_since": newest })],
    );
    add(
        "fields_one",
        some.iter()
            .map(|number| json!({ "fields": { "email": people::email(*number) } }))
            .collect(),
    );
    add(
        "fields_some",
        ["Berlin", "Osaka", "Wien"]
            .map(|city| json!({ "fields": { "city": city } }))
            .to_vec(),
    );
    add("fields_half", vec![json!({ "fields": { "plan": "free" } })]);
    add(
        "fields_two",
        vec![json!({ "fields": { "city": "Berlin", "plan": "team" } })],
    );
    add(
        "fields_none",
        vec![json!({ "fields": { "city": "Atlantis" } })],
    );
    let terms = [
        ("search_1_none", "ÿ"),
        ("search_1_few", "x"),
        ("search_1_all", "c"),
        ("search_2_none", "zq"),
        ("search_2_few", "x7"),
        ("search_2_some", "an"),
        ("search_2_all", "c0"),
        ("search_3_none", "qzx"),
        ("search_3_few", "x7q"),
        ("search_3_some", "erl"),
        ("search_3_all", "exa"),
        ("search_6_some", "berlin"),
        ("search_12_none", "nosuchperson"),
        ("search_12_few", "x7q-manual-0"),
        ("search_12_some", "speaks engli"),
        ("search_12_all", "@example.org"),
    ];
    for (name, term) in terms {
        add(name, vec![json!({ "search": term })]);
    }
    add(
        "search_id",
        some.iter()
            .map(|number| json!({ "search": people::id(*number) }))
            .collect(),
    );
    add(
        "search_email",
        some.iter()
            .map(|number| json!({ "search": people::email(*number) }))
            .collect(),
    );
    add(
        "search_all_and_disabled",
        vec![json!({ "search": "@example.org", "disabled_only": true })],
    );
    add(
        "search_some_and_rare",
        vec![json!({ "search": "berlin", "data_source_kind": "manual" })],
    );
    for sort in ["created_at", "updated_at"] {
        for order in ["asc", "desc"] {
            add(
                &format!("sort_{sort}_{order}"),
                vec![json!({ "sort": sort, "order": order })],
            );
        }
    }
    add(
        "sort_updated_at_search_all",
        vec![json!({ "sort": "updated_at", "order": "desc", "search": "@example.org" })],
    );
    let walks = [
        ("id", json!({})),
        ("created_at", json!({ "sort": "created_at" })),
        (
            "updated_at_desc",
            json!({ "sort": "updated_at", "order": "desc" }),
        ),
        ("enabled", json!({ "enabled_only": true })),
        ("search_all", json!({ "search": "@example.org" })),
        ("search_some", json!({ "search": "berlin" })),
    ];
    for (name, filter) in walks {
        for (depth, percent) in [("start", 0), ("middle", 50), ("end", 99)] {
            if bench.wants(&[&format!("users_list/cursor_{name}_{depth}")]) {
                let body = cursor(api, &filter, percent)
                    .await
                    .with_context(|| format!("a cursor of {name}"))?;
                cases.push((format!("cursor_{name}_{depth}"), vec![body]));
            }
        }
    }
    Ok(cases)
}

/// The filter with the cursor that leads to the page behind so many percent of the list.
async fn cursor(api: &Api, filter: &Value, percent: u64) -> anyhow::Result<Value> {
    let mut body = filter.clone();
    body["page_size"] = json!(25);
    body["count"] = json!("exact");
    let total = api.call("users/list", &body).await?["total"]
        .as_u64()
        .unwrap_or_default();
    body["page"] = json!((total * percent / 100 / 25).max(1));
    let answer = api.call("users/list", &body).await?;
    let mut next = filter.clone();
    next["cursor"] = answer["next_cursor"].clone();
    Ok(next)
}

/// Times at or after which all, one in twenty or so, and few customers moved.
async fn times(directory: &Directory) -> anyhow::Result<[String; 3]> {
    let mut connection = directory.database.connect().await?;
    let times: Vec<String> = sqlx::query_scalar(
        "WITH ranked AS (
             SELECT updated_at, row_number() OVER (ORDER BY updated_at DESC) AS place, count(*) OVER () AS total
               FROM view_customers)
         SELECT to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
           FROM ranked
          WHERE place IN (total, total / 20, 20)
          ORDER BY place DESC",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    times
        .try_into()
        .map_err(|times| anyhow::anyhow!("three times were asked for: {times:?}"))
}
