//! Rows of a CSV file that arrives piece by piece: gzip, UTF-8 or UTF-16 with or without a mark, any usual delimiter, quoted line ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use roster_commands::sync::source::{Record, SourceError};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::columns::columns;
use crate::outbound::Body;

/// How much is looked at before it is known what it is.
const HEAD: usize = 1_024;
/// The longest row, in bytes.
const LONGEST: usize = 1 << 20;
/// A page has no more text than this, in bytes.
const PAGE: usize = 8 << 20;

/// A table on its way.
pub(crate) struct Table {
    body: Body,
    decoder: Decoder,
    /// Decoded and not yet read.
    text: BytesMut,
    ended: bool,
    reader: Reader,
    names: Vec<String>,
    head: String,
    /// The line on which what is not yet read begins.
    line: u64,
    rows: u64,
    digest: Sha256,
    over: bool,
}

/// One row: where it begins, and its cells.
struct Row {
    line: u64,
    cells: Vec<String>,
}

impl Table {
    /// Reads as far as the header.
    pub(crate) async fn begin(
        body: Body,
        delimiter: Option<u8>,
        encoding: &str,
    ) -> Result<Self, SourceError> {
        let (head, body) = peek(body).await?;
        let packed = head.starts_with(&[0x1F, 0x8B]);
        let mut body = body.behind(head.clone());
        let mut head = head;
        if packed {
            (head, body) = peek(body.unpacked()).await?;
            body = body.behind(head.clone());
        }
        let mut table = Self {
            body,
            decoder: decoder(&head, encoding),
            text: BytesMut::new(),
            ended: false,
            reader: Reader::new(),
            names: Vec::new(),
            head: String::new(),
            line: 1,
            rows: 0,
            digest: Sha256::new(),
            over: false,
        };
        while !table.ended && table.text.len() < HEAD {
            table.more().await?;
        }
        let start = &table.text[..table.text.len().min(HEAD)];
        table.head = String::from_utf8_lossy(start)
            .trim_start()
            .to_ascii_lowercase();
        let delimiter = delimiter.unwrap_or_else(|| guess(&table.text));
        table.reader = ReaderBuilder::new().delimiter(delimiter).build();
        if !table.looks_like_a_web_page()
            && let Some(header) = table.row().await?
        {
            table.names = columns(header.cells);
        }
        Ok(table)
    }

    /// Whether it begins as HTML does.
    pub(crate) fn looks_like_a_web_page(&self) -> bool {
        ["<!doctype", "<html", "<head", "<?xml"]
            .iter()
            .any(|start| self.head.starts_with(start))
    }

    /// The columns.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows were read.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// What was read, as a digest.
    pub(crate) fn digest(&self) -> String {
        let digest = self.digest.clone().finalize();
        URL_SAFE_NO_PAD.encode(&digest[..16])
    }

    /// Whether every row was read.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Passes so many rows.
    pub(crate) async fn skip(&mut self, rows: u64) -> Result<(), SourceError> {
        while self.rows < rows && !self.over {
            self.row().await?;
            self.rows += 1;
        }
        Ok(())
    }

