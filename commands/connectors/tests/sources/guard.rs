//! A tenant reaches only what everyone can reach, and nothing without an end.

use std::time::Duration;

use roster_commands::sync::source::{Settings, SourceError, Walk};
use roster_connectors::OutboundOptions;
use roster_fakes::{Fault, Paging, Vendor};
use serde_json::json;

use crate::session::{credentials, fake, many, open, options, settings, source, try_open};

/// What comes of reading a list at a URL.
async fn read(options: OutboundOptions, url: &str) -> SourceError {
    let settings = Settings {
        credentials: credentials(&json!({"type": "none"})),
        config: json!({"url": url}).as_object().cloned().unwrap_or_default(),
        paths: Vec::new(),
    };
    let mut session = source(options, "http_json")
        .open(settings)
        .expect("it opens");
    session
        .page(&Walk::default())
        .await
        .expect_err("it is not let through")
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_is_let_through() {
    let plain = OutboundOptions {
        allow_http: true,
        connect_timeout: Duration::from_millis(500),
        ..OutboundOptions::default()
    };
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "172.20.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "localhost",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "0x7f.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "１２７.0.0.1",
    ] {
        for scheme in ["http", "https"] {
            let error = read(plain.clone(), &format!("{scheme}://{host}:9/list")).await;
            assert!(
                matches!(error, SourceError::Refused(_)),
                "{scheme}://{host}: {error:?}"
            );
        }
    }
    for url in ["http://example.org/", "https://ann:secret@example.org/"] {
        let error = read(OutboundOptions::default(), url).await;
        assert!(
            matches!(&error, SourceError::Refused(message) if !message.contains("secret")),
            "{url}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_or_a_next_page_leads_to_no_inner_address() {
    let inner = [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:9/",
        "http://[::1]/",
        "http://2852039166/",
        "file:///etc/passwd",
    ];
    for to in inner {
        for vendor in [
            Vendor::HttpJson(Paging::Link),
            Vendor::CsvUrl,
            Vendor::Pipedrive,
            Vendor::Zendesk,
        ] {
            // Sources without a vendor need loopback to be let through at all.
            if to.contains("localhost") && matches!(vendor, Vendor::HttpJson(_) | Vendor::CsvUrl) {
                continue;
            }
            let fake = fake(vendor, 3).await;
            fake.fault(1, Fault::Redirect(to.into()));
            let error = open(&fake)
                .page(&Walk::default())
                .await
                .expect_err("it is not followed");
            assert!(
                matches!(error, SourceError::Refused(_)),
                "{vendor:?} {to}: {error:?}"
            );
        }
    }
    // A next page on another origin gets no credentials, wherever it is.
    let fake = fake(
        Vendor::HttpJson(Paging::NextUrl),
        many(Vendor::HttpJson(Paging::NextUrl)),
    )
    .await;
    let mut settings = settings(&fake);
    settings.config["paging"]["path"] = json!("data.people.0.contact.next");
    for next in [
        "http://169.254.169.254/",
        "//10.0.0.1/",
        "http://localhost/",
    ] {
        let walk = Walk {
            place: Some(json!({"at": next, "seen": {}})),
            ..Walk::default()
        };
        let mut session = try_open(&fake, settings.clone()).expect("it opens");
        let error = session.page(&walk).await.expect_err("it is not followed");
        assert!(
            matches!(error, SourceError::Refused(_)),
            "{next}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_gets_no_credentials() {
    let (from, to) = (
        fake(Vendor::HttpJson(Paging::Link), 3).await,
        fake(Vendor::HttpJson(Paging::Link), 3).await,
    );
    from.fault(1, Fault::Redirect(format!("{}/people", to.url())));
    let error = open(&from)
        .page(&Walk::default())
        .await
        .expect_err("the other does not know us");
    assert!(matches!(error, SourceError::Unauthorized(_)), "{error:?}");
    assert!(to.asks()[0].header("authorization").is_none());
    from.fault(1, Fault::Redirect("/people?again".into()));
    let page = open(&from)
        .page(&Walk::default())
        .await
        .expect("the same origin does");
    assert_eq!(page.records.len(), 3);
}

#[tokio::test]
async fn what_has_no_end_is_cut_off() {
    for vendor in [
        Vendor::Hubspot,
        Vendor::HttpJson(Paging::Link),
        Vendor::CsvUrl,
    ] {
        let fake = fake(vendor, 3).await;
        let mut options = options(&fake);
        (options.page_bytes, options.file_bytes) = (1 << 20, 1 << 20);
        (options.answer_timeout, options.file_timeout) =
            (Duration::from_secs(5), Duration::from_millis(200));
        for fault in [Fault::Huge, Fault::Endless, Fault::Bomb(8 << 20)] {
            fake.fault(1, fault.clone());
            let mut session = source(options.clone(), fake.provider())
                .open(settings(&fake))
                .expect("it opens");
            let error = session
                .page(&Walk::default())
                .await
                .expect_err("it is cut off");
            assert!(
                matches!(error, SourceError::Refused(_)),
                "{vendor:?} {fault:?}: {error:?}"
            );
        }
        options.answer_timeout = Duration::from_millis(200);
        fake.fault(1, Fault::Trickle);
        let mut session = source(options, fake.provider())
            .open(settings(&fake))
            .expect("it opens");
        let error = session
            .page(&Walk::default())
            .await
            .expect_err("it is cut off");
        assert!(
            matches!(error, SourceError::Transient(_)),
            "{vendor:?}: {error:?}"
        );
    }
}
