//! Load: closed loops at many connections, and an open loop at a steady rate.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::http::{Connection, Target};
use super::people;
use super::stats::{millis, percentile};

/// A request about one person, such as an upsert, with places for the number and for a value that always differs.
#[derive(Clone, Debug)]
pub(super) struct Upsert {
    request: Vec<u8>,
    ids: Vec<usize>,
    marks: Vec<usize>,
}

impl Upsert {
    /// What stands for the digits of the id in a draft.
    pub(super) const ID: &'static str = "99999999";
    /// What stands for the value that always differs.
    pub(super) const MARK: &'static str = "QQQQQQQQQQQQQQQQ";

    /// A draft for a project: a whole profile of twelve values.
    pub(super) fn of(target: &Target) -> Self {
        let mut profile = serde_json::Map::new();
        for (name, value) in people::COLUMNS.iter().zip(people::person(7, 0)) {
            profile.insert((*name).to_owned(), value.into());
        }
        profile.insert("customer_user_id".into(), format!("c{}", Self::ID).into());
        profile.insert(
            "email".into(),
            format!("someone.{}@example.org", Self::ID).into(),
        );
        profile.insert("phone".into(), format!("+49170{}", Self::ID).into());
        profile.insert(
            "notes".into(),
            format!("Last seen in {}.", Self::MARK).into(),
        );
        let id = format!("c{}", Self::ID);
        let body = serde_json::json!({ "customer_user_id": id, "profile": profile });
        Self::draft(target.request("users/upsert", &body))
    }

    /// A draft of any request about a person.
    pub(super) fn draft(request: Vec<u8>) -> Self {
        let (ids, marks) = (places(&request, Self::ID), places(&request, Self::MARK));
        Self {
            request,
            ids,
            marks,
        }
    }

    /// Puts the request for a person into a buffer.
    pub(super) fn write(&self, number: u32, mark: u64, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.request);
        let digits = format!("{number:08}");
        for at in &self.ids {
            buffer[*at..at + Self::ID.len()].copy_from_slice(digits.as_bytes());
        }
        let digits = format!("{mark:016x}");
        for at in &self.marks {
            buffer[*at..at + Self::MARK.len()].copy_from_slice(digits.as_bytes());
        }
    }
}

fn places(request: &[u8], word: &str) -> Vec<usize> {
    request
        .windows(word.len())
        .enumerate()
        .filter(|(_, found)| *found == word.as_bytes())
        .map(|(at, _)| at)
        .collect()
}

/// The number of people there can be.
const NUMBERS: u32 = 100_000_000;

/// Which people are written: half of them exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// Numbers under this one exist.
    pub(super) existing: u32,
    /// New ones are under 10⁸ and from this number on; where it is 10⁸ there are none.
    pub(super) new_from: u32,
}

impl Mix {
    /// Only people who exist.
    pub(super) const fn of_existing(existing: u32) -> Self {
        Self {
            existing,
            new_from: NUMBERS,
        }
    }

    /// A person and a value that always differs.
    pub(super) fn pick(self) -> (u32, u64) {
        let dice: u64 = rand::random();
        let number = u32::try_from(dice >> 33).unwrap_or_default();
        let number = if dice & 1 == 0 || self.new_from >= NUMBERS {
            number % self.existing.max(1)
        } else {
            self.new_from + number % (NUMBERS - self.new_from)
        };
        (number, dice)
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Answers with 2xx in the time that counts.
    pub(super) done: usize,
    /// Other answers and broken connections.
    pub(super) failed: usize,
    /// Answers before reads showed the write.
    pub(super) unprojected: usize,
    /// Milliseconds of each that was done.
    pub(super) latencies: Vec<f64>,
    /// When each of these was answered.
    pub(super) answered: Vec<Instant>,
    /// The first failure.
    pub(super) failure: Option<String>,
}

impl Load {
    /// Done a second.
    pub(super) fn rate(&self, time: Duration) -> f64 {
        super::stats::rate(self.done, time)
    }

