//! Which input of an agent gets its value from whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::Problem;
use crate::value::{Profile, Value};

/// The most inputs of one kind.
const MOST: usize = 256;
/// The longest name of an input or a profile field, in characters.
const LONGEST: usize = 128;

/// The most that the model may say, in bytes of JSON text.
const LARGEST: usize = 64 * 1024;

/// The inputs of an agent call as a caller wants them filled.
#[derive(Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The profile field that fills an input, by the input's name.
    invoker: BTreeMap<String, String>,
    /// What the model says as JSON text, by the input's name. Nobody looks into it.
    llm: BTreeMap<String, String>,
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Inputs")
            .field("invoker", &self.invoker)
            .field("llm", &self.llm.keys())
            .finish()
    }
}

/// The inputs with their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Filled {
    /// Values of the person, by input. An input whose field has no value is left out.
    pub injected: BTreeMap<String, Value>,
    /// What the model may fill as JSON text, by input.
    pub kept: BTreeMap<String, String>,
    /// The inputs that the model wanted to fill and may not, by name.
    pub dropped: Vec<String>,
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Filled")
            .field("injected", &self.injected.keys())
            .field("kept", &self.kept.keys())
            .field("dropped", &self.dropped)
            .finish()
    }
}

impl Inputs {
    /// The inputs of a request. Names have 1 to 128 characters, no blanks around them and no controls; the model says at most
    /// 64 KiB.
    ///
    /// # Errors
    /// Problems under `invoker_fields` and `llm_fields`, at most one for each place.
    pub fn read(
        invoker: impl IntoIterator<Item = (String, String)>,
        llm: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let invoker: BTreeMap<String, String> = invoker.into_iter().collect();
        let llm: BTreeMap<String, String> = llm.into_iter().collect();
        let mut problems = BTreeSet::new();
        for (input, field) in &invoker {
            if !is_name(input) || !is_name(field) {
                problems.insert("invoker_fields");
            }
        }
        if llm.keys().any(|input| !is_name(input)) {
            problems.insert("llm_fields");
        }
        let counts = [("invoker_fields", invoker.len()), ("llm_fields", llm.len())];
        let counted = counts.iter().filter(|(_, count)| *count > MOST);
        let said: usize = llm.iter().map(|(name, text)| name.len() + text.len()).sum();
        let is_large = (said > LARGEST).then(|| {
            let message = "what the model says has at most 64 KiB";
            Problem::new(["llm_fields"], "fields_too_large", message)
        });
        let problems: Vec<Problem> = counted
            .map(|(place, _)| Problem::new([*place], "too_many_fields", "at most 256 fields"))
            .chain(problems.into_iter().map(|place| {
                // The name itself came from outside, so it is not repeated.
                let message = "a name has 1 to 128 characters, no blanks around it and no controls";
                Problem::new([place], "name_invalid", message)
            }))
            .chain(is_large)
            .collect();
        if problems.is_empty() {
            Ok(Self { invoker, llm })
        } else {
            Err(problems)
        }
    }

    /// Fills the inputs of a call that may be made for a person.
    ///
    /// An input that belongs to the platform is never the model's, also where the person has no value for it: then it stays
    /// empty, for another person's value there would be worse than none.
    pub fn fill(self, profile: &Profile) -> Filled {
        let value = |field: &String| profile.get(field.as_str()).cloned();
        let injected = self
            .invoker
            .iter()
            .filter_map(|(input, field)| Some((input.clone(), value(field)?)))
            .collect();
        self.split(injected)
    }

    /// The inputs of a call that may not be made: nothing is injected and nothing is kept, but what would have been dropped
    /// is still told.
    pub fn refuse(self) -> Filled {
        Filled {
            kept: BTreeMap::new(),
            ..self.split(BTreeMap::new())
        }
    }

    fn split(self, injected: BTreeMap<String, Value>) -> Filled {
        let (mut kept, mut dropped) = (BTreeMap::new(), Vec::new());
        for (input, said) in self.llm {
            if self.invoker.contains_key(&input) {
                dropped.push(input);
            } else {
                kept.insert(input, said);
            }
        }
        Filled {
            injected,
            kept,
            dropped,
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.chars().any(char::is_control)
        && text.chars().count() <= LONGEST
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
