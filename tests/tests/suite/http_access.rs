//! Who may do what over HTTP: every route of the table, with every kind of credential.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use roster_commands::Limits;
use roster_commands::authority::{PROJECT_USERS, Verb};
use roster_commands::clock::{Clock, SystemClock};
use roster_commands::keys::{Keys, NewKey};
use roster_domain::{Scope, Timestamp};
use roster_http::{App, AppParts, Bus};
use roster_internal::{all, surface};
use roster_tests::client::{ACCOUNT, Answer, Client, Credential, ORG, project, token, token_with};
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::server::{JWT_SECRET, Server};
use serde_json::{Value, json};
use tokio::sync::watch;

const VERBS: [Verb; 4] = [Verb::View, Verb::Update, Verb::Delete, Verb::Execute];

/// Names of things that a request can be about.
struct Things {
    customer: String,
    suppressed: String,
    import: String,
    preparation: String,
}

impl Things {
    /// One of each kind, in a project of its own. The server checks no schema change within its request.
    async fn make(client: &Client) -> Self {
        client.upsert("here", json!({"email": "ada@example.org"})).await;
        client.upsert("gone", json!({})).await;
        client.ok("users/delete", json!({"customer_user_id": "gone", "suppress": true})).await;
        let imported = client.ok("users/import-csv", json!({"csv": "customer_user_id\nimported\n"})).await;
        let detail = client
            .refused(
                "schema/upsert",
                json!({"primary_key": "customer_user_id", "fields": [
                    {"name": "customer_user_id", "required": true, "unique": true},
                    {"name": "email", "type": "email", "unique": true},
                ]}),
                409,
                "project_user_indexes_preparation_required",
            )
            .await;
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        Self {
            customer: "here".into(),
            suppressed: "gone".into(),
            import: text(&imported["import_id"]),
            preparation: text(&detail["preparation_id"]),
        }
    }

    /// The same kinds of names, and nothing has them.
    fn missing() -> Self {
        Self {
            customer: "nowhere".into(),
            suppressed: "never".into(),
            import: "01900000-0000-7000-8000-000000000001".into(),
            preparation: "01900000-0000-7000-8000-000000000002".into(),
        }
    }

    /// A request to a route that is about these things.
    fn members(&self, route: &str) -> Value {
        match route {
            "schema/get" | "users/data-sources/list" | "users/suppressions/list" | "users/imports/list" => json!({}),
            "scim/enable" | "scim/disable" | "scim/status" => json!({}),
            "schema/upsert" => json!({"primary_key": "customer_user_id", "fields": [{"name": "customer_user_id"}]}),
            "schema/preparation/get" => json!({"preparation_id": self.preparation}),
            "users/list" | "users/export-csv" => json!({"search": self.customer}),
            "users/get" | "users/delete" => json!({"customer_user_id": self.customer}),
            "users/upsert" => json!({"customer_user_id": self.customer, "profile": {"city": "London"}}),
            "users/upsert-bulk" => {
                json!({"items": [{"customer_user_id": self.customer, "profile": {"city": "London"}}]})
            }
            "users/suppressions/remove" => json!({"customer_user_id": self.suppressed}),
            "users/import-csv" => json!({"csv": format!("customer_user_id\n{}\n", self.customer)}),
            "users/imports/get" | "users/imports/errors" | "users/imports/cancel" => json!({"import_id": self.import}),
            other => panic!("{other} is a new route: say here what a request to it looks like"),
        }
    }
}

/// What an answer shows to its caller, less what differs in every answer.
fn shown(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let headers = answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}")));
    (answer.status, answer.text(), headers.collect())
}

/// The permission that a route needs.
fn verb_of(route: &str) -> Verb {
    let info = all().into_iter().find(|info| info.path.ends_with(route)).expect("the route is in the table");
    info.operation.expect("it is guarded").permission().verb
}

fn permissions(verbs: impl IntoIterator<Item = Verb>) -> Vec<String> {
    verbs.into_iter().map(|verb| format!("{PROJECT_USERS}:{}", verb.as_str())).collect()
}

