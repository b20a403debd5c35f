//! A superuser who changes the log behind the server's back is found out by `roster log verify`, which names the place.
//!
//! The log has people that were written, changed and erased, an import, and anchors from before and after its middle.

use std::path::PathBuf;
use std::process::Output;

use roster_tests::bench::people;
use roster_tests::client::Client;
use roster_tests::imports::import_text;
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::json;
use sqlx::{Executor, PgConnection};

const ANCHOR_KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

/// What a superuser can write to.
const TABLES: [&str; 6] = [
    "log_events",
    "log_batches",
    "log_streams",
    "log_claims",
    "log_types",
    "log_epoch",
];

/// What whoever may write the tables does to hide a change: every digest and the whole chain anew.
const COMPUTE_ANEW: &str = "
UPDATE log_events
   SET digest = sha256(int8send(position) || timestamptz_send(recorded_at) || uuid_send(stream_id) || int4send(version)
                       || int4send(project_no) || int2send(type_no) || int2send(type_version) || int4send(length(meta))
                       || meta || payload);
DO $$
DECLARE
    batch    record;
    previous bytea := '';
BEGIN
    FOR batch IN SELECT * FROM log_batches ORDER BY last_position LOOP
        SELECT sha256(previous || string_agg(digest, '' ORDER BY position)) INTO previous
          FROM log_events WHERE position BETWEEN batch.first_position AND batch.last_position;
        UPDATE log_batches SET digest = previous WHERE last_position = batch.last_position;
    END LOOP;
END $$";

struct Tampered {
    server: Server,
    superuser: PgConnection,
    anchors: PathBuf,
    /// The last position that the first anchor covers.
    middle: i64,
    head: i64,
}

impl Tampered {
    /// Writes a log, stops its server and keeps a copy of every table.
    async fn start() -> Self {
        let settings = [
            ("ROSTER_ANCHORS__KEY", ANCHOR_KEY),
            ("ROSTER_ANCHORS__INTERVAL_SECONDS", "1"),
        ];
        let mut server = Server::start_with(&settings).await.expect("a server");
        let client = Client::of_project(&server, "p").await.expect("a client");
        client
            .ok("schema/upsert", json!({"schema": people::definition()}))
            .await;
        for number in 0..10 {
            upsert(&client, number, 0).await;
        }
        let command = server.command();
        let data = command
            .get_envs()
            .find(|(name, _)| *name == "ROSTER_DATA_DIR");
        let data = data.and_then(|(_, value)| value).expect("a data folder");
        let anchors = PathBuf::from(data).join("anchors.jsonl");
        let middle = client.head().await;
        until("an anchor", async || {
            let text = std::fs::read_to_string(&anchors).ok()?;
            text.contains(&format!("\"position\":{middle},"))
                .then_some(())
        })
        .await;
        for number in 0..5 {
            upsert(&client, number, 1).await;
        }
        client
            .ok("users/delete", json!({"customer_user_id": people::id(7)}))
            .await;
        let csv: String = people::csv(20..40, 0).collect();
        import_text(&client, &csv, json!({})).await;
        upsert(&client, 50, 0).await;
        let head = client.head().await;
        assert!(server.stop().await.expect("it stops").success());

        let mut superuser = server.database().superuser().await.expect("a connection");
        superuser
            .execute("SET session_replication_role = replica")
            .await
            .expect("triggers are off for a superuser who wants that");
        for table in TABLES {
            let keep = format!("CREATE TABLE kept_{table} AS TABLE {table}");
            superuser.execute(keep.as_str()).await.expect("a copy");
        }
        Self {
            server,
            superuser,
            anchors,
            middle,
            head,
        }
    }

    fn verify(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .server
            .command()
            .args(["log", "verify"])
            .args(arguments)
            .output()
            .expect("roster runs");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        assert!(
            status.code() != Some(2),
            "{text}{}",
            String::from_utf8_lossy(&stderr)
        );
        (status.code(), text)
    }

    /// Does some damage, expects each of these to be told, and puts everything back.
    async fn damage(&mut self, what: &str, sql: &str, told: &[&str]) -> String {
        self.superuser
            .execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let (code, text) = self.verify(&[]);
        assert_eq!(code, Some(1), "{what}: {text}");
        for expected in told {
            assert!(
                text.lines()
                    .any(|line| line.starts_with("DAMAGED") && line.contains(expected)),
                "{what}: nothing says {expected:?}:\n{text}"
            );
        }
        self.restore().await;
        text
    }

