//! `resolve_http` and `resolve_redis`: a look-up over HTTP against a handler that looks nothing up and answers the same, and
//! against a redis GET. All are in this process or beside it, under the same load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use roster_commands::authority::Operation;
use roster_commands::clock::{SystemClock, SystemIds};
use roster_commands::keys::{Keys, NewKey};
use roster_commands::{Directory, Limits};
use roster_http::{ApiError, App, AppParts, Bus, Effect, Endpoint, Scoped, Surface, respond};
use roster_internal::{RUNTIME_BASE, surface};
use roster_projections::identity::IdentityCache;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Bench;
use super::http::Connection;
use super::identity::{CHANNEL, Linked, external_user_id};
use super::redis::Redis;
use super::report::{Report, Target};
use super::say;
use super::stats::rate;

/// Connections of each load.
pub(super) const CONNECTIONS: usize = 64;
/// Where the handler is that looks nothing up.
const EMPTY: &str = "/empty/resolve";

/// What both routes take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    channel: String,
    external_user_id: String,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ResolveIdentity;
    const EFFECT: Effect = Effect::Reads;
}

/// What both answer.
#[derive(Serialize)]
struct Answer {
    matched: bool,
    reason: &'static str,
    customer: Person,
    via: &'static str,
    trust: &'static str,
    access: Access,
    message: Option<String>,
    position: i64,
}

#[derive(Serialize)]
struct Person {
    customer_user_id: String,
    customer_ref: uuid::Uuid,
    display_name: String,
    enabled: bool,
}

#[derive(Serialize)]
struct Access {
    allowed: bool,
    reason: &'static str,
    agents: Vec<String>,
    grant_source: Option<&'static str>,
}

async fn empty(State(_): State<App>, call: Scoped<Request>) -> Result<Response, ApiError> {
    Ok(respond::ok(&Answer {
        matched: call.input.channel == CHANNEL,
        reason: "no_grant",
        customer: Person {
            customer_user_id: "customer-00000001".into(),
            customer_ref: uuid::Uuid::from_u128(1),
            display_name: call.input.external_user_id,
            enabled: true,
        },
        via: "link",
        trust: "linked",
        access: Access {
            allowed: false,
            reason: "no_grant",
            agents: Vec::new(),
            grant_source: None,
        },
        message: None,
        position: 1,
    }))
}

/// Both routes behind the same layers.
struct Served {
    address: SocketAddr,
    token: String,
}

async fn serve(linked: &Linked, cache: IdentityCache) -> anyhow::Result<Served> {
    let open = &linked.open;
    let clock = Arc::new(SystemClock);
    let keys = Keys::new(open.cell.pool().clone(), clock.clone());
    let scope = &open.project.scope;
    let key = keys
        .create(NewKey {
            name: "bench".into(),
            account_id: scope.account_id.clone(),
            org_id: None,
            project_id: None,
            scopes: vec!["*".into()],
            expires_at: None,
        })
        .await?;
    let app = App::new(AppParts {
        directory: Directory::new(
            open.cell.clone(),
            clock,
            Arc::new(SystemIds),
            Limits::default(),
        ),
        projections: linked.projections.clone(),
        identities: cache,
        keys,
        tokens: None,
        limits: roster_http::Limits::default(),
        metrics: None,
        bus: watch::channel(Bus::Off).1,
    });
    let Surface { router, routes } = surface();
    let beside = Router::new().route(EMPTY, post(empty));
    let both = Surface {
        router: router.merge(beside.into()),
        routes,
    };
    let router = roster_http::router(app, vec![both]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let stop = open.stop.clone();
    open.tracker.spawn(async move {
        let listener =
            axum::serve::ListenerExt::tap_io(listener, |stream: &mut tokio::net::TcpStream| {
                let _ = stream.set_nodelay(true);
            });
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        let _ = served.await;
    });
    Ok(Served {
        address,
        token: key.token,
    })
}

/// Measures, each run in turns.
pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    linked: &Linked,
    cache: IdentityCache,
) -> anyhow::Result<()> {
    let served = serve(linked, cache).await?;
    let scope = linked.open.project.scope.clone();
    let request = |path: &str, number: u32| -> Vec<u8> {
        let body: Value = json!({
            "account_id": scope.account_id, "org_id": scope.org_id, "project_id": scope.project_id,
            "channel": CHANNEL, "external_user_id": external_user_id(number),
        });
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            served.address,
            served.token,
            body.len()
        )
        .into_bytes()
    };
    let requests = |path: &str| -> Arc<Vec<Vec<u8>>> {
        let numbers = (0..10_000).map(|_| rand::random::<u32>() % linked.rows);
        Arc::new(numbers.map(|number| request(path, number)).collect())
    };
    let found = format!("{RUNTIME_BASE}/identities/resolve");
    let (look_ups, nothing) = (requests(&found), requests(EMPTY));
    let redis = Redis::start(bench.machine.redis_bin.as_deref(), linked.rows).await?;
    let (mut pairs, mut redis_pairs) = (Vec::new(), Vec::new());
    let plan = &bench.plan;
    for _ in 0..plan.runs {
        let value = load(served.address, &look_ups, plan.warm_up, plan.load).await?;
        let limit = load(served.address, &nothing, plan.warm_up, plan.load).await?;
        pairs.push((value, limit));
        if let Some(redis) = &redis {
            redis_pairs.push((value, redis.gets(plan.load).await?));
        }
    }
    report.add(
        Target::rate("resolve_http", "/s", "handler that looks nothing up").reach(0.85, 0.95),
        &pairs,
        Some(format!(
            "{CONNECTIONS} connections, load and server in one process"
        )),
    );
    if redis_pairs.is_empty() {
        say(
            "resolve_redis: skipped, redis-server is neither on the path nor in ROSTER_BENCH_REDIS_BIN",
        );
    } else {
        let target = Target::rate("resolve_redis", "/s", "redis GET, no pipelining");
        report.add(target.reach(0.5, 0.7), &redis_pairs, None);
    }
    Ok(())
}

/// Answers a second at many connections.
async fn load(
    address: SocketAddr,
    requests: &Arc<Vec<Vec<u8>>>,
    warm_up: Duration,
    time: Duration,
) -> anyhow::Result<f64> {
    let from = Instant::now() + warm_up;
    let till = from + time;
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let mut opened = Connection::open(address).await?;
        let requests = Arc::clone(requests);
        tasks.spawn(async move {
            let mut done = 0_usize;
            let mut place = connection * 101;
            while Instant::now() < till {
                let request = &requests[place % requests.len()];
                place += 1;
                let status = opened.send(request).await?;
                anyhow::ensure!(
                    status == 200,
                    "status {status}: {}",
                    String::from_utf8_lossy(opened.body())
                );
                done += usize::from(Instant::now() > from);
            }
            Ok(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        done += ended??;
    }
    Ok(rate(done, time))
}
