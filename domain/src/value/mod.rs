//! Profile values: what comes in, and the canonical form that is kept.
//!
//! A file per kind of value decides what its canonical form is; which kind a field has is the schema's business.

pub mod boolean;
pub mod email;
pub mod fold;
pub mod identity;
mod json;
pub mod number;
pub mod phone;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use smol_str::SmolStr;

pub use json::{profile_from_json, profile_json, profile_members, value_json};
pub use text::customer_user_id;

/// A canonical profile value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Text, never empty.
    Text(SmolStr),
    /// An exact decimal in canonical spelling, such as `-12.5`.
    Number(SmolStr),
    /// A truth value.
    Bool(bool),
}

impl Value {
    /// The value as one cell of text: booleans are `true` and `false`.
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
        }
    }
}

/// The profile of one customer by field name.
pub type Profile = BTreeMap<SmolStr, Value>;

/// A value as it came in, before a schema was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// JSON null, or an empty cell that clears.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A JSON number with its digits as they were written.
    Number(SmolStr),
    /// JSON text, or a cell.
    Text(SmolStr),
    /// A JSON list or object: never a value.
    Nested,
}
