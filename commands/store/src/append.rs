//! The call of `log_append`: commands as arrays, verdicts back.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::prepared::{Prepared, Verdict};
use crate::{ChunkVerdict, StoreError};

const APPEND: &str = "SELECT command, status, version, first_position, recorded_at, detail, holder
  FROM log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                  $23, $24, $25, $26, $27, $28)";

/// What the append does with a claim key, as `u_action`.
const RELEASE: i16 = 0;
const TAKE: i16 = 1;
/// Taken from a command of the same chunk, which releases it.
const TAKE_OVER: i16 = 2;
/// Released to a command of the same chunk, which takes it.
const HAND_OVER: i16 = 3;

/// One row of the answer.
pub(crate) struct Judged {
    pub(crate) index: usize,
    pub(crate) status: i16,
    pub(crate) version: i32,
    pub(crate) first_position: i64,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) detail: Vec<u8>,
    pub(crate) holder: Option<Uuid>,
}

/// What a claim key's users in one call are: who takes it, and whether someone releases it.
type KeyUse<'a> = HashMap<(i32, i16, &'a [u8]), (Option<usize>, bool)>;

/// Appends in one autocommit statement. Two takers of one key in a chunk lose without a call.
pub(crate) async fn append(
    connection: &mut PgConnection,
    all_or_nothing: bool,
    commands: &[&Prepared],
) -> Result<Vec<Judged>, StoreError> {
    let count = commands.len();
    let mut stream = Vec::with_capacity(count);
    let mut project = Vec::with_capacity(count);
    let mut kind = Vec::with_capacity(count);
    let mut expected = Vec::with_capacity(count);
    let mut event_count = Vec::with_capacity(count);
    let mut close = Vec::with_capacity(count);
    let mut fingerprint = Vec::with_capacity(count);
    let mut key_no: Vec<Option<i16>> = Vec::with_capacity(count);
    let mut key: Vec<Option<&[u8]>> = Vec::with_capacity(count);
    let mut state: Vec<Option<&[u8]>> = Vec::with_capacity(count);
    let (mut e_command, mut e_offset, mut e_type, mut e_type_version) =
        (vec![], vec![], vec![], vec![]);
    let (mut e_meta, mut e_payload): (Vec<&[u8]>, Vec<&[u8]>) = (vec![], vec![]);
    let (mut g_command, mut g_stream, mut g_version) = (vec![], vec![], vec![]);
    let (mut u_command, mut u_kind, mut u_action) = (vec![], vec![], vec![]);
    let mut u_key: Vec<&[u8]> = vec![];
    let (mut i_command, mut i_seconds) = (vec![], vec![]);
    let mut i_key: Vec<&[u8]> = vec![];
    let mut i_answer: Vec<Option<&[u8]>> = vec![];
    let uses = if all_or_nothing {
        key_uses(commands)
    } else {
        KeyUse::new()
    };

    for (index, command) in commands.iter().enumerate() {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        stream.push(command.stream);
        project.push(command.project_no);
        kind.push(command.kind);
        expected.push(command.expected);
        event_count.push(i32::try_from(command.events.len()).unwrap_or(i32::MAX));
        close.push(command.closes);
        fingerprint.push(command.fingerprint);
        key_no.push(command.new_key.as_ref().map(|wrapped| wrapped.key_no));
        key.push(
            command
                .new_key
                .as_ref()
                .map(|wrapped| wrapped.bytes.as_slice()),
        );
        state.push(command.snapshot.as_deref());
        for (offset, event) in (1_i32..).zip(&command.events) {
            e_command.push(number);
            e_offset.push(offset);
            e_type.push(event.type_no);
            e_type_version.push(event.type_version);
            e_meta.push(event.meta.as_slice());
            e_payload.push(event.payload.as_slice());
        }
        for (guard, version) in &command.guards {
            g_command.push(number);
            g_stream.push(*guard);
            g_version.push(*version);
        }
        for change in &command.claims {
            let moved = uses
                .get(&(command.project_no, change.claim.kind, change.key.as_slice()))
                .is_some_and(|(taker, released)| taker.is_some() && *released);
            u_command.push(number);
            u_kind.push(change.claim.kind);
            u_key.push(change.key.as_slice());
            u_action.push(match (change.take, moved) {
                (true, false) => TAKE,
                (true, true) => TAKE_OVER,
                (false, false) => RELEASE,
                (false, true) => HAND_OVER,
            });
        }
        for answer in &command.answers {
            i_command.push(number);
            i_key.push(answer.key.as_slice());
            i_answer.push(answer.answer.as_deref());
            i_seconds.push(answer.seconds);
        }
    }
    let rows = sqlx::query(APPEND)
        .bind(all_or_nothing)
        .bind(stream)
        .bind(project)
        .bind(kind)
        .bind(expected)
        .bind(event_count)
        .bind(close)
        .bind(fingerprint)
        .bind(key_no)
        .bind(key)
        .bind(state)
        .bind(e_command)
        .bind(e_offset)
        .bind(e_type)
        .bind(e_type_version)
        .bind(e_meta)
        .bind(e_payload)
        .bind(g_command)
        .bind(g_stream)
        .bind(g_version)
        .bind(u_command)
        .bind(u_kind)
        .bind(u_key)
        .bind(u_action)
        .bind(i_command)
        .bind(i_key)
        .bind(i_answer)
        .bind(i_seconds)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let command: i32 = row.try_get("command")?;
            Ok(Judged {
                index: usize::try_from(command - 1)
                    .map_err(|_| StoreError::Malformed("verdict"))?,
                status: row.try_get("status")?,
                version: row.try_get("version")?,
                recorded_at: row.try_get("recorded_at")?,
                first_position: row
                    .try_get::<Option<i64>, _>("first_position")?
                    .unwrap_or_default(),
                detail: row
                    .try_get::<Option<Vec<u8>>, _>("detail")?
                    .unwrap_or_default(),
                holder: row.try_get("holder")?,
            })
        })
        .collect()
}

