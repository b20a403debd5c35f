//! Requests that are wrong: each has its clear error, nothing is half done, and the server goes on.

use bytes::Bytes;
use futures::stream;
use reqwest::{Body, Method};
use roster_internal::all;
use roster_tests::client::{Client, Credential};
use roster_tests::server::Server;
use serde_json::json;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_refused_and_not_repeated() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "bodies").await;
    let before = client.holdings().await;
    let scope = client.body(&json!({})).to_string();
    let scope = scope.trim_start_matches('{').trim_end_matches('}');

    let secret = "hunter2-hunter2";
    for broken in [
        String::new(),
        "{".into(),
        "null".into(),
        "[]".into(),
        "7".into(),
        format!("\"{secret}\""),
        format!("{{{scope}"),
        format!("{{{scope},}}"),
        format!("{{{scope}}} {secret}"),
        format!("{{{scope},\"customer_user_id\":'{secret}'}}"),
        format!("{{{scope},\"customer_user_id\":\"{secret}"),
        format!("{{{scope},\"profile\":{{\"a\":NaN}}}}"),
        format!("{{{scope},{scope},\"customer_user_id\":\"x\"}}"),
        format!("{{{scope},\"customer_user_id\":\"x\",\"customer_user_id\":\"{secret}\"}}"),
        format!("{{{scope},\"customer_user_id\":\"x\",\"{secret}{secret}\":1}}"),
        format!("{{{scope},\"customer_user_id\":[\"{secret}\"]}}"),
        format!("{{{scope},\"customer_user_id\":\"x\",\"enabled\":\"{secret}\"}}"),
        format!("{{{scope},\"customer_user_id\":\"x\",\"profile\":\"{secret}\"}}"),
        // An escaped NUL, in a value, in a name and in the id.
        format!(
            "{{{scope},\"customer_user_id\":\"x\",\"profile\":{{\"a\":\"b\\u0000{secret}\"}}}}"
        ),
        format!("{{{scope},\"customer_user_id\":\"x\",\"profile\":{{\"a\\u0000\":\"{secret}\"}}}}"),
        format!("{{{scope},\"customer_user_id\":\"\\u0000{secret}\"}}"),
        // Half of a surrogate pair.
        format!("{{{scope},\"customer_user_id\":\"\\ud800\"}}"),
        format!("{{{scope},\"customer_user_id\":\"x\",\"profile\":{{\"a\":\"\\ud800\"}}}}"),
        // Nested ten thousand deep: in the profile, beside it, and around everything.
        format!(
            "{{{scope},\"customer_user_id\":\"x\",\"profile\":{}1{}}}",
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        ),
        format!(
            "{{{scope},\"customer_user_id\":\"x\",\"profile\":{{\"a\":{}{}}}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
        format!(
            "{{{scope},\"customer_user_id\":{}{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        ),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        "[".repeat(1_000_000),
    ] {
        let answer = client.post_text("users/upsert", broken.clone()).await;
        let shown: String = broken.chars().take(200).collect();
        assert_eq!(answer.status, 422, "{shown}: {answer}");
        let findings = answer.json()["detail"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert!(!findings.is_empty(), "{shown}: {answer}");
        for finding in findings {
            assert!(
                finding["msg"].is_string()
                    && finding["type"].is_string()
                    && finding["loc"][0] == "body",
                "{shown}: {answer}"
            );
        }
        assert!(
            !answer.text().contains(secret),
            "the answer repeats the input: {answer}"
        );
    }
    for bytes in [
        &b"\xff\xfe{}"[..],
        b"{\"account_id\":\"\xc3\x28\"}",
        b"{\"customer_user_id\":\"\x00\"}",
    ] {
        assert_eq!(
            client
                .post_text("users/upsert", bytes.to_vec())
                .await
                .status,
            422
        );
    }
    let mut invalid = format!("{{{scope},\"customer_user_id\":\"x").into_bytes();
    invalid.extend([0xc3, 0x28]);
    invalid.extend(b"\"}");
    assert_eq!(client.post_text("users/upsert", invalid).await.status, 422);
    client
        .invalid("users/list", json!({"serach": "x"}), "body.serach")
        .await;
    client
        .invalid("users/export-csv", json!({"page": 1}), "body.page")
        .await;
    client
        .invalid("users/list", json!({"page": 0}), "body.page")
        .await;
    client
        .invalid(
            "users/list",
            json!({"page_size": 1_000_000_000}),
            "body.page_size",
        )
        .await;
    client
        .invalid(
            "users/imports/list",
            json!({"page_size": 1_000_000_000}),
            "body.page_size",
        )
        .await;
    client
        .invalid("users/suppressions/list", json!({"page": 0}), "body.page")
        .await;
    assert_eq!(
        client
            .post("users/list", json!({"page": 1e300}))
            .await
            .status,
        422
    );
    assert_eq!(client.holdings().await, before);

    assert_eq!(
        client
            .send(Method::POST, "users/list", Some("text/plain"), "{}")
            .await
            .status,
        415
    );
    for (content_type, encoding) in [
        (None, None),
        (Some("text/csv"), None),
        (Some("application/x-www-form-urlencoded"), None),
        (Some("application/json"), Some("gzip")),
    ] {
        let caller = encoding.map_or(client.clone(), |encoding| {
            client.with_header("content-encoding", encoding)
        });
        let body = client.body(&json!({"customer_user_id": "x"})).to_string();
        caller
            .send(Method::POST, "users/upsert", content_type, body)
            .await
            .refused(415, "unsupported_media_type");
    }
    let body = || client.body(&json!({})).to_string();
    client
        .send(
            Method::POST,
            "users/list",
            Some("Application/JSON; charset=utf-8"),
            body(),
        )
        .await
        .ok();
    for route in all() {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = client
                .send(
                    method.clone(),
                    &route.path,
                    Some("application/json"),
                    body(),
                )
                .await;
            answer.refused(405, "method_not_allowed");
            assert_eq!(
                answer.header("allow"),
                Some("POST"),
                "{method} {}",
                route.path
            );
        }
    }
    for path in [
        "/",
        "/users/list",
        "/directory-sync/internal/volt/project-users",
        "/directory-sync/internal/volt/project-users/users/lists",
        "/..%2f..%2fetc/passwd",
        "/healthz/x",
    ] {
        client
            .send(Method::POST, path, Some("application/json"), body())
            .await
            .refused(404, "not_found");
        client.get(path).await.refused(404, "not_found");
    }
    assert_eq!(client.holdings().await, before);
}

/// The most memory that the server ever held, in MiB.
fn peak_memory(server: &Server) -> u64 {
    let process = server.process_id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .expect("Linux says how a process does");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a high-water mark");
    peak.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .expect("a number")
        / 1024
}

/// A JSON body of so many MiB, sent piece by piece.
fn huge(client: &Client, mebibytes: usize) -> Body {
    let start = client.body(&json!({"customer_user_id": "x"})).to_string();
    let start = format!("{},\"profile\":{{\"a\":\"", start.trim_end_matches('}'));
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let pieces = std::iter::once(Bytes::from(start))
        .chain(std::iter::repeat_n(piece, mebibytes))
        .chain([Bytes::from("\"}}")]);
    Body::wrap_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_200_mebibytes_is_refused_and_not_held() {
    let server = Server::start().await.expect("a server");
    let client = project(&server, "huge").await;
    let before = client.holdings().await;
    let memory = peak_memory(&server);
    for route in ["users/upsert", "users/list", "users/import-csv"] {
        let detail = client
            .post_text(route, huge(&client, 200))
            .await
            .refused(413, "payload_too_large");
        assert_eq!(detail["limit"], 8 << 20);
    }
    let grown = peak_memory(&server).saturating_sub(memory);
    assert!(
        grown < 64,
        "the server took {grown} MiB more for bodies that it refuses"
    );
    // Whoever has no credential is not listened to for long either.
    let nobody = client.with_credential(Credential::None);
    nobody
        .post_text(
            "users/upsert",
            client.body(&json!({"customer_user_id": "x"})).to_string(),
        )
        .await
        .refused(401, "unauthenticated");
    nobody
        .post_text(
            "/auth/key/validate/api",
            json!({"api_key": "x".repeat(20_000)}).to_string(),
        )
        .await
        .refused(413, "payload_too_large");
    // Just within the limit is a body like any other.
    let answer = client.post_text("users/upsert", huge(&client, 7)).await;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(client.holdings().await, before);
}
