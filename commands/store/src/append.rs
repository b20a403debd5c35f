//! The call of `log_append`: commands as arrays, verdicts back.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, PgConnection, Row};
use uuid::Uuid;

use crate::StoreError;
use crate::prepared::{Prepared, Verdict};

const APPEND: &str = "SELECT command, status, first_position, recorded_at, detail, holder
  FROM log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                  $23, $24, $25, $26, $27, $28, $29, $30)";

/// What the append does with a claim key, as `u_action`.
const RELEASE: i16 = 0;
const TAKE: i16 = 1;
/// Taken from a command of the same chunk, which releases it.
const TAKE_OVER: i16 = 2;
/// Released to a command of the same chunk, which takes it.
const HAND_OVER: i16 = 3;

/// What one call did.
pub(crate) struct Answer {
    /// The position of the first event that was written, and when; `None` where nothing was.
    pub(crate) written: Option<(i64, DateTime<Utc>)>,
    /// The verdicts of those that lost, by their index in the call.
    pub(crate) lost: HashMap<usize, Verdict>,
}

/// The claim keys that one call takes: who is the first to take it, and whether someone releases it.
type KeyUse<'a> = HashMap<(i32, i16, &'a [u8]), (usize, bool)>;

/// The arguments of one call. Two takers of one key must not be in it.
pub(crate) fn arguments(
    all_or_nothing: bool,
    commands: &[&Prepared],
) -> Result<PgArguments, StoreError> {
    let count = commands.len();
    let mut stream = Vec::with_capacity(count);
    let mut project = Vec::with_capacity(count);
    let mut kind = Vec::with_capacity(count);
    let mut expected = Vec::with_capacity(count);
    let mut event_count = Vec::with_capacity(count);
    let mut before = Vec::with_capacity(count);
    let mut close = Vec::with_capacity(count);
    let mut fingerprint = Vec::with_capacity(count);
    let mut key_no: Vec<Option<i16>> = Vec::with_capacity(count);
    let mut key: Vec<Option<&[u8]>> = Vec::with_capacity(count);
    let mut state: Vec<Option<&[u8]>> = Vec::with_capacity(count);
    let (mut e_command, mut e_offset, mut e_type, mut e_type_version) =
        (vec![], vec![], vec![], vec![]);
    let (mut e_meta, mut e_payload): (Vec<&[u8]>, Vec<&[u8]>) = (vec![], vec![]);
    let mut guards: Vec<(Uuid, i32)> = vec![];
    let (mut r_command, mut r_guard) = (vec![], vec![]);
    let mut claims: Vec<(i16, &[u8], i32, i16)> = vec![];
    let (mut i_command, mut i_seconds) = (vec![], vec![]);
    let mut i_key: Vec<&[u8]> = vec![];
    let mut i_answer: Vec<&[u8]> = vec![];
    let mut events = 0;
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
        let own = i32::try_from(command.events.len()).unwrap_or(i32::MAX);
        event_count.push(own);
        before.push(events);
        events += own;
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
        for guard in &command.guards {
            // Commands of one project rely on the same schema, so there are few.
            let known = guards.iter().position(|known| known == guard);
            let place = known.unwrap_or_else(|| {
                guards.push(*guard);
                guards.len() - 1
            });
            r_command.push(number);
            r_guard.push(i32::try_from(place + 1).unwrap_or(i32::MAX));
        }
        for change in &command.claims {
            let moved = uses
                .get(&(command.project_no, change.claim.kind, change.key.as_slice()))
                .is_some_and(|(_, released)| *released);
            let action = match (change.take, moved) {
                (true, false) => TAKE,
                (true, true) => TAKE_OVER,
                (false, false) => RELEASE,
                (false, true) => HAND_OVER,
            };
            claims.push((change.claim.kind, &change.key, number, action));
        }
        for answer in &command.answers {
            i_command.push(number);
            i_key.push(answer.key.as_slice());
            i_answer.push(&answer.answer);
            i_seconds.push(answer.seconds);
        }
    }
    let (g_stream, g_version): (Vec<Uuid>, Vec<i32>) = guards.into_iter().unzip();
    // In the order of the index, neighbours are found where the last one was.
    claims.sort_unstable();
    let u_kind: Vec<i16> = claims.iter().map(|(kind, ..)| *kind).collect();
    let u_key: Vec<&[u8]> = claims.iter().map(|(_, key, ..)| *key).collect();
    let u_command: Vec<i32> = claims.iter().map(|(.., number, _)| *number).collect();
    let u_action: Vec<i16> = claims.iter().map(|(.., action)| *action).collect();

    let mut arguments = PgArguments::default();
    let add = || -> Result<(), BoxDynError> {
        arguments.add(all_or_nothing)?;
        arguments.add(stream)?;
        arguments.add(project)?;
        arguments.add(kind)?;
        arguments.add(expected)?;
        arguments.add(event_count)?;
        arguments.add(before)?;
        arguments.add(close)?;
        arguments.add(fingerprint)?;
        arguments.add(key_no)?;
        arguments.add(key)?;
        arguments.add(state)?;
        arguments.add(e_command)?;
        arguments.add(e_offset)?;
        arguments.add(e_type)?;
        arguments.add(e_type_version)?;
        arguments.add(e_meta)?;
        arguments.add(e_payload)?;
        arguments.add(g_stream)?;
        arguments.add(g_version)?;
        arguments.add(r_command)?;
        arguments.add(r_guard)?;
        arguments.add(u_command)?;
        arguments.add(u_kind)?;
        arguments.add(u_key)?;
        arguments.add(u_action)?;
        arguments.add(i_command)?;
        arguments.add(i_key)?;
        arguments.add(i_answer)?;
        arguments.add(i_seconds)
    };
    add().map_err(|error| StoreError::Database(sqlx::Error::Encode(error)))?;
    Ok(arguments)
}

