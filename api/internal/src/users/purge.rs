//! Purges: what every route shows of one, and how customers are matched for one.

pub(crate) mod cancel;
pub(crate) mod get;
pub(crate) mod list;

use roster_commands::{CommandError, Context, NotFound, PurgeStarted};
use roster_domain::Timestamp;
use roster_domain::customer::SourceKind;
use roster_domain::purge::{OpenFilter, PurgeFilter, Sought};
use roster_http::{ApiError, App};
use roster_projections::customers::Filter;
use roster_projections::purge_failures::{self, PurgeFailureRow};
use roster_projections::purges::{self, PurgeRow};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Failures in an answer.
const SAMPLE: u32 = 20;

/// A purge.
#[derive(Serialize, ToSchema)]
#[schema(as = Purge)]
pub(crate) struct Answer {
    purge_id: Uuid,
    /// `pending`, `running`, `completed`, `completed_with_errors` or `cancelled`.
    status: &'static str,
    /// 0 to 100; never falls.
    progress_pct: i16,
    stats: Stats,
    /// The first customers who could not be erased.
    errors_sample: Vec<Failure>,
    /// What the customers were found by; null where they were named.
    filters: Option<Filters>,
    /// `api_key:<id>`, `token:<subject>` (the subject for 30 days after the end) or `system`.
    requested_by: String,
    /// Whether it is to stop before its next chunk.
    cancel_requested: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// What became of whom; the last four add up to `total`.
#[derive(Serialize, ToSchema)]
#[schema(as = PurgeStats)]
pub(crate) struct Stats {
    total: u64,
    /// Erased by this purge.
    deleted: u64,
    /// Never there, or gone before.
    not_found: u64,
    /// Could not be erased.
    failed: u64,
    /// Not looked at.
    remaining: u64,
}

/// Who could not be erased.
#[derive(Serialize, ToSchema)]
#[schema(as = PurgeFailure)]
pub(crate) struct Failure {
    /// The id, unless that person was erased since.
    customer_user_id: Option<String>,
    error: String,
}

/// What customers were found by.
#[derive(Serialize, ToSchema)]
#[schema(as = PurgeFilters)]
pub(crate) struct Filters {
    /// The search; null where there was none, and once the purge ended.
    search: Option<String>,
    /// Values by field; null where there were none, and once the purge ended.
    #[schema(value_type = Option<Object>)]
    fields: Option<Map<String, Value>>,
    /// Whether `search` or `fields` were dropped when the purge ended.
    values_dropped: bool,
    enabled_only: bool,
    disabled_only: bool,
    data_source_kind: Option<&'static str>,
    data_source_provider: Option<String>,
    data_source_connection_id: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_since: Option<Timestamp>,
}

/// A purge that goes on.
#[derive(Serialize, ToSchema)]
#[schema(as = PurgeStarted)]
pub(crate) struct Started {
    purge_id: Uuid,
    /// `pending`; in the answer to a repeated request also `running`.
    status: &'static str,
    /// Customers of the purge.
    total: u64,
    /// Customers that matched; only where the request has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<u64>,
    /// Those of them that stay; only where the request has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
}

impl Started {
    pub(crate) fn of(started: PurgeStarted, limited: bool) -> Self {
        Self {
            purge_id: started.purge_id,
            status: started.status.as_str(),
            total: started.total,
            matched: limited.then_some(started.matched),
            remaining: limited.then(|| started.matched.saturating_sub(started.total)),
        }
    }
}

/// The purge of the caller's project, with a sample of its failures.
pub(crate) async fn show(app: &App, context: &Context, id: Uuid) -> Result<Answer, ApiError> {
    let cell = app.directory().cell();
    let project = cell
        .project(&context.scope)
        .await
        .map_err(CommandError::from)?
        .ok_or(NotFound::Purge)?;
    let row = purges::get(cell, &project, id)
        .await?
        .ok_or(NotFound::Purge)?;
    let failures = if row.counts.failed > 0 {
        purge_failures::list(cell, id, SAMPLE).await?
    } else {
        Vec::new()
    };
    Ok(Answer::of(row, failures))
}

impl Answer {
    fn of(row: PurgeRow, failures: Vec<PurgeFailureRow>) -> Self {
        let total = u64::try_from(row.total).unwrap_or_default();
        let failure = |failure: PurgeFailureRow| Failure {
            customer_user_id: failure.customer_user_id,
            error: failure.reason,
        };
        Self {
            purge_id: row.purge_id,
            status: row.status.as_str(),
            progress_pct: row.progress_pct,
            stats: Stats {
                total,
                deleted: row.counts.deleted,
                not_found: row.counts.not_found,
                failed: row.counts.failed,
                remaining: total.saturating_sub(row.counts.total()),
            },
            errors_sample: failures.into_iter().map(failure).collect(),
            filters: row
                .filter
                .map(|open| Filters::of(open, row.is_sought, row.sought)),
            requested_by: row.requested_by,
            cancel_requested: row.cancel_requested,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

impl Filters {
    fn of(open: OpenFilter, is_sought: bool, sought: Option<Sought>) -> Self {
        let values_dropped = is_sought && sought.is_none();
        let Sought { search, fields } = sought.unwrap_or_default();
        let fields = fields.into_iter().map(|(name, value)| (name, value.into()));
        Self {
            search,
            fields: Some(fields.collect()).filter(|fields: &Map<_, _>| !fields.is_empty()),
            values_dropped,
            enabled_only: open.enabled == Some(true),
            disabled_only: open.enabled == Some(false),
            data_source_kind: open.source_kind.map(SourceKind::as_str),
            data_source_provider: open.source_provider,
            data_source_connection_id: open.source_connection,
            updated_since: open.updated_since,
        }
    }
}

/// A filter of the read side as a purge keeps it.
pub(crate) fn purge_filter(filter: &Filter) -> PurgeFilter {
    PurgeFilter {
        open: OpenFilter {
            enabled: filter.enabled,
            source_kind: filter.source_kind,
            source_provider: filter.source_provider.clone(),
            source_connection: filter.source_connection.clone(),
            updated_since: filter.updated_since,
        },
        sought: Sought {
            search: filter.search.clone(),
            fields: filter.fields.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use roster_commands::PurgeStarted;
    use roster_domain::purge::{OpenFilter, PurgeStatus, Sought};
    use uuid::Uuid;

    use super::{Filters, Started};

    #[test]
    fn only_a_request_with_a_limit_is_told_how_many_stay() {
        let started = PurgeStarted {
            purge_id: Uuid::from_u128(7),
            status: PurgeStatus::Pending,
            matched: 9,
            total: 5,
        };
        let text = |limited| serde_json::to_string(&Started::of(started, limited)).expect("JSON");
        insta::assert_snapshot!(text(false), @r#"{"purge_id":"00000000-0000-0000-0000-000000000007","status":"pending","total":5}"#);
        insta::assert_snapshot!(text(true), @r#"{"purge_id":"00000000-0000-0000-0000-000000000007","status":"pending","total":5,"matched":9,"remaining":4}"#);
    }

    #[test]
    fn what_was_sought_is_shown_until_it_is_dropped() {
        let sought = Sought {
            search: Some("ada".into()),
            fields: vec![("email".into(), "ada@example.org".into())],
        };
        let text = |is_sought, sought| {
            let filters = Filters::of(OpenFilter::default(), is_sought, sought);
            serde_json::to_string(&filters).expect("JSON")
        };
        insta::assert_snapshot!(text(true, Some(sought)), @r#"{"search":"ada","fields":{"email":"ada@example.org"},"values_dropped":false,"enabled_only":false,"disabled_only":false,"data_source_kind":null,"data_source_provider":null,"data_source_connection_id":null,"updated_since":null}"#);
        assert!(text(true, None).contains(r#""search":null,"fields":null,"values_dropped":true"#));
        assert!(text(false, None).contains(r#""values_dropped":false"#));
    }
}
