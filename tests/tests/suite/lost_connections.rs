//! A Postgres that restarts ends every connection: who asks then is told to try again, and jobs go on as if nothing had been.

use std::time::Duration;

use roster_tests::purges::{fill, start, stats};
use roster_tests::until::until;
use serde_json::json;

const PEOPLE: u32 = 3_000;
/// How often all connections end.
const TIMES: u32 = 12;
/// Pauses of jobs, so that they are under way all the time.
const SETTINGS: [(&str, &str); 2] = [
    ("ROSTER_PURGE__CHUNK_PAUSE_MS", "100"),
    ("ROSTER_IMPORT__CHUNK_PAUSE_MS", "100"),
];
/// What a fast restart or a failover does to connections, told to the client by 57P01.
const END_ALL: &str = "SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_fail_no_job_and_no_request_for_good() {
    let (server, client) = start(&SETTINGS, "lost").await;
    fill(&client, "gone", 0..PEOPLE).await;
    let filter = json!({"data_source_provider": "gone"});
    let purge = client.post("users/delete-by-filter", filter).await;
    let purge_id = purge.ok()["purge_id"].clone();
    let rows: Vec<String> = (0..PEOPLE)
        .map(|number| format!("new{number},new{number}@example.org"))
        .collect();
    let csv = format!("customer_user_id,email\n{}\n", rows.join("\n"));
    let import = client.import("provider=new", csv).await;
    let import_id = import.ok()["import_id"].clone();

    let mut superuser = server.database().superuser().await.expect("a connection");
    let (mut written, mut number) = (Vec::new(), 0);
    for _ in 0..TIMES {
        until("there are connections to end", async || {
            let ended = sqlx::query_scalar(END_ALL).fetch_one(&mut superuser);
            let ended: i64 = ended.await.expect("it may");
            (ended > 0).then_some(())
        })
        .await;
        let callers = (0..8).map(|caller| {
            let id = format!("w{}", number + caller);
            let client = client.clone();
            async move {
                let members = json!({"customer_user_id": id, "profile": {"full_name": "W"}});
                (id, client.post("users/upsert", members).await)
            }
        });
        for (id, answer) in futures::future::join_all(callers).await {
            assert!(matches!(answer.status, 200 | 503), "{answer}");
            if answer.status == 200 {
                written.push(id);
            }
        }
        number += 8;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let purge = client.purge_ended(&purge_id).await;
    let people = i64::from(PEOPLE);
    assert_eq!(stats(&purge), [people, people, 0, 0], "{purge}");
    let import = client.import_ended(&import_id).await;
    assert_eq!(import["status"], "completed", "{import}");
    assert_eq!(import["created"], PEOPLE, "{import}");
    for id in written {
        client
            .ok("users/get", json!({"customer_user_id": id}))
            .await;
    }
}
