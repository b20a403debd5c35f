//! An erased person is nowhere: not in a dump of the database, in statistics or in the server's log, in no form.

use std::collections::BTreeMap;

use roster_tests::client::{ACCOUNT, Client, Credential, ORG, token};
use roster_tests::dump::{Dump, base64_cores, hex, spellings};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Written through `users/upsert`, some of them later overwritten.
const UPSERTED: [&str; 9] = [
    "planted-person-Ünï-0001",
    "Érika Müstermänn-Žáková",
    "Erika.Planted@Example-Upsert.org",
    "+49 170 5550177",
    "external-planted-4711",
    "Lieblingsfarbe Türkisgrün",
    "Früherer Geplanteř Name",
    "Earlier.Planted@Example-Upsert.org",
    "+49 171 55501099",
];
/// Written through `users/upsert-bulk`.
const BULK: [&str; 3] = [
    "bulk-planted-0002",
    "Bülk O’Planted-Śmith",
    "bulk.planted@example-bulk.org",
];
/// Written through an import, the last ones only in rows that failed or were warned of.
const IMPORTED: [&str; 8] = [
    "imported-planted-0003",
    "Ímported Plañted Pérson",
    "imported.planted@example-import.org",
    "0170 5550133",
    "Extra Wért Geplant",
    "Failed-Row-Plañted Nickname",
    "failed.row.planted@example-import.org",
    "warned-planted-no-address",
];
/// Erased with `suppress`.
const SUPPRESSED: [&str; 3] = [
    "suppressed-planted-0004",
    "Süppressed Plañted Ñame",
    "suppressed.planted@example-suppress.org",
];
/// External user ids: linked by hand, granted, and unlinked again.
const IDENTITIES: [&str; 3] = [
    "Identity-Plañted-7001",
    "@handle_planted_7002",
    "Unlinked-Plañted-7003",
];
/// Told by dispatches and sightings: a run, what a model said, and what a channel told of somebody who was unmatched then.
const DISPATCHED: [&str; 5] = [
    "Run-Plañted-8001",
    "Gesagtes Wört Geplant 8002",
    "Gesehener Näme Plañted 8003",
    "Früher-Unknown-Plañted-8004",
    "handle.planted.8005",
];
/// What imported values became.
const CANONICAL: [&str; 1] = ["+491705550133"];
/// Written through no door that lists: a failed row about nobody, and the subject of a token.
const NEVER_LISTED: [&str; 3] = [
    "nobody-planted-0005",
    "Nóbody Plañted in a failed row",
    "actor.planted@example-subject.org",
];
/// Planted unsealed in a table of the test, to be found.
const CONTROL: [&str; 3] = [
    "Cöntrol Plañted Valüe",
    "Control.Planted@Example-Control.org",
    "+49 170 5550199",
];

fn erased() -> impl Iterator<Item = &'static str> {
    UPSERTED
        .into_iter()
        .chain(BULK)
        .chain(IMPORTED)
        .chain(CANONICAL)
        .chain(SUPPRESSED)
        .chain(IDENTITIES)
        .chain(DISPATCHED)
}

fn schema() -> Value {
    json!({"primary_key": "customer_user_id", "fields": [
        {"name": "customer_user_id", "required": true, "unique": true},
        {"name": "full_name", "required": true},
        {"name": "email", "type": "email", "unique": true},
        {"name": "phone", "type": "phone", "default_region": "DE"},
        {"name": "nickname"},
    ]})
}

async fn start() -> (Server, Client) {
    // More than any operator logs.
    let server = Server::start_with(&[("ROSTER_LOG__LEVEL", "debug")])
        .await
        .expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    client.ok("schema/upsert", schema()).await;
    (server, client)
}

