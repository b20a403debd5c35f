//! Sets of claims, compared by keyed sums: a few thousand of them, so that no table of claims is held in memory. Equal sums are
//! equal sets; where two differ, the streams under them are looked at one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use roster_domain::stream::Held;
use uuid::Uuid;

use super::states::Context;
use crate::Project;

/// Sums of claims; a stream belongs to one of them.
const SUMS: usize = 4_096;
/// Differing sums that are looked into; damage beyond that is as good as everywhere.
const MOST_DIFFERING: usize = 256;
/// A claim as `log_claims` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClaimRow {
    pub(super) project_no: i32,
    pub(super) kind: i16,
    pub(super) key: Vec<u8>,
    pub(super) stream: Uuid,
}

/// The claims that the states hold.
pub(super) struct Expected {
    sums: Vec<u64>,
    only: Option<Arc<BTreeSet<usize>>>,
    rows: Vec<ClaimRow>,
}

/// Sums of no claims.
pub(super) fn no_sums() -> Vec<u64> {
    vec![0; SUMS]
}

/// Stream ids end in random bits.
pub(super) fn sum_of(stream: Uuid) -> usize {
    let bytes = stream.as_bytes();
    usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % SUMS
}

impl Expected {
    /// Only sums.
    pub(super) fn sums() -> Self {
        Self {
            sums: no_sums(),
            only: None,
            rows: Vec::new(),
        }
    }

    /// The claims themselves, of the streams under these sums.
    pub(super) fn listed(only: Arc<BTreeSet<usize>>) -> Self {
        Self {
            only: Some(only),
            ..Self::sums()
        }
    }

    pub(super) fn like(&self) -> Self {
        self.only.clone().map_or_else(Self::sums, Self::listed)
    }

    pub(super) fn wants(&self, stream: Uuid) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.contains(&sum_of(stream)))
    }

    pub(super) fn add(&mut self, context: &Context, project: &Project, stream: Uuid, held: &Held) {
        for claim in &held.claims {
            let key = project.claim_key(claim);
            if self.only.is_some() {
                self.rows.push(ClaimRow {
                    project_no: project.no,
                    kind: claim.kind,
                    key,
                    stream,
                });
            } else {
                let (sum, hash) = context.hash(project.no, claim.kind, &key, stream);
                self.sums[sum] = self.sums[sum].wrapping_add(hash);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.wrapping_add(more);
        }
        self.rows.extend(other.rows);
    }

    /// The sums that another list of them does not share.
    pub(super) fn differing(&self, actual: &[u64]) -> Arc<BTreeSet<usize>> {
        let pairs = self.sums.iter().zip(actual).enumerate();
        let differing = pairs.filter(|(_, (expected, actual))| expected != actual);
        Arc::new(differing.map(|(sum, _)| sum).take(MOST_DIFFERING).collect())
    }

    pub(super) fn rows(self) -> Vec<ClaimRow> {
        self.rows
    }
}
