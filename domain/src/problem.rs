//! One finding about an input.

use serde::{Deserialize, Serialize};

/// What is wrong with one part of an input. The text never repeats the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: the path of members, without the leading `body`.
    pub loc: Vec<String>,
    /// A stable `snake_case` word for programs, such as `value_required`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

impl Problem {
    /// A finding at a path.
    pub fn new<I, S>(loc: I, kind: &str, message: impl Into<String>) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            loc: loc.into_iter().map(Into::into).collect(),
            kind: kind.into(),
            message: message.into(),
        }
    }

    /// The same finding one level deeper.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.loc.insert(0, parent.into());
        self
    }
}
