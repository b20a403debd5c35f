//! Where records end, without taking them apart: the staging cuts its chunks there.
//!
//! Follows the `csv` crate, which takes the records apart later: a quote opens a quoted cell only at the start of a cell,
//! `\n`, `\r` and `\r\n` end a record outside of quotes, and empty lines are no records.

use crate::CsvProblem;

/// A record longer than this is taken for an open quote; 4 MiB.
pub(crate) const RECORD_LIMIT: usize = 4 << 20;

/// The delimiters that are recognised, the likeliest first.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Which bytes separate cells.
#[derive(Clone, Copy)]
enum Separator {
    /// The known one.
    One(u8),
    /// Any of [`DELIMITERS`], while the header is being looked for.
    Any,
}

impl Separator {
    fn is(self, byte: u8) -> bool {
        match self {
            Self::One(delimiter) => byte == delimiter,
            Self::Any => DELIMITERS.contains(&byte),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    CellStart,
    Plain,
    Quoted,
    /// After a quote within quotes: a second one is a literal quote.
    QuoteSeen,
}

/// Finds the ends of records in text that comes in pieces.
pub(crate) struct RecordScanner {
    separator: Separator,
    place: Place,
    /// The line of the next byte, from 1.
    line: u64,
    /// The line where the record begins that is not complete yet.
    record_line: u64,
    record_bytes: usize,
    content: bool,
}

/// The end of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordEnd {
    /// Offset behind the line break, within the scanned piece.
    pub(crate) offset: usize,
    /// The line that begins there, from 1.
    pub(crate) line: u64,
}

impl RecordScanner {
    /// A scanner for text from the given line on; without a delimiter any likely one separates.
    pub(crate) fn new(delimiter: Option<u8>, line: u64) -> Self {
        let separator = delimiter.map_or(Separator::Any, Separator::One);
        Self {
            separator,
            place: Place::CellStart,
            line,
            record_line: line,
            record_bytes: 0,
            content: false,
        }
    }

    /// Scans one more piece and answers the end of the last record in it that is complete.
    pub(crate) fn last_end(&mut self, piece: &[u8]) -> Result<Option<RecordEnd>, CsvProblem> {
        self.scan(piece, false)
    }

    /// Scans until the first record with more than white space is complete.
    pub(crate) fn first_end(&mut self, piece: &[u8]) -> Result<Option<RecordEnd>, CsvProblem> {
        self.scan(piece, true)
    }

    /// Whether any cell had more than white space.
    pub(crate) const fn has_content(&self) -> bool {
        self.content
    }

