//! Real files of people, as JSON imports and as streams: exact counts, lossless exports, and a list that finds them.
//!
//! The files lie beside the repository in `shared/data`; without them these tests say so and pass.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use roster_domain::value::fold::{digits, fold};
use roster_tests::client::Client;
use roster_tests::imports::{finished, import_stream, started};
use roster_tests::server::Server;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// The files in the order in which they are imported, with rows, created, updated and unchanged customers.
const FILES: [(&str, [u64; 4]); 4] = [
    ("legislators-2024-12.csv", [537, 537, 0, 0]),
    ("legislators-2026-06.csv", [537, 81, 272, 184]),
    ("legislators-2026-06.csv", [537, 0, 0, 537]),
    ("legislators-historical.csv", [12_230, 12_149, 79, 2]),
];

/// One person by column.
type Person = BTreeMap<String, String>;

/// The text of a file, if the files are there.
fn read(name: &str) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let text = std::fs::read_to_string(folder.join(name));
    if text.is_err() {
        eprintln!("skipped: {name} is not in ../shared/data beside the repository");
    }
    text.ok()
}

fn parse(text: &str) -> (Vec<String>, Vec<Person>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader
        .headers()
        .expect("a header")
        .iter()
        .map(str::to_owned)
        .collect();
    let people = reader
        .records()
        .map(|record| {
            let record = record.expect("a record");
            header
                .iter()
                .cloned()
                .zip(record.iter().map(|cell| cell.trim().to_owned()))
                .collect()
        })
        .collect();
    (header, people)
}

/// A schema with the columns of the files as text fields.
fn schema(header: &[String]) -> Value {
    let fields = header.iter().map(|name| {
        let is_key = name == "bioguide_id";
        json!({"name": name, "type": "string", "required": is_key, "unique": is_key})
    });
    json!({"primary_key": "bioguide_id", "fields": fields.collect::<Vec<_>>()})
}

async fn by_json(client: &Client, text: String) -> Value {
    let answer = client.post("users/import-csv", json!({"csv": text})).await;
    if answer.status == 202 {
        finished(client, &started(&answer)).await
    } else {
        answer.ok()
    }
}

async fn by_stream(client: &Client, text: String) -> Value {
    import_stream(client, "", text).await
}

