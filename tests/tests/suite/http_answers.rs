//! What every answer carries, and how often a caller gets one.

use roster_tests::client::Client;
use roster_tests::server::Server;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_request_id_and_a_long_one_may_be_compressed() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "answers")
        .await
        .expect("a client");
    let given = client
        .with_header("x-request-id", "from-the-caller.1")
        .post("users/list", json!({}))
        .await;
    assert_eq!(given.header("x-request-id"), Some("from-the-caller.1"));
    let long = "x".repeat(129);
    let mut minted = Vec::new();
    for unusable in ["", "two words", long.as_str()] {
        let answer = client
            .with_header("x-request-id", unusable)
            .post("users/nowhere", json!({}))
            .await;
        let id = answer
            .header("x-request-id")
            .expect("every answer has one")
            .to_owned();
        assert!(id.starts_with("req_"), "{id}");
        minted.push(id);
    }
    minted.sort_unstable();
    minted.dedup();
    assert_eq!(minted.len(), 3, "two requests have one id");

    for number in 0..25 {
        client
            .upsert(
                &format!("customer-{number}"),
                json!({"full_name": "Ada Lovelace"}),
            )
            .await;
    }
    let plain = client.post("users/list", json!({})).await;
    assert_eq!(
        plain.header("content-encoding"),
        None,
        "nobody asked for compression"
    );
    for encoding in ["gzip", "zstd"] {
        let packed = client
            .with_header("accept-encoding", encoding)
            .post("users/list", json!({}))
            .await;
        assert_eq!(packed.header("content-encoding"), Some(encoding));
        assert!(
            packed.body.len() < plain.body.len() / 2,
            "{} of {}",
            packed.body.len(),
            plain.body.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_too_often_is_told_when_to_come_back() {
    let server = Server::start_with(&[
        ("ROSTER_LIMITS__RATE_PER_SECOND", "1"),
        ("ROSTER_LIMITS__RATE_BURST", "3"),
    ]);
    let server = server.await.expect("a server");
    let client = Client::of_project(&server, "rates")
        .await
        .expect("a client");
    let other = Client::of_project(&server, "rates")
        .await
        .expect("a client");
    let mut refused = None;
    for _ in 0..100 {
        let answer = client.post("users/list", json!({})).await;
        assert!(
            answer.header("ratelimit-policy").is_some() && answer.header("ratelimit").is_some(),
            "{answer}"
        );
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("three at once, and one a second");
    refused.refused(429, "rate_limited");
    let seconds = refused
        .header("retry-after")
        .and_then(|text| text.parse::<u64>().ok());
    assert!(
        seconds.is_some_and(|seconds| (1..=3).contains(&seconds)),
        "{refused}"
    );
    // The rate is the credential's own, and probes have none.
    other.ok("users/list", json!({})).await;
    assert_eq!(client.get("/healthz").await.status, 200);
}
