//! What every route of the table says to those who may not use it.

use std::collections::BTreeSet;
use std::sync::Arc;

use roster_commands::Limits;
use roster_commands::authority::{
    DIRECTORY_SYNC, Operation, PROJECT_USERS, RUNTIME_IDENTITY, Verb,
};
use roster_commands::clock::SystemClock;
use roster_commands::keys::{Keys, NewKey};
use roster_fakes::{Fake, Vendor};
use roster_http::{App, AppParts, Bus};
use roster_internal::{all, surface};
use roster_tests::client::{ACCOUNT, Answer, Client, Credential, ORG};
use roster_tests::database::Database;
use roster_tests::node::Node;
use roster_tests::server::Server;
use roster_tests::syncs;
use serde_json::{Value, json};
use tokio::sync::watch;

const VERBS: [Verb; 4] = [Verb::View, Verb::Update, Verb::Delete, Verb::Execute];

/// Names of things that a request can be about.
struct Things {
    customer: String,
    suppressed: String,
    import: String,
    purge: String,
    preparation: String,
    connection: String,
    run: String,
}

impl Things {
    /// One of each kind, in a project of its own. The server checks no schema change within its request, and reaches the fake.
    async fn make(client: &Client, fake: &Fake) -> Self {
        client
            .upsert("here", json!({"email": "ada@example.org"}))
            .await;
        let grant = json!({"customer_user_id": "here", "channel": "line", "external_user_id": "U-here",
            "agents": ["sales"]});
        client.ok("users/attach-channel-grant", grant).await;
        client.upsert("gone", json!({})).await;
        client
            .ok(
                "users/delete",
                json!({"customer_user_id": "gone", "suppress": true}),
            )
            .await;
        let imported = client
            .ok(
                "users/import-csv",
                json!({"csv": "customer_user_id\nimported\n"}),
            )
            .await;
        let purge = client
            .ok(
                "users/delete-bulk",
                json!({"customer_user_ids": ["imported"]}),
            )
            .await;
        client.purge_ended(&purge["purge_id"]).await;
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
        // The job that was started writes to the log until it has ended.
        client.preparation_ended(&detail["preparation_id"]).await;
        let mut connection = syncs::connection(fake);
        connection["field_mapping"] = json!([{"source": "id", "target": "customer_user_id"}]);
        let saved = client.ok("connections/upsert", connection).await;
        let connection = json!({"connection_id": saved["connection_id"]});
        let run = syncs::synced(client, &connection, "full").await;
        Self {
            customer: "here".into(),
            suppressed: "gone".into(),
            import: text(&imported["import_id"]),
            purge: text(&purge["purge_id"]),
            preparation: text(&detail["preparation_id"]),
            connection: text(&saved["connection_id"]),
            run: text(&run["run_id"]),
        }
    }

    /// The same kinds of names, and nothing has them.
    fn missing() -> Self {
        Self {
            customer: "nowhere".into(),
            suppressed: "never".into(),
            import: "01900000-0000-7000-8000-000000000001".into(),
            purge: "01900000-0000-7000-8000-000000000003".into(),
            preparation: "01900000-0000-7000-8000-000000000002".into(),
            connection: "dconn_01900000000070008000000000000006".into(),
            run: "01900000-0000-7000-8000-000000000007".into(),
        }
    }

