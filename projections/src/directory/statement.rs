//! The statement that writes customers, counts and field names and moves the checkpoint: all of it, or nothing where the
//! lease was lost.
//!
//! It has the parts that a page has rows for: starting a part that finds nothing to do costs as much as writing several
//! rows. Rows come as one array a column. Expanded side by side in a select list, they are not copied first.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, Executor, Postgres, Type};
use uuid::Uuid;

use crate::customers::copy::COLUMNS;
use crate::customers::fold::{Folded, Listed};
use crate::customers::write::Arrays;
use crate::data_sources::Counts;
use crate::page::PageError;
use crate::runner::{LEASE_SECONDS, Step};

/// $1 to $5 name, epoch, from, to, lease seconds. The commit need not wait for the disk: rows and checkpoint fall back
/// together, and the log is there.
const FENCE: &str = "
WITH fence AS (
    UPDATE log_checkpoints
       SET position = $4,
           leased_till = clock_timestamp() + make_interval(secs => $5),
           updated_at = clock_timestamp()
     WHERE name = $1
       AND epoch = $2
       AND position = $3
 RETURNING set_config('synchronous_commit', 'off', true)
)";

/// What becomes of a customer who has a row, or of a row that has the id.
const REPLACE: &str = "
        ON CONFLICT (project_no, customer_user_id) DO UPDATE
       SET created_at = EXCLUDED.created_at,
           updated_at = EXCLUDED.updated_at,
           bucket = EXCLUDED.bucket,
           position = EXCLUDED.position,
           stream_id = EXCLUDED.stream_id,
           version = EXCLUDED.version,
           source_kind = EXCLUDED.source_kind,
           enabled = EXCLUDED.enabled,
           display_name = EXCLUDED.display_name,
           profile = EXCLUDED.profile,
           connector_enabled = EXCLUDED.connector_enabled,
           source_provider = EXCLUDED.source_provider,
           source_connection = EXCLUDED.source_connection,
           source_external_id = EXCLUDED.source_external_id,
           source_synced_at = EXCLUDED.source_synced_at
     WHERE v.position <= EXCLUDED.position";

const ADD: &str = "
        ON CONFLICT (project_no, source_kind, source_provider, source_connection) DO UPDATE
       SET count = v.count + EXCLUDED.count,
           enabled_count = v.enabled_count + EXCLUDED.enabled_count,
           last_upserted_at = GREATEST(v.last_upserted_at, EXCLUDED.last_upserted_at),
           position = EXCLUDED.position";

/// What rows that were not read are in the counts.
const WENT: &str = "
 RETURNING v.project_no,
           v.source_kind,
           v.source_provider,
           v.source_connection,
           -1::bigint,
           -v.enabled::integer::bigint,
           'epoch'::timestamptz,
           $4::bigint";

/// A statement with its arguments.
pub(super) struct Statement {
    sql: String,
    arguments: PgArguments,
}

impl Statement {
    /// What a page does.
    pub(super) fn of(folded: &Folded, step: Step) -> Result<Self, PageError> {
        let mut statement = Self {
            sql: FENCE.into(),
            arguments: PgArguments::default(),
        };
        statement.argument(step.name)?;
        statement.argument(step.epoch)?;
        statement.argument(step.from)?;
        statement.argument(step.to)?;
        statement.argument(LEASE_SECONDS)?;
        // Without a look for a row that may be there, an insert costs two thirds.
        statement.customers("inserts", &folded.inserts, "")?;
        statement.customers("upserts", &folded.upserts, REPLACE)?;
        let gone = folded.deletes.iter();
        statement.deletes(
            "deletes",
            gone.map(|gone| (gone.project_no, gone.stream)),
            "",
        )?;
        statement.deletes("went", folded.unread.iter().copied(), WENT)?;
        statement.counts(folded)?;
        statement.fields(folded)?;
        statement.sql.push_str("\nSELECT true FROM fence");
        Ok(statement)
    }

