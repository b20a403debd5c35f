//! Several servers of one cell: what was acknowledged holds everywhere, in time, also without NATS.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use roster_domain::Timestamp;
use roster_tests::bench::http::Connection;
use roster_tests::bus::{Nats, Way};
use roster_tests::client::Client;
use roster_tests::database::Database;
use roster_tests::imports::import_text;
use roster_tests::scale::{Pace, asked};
use roster_tests::schema::{field, with};
use roster_tests::server::Server;
use roster_tests::until::until;
use serde_json::{Value, json};

/// How long a server may go on allowing what was revoked: the bound that Roster promises.
const BOUND: Duration = Duration::from_millis(250);
/// How much longer each server is asked.
const WATCHED: Duration = Duration::from_millis(250);
/// Revocations that are watched at once.
const AT_ONCE: usize = 10;
/// Connections over which each server is asked.
const LANES: usize = 8;
/// How long before a grant ends it is given.
const NOTICE: Duration = Duration::from_millis(1_500);

fn revocations() -> usize {
    asked("ROSTER_REVOCATIONS", 60)
}

/// Look-ups a second that each server is asked meanwhile.
fn resolves() -> u32 {
    asked("ROSTER_RESOLVES", 300)
}

struct Servers {
    servers: Vec<Server>,
    clients: Vec<Client>,
}

impl Servers {
    async fn start(nats: &Nats, count: usize, project_id: &str) -> Self {
        Self::start_at(&vec![nats.url(); count], project_id).await
    }

    /// A server for each of these ways to NATS.
    async fn start_at(urls: &[&str], project_id: &str) -> Self {
        let database = Arc::new(Database::create().await.expect("a database"));
        let mut servers = Vec::new();
        for url in urls {
            let settings = [("NATS_URL", *url)];
            let server = Server::start_on(Arc::clone(&database), &settings).await;
            servers.push(server.expect("a server"));
        }
        let client = Client::of_project(&servers[0], project_id).await;
        let client = client.expect("a client");
        let clients = servers.iter().map(|server| client.at(server)).collect();
        Self { servers, clients }
    }
}

fn matching(rules: &Value) -> Value {
    let mut schema = with(&[
        field("phone", &json!({"type": "phone"})),
        field("full_name", &json!({})),
        field("badge", &json!({})),
    ]);
    schema["match_rules"] = rules.clone();
    schema["auto_match"] = json!(false);
    schema
}

