//! Streams: their heads against the events, and what their opened states hold.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use sqlx::PgConnection;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::Stage;
use super::expected::{Expected, sum_of};
use super::folding::{self, ToFold};
use super::heads::{self, Row};
use super::report::Findings;
use super::walk::Head;
use crate::copied::{self, rows};
use crate::kinds::Kind;
use crate::sealing::{About, Part};
use crate::vault::DataKey;
use crate::{Cell, Project, StoreError};

/// Blocks that are opened at once.
const AT_ONCE: usize = 3;

/// What every block is checked with.
pub(super) struct Context {
    pub(super) cell: Cell,
    pub(super) projects: HashMap<i32, Arc<Project>>,
    heads: HashMap<Uuid, Head>,
    refold: bool,
    random: RandomState,
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
        let blocks = copied::read(connection, heads::SELECT).await?;
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
        for message in heads::differences(head, row) {
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
