//! Walks through everything.

use roster_fakes::Vendor;
use serde_json::Value;

use crate::session::{fake, many, open, options, present, settings, source, walk};

/// What a mapping reads at a path.
fn at<'a>(fields: &'a Value, path: &str) -> &'a Value {
    match fields.get(path) {
        Some(value) => value,
        None => fields
            .pointer(&format!("/{}", path.replace('.', "/")))
            .unwrap_or(&Value::Null),
    }
}

#[tokio::test]
async fn an_empty_source_a_single_page_and_many_pages_are_read_whole() {
    for vendor in Vendor::ALL {
        for people in [0, 7, many(*vendor)] {
            let fake = fake(*vendor, people).await;
            let walked = walk(open(&fake).as_mut(), None).await;
            assert_eq!(walked.ids(), present(&fake), "{vendor:?}");
            assert_eq!(
                walked.records.len() as u64,
                people,
                "{vendor:?}: nobody twice"
            );
            assert_eq!(
                walked.pages > 2,
                people > 7,
                "{vendor:?}: {} pages",
                walked.pages
            );
        }
    }
}

#[tokio::test]
async fn a_mapping_finds_its_values_and_a_test_says_that_it_does() {
    for vendor in Vendor::ALL {
        let fake = fake(*vendor, 3).await;
        let mut session = open(&fake);
        let walked = walk(session.as_mut(), None).await;
        let record = &walked.records[1];
        let fields = Value::Object(record.fields.clone());
        let email = fake.mapping()[1].0;
        assert_eq!(at(&fields, email), "person2@example.org", "{vendor:?}");
        assert_eq!(at(&fields, fake.mapping()[2].0), "First2", "{vendor:?}");
        let checks = session.check().await;
        assert!(
            checks.iter().all(|check| check.ok),
            "{vendor:?}: {checks:?}"
        );
    }
}

#[tokio::test]
async fn a_test_names_what_the_mapping_misses() {
    for vendor in [
        Vendor::Hubspot,
        Vendor::GoogleSheets,
        Vendor::Airtable,
        Vendor::CsvUrl,
    ] {
        let fake = fake(vendor, 3).await;
        let mut settings = settings(&fake);
        let path = match vendor {
            Vendor::Hubspot => "properties.nope",
            Vendor::Airtable => "fields.nope",
            _ => "nope",
        };
        settings.paths = vec![path.into()];
        let mut session = source(options(&fake), fake.provider())
            .open(settings)
            .expect("it opens");
        let checks = session.check().await;
        let last = checks.last().expect("a check");
        assert!(
            last.name == "fields" && !last.ok && last.message.contains("nope"),
            "{vendor:?}: {checks:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_credential_fails_the_test_of_a_connection_without_being_shown() {
    for vendor in Vendor::ALL {
        let fake = fake(*vendor, 3).await;
        let mut settings = settings(&fake);
        for name in [
            "access_token",
            "api_key",
            "client_secret",
            "api_token",
            "token",
            "key",
            "password",
        ] {
            if let Some(part) = settings.credentials.parts.get_mut(name) {
                *part = "wrong-and-secret-9999".into();
            }
        }
        if settings
            .credentials
            .parts
            .contains_key("service_account_key")
        {
            continue;
        }
        let mut session = source(options(&fake), fake.provider())
            .open(settings)
            .expect("it opens");
        let checks = session.check().await;
        assert!(
            checks[0].name == "authentication" && !checks[0].ok,
            "{vendor:?}: {checks:?}"
        );
        assert!(
            !format!("{checks:?}").contains("9999"),
            "{vendor:?}: {checks:?}"
        );
    }
}