/// Events of customers, and all others.
async fn events(connection: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as(
        "SELECT count(*) FILTER (WHERE s.kind = 1), count(*) FILTER (WHERE s.kind <> 1)
           FROM log_events e
           JOIN log_streams s USING (stream_id)",
    )
    .fetch_one(connection)
    .await
    .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files_have_exact_counts_and_come_back_unchanged_through_json() {
    import_all(by_json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files_have_exact_counts_and_come_back_unchanged_through_streams() {
    import_all(by_stream).await;
}

async fn import_all(import: impl AsyncFn(&Client, String) -> Value) {
    let Some(first) = read(FILES[0].0) else {
        return;
    };
    let (header, _) = parse(&first);
    assert_eq!(header.len(), 36);
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "legislators")
        .await
        .expect("a client");
    client.ok("schema/upsert", schema(&header)).await;
    let mut connection = server.database().superuser().await.expect("a connection");
    let mut people: BTreeMap<String, Person> = BTreeMap::new();
    for (name, [total, created, updated, unchanged]) in FILES {
        let Some(text) = read(name) else { return };
        for person in parse(&text).1 {
            people.insert(person["bioguide_id"].clone(), person);
        }
        let before = events(&mut connection).await;
        let started = Instant::now();
        let result = import(&client, text).await;
        eprintln!("{name}: {} ms", started.elapsed().as_millis());
        let expected = json!({
            "status": "completed", "total": total, "created": created, "updated": updated, "unchanged": unchanged,
            "skipped": 0, "failed": 0, "warnings": 0, "unknown_columns": [],
        });
        for (member, value) in expected.as_object().expect("an object") {
            assert_eq!(&result[member], value, "{name}, {member}: {result}");
        }
        let after = events(&mut connection).await;
        assert_eq!(
            u64::try_from(after.0 - before.0),
            Ok(created + updated),
            "one event a changed customer"
        );
        assert!(after.1 > before.1, "the import itself is in the log");
    }

    let exported = client.post("users/export-csv", json!({})).await;
    assert_eq!(exported.status, 200, "{exported}");
    assert!(
        exported
            .header("content-disposition")
            .is_some_and(|value| value.contains(".csv")),
        "it is a download"
    );
    let (columns, rows) = parse(&exported.text());
    let others = header.iter().map(String::as_str);
    assert_eq!(
        columns,
        ["customer_user_id"]
            .into_iter()
            .chain(others)
            .chain(["enabled"])
            .collect::<Vec<_>>()
    );
    assert_eq!(rows.len(), people.len());
    for row in rows {
        let person = &people[&row["bioguide_id"]];
        assert!(
            header.iter().all(|name| row[name] == person[name]),
            "{row:?} is not {person:?}"
        );
        assert_eq!(
            (&row["customer_user_id"], row["enabled"].as_str()),
            (&row["bioguide_id"], "true")
        );
    }

    let copy = client.in_scope(roster_tests::client::project("copy"));
    copy.ok("schema/upsert", schema(&header)).await;
    let result = import(&copy, exported.text()).await;
    assert_eq!(
        (&result["created"], &result["failed"]),
        (&json!(people.len()), &json!(0)),
        "{result}"
    );
    let again = copy.post("users/export-csv", json!({})).await;
    assert!(again.body == exported.body, "the second export differs");
    let result = import(&copy, again.text()).await;
    assert_eq!(result["unchanged"], json!(people.len()), "{result}");
}

/// The ids of every page, by cursor.
async fn all_ids(client: &Client, filters: Value) -> Vec<String> {
    let mut members = filters;
    members["page_size"] = json!(200);
    let mut found = Vec::new();
    loop {
        let page = client.ok("users/list", members.clone()).await;
        found.extend(roster_tests::client::ids(&page));
        let total = page["total"].as_u64().unwrap_or(u64::MAX);
        if page["next_cursor"].is_null() {
            assert!(
                total == found.len() as u64 || page["total"].is_null(),
                "total {total}, {} found",
                found.len()
            );
            return found;
        }
        members["cursor"] = page["next_cursor"].clone();
    }
}

/// The ids of the people who pass, in the order of the list.
fn passing(people: &BTreeMap<String, Person>, pass: impl Fn(&Person) -> bool) -> Vec<String> {
    people
        .iter()
        .filter(|(_, person)| pass(person))
        .map(|(id, _)| id.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_real_files_are_found_by_every_filter() {
    let (Some(old), Some(new)) = (
        read("legislators-historical.csv"),
        read("legislators-2026-06.csv"),
    ) else {
        return;
    };
    let (header, mut rows) = parse(&old);
    rows.extend(parse(&new).1);
    let people: BTreeMap<String, Person> = rows
        .into_iter()
        .map(|person| (person["bioguide_id"].clone(), person))
        .collect();
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "legislators")
        .await
        .expect("a client");
    client.ok("schema/upsert", schema(&header)).await;
    by_stream(&client, old).await;
    let middle = client
        .ok(
            "users/list",
            json!({"sort": "updated_at", "order": "desc", "page_size": 1}),
        )
        .await;
    let newest_of_first = middle["items"][0]["updated_at"].clone();
    let csv_text = new.clone();
    let imported = client
        .ok(
            "users/import-csv",
            json!({"csv": csv_text, "provider": "second"}),
        )
        .await;
    let changed =
        imported["created"].as_u64().unwrap_or(0) + imported["updated"].as_u64().unwrap_or(0);
    client
        .upsert("Z999999", json!({"full_name": "By Hand"}))
        .await;
    let off = json!({"customer_user_id": "L000570", "enabled": false, "profile": {}});
    let searchable = client.post("users/upsert", off).await;
    searchable.ok();
    // From here on every read waits for what was written.
    let client = client.with_header(
        "roster-min-position",
        searchable.header("roster-position").expect("a position"),
    );

    let mut people = people;
    people.insert(
        "Z999999".into(),
        BTreeMap::from([
            ("full_name".into(), "By Hand".into()),
            ("bioguide_id".into(), "Z999999".into()),
        ]),
    );
    let contains = |term: &str| {
        let (term, number) = (fold(term), digits(term));
        let is_number = number.len() >= 3 && term.chars().all(|letter| letter.is_ascii_digit());
        passing(&people, |person| {
            person.iter().any(|(name, value)| {
                fold(value).contains(&term)
                    || (is_number && name == "phone" && digits(value).contains(&number))
            })
        })
    };
    for term in [
        "Luján",
        "lujan",
        "LUJÁN",
        "O’Rourke",
        "O'Rourke",
        "o`rourke",
        "O’Brien",
        "224-2315",
        "202-22",
        "Xyzzyx",
    ] {
        assert_eq!(
            all_ids(&client, json!({"search": term})).await,
            contains(term),
            "{term}"
        );
    }
    for term in ["Luján", "O’Rourke", "224-65"] {
        assert!(!contains(term).is_empty(), "{term} is in the files");
    }
    let phone = people["L000570"]["phone"].clone();
    let fragment = digits(&phone)[3..].to_owned();
    let found = all_ids(&client, json!({"search": fragment})).await;
    assert!(
        found.contains(&"L000570".to_owned()),
        "{fragment} of {phone} finds {found:?}"
    );

    let ids = |filters: Value| all_ids(&client, filters);
    let everybody = passing(&people, |_| true);
    assert_eq!(ids(json!({})).await, everybody);
    let mut backwards = everybody.clone();
    backwards.reverse();
    assert_eq!(ids(json!({"order": "desc"})).await, backwards);
    let is_off = |person: &Person| person["bioguide_id"] == "L000570";
    assert_eq!(ids(json!({"disabled_only": true})).await, ["L000570"]);
    assert_eq!(
        ids(json!({"enabled_only": true})).await,
        passing(&people, |person| !is_off(person))
    );
    assert_eq!(
        ids(json!({"data_source_kind": "manual"})).await,
        ["Z999999"]
    );
    assert_eq!(
        ids(json!({"data_source_kind": "csv"})).await.len(),
        everybody.len() - 1
    );
    assert_eq!(ids(json!({"data_source_kind": "scim"})).await.len(), 0);
    let second = ids(json!({"data_source_provider": "second"})).await;
    assert_eq!(
        second.len() as u64,
        imported["created"].as_u64().unwrap_or(0),
        "adopted rows keep their tag"
    );
    assert_eq!(
        ids(json!({"data_source_connection_id": "none"}))
            .await
            .len(),
        0
    );
    let since = ids(json!({"updated_since": newest_of_first})).await;
    let of_second = since
        .iter()
        .filter(|id| people[*id].contains_key("state"))
        .count() as u64;
    assert!(of_second >= changed, "{of_second} of at least {changed}");
    let texan = passing(&people, |person| {
        person.get("state").is_some_and(|state| state == "TX")
    });
    assert_eq!(ids(json!({"fields": {"state": "TX"}})).await, texan);
    let both = passing(&people, |person| {
        person.get("state").is_some_and(|state| state == "NM")
            && person.get("type").is_some_and(|kind| kind == "sen")
    });
    assert_eq!(
        ids(json!({"fields": {"state": "NM", "type": "sen"}})).await,
        both
    );
    let combined = json!({"search": "luján", "enabled_only": true, "data_source_kind": "csv", "fields": {"state": "NM"}});
    let expected: Vec<String> = contains("Luján")
        .into_iter()
        .filter(|id| id != "L000570" && people[id].get("state").is_some_and(|state| state == "NM"))
        .collect();
    assert_eq!(ids(combined).await, expected);
    let starts = passing(&people, |person| {
        let name = person
            .get("full_name")
            .filter(|name| !name.is_empty())
            .cloned()
            .unwrap_or_else(|| {
                let part = |name: &str| person.get(name).cloned().unwrap_or_default();
                format!("{} {}", part("first_name"), part("last_name"))
                    .trim()
                    .to_owned()
            });
        fold(&name).starts_with("zo") || fold(&person["bioguide_id"]).starts_with("zo")
    });
    assert_eq!(
        ids(json!({"search": "Zo"})).await,
        starts,
        "under three characters, starts of id and name"
    );
    for sort in ["created_at", "updated_at"] {
        let mut sorted = ids(json!({"sort": sort})).await;
        sorted.sort_unstable();
        assert_eq!(sorted, everybody, "{sort} shows everybody once");
    }
}
