//! Taking in the body of an import before the import exists.
//!
//! The text is cut at the ends of records into pieces of about 1 MiB; each is compressed, sealed under the import's own
//! key and inserted in one transaction, which is committed when the body is complete. A kill before that leaves nothing;
//! one between the commit and the start of the import leaves pieces that nobody can open, which the jobs sweep.

use roster_domain::import::Import;
use roster_store::{Cell, Loaded};
use sqlx::{Postgres, Transaction};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::header::{Columns, Names};
use super::mapped::ColumnMapping;
use super::records::{RecordEnd, RecordScanner, sniff};
use super::text::TextDecoder;
use crate::schema::ActiveSchema;
use crate::{CommandError, CsvProblem, staged};

/// Bytes of text after which a piece is cut.
const PIECE: usize = 1 << 20;
/// Bytes that are read from the body at once.
const READ: usize = 128 << 10;
/// Fast: the staged text lives for minutes.
const COMPRESSION: i32 = 1;

/// A body that is staged completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) delimiter: u8,
    pub(crate) header: Vec<String>,
    /// Where the first row starts in the text.
    pub(crate) body_offset: u64,
    pub(crate) pieces: u32,
    pub(crate) bytes: u64,
}

/// A part of the text that begins and ends between records.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// From 0.
    pub(crate) no: i32,
    pub(crate) text_start: u64,
    /// The line of its first byte, from 1.
    pub(crate) line: u64,
    pub(crate) text: Vec<u8>,
}

impl Piece {
    /// The line and the compressed text.
    fn pack(&self) -> std::io::Result<Vec<u8>> {
        let mut packed = self.line.to_le_bytes().to_vec();
        packed.extend(zstd::bulk::compress(&self.text, COMPRESSION)?);
        Ok(packed)
    }

    /// The piece from its packed bytes; `None` where they are damaged.
    pub(crate) fn unpack(no: i32, text_start: u64, packed: &[u8]) -> Option<Self> {
        let (line, compressed) = packed.split_first_chunk::<8>()?;
        let text =
            zstd::bulk::decompress(compressed, PIECE + super::records::RECORD_LIMIT + 4 * READ)
                .ok()?;
        Some(Self {
            no,
            text_start,
            line: u64::from_le_bytes(*line),
            text,
        })
    }
}

/// What a piece is sealed as.
pub(crate) fn part(text_start: u64) -> String {
    format!("staged-{text_start}")
}

/// Turns the bytes of a body into pieces. Pure: what comes out depends only on what went in.
pub(crate) struct Stager {
    mapping: Option<ColumnMapping>,
    decoder: TextDecoder,
    scanner: RecordScanner,
    delimiter: Option<u8>,
    header: Option<Staged>,
    limit: u64,
    /// Text from `text_start` on.
    text: Vec<u8>,
    text_start: u64,
    pieces: i32,
    line: u64,
    scanned: usize,
    /// The end of the last complete record in `text`.
    complete: RecordEnd,
}

impl Stager {
    pub(crate) fn new(delimiter: Option<u8>, limit: u64) -> Self {
        Self {
            mapping: None,
            decoder: TextDecoder::new(),
            scanner: RecordScanner::new(delimiter, 1),
            delimiter,
            header: None,
            limit,
            text: Vec::new(),
            text_start: 0,
            pieces: 0,
            line: 1,
            scanned: 0,
            complete: RecordEnd { offset: 0, line: 1 },
        }
    }

    /// The same with columns that are named by a caller.
    pub(crate) fn mapped(mut self, mapping: Option<ColumnMapping>) -> Self {
        self.mapping = mapping;
        self
    }

    /// The header, once it was seen.
    pub(crate) fn header(&self) -> Option<&[String]> {
        self.header.as_ref().map(|staged| staged.header.as_slice())
    }

