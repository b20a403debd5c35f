//! Which customer could not be erased, and why.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{from_bytes, to_bytes};

/// The name under which details of failures are sealed.
pub const FAILURE_PART: &str = "purge-failure";

/// One customer who could not be erased, the id sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFailure {
    /// The customer under whose key the detail is sealed; `None` for the purge's own key.
    pub about: Option<Uuid>,
    /// Why, as a sentence for people. Never about a value.
    pub reason: String,
    /// A sealed [`FailureDetail`].
    pub detail: Vec<u8>,
}

/// What a failure tells about a person; kept only sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct FailureDetail {
    /// The customer's id; `None` where it is not known any more.
    pub customer_user_id: Option<String>,
}

/// Frozen; the version is in front of it.
#[derive(Serialize, Deserialize)]
struct FailureDetailV1 {
    customer_user_id: Option<String>,
}

impl fmt::Debug for FailureDetail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<personal>")
    }
}

impl FailureDetail {
    /// The bytes to seal: one byte for the version of the shape, then the shape.
    pub fn encode(&self) -> Vec<u8> {
        let shape = FailureDetailV1 {
            customer_user_id: self.customer_user_id.clone(),
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
        let shape: FailureDetailV1 = from_bytes((0, 1), shape).ok()?;
        Some(Self {
            customer_user_id: shape.customer_user_id,
        })
    }
}