fn key_uses<'a>(commands: &[&'a Prepared]) -> KeyUse<'a> {
    let mut uses = KeyUse::new();
    for (index, command) in commands.iter().enumerate() {
        for change in &command.claims {
            let entry = uses
                .entry((command.project_no, change.claim.kind, change.key.as_slice()))
                .or_insert((None, false));
            if change.take {
                entry.0 = entry.0.or(Some(index));
            } else {
                entry.1 = true;
            }
        }
    }
    uses
}

/// The commands of a chunk that take a key which an earlier command of it takes.
pub(crate) fn double_takers(commands: &[&Prepared]) -> Vec<(usize, Verdict)> {
    let uses = key_uses(commands);
    let mut lost = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        for change in command.claims.iter().filter(|change| change.take) {
            let first = uses.get(&(command.project_no, change.claim.kind, change.key.as_slice()));
            if let Some((Some(first), _)) = first.filter(|(first, _)| *first != Some(index)) {
                let holder = commands[*first].stream;
                lost.push((
                    index,
                    Verdict::ClaimTaken {
                        claim: change.claim.clone(),
                        holder,
                    },
                ));
                break;
            }
        }
    }
    lost
}

/// The verdict of one command from its row. An answer of an earlier request is still sealed here, behind its stream id.
pub(crate) fn verdict(command: &Prepared, judged: &Judged) -> Option<Verdict> {
    let events = i64::try_from(command.events.len()).unwrap_or_default();
    Some(match judged.status {
        0 => Verdict::Accepted {
            version: judged.version,
            position: judged.first_position + events - 1,
        },
        1 => Verdict::VersionConflict,
        2 => Verdict::StaleGuard,
        3 => {
            let (kind, key) = judged.detail.split_at_checked(2)?;
            let kind = i16::from_be_bytes(kind.try_into().ok()?);
            let change = command
                .claims
                .iter()
                .find(|change| change.claim.kind == kind && change.key == key)?;
            Verdict::ClaimTaken {
                claim: change.claim.clone(),
                holder: judged.holder?,
            }
        }
        4 => Verdict::StreamClosed,
        5 => {
            let answer = [judged.holder?.as_bytes().as_slice(), &judged.detail].concat();
            Verdict::Replayed {
                answer,
                position: judged.first_position,
            }
        }
        _ => return None,
    })
}

/// The verdict of a chunk from its rows.
pub(crate) fn chunk_verdict(
    commands: &[&Prepared],
    judged: &[Judged],
) -> Result<ChunkVerdict, StoreError> {
    if judged.iter().all(|row| row.status == 0) {
        let last_position = judged
            .iter()
            .filter_map(|row| verdict(commands[row.index], row))
            .filter_map(|verdict| match verdict {
                Verdict::Accepted { position, .. } => Some(position),
                _ => None,
            })
            .max()
            .unwrap_or_default();
        return Ok(ChunkVerdict::Accepted { last_position });
    }
    let lost: Vec<(usize, Verdict)> = judged
        .iter()
        .filter(|row| row.status != 6)
        .filter_map(|row| Some((row.index, verdict(commands[row.index], row)?)))
        .filter(|(_, verdict)| !matches!(verdict, Verdict::Accepted { .. }))
        .collect();
    if lost.is_empty() {
        Err(StoreError::Malformed("verdict of a chunk"))
    } else {
        Ok(ChunkVerdict::Lost(lost))
    }
}
