//! `users/upsert-bulk`: up to 500 customers, with a verdict each.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roster_commands::authority::Operation;
use roster_commands::{CommandError, UpsertInput, Upserted};
use roster_domain::Problem;
use roster_http::{ApiError, App, Effect, Endpoint, Scoped};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::upsert;

/// The customers as they are to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpsertUsersRequest)]
pub(crate) struct Request {
    /// 1 to 500; items that name one customer apply in order.
    items: Vec<upsert::Request>,
}

impl Endpoint for Request {
    const OPERATION: Operation = Operation::UpsertCustomers;
    const EFFECT: Effect = Effect::Sets;
}

/// What became of the items. The four counts add up to `total`.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = UpsertUsersResponse)]
pub(crate) struct Answer {
    total: usize,
    created: usize,
    updated: usize,
    unchanged: usize,
    failed: usize,
    /// In the order of the items.
    items: Vec<Verdict>,
}

/// What became of an item.
#[derive(Serialize, ToSchema)]
#[schema(as = UpsertVerdict)]
pub(crate) struct Verdict {
    /// The place of the item, from 0.
    index: usize,
    /// `created`, `updated`, `unchanged` or `failed`.
    status: &'static str,
    customer_user_id: Option<String>,
    customer_ref: Option<String>,
    version: Option<i32>,
    /// `{code, message, …}`; code `invalid` has `problems`; with `unavailable` the item may have been done all the same.
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
}

/// Create or change many customers
#[utoipa::path(
    post,
    path = "/users/upsert-bulk",
    tag = "users",
    request_body = Request,
    responses((status = 200, description = "A verdict for each item", body = Answer))
)]
pub(crate) async fn handler(
    State(app): State<App>,
    call: Scoped<Request>,
) -> Result<Response, ApiError> {
    if call.input.items.is_empty() {
        return Err(ApiError::body(Problem::new(
            ["items"],
            "too_short",
            "at least one item is required",
        )));
    }
    let inputs: Vec<UpsertInput> = call.input.items.into_iter().map(Into::into).collect();
    let applied = app
        .directory()
        .upsert_customers(&call.context, inputs)
        .await?;
    Ok(app.settle(applied).await.answer(StatusCode::OK, Answer::of))
}

impl Answer {
    fn of(outcomes: Vec<Result<Upserted, CommandError>>) -> Self {
        let mut answer = Self {
            total: outcomes.len(),
            ..Self::default()
        };
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let verdict = match outcome {
                Ok(upserted) => Verdict::of(index, &upserted),
                Err(error) => Verdict::refused(index, error),
            };
            match verdict.status {
                "created" => answer.created += 1,
                "updated" => answer.updated += 1,
                "unchanged" => answer.unchanged += 1,
                _ => answer.failed += 1,
            }
            answer.items.push(verdict);
        }
        answer
    }
}

impl Verdict {
    fn of(index: usize, upserted: &Upserted) -> Self {
        let status = match (upserted.created, upserted.changed) {
            (true, _) => "created",
            (false, true) => "updated",
            (false, false) => "unchanged",
        };
        Self {
            index,
            status,
            customer_user_id: upserted.customer.customer_user_id.known().cloned(),
            customer_ref: Some(upserted.stream.to_string()),
            version: Some(upserted.customer.version),
            error: None,
        }
    }

    fn refused(index: usize, error: CommandError) -> Self {
        let error = match error {
            CommandError::Invalid(problems) => {
                let place = index.to_string();
                let inside = |problem: Problem| problem.under(&place).under("items");
                ApiError::bodies(problems.into_iter().map(inside).collect())
            }
            other => other.into(),
        };
        error.log();
        Self {
            index,
            status: "failed",
            customer_user_id: None,
            customer_ref: None,
            version: None,
            error: Some(error.verdict()),
        }
    }
}

#[cfg(test)]
mod tests {
    use roster_commands::CommandError;
    use roster_domain::Problem;

    use super::Answer;

    #[test]
    fn a_refused_item_says_why_and_where() {
        let problem = Problem::new(["profile", "email"], "email", "is no address");
        let answer = Answer::of(vec![
            Err(CommandError::Invalid(vec![problem])),
            Err(CommandError::PrimaryKeyMismatch),
        ]);
        assert_eq!((answer.total, answer.failed), (2, 2));
        let errors: Vec<String> = answer
            .items
            .into_iter()
            .filter_map(|verdict| verdict.error)
            .map(|error| error.to_string())
            .collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        {"code":"invalid","message":"the item is not valid","problems":[{"loc":["body","items",0,"profile","email"],"msg":"is no address","type":"email"}]}
        {"code":"primary_key_mismatch","message":"the primary-key value differs from the customer id"}
        "#);
    }
}
