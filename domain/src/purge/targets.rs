//! Whom a purge is of, frozen when it started; kept only sealed, and only while it goes on.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{from_bytes, to_bytes};

/// The name under which the targets of a purge are sealed.
pub const TARGETS_PART: &str = "purge-targets";

/// One customer of a purge.
///
/// The stream says who it is: somebody who was created under the same id later has another one, and stays.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The customer's stream; `None` where nobody had the id.
    pub stream: Option<Uuid>,
    /// The id.
    pub customer_user_id: String,
}

/// Everybody whom a purge is of, in the order in which they are erased.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Targets(pub Vec<Target>);

/// Frozen; the version is in front of it.
#[derive(Serialize, Deserialize)]
struct TargetsV1 {
    targets: Vec<(Option<[u8; 16]>, String)>,
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<personal>")
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Targets({})", self.0.len())
    }
}

impl Targets {
    /// The bytes to seal: one byte for the version of the shape, then the shape.
    pub fn encode(&self) -> Vec<u8> {
        let targets = self
            .0
            .iter()
            .map(|target| {
                (
                    target.stream.map(Uuid::into_bytes),
                    target.customer_user_id.clone(),
                )
            })
            .collect();
        let mut bytes = vec![1];
        bytes.extend(to_bytes(&TargetsV1 { targets }));
        bytes
    }

    /// The targets from opened bytes; `None` if they have another shape.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (1, shape) = bytes
            .split_first()
            .map(|(version, shape)| (*version, shape))?
        else {
            return None;
        };
        let shape: TargetsV1 = from_bytes((0, 1), shape).ok()?;
        let target = |(stream, customer_user_id): (Option<[u8; 16]>, String)| Target {
            stream: stream.map(Uuid::from_bytes),
            customer_user_id,
        };
        Some(Self(shape.targets.into_iter().map(target).collect()))
    }
}