    /// The next rows as records. A row whose cells do not fit the header is one with a problem.
    pub(crate) async fn records(
        &mut self,
        most: usize,
        id_column: &str,
    ) -> Result<Vec<Record>, SourceError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < most && bytes < PAGE {
            let Some(row) = self.row().await? else { break };
            self.rows += 1;
            bytes += row.cells.iter().map(String::len).sum::<usize>();
            records.push(self.record(row, id_column));
        }
        Ok(records)
    }

    fn record(&self, row: Row, id_column: &str) -> Record {
        let (cells, names) = (row.cells.len(), self.names.len());
        let problem = (cells != names).then(|| {
            format!(
                "line {} has {cells} cells where the header has {names}",
                row.line
            )
        });
        let mut fields = Map::new();
        for (name, cell) in self.names.iter().zip(row.cells) {
            if !name.is_empty() {
                let cell = if cell.is_empty() {
                    Value::Null
                } else {
                    Value::String(cell)
                };
                fields.insert(name.clone(), cell);
            }
        }
        let first = self.names.first().map_or("", String::as_str);
        let column = if id_column.is_empty() {
            first
        } else {
            id_column
        };
        let id = fields.get(column).and_then(Value::as_str).map(str::trim);
        Record {
            id: id
                .filter(|id| !id.is_empty())
                .map_or_else(|| format!("line {}", row.line), ToOwned::to_owned),
            fields,
            problem,
            ..Record::default()
        }
    }

    /// The next row that is not blank.
    async fn row(&mut self) -> Result<Option<Row>, SourceError> {
        let mut line = None;
        let (mut cells, mut ends) = (vec![0; 1_024], vec![0; 64]);
        let (mut written, mut fields) = (0, 0);
        loop {
            if line.is_none() {
                self.pass_line_ends();
            }
            if self.text.is_empty() && !self.ended {
                self.more().await?;
                continue;
            }
            let begun = *line.get_or_insert(self.line);
            let (result, read, wrote, ended) =
                self.reader
                    .read_record(&self.text, &mut cells[written..], &mut ends[fields..]);
            self.pass(read);
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if cells.len() < LONGEST => {
                    cells.resize(cells.len() * 4, 0);
                }
                ReadRecordResult::OutputEndsFull if ends.len() < LONGEST => {
                    ends.resize(ends.len() * 4, 0);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    let message = format!(
                        "the row at line {begun} is longer than {LONGEST} bytes: a quote may be open"
                    );
                    return Err(SourceError::Config(message));
                }
                ReadRecordResult::Record => return Ok(Some(row(begun, &cells, &ends[..fields]))),
                ReadRecordResult::End => {
                    self.over = true;
                    return Ok(None);
                }
            }
        }
    }

    /// Passes line ends between rows: the second half of one, or blank lines.
    fn pass_line_ends(&mut self) {
        let blank = self
            .text
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        self.pass(blank);
    }

    fn pass(&mut self, bytes: usize) {
        let passed = self.text.split_to(bytes);
        self.line += passed.as_ref().split(|byte| *byte == b'\n').count() as u64 - 1;
        self.digest.update(&passed);
    }

    /// Decodes one more piece.
    async fn more(&mut self) -> Result<(), SourceError> {
        let piece = self.body.piece().await?;
        self.ended = piece.is_empty();
        let room = self
            .decoder
            .max_utf8_buffer_length_without_replacement(piece.len());
        let mut text = vec![0; room.unwrap_or(piece.len() * 3 + 16)];
        let (result, _, written) = self
            .decoder
            .decode_to_utf8_without_replacement(&piece, &mut text, self.ended);
        if !matches!(result, DecoderResult::InputEmpty) {
            let line = self.line;
            let message = format!("what follows line {line} is no text in UTF-8 or UTF-16");
            return Err(SourceError::Config(message));
        }
        self.text.extend_from_slice(&text[..written]);
        Ok(())
    }
}

/// The first bytes of a body, and what is left of it.
async fn peek(mut body: Body) -> Result<(Bytes, Body), SourceError> {
    let mut head = BytesMut::new();
    while head.len() < HEAD {
        let piece = body.piece().await?;
        if piece.is_empty() {
            break;
        }
        head.extend_from_slice(&piece);
    }
    Ok((head.freeze(), body))
}

/// The decoder of what begins with these bytes.
fn decoder(head: &[u8], encoding: &str) -> Decoder {
    if encoding == "windows-1252" {
        return WINDOWS_1252.new_decoder();
    }
    let guess = match head {
        [first, 0, ..] if *first != 0 => UTF_16LE,
        [0, second, ..] if *second != 0 => UTF_16BE,
        _ => UTF_8,
    };
    let marked = Encoding::for_bom(head).map(|(encoding, _)| encoding);
    marked.unwrap_or(guess).new_decoder_with_bom_removal()
}

/// The delimiter that the first line has most of, outside of quotes.
fn guess(text: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in text {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            byte if !quoted => counts
                .iter_mut()
                .filter(|(known, _)| known == byte)
                .for_each(|(_, count)| *count += 1),
            _ => {}
        }
    }
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| *count > 0)
        .map_or(b',', |(delimiter, _)| *delimiter)
}

fn row(line: u64, cells: &[u8], ends: &[usize]) -> Row {
    let mut from = 0;
    let cells = ends.iter().map(|end| {
        let cell = String::from_utf8_lossy(&cells[from..*end]).into_owned();
        from = *end;
        cell
    });
    Row {
        line,
        cells: cells.collect(),
    }
}