    /// Takes in more bytes; answers a piece when one is full.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<Piece>, CommandError> {
        self.decoder.push(bytes, &mut self.text)?;
        self.scan()?;
        Ok((self.text.len() >= PIECE && self.complete.offset > 0).then(|| self.cut()))
    }

    /// Takes in the end of the body; answers the last piece.
    pub(crate) fn finish(&mut self) -> Result<(Option<Piece>, Staged), CommandError> {
        self.decoder.finish(&mut self.text)?;
        self.scan()?;
        if self.header.is_none() {
            if !self.scanner.has_content() {
                return Err(CsvProblem::Empty.into());
            }
            let end = RecordEnd {
                offset: self.text.len(),
                line: self.line,
            };
            self.begin_body(end);
            // Without a header the only record is a row.
            self.scan()?;
        }
        self.complete.offset = self.text.len();
        let last = (!self.text.is_empty()).then(|| self.cut());
        let mut staged = self.header.clone().ok_or(CsvProblem::Empty)?;
        staged.bytes = self.text_start;
        staged.pieces = u32::try_from(self.pieces).unwrap_or_default();
        Ok((last, staged))
    }

    /// Whether any row has more than white space, as far as the text is known.
    pub(crate) fn has_rows(&self) -> bool {
        self.header.is_some() && self.scanner.has_content()
    }

    fn scan(&mut self) -> Result<(), CommandError> {
        if self.text_start + self.text.len() as u64 > self.limit {
            return Err(CommandError::TooLarge { limit: self.limit });
        }
        if self.header.is_none() {
            let Some(end) = self.scanner.first_end(&self.text[self.scanned..])? else {
                self.scanned = self.text.len();
                return Ok(());
            };
            self.begin_body(RecordEnd {
                offset: self.scanned + end.offset,
                line: end.line,
            });
        }
        if let Some(end) = self.scanner.last_end(&self.text[self.scanned..])? {
            self.complete = RecordEnd {
                offset: self.scanned + end.offset,
                line: end.line,
            };
        }
        self.scanned = self.text.len();
        Ok(())
    }

    /// Reads the header, which ends here, and goes on with the rows.
    fn begin_body(&mut self, end: RecordEnd) {
        let text = &self.text[..end.offset];
        let delimiter = self.delimiter.unwrap_or_else(|| sniff(text));
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text);
        // Records without content may stand before the header.
        let header = reader
            .records()
            .filter_map(Result::ok)
            .last()
            .unwrap_or_default();
        let cells = header.iter().map(|cell| cell.trim().to_owned());
        let header: Vec<String> = cells.collect();
        let (header, end) = match &self.mapping {
            None => (header, end),
            Some(mapping) if mapping.has_header => (mapping.named(&header), end),
            // The first record is a row already.
            Some(mapping) => {
                let start = RecordEnd { offset: 0, line: 1 };
                (mapping.numbered(header.len()), start)
            }
        };
        self.header = Some(Staged {
            delimiter,
            header,
            body_offset: end.offset as u64,
            pieces: 0,
            bytes: 0,
        });
        self.scanner = RecordScanner::new(Some(delimiter), end.line);
        self.scanned = end.offset;
        self.complete = end;
    }

    fn cut(&mut self) -> Piece {
        let rest = self.text.split_off(self.complete.offset);
        let text = std::mem::replace(&mut self.text, rest);
        let piece = Piece {
            no: self.pieces,
            text_start: self.text_start,
            line: self.line,
            text,
        };
        self.pieces += 1;
        self.text_start += piece.text.len() as u64;
        self.line = self.complete.line;
        self.scanned = self.scanned.saturating_sub(piece.text.len());
        self.complete.offset = 0;
        piece
    }
}

/// Reads a body to its end and stages it; what is wrong with the file as a whole is found here.
///
/// No connection is held until the first piece is full, so small files never wait on a slow caller with one.
pub(crate) async fn stage(
    cell: &Cell,
    active: &ActiveSchema,
    import: &Loaded<Import>,
    mut stager: Stager,
    mut body: impl AsyncRead + Unpin + Send,
) -> Result<Staged, CommandError> {
    let mut transaction: Option<Transaction<'static, Postgres>> = None;
    let mut buffer = vec![0; READ];
    let mut checked = false;
    loop {
        let read = body
            .read(&mut buffer)
            .await
            .map_err(|_| CommandError::BodyUnreadable)?;
        if read == 0 {
            break;
        }
        let piece = stager.push(&buffer[..read])?;
        if !checked && let Some(header) = stager.header() {
            check_header(header, active)?;
            checked = true;
        }
        if let Some(piece) = piece {
            insert(cell, &mut transaction, import, piece).await?;
        }
    }
    let (last, staged) = stager.finish()?;
    check_header(&staged.header, active)?;
    if !stager.has_rows() {
        return Err(CsvProblem::NoRows.into());
    }
    if let Some(piece) = last {
        insert(cell, &mut transaction, import, piece).await?;
    }
    if let Some(transaction) = transaction {
        transaction.commit().await?;
    }
    Ok(staged)
}

fn check_header(header: &[String], active: &ActiveSchema) -> Result<Columns, CommandError> {
    Ok(Columns::read(
        header.iter().map(String::as_str),
        &Names::of(&active.schema),
    )?)
}

async fn insert(
    cell: &Cell,
    transaction: &mut Option<Transaction<'static, Postgres>>,
    import: &Loaded<Import>,
    piece: Piece,
) -> Result<(), CommandError> {
    let (import_id, no, text_start) = (import.stream, piece.no, piece.text_start);
    let sealer = import.clone();
    let sealed =
        tokio::task::spawn_blocking(move || sealer.seal(&part(text_start), &piece.pack().ok()?))
            .await
            .ok()
            .flatten()
            .ok_or(CommandError::internal(
                "a piece of an import could not be sealed",
            ))?;
    let open = match transaction {
        Some(open) => open,
        None => transaction.insert(cell.pool().begin().await?),
    };
    let text_start = i64::try_from(text_start).unwrap_or(i64::MAX);
    staged::insert(open, import_id, no, text_start, &sealed).await
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