/// A client whose key allows these verbs and nothing else.
async fn allowed(server: &Server, client: &Client, verbs: &[Verb]) -> Client {
    let permissions = permissions(verbs.iter().copied());
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    let key = server.key(ACCOUNT, &permissions).await.expect("a key");
    client.with_credential(Credential::Bearer(key))
}

async fn head(client: &Client) -> i64 {
    client.get("/readyz").await.ok()["head"].as_i64().expect("a head")
}

/// The routes that need a permission, below the base.
fn guarded_routes() -> Vec<&'static str> {
    all().iter().filter_map(|info| Some(info.operation?.permission().route)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_says_anything_to_a_caller_who_may_not_use_it() {
    let server = Server::start_with(&[("ROSTER_LIMITS__SCHEMA_IN_REQUEST", "0")]).await.expect("a server");
    let owner = Client::of_project(&server, "guarded").await.expect("a client");
    let (existing, missing) = (Things::make(&owner).await, Things::missing());
    let before = head(&owner).await;

    let nobody = owner.with_credential(Credential::None);
    let stranger = server.key("acc_other", &["*"]).await.expect("a key");
    let stranger = owner.with_credential(Credential::Bearer(stranger));
    let narrowed = |org: &str, project: Option<&str>| NewKey {
        name: String::new(),
        account_id: ACCOUNT.into(),
        org_id: Some(org.into()),
        project_id: project.map(str::to_owned),
        scopes: vec!["*".into()],
        expires_at: None,
    };
    let of_other_org = server.create_key(narrowed("org_other", None)).await.expect("a key").token;
    let of_other_project = server.create_key(narrowed(ORG, Some("elsewhere"))).await.expect("a key").token;
    let neighbours = [of_other_org, of_other_project].map(|key| owner.with_credential(Credential::Bearer(key)));
    let mut without = Vec::new();
    for verb in VERBS {
        let others: Vec<Verb> = VERBS.into_iter().filter(|other| *other != verb).collect();
        without.push((verb, allowed(&server, &owner, &others).await));
    }

    for route in guarded_routes() {
        let both = [existing.members(route), missing.members(route)];
        let verb = verb_of(route);
        let (_, unable) = without.iter().find(|(lacking, _)| *lacking == verb).expect("a key for each verb");
        let callers = [&nobody, &stranger, &neighbours[0], &neighbours[1], unable];
        let refusals = ["unauthenticated", "tenant_mismatch", "tenant_mismatch", "tenant_mismatch", "permission_denied"];
        for (caller, refusal) in callers.into_iter().zip(refusals) {
            let status = if refusal == "unauthenticated" { 401 } else { 403 };
            let mut answers = Vec::new();
            for members in &both {
                let answer = caller.post(route, members.clone()).await;
                answer.refused(status, refusal);
                let challenge = (status == 401).then_some("Bearer");
                assert_eq!(answer.header("www-authenticate"), challenge, "{route}");
                assert!(answer.header("x-request-id").is_some(), "{route}");
                answers.push(shown(&answer));
            }
            assert_eq!(answers[0], answers[1], "{route}: {refusal} tells an existing thing from a missing one");
            // A body that is wrong in every other way is not even looked at.
            let odd = caller.post(route, json!({"serach": 1, "page_size": -1})).await;
            assert_eq!(shown(&odd), answers[0], "{route}: {refusal} depends on the body");
        }
    }
    for (caller, refusal) in [(&nobody, "unauthenticated"), (&stranger, "tenant_mismatch"), (&without[3].1, "permission_denied")] {
        let status = if refusal == "unauthenticated" { 401 } else { 403 };
        caller.import("", "customer_user_id\nstreamed\n").await.refused(status, refusal);
    }
    assert_eq!(head(&owner).await, before, "a refused request was written");

    for verb in VERBS {
        let able = allowed(&server, &owner, &[verb]).await;
        for route in guarded_routes().into_iter().filter(|route| verb_of(route) == verb) {
            for things in [&existing, &missing] {
                let answer = able.post(route, things.members(route)).await;
                assert!(!matches!(answer.status, 401 | 403 | 405 | 500), "{answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_router_is_in_the_table() {
    let database = Database::create().await.expect("a database");
    let node = Node::start(&database, "routes", Limits::default()).await.expect("a node");
    let app = App::new(AppParts {
        directory: node.directory.clone(),
        projections: node.projections.clone(),
        keys: Keys::new(node.cell().pool().clone(), Arc::new(SystemClock)),
        tokens: None,
        limits: roster_http::Limits::default(),
        metrics: None,
        bus: watch::channel(Bus::Off).1,
    });
    // axum has no list of routes to ask for; the debug form of a router has every path as a quoted text.
    let router = format!("{:?}", roster_http::router(app, vec![surface()]));
    let found: BTreeSet<&str> = router.split('"').filter(|text| text.starts_with('/')).collect();
    let open = ["/healthz", "/readyz", "/version", "/metrics", "/openapi.json"];
    let is_page = |path: &str| path == "/docs" || path.starts_with("/docs/");
    let routes = all();
    let listed: BTreeSet<&str> =
        routes.iter().map(|route| route.path.as_str()).chain(open).chain(found.iter().copied().filter(|path| is_page(path))).collect();
    assert!(found.len() > open.len(), "the debug form of a router has no paths any more:\n{router}");
    assert_eq!(found, listed, "a route that is not in the table is not covered by the tests of access");
    node.close().await;
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
    let good = keys.create(new(Some(SystemClock.now().plus_seconds(3_600)))).await.expect("a key");
    let expired = keys.create(new(Some(Timestamp(1_000_000)))).await.expect("a key");
    let revoked = keys.create(new(None)).await.expect("a key");
    keys.revoke(&revoked.key_id).await.expect("it is there");

    for credential in [Credential::Bearer(good.token.clone()), Credential::ApiKey(good.token.clone())] {
        client.with_credential(credential).ok("users/list", json!({})).await;
    }
    let both = client.with_credential(Credential::Bearer(good.token.clone())).with_header("x-api-key", &good.token);
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
        let answer = client.with_credential(credential.clone()).post("users/list", json!({})).await;
        answer.refused(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{credential:?}");
        bodies.insert(answer.text());
    }
    assert_eq!(bodies.len(), 1, "the answer tells why a credential is refused: {bodies:?}");
    let nobody = client.with_credential(Credential::None);
    for header in [format!("Basic {}", good.token), format!("Token {}", good.token), good.token.clone()] {
        nobody.with_header("authorization", &header).post("users/list", json!({})).await.refused(401, "unauthenticated");
    }
    let two = client.with_credential(Credential::Bearer(good.token.clone())).with_header("x-api-key", &wrong_secret);
    two.post("users/list", json!({})).await.refused(401, "unauthenticated");

    let validated = |api_key: String| {
        let nobody = nobody.clone();
        async move { nobody.post_text("/auth/key/validate/api", json!({"api_key": api_key}).to_string()).await.ok() }
    };
    let expected = json!({
        "valid": true, "account_id": ACCOUNT, "org_id": null, "project_id": null,
        "scopes": ["project_users:view"], "error": null,
    });
    assert_eq!(validated(good.token.clone()).await, expected);
    for token in [expired.token, revoked.token, wrong_secret, "nonsense".into(), String::new()] {
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
    let deadline = Instant::now() + Duration::from_secs(12);
    while client.post("users/list", json!({})).await.status != 401 {
        assert!(Instant::now() < deadline, "a revoked key is still taken");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Claims of a token for the test organization that ends in an hour, with these in addition.
fn claims(more: &Value) -> Value {
    let now = SystemClock.now().0 / 1_000_000;
    let mut claims = json!({"sub": "ada@example.org", "exp": now + 3_600, "account_id": ACCOUNT, "org_id": ORG});
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
        list(token(&claims(&unable))).await.refused(403, "permission_denied");
    }
    for elsewhere in [
        json!({"permissions": view, "account_id": "acc_other"}),
        json!({"is_admin": true, "account_id": "acc_other"}),
        json!({"is_admin": true, "org_id": "org_other"}),
        json!({"is_account_owner": true, "project_id": "other"}),
    ] {
        list(token(&claims(&elsewhere))).await.refused(403, "tenant_mismatch");
    }
    // A token for viewing does not write.
    let viewer = client.with_credential(Credential::Bearer(token(&claims(&may_view))));
    viewer.refused("users/upsert", json!({"customer_user_id": "c"}), 403, "permission_denied").await;

    let good = token(&claims(&may_view));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let other_claims = token(&claims(&json!({"is_admin": true})));
    let other_body = other_claims.split('.').nth(1).expect("three parts");
    for forged in [
        token_with(&claims(&may_view), b"another secret of at least thirty-two bytes", Algorithm::HS256),
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
        token(&claims(&json!({"permissions": view, "nbf": 32_503_680_000_i64}))),
        token(&claims(&json!({"permissions": view, "sub": ""}))),
        token(&claims(&json!({"permissions": view, "sub": null}))),
        token(&claims(&json!({"permissions": view, "account_id": null}))),
        token(&claims(&json!({"permissions": view, "account_id": 7}))),
        token(&claims(&json!({"permissions": view, "aud": "somebody else"}))),
    ] {
        let answer = list(forged.clone()).await;
        assert_eq!(answer.status, 401, "{forged}: {answer}");
        answer.refused(401, "unauthenticated");
    }
    // A token is taken from the Authorization header only.
    client.with_credential(Credential::ApiKey(good)).post("users/list", json!({})).await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_meet_even_under_equal_ids() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "shared").await.expect("a client");
    let neighbour = Scope { org_id: "org_second".into(), ..project("shared") };
    let neighbour = client.in_scope(neighbour);
    client.upsert("same", json!({"email": "ada@example.org"})).await;
    neighbour.upsert("same", json!({"email": "grace@example.org"})).await;
    client.upsert("only-here", json!({})).await;
    assert_eq!(neighbour.ids(json!({})).await, ["same"]);
    let found = neighbour.ok("users/get", json!({"customer_user_id": "same"})).await;
    assert_eq!(found["user"]["profile"]["email"], "grace@example.org");
    neighbour.refused("users/get", json!({"customer_user_id": "only-here"}), 404, "customer_not_found").await;
    neighbour.refused("users/delete", json!({"customer_user_id": "only-here"}), 404, "customer_not_found").await;
    let import = client.ok("users/import-csv", json!({"csv": "customer_user_id\nx\n"})).await["import_id"].clone();
    for route in ["users/imports/get", "users/imports/errors", "users/imports/cancel"] {
        neighbour.refused(route, json!({"import_id": import}), 404, "import_not_found").await;
    }
    assert_eq!(neighbour.ok("users/imports/list", json!({})).await["total"], 0);
    assert_eq!(neighbour.ok("users/list", json!({"search": "only"})).await["total"], 0);

    for (name, good) in [("x-tenant-org-id", ORG), ("x-tenant-project-id", "shared")] {
        client.with_header(name, good).ok("users/list", json!({})).await;
        for other in ["org_second", "", "SHARED", "unknown"] {
            let mismatched = client.with_header(name, other);
            mismatched.post("users/list", json!({})).await.refused(403, "tenant_mismatch");
            mismatched.import("", "customer_user_id\nx\n").await.refused(403, "tenant_mismatch");
        }
    }
    for bad in ["", "unknown", "a b", "-a", "ä", &"x".repeat(129)] {
        let scope = Scope { project_id: bad.into(), ..project("shared") };
        client.in_scope(scope).invalid("users/list", json!({}), "body.project_id").await;
    }
    let body = json!({"account_id": ACCOUNT, "project_id": "shared"}).to_string();
    client.post_text("users/list", body).await.invalid("body.org_id");
    let body = json!({"account_id": ACCOUNT, "org_id": 7, "project_id": "shared"}).to_string();
    client.post_text("users/list", body).await.invalid("body.org_id");
}
