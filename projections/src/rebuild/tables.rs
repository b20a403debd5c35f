//! The tables of a projection beside the live ones: the same names in a schema of their own, so that every statement
//! serves both and a swap moves them with their indexes.
//!
//! `<cell>_next_<projection>` is being filled, `<cell>_old_<projection>` was live before. Each has a checkpoint of its own.

use std::sync::{Mutex, PoisonError};

use roster_store::checkpoints::Lease;
use sqlx::{Connection, Executor, PgConnection};

use super::{Rebuild, RebuildError};

/// How long a swap waits for readers; while it does, new readers wait behind it.
const LOCK_TIMEOUT: &str = "250ms";
/// What sorting for an index may take.
const INDEX_MEMORY: &str = "256MB";

/// Where the tables of a projection are.
#[derive(Clone, Debug)]
pub(crate) struct Schemas {
    /// Of the cell; also the service's role.
    pub(crate) live: String,
    pub(crate) next: String,
    pub(crate) old: String,
}

impl Schemas {
    pub(crate) fn of(live: &str, projection: &str) -> Self {
        Self {
            live: live.to_owned(),
            next: format!("{live}{}{projection}", super::NEXT),
            old: format!("{live}{}{projection}", super::OLD),
        }
    }

    /// Makes a schema with a checkpoint table and nothing else, over one that is there.
    pub(crate) async fn make(&self, owner: &mut PgConnection, name: &str) -> sqlx::Result<()> {
        let live = &self.live;
        let sql = format!(
            "DROP SCHEMA IF EXISTS {name} CASCADE;
             CREATE SCHEMA {name};
             GRANT USAGE ON SCHEMA {name} TO {live};
             CREATE TABLE {name}.log_checkpoints (LIKE {live}.log_checkpoints INCLUDING ALL);
             GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.log_checkpoints TO {live}"
        );
        owner.execute(sql.as_str()).await?;
        Ok(())
    }

