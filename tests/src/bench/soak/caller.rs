//! A caller of the soak: it writes, reads, links and erases customers of its own, and knows who is there.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roster_internal::RUNTIME_BASE;
use serde_json::{Map, Value, json};

use crate::bench::http::{Connection, Target};
use crate::bench::people;
use crate::scale::Pace;

/// The channel of every identity.
pub(super) const CHANNEL: &str = "line";
/// Rows of an import, which a purge takes away again.
pub(super) const ROWS: u32 = 50;
/// The most customers of one bulk upsert.
const BULK: u32 = 20;
/// Numbers that a caller has for its customers.
const NUMBERS: u32 = 100_000;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What all callers did, and who is there by what they were told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    commands: AtomicU64,
    reads: AtomicU64,
    customers: AtomicI64,
    links: AtomicI64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    /// Commands that were acknowledged; each customer of a bulk, an import or a purge is one.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Reads that were answered.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Customers and links that there are.
    pub(super) fn population(&self) -> (i64, i64) {
        let of = |number: &AtomicI64| number.load(Ordering::Relaxed);
        (of(&self.customers), of(&self.links))
    }

    /// What was not answered as it should be.
    pub(super) fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn did(&self, commands: u32) {
        self.commands.fetch_add(commands.into(), Ordering::Relaxed);
    }

    fn fail(&self, failure: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(failure);
    }
}

#[derive(Clone, Copy, Default)]
struct Person {
    exists: bool,
    is_linked: bool,
}

/// Where the customers of a caller's imports are.
enum Batch {
    Absent,
    There,
    /// A purge takes them away.
    Going(Value),
}

/// One caller.
pub(super) struct Caller {
    first: u32,
    people: Vec<Person>,
    batch: Batch,
    random: StdRng,
    target: Target,
    connection: Connection,
    tally: Arc<Tally>,
}

