//! What is wrong with the settings, in one line that names the setting and where its value comes from.

use ::config::ConfigError as Raw;

/// A start can't go on with these settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A value that does not fit.
    #[error("setting {key}: {problem} (from {origin})")]
    Value {
        /// The name, such as `limits.body_bytes`.
        key: String,
        /// What is wrong.
        problem: String,
        /// The variable, file or flag.
        origin: String,
    },
    /// A name that is no setting.
    #[error("there is no setting {key} (from {origin}){}", suggestion.as_ref().map(|name| format!("; is {name} meant?")).unwrap_or_default())]
    Unknown {
        /// The name.
        key: String,
        /// The variable, file or flag.
        origin: String,
        /// The nearest setting.
        suggestion: Option<String>,
    },
    /// Two settings of one source that exclude each other.
    #[error("settings {0} and {1}: only one of them can be set (from {2})")]
    Both(String, String, String),
    /// A file that can't be read.
    #[error("configuration file {0}")]
    File(String),
}

impl ConfigError {
    /// The library's error; `origin_of` finds where a setting's value comes from.
    pub(super) fn of(raw: &Raw, origin_of: impl Fn(&str) -> Option<String>) -> Self {
        match parts(raw) {
            (Some(key), problem) => {
                let origin = origin_of(&key).unwrap_or_else(|| "the defaults".into());
                Self::Value {
                    key,
                    problem,
                    origin,
                }
            }
            (None, problem) => Self::File(problem),
        }
    }
}

/// The setting that an error is about, and what is wrong with it.
fn parts(raw: &Raw) -> (Option<String>, String) {
    match raw {
        Raw::Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.clone(),
            format!("expected {expected}, found {unexpected}"),
        ),
        Raw::At { error, key, .. } => {
            let (inner, problem) = parts(error);
            (key.clone().or(inner), problem)
        }
        Raw::FileParse { uri, cause } => {
            let cause = cause.to_string();
            let first = cause
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default()
                .trim();
            (
                None,
                format!("{}: {first}", uri.as_deref().unwrap_or_default()),
            )
        }
        Raw::Message(message) => (None, message.clone()),
        other => (None, other.to_string()),
    }
}
