//! `users/upsert`: creates a customer or changes the record.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{Applied, DataSourceInput, UpsertInput};
use roster_domain::customer::SourceKind;
use roster_domain::{Personal, Timestamp};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fields::{self, Values};
use crate::record::Record;

/// The customer as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpsertUserRequest)]
pub(crate) struct Request {
    /// The id; the value of the primary-key field where absent.
    #[serde(default, deserialize_with = "fields::text")]
    customer_user_id: Option<String>,
    /// Values by field: an absent one stays, null clears.
    #[serde(default)]
    #[schema(value_type = Object)]
    profile: Values,
    /// Whether the customer may use anything; new ones may.
    #[serde(default, deserialize_with = "fields::flag")]
    enabled: Option<bool>,
    /// Switches by channel.
    connector_enabled: Option<BTreeMap<String, bool>>,
    /// A new tag; without one the row keeps its tag.
    data_source: Option<Source>,
    /// Whether fields that are not named are cleared.
    #[serde(default, deserialize_with = "fields::flag")]
    replace: Option<bool>,
    /// The record version that the caller saw; 0: there must be none.
    expected_version: Option<i32>,
}

/// Where a row comes from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DataSourceInput)]
pub(crate) struct Source {
    #[schema(value_type = String)]
    kind: SourceKind,
    #[serde(default, deserialize_with = "fields::text")]
    provider: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    connection_id: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    external_id: Option<String>,
    #[serde(default, deserialize_with = "fields::time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    synced_at: Option<Timestamp>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::UpsertCustomer;
    const EFFECT: Effect = Effect::Sets;
}

impl From<Request> for UpsertInput {
    fn from(request: Request) -> Self {
        Self {
            customer_user_id: request.customer_user_id,
            profile: request.profile.0,
            enabled: request.enabled,
            connector_enabled: request.connector_enabled.unwrap_or_default(),
            data_source: request.data_source.map(|source| DataSourceInput {
                kind: source.kind,
                provider: source.provider,
                connection_id: source.connection_id,
                external_id: Personal::Known(source.external_id),
                synced_at: source.synced_at,
            }),
            replace: request.replace.unwrap_or(false),
            expected_version: request.expected_version,
        }
    }
}

/// The customer as it is now.
#[derive(Serialize, ToSchema)]
#[schema(as = UpsertUserResponse)]
pub(crate) struct Answer {
    customer: Record,
    /// Whether the customer is new.
    created: bool,
    /// Whether anything changed.
    changed: bool,
}

/// Create or change a customer
///
/// The profile merges unless `replace` is set. Nothing changed: no event.
#[utoipa::path(
    post,
    path = "/users/upsert",
    tag = "users",
    request_body = Request,
    responses(
        (status = 200, description = "The customer", body = Answer),
        (status = 404, description = "`connection_not_found`: only a run gives a row to a connection"),
        (status = 409, description = "`version_conflict`, `unique_value_taken`, \
            `identity_linked_elsewhere`, `primary_key_mismatch`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let Applied {
        value,
        position,
        replayed,
    } = app
        .directory()
        .upsert_customer(&call.context, call.input.into())
        .await?;
    let (created, changed) = (value.created, value.changed);
    let customer = Record::of_upserted(value)?;
    let value = Answer {
        customer,
        created,
        changed,
    };
    let settled = app
        .settle(Applied {
            value,
            position,
            replayed,
        })
        .await;
    Ok(settled.answer(StatusCode::OK, |answer| answer))
}