/// Reason, customer, display name and access, with everything shown that was acknowledged by then.
async fn seen(client: &Client, channel: &str, id: &str, position: Option<i64>) -> String {
    let client = match position {
        Some(position) => client.with_header("roster-min-position", &format!("1:{position}")),
        None => client.clone(),
    };
    let members = json!({"channel": channel, "external_user_id": id,
        "facts": {"username": "B-7"}});
    let answer = client.ok("identities/resolve", members).await;
    assert!(
        position.is_none_or(|position| answer["position"].as_i64() >= Some(position)),
        "{answer}"
    );
    [
        &answer["reason"],
        &answer["customer"]["customer_user_id"],
        &answer["customer"]["display_name"],
        &answer["via"],
    ]
    .map(|value| value.as_str().unwrap_or("-").to_owned())
    .join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_what_every_server_says() {
    let nats = Nats::start().expect("NATS");
    let Servers { servers, clients } = Servers::start(&nats, 2, "p").await;
    let [one, other] = &clients[..] else {
        panic!("two servers");
    };
    one.ok("schema/upsert", matching(&json!([]))).await;
    let names = |name: &str| json!({"full_name": name, "phone": "+491701234567", "badge": "B-7"});
    one.upsert("ada", names("Ada")).await;
    let line = |more: Value| {
        let mut members = json!({"channel": "line", "external_user_id": "U1"});
        for (name, value) in more.as_object().expect("members") {
            members[name] = value.clone();
        }
        members
    };
    let ada = json!({"customer_user_id": "ada"});
    let grant = |more: Value| {
        let mut members = line(json!({"customer_user_id": "ada", "agents": ["*"]}));
        for (name, value) in more.as_object().expect("members") {
            members[name] = value.clone();
        }
        members
    };
    let enabled = |on: bool| json!({"customer_user_id": "ada", "enabled": on});
    let upsert = |profile: Value| json!({"customer_user_id": "ada", "profile": profile});
    let by_badge = json!([{"channel": "line", "field": "badge", "source": "connector.username"}]);
    let by_phone = json!([{"channel": "line", "field": "phone", "source": "connector.username"}]);
    let steps = [
        (
            "identities/link",
            line(ada.clone()),
            "no_grant ada Ada link",
        ),
        (
            "users/attach-channel-grant",
            grant(json!({})),
            "matched ada Ada link",
        ),
        (
            "users/attach-channel-grant",
            grant(json!({"enabled": false})),
            "grant_disabled ada Ada link",
        ),
        (
            "users/attach-channel-grant",
            grant(json!({"expires_at": "2020-01-01T00:00:00Z"})),
            "grant_expired ada Ada link",
        ),
        (
            "users/attach-channel-grant",
            grant(json!({})),
            "matched ada Ada link",
        ),
        (
            "users/upsert",
            enabled(false),
            "customer_disabled ada Ada link",
        ),
        (
            "users/upsert",
            upsert(json!({"full_name": "A. L."})),
            "customer_disabled ada A. L. link",
        ),
        ("users/upsert", enabled(true), "matched ada A. L. link"),
        (
            "users/revoke-channel-grant",
            json!({"customer_user_id": "ada", "channel": "line"}),
            "no_grant ada A. L. link",
        ),
        ("identities/unlink", line(json!({})), "unmatched - - none"),
        ("schema/upsert", matching(&by_badge), "blocked - - none"),
        (
            "identities/link",
            line(ada.clone()),
            "no_grant ada A. L. link",
        ),
        (
            "users/upsert",
            json!({"customer_user_id": "twin", "profile": {"full_name": "Twin"}}),
            "no_grant ada A. L. link",
        ),
        ("users/delete", ada.clone(), "unmatched - - none"),
        (
            "users/upsert",
            json!({"customer_user_id": "twin", "profile": {"badge": "B-7"}}),
            "no_grant twin Twin rule",
        ),
        (
            "users/upsert",
            json!({"customer_user_id": "third", "profile": {"badge": "B-7"}}),
            "ambiguous - - none",
        ),
        (
            "users/upsert",
            json!({"customer_user_id": "third", "profile": {"badge": null}}),
            "no_grant twin Twin rule",
        ),
        ("schema/upsert", matching(&by_phone), "unmatched - - none"),
        (
            "schema/upsert",
            matching(&by_badge),
            "no_grant twin Twin rule",
        ),
        (
            "users/delete",
            json!({"customer_user_id": "twin"}),
            "unmatched - - none",
        ),
    ];
    for (place, (route, members, expected)) in steps.into_iter().enumerate() {
        // The server that writes, then the one that does not.
        let (writer, reader) = if place % 2 == 0 {
            (one, other)
        } else {
            (other, one)
        };
        let answer = writer.post(route, members.clone()).await;
        let shown = answer.ok();
        let position = answer.position();
        assert_eq!(
            seen(writer, "line", "U1", None).await,
            expected,
            "{route} {shown}"
        );
        assert_eq!(
            seen(reader, "line", "U1", Some(position)).await,
            expected,
            "{route}"
        );
    }
    drop(servers);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_meet_a_stranger_at_once_make_one_link() {
    let nats = Nats::start().expect("NATS");
    let Servers { servers, clients } = Servers::start(&nats, 2, "p").await;
    let mut schema = matching(&json!([{"channel": "whatsapp", "field": "phone"}]));
    schema["auto_match"] = json!(true);
    clients[0].ok("schema/upsert", schema).await;
    let people: Vec<Value> = (0..12)
        .map(|number| json!({"customer_user_id": format!("c{number}"), "profile": {"phone": format!("+4917000000{number:02}")}}))
        .collect();
    let position = clients[0].upsert_all(json!(people)).await;
    for number in 0..12 {
        let members =
            json!({"channel": "whatsapp", "external_user_id": format!("+4917000000{number:02}")});
        let asked = clients.iter().cycle().take(6).map(|client| {
            let client = client.with_header("roster-min-position", &format!("1:{position}"));
            let members = members.clone();
            async move { client.ok("identities/resolve", members).await }
        });
        for answer in join_all(asked).await {
            assert_eq!(
                answer["customer"]["customer_user_id"],
                format!("c{number}"),
                "{answer}"
            );
        }
    }
    let mut connection = servers[0]
        .database()
        .superuser()
        .await
        .expect("a connection");
    let linked: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM view_identities),
                (SELECT count(*) FROM log_events e JOIN log_types t USING (type_no, type_version)
                  WHERE t.name = 'customer.identity_linked')",
    )
    .fetch_one(&mut connection)
    .await
    .expect("counts");
    assert_eq!(linked, (12, 12), "one row and one event a link");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_that_an_import_exchanges_are_never_nobodys() {
    let nats = Nats::start().expect("NATS");
    let Servers { servers, clients } = Servers::start(&nats, 2, "p").await;
    let mut schema =
        matching(&json!([{"channel": "line", "field": "phone", "source": "connector.username"}]));
    schema["connector_bindings"] = json!([{"channel": "sms", "profile_field": "phone"}]);
    clients[0].ok("schema/upsert", schema).await;
    // Each two neighbours get each other's number, or their own again; one has none before the other takes it.
    let file = |turn: usize| -> String {
        let pair = |pair: usize| {
            let (one, other) = (pair * 2, pair * 2 + 1);
            let number = |of: usize| format!("+4917000{:04}", of ^ (turn % 2));
            let (first, second) = (number(one), number(other));
            format!("c{one},\nc{other},{second}\nc{one},{first}\n")
        };
        std::iter::once("customer_user_id,phone\n".to_owned())
            .chain((0..100).map(pair))
            .collect()
    };
    import_text(&clients[0], &file(0), json!({})).await;
    let position = clients[0].head().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut asking = tokio::task::JoinSet::new();
    for client in &clients {
        let client = client.with_header("roster-min-position", &format!("1:{position}"));
        let is_over = Arc::clone(&is_over);
        asking.spawn(async move {
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                let phone = format!("+4917000{:04}", asked % 200);
                let items = json!({"items": [
                    {"channel": "sms", "external_user_id": phone},
                    {"channel": "line", "external_user_id": "U1", "facts": {"username": phone}},
                ]});
                let answer = client.ok("identities/resolve-batch", items).await;
                for item in answer["items"].as_array().expect("items") {
                    assert_eq!(item["result"]["matched"], true, "{phone}: {item}");
                }
                asked += 1;
            }
            asked
        });
    }
    for turn in 1..8 {
        let result = import_text(&clients[turn % 2], &file(turn), json!({})).await;
        assert_eq!(
            (&result["updated"], &result["failed"]),
            (&json!(300), &json!(0)),
            "{result}"
        );
    }
    is_over.store(true, Ordering::Relaxed);
    let asked: usize = asking.join_all().await.into_iter().sum();
    assert!(asked > 20, "only {asked} were asked for meanwhile");
    drop(servers);
}