/// Appends in one autocommit statement.
pub(crate) async fn append(
    connection: &mut PgConnection,
    arguments: PgArguments,
    commands: &[&Prepared],
) -> Result<Answer, StoreError> {
    let rows = sqlx::query_with(APPEND, arguments)
        .fetch_all(connection)
        .await?;
    let mut answer = Answer {
        written: None,
        lost: HashMap::new(),
    };
    for row in &rows {
        let number: i32 = row.try_get("command")?;
        if number == 0 {
            answer.written = Some((row.try_get("first_position")?, row.try_get("recorded_at")?));
            continue;
        }
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let command = commands
            .get(index)
            .ok_or(StoreError::Malformed("verdict"))?;
        answer.lost.insert(index, loss(command, row)?);
    }
    Ok(answer)
}

/// Keys that are only released cost nothing here: a purge has no others.
fn key_uses<'a>(commands: &[&'a Prepared]) -> KeyUse<'a> {
    let mut uses = KeyUse::new();
    for (index, command) in commands.iter().enumerate() {
        for change in command.claims.iter().filter(|change| change.take) {
            uses.entry((command.project_no, change.claim.kind, change.key.as_slice()))
                .or_insert((index, false));
        }
    }
    for command in commands {
        for change in command.claims.iter().filter(|change| !change.take) {
            let key = (command.project_no, change.claim.kind, change.key.as_slice());
            if let Some((_, released)) = uses.get_mut(&key) {
                *released = true;
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
            if let Some((first, _)) = first.filter(|(first, _)| *first != index) {
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

/// Why a command lost. An answer of an earlier request is still sealed here, behind its stream id.
fn loss(command: &Prepared, row: &PgRow) -> Result<Verdict, StoreError> {
    let malformed = || StoreError::Malformed("verdict");
    let status: i16 = row.try_get("status")?;
    let detail: Option<&[u8]> = row.try_get("detail")?;
    let holder: Option<Uuid> = row.try_get("holder")?;
    Ok(match status {
        1 => Verdict::VersionConflict,
        2 => Verdict::StaleGuard,
        3 => {
            let (kind, key) = detail
                .and_then(|detail| detail.split_at_checked(2))
                .ok_or_else(malformed)?;
            let change = command
                .claims
                .iter()
                .find(|change| change.claim.kind.to_be_bytes() == kind && change.key == key)
                .ok_or_else(malformed)?;
            Verdict::ClaimTaken {
                claim: change.claim.clone(),
                holder: holder.ok_or_else(malformed)?,
            }
        }
        4 => Verdict::StreamClosed,
        5 => {
            let stream = holder.ok_or_else(malformed)?;
            Verdict::Replayed {
                answer: [stream.as_bytes().as_slice(), detail.unwrap_or_default()].concat(),
                position: row.try_get("first_position")?,
            }
        }
        _ => return Err(malformed()),
    })
}

impl Answer {
    /// The verdict of each command, in their order: the accepted ones follow each other in the log.
    pub(crate) fn verdicts(mut self, commands: &[&Prepared]) -> Result<Vec<Verdict>, StoreError> {
        let mut position = self.written.map(|(first, _)| first - 1);
        commands
            .iter()
            .enumerate()
            .map(|(index, command)| {
                if let Some(lost) = self.lost.remove(&index) {
                    return Ok(lost);
                }
                let last = position
                    .as_mut()
                    .ok_or(StoreError::Malformed("verdict of a batch"))?;
                *last += command.events_written();
                Ok(Verdict::Accepted {
                    version: command.version_after(),
                    position: *last,
                })
            })
            .collect()
    }
}
