//! Limits L2 and L3: statements of Postgres's own load generator, prepared.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use super::options::Machine;

/// How much pgbench does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// So many transactions, each logged, by one client.
    Singles(u32),
    /// For this long, by so many clients and two threads.
    Load(usize, Duration),
}

/// What pgbench measured.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Transactions a second, without the time to connect.
    pub(super) rate: f64,
    /// Milliseconds of each transaction; of [`Amount::Singles`] only.
    pub(super) latencies: Vec<f64>,
}

/// Runs scripts of equal weight.
pub(super) async fn run(
    machine: &Machine,
    database_url: &str,
    folder: &Path,
    scripts: &[(&str, String)],
    amount: Amount,
) -> anyhow::Result<Outcome> {
    fs::create_dir_all(folder)?;
    let prefix = folder.join("pgbench-log");
    remove_logs(&prefix)?;
    let mut command = Command::new(program(machine));
    command
        .args(["--no-vacuum", "--protocol=prepared"])
        .kill_on_drop(true);
    match amount {
        Amount::Singles(count) => {
            command
                .args(["--client=1", "--jobs=1", "--log"])
                .arg(format!("--transactions={count}"));
            command.arg(format!("--log-prefix={}", prefix.display()));
        }
        Amount::Load(clients, time) => {
            command
                .arg(format!("--client={clients}"))
                .arg(format!("--jobs={}", clients.min(2)));
            command.arg(format!("--time={}", time.as_secs().max(1)));
        }
    }
    for (name, script) in scripts {
        let path = folder.join(format!("{name}.sql"));
        fs::write(&path, script)?;
        command.arg("--file").arg(path);
    }
    let (url, password) = without_password(database_url);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    let output = command
        .arg(url)
        .output()
        .await
        .context("pgbench does not start: it comes with PostgreSQL")?;
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    anyhow::ensure!(output.status.success(), "pgbench: {errors}");
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let outcome = Outcome {
        rate: rate.with_context(|| format!("pgbench names no rate: {said}"))?,
        latencies: latencies(&prefix)?,
    };
    remove_logs(&prefix)?;
    Ok(outcome)
}

fn program(machine: &Machine) -> PathBuf {
    let beside = machine
        .postgres_bin
        .as_ref()
        .map(|folder| folder.join("pgbench"));
    beside
        .filter(|program| program.exists())
        .unwrap_or_else(|| "pgbench".into())
}

/// The third word of a line of the log is the time in microseconds.
fn latencies(prefix: &Path) -> anyhow::Result<Vec<f64>> {
    let mut all = Vec::new();
    for path in logs(prefix)? {
        let text = fs::read_to_string(path)?;
        let times = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
        all.extend(times.map(|micros| micros / 1e3));
    }
    Ok(all)
}

fn logs(prefix: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (Some(folder), Some(start)) = (prefix.parent(), prefix.file_name()) else {
        return Ok(Vec::new());
    };
    let start = format!("{}.", start.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&start))
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn remove_logs(prefix: &Path) -> anyhow::Result<()> {
    logs(prefix)?
        .into_iter()
        .try_for_each(|path| Ok(fs::remove_file(path)?))
}

/// Arguments can be read by everybody on the machine, so the password is not one. Options of our own driver go too.
fn without_password(url: &str) -> (String, Option<String>) {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let split = || {
        let (scheme, rest) = url.split_once("://")?;
        let (login, place) = rest.split_once('@')?;
        let (user, password) = login.split_once(':')?;
        Some((format!("{scheme}://{user}@{place}"), password.to_owned()))
    };
    split().map_or_else(
        || (url.to_owned(), None),
        |(url, password)| (url, Some(password)),
    )
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_is_no_argument() {
        let (url, password) =
            without_password("postgres://ada:secret@127.0.0.1:5432/x?sslmode=prefer");
        assert_eq!(
            (url.as_str(), password.as_deref()),
            ("postgres://ada@127.0.0.1:5432/x", Some("secret"))
        );
        assert_eq!(
            without_password("postgres://ada@h/x"),
            ("postgres://ada@h/x".into(), None)
        );
    }
}
