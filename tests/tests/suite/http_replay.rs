//! A request that comes again: SDKs resend POSTs and may send one `Idempotency-Key` with everything.

use roster_domain::Scope;
use roster_fakes::{Fake, Vendor};
use roster_internal::all;
use roster_tests::client::{ACCOUNT, Answer, Client, Credential, ids, project};
use roster_tests::server::Server;
use roster_tests::syncs::{self, connected, ended, synced};
use roster_tests::until::until;
use serde_json::{Value, json};

const KEY: &str = "idempotency-key";

/// The mutations of the surface, below its bases.
fn mutations() -> Vec<&'static str> {
    let routes = all().into_iter().filter(roster_http::RouteInfo::mutates);
    let operations = routes.filter_map(|route| route.operation);
    operations
        .map(|operation| operation.permission().route)
        .collect()
}

/// What a project looks like to its readers. Imports and runs are jobs, not state: each one is listed.
async fn state(client: &Client) -> Value {
    let mut sources = client.ok("users/data-sources/list", json!({})).await;
    for source in sources["items"].as_array_mut().into_iter().flatten() {
        source
            .as_object_mut()
            .expect("a source")
            .remove("last_upserted_at");
    }
    let mut connections = client.ok("connections/list", json!({})).await;
    for connection in connections["items"].as_array_mut().into_iter().flatten() {
        connection
            .as_object_mut()
            .expect("a connection")
            .remove("last_run");
    }
    let mut access = Vec::new();
    for id in ["c1", "c2"] {
        let members = json!({"customer_user_id": id});
        access.push(
            client
                .post("users/channel-access/list", members)
                .await
                .json(),
        );
    }
    json!({
        "identities": client.ok("identities/list-all", json!({})).await,
        "access": access,
        "schema": client.ok("schema/get", json!({})).await,
        "customers": client.ok("users/list", json!({"page_size": 200})).await,
        "suppressions": client.ok("users/suppressions/list", json!({})).await,
        "unmatched": client.ok("unmatched/list", json!({})).await,
        "dispatches": client.ok("audit/list", json!({})).await,
        "sources": sources,
        "connections": connections,
    })
}

/// A request to a mutation, after what it needs has been made.
async fn prepare(client: &Client, fake: &Fake, route: &str) -> Value {
    client
        .upsert("c1", json!({"email": "ada@example.org", "city": "London"}))
        .await;
    client
        .upsert("c2", json!({"email": "grace@example.org"}))
        .await;
    match route {
        "schema/upsert" => json!({"primary_key": "customer_user_id", "fields": [
            {"name": "customer_user_id", "required": true, "unique": true},
            {"name": "email", "type": "email", "unique": true},
        ]}),
        "users/upsert" => json!({
            "customer_user_id": "c1", "profile": {"city": null, "score": 7}, "enabled": false, "replace": false,
        }),
        "users/upsert-bulk" => json!({"items": [
            {"customer_user_id": "c2", "profile": {"city": "Arlington"}},
            {"customer_user_id": "c3", "profile": {"city": "Turin"}, "enabled": false},
            {"customer_user_id": "", "profile": {}},
        ]}),
        "users/delete" => json!({"customer_user_id": "c1", "suppress": true}),
        "users/suppressions/remove" => {
            client
                .ok(
                    "users/delete",
                    json!({"customer_user_id": "c1", "suppress": true}),
                )
                .await;
            json!({"customer_user_id": "c1"})
        }
        "users/import-csv" => {
            json!({"csv": "customer_user_id,city,enabled\nc1,Paris,false\nc4,Rome,\nc5,Bonn,maybe\n"})
        }
        "import/csv-mapped" => json!({
            "csv": "Who;Where;Other\nc1;Paris;x\nc4;Rome;y\n",
            "mapping": {"Who": "customer_user_id", "Where": "full_name"},
        }),
        "users/imports/cancel" => {
            let import = client
                .ok("users/import-csv", json!({"csv": "customer_user_id\nc6\n"}))
                .await;
            json!({"import_id": import["import_id"]})
        }
        "users/delete-bulk" => json!({"customer_user_ids": ["c1", "nobody"]}),
        "users/delete-by-filter" => json!({"search": "ada@example.org"}),
        "users/purge/cancel" => {
            let nobody = json!({"customer_user_ids": ["nobody"]});
            let purge = client.ok("users/delete-bulk", nobody).await;
            client.purge_ended(&purge["purge_id"]).await;
            json!({"purge_id": purge["purge_id"]})
        }
        "scim/enable" | "scim/disable" => json!({}),
        "users/attach-channel-grant" => json!({
            "customer_user_id": "c1", "channel": "sms", "external_user_id": "+49 170 1234567",
            "agents": ["Sales"], "expires_at": "2100-01-01T00:00:00Z",
        }),
        "users/revoke-channel-grant" | "identities/unlink" => {
            let grant = json!({"customer_user_id": "c1", "channel": "line", "external_user_id": "U1", "agents": ["*"]});
            client.ok("users/attach-channel-grant", grant).await;
            json!({"customer_user_id": "c1", "channel": "line"})
        }
        "users/set-connector-enabled" => {
            json!({"customer_user_id": "c1", "channel": "line", "enabled": false})
        }
        "identities/link" => {
            json!({"customer_user_id": "c1", "channel": "line", "external_user_id": "U1"})
        }
        "unmatched/dismiss" => {
            let stranger = json!({"channel": "line", "external_user_id": "U9"});
            client.ok("identities/resolve", stranger.clone()).await;
            until("the stranger to be listed", async || {
                let list = client.ok("unmatched/list", json!({})).await;
                (list["items"].as_array()?.len() == 1).then_some(())
            })
            .await;
            stranger
        }
        "dispatches" => {
            let link =
                json!({"customer_user_id": "c1", "channel": "line", "external_user_id": "U1"});
            client.ok("identities/link", link).await;
            json!({
                "channel": "line", "external_user_id": "U1", "run_id": "r1", "agent_alias": "Sales",
                "endpoint": "orders.list", "llm_fields": {"limit": 5},
            })
        }
        "connections/upsert" => {
            let mut members = connected(client, fake).await;
            members["mode"] = json!("incremental");
            members
        }
        "connections/delete" => connected(client, fake).await,
        "connections/sync" => {
            let connection = connected(client, fake).await;
            synced(client, &connection, "full").await;
            connection
        }
        "runs/cancel" => {
            let connection = connected(client, fake).await;
            let run = synced(client, &connection, "full").await;
            json!({"run_id": run["run_id"]})
        }
        other => panic!("{other} is a new mutation: say here what a request to it looks like"),
    }
}

