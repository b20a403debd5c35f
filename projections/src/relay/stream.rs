//! The stream of a cell and epoch: its name, its configuration, and where it ends.
//!
//! A sequence of it is a position of the log, so its last sequence is the relay's checkpoint. Only one stream can have the
//! subjects of a cell: a new epoch takes them from the stream of the old one, which is deleted.

use std::cmp::Ordering;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{
    DeleteStreamErrorKind, GetStreamByNameErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType, Stream};
use roster_store::Cell;

use super::message::{digest_of, hex, subjects_of};
use super::{RelayError, RelayOptions};

/// The entry of a stream's metadata that tells of which log it is: the digest of the log's first event.
const LOG: &str = "roster-log";

/// Where the relay stands in a stream.
pub(super) struct Place {
    /// The stream.
    pub(super) stream: String,
    /// The epoch in its name.
    pub(super) epoch: i32,
    /// The last position that it has.
    pub(super) position: i64,
    /// The digest in the message at that position, as hexadecimal digits; `None` where there is no message any more.
    pub(super) digest: Option<String>,
}

/// The name of a stream.
pub(super) fn name_of(cell: &str, epoch: i32) -> String {
    format!("roster_{cell}_{epoch}")
}

/// The epoch in the name of a stream of this cell.
fn epoch_in(name: &str, cell: &str) -> Option<i32> {
    let digits = name
        .strip_prefix("roster_")?
        .strip_prefix(cell)?
        .strip_prefix('_')?;
    digits
        .parse()
        .ok()
        .filter(|epoch| name_of(cell, *epoch) == name)
}

/// Finds the stream of the log's epoch, or makes it; `None` while the log is empty.
///
/// # Errors
/// [`RelayError::Foreign`] where the stream, or its subjects, are another log's.
pub(super) async fn attach(
    cell: &Cell,
    context: &Context,
    options: &RelayOptions,
) -> Result<Option<Place>, RelayError> {
    let Some(first) = cell.read_open_page(0, 1).await?.pop() else {
        return Ok(None);
    };
    let log = hex(&first.digest);
    loop {
        let holder = holder(cell, context).await?;
        // Read after the stream: an epoch is in the database before any stream is named after it.
        let epoch = cell.epoch().await?;
        let Some(holder) = holder else {
            let wanted = config(cell.name(), epoch, &log, options);
            context
                .create_stream(wanted)
                .await
                .map_err(|error| RelayError::bus("create the stream", &error))?;
            tracing::info!(stream = name_of(cell.name(), epoch), "a stream begins");
            continue;
        };
        let Some(stream) = open(context, &holder).await? else {
            continue;
        };
        let info = stream.cached_info();
        let known = epoch_in(&holder, cell.name());
        let Some(known) = known.filter(|_| info.config.metadata.get(LOG) == Some(&log)) else {
            return Err(RelayError::Foreign(holder));
        };
        match known.cmp(&epoch) {
            Ordering::Less => {
                delete(context, &holder).await?;
                tracing::warn!(
                    stream = holder,
                    epoch,
                    "the stream of an ended epoch is deleted"
                );
            }
            Ordering::Greater => {
                cell.raise_epoch(known).await?;
            }
            Ordering::Equal => {
                follow_settings(context, info, options).await?;
                return Ok(Some(place(&stream, holder, epoch).await?));
            }
        }
    }
}

/// The last sequence of a stream.
pub(super) async fn last_sequence(context: &Context, name: &str) -> Result<i64, RelayError> {
    match open(context, name).await? {
        Some(stream) => signed(stream.cached_info().state.last_sequence),
        None => Ok(0),
    }
}

/// Deletes the stream that has the subjects of a cell, whichever log it is of; its name, if there was one.
pub(super) async fn remove(cell: &Cell, context: &Context) -> Result<Option<String>, RelayError> {
    let Some(holder) = holder(cell, context).await? else {
        return Ok(None);
    };
    if epoch_in(&holder, cell.name()).is_none() {
        return Err(RelayError::Foreign(holder));
    }
    delete(context, &holder).await?;
    Ok(Some(holder))
}

