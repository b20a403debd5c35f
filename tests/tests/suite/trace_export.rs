//! Traces that leave the service: a request under its caller's trace, on to the message on NATS, and nothing about a person.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use roster_tests::bus::{Nats, Subscriber};
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::dump::{Dump, hex};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::json;
use tokio::net::TcpListener;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector at the outer edge: it keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Starts it; the URL of its base.
    async fn start(&self) -> String {
        let take = async |State(kept): State<Self>, body: Bytes| {
            let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(body);
        };
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = axum::serve(listener, router);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(std::future::IntoFuture::into_future(serving));
        // It ends with the runtime of the test.
        tasks.detach_all();
        url
    }

    fn bodies(&self) -> Vec<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    fn exports(&self) -> Vec<ExportTraceServiceRequest> {
        let decode = |body: &Bytes| ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
        self.bodies().iter().map(decode).collect()
    }

    /// Every span so far.
    fn spans(&self) -> Vec<Span> {
        let exports = self.exports().into_iter();
        let of_services = exports.flat_map(|export| export.resource_spans);
        let of_scopes = of_services.flat_map(|service| service.scope_spans);
        of_scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The names of the services that sent something.
    fn services(&self) -> Vec<String> {
        let exports = self.exports().into_iter();
        let resources = exports.flat_map(|export| export.resource_spans);
        let attributes =
            resources.flat_map(|service| service.resource.unwrap_or_default().attributes);
        attributes
            .filter(|attribute| attribute.key == "service.name")
            .filter_map(|attribute| match attribute.value?.value? {
                any_value::Value::StringValue(name) => Some(name),
                _ => None,
            })
            .collect()
    }
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CALLER}-{flags}")
}

async fn serve(nats: &Nats, endpoint: &str, ratio: &str) -> Server {
    let settings = [
        ("NATS_URL", nats.url()),
        ("ROSTER_NATS__RELAY", "true"),
        ("ROSTER_TELEMETRY__OTLP_ENDPOINT", endpoint),
        ("ROSTER_TELEMETRY__SERVICE_NAME", "roster-of-a-test"),
        ("ROSTER_TELEMETRY__SAMPLE_RATIO", ratio),
    ];
    let database = Arc::new(Database::create().await.expect("a database"));
    Server::start_on(database, &settings)
        .await
        .expect("a server")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_exported_under_its_callers_trace_and_goes_on_to_nats() {
    let planted = [
        "planted-person-0001",
        "Érika Müstermänn",
        "erika.planted@example.org",
        "request-of-erika",
    ];
    let [id, name, email, request] = planted;
    let collector = Collector::default();
    let nats = Nats::start().expect("NATS");
    let mut server = serve(&nats, &collector.start().await, "0").await;
    let client = Client::of_project(&server, "p").await.expect("a client");
    let traced = client
        .with_header("traceparent", &traceparent(TRACE, "01"))
        .with_header("x-request-id", request);
    // Nobody asked for this one, and none of those is sampled.
    client.upsert("other", json!({})).await;
    let members = json!({"customer_user_id": id, "profile": {"full_name": name, "email": email}});
    let position = traced.post("users/upsert", members).await.position();
    let unsampled = client.with_header("traceparent", &traceparent(&"a".repeat(32), "00"));
    unsampled.upsert("third", json!({})).await;

    let spans = until("the request to be exported", async || {
        let spans = collector.spans();
        (spans.len() >= 3).then_some(spans)
    });
    let spans = spans.await;
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("{name}: {spans:?}"));
        assert!(found.next().is_none(), "{name} twice: {spans:?}");
        span
    };
    let route = "/directory-sync/internal/volt/project-users/users/upsert";
    let request = named(&format!("POST {route}"));
    assert_eq!(hex(&request.parent_span_id), CALLER);
    for part in ["append", "projection"] {
        assert_eq!(named(part).parent_span_id, request.span_id, "{part}");
    }
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(collector.services(), ["roster-of-a-test"]);

    let mut subscriber = Subscriber::connect(&nats).await.expect("a subscriber");
    subscriber.hear(position).await;
    let heard = subscriber.heard.last().expect("a message");
    let passed_on = heard.headers.get("traceparent").expect("a trace");
    let expected = format!("00-{TRACE}-{}-01", hex(&request.span_id));
    assert_eq!(passed_on.as_str(), expected);

    // A stop sends what is left; what a caller wants traced is exported whatever the ratio is.
    let last = traced.post("users/get", json!({"customer_user_id": id}));
    last.await.ok();
    assert!(server.stop().await.expect("it stops").success());
    let spans = collector.spans();
    assert!(
        spans.iter().any(|span| span.name.ends_with("/users/get")),
        "{spans:?}"
    );
    let exported: Vec<String> = collector
        .bodies()
        .iter()
        .map(|body| String::from_utf8_lossy(body).into_owned())
        .collect();
    let exported = Dump::of(exported.concat());
    assert!(!exported.forms_of("users/upsert").is_empty());
    for value in planted {
        assert_eq!(exported.forms_of(value), Vec::<String>::new(), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_for_a_collector_that_is_away() {
    let nats = Nats::start().expect("NATS");
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let mut server = serve(&nats, &url, "1").await;
    let client = Client::of_project(&server, "p").await.expect("a client");
    // Far more spans than wait at most.
    let ask = async || {
        for _ in 0..500 {
            client.ok("users/list", json!({})).await;
        }
    };
    tokio::join!(
        ask(),
        ask(),
        ask(),
        ask(),
        ask(),
        ask(),
        ask(),
        ask(),
        ask(),
        ask()
    );
    client.upsert("ada", json!({})).await;
    until("the trouble to be told", async || {
        server
            .log()
            .contains("spans cannot be exported")
            .then_some(())
    })
    .await;
    assert!(server.stop().await.expect("it stops").success());
}
