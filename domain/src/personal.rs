//! The wrapper of everything that names or describes a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value about a person, or the mark that it was erased.
///
/// `Debug` never shows the value. An event whose stream key is gone decodes with [`Personal::Erased`].
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Personal<T> {
    /// The value itself.
    Known(T),
    /// The key of the value was destroyed.
    #[default]
    Erased,
}

impl<T> Personal<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self::Known(value)
    }

    /// The value, unless it was erased.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }

    /// The value itself, unless it was erased.
    pub fn into_known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }
}

impl<T> From<T> for Personal<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T> From<Option<T>> for Personal<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Erased, Self::Known)
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Known(_) => "<personal>",
            Self::Erased => "<erased>",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Personal;

    #[test]
    fn debug_never_shows_the_value() {
        assert_eq!(
            format!("{:?}", Personal::new("ada@example.org")),
            "<personal>"
        );
    }
}
