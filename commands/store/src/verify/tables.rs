//! The small tables of a cell: epoch, projects, shapes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;

use super::report::Findings;
use crate::{Cell, Project, StoreError, project};

/// What the log says of itself.
pub(super) struct Log {
    pub(super) epoch: i32,
    /// The last position, for progress.
    pub(super) head: i64,
}

impl Log {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, StoreError> {
        let (epoch, head) = sqlx::query_as(
            "SELECT epoch, COALESCE((SELECT last_position FROM log_batches ORDER BY last_position DESC LIMIT 1), 0)
               FROM log_epoch",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { epoch, head })
    }
}

/// The projects of the cell by number, with the peppers that claim keys are made with.
pub(super) async fn projects(
    cell: &Cell,
    connection: &mut PgConnection,
) -> Result<HashMap<i32, Arc<Project>>, StoreError> {
    project::all(connection, cell.vault(), cell.name()).await
}

/// Every shape that the log has must be one that it was written with, and in the form that this build has.
pub(super) async fn check_types(
    connection: &mut PgConnection,
    used: &HashSet<(i16, i16)>,
    findings: &mut Findings,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let stored: Vec<(i16, i16, String, String)> =
        sqlx::query_as("SELECT type_no, type_version, name, fingerprint FROM log_types")
            .fetch_all(connection)
            .await?;
    let stored: HashMap<(i16, i16), (String, String)> = stored
        .into_iter()
        .map(|(no, version, name, fingerprint)| ((no, version), (name, fingerprint)))
        .collect();
    let built: BTreeMap<(i16, i16), (String, String)> = roster_domain::registry::all()
        .into_iter()
        .map(|built| {
            let known = built.event_type;
            (
                (known.type_no, known.type_version),
                (known.name.to_owned(), built.fingerprint),
            )
        })
        .collect();
    for (id, (name, fingerprint)) in &built {
        if let Some((stored_name, stored_fingerprint)) = stored.get(id)
            && (stored_name, stored_fingerprint) != (name, fingerprint)
        {
            findings.add(
                None,
                None,
                format!(
                    "log_types has {stored_name} with fingerprint {stored_fingerprint} for type {} version {}, this build \
                     has {name} with {fingerprint}",
                    id.0, id.1
                ),
            );
        }
    }
    let mut used: Vec<_> = used.iter().collect();
    used.sort_unstable();
    for id in used {
        if !stored.contains_key(id) {
            findings.add(
                None,
                None,
                format!(
                    "the log has events of type {} version {}, which log_types does not have",
                    id.0, id.1
                ),
            );
        } else if !built.contains_key(id) && roster_domain::registry::name_of(id.0, id.1).is_none()
        {
            notes.push(format!(
                "events of type {} version {} were written by a newer build: their states are not proved",
                id.0, id.1
            ));
        }
    }
    Ok(())
}
