//! Scratch.
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::collections::BTreeMap;
use roster_commands::clock::*;
use roster_commands::*;
use roster_domain::schema::*;
use roster_domain::import::*;
use roster_domain::value::Input;
use roster_domain::stream::claim_kind;
use roster_domain::Scope;
use roster_store::*;
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

async fn open(name: &str) -> (Directory, TaskTracker, CancellationToken) {
    let vault = Vault::parse(&"7a".repeat(32)).unwrap();
    let admin = sqlx::PgPool::connect("postgres://postgres@127.0.0.1:54999/postgres").await.unwrap();
    sqlx::query(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).execute(&admin).await.unwrap();
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&admin).await.unwrap();
    let url = SecretString::from(format!("postgres://postgres@127.0.0.1:54999/{name}"));
    let service = migrate::migrate(&url, "main", &vault).await.unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let config = CellConfig { name: "main".into(), database_url: service, pool_size: 10, cache_streams: 10_000 };
    let cell = Cell::open(config, vault, &tracker, stop.clone()).await.unwrap();
    let directory = Directory::new(cell, Arc::new(SystemClock), Arc::new(SystemIds), Limits::default());
    (directory, tracker, stop)
}
fn ctx() -> Context { Context::system(Scope { account_id: "a".into(), org_id: "o".into(), project_id: "p".into() }, "t") }
fn input(id: &str, fields: &[(&str, &str)]) -> UpsertInput {
    UpsertInput { customer_user_id: Some(id.into()), profile: fields.iter().map(|(n, v)| ((*n).into(), if v.is_empty() { Input::Null } else { Input::Text((*v).into()) })).collect(), ..UpsertInput::default() }
}
async fn import(d: &Directory, csv: &str, options: ImportOptions) -> Import {
    let c = ctx();
    let started = d.start_import(&c, ImportInput { options, body: csv.as_bytes() }).await.unwrap();
    let id = started.value.import_id;
    assert!(d.wait_for_import(&c, id, Duration::from_secs(300)).await.unwrap());
    let project = d.cell().project(&c.scope).await.unwrap().unwrap();
    d.cell().load::<Import>(&project, id).await.unwrap().state
}
fn unique_email() -> Definition {
    let mut def = Definition::default();
    for f in &mut def.fields { if f.name == "email" { f.unique = true; } }
    def
}
fn is_send<T: Send>(t: T) -> T { t }

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let (d, tracker, stop) = open("smoke").await;
    let c = ctx();
    let up = is_send(d.upsert_customer(&c, input("a", &[("email", "A@x.org"), ("full_name", "Ada")]))).await.unwrap();
    assert!(up.value.created && up.value.changed);
    let again = d.upsert_customer(&c, input("a", &[("email", "A@x.org"), ("full_name", "Ada")])).await.unwrap();
    assert!(!again.value.changed && again.position.is_none());
    d.upsert_customer(&c, input("b", &[("email", "a@x.org")])).await.unwrap();
    // duplicates
    let e = is_send(d.upsert_schema(&c, SchemaInput { definition: unique_email(), expected_version: None })).await.unwrap_err();
    let CommandError::SchemaInvalid(p) = e else { panic!("{e:?}") };
    println!("{p:?}");
    d.upsert_customer(&c, input("b", &[("email", "b@x.org")])).await.unwrap();
    let s = d.upsert_schema(&c, SchemaInput { definition: unique_email(), expected_version: Some(0) }).await.unwrap();
    assert_eq!(s.value.version, 1);
    let e = d.upsert_customer(&c, input("b", &[("email", "a@x.org")])).await.unwrap_err();
    assert!(matches!(&e, CommandError::UniqueValueTaken { field, customer_user_id: Some(id) } if field == "email" && id == "a"), "{e:?}");
    assert!(d.upsert_schema(&c, SchemaInput { definition: unique_email(), expected_version: Some(7) }).await.unwrap().position.is_none());
    assert!(d.find_customer(&c, FindBy::Field("email".into(), Input::Text("A@X.org".into()))).await.unwrap().is_some());
    // bulk
    let bulk = is_send(d.upsert_customers(&c, vec![input("m", &[("email", "m@x.org")]), input("n", &[("email", "m@x.org")]), input("m", &[("full_name", "Em")]), input("", &[])])).await.unwrap();
    println!("{:?}", bulk.value.iter().map(|v| v.as_ref().map(|u| (u.created, u.changed)).map_err(|e| e.to_string())).collect::<Vec<_>>());
    // import
    let jobs = Jobs::start(d.clone(), JobOptions { poll: Duration::from_millis(50), ..JobOptions::default() }, tracker.clone(), stop.clone());
    let csv = "customer_user_id,email,full_name,City\r\na,a2@x.org,Ada,Bonn\r\nc,c@x.org,Cy,\r\nd,c@x.org,Dy,\r\ne,b@x.org,Eve,\r\nf,bad,Fee,X\r\ng,g@x.org\r\nc,,Cyd,Rome\r\n";
    let i = import(&d, csv, ImportOptions::default()).await;
    println!("{i:?}");
    assert_eq!(i.status, ImportStatus::CompletedWithErrors);
    assert_eq!(i.counts, Counts { created: 2, updated: 2, unchanged: 0, skipped: 0, failed: 3 });
    assert_eq!(i.warnings, 1);
    let i = import(&d, csv, ImportOptions { on_conflict: OnConflict::Skip, ..ImportOptions::default() }).await;
    assert_eq!((i.counts.skipped, i.counts.failed), (4, 2), "{i:?}");
    let i = import(&d, "customer_user_id,email\nz,z@x.org\nzz,z@x.org\ny,b@x.org\n", ImportOptions { dry_run: true, ..ImportOptions::default() }).await;
    assert_eq!((i.counts.created, i.counts.failed), (1, 2), "{i:?}");
    let er = is_send(d.erase_customer(&c, "a", true)).await.unwrap();
    assert!(er.position.is_some());
    assert!(matches!(d.erase_customer(&c, "a", false).await, Err(CommandError::NotFound(NotFound::Customer))));
    let i = import(&d, csv, ImportOptions::default()).await;
    assert_eq!(i.counts.skipped, 1);
    d.remove_suppression(&c, "a").await.unwrap();
    assert!(d.remove_suppression(&c, "a").await.is_err());
    let re = d.upsert_customer(&c, input("a", &[])).await.unwrap();
    assert!(re.value.created);
    // idempotency
    let mut k = ctx(); k.idempotency = Some([7; 32]);
    let first = d.start_import(&k, ImportInput { options: ImportOptions::default(), body: csv.as_bytes() }).await.unwrap();
    let second = d.start_import(&k, ImportInput { options: ImportOptions::default(), body: csv.as_bytes() }).await.unwrap();
    println!("replayed {} same {}", second.replayed, first.value == second.value);
    d.wait_for_import(&c, first.value.import_id, Duration::from_secs(5)).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM job_chunks").fetch_one(d.cell().pool()).await.unwrap();
    println!("left {left} running {}", jobs.running());
    stop.cancel(); tracker.close(); tracker.wait().await;
    let _ = BTreeMap::<u8, u8>::new(); let _ = claim_kind::CUSTOMER_ID;
}

