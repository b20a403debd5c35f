//! The rows of a staged body, from any offset on, batch by batch.

use std::sync::Arc;

use roster_domain::import::Import;
use roster_store::Cell;
use uuid::Uuid;

use super::rows::{BATCH_BYTES, Batch, PieceRows};
use super::staging::{Piece, part};
use crate::CommandError;

/// Why no further row can be read.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// A staged piece is missing, damaged, or its key is gone.
    Lost,
    /// The database failed.
    Command(CommandError),
}

impl From<CommandError> for SourceError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// Reads a staged body.
pub(crate) struct Source {
    cell: Cell,
    import_id: Uuid,
    delimiter: u8,
    columns: usize,
    end: u64,
    offset: u64,
    /// The number of the next record; the header is 1.
    number: u64,
    rows: Option<PieceRows>,
    next_piece: Option<i32>,
}

impl Source {
    /// The rows from where the import stands.
    pub(crate) fn at(cell: Cell, import: &Import) -> Self {
        Self {
            cell,
            import_id: import.id,
            delimiter: import.delimiter,
            columns: import.header.len(),
            end: import.staged_bytes,
            offset: import.next_offset,
            number: import.rows + 2,
            rows: None,
            next_piece: None,
        }
    }

    /// The next batch of at most so many rows; `None` behind the last row. A piece that ends does not end a batch: whoever works
    /// on several at once would wait for the largest of them.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<Arc<Batch>>, SourceError> {
        let from = self.offset;
        let mut batch: Option<Batch> = None;
        loop {
            let missing = most - batch.as_ref().map_or(0, |batch| batch.rows.len());
            if let Some(read) = self.read(missing).await? {
                match &mut batch {
                    Some(batch) => batch.append(read),
                    first => *first = Some(read),
                }
            }
            let is_full = batch
                .as_ref()
                .is_some_and(|batch| batch.rows.len() >= most || batch.to - from >= BATCH_BYTES);
            if is_full || self.offset >= self.end {
                return Ok(batch.map(Arc::new));
            }
            if self.rows.is_some() {
                continue;
            }
            let piece = match self.piece().await {
                Ok(piece) => piece,
                // What was read is worked on first; the piece is asked for again after it.
                Err(_) if batch.is_some() => return Ok(batch.map(Arc::new)),
                Err(error) => return Err(error),
            };
            self.rows = Some(PieceRows::new(
                piece,
                self.offset,
                self.delimiter,
                self.columns,
            ));
        }
    }

    /// Rows of the piece that is open, at most so many; `None` where it has no more.
    async fn read(&mut self, most: usize) -> Result<Option<Batch>, SourceError> {
        let Some(mut rows) = self.rows.take() else {
            return Ok(None);
        };
        let number = self.number;
        let (rows, batch) = tokio::task::spawn_blocking(move || {
            let batch = rows.next(most, number);
            (rows, batch)
        })
        .await
        .map_err(|_| SourceError::Lost)?;
        self.next_piece = Some(rows.no() + 1);
        self.offset = batch.as_ref().map_or(rows.end(), |batch| batch.to);
        if let Some(batch) = &batch {
            self.number += batch.rows.len() as u64;
        }
        if self.offset < rows.end() {
            self.rows = Some(rows);
        }
        Ok(batch)
    }

    /// The piece with the next row in it.
    async fn piece(&self) -> Result<Piece, SourceError> {
        let sealed: Option<(i32, i64, Vec<u8>)> = match self.next_piece {
            Some(no) => {
                sqlx::query_as("SELECT chunk_no, text_start, sealed FROM job_chunks WHERE job_id = $1 AND chunk_no = $2")
                    .bind(self.import_id)
                    .bind(no)
                    .fetch_optional(self.cell.pool())
                    .await
            }
            None => {
                sqlx::query_as(
                    "SELECT chunk_no, text_start, sealed
                       FROM job_chunks
                      WHERE job_id = $1 AND text_start <= $2
                      ORDER BY text_start DESC
                      LIMIT 1",
                )
                .bind(self.import_id)
                .bind(i64::try_from(self.offset).unwrap_or(i64::MAX))
                .fetch_optional(self.cell.pool())
                .await
            }
        }
        .map_err(CommandError::from)?;
        let (no, text_start, sealed) = sealed.ok_or(SourceError::Lost)?;
        let text_start = u64::try_from(text_start).map_err(|_| SourceError::Lost)?;
        let opened = self
            .cell
            .open_for(self.import_id, &part(text_start), &sealed)
            .await;
        let packed = match opened {
            Ok(Some(packed)) => packed,
            Err(error) if error.is_transient() => return Err(SourceError::Command(error.into())),
            Ok(None) | Err(_) => return Err(SourceError::Lost),
        };
        let piece = tokio::task::spawn_blocking(move || Piece::unpack(no, text_start, &packed))
            .await
            .ok()
            .flatten()
            .ok_or(SourceError::Lost)?;
        let holds_offset = piece.text_start <= self.offset
            && self.offset <= piece.text_start + piece.text.len() as u64;
        if holds_offset {
            Ok(piece)
        } else {
            Err(SourceError::Lost)
        }
    }
}
