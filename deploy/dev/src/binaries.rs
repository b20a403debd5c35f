//! Servers that are installed on the machine, and the choice among them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::environment::Environment;
use crate::version::{OLDEST_NATS, OLDEST_POSTGRES, Version};

/// A folder with the programs of one Postgres release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresBinaries {
    /// The folder of `postgres`, `initdb` and, usually, `psql`, `pg_dump` and `pgbench`.
    pub folder: PathBuf,
    /// Their version.
    pub version: Version,
}

/// A nats-server program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsBinary {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
}

impl PostgresBinaries {
    /// Looks at one folder; none unless both `postgres` and `initdb` are in it and run.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        folder.join("initdb").is_file().then_some(())?;
        let version = Version::parse(&output(&folder.join("postgres"), &["--version"])?)?;
        Some(Self {
            folder: folder.to_owned(),
            version,
        })
    }

    /// Every usable release on the machine: `PATH`, `pg_config`, the folders of the distributions.
    pub fn installed(environment: &Environment) -> Vec<Self> {
        let mut folders = environment.path.clone();
        if let Some(program) = environment.find_program("pg_config") {
            folders.extend(output(&program, &["--bindir"]).map(|line| PathBuf::from(line.trim())));
        }
        // Debian and its kin, then the PostgreSQL project's own RPMs.
        folders.extend(children(Path::new("/usr/lib/postgresql")).map(|folder| folder.join("bin")));
        folders.extend(
            children(Path::new("/usr"))
                .filter(|folder| {
                    folder
                        .file_name()
                        .is_some_and(|name| name.to_string_lossy().starts_with("pgsql-"))
                })
                .map(|folder| folder.join("bin")),
        );
        let mut found: Vec<Self> = Vec::new();
        for folder in folders {
            let Ok(folder) = folder.canonicalize() else {
                continue;
            };
            if found.iter().any(|known| known.folder == folder) {
                continue;
            }
            if let Some(binaries) = Self::in_folder(&folder)
                && binaries.has_trigrams()
            {
                found.push(binaries);
            }
        }
        found
    }

    /// Search needs `pg_trgm`, which some distributions package apart from the server.
    fn has_trigrams(&self) -> bool {
        output(&self.folder.join("pg_config"), &["--sharedir"]).is_none_or(|line| {
            Path::new(line.trim())
                .join("extension/pg_trgm.control")
                .is_file()
        })
    }

    /// The newest release that is new enough; where `major` is given, only that major version.
    pub fn choose(found: Vec<Self>, major: Option<u32>) -> Option<Self> {
        found
            .into_iter()
            .filter(|binaries| binaries.version >= OLDEST_POSTGRES)
            .filter(|binaries| major.is_none_or(|major| binaries.version.major == major))
            .max_by_key(|binaries| binaries.version)
    }
}

impl NatsBinary {
    /// Asks one program for its version.
    pub fn at(program: &Path) -> Option<Self> {
        let version = Version::parse(&output(program, &["--version"])?)?;
        Some(Self {
            program: program.to_owned(),
            version,
        })
    }

    /// Every nats-server in `PATH`.
    pub fn installed(environment: &Environment) -> Vec<Self> {
        environment
            .path
            .iter()
            .filter_map(|folder| Self::at(&folder.join("nats-server")))
            .collect()
    }

    /// The newest one that is new enough.
    pub fn choose(found: Vec<Self>) -> Option<Self> {
        found
            .into_iter()
            .filter(|nats| nats.version >= OLDEST_NATS)
            .max_by_key(|nats| nats.version)
    }
}

/// What a short command prints, if it succeeds.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(major: u32, minor: u32) -> PostgresBinaries {
        PostgresBinaries {
            folder: PathBuf::from(format!("pg/{major}")),
            version: Version::new(major, minor, 0),
        }
    }

    fn nats(version: Version) -> NatsBinary {
        NatsBinary {
            program: PathBuf::from("nats-server"),
            version,
        }
    }

    #[test]
    fn the_newest_installed_postgres_wins() {
        let found = vec![postgres(15, 12), postgres(17, 2), postgres(16, 9)];
        assert_eq!(PostgresBinaries::choose(found, None), Some(postgres(17, 2)));
    }

    #[test]
    fn existing_data_decides_the_major_version() {
        let found = vec![postgres(15, 12), postgres(17, 2)];
        assert_eq!(
            PostgresBinaries::choose(found.clone(), Some(15)),
            Some(postgres(15, 12))
        );
        assert_eq!(PostgresBinaries::choose(found, Some(16)), None);
    }

    #[test]
    fn servers_that_are_too_old_are_passed_over() {
        assert_eq!(PostgresBinaries::choose(vec![postgres(14, 20)], None), None);
        assert_eq!(NatsBinary::choose(vec![nats(Version::new(2, 9, 10))]), None);
        let usable = nats(Version::new(2, 10, 0));
        assert_eq!(
            NatsBinary::choose(vec![nats(Version::new(2, 9, 25)), usable.clone()]),
            Some(usable)
        );
    }
}