/// What takes access away; the moment from which it must hold.
async fn revoke(client: &Client, kind: usize, id: &str) -> Instant {
    let named = json!({"customer_user_id": id});
    let line = json!({"channel": "line", "external_user_id": format!("U-{id}")});
    match kind {
        0 => drop(client.ok("identities/unlink", line).await),
        1 => drop(
            client
                .ok(
                    "users/upsert",
                    json!({"customer_user_id": id, "enabled": false}),
                )
                .await,
        ),
        2 => drop(client.ok("users/delete", named).await),
        3 => {
            let members = json!({"customer_user_id": id, "channel": "line", "agents": ["*"], "enabled": false,
                "external_user_id": format!("U-{id}")});
            client.ok("users/attach-channel-grant", members).await;
        }
        _ => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            let at = Instant::now() + NOTICE;
            let ends = Timestamp(i64::try_from((now + NOTICE).as_micros()).expect("a time"));
            let members = json!({"customer_user_id": id, "channel": "line", "agents": ["*"],
                "expires_at": ends.to_string(), "external_user_id": format!("U-{id}")});
            client.ok("users/attach-channel-grant", members).await;
            return at.max(Instant::now());
        }
    }
    Instant::now()
}

/// An access that is revoked while every server is asked for it.
struct Case {
    id: String,
    /// One for each server.
    requests: Vec<Vec<u8>>,
    /// Which servers have allowed it.
    was_allowed: Vec<AtomicBool>,
    revoked: OnceLock<Instant>,
    /// How long after the revocation the last question was asked that was answered with `allowed`.
    lasted: Mutex<Duration>,
}

impl Case {
    fn new(clients: &[Client], number: usize) -> Self {
        let id = format!("c{number}");
        let line = json!({"channel": "line", "external_user_id": format!("U-{id}")});
        let request = |client: &Client| client.bytes_of("identities/resolve", &line).1;
        Self {
            id,
            requests: clients.iter().map(request).collect(),
            was_allowed: clients.iter().map(|_| AtomicBool::new(false)).collect(),
            revoked: OnceLock::new(),
            lasted: Mutex::default(),
        }
    }

    fn lasted(&self) -> Duration {
        *self.lasted.lock().expect("nobody panicked")
    }

    fn allowed(&self, server: usize, asked: Instant) {
        self.was_allowed[server].store(true, Ordering::Relaxed);
        if let Some(revoked) = self.revoked.get() {
            let mut lasted = self.lasted.lock().expect("nobody panicked");
            *lasted = lasted.max(asked.saturating_duration_since(*revoked));
        }
    }
}