    /// A request to a route that is about these things.
    fn members(&self, route: &str) -> Value {
        match route {
            "schema/get"
            | "users/data-sources/list"
            | "users/suppressions/list"
            | "users/imports/list"
            | "users/purge/list"
            | "scim/enable"
            | "scim/disable"
            | "scim/status"
            | "providers/list"
            | "connections/list"
            | "runs/list" => json!({}),
            "schema/upsert" => {
                json!({"primary_key": "customer_user_id", "fields": [{"name": "customer_user_id"}]})
            }
            "schema/preparation/get" => json!({"preparation_id": self.preparation}),
            "users/list"
            | "users/export-csv"
            | "users/delete-preview"
            | "users/delete-by-filter"
            | "identities/list-all"
            | "unmatched/list" => json!({"search": self.customer}),
            "audit/events/list" | "audit/list" => json!({"customer_user_id": self.customer}),
            "users/get"
            | "users/delete"
            | "users/history"
            | "users/person-export"
            | "users/channel-access/list"
            | "identities/list" => {
                json!({"customer_user_id": self.customer})
            }
            "users/attach-channel-grant" => json!({
                "customer_user_id": self.customer, "channel": "line",
                "external_user_id": format!("U-{}", self.customer), "agents": ["*"],
            }),
            "users/revoke-channel-grant" => {
                json!({"customer_user_id": self.customer, "channel": "line"})
            }
            "users/set-connector-enabled" => {
                json!({"customer_user_id": self.customer, "channel": "line", "enabled": false})
            }
            "identities/link" => json!({
                "channel": "line", "external_user_id": format!("U-{}", self.customer),
                "customer_user_id": self.customer,
            }),
            "dispatches" => json!({
                "channel": "line", "external_user_id": format!("U-{}", self.customer), "run_id": "r",
                "agent_alias": "sales", "endpoint": "e",
            }),
            "identities/unlink" | "identities/resolve" | "unmatched/dismiss" => {
                json!({"channel": "line", "external_user_id": format!("U-{}", self.customer)})
            }
            "identities/resolve-batch" => json!({"items": [
                {"channel": "line", "external_user_id": format!("U-{}", self.customer)},
            ]}),
            "users/upsert" => {
                json!({"customer_user_id": self.customer, "profile": {"city": "London"}})
            }
            "users/upsert-bulk" => {
                json!({"items": [{"customer_user_id": self.customer, "profile": {"city": "London"}}]})
            }
            "users/suppressions/remove" => json!({"customer_user_id": self.suppressed}),
            "users/import-csv" => json!({"csv": format!("customer_user_id\n{}\n", self.customer)}),
            "import/csv-mapped" => json!({
                "csv": format!("Who\n{}\n", self.customer), "mapping": {"Who": "customer_user_id"},
            }),
            "users/imports/get" | "users/imports/errors" | "users/imports/cancel" => {
                json!({"import_id": self.import})
            }
            "users/delete-bulk" => json!({"customer_user_ids": [self.customer]}),
            "users/purge/get" | "users/purge/cancel" => json!({"purge_id": self.purge}),
            "connections/get"
            | "connections/delete"
            | "connections/test"
            | "connections/preview"
            | "connections/sync" => json!({"connection_id": self.connection}),
            "connections/upsert" => {
                json!({"connection_id": self.connection, "name": "CRM", "provider": "nowhere"})
            }
            "runs/get" | "runs/errors" | "runs/cancel" => json!({"run_id": self.run}),
            other => panic!("{other} is a new route: say here what a request to it looks like"),
        }
    }
}

/// What an answer shows to its caller, less what differs in every answer.
fn shown(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}")));
    (answer.status, answer.text(), headers.collect())
}

/// The permission that a route needs.
fn verb_of(route: &str) -> Verb {
    let info = all()
        .into_iter()
        .find(|info| info.path.ends_with(route))
        .expect("the route is in the table");
    info.operation.expect("it is guarded").permission().verb
}

fn permissions(verbs: impl IntoIterator<Item = Verb>) -> Vec<String> {
    let of = |verb: Verb| {
        [PROJECT_USERS, RUNTIME_IDENTITY, DIRECTORY_SYNC]
            .map(|module| format!("{module}:{}", verb.as_str()))
    };
    verbs.into_iter().flat_map(of).collect()
}

/// A client whose key allows these verbs and nothing else.
async fn allowed(server: &Server, client: &Client, verbs: &[Verb]) -> Client {
    let permissions = permissions(verbs.iter().copied());
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    let key = server.key(ACCOUNT, &permissions).await.expect("a key");
    client.with_credential(Credential::Bearer(key))
}

