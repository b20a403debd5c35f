//! Directories that were filled through the streamed import of a real server, and how long that took.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::Bench;
use super::database::Database;
use super::http::{Connection, Target};
use super::people;
use super::server::Server;

/// How long one import may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// A database with a server on it.
pub(super) struct Directory {
    pub(super) database: Database,
    pub(super) server: Server,
}

impl Directory {
    /// An empty database with a server on it, and the schema of the people in its project.
    pub(super) async fn open(bench: &Bench, name: &str) -> anyhow::Result<Self> {
        let database = Database::create(&bench.machine, name).await?;
        let mut server =
            Server::roster(&bench.machine, &bench.out.join(name), &database.url()).await?;
        server.target = server.target.project("bench");
        write_schema(&server.target).await?;
        Ok(Self { database, server })
    }

    /// Stops the server and drops the database.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        self.database.drop().await
    }
}

/// Writes the schema of the people into a project.
pub(super) async fn write_schema(target: &Target) -> anyhow::Result<()> {
    let schema = json!({ "schema": people::definition() });
    target
        .call("schema/upsert", &schema)
        .await
        .context("schema/upsert")?;
    Ok(())
}

/// A directory of so many customers that can be searched.
pub(super) async fn filled(bench: &Bench, name: &str, rows: u32) -> anyhow::Result<Directory> {
    let directory = Directory::open(bench, name).await?;
    let file = write_file(&bench.out.join(format!("{name}.csv")), 0..rows, 0).await?;
    let import = import(&directory.server.target, &file, rows).await?;
    anyhow::ensure!(
        import.counts["created"] == json!(rows),
        "the import ended otherwise: {}",
        import.counts
    );
    directory.server.caught_up().await?;
    tokio::fs::remove_file(&file).await?;
    Ok(directory)
}

/// Writes a file of people.
pub(super) async fn write_file(
    path: &Path,
    numbers: Range<u32>,
    edition: u32,
) -> anyhow::Result<PathBuf> {
    let mut file =
        tokio::io::BufWriter::with_capacity(1 << 20, tokio::fs::File::create(path).await?);
    for piece in people::csv(numbers, edition) {
        file.write_all(piece.as_bytes()).await?;
    }
    file.flush().await?;
    Ok(path.to_owned())
}

/// How an import went.
#[derive(Debug)]
pub(super) struct Imported {
    /// From the first byte sent until the import reads as completed and the list counts all of it.
    pub(super) listed: Duration,
    /// From the first byte sent until the whole file was taken.
    pub(super) taken: Duration,
    /// What `users/imports/get` answers in the end.
    pub(super) counts: Value,
}

/// Streams a file to the import and waits until it reads as completed and the list has at least so many customers.
///
/// Both come from one projection, so the list is asked once, after the import, which costs the machine less.
pub(super) async fn import(target: &Target, file: &Path, total: u32) -> anyhow::Result<Imported> {
    let started = Instant::now();
    let id = target
        .import(file, "csv_file")
        .await
        .context("users/import-csv")?;
    let taken = started.elapsed();
    let mut connection = Connection::open(target.address).await?;
    let progress = target.request("users/imports/get", &json!({ "import_id": id }));
    let list = target.request("users/list", &json!({ "page_size": 1 }));
    loop {
        let counts = ask(&mut connection, &progress)
            .await
            .context("users/imports/get")?;
        let status = counts["status"].as_str().unwrap_or_default();
        if !["pending", "running"].contains(&status) {
            anyhow::ensure!(
                status == "completed",
                "the import ended otherwise: {counts}"
            );
            let listed = ask(&mut connection, &list).await.context("users/list")?;
            let listed = listed["total"].as_u64();
            anyhow::ensure!(
                listed >= Some(total.into()),
                "{listed:?} customers are listed, not {total}"
            );
            return Ok(Imported {
                listed: started.elapsed(),
                taken,
                counts,
            });
        }
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "the import does not end: {counts}"
        );
        // A hundredth of the time that passed neither costs nor blurs much.
        let pause = started.elapsed() / 100;
        tokio::time::sleep(pause.clamp(Duration::from_millis(5), Duration::from_millis(250))).await;
    }
}

/// One answer on a kept connection.
pub(super) async fn ask(connection: &mut Connection, request: &[u8]) -> anyhow::Result<Value> {
    let status = connection.send(request).await?;
    let body = connection.body();
    anyhow::ensure!(
        status < 300,
        "status {status}: {}",
        String::from_utf8_lossy(body)
    );
    Ok(serde_json::from_slice(body)?)
}
