//! `users/get`: one customer with everything that hangs on it.

use axum::extract::State;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, FindBy, NotFound};
use roster_domain::Problem;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped, respond};
use roster_projections::customers::{self, AsOf};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{AccessRow, Identity, shown, stored};
use crate::fields::{self, Values};
use crate::record::Record;

/// Whom: by id, or by the value of one unique field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GetUserRequest)]
pub(crate) struct Request {
    /// The id.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// One unique field and its value, such as `{"email": "ada@example.org"}`, instead of the id.
    #[schema(value_type = Option<Object>)]
    fields: Option<Values>,
    /// The record as it was: a time of RFC 3339, or a position of the log, also as text.
    #[serde(default, deserialize_with = "fields::moment")]
    #[schema(value_type = Option<String>)]
    as_of: Option<AsOf>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::GetCustomer;
    const EFFECT: Effect = Effect::Reads;
}

impl Request {
    fn find_by(self) -> Result<FindBy, ApiError> {
        let mut fields = self.fields.unwrap_or_default().0;
        match (self.customer_user_id, fields.len()) {
            (Some(id), 0) => Ok(FindBy::Id(id)),
            (None, 1) => {
                let (name, value) = fields.remove(0);
                Ok(FindBy::Field(name.into(), value))
            }
            (None, 0) => Err(ApiError::body(Problem::new(
                ["customer_user_id"],
                "missing",
                "a required member is missing",
            ))),
            _ => {
                let message = "expected customer_user_id or one unique field";
                Err(ApiError::body(Problem::new(
                    ["fields"],
                    "ambiguous",
                    message,
                )))
            }
        }
    }
}

/// A customer with links and access.
#[derive(Serialize, ToSchema)]
#[schema(as = GetUserResponse)]
pub(crate) struct Answer {
    customer_user_id: String,
    customer_enabled: bool,
    display_name: String,
    user: Record,
    /// Connector identities that are linked to the customer.
    identities: Vec<Identity>,
    /// What the customer may use on which channel.
    channel_access: Vec<AccessRow>,
}

/// Read one customer
#[utoipa::path(
    post,
    path = "/users/get",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "The customer", body = Answer),
        (status = 404, description = "`customer_not_found`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let as_of = call.input.as_of;
    let by = call.input.find_by()?;
    let cell = app.directory().cell();
    let project = cell
        .project(&call.context.scope)
        .await
        .map_err(CommandError::from)?;
    let project = project.ok_or(NotFound::Customer)?;
    let schema = app.schema(Some(project.no)).await?;
    let mut past = None;
    let row = match (as_of, by) {
        (Some(as_of), by) => {
            let found = app
                .directory()
                .find_customer(&call.context, Request::OPERATION, by)
                .await;
            let stream = found.map_err(about_fields)?.ok_or(NotFound::Customer)?;
            let record = customers::record_as_of(cell, &project, stream, as_of).await?;
            let (row, access) = record.ok_or(NotFound::Customer)?;
            past = Some(access);
            Some(row)
        }
        (None, FindBy::Id(id)) => {
            let id = schema.canonical_id(&id).map_err(ApiError::body)?;
            customers::get(cell.pool(), project.no, &id).await?
        }
        (None, by @ FindBy::Field(..)) => {
            let found = app
                .directory()
                .find_customer(&call.context, Request::OPERATION, by)
                .await;
            match found.map_err(about_fields)? {
                Some(stream) => customers::get_by_stream(cell.pool(), project.no, stream).await?,
                None => None,
            }
        }
    };
    let row = row.ok_or(NotFound::Customer)?;
    let access = match past {
        Some(access) => access,
        None => stored(&app, &row).await?,
    };
    let (identities, channel_access) = shown(&app, project.no, &row, access, &schema).await?;
    Ok(respond::ok(&Answer {
        customer_user_id: row.customer_user_id.clone(),
        customer_enabled: row.enabled,
        display_name: row.display_name.clone(),
        user: Record::of_row(row, &schema)?,
        identities,
        channel_access,
    }))
}

/// The use case names a field; the body has it under `fields`.
fn about_fields(error: CommandError) -> CommandError {
    match error {
        CommandError::Invalid(problems) => CommandError::Invalid(
            problems
                .into_iter()
                .map(|problem| problem.under("fields"))
                .collect(),
        ),
        other => other,
    }
}