    /// The tail, in words.
    pub(super) fn tail(&self) -> String {
        let at = |percent| percentile(&self.latencies, percent);
        let mut text = format!("p50 {:.1}, p95 {:.1}, p99 {:.1} ms", at(50), at(95), at(99));
        if self.failed > 0 || self.unprojected > 0 {
            let first = self.failure.as_deref().unwrap_or("none");
            text = format!(
                "{text}; {} failed (first: {first}), {} not projected",
                self.failed, self.unprojected
            );
        }
        text
    }

    fn take(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.unprojected += other.unprojected;
        self.latencies.extend(other.latencies);
        self.answered.extend(other.answered);
        self.failure = self.failure.take().or(other.failure);
    }

    /// Sends one request; it counts where its answer comes within the time that does.
    async fn send(
        &mut self,
        connection: &mut Connection,
        request: &[u8],
        since: Instant,
        time: &Range<Instant>,
    ) {
        match connection.send(request).await {
            Ok(200..=299) => {
                let now = Instant::now();
                if time.contains(&now) {
                    self.done += 1;
                    self.unprojected += usize::from(connection.unprojected);
                    self.latencies.push(millis(now - since));
                    self.answered.push(now);
                }
            }
            Ok(status) => {
                self.failed += 1;
                let body = || {
                    format!(
                        "status {status}: {}",
                        String::from_utf8_lossy(connection.body())
                    )
                };
                self.failure.get_or_insert_with(body);
            }
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Each connection sends one upsert after another, as soon as the last was answered.
pub(super) async fn closed_loop(
    address: SocketAddr,
    draft: &Upsert,
    mix: Mix,
    connections: usize,
    warm_up: Duration,
    time: Duration,
) -> anyhow::Result<Load> {
    let draft = Arc::new(draft.clone());
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        opened.push(Connection::open(address).await?);
    }
    let from = Instant::now() + warm_up;
    let till = from + time;
    let mut tasks = JoinSet::new();
    for mut connection in opened {
        let draft = Arc::clone(&draft);
        tasks.spawn(async move {
            let (mut load, mut request) = (Load::default(), Vec::new());
            // A server that only fails must not be hammered for nothing.
            while load.failed < 100 {
                let since = Instant::now();
                if since >= till {
                    break;
                }
                let (number, mark) = mix.pick();
                draft.write(number, mark, &mut request);
                load.send(&mut connection, &request, since, &(from..till))
                    .await;
            }
            load
        });
    }
    let mut all = Load::default();
    while let Some(load) = tasks.join_next().await {
        all.take(load?);
    }
    Ok(all)
}

/// Upserts at a steady rate until told to end, each measured from the moment that it was due.
pub(super) async fn open_loop(
    address: SocketAddr,
    draft: &Upsert,
    mix: Mix,
    every: Duration,
    end: tokio_util::sync::CancellationToken,
) -> anyhow::Result<Load> {
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(Connection::open(address).await?);
    }
    let (idle, all) = (
        Arc::new(Mutex::new(idle)),
        Arc::new(Mutex::new(Load::default())),
    );
    let mut tasks = JoinSet::new();
    let mut due = Instant::now();
    let ever = due..due + Duration::from_secs(1 << 30);
    while !end.is_cancelled() {
        due += every;
        tokio::time::sleep_until(due.into()).await;
        let (number, mark) = mix.pick();
        let mut request = Vec::new();
        draft.write(number, mark, &mut request);
        let (idle, all, ever) = (Arc::clone(&idle), Arc::clone(&all), ever.clone());
        tasks.spawn(async move {
            let kept = idle.lock().await.pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let mut load = Load::default();
            load.send(&mut connection, &request, due, &ever).await;
            if load.failed == 0 {
                idle.lock().await.push(connection);
            }
            all.lock().await.take(load);
            anyhow::Ok(())
        });
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let load = std::mem::take(&mut *all.lock().await);
    Ok(load)
}
