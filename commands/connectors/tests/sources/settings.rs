//! Settings are held against their description.

use roster_commands::sync::source::Settings;
use roster_connectors::OutboundOptions;
use serde_json::{Value, json};

use crate::session::{credentials, source};

fn findings(provider: &str, credential: &Value, config: &Value) -> Vec<String> {
    let settings = Settings {
        credentials: credentials(credential),
        config: config.as_object().cloned().unwrap_or_default(),
        paths: Vec::new(),
    };
    let opened = source(OutboundOptions::default(), provider).open(settings);
    let problems = opened.err().unwrap_or_default();
    problems
        .iter()
        .map(|problem| format!("{} {}", problem.loc.join("."), problem.kind))
        .collect()
}

#[test]
fn every_finding_is_named_with_its_place() {
    let key = json!({"type": "private_app", "access_token": "pat-1234"});
    assert!(findings("hubspot", &key, &json!({})).is_empty());
    assert_eq!(
        findings(
            "hubspot",
            &json!({"type": "oauth"}),
            &json!({"look_back_minutes": -1, "base_url": "http://x"})
        ),
        [
            "credentials.type not_allowed",
            "config.base_url unknown_field",
            "config.look_back_minutes out_of_range"
        ],
    );
    assert_eq!(
        findings("hubspot", &json!({"access_token": " "}), &json!({})),
        ["credentials.access_token value_required"]
    );
    let paging = json!({"url": "https://example.org", "paging": {"type": "cursor", "path": 3}});
    assert_eq!(
        findings("http_json", &json!({"type": "none"}), &paging),
        ["config.paging.path wrong_type"]
    );
    let paging =
        json!({"url": "https://example.org", "paging": {"type": "cursor", "path": "next"}});
    assert_eq!(
        findings("http_json", &json!({"type": "none"}), &paging),
        ["config.paging.param value_required"]
    );
    assert_eq!(
        findings(
            "zendesk",
            &json!({"type": "oauth", "access_token": "abcd"}),
            &json!({"subdomain": "a.b/c"})
        ),
        ["config.subdomain invalid_format"]
    );
    let key = json!({"type": "service_account", "service_account_key": "{\"client_email\": \"a@b\", \"private_key\": \"x\"}"});
    assert_eq!(
        findings("google_sheets", &key, &json!({"spreadsheet_id": "abc"})),
        ["credentials.service_account_key invalid_format"]
    );
}
