//! Limit L1: binary COPY of the same events, streams and claims into equal tables with their indexes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sqlx::{Connection, Executor, PgConnection};
use tokio::io::AsyncWriteExt;

/// The schema of the tables that limits are measured with.
pub(super) const SCHEMA: &str = "bench_limit";
/// What an append writes to.
const TABLES: [(&str, &str); 3] = [
    ("log_events", "position"),
    ("log_streams", "last_position"),
    ("log_claims", "stream_id"),
];

/// The log of a database as files.
#[derive(Debug)]
pub(super) struct LogCopy {
    folder: PathBuf,
    /// Events in it.
    pub(super) events: usize,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// Makes empty tables like those of the log, with their indexes and storage.
pub(super) async fn equal_tables(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection
        .execute(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE").as_str())
        .await?;
    connection
        .execute(format!("CREATE SCHEMA {SCHEMA}").as_str())
        .await?;
    for (table, _) in TABLES {
        equal_table(connection, table).await?;
    }
    Ok(())
}

/// Makes one empty table like a table of the cell: `LIKE` leaves out only the fill factor.
pub(super) async fn equal_table(connection: &mut PgConnection, table: &str) -> anyhow::Result<()> {
    connection
        .execute(format!("CREATE TABLE {SCHEMA}.{table} (LIKE {table} INCLUDING ALL)").as_str())
        .await?;
    let options: Option<Vec<String>> =
        sqlx::query_scalar("SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)")
            .bind(table)
            .fetch_one(&mut *connection)
            .await?;
    for option in options.into_iter().flatten() {
        connection
            .execute(format!("ALTER TABLE {SCHEMA}.{table} SET ({option})").as_str())
            .await?;
    }
    Ok(())
}

impl LogCopy {
    /// Copies the log of a database to files, in the order in which it was written.
    pub(super) async fn take(connection: &mut PgConnection, folder: &Path) -> anyhow::Result<Self> {
        tokio::fs::create_dir_all(folder).await?;
        let mut bytes = 0;
        for (table, order) in TABLES {
            // Claims come in the order of their streams, whose ids grow with time.
            let sql =
                format!("COPY (SELECT * FROM {table} ORDER BY {order}) TO STDOUT (FORMAT binary)");
            let mut file =
                tokio::io::BufWriter::new(tokio::fs::File::create(folder.join(table)).await?);
            let mut rows = connection.copy_out_raw(&sql).await?;
            while let Some(piece) = rows.try_next().await? {
                bytes += piece.len() as u64;
                file.write_all(&piece).await?;
            }
            drop(rows);
            file.flush().await?;
        }
        let events: i64 = sqlx::query_scalar("SELECT count(*) FROM log_events")
            .fetch_one(connection)
            .await?;
        Ok(Self {
            folder: folder.to_owned(),
            events: usize::try_from(events)?,
            bytes,
        })
    }

    /// Copies the files into the equal tables, all in one transaction; the time of it, without emptying them first.
    pub(super) async fn replay(&self, connection: &mut PgConnection) -> anyhow::Result<Duration> {
        for (table, _) in TABLES {
            connection
                .execute(format!("TRUNCATE {SCHEMA}.{table}").as_str())
                .await?;
        }
        connection.execute("CHECKPOINT").await?;
        let started = Instant::now();
        let mut transaction = connection.begin().await?;
        for (table, _) in TABLES {
            let file = tokio::fs::File::open(self.folder.join(table)).await?;
            let mut copy = transaction
                .copy_in_raw(&format!("COPY {SCHEMA}.{table} FROM STDIN (FORMAT binary)"))
                .await?;
            copy.read_from(tokio::io::BufReader::with_capacity(1 << 20, file))
                .await?;
            copy.finish().await?;
        }
        transaction.commit().await?;
        Ok(started.elapsed())
    }

    /// Removes the files.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        Ok(tokio::fs::remove_dir_all(&self.folder).await?)
    }
}
