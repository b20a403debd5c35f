//! CSV files as people make them.

use std::collections::BTreeMap;
use std::io::Write;

use axum::Router;
use axum::routing::get;
use roster_commands::sync::source::{Session, Settings, SourceError, Walk};
use roster_connectors::OutboundOptions;
use roster_fakes::{Fake, Vendor};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::session::{Walked, credentials, fake, go_on, open, source, walk};

/// Serves bytes as a file, and opens it.
async fn serve(
    kind: &'static str,
    bytes: Vec<u8>,
    config: Value,
) -> (JoinSet<()>, Box<dyn Session>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback gives a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let answer = move || std::future::ready(([("content-type", kind)], bytes.clone()));
    let router = Router::new().route("/", get(answer));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    let options = OutboundOptions {
        allow: vec!["127.0.0.1".into()],
        allow_http: true,
        ..OutboundOptions::default()
    };
    let mut config = config.as_object().cloned().unwrap_or_default();
    config.insert("url".into(), url.into());
    let settings = Settings {
        credentials: credentials(&json!({"type": "none"})),
        config,
        paths: Vec::new(),
    };
    let session = source(options, "csv_url").open(settings).expect("it opens");
    (server, session)
}

/// The records of a file, each as (id, cells, problem).
async fn read(bytes: impl Into<Vec<u8>>, config: Value) -> Vec<(String, Value, Option<String>)> {
    let (_server, mut session) = serve("text/csv", bytes.into(), config).await;
    let records = walk(session.as_mut(), None).await.records;
    records
        .into_iter()
        .map(|record| (record.id, Value::Object(record.fields), record.problem))
        .collect()
}

#[tokio::test]
async fn encodings_delimiters_quotes_and_gzip_are_understood() {
    let text = "id;name;note\r\n1;Zoë;\"two\r\nlines; \"\"quoted\"\"\"\r\n\r\n2;Ann;\r\n";
    let utf16 = |text: &str, mark: bool| -> Vec<u8> {
        let mark = mark.then_some(0xFEFF_u16);
        mark.into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect()
    };
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).expect("memory takes it");
    let packed = packer.finish().expect("memory takes it");
    let variants: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("plain", text.as_bytes().to_vec()),
        ("marked", format!("\u{feff}{text}").into_bytes()),
        ("utf-16 marked", utf16(text, true)),
        ("utf-16", utf16(text, false)),
        ("gzip", packed),
        (
            "tabs",
            text.replace("; ", "# ")
                .replace(';', "\t")
                .replace("# ", "; ")
                .into_bytes(),
        ),
        (
            "without a last line end",
            text.trim_end_matches("\r\n").as_bytes().to_vec(),
        ),
    ]);
    for (name, bytes) in variants {
        let rows = read(bytes, json!({})).await;
        let first = json!({"id": "1", "name": "Zoë", "note": "two\r\nlines; \"quoted\""});
        assert_eq!(rows[0], ("1".into(), first, None), "{name}");
        assert_eq!(
            rows[1],
            (
                "2".into(),
                json!({"id": "2", "name": "Ann", "note": null}),
                None
            ),
            "{name}"
        );
        assert_eq!(rows.len(), 2, "{name}");
    }
    let latin = read(
        b"id,name\n1,Zo\xEB\n".to_vec(),
        json!({"encoding": "windows-1252", "id_column": "name"}),
    )
    .await;
    assert_eq!(latin[0].0, "Zoë");
}

#[tokio::test]
async fn ragged_rows_are_records_with_a_problem_and_their_line() {
    let rows = read(
        "id,mail,mail\n1,a,b\n2,\"x\ny\"\n3,a,b,c\n,d,e\n",
        json!({}),
    )
    .await;
    assert_eq!(rows[0].1, json!({"id": "1", "mail": "a", "mail (2)": "b"}));
    assert_eq!(
        rows[1].2.as_deref(),
        Some("line 3 has 2 cells where the header has 3")
    );
    assert_eq!(
        rows[2].2.as_deref(),
        Some("line 5 has 4 cells where the header has 3")
    );
    assert_eq!((rows[3].0.as_str(), &rows[3].2), ("line 6", &None));
}

#[tokio::test]
async fn what_is_no_csv_is_said_to_be_none() {
    for (kind, bytes) in [
        ("text/html", b"id,name\n".to_vec()),
        ("text/csv", b"  <!DOCTYPE html><html>".to_vec()),
        ("text/csv", b"id,name\n1,\xFF\xFE\n".to_vec()),
        (
            "text/csv",
            [b"id,name\n1,\"".as_slice(), &vec![b'x'; 3 << 20]].concat(),
        ),
    ] {
        let (_server, mut session) = serve(kind, bytes, json!({})).await;
        let error = session
            .page(&Walk::default())
            .await
            .expect_err("it is no CSV");
        assert!(matches!(error, SourceError::Config(_)), "{error:?}");
    }
    for empty in ["", "id,name\n"] {
        assert!(read(empty, json!({})).await.is_empty());
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_and_a_changed_one_is_not_read_on() {
    let fake: Fake = fake(Vendor::CsvUrl, 2_500).await;
    let full = walk(open(&fake).as_mut(), None).await;
    let again = walk(open(&fake).as_mut(), full.cursor.as_ref()).await;
    assert_eq!((again.records.len(), again.cursor), (0, None));
    let first = open(&fake).page(&Walk::default()).await.expect("a page");
    fake.world(|world| world.change(1));
    let mut walked = Walked {
        place: first.place,
        ..Walked::default()
    };
    let error = go_on(open(&fake).as_mut(), None, &mut walked).await;
    assert!(matches!(error, Err(SourceError::PlaceGone(_))), "{error:?}");
}

#[tokio::test]
async fn a_sheet_that_changes_while_it_is_read_begins_anew() {
    let fake: Fake = fake(Vendor::GoogleSheets, 3_000).await;
    let first = open(&fake).page(&Walk::default()).await.expect("a page");
    fake.world(|world| world.remove(10));
    let mut walked = Walked {
        place: first.place,
        ..Walked::default()
    };
    let error = go_on(open(&fake).as_mut(), None, &mut walked).await;
    assert!(matches!(error, Err(SourceError::PlaceGone(_))), "{error:?}");
}
