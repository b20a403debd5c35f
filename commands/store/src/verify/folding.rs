//! States without a snapshot, or not to be taken from one: folded from their events.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Stage;
use super::expected::Expected;
use super::states::{Context, States};
use crate::kinds::Kind;
use crate::read::COLUMNS;
use crate::{Project, Recorded, StoreError};

/// Streams whose events are read at once.
const PAGE: usize = 500;

/// A stream whose state is to be folded.
pub(super) struct ToFold {
    pub(super) stream: Uuid,
    /// A hash of the snapshot that the fold must equal.
    pub(super) snapshot: Option<u64>,
    pub(super) kind: &'static Kind,
    pub(super) project: Arc<Project>,
}

/// Folds them and adds what they hold.
pub(super) async fn fold(
    connection: &mut PgConnection,
    context: &Context,
    streams: &[ToFold],
    expected: &mut Expected,
    states: &mut States,
    progress: &mut impl FnMut(Stage, i64, i64),
) -> Result<(), StoreError> {
    let all = i64::try_from(streams.len()).unwrap_or(i64::MAX);
    for page in streams.chunks(PAGE) {
        let mut events = read(connection, context, page).await?;
        for wanted in page {
            let stream = wanted.stream;
            let folded = events
                .remove(&stream)
                .unwrap_or_else(|| Ok(Vec::new()))
                .and_then(|events| (wanted.kind.fold)(&events));
            match folded {
                Ok(state) => {
                    states.folded += 1;
                    if wanted
                        .snapshot
                        .is_some_and(|hash| !context.is_snapshot(hash, &state.snapshot))
                    {
                        states
                            .findings
                            .of(stream, "the stream's snapshot differs from its events");
                    }
                    expected.add(context, &wanted.project, stream, &state.held);
                }
                Err(error) => {
                    states.unknown.insert(stream);
                    states
                        .findings
                        .of(stream, format!("the stream's events do not open: {error}"));
                }
            }
        }
        progress(Stage::Folding, states.folded, all);
    }
    Ok(())
}

async fn read(
    connection: &mut PgConnection,
    context: &Context,
    page: &[ToFold],
) -> Result<HashMap<Uuid, Result<Vec<Recorded>, StoreError>>, StoreError> {
    let ids: Vec<Uuid> = page.iter().map(|wanted| wanted.stream).collect();
    let sql = format!(
        "SELECT {COLUMNS}
           FROM log_events e
           JOIN log_streams s USING (stream_id)
          WHERE e.stream_id = ANY($1)
          ORDER BY e.stream_id, e.version"
    );
    let rows = sqlx::query(&sql).bind(&ids).fetch_all(connection).await?;
    let mut events: HashMap<Uuid, Result<Vec<Recorded>, StoreError>> = HashMap::new();
    for row in &rows {
        let stream: Uuid = row.try_get("stream_id")?;
        let known = events.entry(stream).or_insert_with(|| Ok(Vec::new()));
        if let Ok(list) = known {
            match context.cell.recorded(row) {
                Ok(recorded) => list.push(recorded),
                Err(error) => *known = Err(error),
            }
        }
    }
    Ok(events)
}
