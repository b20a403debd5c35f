//! A redis beside the benchmark: from the path, or from the folder that `ROSTER_BENCH_REDIS_BIN` names.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::resolve::CONNECTIONS;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The bytes of a value: about what a look-up answers about.
const VALUE: &str = "120";

/// Where its programs are.
struct Programs(Option<PathBuf>);

impl Programs {
    /// A program that finds the libraries of its own package too: one that was unpacked without being installed has them
    /// in `../lib/<machine>-linux-gnu` of its folder.
    fn command(&self, name: &str) -> Command {
        let Some(folder) = &self.0 else {
            return Command::new(name);
        };
        let mut command = Command::new(folder.join(name));
        let beside = fs::read_dir(folder.join("../lib")).into_iter().flatten();
        let folders: Vec<PathBuf> = beside
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with("-linux-gnu"))
            .map(|entry| entry.path())
            .collect();
        if !folders.is_empty() {
            command.env("LD_LIBRARY_PATH", joined(&folders));
        }
        command
    }
}

fn joined(folders: &[PathBuf]) -> OsString {
    std::env::join_paths(folders).unwrap_or_default()
}

/// A redis with as many keys, where there is one on this machine.
pub(super) struct Redis {
    programs: Programs,
    server: Child,
    port: u16,
    keys: u32,
}

impl Redis {
    /// Starts it on loopback, without files, and fills it. None where it is not on the path; in a folder that is given it must
    /// be.
    pub(super) async fn start(folder: Option<&Path>, keys: u32) -> anyhow::Result<Option<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let programs = Programs(folder.map(Path::to_path_buf));
        let server = programs
            .command("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let server = match server {
            Ok(server) => server,
            Err(_) if folder.is_none() => return Ok(None),
            Err(error) => return Err(error).context("redis-server in ROSTER_BENCH_REDIS_BIN"),
        };
        let mut redis = Self {
            programs,
            server,
            port,
            keys,
        };
        redis.answers().await?;
        let count = keys.to_string();
        redis
            .benchmark(&["-t", "set", "-n", &count, "-r", &count, "-d", VALUE])
            .await?;
        Ok(Some(redis))
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let till = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.server.try_wait()?;
            anyhow::ensure!(ended.is_none(), "redis-server ended: {ended:?}");
            anyhow::ensure!(Instant::now() < till, "redis does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// GETs a second.
    pub(super) async fn gets(&self, time: Duration) -> anyhow::Result<f64> {
        let count = (time.as_secs().max(1) * 60_000).to_string();
        let keys = self.keys.to_string();
        let text = self
            .benchmark(&["-t", "get", "-n", &count, "-r", &keys])
            .await?;
        let line = text.lines().rev().find(|line| line.starts_with("\"GET\""));
        let rate = line.and_then(|line| line.split(',').nth(1));
        let rate = rate.map(|rate| rate.trim_matches('"').parse());
        rate.context("redis-benchmark says no rate")?
            .context("a rate")
    }

    async fn benchmark(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .programs
            .command("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", &CONNECTIONS.to_string(), "--csv"])
            .args(arguments)
            .output()
            .await
            .context("redis-benchmark")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "redis-benchmark: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
