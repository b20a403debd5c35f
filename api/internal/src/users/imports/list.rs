//! `users/imports/list`: the imports of a project, the newest first.

use axum::extract::State;
use axum::response::Response;
use roster_commands::CommandError;
use roster_commands::authority::Operation;
use roster_domain::schema::Definition;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::{imports, schemas};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Answer;
use crate::fields;
use crate::page::{Page, Wanted, paging};

/// Which page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListImportsRequest)]
pub(crate) struct Request {
    /// Whether to leave out imports that ended.
    #[serde(default, deserialize_with = "fields::flag")]
    active_only: Option<bool>,
    /// From 1.
    page: Option<u64>,
    /// 1 to 200; 25 where absent.
    page_size: Option<u64>,
    /// `next_cursor` of the page before, for the same filters; `page` is then only repeated in the answer.
    #[serde(default, deserialize_with = "fields::text")]
    cursor: Option<String>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::ListImports;
    const EFFECT: Effect = Effect::Reads;
}

/// List imports
#[utoipa::path(
    post,
    path = "/users/imports/list",
    tag = "imports",
    request_body = Request,
    responses((status = 200, description = "The newest first, without findings", body = Page<Answer>))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Wanted { page, page_size } = Wanted::new(call.input.page, call.input.page_size)?;
    let paging = paging(page, page_size, call.input.cursor.as_deref())?;
    let active_only = call.input.active_only.unwrap_or(false);
    let cell = app.directory().cell();
    let Some(project) = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?
    else {
        return Ok(respond::ok(&Page::<Answer>::empty(page, page_size)));
    };
    let schema = schemas::get(cell.pool(), project.no).await?;
    let definition = schema.map_or_else(Definition::default, |schema| schema.definition);
    let found = imports::list(cell.pool(), project.no, active_only, &paging).await?;
    Ok(respond::ok(&Page {
        items: found
            .rows
            .into_iter()
            .map(|row| Answer::brief(row, &definition))
            .collect(),
        total: Some(found.total),
        total_at_least: None,
        page,
        page_size,
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}
