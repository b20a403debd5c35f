//! The subscribers of `deploy/examples`, run as a user runs them: a real process with the real client library, installed
//! once for all runs beside the wheels of the stack.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use roster_dev::environment::Environment;
use roster_dev::wheels;
use serde_json::Value;

use crate::database::CELL;

/// What is kept between runs.
const RUNTIME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/devstack");
/// The examples.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");

/// An example whose client library is there.
#[derive(Debug)]
pub struct Example {
    interpreter: PathBuf,
    script: PathBuf,
    library: Library,
}

#[derive(Debug)]
enum Library {
    /// A folder for `PYTHONPATH`.
    Python(PathBuf),
    /// A `node_modules`, which must be beside the script.
    Node(PathBuf),
}

impl Example {
    /// The one in Python; the error says why it cannot run on this machine.
    pub fn python() -> Result<Self, String> {
        let environment = Environment::read();
        let interpreter = program(&environment, "python3")?;
        let folder = Path::new(EXAMPLES).join("python");
        let requirements = read(&folder.join("requirements.txt"))?;
        let place = place_of("python", &requirements);
        if !place.is_dir() {
            wheels::once(Path::new(RUNTIME), &place, |draft| {
                wheels::pip_install(&environment, &requirements, draft)
            })?;
        }
        Ok(Self {
            interpreter,
            script: folder.join("subscriber.py"),
            library: Library::Python(place),
        })
    }

    /// The one for Node; the error says why it cannot run on this machine.
    pub fn node() -> Result<Self, String> {
        let environment = Environment::read();
        let interpreter = program(&environment, "node")?;
        let npm = program(&environment, "npm")?;
        let folder = Path::new(EXAMPLES).join("node");
        let lock = read(&folder.join("package-lock.json"))?;
        let place = place_of("node", &lock);
        if !place.is_dir() {
            wheels::once(Path::new(RUNTIME), &place, |draft| {
                for name in ["package.json", "package-lock.json"] {
                    fs::copy(folder.join(name), draft.join(name)).map_err(words)?;
                }
                npm_install(&npm, draft)
            })?;
        }
        Ok(Self {
            interpreter,
            script: folder.join("subscriber.mjs"),
            library: Library::Node(place.join("node_modules")),
        })
    }

    /// A folder to run it in.
    pub fn follower(self) -> anyhow::Result<Follower> {
        let folder =
            std::env::temp_dir().join(format!("roster-example-{:032x}", rand::random::<u128>()));
        fs::create_dir(&folder)?;
        let name = self.script.file_name().context("a script has a name")?;
        let script = folder.join(name);
        fs::copy(&self.script, &script)?;
        let mut path = None;
        match self.library {
            Library::Python(place) => path = Some(place),
            Library::Node(place) => {
                std::os::unix::fs::symlink(place.canonicalize()?, folder.join("node_modules"))?;
            }
        }
        Ok(Follower {
            interpreter: self.interpreter,
            script,
            python_path: path,
            folder,
            child: None,
        })
    }
}

/// A copy of an example in a folder of its own. Dropping it kills the process and removes the folder.
#[derive(Debug)]
pub struct Follower {
    interpreter: PathBuf,
    script: PathBuf,
    python_path: Option<PathBuf>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Follower {
    /// Starts it, again after a kill.
    pub fn start(&mut self, nats_url: &str) -> anyhow::Result<()> {
        let mut command = Command::new(&self.interpreter);
        command
            .arg(&self.script)
            .args([CELL, "place.json"])
            .current_dir(&self.folder)
            .env("NATS_URL", nats_url)
            .envs(self.python_path.iter().map(|path| ("PYTHONPATH", path)))
            .stdin(Stdio::null())
            .stdout(self.append("said")?)
            .stderr(self.append("errors")?);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The whole lines that it printed so far, over all of its starts.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("said")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Epoch and sequence that it stored last.
    pub fn place(&self) -> Option<(i64, i64)> {
        let text = fs::read_to_string(self.folder.join("place.json")).ok()?;
        let place: Value = serde_json::from_str(&text).ok()?;
        Some((place["epoch"].as_i64()?, place["sequence"].as_i64()?))
    }

    fn append(&self, name: &str) -> anyhow::Result<File> {
        let mut options = OpenOptions::new();
        Ok(options
            .create(true)
            .append(true)
            .open(self.folder.join(name))?)
    }
}

impl Drop for Follower {
    #[expect(
        clippy::print_stderr,
        reason = "what the example complained of is part of a failed test's output"
    )]
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed, or a folder that stays.
        let _ = self.kill();
        if std::thread::panicking() {
            let errors = fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
            eprintln!("--- errors of the example\n{errors}\n---");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn npm_install(npm: &Path, folder: &Path) -> Result<(), String> {
    let output = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(words)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().find(|line| line.starts_with("npm error"));
    Err(first.unwrap_or("npm: no message").to_owned())
}

fn program(environment: &Environment, name: &str) -> Result<PathBuf, String> {
    environment
        .find_program(name)
        .ok_or_else(|| format!("there is no {name} in PATH"))
}

/// Where a library is kept: another one for every set of versions.
fn place_of(language: &str, versions: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    versions.hash(&mut hasher);
    Path::new(RUNTIME).join(format!("example-{language}-{:016x}", hasher.finish()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn words(error: std::io::Error) -> String {
    error.to_string()
}
