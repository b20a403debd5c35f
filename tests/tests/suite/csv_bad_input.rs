//! Files that are wrong, as a whole and row by row.

use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use roster_domain::Scope;
use roster_tests::client::{Answer, Client};
use roster_tests::server::Server;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

async fn project(server: &Server, project_id: &str) -> Client {
    let client = Client::of_project(server, project_id)
        .await
        .expect("a client");
    client
        .upsert(
            "c1",
            json!({"email": "ada@example.org", "full_name": "Ada"}),
        )
        .await;
    client
}

/// The same file in the body of a JSON request and as a stream.
async fn both_ways(client: &Client, csv: &str) -> [Answer; 2] {
    [
        client.post("users/import-csv", json!({"csv": csv})).await,
        client.import("", csv.to_owned()).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_table_is_refused_as_a_whole() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "tables").await;
    let before = client.holdings().await;
    let wide = |count: usize| {
        (0..count)
            .map(|number| format!("x{number}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for (csv, status, message) in [
        (String::new(), 400, "empty CSV"),
        (" \n\t\n ,,\n".into(), 400, "empty CSV"),
        ("\u{feff}".into(), 400, "empty CSV"),
        (
            "17,Ada,London\n18,Grace,Arlington\n".into(),
            400,
            "CSV missing header row",
        ),
        ("customer_user_id,email\n".into(), 400, "no data rows found"),
        ("customer_user_id,email".into(), 400, "no data rows found"),
        (
            "customer_user_id,email\n\n\n".into(),
            400,
            "no data rows found",
        ),
        (
            "email,full_name\nada@example.org,Ada\n".into(),
            422,
            "customer_user_id",
        ),
        (
            "customer_user_id,email,Email\nx,a@example.org,b@example.org\n".into(),
            422,
            "email",
        ),
        ("customer_user_id,city,city\nx,a,b\n".into(), 422, "city"),
        (
            "customer_user_id, customer_user_id\nx,y\n".into(),
            422,
            "customer_user_id",
        ),
        (
            format!("customer_user_id,{}\nx,{}\n", wide(9_999), wide(9_999)),
            422,
            "columns",
        ),
        (
            format!("customer_user_id,{}\nx,{}\n", wide(65), wide(65)),
            422,
            "columns",
        ),
        (
            format!("customer_user_id,{}\nx,y\n", "n".repeat(129)),
            422,
            "column 2",
        ),
        (
            format!("customer_user_id,full_name\nx,\"{}", "y ".repeat(3 << 20)),
            400,
            "line 2",
        ),
    ] {
        let shown: String = csv.chars().take(60).collect();
        for answer in both_ways(&client, &csv).await {
            assert_eq!(answer.status, status, "{shown:?}: {answer}");
            let detail = &answer.json()["detail"];
            let said = if status == 400 {
                answer.refused(400, "csv_invalid")["message"].to_string()
            } else {
                detail[0]["msg"].to_string()
            };
            assert!(said.contains(message), "{shown:?}: {answer}");
        }
    }
    // A JSON body has no bare NUL and no invalid UTF-8, so these come as a stream, and NUL also escaped.
    for (csv, message) in [
        (&b"customer_user_id,email\nx,a\0b\n"[..], "NUL"),
        (b"customer_user_id,full_name\nx,Zo\xeb\n", "UTF-8"),
        (b"\xff\xfec\0u", "UTF-8"),
        (b"customer_user_id\nx\xc3", "UTF-8"),
    ] {
        let answer = client.import("", csv.to_vec()).await;
        let detail = answer.refused(400, "csv_invalid");
        assert!(detail["message"].to_string().contains(message), "{answer}");
    }
    assert_eq!(
        client
            .post(
                "users/import-csv",
                json!({"csv": "customer_user_id\nx\u{0}\n"})
            )
            .await
            .status,
        422
    );
    for members in [
        json!({}),
        json!({"csv": "customer_user_id\nx\n", "csv_text": "customer_user_id\nx\n"}),
        json!({"csv": 7}),
        json!({"csv": "customer_user_id\nx\n", "delimiter": "::"}),
        json!({"csv": "customer_user_id\nx\n", "delimiter": "\""}),
        json!({"csv": "customer_user_id\nx\n", "delimiter": "ä"}),
        json!({"csv": "customer_user_id\nx\n", "on_conflict": "replace"}),
        json!({"csv": "customer_user_id\nx\n", "empty_cells": "drop"}),
        json!({"csv": "customer_user_id\nx\n", "provider": "p".repeat(65)}),
        json!({"csv": "customer_user_id\nx\n", "dryrun": true}),
    ] {
        let answer = client.post("users/import-csv", members).await;
        assert_eq!(answer.status, 422, "{answer}");
    }
    for options in [
        "dryrun=true",
        "on_conflict=replace",
        "delimiter=::",
        "dry_run=true&dry_run=true",
    ] {
        let answer = client.import(options, "customer_user_id\nx\n").await;
        assert_eq!(answer.status, 422, "{options}: {answer}");
    }
    let gzip = client.with_header("content-encoding", "gzip");
    let answer = gzip.import("", "customer_user_id\nx\n").await;
    assert_eq!(
        answer.status, 400,
        "what is announced as gzip and is none: {answer}"
    );
    client
        .with_header("content-encoding", "br")
        .import("", "customer_user_id\nx\n")
        .await
        .refused(415, "unsupported_media_type");
    assert_eq!(
        client.holdings().await,
        before,
        "a refused file left something behind"
    );
    assert_eq!(
        client.ok("users/imports/list", json!({})).await["total"],
        0,
        "a refused file is an import"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_is_still_sending_sees_why_the_file_is_refused() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "sending").await;
    let before = client.holdings().await;
    let elsewhere = client.in_scope(Scope {
        account_id: "acc_other".into(),
        ..client.scope().clone()
    });
    // The server knows after the first bytes; the caller has 32 MiB to send.
    for first in [
        "17,Ada\n",
        "customer_user_id,city,city\n",
        "customer_user_id\nx\0\n",
        "customer_user_id\nx,\"open",
    ] {
        let rest = Bytes::from(vec![b'y'; 1 << 20]);
        let file = || {
            let pieces = [Bytes::from(first)]
                .into_iter()
                .chain(std::iter::repeat_n(rest.clone(), 32));
            Body::wrap_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
        };
        let answer = client.import("", file()).await;
        assert!(matches!(answer.status, 400 | 422), "{first:?}: {answer}");
        assert_eq!(client.import("dryrun=1", file()).await.status, 422);
        elsewhere
            .import("", file())
            .await
            .refused(403, "tenant_mismatch");
    }
    assert_eq!(client.holdings().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_wrong_fails_alone_and_says_where() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "rows").await;
    client
        .upsert(
            "c0",
            json!({"email": "grace@example.org", "full_name": "Grace"}),
        )
        .await;
    client
        .ok(
            "schema/upsert",
            json!({"primary_key": "customer_user_id", "fields": [
                {"name": "customer_user_id", "required": true, "unique": true},
                {"name": "email", "type": "email", "unique": true},
                {"name": "full_name", "required": true},
                {"name": "age", "type": "number"},
            ]}),
        )
        .await;
    let cell = "z".repeat(1 << 20);
    let csv = [
        "customer_user_id,email,full_name,age,enabled",
        "r3,r3@example.org,Three,3,",
        "r4,r4@example.org,Four",
        "r5,r5@example.org,Five,5,true,surplus",
        "r6,r6@example.org,\"Six\nlines\",6,false",
        "r8,r8@example.org,Ei\"ght,8,",
        &format!("r9,r9@example.org,{cell},9,"),
        "r10,not an address,Ten,ten,",
        "r11,r11@example.org,,11,",
        "r12,GRACE@example.org,Twelve,12,",
        "r13,r13@example.org,Thirteen,13,perhaps",
        ",r14@example.org,Fourteen,14,",
        "c1,,Ada King,,",
        "r16,r16@example.org,Sixteen,16,yes",
    ]
    .join("\n");
    let import = client.ok("users/import-csv", json!({"csv": csv})).await;
    let counts = [
        "total",
        "created",
        "updated",
        "unchanged",
        "skipped",
        "failed",
    ]
    .map(|name| import[name].as_i64().expect("a count"));
    assert_eq!(counts[0], counts[1..].iter().sum::<i64>(), "{import}");
    assert_eq!(counts, [13, 5, 1, 0, 0, 7], "{import}");
    assert_eq!(import["status"], "completed_with_errors", "{import}");
    let failed: Vec<(u64, &str)> = import["errors_sample"]
        .as_array()
        .expect("a sample")
        .iter()
        .map(|finding| {
            (
                finding["row"].as_u64().expect("a row"),
                finding["field"].as_str().unwrap_or(""),
            )
        })
        .collect();
    let rows: Vec<u64> = failed.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [3, 4, 7, 9, 10, 11, 12], "{import}");
    assert_eq!(
        failed[2..6],
        [
            (7, "profile"),
            (9, "full_name"),
            (10, "email"),
            (11, "enabled")
        ],
        "{import}"
    );
    let warned: Vec<&Value> = import["warnings_sample"]
        .as_array()
        .expect("a sample")
        .iter()
        .map(|finding| &finding["field"])
        .collect();
    assert_eq!(
        (&import["warnings"], warned),
        (&json!(2), vec![&json!("email"), &json!("age")]),
        "{import}"
    );
    assert_eq!(
        client.ids(json!({})).await,
        ["c0", "c1", "r10", "r16", "r3", "r6", "r8"]
    );
    let record = |id: &str| {
        let (client, id) = (client.clone(), id.to_owned());
        async move {
            client
                .ok("users/get", json!({"customer_user_id": id}))
                .await["user"]
                .clone()
        }
    };
    assert_eq!(record("r6").await["profile"]["full_name"], "Six\nlines");
    assert_eq!(record("r6").await["enabled"], false);
    assert_eq!(record("r8").await["profile"]["full_name"], "Ei\"ght");
    assert_eq!(
        record("r10").await["profile"],
        json!({"customer_user_id": "r10", "full_name": "Ten"})
    );
    assert_eq!(
        record("c1").await["profile"],
        json!({"customer_user_id": "c1", "full_name": "Ada King"}),
        "an empty cell clears"
    );

    let errors = client
        .post(
            "users/imports/errors",
            json!({"import_id": import["import_id"]}),
        )
        .await;
    errors.ok();
    assert!(
        errors
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/csv")),
        "the failed rows are a file"
    );
    let mut table = csv::Reader::from_reader(errors.body.as_slice());
    let header: Vec<String> = table
        .headers()
        .expect("a header")
        .iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        header,
        [
            "customer_user_id",
            "email",
            "full_name",
            "age",
            "enabled",
            "import_row",
            "import_field",
            "import_error"
        ]
    );

    // A quote that is never closed makes the rest of the file one row, which fails; what stands before it is done.
    let answer = client
        .import(
            "",
            "customer_user_id,full_name\nq1,One\nq2,\"Two\nq3,Three\n".to_owned(),
        )
        .await;
    assert_eq!(answer.status, 202, "{answer}");
    let import = client.import_ended(&answer.json()["import_id"]).await;
    assert_eq!(
        (&import["total"], &import["created"], &import["failed"]),
        (&json!(2), &json!(1), &json!(1)),
        "{import}"
    );
    assert_eq!(import["errors_sample"][0]["row"], 3, "{import}");
    client
        .ok("users/get", json!({"customer_user_id": "q1"}))
        .await;
    client
        .refused(
            "users/get",
            json!({"customer_user_id": "q3"}),
            404,
            "customer_not_found",
        )
        .await;

    // The same file, compressed, with another delimiter and in UTF-16.
    let mut packed = GzipEncoder::new(Vec::new());
    packed
        .write_all(b"customer_user_id;full_name\ng1;One\n")
        .await
        .expect("memory");
    packed.shutdown().await.expect("memory");
    let packed = packed.into_inner();
    let answer = client
        .with_header("content-encoding", "gzip")
        .import("", packed)
        .await;
    assert_eq!(
        client.import_ended(&answer.ok()["import_id"]).await["created"],
        1
    );
    let utf16: Vec<u8> = "\u{feff}customer_user_id\tfull_name\nu1\tZoë\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let answer = client.import("", utf16).await;
    assert_eq!(
        client.import_ended(&answer.ok()["import_id"]).await["created"],
        1
    );
    assert_eq!(record("u1").await["profile"]["full_name"], "Zoë");

    // A rehearsal says what would happen, and nothing does.
    let before = client.ids(json!({})).await;
    let rehearsal = client.ok("users/import-csv", json!({"csv": "customer_user_id,full_name\nn1,New\nu1,Zoe\ng1,One\nbad,\n", "dry_run": true})).await;
    let counts =
        ["total", "created", "updated", "unchanged", "failed"].map(|name| rehearsal[name].as_i64());
    assert_eq!(counts, [4, 1, 1, 1, 1].map(Some), "{rehearsal}");
    assert_eq!(client.ids(json!({})).await, before);
    assert_eq!(record("u1").await["profile"]["full_name"], "Zoë");
}
