//! Publishing in order without waiting for each message.
//!
//! Every message says which sequence must be the last before it, so none can be stored before its predecessor is, or twice.
//! So an acknowledgement is for everything before it too, and only some messages ask for one.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::HeaderValue;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;

use super::RelayError;
use super::message::Message;

/// Messages that may be on their way: a server buffers 10,000 for a stream, and drops what is more.
const WINDOW: i64 = 4_096;
/// Messages of which one asks for an acknowledgement.
const ACKNOWLEDGED: i64 = 128;
/// How long the server may take for one of them.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The messages on their way to one stream.
pub(super) struct Pipeline<'a> {
    context: &'a Context,
    client: async_nats::Client,
    stream: String,
    sent: i64,
    acknowledged: i64,
    pending: VecDeque<(i64, PublishAckFuture)>,
}

impl<'a> Pipeline<'a> {
    /// A pipeline into a stream that ends at a position.
    pub(super) fn new(context: &'a Context, stream: String, position: i64) -> Self {
        Self {
            client: context.client(),
            context,
            stream,
            sent: position,
            acknowledged: position,
            pending: VecDeque::new(),
        }
    }

    /// The last position that is known to be in the stream.
    pub(super) const fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Sends the message that follows; waits only while too many are on their way. The last of a page asks for an
    /// acknowledgement.
    pub(super) async fn send(&mut self, message: Message, is_last: bool) -> Result<(), RelayError> {
        let Message {
            position,
            subject,
            mut headers,
            body,
        } = message;
        if position != self.sent + 1 {
            return Err(RelayError::Gap {
                expected: self.sent + 1,
                found: position,
            });
        }
        while self.sent - self.acknowledged >= WINDOW && !self.pending.is_empty() {
            self.settle_one().await?;
        }
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(self.sent));
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        if is_last || position % ACKNOWLEDGED == 0 {
            let publish = PublishMessage::build()
                .headers(headers)
                .payload(body.into());
            let ack = self.context.send_publish(subject, publish).await;
            let ack = ack.map_err(|error| refused(position, &error))?;
            self.pending.push_back((position, ack));
        } else {
            let send = self
                .client
                .publish_with_headers(subject, headers, body.into());
            match tokio::time::timeout(PATIENCE, send).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(RelayError::bus("publish", &error)),
                Err(elapsed) => return Err(RelayError::bus("publish", &elapsed)),
            }
        }
        self.sent = position;
        Ok(())
    }

    /// Waits until everything that was sent is in the stream.
    pub(super) async fn settle(&mut self) -> Result<(), RelayError> {
        while !self.pending.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// Waits a while for what is still on its way, whatever becomes of it. What comes later is refused by its sequence.
    pub(super) async fn drain(&mut self) {
        let drained = async {
            while let Some((_, ack)) = self.pending.pop_front() {
                // The stream is asked next, and it knows.
                let _ = ack.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, drained).await;
        self.pending.clear();
    }

    async fn settle_one(&mut self) -> Result<(), RelayError> {
        let Some((position, ack)) = self.pending.pop_front() else {
            return Ok(());
        };
        let ack = ack.await.map_err(|error| refused(position, &error))?;
        if ack.stream != self.stream || i64::try_from(ack.sequence) != Ok(position) {
            return Err(RelayError::Misplaced {
                position,
                stream: ack.stream,
                sequence: ack.sequence,
            });
        }
        let published = position - self.acknowledged;
        metrics::counter!("roster_relay_published_total").increment(published.unsigned_abs());
        self.acknowledged = position;
        Ok(())
    }
}

fn refused(position: i64, error: &PublishError) -> RelayError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => {
            metrics::counter!("roster_relay_refused_total").increment(1);
            RelayError::Refused(position)
        }
        _ => RelayError::bus("publish", error),
    }
}
