//! Customers named in a body by id or by reference.

use roster_commands::authority::Operation;
use roster_commands::{Context, FindBy};
use roster_domain::Problem;
use roster_http::{ApiError, App};
use uuid::Uuid;

/// The stream of the customer that a body names by exactly one of both; `None` where no customer has the id.
///
/// A reference is taken as it is: it goes on naming somebody who was erased, and only the log knows whether it exists.
pub(crate) async fn stream(
    app: &App,
    context: &Context,
    wanted_for: Operation,
    customer_user_id: Option<String>,
    customer_ref: Option<&str>,
) -> Result<Option<Uuid>, ApiError> {
    match (customer_user_id, customer_ref) {
        (Some(id), None) => Ok(app
            .directory()
            .find_customer(context, wanted_for, FindBy::Id(id))
            .await?),
        (None, Some(reference)) => Ok(Uuid::try_parse(reference).ok()),
        (None, None) => Err(problem("missing", "a required member is missing")),
        (Some(_), Some(_)) => Err(problem(
            "ambiguous",
            "expected customer_user_id or customer_ref",
        )),
    }
}

/// Whose rows a filter lets through.
pub(crate) enum Whose {
    /// It names no customer.
    Everybodys,
    Of(Uuid),
    /// It names a customer who does not exist.
    Nobodys,
}

/// The customer that a filter names, by one of both or by none.
pub(crate) async fn filtered(
    app: &App,
    context: &Context,
    wanted_for: Operation,
    customer_user_id: Option<String>,
    customer_ref: Option<&str>,
) -> Result<Whose, ApiError> {
    if customer_user_id.is_none() && customer_ref.is_none() {
        return Ok(Whose::Everybodys);
    }
    let named = stream(app, context, wanted_for, customer_user_id, customer_ref).await?;
    Ok(named.map_or(Whose::Nobodys, Whose::Of))
}

fn problem(kind: &'static str, message: &'static str) -> ApiError {
    ApiError::body(Problem::new(["customer_user_id"], kind, message))
}
