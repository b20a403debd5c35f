//! What went wrong with a row.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{from_bytes, to_bytes};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The row was not applied.
    Failed,
    /// The row was applied without the value.
    Warning,
}

/// One finding about a row, its values sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredIssue {
    /// The number of the record in the file; the header is 1.
    pub row: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The field that it is about.
    pub field: Option<String>,
    /// A stable `snake_case` word.
    pub code: String,
    /// A sentence for people, without any value of the row.
    pub message: String,
    /// The customer under whose key the detail is sealed; `None` for the import's own key.
    pub about: Option<Uuid>,
    /// A sealed [`IssueDetail`].
    pub detail: Vec<u8>,
}

/// What a finding tells about a person; kept only sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct IssueDetail {
    /// The id that the row gave.
    pub customer_user_id: Option<String>,
    /// The cells of the row, as they were.
    pub cells: Vec<String>,
}

/// Frozen; the version is in front of it.
#[derive(Serialize, Deserialize)]
struct IssueDetailV1 {
    customer_user_id: Option<String>,
    cells: Vec<String>,
}

impl fmt::Debug for IssueDetail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<personal>")
    }
}

impl IssueDetail {
    /// The bytes to seal: one byte for the version of the shape, then the shape.
    pub fn encode(&self) -> Vec<u8> {
        let shape = IssueDetailV1 {
            customer_user_id: self.customer_user_id.clone(),
            cells: self.cells.clone(),
        };
        let mut bytes = vec![1];
        bytes.extend(to_bytes(&shape));
        bytes
    }

    /// The detail from opened bytes; `None` if they have another shape.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (1, shape) = bytes
            .split_first()
            .map(|(version, shape)| (*version, shape))?
        else {
            return None;
        };
        let shape: IssueDetailV1 = from_bytes((0, 1), shape).ok()?;
        Some(Self {
            customer_user_id: shape.customer_user_id,
            cells: shape.cells,
        })
    }
}