/// What every server is asked for, at a steady rate.
#[derive(Default)]
struct Questions {
    cases: RwLock<Vec<Arc<Case>>>,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

impl Questions {
    /// Asks one server over one connection until it is over.
    async fn ask(self: Arc<Self>, client: Client, server: usize, pace: Arc<Pace>) {
        let (address, _) = client.bytes_of("identities/resolve", &json!({}));
        let mut connection = Connection::open(address).await.expect("a connection");
        while !self.is_over.load(Ordering::Relaxed) {
            let turn = pace.turn().await as usize;
            let case = {
                let cases = self.cases.read().expect("nobody panicked");
                cases.get(turn % cases.len().max(1)).cloned()
            };
            let Some(case) = case else { continue };
            let asked = Instant::now();
            let status = connection.send(&case.requests[server]).await;
            let body = connection.body();
            let body = std::str::from_utf8(body).expect("a text");
            assert_eq!(status.expect("an answer"), 200, "{body}");
            if body.contains("\"allowed\":true") {
                case.allowed(server, asked);
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Revokes one customer's access on one server while every server is asked for it; how long it was allowed after that.
    async fn watch(&self, clients: &[Client], number: usize) -> Duration {
        let case = Arc::new(Case::new(clients, number));
        let added = Arc::clone(&case);
        self.cases.write().expect("nobody panicked").push(added);
        until("every server allows it", async || {
            let mut allowed = case.was_allowed.iter();
            allowed
                .all(|allowed| allowed.load(Ordering::Relaxed))
                .then_some(())
        })
        .await;
        let at = revoke(&clients[number % clients.len()], number % 5, &case.id).await;
        case.revoked.set(at).expect("it is set once");
        tokio::time::sleep_until((at + BOUND + WATCHED).into()).await;
        let mut cases = self.cases.write().expect("nobody panicked");
        cases.retain(|other| other.id != case.id);
        case.lasted()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_allows_what_was_revoked_a_quarter_of_a_second_ago() {
    let mut nats = Nats::start().expect("NATS");
    let mut way = Some(Way::to(&nats).await.expect("a way"));
    let cut = way.as_ref().map(Way::url).unwrap_or_default();
    let urls = [nats.url(), nats.url(), cut];
    let Servers { servers, clients } = Servers::start_at(&urls, "p").await;
    let count = revocations();
    let items: Vec<Value> = (0..count)
        .map(|number| json!({"customer_user_id": format!("c{number}"), "profile": {"full_name": "Ada"}}))
        .collect();
    for chunk in items.chunks(500) {
        clients[0].upsert_all(json!(chunk)).await;
    }
    for number in 0..count {
        let members = json!({"customer_user_id": format!("c{number}"), "channel": "line", "agents": ["*"],
            "external_user_id": format!("U-c{number}")});
        clients[0].ok("users/attach-channel-grant", members).await;
    }
    let questions = Arc::new(Questions::default());
    let mut asking = tokio::task::JoinSet::new();
    for (server, client) in clients.iter().enumerate() {
        let pace = Arc::new(Pace::start(resolves()));
        for _ in 0..LANES {
            let (questions, client) = (Arc::clone(&questions), client.clone());
            asking.spawn(questions.ask(client, server, Arc::clone(&pace)));
        }
    }
    let started = Instant::now();
    let numbers: Vec<usize> = (0..count).collect();
    let rounds = count.div_ceil(AT_ONCE);
    let mut lasted: Vec<Duration> = Vec::new();
    for (round, chunk) in numbers.chunks(AT_ONCE).enumerate() {
        if round == rounds / 3 {
            // From here on the third server hears of nothing.
            way = None;
        }
        if round == rounds * 2 / 3 {
            // And from here on nobody tells anybody anything.
            nats.kill().expect("it was running");
        }
        let watching = chunk
            .iter()
            .map(|number| questions.watch(&clients, *number));
        lasted.extend(join_all(watching).await);
    }
    questions.is_over.store(true, Ordering::Relaxed);
    let took = started.elapsed().as_secs_f64();
    asking.join_all().await;
    lasted.sort_unstable();
    let asked = questions.asked.load(Ordering::Relaxed);
    eprintln!(
        "{count} revocations, {:.0} look-ups a second over three servers; allowed for {:?} at the median, {:?} at the 99th of a \
         hundred, {:?} at most",
        f64::from(u32::try_from(asked).expect("a count")) / took,
        lasted[count / 2],
        lasted[count * 99 / 100],
        lasted[count - 1],
    );
    let late: Vec<&Duration> = lasted.iter().filter(|lasted| **lasted > BOUND).collect();
    assert!(
        late.is_empty(),
        "{} of {count} revocations were not known after {BOUND:?}: {late:?}",
        late.len()
    );
    drop((servers, way));
}
