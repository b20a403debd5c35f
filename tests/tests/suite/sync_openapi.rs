//! Vendors that publish a description of their interface: what our source asks and what our fake answers pass a proxy that holds both
//! against it. The proxy is Prism (`@stoplight/prism-cli`) and the descriptions are the vendors'; neither is part of this
//! repository, so these tests run where the environment names them, and say so where it does not.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use roster_fakes::{Fake, Fault, Vendor};
use roster_tests::client::Client;
use roster_tests::scale::asked;
use roster_tests::syncs::{self, connected, count, ended, started};
use roster_tests::until::until;
use serde_json::Value;
use tokio::net::TcpStream;

/// The proxy's program.
const PROXY: &str = "ROSTER_PRISM_BIN";
/// People: more than a page of any vendor.
const PEOPLE: u64 = 420;

/// A running proxy. It stops when it is dropped.
struct Proxy {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Proxy {
    /// A proxy between a source and a fake; `None` where the environment names no program or description.
    async fn before(fake: &Fake, description: &str) -> Option<Self> {
        let (program, file) = (
            asked(PROXY, String::new()),
            asked(description, String::new()),
        );
        if program.is_empty() || file.is_empty() {
            eprintln!("skipped: {PROXY} and {description} do not name a proxy and a description");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let log = std::env::temp_dir().join(format!("roster-proxy-{port}"));
        let output = File::create(&log).expect("a log");
        let child = Command::new(program)
            .args([
                "proxy",
                &file,
                fake.url(),
                "--errors",
                "--host",
                "127.0.0.1",
            ])
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("the proxy starts");
        let proxy = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            log,
        };
        until("the proxy to listen", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Some(proxy)
    }

    /// What it found so far: requests and answers that are not as described.
    fn violations(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).expect("a log");
        let lines = log
            .lines()
            .filter(|line| line.contains("Request terminated with error"));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// Everything, what changed, and a refusal, through the proxy; then an answer that no description has, which it must find.
async fn exchange(vendor: Vendor, description: &str) {
    let fake = Fake::start(vendor).await;
    let Some(proxy) = Proxy::before(&fake, description).await else {
        return;
    };
    fake.fill(PEOPLE);
    let base_url = format!("{}={}", fake.provider(), proxy.url);
    let server = syncs::server_with(&base_url, &[]).await.expect("a server");
    let client = Client::of_project(&server, "described")
        .await
        .expect("a client");
    let connection = connected(&client, &fake).await;
    let preview = client.post("connections/preview", connection.clone()).await;
    assert_eq!(preview.status, 200, "{preview} {:#?}", proxy.violations());
    let first = run(&client, &connection, &proxy, "full").await;
    assert_eq!(first["status"], "succeeded", "{first}");
    assert_eq!(count(&first, "created"), PEOPLE, "{first}");
    fake.world(|world| world.change_at_once(1..=PEOPLE - 20));
    let changes = run(&client, &connection, &proxy, "incremental").await;
    assert_eq!(changes["status"], "succeeded", "{changes}");
    assert_eq!(count(&changes, "updated"), PEOPLE - 20, "{changes}");
    fake.fault(1, Fault::Expire);
    let refused = run(&client, &connection, &proxy, "full").await;
    assert_eq!(refused["code"], "auth_failed", "{refused}");
    eprintln!(
        "{}: {} requests, no violation",
        fake.provider(),
        fake.asks().len()
    );

    fake.restore();
    fake.fault(1, Fault::Misshapen);
    started(&client, &connection, "full").await;
    until("the proxy to find what is wrong", async || {
        (!proxy.violations().is_empty()).then_some(())
    })
    .await;
}

/// A run to its end.
///
/// # Panics
/// Where the proxy finds something.
async fn run(client: &Client, connection: &Value, proxy: &Proxy, mode: &str) -> Value {
    let run_id = started(client, connection, mode).await;
    until("the run ends, or the proxy finds something", async || {
        let run = client
            .ok("runs/get", serde_json::json!({"run_id": run_id}))
            .await;
        let found = proxy.violations();
        assert!(found.is_empty(), "{found:#?} {run}");
        (!run["finished_at"].is_null()).then_some(())
    })
    .await;
    ended(client, &run_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_with_hubspot_is_as_hubspot_describes_it() {
    exchange(Vendor::Hubspot, "ROSTER_HUBSPOT_OPENAPI").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_with_intercom_is_as_intercom_describes_it() {
    exchange(Vendor::Intercom, "ROSTER_INTERCOM_OPENAPI").await;
}
