//! The one error of every surface and how it is rendered. The texts never repeat what the caller sent.

use std::borrow::Cow;
use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roster_commands::authority::Denied;
use roster_commands::{CommandError, CsvProblem, NotFound};
use roster_domain::Problem;
use roster_projections::QueryError;
use serde_json::{Map, Value, json};

use crate::Code;

/// More findings than this help nobody.
const MAX_PROBLEMS: usize = 64;

/// Why a request gets no answer.
#[derive(Debug)]
pub enum ApiError {
    /// A code of the closed list, with what a program may want to know about it.
    Refused(Refusal),
    /// 422 with a list of findings; every place starts with `body`, `query` or `header`.
    Invalid(Vec<Problem>),
    /// A failure of Roster. The source is logged and never sent.
    Internal(Box<dyn Error + Send + Sync>),
}

/// An answer of the form `{"detail": {"code", "message", …}}`.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    message: Cow<'static, str>,
    facts: Map<String, Value>,
    retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(Refusal {
            code,
            message: message.into(),
            facts: Map::new(),
            retry_after: None,
        })
    }

    /// Adds a member beside `code` and `message`.
    #[must_use]
    pub fn with(mut self, name: &str, fact: impl Into<Value>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.facts.insert(name.to_owned(), fact.into());
        }
        self
    }

    /// Says when to come back, in whole seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.retry_after = Some(seconds);
        }
        self
    }

    /// One finding about a member of the body.
    pub fn body(problem: Problem) -> Self {
        Self::Invalid(vec![problem.under("body")])
    }

    /// A list of findings about the body.
    pub fn bodies(problems: Vec<Problem>) -> Self {
        Self::Invalid(
            problems
                .into_iter()
                .map(|problem| problem.under("body"))
                .collect(),
        )
    }

    /// No credential, or none that is valid. The text is the same for every reason.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "a valid credential is required")
    }

    /// A header names another tenant than the body or the credential.
    pub fn tenant_mismatch() -> Self {
        Self::new(
            Code::TenantMismatch,
            "the credential or a header names another tenant",
        )
    }

    /// The server cannot do it now; the same request may succeed soon.
    pub fn unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "the directory is not available right now",
        )
        .retry_after(1)
    }

    /// A failure of Roster.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The code; findings and failures have one too, for the verdicts of a bulk request.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code.as_str(),
            Self::Invalid(_) => "invalid",
            Self::Internal(_) => Code::Internal.as_str(),
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.code.status(),
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What stands under `detail`.
    pub fn detail(&self) -> Value {
        match self {
            Self::Refused(refusal) => {
                let mut detail = Map::new();
                detail.insert("code".into(), refusal.code.as_str().into());
                detail.insert("message".into(), refusal.message.as_ref().into());
                detail.extend(refusal.facts.clone());
                Value::Object(detail)
            }
            Self::Invalid(problems) => findings(problems),
            Self::Internal(_) => {
                json!({"code": Code::Internal.as_str(), "message": "internal error"})
            }
        }
    }

    /// The error as a part of an answer that also has successes: always an object with `code` and `message`.
    pub fn verdict(&self) -> Value {
        match self {
            Self::Invalid(problems) => json!({
                "code": self.code(),
                "message": "the item is not valid",
                "problems": findings(problems),
            }),
            Self::Refused(_) | Self::Internal(_) => self.detail(),
        }
    }

    /// Writes a failure of Roster to the log. Called once, where the answer leaves the handler.
    pub fn log(&self) {
        match self {
            Self::Internal(source) => {
                tracing::error!(error = %Chain(source.as_ref()), "request failed");
            }
            Self::Refused(refusal) if refusal.code == Code::NotAvailable => {}
            Self::Refused(refusal) if refusal.code.status().is_server_error() => {
                tracing::warn!(code = refusal.code.as_str(), "request not served");
            }
            Self::Refused(_) | Self::Invalid(_) => {}
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = (self.status(), Json(json!({"detail": self.detail()}))).into_response();
        let headers = response.headers_mut();
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::Refused(Refusal {
            retry_after: Some(seconds),
            ..
        }) = self
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The findings as JSON; a part of a place that is a number becomes one, as an index of a list.
fn findings(problems: &[Problem]) -> Value {
    let part = |part: &String| {
        part.parse::<u32>()
            .map_or_else(|_| Value::from(part.as_str()), Value::from)
    };
    problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|problem| {
            let loc: Vec<Value> = problem.loc.iter().map(part).collect();
            json!({"loc": loc, "msg": problem.message, "type": problem.kind})
        })
        .collect()
}

/// An error and its causes in one line.
struct Chain<'a>(&'a (dyn Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Tenant => Self::tenant_mismatch(),
            Denied::Permission => Self::new(
                Code::PermissionDenied,
                "the credential does not carry the permission",
            ),
        }
    }
}

