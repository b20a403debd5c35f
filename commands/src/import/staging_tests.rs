//! Bodies of every form, in pieces of every size.

use super::{PIECE, Piece, Staged, Stager};
use crate::{CommandError, CsvProblem};

fn stage(body: &[u8], size: usize) -> Result<(Staged, Vec<Piece>), CommandError> {
    let mut stager = Stager::new(None, 64 << 20);
    let mut pieces = Vec::new();
    for bytes in body.chunks(size.max(1)) {
        pieces.extend(stager.push(bytes)?);
    }
    let (last, staged) = stager.finish()?;
    pieces.extend(last);
    if stager.has_rows() {
        Ok((staged, pieces))
    } else {
        Err(CsvProblem::NoRows.into())
    }
}

fn problem(body: &[u8]) -> Option<CsvProblem> {
    match stage(body, 7) {
        Err(CommandError::Csv(problem)) => Some(problem),
        _ => None,
    }
}

#[test]
fn the_header_is_found_and_the_text_is_kept_whole() {
    let body = "\u{feff}\r\n;;\r\n id ;\"the\nname\"\r\n1;\"a\nb\"\r\n2;c";
    for size in [1, 3, 1_000] {
        let (staged, pieces) = stage(body.as_bytes(), size).expect("a good file");
        assert_eq!(staged.header, ["id", "the\nname"]);
        assert_eq!((staged.delimiter, staged.pieces), (b';', 1));
        let text = String::from_utf8(pieces[0].text.clone()).expect("text");
        assert_eq!(format!("\u{feff}{text}"), body);
        let offset = usize::try_from(staged.body_offset).expect("small");
        assert_eq!(text[offset..].trim_start(), "1;\"a\nb\"\r\n2;c");
        assert_eq!(staged.bytes, text.len() as u64);
    }
}

#[test]
fn files_without_rows_are_refused() {
    assert_eq!(problem(b""), Some(CsvProblem::Empty));
    assert_eq!(problem(b" \r\n\n,,\n"), Some(CsvProblem::Empty));
    assert_eq!(problem(b"id,name"), Some(CsvProblem::NoRows));
    assert_eq!(problem(b"id,name\r\n"), Some(CsvProblem::NoRows));
    assert_eq!(problem(b"id,name\n,\n\n"), Some(CsvProblem::NoRows));
    assert_eq!(problem(b"id,name\n1,a"), None);
}

#[test]
fn long_texts_are_cut_between_records() {
    let row = format!("{},\"{}\n\"\r\n", "x".repeat(70), "y".repeat(300));
    let body = format!("id,name\r\n{}", row.repeat(9_000));
    let (staged, pieces) = stage(body.as_bytes(), 100_000).expect("a good file");
    assert_eq!(pieces.len(), 4);
    assert_eq!(staged.pieces, 4);
    let mut offset = 0;
    for (index, piece) in pieces.iter().enumerate() {
        assert_eq!(
            (piece.no, piece.text_start),
            (i32::try_from(index).expect("small"), offset)
        );
        assert!(piece.text.ends_with(b"\r\n"));
        assert!(piece.text.len() < PIECE + 200_000);
        let lines = body.as_bytes()[..usize::try_from(offset).expect("small")]
            .iter()
            .filter(|byte| **byte == b'\n');
        assert_eq!(piece.line, 1 + lines.count() as u64);
        offset += piece.text.len() as u64;
    }
    assert_eq!(offset, body.len() as u64);
}

#[test]
fn a_piece_survives_packing() {
    let piece = Piece {
        no: 3,
        text_start: 17,
        line: 5,
        text: b"1,a\n".repeat(1_000),
    };
    let packed = piece.pack().expect("compresses");
    assert!(packed.len() < 100);
    let unpacked = Piece::unpack(3, 17, &packed).expect("unpacks");
    assert!(unpacked == piece);
    assert!(Piece::unpack(3, 17, &packed[..6]).is_none());
}

#[test]
fn a_text_over_the_limit_is_refused_before_it_is_read_whole() {
    let mut stager = Stager::new(None, 100);
    let error = (0..100).find_map(|_| stager.push(b"id,name\n1,a\n").err());
    assert!(matches!(error, Some(CommandError::TooLarge { limit: 100 })));
}

#[test]
fn an_open_quote_does_not_eat_the_memory() {
    let body = format!("id,name\n1,\"{}", "x".repeat(6 << 20));
    assert_eq!(
        problem(body.as_bytes()),
        Some(CsvProblem::RecordTooLong {
            line: 2,
            limit: 4 << 20
        })
    );
}
