//! A real `roster serve` process over a database of its own: started, stopped, killed and started again.
//!
//! It owns the process and its files. What is said to the server over HTTP is [`crate::client`]'s.
//!
//! ```no_run
//! # use roster_tests::server::Server;
//! # async fn example() -> anyhow::Result<()> {
//! let mut server = Server::start().await?;
//! let key = server.key("acc_test", &["*"]).await?;
//! // … requests to `server.url()` with `key` …
//! server.kill()?; //               SIGKILL, as a power cut would
//! server.restart().await?; //      on the same database; the port is another one
//! assert!(server.stop().await?.success()); // SIGTERM, and its exit status
//! # Ok(()) }
//! ```

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use roster_commands::clock::SystemClock;
use roster_commands::keys::{CreatedKey, Keys, NewKey};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{interval, timeout};

use crate::cluster::{cluster, roster_binary};
use crate::database::{Database, KEK};
use crate::scale::patience;

/// The HS256 secret that every server of the tests takes tokens of.
pub const JWT_SECRET: &str = "a test secret of at least thirty-two bytes";

/// How often a file or a process is looked at that cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);

/// The last lines of a server's log that a failed test shows.
const SHOWN_LINES: usize = 60;

/// A server process. Dropping it kills the process, and shows the end of its log when the test is failing.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    url: String,
    // Last, so that the process is gone before its database is dropped.
    database: Arc<Database>,
}

impl Server {
    /// A server on a fresh database, with the default settings and without the demo project.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with settings as environment variables, such as `("ROSTER_IMPORT__CHUNK_PAUSE_MS", "50")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_on(Arc::new(Database::create().await?), settings).await
    }

    /// A server on a database that another one may serve as well.
    pub async fn start_on(
        database: Arc<Database>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("roster-server-{:032x}", rand::random::<u128>()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut server = Self {
            folder,
            settings: settings.collect(),
            child: None,
            url: String::new(),
            database,
        };
        let kek = server.folder.join("kek");
        fs::write(&kek, KEK)?;
        fs::set_permissions(&kek, Permissions::from_mode(0o600))?;
        server.restart().await?;
        Ok(server)
    }

    /// `http://127.0.0.1:<port>`; another one after each start.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database that it serves.
    pub const fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The process id, for `/proc`; `None` while it is not running.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The folder of its key, its erasure ledger and what it writes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server wrote to standard error so far, over all of its starts.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("stderr")).map_or_else(
            |error| format!("no log: {error}"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Changes a setting from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Kills the process without warning (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            bail!("the server is not running")
        };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the process to stop (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let Some(child) = &self.child else {
            bail!("the server is not running")
        };
        signal::kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let mut looks = interval(LOOK);
        let ended = timeout(a_start(), async {
            loop {
                looks.tick().await;
                if let Some(status) = self.ended()? {
                    return anyhow::Ok(status);
                }
            }
        });
        ended.await.context("the server did not stop")?
    }

    /// Starts the process on the same database and waits until it answers. One that still runs is stopped first.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.stop().await?;
        }
        let ready = self.folder.join("ready.json");
        // A killed server leaves its file behind, and it would pass for the new one's.
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.child = Some(self.spawn()?);
        let mut looks = interval(LOOK);
        let answers = timeout(a_start(), async {
            loop {
                looks.tick().await;
                if let Ok(text) = fs::read(&ready) {
                    return anyhow::Ok(serde_json::from_slice::<Value>(&text)?);
                }
                if let Some(status) = self.ended()? {
                    bail!(
                        "the server ended before it answered ({status}):\n{}",
                        self.log()
                    );
                }
            }
        });
        let said = answers
            .await
            .with_context(|| format!("the server does not answer:\n{}", self.log()))??;
        said["url"]
            .as_str()
            .context("ready.json has no url")?
            .trim_end_matches('/')
            .clone_into(&mut self.url);
        Ok(())
    }

    /// The credential of a new key for every project of an account.
    pub async fn key(&self, account_id: &str, permissions: &[&str]) -> anyhow::Result<String> {
        let new = NewKey {
            name: "test".into(),
            account_id: account_id.into(),
            org_id: None,
            project_id: None,
            scopes: permissions
                .iter()
                .map(|permission| (*permission).to_owned())
                .collect(),
            expires_at: None,
        };
        Ok(self.create_key(new).await?.token)
    }

    /// Makes a key as `roster keys create` does.
    pub async fn create_key(&self, new: NewKey) -> anyhow::Result<CreatedKey> {
        Ok(self.keys().await?.create(new).await?)
    }

    /// The keys of the database, as another process sees them.
    pub async fn keys(&self) -> anyhow::Result<Keys> {
        let options = self
            .database
            .owner_url()
            .expose_secret()
            .parse::<sqlx::postgres::PgConnectOptions>()?;
        let options = options.options([("search_path", "roster_control,public")]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        Ok(Keys::new(pool, Arc::new(SystemClock)))
    }

    /// A command line of `roster` with the settings of this server; its result is on standard output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(roster_binary());
        command
            .current_dir(&self.folder)
            // What the machine of the test may have set is not meant for this server.
            .env_remove("ROSTER_CONFIG")
            .env("DATABASE_URL", self.database.owner_url().expose_secret())
            .env("NATS_URL", &cluster().nats_url)
            .env("ROSTER_KEK_FILE", self.folder.join("kek"))
            .env("ROSTER_READY_FILE", self.folder.join("ready.json"))
            .env("ROSTER_DATA_DIR", self.folder.join("data"))
            .env("ROSTER_LISTEN", "127.0.0.1:0")
            .env("ROSTER_DEMO", "false")
            // Cells of all tests have one name, and one NATS.
            .env("ROSTER_NATS__RELAY", "false")
            .env("ROSTER_AUTH__JWT_SECRET", JWT_SECRET)
            .stdin(Stdio::null());
        // The programs of the Postgres that the tests started, which may be the only ones there are.
        if let Some(folder) = &cluster().postgres_bin {
            command.env("ROSTER_BACKUP__PG_BIN", folder);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("stderr"))?;
        let binary = roster_binary();
        let spawned = self
            .command()
            .arg("serve")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        spawned.with_context(|| {
            format!(
                "{}: build it with `cargo build -p roster-server`",
                binary.display()
            )
        })
    }

    /// The exit status, once the process has ended by itself.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            bail!("the server is not running")
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

/// How long a server may take until it answers, and until it has stopped; a debug build on a busy machine needs seconds.
fn a_start() -> Duration {
    patience() / 3
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "the log of the server is part of a failed test's output"
    )]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing can be done about a process that cannot be killed; the next lines still help.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!(
                "--- the end of the server's log\n{}\n---",
                lines[end..].join("\n")
            );
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
