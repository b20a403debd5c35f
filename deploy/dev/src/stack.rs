//! The stack: one Postgres and one NATS, found or started, and stopped when dropped.

use std::path::{Path, PathBuf};

use crate::StackError;
use crate::binaries::{self, PostgresBinaries};
use crate::home::Home;
use crate::nats::{self, Server};
pub use crate::options::{Durability, StackOptions};
use crate::postgres::{Cluster, DATABASE, SUPERUSER};
use crate::version::{OLDEST_POSTGRES, Version};

/// A running stack. Dropping it stops what it started, and nothing else.
#[derive(Debug)]
pub struct Stack {
    options: StackOptions,
    // Fields drop in this order: servers first, then the lock on their folder.
    nats: Option<Server>,
    cluster: Option<Cluster>,
    home: Option<Home>,
    database_url: String,
    nats_url: String,
    postgres_version: Option<Version>,
    nats_version: Option<Version>,
    postgres_bin: Option<PathBuf>,
}

impl Stack {
    /// Finds or starts both servers and waits until they answer.
    pub fn start(options: StackOptions) -> Result<Self, StackError> {
        let environment = &options.environment;
        let needs_home = environment.database_url.is_none() || environment.nats_url.is_none();
        let mut stack = Self {
            home: if needs_home {
                Some(Home::open(&options.data_dir)?)
            } else {
                None
            },
            nats: None,
            cluster: None,
            database_url: String::new(),
            nats_url: String::new(),
            postgres_version: None,
            nats_version: None,
            postgres_bin: None,
            options,
        };
        stack.start_postgres()?;
        stack.start_nats()?;
        Ok(stack)
    }

    fn start_postgres(&mut self) -> Result<(), StackError> {
        let options = &self.options;
        let given = options.environment.database_url.clone();
        if let (None, Some(home)) = (&given, &self.home) {
            let binaries = options.find_postgres(&home.path, home.account)?;
            let cluster = Cluster::start(
                &binaries,
                &home.path,
                home.account,
                options.durability,
                &options.settings,
            )?;
            self.database_url = format!(
                "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{DATABASE}",
                cluster.password, cluster.port
            );
            self.postgres_version = Some(binaries.version);
            self.postgres_bin = Some(binaries.folder);
            self.cluster = Some(cluster);
        } else {
            self.database_url = given.unwrap_or_default();
            let installed = PostgresBinaries::installed(&options.environment);
            self.postgres_bin =
                PostgresBinaries::choose(installed, None).map(|binaries| binaries.folder);
            self.postgres_version = self.ask_version();
            if let Some(found) = self.postgres_version
                && found < OLDEST_POSTGRES
            {
                return Err(StackError::TooOld {
                    what: "Postgres",
                    found,
                    needed: OLDEST_POSTGRES,
                });
            }
        }
        Ok(())
    }

    /// The version of a given Postgres, where psql is there and gets in.
    fn ask_version(&self) -> Option<Version> {
        let psql = self.postgres_bin.as_ref()?.join("psql");
        let question = [
            "-XAtw",
            "-c",
            "SHOW server_version",
            "-d",
            self.database_url.as_str(),
        ];
        binaries::output(&psql, &question)
            .as_deref()
            .and_then(Version::parse)
    }

    fn start_nats(&mut self) -> Result<(), StackError> {
        let options = &self.options;
        if let Some(url) = &options.environment.nats_url {
            self.nats_version = nats::check_url(url)?;
            self.nats_url.clone_from(url);
        } else if let Some(home) = &self.home {
            let server = Server::start(&options.find_nats()?, &home.path, options.durability)?;
            self.nats_url = format!("nats://127.0.0.1:{}", server.port);
            self.nats_version = Some(server.version);
            self.nats = Some(server);
        }
        Ok(())
    }

    /// URL of the database to work in: `roster`, as its superuser, or `DATABASE_URL` as given.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The same URL for another database of the same server.
    pub fn admin_url(&self, database: &str) -> String {
        with_database(&self.database_url, database)
    }

    /// URL from which databases can be made: `postgres`, or `DATABASE_URL` as given.
    pub fn maintenance_url(&self) -> String {
        if self.cluster.is_some() {
            self.admin_url("postgres")
        } else {
            self.database_url.clone()
        }
    }

    /// URL of the NATS server.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// Version of Postgres; nothing where a given one could not be asked.
    pub fn postgres_version(&self) -> Option<Version> {
        self.postgres_version
    }

    /// Version of NATS; nothing where a given one could not be asked.
    pub fn nats_version(&self) -> Option<Version> {
        self.nats_version
    }

    /// Folder of `psql`, `pg_dump` and `pgbench`, as far as the machine has them.
    pub fn postgres_bin(&self) -> Option<&Path> {
        self.postgres_bin.as_deref()
    }

    /// Folder of what a NATS keeps that was started; nothing where a given one is used.
    pub fn nats_dir(&self) -> Option<PathBuf> {
        let home = self.home.as_ref().filter(|_| self.nats.is_some())?;
        Some(nats::data(&home.path))
    }

