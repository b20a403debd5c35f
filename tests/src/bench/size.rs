//! `cost_at_size`, `cost_at_size_64`: what one upsert of an existing customer costs over HTTP, until it can be read, in a
//! directory of five million customers, against the same in one of fifty thousand; one after another on an idle server, and
//! over 64 connections.
//!
//! Every log is filled by the store's own appends, so that each customer has its key, its sealed state and its claims, and
//! the read tables by the rebuild, which copies their rows in and builds the indexes last.

use std::sync::Arc;
use std::time::Instant;

use roster_projections::rebuild::{Stage, Target as Tables, rebuild};
use sqlx::{Connection, Executor};

use super::database::Database;
use super::http::Connection as Http;
use super::import::Directory;
use super::load::{Mix, Upsert, closed_loop};
use super::report::{Report, Target};
use super::server::Server;
use super::stats::median;
use super::{Bench, say};
use crate::plot::{Plot, Scale, Series};

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["cost_at_size", "cost_at_size_64"];

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;

/// A directory of a size with a server on it.
struct Filled {
    customers: u32,
    database: Database,
    server: Server,
    /// Milliseconds of an upsert on the idle server, the middle one of each run.
    alone: Vec<f64>,
    /// Milliseconds of the server for an upsert among others, the mean of each run.
    among: Vec<f64>,
}

/// All sizes are there at once, and in each run every one has its turn.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let mut sizes = Vec::new();
    for customers in &bench.plan.sizes {
        sizes.push(Box::pin(Filled::fill(bench, *customers)).await?);
    }
    for _ in 0..bench.plan.runs {
        for size in &mut sizes {
            size.measure(bench).await?;
        }
    }
    plot(bench, &sizes)?;
    if let (Some(small), Some(large)) = (sizes.first(), sizes.last()) {
        let middle: Vec<String> = sizes
            .iter()
            .map(|size| format!("{} {:.2} ms", size.customers, median(&size.alone)))
            .collect();
        let pairs = |of: fn(&Filled) -> &[f64]| -> Vec<(f64, f64)> {
            of(large)
                .iter()
                .copied()
                .zip(of(small).iter().copied())
                .collect()
        };
        let alone = Target::time(ROWS[0], "the smallest").reach(1.5, 1.15);
        report.add(alone, &pairs(|size| &size.alone), Some(middle.join(", ")));
        let among = Target::time(ROWS[1], "the smallest").reach(1.5, 1.15);
        report.add(among, &pairs(|size| &size.among), None);
    }
    for size in sizes {
        size.server.stop().await?;
        size.database.drop().await?;
    }
    Ok(())
}

impl Filled {
    async fn fill(bench: &Bench, customers: u32) -> anyhow::Result<Self> {
        let started = Instant::now();
        let name = format!("size_{customers}");
        let Directory { database, server } = Directory::open(bench, &name).await?;
        let target = server.target.clone();
        server.stop().await?;
        let open = Arc::new(database.open_in(&target.scope()).await?);
        open.fill(0..customers).await?;
        let head = open.cell.head_position().await?;
        open.close().await;
        let appended = started.elapsed();
        let place = database.place()?;
        let silent = |_: Stage| {};
        let customers_first = async {
            rebuild(&place, Tables::Directory, &silent).await?;
            rebuild(&place, Tables::Search, &silent).await
        };
        let audit = rebuild(&place, Tables::Audit, &silent);
        tokio::try_join!(customers_first, audit)?;
        let mut connection = database.connect().await?;
        // Nobody was erased.
        sqlx::query(
            "INSERT INTO log_checkpoints (name, version, position) VALUES ('erasures', 1, $1)
                     ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position",
        )
        .bind(head)
        .execute(&mut connection)
        .await?;
        connection.execute("VACUUM ANALYZE").await?;
        connection.close().await?;
        let mut server =
            Server::roster(&bench.machine, &bench.out.join(&name), &database.url()).await?;
        server.target = server.target.project("bench");
        server.caught_up().await?;
        say(&format!(
            "{customers} customers: appended in {:.0} s, ready after {:.0} s",
            appended.as_secs_f64(),
            started.elapsed().as_secs_f64()
        ));
        Ok(Self {
            customers,
            database,
            server,
            alone: Vec::new(),
            among: Vec::new(),
        })
    }

    async fn measure(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let plan = &bench.plan;
        let target = &self.server.target;
        let draft = Upsert::of(target);
        let mix = Mix::of_existing(self.customers);
        self.database.quiet().await?;
        let loaded = closed_loop(
            target.address,
            &draft,
            mix,
            CONNECTIONS,
            plan.warm_up,
            plan.load / 3,
        )
        .await?;
        anyhow::ensure!(loaded.failed == 0 && loaded.done > 0, "{}", loaded.tail());
        self.among.push(1e3 / loaded.rate(plan.load / 3));
        self.server.caught_up().await?;
        let mut http = Http::open(target.address).await?;
        let (mut times, mut request) = (Vec::new(), Vec::new());
        for _ in 0..plan.singles {
            let (number, mark) = mix.pick();
            draft.write(number, mark, &mut request);
            times.push(http.timed(&request).await?);
        }
        self.alone.push(median(&times));
        Ok(())
    }
}

fn plot(bench: &Bench, sizes: &[Filled]) -> anyhow::Result<()> {
    let points = |of: fn(&Filled) -> &[f64]| {
        let point = |size: &Filled| (f64::from(size.customers), median(of(size)));
        sizes.iter().map(point).collect()
    };
    bench.draw(
        "cost-by-size",
        &Plot {
            title: "One upsert of an existing customer by size of the directory".into(),
            across: "customers".into(),
            scale: Scale::Logarithmic,
            up: "ms".into(),
            series: vec![
                Series::line("alone, until readable, p50", points(|size| &size.alone)),
                Series::line("64 connections, time by rate", points(|size| &size.among)),
            ],
        },
    )
}
