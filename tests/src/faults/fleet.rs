//! The servers of a round: real processes on one cell, each with ways of its own to Postgres and NATS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, sleep, timeout};

use super::ground::Ground;
use super::way::Way;
use crate::client::Client;
use crate::database::Database;
use crate::scale::patience;
use crate::server::Server;

/// How often a server is looked at that is to catch up.
const LOOK: Duration = Duration::from_millis(50);
/// How long one look may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Where Debian has the library that shows a process another time.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// The library that lets clocks jump, where it is installed.
pub(super) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

/// Where the servers answer now; one that is down keeps its last address.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<Mutex<Vec<String>>>);

impl Addresses {
    /// The address of a server, by its number modulo how many there are.
    pub(super) fn of(&self, number: usize) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[number % all.len()].clone()
    }

    fn set(&self, number: usize, url: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = all.len().max(number + 1);
        all.resize(length, String::new());
        url.clone_into(&mut all[number]);
    }
}

/// One server with its ways.
#[derive(Debug)]
pub(super) struct Member {
    /// The process.
    pub(super) server: Server,
    /// Its way to Postgres.
    pub(super) postgres: Way,
    /// Its way to NATS.
    pub(super) nats: Way,
}

/// The servers of one cell.
#[derive(Debug)]
pub(super) struct Fleet {
    /// One to three.
    pub(super) members: Vec<Member>,
    /// Where they answer.
    pub(super) addresses: Addresses,
    /// Servers that ended by themselves.
    pub(super) ended: u32,
    /// What the clocks of servers are read from.
    clocks: PathBuf,
}

impl Fleet {
    /// Starts so many servers on a database.
    pub(super) async fn start(
        ground: &Ground,
        database: &Arc<Database>,
        count: usize,
    ) -> anyhow::Result<Self> {
        let direct: PgConnectOptions = database.owner_url().expose_secret().parse()?;
        let nats_port = ground.nats_url().rsplit(':').next().context("a port")?;
        let nats_port: u16 = nats_port.trim_end_matches('/').parse()?;
        let clocks = std::env::temp_dir().join(format!("roster-clocks-{}", std::process::id()));
        fs::create_dir_all(&clocks)?;
        let mut fleet = Self {
            members: Vec::new(),
            addresses: Addresses::default(),
            ended: 0,
            clocks,
        };
        for number in 0..count {
            let postgres = Way::to(direct.get_port()).await?;
            let nats = Way::to(nats_port).await?;
            let url = direct.clone().port(postgres.port()).to_url_lossy();
            let (url, nats_url) = (url.to_string(), format!("nats://127.0.0.1:{}", nats.port()));
            fleet.set_clock(number, 0)?;
            let clock = fleet.clock(number).to_string_lossy().into_owned();
            let mut settings = vec![
                ("DATABASE_URL", url.as_str()),
                ("NATS_URL", nats_url.as_str()),
                ("ROSTER_NATS__RELAY", "true"),
                // The stream's whole size is set aside on the small disk.
                ("ROSTER_NATS__MAX_BYTES", "67108864"),
                ("ROSTER_DATABASE__POOL_SIZE", "10"),
                ("ROSTER_LOG__LEVEL", "info,async_nats=warn"),
            ];
            if let Some(library) = faketime() {
                settings.extend([
                    ("LD_PRELOAD", library),
                    ("FAKETIME_TIMESTAMP_FILE", clock.as_str()),
                    ("FAKETIME_CACHE_DURATION", "1"),
                    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                    ("DONT_FAKE_MONOTONIC", "1"),
                ]);
            }
            let server = Server::start_on(Arc::clone(database), &settings).await?;
            fleet.addresses.set(number, server.url());
            fleet.members.push(Member {
                server,
                postgres,
                nats,
            });
        }
        Ok(fleet)
    }

    /// Kills a server, if it runs.
    pub(super) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        let server = &mut self.members[number].server;
        if server.process_id().is_some() {
            server.kill()?;
        }
        Ok(())
    }

    /// Pauses a server, or lets it go on.
    pub(super) fn pause(&self, number: usize, paused: bool) -> anyhow::Result<()> {
        let Some(id) = self.members[number].server.process_id() else {
            return Ok(());
        };
        let signal = if paused {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        Ok(signal::kill(Pid::from_raw(i32::try_from(id)?), signal)?)
    }

    /// Lets the clock of a server run so many seconds ahead or behind.
    pub(super) fn set_clock(&self, number: usize, seconds: i64) -> anyhow::Result<()> {
        // Written beside and renamed, for the library may read it at any time.
        let (place, draft) = (self.clock(number), self.clocks.join("draft"));
        fs::write(&draft, format!("{seconds:+}\n"))?;
        Ok(fs::rename(draft, place)?)
    }

    fn clock(&self, number: usize) -> PathBuf {
        self.clocks.join(number.to_string())
    }

    /// Starts whoever does not run, as an operator's supervisor would.
    pub(super) async fn revive(&mut self) -> anyhow::Result<()> {
        for (number, member) in self.members.iter_mut().enumerate() {
            let server = &mut member.server;
            if server.process_id().is_some() && server.ended()?.is_some() {
                self.ended += 1;
            }
            let deadline = Instant::now() + patience() / 3;
            while server.process_id().is_none() {
                // One that finds Postgres away ends with an error, and is started again.
                match server.restart().await {
                    Ok(()) => self.addresses.set(number, server.url()),
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => {
                        self.ended += 1;
                        sleep(LOOK).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until every server answers, has caught up with the log in everything, and is on the bus: the head.
    pub(super) async fn settled(&self, client: &Client) -> anyhow::Result<i64> {
        let deadline = Instant::now() + patience() / 2;
        let mut head = 0;
        for number in 0..self.members.len() {
            let client = client.at_url(&self.addresses.of(number));
            loop {
                let answer = timeout(ANSWER, client.try_get("/readyz")).await;
                let said = match answer {
                    Ok(Ok(answer)) => answer.json(),
                    _ => Value::Null,
                };
                if let Some(found) = settled_at(&said) {
                    head = head.max(found);
                    break;
                }
                anyhow::ensure!(
                    Instant::now() < deadline,
                    "server {number} does not heal in {} s: {said}",
                    patience().as_secs() / 2
                );
                sleep(LOOK).await;
            }
        }
        Ok(head)
    }

    /// Keeps the logs of the servers.
    pub(super) fn keep_logs(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        for (number, member) in self.members.iter().enumerate() {
            fs::write(
                folder.join(format!("server-{number}.log")),
                member.server.log(),
            )?;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Files of a temporary folder.
        let _ = fs::remove_dir_all(&self.clocks);
    }
}

/// The head of a server that has nothing left to do.
fn settled_at(ready: &Value) -> Option<i64> {
    let head = ready["head"].as_i64()?;
    let projections = ready["projections"].as_array()?;
    let is_there = |projection: &Value| {
        projection["position"].as_i64() >= Some(head)
            && projection["error"].is_null()
            && projection["parked_streams"] == 0
    };
    (ready["bus"] == "ok" && projections.iter().all(is_there)).then_some(head)
}