    /// Kills a NATS that was started, without warning.
    pub fn kill_nats(&mut self) -> Result<(), StackError> {
        self.nats.as_mut().map_or(Ok(()), Server::kill)
    }

    /// Starts a NATS that was killed again, on its port and with what it has in [`Self::nats_data`].
    pub fn restart_nats(&mut self) -> Result<(), StackError> {
        if let (Some(server), Some(home)) = (self.nats.take(), &self.home) {
            let binary = self.options.find_nats()?;
            self.nats = Some(server.restart(&binary, &home.path, self.options.durability)?);
        }
        Ok(())
    }

    /// Pauses a NATS that was started (SIGSTOP), or lets it go on.
    pub fn pause_nats(&self, paused: bool) -> Result<(), StackError> {
        match (&self.nats, &self.home) {
            (Some(_), Some(home)) => Server::pause(&home.path, paused),
            _ => Ok(()),
        }
    }

    /// Kills every process of a Postgres that was started, without warning.
    pub fn kill_postgres(&mut self) -> Result<(), StackError> {
        match (&mut self.cluster, &self.home) {
            (Some(cluster), Some(home)) => cluster.kill(&home.path),
            _ => Ok(()),
        }
    }

    /// Starts a Postgres that was killed or has ended again, on its port and with its data.
    pub fn restart_postgres(&mut self) -> Result<(), StackError> {
        match (&mut self.cluster, &self.home) {
            (Some(cluster), Some(home)) => {
                let binaries = self.options.find_postgres(&home.path, home.account)?;
                cluster.restart(&binaries, &home.path, home.account)
            }
            _ => Ok(()),
        }
    }

    /// Pauses every process of a Postgres that was started (SIGSTOP), or lets them go on.
    pub fn pause_postgres(&self, paused: bool) -> Result<(), StackError> {
        match (&self.cluster, &self.home) {
            (Some(_), Some(home)) => Cluster::pause(&home.path, paused),
            _ => Ok(()),
        }
    }

    /// An error if a server that was started has ended by itself.
    pub fn check(&mut self) -> Result<(), StackError> {
        self.cluster.as_mut().map_or(Ok(()), Cluster::check)?;
        self.nats.as_mut().map_or(Ok(()), Server::check)
    }

    /// Stops what was started, waits for it, and removes the data unless it is to be kept.
    pub fn stop(mut self) -> Result<(), StackError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), StackError> {
        let nats = self.nats.take().map_or(Ok(()), |mut nats| nats.stop());
        let cluster = self
            .cluster
            .take()
            .map_or(Ok(()), |mut cluster| cluster.stop());
        let home = self.home.take().map_or(Ok(()), |home| {
            home.close(&self.options.data_dir, self.options.keep)
        });
        nats.and(cluster).and(home)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // `stop` reports; a drop has nobody to report to.
        let _ = self.shut_down();
    }
}

/// Replaces the path of a URL and keeps its query.
fn with_database(url: &str, database: &str) -> String {
    let (rest, query) = url
        .split_once('?')
        .map_or((url, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.find("://").map_or(0, |at| at + 3);
    let end = rest[authority..]
        .find('/')
        .map_or(rest.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Environment, Runtime};

    #[test]
    fn the_database_of_a_url_is_replaced_and_its_query_kept() {
        for (url, expected) in [
            (
                "postgres://u:p@127.0.0.1:5432/roster",
                "postgres://u:p@127.0.0.1:5432/other",
            ),
            (
                "postgres://u@h/roster?sslmode=disable",
                "postgres://u@h/other?sslmode=disable",
            ),
            ("postgres://u@h", "postgres://u@h/other"),
        ] {
            assert_eq!(with_database(url, "other"), expected);
        }
    }

    #[test]
    fn given_servers_come_before_anything_else() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nats_url = format!("nats://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            use std::io::Write;
            let greeting = "INFO {\"version\":\"2.12.0\",\"jetstream\":true}\r\n";
            listener
                .accept()
                .unwrap()
                .0
                .write_all(greeting.as_bytes())
                .unwrap();
        });
        let mut options = StackOptions::throwaway("does/not/exist");
        options.environment = Environment {
            database_url: Some("postgres://given/db".to_owned()),
            nats_url: Some(nats_url.clone()),
            ..Environment::default()
        };
        let stack = Stack::start(options).unwrap();
        assert_eq!(
            (stack.database_url(), stack.nats_url()),
            ("postgres://given/db", nats_url.as_str())
        );
        assert!(!Path::new("does").exists());
    }

    #[test]
    fn a_machine_with_nothing_is_told_what_to_install() {
        let folder = std::env::temp_dir().join(format!("roster-bare-{}", std::process::id()));
        let mut options = StackOptions::throwaway(&folder);
        options.environment = Environment {
            runtime: Runtime::Wheels,
            ..Environment::default()
        };
        let message = Stack::start(options).unwrap_err().to_string();
        assert_eq!(
            message,
            "Postgres is not available: install PostgreSQL 15 or newer, or Python 3 with pip, or set \
             DATABASE_URL (there is no python3 in PATH)"
        );
        assert!(!folder.exists());
    }
}
