//! CSV imports over HTTP: which forms of file are read, what is refused, and what is told about rows that fail.

use std::fmt::Write as _;

use async_compression::tokio::write::GzipEncoder;
use reqwest::Method;
use roster_tests::client::{Client, ids};
use roster_tests::imports::{counts, finished, import_stream, import_text, started};
use roster_tests::server::Server;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// A required name, unique addresses, and one field of most other kinds.
fn schema() -> Value {
    json!({"primary_key": "customer_user_id", "fields": [
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "full_name", "required": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "phone", "type": "phone", "default_region": "DE"},
        {"name": "age", "type": "number", "min_value": 0},
        {"name": "plan", "allowed_values": ["Basic", "Premium"]},
    ]})
}

async fn start() -> (Server, Client) {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.ok("schema/upsert", schema()).await;
    (server, client)
}

async fn user(client: &Client, id: &str) -> Value {
    client
        .ok("users/get", json!({"customer_user_id": id}))
        .await["user"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_usual_form_of_a_file_is_read() {
    let (_server, client) = start().await;
    let text = |id: &str, separator: char, line_break: &str| {
        let header = ["customer_user_id", "full_name", "email"].join(&separator.to_string());
        let row = [id, "\"Zoë\n\"\"Z\"\" Müller\"", ""].join(&separator.to_string());
        format!("{header}{line_break}{row}{line_break}")
    };
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    };
    let files = [
        ("comma", text("comma", ',', "\n").into_bytes()),
        ("semicolon", text("semicolon", ';', "\r\n").into_bytes()),
        ("tab", text("tab", '\t', "\r\n").into_bytes()),
        ("pipe", text("pipe", '|', "\n").into_bytes()),
        (
            "bom",
            [
                b"\xef\xbb\xbf".as_slice(),
                text("bom", ',', "\n").as_bytes(),
            ]
            .concat(),
        ),
        ("little", utf16(&text("little", ';', "\r\n"), false)),
        ("big", utf16(&text("big", '\t', "\n"), true)),
        ("mac", text("mac", ',', "\r").into_bytes()),
        (
            "open",
            text("open", ',', "\n").trim_end().as_bytes().to_vec(),
        ),
    ];
    for (id, bytes) in files {
        let result = import_stream(&client, "", bytes).await;
        assert_eq!(counts(&result), [1, 0, 0, 0, 0], "{id}: {result}");
        assert_eq!(
            user(&client, id).await["profile"]["full_name"],
            "Zoë\n\"Z\" Müller",
            "{id}"
        );
    }
    let odd = "customer_user_id:full_name\nodd:Odd\n";
    let result = import_text(&client, odd, json!({"delimiter": ":"})).await;
    assert_eq!(counts(&result), [1, 0, 0, 0, 0]);
    let aliased = client
        .ok(
            "users/import-csv",
            json!({"csv_text": "customer_user_id,full_name\nalias,A\n"}),
        )
        .await;
    assert_eq!(aliased["created"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_body_is_unpacked_on_the_way() {
    let (_server, client) = start().await;
    let mut csv = String::from("customer_user_id,full_name\n");
    for number in 0..3_000 {
        let _ = writeln!(csv, "g{number:05},Name {number}");
    }
    let pack = async |text: &str| {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(text.as_bytes()).await.expect("memory");
        encoder.shutdown().await.expect("memory");
        encoder.into_inner()
    };
    let packed = pack(&csv).await;
    assert!(packed.len() < csv.len() / 2);
    let sender = client.with_header("content-encoding", "gzip");
    let answer = sender.import("", packed.clone()).await;
    assert_eq!(
        counts(&finished(&client, &started(&answer)).await),
        [3_000, 0, 0, 0, 0]
    );

    // A broken file leaves nothing, whatever of it was read.
    let broken = sender.import("", packed[..packed.len() / 2].to_vec()).await;
    broken.refused(400, "bad_request");
    let unknown = client
        .with_header("content-encoding", "br")
        .import("", packed)
        .await;
    unknown.refused(415, "unsupported_media_type");
    let imports = client.ok("users/imports/list", json!({})).await;
    assert_eq!(imports["total"], 1, "{imports}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rows_can_be_downloaded_with_their_lines_and_reasons() {
    let (server, client) = start().await;
    client.upsert("b", json!({"full_name": "Bo"})).await;
    let csv = "customer_user_id,full_name,email\n\
        a,\"Ada\nof two lines\",ada@example.org\n\
        short,Planted Shortname\n\
        b,,planted.bo@example.org\n\
        long,L,l@example.org,more\n\
        c,\"Planted \"\"quoted\"\", and comma\",ADA@example.org\n\
        d,\"open,\n";
    let result = import_text(&client, csv, json!({})).await;
    assert_eq!(counts(&result), [1, 0, 0, 0, 5], "{result}");
    let import = json!({"import_id": result["import_id"]});
    let file = client.post("users/imports/errors", import.clone()).await;
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<String> = file
        .text()
        .split_inclusive('\n')
        .map(str::to_owned)
        .collect();
    assert_eq!(
        lines[0],
        "customer_user_id,full_name,email,import_row,import_field,import_error\n"
    );
    // Line numbers count the line break inside of the first row; row numbers count records.
    assert!(
        lines[1].starts_with("short,Planted Shortname,,3,,") && lines[1].contains("line 4 "),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("b,,planted.bo@example.org,4,full_name,"),
        "{}",
        lines[2]
    );
    assert!(
        lines[3].starts_with("long,L,l@example.org,more,5,,") && lines[3].contains("line 6 "),
        "{}",
        lines[3]
    );
    assert!(
        lines[4].starts_with("c,\"Planted \"\"quoted\"\", and comma\",ADA@example.org,6,email,"),
        "{}",
        lines[4]
    );
    assert!(file.text().contains("line 8"), "{}", file.text());

    let json = client
        .with_header("accept", "application/json")
        .post("users/imports/errors", import)
        .await;
    assert_eq!(json.ok()["csv"].as_str(), Some(file.text().as_str()));
    let unknown = json!({"import_id": "0190a000-0000-7000-8000-000000000000"});
    client
        .refused("users/imports/errors", unknown, 404, "import_not_found")
        .await;

    // Values are sealed where they are kept, whoever they are about.
    let mut connection = server.database().superuser().await.expect("a connection");
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT i::text || encode(detail, 'escape') FROM view_import_issues i")
            .fetch_all(&mut connection)
            .await
            .expect("rows");
    assert_eq!(kept.len(), 5);
    assert!(
        !kept.join("\n").to_lowercase().contains("planted"),
        "{kept:?}"
    );
    let staged: i64 = sqlx::query_scalar("SELECT count(*) FROM job_chunks")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(staged, 0, "the staged text went with the end of the import");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_table_of_customers_are_refused_and_leave_nothing() {
    let (server, client) = start().await;
    for (csv, message) in [
        ("", "empty CSV"),
        (" \r\n\n \n", "empty CSV"),
        ("\u{feff}", "empty CSV"),
        ("17,Ada,London\n18,Bo,Paris\n", "CSV missing header row"),
        ("17,Berlin,Berlin\n18,Bo,Paris\n", "CSV missing header row"),
        ("customer_user_id,full_name\n", "no data rows found"),
        ("customer_user_id,full_name\n\n ,\n", "no data rows found"),
    ] {
        let detail = client
            .refused("users/import-csv", json!({"csv": csv}), 400, "csv_invalid")
            .await;
        assert_eq!(detail["message"], message, "{csv:?}");
        let streamed = client.import("", csv).await.refused(400, "csv_invalid");
        assert_eq!(streamed["message"], message, "{csv:?}");
    }
    for csv in [
        "full_name,email\nAda,a@example.org\n",
        "customer_user_id,email,Email\na,,\n",
    ] {
        client
            .invalid("users/import-csv", json!({"csv": csv}), "body.csv")
            .await;
    }
    for bytes in [
        b"customer_user_id,full_name\na,\xff\xfe\n".to_vec(),
        b"customer_user_id\na\0b\n".to_vec(),
    ] {
        let detail = client.import("", bytes).await.refused(400, "csv_invalid");
        assert!(
            detail["message"]
                .as_str()
                .is_some_and(|message| message.contains("at byte ")),
            "{detail}"
        );
    }
    let both = client
        .send(Method::POST, "users/import-csv", Some("text/plain"), "a")
        .await;
    both.refused(415, "unsupported_media_type");

    assert_eq!(client.ok("users/imports/list", json!({})).await["total"], 0);
    assert_eq!(
        ids(&client.ok("users/list", json!({})).await),
        Vec::<String>::new()
    );
    let mut connection = server.database().superuser().await.expect("a connection");
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM job_chunks) + (SELECT count(*) FROM log_streams WHERE kind IN (1, 4))",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a count");
    assert_eq!(left, 0);
}
