//! The rows of a staged body, from any offset on, batch by batch.

use std::sync::Arc;

use roster_domain::import::Import;
use roster_store::Cell;
use uuid::Uuid;

use super::rows::{Batch, PieceRows};
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

    /// The next batch of at most so many rows; `None` behind the last row.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Option<Arc<Batch>>, SourceError> {
        loop {
            if let Some(mut rows) = self.rows.take() {
                let number = self.number;
                let (rows, batch) = tokio::task::spawn_blocking(move || {
                    let batch = rows.next(most, number);
                    (rows, batch)
                })
                .await
                .map_err(|_| SourceError::Lost)?;
                let end = rows.end();
                self.next_piece = Some(rows.no() + 1);
                if let Some(batch) = batch {
                    self.offset = batch.to;
                    self.number += batch.rows.len() as u64;
                    if batch.to < end {
                        self.rows = Some(rows);
                    }
                    return Ok(Some(Arc::new(batch)));
                }
                self.offset = end;
            }
            if self.offset >= self.end {
                return Ok(None);
            }
            let piece = self.piece().await?;
            self.rows = Some(PieceRows::new(
                piece,
                self.offset,
                self.delimiter,
                self.columns,
            ));
        }
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
