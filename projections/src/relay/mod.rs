//! The relay: every event of the log as one message of a `JetStream` stream, in order, once.
//!
//! The stream's sequence is the log's position, and each message is published on the condition that its predecessor is the
//! last one. So the stream itself is the checkpoint, and any number of relays, lost acknowledgements and repeated messages
//! come to the same stream. Whoever finds that another relay is ahead stands by and looks once a second.
//!
//! Each page that is read begins with the event that was published last, and its digest must be the one in the message: where
//! it is not, the database was restored, and the log goes on in another epoch and another stream.

mod message;
mod pipeline;
mod sink;
mod stream;

use std::fmt::Display;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use backon::{BackoffBuilder, ExponentialBuilder};
use roster_store::{Cell, OpenEvent, StoreError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::status::as_float;
use message::{Writer, hex};
use pipeline::{PATIENCE, Pipeline};
pub use sink::{SinkOptions, sink};
use stream::Place;

/// Events that are read at once.
const PAGE: i64 = 2_000;
/// How long an idle relay waits before it looks again: another server may append.
const IDLE: Duration = Duration::from_millis(200);
/// The pause after a page that was not full: under load events gather, and cost one read together.
const GATHER: Duration = Duration::from_millis(2);
/// How often a relay that stands by looks whether it is needed.
const STAND_BY: Duration = Duration::from_secs(1);

/// How the stream is kept.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// How long a message stays.
    pub max_age: Duration,
    /// Bytes of the stream; the oldest messages make room.
    pub max_bytes: i64,
    /// Copies in a cluster, 1 to 5.
    pub replicas: usize,
}

/// Why an event does not get to the bus now.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// NATS does not do what it should; it may later.
    #[error("NATS does not {doing}: {reason}")]
    Bus {
        /// What was asked.
        doing: &'static str,
        /// What it said.
        reason: String,
    },
    /// The message at this position came too late or too early: the stream is asked where it ends.
    #[error("the message at position {0} was refused: the stream ends elsewhere")]
    Refused(i64),
    /// The last message of the stream is not of the log's event at that position.
    #[error("the log is not the one that was relayed in epoch {0}: the database was restored")]
    Restored(i32),
    /// Another log publishes there.
    #[error(
        "stream {0} is of another log: give this cell another name or another NATS account, or run `roster relay republish` \
         where that log is gone"
    )]
    Foreign(String),
    /// The log is read with a hole.
    #[error("position {expected} should follow, and {found} does")]
    Gap {
        /// The position that should follow.
        expected: i64,
        /// The position that follows.
        found: i64,
    },
    /// The server stored a message elsewhere than it was asked to.
    #[error("the message at position {position} is at sequence {sequence} of stream {stream}")]
    Misplaced {
        /// The position.
        position: i64,
        /// The stream that has it.
        stream: String,
        /// Its sequence there.
        sequence: u64,
    },
    /// A newer server wrote an event that this one cannot name.
    #[error("event type {type_no} version {type_version} is unknown: a newer server relays it")]
    UnknownType {
        /// The type.
        type_no: i16,
        /// The shape of the type.
        type_version: i16,
    },
    /// An event is of a project that does not exist.
    #[error("project number {0} is unknown")]
    UnknownProject(i32),
    /// A number or text that no message can carry.
    #[error("the event has no message")]
    Unwritable,
    /// The files of a sink can't be written, or are something else's.
    #[error("the files of the sink: {0}")]
    Files(#[from] std::io::Error),
    /// The log can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RelayError {
    fn bus(doing: &'static str, error: &impl Display) -> Self {
        Self::Bus {
            doing,
            reason: error.to_string(),
        }
    }
}

