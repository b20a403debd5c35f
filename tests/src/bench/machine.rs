//! The facts that figures depend on.

use std::fs;

use roster_store::migrate;
use serde::Serialize;
use sqlx::{Executor, PgConnection};

/// The machine and the settings of its Postgres.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Facts {
    /// Processors that may be used.
    pub(super) cpus: usize,
    /// Their name.
    pub(super) cpu: String,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// The kernel.
    pub(super) kernel: String,
    /// The version of Postgres.
    pub(super) postgres: String,
    /// Settings that decide what a commit and a checkpoint cost.
    pub(super) settings: Vec<(String, String)>,
    /// How the measured programs were built.
    pub(super) build: &'static str,
}

/// What of `pg_settings` counts.
const SETTINGS: [&str; 9] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "wal_compression",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
];

impl Facts {
    /// Looks at the machine and asks Postgres, whose databases of measurements write images of pages as the service does.
    pub(super) async fn read(connection: &mut PgConnection) -> anyhow::Result<Self> {
        if let Some(setting) = migrate::page_images(connection).await? {
            connection
                .execute(format!("SET {setting}").as_str())
                .await?;
        }
        let mut settings = Vec::new();
        for name in SETTINGS {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(name)
                .fetch_one(&mut *connection)
                .await?;
            settings.push((name.to_owned(), value));
        }
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: line_of("/proc/cpuinfo", "model name"),
            memory_mib: first_number(&line_of("/proc/meminfo", "MemTotal")) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            postgres: sqlx::query_scalar("SELECT current_setting('server_version')")
                .fetch_one(connection)
                .await?,
            settings,
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        })
    }
}

/// The largest resident memory of a process so far, in MiB.
pub(super) fn peak_memory_mib(process: u32) -> u64 {
    first_number(&line_of(&format!("/proc/{process}/status"), "VmHWM")) / 1024
}

/// The resident memory of a process, in MiB.
pub(super) fn memory_mib(process: u32) -> f64 {
    let kib = first_number(&line_of(&format!("/proc/{process}/status"), "VmRSS"));
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

/// File descriptors that a process has open.
pub(super) fn descriptors(process: u32) -> f64 {
    let count = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    super::stats::float(count)
}

/// Seconds of processor time that a process had so far; Linux counts in hundredths.
pub(super) fn processor_time(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = text
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    // proc(5): utime and stime are words 14 and 15 of the line, the 12th and 13th after the name.
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The text after the colon of the first line that begins with a name; empty where there is none.
fn line_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

impl std::fmt::Display for Facts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} × {}, {} MiB, Linux {}, PostgreSQL {}, {} build;",
            self.cpus, self.cpu, self.memory_mib, self.kernel, self.postgres, self.build
        )?;
        for (name, value) in &self.settings {
            write!(formatter, " {name}={value}")?;
        }
        Ok(())
    }
}