/// Writes everybody, through every door.
async fn plant(client: &Client) -> Value {
    let [
        id,
        name,
        email,
        phone,
        external,
        note,
        old_name,
        old_email,
        old_phone,
    ] = UPSERTED;
    let claims = json!({
        "sub": NEVER_LISTED[2], "exp": 4_102_444_800_i64, "account_id": ACCOUNT, "org_id": ORG, "project_id": "p",
        "is_admin": true,
    });
    let actor = client.with_credential(Credential::Bearer(token(&claims)));
    let keyed = actor.with_header("idempotency-key", "one key for everything");
    let first = json!({"full_name": old_name, "email": old_email, "phone": old_phone});
    keyed.upsert(id, first).await;
    let members = json!({
        "customer_user_id": id,
        "profile": {"full_name": name, "email": email, "phone": phone, "note": note},
        "data_source": {"kind": "scim", "provider": "okta", "external_id": external},
    });
    keyed.ok("users/upsert", members).await;
    let [id, name, email] = BULK;
    let item = json!({"customer_user_id": id, "profile": {"full_name": name, "email": email}});
    let verdicts = keyed
        .ok("users/upsert-bulk", json!({"items": [item]}))
        .await;
    assert!(!verdicts.to_string().contains("\"error\":{"), "{verdicts}");
    let [id, name, email] = SUPPRESSED;
    client
        .upsert(id, json!({"full_name": name, "email": email}))
        .await;

    let [
        id,
        name,
        email,
        phone,
        extra,
        nickname,
        failed_email,
        warned,
    ] = IMPORTED;
    let csv = format!(
        "customer_user_id,full_name,email,phone,extra\n{id},{name},{email},{phone},{extra}\n"
    );
    let result = keyed.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(result["created"], 1, "{result}");
    let csv = format!(
        "customer_user_id,full_name,nickname,email\n\
         {id},,{nickname},{failed_email}\n\
         {id},{name},,{warned}\n\
         {},,{},\n",
        NEVER_LISTED[0], NEVER_LISTED[1]
    );
    let result = keyed.ok("users/import-csv", json!({"csv": csv})).await;
    assert_eq!(
        (&result["failed"], &result["warnings"]),
        (&json!(2), &json!(1)),
        "{result}"
    );
    let restored = format!("customer_user_id,full_name,email\n{id},{name},{email}\n");
    client
        .ok("users/import-csv", json!({"csv": restored}))
        .await;
    plant_identities(&keyed).await;
    plant_dispatches(&keyed).await;
    json!({"import_id": result["import_id"]})
}

/// Links, grants and a block of the first person.
async fn plant_identities(client: &Client) {
    let [linked, granted, unlinked] = IDENTITIES;
    for id in [linked, unlinked] {
        let link =
            json!({"customer_user_id": UPSERTED[0], "channel": "line", "external_user_id": id});
        client.ok("identities/link", link).await;
    }
    let grant = json!({"customer_user_id": UPSERTED[0], "channel": "telegram", "external_user_id": granted,
        "agents": ["sales"]});
    client.ok("users/attach-channel-grant", grant).await;
    let unlink = json!({"channel": "line", "external_user_id": unlinked});
    assert_eq!(
        client.ok("identities/unlink", unlink).await["unlinked"],
        true
    );
}

/// Dispatches for the first person and for one of her identities while it is nobody's, and sightings that tell of her.
async fn plant_dispatches(client: &Client) {
    let [run, said, seen_as, unknown, handle] = DISPATCHED;
    let grant = json!({"customer_user_id": UPSERTED[0], "channel": "line", "external_user_id": IDENTITIES[0],
        "agents": ["sales"]});
    client.ok("users/attach-channel-grant", grant).await;
    for (number, id) in [IDENTITIES[0], unknown, IDENTITIES[2]]
        .into_iter()
        .enumerate()
    {
        let dispatch = json!({
            "channel": "line", "external_user_id": id, "run_id": format!("{run} {number}"),
            "facts": {"username": handle, "display_name": seen_as, "phone": UPSERTED[3]},
            "agent_alias": "sales", "endpoint": "POST /orders",
            "invoker_fields": {"name": "full_name", "mail": "email"}, "llm_fields": {"note": said},
        });
        let dispatched = client.ok("dispatches", dispatch).await;
        assert_eq!(dispatched["allowed"], number == 0, "{dispatched}");
    }
    until("two sightings to be listed", async || {
        let list = client.ok("unmatched/list", json!({"search": "8003"})).await;
        (list["total"] == 2).then_some(())
    })
    .await;
    let link =
        json!({"customer_user_id": UPSERTED[0], "channel": "line", "external_user_id": unknown});
    client.ok("identities/link", link).await;
}

/// Puts the control values where an unsealed value could stand, each form in a row of its own.
async fn plant_control(connection: &mut PgConnection) {
    let statement = "CREATE TABLE public.planted (form text, plain text, bytes bytea)";
    sqlx::query(statement)
        .execute(&mut *connection)
        .await
        .expect("a table");
    for value in CONTROL {
        for (form, spelling) in spellings(value) {
            let encoded = base64_cores(spelling.as_bytes());
            for (plain, bytes) in [
                (Some(spelling.clone()), None),
                (None, Some(spelling.clone().into_bytes())),
                (Some(hex(spelling.as_bytes()).to_uppercase()), None),
                (Some(encoded.join(" ")), None),
                (None, Some(encoded.concat().into_bytes())),
            ] {
                let insert = sqlx::query("INSERT INTO public.planted VALUES ($1, $2, $3)");
                insert
                    .bind(form)
                    .bind(plain)
                    .bind(bytes)
                    .execute(&mut *connection)
                    .await
                    .expect("a row");
            }
        }
    }
}