/// The routes that need a permission, below the base.
fn guarded_routes() -> Vec<&'static str> {
    all()
        .iter()
        .filter_map(|info| Some(info.operation?.permission().route))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_says_anything_to_a_caller_who_may_not_use_it() {
    let fake = Fake::start(Vendor::Hubspot).await;
    fake.fill(1);
    let server = syncs::server(&[&fake], &[("ROSTER_LIMITS__SCHEMA_IN_REQUEST", "0")])
        .await
        .expect("a server");
    let owner = Client::of_project(&server, "guarded")
        .await
        .expect("a client");
    let (existing, missing) = (Things::make(&owner, &fake).await, Things::missing());
    let before = owner.head().await;

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
    let of_other_org = server
        .create_key(narrowed("org_other", None))
        .await
        .expect("a key")
        .token;
    let of_other_project = server
        .create_key(narrowed(ORG, Some("elsewhere")))
        .await
        .expect("a key")
        .token;
    let neighbours =
        [of_other_org, of_other_project].map(|key| owner.with_credential(Credential::Bearer(key)));
    let mut without = Vec::new();
    for verb in VERBS {
        let others: Vec<Verb> = VERBS.into_iter().filter(|other| *other != verb).collect();
        without.push((verb, allowed(&server, &owner, &others).await));
    }

    for route in guarded_routes() {
        let both = [existing.members(route), missing.members(route)];
        let verb = verb_of(route);
        let (_, unable) = without
            .iter()
            .find(|(lacking, _)| *lacking == verb)
            .expect("a key for each verb");
        let callers = [&nobody, &stranger, &neighbours[0], &neighbours[1], unable];
        let refusals = [
            "unauthenticated",
            "tenant_mismatch",
            "tenant_mismatch",
            "tenant_mismatch",
            "permission_denied",
        ];
        for (caller, refusal) in callers.into_iter().zip(refusals) {
            let status = if refusal == "unauthenticated" {
                401
            } else {
                403
            };
            let mut answers = Vec::new();
            for members in &both {
                let answer = caller.post(route, members.clone()).await;
                answer.refused(status, refusal);
                let challenge = (status == 401).then_some("Bearer");
                assert_eq!(answer.header("www-authenticate"), challenge, "{route}");
                assert!(answer.header("x-request-id").is_some(), "{route}");
                answers.push(shown(&answer));
            }
            assert_eq!(
                answers[0], answers[1],
                "{route}: {refusal} tells an existing thing from a missing one"
            );
            // A body that is wrong in every other way is not even looked at.
            let odd = caller
                .post(route, json!({"serach": 1, "page_size": -1}))
                .await;
            assert_eq!(
                shown(&odd),
                answers[0],
                "{route}: {refusal} depends on the body"
            );
        }
    }
    for (caller, refusal) in [
        (&nobody, "unauthenticated"),
        (&stranger, "tenant_mismatch"),
        (&without[3].1, "permission_denied"),
    ] {
        let status = if refusal == "unauthenticated" {
            401
        } else {
            403
        };
        caller
            .import("", "customer_user_id\nstreamed\n")
            .await
            .refused(status, refusal);
    }
    assert_eq!(owner.head().await, before, "a refused request was written");

    // The permissions of one module say nothing about the other.
    for (module, foreign) in [
        (PROJECT_USERS, RUNTIME_IDENTITY),
        (RUNTIME_IDENTITY, PROJECT_USERS),
        (DIRECTORY_SYNC, PROJECT_USERS),
    ] {
        let scope = format!("{foreign}:*");
        let key = server.key(ACCOUNT, &[&scope]).await.expect("a key");
        let unable = owner.with_credential(Credential::Bearer(key));
        let own = all().into_iter().filter_map(|info| info.operation);
        for permission in own.map(Operation::permission) {
            if permission.module == module {
                let answer = unable
                    .post(permission.route, existing.members(permission.route))
                    .await;
                answer.refused(403, "permission_denied");
            }
        }
    }

    // And those of one module are enough for all of its routes.
    for module in [PROJECT_USERS, RUNTIME_IDENTITY, DIRECTORY_SYNC] {
        let scope = format!("{module}:*");
        let key = server.key(ACCOUNT, &[&scope]).await.expect("a key");
        let able = owner.with_credential(Credential::Bearer(key));
        let own = all().into_iter().filter_map(|info| info.operation);
        for permission in own.map(Operation::permission) {
            if permission.module == module {
                let members = existing.members(permission.route);
                let answer = able.post(permission.route, members).await;
                assert_ne!(answer.status, 403, "{}: {answer}", permission.route);
            }
        }
    }

    for verb in VERBS {
        let able = allowed(&server, &owner, &[verb]).await;
        for route in guarded_routes()
            .into_iter()
            .filter(|route| verb_of(route) == verb)
        {
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
    let node = Node::start(&database, "routes", Limits::default())
        .await
        .expect("a node");
    let app = App::new(AppParts {
        directory: node.directory.clone(),
        projections: node.projections.clone(),
        identities: node.identities.clone(),
        keys: Keys::new(node.cell().pool().clone(), Arc::new(SystemClock)),
        tokens: None,
        limits: roster_http::Limits::default(),
        metrics: None,
        bus: watch::channel(Bus::Off).1,
    });
    // axum has no list of routes to ask for; the debug form of a router has every path as a quoted text.
    let router = format!("{:?}", roster_http::router(app, vec![surface()]));
    let is_path = |text: &&str| text.starts_with('/') && !text.contains("private__axum_fallback");
    let found: BTreeSet<&str> = router.split('"').filter(is_path).collect();
    // The root is where axum puts the fallback; that it answers 404 is shown with bad input.
    let open = [
        "/",
        "/healthz",
        "/readyz",
        "/version",
        "/metrics",
        "/openapi.json",
    ];
    let is_page = |path: &str| path == "/docs" || path.starts_with("/docs/");
    let routes = all();
    let listed: BTreeSet<&str> = routes
        .iter()
        .map(|route| route.path.as_str())
        .chain(open)
        .chain(found.iter().copied().filter(|path| is_page(path)))
        .collect();
    assert!(
        found.len() > open.len(),
        "the debug form of a router has no paths any more:\n{router}"
    );
    assert_eq!(
        found, listed,
        "a route that is not in the table is not covered by the tests of access"
    );
    node.close().await;
}
