//! Streams: their heads against the events, and what their states hold against `log_claims`.
//!
//! Sets of claims are compared by keyed sums, a few thousand of them, so that no table of claims is held in memory: equal
//! sums are equal sets, and where two differ the streams under them are looked at one by one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use sqlx::PgConnection;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::Stage;
use super::blocks::{self, fixed, rows};
use super::folding::{self, ToFold};
use super::report::Findings;
use super::walk::Head;
use crate::kinds::{Folded, Kind};
use crate::sealing::{About, Part};
use crate::vault::DataKey;
use crate::{Cell, Project, StoreError};

/// Sums of claims; a stream belongs to one of them.
const SUMS: usize = 4_096;
/// Differing sums that are looked into; damage beyond that is as good as everywhere.
const MOST_DIFFERING: usize = 256;
/// Blocks that are opened at once.
const AT_ONCE: usize = 3;

const SELECT: &str =
    "SELECT stream_id, project_no, kind, flags, version, last_position, state_fingerprint, key_no, key, state
       FROM log_streams";

/// What every block is checked with.
pub(super) struct Context {
    pub(super) cell: Cell,
    pub(super) projects: HashMap<i32, Arc<Project>>,
    heads: HashMap<Uuid, Head>,
    refold: bool,
    random: RandomState,
}

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

/// What the streams came to.
#[derive(Default)]
pub(super) struct States {
    pub(super) streams: i64,
    pub(super) snapshots: i64,
    pub(super) folded: i64,
    pub(super) findings: Findings,
    /// Streams whose state nobody can tell.
    pub(super) unknown: HashSet<Uuid>,
}

impl Context {
    pub(super) fn new(
        cell: &Cell,
        projects: HashMap<i32, Arc<Project>>,
        heads: HashMap<Uuid, Head>,
        refold: bool,
    ) -> Self {
        Self {
            cell: cell.clone(),
            projects,
            heads,
            refold,
            random: RandomState::new(),
        }
    }

    /// The hash of a claim, and the sum that it belongs to.
    pub(super) fn hash(
        &self,
        project_no: i32,
        kind: i16,
        key: &[u8],
        stream: Uuid,
    ) -> (usize, u64) {
        let hash = self
            .random
            .hash_one((project_no, kind, key, stream.as_bytes()));
        (sum_of(stream), hash)
    }

    /// Whether a snapshot is the one that was hashed.
    pub(super) fn is_snapshot(&self, hash: u64, plain: &Vec<u8>) -> bool {
        self.random.hash_one(plain) == hash
    }

    /// Streams that have events and no row; asked once all rows were seen.
    pub(super) fn headless(&self) -> Findings {
        let mut findings = Findings::default();
        for (stream, head) in &self.heads {
            if !head.is_seen.load(Ordering::Relaxed) {
                let message = format!(
                    "the stream has {} events and no row in log_streams",
                    head.version
                );
                findings.add(Some(head.last_position), Some(*stream), message);
            }
        }
        findings
    }
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

    fn like(&self) -> Self {
        self.only.clone().map_or_else(Self::sums, Self::listed)
    }

