//! What a grant says: which agents, and whether it is in force.

use serde::{Deserialize, Serialize};

use crate::{Problem, Timestamp};

/// The agent that stands for every one.
const EVERY_AGENT: &str = "*";
/// The most agents of one grant.
const MOST_AGENTS: usize = 256;
/// The longest alias of an agent, in characters.
const LONGEST_ALIAS: usize = 128;

/// The terms of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The agents as they were written, without doubles; `*` alone is every agent.
    pub agents: Vec<String>,
    /// A grant that is switched off denies.
    pub enabled: bool,
    /// From then on the grant is as if it were not there.
    pub expires_at: Option<Timestamp>,
}

/// Whether a grant is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStatus {
    /// It allows its agents.
    Active,
    /// It denies every agent.
    Disabled,
    /// Its time is over.
    Expired,
}

impl GrantStatus {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }
}

/// Terms as events store them. Frozen.
#[derive(Serialize, Deserialize)]
pub(crate) struct TermsV1 {
    agents: Vec<String>,
    enabled: bool,
    expires_at: Option<i64>,
}

impl From<&Terms> for TermsV1 {
    fn from(terms: &Terms) -> Self {
        Self {
            agents: terms.agents.clone(),
            enabled: terms.enabled,
            expires_at: terms.expires_at.map(|at| at.0),
        }
    }
}

impl From<TermsV1> for Terms {
    fn from(stored: TermsV1) -> Self {
        Self {
            agents: stored.agents,
            enabled: stored.enabled,
            expires_at: stored.expires_at.map(Timestamp),
        }
    }
}

impl Terms {
    /// The terms of a request: aliases are trimmed, and compared without case for doubles.
    ///
    /// # Errors
    /// A problem at `agents`: none, more than 256, or one that is blank, has controls or more than 128 characters.
    pub fn read(
        agents: &[String],
        enabled: bool,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Problem> {
        let refuse = |kind, message| Err(Problem::new(["agents"], kind, message));
        let mut read: Vec<String> = Vec::with_capacity(agents.len().min(MOST_AGENTS));
        for alias in agents {
            let alias = alias.trim();
            if alias.is_empty()
                || alias.chars().count() > LONGEST_ALIAS
                || alias.chars().any(char::is_control)
            {
                let message = "an agent has 1 to 128 characters and no controls";
                return refuse("agent_invalid", message);
            }
            if !read.iter().any(|known| same(known, alias)) {
                read.push(alias.to_owned());
            }
            if read.len() > MOST_AGENTS {
                return refuse("too_many_agents", "at most 256 agents");
            }
        }
        if read.is_empty() {
            return refuse("value_required", "at least one agent is required");
        }
        if read.iter().any(|alias| alias == EVERY_AGENT) {
            read = vec![EVERY_AGENT.to_owned()];
        }
        Ok(Self {
            agents: read,
            enabled,
            expires_at,
        })
    }

    /// Whether the grant is in force at a time.
    pub fn status(&self, now: Timestamp) -> GrantStatus {
        if self.expires_at.is_some_and(|at| at <= now) {
            GrantStatus::Expired
        } else if self.enabled {
            GrantStatus::Active
        } else {
            GrantStatus::Disabled
        }
    }
}

/// Whether a list of agents names one; `*` names every one. Allocates nothing.
pub(super) fn names(agents: &[String], alias: &str) -> bool {
    agents
        .iter()
        .any(|known| known == EVERY_AGENT || same(known, alias))
}

fn same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    let lowered = one.chars().flat_map(char::to_lowercase);
    lowered.eq(other.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::{GrantStatus, Terms, names};
    use crate::Timestamp;

    fn read(agents: &[&str]) -> Result<Vec<String>, String> {
        let agents: Vec<String> = agents.iter().map(|alias| (*alias).to_owned()).collect();
        Terms::read(&agents, true, None)
            .map(|terms| terms.agents)
            .map_err(|problem| problem.kind)
    }

    #[test]
    fn agents_are_trimmed_and_named_once() {
        assert_eq!(
            read(&[" Sales ", "SALES", "Üser", "üSER"]),
            Ok(vec!["Sales".into(), "Üser".into()])
        );
        assert_eq!(read(&["sales", "*"]), Ok(vec!["*".into()]));
        assert_eq!(read(&[]), Err("value_required".into()));
        assert_eq!(read(&["  "]), Err("agent_invalid".into()));
        assert_eq!(read(&["a\nb"]), Err("agent_invalid".into()));
        let many: Vec<String> = (0..257).map(|number| number.to_string()).collect();
        assert_eq!(
            Terms::read(&many, true, None).map_err(|problem| problem.kind),
            Err("too_many_agents".into())
        );
    }

    #[test]
    fn agents_compare_without_case() {
        let listed = ["Sales".to_owned(), "Ürlaub".to_owned()];
        assert!(names(&listed, "sALES") && names(&listed, "ÜRLAUB"));
        assert!(!names(&listed, "support"));
        assert!(names(&["*".to_owned()], "support"));
    }

    #[test]
    fn a_grant_ends_at_its_time() {
        let terms = |enabled, at: Option<i64>| Terms {
            agents: vec!["*".into()],
            enabled,
            expires_at: at.map(Timestamp),
        };
        let now = Timestamp(10);
        assert_eq!(terms(true, Some(11)).status(now), GrantStatus::Active);
        assert_eq!(terms(true, Some(10)).status(now), GrantStatus::Expired);
        assert_eq!(terms(false, Some(10)).status(now), GrantStatus::Expired);
        assert_eq!(terms(false, None).status(now), GrantStatus::Disabled);
    }
}
