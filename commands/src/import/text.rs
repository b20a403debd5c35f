//! From the bytes of an upload to UTF-8 text, piece by piece.
//!
//! UTF-8 is strict, with or without a byte order mark. UTF-16 is recognised by its mark, or by the zero half of its first
//! character. A zero character is refused: Postgres and JSON clients cannot carry it.

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_16BE, UTF_16LE};

use crate::CsvProblem;

/// Decodes an upload that comes in pieces of any size.
pub(crate) struct TextDecoder {
    state: State,
    /// Bytes that came before the encoding was known, or the start of a character that a piece cut.
    held: Vec<u8>,
    bytes_in: u64,
    text_out: u64,
}

enum State {
    Unknown,
    Utf8,
    Utf16(Box<Decoder>),
}

impl TextDecoder {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Unknown,
            held: Vec::new(),
            bytes_in: 0,
            text_out: 0,
        }
    }

    /// Appends the text of one more piece.
    pub(crate) fn push(&mut self, piece: &[u8], text: &mut Vec<u8>) -> Result<(), CsvProblem> {
        let start = text.len();
        if matches!(self.state, State::Unknown) {
            self.held.extend_from_slice(piece);
            if self.held.len() >= 4 {
                self.begin(text)?;
            }
        } else {
            self.decode(piece, false, text)?;
        }
        self.check(text, start)
    }

    /// Appends what is left when the upload ended.
    pub(crate) fn finish(&mut self, text: &mut Vec<u8>) -> Result<(), CsvProblem> {
        let start = text.len();
        if matches!(self.state, State::Unknown) {
            self.begin(text)?;
        }
        self.decode(&[], true, text)?;
        self.check(text, start)
    }

    /// Chooses the encoding by the first bytes and decodes them.
    fn begin(&mut self, text: &mut Vec<u8>) -> Result<(), CsvProblem> {
        let held = std::mem::take(&mut self.held);
        let (mark, encoding): (usize, Option<&'static Encoding>) = match held.as_slice() {
            [0xEF, 0xBB, 0xBF, ..] => (3, None),
            [0xFF, 0xFE, ..] => (2, Some(UTF_16LE)),
            [0xFE, 0xFF, ..] => (2, Some(UTF_16BE)),
            [first, 0, ..] if *first != 0 => (0, Some(UTF_16LE)),
            [0, second, ..] if *second != 0 => (0, Some(UTF_16BE)),
            _ => (0, None),
        };
        self.state = encoding.map_or(State::Utf8, |encoding| {
            State::Utf16(Box::new(encoding.new_decoder_without_bom_handling()))
        });
        self.bytes_in = mark as u64;
        self.decode(&held[mark..], false, text)
    }

    fn decode(&mut self, piece: &[u8], last: bool, text: &mut Vec<u8>) -> Result<(), CsvProblem> {
        let offset = self.bytes_in;
        match &mut self.state {
            State::Utf16(decoder) => {
                let before = text.len();
                let room = decoder
                    .max_utf8_buffer_length_without_replacement(piece.len())
                    .unwrap_or(piece.len() * 3 + 16);
                text.resize(before + room, 0);
                let (result, read, written) =
                    decoder.decode_to_utf8_without_replacement(piece, &mut text[before..], last);
                text.truncate(before + written);
                if !matches!(result, DecoderResult::InputEmpty) {
                    return Err(CsvProblem::NotText {
                        offset: offset + read as u64,
                    });
                }
            }
            State::Utf8 | State::Unknown => {
                let joined;
                let bytes = if self.held.is_empty() {
                    piece
                } else {
                    joined = [self.held.as_slice(), piece].concat();
                    &joined
                };
                let from = offset - self.held.len() as u64;
                let valid = match std::str::from_utf8(bytes) {
                    Ok(_) => bytes.len(),
                    Err(error) if error.error_len().is_none() && !last => error.valid_up_to(),
                    Err(error) => {
                        return Err(CsvProblem::NotText {
                            offset: from + error.valid_up_to() as u64,
                        });
                    }
                };
                text.extend_from_slice(&bytes[..valid]);
                self.held = bytes[valid..].to_vec();
            }
        }
        self.bytes_in += piece.len() as u64;
        Ok(())
    }

    fn check(&mut self, text: &[u8], start: usize) -> Result<(), CsvProblem> {
        let new = &text[start..];
        if let Some(at) = new.iter().position(|byte| *byte == 0) {
            return Err(CsvProblem::Nul {
                offset: self.text_out + at as u64,
            });
        }
        self.text_out += new.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::TextDecoder;
    use crate::CsvProblem;

    /// Decodes in pieces of every size: the result must not depend on the cut.
    fn decode(bytes: &[u8]) -> Result<String, CsvProblem> {
        let in_pieces = |size: usize| {
            let (mut decoder, mut text) = (TextDecoder::new(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece, &mut text)?;
            }
            decoder.finish(&mut text)?;
            Ok(String::from_utf8(text).expect("only text comes out"))
        };
        let whole = in_pieces(bytes.len().max(1));
        for size in 1..bytes.len().min(9) {
            assert_eq!(in_pieces(size), whole, "pieces of {size}");
        }
        whole
    }

    #[test]
    fn utf_8_comes_through_with_and_without_a_mark() {
        for text in ["", "a", "id,name\n1,Zoë 𝒜\n"] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Ok(text));
            assert_eq!(
                decode(format!("\u{feff}{text}").as_bytes()).as_deref(),
                Ok(text)
            );
        }
    }

    #[test]
    fn utf_16_is_recognised_with_and_without_a_mark() {
        let text = "id,name\r\n1,Zoë 𝒜\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!(decode(&little).as_deref(), Ok(text));
        assert_eq!(decode(&big).as_deref(), Ok(text));
        assert_eq!(
            decode(&[&[0xFF, 0xFE], little.as_slice()].concat()).as_deref(),
            Ok(text)
        );
        assert_eq!(
            decode(&[&[0xFE, 0xFF], big.as_slice()].concat()).as_deref(),
            Ok(text)
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        assert_eq!(
            decode(b"id,name\n1,\xE4\n"),
            Err(CsvProblem::NotText { offset: 10 })
        );
        assert_eq!(
            decode(b"\xEF\xBB\xBFid\xFF\xFF"),
            Err(CsvProblem::NotText { offset: 5 })
        );
        assert_eq!(
            decode("id,ab\u{e9}".as_bytes().split_last().expect("bytes").1),
            Err(CsvProblem::NotText { offset: 5 })
        );
        let half: Vec<u8> = [0xFF, 0xFE, b'a', 0, 0x00, 0xD8, b'b', 0].into();
        let (mut decoder, mut text) = (TextDecoder::new(), Vec::new());
        assert!(matches!(
            decoder.push(&half, &mut text),
            Err(CsvProblem::NotText { .. })
        ));
    }

    #[test]
    fn a_zero_character_is_refused_with_its_place() {
        assert_eq!(
            decode(b"id,name\n1,a\0b\n"),
            Err(CsvProblem::Nul { offset: 11 })
        );
    }
}