/// The stream that has the subjects of a cell, and its epoch; `None` where there is none yet.
///
/// # Errors
/// [`RelayError::Foreign`] where it is none of a relay's.
pub(super) async fn current(
    cell: &Cell,
    context: &Context,
) -> Result<Option<(String, i32)>, RelayError> {
    let Some(name) = holder(cell, context).await? else {
        return Ok(None);
    };
    match epoch_in(&name, cell.name()) {
        Some(epoch) => Ok(Some((name, epoch))),
        None => Err(RelayError::Foreign(name)),
    }
}

/// The first sequence of a stream that is there, or would be, and the last one.
pub(super) async fn bounds(context: &Context, name: &str) -> Result<(i64, i64), RelayError> {
    match open(context, name).await? {
        Some(stream) => {
            let state = &stream.cached_info().state;
            let (first, last) = (signed(state.first_sequence)?, signed(state.last_sequence)?);
            Ok((first.max(1), last))
        }
        None => Ok((1, 0)),
    }
}

async fn holder(cell: &Cell, context: &Context) -> Result<Option<String>, RelayError> {
    match context.stream_by_subject(subjects_of(cell.name())).await {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Ok(None),
        Err(error) => Err(RelayError::bus("find the stream", &error)),
    }
}

async fn open(context: &Context, name: &str) -> Result<Option<Stream>, RelayError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        // Somebody deleted it meanwhile.
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(ref refused) if refused.code() == 404) => {
            Ok(None)
        }
        Err(error) => Err(RelayError::bus("open the stream", &error)),
    }
}

async fn delete(context: &Context, name: &str) -> Result<(), RelayError> {
    match context.delete_stream(name).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), DeleteStreamErrorKind::JetStream(ref refused) if refused.code() == 404) => {
            Ok(())
        }
        Err(error) => Err(RelayError::bus("delete the stream", &error)),
    }
}

async fn place(stream: &Stream, name: String, epoch: i32) -> Result<Place, RelayError> {
    let state = &stream.cached_info().state;
    let digest = if state.messages == 0 {
        None
    } else {
        let last = stream
            .get_raw_message(state.last_sequence)
            .await
            .map_err(|error| RelayError::bus("read the last message", &error))?;
        // A message that is none of ours has a digest that no event has.
        Some(digest_of(&last.payload).unwrap_or_default())
    };
    Ok(Place {
        stream: name,
        epoch,
        position: signed(state.last_sequence)?,
        digest,
    })
}

/// Brings limits that were configured anew into effect.
async fn follow_settings(
    context: &Context,
    info: &Info,
    options: &RelayOptions,
) -> Result<(), RelayError> {
    let limits = (options.max_age, options.max_bytes, options.replicas);
    if (
        info.config.max_age,
        info.config.max_bytes,
        info.config.num_replicas,
    ) == limits
    {
        return Ok(());
    }
    let mut wanted = info.config.clone();
    (wanted.max_age, wanted.max_bytes, wanted.num_replicas) = limits;
    context
        .update_stream(wanted)
        .await
        .map_err(|error| RelayError::bus("change the stream", &error))?;
    Ok(())
}

fn config(cell: &str, epoch: i32, log: &str, options: &RelayOptions) -> Config {
    Config {
        name: name_of(cell, epoch),
        subjects: vec![subjects_of(cell)],
        description: Some("events of a Roster log: a sequence is a position".into()),
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_age: options.max_age,
        max_bytes: options.max_bytes,
        num_replicas: options.replicas,
        // What is gone from the middle would pass for a hole in the log.
        deny_delete: true,
        deny_purge: true,
        first_sequence: Some(1),
        metadata: [(LOG.to_owned(), log.to_owned())].into(),
        ..Config::default()
    }
}

fn signed(sequence: u64) -> Result<i64, RelayError> {
    i64::try_from(sequence).map_err(|_| RelayError::Unwritable)
}

#[cfg(test)]
mod tests {
    use super::{epoch_in, name_of};

    #[test]
    fn the_epoch_is_in_the_name_of_the_stream() {
        assert_eq!(name_of("main", 3), "roster_main_3");
        assert_eq!(epoch_in("roster_main_3", "main"), Some(3));
        assert_eq!(epoch_in("roster_a_1_2", "a_1"), Some(2));
        for foreign in [
            "roster_a_1_2",
            "roster_a_",
            "roster_a_03",
            "roster_b_1",
            "orders",
        ] {
            assert_eq!(epoch_in(foreign, "a"), None, "{foreign}");
        }
    }
}
