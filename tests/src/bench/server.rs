//! Servers as processes of their own: `roster serve`, and the peers.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::http::Target;
use super::options::Machine;
use super::peer::Peer;
use crate::database::KEK;

/// How long a server may take to answer.
const START: Duration = Duration::from_mins(1);

/// What a server writes once it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Where it answers.
    pub(super) url: String,
    /// The credential of its demo project.
    pub(super) api_key: Option<String>,
    /// Its tenant.
    pub(super) account_id: Option<String>,
    /// Its tenant.
    pub(super) org_id: Option<String>,
    /// Its tenant.
    pub(super) project_id: Option<String>,
}

/// A running server. It ends with the value.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Its demo project.
    pub(super) target: Target,
}

impl Server {
    /// Starts `roster serve` on a database and waits until it answers.
    pub(super) async fn roster(
        machine: &Machine,
        folder: &Path,
        database_url: &str,
    ) -> anyhow::Result<Self> {
        Self::roster_with(machine, folder, database_url, &[]).await
    }

    /// The same with settings as environment variables.
    pub(super) async fn roster_with(
        machine: &Machine,
        folder: &Path,
        database_url: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(&machine.roster);
        fs::create_dir_all(folder)?;
        let kek = folder.join("kek");
        drop(fs::remove_file(&kek));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&kek)?;
        file.write_all(KEK.as_bytes())?;
        command
            .args(["serve"])
            .env("DATABASE_URL", database_url)
            .env("NATS_URL", &machine.nats_url)
            .env("ROSTER_KEK_FILE", std::path::absolute(&kek)?)
            .env("ROSTER_LISTEN", "127.0.0.1:0")
            .env("ROSTER_DATA_DIR", std::path::absolute(folder)?)
            .env("ROSTER_DEMO", "true")
            // Measured by itself: the databases of one run would share a stream.
            .env("ROSTER_NATS__RELAY", "false")
            .env(
                "ROSTER_LOG__LEVEL",
                super::options::variable("ROSTER_BENCH_LOG")
                    .as_deref()
                    .unwrap_or("warn"),
            )
            .envs(settings.iter().copied());
        Self::start(command, folder, "roster").await
    }

    /// Starts a peer on a database and waits until it answers.
    pub(super) async fn peer(
        peer: Peer,
        folder: &Path,
        database_url: &str,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--serve-peer", peer.name()])
            .env("ROSTER_BENCH_DATABASE_URL", database_url);
        Self::start(command, folder, peer.name()).await
    }

    async fn start(mut command: Command, folder: &Path, name: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let (log, ready) = (
            folder.join(format!("{name}.log")),
            folder.join(format!("{name}-ready.json")),
        );
        drop(fs::remove_file(&ready));
        let output = File::create(&log)?;
        let mut child = command
            .env("ROSTER_READY_FILE", std::path::absolute(&ready)?)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let patience = Instant::now() + START;
        loop {
            if let Ok(text) = fs::read(&ready)
                && let Ok(ready) = serde_json::from_slice::<Ready>(&text)
            {
                return Ok(Self {
                    child,
                    target: target(&ready)?,
                });
            }
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() > patience {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let last = log.lines().rev().take(5).collect::<Vec<_>>();
                anyhow::bail!(
                    "{name} is not ready ({ended:?}): {}",
                    last.into_iter().rev().collect::<Vec<_>>().join(" | ")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its process, while it runs.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The largest resident memory so far, in MiB.
    pub(super) fn peak_memory_mib(&self) -> u64 {
        self.child.id().map_or(0, super::machine::peak_memory_mib)
    }

    /// Seconds of processor time so far.
    pub(super) fn processor_time(&self) -> f64 {
        self.child.id().map_or(0.0, super::machine::processor_time)
    }

    /// Waits until every projection of the server has read the whole log.
    pub(super) async fn caught_up(&self) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_hours(1);
        while Instant::now() < patience {
            let ready: Value = self.target.get("/readyz").await?;
            let head = ready["head"].as_i64().unwrap_or(i64::MAX);
            let projections = ready["projections"].as_array().cloned().unwrap_or_default();
            if projections
                .iter()
                .all(|projection| projection["position"].as_i64() >= Some(head))
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the projections do not catch up")
    }

    /// Asks the server to stop and waits for it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
        }
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

fn target(ready: &Ready) -> anyhow::Result<Target> {
    let address = ready
        .url
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    Ok(Target {
        address: address
            .parse()
            .with_context(|| format!("the address {address}"))?,
        api_key: text(&ready.api_key),
        account_id: text(&ready.account_id),
        org_id: text(&ready.org_id),
        project_id: text(&ready.project_id),
    })
}
