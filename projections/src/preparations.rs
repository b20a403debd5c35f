//! Checks of stored values for a coming schema: table `view_preparations`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roster_domain::Timestamp;
use roster_domain::preparation::{Duplicate, Outcome, Preparation, PreparationEvent};
use roster_store::{Cell, Recorded};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::QueryError;
use crate::folds::Folds;
use crate::page::PageError;

/// One preparation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparationRow {
    /// Its id.
    pub preparation_id: Uuid,
    /// `running`, `ready`, `duplicates` or `failed`.
    pub status: String,
    /// The fields that are prepared.
    pub fields: Vec<String>,
    /// Customers checked.
    pub checked: i64,
    /// Customers at the start.
    pub total: i64,
    /// 0 to 100.
    pub progress_pct: i16,
    /// The first duplicates, by the opaque references of the customers.
    pub duplicates: Vec<Duplicate>,
    /// When it started.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A preparation of a project.
pub async fn get(
    pool: &PgPool,
    project_no: i32,
    preparation_id: Uuid,
) -> Result<Option<PreparationRow>, QueryError> {
    let row = sqlx::query(
        "SELECT status,
                fields,
                checked,
                total,
                progress_pct,
                duplicates,
                created_at,
                finished_at
           FROM view_preparations
          WHERE preparation_id = $1
            AND project_no = $2",
    )
    .bind(preparation_id)
    .bind(project_no)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let Json(duplicates) = row.try_get("duplicates")?;
        Ok(PreparationRow {
            preparation_id,
            status: row.try_get("status")?,
            fields: row.try_get("fields")?,
            checked: row.try_get("checked")?,
            total: row.try_get("total")?,
            progress_pct: row.try_get("progress_pct")?,
            duplicates,
            created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
            finished_at: row
                .try_get::<Option<DateTime<Utc>>, _>("finished_at")?
                .map(Timestamp::from),
        })
    })
    .transpose()
}

const fn status(preparation: &Preparation) -> &'static str {
    match preparation.outcome {
        None => "running",
        Some(Outcome::Ready) => "ready",
        Some(Outcome::Duplicates) => "duplicates",
        Some(Outcome::Failed) => "failed",
    }
}

/// The preparations that a page changes.
#[derive(Default)]
pub(crate) struct Preparations {
    folds: Folds<Preparation>,
    changed: BTreeMap<Uuid, (i32, i64, Preparation)>,
}

impl Preparations {
    /// The rows that were collected. The states stay here.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            folds: Folds::default(),
            changed: std::mem::take(&mut self.changed),
        }
    }

    pub(crate) fn forget(&mut self) {
        self.folds.forget();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    pub(crate) async fn collect(
        &mut self,
        cell: &Cell,
        recorded: &Recorded,
        event: PreparationEvent,
    ) -> Result<(), PageError> {
        let state = self.folds.with(cell, recorded, event).await?.clone();
        self.changed.insert(
            recorded.stream,
            (recorded.project_no, recorded.position, state),
        );
        Ok(())
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (id, (project_no, position, preparation)) in &self.changed {
            let Some(created_at) = preparation.created_at else {
                continue;
            };
            sqlx::query(
                "INSERT INTO view_preparations AS v (
                        preparation_id,
                        project_no,
                        status,
                        fields,
                        checked,
                        total,
                        progress_pct,
                        duplicates,
                        created_at,
                        finished_at,
                        position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                     ON CONFLICT (preparation_id) DO UPDATE
                    SET status = EXCLUDED.status,
                        fields = EXCLUDED.fields,
                        checked = EXCLUDED.checked,
                        total = EXCLUDED.total,
                        progress_pct = EXCLUDED.progress_pct,
                        duplicates = EXCLUDED.duplicates,
                        finished_at = EXCLUDED.finished_at,
                        position = EXCLUDED.position
                  WHERE v.position <= EXCLUDED.position",
            )
            .bind(id)
            .bind(project_no)
            .bind(status(preparation))
            .bind(&preparation.fields)
            .bind(i64::try_from(preparation.checked).unwrap_or(i64::MAX))
            .bind(i64::try_from(preparation.total).unwrap_or(i64::MAX))
            .bind(i16::from(preparation.progress_pct()))
            .bind(Json(&preparation.duplicates))
            .bind(created_at.to_utc())
            .bind(preparation.finished_at.map(Timestamp::to_utc))
            .bind(position)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
