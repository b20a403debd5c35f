//! Any bytes as a CSV file: the same rows however they are cut, or a refusal.

use proptest::collection::vec;
use proptest::prelude::*;
use roster_domain::schema::{Definition, Schema};

use super::header::{Columns, Names};
use super::records::{RecordScanner, sniff};
use super::rows::PieceRows;
use super::staging::Piece;
use super::text::TextDecoder;
use crate::CsvProblem;

/// Bytes that often mean something in a CSV file.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let meaning = prop::sample::select(vec![
        b',', b';', b'\t', b'"', b'\n', b'\r', b'a', b' ', 0xef, 0xbb, 0xbf,
    ]);
    let byte = prop_oneof![8 => meaning, 2 => any::<u8>(), 1 => Just(0)];
    let utf_16 =
        "\\PC{0,40}".prop_map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    prop_oneof![4 => vec(byte, 0..160), 1 => utf_16]
}

fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, CsvProblem> {
    let (mut decoder, mut text) = (TextDecoder::new(), Vec::new());
    for piece in pieces {
        decoder.push(piece, &mut text)?;
    }
    decoder.finish(&mut text)?;
    Ok(text)
}

/// Rows with their numbers and cells, read so many at a time and taken up again from where each batch ended.
fn rows(text: &[u8], delimiter: u8, columns: usize, most: usize) -> Vec<(u64, Vec<String>)> {
    let (mut all, mut from, mut number) = (Vec::new(), 0, 2);
    loop {
        let piece = Piece {
            no: 0,
            text_start: 0,
            line: 1,
            text: text.to_vec(),
        };
        let Some(batch) = PieceRows::new(piece, from, delimiter, columns).next(most, number) else {
            return all;
        };
        assert!(
            batch.to > from && batch.to <= text.len() as u64,
            "it goes on"
        );
        from = batch.to;
        number += batch.rows.len() as u64;
        let cells = batch
            .rows
            .into_iter()
            .map(|row| (row.number, row.cells.iter().map(str::to_owned).collect()));
        all.extend(cells);
    }
}

proptest! {
    #[test]
    fn a_file_is_the_same_text_however_it_is_cut(file in any_file(), size in 1_usize..9) {
        let whole = decoded(std::iter::once(file.as_slice()));
        let cut = decoded(file.chunks(size));
        prop_assert_eq!(whole.as_ref().ok(), cut.as_ref().ok());
        if let Ok(text) = whole {
            prop_assert!(std::str::from_utf8(&text).is_ok() && !text.contains(&0));
        }
    }

    #[test]
    fn a_text_has_the_same_rows_however_it_is_read(
        text in "[a-c,;\"\\r\\n ]{0,80}",
        most in 1_usize..5,
        size in 1_usize..9,
    ) {
        let delimiter = sniff(text.as_bytes());
        let mut scanner = RecordScanner::new(Some(delimiter), 1);
        let whole = scanner.last_end(text.as_bytes()).expect("short records");
        let (mut scanner, mut last) = (RecordScanner::new(Some(delimiter), 1), None);
        for (number, piece) in text.as_bytes().chunks(size).enumerate() {
            if let Some(end) = scanner.last_end(piece).expect("short records") {
                last = Some((number * size + end.offset, end.line));
            }
        }
        prop_assert_eq!(last, whole.map(|end| (end.offset, end.line)));

        let together = rows(text.as_bytes(), delimiter, 2, 1_000);
        prop_assert_eq!(&rows(text.as_bytes(), delimiter, 2, most), &together);
        // Cut where a record ends, both parts have the rows of the whole.
        if let Some((cut, _)) = last {
            let (first, second) = text.as_bytes().split_at(cut);
            let mut parts = rows(first, delimiter, 2, 1_000);
            parts.extend(rows(second, delimiter, 2, 1_000));
            let cells = |all: &[(u64, Vec<String>)]| all.iter().map(|(_, cells)| cells.clone()).collect::<Vec<_>>();
            prop_assert_eq!(cells(&parts), cells(&together));
        }
    }

    #[test]
    fn any_header_is_read_or_refused(header in vec("\\PC{0,12}|email|Enabled|customer_user_id", 0..12)) {
        let schema = Schema::compile(Definition::default(), 1).expect("the default schema");
        let names = Names::of(&schema);
        if let Ok(columns) = Columns::read(header.iter().map(String::as_str), &names) {
            prop_assert_eq!(columns.columns.len(), header.len());
        }
    }
}