impl Caller {
    /// A caller whose customers are not there yet.
    pub(super) async fn open(
        number: u32,
        customers: u32,
        seed: u64,
        target: Target,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            first: number * NUMBERS,
            people: vec![Person::default(); customers.max(BULK) as usize],
            batch: Batch::Absent,
            random: StdRng::seed_from_u64(seed.wrapping_mul(1_000) + u64::from(number)),
            connection: Connection::open(target.address).await?,
            target,
            tally,
        })
    }

    /// Creates all of its customers.
    pub(super) async fn fill(&mut self) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.people.len()).collect();
        for some in all.chunks(BULK as usize) {
            self.upsert_all(some).await?;
        }
        Ok(())
    }

    /// Does one thing at each of its turns, until it is told to stop; a purge that goes on then is waited for.
    pub(super) async fn run(mut self, pace: Arc<Pace>, stop: Arc<AtomicBool>) {
        loop {
            pace.turn().await;
            let done = match (stop.load(Ordering::Relaxed), &self.batch) {
                (false, _) => self.step().await,
                (true, Batch::Going(_)) => self.job().await,
                (true, _) => return,
            };
            if let Err(error) = done {
                self.tally.fail(format!("{error:#}"));
                // A connection that broke would fail every further step.
                if let Ok(connection) = Connection::open(self.target.address).await {
                    self.connection = connection;
                }
            }
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let place = self.random.random_range(0..self.people.len());
        let Person { exists, is_linked } = self.people[place];
        match self.random.random_range(0..100) {
            0..28 => self.upsert(place).await,
            28..34 => {
                let count = self.random.random_range(2..=BULK) as usize;
                let places = (place..place + count).map(|place| place % self.people.len());
                self.upsert_all(&places.collect::<Vec<_>>()).await
            }
            34..46 if exists => self.delete(place).await,
            46..56 if exists => self.relink(place).await,
            56..64 => self.read("users/list", &json!({"page_size": 20})).await,
            64..70 => {
                let name = people::person(self.first, 0)[2].clone();
                let search = json!({"search": name, "page_size": 20});
                self.read("users/list", &search).await
            }
            70..80 if exists => {
                let id = people::id(self.number(place));
                self.read("users/get", &json!({"customer_user_id": id}))
                    .await
            }
            80..88 => {
                let route = format!("{RUNTIME_BASE}/identities/resolve");
                let body = self.identity(place);
                self.read(&route, &body).await
            }
            88..96 if is_linked => self.dispatch(place).await,
            96..100 => self.job().await,
            _ => self.upsert(place).await,
        }
    }

    fn number(&self, place: usize) -> u32 {
        self.first + u32::try_from(place).unwrap_or_default()
    }

    fn identity(&self, place: usize) -> Value {
        let number = self.number(place);
        json!({"channel": CHANNEL, "external_user_id": format!("U{number:08}")})
    }

    /// Changes one value of a person, or creates it.
    fn person(&mut self, place: usize) -> Value {
        let number = self.number(place);
        let values = people::person(number, 0).map(Value::from);
        let names = people::COLUMNS.map(str::to_owned);
        let mut profile: Map<String, Value> = names.into_iter().zip(values).collect();
        let mark: u64 = self.random.random();
        profile.insert("notes".into(), format!("Seen in {mark:016x}.").into());
        json!({"customer_user_id": people::id(number), "profile": profile})
    }

    async fn say(&mut self, route: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.target.request(route, body);
        let sent = tokio::time::timeout(ANSWER, self.connection.send(&request)).await;
        let status = sent
            .with_context(|| format!("{route}: no answer"))?
            .with_context(|| route.to_owned())?;
        let text = String::from_utf8_lossy(self.connection.body());
        ensure!((200..300).contains(&status), "{route}: {status}: {text}");
        ensure!(
            !self.connection.unprojected,
            "{route}: reads did not follow within their time"
        );
        Ok(serde_json::from_str(&text)?)
    }

    async fn read(&mut self, route: &str, body: &Value) -> anyhow::Result<()> {
        self.say(route, body).await?;
        self.tally.reads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_there(&mut self, place: usize) {
        if !std::mem::replace(&mut self.people[place].exists, true) {
            self.tally.customers.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn upsert(&mut self, place: usize) -> anyhow::Result<()> {
        let body = self.person(place);
        self.say("users/upsert", &body).await?;
        self.is_there(place);
        self.tally.did(1);
        Ok(())
    }

    async fn upsert_all(&mut self, places: &[usize]) -> anyhow::Result<()> {
        let items: Vec<Value> = places.iter().map(|place| self.person(*place)).collect();
        let answer = self
            .say("users/upsert-bulk", &json!({"items": items}))
            .await?;
        ensure!(answer["failed"] == 0, "users/upsert-bulk: {answer}");
        for place in places {
            self.is_there(*place);
        }
        self.tally.did(u32::try_from(places.len())?);
        Ok(())
    }

    async fn delete(&mut self, place: usize) -> anyhow::Result<()> {
        let id = people::id(self.number(place));
        self.say("users/delete", &json!({"customer_user_id": id}))
            .await?;
        let gone = std::mem::take(&mut self.people[place]);
        self.tally.customers.fetch_sub(1, Ordering::Relaxed);
        let links = i64::from(gone.is_linked);
        self.tally.links.fetch_sub(links, Ordering::Relaxed);
        self.tally.did(1);
        Ok(())
    }

    /// Binds the identity of a person, or takes it away.
    async fn relink(&mut self, place: usize) -> anyhow::Result<()> {
        let mut body = self.identity(place);
        let was_linked = self.people[place].is_linked;
        let route = if was_linked {
            format!("{RUNTIME_BASE}/identities/unlink")
        } else {
            body["customer_user_id"] = people::id(self.number(place)).into();
            format!("{RUNTIME_BASE}/identities/link")
        };
        self.say(&route, &body).await?;
        self.people[place].is_linked = !was_linked;
        let change = if was_linked { -1 } else { 1 };
        self.tally.links.fetch_add(change, Ordering::Relaxed);
        self.tally.did(1);
        Ok(())
    }

    async fn dispatch(&mut self, place: usize) -> anyhow::Result<()> {
        let mut body = self.identity(place);
        let run: u64 = self.random.random();
        body["run_id"] = format!("run-{run:016x}").into();
        body["agent_alias"] = "sales".into();
        body["endpoint"] = "POST /orders".into();
        body["llm_fields"] = json!({"pieces": 3});
        let route = format!("{RUNTIME_BASE}/dispatches");
        self.read(&route, &body).await
    }

    /// Imports some customers, or has them purged.
    async fn job(&mut self) -> anyhow::Result<()> {
        let first = self.first + NUMBERS / 2;
        let numbers = first..first + ROWS;
        match &self.batch {
            Batch::Absent => {
                let csv: String = people::csv(numbers, 0).collect();
                let body = json!({"csv": csv, "provider": "soak"});
                let answer = self.say("users/import-csv", &body).await?;
                ensure!(answer["created"] == ROWS, "users/import-csv: {answer}");
                self.tally
                    .customers
                    .fetch_add(ROWS.into(), Ordering::Relaxed);
                self.tally.did(ROWS);
                self.batch = Batch::There;
            }
            Batch::There => {
                let ids: Vec<String> = numbers.map(people::id).collect();
                let body = json!({"customer_user_ids": ids});
                let answer = self.say("users/delete-bulk", &body).await?;
                self.batch = Batch::Going(json!({"purge_id": answer["purge_id"]}));
            }
            Batch::Going(purge) => {
                let purge = purge.clone();
                let answer = self.say("users/purge/get", &purge).await?;
                if !answer["finished_at"].is_null() {
                    let deleted = &answer["stats"]["deleted"];
                    ensure!(*deleted == ROWS, "users/purge/get: {answer}");
                    self.tally
                        .customers
                        .fetch_sub(ROWS.into(), Ordering::Relaxed);
                    self.tally.did(ROWS);
                    self.batch = Batch::Absent;
                }
            }
        }
        Ok(())
    }
}
