//! `schema/upsert`: replaces the schema.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{Applied, CommandError, SchemaInput};
use roster_domain::Problem;
use roster_domain::schema::{ConnectorBinding, Definition, Field, MatchMessages, MatchRule};
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Answer;

/// The definition's members, or all of them under `schema`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpsertSchemaRequest)]
pub(crate) struct Request {
    /// The definition as `schema/get` returns it, instead of its members.
    #[schema(value_type = Option<Object>)]
    schema: Option<Definition>,
    /// The version that the author saw; another one is refused.
    expected_version: Option<i32>,
    /// The field that the customer id equals.
    primary_key: Option<String>,
    /// `name`, `type`, `required`, `unique`, `pattern`, `allowed_values`, `min_value`, `max_value`, `label`,
    /// `default_region`.
    #[schema(value_type = Option<Vec<Object>>)]
    fields: Option<Vec<Field>>,
    /// `channel`, `profile_field`, `source`, `required`, `label`.
    #[schema(value_type = Option<Vec<Object>>)]
    connector_bindings: Option<Vec<ConnectorBinding>>,
    /// `channel` or `*`, `field`, `source`, `fallback`.
    #[schema(value_type = Option<Vec<Object>>)]
    match_rules: Option<Vec<MatchRule>>,
    /// `default` and `channels` with the texts of each outcome.
    #[schema(value_type = Option<Object>)]
    match_messages: Option<MatchMessages>,
    /// Whether a rule match links the identity; true where absent.
    auto_match: Option<bool>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::UpsertSchema;
    const EFFECT: Effect = Effect::Sets;
}

impl Request {
    fn into_input(self) -> Result<SchemaInput, ApiError> {
        let expected_version = self.expected_version;
        let has_members = self.primary_key.is_some()
            || self.fields.is_some()
            || self.connector_bindings.is_some()
            || self.match_rules.is_some()
            || self.match_messages.is_some()
            || self.auto_match.is_some();
        let missing = |name: &str| Problem::new([name], "missing", "a required member is missing");
        let definition = match (self.schema, self.primary_key, self.fields) {
            (Some(_), ..) if has_members => {
                let message = "expected the members or the whole schema, not both";
                return Err(ApiError::body(Problem::new(
                    ["schema"],
                    "ambiguous",
                    message,
                )));
            }
            (Some(schema), ..) => schema,
            (None, Some(primary_key), Some(fields)) => Definition {
                primary_key,
                fields,
                connector_bindings: self.connector_bindings.unwrap_or_default(),
                match_rules: self.match_rules.unwrap_or_default(),
                match_messages: self.match_messages.unwrap_or_default(),
                auto_match: self.auto_match.unwrap_or(true),
            },
            (None, primary_key, fields) => {
                let problems = [
                    primary_key.is_none().then(|| missing("primary_key")),
                    fields.is_none().then(|| missing("fields")),
                ];
                return Err(ApiError::bodies(problems.into_iter().flatten().collect()));
            }
        };
        Ok(SchemaInput {
            definition,
            expected_version,
        })
    }
}

/// Replace the schema
///
/// The same schema again changes nothing. Making a field unique checks the stored values: above 10,000 customers the
/// check runs as a job and the answer is 409 with its `preparation_id`.
#[utoipa::path(
    post,
    path = "/schema/upsert",
    tag = "schema",
    request_body = Request,
    responses(
        (status = 200, description = "The schema in effect", body = Answer),
        (status = 409, description = "`project_user_schema_conflict`, `project_user_indexes_preparation_required`"),
    )
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    let applied = app
        .directory()
        .upsert_schema(&call.context, call.input.into_input()?)
        .await;
    if let Err(CommandError::PreparationRequired { .. }) = applied {
        // The caller asks for the preparation next, so reads must know it.
        app.settle(Applied::unchanged(())).await;
    }
    let settled = app.settle(applied?).await;
    Ok(settled.answer(StatusCode::OK, |schema| Answer {
        schema: schema.definition,
        version: schema.version,
        updated_at: schema.updated_at,
    }))
}

#[cfg(test)]
mod tests {
    use super::Request;

    type Parsed = Result<(String, bool, Option<i32>), String>;

    fn parsed(json: &str) -> Option<Parsed> {
        let request: Request = serde_json::from_str(json).ok()?;
        Some(match request.into_input() {
            Ok(input) => Ok((
                input.definition.primary_key,
                input.definition.auto_match,
                input.expected_version,
            )),
            Err(error) => Err(error.detail().to_string()),
        })
    }

    #[test]
    fn members_come_flat_or_under_schema() {
        let flat = r#"{"primary_key":"id","fields":[{"name":"id"}],"expected_version":2}"#;
        assert_eq!(parsed(flat), Some(Ok(("id".into(), true, Some(2)))));
        let nested =
            r#"{"schema":{"primary_key":"id","fields":[{"name":"id"}],"auto_match":false}}"#;
        assert_eq!(parsed(nested), Some(Ok(("id".into(), false, None))));
    }

    #[test]
    fn both_forms_or_neither_are_refused() {
        let both = r#"{"schema":{"primary_key":"id","fields":[]},"auto_match":true}"#;
        assert!(
            parsed(both)
                .is_some_and(|outcome| outcome.is_err_and(|detail| detail.contains("ambiguous")))
        );
        let neither = parsed("{}").and_then(Result::err).unwrap_or_default();
        assert!(
            neither.contains("primary_key") && neither.contains("fields"),
            "{neither}"
        );
        assert_eq!(parsed(r#"{"primary_keys":"id"}"#), None);
    }
}