/// Starts the relay of a cell. It uses whichever connection it is given last, and tells whether it gets on.
pub fn start(
    cell: Cell,
    clients: watch::Receiver<Option<Client>>,
    options: RelayOptions,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<bool> {
    let is_well = watch::Sender::new(true);
    let receiver = is_well.subscribe();
    let relay = Relay {
        cell,
        options,
        is_well,
    };
    tracker.spawn(async move { stop.run_until_cancelled(relay.run(clients)).await });
    receiver
}

/// Publishes what the stream lacks up to the head of the log, and ends; the name of the stream and its last position, unless
/// the log is empty.
pub async fn fill(
    cell: &Cell,
    client: &Client,
    options: &RelayOptions,
    mut on_position: impl FnMut(i64),
) -> Result<Option<(String, i64)>, RelayError> {
    let context = context(client);
    let head = cell.head_position().await?;
    loop {
        let Some(mut session) = Session::open(cell, &context, options).await? else {
            return Ok(None);
        };
        match session.fill(head, &mut on_position).await {
            Ok(position) => return Ok(Some((session.place.stream, position))),
            // Another relay is at work too.
            Err(RelayError::Refused(_)) => session.pipeline.drain().await,
            Err(error) => return Err(error),
        }
    }
}

/// Deletes the stream of a cell, whichever log filled it, and fills it again from the oldest event; as [`fill`].
pub async fn republish(
    cell: &Cell,
    client: &Client,
    options: &RelayOptions,
    on_position: impl FnMut(i64),
) -> Result<Option<(String, i64)>, RelayError> {
    stream::remove(cell, &context(client)).await?;
    fill(cell, client, options, on_position).await
}

fn context(client: &Client) -> Context {
    ContextBuilder::new()
        .timeout(PATIENCE)
        .build(client.clone())
}

/// One attempt: from where the stream ends until something is in the way.
struct Session<'a> {
    cell: &'a Cell,
    place: Place,
    writer: Writer,
    pipeline: Pipeline<'a>,
}

impl<'a> Session<'a> {
    /// Finds the end of the stream; `None` while the log is empty.
    async fn open(
        cell: &'a Cell,
        context: &'a Context,
        options: &RelayOptions,
    ) -> Result<Option<Self>, RelayError> {
        let place = stream::attach(cell, context, options).await?;
        Ok(place.map(|place| Self {
            writer: Writer::new(cell.clone(), place.epoch),
            pipeline: Pipeline::new(context, place.stream.clone(), place.position),
            cell,
            place,
        }))
    }

    /// Publishes up to a position; the last one that is in the stream.
    async fn fill(
        &mut self,
        head: i64,
        on_position: &mut impl FnMut(i64),
    ) -> Result<i64, RelayError> {
        while self.place.position < head {
            self.advance().await?;
            on_position(self.pipeline.acknowledged());
        }
        self.pipeline.settle().await?;
        Ok(self.pipeline.acknowledged())
    }

    /// Sends the next page; whether it was a full one. After less than that, all that was sent is in the stream.
    async fn advance(&mut self) -> Result<bool, RelayError> {
        let page = self.next_page().await?;
        let is_full = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        if let Some(last) = page.last() {
            for event in &page {
                let message = self.writer.write(event).await?;
                let is_last = event.position == last.position;
                self.pipeline.send(message, is_last).await?;
            }
            self.place.position = last.position;
            self.place.digest = Some(hex(&last.digest));
        }
        if !is_full {
            self.pipeline.settle().await?;
        }
        Ok(is_full)
    }

    /// The events after those that were sent, if the last of those is still the log's.
    async fn next_page(&self) -> Result<Vec<OpenEvent>, RelayError> {
        let Place {
            position, epoch, ..
        } = self.place;
        let Some(digest) = &self.place.digest else {
            // There is no message to compare with: the stream is new, or its last message is too old.
            if self.cell.head_position().await? < position {
                return Err(RelayError::Restored(epoch));
            }
            return Ok(self.cell.read_open_page(position, PAGE).await?);
        };
        let mut page = self.cell.read_open_page(position - 1, PAGE + 1).await?;
        if page
            .first()
            .is_none_or(|first| hex(&first.digest) != *digest)
        {
            return Err(RelayError::Restored(epoch));
        }
        page.remove(0);
        Ok(page)
    }
}

