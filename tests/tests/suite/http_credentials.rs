//! Keys, tokens and tenants: which credential is one, and where.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use roster_commands::clock::{Clock, SystemClock};
use roster_commands::keys::NewKey;
use roster_domain::{Scope, Timestamp};
use roster_tests::client::{ACCOUNT, Client, Credential, ORG, project, token, token_with};
use roster_tests::server::{JWT_SECRET, Server};
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_has_keep_nobody_else_from_the_database() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "keys").await.expect("a client");
    let bearer = token(&claims(&json!({"is_admin": true})));
    let known = client.with_credential(Credential::Bearer(bearer));
    known.ok("users/list", json!({})).await;
    let mut superuser = server.database().superuser().await.expect("a connection");
    let mut other = server.database().superuser().await.expect("a connection");
    let mut held = superuser.begin().await.expect("a transaction");
    held.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    let mut strangers = JoinSet::new();
    for number in 0..64 {
        let token = format!("rk_{number:016x}_{}", "0".repeat(64));
        let stranger = client.with_credential(Credential::Bearer(token));
        strangers.spawn(async move { stranger.post("users/list", json!({})).await.status });
    }
    let mut waiting = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let count = sqlx::query_scalar(sql).fetch_one(&mut other);
        count.await.expect("a number")
    };
    until("look-ups to wait", async || {
        (waiting().await >= 2).then_some(())
    })
    .await;
    known.ok("users/list", json!({})).await;
    assert_eq!(waiting().await, 2);
    held.rollback().await.expect("the lock ends");
    let answered = strangers.join_all().await;
    assert!(answered.iter().all(|status| *status == 401), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_wrong_expired_or_revoked_are_no_credential() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "keys").await.expect("a client");
    let keys = server.keys().await.expect("the keys");
    let new = |expires_at: Option<Timestamp>| NewKey {
        name: "short-lived".into(),
        account_id: ACCOUNT.into(),
        org_id: None,
        project_id: None,
        scopes: vec!["project_users:view".into()],
        expires_at,
    };
    let good = keys
        .create(new(Some(SystemClock.now().plus_seconds(3_600))))
        .await
        .expect("a key");
    let expired = keys
        .create(new(Some(Timestamp(1_000_000))))
        .await
        .expect("a key");
    let revoked = keys.create(new(None)).await.expect("a key");
    keys.revoke(&revoked.key_id).await.expect("it is there");

    for credential in [
        Credential::Bearer(good.token.clone()),
        Credential::ApiKey(good.token.clone()),
    ] {
        client
            .with_credential(credential)
            .ok("users/list", json!({}))
            .await;
    }
    let both = client
        .with_credential(Credential::Bearer(good.token.clone()))
        .with_header("x-api-key", &good.token);
    both.ok("users/list", json!({})).await;

    let wrong_secret = format!("rk_{}_{}", good.key_id, "0".repeat(64));
    let refused = [
        Credential::Bearer(expired.token.clone()),
        Credential::ApiKey(expired.token.clone()),
        Credential::Bearer(revoked.token.clone()),
        Credential::Bearer(wrong_secret.clone()),
        Credential::Bearer(good.token[..good.token.len() - 1].to_owned()),
        Credential::Bearer(good.token.to_uppercase()),
        Credential::Bearer(format!("{}0", good.token)),
        Credential::Bearer("rk_".into()),
        Credential::Bearer("rk_0_0".into()),
        Credential::Bearer("*".into()),
        Credential::ApiKey(String::new()),
        Credential::None,
    ];
    let mut bodies = BTreeSet::new();
    for credential in refused {
        let answer = client
            .with_credential(credential.clone())
            .post("users/list", json!({}))
            .await;
        answer.refused(401, "unauthenticated");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer"),
            "{credential:?}"
        );
        bodies.insert(answer.text());
    }
    assert_eq!(
        bodies.len(),
        1,
        "the answer tells why a credential is refused: {bodies:?}"
    );
    let nobody = client.with_credential(Credential::None);
    for header in [
        format!("Basic {}", good.token),
        format!("Token {}", good.token),
        good.token.clone(),
    ] {
        nobody
            .with_header("authorization", &header)
            .post("users/list", json!({}))
            .await
            .refused(401, "unauthenticated");
    }
    let two = client
        .with_credential(Credential::Bearer(good.token.clone()))
        .with_header("x-api-key", &wrong_secret);
    two.post("users/list", json!({}))
        .await
        .refused(401, "unauthenticated");

    let validated = |api_key: String| {
        let nobody = nobody.clone();
        async move {
            nobody
                .post_text(
                    "/auth/key/validate/api",
                    json!({"api_key": api_key}).to_string(),
                )
                .await
                .ok()
        }
    };
    let expected = json!({
        "valid": true, "account_id": ACCOUNT, "org_id": null, "project_id": null,
        "scopes": ["project_users:view"], "error": null,
    });
    assert_eq!(validated(good.token.clone()).await, expected);
    for token in [
        expired.token,
        revoked.token,
        wrong_secret,
        "nonsense".into(),
        String::new(),
    ] {
        let answer = validated(token).await;
        assert_eq!(answer["valid"], false, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
        for secret in ["account_id", "org_id", "project_id"] {
            assert!(answer[secret].is_null(), "{answer}");
        }
    }

    // Another process revokes a key that this server knows: it believes it for ten seconds at most.
    let client = client.with_credential(Credential::Bearer(good.token));
    keys.revoke(&good.key_id).await.expect("it is there");
    let revoked = Instant::now();
    until("a revoked key is refused", async || {
        (client.post("users/list", json!({})).await.status == 401).then_some(())
    })
    .await;
    assert!(
        revoked.elapsed() < Duration::from_secs(12),
        "{:?}",
        revoked.elapsed()
    );
}

