//! What is looked at every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roster_domain::stream::{claim_kind, kind};
use serde::Serialize;
use sqlx::PgConnection;

use super::caller::Tally;
use crate::bench::machine;
use crate::bench::server::Server;

/// What callers were told and what there is, at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// Seconds since the load began.
    pub(super) second: f64,
    /// Commands that were acknowledged until then.
    pub(super) commands: u64,
    /// Resident memory of the server in MiB.
    pub(super) memory_mib: f64,
    /// File descriptors of the server.
    pub(super) descriptors: f64,
    /// Connections of the server to Postgres.
    pub(super) connections: f64,
    /// Customers and links that there are by what callers were told.
    pub(super) told: (i64, i64),
    /// Customers and links that there are by the log.
    pub(super) held: (i64, i64),
    /// Customers in the customer index, customers in the search index, and links, as they are read.
    pub(super) read: (i64, i64, i64),
    /// Claims by kind.
    pub(super) claims: BTreeMap<i16, i64>,
    /// Events in the log.
    pub(super) events: i64,
    /// Bytes of all events, as they are stored.
    pub(super) log_bytes: i64,
    /// MiB of each table with its indexes.
    pub(super) tables: BTreeMap<String, f64>,
}

impl Sample {
    /// For people at a terminal.
    pub(super) fn line(&self) -> String {
        format!(
            "{:>6.0} s  {:>9} commands  {:>6.1} MiB  {:>4} descriptors  {:>3} connections  {:>6} customers  {:>7} claims",
            self.second,
            self.commands,
            self.memory_mib,
            self.descriptors,
            self.connections,
            self.read.0,
            self.claims.values().sum::<i64>()
        )
    }
}

/// Takes samples of a server and its database.
pub(super) struct Sampler {
    connection: PgConnection,
    project_no: i32,
    process: Option<u32>,
    tally: Arc<Tally>,
    events: i64,
    log_bytes: i64,
}

impl Sampler {
    /// A sampler of the server's project, with a connection of its own.
    pub(super) async fn new(
        mut connection: PgConnection,
        server: &Server,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let scope = server.target.scope();
        let project_no: i32 = sqlx::query_scalar(
            "SELECT project_no FROM projects WHERE account_id = $1 AND org_id = $2 AND project_id = $3",
        )
        .bind(scope.account_id)
        .bind(scope.org_id)
        .bind(scope.project_id)
        .fetch_one(&mut connection)
        .await?;
        Ok(Self {
            connection,
            project_no,
            process: server.process_id(),
            tally: Arc::clone(tally),
            events: 0,
            log_bytes: 0,
        })
    }

    /// What callers were told.
    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Looks at everything.
    pub(super) async fn take(&mut self, since: Duration) -> anyhow::Result<Sample> {
        let (commands, told) = (self.tally.commands(), self.tally.population());
        // One statement sees one moment of the log and its read tables.
        let counts: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM log_streams WHERE project_no = $3 AND kind = $1 AND flags & 1 = 0),
                    (SELECT count(*) FROM log_claims WHERE project_no = $3 AND kind = $2),
                    (SELECT count(*) FROM view_customers WHERE project_no = $3),
                    (SELECT count(*) FROM view_customer_search WHERE project_no = $3),
                    (SELECT count(*) FROM view_identities WHERE project_no = $3),
                    (SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND usename <> current_user)",
        )
        .bind(kind::CUSTOMER)
        .bind(claim_kind::CONNECTOR_IDENTITY)
        .bind(self.project_no)
        .fetch_one(&mut self.connection)
        .await?;
        let claims: Vec<(i16, i64)> = sqlx::query_as(
            "SELECT kind, count(*) FROM log_claims WHERE project_no = $1 GROUP BY kind",
        )
        .bind(self.project_no)
        .fetch_all(&mut self.connection)
        .await?;
        let (events, bytes): (i64, i64) = sqlx::query_as(
            "SELECT COALESCE(max(position), $1), COALESCE(sum(length(meta) + length(payload) + length(digest)), 0)
               FROM log_events WHERE position > $1",
        )
        .bind(self.events)
        .fetch_one(&mut self.connection)
        .await?;
        self.events = events;
        self.log_bytes += bytes;
        let tables: Vec<(String, f64)> = sqlx::query_as(
            "SELECT relname::text, pg_total_relation_size(oid) / 1048576.0::float8
               FROM pg_class
              WHERE relnamespace = 'roster_main'::regnamespace AND relkind = 'r'",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let (held, held_links, listed, searched, linked, connections) = counts;
        let process = self.process.unwrap_or_default();
        Ok(Sample {
            second: since.as_secs_f64(),
            commands,
            memory_mib: machine::memory_mib(process),
            descriptors: machine::descriptors(process),
            connections: f64::from(i32::try_from(connections)?),
            told,
            held: (held, held_links),
            read: (listed, searched, linked),
            claims: claims.into_iter().collect(),
            events,
            log_bytes: self.log_bytes,
            tables: tables.into_iter().collect(),
        })
    }
}