struct Relay {
    cell: Cell,
    options: RelayOptions,
    is_well: watch::Sender<bool>,
}

/// Why a session ended.
struct Halt {
    error: RelayError,
    /// The stream that it was on.
    stream: Option<String>,
    /// Whether it published anything before.
    has_progressed: bool,
}

impl Relay {
    async fn run(self, mut clients: watch::Receiver<Option<Client>>) {
        loop {
            let client = clients.borrow_and_update().clone();
            let work = async {
                match client {
                    Some(client) => self.work(&context(&client)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = clients.changed() => if changed.is_err() { return },
                () = work => {}
            }
        }
    }

    /// Relays by one connection, without an end.
    async fn work(&self, context: &Context) {
        let mut backoff = waits();
        let mut told = None;
        loop {
            let halt = self.attend(context).await;
            if halt.has_progressed {
                backoff = waits();
                told = None;
            }
            match (&halt.error, &halt.stream) {
                (RelayError::Restored(epoch), _) => {
                    tracing::error!(
                        epoch,
                        "the database was restored: the log goes on in another epoch, and its events in another stream"
                    );
                    if self.cell.raise_epoch(*epoch).await.is_ok() {
                        continue;
                    }
                }
                (RelayError::Refused(position), Some(stream)) => {
                    let last = stream::last_sequence(context, stream).await;
                    if last.is_ok_and(|last| last >= *position) {
                        self.stand_by(context, stream).await;
                        continue;
                    }
                    if halt.has_progressed {
                        continue;
                    }
                }
                _ => {}
            }
            let reason = halt.error.to_string();
            if told.as_ref() != Some(&reason) {
                tracing::warn!(reason, "events wait in the log");
                told = Some(reason);
            }
            self.is_well.send_replace(false);
            sleep(backoff.next().unwrap_or(STAND_BY)).await;
        }
    }

    /// Publishes whatever comes until something is in the way.
    async fn attend(&self, context: &Context) -> Halt {
        let mut heads = self.cell.head();
        let mut session = loop {
            heads.mark_unchanged();
            match Session::open(&self.cell, context, &self.options).await {
                Ok(Some(session)) => break session,
                Ok(None) => self.rest(&mut heads).await,
                Err(error) => {
                    return Halt {
                        error,
                        stream: None,
                        has_progressed: false,
                    };
                }
            }
        };
        let began = session.pipeline.acknowledged();
        let error = loop {
            heads.mark_unchanged();
            match session.advance().await {
                Ok(is_full) => {
                    let position = session.pipeline.acknowledged();
                    let lag = *heads.borrow() - position;
                    metrics::gauge!("roster_relay_position").set(as_float(position));
                    metrics::gauge!("roster_relay_lag_events").set(as_float(lag.max(0)));
                    if !is_full {
                        self.rest(&mut heads).await;
                    }
                }
                Err(error) => break error,
            }
        };
        session.pipeline.drain().await;
        Halt {
            error,
            has_progressed: session.pipeline.acknowledged() > began,
            stream: Some(session.place.stream),
        }
    }

    /// Waits until there may be more to publish.
    async fn rest(&self, heads: &mut watch::Receiver<i64>) {
        self.is_well
            .send_if_modified(|is_well| !std::mem::replace(is_well, true));
        sleep(GATHER).await;
        let _ = timeout(IDLE, heads.changed()).await;
    }

    /// Lets another relay work; returns when the stream no longer follows the log.
    async fn stand_by(&self, context: &Context, stream: &str) {
        tracing::debug!("another relay is ahead: this one stands by");
        self.is_well.send_replace(true);
        let (mut known_last, mut known_head) = (-1, i64::MAX);
        loop {
            let (Ok(last), Ok(head)) = (
                stream::last_sequence(context, stream).await,
                self.cell.head_position().await,
            ) else {
                return;
            };
            if last <= known_last && last < known_head {
                return;
            }
            (known_last, known_head) = (last, head);
            sleep(STAND_BY).await;
        }
    }
}

fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(IDLE)
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