impl From<NotFound> for ApiError {
    fn from(missing: NotFound) -> Self {
        let code = match missing {
            NotFound::Customer => Code::CustomerNotFound,
            NotFound::Import => Code::ImportNotFound,
            NotFound::Purge => Code::PurgeNotFound,
            NotFound::Preparation => Code::PreparationNotFound,
            NotFound::Suppression => Code::SuppressionNotFound,
            NotFound::Grant => Code::GrantNotFound,
            NotFound::Connection => Code::ConnectionNotFound,
            NotFound::Run => Code::RunNotFound,
            NotFound::ApiKey => Code::NotFound,
        };
        Self::new(code, format!("the {missing} does not exist"))
    }
}

impl From<CsvProblem> for ApiError {
    fn from(problem: CsvProblem) -> Self {
        let finding = |kind| Self::body(Problem::new(["csv"], kind, problem.to_string()));
        match &problem {
            CsvProblem::Empty
            | CsvProblem::MissingHeader
            | CsvProblem::NoRows
            | CsvProblem::NotText { .. }
            | CsvProblem::Nul { .. }
            | CsvProblem::RecordTooLong { .. } => Self::new(Code::CsvInvalid, problem.to_string()),
            CsvProblem::MissingPrimaryKey { .. } => finding("csv_primary_key_missing"),
            CsvProblem::DuplicateColumn { .. } => finding("csv_duplicate_column"),
            CsvProblem::ColumnName { .. } => finding("csv_column_name"),
            CsvProblem::TooManyColumns { .. } | CsvProblem::TooManyUnknownColumns { .. } => {
                finding("csv_too_many_columns")
            }
            CsvProblem::Delimiter => Self::body(Problem::new(
                ["delimiter"],
                "delimiter",
                problem.to_string(),
            )),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        match error {
            CommandError::Denied(denied) => denied.into(),
            CommandError::NotFound(missing) => missing.into(),
            CommandError::VersionConflict { current } => {
                Self::new(Code::VersionConflict, text).with("current_version", current)
            }
            CommandError::UniqueValueTaken {
                field,
                customer_user_id,
            } => Self::new(Code::UniqueValueTaken, text)
                .with("field", field)
                .with("customer_user_id", customer_user_id),
            CommandError::IdentityLinkedElsewhere { customer_user_id } => {
                Self::new(Code::IdentityLinkedElsewhere, text)
                    .with("customer_user_id", customer_user_id)
            }
            CommandError::ProfileFieldRequired { field } => {
                Self::new(Code::ProfileFieldRequired, text).with("field", field)
            }
            CommandError::PrimaryKeyMismatch => Self::new(Code::PrimaryKeyMismatch, text),
            CommandError::PrimaryKeyFixed => Self::new(Code::SchemaConflict, text),
            CommandError::Invalid(problems) => Self::bodies(problems),
            CommandError::SchemaInvalid(problems) => {
                let problems: Vec<_> = problems
                    .into_iter()
                    .map(|problem| problem.under("body"))
                    .collect();
                Self::new(Code::SchemaInvalid, "the schema is not usable")
                    .with("problems", findings(&problems))
            }
            CommandError::SchemaConflict { current } => {
                Self::new(Code::SchemaConflict, text).with("current_version", current)
            }
            CommandError::PreparationRequired { preparation_id } => {
                Self::new(Code::PreparationRequired, text)
                    .with("preparation_id", preparation_id.to_string())
            }
            CommandError::RestrictiveFilterRequired => {
                Self::new(Code::RestrictiveFilterRequired, text)
            }
            CommandError::ConfirmationRequired => Self::new(Code::ConfirmationRequired, text),
            CommandError::TooManyMatches { matched, limit } => {
                Self::new(Code::TooManyMatches, text)
                    .with("matched", matched)
                    .with("limit", limit)
            }
            CommandError::TotalChanged { matched } => {
                Self::new(Code::TotalChanged, text).with("matched", matched)
            }
            CommandError::RunInProgress { run_id } => {
                Self::new(Code::RunInProgress, text).with("run_id", run_id.to_string())
            }
            CommandError::ConnectionNameTaken => Self::new(Code::ConnectionNameTaken, text),
            CommandError::ModeUnsupported(_) => Self::new(Code::ModeUnsupported, text),
            CommandError::Csv(problem) => problem.into(),
            CommandError::TooLarge { limit } => {
                Self::new(Code::PayloadTooLarge, text).with("limit", limit)
            }
            CommandError::BodyUnreadable => Self::new(Code::BadRequest, text),
            CommandError::Unavailable => Self::unavailable(),
            CommandError::Internal(source) => Self::Internal(source),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::InvalidCursor => Self::new(
                Code::InvalidCursor,
                "the cursor does not belong to this list",
            ),
            QueryError::Database(error) => CommandError::from(error).into(),
            QueryError::Store(error) => CommandError::from(error).into(),
            QueryError::Behind => Self::new(
                Code::ProjectionBehind,
                "reads have not reached that position yet",
            )
            .retry_after(1),
            QueryError::Malformed => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use roster_commands::{CommandError, NotFound};
    use roster_domain::Problem;

    use super::ApiError;

    fn shape(error: impl Into<ApiError>) -> String {
        let error = error.into();
        format!("{} {}", error.status().as_u16(), error.detail())
    }

    #[test]
    fn a_refusal_has_code_message_and_facts() {
        let taken = CommandError::UniqueValueTaken {
            field: "email".into(),
            customer_user_id: Some("c1".into()),
        };
        insta::assert_snapshot!(shape(taken), @r#"409 {"code":"unique_value_taken","customer_user_id":"c1","field":"email","message":"a value of the unique field email is taken"}"#);
        insta::assert_snapshot!(shape(CommandError::NotFound(NotFound::Customer)), @r#"404 {"code":"customer_not_found","message":"the customer does not exist"}"#);
    }

    #[test]
    fn findings_are_a_list_with_places() {
        let problems = vec![Problem::new(
            ["items", "3", "profile", "email"],
            "email",
            "is no address",
        )];
        insta::assert_snapshot!(shape(CommandError::Invalid(problems)), @r#"422 [{"loc":["body","items",3,"profile","email"],"msg":"is no address","type":"email"}]"#);
    }

    #[test]
    fn at_most_64_findings_are_sent() {
        let problems = (0..100).map(|_| Problem::new(["a"], "b", "c")).collect();
        let detail = ApiError::Invalid(problems).detail();
        assert_eq!(detail.as_array().map(Vec::len), Some(64));
    }

    #[test]
    fn the_text_of_a_failure_stays_here() {
        let error = CommandError::Internal("password=hunter2".into());
        insta::assert_snapshot!(shape(error), @r#"500 {"code":"internal_error","message":"internal error"}"#);
    }
}