/// Waits for the purge or the run that a request started, if it did.
async fn over(client: &Client, answer: &Answer) {
    let started = answer.json();
    if !started["purge_id"].is_null() {
        client.purge_ended(&started["purge_id"]).await;
    }
    if started["status"] == "queued" {
        ended(client, &started["run_id"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_that_is_sent_again_does_no_harm() {
    let fake = Fake::start(Vendor::Hubspot).await;
    fake.fill(3);
    let server = syncs::server(&[&fake], &[]).await.expect("a server");
    let key = server.key(ACCOUNT, &["*"]).await.expect("a key");
    for route in mutations() {
        let scope = project(&format!("again-{}", route.replace('/', "-")));
        let client = Client::new(&server, scope, Credential::Bearer(key.clone()));
        let members = prepare(&client, &fake, route).await;
        let first = client
            .with_header(KEY, "one")
            .post(route, members.clone())
            .await;
        let is_away = route.starts_with("scim/");
        let expected = match route {
            _ if is_away => 501,
            "users/delete-bulk" | "users/delete-by-filter" | "connections/sync" => 202,
            _ => 200,
        };
        assert_eq!(first.status, expected, "{first}");
        over(&client, &first).await;
        let after = state(&client).await;
        let again = [
            client.with_header(KEY, "one"),
            client.with_header(KEY, "two"),
            client.clone(),
            client.clone(),
        ];
        for caller in again {
            let answer = caller.post(route, members.clone()).await;
            // What is gone is not found a second time, and that is all.
            let expected = match route {
                "users/delete"
                | "users/suppressions/remove"
                | "users/revoke-channel-grant"
                | "connections/delete" => 404,
                _ => first.status,
            };
            assert_eq!(answer.status, expected, "{answer}");
            over(&client, &answer).await;
            assert_eq!(state(&client).await, after, "{route} did something twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_sent_again_while_it_runs_is_the_same_import() {
    // Long enough for the requests of this test to meet a running import, even on a busy machine.
    let server = Server::start_with(&[("ROSTER_IMPORT__CHUNK_PAUSE_MS", "3000")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "running")
        .await
        .expect("a client");
    let members = json!({"csv": "customer_user_id,city\nc1,Paris\nc2,Rome\n"});
    let keyed = client.with_header(KEY, "one");

    let first = tokio::join!(keyed.post("users/import-csv", members.clone()), async {
        let running = until("the import starts", async || {
            let active = json!({"active_only": true});
            let list = client.ok("users/imports/list", active).await;
            Some(list["items"].get(0)?["import_id"].clone())
        });
        let running = running.await;
        let again = keyed.post("users/import-csv", members.clone()).await;
        assert_eq!(
            again.header("idempotency-replayed"),
            Some("true"),
            "{again}"
        );
        assert_eq!(again.ok()["import_id"], running);
        running
    });
    let (first, running) = first;
    assert_eq!(first.header("idempotency-replayed"), None, "{first}");
    assert_eq!(first.ok()["import_id"], running);
    assert_eq!(client.ok("users/imports/list", json!({})).await["total"], 1);

    // Once the job has ended, the same request starts another one, which has nothing to do.
    client.import_ended(&running).await;
    let again = keyed.post("users/import-csv", members.clone()).await;
    assert_eq!(again.header("idempotency-replayed"), None, "{again}");
    let again = again.ok()["import_id"].clone();
    assert_ne!(again, running);
    let again = client.import_ended(&again).await;
    let counts = [
        "total",
        "created",
        "updated",
        "unchanged",
        "skipped",
        "failed",
    ]
    .map(|name| again[name].as_i64());
    assert_eq!(counts, [2, 0, 0, 2, 0, 0].map(Some), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_only_with_tenant_caller_and_body() {
    let server = Server::start_with(&[("ROSTER_IMPORT__CHUNK_PAUSE_MS", "1500")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "first")
        .await
        .expect("a client")
        .with_header(KEY, "one");
    let other_key = server.key(ACCOUNT, &["*"]).await.expect("a key");
    let callers = [
        (client.clone(), "c1"),
        (client.clone(), "c2"),
        (client.in_scope(project("second")), "c1"),
        (
            client.in_scope(Scope {
                org_id: "org_second".into(),
                ..project("first")
            }),
            "c1",
        ),
        (client.with_credential(Credential::Bearer(other_key)), "c1"),
    ];
    let imports = callers.iter().map(|(caller, id)| {
        caller.post(
            "users/import-csv",
            json!({"csv": format!("customer_user_id\n{id}\n")}),
        )
    });
    let mut started = Vec::new();
    for answer in futures::future::join_all(imports).await {
        assert_eq!(answer.header("idempotency-replayed"), None, "{answer}");
        started.push(answer.ok()["import_id"].as_str().expect("an id").to_owned());
    }
    started.sort_unstable();
    started.dedup();
    assert_eq!(
        started.len(),
        callers.len(),
        "two different requests got one answer"
    );

    for unusable in ["", &"k".repeat(256)] {
        let caller = client.with_header(KEY, unusable);
        caller
            .invalid(
                "users/import-csv",
                json!({"csv": "customer_user_id\nc9\n"}),
                "header.Idempotency-Key",
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_on_every_request_of_a_client_breaks_nothing() {
    let server = Server::start().await.expect("a server");
    let client = Client::of_project(&server, "wide")
        .await
        .expect("a client")
        .with_header(KEY, "client-wide");
    let list = json!({"fields": {}});

    assert_eq!(client.ok("users/list", list.clone()).await["total"], 0);
    let created = client
        .ok(
            "users/upsert",
            json!({"customer_user_id": "c1", "profile": {"city": "London"}}),
        )
        .await;
    assert_eq!(
        (&created["created"], &created["changed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        ids(&client.ok("users/list", list.clone()).await),
        ["c1"],
        "a read was answered from memory"
    );

    // A, B, A again: the third request is the first one's text, and must be done all the same.
    for (city, changed) in [("Paris", true), ("London", true), ("London", false)] {
        let upsert = json!({"customer_user_id": "c1", "profile": {"city": city}});
        assert_eq!(client.ok("users/upsert", upsert).await["changed"], changed);
        let record = client
            .ok("users/get", json!({"customer_user_id": "c1"}))
            .await;
        assert_eq!(record["user"]["profile"]["city"], city);
    }
    for round in 0..2 {
        let deleted = client
            .ok("users/delete", json!({"customer_user_id": "c1"}))
            .await;
        assert_eq!(deleted["deleted"], true, "round {round}");
        assert_eq!(client.ok("users/list", list.clone()).await["total"], 0);
        let created = client
            .ok(
                "users/upsert",
                json!({"customer_user_id": "c1", "profile": {"city": "London"}}),
            )
            .await;
        assert_eq!(created["created"], true, "round {round}");
    }
    let csv = json!({"csv": "customer_user_id,city\nc1,Rome\nc2,Bonn\n"});
    for updated in [1, 0] {
        let import = client.ok("users/import-csv", csv.clone()).await;
        assert_eq!(
            (&import["status"], &import["updated"]),
            (&json!("completed"), &json!(updated)),
            "{import}"
        );
    }
    assert_eq!(ids(&client.ok("users/list", list).await), ["c1", "c2"]);
    let export = client.post("users/export-csv", json!({})).await;
    assert!(export.text().contains("Rome"), "{export}");
}
