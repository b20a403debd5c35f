//! The body of an answer: unpacked, counted, never longer than its limits in bytes and time.

use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use reqwest::header::CONTENT_ENCODING;
use roster_commands::sync::source::SourceError;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use super::{OutboundOptions, late};

/// How much is read at once.
const PIECE: usize = 64 << 10;

/// A body that is still on the way.
pub(crate) struct Body {
    reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    /// What the header says, where nothing is packed.
    announced: Option<u64>,
    left: u64,
    limit: u64,
    patience: Duration,
    idle: Duration,
}

impl Body {
    pub(super) fn new(answer: reqwest::Response, options: &OutboundOptions) -> Self {
        let packed = answer
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let announced = answer.content_length().filter(|_| !packed);
        let pieces = answer
            .bytes_stream()
            .map_err(|error| std::io::Error::other(error.without_url()));
        let raw = StreamReader::new(Box::pin(pieces));
        let body = Self {
            reader: Box::new(raw),
            announced,
            left: options.file_bytes,
            limit: options.file_bytes,
            patience: options.file_timeout,
            idle: options.answer_timeout,
        };
        if packed { body.unpacked() } else { body }
    }

    /// The same body, unpacked.
    pub(crate) fn unpacked(mut self) -> Self {
        let mut decoder = GzipDecoder::new(BufReader::with_capacity(PIECE, self.reader));
        decoder.multiple_members(true);
        self.reader = Box::new(decoder);
        self.announced = None;
        self
    }

    /// The same body behind bytes that were taken from it to look at.
    pub(crate) fn behind(mut self, head: Bytes) -> Self {
        self.left += head.len() as u64;
        self.reader = Box::new(AsyncReadExt::chain(std::io::Cursor::new(head), self.reader));
        self
    }

    /// The next bytes; empty at the end.
    ///
    /// # Errors
    /// [`SourceError::Refused`] beyond the limit of bytes, [`SourceError::Transient`] beyond that of time or when it breaks off.
    pub(crate) async fn piece(&mut self) -> Result<Bytes, SourceError> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let begun = Instant::now();
        let read = tokio::time::timeout(
            self.patience.min(self.idle),
            self.reader.read_buf(&mut piece),
        )
        .await
        .map_err(|_| late(self.patience.min(self.idle)))?
        .map_err(|error| SourceError::Transient(format!("the answer broke off: {error}")))?;
        self.patience = self.patience.saturating_sub(begun.elapsed());
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| too_large(self.limit))?;
        Ok(piece.freeze())
    }

    /// All of it, at most so many bytes.
    pub(super) async fn whole(mut self, most: u64) -> Result<Bytes, SourceError> {
        if self.announced.is_some_and(|length| length > most) {
            return Err(too_large(most));
        }
        (self.left, self.limit) = (most, most);
        let mut whole = BytesMut::new();
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                return Ok(whole.freeze());
            }
            whole.extend_from_slice(&piece);
        }
    }
}

fn too_large(most: u64) -> SourceError {
    SourceError::Refused(format!("the answer is larger than {most} bytes"))
}