    fn scan(&mut self, piece: &[u8], stop_at_first: bool) -> Result<Option<RecordEnd>, CsvProblem> {
        let mut end = None;
        for (index, &byte) in piece.iter().enumerate() {
            if byte == b'\n' {
                self.line += 1;
            }
            self.place = match (self.place, byte) {
                (Place::Quoted, b'"') => Place::QuoteSeen,
                (Place::Quoted, _) | (Place::QuoteSeen | Place::CellStart, b'"') => Place::Quoted,
                (_, b'\n' | b'\r') => {
                    end = Some(RecordEnd {
                        offset: index + 1,
                        line: self.line,
                    });
                    self.record_bytes = 0;
                    self.record_line = self.line;
                    self.place = Place::CellStart;
                    if stop_at_first && self.content {
                        return Ok(end);
                    }
                    continue;
                }
                (_, byte) if self.separator.is(byte) => Place::CellStart,
                _ => Place::Plain,
            };
            self.content |=
                !(byte.is_ascii_whitespace() || byte == b'"' || self.separator.is(byte));
            self.record_bytes += 1;
            if self.record_bytes > RECORD_LIMIT {
                return Err(CsvProblem::RecordTooLong {
                    line: self.record_line,
                    limit: RECORD_LIMIT,
                });
            }
        }
        Ok(end.filter(|_| !stop_at_first))
    }
}

/// Whether a quote of the text is never closed.
pub(crate) fn has_open_quote(record: &[u8], delimiter: u8) -> bool {
    let mut scanner = RecordScanner::new(Some(delimiter), 1);
    scanner.scan(record, false).is_ok() && scanner.place == Place::Quoted
}

/// The delimiter of a header record: the one that separates the most cells, else the comma.
pub(crate) fn sniff(header: &[u8]) -> u8 {
    let cells = |delimiter: u8| {
        let mut quoted = false;
        header
            .iter()
            .filter(|byte| {
                quoted ^= **byte == b'"';
                !quoted && **byte == delimiter
            })
            .count()
    };
    // `max_by_key` keeps the last of equals, so the likeliest comes last.
    DELIMITERS
        .into_iter()
        .rev()
        .max_by_key(|delimiter| cells(*delimiter))
        .unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::{RECORD_LIMIT, RecordEnd, RecordScanner, has_open_quote, sniff};
    use crate::CsvProblem;

    fn ends(text: &str) -> Option<(usize, u64)> {
        let whole = RecordScanner::new(Some(b','), 1)
            .last_end(text.as_bytes())
            .expect("short records");
        let mut scanner = RecordScanner::new(Some(b','), 1);
        let mut last = None;
        for (index, byte) in text.bytes().enumerate() {
            if let Some(end) = scanner.last_end(&[byte]).expect("short records") {
                last = Some(RecordEnd {
                    offset: index + end.offset,
                    line: end.line,
                });
            }
        }
        assert_eq!(last, whole, "the pieces do not matter");
        whole.map(|end| (end.offset, end.line))
    }

    #[test]
    fn records_end_at_line_breaks_outside_of_quotes() {
        for (text, expected) in [
            ("", None),
            ("a,b", None),
            ("a,b\n", Some((4, 2))),
            ("a,b\r\nc", Some((5, 2))),
            ("a,\"b\nc\"", None),
            ("a,\"b\nc\"\nd", Some((8, 3))),
            ("a,\"b\"\"\nc\"\nd", Some((10, 3))),
            ("a,b\"\nc", Some((5, 2))),
            ("a,\"b\"x\nc", Some((7, 2))),
            ("a\n\n\nb", Some((4, 4))),
        ] {
            assert_eq!(ends(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_header_is_the_first_record_with_content() {
        let end = RecordScanner::new(None, 1)
            .first_end(b"\r\n;;\nid;name\n1;a\n")
            .expect("short");
        assert_eq!(
            end,
            Some(RecordEnd {
                offset: 13,
                line: 4
            })
        );
        let quoted = RecordScanner::new(None, 1)
            .first_end(b"id;\"the\nname\"\n1;a\n")
            .expect("short");
        assert_eq!(
            quoted,
            Some(RecordEnd {
                offset: 14,
                line: 3
            })
        );
    }

    #[test]
    fn an_open_quote_ends_at_the_limit_with_the_line_where_it_began() {
        let text = format!("id,name\n1,\"{}", "x\n".repeat(RECORD_LIMIT / 2));
        let error = RecordScanner::new(Some(b','), 1)
            .last_end(text.as_bytes())
            .expect_err("too long");
        assert_eq!(
            error,
            CsvProblem::RecordTooLong {
                line: 2,
                limit: RECORD_LIMIT
            }
        );
        assert!(has_open_quote(b"1,\"abc\n", b','));
        assert!(!has_open_quote(b"1,\"abc\"\n", b','));
    }

    #[test]
    fn the_delimiter_is_the_one_that_separates_the_most_cells() {
        for (header, expected) in [
            ("id,name,email", b','),
            ("id;name;email", b';'),
            ("id\tname", b'\t'),
            ("id|name|a,b", b'|'),
            ("id", b','),
            ("\"a;b;c\",d", b','),
        ] {
            assert_eq!(sniff(header.as_bytes()), expected, "{header}");
        }
    }

    #[test]
    fn white_space_and_delimiters_are_no_content() {
        let mut scanner = RecordScanner::new(Some(b','), 1);
        scanner.last_end(b"\n ,\t,\"\"\n").expect("short");
        assert!(!scanner.has_content());
        scanner.last_end(b",x\n").expect("short");
        assert!(scanner.has_content());
    }
}
