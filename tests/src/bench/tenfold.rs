//! `tenfold_memory`: what the identity memory takes where a cell has ten times as many identities as the other rows
//! measure, so ten million by default.
//!
//! The read tables are filled by one statement each, without their indexes: what the memory takes of a row does not depend on
//! how the row came there.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

use super::Bench;
use super::database::Database;
use super::identity::{CHANNEL, Linked, reached, report_memory};
use super::report::Report;

/// What this stage measures.
pub(super) const ROWS: &[&str] = &["tenfold_memory"];

/// Identities by those of the other rows.
const FOLD: u32 = 10;

/// Fills the read tables of an empty log, and the memory from them.
pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let identities = bench.plan.rows.saturating_mul(FOLD);
    let database = Database::create(&bench.machine, "tenfold").await?;
    let open = Arc::new(database.open().await?);
    let mut connection = database.connect().await?;
    fill(&mut connection, open.project.no, identities).await?;
    connection.close().await?;
    let linked = Linked::over(database, open, identities).await?;
    let stop = CancellationToken::new();
    let started = Instant::now();
    let cache = linked.cache(&stop);
    reached(&cache, linked.open.cell.head_position().await?).await?;
    let took = started.elapsed();
    report_memory(
        "tenfold_memory",
        &linked,
        &cache,
        &format!("filled in {:.0} s", took.as_secs_f64()),
        report,
    );
    stop.cancel();
    linked.open.close().await;
    linked.database.drop().await
}

async fn fill(
    connection: &mut PgConnection,
    project_no: i32,
    identities: u32,
) -> anyhow::Result<()> {
    let bare = "
        ALTER TABLE view_customers DROP CONSTRAINT view_customers_pkey;
        ALTER TABLE view_identities DROP CONSTRAINT view_identities_pkey;
        DO $$
        DECLARE
            known text;
        BEGIN
            FOR known IN SELECT indexname FROM pg_indexes
                          WHERE schemaname = current_schema() AND tablename IN ('view_customers', 'view_identities')
            LOOP
                EXECUTE format('DROP INDEX %I', known);
            END LOOP;
        END $$;
        ALTER TABLE view_customers SET UNLOGGED;
        ALTER TABLE view_identities SET UNLOGGED";
    connection.execute(bare).await?;
    let customers = "
        INSERT INTO view_customers (
               created_at, updated_at, bucket, position, stream_id, project_no, version, source_kind, enabled,
               customer_user_id, display_name, profile, connector_enabled, source_provider, source_connection)
        SELECT 'epoch', 'epoch', 1, 0, md5(n::text)::uuid, $1, 1, 0, true, 'customer-' || n, 'Person ' || n,
               json_build_object('email', 'person.' || n || '@example.com', 'full_name', 'Person ' || n), '{}', '', ''
          FROM generate_series(1, $2) n";
    let links = "
        INSERT INTO view_identities (
               project_no, channel, external_user_id, stream_id, customer_user_id, linked_by, linked_at, position, haystack)
        SELECT $1, $3, 'U' || to_hex(n) || 'a7c3f1e2', md5(n::text)::uuid, 'customer-' || n, 0, 'epoch', 0, ''
          FROM generate_series(1, $2) n";
    for (statement, names_channel) in [(customers, false), (links, true)] {
        let query = sqlx::query(statement)
            .bind(project_no)
            .bind(i64::from(identities));
        let query = if names_channel {
            query.bind(CHANNEL)
        } else {
            query
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
