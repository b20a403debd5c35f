//! The server of a fake vendor, and what a test tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::exchange::{Ask, Reply};
use crate::fault::{Fault, RetryAfter};
use crate::vendors::Vendor;
use crate::world::World;

/// A fake vendor. It stops when it is dropped.
pub struct Fake {
    vendor: Vendor,
    url: String,
    stage: Arc<Mutex<Stage>>,
    _server: JoinSet<()>,
}

struct Stage {
    world: World,
    script: BTreeMap<usize, Fault>,
    asks: Vec<Ask>,
    data: usize,
    last: Option<Reply>,
    busy: Duration,
}

impl Fake {
    /// A vendor without people.
    ///
    /// # Panics
    /// Where loopback gives no port.
    pub async fn start(vendor: Vendor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback gives a port");
        let url = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound socket has an address")
        );
        let stage = Arc::new(Mutex::new(Stage {
            world: World::default(),
            script: BTreeMap::new(),
            asks: Vec::new(),
            data: 0,
            last: None,
            busy: Duration::ZERO,
        }));
        let shared = (vendor, url.clone(), Arc::clone(&stage));
        let router = Router::new().fallback(answer).with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            vendor,
            url,
            stage,
            _server: server,
        }
    }

    /// Where it answers: the base URL of its provider, or the file or list itself.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The word of its provider.
    pub fn provider(&self) -> &'static str {
        self.vendor.provider()
    }

    /// A credential that it takes, with its `type`.
    pub fn credentials(&self) -> Value {
        self.vendor.credentials(&self.url)
    }

    /// Settings of a connection to it.
    pub fn config(&self) -> Value {
        self.vendor.config(&self.url)
    }

    /// A mapping of its records to `customer_user_id`, `email`, `first_name` and `last_name`, as (path, field).
    pub fn mapping(&self) -> Vec<(&'static str, &'static str)> {
        self.vendor.mapping()
    }

    /// The id that the vendor gives to somebody.
    pub fn id(&self, no: u64) -> String {
        self.vendor.id(no)
    }

    /// Everything that a test may look at and change.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut lock(&self.stage).world)
    }

    /// So many new people.
    pub fn fill(&self, count: u64) {
        self.world(|world| world.fill(count));
    }

    /// What happens to the n-th request for data from now on, counted from 1.
    pub fn fault(&self, nth: usize, fault: Fault) {
        let mut stage = lock(&self.stage);
        let at = stage.data + nth;
        stage.script.insert(at, fault);
    }

    /// The credential counts again.
    pub fn restore(&self) {
        self.world(World::restore);
    }

    /// How long it has been making answers.
    pub fn busy(&self) -> Duration {
        lock(&self.stage).busy
    }

    /// What it was asked.
    pub fn asks(&self) -> Vec<Ask> {
        lock(&self.stage).asks.clone()
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

type Shared = (Vendor, String, Arc<Mutex<Stage>>);

async fn answer(State((vendor, url, stage)): State<Shared>, request: Request) -> Response {
    let ask = read(url, request).await;
    let mut stage = lock(&stage);
    stage.asks.push(ask.clone());
    let mut fault = None;
    let data = vendor.gives_data(&ask);
    if data {
        stage.data += 1;
        let turn = stage.data;
        fault = stage.script.remove(&turn);
    }
    if fault == Some(Fault::Expire) {
        stage.world.expire();
    }
    if fault == Some(Fault::Repeat)
        && let Some(last) = &stage.last
    {
        return whole(last.clone());
    }
    let told = || format!("what is {:?} {:?} {}?", ask.headers, ask.query, ask.body);
    match fault {
        Some(Fault::Echo(status)) => {
            return whole(Reply::status(status, &json!({"message": told()})));
        }
        Some(Fault::EchoHtml) => {
            let page = format!("<!DOCTYPE html><html><body>{}</body></html>", told());
            return whole(Reply::other(200, "text/html", page));
        }
        _ => {}
    }
    let began = Instant::now();
    let reply = vendor.answer(&mut stage.world, &ask);
    stage.busy += began.elapsed();
    if data && reply.status == 200 {
        stage.last = Some(reply.clone());
    }
    match fault {
        Some(fault) => misbehave(vendor, reply, fault),
        None => whole(reply),
    }
}

/// A request in plain words.
async fn read(url: String, request: Request) -> Ask {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let form = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form"));
    let body = if form {
        let pairs = pairs(&String::from_utf8_lossy(&body)).into_iter();
        Value::Object(
            pairs
                .map(|(name, value)| (name, Value::String(value)))
                .collect(),
        )
    } else {
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    };
    Ask {
        method: parts.method,
        path: decoded(parts.uri.path()),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        url,
    }
}

/// The pairs of a query or a form.
fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decoded(&name.replace('+', " ")),
                decoded(&value.replace('+', " ")),
            )
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn misbehave(vendor: Vendor, reply: Reply, fault: Fault) -> Response {
    const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";
    match fault {
        Fault::Throttle(after) => {
            let reply = vendor.throttled();
            whole(match after {
                RetryAfter::Seconds(seconds) => reply.with("retry-after", seconds.to_string()),
                RetryAfter::Date(seconds) => {
                    let at = SystemTime::now() + Duration::from_secs(seconds);
                    reply.with("retry-after", httpdate::fmt_http_date(at))
                }
                RetryAfter::Nothing => reply,
            })
        }
        Fault::Quota => whole(vendor.spent()),
        Fault::Expire | Fault::Repeat | Fault::Echo(_) | Fault::EchoHtml => whole(reply),
        Fault::Broken(status) => {
            whole(Reply::other(status, "text/plain", "upstream connect error"))
        }
        Fault::Misshapen => whole(misshapen(&reply)),
        Fault::Html => whole(Reply::other(200, "text/html; charset=utf-8", PAGE)),
        Fault::HtmlNotFound => whole(Reply::other(404, "text/html; charset=utf-8", PAGE)),
        Fault::CutOff => {
            let half = reply.body.len() / 2;
            let length = reply.body.len();
            let first = Ok(Bytes::copy_from_slice(&reply.body[..half]));
            let pieces = futures::stream::iter([first, Err(std::io::Error::other("cut off"))]);
            response(&reply, Body::from_stream(pieces), Some(length as u64))
        }
        Fault::Redirect(to) => whole(Reply::other(302, "text/plain", "").with("location", to)),
        Fault::Endless => {
            let piece = Bytes::from(vec![b' '; 64 << 10]);
            let pieces = futures::stream::repeat(piece).map(Ok::<_, std::io::Error>);
            response(&reply, Body::from_stream(pieces), None)
        }
        Fault::Trickle => {
            let pieces = futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
            });
            response(&reply, Body::from_stream(pieces), None)
        }
        Fault::Huge => {
            let piece = Bytes::from(vec![b' '; 64 << 10]);
            let pieces = futures::stream::repeat(piece).map(Ok::<_, std::io::Error>);
            response(&reply, Body::from_stream(pieces), Some(10 << 30))
        }
        Fault::Bomb(bytes) => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            let blank = vec![b' '; 1 << 20];
            for _ in 0..bytes >> 20 {
                let _ = std::io::Write::write_all(&mut packer, &blank);
            }
            let mut reply = reply.with("content-encoding", "gzip");
            reply.body = packer.finish().unwrap_or_default();
            whole(reply)
        }
    }
}

/// An answer with a number in the place of each record.
fn misshapen(reply: &Reply) -> Reply {
    let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    for member in body
        .as_object_mut()
        .into_iter()
        .flat_map(|body| body.values_mut())
    {
        if let Value::Array(list) = member {
            list.fill(json!(7));
        }
    }
    Reply::ok(&body)
}

fn whole(mut reply: Reply) -> Response {
    let body = Body::from(std::mem::take(&mut reply.body));
    response(&reply, body, None)
}

fn response(reply: &Reply, body: Body, length: Option<u64>) -> Response {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    response.body(body).unwrap_or_else(|error| {
        Response::new(Body::from(json!({"fake": error.to_string()}).to_string()))
    })
}