/// Dispatches and unmatched identities as they are listed, with what was kept of a call.
async fn told(client: &Client) -> String {
    let mut told = String::new();
    for route in ["audit/list", "unmatched/list"] {
        told.push_str(&client.ok(route, json!({})).await.to_string());
    }
    for (number, id) in [IDENTITIES[0], DISPATCHED[3], IDENTITIES[2]]
        .into_iter()
        .enumerate()
    {
        let again = json!({
            "channel": "line", "external_user_id": id, "run_id": format!("{} {number}", DISPATCHED[0]),
            "agent_alias": "sales", "endpoint": "POST /orders",
        });
        told.push_str(&client.ok("dispatches", again).await.to_string());
    }
    told
}

fn found(
    dump: &Dump,
    values: impl IntoIterator<Item = &'static str>,
) -> BTreeMap<&'static str, Vec<String>> {
    values
        .into_iter()
        .map(|value| (value, dump.forms_of(value)))
        .filter(|(_, forms)| !forms.is_empty())
        .collect()
}

fn assert_nothing(what: &str, dump: &Dump, values: impl IntoIterator<Item = &'static str>) {
    assert_eq!(
        found(dump, values),
        BTreeMap::new(),
        "{what} has values of people"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_in_any_form() {
    let (server, client) = start().await;
    let import = plant(&client).await;
    let mut connection = server.database().superuser().await.expect("a connection");
    plant_control(&mut connection).await;
    sqlx::query("ANALYZE")
        .execute(&mut connection)
        .await
        .expect("statistics");

    // They are there: the list finds them, and so does the search of the dump.
    for value in [
        UPSERTED[1],
        UPSERTED[2],
        UPSERTED[5],
        "5550177",
        BULK[1],
        IMPORTED[1],
        IMPORTED[4],
        SUPPRESSED[2],
    ] {
        let ids = until("the search to follow", async || {
            Some(client.ids(json!({"search": value})).await).filter(|ids| !ids.is_empty())
        });
        assert_eq!(ids.await.len(), 1, "{value}");
    }
    let errors = client
        .post("users/imports/errors", import.clone())
        .await
        .text();
    assert!(
        [IMPORTED[5], IMPORTED[6], NEVER_LISTED[1]]
            .iter()
            .all(|value| errors.contains(value)),
        "{errors}"
    );
    let before = Dump::take(server.database()).await.expect("a dump");
    for value in [
        UPSERTED[0],
        UPSERTED[1],
        UPSERTED[4],
        UPSERTED[5],
        BULK[0],
        BULK[1],
        IMPORTED[1],
        IMPORTED[4],
        IDENTITIES[0],
        IDENTITIES[1],
    ] {
        assert!(
            !before.forms_of(value).is_empty(),
            "{value} is listed, and the dump does not show it"
        );
    }
    // Overwritten and failed values are sealed already now.
    let sealed = UPSERTED[6..]
        .iter()
        .chain(&IMPORTED[5..])
        .chain(&NEVER_LISTED)
        .chain(&DISPATCHED[..3])
        .chain(&DISPATCHED[4..])
        .copied();
    assert_nothing("a dump before the erasure", &before, sealed);
    let told = told(&client).await;
    assert!(
        DISPATCHED.iter().all(|value| told.contains(value)),
        "it is listed: {told}"
    );

    for (id, suppress) in [
        (UPSERTED[0], false),
        (BULK[0], false),
        (IMPORTED[0], false),
        (SUPPRESSED[0], true),
    ] {
        let members = json!({"customer_user_id": id, "suppress": suppress});
        let answer = client.post("users/delete", members.clone()).await;
        assert_eq!(answer.ok()["deleted"], true);
        client
            .refused("users/delete", members, 404, "customer_not_found")
            .await;
        let position = answer
            .header("roster-position")
            .expect("a position")
            .to_owned();
        // Waits until the search has forgotten the person too.
        let searcher = client.with_header("roster-min-position", &position);
        assert_eq!(
            searcher.ids(json!({"search": id})).await,
            Vec::<String>::new()
        );
    }

    let after = Dump::take(server.database()).await.expect("a dump");
    assert_nothing(
        "a dump after the erasure",
        &after,
        erased().chain(NEVER_LISTED),
    );
    for value in CONTROL {
        let forms = after.forms_of(value);
        assert!(
            forms.len() >= 10,
            "the search does not find what is not sealed: {value} in {forms:?}"
        );
    }
    let statistics = Dump::of_statistics(&mut connection)
        .await
        .expect("statistics");
    assert!(
        !found(&statistics, CONTROL).is_empty(),
        "the statistics of an ordinary table have samples"
    );
    assert_nothing("pg_stats", &statistics, erased().chain(NEVER_LISTED));
    assert_nothing(
        "the server's log",
        &Dump::of(server.log()),
        erased().chain(NEVER_LISTED),
    );

    let told = self::told(&client).await;
    assert_nothing("what is listed", &Dump::of(told.clone()), erased());
    assert_eq!(told.matches("run_id").count(), 3, "{told}");
    let errors = client.post("users/imports/errors", import).await.text();
    assert!(
        !errors.contains(IMPORTED[5]) && errors.contains(NEVER_LISTED[1]),
        "only the person's row is empty: {errors}"
    );
    let keyless: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM log_streams WHERE kind = 1 AND flags & 1 = 1 AND key IS NULL AND state IS NULL",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a count");
    assert_eq!(keyless, 4, "the closed streams stay, without key and state");
    let identities: Vec<bool> =
        sqlx::query_scalar("SELECT key IS NULL AND state IS NULL FROM log_streams WHERE kind = 8")
            .fetch_all(&mut connection)
            .await
            .expect("the streams of identities");
    assert_eq!(
        identities,
        [true],
        "what was known of an unlinked identity is gone too"
    );
    let staged: i64 = sqlx::query_scalar("SELECT count(*) FROM job_chunks")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(staged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_staged_text_and_the_answers_of_requests_are_sealed() {
    let pause = ("ROSTER_IMPORT__CHUNK_PAUSE_MS", "60000");
    let server = Server::start_with(&[pause]).await.expect("a server");
    let client = Client::of_project(&server, "p").await.expect("a client");
    let csv = format!(
        "customer_user_id,full_name,email\n{},{},{}\n",
        BULK[0], BULK[1], BULK[2]
    );
    let keyed = client.with_header("idempotency-key", "staged");
    let mut connection = server.database().superuser().await.expect("a connection");
    let kept = "SELECT (SELECT count(*) FROM job_chunks) * (SELECT count(*) FROM log_idempotency)";
    tokio::select! {
        // The request waits for a result that does not come.
        answer = keyed.post("users/import-csv", json!({"csv": csv})) => panic!("it is not done: {answer}"),
        () = until("a staged piece and a kept answer", async || {
            let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut connection).await.expect("a count");
            (kept == 1).then_some(())
        }) => {}
    }
    let dump = Dump::take(server.database()).await.expect("a dump");
    assert_nothing("a dump while the file is staged", &dump, BULK);
    let (stream, answer): (String, Vec<u8>) =
        sqlx::query_as("SELECT stream_id::text, answer FROM log_idempotency")
            .fetch_one(&mut connection)
            .await
            .expect("an answer");
    // The id of the stream leads the answer and is no secret; it must not stand there a second time.
    assert!(
        hex(&answer).matches(&stream.replace('-', "")).count() <= 1,
        "the answer itself is sealed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_comes_back_is_another_one() {
    let (server, client) = start().await;
    let first = client
        .upsert(
            "again",
            json!({"full_name": "Plañted Önce", "email": "once@example.org"}),
        )
        .await;
    client
        .ok("users/delete", json!({"customer_user_id": "again"}))
        .await;
    let second = client
        .upsert(
            "again",
            json!({"full_name": "Twice", "email": "once@example.org"}),
        )
        .await;
    assert_ne!(first["customer_ref"], second["customer_ref"]);
    assert_eq!(
        (&second["version"], &second["profile"]["full_name"]),
        (&json!(1), &json!("Twice"))
    );
    until("the search to follow", async || {
        let found = client.ids(json!({"search": "Twice"})).await;
        (found == ["again"]).then_some(())
    })
    .await;
    let dump = Dump::take(server.database()).await.expect("a dump");
    assert_eq!(dump.forms_of("Plañted Önce"), Vec::<String>::new());
    assert!(
        !dump.forms_of("once@example.org").is_empty(),
        "the address is in use again"
    );
}
