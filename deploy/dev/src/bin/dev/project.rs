//! The workspace: where it is, and how cargo is called in it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use roster_dev::environment::Environment;
use roster_dev::stack::{Stack, StackOptions};
use serde_json::Value;

/// What `cargo metadata` says, and the caller's environment.
pub(crate) struct Project {
    pub(crate) environment: Environment,
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Name and folder of every member.
    pub(crate) members: Vec<(String, PathBuf)>,
}

impl Project {
    /// Asks cargo, from the folder of the package that runs us or else the current one.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let environment = Environment::read();
        let mut command = Command::new(&environment.cargo);
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if let Some(folder) = &environment.manifest_dir {
            command.current_dir(folder);
        }
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed");
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let path = |value: &Value| value.as_str().map(PathBuf::from).context("cargo metadata");
        let members = metadata["packages"]
            .as_array()
            .context("cargo metadata")?
            .iter()
            .map(|package| {
                let mut folder = path(&package["manifest_path"])?;
                folder.pop();
                Ok((
                    package["name"]
                        .as_str()
                        .context("cargo metadata")?
                        .to_owned(),
                    folder,
                ))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            root: path(&metadata["workspace_root"])?,
            target: path(&metadata["target_directory"])?,
            members,
            environment,
        })
    }

    /// A cargo command at the root, free of what `cargo run` says about this package and of server
    /// URLs that are for us.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.environment.cargo);
        command
            .current_dir(&self.root)
            .env_remove("DATABASE_URL")
            .env_remove("NATS_URL");
        for name in &self.environment.package_variables {
            command.env_remove(name);
        }
        command
    }

    /// `.roster/`: what `cargo dev` keeps between runs.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join(".roster")
    }

    /// Where the server says that it is ready, and how to reach it.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.home().join("ready.json")
    }

    /// `target/devstack`: wheels and throwaway data.
    pub(crate) fn devstack(&self) -> PathBuf {
        self.target.join("devstack")
    }

    /// The `roster` program of a profile's folder (`debug`, `release`).
    pub(crate) fn roster(&self, profile: &str) -> PathBuf {
        self.target.join(profile).join("roster")
    }

    /// The stack of `cargo dev`.
    pub(crate) fn kept_stack(&self) -> StackOptions {
        StackOptions {
            runtime_dir: self.devstack(),
            ..StackOptions::durable(self.home())
        }
    }

    /// A stack under `target/devstack` that is gone afterwards.
    pub(crate) fn throwaway_stack(&self, name: &str) -> StackOptions {
        let folder = self
            .devstack()
            .join(format!("{name}-{}", std::process::id()));
        StackOptions {
            runtime_dir: self.devstack(),
            ..StackOptions::throwaway(folder)
        }
    }
}

/// Starts a stack and says which versions it runs.
pub(crate) fn start(options: StackOptions) -> anyhow::Result<Stack> {
    let stack = Stack::start(options)?;
    let shown = |version: Option<_>| version.map_or("(given)".to_owned(), |v| format!("{v}"));
    println!(
        "PostgreSQL {}, NATS {}",
        shown(stack.postgres_version()),
        shown(stack.nats_version())
    );
    Ok(stack)
}