    async fn restore(&mut self) {
        for table in TABLES {
            let back = format!("TRUNCATE {table}; INSERT INTO {table} TABLE kept_{table}");
            self.superuser.execute(back.as_str()).await.expect("back");
        }
    }

    async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&mut self.superuser)
            .await
            .expect("a number")
    }

    async fn text(&mut self, sql: &str) -> String {
        sqlx::query_scalar(sql)
            .fetch_one(&mut self.superuser)
            .await
            .expect("a text")
    }

    /// The positions that anchors name.
    fn anchored(&self) -> Vec<i64> {
        let text = std::fs::read_to_string(&self.anchors).expect("anchors");
        let positions = text.lines().map(|line| {
            let anchor: serde_json::Value = serde_json::from_str(line).expect("an anchor");
            anchor["position"].as_i64().expect("a position")
        });
        positions.collect()
    }

    /// The stream of a customer by its place among them.
    async fn customer(&mut self, place: u32) -> String {
        self.text(&format!(
            "SELECT stream_id::text FROM log_streams WHERE kind = 1 AND flags = 0 ORDER BY stream_id LIMIT 1 OFFSET {place}"
        ))
        .await
    }
}

async fn upsert(client: &Client, number: u32, edition: u32) {
    let values = people::person(number, 0);
    let mut profile: serde_json::Map<String, serde_json::Value> = people::COLUMNS
        .into_iter()
        .zip(values)
        .skip(1)
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    profile.insert("notes".into(), json!(format!("edition {edition}")));
    client.upsert(&people::id(number), json!(profile)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_touched_is_proved_up_to_its_last_anchor() {
    let log = Tampered::start().await;
    for arguments in [&[][..], &["--refold"]] {
        let (code, text) = log.verify(arguments);
        assert_eq!(code, Some(0), "{text}");
        let proved = format!("the last at position {}: ", log.head);
        assert!(
            text.contains("no damage found") && text.contains(&proved),
            "{text}"
        );
        assert!(
            text.contains(&format!("checked: {} events", log.head)),
            "{text}"
        );
    }
    let text = std::fs::read_to_string(&log.anchors).expect("anchors");
    let moved = text.replacen(
        &format!("\"position\":{}", log.middle),
        &format!("\"position\":{}", log.middle + 1),
        1,
    );
    std::fs::write(&log.anchors, moved).expect("a change");
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("its signature does not hold"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_changed_in_any_column_of_an_event_is_found_at_its_position() {
    let mut log = Tampered::start().await;
    let position = log
        .number("SELECT min(position) + 3 FROM log_events JOIN log_streams USING (stream_id) WHERE kind = 1")
        .await;
    let at = format!("position {position}: the event differs from its digest");
    let flip = |column: &str, byte: &str| {
        format!("set_byte({column}, {byte}, get_byte({column}, {byte}) # 1)")
    };
    let changes = [
        ("recorded_at", "recorded_at + interval '1 microsecond'".to_owned()),
        // The last digit becomes another one.
        (
            "stream_id",
            "overlay(stream_id::text placing translate(right(stream_id::text, 1), '0123456789abcdef', '123456789abcdef0')
             from 36)::uuid"
                .to_owned(),
        ),
        ("version", "version + 256".to_owned()),
        ("project_no", "project_no # 1".to_owned()),
        ("type_no", "type_no + 1".to_owned()),
        ("type_version", "type_version + 1".to_owned()),
        ("meta", flip("meta", "0")),
        ("payload", flip("payload", "length(payload) - 1")),
        ("digest", flip("digest", "31")),
    ];
    for (column, value) in changes {
        let sql = format!("UPDATE log_events SET {column} = {value} WHERE position = {position}");
        log.damage(column, &sql, &[&at]).await;
    }
    let sql =
        format!("UPDATE log_events SET position = position + 1000000 WHERE position = {position}");
    let missing = format!("position {position}: the event is missing");
    let moved = format!(
        "position {}: the event differs from its digest",
        position + 1_000_000
    );
    log.damage("position", &sql, &[&missing, &moved]).await;
    let sql = format!(
        "UPDATE log_events SET payload = payload || '\\x00' WHERE position IN ({position}, {position} + 2)"
    );
    let second = format!(
        "position {}: the event differs from its digest",
        position + 2
    );
    let text = log.damage("two of them", &sql, &[&at, &second]).await;
    assert!(text.contains("2 findings"), "{text}");
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_removed_swapped_or_cut_off_are_found() {
    let mut log = Tampered::start().await;
    let (middle, head) = (log.middle, log.head);
    let missing = format!("position {middle}: the event is missing");
    let sql = format!("DELETE FROM log_events WHERE position = {middle}");
    log.damage("an event removed", &sql, &[&missing]).await;

    let (one, other) = (middle - 1, middle - 2);
    let sql = format!(
        "UPDATE log_events SET position = -1 WHERE position = {one};
         UPDATE log_events SET position = {one} WHERE position = {other};
         UPDATE log_events SET position = {other} WHERE position = -1"
    );
    let told = [one, other].map(|at| format!("position {at}: the event differs from its digest"));
    log.damage("two events swapped", &sql, &[&told[0], &told[1]])
        .await;

    let sql = format!("DELETE FROM log_events WHERE position > {head} - 3");
    let told = format!(
        "position {}: the events {} to {head} are missing",
        head - 2,
        head - 2
    );
    log.damage("the last events removed", &sql, &[&told]).await;

    let cut = format!("position {head}: the log ends at ");
    let sql = format!(
        "DELETE FROM log_events WHERE position > {middle};
         DELETE FROM log_batches WHERE last_position > {middle}"
    );
    log.damage(
        "everything after the middle removed",
        &sql,
        &[&cut, "(stream "],
    )
    .await;
    // The last event is all that there is of its customer.
    let sql = format!(
        "DELETE FROM log_claims WHERE stream_id = (SELECT stream_id FROM log_events WHERE position = {head});
         DELETE FROM log_streams WHERE stream_id = (SELECT stream_id FROM log_events WHERE position = {head});
         DELETE FROM log_events WHERE position = {head};
         DELETE FROM log_batches WHERE last_position = {head}"
    );
    let text = log
        .damage("the tail removed with all its traces", &sql, &[&cut])
        .await;
    assert!(text.contains("1 findings"), "only the anchor knows: {text}");

    let batch = log
        .number(&format!(
            "SELECT max(last_position) FROM log_batches WHERE last_position < {middle}"
        ))
        .await;
    let sql = format!(
        "UPDATE log_batches SET digest = set_byte(digest, 0, get_byte(digest, 0) # 1) WHERE last_position = {batch}"
    );
    let told = format!("position {batch}: the batch ");
    let text = log.damage("the digest of a batch", &sql, &[&told]).await;
    assert!(
        text.contains("1 findings"),
        "its followers are sound: {text}"
    );
    let sql = format!("DELETE FROM log_batches WHERE last_position = {batch}");
    let told = format!("position {}: the batch ", batch + 1);
    log.damage("a batch removed", &sql, &[&told]).await;
    let sql = format!("DELETE FROM log_batches WHERE last_position = {head}");
    log.damage("the last batch removed", &sql, &["are in no batch"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_computed_anew_differs_from_its_anchors() {
    let mut log = Tampered::start().await;
    let forge = |position: i64| {
        format!(
            "UPDATE log_events SET recorded_at = recorded_at - interval '1 day' WHERE position = {position}; {COMPUTE_ANEW}"
        )
    };
    for position in [2, log.head] {
        let anchored = log.anchored();
        let before = anchored.iter().filter(|at| **at < position).max();
        let after = anchored.iter().filter(|at| **at >= position).min();
        let told = format!(
            "position {}: the chain differs from its anchor",
            after.expect("an anchor")
        );
        let since = format!(
            "events from {} on were changed",
            before.copied().unwrap_or(0) + 1
        );
        let text = log
            .damage("a forged chain", &forge(position), &[&told, &since])
            .await;
        assert!(text.contains("1 findings"), "nothing else can tell: {text}");
    }

    log.superuser
        .execute(forge(2).as_str())
        .await
        .expect("a forgery");
    std::fs::remove_file(&log.anchors).expect("it was there");
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("not proved: there are no anchors"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_head_that_was_edited_is_found_by_its_stream() {
    let mut log = Tampered::start().await;
    let stream = log.customer(2).await;
    let ended = log
        .text("SELECT stream_id::text FROM log_streams WHERE kind = 1 AND flags = 1")
        .await;
    let edits = [
        ("version", "version + 1", "the stream's row says version"),
        (
            "last_position",
            "last_position - 1",
            "the stream's row says last position",
        ),
        (
            "project_no",
            "project_no + 1",
            "the stream's row says project",
        ),
        (
            "flags",
            "1",
            "the stream's row says that it is ended, its events open",
        ),
        (
            "kind",
            "2",
            "the stream's kind is 2, its events are of kind 1",
        ),
        ("key", "NULL", "the stream is open and its key is gone"),
        (
            "key",
            "set_byte(key, 20, get_byte(key, 20) # 1)",
            "the stream's key does not open",
        ),
        (
            "state",
            "set_byte(state, 20, get_byte(state, 20) # 1)",
            "the stream's snapshot does not open",
        ),
    ];
    for (column, value, told) in edits {
        let sql = format!("UPDATE log_streams SET {column} = {value} WHERE stream_id = '{stream}'");
        let text = log.damage(column, &sql, &[told]).await;
        assert!(text.contains(&format!("(stream {stream})")), "{text}");
    }
    let sql = format!("UPDATE log_streams SET flags = 0 WHERE stream_id = '{ended}'");
    log.damage(
        "an ended stream opened",
        &sql,
        &["says that it is open, its events ended"],
    )
    .await;
    let sql = format!("DELETE FROM log_streams WHERE stream_id = '{stream}'");
    log.damage("a row removed", &sql, &["events and no row in log_streams"])
        .await;
    let sql = format!("UPDATE log_streams SET state = NULL WHERE stream_id = '{stream}'");
    log.superuser.execute(sql.as_str()).await.expect("a change");
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(0), "a snapshot may be missing: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_edited_added_or_removed_is_found_by_its_stream() {
    let mut log = Tampered::start().await;
    let (one, other) = (log.customer(1).await, log.customer(4).await);
    let key = log
        .text(&format!(
            "SELECT encode(key, 'hex') FROM log_claims WHERE stream_id = '{one}' AND kind = 2"
        ))
        .await;
    let (of_one, of_other) = (format!("(stream {one})"), format!("(stream {other})"));
    let of = |sql: &str| format!("{sql} WHERE stream_id = '{one}' AND kind = 2");
    let named = format!("on {key} is missing {of_one}");
    log.damage("removed", &of("DELETE FROM log_claims"), &[&named])
        .await;
    let held = format!("on {key} is held by the stream {other} {of_one}");
    let sql = of(&format!("UPDATE log_claims SET stream_id = '{other}'"));
    log.damage("given to another", &sql, &[&held]).await;
    let sql = of("UPDATE log_claims SET key = set_byte(key, 0, get_byte(key, 0) # 1)");
    let text = log.damage("its key changed", &sql, &[&named]).await;
    assert!(
        text.contains(&format!("is none that the stream's state holds {of_one}")),
        "{text}"
    );
    let sql = format!(
        "INSERT INTO log_claims SELECT project_no, 2, sha256('x'), '{other}' FROM log_streams WHERE stream_id = '{other}'"
    );
    let told = format!("is none that the stream's state holds {of_other}");
    log.damage("added", &sql, &[&told]).await;
    let sql = "DELETE FROM log_claims WHERE kind = 1";
    log.damage("all of a kind removed", sql, &[&of_one, &of_other])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_and_epochs_that_were_edited_are_found() {
    let mut log = Tampered::start().await;
    log.damage(
        "a fingerprint",
        "UPDATE log_types SET fingerprint = 'other' WHERE type_no = 1",
        &["log_types has customer.registered with fingerprint other"],
    )
    .await;
    log.damage(
        "a shape removed",
        "DELETE FROM log_types WHERE type_no = 1",
        &["events of type 1 version 1, which log_types does not have"],
    )
    .await;
    let text = std::fs::read_to_string(&log.anchors).expect("anchors");
    assert!(text.contains("\"epoch\":1"), "{text}");
    // A restore begins the next epoch; what the one before it signed holds up to there.
    log.superuser
        .execute("UPDATE log_epoch SET epoch = 2, started_at = clock_timestamp()")
        .await
        .expect("a change");
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(0), "{text}");
}
