//! Rows of a staged piece, taken apart by the `csv` crate.

use std::io::Cursor;

use csv::{ReaderBuilder, StringRecord};

use super::records::has_open_quote;
use super::staging::Piece;

/// Text after which a batch of rows is full, whatever their number; 8 MiB.
pub(super) const BATCH_BYTES: u64 = 8 << 20;

/// One row of the file.
pub(crate) struct Row {
    /// The number of the record in the file; the header is 1.
    pub(crate) number: u64,
    pub(crate) cells: StringRecord,
    /// Why the row cannot be read at all.
    pub(crate) trouble: Option<Trouble>,
}

/// What is wrong with the form of a row. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Ragged {
        line: u64,
        cells: usize,
        columns: usize,
    },
    OpenQuote {
        line: u64,
    },
}

/// Rows that are decided together.
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// Where the row behind them starts in the staged text.
    pub(crate) to: u64,
}

impl Batch {
    /// Takes in the rows that follow.
    pub(super) fn append(&mut self, mut next: Self) {
        self.rows.append(&mut next.rows);
        self.to = next.to;
    }
}

/// Reads the rows of one piece from an offset on.
pub(crate) struct PieceRows {
    reader: csv::Reader<Cursor<Vec<u8>>>,
    no: i32,
    delimiter: u8,
    columns: usize,
    /// Offset in the staged text of the reader's first byte.
    base: u64,
    end: u64,
    /// A place in the text, and its line.
    counted: (usize, u64),
}

impl PieceRows {
    pub(crate) fn new(piece: Piece, from: u64, delimiter: u8, columns: usize) -> Self {
        let end = piece.text_start + piece.text.len() as u64;
        let skipped = usize::try_from(from.saturating_sub(piece.text_start)).unwrap_or(usize::MAX);
        let mut cursor = Cursor::new(piece.text);
        cursor.set_position(skipped.min(cursor.get_ref().len()) as u64);
        let base = piece.text_start + cursor.position();
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .buffer_capacity(64 << 10)
            .from_reader(cursor);
        Self {
            reader,
            no: piece.no,
            delimiter,
            columns,
            base,
            end,
            counted: (0, piece.line),
        }
    }

    /// The piece's number.
    pub(crate) const fn no(&self) -> i32 {
        self.no
    }

    /// The next rows: at most so many, fewer where the piece ends or they are large. `None` behind the last.
    pub(crate) fn next(&mut self, most: usize, first_number: u64) -> Option<Batch> {
        let from = self.base + self.reader.position().byte();
        let mut rows = Vec::with_capacity(most.min(8_192));
        let mut to = from;
        let mut number = first_number;
        while rows.len() < most && to - from < BATCH_BYTES {
            let start = self.reader.position().byte();
            let mut cells = StringRecord::with_capacity(256, self.columns);
            // The text is UTF-8 and rows may be ragged, so the reader has nothing left to refuse.
            if !matches!(self.reader.read_record(&mut cells), Ok(true)) {
                to = self.end;
                break;
            }
            to = self.base + self.reader.position().byte();
            let trouble = self.trouble(start, &cells);
            rows.push(Row {
                number,
                cells,
                trouble,
            });
            number += 1;
        }
        if rows.is_empty() {
            return None;
        }
        Some(Batch { rows, to })
    }