fn big(rows: usize, salt: usize) -> String {
    use std::fmt::Write;
    let mut t = String::from("customer_user_id,email,phone,full_name,company,city,country,plan,score,notes,external_ref,segment\n");
    for i in 0..rows {
        let v = if salt > 0 && i % 20 == 0 { salt } else { 0 };
        writeln!(t, "cust-{i:07},user{i}@example.org,+4930{:07},Person Number {i},Company {},City {},Germany,Gold,{},Some note about {i} v{v},ref-{i},segment-{}", i, i % 1000, i % 500, i % 100, i % 7).unwrap();
    }
    t
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn speed() {
    let rows: usize = std::env::var("ROWS").ok().and_then(|r| r.parse().ok()).unwrap_or(200_000);
    let (d, tracker, stop) = open("speed").await;
    let c = ctx();
    d.upsert_schema(&c, SchemaInput { definition: unique_email(), expected_version: None }).await.unwrap();
    Jobs::start(d.clone(), JobOptions { poll: Duration::from_millis(50), ..JobOptions::default() }, tracker.clone(), stop.clone());
    for salt in [0, 0, 1] {
        let csv = big(rows, salt);
        let t = Instant::now();
        let started = d.start_import(&c, ImportInput { options: ImportOptions::default(), body: csv.as_bytes() }).await.unwrap();
        let staged = t.elapsed();
        assert!(d.wait_for_import(&c, started.value.import_id, Duration::from_secs(900)).await.unwrap());
        let project = d.cell().project(&c.scope).await.unwrap().unwrap();
        let i = d.cell().load::<Import>(&project, started.value.import_id).await.unwrap().state;
        println!("bytes {} staged {staged:?} all {:?} = {:.0} rows/s {:?}", csv.len(), t.elapsed(), rows as f64 / t.elapsed().as_secs_f64(), i.counts);
    }
    stop.cancel(); tracker.close(); tracker.wait().await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume() {
    let (d, _tracker, _stop) = open("resume").await;
    let c = ctx();
    d.upsert_schema(&c, SchemaInput { definition: unique_email(), expected_version: None }).await.unwrap();
    let csv = big(20_000, 0);
    let started = d.start_import(&c, ImportInput { options: ImportOptions::default(), body: csv.as_bytes() }).await.unwrap();
    let id = started.value.import_id;
    let project = d.cell().project(&c.scope).await.unwrap().unwrap();
    let mut runs = 0;
    loop {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        Jobs::start(d.clone(), JobOptions { poll: Duration::from_millis(50), chunk_pause: Some(Duration::from_millis(200)), ..JobOptions::default() }, tracker.clone(), stop.clone());
        let done = d.wait_for_import(&c, id, Duration::from_millis(4000)).await.unwrap();
        stop.cancel(); tracker.close(); tracker.wait().await;
        let s = d.cell().load::<Import>(&project, id).await.unwrap().state;
        runs += 1; assert!(runs < 12);
        println!("run {runs}: {} rows {:?} {:?}", s.rows, s.counts, s.status);
        if done { assert_eq!(s.counts.created, 20_000); break; }
    }
    let n = d.cell().count_claims(&project, claim_kind::CUSTOMER_ID, 1_000_000).await.unwrap();
    assert_eq!(n, 20_000);
    // cancel, with a concurrent writer on the same rows
    let csv = big(20_000, 1);
    let id = d.start_import(&c, ImportInput { options: ImportOptions::default(), body: csv.as_bytes() }).await.unwrap().value.import_id;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    Jobs::start(d.clone(), JobOptions { poll: Duration::from_millis(50), ..JobOptions::default() }, tracker.clone(), stop.clone());
    let writer = async {
        for i in 0..300usize {
            d.upsert_customer(&c, input(&format!("cust-{:07}", (i * 20) % 20_000), &[("segment", &format!("s{i}"))])).await.unwrap();
        }
    };
    writer.await;
    d.wait_for_import(&c, id, Duration::from_secs(60)).await.unwrap();
    let s = d.cell().load::<Import>(&project, id).await.unwrap().state;
    println!("{:?} {:?}", s.counts, s.status);
    assert_eq!(s.counts.total(), 20_000);
    let id = d.start_import(&c, ImportInput { options: ImportOptions::default(), body: big(60_000, 2).as_bytes() }).await.unwrap().value.import_id;
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("cancel {:?}", d.cancel_import(&c, id).await.unwrap().value);
    assert!(d.wait_for_import(&c, id, Duration::from_secs(60)).await.unwrap());
    let s = d.cell().load::<Import>(&project, id).await.unwrap().state;
    println!("{:?} {:?} {}", s.counts, s.status, s.rows);
    stop.cancel(); tracker.close(); tracker.wait().await;
}
