//! What makes two requests for a purge the same one, and what a list of ids must be.

use std::fmt::Write as _;

use roster_domain::Problem;
use roster_domain::purge::Purge;
use roster_store::Project;

use super::PurgeInput;
use crate::CommandError;

/// The most customers that one request names.
const NAMED_LIMIT: usize = 500;

/// Refuses no id, too many of them or a blank one.
pub(super) fn check_ids(ids: &[String]) -> Result<(), CommandError> {
    if ids.is_empty() || ids.len() > NAMED_LIMIT {
        let message = format!("expected 1 to {NAMED_LIMIT} ids");
        return Err(CommandError::invalid(Problem::new(
            ["customer_user_ids"],
            "length",
            message,
        )));
    }
    let blank = ids
        .iter()
        .enumerate()
        .filter(|(_, id)| id.trim().is_empty());
    let problems: Vec<Problem> = blank
        .map(|(index, _)| {
            let loc = ["customer_user_ids".to_owned(), index.to_string()];
            Problem::new(loc, "value_required", "an id is required")
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Invalid(problems))
    }
}

/// Everything that makes a request by filter the same one.
pub(super) fn text_of(input: &PurgeInput) -> String {
    let PurgeInput {
        filter,
        confirm_project_id,
        expected_total,
        limit,
    } = input;
    let mut fields = filter.sought.fields.clone();
    fields.sort_unstable();
    // The derived form quotes texts, so that no two requests look alike; it is hashed and never kept.
    format!(
        "filter\0{:?}\0{:?}\0{fields:?}\0{confirm_project_id:?}\0{expected_total:?}\0{limit:?}",
        filter.open, filter.sought.search
    )
}

/// The same for a request that names customers, in whatever order.
pub(super) fn text_of_ids(ids: &[String]) -> String {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    format!("ids\0{}", sorted.join("\0"))
}

/// The hash of a request under the project's own key: it tells nothing without it.
pub(super) fn fingerprint(project: &Project, request: &str) -> String {
    let claim = Purge::request_claim(request);
    let hash = project.claim_key(&claim);
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
