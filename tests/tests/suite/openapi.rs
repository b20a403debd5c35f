//! What the server says about itself: the OpenAPI document, its page, health, version, metrics.

use roster_internal::all;
use roster_tests::client::{Client, Credential, project};
use roster_tests::server::Server;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_route_and_points_nowhere_else() {
    let server = Server::start().await.expect("a server");
    let nobody = Client::new(&server, project("docs"), Credential::None);
    let answer = nobody.get("/openapi.json").await;
    let document = answer.ok();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{document}"
    );
    for route in all() {
        let operation = &document["paths"][&route.path][route.method.to_lowercase()];
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|summary| !summary.is_empty()),
            "{}",
            route.path
        );
        assert!(
            operation["responses"]
                .as_object()
                .is_some_and(|responses| responses.len() > 1),
            "{}",
            route.path
        );
        if let Some(needed) = route.operation {
            let permission = needed.permission();
            assert_eq!(
                operation["x-permission"],
                format!("{}:{}", permission.module, permission.verb.as_str())
            );
        }
    }
    let mut dangling = Vec::new();
    references(&document, &mut |reference| {
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        if document.pointer(pointer).is_none_or(Value::is_null) {
            dangling.push(reference.to_owned());
        }
    });
    assert!(
        dangling.is_empty(),
        "the document refers to what it does not have: {dangling:?}"
    );
    assert!(
        !answer.text().contains("http://") && !answer.text().contains("https://"),
        "the document names a host"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_document_works_without_the_internet() {
    let server = Server::start().await.expect("a server");
    let nobody = Client::new(&server, project("docs"), Credential::None);
    // The client follows redirects, as a browser does.
    let page = nobody.get("/docs").await;
    page.ok();
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{page}"
    );
    let parts = resources(&page.text());
    let path = |part: &str| format!("/docs/{}", part.trim_start_matches("./"));
    for part in &parts {
        assert!(
            !part.contains("//"),
            "the page asks another host for {part}"
        );
        nobody.get(&path(part)).await.ok();
    }
    let script = parts
        .iter()
        .find(|part| part.contains("initializer"))
        .expect("it says what it shows");
    let script = nobody.get(&path(script)).await.text();
    assert!(
        !script.contains("http"),
        "the page asks another host: {script}"
    );
    assert!(
        script.contains("/openapi.json"),
        "the page shows another document: {script}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_everybody_and_show_no_tenant() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "probed-project")
        .await
        .expect("a client");
    client
        .upsert("probed-customer", json!({"email": "probed@example.org"}))
        .await;
    client
        .refused(
            "users/get",
            json!({"customer_user_id": "probed-missing"}),
            404,
            "customer_not_found",
        )
        .await;
    let nobody = client.with_credential(Credential::None);

    assert_eq!(nobody.get("/healthz").await.ok(), json!({"status": "ok"}));
    assert_eq!(nobody.get("/version").await.ok()["name"], "roster");
    let ready = nobody.get("/readyz").await.ok();
    assert_eq!(
        (&ready["status"], &ready["postgres"], &ready["bus"]),
        (&json!("ready"), &json!("ok"), &json!("ok")),
        "{ready}"
    );
    assert!(
        ready["head"].as_i64().is_some_and(|head| head > 0),
        "{ready}"
    );
    for projection in ready["projections"].as_array().expect("projections") {
        assert_eq!(
            (&projection["parked_streams"], &projection["stale"]),
            (&json!(0), &json!(false)),
            "{projection}"
        );
    }
    let metrics = nobody.get("/metrics").await;
    metrics.ok();
    assert!(
        metrics
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{metrics}"
    );
    assert!(
        metrics.text().contains("roster_http_request_seconds"),
        "{metrics}"
    );
    for path in ["/healthz", "/readyz", "/version", "/metrics"] {
        let answer = nobody.get(path).await;
        assert!(!answer.text().contains("probed"), "{answer}");
        assert!(answer.header("x-request-id").is_some(), "{answer}");
    }
    assert!(
        !server.log().contains("probed"),
        "the log names a customer:\n{}",
        server.log()
    );
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => found(reference),
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// What a page loads: the values of its `src` and `href` attributes.
fn resources(page: &str) -> Vec<String> {
    let attributes = ["src=\"", "href=\""];
    let values = attributes
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1));
    values
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}
