//! The audit sink: the stream of a cell as JSON lines in files, so that the audit log leaves the service by the bus too.
//!
//! Its place is the last line of its files, which are on the disk before more is asked for; so it may be killed anywhere, and no
//! line is there twice. What the stream no longer has comes from the log, as the same lines.

mod files;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use futures::StreamExt;
use roster_store::Cell;
use tokio::time::{sleep, timeout};

use super::message::Writer;
use super::{PAGE, RelayError, STAND_BY, context, stream, waits};
use files::{At, Files};

/// How long a message that is there may take.
const SILENCE: Duration = Duration::from_secs(2);

/// Where and how the files are written.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// Their folder, which nothing else writes to.
    pub folder: PathBuf,
    /// Bytes after which a file is followed by the next one.
    pub file_bytes: u64,
    /// Whether it ends when it has every event that was in the log at its start.
    pub once: bool,
}

/// Writes the events of a cell into files, after the last one that is there. A bus that is away is waited for.
///
/// # Errors
/// [`RelayError::Files`] where the files cannot be written, or are something else's; with `once` every other error too.
pub async fn sink(
    cell: &Cell,
    client: &Client,
    options: &SinkOptions,
    mut on_position: impl FnMut(i64),
) -> Result<i64, RelayError> {
    let head = cell.head_position().await?;
    let mut sink = Sink {
        cell,
        context: context(client),
        files: Files::open(&options.folder, options.file_bytes)?,
        head: options.once.then_some(head),
    };
    let mut backoff = waits();
    loop {
        let before = sink.files.last;
        match sink.follow(&mut on_position).await {
            Ok(position) => return Ok(position),
            Err(error @ RelayError::Files(_)) => return Err(error),
            Err(error) if options.once => return Err(error),
            Err(error) => {
                if sink.files.last != before {
                    backoff = waits();
                }
                tracing::warn!(%error, "the sink waits");
                sleep(backoff.next().unwrap_or(STAND_BY)).await;
            }
        }
    }
}

struct Sink<'a> {
    cell: &'a Cell,
    context: Context,
    files: Files,
    /// Where it ends.
    head: Option<i64>,
}

impl Sink<'_> {
    /// Writes until the end, or until something is in the way.
    async fn follow(&mut self, on_position: &mut impl FnMut(i64)) -> Result<i64, RelayError> {
        loop {
            let Some((name, epoch)) = stream::current(self.cell, &self.context).await? else {
                if self.head == Some(0) {
                    return Ok(0);
                }
                sleep(STAND_BY).await;
                continue;
            };
            if self.files.last.epoch != epoch {
                // Another life of the log: it is told from its first event, in files of its own.
                self.files.last = At { epoch, position: 0 };
            }
            if self.is_done() {
                return Ok(self.files.last.position);
            }
            let (first, last) = stream::bounds(&self.context, &name).await?;
            self.fill_up(first - 1, on_position).await?;
            if self.files.last.position > last {
                // It is being filled again.
                sleep(STAND_BY).await;
                continue;
            }
            self.listen(&name, on_position).await?;
        }
    }

    fn is_done(&self) -> bool {
        self.head
            .is_some_and(|head| self.files.last.position >= head)
    }

    /// Writes what comes before a stream's first message from the log.
    async fn fill_up(
        &mut self,
        to: i64,
        on_position: &mut impl FnMut(i64),
    ) -> Result<(), RelayError> {
        let At { epoch, .. } = self.files.last;
        let mut writer = Writer::new(self.cell.clone(), epoch);
        while self.files.last.position < to {
            let after = self.files.last.position;
            let page = self
                .cell
                .read_open_page(after, PAGE.min(to - after))
                .await?;
            if page.is_empty() {
                return Err(RelayError::Restored(epoch));
            }
            for event in &page {
                let message = writer.write(event).await?;
                self.add(epoch, event.position, &message.body)?;
            }
            self.files.flush()?;
            on_position(self.files.last.position);
        }
        Ok(())
    }

    /// Writes messages until the end, or until none came for a while.
    async fn listen(
        &mut self,
        name: &str,
        on_position: &mut impl FnMut(i64),
    ) -> Result<(), RelayError> {
        let epoch = self.files.last.epoch;
        let mut messages = self.messages(name).await?;
        while !self.is_done() {
            let next = match futures::poll!(messages.next()) {
                std::task::Poll::Ready(next) => Some(next),
                std::task::Poll::Pending => {
                    // Whatever came is on the disk before it is waited for more.
                    self.files.flush()?;
                    on_position(self.files.last.position);
                    timeout(SILENCE, messages.next()).await.ok()
                }
            };
            let Some(Some(message)) = next else {
                break;
            };
            let message = message.map_err(|error| RelayError::bus("deliver", &error))?;
            let sequence = message
                .info()
                .map_err(|error| RelayError::bus("number its messages", &error))?
                .stream_sequence;
            let position = i64::try_from(sequence).map_err(|_| RelayError::Unwritable)?;
            if At::of(&message.payload) != Some(At { epoch, position }) {
                return Err(RelayError::Foreign(name.to_owned()));
            }
            self.add(epoch, position, &message.payload)?;
        }
        self.files.flush()?;
        on_position(self.files.last.position);
        Ok(())
    }

    async fn messages(&self, name: &str) -> Result<Ordered, RelayError> {
        let start_sequence = self.files.last.position.unsigned_abs() + 1;
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..OrderedConfig::default()
        };
        let stream = self.context.get_stream(name).await;
        let stream = stream.map_err(|error| RelayError::bus("open the stream", &error))?;
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| RelayError::bus("make a consumer", &error))?;
        let messages = consumer.messages().await;
        messages.map_err(|error| RelayError::bus("deliver", &error))
    }

    fn add(&mut self, epoch: i32, position: i64, line: &[u8]) -> Result<(), RelayError> {
        let expected = self.files.last.position + 1;
        if position != expected {
            return Err(RelayError::Gap {
                expected,
                found: position,
            });
        }
        Ok(self.files.write(At { epoch, position }, line)?)
    }
}
