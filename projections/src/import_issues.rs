//! What went wrong with which row of an import: table `view_import_issues`.
//!
//! The detail is copied as it was sealed; opening it is the reader's business (`Cell::open_many`, part `issue`).

use std::collections::BTreeSet;

use roster_domain::import::{Severity, StoredIssue};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::customers::write::storable;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportIssueRow {
    /// Its place among the findings of its severity.
    pub place: IssuePlace,
    /// The finding; its detail is sealed.
    pub issue: StoredIssue,
}

/// The place of a finding: rows come in the order of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuePlace {
    /// Log position of the chunk.
    pub position: i64,
    /// Number in the chunk.
    pub ordinal: i32,
}

/// The findings of one severity after a place, in the order of the file. The caller checks whose import it is.
pub async fn list(
    pool: &PgPool,
    import_id: Uuid,
    severity: Severity,
    after: Option<IssuePlace>,
    limit: u32,
) -> Result<Vec<ImportIssueRow>, QueryError> {
    let after = after.unwrap_or(IssuePlace {
        position: -1,
        ordinal: -1,
    });
    let rows = sqlx::query(
        "SELECT position,
                ordinal,
                row_no,
                field,
                code,
                message,
                about,
                detail
           FROM view_import_issues
          WHERE import_id = $1
            AND failed = $2
            AND (position, ordinal) > ($3, $4)
          ORDER BY position, ordinal
          LIMIT $5",
    )
    .bind(import_id)
    .bind(severity == Severity::Failed)
    .bind(after.position)
    .bind(after.ordinal)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| read(row, severity)).collect()
}

fn read(row: &PgRow, severity: Severity) -> Result<ImportIssueRow, QueryError> {
    Ok(ImportIssueRow {
        place: IssuePlace {
            position: row.try_get("position")?,
            ordinal: row.try_get("ordinal")?,
        },
        issue: StoredIssue {
            row: u64::try_from(row.try_get::<i64, _>("row_no")?)
                .map_err(|_| QueryError::Malformed)?,
            severity,
            field: row.try_get("field")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            about: row.try_get("about")?,
            detail: row.try_get("detail")?,
        },
    })
}

/// The findings of a page.
#[derive(Default)]
pub(crate) struct Issues {
    found: Vec<(Uuid, i64, Vec<StoredIssue>)>,
    expired: BTreeSet<Uuid>,
}

impl Issues {
    pub(crate) fn collect(&mut self, import_id: Uuid, position: i64, issues: Vec<StoredIssue>) {
        if !issues.is_empty() {
            self.found.push((import_id, position, issues));
        }
    }

    /// The findings go: the key of their details is destroyed.
    pub(crate) fn expire(&mut self, import_id: Uuid) {
        self.found.retain(|(id, ..)| *id != import_id);
        self.expired.insert(import_id);
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.expired.is_empty() {
            let expired: Vec<Uuid> = self.expired.iter().copied().collect();
            sqlx::query("DELETE FROM view_import_issues WHERE import_id = ANY($1)")
                .bind(expired)
                .execute(&mut *connection)
                .await?;
        }
        if self.found.is_empty() {
            return Ok(());
        }
        let (mut import, mut place, mut ordinal, mut row_no) = (vec![], vec![], vec![], vec![]);
        let (mut failed, mut field, mut code, mut message) = (vec![], vec![], vec![], vec![]);
        let mut about: Vec<Option<Uuid>> = vec![];
        let mut detail: Vec<&[u8]> = vec![];
        for (import_id, position, issues) in &self.found {
            for (number, issue) in (0_i32..).zip(issues) {
                import.push(*import_id);
                place.push(*position);
                ordinal.push(number);
                row_no.push(i64::try_from(issue.row).unwrap_or(i64::MAX));
                failed.push(issue.severity == Severity::Failed);
                field.push(issue.field.clone().map(storable));
                code.push(issue.code.as_str());
                message.push(storable(issue.message.clone()));
                about.push(issue.about);
                detail.push(&issue.detail);
            }
        }
        sqlx::query(
            "INSERT INTO view_import_issues (
                    import_id,
                    position,
                    ordinal,
                    row_no,
                    failed,
                    field,
                    code,
                    message,
                    about,
                    detail)
             SELECT *
               FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bigint[], $5::boolean[], $6::text[], $7::text[],
                           $8::text[], $9::uuid[], $10::bytea[])
                 ON CONFLICT DO NOTHING",
        )
        .bind(import)
        .bind(place)
        .bind(ordinal)
        .bind(row_no)
        .bind(failed)
        .bind(field)
        .bind(code)
        .bind(message)
        .bind(about)
        .bind(detail)
        .execute(connection)
        .await?;
        Ok(())
    }
}