    /// Where the piece ends.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    fn trouble(&mut self, start: u64, cells: &StringRecord) -> Option<Trouble> {
        let is_last = self.reader.position().byte() + self.base >= self.end;
        let is_ragged = cells.len() != self.columns;
        if !is_ragged && !is_last {
            return None;
        }
        let (line, record_start) = self.line_of(start);
        let text = self.reader.get_ref().get_ref();
        if is_last && has_open_quote(&text[record_start..], self.delimiter) {
            return Some(Trouble::OpenQuote { line });
        }
        is_ragged.then_some(Trouble::Ragged {
            line,
            cells: cells.len(),
            columns: self.columns,
        })
    }

    /// The line of the record that begins behind an offset of the reader, and its place in the piece.
    #[expect(clippy::naive_bytecount, reason = "only rows that fail are counted to")]
    fn line_of(&mut self, start: u64) -> (u64, usize) {
        let text = self.reader.get_ref().get_ref();
        let first = text.len() - usize::try_from(self.end - self.base).unwrap_or_default();
        let mut place = first + usize::try_from(start).unwrap_or_default();
        while matches!(text.get(place), Some(b'\r' | b'\n')) {
            place += 1;
        }
        let (counted, line) = self.counted;
        let line = line
            + text[counted..place]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count() as u64;
        self.counted = (place, line);
        (line, place)
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, PieceRows, Trouble};
    use crate::import::staging::Piece;

    fn rows(text: &str, from: u64) -> PieceRows {
        let piece = Piece {
            no: 0,
            text_start: 100,
            line: 10,
            text: text.as_bytes().to_vec(),
        };
        PieceRows::new(piece, 100 + from, b',', 2)
    }

    fn cells(batch: &Batch) -> Vec<Vec<&str>> {
        batch
            .rows
            .iter()
            .map(|row| row.cells.iter().collect())
            .collect()
    }

    #[test]
    fn rows_keep_quoted_line_breaks_and_their_place() {
        let mut rows = rows("1,\"a\nb\"\r\n\r\n2,\"say \"\"hi\"\"\"\n", 0);
        let batch = rows.next(10, 2).expect("rows");
        assert_eq!(cells(&batch), [["1", "a\nb"], ["2", "say \"hi\""]]);
        assert_eq!(batch.to, 126);
        assert_eq!(
            batch.rows.iter().map(|row| row.number).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(rows.next(10, 4).is_none());
    }

    #[test]
    fn reading_goes_on_where_a_batch_ended() {
        let text = "1,a\r\n2,b\r\n3,c\r\n4,d";
        let first = rows(text, 0).next(2, 2).expect("rows");
        assert_eq!(cells(&first), [["1", "a"], ["2", "b"]]);
        let second = rows(text, first.to - 100).next(9, 4).expect("rows");
        assert_eq!(cells(&second), [["3", "c"], ["4", "d"]]);
        assert_eq!(second.to, 100 + text.len() as u64);
    }

    #[test]
    fn ragged_rows_know_their_line() {
        let batch = rows("1,\"a\n\"\r\n2\r\n\n3,c,x\n4,d\n", 0)
            .next(9, 2)
            .expect("rows");
        let troubles: Vec<_> = batch.rows.iter().map(|row| row.trouble).collect();
        assert_eq!(
            troubles,
            [
                None,
                Some(Trouble::Ragged {
                    line: 12,
                    cells: 1,
                    columns: 2
                }),
                Some(Trouble::Ragged {
                    line: 14,
                    cells: 3,
                    columns: 2
                }),
                None,
            ]
        );
    }

    #[test]
    fn a_lone_quote_within_a_cell_is_text_and_an_open_one_is_trouble() {
        let batch = rows("1,5\" pipe\n2,\"open\n3,c\n", 0)
            .next(9, 2)
            .expect("rows");
        assert_eq!(cells(&batch)[0], ["1", "5\" pipe"]);
        assert_eq!(batch.rows[1].trouble, Some(Trouble::OpenQuote { line: 11 }));
        assert_eq!(batch.rows.len(), 2);
    }

    #[test]
    fn a_cell_of_a_mebibyte_comes_through() {
        let text = format!("1,{}\n2,b\n", "x".repeat(1 << 20));
        let batch = rows(&text, 0).next(9, 2).expect("rows");
        assert_eq!(batch.rows[0].cells[1].len(), 1 << 20);
        assert_eq!(batch.rows.len(), 2);
    }
}