    pub(super) fn wants(&self, stream: Uuid) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.contains(&sum_of(stream)))
    }

    pub(super) fn add(
        &mut self,
        context: &Context,
        project: &Project,
        stream: Uuid,
        state: &Folded,
    ) {
        for claim in &state.claims {
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

    fn merge(&mut self, other: Self) {
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

/// Reads every stream; adds what the states hold to `expected`.
pub(super) async fn check(
    connection: &mut PgConnection,
    context: &Arc<Context>,
    expected: &mut Expected,
    progress: &mut impl FnMut(Stage, i64, i64),
) -> Result<States, StoreError> {
    let all = i64::try_from(context.heads.len()).unwrap_or(i64::MAX);
    let mut states = States::default();
    let mut to_fold = Vec::new();
    {
        let blocks = blocks::read(connection, SELECT).await?;
        let none = expected.like();
        let opening = blocks.map_ok(move |block| {
            let (context, part) = (Arc::clone(context), none.like());
            let opening = spawn_blocking(move || Opened::read(&context, &block, part));
            async move { opening.await.map_err(|_| StoreError::Closed)? }
        });
        let mut opened = std::pin::pin!(opening.try_buffered(AT_ONCE));
        while let Some(part) = opened.try_next().await? {
            states.streams += part.states.streams;
            states.snapshots += part.states.snapshots;
            states.findings.append(part.states.findings);
            states.unknown.extend(part.states.unknown);
            to_fold.extend(part.to_fold);
            expected.merge(part.expected);
            progress(Stage::Streams, states.streams, all);
        }
    }
    folding::fold(
        connection,
        context,
        &to_fold,
        expected,
        &mut states,
        progress,
    )
    .await?;
    Ok(states)
}

/// A block of streams, opened.
struct Opened {
    states: States,
    to_fold: Vec<ToFold>,
    expected: Expected,
}

/// A row of [`SELECT`].
struct Row<'a> {
    stream: Uuid,
    project_no: i32,
    kind: i16,
    is_closed: bool,
    version: i32,
    last_position: i64,
    fingerprint: i32,
    key_no: i16,
    key: Option<&'a [u8]>,
    state: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    fn of(columns: [Option<&'a [u8]>; 10]) -> Result<Self, StoreError> {
        let [
            stream,
            project_no,
            kind,
            flags,
            version,
            last_position,
            fingerprint,
            key_no,
            key,
            state,
        ] = columns;
        Ok(Self {
            stream: Uuid::from_bytes(fixed(stream)?),
            project_no: i32::from_be_bytes(fixed(project_no)?),
            kind: i16::from_be_bytes(fixed(kind)?),
            is_closed: i16::from_be_bytes(fixed(flags)?) & 1 == 1,
            version: i32::from_be_bytes(fixed(version)?),
            last_position: i64::from_be_bytes(fixed(last_position)?),
            fingerprint: i32::from_be_bytes(fixed(fingerprint)?),
            key_no: fixed(key_no).map_or(0, i16::from_be_bytes),
            key,
            state,
        })
    }
}

impl Opened {
    fn read(context: &Context, block: &[u8], expected: Expected) -> Result<Self, StoreError> {
        let mut opened = Self {
            states: States::default(),
            to_fold: Vec::new(),
            expected,
        };
        rows::<10>(block, |columns| {
            let row = Row::of(columns)?;
            opened.states.streams += 1;
            if opened.expected.wants(row.stream) {
                opened.stream(context, &row);
            }
            Ok(())
        })?;
        Ok(opened)
    }

    fn stream(&mut self, context: &Context, row: &Row<'_>) {
        let findings = &mut self.states.findings;
        let Some(head) = context.heads.get(&row.stream) else {
            return findings.of(
                row.stream,
                "the stream has a row in log_streams and no events",
            );
        };
        head.is_seen.store(true, Ordering::Relaxed);
        for message in head_differs(head, row) {
            findings.add(Some(head.last_position), Some(row.stream), message);
        }
        let Some(kind) = Kind::of_type(head.last_type.0, head.last_type.1) else {
            self.states.unknown.insert(row.stream);
            return;
        };
        if kind.no != row.kind {
            findings.of(
                row.stream,
                format!(
                    "the stream's kind is {}, its events are of kind {}",
                    row.kind, kind.no
                ),
            );
        }
        if head.is_closed {
            if row.key.is_some() || row.state.is_some() {
                findings.of(
                    row.stream,
                    "the stream has ended and still has a key or a snapshot",
                );
            }
            return;
        }
        let Some(project) = context.projects.get(&head.project_no) else {
            self.states.unknown.insert(row.stream);
            return findings.of(
                row.stream,
                format!(
                    "the stream's project {} is not one of this cell",
                    head.project_no
                ),
            );
        };
        let key = row.key.map(|wrapped| {
            context
                .cell
                .vault()
                .open_key(row.stream, row.key_no, wrapped)
        });
        let key = match key {
            Some(Ok(key)) => key,
            Some(Err(error)) => {
                self.states.unknown.insert(row.stream);
                return findings.of(
                    row.stream,
                    format!("the stream's key does not open: {error}"),
                );
            }
            None => {
                self.states.unknown.insert(row.stream);
                return findings.of(row.stream, "the stream is open and its key is gone");
            }
        };
        let snapshot = match row.state {
            Some(sealed) if row.fingerprint == kind.fingerprint => {
                opened_state(kind, head, row, &key, sealed)
            }
            _ => Ok(None),
        };
        if snapshot.is_err() {
            findings.of(row.stream, "the stream's snapshot does not open");
        }
        let snapshot = snapshot.unwrap_or_default();
        let state = snapshot
            .as_ref()
            .and_then(|plain| (kind.of_snapshot)(plain));
        match state {
            Some(state) if !context.refold => {
                self.states.snapshots += 1;
                if state.is_closed {
                    findings.of(row.stream, "the stream's snapshot says that it has ended");
                }
                self.expected.add(context, project, row.stream, &state);
            }
            _ => self.to_fold.push(ToFold {
                stream: row.stream,
                snapshot: snapshot.map(|plain| context.random.hash_one(plain)),
                kind,
                project: Arc::clone(project),
            }),
        }
    }
}

/// The opened snapshot; it is sealed for exactly this version of this stream.
fn opened_state(
    kind: &Kind,
    head: &Head,
    row: &Row<'_>,
    key: &DataKey,
    sealed: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let about = About {
        project_no: head.project_no,
        stream: row.stream,
        version: head.version,
        type_no: kind.no,
        type_version: 0,
        part: Part::State,
    };
    Ok(Some(about.open(key, sealed)?))
}

/// What a row says otherwise than the events.
fn head_differs(head: &Head, row: &Row<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, says: String, events: String| {
        if says != events {
            wrong.push(format!(
                "the stream's row says {what} {says}, its events {events}"
            ));
        }
    };
    if head.version != row.version {
        compare("version", row.version.to_string(), head.version.to_string());
    }
    if head.last_position != row.last_position {
        compare(
            "last position",
            row.last_position.to_string(),
            head.last_position.to_string(),
        );
    }
    if head.project_no != row.project_no {
        compare(
            "project",
            row.project_no.to_string(),
            head.project_no.to_string(),
        );
    }
    if head.is_closed != row.is_closed {
        let word = |is_closed| if is_closed { "ended" } else { "open" };
        compare(
            "that it is",
            word(row.is_closed).into(),
            word(head.is_closed).into(),
        );
    }
    wrong
}