    /// Writes down which streams tables leave out that are made now, or that were live until now.
    ///
    /// They keep that list with them: the live one may get shorter while they wait. A projection that reads another one's
    /// tables leaves out what these do: it may read them before somebody is there again, and be past that place then.
    pub(crate) async fn leave_out<P: Rebuild>(
        &self,
        owner: &mut PgConnection,
        name: &str,
    ) -> sqlx::Result<()> {
        let live = &self.live;
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {name}.view_parked (LIKE {live}.view_parked INCLUDING ALL);
             GRANT SELECT ON {name}.view_parked TO {live}"
        );
        owner.execute(sql.as_str()).await?;
        let sql = format!(
            "INSERT INTO {name}.view_parked (projection, stream_id, project_no, position, error_code, retry)
             SELECT $1, stream_id, project_no, position, error_code, retry
               FROM {live}.view_parked
              WHERE projection IN ($1, $2)
                 ON CONFLICT DO NOTHING"
        );
        sqlx::query(&sql)
            .bind(P::NAME)
            .bind(P::FOLLOWS)
            .execute(owner)
            .await?;
        Ok(())
    }

    /// Makes the next tables, empty. All but the one that is filled by COPY have their indexes at once.
    pub(crate) async fn make_next<P: Rebuild>(
        &self,
        owner: &mut PgConnection,
    ) -> Result<(), RebuildError> {
        let Self { live, next, .. } = self;
        self.make(owner, next).await?;
        self.leave_out::<P>(owner, next).await?;
        for table in P::TABLES {
            let sql = format!(
                "CREATE TABLE {next}.{table} (LIKE {live}.{table} INCLUDING ALL EXCLUDING INDEXES);
                 GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {next}.{table} TO {live}"
            );
            owner.execute(sql.as_str()).await?;
            self.copy_options(owner, table).await?;
            if *table != P::FILLED {
                self.build_indexes(owner, None, table, &|_| {}).await?;
            }
        }
        Ok(())
    }

    /// `LIKE` leaves out storage parameters and the statistics targets of columns.
    async fn copy_options(&self, owner: &mut PgConnection, table: &str) -> sqlx::Result<()> {
        let Self { live, next, .. } = self;
        let changes: Vec<String> = sqlx::query_scalar(
            "SELECT format('SET (%s)', option)
               FROM pg_class, unnest(reloptions) AS option
              WHERE oid = $1::regclass
             UNION ALL
             SELECT format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget)
               FROM pg_attribute
              WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0",
        )
        .bind(format!("{live}.{table}"))
        .fetch_all(&mut *owner)
        .await?;
        for change in changes {
            owner
                .execute(format!("ALTER TABLE {next}.{table} {change}").as_str())
                .await?;
        }
        Ok(())
    }

    /// Builds the indexes that the live table has, on both connections at once where there are two; a primary key is its
    /// index first.
    pub(crate) async fn build_indexes(
        &self,
        owner: &mut PgConnection,
        helper: Option<&mut PgConnection>,
        table: &str,
        begun: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), RebuildError> {
        let Self { live, next, .. } = self;
        let indexes: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT r.relname::text,
                    pg_get_indexdef(i.indexrelid),
                    CASE c.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END
               FROM pg_index i
               JOIN pg_class r ON r.oid = i.indexrelid
               LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
              WHERE i.indrelid = $1::regclass
              ORDER BY pg_relation_size(r.oid) DESC",
        )
        .bind(format!("{live}.{table}"))
        .fetch_all(&mut *owner)
        .await?;
        let (there, here) = (
            format!(" ON {live}.{table} "),
            format!(" ON {next}.{table} "),
        );
        if indexes.iter().any(|(_, sql, _)| !sql.contains(&there)) {
            return Err(RebuildError::Changed);
        }
        let waiting = Mutex::new(indexes.iter());
        let build = async |connection: &mut PgConnection| {
            let memory = format!("SET maintenance_work_mem = '{INDEX_MEMORY}'");
            connection.execute(memory.as_str()).await?;
            loop {
                let next = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next();
                let Some((name, sql, _)) = next else {
                    return Ok::<_, sqlx::Error>(());
                };
                begun(name);
                connection
                    .execute(sql.replace(&there, &here).as_str())
                    .await?;
            }
        };
        match helper {
            Some(helper) => {
                futures::try_join!(build(&mut *owner), build(helper))?;
            }
            None => build(&mut *owner).await?,
        }
        for (name, _, constraint) in &indexes {
            if let Some(kind) = constraint {
                let sql = format!(
                    "ALTER TABLE {next}.{table} ADD CONSTRAINT {name} {kind} USING INDEX {name}"
                );
                owner.execute(sql.as_str()).await?;
            }
        }
        Ok(())
    }

    /// Whether a schema is there.
    pub(crate) async fn exists(owner: &mut PgConnection, schema: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
            .bind(schema)
            .fetch_one(owner)
            .await
    }

    /// Where the tables of a schema stand, and which version of the projection wrote them.
    pub(crate) async fn checkpoint<P: Rebuild>(
        owner: &mut PgConnection,
        schema: &str,
    ) -> sqlx::Result<Option<(i64, i32)>> {
        let sql = format!("SELECT position, version FROM {schema}.log_checkpoints WHERE name = $1");
        sqlx::query_as(&sql)
            .bind(P::NAME)
            .fetch_optional(owner)
            .await
    }

    /// Makes the tables of a schema the live ones, which become the old ones, and moves the checkpoint with them.
    ///
    /// One transaction; `false` where readers did not let it in time, or where the lease was lost: nothing has changed then.
    pub(crate) async fn swap<P: Rebuild>(
        &self,
        owner: &mut PgConnection,
        from: &str,
        lease: Lease,
        position: i64,
    ) -> Result<bool, RebuildError> {
        match self.try_swap::<P>(owner, from, lease, position).await {
            Err(RebuildError::Database(error)) if is_locked(&error) => Ok(false),
            ended => ended,
        }
    }

    async fn try_swap<P: Rebuild>(
        &self,
        owner: &mut PgConnection,
        from: &str,
        lease: Lease,
        position: i64,
    ) -> Result<bool, RebuildError> {
        let Self { live, next, old } = self;
        // A roll-back takes its tables out of `old`, so the live ones have to wait for the name elsewhere.
        let spare = if from == old { next } else { old };
        let mut transaction = owner.begin().await?;
        let tables: Vec<String> = P::TABLES
            .iter()
            .map(|table| format!("{live}.{table}"))
            .collect();
        let sql = format!(
            "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
             LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            tables.join(", ")
        );
        transaction.execute(sql.as_str()).await?;
        for table in P::TABLES {
            if columns(&mut transaction, live, table).await?
                != columns(&mut transaction, from, table).await?
            {
                return Err(RebuildError::Changed);
            }
            let sql = format!(
                "ALTER TABLE {live}.{table} SET SCHEMA {spare};
                 ALTER TABLE {from}.{table} SET SCHEMA {live}"
            );
            transaction.execute(sql.as_str()).await?;
        }
        let sql = format!(
            "INSERT INTO {spare}.log_checkpoints (name, version, position)
             SELECT name, version, position FROM {live}.log_checkpoints WHERE name = $1"
        );
        sqlx::query(&sql)
            .bind(P::NAME)
            .execute(&mut *transaction)
            .await?;
        let sql = format!(
            "UPDATE {live}.log_checkpoints
                SET version = $2,
                    position = $3,
                    owner = NULL,
                    leased_till = 'epoch',
                    updated_at = clock_timestamp()
              WHERE name = $1 AND epoch = $4"
        );
        let moved = sqlx::query(&sql)
            .bind(P::NAME)
            .bind(P::VERSION)
            .bind(position)
            .bind(lease.epoch)
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        self.leave_out::<P>(&mut transaction, spare).await?;
        // What the new tables lack is folded by the runner that goes on with them; what may have failed, it tries again.
        let sql = format!(
            "INSERT INTO {live}.view_parked
             SELECT * FROM {from}.view_parked
                 ON CONFLICT DO NOTHING;
             UPDATE {live}.view_parked SET retry = true WHERE projection = '{}'",
            P::NAME
        );
        transaction.execute(sql.as_str()).await?;
        transaction
            .execute(format!("DROP SCHEMA {from} CASCADE").as_str())
            .await?;
        if spare != old {
            transaction
                .execute(format!("ALTER SCHEMA {spare} RENAME TO {old}").as_str())
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}

async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT format('%s %s', attname, format_type(atttypid, atttypmod))
           FROM pg_attribute
          WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
          ORDER BY attnum",
    )
    .bind(format!("{schema}.{table}"))
    .fetch_all(connection)
    .await
}

/// `lock_not_available`, or a deadlock with a reader of several tables.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["55P03", "40P01"].contains(&code.as_ref()))
}
