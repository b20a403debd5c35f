//! `log_claims` against what the states hold: nothing is missing, and nothing is held by another or by nobody.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::expected::{ClaimRow, no_sums, sum_of};
use super::report::Findings;
use super::states::Context;
use crate::StoreError;
use crate::copied::{self, fixed, rows};
use crate::vault::to_hex;

const SELECT: &str = "SELECT project_no, kind, key, stream_id FROM log_claims";

/// What to read.
pub(super) enum Wanted {
    /// The sums of all claims.
    Sums,
    /// The claims under these sums.
    Rows(Arc<BTreeSet<usize>>),
}

/// What `log_claims` has.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) count: i64,
    pub(super) sums: Vec<u64>,
    pub(super) rows: Vec<ClaimRow>,
}

/// Reads the table.
pub(super) async fn read(
    connection: &mut PgConnection,
    context: &Context,
    wanted: &Wanted,
) -> Result<Claims, StoreError> {
    let mut claims = Claims {
        sums: no_sums(),
        ..Claims::default()
    };
    let mut blocks = std::pin::pin!(copied::read(connection, SELECT).await?);
    while let Some(block) = blocks.try_next().await? {
        rows::<4>(&block, |[project_no, kind, key, stream]| {
            let project_no = i32::from_be_bytes(fixed(project_no)?);
            let kind = i16::from_be_bytes(fixed(kind)?);
            let (key, stream) = (key.unwrap_or_default(), Uuid::from_bytes(fixed(stream)?));
            claims.count += 1;
            match wanted {
                Wanted::Sums => {
                    let (sum, hash) = context.hash(project_no, kind, key, stream);
                    claims.sums[sum] = claims.sums[sum].wrapping_add(hash);
                }
                Wanted::Rows(only) if only.contains(&sum_of(stream)) => {
                    claims.rows.push(ClaimRow {
                        project_no,
                        kind,
                        key: key.to_vec(),
                        stream,
                    });
                }
                Wanted::Rows(_) => {}
            }
            Ok(())
        })?;
    }
    Ok(claims)
}

/// Names each claim that is not as the states have it. Of `unknown` streams nobody can tell what they hold.
pub(super) fn compare(
    expected: &[ClaimRow],
    actual: &[ClaimRow],
    unknown: &HashSet<Uuid>,
    findings: &mut Findings,
) {
    let id = |claim: &ClaimRow| (claim.project_no, claim.kind, claim.key.clone());
    let holders: HashMap<_, Uuid> = actual
        .iter()
        .map(|claim| (id(claim), claim.stream))
        .collect();
    let owners: HashMap<_, Uuid> = expected
        .iter()
        .map(|claim| (id(claim), claim.stream))
        .collect();
    let named = |claim: &ClaimRow| {
        format!(
            "claim {} of project {} on {}",
            claim.kind,
            claim.project_no,
            to_hex(&claim.key)
        )
    };
    for claim in expected {
        match holders.get(&id(claim)) {
            None => findings.of(claim.stream, format!("{} is missing", named(claim))),
            Some(holder) if *holder != claim.stream => findings.of(
                claim.stream,
                format!("{} is held by the stream {holder}", named(claim)),
            ),
            Some(_) => {}
        }
    }
    for claim in actual {
        if !owners.contains_key(&id(claim)) && !unknown.contains(&claim.stream) {
            findings.of(
                claim.stream,
                format!("{} is none that the stream's state holds", named(claim)),
            );
        }
    }
}
