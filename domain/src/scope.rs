//! The tenant of every request, command and event.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Account, organization and project. The triple is the tenant: equal project ids in two organizations differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// The customer of Roster's operator.
    pub account_id: String,
    /// An organization of that account.
    pub org_id: String,
    /// A project of that organization.
    pub project_id: String,
}

impl Scope {
    /// Checks the three ids: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, and never the word `unknown`.
    pub fn parse(account_id: &str, org_id: &str, project_id: &str) -> Result<Self, Vec<Problem>> {
        let problems: Vec<Problem> = [
            ("account_id", account_id),
            ("org_id", org_id),
            ("project_id", project_id),
        ]
        .into_iter()
        .filter(|(_, id)| !is_scope_id(id))
        .map(|(name, _)| {
            Problem::new(
                [name],
                "scope_id",
                "must match [A-Za-z0-9][A-Za-z0-9._-]{0,127} and not be 'unknown'",
            )
        })
        .collect();
        if problems.is_empty() {
            Ok(Self {
                account_id: account_id.into(),
                org_id: org_id.into(),
                project_id: project_id.into(),
            })
        } else {
            Err(problems)
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}/{}",
            self.account_id, self.org_id, self.project_id
        )
    }
}

/// Whether the text may be an account, organization or project id.
pub fn is_scope_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text != "unknown"
}

#[cfg(test)]
mod tests {
    use super::Scope;

    #[test]
    fn every_bad_id_is_named() {
        let problems = Scope::parse("unknown", "org_1", "-x").expect_err("two are bad");
        let names: Vec<_> = problems
            .iter()
            .map(|problem| problem.loc.join("."))
            .collect();
        assert_eq!(names, ["account_id", "project_id"]);
    }
}
