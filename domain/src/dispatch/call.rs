//! Which call of which agent a dispatch is.

use crate::Problem;

/// The longest name of a run, in characters.
const LONGEST_RUN: usize = 256;
/// The longest alias of an agent, in characters, as for grants.
const LONGEST_AGENT: usize = 128;
/// The longest endpoint, in characters.
const LONGEST_ENDPOINT: usize = 512;

/// One call in one run of one agent. The same three again are the same call.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The caller's name for the run.
    pub run_id: String,
    /// The agent; grants know it without regard to case.
    pub agent_alias: String,
    /// What it is to call.
    pub endpoint: String,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Call")
            .field("agent_alias", &self.agent_alias)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// The call of a request. Texts are trimmed.
    ///
    /// # Errors
    /// A problem for each text that is blank, has controls or is too long.
    pub fn read(run_id: &str, agent_alias: &str, endpoint: &str) -> Result<Self, Vec<Problem>> {
        let texts = [
            ("run_id", run_id, LONGEST_RUN),
            ("agent_alias", agent_alias, LONGEST_AGENT),
            ("endpoint", endpoint, LONGEST_ENDPOINT),
        ];
        let problems: Vec<Problem> = texts
            .into_iter()
            .filter(|(_, text, longest)| !is_good(text.trim(), *longest))
            .map(|(place, _, longest)| {
                let message = format!("must have 1 to {longest} characters and no controls");
                Problem::new([place], "text_invalid", message)
            })
            .collect();
        if problems.is_empty() {
            Ok(Self {
                run_id: run_id.trim().to_owned(),
                agent_alias: agent_alias.trim().to_owned(),
                endpoint: endpoint.trim().to_owned(),
            })
        } else {
            Err(problems)
        }
    }
}

fn is_good(text: &str, longest: usize) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= longest
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn each_bad_text_is_named() {
        let long = "x".repeat(257);
        for (run, agent, endpoint, places) in [
            (" r ", "sales", "POST /orders", &[][..]),
            ("", "a\0b", " ", &["run_id", "agent_alias", "endpoint"][..]),
            (long.as_str(), "sales", "x", &["run_id"][..]),
            ("r", &long[..129], &long, &["agent_alias"][..]),
        ] {
            let found: Vec<String> = match Call::read(run, agent, endpoint) {
                Ok(call) => {
                    assert_eq!(call.run_id, run.trim());
                    Vec::new()
                }
                Err(problems) => problems.iter().map(|found| found.loc[0].clone()).collect(),
            };
            assert_eq!(found, places);
        }
    }
}
