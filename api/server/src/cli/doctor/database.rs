//! Postgres: whether it answers, is new enough, flushes, is migrated, and lets the service do what it must and no more.

use std::time::Duration;

use roster_commands::clock::{Clock, SystemClock};
use roster_dev::version::OLDEST_POSTGRES;
use roster_store::{StoreError, migrate};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::Report;
use crate::config::Settings;
use crate::session::{self, Session};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks that differ by more confuse expiry and logs.
const SKEW_MICROS: i64 = 2_000_000;

pub(super) async fn check(report: &mut Report, settings: &Settings) {
    if settings.is_managed() && !settings.ready_path().exists() {
        return report.ok("postgres", "`roster serve` will start it");
    }
    let vault = match session::vault(settings) {
        Ok(vault) => vault,
        Err(error) => return report.fail("key", format_args!("{error:#}")),
    };
    let url = match session::service_url(settings, &vault).await {
        Ok(url) => url,
        Err(error) => return report.fail("postgres", format_args!("{error:#}")),
    };
    if let Some(owner) = &settings.database.url
        && let Err(error) = connect(owner).await
    {
        return report.fail("postgres", error);
    }
    match connect(&url).await {
        Ok(mut connection) => {
            if let Err(error) = look(report, &mut connection).await {
                report.fail("postgres", error);
            }
        }
        Err(error) => {
            return report.fail(
                "service role",
                format_args!("{error}; is it migrated with this key (`roster migrate`)?"),
            );
        }
    }
    match Session::open(settings).await {
        Ok(session) => {
            report.ok(
                "migrations",
                format_args!("cell {} has every one of this build", settings.cell),
            );
            report.ok("key", "it opens this database");
            match roster_store::restore::unchecked(session.cell.pool()).await {
                Ok(None) => {}
                Ok(Some(_)) => report.fail(
                    "restore",
                    "not checked against the erasure ledger: run `roster restore-check`",
                ),
                Err(error) => report.fail("restore", error),
            }
            session.close().await;
        }
        Err(error) => match error.downcast_ref::<StoreError>() {
            Some(StoreError::NotMigrated(_)) => report.fail("migrations", error),
            Some(StoreError::Vault(_)) => report.fail("key", error),
            Some(StoreError::TypeMismatch { .. }) => report.fail("event types", error),
            _ => report.fail("cell", error),
        },
    }
}

async fn connect(url: &SecretString) -> Result<PgConnection, String> {
    let options: PgConnectOptions = url
        .expose_secret()
        .parse()
        .map_err(|error: sqlx::Error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}

async fn look(report: &mut Report, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (version, number): (String, i32) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int",
    )
    .fetch_one(&mut *connection)
    .await?;
    if number.unsigned_abs() / 10_000 < OLDEST_POSTGRES.major {
        report.fail(
            "postgres",
            format_args!("{version} is too old: {OLDEST_POSTGRES} or newer is needed"),
        );
    } else {
        report.ok("postgres", version);
    }
    let before = SystemClock.now().0;
    let (there, fsync, commit, full_pages): (
        chrono::DateTime<chrono::Utc>,
        String,
        String,
        String,
    ) = sqlx::query_as(
        "SELECT clock_timestamp(),
                current_setting('fsync'),
                current_setting('synchronous_commit'),
                current_setting('full_page_writes')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let here = i64::midpoint(before, SystemClock.now().0);
    let skew = here - there.timestamp_micros();
    if skew.abs() > SKEW_MICROS {
        report.warn(
            "clock",
            format_args!("this machine and Postgres differ by {} ms", skew / 1_000),
        );
    } else {
        report.ok(
            "clock",
            format_args!("within {} ms of Postgres", skew.abs() / 1_000 + 1),
        );
    }
    let settings = [
        ("fsync", fsync),
        ("synchronous_commit", commit),
        ("full_page_writes", full_pages),
    ];
    let off: Vec<&str> = settings
        .iter()
        .filter(|(_, value)| value == "off")
        .map(|(name, _)| *name)
        .collect();
    if off.is_empty() {
        report.ok("durability", "Postgres flushes before it confirms");
    } else {
        report.warn(
            "durability",
            format_args!(
                "{} off: a crash of the machine can lose the log",
                off.join(", ")
            ),
        );
    }
    let method: String = sqlx::query_scalar("SELECT current_setting('wal_compression')")
        .fetch_one(&mut *connection)
        .await?;
    if migrate::PGLZ.contains(&method.as_str()) {
        report.warn(
            "page images",
            "pglz compresses them and takes much of the processor's time: `roster migrate` as a superuser sets another method for the \
             service's role",
        );
    } else {
        report.ok("page images", format_args!("wal_compression is {method}"));
    }
    rights(report, connection).await
}

/// The service appends; it can't change or remove what is written.
async fn rights(report: &mut Report, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (role, superuser): (String, bool) =
        sqlx::query_as("SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut *connection)
            .await?;
    let table: Option<bool> = sqlx::query_scalar("SELECT to_regclass('log_events') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if superuser {
        report.fail(
            "service role",
            format_args!("{role} is a superuser: set database.service_url to the cell's own role"),
        );
        return Ok(());
    }
    if table != Some(true) {
        report.fail(
            "service role",
            format_args!("{role} sees no log: run `roster migrate`"),
        );
        return Ok(());
    }
    let (may_append, may_change): (bool, bool) = sqlx::query_as(
        "SELECT has_table_privilege('log_events', 'SELECT') AND has_table_privilege('log_events', 'INSERT'),
                has_table_privilege('log_events', 'UPDATE') OR has_table_privilege('log_events', 'DELETE')
                    OR has_table_privilege('log_events', 'TRUNCATE')",
    )
    .fetch_one(&mut *connection)
    .await?;
    match (may_append, may_change) {
        (true, false) => report.ok(
            "service role",
            format_args!("{role} may append and read, not change"),
        ),
        (_, true) => report.fail("service role", format_args!("{role} may change the log")),
        (false, false) => report.fail(
            "service role",
            format_args!("{role} may not append: run `roster migrate`"),
        ),
    }
    Ok(())
}
