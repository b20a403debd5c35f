//! `pg_dump` and `pg_restore`: finding them, and telling them the database without showing its password to `ps`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use roster_dev::binaries::PostgresBinaries;
use roster_dev::environment::Environment;
use roster_dev::stack::StackOptions;
use roster_dev::version::Version;
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// What libpq understands of the settings in a URL of sqlx.
const LIBPQ: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// The program of the folder that is given, else the oldest one on the machine that is as new as the server: a newer one
/// writes what older servers do not read. Where there is none, the one that `serve` brings for a Postgres of its own.
pub(crate) fn find(
    name: &str,
    folder: Option<&Path>,
    data_dir: &Path,
    server: u32,
) -> anyhow::Result<PathBuf> {
    if let Some(folder) = folder {
        let program = folder.join(name);
        version(&program).with_context(|| format!("{} does not run", program.display()))?;
        return Ok(program);
    }
    let environment = Environment::read();
    let mut folders = environment.path.clone();
    let installed = PostgresBinaries::installed(&environment);
    folders.extend(installed.into_iter().map(|binaries| binaries.folder));
    let fitting = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .filter_map(|program| Some((version(&program)?, program)))
        .filter(|(version, _)| version.major >= server)
        .min();
    let brought = || {
        let binaries = StackOptions::durable(data_dir).postgres_binaries().ok()?;
        (binaries.version.major >= server).then(|| binaries.folder.join(name))
    };
    match fitting.map(|(_, program)| program).or_else(brought) {
        Some(program) => Ok(program),
        None => bail!(
            "no {name} of Postgres {server} or newer on this machine: set backup.pg_bin to the folder of one"
        ),
    }
}

fn version(program: &Path) -> Option<Version> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
}

/// A URL for a command line, and the password for the environment beside it.
pub(crate) fn without_password(url: &SecretString) -> anyhow::Result<(String, Option<String>)> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let mut url = options.to_url_lossy();
    let password = url.password().map(decoded);
    // A postgres URL takes a password, so it gives it back.
    let _ = url.set_password(None);
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| LIBPQ.contains(&name.as_ref()))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    Ok((url.to_string(), password))
}

/// Percent-encoded text as it was; what decodes to no text stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn the_password_leaves_the_url() {
        let url = "postgres://owner:p%40s%25%3Dw%C3%B6rd@db:5433/roster?sslmode=require";
        let (url, password) = without_password(&url.into()).expect("a URL");
        assert_eq!(url, "postgres://owner@db:5433/roster?sslmode=require");
        assert_eq!(password.as_deref(), Some("p@s%=wörd"));
        let (_, none) = without_password(&"postgres://owner@db/roster".into()).expect("a URL");
        assert_eq!(none, None);
    }
}