    pub(super) async fn run<'e>(
        self,
        executor: impl Executor<'e, Database = Postgres>,
    ) -> Result<(), PageError> {
        let query = sqlx::query_scalar_with(&self.sql, self.arguments);
        let kept: Option<bool> = query.fetch_optional(executor).await?;
        kept.map(|_| ()).ok_or(PageError::Fenced)
    }

    fn customers(
        &mut self,
        part: &str,
        rows: &[(Uuid, Listed)],
        conflict: &str,
    ) -> Result<(), PageError> {
        if rows.is_empty() {
            return Ok(());
        }
        let arrays = Arrays::of(rows);
        let columns = [
            self.array(arrays.created_at)?,
            self.array(arrays.updated_at)?,
            self.array(arrays.bucket)?,
            self.array(arrays.position)?,
            self.array(arrays.stream)?,
            self.array(arrays.project)?,
            self.array(arrays.version)?,
            self.array(arrays.kind)?,
            self.array(arrays.enabled)?,
            self.array(arrays.id)?,
            self.array(arrays.display_name)?,
            self.array(arrays.profile)?,
            self.array(arrays.connector_enabled)?,
            self.array(arrays.provider)?,
            self.array(arrays.connection)?,
            self.array(arrays.external_id)?,
            self.array(arrays.synced_at)?,
        ];
        self.insert(part, "view_customers", COLUMNS, &columns, conflict);
        Ok(())
    }

    fn deletes(
        &mut self,
        part: &str,
        gone: impl Iterator<Item = (i32, Uuid)>,
        returning: &str,
    ) -> Result<(), PageError> {
        let (projects, streams): (Vec<i32>, Vec<Uuid>) = gone.unzip();
        if streams.is_empty() {
            return Ok(());
        }
        let (projects, streams) = (self.argument(projects)?, self.argument(streams)?);
        self.part(&format!(
            ", {part} AS (
    DELETE FROM view_customers v
     WHERE EXISTS (SELECT FROM fence)
       AND v.ctid = ANY (ARRAY(
           SELECT found.ctid
             FROM unnest({projects}, {streams}) AS gone(project_no, stream_id)
            CROSS JOIN LATERAL (
                  SELECT o.ctid
                    FROM view_customers o
                   WHERE o.stream_id = gone.stream_id
                     AND o.project_no + 0 = gone.project_no
                  OFFSET 0) found)){returning}
)"
        ));
        Ok(())
    }

    fn counts(&mut self, folded: &Folded) -> Result<(), PageError> {
        if folded.counts.is_empty() && folded.unread.is_empty() {
            return Ok(());
        }
        let counts = Counts::of(folded);
        let columns = [
            self.array(counts.project)?,
            self.array(counts.kind)?,
            self.array(counts.provider)?,
            self.array(counts.connection)?,
            self.array(counts.count)?,
            self.array(counts.enabled)?,
            self.array(counts.upserted_at)?,
            "$4".into(),
        ];
        let names = "project_no, source_kind, source_provider, source_connection, count, enabled_count, last_upserted_at, \
                     position";
        if folded.unread.is_empty() {
            self.insert("counts", "view_data_sources", names, &columns, ADD);
            return Ok(());
        }
        let columns = columns.join(", ");
        self.part(&format!(
            ", counts AS (
    INSERT INTO view_data_sources AS v ({names})
    SELECT c.project_no,
           c.source_kind,
           c.source_provider,
           c.source_connection,
           sum(c.count)::bigint,
           sum(c.enabled_count)::bigint,
           max(c.last_upserted_at),
           $4
      FROM (SELECT u.*
              FROM (SELECT {columns}) AS u({names})
             UNION ALL
            SELECT * FROM went) AS c
     WHERE EXISTS (SELECT FROM fence)
     GROUP BY c.project_no, c.source_kind, c.source_provider, c.source_connection{ADD}
)"
        ));
        Ok(())
    }

    fn fields(&mut self, folded: &Folded) -> Result<(), PageError> {
        let (projects, names): (Vec<i32>, Vec<&str>) = folded.fields.iter().unzip();
        if names.is_empty() {
            return Ok(());
        }
        let columns = [self.array(projects)?, self.array(names)?];
        let conflict = "\n        ON CONFLICT DO NOTHING";
        self.insert(
            "fields",
            "view_profile_fields",
            "project_no, name",
            &columns,
            conflict,
        );
        Ok(())
    }

    fn insert(&mut self, part: &str, table: &str, names: &str, columns: &[String], conflict: &str) {
        let columns = columns.join(", ");
        self.part(&format!(
            ", {part} AS (
    INSERT INTO {table} AS v ({names})
    SELECT u.*
      FROM (SELECT {columns}) AS u
     WHERE EXISTS (SELECT FROM fence){conflict}
)"
        ));
    }

    /// Adds one more part.
    fn part(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// A column of a part: what a select list has for it.
    fn array<'q, T>(&mut self, values: Vec<T>) -> Result<String, PageError>
    where
        Vec<T>: Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        Ok(format!("unnest({})", self.argument(values)?))
    }

    /// Adds an argument and says how it is called.
    fn argument<'q, T>(&mut self, value: T) -> Result<String, PageError>
    where
        T: Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(format!("${}", self.arguments.len()))
    }
}