/// Claims of a token for the test organization that ends in an hour, with these in addition.
fn claims(more: &Value) -> Value {
    let now = SystemClock.now().0 / 1_000_000;
    let mut claims =
        json!({"sub": "ada@example.org", "exp": now + 3_600, "account_id": ACCOUNT, "org_id": ORG});
    for (name, value) in more.as_object().expect("claims are an object") {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_allows_what_its_claims_say_and_nothing_else() {
    let server = Server::start().await.expect("a server");
    let client = Client::new(&server, project("tokens"), Credential::None);
    let list = |token: String| {
        let client = client.with_credential(Credential::Bearer(token));
        async move { client.post("users/list", json!({})).await }
    };
    let view = json!([{"module": "project_users", "actions": ["view"]}]);
    let may_view = json!({"permissions": view});

    for good in [
        may_view.clone(),
        json!({"is_admin": true}),
        json!({"is_account_owner": true}),
        json!({"permissions": view, "project_id": "tokens"}),
        json!({"permissions": view, "org_id": null}),
        json!({"permissions": view, "denied": ["project_users:delete"]}),
        json!({"is_admin": true, "denied": ["*"]}),
    ] {
        list(token(&claims(&good))).await.ok();
    }
    for unable in [
        json!({}),
        json!({"is_admin": "true"}),
        json!({"is_admin": 1}),
        json!({"is_account_owner": "yes"}),
        json!({"permissions": [{"module": "project_users", "actions": ["*"]}]}),
        json!({"permissions": [{"module": "*", "actions": ["view"]}]}),
        json!({"permissions": [{"module": "project_users", "actions": ["VIEW"]}]}),
        json!({"permissions": "project_users:view"}),
        json!({"permissions": view, "denied": ["project_users:view"]}),
        json!({"permissions": view, "denied": ["project_users:*"]}),
        json!({"permissions": view, "denied": ["*"]}),
        json!({"permissions": view, "denied": [{"module": "project_users", "actions": ["view"]}]}),
        json!({"permissions": view, "denied": 7}),
    ] {
        list(token(&claims(&unable)))
            .await
            .refused(403, "permission_denied");
    }
    for elsewhere in [
        json!({"permissions": view, "account_id": "acc_other"}),
        json!({"is_admin": true, "account_id": "acc_other"}),
        json!({"is_admin": true, "org_id": "org_other"}),
        json!({"is_account_owner": true, "project_id": "other"}),
    ] {
        list(token(&claims(&elsewhere)))
            .await
            .refused(403, "tenant_mismatch");
    }
    // A token for viewing does not write.
    let viewer = client.with_credential(Credential::Bearer(token(&claims(&may_view))));
    viewer
        .refused(
            "users/upsert",
            json!({"customer_user_id": "c"}),
            403,
            "permission_denied",
        )
        .await;

    let good = token(&claims(&may_view));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let other_claims = token(&claims(&json!({"is_admin": true})));
    let other_body = other_claims.split('.').nth(1).expect("three parts");
    for forged in [
        token_with(
            &claims(&may_view),
            b"another secret of at least thirty-two bytes",
            Algorithm::HS256,
        ),
        token_with(&claims(&may_view), JWT_SECRET.as_bytes(), Algorithm::HS384),
        // {"alg":"none"} and {"alg":"none","typ":"JWT"}.
        format!("eyJhbGciOiJub25lIn0.{body}."),
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.{signature}"),
        format!("{header}.{other_body}.{signature}"),
        format!("{header}.{body}."),
        format!("{header}.{body}"),
        token(&claims(&json!({"permissions": view, "exp": 1_000_000_000}))),
        token(&claims(&json!({"permissions": view, "exp": null}))),
        token(&claims(&json!({"permissions": view, "exp": "never"}))),
        token(&claims(
            &json!({"permissions": view, "nbf": 32_503_680_000_i64}),
        )),
        token(&claims(&json!({"permissions": view, "sub": ""}))),
        token(&claims(&json!({"permissions": view, "sub": null}))),
        token(&claims(&json!({"permissions": view, "account_id": null}))),
        token(&claims(&json!({"permissions": view, "account_id": 7}))),
        token(&claims(
            &json!({"permissions": view, "aud": "somebody else"}),
        )),
    ] {
        let answer = list(forged.clone()).await;
        assert_eq!(answer.status, 401, "{forged}: {answer}");
        answer.refused(401, "unauthenticated");
    }
    // A token is taken from the Authorization header only.
    client
        .with_credential(Credential::ApiKey(good))
        .post("users/list", json!({}))
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_meet_even_under_equal_ids() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "shared")
        .await
        .expect("a client");
    let neighbour = Scope {
        org_id: "org_second".into(),
        ..project("shared")
    };
    let neighbour = client.in_scope(neighbour);
    client
        .upsert("same", json!({"email": "ada@example.org"}))
        .await;
    neighbour
        .upsert("same", json!({"email": "grace@example.org"}))
        .await;
    client.upsert("only-here", json!({})).await;
    assert_eq!(neighbour.ids(json!({})).await, ["same"]);
    let found = neighbour
        .ok("users/get", json!({"customer_user_id": "same"}))
        .await;
    assert_eq!(found["user"]["profile"]["email"], "grace@example.org");
    neighbour
        .refused(
            "users/get",
            json!({"customer_user_id": "only-here"}),
            404,
            "customer_not_found",
        )
        .await;
    neighbour
        .refused(
            "users/delete",
            json!({"customer_user_id": "only-here"}),
            404,
            "customer_not_found",
        )
        .await;
    let import = client
        .ok("users/import-csv", json!({"csv": "customer_user_id\nx\n"}))
        .await["import_id"]
        .clone();
    for route in [
        "users/imports/get",
        "users/imports/errors",
        "users/imports/cancel",
    ] {
        neighbour
            .refused(route, json!({"import_id": import}), 404, "import_not_found")
            .await;
    }
    assert_eq!(
        neighbour.ok("users/imports/list", json!({})).await["total"],
        0
    );
    assert_eq!(
        neighbour.ok("users/list", json!({"search": "only"})).await["total"],
        0
    );

    for (name, good) in [("x-tenant-org-id", ORG), ("x-tenant-project-id", "shared")] {
        client
            .with_header(name, good)
            .ok("users/list", json!({}))
            .await;
        for other in ["org_second", "", "SHARED", "unknown"] {
            let mismatched = client.with_header(name, other);
            mismatched
                .post("users/list", json!({}))
                .await
                .refused(403, "tenant_mismatch");
            mismatched
                .import("", "customer_user_id\nx\n")
                .await
                .refused(403, "tenant_mismatch");
        }
    }
    for bad in ["", "unknown", "a b", "-a", "ä", &"x".repeat(129)] {
        let scope = Scope {
            project_id: bad.into(),
            ..project("shared")
        };
        client
            .in_scope(scope)
            .invalid("users/list", json!({}), "body.project_id")
            .await;
    }
    let body = json!({"account_id": ACCOUNT, "project_id": "shared"}).to_string();
    client
        .post_text("users/list", body)
        .await
        .invalid("body.org_id");
    let body = json!({"account_id": ACCOUNT, "org_id": 7, "project_id": "shared"}).to_string();
    client
        .post_text("users/list", body)
        .await
        .invalid("body.org_id");
}
