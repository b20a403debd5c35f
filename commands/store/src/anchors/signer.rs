//! The one that signs: reads the head of the log, compares it with its last anchor, and appends the next.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::{Anchor, AnchorFile, AnchorKey};
use crate::{Cell, StoreError};

/// Why no anchor was written.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be written.
    #[error("the file of anchors: {0}")]
    File(#[from] std::io::Error),
    /// The log no longer has what was signed, and what it has now gets no signature.
    #[error(
        "the log differs from its anchor at position {0}: it was changed or cut by another way than an append; run `roster log verify`"
    )]
    Differs(i64),
}

/// Signs anchors of one cell into one file.
#[derive(Debug)]
pub struct Signer {
    cell: Cell,
    key: AnchorKey,
    file: Arc<Mutex<AnchorFile>>,
    last: Option<Anchor>,
}

impl Signer {
    /// Opens the file and goes on after its last anchor.
    pub fn open(cell: Cell, key: AnchorKey, path: &Path) -> Result<Self, AnchorError> {
        let file = AnchorFile::open(path)?;
        let last = file
            .last_line()
            .and_then(|line| Anchor::read(line, &[key.public()]).ok())
            .filter(|anchor| anchor.cell == cell.name());
        Ok(Self {
            cell,
            key,
            file: Arc::new(Mutex::new(file)),
            last,
        })
    }

    /// Appends an anchor if the log moved since the last one; gives its position.
    pub async fn sign(&mut self, at: DateTime<Utc>) -> Result<Option<i64>, AnchorError> {
        let epoch = self.cell.epoch().await?;
        let Some((position, digest)) = self.cell.last_batch().await? else {
            return match &self.last {
                Some(last) if last.epoch == epoch => Err(AnchorError::Differs(last.position)),
                _ => Ok(None),
            };
        };
        if let Some(last) = self.last.as_ref().filter(|last| last.epoch == epoch) {
            let there = self.cell.batch_digest(last.position).await?;
            if there != Some(last.digest) {
                return Err(AnchorError::Differs(last.position));
            }
            if last.position == position {
                return Ok(None);
            }
        }
        let anchor = Anchor {
            cell: self.cell.name().to_owned(),
            epoch,
            position,
            digest,
            at,
        };
        let (line, file) = (self.key.sign(&anchor), Arc::clone(&self.file));
        let written = tokio::task::spawn_blocking(move || {
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&line)
        });
        written.await.map_err(|_| StoreError::Closed)??;
        self.last = Some(anchor);
        Ok(Some(position))
    }
}
