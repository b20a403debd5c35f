//! Rows of `log_streams`, and where they differ from the events.

use uuid::Uuid;

use super::walk::Head;
use crate::StoreError;
use crate::copied::fixed;

pub(super) const SELECT: &str =
    "SELECT stream_id, project_no, kind, flags, version, last_position, state_fingerprint, key_no, key, state
       FROM log_streams";

/// A row of [`SELECT`].
pub(super) struct Row<'a> {
    pub(super) stream: Uuid,
    pub(super) project_no: i32,
    pub(super) kind: i16,
    pub(super) is_closed: bool,
    pub(super) version: i32,
    pub(super) last_position: i64,
    pub(super) fingerprint: i32,
    pub(super) key_no: i16,
    pub(super) key: Option<&'a [u8]>,
    pub(super) state: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    pub(super) fn of(columns: [Option<&'a [u8]>; 10]) -> Result<Self, StoreError> {
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

/// What a row says otherwise than the events.
pub(super) fn differences(head: &Head, row: &Row<'_>) -> Vec<String> {
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
